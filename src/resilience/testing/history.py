"""Histories: what several clients did to one object, and what came of it, in an order that cannot lie.

An operation takes effect at some moment between its call and its return. All that is known of two operations is
whether one had returned before the other was called; that order comes from a counter under a lock, not from a clock,
which has ties and can be set back.

The one mistake that a recorder must not make is to take an error for "it did not happen". An operation that ends in an
error stays **pending**: it may have taken effect, may still do so at any later time, or never. Only errors that are
named as **definite** mean that the object refused, and nothing was changed.
"""

from __future__ import annotations

import reprlib
import threading
from collections.abc import Awaitable, Callable, Generator, Hashable, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast, overload

from attrs import define

from resilience._core.functions import is_async
from resilience._core.records import Versioned
from resilience._core.steps import Load, Remove, Swap
from resilience.errors import (
    ConfigError,
    GuardRefusedError,
    StorageFullError,
    StoreUnavailableError,
    VersionConflictError,
)
from resilience.testing._recorded import AsyncRecorded, Recorded
from resilience.typing import AsyncStore, Store


__all__ = ["DEFINITE", "History", "Operation"]

R = TypeVar("R")

#: What a store raises only where nothing was changed.
DEFINITE: tuple[type[Exception], ...] = (
    VersionConflictError,
    GuardRefusedError,
    StoreUnavailableError,
    StorageFullError,
    ConfigError,
)


@define(eq=False, repr=False)
class Operation:
    """One operation of a history.

    Args:
        client: Who called it, for people.
        op: Its name.
        key: What it was done to.
        arg: What it was called with.
        called: When, by the history's counter.
        returned: When it returned, by the same counter; None if it is pending: its outcome is not known.
        result: What it returned; after a `VersionConflictError`, the record that the error said is there.
        error: The class of the definite error that it ended in; None if it ended in none.
    """

    client: Hashable
    op: str
    key: Hashable
    arg: Any
    called: int
    returned: int | None = None
    result: Any = None
    error: type[Exception] | None = None

    @property
    def pending(self) -> bool:
        """Whether its outcome is unknown."""
        return self.returned is None

    def __repr__(self) -> str:
        given = "".join(f", {part}" for part in _given(self.arg))
        return f"{self.client}: {self.op}({self.key!r}{given}) -> {self._outcome()}  [{self._interval()}]"

    def _outcome(self) -> str:
        if self.pending:
            return "unknown"
        if self.error is None:
            return _shown(self.result)
        there = f", found {_shown(self.result)}" if self.error is VersionConflictError else ""
        return f"{self.error.__name__}{there}"

    def _interval(self) -> str:
        return f"{self.called}, {'…' if self.pending else self.returned}"


class History:
    """Writes down what clients do to an object, for `check_linearizable` and `check_versions`. Safe for threads and tasks.

    >>> from resilience.stores import ABSENT, MemoryStore
    >>> from resilience.testing.history import History
    >>> history = History()
    >>> store = history.wrap(MemoryStore(), client="Ada")
    >>> written = store.compare_and_set("greeting", b"hello", expected=ABSENT)
    >>> [(operation.client, operation.op, operation.result == written) for operation in history.operations]
    [('Ada', 'compare_and_set', True)]
    """

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._moment = 0
        self._lock = threading.Lock()

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations so far, in the order of their calls."""
        with self._lock:
            return tuple(self._operations)

    def run(
        self,
        client: Hashable,
        op: str,
        key: Hashable,
        arg: Any,
        fn: Callable[[], R],
        definite: tuple[type[Exception], ...] = DEFINITE,
    ) -> R:
        """Call `fn` and write down what came of it; its error is raised again.

        Args:
            client: Who calls, for people.
            op: The operation's name, as the model knows it.
            key: What it is done to.
            arg: What it is done with, as the model knows it.
            fn: Does it; its result is the operation's.
            definite: The errors after which it certainly did not happen. Any other leaves it pending.

        >>> history = History()
        >>> history.run("Ada", "write", "x", 1, lambda: None)
        >>> history.operations
        (Ada: write('x', 1) -> None  [0, 1],)
        """
        with self.recording(client, op, {key: arg}, definite) as operations:
            operations[0].result = result = fn()
        return result

    async def arun(
        self,
        client: Hashable,
        op: str,
        key: Hashable,
        arg: Any,
        fn: Callable[[], Awaitable[R]],
        definite: tuple[type[Exception], ...] = DEFINITE,
    ) -> R:
        """As `run`, of a coroutine function. A cancellation leaves the operation pending."""
        with self.recording(client, op, {key: arg}, definite) as operations:
            operations[0].result = result = await fn()
        return result

    @overload
    def wrap(self, store: Store, *, client: Hashable) -> Store: ...

    @overload
    def wrap(self, store: AsyncStore, *, client: Hashable) -> AsyncStore: ...

    def wrap(self, store: Store | AsyncStore, *, client: Hashable) -> Store | AsyncStore:
        """The same store, whose loads, writes and removals are written down for `VersionedRegister`.

        The other verbs pass through: they change no revision. Closing it closes the store.

        Args:
            store: A `Store` or an `AsyncStore`.
            client: Who calls, for people.
        """
        if is_async(store.load):
            return AsyncRecorded(self, cast("AsyncStore", store), client)
        return Recorded(self, cast("Store", store), client)

    @contextmanager
    def recording(
        self, client: Hashable, op: str, args: Mapping[Any, Any], definite: tuple[type[Exception], ...] = DEFINITE
    ) -> Generator[list[Operation]]:
        """Around what carries out one operation on each of several keys; it is to set their ``result``.

        Args:
            client: Who calls, for people.
            op: The operation's name.
            args: The keys, and for each one what is done with it.
            definite: The errors after which it certainly did not happen. Any other leaves them pending.
        """
        with self._lock:
            operations = [Operation(client, op, key, arg, self._next()) for key, arg in args.items()]
            self._operations += operations
        try:
            yield operations
        except definite as error:
            # Not the error itself: its traceback would keep every frame alive for as long as the history.
            for operation in operations:
                operation.error, operation.result = type(error), getattr(error, "current", None)
            self._return(operations)
            raise
        self._return(operations)

    def _return(self, operations: Iterable[Operation]) -> None:
        with self._lock:
            for operation in operations:
                operation.returned = self._next()

    def _next(self) -> int:
        self._moment += 1
        return self._moment - 1


def _given(arg: Any) -> list[str]:
    """What an operation was called with, but for its key."""
    if isinstance(arg, Load):
        return []
    if isinstance(arg, Swap):
        return [reprlib.repr(arg.value), f"expected={arg.expected}"]
    if isinstance(arg, Remove):
        return [f"expected={arg.expected}"]
    return [] if arg is None else [reprlib.repr(arg)]


def _shown(result: Any) -> str:
    record = result
    if isinstance(result, Versioned):
        return f"revision {record.revision}, {reprlib.repr(record.value)}{', expired' if record.expired else ''}"
    return reprlib.repr(result)
