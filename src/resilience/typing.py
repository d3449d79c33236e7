"""The vocabulary as types: what users may bring of their own, and the aliases that signatures are written in.

Protocols, not base classes: anything of the right shape will do, and nothing need be inherited. What each word
means is in the glossary; here is what each thing must be able to do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable


if TYPE_CHECKING:
    from resilience._core.events import Event
    from resilience._core.verdict import Verdict

__all__ = ["Backoff", "Clock", "Hook", "Joinable", "On", "Rng", "Seconds", "Stop"]

#: A length of time: seconds as a number, or a `timedelta`.
Seconds: TypeAlias = float | timedelta

#: What a policy tries again on: an exception class, a predicate, a classifier, or a tuple of these (any of them).
On: TypeAlias = "type[Exception] | Callable[[Exception], Verdict | bool | None] | tuple[On, ...]"

#: What a user passes to be told: it receives frozen events, its return value is ignored, its errors are logged.
Hook: TypeAlias = "Callable[[Event], object]"


@runtime_checkable
class Backoff(Protocol):
    """The rule that says how long to wait between attempts."""

    def delay(self, attempt: int, /) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) has failed: finite and not negative.

        Called from any thread or task: it keeps no state from one call to the next.
        """
        ...


class Rng(Protocol):
    """A source of chance; `random.Random` is one."""

    def random(self) -> float:
        """A number drawn evenly from [0, 1)."""
        ...


class Joinable(Protocol):
    """A background thread, as its starter sees it."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for `timeout` seconds."""
        ...

    def is_alive(self) -> bool:
        """Whether it still runs."""
        ...


class Clock(Protocol):
    """Time, passed in: the only way this library reads a clock, sleeps, waits, or starts a thread."""

    def monotonic(self) -> float:
        """Seconds from an origin that means nothing; never goes back. For durations and deadlines."""
        ...

    def boottime(self) -> float:
        """Seconds since this machine booted, its sleep included: comparable between processes."""
        ...

    def wall(self) -> float:
        """Unix seconds, for stamps people read; may jump, so never for a duration."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Block this thread."""
        ...

    def wait(self, event: threading.Event, timeout: float | None = None, /) -> bool:
        """Block until the event is set or `timeout` seconds have passed; whether it is set."""
        ...

    def spawn(self, fn: Callable[[], None], /, *, name: str) -> Joinable:
        """Start a daemon thread."""
        ...

    def announce(self, seconds: float, /) -> None:
        """Told of each wait that async code is about to make by its event loop's own time."""
        ...


class Stop(Protocol):
    """Something live that may end the work before its deadline: a lease that can be lost, a shutdown."""

    @property
    def at(self) -> float:
        """The monotonic moment at which, as known now, work must have ended; `math.inf` if unknown. May move."""
        ...

    def error(self) -> Exception | None:
        """What to raise in work that has been stopped; None while it may go on."""
        ...

    def watch(self, wake: Callable[[], object], /) -> Callable[[], None]:
        """Call `wake` once, from any thread, when the work is stopped (at once if it is); returns how to undo this."""
        ...
