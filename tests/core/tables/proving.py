"""What a test of a table proves, and what has been proven so far."""

from __future__ import annotations

from attrs import Factory, define

from resilience._core.rows import Row, Table
from resilience._core.tables import TABLE_OF_MODULE, Tables, load
from resilience._core.verdict import Verdict


#: 2015-10-21T07:28:00Z, as Unix seconds: what the wall clock of these tests says.
NOW = 1445412480.0


def all_tables() -> dict[str, Table]:
    """The tables by the names of their files."""
    return {name: load(name) for name in sorted(set(TABLE_OF_MODULE.values()))}


@define
class Proof:
    """Collects which rows were proven, and how."""

    tables: Tables
    by_server: set[str] = Factory(set)
    by_constructor: dict[str, str] = Factory(dict)

    def server(
        self, error: BaseException, row: str, kind: str, *, throttled: bool = False, after: float | None = None
    ) -> Verdict:
        """A real client raised `error` because a real server (or the operating system) made it: this row must judge it so."""
        verdict = self._judged(error, row, kind, throttled, after)
        self.by_server.add(row)
        return verdict

    def constructor(
        self,
        error: BaseException,
        row: str,
        kind: str,
        *,
        because: str,
        throttled: bool = False,
        after: float | None = None,
    ) -> Verdict:
        """`error` was made by its class's own constructor, `because` no server here can be made to cause it."""
        verdict = self._judged(error, row, kind, throttled, after)
        self.by_constructor[row] = because
        return verdict

    def unknown(self, error: BaseException) -> None:
        """No table says anything of `error`."""
        assert self.tables.find(error) is None, f"{error!r} is known"

    def _judged(self, error: BaseException, row: str, kind: str, throttled: bool, after: float | None) -> Verdict:
        finding = self.tables.find(error)
        assert finding is not None, f"no row knows {type(error).__module__}.{type(error).__qualname__}: {error!r}"
        assert finding.verdict is not None
        assert isinstance(finding.by, Row)
        seen = (str(finding.by), str(finding.verdict.kind), finding.verdict.throttled, finding.verdict.after)
        assert seen == (row, kind, throttled, after), f"{error!r}: {finding.verdict.reason}"
        return finding.verdict
