"""What every history of a store must keep to, found without a search: one pass, and a sort.

A check for linearizability says all there is to say, and costs a search. Most bugs of stores are plainer than that: a
revision given twice, a read that goes back, a write that overwrote what it had not seen. These are found here in
histories of any size, also where too many outcomes are unknown for a search.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeAlias, cast

from attrs import frozen

from resilience._core.records import ABSENT, Versioned
from resilience._core.steps import Load, Remove, Swap
from resilience.testing._recorded import found_by, looked, written_by
from resilience.testing.history import History, Operation


__all__ = ["check_increments", "check_versions", "version_violations"]

#: Violations that an error shows.
_SHOWN = 5

_Content: TypeAlias = tuple[bytes, str | None]


def check_versions(history: History | Iterable[Operation]) -> None:
    """Fail if the revisions of a recorded store (`History.wrap`) are not as a store promises; see `version_violations`.

    Raises:
        AssertionError: It says the first five violations, and how many there are.

    >>> from resilience.stores import ANY, MemoryStore
    >>> history = History()
    >>> store = history.wrap(MemoryStore(), client="Ada")
    >>> written = store.compare_and_set("greeting", b"hello", expected=ANY)
    >>> check_versions(history)
    """
    violations = version_violations(history)
    if violations:
        lines = "".join(f"\n  {violation}" for violation in violations[:_SHOWN])
        raise AssertionError(f"{len(violations)} violations of what revisions promise:{lines}")


def version_violations(history: History | Iterable[Operation]) -> list[str]:
    """Where the revisions of a recorded store are not as a store promises; nothing where they are.

    For each key: a revision is given to one write only, and bears what somebody wrote; revisions never fall from what
    returned to what is called later, and a later write's is higher; what is expected is what is overwritten; and a
    record that was there is there, unless somebody removed it.
    """
    groups: defaultdict[Hashable, list[Operation]] = defaultdict(list)
    for operation in history.operations if isinstance(history, History) else history:
        if isinstance(operation.arg, (Load, Swap, Remove)):
            groups[operation.key].append(operation)
    return [
        violation
        for operations in groups.values()
        for rule in (_contents, _order, _overwritten)
        for violation in rule(operations)
    ]


def check_increments(
    history: History | Iterable[Operation], *, start: float, final: float, op: str = "increment", key: Hashable = None
) -> None:
    """Fail unless each acknowledged increment was counted once, and each of unknown outcome at most once.

    Args:
        history: Increments as `History.run` recorded them; the argument is by how much, above 0, or None for 1.
        start: The number before them.
        final: The number after them.
        op: What the operations are called.
        key: Which key; None for all.

    Raises:
        AssertionError: The difference is not between what was acknowledged and that and what is unknown together.

    >>> history = History()
    >>> history.run("Ada", "increment", "seats", 2, lambda: None)
    >>> check_increments(history, start=5, final=7)
    """
    acknowledged = unknown = 0
    for operation in history.operations if isinstance(history, History) else history:
        if operation.op == op and operation.error is None and key in {None, operation.key}:
            amount = 1 if operation.arg is None else operation.arg
            if operation.pending:
                unknown += amount
            else:
                acknowledged += amount
    if not acknowledged <= final - start <= acknowledged + unknown:
        raise AssertionError(
            f"from {start} to {final} are {final - start}, but {acknowledged} were acknowledged and {unknown} are unknown"
        )


@frozen
class _Sight:
    """A record, as an operation wrote it or found it."""

    operation: Operation
    returned: int
    record: Versioned[bytes]
    written: bool

    @property
    def content(self) -> _Content:
        return self.record.value, self.record.write_id


def _sights(operations: Sequence[Operation]) -> list[_Sight]:
    """What the operations that returned wrote or found, in the order of their returns."""
    sights: list[_Sight] = []
    for operation in operations:
        written, found = written_by(operation), found_by(operation)
        record = written or found
        if record is not None and operation.returned is not None:
            sights.append(_Sight(operation, operation.returned, record, written is not None))
    return sorted(sights, key=lambda sight: sight.returned)


def _contents(operations: Sequence[Operation]) -> Iterable[str]:
    """A revision is given to one write only, and bears what somebody wrote."""
    given: dict[int, _Sight] = {}
    lost = {
        (one.arg.value, one.arg.write_id): one
        for one in reversed(operations)
        if one.pending and isinstance(one.arg, Swap)
    }
    sights = _sights(operations)
    for sight in sights:
        asked = cast("Swap", sight.operation.arg)
        if sight.written and sight.content != (asked.value, asked.write_id):
            yield f"not what was to be written: {sight.operation!r}"
        first = given.setdefault(sight.record.revision, sight) if sight.written else sight
        if first is not sight:
            yield f"revision {sight.record.revision} was given twice: {first.operation!r} and {sight.operation!r}"
    for sight in sights:
        if sight.written:
            continue
        writer = given.get(sight.record.revision)
        if writer is not None:
            if writer.content != sight.content or writer.operation.called > sight.returned:
                yield f"not what was written: {sight.operation!r} found something else than {writer.operation!r}"
        elif sight.content not in lost or lost[sight.content].called > sight.returned:
            yield f"nobody wrote what was found: {sight.operation!r}"


def _order(operations: Sequence[Operation]) -> Iterable[str]:
    """From what returned to what is called later no revision falls, and no record is gone that nobody removed."""
    latest = _Latest(_sights(operations))
    removed = _Removals(operations)
    for operation in operations:
        before, returned = latest.before(operation.called), operation.returned
        if before is None or returned is None:
            continue
        written, found = written_by(operation), found_by(operation)
        if written is not None and written.revision <= before.record.revision:
            yield f"not above revision {before.record.revision}: {before.operation!r}, and later {operation!r}"
        elif found is not None and found.revision < before.record.revision:
            yield f"back from revision {before.record.revision}: {before.operation!r}, and later {operation!r}"
        elif _found_nothing(operation) and not removed.between(before.operation.called, returned):
            yield f"gone, and nobody removed it: {before.operation!r}, and later {operation!r}"


def _overwritten(operations: Sequence[Operation]) -> Iterable[str]:
    """A write that expects a revision overwrites that one: no other comes between them."""
    sights = _sights(operations)
    revisions = sorted({sight.record.revision for sight in sights})
    for sight in sights:
        expected = sight.operation.arg.expected if sight.written else None
        if type(expected) is not int or expected == ABSENT:
            continue
        at = bisect_left(revisions, sight.record.revision)
        if at and revisions[at - 1] > expected:
            yield f"revision {revisions[at - 1]} was overwritten unseen: {sight.operation!r}"


class _Latest:
    """The highest revision among the operations that had returned by some moment."""

    def __init__(self, sights: Sequence[_Sight]) -> None:
        self._returns = [sight.returned for sight in sights]
        self._highest: list[_Sight] = []
        for sight in sights:
            highest = self._highest[-1] if self._highest else sight
            self._highest.append(max(highest, sight, key=lambda one: one.record.revision))

    def before(self, moment: int) -> _Sight | None:
        at = bisect_left(self._returns, moment)
        return self._highest[at - 1] if at else None


class _Removals:
    """When records may have been removed."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        done = [one for one in operations if isinstance(one.arg, Remove) and (one.pending or one.result is True)]
        self._calls = [one.called for one in done]
        self._ends: list[float] = []
        for one in done:
            end = math.inf if one.returned is None else one.returned
            self._ends.append(max(end, self._ends[-1] if self._ends else end))

    def between(self, start: int, end: int) -> bool:
        """Whether one of them can have taken effect in this time."""
        at = bisect_left(self._calls, end)
        return at > 0 and self._ends[at - 1] > start


def _found_nothing(operation: Operation) -> bool:
    """Whether the operation says that there was no record."""
    if isinstance(operation.arg, Remove) and operation.error is None:
        return operation.result is False
    return looked(operation) and operation.result is None
