"""The virtual event loop: it jumps when nothing is ready, and never while real work is under way."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from resilience.testing import VirtualClock, VirtualDeadlock
from resilience.testing._loop import VirtualLoop


def test_the_loops_time_is_the_clocks() -> None:
    """Both agree at every moment, whoever moves it."""
    clock = VirtualClock()

    async def program() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        assert loop.virtual is clock
        assert loop.time() == clock.monotonic() == 0.0
        await asyncio.sleep(12.5)
        assert loop.time() == clock.monotonic() == 12.5
        clock.advance(1)
        assert loop.time() == 13.5

    clock.run_async(program())


def test_timers_fire_in_order_at_their_moments() -> None:
    """Each callback sees the moment it was set for."""
    clock = VirtualClock()
    seen: list[tuple[float, float]] = []

    async def program() -> None:
        loop = asyncio.get_running_loop()

        def note(at: float) -> None:
            seen.append((at, loop.time()))

        for at in (3.0, 1.0, 2.0, 1.0):
            loop.call_later(at, note, at)
        loop.call_later(0.5, print).cancel()
        await asyncio.sleep(5)

    clock.run_async(program())
    assert seen == [(1.0, 1.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


@pytest.mark.parametrize("start", [1e9, 2.0**40, 1e15])
def test_late_moments_do_not_make_the_loop_spin(start: float) -> None:
    """Where a float's step is above the loop's usual resolution, timers still come due."""
    clock, began = VirtualClock(), time.monotonic()
    clock.advance(start)
    step = math.ulp(start)

    async def program() -> int:
        rounds = 0
        for factor in (1, 1.5, 3, 1000 / 7):
            await asyncio.sleep(factor * step)
            rounds += 1
        return rounds

    assert clock.run_async(program()) == 4
    assert clock.monotonic() > start
    assert time.monotonic() - began < 2


def test_what_is_ready_comes_before_time() -> None:
    """A peer on a real socket that has answered is heard before the clock jumps."""
    clock = VirtualClock()
    first, second = socket.socketpair()

    async def program() -> bytes:
        reader, writer = await asyncio.open_connection(sock=first)
        second.sendall(b"answer\n")
        async with asyncio.timeout(0.001):
            line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return line

    with second:
        assert clock.run_async(program()) == b"answer\n"
    assert clock.monotonic() == 0.0


def test_a_thread_is_waited_for_in_real_time() -> None:
    """`to_thread` holds the clock: a timeout around it does not fire while the thread works."""
    clock = VirtualClock()

    def work() -> str:
        time.sleep(0.1)
        return "done"

    async def program() -> str:
        async with asyncio.timeout(1):
            return await asyncio.to_thread(work)

    assert clock.run_async(program()) == "done"
    assert clock.monotonic() == 0.0
    assert not clock.held


def test_a_thread_that_fails_lets_go_of_the_clock() -> None:
    """An error in the thread comes out, and time passes again."""
    clock = VirtualClock()

    async def program() -> float:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        await asyncio.sleep(60)
        return clock.monotonic()

    assert clock.run_async(program()) == 60.0
    assert not clock.held


def test_an_executor_that_refuses_lets_go_of_the_clock() -> None:
    """Work that was never begun does not stop time for ever."""
    clock = VirtualClock()
    pool = ThreadPoolExecutor(1)
    pool.shutdown()

    async def program() -> None:
        with pytest.raises(RuntimeError, match="shutdown"):
            await asyncio.get_running_loop().run_in_executor(pool, int)

    clock.run_async(program())
    assert not clock.held


def test_work_that_outlives_the_loop_lets_go_of_the_clock() -> None:
    """A program that does not wait for its thread leaves a clock that runs."""
    clock, release = VirtualClock(), threading.Event()

    async def program(pool: ThreadPoolExecutor) -> None:
        asyncio.get_running_loop().run_in_executor(pool, release.wait, 5)

    with ThreadPoolExecutor(1) as pool:
        clock.run_async(program(pool))
        release.set()
    assert not clock.held


def test_a_deadlock_is_said_and_does_not_hang() -> None:
    """Every task waits for nothing that time will bring: an error in place of a test that never ends."""

    async def program() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(VirtualDeadlock, match="every task waits"):
        VirtualClock().run_async(program())


def test_real_work_that_comes_in_time_is_no_deadlock() -> None:
    """With no timer set, an answer from outside is still waited for, for a while."""
    reading, writing = os.pipe()

    async def program() -> bytes:
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[bytes] = loop.create_future()
        loop.add_reader(reading, lambda: heard.set_result(os.read(reading, 10)))
        threading.Timer(0.05, os.write, (writing, b"late")).start()
        found = await heard
        loop.remove_reader(reading)
        return found

    try:
        assert VirtualClock().run_async(program()) == b"late"
    finally:
        os.close(reading)
        os.close(writing)


def test_cancelling_costs_no_time() -> None:
    """A timer that is cancelled does not move the clock."""
    clock = VirtualClock()

    async def program() -> None:
        task = asyncio.create_task(asyncio.sleep(3_600))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    clock.run_async(program())
    assert clock.monotonic() == 1.0


def test_the_default_executor_ends_without_time_passing() -> None:
    """Closing the loop joins its threads in real time: the bound that asyncio puts on that does not fire."""
    clock = VirtualClock()

    async def program() -> None:
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.1)

    clock.run_async(program())
    assert clock.monotonic() == 0.0
