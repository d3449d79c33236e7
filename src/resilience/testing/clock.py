"""Virtual time: a clock that moves when something waits, and only then.

The library takes all time from the World's clock, so swapping that (`virtual_time`) is enough, also for functions that
were decorated at import. Async code waits by its event loop; `VirtualClock.run_async` and `run_trio` run a program on a
loop whose time is this clock's: when every task is waiting, the clock jumps to the next moment at which one is not.
What it cannot move is real work: a thread, a child process, a peer on a socket. `hold` stops the jumps while such work
is under way.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from resilience._core import checks
from resilience._io import world
from resilience._io.budget import fresh_counts
from resilience.testing._loop import VirtualDeadlock, VirtualLoop
from resilience.typing import Seconds


if TYPE_CHECKING:
    from trio.testing import MockClock

__all__ = ["VirtualClock", "VirtualDeadlock", "virtual_time"]

T = TypeVar("T")

#: Unix seconds at virtual moment 0: a date that people recognise as made up (2001-09-09T01:46:40Z).
EPOCH = 1e9

_REAL_LOOP = (
    "virtual_time() is on, but this event loop runs on real time: run the test's coroutine with clock.run_async(...), "
    "or give your test framework clock.loop_factory; for trio, clock.run_trio(...)"
)


class VirtualClock:
    """A `resilience.typing.Clock` whose time passes only in waits, all of which are recorded.

    Starts at moment 0. Safe for threads, which however all move the one clock.

    >>> from resilience.testing import VirtualClock
    >>> clock = VirtualClock()
    >>> clock.sleep(3600)
    >>> clock.monotonic(), clock.waits
    (3600.0, [3600])
    """

    waits: list[float]
    """Every wait in seconds, in order: of synchronous code, and those the library announces in async code."""

    def __init__(self) -> None:
        self.waits = []
        self._now = 0.0
        self._epoch = EPOCH
        self._booted = 0.0
        self._boots = 1
        self._lock = threading.Lock()
        self._held = 0
        self._trio: MockClock | None = None

    # -- the protocol ------------------------------------------------------------------------------------------------

    def monotonic(self) -> float:
        """Virtual seconds since this clock was made."""
        trio = self._trio
        return self._now if trio is None else self._now + trio.current_time()

    def boottime(self) -> float:
        """Virtual seconds since this clock was made, or since `reboot`."""
        return self.monotonic() - self._booted

    def boot(self) -> str:
        """Which boot it is, counted by `reboot`."""
        return f"virtual boot {self._boots}"

    def wall(self) -> float:
        """Virtual Unix seconds, `jump_wall` included."""
        return self._epoch + self.monotonic()

    def sleep(self, seconds: float, /) -> None:
        """Let `seconds` pass at once."""
        self.advance(seconds)
        self.waits.append(seconds)

    def wait(self, event: threading.Event, timeout: float | None = None, /) -> bool:
        """As `threading.Event.wait`, with the timeout passing at once."""
        if not event.is_set():
            if timeout is None:
                raise VirtualDeadlock("waits without a limit for an event that nothing can set while it waits")
            if timeout > 0:
                self.sleep(timeout)
        return event.is_set()

    def spawn(self, fn: Callable[[], None], /, *, name: str) -> threading.Thread:
        """Start a real daemon thread."""
        thread = threading.Thread(target=fn, name=name, daemon=True)
        thread.start()
        return thread

    def announce(self, seconds: float, /) -> None:
        """Record a wait that async code is about to make; `RuntimeError` if its event loop runs on real time."""
        if self._trio is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                raise RuntimeError(_REAL_LOOP) from None
            if not isinstance(loop, VirtualLoop) or loop.virtual is not self:
                raise RuntimeError(_REAL_LOOP)
        self.waits.append(seconds)

    # -- moving it ---------------------------------------------------------------------------------------------------

    def advance(self, seconds: Seconds) -> None:
        """Let time pass, without recording it as a wait."""
        plain = checks.seconds("seconds", seconds, zero=True, longest=math.inf)
        with self._lock:
            if self._trio is None:
                self._now += plain
            else:
                self._trio.jump(plain)

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward, or back where negative; no duration may notice."""
        self._epoch += checks.number("seconds", seconds, "a finite number of seconds")

    def reboot(self) -> None:
        """Let the boot clock begin at 0 again, in another boot, as after a power cut; other clocks go on."""
        self._booted = self.monotonic()
        self._boots += 1

    @contextmanager
    def hold(self) -> Generator[None]:
        """While real work is under way (a thread, a child process, a peer on a socket), let no time pass."""
        self._hold(1)
        try:
            yield
        finally:
            self._hold(-1)

    def _hold(self, more: int) -> None:
        with self._lock:
            self._held += more
        if self._trio is not None:
            self._trio.autojump_threshold = math.inf if self._held else 0

    @property
    def held(self) -> bool:
        """Whether time must stand still."""
        return self._held > 0

    # -- running programs --------------------------------------------------------------------------------------------

    def loop_factory(self) -> asyncio.AbstractEventLoop:
        """A new asyncio event loop on this clock's time, for `asyncio.Runner` and for test frameworks."""
        return VirtualLoop(self)

    def run_async(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run an asyncio program on this clock's time, to its end.

        Raises:
            VirtualDeadlock: Every task waits, and for nothing that time will bring.
        """
        with asyncio.Runner(loop_factory=self.loop_factory) as runner:
            return runner.run(coroutine)

    def run_trio(self, fn: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run a trio program on this clock's time (by trio's own `MockClock`), to its end."""
        import trio  # noqa: PLC0415  # an extra
        from trio.testing import MockClock  # noqa: PLC0415

        self._trio = mock = MockClock(autojump_threshold=0)
        try:
            return trio.run(fn, *args, clock=mock)
        finally:
            self._trio = None
            self._now += mock.current_time()


@contextmanager
def virtual_time(*, seed: int = 0) -> Generator[VirtualClock]:
    """Let the whole library run on a fresh `VirtualClock` for the length of the block, in every thread.

    Functions decorated before are included; a `RetryBudget` starts empty, and has its counts back afterwards. Jitter is drawn from a generator with this seed, so a test that
    passes once passes always.

    Args:
        seed: Of the jitter.

    >>> from resilience import retry
    >>> from resilience.testing import Script, virtual_time
    >>> script = Script(ConnectionError("gone"), ConnectionError("gone"), "here")
    >>> with virtual_time() as clock:
    ...     retry(on=ConnectionError).call(script)
    'here'
    >>> len(clock.waits)
    2
    """
    clock = VirtualClock()
    other = world.World(clock=clock, rng=random.Random(seed), observers=world.current.observers)
    with world.swapped(other), fresh_counts():
        yield clock
