"""The machine's time: the one place in this library that imports `time`, and the one that starts threads."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable


__all__ = ["SystemClock"]


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@functools.lru_cache(maxsize=1)
def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:  # not Linux, or no /proc: a parent and its child still share one boot
        boot = ""
    try:
        namespace = os.readlink("/proc/self/ns/time")
    except OSError:  # a kernel before 5.6, or not Linux
        namespace = ""
    return f"{boot};{namespace}"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_boot.cache_clear)  # the child may be in another time namespace


class SystemClock:
    """The `Clock` of every day. Stateless; safe for threads, tasks and forks."""

    __slots__ = ()

    # The C functions themselves, so that reading the clock through this object costs no Python frame.
    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    # Where there is no boot clock (macOS, Windows), the monotonic one counts from boot as well, without the sleep.
    boottime = staticmethod(_boottime if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic)
    boot = staticmethod(_boot)
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
