"""Virtual time: it passes only in waits, all of them recorded, for plain code, asyncio and trio alike."""

from __future__ import annotations

import asyncio
import math
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import trio

from resilience import ConstantBackoff, ExponentialBackoff, deadline, retry
from resilience._io import world
from resilience.errors import ConfigError, DeadlineExceededError
from resilience.instrumentation import observe
from resilience.testing import Script, VirtualClock, VirtualDeadlock, virtual_time
from resilience.typing import Clock


YEAR = 365 * 86_400.0


@retry(on=ConnectionError, attempts=5, backoff=ConstantBackoff(10.0))
def decorated_at_import(script: Callable[[], Any]) -> Any:
    return script()


def test_it_is_a_clock() -> None:
    """It has all that the library asks of a clock, and starts at moment 0."""
    clock: Clock = VirtualClock()
    assert (clock.monotonic(), clock.boottime(), clock.wall()) == (0.0, 0.0, 1e9)


def test_sleep_is_over_at_once_and_recorded() -> None:
    """A year passes in no time, on all three clocks."""
    clock, began = VirtualClock(), time.monotonic()
    clock.sleep(YEAR)
    clock.sleep(0.5)
    assert time.monotonic() - began < 1
    assert clock.waits == [YEAR, 0.5]
    assert clock.monotonic() == clock.boottime() == YEAR + 0.5
    assert clock.wall() == 1e9 + YEAR + 0.5


def test_advance_is_not_a_wait() -> None:
    """Time that passes by itself is not recorded."""
    clock = VirtualClock()
    clock.advance(1.5)
    clock.advance(timedelta(minutes=1))
    clock.advance(0)
    assert (clock.monotonic(), clock.waits) == (61.5, [])


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, "1", None, True], ids=repr)
def test_time_does_not_go_back(seconds: Any) -> None:
    """Nothing but a finite length of time can pass; the wall alone may jump, by any finite number."""
    clock = VirtualClock()
    with pytest.raises(ConfigError):
        clock.advance(seconds)
    with pytest.raises(ConfigError):
        clock.sleep(seconds)
    if seconds != -1:
        with pytest.raises(ConfigError):
            clock.jump_wall(seconds)
    assert clock.monotonic() == 0.0


def test_a_wait_that_was_refused_is_not_recorded() -> None:
    """What did not pass was not waited."""
    clock = VirtualClock()
    with pytest.raises(ConfigError):
        clock.sleep(-1)
    assert clock.waits == []


def test_jumps_of_the_wall_move_no_duration() -> None:
    """Set forward a day and back two, nothing but the wall moves."""
    with virtual_time() as clock:
        with deadline(10.0) as d:
            clock.jump_wall(86_400)
            assert clock.wall() == 1e9 + 86_400
            clock.jump_wall(-2 * 86_400)
            assert clock.wall() == 1e9 - 86_400
            assert d.remaining == 10.0
        assert clock.monotonic() == clock.boottime() == 0.0


def test_wait_for_an_event() -> None:
    """An event that is set costs nothing; one that is not costs the timeout; one that nothing can set is a deadlock."""
    clock, event = VirtualClock(), threading.Event()
    assert clock.wait(event, 5.0) is False
    event.set()
    assert clock.wait(event, 5.0) is True
    assert clock.wait(event) is True
    assert clock.waits == [5.0]
    with pytest.raises(VirtualDeadlock):
        clock.wait(threading.Event())


@pytest.mark.parametrize("timeout", [0, -1])
def test_wait_that_is_over_before_it_begins(timeout: float) -> None:
    """As `threading.Event.wait`: a timeout of nothing, or less, just looks."""
    clock = VirtualClock()
    assert clock.wait(threading.Event(), timeout) is False
    assert clock.monotonic() == 0.0


def test_spawn_starts_a_daemon_thread() -> None:
    """A real thread, under the name it was given."""
    seen: list[threading.Thread] = []
    thread = VirtualClock().spawn(lambda: seen.append(threading.current_thread()), name="beater")
    thread.join(5)
    assert seen == [thread]
    assert (thread.name, thread.daemon, thread.is_alive()) == ("beater", True, False)


def test_threads_move_the_one_clock() -> None:
    """No second is lost between threads."""
    clock = VirtualClock()

    def advance() -> None:
        for _ in range(500):
            clock.advance(1)

    threads = [clock.spawn(advance, name="t") for _ in range(4)]
    for thread in threads:
        thread.join(10)
    assert clock.monotonic() == 2_000.0


# -- virtual_time ----------------------------------------------------------------------------------------------------


def test_functions_decorated_before_are_included() -> None:
    """The World is swapped, not the function: what was decorated at import waits in virtual time."""
    began = time.monotonic()
    with virtual_time() as clock, Script(*[ConnectionError] * 4, "here") as script:
        assert decorated_at_import(script) == "here"
    assert clock.waits == [10.0] * 4
    assert [call.at for call in script.calls] == [0.0, 10.0, 20.0, 30.0, 40.0]
    assert time.monotonic() - began < 1


def test_the_same_seed_draws_the_same_jitter() -> None:
    """A test that passes once passes always."""

    def waits(seed: int) -> list[float]:
        with virtual_time(seed=seed) as clock, pytest.raises(ConnectionError):
            retry(on=ConnectionError, backoff=ExponentialBackoff()).call(Script(*[ConnectionError] * 4))
        return clock.waits

    state = random.getstate()
    assert waits(1) == waits(1) != waits(2)
    assert random.getstate() == state


def test_the_world_comes_back_whatever_happens() -> None:
    """Leaving the block, by an error too, restores what was; blocks nest; observers stay."""
    before = world.current
    heard: list[object] = []
    observe(heard.append)
    try:
        observed = world.current
        with pytest.raises(KeyError), virtual_time() as outer:
            with virtual_time() as inner:
                assert world.current.clock is inner
                assert world.current.observers == observed.observers != ()
            assert world.current.clock is outer
            raise KeyError
        assert world.current is observed
    finally:
        observe(*before.observers)
    assert world.current.clock is before.clock
    assert world.current.rng is before.rng
    assert world.current.observers == before.observers


def test_other_threads_are_on_virtual_time_too() -> None:
    """The block is for the whole process, not for one context."""
    with virtual_time() as clock:
        seen: list[object] = []
        clock.spawn(lambda: seen.append(world.current.clock), name="t").join(5)
        assert seen == [clock]


# -- asyncio -----------------------------------------------------------------------------------------------------------


def test_asyncio_runs_a_year_in_no_time() -> None:
    """Sleeps and timers of the loop itself are on virtual time, in their order."""
    clock, began, order = VirtualClock(), time.monotonic(), []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append((name, clock.monotonic()))

    async def program() -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("year", YEAR))
            group.create_task(sleeper("day", 86_400.0))
            group.create_task(sleeper("second", 1.0))
        return "over"

    assert clock.run_async(program()) == "over"
    assert order == [("second", 1.0), ("day", 86_400.0), ("year", YEAR)]
    assert time.monotonic() - began < 5


def test_the_library_waits_by_the_loop_and_records() -> None:
    """Retries of coroutines wait in virtual time; only the library's own waits are recorded."""
    script = Script(ConnectionError, ConnectionError, "here")

    async def program() -> Any:
        await asyncio.sleep(100)
        return await retry(on=ConnectionError, backoff=ConstantBackoff(2)).acall(script.acall)

    with virtual_time() as clock:
        assert clock.run_async(program()) == "here"
    assert clock.waits == [2.0, 2.0]
    assert [call.at for call in script.calls] == [100.0, 102.0, 104.0]


def test_a_program_on_real_time_is_told_how_to_run() -> None:
    """Under virtual time an event loop on real time would wait for real: a clear error in its place."""

    async def program() -> None:
        await retry(on=ConnectionError, backoff=ConstantBackoff(3_600)).acall(Script(ConnectionError, 1).acall)

    with virtual_time() as clock:
        with pytest.raises(RuntimeError, match=r"run the test's coroutine with clock\.run_async") as raised:
            asyncio.run(program())
        assert raised.value.__cause__ is None
        with pytest.raises(RuntimeError, match=r"clock\.run_trio"):
            VirtualClock().run_async(program())
        with pytest.raises(RuntimeError, match=r"clock\.loop_factory"):
            clock.announce(1.0)
        with pytest.raises((RuntimeError, ExceptionGroup)):
            trio.run(program)
        assert clock.waits == []


def test_loop_factory_for_test_frameworks() -> None:
    """The loop may be run by whoever runs loops."""
    with virtual_time() as clock, asyncio.Runner(loop_factory=clock.loop_factory) as runner:
        assert runner.run(asyncio.sleep(3_600, "late")) == "late"
        assert clock.monotonic() == 3_600.0


# -- holding ---------------------------------------------------------------------------------------------------------


def test_hold_counts() -> None:
    """Holds nest; only the last one to end lets time go on, also after an error."""
    clock = VirtualClock()
    assert clock.held is False
    with pytest.raises(KeyError), clock.hold():
        with clock.hold():
            assert clock.held is True
        assert clock.held is True
        raise KeyError
    assert clock.held is False


def test_hold_keeps_time_while_a_child_process_works() -> None:
    """A real child's answer is awaited in real time: the timeout around it does not fire."""
    clock = VirtualClock()

    async def program() -> bytes:
        async with asyncio.timeout(3_600):
            with clock.hold():
                child = await asyncio.create_subprocess_exec(
                    sys.executable, "-S", "-c", "print('hello')", stdout=asyncio.subprocess.PIPE
                )
                out, _ = await child.communicate()
        return out

    assert clock.run_async(program()).strip() == b"hello"
    assert clock.monotonic() == 0.0


# -- trio --------------------------------------------------------------------------------------------------------------


def test_trio_runs_a_year_in_no_time() -> None:
    """Trio's own mock clock moves, and this one with it; what passed stays passed."""
    clock, began = VirtualClock(), time.monotonic()
    clock.advance(5)

    async def program(factor: int) -> float:
        await trio.sleep(factor * YEAR)
        assert clock.monotonic() == pytest.approx(5 + YEAR)
        clock.advance(10)
        return clock.monotonic()

    assert clock.run_trio(program, 1) == pytest.approx(15 + YEAR)
    assert clock.monotonic() == pytest.approx(15 + YEAR)
    assert time.monotonic() - began < 1


def test_the_library_waits_by_trio_and_records() -> None:
    """Retries and deadlines under trio are on the same time."""
    script = Script(ConnectionError, "here")

    async def program() -> Any:
        with pytest.raises(DeadlineExceededError):
            with deadline(3_600):
                await trio.sleep_forever()
        return await retry(on=ConnectionError, backoff=ConstantBackoff(2)).acall(script.acall)

    with virtual_time() as clock:
        assert clock.run_trio(program) == "here"
    assert clock.waits == [2.0]
    assert [call.at for call in script.calls] == [3_600.0, 3_602.0]


def test_trio_errors_come_out_and_time_goes_on() -> None:
    """After a program that failed the clock is its own again, at the moment of the failure."""
    clock = VirtualClock()

    async def program() -> None:
        await trio.sleep(7)
        raise KeyError("x")

    with pytest.raises(KeyError):
        clock.run_trio(program)
    assert clock.monotonic() == 7.0
    clock.advance(1)
    assert clock.monotonic() == 8.0


def test_hold_keeps_trios_time_too() -> None:
    """While real work is held no time passes under trio either: the deadline around a thread does not fire."""
    clock = VirtualClock()

    def work() -> str:
        time.sleep(0.05)
        return "done"

    async def program() -> str:
        with trio.fail_after(5), clock.hold():
            return await trio.to_thread.run_sync(work, abandon_on_cancel=True)

    assert clock.run_trio(program) == "done"
    assert clock.monotonic() == 0.0


def test_the_kit_needs_neither_trio_nor_anyio() -> None:
    """Plain code and asyncio are tested on a machine that has no more than the library's base dependencies."""
    work = (
        "import sys; sys.modules['trio'] = sys.modules['anyio'] = sys.modules['hypothesis'] = None\n"
        "import asyncio\n"
        "from resilience import retry\n"
        "from resilience.testing import Script, virtual_time\n"
        "with virtual_time() as clock:\n"
        "    clock.run_async(retry(on=OSError).acall(Script(OSError, 1).acall))\n"
        "    retry(on=OSError).call(Script(OSError, 1))\n"
        "print(len(clock.waits))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", work], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
