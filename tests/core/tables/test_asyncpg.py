"""asyncpg row by row: a real PostgreSQL, and one that is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest
from tests.core.tables.proving import Proof
from tests.servers.http import free_port
from tests.servers.postgres import (
    CODES,
    FAST,
    IMMEDIATE,
    Passing,
    Postgres,
    causing,
    half,
    never_hanging_up,
    nothing,
    postgres_server,
    relaying,
)


#: Not typed for strict checking.
asyncpg: Any = importlib.import_module("asyncpg")

SAID = "asyncpg.exceptions._base.PostgresError, SQLSTATE"
GONE = "asyncpg.exceptions._base.InterfaceError, the connection was gone"
CUT = "asyncpg.exceptions.ConnectionDoesNotExistError"
CUT_BECAUSE = f"{CUT}, by its __cause__"
CUT_SHORT = f"{CUT}, nothing known inside"

#: What an attempt does with its connection.
Work = Callable[[Any], Awaitable[object]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One for this file."""
    with postgres_server(tmp_path_factory.mktemp("logs"), max_connections="10", ssl="on") as server:
        yield server


@pytest.fixture
def admin(server: Postgres) -> Iterator[psycopg.Connection[Any]]:
    """Somebody else, who commits each statement."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        yield connection


def error_of(dsn: str, work: Work | None = None, **options: Any) -> Exception:
    """The error of connecting, or of what is done with the connection."""

    async def attempt() -> None:
        try:
            connection = await asyncpg.connect(dsn, **({"ssl": False} | options))
            try:
                if work is not None:
                    await work(connection)
            finally:
                connection.terminate()
        finally:
            # asyncpg hangs up without waiting for its transports to be closed.
            await asyncio.sleep(0.01)

    with pytest.raises(Exception) as caught:
        asyncio.run(attempt())
    return caught.value


def executing(*statements: str) -> Work:
    async def work(connection: Any) -> None:
        for statement in statements:
            await connection.execute(statement)

    return work


def after_a_moment(work: Callable[[], object]) -> None:
    """Do this while the next statement waits."""
    asyncio.get_running_loop().call_later(0.1, work)


def sleeping_while(work: Callable[[int], object]) -> Work:
    async def sleep(connection: Any) -> None:
        after_a_moment(lambda: work(connection.get_server_pid()))
        await connection.execute("select pg_sleep(9)")

    return sleep


async def ended(server: Postgres, connection: Any) -> None:
    """End the session while it does nothing, until the client has seen it."""
    server.end(connection.get_server_pid())
    while not connection.is_closed():
        await asyncio.sleep(0.01)


def test_everything_the_server_says(proof: Proof, server: Postgres) -> None:
    """Each SQLSTATE, from the server's own trouble where one session can make it."""
    for code, (_, row, kind, throttled) in CODES.items():
        error = error_of(server.dsn, executing(*causing(code)))
        assert isinstance(error, asyncpg.PostgresError)
        assert error.sqlstate == code[:5]
        named = "asyncpg.exceptions._base.PostgresError, any other SQLSTATE" if row == "any other" else f"{SAID} {row}"
        if isinstance(error, asyncpg.ConnectionDoesNotExistError):
            named = CUT_SHORT
        proof.server(error, named, kind, throttled=throttled)


# -- connecting --------------------------------------------------------------------------------------------------------


def test_what_the_operating_system_says_comes_as_it_is(proof: Proof, server: Postgres) -> None:
    """Refused, and a certificate that nobody trusts."""
    error = error_of(f"postgresql://nobody@127.0.0.1:{free_port()}/")
    assert type(error) is ConnectionRefusedError
    assert proof.tables(error).kind == "transient"  # type: ignore[union-attr]
    error = error_of(server.dsn, ssl=ssl.create_default_context())
    assert type(error) is ssl.SSLCertVerificationError
    assert proof.tables(error).kind == "permanent"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("user", "database", "row"),
    [
        ("secretive:wrong", "postgres", f"{SAID} 28*"),
        ("secretive", "postgres", f"{SAID} 28*"),
        ("unwelcome", "postgres", f"{SAID} 28*"),
        ("stranger", "postgres", f"{SAID} 28*"),
        ("postgres", "elsewhere", f"{SAID} 3D000"),
        ("postgres", "template0", "asyncpg.exceptions._base.PostgresError, any other SQLSTATE"),
    ],
)
def test_not_let_in(proof: Proof, server: Postgres, user: str, database: str, row: str) -> None:
    proof.server(error_of(server.dsn_of(user, database)), row, "permanent")


def test_too_many_connections(proof: Proof, server: Postgres) -> None:
    with contextlib.ExitStack() as open_ones:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                open_ones.enter_context(contextlib.closing(psycopg.connect(server.dsn)))
        error = error_of(server.dsn)
    proof.server(error, f"{SAID} 53300", "transient", throttled=True)


def test_shutting_down(proof: Proof, server: Postgres) -> None:
    with server.shutting_down():
        error = error_of(server.dsn)
    proof.server(error, f"{SAID} 57P03", "transient")


def test_failing_over(proof: Proof, server: Postgres) -> None:
    """A standby only reads, until it is promoted; nobody is primary in between."""
    wanted = "asyncpg.exceptions._base.TargetServerAttributeNotMatched"
    with server.standing_by():
        error = error_of(server.dsn, executing("create table more (it int)"))
        proof.server(error, f"{SAID} 25006", "transient")
        proof.server(error_of(server.dsn, target_session_attrs="read-write"), wanted, "transient")
    proof.server(error_of(server.dsn, target_session_attrs="standby"), wanted, "transient")


def test_hung_up_on_while_connecting(proof: Proof, server: Postgres) -> None:
    """asyncpg does not say that it was connecting: nothing is sure."""
    with relaying(server) as relay:
        relay.passing = nothing
        proof.server(error_of(relay.dsn), CUT_SHORT, "unsure")


def test_nobody_answers(proof: Proof, server: Postgres) -> None:
    """A timeout of the client says no more than that, while connecting too."""

    async def ask(connection: Any) -> None:
        server.pause()
        await connection.execute("select 1", timeout=0.1)

    try:
        errors = [error_of(server.dsn, ask), error_of(server.dsn, timeout=0.1)]
    finally:
        server.resume()
    for error in errors:
        assert type(error) is TimeoutError
        assert proof.tables(error).kind == "unsure"  # type: ignore[union-attr]


# -- sessions that are ended -------------------------------------------------------------------------------------------


def test_ended_by_an_administrator(proof: Proof, server: Postgres) -> None:
    """In the middle of a statement: the session says why before it hangs up."""
    error = error_of(server.dsn, sleeping_while(server.end))
    proof.server(error, CUT_BECAUSE, "transient")
    assert error.__cause__ is not None
    proof.server(error.__cause__, f"{SAID} 57P01", "transient")


def test_ended_before(proof: Proof, server: Postgres) -> None:
    """What the session said was said to nobody; nothing more is sent on a connection that is gone."""

    async def work(connection: Any) -> None:
        await ended(server, connection)
        await connection.execute("select 1")

    proof.server(error_of(server.dsn, work), GONE, "transient")


def test_ended_at_this_moment(proof: Proof, server: Postgres) -> None:
    """It has said why, and has not hung up yet."""

    async def work(connection: Any) -> None:
        server.end(connection.get_server_pid())
        await asyncio.sleep(0.1)
        await connection.execute("select 1")

    with relaying(server) as relay:
        relay.passing = never_hanging_up
        error = error_of(relay.dsn, work)
    proof.server(error, "asyncpg.exceptions._base.InternalClientError, the connection was ending", "transient")


@pytest.mark.parametrize("when", ["within", "before the end"])
def test_a_transaction_that_was_ended_was_not_applied(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any], when: str
) -> None:
    """The block's end finds the connection gone, and hides the error that was on its way."""
    admin.execute("drop table if exists late; create table late (it int)")

    async def work(connection: Any) -> None:
        async with connection.transaction():
            await connection.execute("insert into late values (1)")
            await (sleeping_while(server.end)(connection) if when == "within" else ended(server, connection))

    error = error_of(server.dsn, work)
    assert (error.__context__ is None) is (when == "before the end")
    proof.server(error, GONE, "transient")
    assert admin.execute("select count(*) from late").fetchone() == (0,)


def test_an_error_that_hides_another_is_not_sure(proof: Proof, server: Postgres) -> None:
    """The statement before it may have been applied: with autocommit, the next error is not the one to judge."""

    async def work(connection: Any) -> None:
        try:
            await sleeping_while(server.end)(connection)
        finally:
            await connection.execute("select pg_advisory_unlock_all()")

    proof.server(error_of(server.dsn, work), f"{GONE}, after another error", "unsure")


def test_a_rollback_in_vain_hides_a_commit_whose_answer_is_lost(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any]
) -> None:
    """That it was gone when the rollback came does not say what the commit did."""
    admin.execute("drop table if exists hidden; create table hidden (it int)")
    with relaying(server) as relay:

        async def work(connection: Any) -> None:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute("insert into hidden values (1)")
                relay.passing = nothing
                await transaction.commit()
            except Exception:
                await transaction.rollback()
                raise

        error = error_of(relay.dsn, work)
    proof.server(error, f"{GONE}, after another error", "unsure")
    assert admin.execute("select count(*) from hidden").fetchone() == (1,)


@pytest.mark.parametrize(("how", "row", "kind"), [(FAST, CUT_BECAUSE, "transient"), (IMMEDIATE, CUT_SHORT, "unsure")])
def test_shut_down(proof: Proof, server: Postgres, how: Any, row: str, kind: str) -> None:
    """A fast shutdown tells every session; an immediate one only warns, and anything may have been done."""
    error = error_of(server.dsn, sleeping_while(lambda _session: server.process.send_signal(how)))
    server.stop(how)
    server.start()
    proof.server(error, row, kind)


def test_crashed(proof: Proof, server: Postgres) -> None:
    """One session is killed: it and all others are gone, none is told in an error, and the server recovers."""

    async def work(connection: Any) -> None:
        other = await asyncpg.connect(server.dsn, ssl=False)
        try:
            sleeping = asyncio.create_task(other.execute("select pg_sleep(9)"))
            with pytest.raises(asyncpg.ConnectionDoesNotExistError) as caught:
                await sleeping_while(server.crash)(connection)
            proof.server(caught.value, CUT_SHORT, "unsure")
            await sleeping
        finally:
            other.terminate()

    error = error_of(server.dsn, work)
    server.recover()
    proof.server(error, CUT_SHORT, "unsure")


def test_reset(proof: Proof, server: Postgres) -> None:
    """The operating system's word for it is inside; it says no more."""
    reset = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
    reset.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    proof.constructor(reset, CUT_BECAUSE, "unsure", because="a reset comes as it likes")


@pytest.mark.parametrize("how", [nothing, half])
def test_a_commit_whose_answer_is_lost_was_applied(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any], how: Passing
) -> None:
    """That is what unsure means."""
    admin.execute("drop table if exists lost; create table lost (it int)")
    with relaying(server) as relay:

        async def work(connection: Any) -> None:
            async with connection.transaction():
                await connection.execute("insert into lost values (1)")
                relay.passing = how

        error = error_of(relay.dsn, work)
    proof.server(error, CUT_SHORT, "unsure")
    assert admin.execute("select count(*) from lost").fetchone() == (1,)


def test_after_the_commit_is_written_no_error_is_sent(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any]
) -> None:
    """A commit that waits for a standby is written already: ended there, the session breaks off without an SQLSTATE."""
    admin.execute("drop table if exists written; create table written (it int)")
    admin.execute("alter system set synchronous_standby_names = 'nobody'")
    try:
        admin.execute("select pg_reload_conf()")

        async def work(connection: Any) -> None:
            await connection.execute("set synchronous_commit = on")
            after_a_moment(lambda: server.end(connection.get_server_pid()))
            await connection.execute("insert into written values (1)")

        error = error_of(server.dsn, work)
    finally:
        admin.execute("alter system reset synchronous_standby_names")
        admin.execute("select pg_reload_conf()")
    proof.server(error, CUT_SHORT, "unsure")
    assert admin.execute("select count(*) from written").fetchone() == (1,)


# -- transactions against each other -----------------------------------------------------------------------------------


@pytest.fixture
def rows(admin: psycopg.Connection[Any]) -> None:
    """A table with two rows."""
    admin.execute("drop table if exists rows; create table rows (id int primary key, it int)")
    admin.execute("insert into rows values (1, 0), (2, 0)")


@pytest.mark.usefixtures("rows")
def test_not_serializable(proof: Proof, server: Postgres, admin: psycopg.Connection[Any]) -> None:
    async def work(connection: Any) -> None:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetch("select * from rows")
            admin.execute("update rows set it = it + 1")
            await connection.execute("update rows set it = 7")

    proof.server(error_of(server.dsn, work), f"{SAID} 40001", "transient")


@pytest.mark.usefixtures("rows")
def test_deadlock(proof: Proof, server: Postgres) -> None:
    """Each waits for the other's row; the one that looks first gives way."""

    async def work(connection: Any) -> None:
        other = await asyncpg.connect(server.dsn, ssl=False)
        try:
            await other.execute("set deadlock_timeout = '60s'; begin; update rows set it = 1 where id = 2")
            await connection.execute("set deadlock_timeout = '10ms'; begin; update rows set it = 7 where id = 1")
            waiting = asyncio.create_task(other.execute("update rows set it = 1 where id = 1"))
            await asyncio.sleep(0.05)
            try:
                await connection.execute("update rows set it = 7 where id = 2")
            finally:
                await connection.execute("rollback")
                await waiting
        finally:
            other.terminate()

    proof.server(error_of(server.dsn, work), f"{SAID} 40P01", "transient")


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("how", ["set lock_timeout = 20; lock table rows", "begin; lock table rows nowait"])
def test_locked(proof: Proof, server: Postgres, admin: psycopg.Connection[Any], how: str) -> None:
    with admin.transaction():
        admin.execute("lock table rows")
        error = error_of(server.dsn, executing(how))
    proof.server(error, f"{SAID} 55P03", "transient")


def test_a_transaction_that_has_failed_is_not_gone_on_with(proof: Proof, server: Postgres) -> None:
    """Trying the statement again, and not the transaction, is useless."""

    async def work(connection: Any) -> None:
        async with connection.transaction():
            with contextlib.suppress(asyncpg.DivisionByZeroError):
                await connection.execute("select 1 / 0")
            await connection.execute("select 1")

    proof.server(error_of(server.dsn, work), f"{SAID} 25P02", "permanent")


# -- what is not the server's ------------------------------------------------------------------------------------------


def test_a_plan_that_is_out_of_date(proof: Proof, server: Postgres, admin: psycopg.Connection[Any]) -> None:
    """Within a transaction asyncpg does not try it again by itself; a second transaction gets through."""
    admin.execute("drop table if exists changing; create table changing (it int)")
    tries: list[str] = []

    async def transaction(connection: Any) -> None:
        async with connection.transaction():
            tries.append(str(await connection.fetch("select * from changing")))

    async def work(connection: Any) -> None:
        await transaction(connection)
        admin.execute("alter table changing add more int")
        try:
            await transaction(connection)
        finally:
            await transaction(connection)

    error = error_of(server.dsn, work)
    proof.server(error, "asyncpg.exceptions.InvalidCachedStatementError", "transient")
    assert tries == ["[]", "[]"]


def test_types_that_are_out_of_date(proof: Proof, server: Postgres, admin: psycopg.Connection[Any]) -> None:
    """The statement was carried out: only its answer cannot be read."""
    admin.execute("drop table if exists pairs; drop type if exists pair; create type pair as (one int, two int)")
    admin.execute("create table pairs (it pair)")

    async def work(connection: Any) -> None:
        insert = "insert into pairs values ((1, 2)) returning it"
        await connection.fetch(insert)
        admin.execute("alter type pair add attribute three int")
        await connection.fetch("insert into pairs values ((1, 2, 3)) returning it")

    error = error_of(server.dsn, work)
    proof.server(error, "asyncpg.exceptions._base.OutdatedSchemaCacheError", "unsure")
    assert admin.execute("select count(*) from pairs").fetchone() == (2,)


@pytest.fixture
def pool_of(server: Postgres) -> Callable[[Work], Exception]:
    """The error of what is done with a pool of one connection."""

    def error(work: Work) -> Exception:
        async def attempt() -> None:
            async with asyncpg.create_pool(server.dsn, ssl=False, min_size=1, max_size=1) as pool:
                await work(pool)

        with pytest.raises(Exception) as caught:
            asyncio.run(attempt())
        return caught.value

    return error


def test_ended_while_it_was_the_pools(proof: Proof, server: Postgres, pool_of: Callable[[Work], Exception]) -> None:
    """The pool takes it back at once: the connection is no longer ours to use."""

    async def work(pool: Any) -> None:
        async with pool.acquire() as connection:
            server.end(connection.get_server_pid())
            await asyncio.sleep(0.1)
            await connection.execute("select 1")

    error = pool_of(work)
    assert "released back to the pool" in str(error)
    proof.server(error, GONE, "transient")


def test_no_connection_of_the_pool_came_free(proof: Proof, pool_of: Callable[[Work], Exception]) -> None:
    """A plain `TimeoutError`: nothing tells it from one of a statement."""

    async def work(pool: Any) -> None:
        async with pool.acquire():
            await pool.acquire(timeout=0.05)

    error = pool_of(work)
    assert type(error) is TimeoutError
    assert proof.tables(error).kind == "unsure"  # type: ignore[union-attr]


def test_mistakes_of_the_program_are_unknown(proof: Proof, server: Postgres) -> None:
    """They are never tried again."""

    async def two_at_once(connection: Any) -> None:
        first = asyncio.create_task(connection.execute("select pg_sleep(0.1)"))
        await asyncio.sleep(0.02)
        try:
            await connection.execute("select 1")
        finally:
            await first

    async def ends_what_has_not_begun(connection: Any) -> None:
        await connection.transaction().commit()

    for mistake in (two_at_once, ends_what_has_not_begun):
        error = error_of(server.dsn, mistake)
        assert isinstance(error, asyncpg.InterfaceError)
        proof.unknown(error)


# -- strange facts -----------------------------------------------------------------------------------------------------


def test_subclasses_are_meant_too(proof: Proof) -> None:
    mine = type("Mine", (asyncpg.SerializationError,), {})
    proof.constructor(mine("said"), f"{SAID} 40001", "transient", because="a class of the program's own")


@pytest.mark.parametrize("strange", [40001, b"40001", None, ""], ids=repr)
def test_strange_sqlstates_say_nothing(proof: Proof, strange: object) -> None:
    error = asyncpg.PostgresError("said")
    error.sqlstate = strange
    proof.unknown(error)


@pytest.mark.parametrize("said", ["", "pool is closed", "connection is closed for now", 7])
def test_other_words_of_its_own_are_unknown(proof: Proof, said: Any) -> None:
    for kind in (asyncpg.InterfaceError, asyncpg.InternalClientError):
        proof.unknown(kind(said))
    bare = asyncpg.InterfaceError("connection is closed")
    bare.args = ()
    proof.unknown(bare)
