"""Why an exception was judged as it was, in words: the finding without the exception, so that keeping it keeps no frame."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from resilience._core.classify import name_of
from resilience._core.finding import Finding
from resilience._core.retrying import one_line, text_of
from resilience._core.rows import Row
from resilience._core.verdict import Verdict


__all__ = ["Explanation", "explained"]

_NOBODY = "no table and no member of the policy's `on` knows it: never tried again"


@frozen
class Explanation:
    """Why an exception was judged as it was. A frozen value that holds texts, not the exception; `str` is for people.

    Args:
        error: The exception, on one line.
        verdict: What it means; None if nobody knows it, which for a retry is as good as permanent.
        row: The row of a table that decided, such as ``"builtins.OSError, errno ECONNRESET"``; None if none did.
        member: What decided if no row did: a member of what was composed, or the leaves of a group; None if nothing.
        parts: The same of each exception that was judged in its place: what it wraps, or the leaves of a group.
    """

    error: str
    verdict: Verdict | None
    row: str | None
    member: str | None
    parts: tuple[Explanation, ...] = ()

    @property
    def why(self) -> str:
        """The verdict's reason, or that there is no verdict."""
        if self.verdict is None:
            return self.member or _NOBODY
        return one_line(self.verdict.reason) or "no reason given"

    def __str__(self) -> str:
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> list[str]:
        verdict = self.verdict
        facts = [f"{'unknown' if verdict is None else verdict.kind}: {self.why}"]
        if verdict is not None and verdict.after is not None:
            facts.append(f"asked for {verdict.after:g} s")
        if verdict is not None and verdict.throttled:
            facts.append("throttled")
        lines = [f"{indent}{'; '.join(facts)}", f"{indent}  {self.error}"]
        if self.row is not None:
            lines.append(f"{indent}  by the row: {self.row}")
        elif self.member is not None and verdict is not None:
            lines.append(f"{indent}  by: {self.member}")
        for part in self.parts:
            lines.extend(part._lines(f"{indent}    "))  # noqa: SLF001
        return lines


def explained(error: BaseException, find: Callable[[BaseException], Finding]) -> Explanation:
    """What `find` finds out about `error`, in words; also that it failed, as a user's own classifier may."""
    try:
        return _in_words(find(error))
    except Exception as broken:
        return Explanation(text_of(error), None, None, f"a classifier failed with {text_of(broken)}")


def _in_words(finding: Finding) -> Explanation:
    by = finding.by
    member = None if by is None or isinstance(by, Row) else by if isinstance(by, str) else name_of(by)  # type: ignore[arg-type]  # what else decides is a member
    return Explanation(
        error=text_of(finding.error),
        verdict=finding.verdict,
        row=str(by) if isinstance(by, Row) else None,
        member=member,
        parts=tuple(_in_words(part) for part in finding.parts),
    )
