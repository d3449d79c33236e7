"""Which library runs this code, how it waits, and how a timer ends it."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio

from resilience._io import aio
from resilience.testing import virtual_time


class Lamp:
    """A stop that goes off by hand."""

    at = 1e9

    def __init__(self, *, on: bool = False) -> None:
        self.on = on
        self.watchers: list[Callable[[], object]] = []

    def error(self) -> Exception | None:
        return PermissionError("lost") if self.on else None

    def watch(self, wake: Callable[[], object], /) -> Callable[[], None]:
        self.watchers.append(wake)
        if self.on:
            wake()
        return lambda: self.watchers.remove(wake)

    def stop(self) -> None:
        self.on = True
        for wake in list(self.watchers):
            wake()


def test_in_task(colour: Any) -> None:
    async def scenario() -> bool:
        return aio.current_task() is not None

    assert aio.current_task() is None
    assert colour.run(scenario) is (colour.name != "sync")


def test_a_program_that_runs_on_neither_is_in_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "asyncio")
    monkeypatch.delitem(sys.modules, "trio")
    assert aio.current_task() is None


def test_a_callback_of_the_loop_is_in_no_task() -> None:
    """A loop runs, but there is no task that could be cancelled."""
    found: list[bool] = []

    async def scenario() -> None:
        asyncio.get_running_loop().call_soon(lambda: found.append(aio.current_task() is not None))
        await asyncio.sleep(0)

    with virtual_time() as clock:
        clock.run_async(scenario())
    assert found == [False]


def test_trio_as_a_guest_of_asyncio_is_trio() -> None:
    """There is a running asyncio loop, but the code is in a task of trio's: its timer must be trio's."""
    found: list[Any] = []

    async def guest() -> None:
        timer = aio.arm(aio.current_task(), 50)
        found.append(type(timer).__name__)
        assert timer is not None
        timer.disarm(None, None, None)
        found.append(aio.current_task() is not None)
        await aio.checkpoint()

    async def host() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=done.set_result
        )
        (await done).unwrap()

    asyncio.run(host())
    assert found == ["TrioTimer", True]


def test_sleep_and_its_announcement(colour: Any) -> None:
    async def scenario() -> None:
        await aio.sleep(3)

    if colour.name == "sync":
        with pytest.raises(RuntimeError, match="event loop"):
            colour.run(scenario)
        return
    colour.run(scenario)
    assert colour.clock.waits == [3]
    assert colour.clock.monotonic() == 3


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Any:
    with virtual_time() as clock:

        def go(scenario: Callable[[Any], Any]) -> Any:
            if request.param == "asyncio":
                return clock.run_async(scenario(asyncio.sleep)), clock
            return clock.run_trio(scenario, trio.sleep), clock

        yield go


def test_wait_stopped_ends_after_its_time(run: Any) -> None:
    lamps = [Lamp(), Lamp()]

    async def scenario(sleep: Any) -> bool:
        return await aio.wait_stopped(lamps, 3)

    found, clock = run(scenario)
    assert not found
    assert clock.monotonic() == 3
    assert clock.waits == [3]
    assert [lamp.watchers for lamp in lamps] == [[], []]


def test_wait_stopped_ends_at_once_when_it_is_on_already(run: Any) -> None:
    lamps = [Lamp(), Lamp(on=True)]

    async def scenario(sleep: Any) -> bool:
        return await aio.wait_stopped(lamps, 3)

    found, clock = run(scenario)
    assert found
    assert clock.monotonic() == 0
    assert [lamp.watchers for lamp in lamps] == [[], []]


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_wait_stopped_is_woken_from_a_thread(library: str) -> None:
    lamp = Lamp()
    threading.Timer(0.05, lamp.stop).start()
    began = time.monotonic()
    if library == "asyncio":
        assert asyncio.run(aio.wait_stopped([lamp], 30))
    else:
        assert trio.run(aio.wait_stopped, [lamp], 30)
    assert time.monotonic() - began < 5


def test_wait_stopped_cancelled_undoes_its_watch(run: Any) -> None:
    lamp = Lamp()

    async def scenario(sleep: Any) -> None:
        if sleep is trio.sleep:
            with trio.move_on_after(1):
                await aio.wait_stopped([lamp], 30)
            return
        task = asyncio.ensure_future(aio.wait_stopped([lamp], 30))
        await sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        live = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        assert live == []

    run(scenario)
    assert lamp.watchers == []


def test_a_stop_that_cannot_be_watched_leaves_no_watch_behind(run: Any) -> None:
    """The first stop's watch is undone when the second one's fails."""

    class Broken(Lamp):
        def watch(self, wake: Callable[[], object], /) -> Callable[[], None]:
            raise ZeroDivisionError

    lamp = Lamp()

    async def scenario(sleep: Any) -> None:
        with pytest.raises(ZeroDivisionError):
            await aio.wait_stopped([lamp, Broken()], 30)

    run(scenario)
    assert lamp.watchers == []


def test_timer_that_does_not_fire(run: Any) -> None:
    async def scenario(sleep: Any) -> bool:
        timer = aio.arm(aio.current_task(), 5)
        assert timer is not None
        await sleep(1)
        return timer.disarm(None, None, None)

    assert run(scenario)[0] is False


def test_timer_that_fires(run: Any) -> None:
    async def scenario(sleep: Any) -> bool:
        timer = aio.arm(aio.current_task(), 1)
        assert timer is not None
        try:
            await sleep(5)
        except BaseException as cut:
            return timer.disarm(type(cut), cut, cut.__traceback__)
        raise AssertionError

    found, clock = run(scenario)
    assert found is True
    assert clock.monotonic() == 1


def test_timer_that_fires_in_a_body_with_another_end() -> None:
    """It fired, but what leaves the block is not its cancellation: that is passed on, and the count is balanced."""

    async def scenario() -> list[object]:
        task = asyncio.current_task()
        assert task is not None
        found: list[object] = []
        for error in (None, KeyError("k")):
            timer = aio.arm(aio.current_task(), 1)
            assert timer is not None
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(5)
            found.append(timer.disarm(None if error is None else KeyError, error, None))
            found.append(task.cancelling())
        return found

    with virtual_time() as clock:
        assert clock.run_async(scenario()) == [False, 0, False, 0]


def test_timer_that_fires_beside_anothers_cancel() -> None:
    """Theirs wins, and is left for them to count."""

    async def scenario() -> tuple[bool, int]:
        task = asyncio.current_task()
        assert task is not None
        timer = aio.arm(aio.current_task(), 1)
        assert timer is not None
        asyncio.get_running_loop().call_later(1, task.cancel)
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError as cut:
            return timer.disarm(type(cut), cut, cut.__traceback__), task.cancelling()
        raise AssertionError

    with virtual_time() as clock, pytest.raises(asyncio.CancelledError):
        found: list[Any] = []

        async def main() -> None:
            found.append(await scenario())
            task = asyncio.current_task()
            assert task is not None
            assert found == [(False, 1)]
            raise asyncio.CancelledError

        clock.run_async(main())


def test_a_trio_program_without_asyncio_waits_by_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of asyncio need be loaded."""

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "asyncio")
            await aio.checkpoint()

    trio.run(scenario)
