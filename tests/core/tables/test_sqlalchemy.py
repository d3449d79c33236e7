"""SQLAlchemy row by row, with psycopg and asyncpg on a real PostgreSQL, and with sqlite3."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import orm, text
from tests.core.tables.proving import Proof
from tests.servers.http import free_port
from tests.servers.postgres import Passing, Postgres, half, nothing, postgres_server, relaying
from tests.servers.process import missing


BY_ORIG = "sqlalchemy.exc.DBAPIError, by its orig"
#: What stands in for asyncpg's own classes.
STAND_IN = "sqlalchemy.dialects.postgresql.asyncpg.AsyncAdapt_asyncpg_dbapi.Error, by its orig or __cause__"

#: What an attempt does with its connection, once it runs a statement by `execute`.
Execute = Callable[[str], Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One for this file."""
    with postgres_server(tmp_path_factory.mktemp("logs"), max_connections="10") as server:
        yield server


@pytest.fixture
def admin(server: Postgres) -> Iterator[psycopg.Connection[Any]]:
    """Somebody else, who commits each statement."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture(params=["psycopg", "psycopg, asyncio", "asyncpg"])
def error_of(request: pytest.FixtureRequest) -> Callable[..., Exception]:
    """The error of a connection by that driver, to this address; or of statements, one after another, with it.

    A statement may be a function, which is called with the process id of the session.
    """
    driver, _, colour = request.param.partition(", ")
    aio = driver == "asyncpg" or bool(colour)
    if aio and importlib.util.find_spec("greenlet") is None:
        missing("greenlet is not installed")

    def url(dsn: str) -> str:
        return dsn.replace("postgresql", f"postgresql+{driver}").replace(
            "sslmode", "ssl" if driver == "asyncpg" else "sslmode"
        )

    def sync_attempt(dsn: str, *statements: Any) -> None:
        engine = sqlalchemy.create_engine(url(dsn), pool_size=1, max_overflow=0, pool_timeout=0.05)
        try:
            with engine.connect() as connection:
                session = connection.scalar(text("select pg_backend_pid()"))
                for statement in statements:
                    if callable(statement):
                        statement(session)
                    elif statement == "another":
                        engine.connect()
                    elif statement == "commit":
                        connection.commit()
                    else:
                        connection.execute(text(statement))
        finally:
            engine.dispose()

    async def aio_attempt(dsn: str, *statements: Any) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(url(dsn), pool_size=1, max_overflow=0, pool_timeout=0.05)
        try:
            async with engine.connect() as connection:
                session = await connection.scalar(text("select pg_backend_pid()"))
                for statement in statements:
                    if callable(statement):
                        await asyncio.to_thread(statement, session)
                    elif statement == "another":
                        await engine.connect()
                    elif statement == "commit":
                        await connection.commit()
                    else:
                        await connection.execute(text(statement))
        finally:
            await engine.dispose()

    def error(dsn: str, *statements: Any) -> Exception:
        with pytest.raises(Exception) as caught:
            if aio:
                asyncio.run(aio_attempt(dsn, *statements))
            else:
                sync_attempt(dsn, *statements)
        return caught.value

    error.driver = driver  # type: ignore[attr-defined]
    return error


def prove(proof: Proof, error: Exception, kind: str, **facts: Any) -> None:
    """By what the driver raised; one wrapping further in where it is asyncpg."""
    assert isinstance(error, sqlalchemy.exc.DBAPIError)
    proof.server(error, BY_ORIG, kind, **facts)
    assert error.orig is not None
    if isinstance(error.orig, psycopg.Error):
        return
    proof.server(error.orig, STAND_IN, kind, **facts)


def soon(work: Callable[..., object]) -> Callable[[int], None]:
    """A statement that begins this work a moment later, while the next one waits."""
    return lambda session: threading.Timer(0.1, work, [session]).start()


def pause(_session: int) -> None:
    time.sleep(0.1)


# -- what the driver said ----------------------------------------------------------------------------------------------


def test_refused(proof: Proof, error_of: Callable[..., Exception]) -> None:
    """Nobody listens. asyncpg's own error comes as it is."""
    error = error_of(f"postgresql://nobody@127.0.0.1:{free_port()}/nobody")
    if isinstance(error, ConnectionRefusedError):
        proof.server(error, "builtins.OSError, errno ECONNREFUSED", "transient")
    else:
        prove(proof, error, "transient")


@pytest.mark.parametrize(
    ("statements", "kind"),
    [
        (["set lock_timeout = 20", "lock table busy"], "transient"),
        (["set statement_timeout = 20", "select pg_sleep(9)"], "transient"),
        (["set transaction read only", "create table more (it int)"], "transient"),
        (["do $$ begin raise 'said' using errcode = '40001'; end $$"], "transient"),
        (["do $$ begin raise 'said' using errcode = '40003'; end $$"], "unsure"),
        (["select 1 / 0"], "permanent"),
        (["select * from nowhere"], "permanent"),
        (["create temp table one (it int not null)", "insert into one values (null)"], "permanent"),
    ],
)
def test_statements(
    proof: Proof,
    server: Postgres,
    admin: psycopg.Connection[Any],
    error_of: Callable[..., Exception],
    statements: list[str],
    kind: str,
) -> None:
    """What the SQLSTATE says, through one wrapping or two."""
    admin.execute("create table if not exists busy ()")
    with admin.transaction():
        admin.execute("lock table busy")
        error = error_of(server.dsn, *statements)
    prove(proof, error, kind)


def test_too_much_work(proof: Proof, server: Postgres, error_of: Callable[..., Exception]) -> None:
    """What else the verdict says comes along."""
    error = error_of(server.dsn, "do $$ begin raise 'said' using errcode = '53200'; end $$")
    prove(proof, error, "transient", throttled=True)


def test_not_let_in(proof: Proof, server: Postgres, error_of: Callable[..., Exception]) -> None:
    prove(proof, error_of(server.dsn_of("secretive:wrong")), "permanent")


def test_ended_by_an_administrator(proof: Proof, server: Postgres, error_of: Callable[..., Exception]) -> None:
    """Within a statement, before one, and before a commit: in no case was the transaction applied."""
    prove(proof, error_of(server.dsn, soon(server.end), "select pg_sleep(9)"), "transient")
    for late in ("select 1", "commit"):
        prove(proof, error_of(server.dsn, server.end, pause, late), "transient")


def test_crashed(proof: Proof, server: Postgres, error_of: Callable[..., Exception]) -> None:
    error = error_of(server.dsn, soon(server.crash), "select pg_sleep(9)")
    server.recover()
    prove(proof, error, "unsure")


@pytest.mark.parametrize("how", [nothing, half])
def test_a_commit_whose_answer_is_lost_was_applied(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any], error_of: Callable[..., Exception], how: Passing
) -> None:
    """That is what unsure means."""
    admin.execute("drop table if exists lost; create table lost (it int)")
    with relaying(server) as relay:
        error = error_of(relay.dsn, "insert into lost values (1)", lambda _: setattr(relay, "passing", how), "commit")
    prove(proof, error, "unsure")
    assert admin.execute("select count(*) from lost").fetchone() == (1,)


def test_no_connection_of_the_pool_came_free(
    proof: Proof, server: Postgres, error_of: Callable[..., Exception]
) -> None:
    proof.server(error_of(server.dsn, "another"), "sqlalchemy.exc.TimeoutError", "transient")


# -- sqlite3 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[sqlalchemy.Engine]:
    """An engine with sqlite3 that waits for nobody."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'file'}", connect_args={"timeout": 0})
    try:
        yield engine
    finally:
        engine.dispose()


def test_sqlite3(proof: Proof, sqlite: sqlalchemy.Engine) -> None:
    """Whatever driver it is."""
    with sqlite.connect() as first, sqlite.connect() as second:
        first.execute(text("begin immediate"))
        with pytest.raises(sqlalchemy.exc.OperationalError) as caught:
            second.execute(text("begin immediate"))
        proof.server(caught.value, BY_ORIG, "transient")
        with pytest.raises(sqlalchemy.exc.OperationalError) as caught:
            second.execute(text("select * from nowhere"))
        proof.server(caught.value, BY_ORIG, "permanent")


# -- what is SQLAlchemy's own ------------------------------------------------------------------------------------------


def test_a_transaction_that_has_failed_is_not_gone_on_with(proof: Proof, server: Postgres) -> None:
    """Trying the statement again, and not the transaction, is useless."""
    engine = sqlalchemy.create_engine(server.dsn.replace("postgresql", "postgresql+psycopg"))
    with engine.connect() as connection:
        server.end(connection.scalar(text("select pg_backend_pid()")))
        with pytest.raises(sqlalchemy.exc.OperationalError):
            connection.execute(text("select pg_sleep(9)"))
        with pytest.raises(sqlalchemy.exc.PendingRollbackError) as caught:
            connection.execute(text("select 1"))
    engine.dispose()
    proof.server(caught.value, "sqlalchemy.exc.PendingRollbackError", "permanent")


class Base(orm.DeclarativeBase):
    pass


class Account(Base):
    """A row that says how often it was changed."""

    __tablename__ = "account"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    balance: orm.Mapped[int]
    version: orm.Mapped[int] = orm.mapped_column()
    __mapper_args__ = {"version_id_col": version}


def test_somebody_else_was_faster(proof: Proof, sqlite: sqlalchemy.Engine) -> None:
    """The flush is rolled back whole, and a second try with what is there now gets through."""
    Base.metadata.create_all(sqlite)
    with orm.Session(sqlite) as session, session.begin():
        session.add_all([Account(id=1, balance=0), Account(id=2, balance=0)])

    def transfer(in_between: str) -> None:
        with orm.Session(sqlite) as session, session.begin():
            giver, taker = session.get_one(Account, 1), session.get_one(Account, 2)
            # Another session's change: a statement here would otherwise have to wait for it.
            session.execute(text(in_between))
            giver.balance, taker.balance = giver.balance - 10, taker.balance + 10

    with pytest.raises(orm.exc.StaleDataError) as caught:
        transfer("update account set version = version + 1 where id = 2")
    proof.server(caught.value, "sqlalchemy.orm.exc.StaleDataError", "transient")
    with orm.Session(sqlite) as session:
        assert [account.balance for account in session.scalars(sqlalchemy.select(Account))] == [0, 0]
    transfer("select 1")
    with orm.Session(sqlite) as session:
        assert [account.balance for account in session.scalars(sqlalchemy.select(Account))] == [-10, 10]


def test_the_pool_finds_every_connection_dead(proof: Proof, sqlite: sqlalchemy.Engine) -> None:
    """Its listeners say so, of three in a row; nothing was sent."""

    @sqlalchemy.event.listens_for(sqlite, "checkout")
    def dead(*_: object) -> None:
        raise sqlalchemy.exc.DisconnectionError("dead")

    with pytest.raises(sqlalchemy.exc.InvalidRequestError) as caught:
        sqlite.connect()
    proof.server(caught.value, "sqlalchemy.exc.InvalidRequestError, the pool found every connection dead", "transient")


def test_what_is_no_error_of_the_driver(proof: Proof, sqlite: sqlalchemy.Engine) -> None:
    """A `StatementError` wraps what happened before the statement was sent: here, what a type does with its value."""

    class Remote(sqlalchemy.TypeDecorator[str]):
        impl = sqlalchemy.String
        cache_ok = True

        def process_bind_param(self, value: Any, dialect: Any) -> Any:
            raise value

    statement = sqlalchemy.select(sqlalchemy.bindparam("it", type_=Remote))
    row = "sqlalchemy.exc.StatementError, by its orig"
    with sqlite.connect() as connection:
        for inside, kind in (
            (ConnectionRefusedError("refused"), "transient"),
            (ConnectionResetError("reset"), "unsure"),
        ):
            with pytest.raises(sqlalchemy.exc.StatementError) as caught:
                connection.execute(statement, {"it": inside})
            proof.server(caught.value, row, kind)
        with pytest.raises(sqlalchemy.exc.StatementError) as caught:
            connection.execute(statement, {"it": ValueError("a bug")})
        proof.unknown(caught.value)


# -- drivers that no table knows ---------------------------------------------------------------------------------------


class Elsewhere(Exception):
    """An error of a driver that no table knows."""


def wrapped(orig: Any, **options: Any) -> sqlalchemy.exc.OperationalError:
    return sqlalchemy.exc.OperationalError("select 1", {}, orig, **options)


def test_a_connection_that_was_thrown_away(proof: Proof) -> None:
    """Of a driver that no table knows, it is all that is known."""
    error = wrapped(Elsewhere("said"), connection_invalidated=True)
    because = "a driver that no table knows"
    row = "sqlalchemy.exc.DBAPIError, connection_invalidated True"
    proof.constructor(error, row, "unsure", because=because)
    proof.unknown(wrapped(Elsewhere("said")))
    proof.unknown(wrapped(None))


def test_wrapped_in_a_circle(proof: Proof) -> None:
    """It is not gone round for ever."""
    error = wrapped(None)
    error.orig = error
    proof.unknown(error)


def test_mistakes_of_the_program_are_unknown(proof: Proof, sqlite: sqlalchemy.Engine) -> None:
    with sqlite.connect() as connection:
        result = connection.execute(text("select 1"))
        for mistake in (result.close, result.one, connection.begin):
            try:
                mistake()
            except sqlalchemy.exc.InvalidRequestError as error:
                proof.unknown(error)
            else:
                assert mistake == result.close
