"""redis-py, row by row: real clients, sync and asyncio, against real servers, and one that answers what it is told."""

# mypy: disable-error-code="no-untyped-call"
# redis-py has types for a part of itself only.

from __future__ import annotations

import asyncio
import contextlib
import pickle
import shutil
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import ConstantBackoff, NoBackoff
from redis.cluster import RedisCluster
from redis.multidb import exception as multidb
from redis.retry import Retry
from redis.sentinel import Sentinel
from tests.core.tables.proving import Proof
from tests.servers.http import free_port, untrusted
from tests.servers.redis import OK, RedisServer, answering, redis_server, refusal


#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.1
NEVER = "the library never raises it"
NO_BREAKER = "it needs pybreaker, which is not installed"

CONNECTING = "redis.exceptions.ConnectionError, by its __cause__ or __context__"
CONNECTION_BEFORE = "redis.exceptions.ConnectionError, raised before sending"
CONNECTION_AFTER = "redis.exceptions.ConnectionError, raised after that"
TIMEOUT_BEFORE = "redis.exceptions.TimeoutError, raised before sending"
TIMEOUT_AFTER = "redis.exceptions.TimeoutError, raised after that"
ANY_OTHER = "redis.exceptions.ResponseError, any other answer"

#: Commands on one client, one after the other; the error of the last one.
Ask: TypeAlias = Callable[..., Exception]


def raised(work: Callable[..., object], *args: Any, **options: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        work(*args, **options)
    return caught.value


def once(**options: Any) -> dict[str, Any]:
    """How to make a client that does not try again by itself."""
    return {"host": "127.0.0.1", "retry": Retry(NoBackoff(), 0), **options}


def aonce(**options: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "retry": AsyncRetry(NoBackoff(), 0), **options}


def ask(
    port: int,
    *commands: str,
    tries: int = 1,
    pause: float = 0,
    pipeline: bool = False,
    transaction: bool = False,
    **options: Any,
) -> Exception:
    with redis.Redis(**once(port=port, retry=Retry(ConstantBackoff(pause), tries - 1), **options)) as client:
        if pipeline or transaction:
            queue = client.pipeline(transaction)
            for command in commands:
                queue.execute_command(*command.split())
            return raised(queue.execute)
        for command in commands[:-1]:
            client.execute_command(*command.split())
        return raised(client.execute_command, *commands[-1].split())


async def aask(
    port: int,
    *commands: str,
    tries: int = 1,
    pause: float = 0,
    pipeline: bool = False,
    transaction: bool = False,
    **options: Any,
) -> Exception:
    async with redis.asyncio.Redis(
        **aonce(port=port, retry=AsyncRetry(ConstantBackoff(pause), tries - 1), **options)
    ) as client:
        with pytest.raises(Exception) as caught:
            if pipeline or transaction:
                queue = client.pipeline(transaction)
                for command in commands:
                    queue.execute_command(*command.split())
                await queue.execute()
            for command in commands:
                await client.execute_command(*command.split())
        return caught.value


@pytest.fixture(params=["sync", "asyncio"])
def error_of(request: pytest.FixtureRequest) -> Ask:
    """The error of commands, by a client of that colour."""
    return ask if request.param == "sync" else lambda *args, **options: asyncio.run(aask(*args, **options))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("shared")) as server:
        yield server


@pytest.fixture
def server(shared: RedisServer) -> Iterator[RedisServer]:
    """A server that is as it was at its start."""
    yield shared
    configured(shared, maxmemory=0, min_replicas_to_write=0, busy_reply_threshold=5000, maxclients=1000, requirepass="")
    with redis.Redis(**once(port=shared.port)) as client:
        client.execute_command("ACL", "DELUSER", "reader")
        client.flushall()


def configured(server: RedisServer, **options: object) -> None:
    with redis.Redis(**once(port=server.port)) as client:
        for name, value in options.items():
            client.config_set(name.replace("_", "-"), str(value))


def until(answer: Callable[[], object]) -> None:
    """Wait for what a server does by itself."""
    end = time.monotonic() + 20
    while not answer():
        assert time.monotonic() < end
        time.sleep(0.02)


# Connecting.


def test_refused(proof: Proof, error_of: Ask) -> None:
    """Nobody listens: nothing was sent."""
    proof.server(error_of(free_port(), "INCR a"), CONNECTING, "transient")


def test_a_unix_socket_that_is_not_there(proof: Proof, error_of: Ask, tmp_path: Path) -> None:
    """It goes with its server, and comes back with it."""
    error = error_of(0, "INCR a", unix_socket_path=str(tmp_path / "socket"))
    assert isinstance(error.__context__, FileNotFoundError)
    proof.server(error, CONNECTION_BEFORE, "transient")


def test_refused_at_each_address_of_a_name(proof: Proof, error_of: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio then makes one error of several, without a number."""
    two = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, free_port())) for address in ("127.0.0.1", "127.0.0.2")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: two)
    proof.server(error_of(1, "INCR a", host="two.test"), CONNECTING, "transient")


def test_a_name_that_is_none(proof: Proof, error_of: Ask) -> None:
    """asyncio makes a `ConnectionError` of that too; nobody knows what is in it."""
    proof.unknown(error_of(1, "INCR a", host="a" * 100))


def test_a_certificate_that_is_not_trusted(proof: Proof, error_of: Ask) -> None:
    """TLS will be no better the next time."""
    with answering(lambda _words: OK, ssl_context=untrusted()) as port:
        proof.server(error_of(port, "INCR a", ssl=True), CONNECTING, "permanent")


def test_a_certificate_that_is_not_there(proof: Proof, error_of: Ask, server: RedisServer) -> None:
    """ENOENT too, but no unix socket's."""
    proof.server(error_of(server.port, "INCR a", ssl=True, ssl_ca_certs="/no/such/file"), CONNECTING, "permanent")


def test_a_server_that_hangs(proof: Proof, error_of: Ask, tmp_path: Path) -> None:
    """Before the first command only the client's own words were sent, so nothing was done."""
    with redis_server(tmp_path) as hung:
        hung.pause()
        proof.server(error_of(hung.port, "INCR a", socket_timeout=SOON), TIMEOUT_BEFORE, "transient")


def test_a_server_that_answers_too_late(proof: Proof, error_of: Ask, server: RedisServer) -> None:
    """Afterwards nobody knows."""
    proof.server(error_of(server.port, "BLPOP nothing 2", socket_timeout=SOON), TIMEOUT_AFTER, "unsure")


def test_the_pool_is_empty(proof: Proof, server: RedisServer) -> None:
    """It never came to a connection."""
    with redis.Redis(**once(port=server.port, max_connections=1)) as client:
        taken = client.connection_pool.get_connection()
        proof.server(raised(client.get, "a"), "redis.exceptions.MaxConnectionsError, refused whole", "transient")
        client.connection_pool.release(taken)
    pool = redis.BlockingConnectionPool(**once(port=server.port, max_connections=1, timeout=SOON))
    with redis.Redis.from_pool(pool) as client:
        taken = pool.get_connection()
        proof.server(raised(client.get, "a"), CONNECTION_BEFORE, "transient")
        pool.release(taken)


def test_the_pool_is_empty_in_asyncio(proof: Proof, server: RedisServer) -> None:
    async def errors() -> tuple[Exception, Exception]:
        async with redis.asyncio.Redis(**aonce(port=server.port, max_connections=1)) as client:
            taken = await client.connection_pool.get_connection()
            with pytest.raises(Exception) as first:
                await client.get("a")
            await client.connection_pool.release(taken)
        pool = redis.asyncio.BlockingConnectionPool(**aonce(port=server.port, max_connections=1, timeout=SOON))
        async with redis.asyncio.Redis.from_pool(pool) as client:
            taken = await pool.get_connection()
            with pytest.raises(Exception) as second:
                await client.get("a")
            await pool.release(taken)
        return first.value, second.value

    full, waited = asyncio.run(errors())
    proof.server(full, "redis.exceptions.MaxConnectionsError, refused whole", "transient")
    proof.server(waited, CONNECTION_BEFORE, "transient")


# A connection that breaks.


def test_killed_in_the_middle(proof: Proof, error_of: Ask, tmp_path: Path) -> None:
    """kill -9 while the client waits for the answer; then nobody is there, and then it is there again."""
    with redis_server(tmp_path) as killed:
        proof.server(error_when_killed(killed, error_of), CONNECTION_AFTER, "unsure")
        proof.server(error_of(killed.port, "INCR a"), CONNECTING, "transient")
        killed.start()
        proof.server(error_of(killed.port, "SET a 1", "LPUSH a 1"), ANY_OTHER, "permanent")


def test_a_client_that_tries_again_by_itself_hides_what_it_sent(proof: Proof, error_of: Ask, tmp_path: Path) -> None:
    """The error says "refused", and was: but that was the last try, and the first one was sent."""
    with redis_server(tmp_path) as killed:
        error = error_when_killed(killed, error_of, tries=3, pause=SOON)
        assert "Error 111 connecting" in str(error)
        proof.server(error, CONNECTION_AFTER, "unsure")


def error_when_killed(server: RedisServer, error_of: Ask, **options: Any) -> Exception:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(error_of, server.port, "BLPOP nothing 0", **options)
        with redis.Redis(**once(port=server.port)) as client:
            until(lambda: client.info("clients")["blocked_clients"])
        server.kill()
        return waiting.result()


def test_hung_up(proof: Proof, error_of: Ask) -> None:
    with answering(lambda _words: None) as port:
        proof.server(error_of(port, "INCR a"), CONNECTION_AFTER, "unsure")


def test_no_redis_at_all(proof: Proof, error_of: Ask) -> None:
    with answering(lambda _words: b"what?\r\n") as port:
        proof.server(error_of(port, "INCR a", protocol=2), "redis.exceptions.InvalidResponse", "unsure")


# What a server refuses.


def test_a_replica(proof: Proof, error_of: Ask, server: RedisServer, tmp_path: Path) -> None:
    """It takes no writes; told to say nothing stale, it answers nothing at all while it has no master."""
    nowhere = str(free_port())
    with redis_server(tmp_path, "--replicaof", "127.0.0.1", nowhere) as replica:
        read_only, link = "redis.exceptions.ReadOnlyError", "redis.exceptions.MasterDownError"
        proof.server(error_of(replica.port, "SET a 1"), f"{read_only}, refused whole", "transient")
        proof.server(
            error_of(replica.port, "GET a", "SET a 1", pipeline=True), f"{read_only}, refused in part", "unsure"
        )
        # A transaction is refused whole.
        error = error_of(replica.port, "GET a", "SET a 1", transaction=True)
        proof.server(error, f"{read_only}, refused whole", "transient")
        configured(replica, replica_serve_stale_data="no")
        proof.server(error_of(replica.port, "GET a"), f"{link}, refused whole", "transient")
        # The other command of the pipeline is answered.
        proof.server(error_of(replica.port, "PING", "GET a", pipeline=True), f"{link}, refused in part", "unsure")


def test_a_server_that_starts(proof: Proof, error_of: Ask, tmp_path: Path) -> None:
    """It accepts connections before it has read its data."""
    with redis_server(tmp_path, "--enable-debug-command", "yes") as starting:
        with redis.Redis(**once(port=starting.port)) as client:
            client.execute_command("DEBUG", "POPULATE", "3000")
            client.save()
        starting.kill()
        starting.argv += ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]
        starting.start()
        loading = "redis.exceptions.BusyLoadingError"
        proof.server(error_of(starting.port, "GET a"), f"{loading}, refused whole", "transient")
        # What the first try was answered is not known.
        proof.server(error_of(starting.port, "GET a", tries=2), f"{loading}, refused in part", "unsure")


def test_its_memory_is_full(proof: Proof, error_of: Ask, server: RedisServer) -> None:
    configured(server, maxmemory=1)
    full = "redis.exceptions.OutOfMemoryError"
    proof.server(error_of(server.port, "SET a 1"), f"{full}, refused whole", "transient", throttled=True)
    error = error_of(server.port, "GET a", "SET a 1", pipeline=True)
    proof.server(error, f"{full}, refused in part", "unsure", throttled=True)
    error = error_of(server.port, "GET a", "SET a 1", transaction=True)
    proof.server(error, f"{full}, refused whole", "transient", throttled=True)


def test_a_script_keeps_it_busy(proof: Proof, error_of: Ask, server: RedisServer) -> None:
    configured(server, busy_reply_threshold=1)
    with busy(server):
        row = "redis.exceptions.ResponseError, answer BUSY"
        proof.server(error_of(server.port, "SET a 1"), row, "transient", throttled=True)
        error = error_of(server.port, "PING", "SET a 1", pipeline=True)
        assert "Command # " in str(error)
        proof.server(error, f"{row}, in part", "unsure", throttled=True)


@contextlib.contextmanager
def busy(server: RedisServer) -> Iterator[None]:
    """A server that runs a script without end."""
    with ThreadPoolExecutor() as pool, redis.Redis(**once(port=server.port)) as client:
        killed = pool.submit(ask, server.port, "EVAL while(true)do(redis.call)('PING')end 0")
        until(lambda: is_busy(client))
        try:
            yield
        finally:
            client.execute_command("SCRIPT", "KILL")
            assert "Script killed" in str(killed.result())


def is_busy(client: Any) -> bool:
    try:
        client.get("a")
    except redis.exceptions.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


def test_too_few_replicas(proof: Proof, error_of: Ask, server: RedisServer) -> None:
    configured(server, min_replicas_to_write=1)
    row = "redis.exceptions.ResponseError, answer NOREPLICAS"
    proof.server(error_of(server.port, "SET a 1"), row, "transient")
    proof.server(error_of(server.port, "GET a", "SET a 1", pipeline=True), f"{row}, in part", "unsure")


def test_its_disk_fails(proof: Proof, error_of: Ask, tmp_path: Path) -> None:
    with redis_server(tmp_path, "--save", "3600 1") as broken:
        disk_failed(broken)
        row = "redis.exceptions.ResponseError, answer MISCONF"
        proof.server(error_of(broken.port, "SET a 1"), row, "transient")
        proof.server(error_of(broken.port, "GET a", "SET a 1", pipeline=True), f"{row}, in part", "unsure")


def disk_failed(server: RedisServer) -> None:
    shutil.rmtree(server.directory)
    with redis.Redis(**once(port=server.port)) as client:
        client.bgsave()
        until(lambda: client.info("persistence")["rdb_last_bgsave_status"] != "ok")


def test_it_is_told_to_wait_no_longer(proof: Proof, error_of: Ask, server: RedisServer) -> None:
    """CLIENT UNBLOCK: the list is as it was."""
    row = "redis.exceptions.ResponseError, answer UNBLOCKED"
    proof.server(error_when_unblocked(server, error_of), row, "transient")
    proof.server(error_when_unblocked(server, error_of, "PING", pipeline=True), f"{row}, in part", "unsure")


def error_when_unblocked(server: RedisServer, error_of: Ask, *before: str, **options: Any) -> Exception:
    with ThreadPoolExecutor() as pool, redis.Redis(**once(port=server.port)) as client:
        waiting = pool.submit(error_of, server.port, *before, "BLPOP nothing 0", **options)
        until(lambda: client.info("clients")["blocked_clients"])
        for other in client.client_list():
            client.client_unblock(int(other["id"]), error=True)
        return waiting.result()


def test_too_many_clients(proof: Proof, error_of: Ask, server: RedisServer) -> None:
    """It says so and hangs up, before it reads anything."""
    row = "redis.exceptions.ConnectionError, refused: max number of clients reached"
    with redis.Redis(**once(port=server.port)) as first:
        first.config_set("maxclients", 1)
        proof.server(error_of(server.port, "INCR a"), row, "transient", throttled=True)
        first.config_set("maxclients", 1000)
    with answering(after_a_break(lambda _words: refusal("ERR max number of clients reached"))) as port:
        proof.server(error_of(port, "INCR a", tries=2), f"{row}, in part", "unsure", throttled=True)


def test_authentication(proof: Proof, error_of: Ask, server: RedisServer) -> None:
    wrong = "redis.exceptions.AuthenticationError"
    # AUTH where no password is wanted.
    proof.server(error_of(server.port, "GET a", password="x", protocol=2), wrong, "permanent")
    error = error_of(
        server.port,
        "ACL SETUSER reader on >secret ~* +get",
        "AUTH reader secret",
        "SET a 1",
        single_connection_client=True,
    )
    assert type(error).__name__ == "NoPermissionError"
    proof.server(error, ANY_OTHER, "permanent")
    with redis.Redis(**once(port=server.port)) as client:
        client.config_set("requirepass", "secret")
        try:
            proof.server(error_of(server.port, "GET a"), wrong, "permanent")
            proof.server(error_of(server.port, "GET a", password="x"), wrong, "permanent")
        finally:
            client.config_set("requirepass", "")


def test_what_no_second_try_makes_better(proof: Proof, error_of: Ask, server: RedisServer) -> None:
    for words in (
        ["SET a 1", "LPUSH a 1"],
        ["NONSENSE"],
        ["EVALSHA 0000000000000000000000000000000000000000 0"],
        ["INCR"],
    ):
        proof.server(error_of(server.port, *words), ANY_OTHER, "permanent")
    error = error_of(server.port, "SET a 1", "LPUSH a 1", pipeline=True)
    proof.server(error, ANY_OTHER, "permanent")


def test_a_migration_that_finds_nobody(proof: Proof, error_of: Ask, server: RedisServer) -> None:
    error = error_of(server.port, "SET a 1", f"MIGRATE 127.0.0.1 {free_port()} a 0 100")
    proof.server(error, "redis.exceptions.ResponseError, answer IOERR", "unsure")


def test_ldap_does_not_answer(proof: Proof, error_of: Ask) -> None:
    row = "redis.exceptions.ExternalAuthProviderError, refused"
    with answering(lambda words: refusal("ERR problem with LDAP service") if words[0] == "AUTH" else OK) as port:
        proof.server(error_of(port, "GET a", password="x", protocol=2), f"{row} whole", "transient")
    with answering(after_a_break(lambda _words: refusal("ERR problem with LDAP service"))) as port:
        proof.server(error_of(port, "AUTH me x", tries=2), f"{row} in part", "unsure")


# Transactions and locks.


def test_a_transaction_is_aborted(proof: Proof, tmp_path: Path) -> None:
    """Everything is queued; what is wrong is found only at EXEC, and then nothing is done."""
    aborted = "redis.exceptions.ExecAbortError, because of"
    nowhere = str(free_port())
    with redis_server(tmp_path, "--save", "3600 1") as server, redis.Redis(**once(port=server.port)) as other:

        def queued(change: Callable[[], object]) -> Exception:
            with redis.Redis(**once(port=server.port, single_connection_client=True)) as client:
                client.execute_command("MULTI")
                client.execute_command("SET", "a", "1")
                change()
                return raised(client.execute_command, "EXEC")

        proof.server(queued(lambda: other.config_set("maxmemory", 1)), f"{aborted} OOM", "transient", throttled=True)
        other.config_set("maxmemory", 0)
        proof.server(queued(lambda: other.config_set("min-replicas-to-write", 1)), f"{aborted} NOREPLICAS", "transient")
        other.config_set("min-replicas-to-write", 0)
        proof.server(queued(lambda: disk_failed(server)), f"{aborted} MISCONF", "transient")
        other.config_set("stop-writes-on-bgsave-error", "no")
        proof.server(queued(lambda: other.replicaof("127.0.0.1", nowhere)), f"{aborted} READONLY", "transient")
        # A command that is wrong.
        with redis.Redis(**once(port=server.port, single_connection_client=True)) as client:
            client.execute_command("MULTI")
            raised(client.execute_command, "NONSENSE")
            proof.server(
                raised(client.execute_command, "EXEC"),
                "redis.exceptions.ExecAbortError, any other because of",
                "permanent",
            )


@pytest.mark.parametrize(("code", "throttled"), [
    ("BUSY", True), ("LOADING", False), ("MASTERDOWN", False), ("MISCONF", False), ("NOREPLICAS", False), ("OOM", True), ("READONLY", False),
])  # fmt: skip
def test_every_abort(proof: Proof, error_of: Ask, code: str, throttled: bool) -> None:
    """The same by a server that is told to; after a try that broke nobody knows whether that one was done."""
    answers = [refusal(f"EXECABORT Transaction discarded because of: {code} and so on")]

    def answer(words: list[str]) -> bytes | None:
        return OK if words[0] != "EXEC" else answers[-1]

    row = f"redis.exceptions.ExecAbortError, because of {code}"
    with answering(answer) as port:
        proof.server(error_of(port, "SET a 1", transaction=True), row, "transient", throttled=throttled)
    with answering(after_a_break(answer)) as port:
        error_then = error_of(port, "SET a 1", transaction=True, tries=2)
        proof.server(error_then, f"{row}, in part", "unsure", throttled=throttled)


def after_a_break(answer: Callable[[list[str]], bytes | None]) -> Callable[[list[str]], bytes | None]:
    """Hang up on the first command, then answer."""
    told: list[str] = []

    def answer_later(words: list[str]) -> bytes | None:
        told.append(words[0])
        return None if len(told) == 1 else answer(words)

    return answer_later


def test_what_was_watched(proof: Proof, server: RedisServer, tmp_path: Path) -> None:
    row = "redis.exceptions.WatchError, watched:"
    with redis.Redis(**once(port=server.port)) as client, client.pipeline() as transaction:
        transaction.watch("a")
        client.set("a", "changed")
        transaction.multi()
        transaction.set("a", "mine")
        proof.server(raised(transaction.execute), f"{row} changed", "transient")
    with (
        redis_server(tmp_path) as killed,
        redis.Redis(**once(port=killed.port)) as client,
        client.pipeline() as transaction,
    ):
        transaction.watch("a")
        transaction.multi()
        transaction.set("a", "mine")
        killed.kill()
        proof.server(raised(transaction.execute), f"{row} other", "unsure")


def test_what_was_watched_in_asyncio(proof: Proof, server: RedisServer) -> None:
    async def error() -> Exception:
        async with redis.asyncio.Redis(**aonce(port=server.port)) as client:
            async with client.pipeline() as transaction:
                await transaction.watch("a")
                await client.set("a", "changed")
                transaction.multi()
                transaction.set("a", "mine")
                with pytest.raises(Exception) as caught:
                    await transaction.execute()
                return caught.value

    proof.server(asyncio.run(error()), "redis.exceptions.WatchError, watched: changed", "transient")


def test_a_lock(proof: Proof, server: RedisServer) -> None:
    """Somebody else has it; or it was ours, and is so no longer."""
    taken = "redis.exceptions.LockError, lock: Unable to acquire lock within the time specified"
    other = "redis.exceptions.LockError, any other lock"
    with redis.Redis(**once(port=server.port)) as client:
        with client.lock("it", timeout=60):
            proof.server(raised(client.lock("it", blocking_timeout=0).__enter__), taken, "transient")
            proof.server(raised(client.lock("it").release), other, "permanent")
        lost = client.lock("it")
        lost.acquire()
        client.delete("it")
        not_owned = raised(lost.release)
        assert isinstance(not_owned, redis.exceptions.LockNotOwnedError)
        proof.server(not_owned, other, "permanent")


# Sentinel.


@pytest.fixture
def master(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as master:
        yield master


@pytest.fixture
def sentinel(master: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """A sentinel that watches over the master, by the name of "known"."""
    with redis_server(tmp_path, "--sentinel", config=f"sentinel monitor known 127.0.0.1 {master.port} 1") as watching:
        yield watching


def test_a_sentinel_that_knows_no_such_master(proof: Proof, sentinel: RedisServer) -> None:
    with Sentinel([("127.0.0.1", sentinel.port)]) as watching:
        not_found = "redis.sentinel.MasterNotFoundError"
        with watching.master_for("unknown", **once()) as client:
            proof.server(raised(client.incr, "a"), f"{not_found}, refused whole", "transient")
        with watching.slave_for("unknown", **once()) as client:
            proof.server(raised(client.get, "a"), "redis.sentinel.SlaveNotFoundError", "transient")


def test_a_sentinel_that_knows_no_such_master_in_asyncio(proof: Proof, sentinel: RedisServer) -> None:
    async def errors() -> list[Exception]:
        caught: list[Exception] = []
        async with AsyncSentinel([("127.0.0.1", sentinel.port)]) as watching:
            for client in (watching.master_for("unknown", **aonce()), watching.slave_for("unknown", **aonce())):
                async with client:
                    with pytest.raises(Exception) as error:
                        await client.get("a")
                    caught.append(error.value)
        return caught

    no_master, no_replica = asyncio.run(errors())
    proof.server(no_master, "redis.asyncio.sentinel.MasterNotFoundError, refused whole", "transient")
    proof.server(no_replica, "redis.asyncio.sentinel.SlaveNotFoundError", "transient")


def test_no_sentinel_after_a_try(proof: Proof, master: RedisServer, sentinel: RedisServer) -> None:
    """redis-py's own `Retry` around it all: what the first try sent to the master is not known."""
    with (
        Sentinel([("127.0.0.1", sentinel.port)], sentinel_kwargs={"retry": Retry(NoBackoff(), 0)}) as watching,
        watching.master_for("known", **once()) as client,
        ThreadPoolExecutor() as pool,
    ):
        retrying = Retry(NoBackoff(), 1)
        waiting = pool.submit(raised, retrying.call_with_retry, lambda: client.blpop("nothing"), lambda _error: None)
        kill_in_the_middle(master, sentinel)
        proof.server(waiting.result(), "redis.sentinel.MasterNotFoundError, refused in part", "unsure")


def test_no_sentinel_after_a_try_in_asyncio(proof: Proof, master: RedisServer, sentinel: RedisServer) -> None:
    async def error() -> Exception:
        async with AsyncSentinel(
            [("127.0.0.1", sentinel.port)], sentinel_kwargs={"retry": AsyncRetry(NoBackoff(), 0)}
        ) as watching:
            async with watching.master_for("known", **aonce()) as client:

                async def nothing(_error: object) -> None:
                    pass

                with pytest.raises(Exception) as caught:
                    killing = asyncio.to_thread(kill_in_the_middle, master, sentinel)
                    trying = AsyncRetry(NoBackoff(), 1).call_with_retry(lambda: client.blpop("nothing"), nothing)
                    await asyncio.gather(trying, killing)
                return caught.value

    proof.server(asyncio.run(error()), "redis.asyncio.sentinel.MasterNotFoundError, refused in part", "unsure")


def kill_in_the_middle(master: RedisServer, sentinel: RedisServer) -> None:
    with redis.Redis(**once(port=master.port)) as client:
        until(lambda: client.info("clients")["blocked_clients"])
    sentinel.kill()
    master.kill()


def test_the_master_has_become_a_replica(proof: Proof, master: RedisServer, sentinel: RedisServer) -> None:
    """The client hangs up, to ask the sentinel again."""
    row = "redis.exceptions.ConnectionError, refused: The previous master is now a slave"
    with (
        Sentinel([("127.0.0.1", sentinel.port)]) as watching,
        watching.master_for("known", **once()) as client,
        redis.Redis(**once(port=master.port)) as other,
    ):
        client.set("a", "1")
        other.replicaof("127.0.0.1", str(free_port()))
        proof.server(raised(client.set, "a", "2"), row, "transient")
        with client.pipeline(transaction=False) as pipeline:
            pipeline.get("a")
            pipeline.set("a", "2")
            proof.server(raised(pipeline.execute), f"{row}, in part", "unsure")


def test_the_master_has_become_a_replica_in_asyncio(proof: Proof, master: RedisServer, sentinel: RedisServer) -> None:
    async def error() -> Exception:
        async with (
            AsyncSentinel([("127.0.0.1", sentinel.port)]) as watching,
            watching.master_for("known", **aonce()) as client,
        ):
            await client.set("a", "1")
            configured_as_replica(master)
            with pytest.raises(Exception) as caught:
                await client.set("a", "2")
            return caught.value

    row = "redis.exceptions.ConnectionError, refused: The previous master is now a slave"
    proof.server(asyncio.run(error()), row, "transient")


def configured_as_replica(server: RedisServer) -> None:
    with redis.Redis(**once(port=server.port)) as client:
        client.replicaof("127.0.0.1", str(free_port()))


# A cluster.


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two masters that know each other; the slot of "b" is the first one's, that of "c" the second one's, that of "a" nobody's."""
    directory = tmp_path_factory.mktemp("cluster")
    enabled = ("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-port")
    with (
        redis_server(directory, *enabled, str(free_port())) as first,
        redis_server(directory, *enabled, str(free_port())) as second,
        redis.Redis(**once(port=first.port)) as client,
        redis.Redis(**once(port=second.port)) as other,
    ):
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 7000)
        other.execute_command("CLUSTER", "ADDSLOTSRANGE", 7001, 15000)
        meeting = second.argv[second.argv.index("--cluster-port") + 1]
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", second.port, meeting)
        until(lambda: agree(client, other))
        yield first, second


def agree(*clients: Any) -> bool:
    known = [client.execute_command("CLUSTER INFO") for client in clients]
    return all((info["cluster_slots_ok"], info["cluster_state"]) == ("15001", "ok") for info in known)


def test_a_slot_that_nobody_has(proof: Proof, error_of: Ask, cluster: tuple[RedisServer, RedisServer]) -> None:
    down = "redis.exceptions.ClusterDownError"
    port = cluster[0].port
    proof.server(error_of(port, "SET a 1"), f"{down}, refused whole", "transient")
    proof.server(error_of(port, "SET b 1", "SET a 1", pipeline=True), f"{down}, refused in part", "unsure")
    crossed = error_of(port, "MSET b 1 f 1")
    assert type(crossed).__name__ == "ClusterCrossSlotError"
    proof.server(crossed, ANY_OTHER, "permanent")


def test_a_slot_that_nobody_has_by_a_cluster_client(proof: Proof, cluster: tuple[RedisServer, RedisServer]) -> None:
    """It tries again, on other nodes, and does not say how often."""
    port = cluster[0].port
    row = "redis.exceptions.RedisClusterException, said: All slots are not covered*"
    proof.server(raised(RedisCluster, **once(port=port, require_full_coverage=True)), row, "unsure")
    with closing_cluster(RedisCluster(**once(port=port, require_full_coverage=False))) as client:
        proof.server(raised(client.set, "a", "1"), "redis.exceptions.SlotNotCoveredError", "unsure")


def test_a_slot_that_nobody_has_by_an_asyncio_cluster_client(
    proof: Proof, cluster: tuple[RedisServer, RedisServer]
) -> None:
    async def error() -> Exception:
        client = redis.asyncio.RedisCluster(**aonce(port=cluster[0].port, require_full_coverage=True))
        with pytest.raises(Exception) as caught:
            await client.set("b", "1")
        await client.aclose()
        return caught.value

    proof.server(
        asyncio.run(error()), "redis.exceptions.RedisClusterException, said: All slots are not covered*", "unsure"
    )


@contextlib.contextmanager
def closing_cluster(client: RedisCluster) -> Iterator[RedisCluster]:
    with contextlib.closing(client):
        yield client


def test_a_cluster_that_is_not_there(proof: Proof) -> None:
    """Some earlier command of the client may have sent it to look for the nodes."""
    error = raised(RedisCluster, **once(port=free_port()))
    proof.server(error, "redis.exceptions.RedisClusterException, by its __cause__", "unsure")


def test_no_cluster_at_all(proof: Proof, server: RedisServer) -> None:
    proof.unknown(raised(RedisCluster, **once(port=server.port)))


def test_the_pool_of_a_cluster_client_is_empty(proof: Proof, cluster: tuple[RedisServer, RedisServer]) -> None:
    with closing_cluster(
        RedisCluster(**once(port=cluster[0].port, max_connections=1, require_full_coverage=False))
    ) as client:
        pool = client.get_redis_connection(client.get_node("127.0.0.1", cluster[0].port)).connection_pool
        taken = pool.get_connection()
        proof.server(raised(client.set, "b", "1"), "redis.exceptions.MaxConnectionsError, refused in part", "unsure")
        pool.release(taken)


def test_a_slot_that_is_being_moved(proof: Proof, error_of: Ask, cluster: tuple[RedisServer, RedisServer]) -> None:
    """A client of one server does not follow; a cluster client does, to and fro."""
    first, second = cluster
    moved = "redis.exceptions.AskError, asked by"
    with redis.Redis(**once(port=first.port)) as here, redis.Redis(**once(port=second.port)) as there:
        proof.server(error_of(second.port, "SET b 1"), f"{moved} a client of one server", "permanent")
        slot = here.execute_command("CLUSTER", "KEYSLOT", "b")
        here.set("{b}1", "1")
        here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", there.execute_command("CLUSTER", "MYID"))
        try:
            proof.server(error_of(first.port, "GET {b}0"), f"{moved} a client of one server", "permanent")
            again = "redis.exceptions.TryAgainError"
            proof.server(error_of(first.port, "MGET {b}1 {b}2"), f"{again}, refused whole", "transient")
            proof.server(
                error_of(first.port, "PING", "MGET {b}1 {b}2", pipeline=True), f"{again}, refused in part", "unsure"
            )
            with closing_cluster(RedisCluster(**once(port=first.port, require_full_coverage=False))) as client:
                proof.server(raised(client.get, "{b}0"), "redis.exceptions.ClusterError", "unsure")
                with client.pipeline(transaction=True) as transaction:
                    transaction.get("{b}0")
                    proof.server(raised(transaction.execute), f"{moved} a cluster client", "unsure")
        finally:
            here.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")
            here.delete("{b}1")


# What is not raised here, and what is not known.


@pytest.mark.parametrize(("name", "kind"), [
    ("InitialHealthCheckFailedError", "transient"),
    ("TemporaryUnavailableException", "unsure"),
    ("NoValidDatabaseException", "unsure"),
])  # fmt: skip
def test_several_databases(proof: Proof, name: str, kind: str) -> None:
    proof.constructor(getattr(multidb, name)("none"), f"redis.multidb.exception.{name}", kind, because=NO_BREAKER)


def test_a_class_that_nothing_raises(proof: Proof) -> None:
    error = redis.exceptions.AuthorizationError("no")
    proof.constructor(error, "redis.exceptions.AuthorizationError", "permanent", because=NEVER)


def test_misuse_is_not_known(proof: Proof, error_of: Ask, server: RedisServer) -> None:
    with redis.Redis(**once(port=server.port)) as client:
        proof.unknown(raised(client.set, "a", object()))
        proof.unknown(raised(next, client.pubsub().listen()))
        with client.pipeline() as transaction:
            transaction.multi()
            proof.unknown(raised(transaction.multi))
    for name in (
        "RedisError",
        "DataError",
        "PubSubError",
        "RedisClusterException",
        "CrossSlotTransactionError",
        "ChildDeadlockedError",
    ):
        proof.unknown(getattr(redis.exceptions, name)("misused"))


def test_errors_of_another_kind(proof: Proof) -> None:
    """Without a traceback, without words, with words of another type: nothing is claimed that is not proven."""
    for args in ((), (None,), (7,), (b"bytes",), ("Error 111 connecting to localhost:6379. Connection refused.",)):
        proof.tables.find(redis.exceptions.ResponseError(*args))
        proof.server(redis.exceptions.ConnectionError(*args), CONNECTION_AFTER, "unsure")
        proof.server(redis.exceptions.TimeoutError(*args), TIMEOUT_AFTER, "unsure")
    proof.unknown(redis.exceptions.ResponseError())
    proof.unknown(redis.exceptions.ResponseError(7))
    proof.unknown(redis.exceptions.ExecAbortError())


def test_a_class_of_ones_own(proof: Proof) -> None:
    """The nearest class that is known counts."""

    class Mine(redis.exceptions.ReadOnlyError):
        pass

    proof.server(Mine("no"), "redis.exceptions.ReadOnlyError, refused in part", "unsure")


def test_a_traceback_that_was_cleared_proves_nothing(proof: Proof, error_of: Ask, server: RedisServer) -> None:
    """`unittest` clears the frames of what it caught; a pickle has none: what is not known is no proof."""
    configured(server, maxmemory=1)
    error = error_of(server.port, "SET a 1")
    sent = pickle.loads(pickle.dumps(error))
    proof.server(sent, "redis.exceptions.OutOfMemoryError, refused in part", "unsure", throttled=True)
    traceback.clear_frames(error.__traceback__)
    proof.server(error, "redis.exceptions.OutOfMemoryError, refused in part", "unsure", throttled=True)
