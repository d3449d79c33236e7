"""The retry budget: one window, shared by threads and tasks, of one process."""

from __future__ import annotations

import asyncio
import copy
import math
import os
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from resilience import ConstantBackoff, RetryBudget, retry
from resilience._io import budget as module
from resilience._io.budget import checked_budget
from resilience.errors import ConfigError
from resilience.testing import Script, virtual_time


AT_ONCE = ConstantBackoff(0)


def test_spent_the_call_fails_with_its_own_error(colour: Any) -> None:
    budget = RetryBudget(ratio=0, at_least=1)
    policy = retry(on=ConnectionError, budget=budget, backoff=AT_ONCE, name="n")
    script = Script(*[ConnectionError(str(n)) for n in range(2)])
    with pytest.raises(ConnectionError, match="1") as caught:
        colour.run(lambda: colour.call(policy, script))
    assert "n: gave up after 2 attempts in 0.00 s: the retry budget is spent" in caught.value.__notes__[0]


def test_calls_earn_retries_and_the_window_passes(colour: Any) -> None:
    budget = RetryBudget(ratio=0.5, at_least=0, window=10)
    policy = retry(on=ConnectionError, budget=budget, backoff=AT_ONCE)

    async def scenario() -> list[bool]:
        found = []
        for n in range(8):
            try:
                await colour.call(policy, Script(ConnectionError(str(n)), "here"))
                found.append(True)
            except ConnectionError:
                found.append(False)
        await colour.sleep(30)
        try:
            await colour.call(policy, Script(ConnectionError("late"), "here"))
        except ConnectionError:
            found.append(False)
        return found

    found = colour.run(scenario)
    assert found == [False, True, False, True, False, True, False, True, False]


def test_shared_by_threads_it_grants_no_more_than_it_has() -> None:
    budget = RetryBudget(ratio=0, at_least=25, window=1000)
    granted: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        with lock:
            granted.append(1)
        raise ConnectionError

    policy = retry(on=ConnectionError, budget=budget, attempts=None, backoff=AT_ONCE)

    def go(_: int) -> None:
        with pytest.raises(ConnectionError):
            policy.call(work)

    with virtual_time(), ThreadPoolExecutor(8) as pool:
        list(pool.map(go, range(20)))
    assert len(granted) == 20 + 25


def test_shared_by_tasks_it_grants_no_more_than_it_has() -> None:
    budget = RetryBudget(ratio=0, at_least=7)
    calls: list[int] = []

    async def work() -> None:
        calls.append(1)
        await asyncio.sleep(0)
        raise ConnectionError

    async def scenario() -> None:
        policy = retry(on=ConnectionError, budget=budget, backoff=AT_ONCE)
        await asyncio.gather(*(policy.acall(work) for _ in range(10)), return_exceptions=True)

    with virtual_time() as clock:
        clock.run_async(scenario())
    assert len(calls) == 17


def test_shared_by_policies_and_by_forms() -> None:
    budget = RetryBudget(ratio=0, at_least=2)
    one = retry(on=OSError, budget=budget, backoff=AT_ONCE)
    with virtual_time():
        assert one.call(Script(OSError(), 1)) == 1
        for attempt in one.replace(name="other"):
            with attempt:
                if attempt.number == 1:
                    raise OSError
        with pytest.raises(OSError):
            one.call(Script(OSError()))


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        *[("ratio", bad) for bad in (-0.1, 1.1, math.nan, "1", True, None)],
        *[("at_least", bad) for bad in (-1, 1.5, True, "3", None)],
        *[("window", bad) for bad in (0, -1, math.nan, math.inf, "10", None, timedelta(0))],
    ],
)
def test_bad_values_are_refused_and_named(option: str, bad: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        RetryBudget(**{option: bad})
    assert caught.value.option == option


def test_it_says_what_it_is() -> None:
    assert (
        repr(RetryBudget(0.25, at_least=2, window=timedelta(seconds=5)))
        == "RetryBudget(ratio=0.25, at_least=2, window=5)"
    )


def test_only_a_budget_is_one() -> None:
    budget = RetryBudget()
    assert (checked_budget(budget), checked_budget(None)) == (budget, None)
    with pytest.raises(ConfigError, match="budget"):
        checked_budget(0.1)  # type: ignore[arg-type]


def test_it_belongs_to_one_process() -> None:
    for travel in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="one process"):
            travel(RetryBudget())


def test_after_a_fork_locks_that_are_held_are_freed() -> None:
    held, free = RetryBudget(), RetryBudget()
    for budget in (held, free):
        held.lock.acquire()
        before = budget.lock
        module._free_locks()
        assert budget.lock is not before


def test_a_signal_handler_that_retries_does_not_wait_for_its_own_thread() -> None:
    """The lock may be taken again by the thread that holds it: a handler can interrupt any line."""
    shared = RetryBudget()
    with shared.lock:
        assert shared.spend(0.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="capability: os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_a_free_lock_and_the_parents_counts() -> None:
    """Forked while another thread holds the lock: the child must not wait for a thread that it does not have."""
    budget = RetryBudget(ratio=0, at_least=2)
    free = RetryBudget()
    assert budget.spend(0.0)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with budget.lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(5)  # a lock that is not free would hang the child
        counts = (budget.spend(0.0), budget.spend(0.0), free.spend(0.0))
        os._exit(0 if counts == (True, False, True) else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_window_too_short_to_be_told_is_refused() -> None:
    """A window whose slots no clock can tell apart is refused when it is made, not when it is used."""
    with pytest.raises(ConfigError, match="window must be at least"):
        RetryBudget(window=1e-310)
