"""Stores: small values under keys, with revisions, expiry by the store's own clock, and writes guarded by leases.

    with open_store("sqlite:///bridge.db") as store:
        store.compare_and_set("task:42", b"queued", expected=ABSENT)

What a store does is in `resilience.typing.Store`; what each of these promises, and what it may lose, it says itself
(`describe`). `OptimisticLock` stands on any of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from resilience._core.codecs import Bytes, Json
from resilience._core.description import Description, Fault, Trait
from resilience._core.records import ABSENT, ANY, VACANT, Beat, Expected, Guard, Seen, Versioned


if TYPE_CHECKING:
    from resilience.stores._opening import aopen_store as aopen_store
    from resilience.stores._opening import open_store as open_store
    from resilience.stores._threaded import ThreadedStore as ThreadedStore
    from resilience.stores.etcd import EtcdStore as EtcdStore
    from resilience.stores.file import FileStore as FileStore
    from resilience.stores.memory import MemoryStore as MemoryStore
    from resilience.stores.postgres import AsyncPostgresStore as AsyncPostgresStore
    from resilience.stores.postgres import PostgresStore as PostgresStore
    from resilience.stores.redis import AsyncRedisStore as AsyncRedisStore
    from resilience.stores.redis import RedisStore as RedisStore
    from resilience.stores.sqlite import SQLiteStore as SQLiteStore

__all__ = [
    "ABSENT",
    "ANY",
    "VACANT",
    "AsyncPostgresStore",
    "AsyncRedisStore",
    "Beat",
    "Bytes",
    "Description",
    "EtcdStore",
    "Expected",
    "Fault",
    "FileStore",
    "Guard",
    "Json",
    "MemoryStore",
    "PostgresStore",
    "RedisStore",
    "SQLiteStore",
    "Seen",
    "ThreadedStore",
    "Trait",
    "Versioned",
    "aopen_store",
    "open_store",
]

#: Where each store lives: a driver is imported with the first use of its store's name.
_HOME = {
    "AsyncPostgresStore": "postgres",
    "AsyncRedisStore": "redis",
    "EtcdStore": "etcd",
    "FileStore": "file",
    "MemoryStore": "memory",
    "PostgresStore": "postgres",
    "RedisStore": "redis",
    "SQLiteStore": "sqlite",
    "ThreadedStore": "_threaded",
    "aopen_store": "_opening",
    "open_store": "_opening",
}


if not TYPE_CHECKING:  # or every misspelt name would be of type Any

    def __getattr__(name: str) -> Any:
        home = _HOME.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
