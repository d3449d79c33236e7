"""What every store of ours shares: verbs made into steps, the limit of a value, and a life from opening to closing.

A store brings `_run`, which carries out one verb; a store of another make need not use any of this, only have the shape
of `resilience.typing.Store`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Self, TypeVar

from resilience._core import checks
from resilience._core.description import Description
from resilience._core.records import ABSENT, Beat, Expected, Guard, Versioned
from resilience._core.steps import Extend, Load, LoadMany, Remove, Scan, Swap, Verb, Wait
from resilience._io import waiting, world
from resilience._io.ambient import UNBOUNDED, scope_now
from resilience.errors import ConfigError, StoreError
from resilience.typing import Seconds


if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["LARGEST_VALUE", "AsyncStoreBase", "StoreBase", "is_newer", "looks"]

R = TypeVar("R")

#: Bytes: 1 MiB. A store keeps small values; larger ones belong into files or objects that a value names.
LARGEST_VALUE = 1 << 20

#: Seconds between two looks of a `wait` that nothing wakes: soon at first, then seldom enough to cost nothing.
_SOONEST = 0.0005
_LATEST = 0.02


class _Life:
    """How a store is called, how large its values may be, and whether it is still open."""

    def __init__(self, name: str, max_value_bytes: int = LARGEST_VALUE) -> None:
        self._name = name
        self._largest = checks.at_least_one("max_value_bytes", max_value_bytes)
        self._closed = False

    def _ready(self) -> None:
        if self._closed:
            raise StoreError(self._name, "it is closed")

    def _begin(self) -> None:
        """Raise where a verb must not begin: it is closed, or the work around is over.

        For stores that answer at once; those that ask a server find it out with the timeout of each round trip.
        """
        self._ready()
        scope = scope_now()
        if scope is not UNBOUNDED:
            scope.check()

    def _swap(
        self, key: str, value: bytes, expected: Expected, ttl: Seconds | None, guard: Guard | None, write_id: str | None
    ) -> Swap:
        swap = Swap(key, value, expected, ttl, guard, write_id)
        if len(swap.value) > self._largest:
            raise ConfigError("value", f"{len(swap.value)} bytes", f"at most {self._largest} bytes (max_value_bytes)")
        return swap

    def __repr__(self) -> str:
        return f"<{self._name}{' (closed)' if self._closed else ''}>"


class StoreBase(_Life):
    """The verbs of a `resilience.typing.Store`, over one method that carries out a step."""

    def _run(self, verb: Verb[R]) -> R:
        """Carry out one verb: one round trip, atomic."""
        raise NotImplementedError  # each store brings its own

    def _wait(self, verb: Wait) -> None:
        """Look again and again, for stores that nothing wakes."""
        for delay in looks(verb.timeout):
            if is_newer(self._run(Load(verb.key)), verb.after):
                return
            waiting.linger(delay)

    def _close(self) -> None:
        """Give back what is open."""

    def load(self, key: str) -> Versioned[bytes] | None:
        """The record under `key`; see `resilience.typing.Store.load`."""
        return self._run(Load(key))

    def load_many(self, keys: Iterable[str]) -> dict[str, Versioned[bytes] | None]:
        """The records under several keys; see `resilience.typing.Store.load_many`."""
        return self._run(LoadMany(keys))

    def compare_and_set(
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
        return self._run(self._swap(key, value, expected, ttl, guard, write_id))

    def extend(self, beats: Iterable[Beat]) -> frozenset[str]:
        """Renew leases; see `resilience.typing.Store.extend`."""
        return self._run(Extend(beats))

    def remove(self, key: str, *, expected: Expected, guard: Guard | None = None) -> bool:
        """Remove the record; see `resilience.typing.Store.remove`."""
        return self._run(Remove(key, expected, guard))

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int = 1000, expired: bool = False
    ) -> list[tuple[str, Versioned[bytes]]]:
        """One page of records in order; see `resilience.typing.Store.scan`."""
        return self._run(Scan(prefix, after, limit, expired))

    def wait(self, key: str, *, after: int, timeout: Seconds) -> None:
        """Wait for a change; see `resilience.typing.Store.wait`."""
        self._wait(Wait(key, after, timeout))

    def ping(self) -> None:
        """Raise `StoreUnavailableError` if the store does not answer."""
        self._run(Load("\0ping"))

    def describe(self) -> Description:
        """What this store promises, and what it may lose."""
        raise NotImplementedError  # each store brings its own

    def close(self) -> None:
        """Give back what is open; may be called again."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self) -> Self:
        self._ready()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class AsyncStoreBase(_Life):
    """The verbs of a `resilience.typing.AsyncStore`, over one method that carries out a step."""

    async def _run(self, verb: Verb[R]) -> R:
        """Carry out one verb: one round trip, atomic."""
        raise NotImplementedError  # each store brings its own

    async def _wait(self, verb: Wait) -> None:
        """Look again and again, for stores that nothing wakes."""
        for delay in looks(verb.timeout):
            if is_newer(await self._run(Load(verb.key)), verb.after):
                return
            await waiting.alinger(delay)

    async def _aclose(self) -> None:
        """Give back what is open."""

    async def load(self, key: str) -> Versioned[bytes] | None:
        """The record under `key`; see `resilience.typing.Store.load`."""
        return await self._run(Load(key))

    async def load_many(self, keys: Iterable[str]) -> dict[str, Versioned[bytes] | None]:
        """The records under several keys; see `resilience.typing.Store.load_many`."""
        return await self._run(LoadMany(keys))

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
        return await self._run(self._swap(key, value, expected, ttl, guard, write_id))

    async def extend(self, beats: Iterable[Beat]) -> frozenset[str]:
        """Renew leases; see `resilience.typing.Store.extend`."""
        return await self._run(Extend(beats))

    async def remove(self, key: str, *, expected: Expected, guard: Guard | None = None) -> bool:
        """Remove the record; see `resilience.typing.Store.remove`."""
        return await self._run(Remove(key, expected, guard))

    async def scan(
        self, prefix: str = "", *, after: str = "", limit: int = 1000, expired: bool = False
    ) -> list[tuple[str, Versioned[bytes]]]:
        """One page of records in order; see `resilience.typing.Store.scan`."""
        return await self._run(Scan(prefix, after, limit, expired))

    async def wait(self, key: str, *, after: int, timeout: Seconds) -> None:
        """Wait for a change; see `resilience.typing.Store.wait`."""
        await self._wait(Wait(key, after, timeout))

    async def ping(self) -> None:
        """Raise `StoreUnavailableError` if the store does not answer."""
        await self._run(Load("\0ping"))

    async def describe(self) -> Description:
        """What this store promises, and what it may lose."""
        raise NotImplementedError  # each store brings its own

    async def aclose(self) -> None:
        """Give back what is open; may be called again."""
        if not self._closed:
            self._closed = True
            await self._aclose()

    async def __aenter__(self) -> Self:
        self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


def is_newer(there: Versioned[bytes] | None, after: int) -> bool:
    """Whether a record is no longer at the revision that somebody knows."""
    return (ABSENT if there is None else there.revision) != after


def looks(timeout: float) -> Iterator[float]:
    """Before each wait between two looks, how long it is to be; ends when the timeout has passed. The last look has no wait."""
    current = world.current
    end = current.monotonic() + timeout
    delay = _SOONEST
    while (left := end - current.monotonic()) > 0:
        yield min(left, delay * (0.5 + current.rng.random() / 2))
        delay = min(_LATEST, delay * 1.5)
