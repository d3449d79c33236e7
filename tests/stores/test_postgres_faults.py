"""The stores in PostgreSQL, when the server, the connection or the way between them fails."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from tests.servers.http import free_port
from tests.servers.postgres import FAST, Postgres, half, postgres_server, relaying
from tests.servers.proxy import Fault, Proxy, proxying

from resilience import AsyncOptimisticLock, OptimisticLock, deadline, transient
from resilience.errors import (
    DeadlineExceededError,
    OutcomeUnknownError,
    StoreError,
    StoreUnavailableError,
)
from resilience.stores import ABSENT, ANY
from resilience.stores import _postgres_hosts as hosts
from resilience.stores import _postgres_wire as wire
from resilience.stores._postgres_verbs import Ask
from resilience.stores.postgres import AsyncPostgresStore, PostgresStore


_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), max_connections="30", synchronous_commit="on") as server:
        yield server


@pytest.fixture
def proxy(server: Postgres) -> Iterator[Proxy]:
    with proxying(server.port) as proxy:
        yield proxy


class Hand:
    """One colour: how a scenario is run, and its stores."""

    def __init__(self, colour: str, server: Postgres) -> None:
        self.colour = colour
        self.server = server
        self.schema = f"faults_{next(_numbers)}"

    def store(self, dsn: str, **options: Any) -> Any:
        make: Any = PostgresStore if self.colour == "sync" else AsyncPostgresStore
        return make(dsn, schema=self.schema, **options)

    def through(self, port: int, **options: Any) -> Any:
        """A store that reaches the server by another port; without TLS, which is not what is tested."""
        return self.store(f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable", **options)

    def run(self, scenario: Callable[..., Any], *stores: Any) -> Any:
        """Run it with these stores, whose schema is made, and close them."""
        with PostgresStore(self.server.dsn, schema=self.schema) as maker:
            maker.create_schema()

        async def main() -> Any:
            try:
                return await scenario(*stores)
            finally:
                for store in stores:
                    await done(store.close() if self.colour == "sync" else store.aclose())

        if self.colour == "asyncio":
            return asyncio.run(main())
        try:
            main().send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("plain code cannot suspend")

    async def there(self) -> bytes | None:
        with PostgresStore(self.server.dsn, schema=self.schema) as store:
            seen = store.load("k")
            return None if seen is None else seen.value


async def done(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


@pytest.fixture(params=["sync", "asyncio"])
def hand(request: pytest.FixtureRequest, server: Postgres) -> Hand:
    return Hand(request.param, server)


def pid_of(store: Any) -> int:
    """The server's process of the one connection that the store has."""
    (line,) = store._idle._lines
    return int(line.backend_pid)


@contextlib.contextmanager
def blocked(server: Postgres, schema: str) -> Iterator[None]:
    """Nobody else can write the records that are there, until the block ends or the server does."""
    with contextlib.suppress(psycopg.Error), psycopg.connect(server.dsn) as blocking:
        blocking.execute(f"SELECT FROM {schema}.records FOR UPDATE")
        yield


def later(seconds: float, fn: Callable[..., object], *args: Any) -> threading.Timer:
    timer = threading.Timer(seconds, fn, args)
    timer.start()
    return timer


# -- the server fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["killed", "told to end"])
def test_a_session_that_ends_within_a_write_leaves_it_in_doubt_and_the_next_verb_connects_anew(
    hand: Hand, server: Postgres, how: str
) -> None:
    """One session that is killed ends them all, and no SQLSTATE says so."""

    async def scenario(store: Any) -> None:
        await done(store.compare_and_set("k", b"before", expected=ANY))
        session = pid_of(store)
        with blocked(server, hand.schema):
            timer = later(0.2, server.crash if how == "killed" else server.end, session)
            with pytest.raises(OutcomeUnknownError, match=r"session has ended|closed the connection") as error:
                await done(store.compare_and_set("k", b"after", expected=ANY))
            timer.join()
        assert isinstance(error.value.__cause__, psycopg.Error)
        verdict = transient(error.value)
        assert verdict is not None
        assert verdict.kind == "unsure"
        if how == "killed":
            server.recover()
        assert (await done(store.load("k"))).value == b"before"

    hand.run(scenario, hand.store(server.dsn))


def test_connections_that_ended_while_nobody_used_them_are_not_noticed(hand: Hand, server: Postgres) -> None:
    async def scenario(store: Any) -> None:
        await done(store.compare_and_set("k", b"v", expected=ANY))
        server.stop(FAST)
        server.start()
        await done(store.compare_and_set("k", b"w", expected=ANY))
        server.end(pid_of(store))
        time.sleep(0.1)
        assert (await done(store.load("k"))).value == b"w"

    hand.run(scenario, hand.store(server.dsn))


def test_a_server_that_is_down_is_unavailable_also_to_writes(hand: Hand, server: Postgres) -> None:
    async def scenario(store: Any) -> None:
        server.stop(FAST)
        try:
            for verb in (lambda: store.load("k"), lambda: store.remove("k", expected=ANY), store.ping):
                with pytest.raises(StoreUnavailableError, match="refused") as error:
                    await done(verb())
                assert isinstance(error.value.__cause__, psycopg.OperationalError)
            with pytest.raises(StoreUnavailableError):
                await done(store.wait("k", after=ABSENT, timeout=5))
        finally:
            server.start()
        await done(store.ping())

    hand.run(scenario, hand.store(server.dsn))


def test_a_server_that_shuts_down_is_unavailable(hand: Hand, server: Postgres) -> None:
    async def scenario(store: Any) -> None:
        with server.shutting_down():
            with pytest.raises(StoreUnavailableError, match="shutting down"):
                await done(store.compare_and_set("k", b"", expected=ANY))

    hand.run(scenario, hand.store(server.dsn))


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "not yet connected"])
def test_a_server_that_is_stopped_is_given_up_at_the_deadline(hand: Hand, server: Postgres, connected: bool) -> None:
    async def scenario(store: Any) -> None:
        if connected:
            await done(store.compare_and_set("k", b"before", expected=ANY))
        server.pause()
        try:
            for write in (False, True):
                began = time.monotonic()
                with pytest.raises((StoreError, DeadlineExceededError)) as error:
                    await limited(lambda: store.compare_and_set("k", b"x", expected=ANY) if write else store.load("k"))
                assert 0.2 < time.monotonic() - began < 0.9
                if hand.colour == "sync":
                    # The read has given up the one connection, so the write was never sent.
                    assert type(error.value) is StoreUnavailableError
                    assert isinstance(error.value.__cause__, TimeoutError)
        finally:
            server.resume()
        await done(store.compare_and_set("k", b"after", expected=ANY))

    async def limited(verb: Callable[[], Any]) -> None:
        if hand.colour == "sync":
            with deadline(0.3):
                verb()
        else:
            async with deadline(0.3):
                await verb()

    hand.run(scenario, hand.store(server.dsn))


def test_a_write_to_a_server_that_is_stopped_is_in_doubt(hand: Hand, server: Postgres) -> None:
    async def scenario(store: Any) -> None:
        await done(store.compare_and_set("k", b"before", expected=ANY))
        line = store._idle._lines[0]
        server.pause()
        try:
            began = time.monotonic()
            with pytest.raises(OutcomeUnknownError, match=r"no answer within 0\.3 s"):
                await done(store.compare_and_set("k", b"after", expected=ANY))
            assert time.monotonic() - began < 0.9
        finally:
            server.resume()
        assert store._idle._lines == []
        with pytest.raises(psycopg.OperationalError):
            line.socket  # it is closed
        assert (await done(store.load("k"))).value in {b"before", b"after"}

    hand.run(scenario, hand.store(server.dsn, timeout=0.3))


def test_a_host_that_never_answers_is_given_up_in_time(hand: Hand) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()), socket.socket() as another:
            another.setblocking(False)
            another.connect_ex(full.getsockname())

            async def scenario(store: Any) -> None:
                began = time.monotonic()
                with pytest.raises(StoreUnavailableError, match="no answer within"):
                    await done(store.compare_and_set("k", b"", expected=ANY))
                assert time.monotonic() - began < 1

            hand.run(scenario, hand.through(full.getsockname()[1], timeout=0.3))


def test_a_name_that_takes_too_long_to_resolve_does_not_hold_a_task(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libpq resolves names with a call that blocks: in a thread, and the task does not wait for that."""
    resolved = threading.Event()

    def connect(*_: object) -> Any:
        assert resolved.wait(5)
        raise TimeoutError

    monkeypatch.setattr(hosts, "connect", connect)

    async def main() -> None:
        async with AsyncPostgresStore(server.dsn, timeout=0.1) as store:
            began = time.monotonic()
            try:
                with pytest.raises(StoreUnavailableError):
                    await store.load("k")
                assert time.monotonic() - began < 1
            finally:
                resolved.set()

    asyncio.run(main())


@pytest.mark.parametrize("resolver", ["is quick", "takes too long"])
def test_a_name_whose_addresses_never_answer_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch, resolver: str
) -> None:
    """All its addresses share the time of one attempt; of a slow resolver it is said what was too slow."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in range(1, 5)]

    def resolve(*_: Any, **__: Any) -> Any:
        time.sleep(0.0 if resolver == "is quick" else 0.4)
        return found

    with socket.create_server(("0.0.0.0", 0)) as silent:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        words = r"no answer within 0\." if resolver == "is quick" else r"'silent' was not resolved within 0\.3 s"
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=words):
            hosts.connect(hosts.targets(f"host=silent port={silent.getsockname()[1]} sslmode=disable"), 0.3)
        assert time.monotonic() - began < 0.6


# -- who is let in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "database", "words"),
    [
        ("secretive:wrong", "postgres", "password authentication failed"),
        ("unwelcome", "postgres", "pg_hba.conf rejects"),
        ("postgres", "nowhere", 'database "nowhere" does not exist'),
    ],
)
def test_who_is_not_let_in_reads_the_servers_words(
    hand: Hand, server: Postgres, user: str, database: str, words: str
) -> None:
    async def scenario(store: Any) -> None:
        with pytest.raises(StoreError, match=words) as error:
            await done(store.load("k"))
        assert type(error.value) is StoreError

    with psycopg.connect(server.dsn, autocommit=True) as admin:
        for name in ("secretive", "unwelcome"):
            with contextlib.suppress(psycopg.errors.DuplicateObject):
                admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
    hand.run(scenario, hand.store(server.dsn_of(user, database)))


def test_what_libpq_cannot_work_with_is_said_in_its_words(hand: Hand, server: Postgres) -> None:
    async def scenario(store: Any) -> None:
        with pytest.raises(StoreError, match='invalid sslmode value: "nonsense"') as error:
            await done(store.load("k"))
        assert type(error.value) is StoreError  # not worth trying again

    hand.run(scenario, hand.store(server.dsn_of(database="postgres?sslmode=nonsense")))


def test_who_may_not_is_told_so(hand: Hand, server: Postgres) -> None:
    async def scenario(store: Any) -> None:
        make = store.create_schema if hand.colour == "sync" else store.acreate_schema
        for verb in (lambda: store.load("k"), lambda: store.remove("k", expected=ANY), make):
            with pytest.raises(StoreError, match="permission denied for schema") as error:
                await done(verb())
            assert type(error.value) is StoreError

    with psycopg.connect(server.dsn, autocommit=True) as admin:
        with contextlib.suppress(psycopg.errors.DuplicateObject):
            admin.execute("CREATE ROLE nobody LOGIN")
    hand.run(scenario, hand.store(server.dsn_of("nobody")))


def test_a_full_house_is_unavailable(hand: Hand, server: Postgres) -> None:
    async def scenario(store: Any) -> None:
        with contextlib.ExitStack() as guests:
            with contextlib.suppress(psycopg.OperationalError):
                for _ in range(40):
                    guests.enter_context(psycopg.connect(server.dsn))
            with pytest.raises(StoreUnavailableError, match=r"too many clients|remaining connection slots"):
                await done(store.compare_and_set("k", b"", expected=ANY))

    hand.run(scenario, hand.store(server.dsn))


@pytest.mark.parametrize("first", ["refuses", "is silent"])
def test_of_several_hosts_the_first_that_answers_is_taken(hand: Hand, server: Postgres, first: str) -> None:
    async def scenario(store: Any) -> None:
        await done(store.compare_and_set("k", b"v", expected=ANY))

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = free_port() if first == "refuses" else silent.getsockname()[1]
        dsn = f"host=127.0.0.1,127.0.0.1 port={port},{server.port} user=postgres dbname=postgres"
        hand.run(scenario, hand.store(dsn, timeout=1))


def test_a_name_with_several_addresses_is_tried_at_each_of_them(hand: Hand, server: Postgres) -> None:
    """The server listens on 127.0.0.1 alone; localhost is ::1 as well, where a machine has that."""

    async def scenario(store: Any) -> None:
        await done(store.compare_and_set("k", b"v", expected=ANY))

    hand.run(scenario, hand.store(f"host=localhost port={server.port} user=postgres dbname=postgres"))


def test_a_name_that_is_nobodys_is_said_so(hand: Hand) -> None:
    async def scenario(store: Any) -> None:
        with pytest.raises(StoreError, match=r"failed to resolve host 'nowhere\.invalid'"):
            await done(store.load("k"))

    hand.run(scenario, hand.store("host=nowhere.invalid user=postgres"))


def test_a_socket_in_the_file_system_is_no_name(hand: Hand, server: Postgres) -> None:
    async def scenario(store: Any) -> None:
        await done(store.compare_and_set("k", b"v", expected=ANY))

    hand.run(scenario, hand.store(f"host={server.data} port={server.port} user=postgres dbname=postgres"))


# -- the way between fails -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.HANG_UP, Fault.CUT_REPLY])
def test_a_write_whose_answer_is_lost_is_in_doubt_and_a_read_is_not(hand: Hand, proxy: Proxy, fault: Fault) -> None:
    async def scenario(store: Any) -> None:
        await done(store.ping())
        proxy.arm(fault, request=b"v1_write")
        with pytest.raises(OutcomeUnknownError):
            await done(store.compare_and_set("k", b"v", expected=ANY))
        assert proxy.strikes == 1
        assert await hand.there() == (None if fault is Fault.LOSE_REQUEST else b"v")
        await done(store.ping())
        proxy.arm(fault, request=b"v1_load")
        with pytest.raises(StoreUnavailableError):
            await done(store.load("k"))
        await done(store.load("k"))

    hand.run(scenario, hand.through(proxy.port))


def test_an_answer_that_is_held_back_is_given_up(hand: Hand, proxy: Proxy) -> None:
    async def scenario(store: Any) -> None:
        await done(store.ping())
        proxy.arm(Fault.STALL_REPLY, request=b"v1_write")
        with pytest.raises(OutcomeUnknownError, match="no answer within"):
            await done(store.compare_and_set("k", b"v", expected=ANY))
        # What comes late comes to nobody: that connection is not used again.
        assert (await done(store.load("k"))).value == b"v"

    hand.run(scenario, hand.through(proxy.port, timeout=0.3))


@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_REPLY])
def test_an_update_through_a_way_that_loses_things_is_applied_once(hand: Hand, proxy: Proxy, fault: Fault) -> None:
    async def scenario(store: Any) -> None:
        make: Any = OptimisticLock if hand.colour == "sync" else AsyncOptimisticLock
        lock = make(store, "count", default=lambda: 0)
        await done(lock.update(lambda count: count + 1))
        for _ in range(3):
            proxy.arm(fault, request=b"v1_write")
            await done(lock.update(lambda count: count + 1))
            assert proxy.strikes == 1
        assert (await done(lock.read())).value == 4

    hand.run(scenario, hand.through(proxy.port))


def test_who_listens_in_vain_looks(hand: Hand, server: Postgres, proxy: Proxy) -> None:
    """The connection that listens is cut: whoever waits may look, and the next one listens anew."""

    async def scenario(store: Any) -> None:
        await done(store.wait("k", after=ABSENT, timeout=0.05))
        heard = store._hearing.line
        assert heard is not None
        timer = later(0.4, proxy.hang_up)
        began = time.monotonic()
        await done(store.wait("k", after=ABSENT, timeout=10))
        assert time.monotonic() - began < 2, "nobody told it that nobody listens any more"
        timer.join()
        await done(store.wait("k", after=ABSENT, timeout=0.05))
        assert store._hearing.line not in {None, heard}

    hand.run(scenario, hand.through(proxy.port))


def test_where_nobody_can_listen_a_wait_looks(hand: Hand, proxy: Proxy) -> None:
    async def scenario(store: Any) -> None:
        proxy.arm(Fault.LOSE_REQUEST, request=b"LISTEN", times=100)
        timer = later(0.1, _write, hand)
        began = time.monotonic()
        await done(store.wait("k", after=ABSENT, timeout=10))
        assert 0.05 < time.monotonic() - began < 2
        assert store._hearing.line is None
        timer.join()

    hand.run(scenario, hand.through(proxy.port))


def _write(hand: Hand) -> None:
    with PostgresStore(hand.server.dsn, schema=hand.schema) as store:
        store.compare_and_set("k", b"", expected=ANY)


def test_a_large_value_passes_through_a_narrow_way(hand: Hand, server: Postgres) -> None:
    """More than the buffers of the sockets hold, while the server does not read."""
    value = b"x" * 20_000_000

    async def scenario(store: Any) -> None:
        await done(store.ping())
        server.pause()
        timer = later(0.3, server.resume)
        await done(store.compare_and_set("k", value, expected=ANY))
        timer.join()
        assert (await done(store.load("k"))).value == value

    hand.run(scenario, hand.store(server.dsn, max_value_bytes=len(value), timeout=20))


def test_half_an_answer_is_none(hand: Hand, server: Postgres) -> None:
    async def scenario(store: Any) -> None:
        await done(store.ping())
        relay.passing = half
        with pytest.raises(OutcomeUnknownError):
            await done(store.compare_and_set("k", b"v", expected=ANY))

    with relaying(server) as relay:
        hand.run(scenario, hand.store(relay.dsn))


def test_the_end_of_a_session_that_was_told_is_known_by_what_was_told(server: Postgres) -> None:
    """The server says why, and hangs up: both come together."""
    line = hosts.connect(hosts.targets(server.dsn), 5)
    reply = wire.by_thread(wire.ask_on(line, Ask(b"SELECT pg_terminate_backend(pg_backend_pid())"), 5), 5)
    assert (reply.sqlstate, reply.ended) == ("57P01", True)
    line.finish()


def test_an_empty_statement_has_no_answer(server: Postgres) -> None:
    line = hosts.connect(hosts.targets(server.dsn), 5)
    reply = wire.by_thread(wire.ask_on(line, Ask(b""), 5), 5)
    assert (reply.rows, reply.sqlstate) == ([], None)
    assert reply.error is not None
    line.finish()


def test_hanging_up_on_a_connection_that_has_ended_is_of_no_effect(server: Postgres) -> None:
    line = hosts.connect(hosts.targets(server.dsn), 5)
    for _ in range(2):
        wire.hang_up(line)
        time.sleep(0.1)
    with pytest.raises(psycopg.OperationalError):
        wire.hear_on(line)
    wire.hang_up(line)
    line.finish()
    wire.hang_up(line)


def test_where_there_is_no_poll_it_waits_by_a_selector() -> None:
    """As on Windows."""
    left, right = socket.socketpair()
    with left, right:
        for wait in (wire._by_poll, wire._by_selector):
            assert not wait(wire.Need(left.fileno(), 1), 0)
            assert wait(wire.Need(left.fileno(), 3), None)
        right.send(b"!")
        for wait in (wire._by_poll, wire._by_selector):
            assert wait(wire.Need(left.fileno(), 1), 0.1)
