"""Every store of the library keeps the contract that others are held to, in both colours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.postgres import Postgres, postgres_server
from tests.servers.redis import RedisServer, redis_server

from resilience.stores import (
    AsyncPostgresStore,
    AsyncRedisStore,
    FileStore,
    MemoryStore,
    PostgresStore,
    RedisStore,
    SQLiteStore,
    ThreadedStore,
)
from resilience.testing import AsyncStoreContract, StoreContract
from resilience.typing import Clock


numbers = itertools.count()


def memory_twin(store: MemoryStore, clock: Clock | None) -> MemoryStore:
    """A second instance over the same dictionary: what two handles in one process would be."""
    twin = MemoryStore(clock)
    for name in ("_shelf", "_lock", "_waiting", "_incarnation"):
        setattr(twin, name, getattr(store, name))
    return twin


class TestMemoryStore(StoreContract):
    lacks = {"reopen": "what is in memory is gone when it is closed"}

    def make_store(self, clock: Clock) -> MemoryStore:
        return MemoryStore(clock)

    def another(self, store: MemoryStore) -> MemoryStore:
        return memory_twin(store, self.clock)


class TestMemoryStoreOnItsOwnClock(StoreContract):
    """As a store is tested whose time nobody can set."""

    clock_is_ours = False
    max_examples = 25
    lacks = TestMemoryStore.lacks | {"clock": "the point of this one"}

    def make_store(self, clock: Clock) -> MemoryStore:
        return MemoryStore()

    def another(self, store: MemoryStore) -> MemoryStore:
        return memory_twin(store, None)


class TestThreadedStore(AsyncStoreContract):
    max_examples = 40
    lacks = TestMemoryStore.lacks

    def make_store(self, clock: Clock) -> ThreadedStore:
        return ThreadedStore(MemoryStore(clock))

    async def another(self, store: Any) -> ThreadedStore:
        return ThreadedStore(memory_twin(store.blocking(), self.clock))


class OnDisk:
    """A new directory for each store."""

    clock: Clock

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.directory = tmp_path

    def new(self) -> Path:
        self.path = self.directory / f"{next(numbers)}"
        return self.path


class TestFileStore(OnDisk, StoreContract):
    max_examples = 40
    waits_are_real = True

    def make_store(self, clock: Clock) -> FileStore:
        return FileStore(self.new(), clock=clock)

    def another(self, store: FileStore) -> FileStore:
        return FileStore(self.path, clock=self.clock)

    def reopen(self, store: FileStore) -> FileStore:
        store.close()
        return self.another(store)


class TestSQLiteStore(OnDisk, StoreContract):
    max_examples = 40
    waits_are_real = True

    def make_store(self, clock: Clock) -> SQLiteStore:
        return SQLiteStore(self.new(), clock=clock)

    def another(self, store: SQLiteStore) -> SQLiteStore:
        return SQLiteStore(self.path, clock=self.clock)

    def reopen(self, store: SQLiteStore) -> SQLiteStore:
        store.close()
        return self.another(store)


class TestThreadedSQLiteStore(OnDisk, AsyncStoreContract):
    max_examples = 25
    waits_are_real = True

    def make_store(self, clock: Clock) -> ThreadedStore:
        return ThreadedStore(SQLiteStore(self.new(), clock=clock))

    def another(self, store: Any) -> ThreadedStore:
        return ThreadedStore(SQLiteStore(self.path, clock=self.clock))

    async def reopen(self, store: Any) -> ThreadedStore:
        await store.aclose()
        return self.another(store)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


class OnRedis:
    """A namespace for each store, on one server."""

    clock: Clock
    max_examples = 30
    waits_are_real = True

    @pytest.fixture(autouse=True)
    def _server(self, redis: RedisServer) -> None:
        self.url = redis.url

    def new(self) -> str:
        self.namespace = f"n{next(numbers)}"
        return self.namespace


class TestRedisStore(OnRedis, StoreContract):
    def make_store(self, clock: Clock) -> RedisStore:
        return RedisStore(self.url, namespace=self.new(), clock=clock)

    def another(self, store: RedisStore) -> RedisStore:
        return RedisStore(self.url, namespace=self.namespace, clock=self.clock)

    def reopen(self, store: RedisStore) -> RedisStore:
        store.close()
        return self.another(store)


class TestRedisStoreOnTheServersClock(OnRedis, StoreContract):
    clock_is_ours = False
    lacks = {"clock": "it is the server's"}

    def make_store(self, clock: Clock) -> RedisStore:
        return RedisStore(self.url, namespace=self.new())

    def another(self, store: RedisStore) -> RedisStore:
        return RedisStore(self.url, namespace=self.namespace)

    def reopen(self, store: RedisStore) -> RedisStore:
        store.close()
        return self.another(store)


class TestAsyncRedisStore(OnRedis, AsyncStoreContract):
    def make_store(self, clock: Clock) -> AsyncRedisStore:
        return AsyncRedisStore(self.url, namespace=self.new(), clock=clock)

    def another(self, store: Any) -> AsyncRedisStore:
        return AsyncRedisStore(self.url, namespace=self.namespace, clock=self.clock)

    async def reopen(self, store: Any) -> AsyncRedisStore:
        await store.aclose()
        return self.another(store)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), fsync="off") as server:
        yield server


class OnPostgres:
    """A schema for each store, in one database."""

    clock: Clock
    max_examples = 12
    waits_are_real = True

    @pytest.fixture(autouse=True)
    def _server(self, postgres: Postgres) -> None:
        self.dsn = postgres.dsn

    def new(self) -> str:
        self.schema = f"n{next(numbers)}"
        return self.schema


class TestPostgresStore(OnPostgres, StoreContract):
    def make_store(self, clock: Clock) -> PostgresStore:
        store = PostgresStore(self.dsn, schema=self.new(), clock=clock)
        store.create_schema()
        return store

    def another(self, store: PostgresStore) -> PostgresStore:
        return PostgresStore(self.dsn, schema=self.schema, clock=self.clock)

    def reopen(self, store: PostgresStore) -> PostgresStore:
        store.close()
        return self.another(store)


class TestPostgresStoreOnTheServersClock(OnPostgres, StoreContract):
    clock_is_ours = False
    lacks = {"clock": "it is the server's"}

    def make_store(self, clock: Clock) -> PostgresStore:
        store = PostgresStore(self.dsn, schema=self.new())
        store.create_schema()
        return store

    def another(self, store: PostgresStore) -> PostgresStore:
        return PostgresStore(self.dsn, schema=self.schema)

    def reopen(self, store: PostgresStore) -> PostgresStore:
        store.close()
        return self.another(store)


class TestAsyncPostgresStore(OnPostgres, AsyncStoreContract):
    async def make_store(self, clock: Clock) -> AsyncPostgresStore:
        store = AsyncPostgresStore(self.dsn, schema=self.new(), clock=clock)
        await store.acreate_schema()
        return store

    def another(self, store: Any) -> AsyncPostgresStore:
        return AsyncPostgresStore(self.dsn, schema=self.schema, clock=self.clock)

    async def reopen(self, store: Any) -> AsyncPostgresStore:
        await store.aclose()
        return self.another(store)
