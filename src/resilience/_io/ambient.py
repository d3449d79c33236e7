"""What a task sees around it: the Scope, until when its work may go on, and the retries that it is inside of.

A Scope holds **one fixed deadline and the live
stops**. The deadline never moves: entering a tighter one makes a new Scope, entering a looser one changes nothing. A
stop is live: a lease renewed is a lease that goes on, so what a stop says is asked each time and never stored. Hence
the three questions have three answers:

- *does a wait fit?* asks only the deadline: a lease that will be renewed must not make a retry give up;
- *how long may this one I/O call take?* asks both, at this moment;
- *may work go on?* is answered by an error: the deadline's, or the stop's.

What the retries around say to those inside them stands beside it: how many of them are trying again, and whether one
shields what is inside. That is live too: it ends with the attempt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeAlias, cast

from resilience._core import checks
from resilience._io import emit, world
from resilience.errors import DeadlineExceededError
from resilience.typing import Seconds, Stop


__all__ = [
    "ALONE",
    "UNBOUNDED",
    "Mark",
    "Retries",
    "Scope",
    "depth_of",
    "enter_retries",
    "enter_scope",
    "leave_retries",
    "leave_scope",
    "new_scope",
    "retries_now",
    "scope_now",
    "scoped",
    "stopping",
    "watching",
]


class Scope(NamedTuple):
    """Until when, and what else may end it. A tuple, because it is made on the hot path of every limited call.

    Args:
        at: The monotonic moment; `math.inf` for none.
        limit: The timeout it was made from, in seconds; None if only the moment was given.
        name: Which deadline, for people.
        stops: What else may end the work.
        entry: What entered it, to find it again on leaving; None where nothing need be found.
        task: The task whose timer enforces it. A task that merely inherited the Scope is not cancelled by it.
    """

    at: float
    limit: float | None
    name: str | None
    stops: tuple[Stop, ...]
    entry: object = None
    task: object = None

    def __str__(self) -> str:
        named = f"the deadline {self.name!r}" if self.name else "the deadline"
        return named if self.limit is None else f"{named} of {self.limit:g} s"

    def tighter(self, at: float, limit: float | None, name: str | None, task: object = None) -> Scope:
        """The Scope of a deadline inside this one that is earlier; what else holds here holds there."""
        return new_scope(Scope, (at, limit, name, self.stops, None, task))

    def error(self) -> DeadlineExceededError:
        """What work that overran this deadline raises; the observers are told."""
        self.tell_overrun()
        return DeadlineExceededError(self.limit, self.name)

    def tell_overrun(self) -> None:
        """Tell the observers that this deadline has ended work."""
        if world.current.observers:
            emit.tell_overrun(self.limit, self.name, depth_of(retries_now()))

    def check(self) -> None:
        """Raise if the work may not go on.

        Raises:
            DeadlineExceededError: The moment has passed.
            Exception: A stop ended the work: a lease that was lost raises its own error.
        """
        for stop in self.stops:
            ended = stop.error()
            if ended is not None:
                raise ended
        if self.at <= world.current.monotonic():
            raise self.error()

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, never below 0; `math.inf` without one."""
        return math.inf if self.at == math.inf else max(0.0, self.at - world.current.monotonic())

    def timeout(self, cap: Seconds | None = None) -> float | None:
        """Seconds that one I/O call may take now: until the deadline or the earliest stop, and no more than `cap`.

        Never 0 or less, which sockets take for "do not block": where nothing is left, `check` raises.

        Args:
            cap: Seconds, above 0; None for no cap.

        Returns:
            Seconds, for the ``timeout=`` of whatever does the I/O; None if nothing limits it.
        """
        self.check()
        now = world.current.monotonic()
        end = min([self.at, *(stop.at for stop in self.stops)])
        left = math.inf if end == math.inf else max(end - now, LEAST_TIMEOUT)
        if cap is not None:
            left = min(left, checks.seconds("cap", cap))
        return None if left == math.inf else left


#: `Scope(…)`, of all its fields in order, without the constructor that `NamedTuple` writes: half the cost.
new_scope = cast("Callable[[type[Scope], tuple[object, ...]], Scope]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]

#: Seconds; what an I/O call gets when a stop's moment has come but the stop has not ended the work yet.
LEAST_TIMEOUT = 0.001

#: No deadline, no stop: what is in force where nobody asked for anything.
UNBOUNDED = Scope(math.inf, None, None, ())

SCOPE: ContextVar[Scope] = ContextVar("resilience_scope", default=UNBOUNDED)

# The variable's methods, bound once: looking them up costs as much as calling them.
scope_now = SCOPE.get
enter_scope = SCOPE.set
leave_scope = SCOPE.reset


#: An attempt, as what was started in it sees it: its retry's name for as long as the attempt lasts, then emptied. A task
#: or thread that outlives the attempt is neither shielded by it nor tried again with it any more.
Mark: TypeAlias = list[str]


#: What the retries around say to those inside them: a mark for each that is trying again, in its second or a later attempt;
#: and the mark of the nearest attempt whose retry has ``shield_inner``. A bare tuple: it is made for every shielded call.
Retries: TypeAlias = tuple[tuple[Mark, ...], Mark | None]

#: No retry around.
ALONE: Retries = ((), None)

RETRIES: ContextVar[Retries] = ContextVar("resilience_retries", default=ALONE)

retries_now = RETRIES.get
enter_retries = RETRIES.set
leave_retries = RETRIES.reset


def depth_of(retries: Retries) -> int:
    """How many of them are trying again at this moment."""
    return sum(map(bool, retries[0]))


@contextmanager
def watching(stops: Sequence[Stop], wake: Callable[[], object]) -> Generator[None]:
    """While the block waits, let every stop wake it; afterwards none remembers it."""
    with ExitStack() as watches:
        for stop in stops:
            watches.callback(stop.watch(wake))
        yield


@contextmanager
def stopping(stop: Stop) -> Generator[Stop]:
    """Let `stop` end the work of the block, beside whatever else may."""
    scope = scope_now()
    # The deadline around stays what it was, the task whose timer enforces it included; what is new is not its entry.
    token = enter_scope(scope._replace(stops=(*scope.stops, stop), entry=None))
    try:
        yield stop
    finally:
        leave_scope(token)


@contextmanager
def scoped(at: float) -> Generator[None]:
    """A Scope of its own for the block, whatever is around it: no stops, and no deadline but the moment `at`."""
    token = enter_scope(new_scope(Scope, (at, None, None, (), None, None)))
    try:
        yield
    finally:
        leave_scope(token)
