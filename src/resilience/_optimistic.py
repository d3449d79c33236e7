"""Optimistic locking: read, change, compare-and-set. Nobody waits for a lock, nobody's change is lost.

The protocol stands in `_core/updating`; these are its two doors.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, TypeVar, cast

from resilience._core import checks
from resilience._core.codecs import Json
from resilience._core.functions import is_async, name_of_function
from resilience._core.records import Expected, Versioned
from resilience._core.steps import LONGEST_KEY, checked_key
from resilience._core.turns import TURN
from resilience._core.updating import Document, OnConflict, finish_edit, read, update, write
from resilience._io.drive import adrive, drive
from resilience.errors import ConfigError
from resilience.typing import AsyncStore, Codec, Seconds, Store


__all__ = ["AsyncOptimisticLock", "OptimisticLock"]

T = TypeVar("T")
S = TypeVar("S")

#: What turns and tickets add to a key.
_ROOM = 64


class _Described(Generic[T]):
    """What both doors are made of."""

    def __init__(self, key: str, codec: Codec[T], default: Callable[[], T] | None, ttl: Seconds | None) -> None:
        longest = LONGEST_KEY - _ROOM
        if len(checked_key("key", key).encode()) > longest:
            raise ConfigError("key", key, f"at most {longest} bytes in UTF-8, to leave room for turns")
        if key.startswith(TURN):
            raise ConfigError("key", key, "a key that is not kept for turns")
        if default is not None and not callable(default):
            raise ConfigError("default", default, "a function that makes the value of a vacant key, such as dict")

        def missing() -> T:
            raise KeyError(key)

        if isinstance(codec, type) or not hasattr(codec, "decode"):
            raise ConfigError("codec", codec, "an object with encode and decode, such as Json()")
        plain = None if ttl is None else checks.seconds("ttl", ttl)
        self._document = Document(key, codec, default or missing, plain)

    @property
    def key(self) -> str:
        """Where the value is."""
        return self._document.key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key!r}>"


def _right(store: S, *, is_asynchronous: bool) -> S:
    """A store of the colour that is needed; not every caller is typed."""
    verb = getattr(store, "compare_and_set", None)
    if verb is None or isinstance(store, type):
        raise ConfigError("store", store, "a store: open_store(url) opens one")
    if is_async(verb) and not is_asynchronous:
        raise ConfigError("store", store, "a blocking store; AsyncOptimisticLock takes async ones")
    if not is_async(verb) and is_asynchronous:
        raise ConfigError("store", store, "an async store: aopen_store(url) opens one, ThreadedStore(store) makes one")
    return store


def _checked(on_conflict: Any) -> Any:
    if callable(on_conflict) or on_conflict in {"retry", "raise", "last_write_wins"}:
        return on_conflict
    raise ConfigError("on_conflict", on_conflict, '"retry", "raise", "last_write_wins" or merge(base, mine, theirs)')


def _name() -> str:
    return secrets.token_hex(16)


class OptimisticLock(_Described[T]):
    """One value in a store, changed without losing anybody else's change. Safe for threads, as its store is.

    Args:
        store: Where the value is kept.
        key: Its key: text of 1 to 960 bytes in UTF-8.
        codec: Between the value and its bytes.
        default: Makes the value of a key that is vacant or expired; None if reading that is a `KeyError`.
        ttl: Seconds after which what is written expires; None for never.

    Raises:
        ConfigError: A key, default or TTL that cannot be.

    >>> from resilience import OptimisticLock
    >>> from resilience.stores import MemoryStore
    >>> seats = OptimisticLock(MemoryStore(), "seats", default=lambda: {"free": 3})
    >>> seats.update(lambda now: {"free": now["free"] - 1}).value
    {'free': 2}
    """

    def __init__(
        self,
        store: Store,
        key: str,
        codec: Codec[T] = cast("Any", Json()),  # noqa: B008  # stateless
        *,
        default: Callable[[], T] | None = None,
        ttl: Seconds | None = None,
    ) -> None:
        super().__init__(key, codec, default, ttl)
        self._store = _right(store, is_asynchronous=False)

    def read(self) -> Versioned[T]:
        """The value as it is now, with its revision; the default at revision ``ABSENT`` where there is none.

        Raises:
            KeyError: There is none, and no default.
        """
        return drive(read(self._document), self._store)

    def write(self, value: T, *, expected: Expected) -> Versioned[T]:
        """Write, if nobody has since that revision was read.

        Args:
            value: What to store.
            expected: The ``revision`` of what was read, or ``ABSENT``, or ``ANY`` to overwrite whatever there is.

        Raises:
            VersionConflictError: Somebody has; it carries their value and revision.
        """
        return drive(write(self._document, value, expected, _name()), self._store)

    def update(self, change: Callable[[T], T], *, on_conflict: OnConflict[T] = "retry") -> Versioned[T]:
        """Change the value, whatever it is by then; what was written.

        Four tries are made side by side with everybody else, then one takes turns, in the order of arrival: success is
        bounded by the deadline around, not by a count. The change is applied once, also where an answer is lost.

        Args:
            change: From the value to the new one. It may run more than once, each time with a value of its own, and
                runs outside of any transaction; it has no other effects.
            on_conflict: When somebody wrote in between: "retry" changes what they wrote, "raise" is a
                `VersionConflictError`, "last_write_wins" overwrites it, and a function `merge(base, mine, theirs)`
                says what to write instead (`merge_mappings` is one).

        Raises:
            VersionConflictError: As `on_conflict` has it, or the merge.
            DeadlineExceededError: The deadline around leaves no time for another try.
            OutcomeUnknownError: An answer was lost, and somebody wrote before it could be found out.
        """
        for fn in (change, on_conflict):
            if callable(fn) and is_async(fn):
                raise TypeError(f"{name_of_function(fn)} is a coroutine function: AsyncOptimisticLock awaits it")
        return drive(update(self._document, change, _checked(on_conflict), _name()), self._store)

    @contextmanager
    def edit(self, *, on_conflict: OnConflict[T] = "raise") -> Generator[T]:
        """The value, to be changed in place; written when the block ends, not if it raises.

        The block cannot run again: a conflict raises, or is merged.

        Args:
            on_conflict: "raise", "last_write_wins", or a function `merge(base, mine, theirs)`.

        >>> from resilience import OptimisticLock
        >>> from resilience.stores import MemoryStore
        >>> profile = OptimisticLock(MemoryStore(), "profile", default=dict)
        >>> with profile.edit() as document:
        ...     document["name"] = "Ada"
        >>> profile.read().value
        {'name': 'Ada'}
        """
        rule = _editing(on_conflict)
        there = self._store.load(self.key)
        value = self._document.value_of(there)
        yield value
        drive(finish_edit(self._document, there, value, rule, _name()), self._store)


class AsyncOptimisticLock(_Described[T]):
    """`OptimisticLock` for async code, over an async store. Safe for tasks.

    Args:
        store: Where the value is kept.
        key: Its key: text of 1 to 960 bytes in UTF-8.
        codec: Between the value and its bytes.
        default: Makes the value of a key that is vacant or expired; None if reading that is a `KeyError`.
        ttl: Seconds after which what is written expires; None for never.

    Raises:
        ConfigError: A key, default or TTL that cannot be.
    """

    def __init__(
        self,
        store: AsyncStore,
        key: str,
        codec: Codec[T] = cast("Any", Json()),  # noqa: B008
        *,
        default: Callable[[], T] | None = None,
        ttl: Seconds | None = None,
    ) -> None:
        super().__init__(key, codec, default, ttl)
        self._store = _right(store, is_asynchronous=True)

    async def read(self) -> Versioned[T]:
        """As `OptimisticLock.read`."""
        return await adrive(read(self._document), self._store)

    async def write(self, value: T, *, expected: Expected) -> Versioned[T]:
        """As `OptimisticLock.write`."""
        return await adrive(write(self._document, value, expected, _name()), self._store)

    async def update(
        self, change: Callable[[T], T] | Callable[[T], Awaitable[T]], *, on_conflict: OnConflict[T] = "retry"
    ) -> Versioned[T]:
        """As `OptimisticLock.update`; the change, and a merge, may be coroutine functions."""
        made = cast("Callable[[T], T]", change)
        return await adrive(update(self._document, made, _checked(on_conflict), _name()), self._store)

    @asynccontextmanager
    async def edit(self, *, on_conflict: OnConflict[T] = "raise") -> AsyncGenerator[T]:
        """As `OptimisticLock.edit`, with ``async with``."""
        rule = _editing(on_conflict)
        there = await self._store.load(self.key)
        value = self._document.value_of(there)
        yield value
        await adrive(finish_edit(self._document, there, value, rule, _name()), self._store)


def _editing(on_conflict: Any) -> Any:
    if on_conflict == "retry":
        raise ConfigError(
            "on_conflict", on_conflict, 'for an edit "raise", "last_write_wins" or a merge: its block cannot run again'
        )
    return _checked(on_conflict)
