"""Every interleaving of a few clients, with everything that may befall them: the proof of a protocol over a store.

A protocol is a generator of steps, and each ``yield`` a place where another client may go first, where an answer may be
lost, or where this client may die. `Interleavings` follows all such schedules of a small scenario, breadth first, so that
what it finds wrong it shows by a shortest schedule. Two schedules that lead to the same records, with clients that were
told the same, are followed as one (`_states` says why), and so millions of them cost seconds.

Nothing happens by chance and no time passes: a lease runs out where the explorer says so, as a fault anywhere, and of its
own accord only where everybody waits. If that does not help anybody, it is a deadlock. A client that ends with an error
has ended: whether it may is for `at_end` to say; an `AssertionError` of a client is always wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import frozen

from resilience._core import checks
from resilience._core.steps import Steps
from resilience._io.clock import SystemClock
from resilience.errors import ConfigError
from resilience.testing._modelled import Model
from resilience.testing._moves import Faults, Move, Moves
from resilience.testing._states import Histories, Interrupted, State, WaveringError
from resilience.testing._views import ClientView, View, Violation, told


__all__ = ["ClientView", "Explored", "Faults", "Interleavings", "Interrupted", "View", "Violation", "WaveringError"]

Maker: TypeAlias = "Callable[[], Steps[Any]]"
#: What must hold: None or True where it does; False, a text, or an `AssertionError` where it does not.
Check: TypeAlias = "Callable[[View], bool | str | None]"


@frozen(eq=False)
class Explored:
    """What an exploration found. As a bool: whether everything was seen, and nothing was wrong.

    Args:
        states: How many different states were looked at.
        runs: How many schedules, from the start to an end, those stand for.
        seconds: How long it took.
        complete: Whether these are all; False if the limit was reached, or it ended at a violation.
        violations: What is wrong, by the length of its schedule.
    """

    states: int
    runs: int
    seconds: float
    complete: bool
    violations: tuple[Violation, ...]

    def assert_none(self) -> None:
        """Fail a test, unless everything was seen and nothing was wrong.

        Raises:
            AssertionError: With the schedules of what is wrong; or because the limit was reached.
        """
        if self.violations:
            raise AssertionError("\n\n".join([str(self), *map(str, self.violations)]))
        if not self.complete:
            raise AssertionError(str(self))

    def __bool__(self) -> bool:
        if not self.complete and not self.violations:
            raise RuntimeError(str(self))
        return not self.violations

    def __str__(self) -> str:
        wrong = f"{len(self.violations)} wrong" if self.violations else "nothing wrong"
        looked = f"{self.states} states of {self.runs} complete runs in {self.seconds:.1f} s"
        if self.complete or self.violations:
            return f"{looked}: {wrong}"
        return f"{looked}: nothing wrong so far, and undecided: there are more states than it was to look at"


class Interleavings:
    """All schedules of a few clients of one store.

    Clients must be deterministic: what is random is passed in, and nothing is shared between them or between runs. Their
    own functions (`Call` steps) are plain functions, and carried out at once.

    Args:
        clients: Each makes the steps of one client, a new generator every time; by name, or in order.
        records: What is in the store at first, by key; nothing of it expires.
        faults: What may befall the clients.
        invariant: What must hold in every state.
        at_end: What must hold where every client has returned, raised or crashed.
        clock_stands: Whether the store's wall clock stands, as after it was set far back: then revisions are counted for
            each key alone, and say nothing about which of two keys was written first.

    Raises:
        ConfigError: No clients.

    >>> from resilience.stores import ANY
    >>> from resilience.stores.kit import Load, Swap
    >>> from resilience.testing.interleavings import Interleavings
    >>> def increment():
    ...     there = yield Load("count")
    ...     yield Swap("count", b"%d" % (int(there.value) + 1), ANY)
    >>> def both_counted(view):
    ...     return view.value("count") == b"2"
    >>> found = Interleavings([increment] * 2, records={"count": b"0"}, at_end=both_counted).explore()
    >>> print(found.violations[0])
    at the end it does not hold
      1  client 1  Load(key='count') → revision 1: b'0'
      2  client 2  Load(key='count') → revision 1: b'0'
      3  client 1  Swap(key='count', value=b'1', expected=ANY) → revision 2: b'1'
      4  client 2  Swap(key='count', value=b'1', expected=ANY) → revision 3: b'1'
    then:
         'count': revision 3: b'1'
         client 1 returned None
         client 2 returned None
    """

    def __init__(
        self,
        clients: Mapping[str, Maker] | Sequence[Maker],
        *,
        records: Mapping[str, bytes] | None = None,
        faults: Faults = Faults(),  # noqa: B008  # frozen
        invariant: Check | None = None,
        at_end: Check | None = None,
        clock_stands: bool = False,
    ) -> None:
        named = clients if isinstance(clients, Mapping) else {f"client {n}": fn for n, fn in enumerate(clients, 1)}
        if not named:
            raise ConfigError("clients", clients, "at least one")
        self._names = tuple(named)
        self._makers = tuple(named.values())
        self._records = dict(records or {})
        self._faults = faults
        self._invariant = invariant
        self._at_end = at_end
        self._ticks = not checks.flag("clock_stands", clock_stands)

    def explore(self, most_states: int = 200_000, *, most_violations: int = 1) -> Explored:
        """Follow every schedule.

        Args:
            most_states: Where to give up.
            most_violations: How many different ones to look for; what lies behind one is not followed.

        Raises:
            WaveringError: A client is not deterministic.
        """
        model = Model(ticks=self._ticks)
        moves = Moves(model, Histories(self._names, self._makers), self._faults)
        clients = tuple(moves.start(who) for who in range(len(self._names)))
        start = State(model.start(self._records), clients, (), self._faults.budget, 0, None)
        search = _Search(moves, self._wrong, start, checks.at_least_one("most_states", most_states))
        clock = SystemClock()
        began = clock.monotonic()
        search.run(checks.at_least_one("most_violations", most_violations))
        violations = tuple(
            Violation(what, told(self._names, search.way_to(state)), self._view(state))
            for what, state in search.wrong.items()
        )
        complete = not search.limited and not violations
        return Explored(search.looked_at, search.runs, clock.monotonic() - began, complete, violations)

    def _view(self, state: State) -> View:
        return View(self._faults.spent(state.left), state.rests, state, self._names)

    def _wrong(self, state: State, *, stuck: bool) -> str | None:
        """What is wrong with a state; None if nothing is."""
        for name, client in zip(self._names, state.clients, strict=True):
            if isinstance(client.point.error, AssertionError):
                return f"{name} failed: {client.point.error}"
        if stuck:
            return "deadlock: nobody who has not ended will ever go on"
        wrong = self._invariant and _complaint("the invariant", self._invariant, self._view(state))
        if wrong or not state.has_ended:
            return wrong
        return self._at_end and _complaint("at the end it", self._at_end, self._view(state))


class _Search:
    """Breadth first. Every move leaves its mark on the state, so all ways to one state are equally long, and none leads back.

    Args:
        moves: What may happen next.
        judge: What is wrong with a state.
        start: The state that it begins with.
        most_states: Where to give up.
    """

    def __init__(self, moves: Moves, judge: Callable[..., str | None], start: State, most_states: int) -> None:
        self.looked_at = 0
        self.runs = 0
        self.limited = False
        self.wrong: dict[str, State] = {}
        self._moves = moves
        self._judge = judge
        self._most_states = most_states
        self._start = start
        self._before: dict[State, tuple[State, Move] | None] = {start: None}

    def run(self, most_violations: int) -> None:
        level = {self._start: 1}
        while level:
            following: dict[State, int] = {}
            for state, ways in level.items():
                self.looked_at += 1
                wrong = self._judge(state, stuck=self._moves.is_stuck(state))
                if wrong is not None:
                    self.wrong.setdefault(wrong, state)
                    if len(self.wrong) == most_violations:
                        return
                elif not self._follow(state, ways, following):
                    return
            level = following

    def _follow(self, state: State, ways: int, following: dict[State, int]) -> bool:
        """Make every move; whether there was room for the states it led to."""
        if state.has_ended and not state.late:
            self.runs += ways
        for move, after in self._moves.of(state):
            if after in following:
                following[after] += ways
            elif len(self._before) == self._most_states:
                self.limited = True
                return False
            else:
                self._before[after] = state, move
                following[after] = ways
        return True

    def way_to(self, state: State) -> list[tuple[State, Move, State]]:
        """Every move from the start to a state, with the states before and after it."""
        way: list[tuple[State, Move, State]] = []
        while (last := self._before[state]) is not None:
            way.append((last[0], last[1], state))
            state = last[0]
        return way[::-1]


def _complaint(name: str, check: Check, view: View) -> str | None:
    try:
        said = check(view)
    except AssertionError as error:
        return str(error) or f"{name} does not hold"
    if said is None or said is True:
        return None
    return said or f"{name} does not hold"
