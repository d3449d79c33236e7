"""A blocking store for async code, under asyncio and trio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from resilience import deadline
from resilience.errors import ConfigError, DeadlineExceededError, StoreError
from resilience.stores import ABSENT, ANY, Beat, MemoryStore, ThreadedStore


def run(library: str, main: Callable[[], Awaitable[Any]]) -> Any:
    """Run a program under the library."""
    if library == "trio":
        return trio.run(main)

    async def entry() -> Any:
        return await main()

    return asyncio.run(entry())


libraries = pytest.mark.parametrize("library", ["asyncio", "trio"])


@libraries
def test_every_verb_is_carried_out_in_another_thread(library: str) -> None:
    seen: set[int] = set()

    class Watched(MemoryStore):
        def _run(self, verb: Any) -> Any:
            seen.add(threading.get_ident())
            return super()._run(verb)

    async def main() -> None:
        async with ThreadedStore(Watched()) as store:
            written = await store.compare_and_set("k", b"v", expected=ABSENT, ttl=30, write_id="me")
            assert (await store.load("k")) is not None
            assert (await store.load_many(["k", "none"]))["none"] is None
            assert await store.extend([Beat("k", written.revision, 60)]) == frozenset()
            assert [key for key, _ in await store.scan()] == ["k"]
            await store.ping()
            described = await store.describe()
            assert (described.store, described.wakes) == ("MemoryStore()", False)  # its `wait` looks again and again
            assert await store.remove("k", expected=written.revision)
            assert repr(store) == "ThreadedStore(<MemoryStore()>)"
            inner = store.blocking()
            assert isinstance(inner, Watched)
        assert seen
        assert threading.get_ident() not in seen
        with pytest.raises(StoreError, match="closed"):
            inner.load("k")

    run(library, main)


@libraries
def test_a_wait_is_over_when_somebody_writes(library: str) -> None:
    async def main() -> None:
        inner = MemoryStore()
        store = ThreadedStore(inner)
        await store.wait("k", after=7, timeout=30)  # it is not at that revision: no wait at all
        writer = threading.Timer(0.02, inner.compare_and_set, args=["k", b"v"], kwargs={"expected": ANY})
        writer.start()
        await store.wait("k", after=0, timeout=30)
        assert inner.load("k") is not None
        writer.join()
        await store.wait("other", after=0, timeout=0.01)
        with pytest.raises(ConfigError):
            await store.wait("", after=0, timeout=1)

    run(library, main)


@libraries
def test_a_deadline_ends_a_wait(library: str) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceededError):
            async with deadline(0.05):
                await ThreadedStore(MemoryStore()).wait("k", after=0, timeout=30)

    run(library, main)


@libraries
def test_a_cancelled_task_does_not_wait_for_the_thread(library: str) -> None:
    """What was under way is done all the same: whether it was applied, the task cannot know."""
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    class Slow(MemoryStore):
        def _run(self, verb: Any) -> Any:
            reply = super()._run(verb)
            begun.set()
            go_on.wait(10)
            done.set()
            return reply

    inner = Slow()

    async def main() -> None:
        with pytest.raises(DeadlineExceededError):
            async with deadline(0.05):
                await ThreadedStore(inner).compare_and_set("k", b"v", expected=ABSENT)
        assert begun.is_set()
        assert not done.is_set()
        go_on.set()

    run(library, main)
    assert done.wait(10)
    assert inner.load("k") is not None
