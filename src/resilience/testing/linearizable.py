"""Whether a history is linearizable: whether each operation can have taken effect at one moment between call and return.

The search is that of Wing and Gong with Lowe's memory: of the operations that may come next (nothing else had returned
before they were called) one is tried after another, depth first, and no situation is looked into twice. A situation is
the first operation that is not yet explained, a bit for each one after it, a bit for each pending one, and the state: a
few small integers however long the history. Histories fall apart by their keys, and each key is checked alone.

The cost is in operations at the same time on the same key, and above all in pending ones, which stay possible for ever:
up to ten clients on a key and one unknown outcome in a hundred are checked at tens of thousands of operations a second.
Whoever knows the order of his writes from their answers (`VersionedRegister` does) hardly pays at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from attrs import evolve, frozen

from resilience._core import checks
from resilience._io.clock import SystemClock
from resilience.testing.history import History, Operation
from resilience.testing.models import Model
from resilience.typing import Seconds


__all__ = ["Linearizability", "check_linearizable"]

#: Operations that an explanation of a failure shows.
_SHOWN = 5

#: Situations between two looks at the clock; fewer than that are looked into however late it is.
_STRIDE = 256


@frozen(repr=False)
class Linearizability:
    """What came of a check. As a truth value it says whether the history is linearizable; undecided, it has none.

    Args:
        ok: True, False, or None: the time limit came first.
        operations: How many operations were checked, or were to be checked.
        key: Where it failed, or was undecided; None otherwise, or where keys were not told apart.
        explained: How many operations on that key the longest explanation has; pending ones are not counted.
        state: What the key held then, for people.
        stuck: At most five operations, none of which can come next.
    """

    ok: bool | None
    operations: int
    key: Hashable = None
    explained: int = 0
    state: str = ""
    stuck: tuple[Operation, ...] = ()

    def __bool__(self) -> bool:
        if self.ok is None:
            raise TimeoutError(str(self))
        return self.ok

    def __str__(self) -> str:
        if self.ok:
            return f"linearizable: {self.operations} operations"
        where = "" if self.key is None else f" at key {self.key!r}"
        if self.ok is None:
            return f"undecided{where}: {self.operations} operations were too many for the time limit"
        lines = "".join(f"\n  {operation!r}" for operation in self.stuck)
        return (
            f"not linearizable{where}: after {self.explained} operations there is {self.state}, "
            f"and none of these can come next:{lines}"
        )

    __repr__ = __str__


def check_linearizable(
    history: History | Iterable[Operation], model: Model, *, per_key: bool = True, time_limit: Seconds = 10.0
) -> Linearizability:
    """Whether some order of the operations, one that keeps to what returned before what, is one that the model allows.

    Args:
        history: What was done, no longer under way.
        model: What the object may do: `VersionedRegister` for stores, `CasRegister`, or a `Model` of your own.
        per_key: Whether each key is an object of its own; otherwise the whole history is of one.
        time_limit: Seconds of real time for the whole check.

    Returns:
        Whether it is, and if not, where it fails: ``assert found, found`` says it all. An undecided one raises
        `TimeoutError` when it is asked for its truth.

    >>> from resilience.testing.history import History
    >>> from resilience.testing.models import CasRegister
    >>> history = History()
    >>> history.run("Ada", "write", "x", 1, lambda: None)
    >>> stale = history.run("Bob", "read", "x", None, lambda: 0)
    >>> check_linearizable(history, CasRegister(initial=0))
    not linearizable at key 'x': after 1 operations there is value 1, and none of these can come next:
      Bob: read('x') -> 0  [2, 3]
    """
    until = _now() + checks.seconds("time_limit", time_limit)
    operations = history.operations if isinstance(history, History) else tuple(history)
    groups: dict[Hashable, list[Operation]] = {}
    for operation in operations:
        groups.setdefault(operation.key if per_key else None, []).append(operation)
    found = Linearizability(True, len(operations))
    # The short ones first: they are soon done, and a key that is too hard leaves the others their share of the time.
    in_order = sorted(groups.items(), key=lambda item: len(item[1]))
    for left, (key, group) in zip(range(len(groups), 0, -1), in_order, strict=True):
        now = _now()
        one = _Search(*model.prepared(group), now + (until - now) / left).run()
        if one.ok is False:
            return evolve(one, operations=len(operations), key=key)
        if one.ok is None:
            found = evolve(found, ok=None, key=key)
    return found


#: A situation: the first operation not yet explained, bits for those from there on, bits for the pending ones, the state.
_Situation: TypeAlias = tuple[int, int, int, Any]


class _Search:
    """One key. Operations that returned are numbered by their calls; a pending one has the complement of its number."""

    def __init__(self, model: Model, operations: Sequence[Operation], until: float) -> None:
        in_order = sorted(operations, key=lambda operation: operation.called)
        self._model = model
        self._until = until
        self._done = [operation for operation in in_order if not operation.pending]
        # Whether a pending read took place is nothing to anybody.
        self._pending = [operation for operation in in_order if operation.pending and not model.is_pure(operation)]
        self._calls = [operation.called for operation in self._done]
        self._returns = [operation.returned or 0 for operation in self._done]
        self._pure = [model.is_pure(operation) for operation in self._done]
        self._predecessors = _predecessors([model.rank(operation) for operation in self._done])
        self._furthest: tuple[int, Any, list[int]] = (-1, None, [])

    def run(self) -> Linearizability:
        """Look for an order, until there is one, there is none, or the time is over."""
        count = len(self._done)
        if not count:
            return Linearizability(True, 0)
        start: _Situation = (0, 0, 0, self._model.initial)
        known: set[_Situation] = {start}
        path = [self._moves(start)]
        looks = 0
        while path:
            looks += 1
            if looks % _STRIDE == 0 and _now() > self._until:
                return Linearizability(None, count)
            for situation in path[-1]:
                if situation not in known:
                    if situation[0] == count:
                        return Linearizability(True, count)
                    known.add(situation)
                    path.append(self._moves(situation))
                    break
            else:
                path.pop()
        explained, state, stuck = self._furthest
        return Linearizability(
            False,
            count,
            explained=explained,
            state=self._model.describe(state),
            stuck=tuple(self._done[number] for number in stuck[:_SHOWN]),
        )

    def _moves(self, situation: _Situation) -> Iterator[_Situation]:
        """The situations that can follow; only one of them where an operation that changes nothing can come next."""
        base, window, lost, state = situation
        candidates = self._candidates(base, window, lost)
        step = self._model.step
        following: list[tuple[int, Any]] = []
        for number in candidates:
            after = step(state, self._operation(number))
            if after is None:
                continue
            if number >= 0 and self._pure[number]:
                return iter([_advanced(situation, number, state)])
            if number < 0 or self._in_turn(number, base, window):
                following.append((number, after))
        explained = base + window.bit_count()
        if explained > self._furthest[0]:
            self._furthest = explained, state, [number for number in candidates if number >= 0]
        return iter([_advanced(situation, number, after) for number, after in following])

    def _candidates(self, base: int, window: int, lost: int) -> list[int]:
        """Who may come next: called before any of the others had returned. Who returned first is tried first."""
        calls, returns = self._calls, self._returns
        horizon = returns[base]
        some: list[int] = []
        number = base
        while number < len(calls) and calls[number] < horizon:
            if not window >> (number - base) & 1:
                some.append(number)
                horizon = min(horizon, returns[number])
            number += 1
        some = sorted((number for number in some if calls[number] < horizon), key=returns.__getitem__)
        pending = enumerate(self._pending)
        return some + [~at for at, one in pending if one.called < horizon and not lost >> at & 1]

    def _in_turn(self, number: int, base: int, window: int) -> bool:
        """Whether all that is known to have taken effect before it is explained."""
        before = self._predecessors[number]
        return before < base or bool(window >> (before - base) & 1)

    def _operation(self, number: int) -> Operation:
        return self._done[number] if number >= 0 else self._pending[~number]


def _advanced(situation: _Situation, number: int, state: Any) -> _Situation:
    """The situation after an operation."""
    base, window, lost, _ = situation
    if number < 0:
        return base, window, lost | 1 << ~number, state
    window |= 1 << (number - base)
    while window & 1:
        window >>= 1
        base += 1
    return base, window, lost, state


def _predecessors(ranks: Sequence[int | None]) -> list[int]:
    """For each operation, which one took effect last before it, as far as answers tell; -1 for none."""
    before = [-1] * len(ranks)
    ranked = sorted((rank, number) for number, rank in enumerate(ranks) if rank is not None)
    for (_, first), (_, second) in itertools.pairwise(ranked):
        before[second] = first
    return before


def _now() -> float:
    """Real seconds, also where time is virtual: a search is real work."""
    return SystemClock.monotonic()
