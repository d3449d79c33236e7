"""Any blocking store, for async code: each verb in a worker thread, under asyncio and trio."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from attrs import evolve

from resilience._core.description import Description
from resilience._core.records import Beat, Expected, Guard, Versioned
from resilience._core.steps import Wait
from resilience._io import aio, waiting
from resilience.stores._base import is_newer, looks
from resilience.typing import Seconds, Store


if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ThreadedStore"]


class ThreadedStore:
    """A `resilience.typing.AsyncStore` over a blocking store. Safe for tasks, and as safe for threads as that store is.

    A task that is cancelled while a verb is under way does not wait for it: the thread ends it, and whether it was
    applied is not known.

    Args:
        store: The blocking store; closed with this one.

    >>> import asyncio
    >>> from resilience.stores import ABSENT, MemoryStore, ThreadedStore
    >>> async def main():
    ...     async with ThreadedStore(MemoryStore()) as store:
    ...         await store.compare_and_set("greeting", b"hello", expected=ABSENT)
    ...         return (await store.load("greeting")).value
    >>> asyncio.run(main())
    b'hello'
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, key: str) -> Versioned[bytes] | None:
        """The record under `key`; see `resilience.typing.Store.load`."""
        return await aio.to_thread(lambda: self._store.load(key))

    async def load_many(self, keys: Iterable[str]) -> dict[str, Versioned[bytes] | None]:
        """The records under several keys; see `resilience.typing.Store.load_many`."""
        return await aio.to_thread(lambda: self._store.load_many(keys))

    async def compare_and_set(
        self,
        key: str,
        value: bytes,
        *,
        expected: Expected,
        ttl: Seconds | None = None,
        guard: Guard | None = None,
        write_id: str | None = None,
    ) -> Versioned[bytes]:
        """Write, if the record is as expected; see `resilience.typing.Store.compare_and_set`."""
        return await aio.to_thread(
            lambda: self._store.compare_and_set(key, value, expected=expected, ttl=ttl, guard=guard, write_id=write_id)
        )

    async def extend(self, beats: Iterable[Beat]) -> frozenset[str]:
        """Renew leases; see `resilience.typing.Store.extend`."""
        return await aio.to_thread(lambda: self._store.extend(beats))

    async def remove(self, key: str, *, expected: Expected, guard: Guard | None = None) -> bool:
        """Remove the record; see `resilience.typing.Store.remove`."""
        return await aio.to_thread(lambda: self._store.remove(key, expected=expected, guard=guard))

    async def scan(
        self, prefix: str = "", *, after: str = "", limit: int = 1000, expired: bool = False
    ) -> list[tuple[str, Versioned[bytes]]]:
        """One page of records in order; see `resilience.typing.Store.scan`."""
        return await aio.to_thread(lambda: self._store.scan(prefix, after=after, limit=limit, expired=expired))

    async def wait(self, key: str, *, after: int, timeout: Seconds) -> None:
        """Wait for a change; see `resilience.typing.Store.wait`. It looks again and again: no thread is kept waiting."""
        verb = Wait(key, after, timeout)
        for delay in looks(verb.timeout):
            if is_newer(await self.load(verb.key), verb.after):
                return
            await waiting.alinger(delay)

    async def ping(self) -> None:
        """Raise `StoreUnavailableError` if the store does not answer."""
        await aio.to_thread(self._store.ping)

    async def describe(self) -> Description:
        """What this store promises, and what it may lose."""
        return evolve(await aio.to_thread(self._store.describe), wakes=False)

    def blocking(self) -> Store:
        """The blocking store itself, which this one closes."""
        return self._store

    async def aclose(self) -> None:
        """Give back what is open; may be called again."""
        await aio.to_thread(self._store.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"ThreadedStore({self._store!r})"
