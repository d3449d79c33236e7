"""A store by its URL: the one word in a configuration that says where state is kept."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from resilience._core.description import Trait
from resilience._io import aio
from resilience.errors import ConfigError
from resilience.stores._threaded import ThreadedStore
from resilience.typing import AsyncStore, Store


__all__ = ["aopen_store", "open_store"]

_EXPECTED = "memory:, sqlite:///relative.db, sqlite:////absolute.db, file:///absolute/directory, redis://…, postgresql://… or etcd://…"


def open_store(url: str, *, require: Collection[Trait] = (), **options: Any) -> Store:
    """Open a store.

    Args:
        url: ``memory:``, ``sqlite:///bridge.db`` (relative; four slashes for an absolute path), ``file:///var/lib/x``,
            ``redis://…`` or ``rediss://…``, ``postgresql://…``, ``etcd://…`` or ``etcds://…``.
        require: What it must promise, by the names of `resilience.stores.Description`: a weaker store is refused.
        options: For the store's own constructor, such as ``max_value_bytes=``.

    Raises:
        ConfigError: A URL that means no store, or a store that lacks what is required.
        ImportError: The driver is not installed; the error says which extra brings it.

    >>> from resilience import open_store
    >>> with open_store("memory:") as store:
    ...     store.describe().durable
    False
    """
    name, target = _meant(url)
    store = cast("Store", _made(name, target, options))
    try:
        if require:
            store.describe().require(require)
    except BaseException:
        store.close()
        raise
    return store


async def aopen_store(url: str, *, require: Collection[Trait] = (), **options: Any) -> AsyncStore:
    """Open a store for async code: Redis and PostgreSQL by their own async drivers, the others in worker threads.

    Args and errors are those of `open_store`.

    >>> import asyncio
    >>> from resilience import aopen_store
    >>> async def main():
    ...     async with await aopen_store("memory:") as store:
    ...         return await store.load("nothing")
    >>> asyncio.run(main()) is None
    True
    """
    name, target = _meant(url)
    if f"Async{name}" in _ASYNC:
        store = cast("AsyncStore", _made(f"Async{name}", target, options))
    else:
        store = ThreadedStore(cast("Store", await aio.to_thread(lambda: _made(name, target, options))))
    try:
        if require:
            (await store.describe()).require(require)
    except BaseException:
        await store.aclose()
        raise
    return store


_ASYNC = {"AsyncPostgresStore", "AsyncRedisStore"}


def _meant(url: Any) -> tuple[str, str | None]:
    """Which store, and where."""
    if not isinstance(url, str) or ":" not in url:
        raise ConfigError("url", _shown(url), _EXPECTED)
    scheme = url.partition(":")[0].lower()
    found = _SCHEMES.get(scheme)
    if found is None:
        near = get_close_matches(scheme, _SCHEMES, 1)
        raise ConfigError("url", _shown(url), f"one of {_EXPECTED}" + (f" (is {near[0]}: meant?)" if near else ""))
    name, target = found
    return name, target(url)


def _made(name: str, target: str | None, options: dict[str, Any]) -> object:
    make = getattr(importlib.import_module("resilience.stores"), name)
    return make(**options) if target is None else make(target, **options)


def _path(url: str, *, relative: bool) -> str:
    """The path in a URL: what follows its third slash, where that may be relative; else from there on."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc:
        meant = f"{parts.scheme}:///{parts.hostname or ''}{path}"
        raise ConfigError("url", _shown(url), f"a path after three slashes: {meant}")
    if not url.partition(":")[2].startswith("//") or parts.query or parts.fragment or not path.strip("/"):
        raise ConfigError("url", _shown(url), _EXPECTED)
    return str(Path(path[1:] if relative else path))


def _shown(url: Any) -> Any:
    """A URL as an error shows it: without what stands before an at sign, which may be a password."""
    return re.sub(r"//[^/]*@", "//…@", url) if isinstance(url, str) else url


def _nothing(url: str) -> None:
    if url.partition(":")[2].strip("/"):
        raise ConfigError("url", _shown(url), "memory: and nothing after it, for a memory has no address")


#: Which store a scheme means, and what of the URL is handed to it.
_SCHEMES: dict[str, tuple[str, Callable[[str], str | None]]] = {
    "etcd": ("EtcdStore", str),
    "etcds": ("EtcdStore", str),
    "file": ("FileStore", lambda url: _path(url, relative=False)),
    "memory": ("MemoryStore", _nothing),
    "postgres": ("PostgresStore", str),
    "postgresql": ("PostgresStore", str),
    "redis": ("RedisStore", str),
    "rediss": ("RedisStore", str),
    "sqlite": ("SQLiteStore", lambda url: _path(url, relative=True)),
}
