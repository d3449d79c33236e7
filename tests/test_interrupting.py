"""`deadline.interrupting`: the main thread's real timer, lent and given back."""

from __future__ import annotations

import asyncio
import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resilience import _interrupting as module
from resilience import current_deadline, deadline
from resilience._io.ambient import UNBOUNDED, enter_scope, scope_now
from resilience.errors import ConfigError, DeadlineExceededError
from resilience.testing import virtual_time


def foreign(number: int, frame: object) -> None:
    """A handler that some other part of the program has set."""
    RANG.append(number)


RANG: list[int] = []


@pytest.fixture(autouse=True)
def everything_given_back() -> Iterator[None]:
    """After every test: the handler, the timer and the Scope that were there before."""
    RANG.clear()
    before = signal.signal(signal.SIGALRM, foreign)
    try:
        yield
        state = (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL), scope_now())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        enter_scope(UNBOUNDED)
    assert state == (foreign, (0.0, 0.0), UNBOUNDED)


def spin() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    "work", [spin, lambda: time.sleep(30), lambda: threading.Event().wait(30)], ids=["loop", "sleep", "wait"]
)
def test_interrupts_what_runs_in_the_main_thread(work: Callable[[], Any]) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceededError) as caught, deadline.interrupting(0.05, name="report"):
        work()
    assert 0.04 < time.monotonic() - began < 0.5
    assert (caught.value.limit, caught.value.name) == (0.05, "report")


def test_block_that_is_in_time_is_left_alone() -> None:
    with deadline.interrupting(5) as inside:
        found = current_deadline()
        assert found is not None
        assert (found.limit, inside.limit) == (5.0, 5.0)
        assert 4.9 < signal.getitimer(signal.ITIMER_REAL)[0] <= 5


def test_decorates_functions_each_call_by_itself() -> None:
    @deadline.interrupting(0.05)
    def work(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    assert work(0) == 0
    with pytest.raises(DeadlineExceededError) as caught:
        work(30)
    assert caught.value.name == "test_decorates_functions_each_call_by_itself.work"
    assert work(0) == 0


def test_decorated_function_may_call_itself() -> None:
    @deadline.interrupting(0.5, name="deep")
    def work(depth: int) -> int:
        return depth if depth == 3 else work(depth + 1)

    assert work(0) == 3


def test_nested_the_earlier_moment_counts() -> None:
    with deadline.interrupting(30, name="outer"):
        with pytest.raises(DeadlineExceededError) as caught, deadline.interrupting(0.05, name="inner"):
            spin()
        assert caught.value.name == "inner"
        assert 29 < signal.getitimer(signal.ITIMER_REAL)[0] <= 30
    with pytest.raises(DeadlineExceededError) as caught, deadline.interrupting(0.05, name="outer"):
        with deadline.interrupting(30, name="inner"):
            spin()
    assert caught.value.name == "outer"


def test_a_plain_deadline_around_it_counts_too() -> None:
    with deadline(0.05, name="outer"):
        with pytest.raises(DeadlineExceededError) as caught, deadline.interrupting(30):
            spin()
        assert caught.value.name == "outer"
        with pytest.raises(DeadlineExceededError), deadline.interrupting(30):
            raise AssertionError("nothing is started past a deadline")


def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(TimeoutError, match="mine") as caught, deadline.interrupting(5):
        raise TimeoutError("mine")
    assert type(caught.value) is TimeoutError


def test_a_former_timer_gets_its_rest_back() -> None:
    signal.setitimer(signal.ITIMER_REAL, 40, 7)
    with pytest.raises(DeadlineExceededError), deadline.interrupting(0.05):
        spin()
    left, every = signal.getitimer(signal.ITIMER_REAL)
    assert 39 < left < 39.97
    assert every == 7
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert RANG == []


@pytest.mark.parametrize("every", [0.0, 0.02])
def test_a_former_timer_that_is_earlier_still_rings(every: float) -> None:
    """Its handler is called at its time, and the deadline still ends the block."""
    signal.setitimer(signal.ITIMER_REAL, 0.02, every)
    with pytest.raises(DeadlineExceededError), deadline.interrupting(0.09):
        spin()
    rest, again = signal.getitimer(signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert again == every
    if every:
        assert 2 <= len(RANG) <= 5
        assert 0 < rest <= 0.02
    else:
        assert len(RANG) == 1
        assert rest == 0


def test_a_former_timer_that_comes_due_inside_rings_soon_after() -> None:
    """What the block kept waiting is not lost."""
    signal.setitimer(signal.ITIMER_REAL, 0.06)
    with pytest.raises(DeadlineExceededError), deadline.interrupting(0.02):
        spin()
    began = time.monotonic()
    while not RANG and time.monotonic() < began + 1:
        time.sleep(0.01)
    assert RANG == [signal.SIGALRM]


@pytest.mark.parametrize("former", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_former_disposition_that_is_no_function_comes_back(former: Any) -> None:
    signal.signal(signal.SIGALRM, former)
    try:
        with pytest.raises(DeadlineExceededError), deadline.interrupting(0.05):
            signal.raise_signal(signal.SIGALRM)  # not ours, and nobody's: it must not end the process
            spin()
        assert signal.getsignal(signal.SIGALRM) is former
    finally:
        signal.signal(signal.SIGALRM, foreign)


def test_an_alarm_after_the_block_is_nobodys() -> None:
    """A signal that is delivered while the block is being left raises nothing any more."""
    alarm = module._Alarm(5, None)
    alarm.leave()
    alarm._ring(signal.SIGALRM, None)
    assert signal.getsignal(signal.SIGALRM) is foreign


def test_a_handler_that_was_not_set_from_python_becomes_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    with deadline.interrupting(5):
        pass
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    signal.signal(signal.SIGALRM, foreign)


def test_a_signal_that_somebody_sends_is_passed_on() -> None:
    with deadline.interrupting(5):
        signal.raise_signal(signal.SIGALRM)
        assert RANG == [signal.SIGALRM]
        assert 4 < signal.getitimer(signal.ITIMER_REAL)[0] <= 5


def test_refused_outside_the_main_thread() -> None:
    caught: list[BaseException] = []

    def work() -> None:
        try:
            with deadline.interrupting(1):
                pass
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_refused_where_there_is_no_such_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "setitimer")
    with pytest.raises(RuntimeError, match="POSIX"), deadline.interrupting(1):
        pass
    monkeypatch.undo()


def test_refused_in_a_task() -> None:
    """It would tear the event loop, wherever the loop then is."""

    async def scenario() -> None:
        with pytest.raises(RuntimeError, match="cancels the task"), deadline.interrupting(1):
            pass

    import trio

    with virtual_time() as clock:
        clock.run_async(scenario())
        clock.run_trio(scenario)
    asyncio.run(scenario())
    trio.run(scenario)


def test_refused_on_what_it_cannot_interrupt() -> None:
    async def work() -> None: ...

    def items() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="coroutine function"):
        deadline.interrupting(1)(work)
    with pytest.raises(TypeError, match="generator"):
        deadline.interrupting(1)(items)


def test_refused_in_virtual_time() -> None:
    """The machine's timer does not know of it."""
    with virtual_time(), pytest.raises(RuntimeError, match="virtual time"), deadline.interrupting(1):
        pass


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, "1", None, True])
def test_bad_timeouts_are_refused(bad: Any) -> None:
    with pytest.raises(ConfigError, match="seconds"):
        deadline.interrupting(bad)
    with pytest.raises(ConfigError, match="name"):
        deadline.interrupting(1, name="")


# -- the alarm at the worst moment -----------------------------------------------------------------------------------


def test_race_of_a_near_empty_block_against_a_tiny_timeout() -> None:
    """Wherever the alarm falls, entering and leaving included: afterwards everything is as before."""
    rang = 0
    for n in range(200):
        try:
            with deadline.interrupting(1e-4 + n * 1e-7):
                for _ in range(n):
                    pass
        except DeadlineExceededError:
            rang += 1
        assert signal.getsignal(signal.SIGALRM) is foreign
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert scope_now() is UNBOUNDED
    assert 0 <= rang <= 200


def test_alarm_at_each_opening_of_entering_and_leaving() -> None:
    """The alarm comes wherever the interpreter may deliver it: afterwards everything is as before.

    In a process of its own: it traces single bytecodes, which a coverage tool in the same process does not survive
    (CPython 3.12.1 crashes).
    """
    program = Path(__file__).parent / "every_opening.py"
    done = subprocess.run([sys.executable, "-W", "error", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert int(done.stdout) > 20


def test_one_moment_cuts_once() -> None:
    """Nested, both waiting for the same moment: the error strikes once, and not again in the clean-up."""
    cleaned = []
    with pytest.raises(DeadlineExceededError), deadline.interrupting(0.05):
        try:
            with deadline.interrupting(5):
                spin()
        finally:
            ends = time.monotonic() + 0.02
            while time.monotonic() < ends:
                pass
            cleaned.append(True)
    assert cleaned == [True]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_timer_that_cannot_be_set_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, now: float) -> None:
        raise OverflowError("timestamp too large")

    monkeypatch.setattr(module._Alarm, "_wind", refuse)
    with pytest.raises(OverflowError), deadline.interrupting(5):
        pass
    assert signal.getsignal(signal.SIGALRM) is foreign
    assert scope_now() is UNBOUNDED


def test_methods_of_every_kind() -> None:
    class Kinds:
        @deadline.interrupting(5)
        @staticmethod
        def outer_static(value: int) -> int:
            return value

        @deadline.interrupting(5)
        @classmethod
        def outer_class(cls, value: int) -> int:
            return value

    assert (Kinds().outer_static(1), Kinds().outer_class(2), Kinds.outer_class(3)) == (1, 2, 3)


def test_virtual_time_cannot_move_the_machines_timer() -> None:
    with virtual_time(), pytest.raises(RuntimeError, match="virtual time"), deadline.interrupting(5):
        pass
