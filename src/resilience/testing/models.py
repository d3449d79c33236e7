"""Models: what an object may do, one operation after another. A history is right if some order of it is what a model does.

What makes a check fast is what the model knows beyond its steps:

- an operation that with this result **never changes any state** (a read, a refused write) is carried out at once,
  wherever it is possible, and never tried later: any explanation can be rearranged to have it first. It must hold in
  every state: a write of the value that happens to be there already may be needed later;
- operations whose answers say **in which order** they took effect are tried in that order only;
- a pending write **that somebody has seen** took effect, and before that somebody returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

from attrs import evolve, field, frozen
from typing_extensions import override

from resilience._core.records import ABSENT, ANY, VACANT, Expected, Seen, Versioned
from resilience._core.steps import Load, Remove, Swap
from resilience.errors import VersionConflictError
from resilience.testing._recorded import found_by, written_by
from resilience.testing.history import Operation


__all__ = ["CasRegister", "Model", "VersionedRegister"]


class Model:
    """What to derive a model from. It keeps no state of its own: states are passed through it.

    A state is anything hashable but None.
    """

    initial: Any
    """The state before the first operation."""

    def step(self, state: Any, operation: Operation) -> Any:
        """The state after the operation took effect; None if with this result it cannot take effect in this state.

        Of a pending operation the result is unknown, and not to be looked at.
        """
        raise NotImplementedError

    def is_pure(self, operation: Operation) -> bool:
        """Whether the operation, with this result, leaves every state as it is; of a pending one, with any result."""
        del operation
        return False

    def rank(self, operation: Operation) -> int | None:
        """A number that rises in the order in which operations took effect; None where the answer does not tell."""
        del operation
        return None

    def prepared(self, operations: Sequence[Operation]) -> tuple[Model, Sequence[Operation]]:
        """The model and the operations to search with, once all operations on one key are known."""
        return self, operations

    def describe(self, state: Any) -> str:
        """A state, for people."""
        return repr(state)


class CasRegister(Model):
    """One value that is read, written, and compared-and-set.

    Its operations: ``read`` (returns the value), ``write`` (of the argument) and ``cas`` (the argument is a pair, the old
    and the new value; returns whether it was done, or ends in a `VersionConflictError`). One that ended in any other
    definite error did not happen.

    Args:
        initial: The value before the first operation. Values are to be hashable.
    """

    def __init__(self, initial: Any = None) -> None:
        self.initial: Any = (initial,)

    @override
    def step(self, state: tuple[Any], operation: Operation) -> tuple[Any] | None:
        (value,) = state
        known = not operation.pending
        if operation.op == "read":
            told = known and operation.error is None
            return state if not told or operation.result == value else None
        if operation.op == "write":
            return state if operation.error is not None else (operation.arg,)
        old, new = operation.arg
        if _failed(operation):
            return state if value != old else None
        if operation.error is not None:
            return state
        return (new,) if value == old else None

    @override
    def is_pure(self, operation: Operation) -> bool:
        return operation.op == "read" or operation.error is not None or _failed(operation)

    @override
    def describe(self, state: tuple[Any]) -> str:
        return f"value {state[0]!r}"


def _failed(operation: Operation) -> bool:
    """Whether a ``cas`` is known to have found another value."""
    if operation.op != "cas" or operation.pending:
        return False
    return operation.error is VersionConflictError if operation.error is not None else operation.result is False


class _Held(NamedTuple):
    """What a store keeps under a key.

    Args:
        revision: `ABSENT` if there is no record; None if its writer's answer was lost, and nobody has seen it yet.
        floor: The highest revision that was used; where the revision is None, the least that it can be.
        value: The bytes.
        write_id: The name of the write.
        perishable: Whether it may have expired: it was written with a TTL.
    """

    revision: int | None
    floor: int
    value: bytes = b""
    write_id: str | None = None
    perishable: bool = False


#: No record, and none before.
_AT_FIRST = _Held(ABSENT, 0)


@frozen
class VersionedRegister(Model):
    """One key of a `resilience.typing.Store`: loads, compare-and-sets and removals, as `History.wrap` writes them down.

    The key is absent at first. Revisions must rise, through removals too. Whether a record with a TTL has expired, how
    often it was renewed, and whether a guard held, is left open: no correct store is accused, whatever its clock does.

    Args:
        known: The revisions whose writers are known; `check_linearizable` fills it in.
    """

    known: frozenset[int] = frozenset()
    initial: Any = field(default=_AT_FIRST, init=False)

    @override
    def step(self, state: _Held, operation: Operation) -> _Held | None:
        verb = operation.arg
        if operation.error is not None:
            return self._refused(state, operation)
        if isinstance(verb, Swap):
            return self._swapped(state, verb, operation)
        if isinstance(verb, Remove):
            return self._removed(state, verb, operation)
        return state if operation.pending else self._shows(state, operation.result)

    def _swapped(self, state: _Held, verb: Swap, operation: Operation) -> _Held | None:
        before = self._as_expected(state, verb.expected)
        if before is None:
            return None
        written = _Held(None, before.floor + 1, verb.value, verb.write_id, verb.ttl is not None)
        if operation.pending:
            return written
        reply = cast("Versioned[bytes]", operation.result)
        if reply.revision <= before.floor or not _same(written, reply):
            return None
        return written._replace(revision=reply.revision, floor=reply.revision)

    def _removed(self, state: _Held, verb: Remove, operation: Operation) -> _Held | None:
        if state.revision == ABSENT:
            return None if operation.pending or operation.result else state
        before = self._as_expected(state, verb.expected) if operation.pending or operation.result else None
        return None if before is None else _Held(ABSENT, before.floor)

    def _refused(self, state: _Held, operation: Operation) -> _Held | None:
        if operation.error is not VersionConflictError:
            return state
        there = cast("Versioned[bytes] | None", operation.result)
        return None if _agrees(operation.arg, there) else self._shows(state, there)

    def _shows(self, state: _Held, there: Versioned[bytes] | None) -> _Held | None:
        """The state after somebody saw this; None if it cannot be seen in this state."""
        if there is None:
            return state if state.revision == ABSENT else None
        return self._at(state, there.revision) if _same(state, there) else None

    def _as_expected(self, state: _Held, expected: Expected) -> _Held | None:
        """The state, if it can be as expected; whoever expected a revision that nobody knew has settled it."""
        if expected is ANY:
            return state
        if expected is VACANT:
            return state if state.revision == ABSENT or state.perishable else None
        return self._at(state, expected.revision if isinstance(expected, Seen) else expected)

    def _at(self, state: _Held, revision: int) -> _Held | None:
        """The state, if it can be at this revision."""
        if state.revision is None and revision not in self.known and revision >= state.floor:
            return state._replace(revision=revision, floor=revision)
        return state if state.revision == revision else None

    @override
    def is_pure(self, operation: Operation) -> bool:
        shown = found_by(operation)
        if shown is not None and shown.revision not in self.known:
            return False  # it may settle which revision a pending write has got
        if isinstance(operation.arg, Load) or operation.error is not None:
            return True
        return isinstance(operation.arg, Remove) and not operation.pending and not operation.result

    @override
    def rank(self, operation: Operation) -> int | None:
        written = written_by(operation)
        return None if written is None else written.revision

    @override
    def prepared(self, operations: Sequence[Operation]) -> tuple[Model, Sequence[Operation]]:
        """Pending writes that were seen are known to have been done, with the revision under which they were seen."""
        known = {revision for revision in map(self.rank, operations) if revision is not None}
        seen: dict[int, tuple[int, Versioned[bytes]]] = {}
        for operation in operations:
            found, returned = found_by(operation), operation.returned
            if found is not None and returned is not None and found.revision not in known:
                before, _ = seen.get(found.revision, (returned, found))
                seen[found.revision] = min(before, returned), found
        done: dict[Operation, Operation] = {}
        for revision, (before, found) in seen.items():
            writer = _writer(operations, found, before)
            if writer is not None:
                done[writer] = evolve(writer, returned=before, result=found)
                known.add(revision)
        return evolve(self, known=frozenset(known)), [done.get(operation, operation) for operation in operations]

    @override
    def describe(self, state: _Held) -> str:
        if state.revision == ABSENT:
            return f"no record, after revision {state.floor}" if state.floor else "no record"
        return f"revision {state.revision or 'unknown'}, {state.value!r}"


def _writer(operations: Iterable[Operation], seen: Versioned[bytes], before: int) -> Operation | None:
    """The pending write that must have written this; None if there is none, or if it may be one of several.

    The same write sent again counts as one, the earliest, if it expects a revision: no more than one of them was done.
    """
    able = [
        operation
        for operation in operations
        if operation.pending
        and operation.called < before
        and isinstance(operation.arg, Swap)
        and (operation.arg.value, operation.arg.write_id) == (seen.value, seen.write_id)
    ]
    if not able:
        return None
    verbs = {operation.arg for operation in able}
    expected = able[0].arg.expected
    once = len(verbs) == 1 and isinstance(expected, int) and expected != ABSENT
    return min(able, key=lambda operation: operation.called) if len(able) == 1 or once else None


def _same(state: _Held, there: Versioned[bytes]) -> bool:
    """Whether the contents are the same, and have expired only if they can."""
    return (state.value, state.write_id) == (there.value, there.write_id) and (state.perishable or not there.expired)


def _agrees(verb: Swap | Remove, there: Versioned[bytes] | None) -> bool:
    """Whether the record is as the verb expects, for certain, so that there is no conflict."""
    expected = verb.expected
    if there is None and isinstance(verb, Remove):
        return True
    if expected is ANY:
        return True
    if expected is VACANT:
        return there is None or there.expired
    if isinstance(expected, Seen):
        return there is not None and (there.revision, there.beats) == (expected.revision, expected.beats)
    return expected == (ABSENT if there is None else there.revision)
