"""The clients of Redis, MongoDB and PostgreSQL: each adds one to a counter, or inserts one charge."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import psycopg
import pymongo
import redis
import redis.asyncio
import redis.backoff
import redis.retry
import sqlalchemy
from tests.idempotency.matrix import Client, Held, Setting, Work
from tests.servers.process import missing

from resilience import deadline


__all__ = ["CHARGES", "INSERT", "NO_SQL", "SQL"]

#: The counter of Redis, the table of PostgreSQL.
CHARGES = "charges"
INSERT = f"INSERT INTO {CHARGES} (cents) VALUES (300)"


def by_redis(at: Setting) -> Iterator[Work]:
    options: Any = {} if at.own_retries else {"retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0)}
    with redis.Redis(port=at.port, socket_timeout=at.patience, **options) as client:
        yield lambda: client.incr(CHARGES)


async def by_redis_async(at: Setting) -> AsyncIterator[Work]:
    options: Any = {} if at.own_retries else {"retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)}
    async with redis.asyncio.Redis(port=at.port, socket_timeout=at.patience, **options) as client:
        yield lambda: client.incr(CHARGES)


def _dsn(port: int) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def by_psycopg(at: Setting) -> Iterator[Work]:
    held = Held[psycopg.Connection](lambda: psycopg.connect(_dsn(at.port), autocommit=True), psycopg.Connection.close)

    def charge() -> None:
        # psycopg has no timeout for an answer.
        with held.use() as connection, deadline.interrupting(at.patience):
            connection.execute(INSERT)

    yield charge
    held.drop()


def by_psycopg_transaction(at: Setting) -> Iterator[Work]:
    held = Held[psycopg.Connection](lambda: psycopg.connect(_dsn(at.port)), psycopg.Connection.close)

    def charge() -> None:
        with held.use() as connection, deadline.interrupting(at.patience), connection.transaction():
            connection.execute(INSERT)

    yield charge
    held.drop()


async def by_psycopg_async(at: Setting) -> AsyncIterator[Work]:
    held = Held[psycopg.AsyncConnection](
        lambda: psycopg.AsyncConnection.connect(_dsn(at.port), autocommit=True), psycopg.AsyncConnection.close
    )

    async def charge() -> None:
        # A cancelled psycopg waits five seconds more for its server, unless it is cancelled again.
        async with held.ause() as connection, asyncio.timeout(2 * at.patience), asyncio.timeout(at.patience):
            await connection.execute(INSERT)

    yield charge
    await held.adrop()


async def by_asyncpg(at: Setting) -> AsyncIterator[Work]:
    held = Held[asyncpg.Connection](lambda: asyncpg.connect(_dsn(at.port)), asyncpg.Connection.terminate)

    async def charge() -> None:
        async with held.ause() as connection:
            await connection.execute(INSERT, timeout=at.patience)

    yield charge
    await held.adrop()


def by_sqlalchemy(at: Setting) -> Iterator[Work]:
    engine = sqlalchemy.create_engine(_dsn(at.port).replace("postgresql", "postgresql+psycopg"))

    def charge() -> None:
        with deadline.interrupting(at.patience), engine.begin() as connection:
            connection.execute(sqlalchemy.text(INSERT))

    yield charge
    engine.dispose()


async def by_sqlalchemy_async(at: Setting) -> AsyncIterator[Work]:
    if importlib.util.find_spec("greenlet") is None:
        missing("greenlet, which the asyncio part of SQLAlchemy needs, is not installed")
    import sqlalchemy.ext.asyncio

    engine = sqlalchemy.ext.asyncio.create_async_engine(_dsn(at.port).replace("postgresql", "postgresql+asyncpg"))

    async def charge() -> None:
        async with asyncio.timeout(at.patience), engine.begin() as connection:
            await connection.execute(sqlalchemy.text(INSERT))

    yield charge
    await engine.dispose()


def _mongo(at: Setting) -> dict[str, Any]:
    return {
        "port": at.port,
        "directConnection": True,
        "socketTimeoutMS": at.patience * 1000,
        "serverSelectionTimeoutMS": 1000,
        **({} if at.own_retries else {"retryWrites": False, "retryReads": False}),
    }


def by_pymongo(at: Setting) -> Iterator[Work]:
    with pymongo.MongoClient(**_mongo(at)) as client:
        yield lambda: client.shop[CHARGES].insert_one({"cents": 300})


async def by_pymongo_async(at: Setting) -> AsyncIterator[Work]:
    async with pymongo.AsyncMongoClient(**_mongo(at)) as client:
        yield lambda: client.shop[CHARGES].insert_one({"cents": 300})
        # Closed while its monitor connects, it forgets that one's socket.
        await asyncio.sleep(0.05)


NO_SQL = (
    Client("redis", "redis_server", by_redis, request=b"INCR", own=2),
    Client("redis, async", "redis_server", by_redis_async, request=b"INCR", own=2),
    # The server does not do again what comes under the same number.
    Client("pymongo", "mongo_server", by_pymongo, request=b"insert\0", own=1),
    Client("pymongo, async", "mongo_server", by_pymongo_async, request=b"insert\0", own=1),
)
SQL = (
    Client("psycopg", "postgres_server", by_psycopg, request=b"INSERT", reply=b"INSERT 0 1"),
    Client("psycopg, async", "postgres_server", by_psycopg_async, request=b"INSERT", reply=b"INSERT 0 1"),
    Client("psycopg, COMMIT", "postgres_server", by_psycopg_transaction, request=b"COMMIT", reply=b"COMMIT"),
    Client("asyncpg", "postgres_server", by_asyncpg, request=b"INSERT", reply=b"INSERT 0 1"),
    Client("SQLAlchemy with psycopg", "postgres_server", by_sqlalchemy, request=b"COMMIT", reply=b"COMMIT"),
    Client("SQLAlchemy with asyncpg", "postgres_server", by_sqlalchemy_async, request=b"COMMIT", reply=b"COMMIT"),
)
