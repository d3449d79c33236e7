"""One block's time in a Scope: published to what is called, with a timer where one can cancel."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest
import trio

from resilience import deadline, retry
from resilience._io.ambient import UNBOUNDED, Scope, scope_now
from resilience._io.stay import Stay, last_real_error
from resilience.testing import virtual_time


SCOPE = Scope(2.0, 2.0, "n", ())


def until(at: float) -> Scope:
    return Scope(at, None, "n", ())


def test_plain_code_gets_the_scope_and_no_timer() -> None:
    with Stay(SCOPE, UNBOUNDED) as stay:
        assert scope_now() is SCOPE
    assert scope_now() is UNBOUNDED
    assert (stay.overran, stay.scope) == (False, SCOPE)
    with pytest.raises(KeyError), Stay(SCOPE, UNBOUNDED):
        raise KeyError("mine")
    assert scope_now() is UNBOUNDED


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_a_task_is_cut_short_and_the_cancellation_swallowed(library: str) -> None:
    async def scenario() -> Stay:
        sleep: Any = asyncio.sleep if library == "asyncio" else trio.sleep
        with Stay(SCOPE, UNBOUNDED) as stay:
            await sleep(50)
        assert scope_now() is UNBOUNDED
        with Stay(until(4.0), UNBOUNDED) as quick:
            await sleep(1)
        assert not quick.overran
        with pytest.raises(KeyError), Stay(until(9.0), UNBOUNDED):
            raise KeyError("mine")
        return stay

    with virtual_time() as clock:
        stay = clock.run_async(scenario()) if library == "asyncio" else clock.run_trio(scenario)
        assert clock.monotonic() == pytest.approx(3)
    assert stay.overran


def test_leaving_it_in_another_context_is_an_error() -> None:
    """Entered in one task or thread and left in another: it says so, and its timer is stopped."""

    async def scenario() -> int:
        stay = Stay(SCOPE, UNBOUNDED)
        contextvars.copy_context().run(stay.__enter__)
        with pytest.raises(RuntimeError, match="task or thread"):
            stay.__exit__(None, None, None)
        live = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        return len(live)

    with virtual_time() as clock:
        assert clock.run_async(scenario()) == 0


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_the_cause_is_what_the_work_was_recovering_from(library: str) -> None:
    real = ConnectionError("real")
    calls: list[int] = []

    async def work() -> None:
        sleep: Any = asyncio.sleep if library == "asyncio" else trio.sleep
        calls.append(1)
        if len(calls) == 1:
            raise real
        await sleep(50)

    async def scenario() -> None:
        with deadline(2):
            await retry(on=ConnectionError)(work)()

    with virtual_time() as clock, pytest.raises(TimeoutError) as caught:
        clock.run_async(scenario()) if library == "asyncio" else clock.run_trio(scenario)
    assert caught.value.__cause__ is real


def test_last_real_error_looks_through_cancellations_and_never_for_ever() -> None:
    real = ConnectionError("real")
    inner, outer = asyncio.CancelledError(), asyncio.CancelledError()
    assert last_real_error(None) is None
    assert last_real_error(outer) is None
    outer.__context__ = inner
    inner.__context__ = real
    assert last_real_error(outer) is real
    assert last_real_error(real) is real
    inner.__context__ = outer  # a circle
    assert last_real_error(outer) is None
    inner.__context__ = None
