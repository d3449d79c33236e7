"""The machine's time: the one place in this library that imports `time`, and the one that starts threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


__all__ = ["SystemClock"]


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SystemClock:
    """The `Clock` of every day. Stateless; safe for threads, tasks and forks."""

    __slots__ = ()

    # The C functions themselves, so that reading the clock through this object costs no Python frame.
    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    # Where there is no boot clock (macOS, Windows), the monotonic one counts from boot as well, without the sleep.
    boottime = staticmethod(_boottime if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic)
    sleep = staticmethod(time.sleep)

    def wait(self, event: threading.Event, timeout: float | None = None, /) -> bool:
        """Block until the event is set or `timeout` seconds have passed; whether it is set."""
        return event.wait(timeout)

    def spawn(self, fn: Callable[[], None], /, *, name: str) -> threading.Thread:
        """Start a daemon thread."""
        thread = threading.Thread(target=fn, name=name, daemon=True)
        thread.start()
        return thread

    def announce(self, seconds: float, /) -> None:
        """Nothing to do: event loops wait by themselves."""
