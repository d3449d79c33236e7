"""`DeadlineExceeded`: told wherever the library raises that a deadline has passed."""

from __future__ import annotations

import asyncio
import importlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from resilience import ConstantBackoff, deadline, retry
from resilience.errors import DeadlineExceededError
from resilience.instrumentation import DeadlineExceeded, GaveUp, RetryScheduled, observe
from resilience.testing import virtual_time


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """Every event told."""
    events: list[Any] = []
    observe(events.append)
    yield events
    observe()


async def sleeping(library: str) -> None:
    await importlib.import_module(library).sleep(60)


def run(clock: Any, library: str, work: Any) -> None:
    if library == "asyncio":
        clock.run_async(work())
    else:
        clock.run_trio(work)


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_a_block_that_was_cut(library: str, heard: list[Any]) -> None:
    async def work() -> None:
        async with deadline(2.0, name="page"):
            await sleeping(library)

    with virtual_time() as clock, pytest.raises(DeadlineExceededError):
        run(clock, library, work)
    assert heard == [DeadlineExceeded(name="page", limit=2.0)]


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_an_attempt_that_was_cut(library: str, heard: list[Any]) -> None:
    """Each attempt's own limit is told, before what the retry makes of it."""
    policy = retry(on=TimeoutError, attempts=2, attempt_timeout=2.0, backoff=ConstantBackoff(0), name="fetch")

    async def work() -> None:
        await policy.acall(sleeping, library)

    with virtual_time() as clock, pytest.raises(DeadlineExceededError):
        run(clock, library, work)
    assert [type(event) for event in heard] == [DeadlineExceeded, RetryScheduled, DeadlineExceeded, GaveUp]
    assert heard[0] == DeadlineExceeded(name="fetch: attempt_timeout", limit=2.0)


def test_entering_and_checking_what_has_passed(heard: list[Any]) -> None:
    with virtual_time() as clock, deadline(2.0, name="outer") as d:
        clock.advance(3.0)
        for ask in (d.check, d.timeout, deadline(5.0).__enter__):
            with pytest.raises(DeadlineExceededError):
                ask()
    assert heard == [DeadlineExceeded(name="outer", limit=2.0)] * 3


@pytest.mark.capability("POSIX timers")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no POSIX timers")
def test_an_interrupt_is_told_outside_the_signal_handler() -> None:
    """An observer may take a lock that the interrupted code holds: told from inside the handler, that would never end."""
    lock = threading.Lock()
    events: list[Any] = []

    def locking(event: Any) -> None:
        with lock:
            events.append(event)

    observe(locking)
    try:
        with pytest.raises(DeadlineExceededError), deadline.interrupting(0.05, name="report"), lock:
            time.sleep(5)
    finally:
        observe()
    assert events == [DeadlineExceeded(name="report", limit=0.05)]


def test_an_interrupting_block_in_time_tells_nothing(heard: list[Any]) -> None:
    if not hasattr(signal, "setitimer"):
        pytest.skip("no POSIX timers")
    with deadline.interrupting(60.0):
        pass
    assert heard == []


def test_nothing_is_computed_where_nobody_observes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is not even imported."""
    from resilience._core import events

    monkeypatch.delattr(events, "DeadlineExceeded")
    with virtual_time() as clock, pytest.raises(DeadlineExceededError), deadline(2.0) as d:
        clock.advance(3.0)
        d.check()


def test_asyncio_tasks_each_tell(heard: list[Any]) -> None:
    """Two tasks run into one deadline: told twice, as the docs say."""

    async def work() -> None:
        with deadline(2.0, name="page") as d:
            await asyncio.gather(*(asyncio.create_task(late(d)) for _ in range(2)), return_exceptions=True)

    async def late(d: Any) -> None:
        with deadline.detached():
            await asyncio.sleep(1.0)
        clock.advance(2.0)
        d.check()

    with virtual_time() as clock, pytest.raises(DeadlineExceededError):
        clock.run_async(work())
    assert len([event for event in heard if event == DeadlineExceeded(name="page", limit=2.0)]) >= 2
