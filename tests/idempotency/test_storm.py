"""A PostgreSQL that ends sessions all the time: no charge is ever written twice, and most are written after all.

The proxy loses whole answers. Here the server itself breaks off wherever a session happens to be, and says why in an error
that is taken for "rolled back" (57P01): if that were ever said of a charge that was written, it would be written again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
from tests.idempotency.matrix import Held
from tests.servers.postgres import Postgres, postgres_server

from resilience import ConstantBackoff, RetryPolicy, retry, transient
from resilience.instrumentation import RetryScheduled


#: How many retries must have been, and after how many charges it is given up to wait for them.
ENOUGH, TOO_MANY = 100, 20_000
#: By which the sessions of the clients are known; those that are being ended are no client's.
NAME = "storm"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@contextlib.contextmanager
def ending_sessions(dsn: str) -> Iterator[None]:
    """Every few milliseconds, all that the clients have."""
    over = threading.Event()

    def end() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            number = 0
            while not over.is_set():
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", [NAME]
                )
                number += 1
                time.sleep(0.001 * (1 + number % 7))

    thread = threading.Thread(target=end)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def by_psycopg(dsn: str, numbers: Iterable[int], charge: Callable[..., Any]) -> None:
    held = Held[psycopg.Connection](
        lambda: psycopg.connect(dsn, application_name=NAME), psycopg.Connection.close, lambda found: found.closed
    )

    def write(number: int) -> None:
        with held.use() as connection, connection.transaction():
            connection.execute("INSERT INTO charges VALUES (%s)", [number])

    for number in numbers:
        charge(write, number)
    held.drop()


def by_asyncpg(dsn: str, numbers: Iterable[int], charge: Callable[..., Any]) -> None:
    async def main() -> None:
        held = Held[asyncpg.Connection](
            lambda: asyncpg.connect(dsn, server_settings={"application_name": NAME}),
            asyncpg.Connection.terminate,
            asyncpg.Connection.is_closed,
        )

        async def write(number: int) -> None:
            async with held.ause() as connection:
                await connection.execute("INSERT INTO charges VALUES ($1)", number)

        for number in numbers:
            await charge(write, number)
        await held.adrop()

    asyncio.run(main())


@pytest.mark.parametrize("client", [by_psycopg, by_asyncpg])
def test_no_charge_is_written_twice(client: Callable[..., None], postgres: Postgres) -> None:
    """Whatever the storm does, and however many tries it takes."""
    retried: list[object] = []
    policy: RetryPolicy = retry(
        on=transient,
        idempotent=False,
        attempts=10,
        backoff=ConstantBackoff(0.001),
        hooks=lambda event: retried.append(event.verdict) if isinstance(event, RetryScheduled) else None,
        name="charge",
    )

    def numbers() -> Iterator[int]:
        number = 0
        while len(retried) < ENOUGH and number < TOO_MANY:
            yield number
            number += 1

    def charge(write: Callable[..., None], number: int) -> None:
        with contextlib.suppress(Exception):
            policy.call(write, number)

    async def acharge(write: Callable[..., Any], number: int) -> None:
        with contextlib.suppress(Exception):
            await policy.acall(write, number)

    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS charges")
        connection.execute("CREATE TABLE charges (number integer)")
        with ending_sessions(postgres.dsn):
            client(postgres.dsn, numbers(), charge if client is by_psycopg else acharge)
        rows, different = connection.execute("SELECT count(*), count(DISTINCT number) FROM charges").fetchone() or (
            0,
            0,
        )
    assert rows == different
    assert rows > ENOUGH
    assert len(retried) >= ENOUGH
