"""Waits that end where the work must: at the deadline around them, and at once when a stop ends it. Twins, one for each colour."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from resilience._io import aio, world
from resilience._io.ambient import scope_now, watching
from resilience.typing import Stop


__all__ = ["alinger", "apause", "arest", "linger", "pause", "rest"]


def rest(seconds: float, stops: Sequence[Stop]) -> None:
    """Wait; a stop ends it early. No call for a wait of nothing: `time.sleep(0)` costs 75 µs on Linux."""
    if seconds <= 0:
        return
    clock = world.current.clock
    if stops:
        woken = threading.Event()
        with watching(stops, woken.set):
            clock.wait(woken, seconds)
    else:
        clock.sleep(seconds)


async def arest(seconds: float, stops: Sequence[Stop]) -> None:
    """The same by the event loop's time; for a wait of nothing the other tasks have their turn."""
    if seconds <= 0:
        await aio.checkpoint()
    elif stops:
        await aio.wait_stopped(stops, seconds)
    else:
        await aio.sleep(seconds)


def pause(seconds: float) -> None:
    """Wait for all of it, or raise now if the deadline leaves no room for it: never sleep only to give up."""
    scope = scope_now()
    if seconds > scope.remaining:
        raise scope.error()
    rest(seconds, scope.stops)
    scope.check()


async def apause(seconds: float) -> None:
    """As `pause`."""
    scope = scope_now()
    if seconds > scope.remaining:
        raise scope.error()
    await arest(seconds, scope.stops)
    scope.check()


def linger(seconds: float) -> None:
    """Wait for something that may come, but no longer than the work may go on; raise if that is over."""
    scope = scope_now()
    rest(min(seconds, scope.remaining), scope.stops)
    scope.check()


async def alinger(seconds: float) -> None:
    """As `linger`."""
    scope = scope_now()
    await arest(min(seconds, scope.remaining), scope.stops)
    scope.check()
