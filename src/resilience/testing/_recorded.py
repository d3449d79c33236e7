"""A store whose verbs are written down; and what its operations say."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from typing_extensions import override

from resilience._core.description import Description
from resilience._core.records import Versioned
from resilience._core.steps import Load, LoadMany, Remove, Swap, Verb, Wait
from resilience.errors import VersionConflictError
from resilience.stores._base import AsyncStoreBase, StoreBase
from resilience.typing import AsyncStore, Store


if TYPE_CHECKING:
    from resilience.testing.history import History, Operation

__all__ = ["AsyncRecorded", "Recorded", "found_by", "looked", "written_by"]

R = TypeVar("R")

#: The store judges how large a value may be; whoever only writes down what is done does not.
_NO_LIMIT = 1 << 62


class Recorded(StoreBase):
    """A store whose verbs are written down."""

    def __init__(self, history: History, store: Store, client: Hashable) -> None:
        super().__init__(f"{store!r}, recorded", _NO_LIMIT)
        self._history = history
        self._store = store
        self._client = client

    @override
    def _run(self, verb: Verb[R]) -> R:
        with _noted(self._history, self._client, verb) as note:
            answer = verb.on(self._store)
            note(answer)
        return cast("R", answer)

    @override
    def _wait(self, verb: Wait) -> None:
        verb.on(self._store)

    @override
    def _close(self) -> None:
        self._store.close()

    @override
    def ping(self) -> None:
        self._store.ping()

    @override
    def describe(self) -> Description:
        return self._store.describe()


class AsyncRecorded(AsyncStoreBase):
    """An async store whose verbs are written down."""

    def __init__(self, history: History, store: AsyncStore, client: Hashable) -> None:
        super().__init__(f"{store!r}, recorded", _NO_LIMIT)
        self._history = history
        self._store = store
        self._client = client

    @override
    async def _run(self, verb: Verb[R]) -> R:
        with _noted(self._history, self._client, verb) as note:
            answer = await verb.on(self._store)
            note(answer)
        return cast("R", answer)

    @override
    async def _wait(self, verb: Wait) -> None:
        await verb.on(self._store)

    @override
    async def _aclose(self) -> None:
        await self._store.aclose()

    @override
    async def ping(self) -> None:
        await self._store.ping()

    @override
    async def describe(self) -> Description:
        return await self._store.describe()

    def blocking(self) -> Store:
        """The blocking store over the same records, whose verbs are written down as well."""
        return self._history.wrap(self._store.blocking(), client=self._client)


def found_by(operation: Operation) -> Versioned[bytes] | None:
    """The record that an operation is known to have found; not the one that it wrote."""
    return cast("Versioned[bytes] | None", operation.result) if looked(operation) else None


def looked(operation: Operation) -> bool:
    """Whether the operation says what was there, if anything: it loaded, or met with a conflict."""
    if operation.pending:
        return False
    return operation.error is VersionConflictError or (isinstance(operation.arg, Load) and operation.error is None)


def written_by(operation: Operation) -> Versioned[bytes] | None:
    """The record that an operation is known to have written."""
    if operation.pending or operation.error is not None or not isinstance(operation.arg, Swap):
        return None
    return cast("Versioned[bytes]", operation.result)


@contextmanager
def _noted(history: History, client: Hashable, verb: Verb[Any]) -> Generator[Callable[[Any], None]]:
    """Around a verb of a store; what is yielded is to be told the store's answer."""
    name, args = _parts(verb)
    with history.recording(client, name, args) as operations:

        def note(answer: Any) -> None:
            for operation in operations:
                operation.result = answer[operation.key] if isinstance(verb, LoadMany) else answer

        yield note


def _parts(verb: Verb[Any]) -> tuple[str, dict[Any, Any]]:
    """A verb as operations on single keys: their name, and each one's key and argument; none for what changes nothing."""
    if isinstance(verb, Load):
        return "load", {verb.key: verb}
    if isinstance(verb, LoadMany):
        return "load", {key: Load(key) for key in verb.keys}
    if isinstance(verb, Swap):
        return "compare_and_set", {verb.key: verb}
    if isinstance(verb, Remove):
        return "remove", {verb.key: verb}
    return "", {}
