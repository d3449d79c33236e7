"""psycopg row by row: a real PostgreSQL, sync and asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
import time
from collections.abc import Callable, Iterator
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
    nothing,
    postgres_server,
    relaying,
)
from tests.servers.process import missing


SAID = "psycopg.Error, SQLSTATE"
NONE = "psycopg.OperationalError, no SQLSTATE:"
COULD_NOT = f"{NONE} could not connect"
BROKE = f"{NONE} the connection broke"

#: What an attempt does with its connection.
Work = Callable[[Any], object]


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


@pytest.fixture(params=["sync", "asyncio"])
def error_of(request: pytest.FixtureRequest) -> Callable[..., psycopg.Error]:
    """The error of a connection of that colour, to this address; or of statements, one after another, with it.

    A statement may be a function, which is called with the process id of the session.
    """

    def sync(dsn: str, *statements: str | Callable[[int], object], **options: Any) -> None:
        with contextlib.closing(psycopg.connect(dsn, **options)) as connection:
            for statement in statements:
                if callable(statement):
                    statement(connection.info.backend_pid)
                elif statement == "commit":
                    connection.commit()
                else:
                    connection.execute(statement)

    async def aio(dsn: str, *statements: str | Callable[[int], object], **options: Any) -> None:
        connection = await psycopg.AsyncConnection.connect(dsn, **options)
        try:
            for statement in statements:
                if callable(statement):
                    statement(connection.info.backend_pid)
                elif statement == "commit":
                    await connection.commit()
                else:
                    await connection.execute(statement)
        finally:
            await connection.close()

    def error(dsn: str, *statements: Any, **options: Any) -> psycopg.Error:
        with pytest.raises(psycopg.Error) as caught:
            if request.param == "sync":
                sync(dsn, *statements, **options)
            else:
                asyncio.run(aio(dsn, *statements, **options))
        return caught.value

    return error


def soon(work: Callable[..., object]) -> Callable[[int], None]:
    """A statement that begins this work a moment later, while the next one waits."""
    return lambda session: threading.Timer(0.1, work, [session]).start()


def test_everything_the_server_says(proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]) -> None:
    """Each SQLSTATE, from the server's own trouble where one session can make it."""
    for code, (_, row, kind, throttled) in CODES.items():
        error = error_of(server.dsn, *causing(code), autocommit=True)
        assert error.sqlstate == code[:5]
        named = "psycopg.Error, any other SQLSTATE" if row == "any other" else f"{SAID} {row}"
        proof.server(error, named, kind, throttled=throttled)


# -- connecting --------------------------------------------------------------------------------------------------------


def test_refused(proof: Proof, error_of: Callable[..., psycopg.Error]) -> None:
    """Nobody listens, on the network or at a socket."""
    proof.server(error_of(f"postgresql://127.0.0.1:{free_port()}/"), COULD_NOT, "transient")
    proof.server(error_of("host=/nowhere user=nobody"), COULD_NOT, "transient")


def test_hung_up_on_while_connecting(proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]) -> None:
    """A connection that breaks before it is one has carried no statement."""
    with relaying(server) as relay:
        relay.passing = nothing
        proof.server(error_of(relay.dsn), COULD_NOT, "transient")


@pytest.mark.parametrize(
    ("user", "database", "said"),
    [
        ("secretive:wrong", "postgres", "password authentication failed"),
        ("secretive", "postgres", "no password supplied"),
        ("unwelcome", "postgres", "pg_hba.conf rejects"),
        ("stranger", "postgres", "does not exist"),
        ("postgres", "elsewhere", "does not exist"),
        ("postgres", "template0", "not currently accepting"),
    ],
)
def test_not_let_in(
    proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error], user: str, database: str, said: str
) -> None:
    """libpq keeps the SQLSTATE to itself; the message says it."""
    error = error_of(server.dsn_of(user, database))
    assert error.sqlstate is None
    assert said in str(error)
    proof.server(error, f"{COULD_NOT}, not let in", "permanent")


def test_settings_that_are_none(proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]) -> None:
    proof.server(error_of(server.dsn, options="-c nonsense=1"), f"{COULD_NOT}, not let in", "permanent")


@pytest.mark.parametrize("options", [{"sslrootcert": "system"}, {"sslrootcert": "/nowhere"}])
def test_a_certificate_that_nobody_trusts(
    proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error], options: dict[str, str]
) -> None:
    error = error_of(server.dsn, sslmode="verify-full", **options)
    proof.server(error, f"{COULD_NOT}, TLS refused", "permanent")


def test_no_tls(proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]) -> None:
    """Required, and the server says N to it."""
    with relaying(server) as relay:
        relay.passing = lambda _said: (b"N", True)
        error = error_of(relay.dsn.replace("disable", "require"))
    proof.server(error, f"{COULD_NOT}, TLS refused", "permanent")


def test_unknown_host(proof: Proof, error_of: Callable[..., psycopg.Error]) -> None:
    """A name that cannot be one needs no DNS to be unknown."""
    error = error_of("host=256.256.256.256.256 user=nobody")
    if "[Errno -3]" in str(error):  # this machine asks a DNS for it all the same, and has none
        proof.server(error, COULD_NOT, "transient")
    else:
        proof.server(error, f"{COULD_NOT}, unknown host", "permanent")
    because = "no resolver is the test's own"
    for number, row, kind in (
        (-2, f"{COULD_NOT}, unknown host", "permanent"),
        (8, f"{COULD_NOT}, unknown host", "permanent"),
        (-3, COULD_NOT, "transient"),
        (2, COULD_NOT, "transient"),
        (11002, COULD_NOT, "transient"),
    ):
        said = f"failed to resolve host 'somewhere': [Errno {number}] said"
        proof.constructor(psycopg.OperationalError(said), row, kind, because=because)


def test_too_many_connections(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any], error_of: Callable[..., psycopg.Error]
) -> None:
    """All of them, all but the reserved, or all of one role."""
    admin.execute("drop role if exists plain, single")
    admin.execute("create role plain login; create role single login connection limit 0")
    row = f"{COULD_NOT}, too many connections"
    proof.server(error_of(server.dsn_of("single")), row, "transient", throttled=True)
    with contextlib.ExitStack() as open_ones:
        for user in ("plain", "postgres"):
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    open_ones.enter_context(contextlib.closing(psycopg.connect(server.dsn_of(user))))
            error = error_of(server.dsn_of(user))
            assert ("reserved" in str(error)) is (user == "plain")
            proof.server(error, row, "transient", throttled=True)


def test_several_hosts(proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]) -> None:
    """One is down and the other will never let us in: the retry would not be for the one that is down."""
    hosts = {"host": "127.0.0.1,127.0.0.1", "port": f"{free_port()},{server.port}", "user": "stranger"}
    error = error_of("", **hosts)
    assert "Connection refused" in str(error)
    proof.server(error, f"{COULD_NOT}, not let in", "permanent")
    hosts["port"] = f"{free_port()},{free_port()}"
    proof.server(error_of("", **hosts), COULD_NOT, "transient")


def test_the_wrong_kind_of_server(proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]) -> None:
    """A primary where a standby is wanted: it may become one."""
    proof.server(error_of(server.dsn, target_session_attrs="standby"), COULD_NOT, "transient")


def test_nobody_answers_while_connecting(
    proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]
) -> None:
    server.pause()
    try:
        error = error_of(server.dsn, connect_timeout=1)
    finally:
        server.resume()
    proof.server(error, "psycopg.errors.ConnectionTimeout", "transient")


def test_shutting_down(proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]) -> None:
    with server.shutting_down():
        error = error_of(server.dsn)
    assert "shutting down" in str(error)
    proof.server(error, COULD_NOT, "transient")


def test_failing_over(proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]) -> None:
    """A standby only reads, until it is promoted."""
    with server.standing_by():
        error = error_of(server.dsn, "create table more (it int)")
        proof.server(error, f"{SAID} 25006", "transient")
        proof.server(error_of(server.dsn, target_session_attrs="read-write"), COULD_NOT, "transient")
    with contextlib.closing(psycopg.connect(server.dsn, target_session_attrs="read-write")) as connection:
        connection.execute("create table more (it int)")


# -- sessions that are ended -------------------------------------------------------------------------------------------


def test_ended_by_an_administrator(proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]) -> None:
    """Within a statement, and before one: in both cases the session says why."""
    proof.server(error_of(server.dsn, soon(server.end), "select pg_sleep(9)"), f"{SAID} 57P01", "transient")
    ended = (server.end, lambda _session: time.sleep(0.1))
    proof.server(error_of(server.dsn, "select 1", *ended, "select 1"), f"{SAID} 57P01", "transient")


def test_a_commit_that_came_too_late_was_not_applied(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any], error_of: Callable[..., psycopg.Error]
) -> None:
    """The session had been ended before: what it says in answer to COMMIT is the truth."""
    admin.execute("drop table if exists late; create table late (it int)")
    ended = (server.end, lambda _session: time.sleep(0.1))
    error = error_of(server.dsn, "insert into late values (1)", *ended, "commit")
    proof.server(error, f"{SAID} 57P01", "transient")
    assert admin.execute("select count(*) from late").fetchone() == (0,)


@pytest.mark.parametrize(("how", "row", "kind"), [(FAST, f"{SAID} 57P01", "transient"), (IMMEDIATE, BROKE, "unsure")])
def test_shut_down(
    proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error], how: Any, row: str, kind: str
) -> None:
    """A fast shutdown tells every session; an immediate one only warns, and anything may have been done."""
    stopped: list[threading.Timer] = []

    def stop(_session: int) -> None:
        stopped.append(threading.Timer(0.1, server.stop, [how]))
        stopped[0].start()

    error = error_of(server.dsn, stop, "select pg_sleep(9)")
    stopped[0].join()
    server.start()
    proof.server(error, row, kind)


def test_crashed(proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]) -> None:
    """One session is killed: it and all others are gone, none is told in an error, and the server recovers."""
    with contextlib.closing(psycopg.connect(server.dsn, autocommit=True)) as other:
        proof.server(error_of(server.dsn, soon(server.crash), "select pg_sleep(9)"), BROKE, "unsure")
        with pytest.raises(psycopg.OperationalError) as caught:
            other.execute("select pg_sleep(9)")
        proof.server(caught.value, BROKE, "unsure")
        with pytest.raises(psycopg.OperationalError) as caught:
            other.execute("select 1")
        assert str(caught.value) == "the connection is closed"
        proof.server(caught.value, BROKE, "unsure")
    server.recover()


@pytest.mark.parametrize("how", [nothing, half])
def test_a_commit_whose_answer_is_lost_was_applied(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any], error_of: Callable[..., psycopg.Error], how: Passing
) -> None:
    """That is what unsure means."""
    admin.execute("drop table if exists lost; create table lost (it int)")
    with relaying(server) as relay:
        error = error_of(relay.dsn, "insert into lost values (1)", lambda _: setattr(relay, "passing", how), "commit")
    proof.server(error, BROKE, "unsure")
    assert admin.execute("select count(*) from lost").fetchone() == (1,)


def test_after_the_commit_is_written_no_error_is_sent(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any], error_of: Callable[..., psycopg.Error]
) -> None:
    """A commit that waits for a standby is written already: ended there, the session breaks off without an SQLSTATE."""
    admin.execute("drop table if exists written; create table written (it int)")
    admin.execute("alter system set synchronous_standby_names = 'nobody'")
    try:
        admin.execute("select pg_reload_conf()")
        waits = ("set synchronous_commit = on", "insert into written values (1)", soon(server.end), "commit")
        error = error_of(server.dsn, *waits)
    finally:
        admin.execute("alter system reset synchronous_standby_names")
        admin.execute("select pg_reload_conf()")
    proof.server(error, BROKE, "unsure")
    assert admin.execute("select count(*) from written").fetchone() == (1,)


# -- transactions against each other -----------------------------------------------------------------------------------


@pytest.fixture
def rows(admin: psycopg.Connection[Any]) -> None:
    """A table with two rows."""
    admin.execute("drop table if exists rows; create table rows (id int primary key, it int)")
    admin.execute("insert into rows values (1, 0), (2, 0)")


@pytest.mark.usefixtures("rows")
def test_not_serializable(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any], error_of: Callable[..., psycopg.Error]
) -> None:
    def elsewhere(_session: int) -> None:
        admin.execute("update rows set it = it + 1")

    reads = "set transaction isolation level repeatable read", "select * from rows"
    error = error_of(server.dsn, *reads, elsewhere, "update rows set it = 7")
    proof.server(error, f"{SAID} 40001", "transient")


@pytest.mark.usefixtures("rows")
def test_not_serializable_at_commit(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any], error_of: Callable[..., psycopg.Error]
) -> None:
    """Each reads what the other writes; the second COMMIT is refused, and was not applied."""

    def elsewhere(_session: int) -> None:
        with admin.transaction():
            admin.execute("set transaction isolation level serializable")
            admin.execute("update rows set it = (select max(it) from rows) + 1 where id = 2")

    both = (
        "set transaction isolation level serializable",
        "update rows set it = (select max(it) from rows) + 1 where id = 1",
    )
    error = error_of(server.dsn, *both, elsewhere, "commit")
    proof.server(error, f"{SAID} 40001", "transient")
    assert admin.execute("select it from rows order by id").fetchall() == [(0,), (1,)]


@pytest.mark.usefixtures("rows")
def test_deadlock(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any], error_of: Callable[..., psycopg.Error]
) -> None:
    """Each waits for the other's row; the one that looks first gives way."""
    threads: list[threading.Thread] = []

    def crosswise() -> None:
        with admin.transaction():
            admin.execute("set local deadlock_timeout = '60s'")
            admin.execute("update rows set it = 1 where id = 2")
            locked.set()
            admin.execute("update rows set it = 1 where id = 1")

    locked = threading.Event()

    def elsewhere(_session: int) -> None:
        threads.append(threading.Thread(target=crosswise))
        threads[0].start()
        assert locked.wait(5)

    mine = "set local deadlock_timeout = '10ms'", "update rows set it = 7 where id = 1"
    error = error_of(server.dsn, *mine, elsewhere, "update rows set it = 7 where id = 2")
    threads[0].join()
    proof.server(error, f"{SAID} 40P01", "transient")
    assert admin.execute("select it from rows").fetchall() == [(1,), (1,)]


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("how", ["set lock_timeout = 20; lock table rows", "lock table rows nowait"])
def test_locked(
    proof: Proof, server: Postgres, admin: psycopg.Connection[Any], error_of: Callable[..., psycopg.Error], how: str
) -> None:
    with admin.transaction():
        admin.execute("lock table rows")
        error = error_of(server.dsn, how)
    proof.server(error, f"{SAID} 55P03", "transient")


def test_a_transaction_that_has_failed_is_not_gone_on_with(
    proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]
) -> None:
    """Trying the statement again, and not the transaction, is useless."""
    with contextlib.closing(psycopg.connect(server.dsn)) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("select 1 / 0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction) as caught:
            connection.execute("select 1")
    proof.server(caught.value, f"{SAID} 25P02", "permanent")


@pytest.mark.parametrize(
    ("setting", "code"), [("idle_in_transaction_session_timeout", "25P03"), ("idle_session_timeout", "57P05")]
)
def test_silent_for_too_long(
    proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error], setting: str, code: str
) -> None:
    end = () if code == "25P03" else ("commit",)
    wait = (lambda _session: time.sleep(0.1),)
    error = error_of(server.dsn, f"set {setting} = 10", *end, *wait, "select 1")
    proof.server(error, f"{SAID} {code}", "transient")


# -- what is not the server's ------------------------------------------------------------------------------------------


def test_cancelling_took_too_long(proof: Proof, server: Postgres) -> None:
    with contextlib.closing(psycopg.connect(server.dsn)) as connection:
        server.pause()
        try:
            with pytest.raises(psycopg.errors.CancellationTimeout) as caught:
                connection.cancel_safe(timeout=0.1)
        finally:
            server.resume()
    proof.server(caught.value, "psycopg.errors.CancellationTimeout", "unsure")


def test_a_pipeline_that_has_failed(proof: Proof, server: Postgres) -> None:
    with (
        contextlib.closing(psycopg.connect(server.dsn, autocommit=True)) as connection,
        connection.pipeline() as pipeline,
    ):
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("select 1 / 0").fetchone()
        with pytest.raises(psycopg.errors.PipelineAborted) as caught:
            connection.execute("select 1").fetchone()
        pipeline.sync()
    proof.server(caught.value, "psycopg.errors.PipelineAborted", "permanent")


def test_mistakes_of_the_program_are_unknown(
    proof: Proof, server: Postgres, error_of: Callable[..., psycopg.Error]
) -> None:
    """They carry no SQLSTATE, and are never tried again."""
    proof.unknown(error_of("no=such=thing"))
    with contextlib.closing(psycopg.connect(server.dsn)) as connection:
        for wrong in (
            lambda: connection.execute("select %s, %s", [1]),
            lambda: connection.execute("select %s", [object()]),
            lambda: connection.cursor().fetchone(),
        ):
            with pytest.raises(psycopg.Error) as caught:
                wrong()
            proof.unknown(caught.value)


@pytest.fixture
def pools() -> Any:
    """psycopg_pool, a package of its own."""
    try:
        return importlib.import_module("psycopg_pool")
    except ImportError:
        return missing("psycopg_pool is not installed")


def test_the_pool(proof: Proof, server: Postgres, pools: Any) -> None:
    """Nothing was sent: no connection came free, or too many wait for one already."""

    def wait() -> None:
        with contextlib.suppress(pools.PoolTimeout, pools.TooManyRequests):
            pool.getconn()

    with pools.ConnectionPool(server.dsn, min_size=1, max_size=1, max_waiting=1, timeout=0.2) as pool:
        with pool.connection():
            with pytest.raises(pools.PoolTimeout) as caught:
                pool.getconn()
            proof.server(caught.value, "psycopg_pool.PoolTimeout", "transient")
            waiting = threading.Thread(target=wait)
            waiting.start()
            time.sleep(0.05)
            with pytest.raises(pools.TooManyRequests) as caught:
                pool.getconn()
            waiting.join()
            proof.server(caught.value, "psycopg_pool.TooManyRequests", "transient")
    with pytest.raises(pools.PoolClosed) as caught:
        pool.getconn()
    proof.server(caught.value, "psycopg_pool.PoolClosed", "permanent")


def test_the_asyncio_pool(proof: Proof, server: Postgres, pools: Any) -> None:
    async def work() -> None:
        async with pools.AsyncConnectionPool(server.dsn, min_size=1, max_size=1, timeout=0.1) as pool:
            async with pool.connection():
                with pytest.raises(pools.PoolTimeout) as caught:
                    await pool.getconn()
                proof.server(caught.value, "psycopg_pool.PoolTimeout", "transient")
        with pytest.raises(pools.PoolClosed) as caught:
            await pool.getconn()
        proof.server(caught.value, "psycopg_pool.PoolClosed", "permanent")

    asyncio.run(work())


# -- strange facts -----------------------------------------------------------------------------------------------------


class Mine(psycopg.errors.SerializationFailure):
    """A program's own subclass."""


def test_subclasses_are_meant_too(proof: Proof) -> None:
    proof.constructor(Mine("said"), f"{SAID} 40001", "transient", because="a class of the program's own")


@pytest.mark.parametrize("strange", [40001, b"40001", ["40001"], ""], ids=repr)
def test_strange_sqlstates_say_nothing(proof: Proof, strange: object) -> None:
    error = psycopg.DatabaseError("said")
    error.sqlstate = strange  # type: ignore[assignment]
    proof.unknown(error)


def test_an_error_that_was_pickled_has_lost_its_connection(proof: Proof) -> None:
    """Its words still say that it came from connecting; where nothing says so, nothing is sure."""
    because = "the facts that an older version, or pickling, leaves out"
    proof.constructor(psycopg.OperationalError("connection failed: said"), COULD_NOT, "transient", because=because)
    proof.constructor(psycopg.OperationalError("said"), BROKE, "unsure", because=because)
    proof.constructor(psycopg.OperationalError(), BROKE, "unsure", because=because)
