"""Waits that end where the work must."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from resilience import deadline
from resilience._io import waiting
from resilience._io.ambient import stopping
from resilience.errors import DeadlineExceededError
from resilience.testing import VirtualClock, virtual_time


class Ended(Exception):
    pass


class Stop:
    """A stop that ends the work when told, or as soon as something waits for it."""

    at = 1e12

    def __init__(self, *, at_once: bool = True) -> None:
        self.ended = threading.Event()
        self.at_once = at_once

    def error(self) -> Exception | None:
        return Ended() if self.ended.is_set() else None

    def watch(self, wake: Callable[[], object]) -> Callable[[], None]:
        if self.at_once:
            self.ended.set()
            wake()
        return lambda: None


def run(clock: VirtualClock, colour: str, name: str, *args: Any) -> None:
    """Call one of the twins, in its colour."""
    if colour == "sync":
        getattr(waiting, name)(*args)
        return
    twin: Callable[..., Awaitable[None]] = getattr(waiting, f"a{name}")

    async def main() -> None:
        await twin(*args)

    if colour == "asyncio":
        clock.run_async(main())
    else:
        clock.run_trio(main)


colours = pytest.mark.parametrize("colour", ["sync", "asyncio", "trio"])


@colours
@pytest.mark.parametrize("name", ["pause", "linger"])
def test_it_waits(colour: str, name: str) -> None:
    with virtual_time() as clock:
        run(clock, colour, name, 2.0)
        assert clock.monotonic() == 2.0


@colours
def test_a_pause_that_does_not_fit_is_not_begun(colour: str) -> None:
    with virtual_time() as clock, deadline(1.0):
        with pytest.raises(DeadlineExceededError):
            run(clock, colour, "pause", 2.0)
        assert clock.monotonic() == 0


@colours
def test_a_linger_is_cut_at_the_deadline(colour: str) -> None:
    with virtual_time() as clock:
        with pytest.raises(DeadlineExceededError), deadline(1.0):
            run(clock, colour, "linger", 2.0)
        assert clock.monotonic() == pytest.approx(1.0)


@colours
@pytest.mark.parametrize("name", ["pause", "linger"])
def test_a_stop_ends_it(colour: str, name: str) -> None:
    with virtual_time() as clock, stopping(Stop()):
        with pytest.raises(Ended):
            run(clock, colour, name, 1000.0)
        assert clock.monotonic() < 1000


@colours
def test_a_stop_that_stays_quiet_ends_nothing(colour: str) -> None:
    with virtual_time() as clock, stopping(Stop(at_once=False)):
        run(clock, colour, "pause", 1.0)
        assert clock.monotonic() == pytest.approx(1.0)


@colours
def test_a_wait_of_nothing_is_no_wait(colour: str) -> None:
    with virtual_time() as clock:
        run(clock, colour, "pause", 0.0)
        assert clock.waits == []
