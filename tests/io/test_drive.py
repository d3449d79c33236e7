"""The two hands of a protocol."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import trio

from resilience import deadline
from resilience._core.steps import Call, GiveBack, Load, Pause, Remove, Steps, Swap
from resilience._io.drive import LAST_SECOND, adrive, drive
from resilience.errors import DeadlineExceededError, VersionConflictError
from resilience.stores import ABSENT, MemoryStore, ThreadedStore
from resilience.testing import VirtualClock, virtual_time
from resilience.typing import AsyncStore


R = TypeVar("R")

colours = pytest.mark.parametrize("colour", ["sync", "asyncio", "trio"])


def carry_out(clock: VirtualClock, colour: str, steps: Steps[R], store: MemoryStore) -> R:
    """Drive a protocol in a colour."""
    if colour == "sync":
        return drive(steps, store)

    async def main() -> R:
        return await adrive(steps, ThreadedStore(store))

    if colour == "asyncio":
        return clock.run_async(main())

    async def held() -> R:
        with clock.hold():  # worker threads are real work, of which trio's clock knows nothing
            return await main()

    return clock.run_trio(held)


def read_and_write(value: bytes) -> Steps[list[Any]]:
    seen = [(yield Load("k"))]
    written = yield Swap("k", value, ABSENT)
    seen.append(written.value)
    try:
        yield Swap("k", b"again", ABSENT)
    except VersionConflictError as conflict:
        seen.append(conflict.revision == written.revision)
    seen.append((yield Call(lambda one, two: one + two, (1, 2))))
    return seen


@colours
def test_each_step_is_carried_out_and_its_reply_or_error_comes_back(colour: str) -> None:
    with virtual_time() as clock:
        assert carry_out(clock, colour, read_and_write(b"v"), MemoryStore()) == [None, b"v", True, 3]


def test_the_async_hand_awaits_what_a_call_returns() -> None:
    async def twice(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    def steps() -> Steps[int]:
        doubled: int = yield Call(twice, (21,))
        return doubled

    with virtual_time() as clock:
        assert carry_out(clock, "asyncio", steps(), MemoryStore()) == 42


@pytest.mark.parametrize("colour", ["sync", "asyncio"])
def test_a_pause_is_random_up_to_its_length(colour: str) -> None:
    def steps() -> Steps[None]:
        for _ in range(20):
            yield Pause(1.0)

    with virtual_time() as clock:
        carry_out(clock, colour, steps(), MemoryStore())
        assert len(clock.waits) == 20
        assert 0 <= min(clock.waits) < 0.3 < 0.7 < max(clock.waits) <= 1


@colours
def test_an_error_of_the_protocol_comes_out(colour: str) -> None:
    def steps() -> Steps[None]:
        yield Load("k")
        raise LookupError("ours")

    with virtual_time() as clock, pytest.raises(LookupError, match="ours"):
        carry_out(clock, colour, steps(), MemoryStore())


def cut_in_the_middle(during: Callable[[], Any]) -> Steps[None]:
    """Holds a record while the user's function runs, and gives it back whatever happens."""
    held = yield Swap("held", b"", ABSENT)
    try:
        yield Call(during)
    finally:
        yield GiveBack(Remove("held", held.revision))


@colours
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit], ids=lambda error: error.__name__)
def test_what_is_held_is_given_back_whatever_went_wrong(colour: str, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    store = MemoryStore()
    with virtual_time() as clock, pytest.raises(error):
        carry_out(clock, colour, cut_in_the_middle(fail), store)
    assert store.load("held") is None


def test_what_is_held_is_given_back_after_the_deadline() -> None:
    store = MemoryStore()
    with virtual_time() as clock, pytest.raises(DeadlineExceededError), deadline(1.0) as d:

        def overrun() -> None:
            clock.advance(2.0)
            d.check()

        drive(cut_in_the_middle(overrun), store)
    assert store.load("held") is None


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_what_is_held_is_given_back_when_the_task_is_cancelled(library: str) -> None:
    """Under trio a cancelled scope ends every wait: what is given back needs a shield."""
    store = MemoryStore()

    async def under_asyncio() -> None:
        begun = asyncio.Event()

        async def hang() -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(adrive(cut_in_the_middle(hang), ThreadedStore(store)))
        await begun.wait()
        assert store.load("held") is not None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def under_trio() -> None:
        begun = trio.Event()

        async def hang() -> None:
            begun.set()
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(adrive, cut_in_the_middle(hang), ThreadedStore(store))
            await begun.wait()
            assert store.load("held") is not None
            nursery.cancel_scope.cancel()

    if library == "asyncio":
        asyncio.run(under_asyncio())
    else:
        trio.run(under_trio)
    assert store.load("held") is None


class Hanging:
    """A store that answers no removal."""

    def __init__(self, store: MemoryStore, library: Any) -> None:
        self._store = ThreadedStore(store)
        self._library = library

    async def compare_and_set(self, key: str, value: bytes, **options: Any) -> Any:
        return await self._store.compare_and_set(key, value, **options)

    async def remove(self, key: str, **options: Any) -> Any:
        await self._library.sleep(3600)


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_giving_back_takes_a_second_at_most(library: str) -> None:
    def steps() -> Steps[str]:
        held = yield Swap("held", b"", ABSENT)
        try:
            yield GiveBack(Remove("held", held.revision))
        except TimeoutError:
            return "let go"
        return "given back"

    with virtual_time() as clock:
        store: Any = Hanging(MemoryStore(), asyncio if library == "asyncio" else trio)

        async def main() -> tuple[str, float]:
            began = clock.monotonic()
            return await adrive(steps(), store), clock.monotonic() - began

        outcome, took = clock.run_async(main()) if library == "asyncio" else clock.run_trio(main)
    assert outcome == "let go"
    assert took == pytest.approx(LAST_SECOND, abs=0.1)


def test_giving_back_lets_an_error_and_a_foreign_cancellation_through() -> None:
    class Broken:
        async def remove(self, key: str, **options: Any) -> Any:
            raise error

    def steps() -> Steps[None]:
        yield GiveBack(Remove("held", 1))

    store: Any = Broken()
    for error in (LookupError("theirs"), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            asyncio.run(adrive(steps(), store))


@colours
def test_no_cycles_are_left_behind(colour: str) -> None:
    store = MemoryStore()
    plain = as_it_is(store)

    def steps() -> Steps[None]:
        try:
            yield Swap("k", b"", 7)
        except VersionConflictError:
            pass
        raise LookupError

    async def fails() -> int:
        for _ in range(2):
            gc.collect()
            try:  # `pytest.raises` would keep the frames
                await adrive(steps(), plain)
            except LookupError:
                pass
        return gc.collect()

    if colour == "sync":
        for _ in range(2):
            gc.collect()
            try:
                drive(steps(), store)
            except LookupError:
                pass
        assert gc.collect() == 0
    else:
        assert (asyncio.run(fails()) if colour == "asyncio" else trio.run(fails)) == 0


def as_it_is(store: MemoryStore) -> AsyncStore:
    """A memory, as an async store without threads."""

    class Plain:
        async def compare_and_set(self, key: str, value: bytes, **options: Any) -> Any:
            return store.compare_and_set(key, value, **options)

    plain: Any = Plain()
    return plain  # type: ignore[no-any-return]


def test_a_coroutine_that_is_dropped_where_it_stands_awaits_nothing_more() -> None:
    """Python throws GeneratorExit into it: a protocol that gives something back there would be "ignoring" that."""

    class Waiting:
        async def compare_and_set(self, key: str, value: bytes, **options: Any) -> Any:
            return MemoryStore().compare_and_set(key, value, **options)

        async def remove(self, key: str, **options: Any) -> Any:
            raise AssertionError("something was awaited")

    async def forever() -> None:
        await Suspended()

    store: Any = Waiting()
    coroutine = adrive(cut_in_the_middle(forever), store)
    coroutine.send(None)
    coroutine.close()


class Suspended:
    """Waits for what never comes."""

    def __await__(self) -> Any:
        yield
