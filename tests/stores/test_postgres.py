"""The stores in PostgreSQL, on a real server: what they answer, and that nothing depends on the connection."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from operator import methodcaller
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.servers.postgres import Postgres, postgres_server
from tests.stores.befalling import revisions_go_on

from resilience import OptimisticLock, deadline
from resilience._core.description import Fault
from resilience._io import world
from resilience._io.ambient import scoped
from resilience.errors import (
    ConfigError,
    DeadlineExceededError,
    GuardRefusedError,
    OutcomeUnknownError,
    ResilienceError,
    StorageFullError,
    StoreError,
    StoreUnavailableError,
    UnknownFormatError,
    VersionConflictError,
)
from resilience.stores import ABSENT, ANY, VACANT, Beat, Guard, MemoryStore, Seen
from resilience.stores import _postgres_hosts as hosts
from resilience.stores import _postgres_wire as wire
from resilience.stores._postgres_hints import Hearing
from resilience.stores._postgres_schema import creation
from resilience.stores._postgres_verbs import Ask
from resilience.stores.postgres import AsyncPostgresStore, PostgresStore
from resilience.testing import VirtualClock, virtual_time
from resilience.typing import Store


T = TypeVar("T")

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


class Hand:
    """One colour: its stores, opened in schemas of their own, and how a scenario runs."""

    def __init__(self, colour: str, dsn: str) -> None:
        self.colour = colour
        self.dsn = dsn
        self.schema = f"test_{next(_numbers)}"
        self.make: Any = PostgresStore if colour == "sync" else AsyncPostgresStore

    async def open(self, **options: Any) -> Any:
        store = self.make(options.pop("dsn", self.dsn), schema=self.schema, **options)
        await done(store.create_schema() if self.colour == "sync" else store.acreate_schema())
        return store

    async def close(self, *stores: Any) -> None:
        for store in stores:
            await done(store.close() if self.colour == "sync" else store.aclose())

    async def gather(self, *calls: Callable[[], Any]) -> list[Any]:
        """All at once: in threads, or in tasks; errors are among what comes of them."""
        if self.colour == "asyncio":
            return await asyncio.gather(*(call() for call in calls), return_exceptions=True)
        results: list[Any] = [None] * len(calls)

        def run(n: int) -> None:
            try:
                results[n] = calls[n]()
            except BaseException as error:
                results[n] = error

        threads = [threading.Thread(target=run, args=(n,)) for n in range(len(calls))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    async def sleep(self, seconds: float) -> None:
        if self.colour == "asyncio":
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)

    def run(self, scenario: Callable[[], Any]) -> Any:
        if self.colour == "asyncio":
            return asyncio.run(scenario())
        try:
            scenario().send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("plain code cannot suspend")


async def done(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


@pytest.fixture(params=["sync", "asyncio"])
def hand(request: pytest.FixtureRequest, server: Postgres) -> Hand:
    return Hand(request.param, server.dsn)


@pytest.fixture
def opened(server: Postgres) -> Iterator[Callable[..., PostgresStore]]:
    """Makes blocking stores, all of them in one new schema."""
    schema, stores = f"test_{next(_numbers)}", []

    def make(**options: Any) -> PostgresStore:
        store = PostgresStore(options.pop("dsn", server.dsn), schema=schema, **options)
        stores.append(store)
        store.create_schema()
        return store

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def admin(server: Postgres) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        yield connection


def schema_of(store: Any) -> str:
    return str(store._place.schema)


# -- what it answers -------------------------------------------------------------------------------------------------


def test_a_life_of_a_record(hand: Hand) -> None:
    async def scenario() -> None:
        store = await hand.open()
        written = await done(store.compare_and_set("k\0é", b"\0\xff", expected=ABSENT, ttl=60, write_id="me"))
        assert (written.value, written.ttl, written.expires_in, written.write_id) == (b"\0\xff", 60.0, 60.0, "me")
        seen = await done(store.load("k\0é"))
        assert (seen.value, seen.revision, seen.beats, seen.expired) == (b"\0\xff", written.revision, 0, False)
        assert 59 < seen.expires_in <= 60
        with pytest.raises(VersionConflictError) as conflict:
            await done(store.compare_and_set("k\0é", b"", expected=VACANT))
        assert conflict.value.revision == written.revision
        assert conflict.value.current is not None
        assert conflict.value.current.write_id == "me"
        beats = [Beat("k\0é", written.revision, 90), Beat("k\0é", 5, 90), Beat("nothing", 5, 90)]
        assert await done(store.extend(beats)) == {"k\0é", "nothing"}
        assert await done(store.extend([])) == frozenset()
        assert (await done(store.load("k\0é"))).beats == 1
        with pytest.raises(GuardRefusedError) as refused:
            await done(store.compare_and_set("other", b"", expected=ANY, guard=Guard("k\0é", VACANT)))
        assert refused.value.current is not None
        assert refused.value.current.beats == 1
        guard = Guard("k\0é", written.revision)
        other = await done(store.compare_and_set("other", b"", expected=ANY, guard=guard))
        assert (other.value, other.ttl, other.expires_in) == (b"", None, None)
        assert [key for key, _ in await done(store.scan())] == ["k\0é", "other"]
        assert [key for key, _ in await done(store.scan("o"))] == ["other"]
        assert [key for key, _ in await done(store.scan(after="k\0é", limit=1))] == ["other"]
        assert await done(store.scan(expired=True)) == []
        assert await done(store.load_many(["other", "none", "other"])) == {"other": other, "none": None}
        assert await done(store.remove("other", expected=Seen(other.revision, 0), guard=guard)) is True
        assert await done(store.remove("other", expected=5, guard=guard)) is False
        assert await done(store.load("other")) is None
        again = await done(store.compare_and_set("other", b"", expected=ABSENT))
        assert again.revision > other.revision
        await done(store.ping())
        await hand.close(store)
        await hand.close(store)
        with pytest.raises(StoreError, match="closed"):
            await done(store.load("k"))

    hand.run(scenario)


def test_a_revision_that_cannot_be_is_merely_not_there(opened: Callable[..., PostgresStore]) -> None:
    store = opened()
    written = store.compare_and_set("k", b"", expected=ANY)
    for impossible in (1 << 70, Seen(1 << 70, 1 << 80)):
        with pytest.raises(VersionConflictError):
            store.compare_and_set("k", b"", expected=impossible)
    assert store.extend([Beat("k", 1 << 70, 1.0)]) == {"k"}
    assert store.load("k") == written


KEYS = st.sampled_from(["a", "b", "c\0"])
TTLS = st.sampled_from([None, 0.5, 1.0, 2.0])
TOKENS = st.sampled_from(["now", "before", VACANT])


def expected_of(draw: Any, store: MemoryStore, key: str) -> Any:
    """What may be expected of a key, right or wrong."""
    there = store.load(key)
    revision, beats = (0, 0) if there is None else (there.revision, there.beats)
    return draw(st.sampled_from([ABSENT, VACANT, ANY, revision, Seen(revision, beats), Seen(revision, beats + 1), 7]))


def guard_of(draw: Any, store: MemoryStore) -> Guard | None:
    key = draw(st.sampled_from([None, "a", "b", "c\0", "d"]))
    there = None if key is None else store.load(key)
    tokens = [VACANT, 7] + ([there.revision] if there else [])
    return None if key is None else Guard(key, draw(st.sampled_from(tokens)))


@pytest.fixture(scope="module")
def both(server: Postgres) -> Iterator[tuple[PostgresStore, VirtualClock]]:
    """A store on a clock of ours, used again for each example: only its records are new."""
    clock = VirtualClock()
    with PostgresStore(server.dsn, schema=f"test_{next(_numbers)}", clock=clock) as store:
        store.create_schema()
        yield store, clock


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_it_answers_as_the_model_does(both: tuple[PostgresStore, VirtualClock], server: Postgres, data: Any) -> None:
    """Every answer, error and revision, on one clock; each step takes longer than a revision is wide."""
    store, clock = both
    model = MemoryStore(clock)
    for key, _ in [*store.scan(), *store.scan(expired=True)]:
        store.remove(key, expected=ANY)
    for _ in range(data.draw(st.integers(1, 25))):
        clock.advance(data.draw(st.sampled_from([1 / 1024, 0.5, 1.0])))
        what = data.draw(st.sampled_from(["swap", "swap", "remove", "extend", "scan", "load_many"]))
        key = data.draw(KEYS)
        if what == "swap":
            options = {
                "expected": expected_of(data.draw, model, key),
                "ttl": data.draw(TTLS),
                "guard": guard_of(data.draw, model),
                "write_id": data.draw(st.sampled_from([None, "me"])),
            }
            call = methodcaller("compare_and_set", key, b"v", **options)
        elif what == "remove":
            expected, guard = expected_of(data.draw, model, key), guard_of(data.draw, model)
            call = methodcaller("remove", key, expected=expected, guard=guard)
        elif what == "extend":
            keys = data.draw(st.lists(KEYS, max_size=4))
            beats = []
            for one in keys:
                there = model.load(one)
                token = data.draw(st.sampled_from([7] + ([there.revision] * 3 if there else [])))
                beats.append(Beat(one, token, data.draw(st.sampled_from([0.25, 0.5, 4.0]))))
            call = methodcaller("extend", beats)
        elif what == "scan":
            options = {
                "after": data.draw(st.sampled_from(["", "a", "b", "c"])),
                "limit": data.draw(st.sampled_from([1, 2, 10])),
                "expired": data.draw(st.booleans()),
            }
            prefix = data.draw(st.sampled_from(["", "a", "c"]))
            call = methodcaller("scan", prefix, **options)
        else:
            call = methodcaller("load_many", ["a", "b", "c\0", "d"])
        assert outcome(call, store) == outcome(call, model)
        assert store.load_many(["a", "b", "c\0"]) == model.load_many(["a", "b", "c\0"])


def outcome(call: Callable[[Any], Any], store: Any) -> Any:
    try:
        return call(store)
    except (VersionConflictError, GuardRefusedError) as error:
        return type(error), str(error), error.current


def test_revisions_go_on_where_the_clock_was_set_back(opened: Callable[..., PostgresStore]) -> None:
    clock = VirtualClock()
    store = opened(clock=clock)
    seen = [store.compare_and_set("k", b"", expected=ANY).revision]
    clock.jump_wall(-100)
    seen += [store.compare_and_set("k", b"", expected=ANY).revision for _ in range(2)]
    store.remove("k", expected=ANY)
    seen += [store.compare_and_set("k", b"", expected=ABSENT).revision]
    assert seen == [seen[0] + n for n in range(4)]


def test_a_tombstone_is_swept_after_an_hour_and_its_revision_is_not_forgotten(
    opened: Callable[..., PostgresStore], admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    store = opened(clock=clock)
    rows = f"SELECT count(*) FROM {schema_of(store)}.records"
    removed = store.compare_and_set("old", b"", expected=ANY)
    store.remove("old", expected=ANY)
    clock.advance(3601)
    store.compare_and_set("young", b"", expected=ANY)
    store.compare_and_set("kept", b"", expected=ANY, ttl=1)
    store.remove("young", expected=ANY)
    assert admin.execute(rows).fetchone() == (3,)

    class Low:
        def random(self) -> float:
            return 0.0

    # The chance of a sweep is the World's.
    with world.swapped(world.World(rng=Low())):
        store.compare_and_set("young", b"", expected=ANY)
        assert admin.execute(rows).fetchone() == (3,), "a write that is no removal sweeps nothing"
        store.remove("young", expected=ANY)
        assert admin.execute(rows).fetchone() == (2,)
        store.compare_and_set("young", b"", expected=ANY)
        store.remove("young", expected=ANY)  # with nothing to sweep, the floor stays
    assert admin.execute(f"SELECT floor FROM {schema_of(store)}.meta").fetchone() == (removed.revision,)
    clock.jump_wall(-7200)
    assert store.compare_and_set("old", b"", expected=ABSENT).revision == removed.revision + 1
    assert store.compare_and_set("new", b"", expected=ABSENT).revision == removed.revision + 1


# -- guards, under a real server's eyes ------------------------------------------------------------------------------


@pytest.mark.parametrize("guarded_by", ["token", "vacancy", "vacancy of what was never there"])
def test_a_guarded_write_that_blocks_while_a_takeover_commits_is_refused(
    hand: Hand, server: Postgres, guarded_by: str
) -> None:
    async def scenario() -> None:
        store = await hand.open()
        lease = await done(store.compare_and_set("lease", b"", expected=ABSENT, ttl=60))
        if guarded_by != "token":
            await done(store.remove("lease", expected=ANY))
        key = "never" if guarded_by.endswith("never there") else "lease"
        guard = Guard(key, lease.revision if guarded_by == "token" else VACANT)
        with psycopg.connect(server.dsn) as taking_over:
            take = "SELECT outcome FROM {}.v1_write(5000, %s, 'mine', 2, NULL, NULL, 60, NULL, NULL, NULL, false, NULL)"
            assert taking_over.execute(take.format(hand.schema), [key.encode()]).fetchone() == (0,)
            began = time.monotonic()
            timer = threading.Timer(0.3, taking_over.commit)
            timer.start()
            with pytest.raises(GuardRefusedError) as refused:
                await done(store.compare_and_set("result", b"stale", expected=ANY, guard=guard))
            assert time.monotonic() - began >= 0.25, "it was judged before the takeover had committed"
            timer.join()
        assert refused.value.current is not None
        assert refused.value.current.value == b"mine"
        assert await done(store.load("result")) is None
        await hand.close(store)

    hand.run(scenario)


def test_a_takeover_waits_for_the_guarded_write_that_was_before_it(
    opened: Callable[..., PostgresStore], server: Postgres
) -> None:
    store = opened()
    lease = store.compare_and_set("lease", b"", expected=ABSENT, ttl=60)
    with psycopg.connect(server.dsn) as writing:
        write = (
            "SELECT outcome FROM {}.v1_write(5000, 'result', 'v', 2, NULL, NULL, NULL, NULL, 'lease', %s, false, NULL)"
        )
        assert writing.execute(write.format(schema_of(store)), [lease.revision]).fetchone() == (0,)
        timer = threading.Timer(0.2, writing.commit)
        timer.start()
        began = time.monotonic()
        store.compare_and_set("lease", b"", expected=ANY, ttl=60)
        assert time.monotonic() - began >= 0.15
        timer.join()
    assert store.load("result") is not None


@pytest.mark.parametrize("there", [True, False], ids=["a record", "no record"])
def test_a_write_that_waits_for_another_is_judged_by_what_that_one_wrote(
    hand: Hand, server: Postgres, there: bool
) -> None:
    """Also where two make the same new record."""

    async def scenario() -> None:
        store = await hand.open()
        expected = (await done(store.compare_and_set("k", b"before", expected=ANY))).revision if there else ABSENT
        with psycopg.connect(server.dsn) as first:
            write = "SELECT o_revision FROM {}.v1_write(5000, 'k', 'first', 2, NULL, NULL, 60, NULL, NULL, NULL, false, NULL)"
            found = first.execute(write.format(hand.schema)).fetchone()
            timer = threading.Timer(0.2, first.commit)
            timer.start()
            with pytest.raises(VersionConflictError) as conflict:
                await done(store.compare_and_set("k", b"second", expected=expected))
            timer.join()
        assert found == (conflict.value.revision,)
        assert (await done(store.compare_and_set("k", b"third", expected=ANY))).revision > conflict.value.revision
        await hand.close(store)

    hand.run(scenario)


def test_a_renewal_that_waits_for_a_takeover_is_lost(hand: Hand, server: Postgres) -> None:
    async def scenario() -> None:
        store = await hand.open()
        tokens = [(await done(store.compare_and_set(key, b"", expected=ABSENT, ttl=60))).revision for key in "ab"]
        with psycopg.connect(server.dsn) as taking_over:
            take = "SELECT FROM {}.v1_write(5000, 'a', 'mine', 2, NULL, NULL, 60, NULL, NULL, NULL, false, NULL)"
            taking_over.execute(take.format(hand.schema))
            timer = threading.Timer(0.2, taking_over.commit)
            timer.start()
            assert await done(store.extend([Beat("b", tokens[1], 90), Beat("a", tokens[0], 90)])) == {"a"}
            timer.join()
        renewed = await done(store.load_many(["a", "b"]))
        assert (renewed["a"].beats, renewed["a"].ttl, renewed["b"].beats, renewed["b"].ttl) == (0, 60, 1, 90)
        await hand.close(store)

    hand.run(scenario)


def test_who_waits_too_long_for_a_lock_knows_that_nothing_was_done(
    hand: Hand, server: Postgres, admin: psycopg.Connection[Any]
) -> None:
    """The server gives up before the client does, so that no statement stays behind."""

    async def scenario() -> None:
        store = await hand.open(timeout=0.3)
        await done(store.compare_and_set("k", b"before", expected=ANY))
        with psycopg.connect(server.dsn) as blocking:
            blocking.execute(f"SELECT FROM {hand.schema}.records FOR UPDATE")
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="lock timeout") as error:
                await done(store.compare_and_set("k", b"after", expected=ANY))
            assert time.monotonic() - began < 1
            assert isinstance(error.value.__cause__, psycopg.errors.LockNotAvailable)
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            assert admin.execute(waiting).fetchone() == (0,)
        assert (await done(store.load("k"))).value == b"before"
        await hand.close(store)

    hand.run(scenario)


def test_writes_guarded_crosswise_do_not_wait_for_each_other_for_ever(opened: Callable[..., PostgresStore]) -> None:
    store = opened()
    end = time.monotonic() + 2
    count, errors = [0] * 8, []

    def work(n: int) -> None:
        own, other = ("a", "b") if n % 2 else ("b", "a")
        while time.monotonic() < end:
            try:
                if n < 2:
                    store.remove(own, expected=ANY, guard=Guard(other, VACANT))
                elif n < 4:
                    store.extend([Beat(own, 5, 1.0), Beat(other, 5, 1.0)])
                else:
                    store.compare_and_set(own, b"", expected=ANY, ttl=0.001, guard=Guard(other, VACANT))
                count[n] += 1
            except GuardRefusedError:
                count[n] += 1
            except ResilienceError as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert min(count) > 10


def test_a_renewal_inside_a_slow_transaction_is_judged_by_the_time_it_is_made(
    opened: Callable[..., PostgresStore], server: Postgres
) -> None:
    """now() would say when the transaction began."""
    store = opened()
    with psycopg.connect(server.dsn) as slow:
        slow.execute("SELECT now()")
        lease = store.compare_and_set("lease", b"", expected=ABSENT, ttl=0.2)
        time.sleep(0.25)
        renew = "SELECT {}.v1_extend(5000, ARRAY['lease'::bytea], ARRAY[%s], ARRAY[1], ARRAY[60.0], ARRAY[60.0], NULL)"
        assert slow.execute(renew.format(schema_of(store)), [lease.revision]).fetchall() == [(b"lease",)]
    seen = store.load("lease")
    assert seen is not None
    assert seen.expired


_INCREMENTS = """
import sys
from resilience import OptimisticLock
from resilience.stores.postgres import PostgresStore
with PostgresStore(sys.argv[1], schema=sys.argv[2], timeout=30) as store:
    store.create_schema()
    lock = OptimisticLock(store, "count", default=lambda: 0)
    for _ in range(20):
        lock.update(lambda count: count + 1)
"""


def test_ten_processes_make_the_schema_at_once_and_lose_no_increment(server: Postgres) -> None:
    schema = f"test_{next(_numbers)}"
    argv = [sys.executable, "-c", _INCREMENTS, server.dsn, schema]
    processes = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(10)]
    assert [process.communicate(timeout=60)[1] for process in processes] == [""] * 10
    with PostgresStore(server.dsn, schema=schema) as store:
        assert OptimisticLock(store, "count", default=lambda: 0).read().value == 200


# -- the schema ------------------------------------------------------------------------------------------------------


def test_a_store_without_its_schema_says_how_to_make_it(hand: Hand, admin: psycopg.Connection[Any]) -> None:
    async def scenario() -> None:
        store = hand.make(hand.dsn, schema=hand.schema)
        for verb in (lambda: store.load("k"), lambda: store.remove("k", expected=ANY), store.describe):
            with pytest.raises(StoreError, match=r"no schema 'test_\d+' yet: call create_schema\(\)") as error:
                await done(verb())
            assert type(error.value) is StoreError
        await hand.close(store)

    hand.run(scenario)


def test_a_schema_of_another_version_is_left_as_it_is(
    opened: Callable[..., PostgresStore], admin: psycopg.Connection[Any]
) -> None:
    store = opened()
    schema = schema_of(store)
    admin.execute(f"UPDATE {schema}.meta SET version = 2")
    with pytest.raises(UnknownFormatError, match="version 2, and this reads 1"):
        store.create_schema()
    with pytest.raises(UnknownFormatError, match="version 2"):
        store.describe()
    admin.execute(f"DROP FUNCTION {schema}.v1_load")
    with pytest.raises(UnknownFormatError, match="version 2"):
        store.load("k")
    # Also where it is found only when everybody else has been waited for.
    with pytest.raises(UnknownFormatError, match="another"):
        store._converse(store._place._asked(Ask(creation(schema, "x").encode(), writes=True, script=True)))


def test_a_schema_that_has_lost_a_part_is_not_taken_for_none(
    opened: Callable[..., PostgresStore], admin: psycopg.Connection[Any]
) -> None:
    store = opened()
    admin.execute(f"DROP FUNCTION {schema_of(store)}.v1_load")
    with pytest.raises(StoreError, match=r"v1_load.* does not exist"):
        store.load("k")


@pytest.mark.parametrize("schema", ["", "Upper", "a-b", "1a", "a" * 49, "é", 5, 'a"; DROP TABLE x; --'])
def test_a_schema_that_is_no_plain_identifier_is_refused(schema: Any) -> None:
    with pytest.raises(ConfigError, match="schema must be"):
        PostgresStore("postgresql://", schema=schema)


@pytest.mark.parametrize("schema", ["order", "user", "select", "a" * 48])
def test_a_word_of_sql_is_a_fine_schema(server: Postgres, schema: str) -> None:
    with PostgresStore(server.dsn, schema=schema) as store:
        store.create_schema()
        store.compare_and_set("k", b"v", expected=ABSENT)
        store.wait("k", after=ABSENT, timeout=5)
        assert store.load("k") is not None


@pytest.mark.parametrize("dsn", [None, "nonsense=secret", "host=a,b,c port=1,2 password=secret"])
def test_a_dsn_that_cannot_be_is_refused_and_not_shown(dsn: Any) -> None:
    with pytest.raises(ConfigError, match="dsn must be") as error:
        PostgresStore(dsn)
    assert "secret" not in str(error.value)


def test_its_name_says_where_it_is_and_no_password() -> None:
    with PostgresStore("postgresql://me:secret@db.example:6432/app") as store:
        assert repr(store) == "<PostgresStore(postgresql://db.example:6432/app, schema='resilience')>"


def test_a_missing_driver_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "resilience.stores._postgres_wire")
    with pytest.raises(ImportError, match=r"pip install resilience-primitives\[postgres\]"):
        importlib.import_module("resilience.stores._postgres_wire")


# -- what it promises ------------------------------------------------------------------------------------------------


def test_it_says_what_it_promises_as_the_server_is_set(hand: Hand) -> None:
    async def scenario() -> None:
        store = await hand.open()
        said = await done(store.describe())
        assert (said.clock, said.shared, said.linearizable, said.wakes) == ("server", True, True, True)
        assert (said.durable, said.survives_reboot) == (False, False)
        assert said.incarnation == (await done(store.describe())).incarnation
        assert frozenset({Fault.REBOOTED, Fault.CLOCK_SET_BACK}) not in said.revisions_survive
        other = await hand.open(hints=False)
        assert (await done(other.describe())).wakes is False
        await hand.close(store, other)

    hand.run(scenario)


def test_revisions_go_on_whatever_befalls_it(tmp_path: Path) -> None:
    honest = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    with postgres_server(tmp_path, **honest) as server, psycopg.connect(server.dsn, autocommit=True) as admin:

        def fresh() -> None:
            admin.execute("DROP SCHEMA IF EXISTS resilience CASCADE")
            admin.execute("DROP TABLE IF EXISTS backup")

        def opened(clock: VirtualClock) -> PostgresStore:
            fresh()
            store = PostgresStore(server.dsn, clock=clock)
            store.create_schema()
            assert store.describe().durable
            assert store.describe().survives_reboot
            store.compare_and_set("key", b"0", expected=ABSENT)
            admin.execute("CREATE TABLE backup AS SELECT * FROM resilience.records")
            return store

        def emptied(store: Store, clock: VirtualClock) -> Store:
            admin.execute("DROP SCHEMA resilience CASCADE")
            assert isinstance(store, PostgresStore)
            store.create_schema()
            return store

        def restored(store: Store, clock: VirtualClock) -> Store:
            admin.execute("TRUNCATE resilience.records")
            admin.execute("INSERT INTO resilience.records SELECT * FROM backup")
            return store

        outcome = revisions_go_on(opened, {Fault.EMPTIED: emptied, Fault.RESTORED: restored})
    lost = {faults for faults, goes_on in outcome.items() if not goes_on}
    assert lost == {
        frozenset({Fault.EMPTIED, Fault.CLOCK_SET_BACK}),
        frozenset({Fault.RESTORED, Fault.CLOCK_SET_BACK}),
    }


# -- hints -----------------------------------------------------------------------------------------------------------


def test_a_wait_is_woken_by_the_write_that_it_waits_for(hand: Hand) -> None:
    async def scenario() -> None:
        store, other = await hand.open(), await hand.open()
        seen = await done(store.compare_and_set("k", b"", expected=ANY))
        for _ in range(2):
            began = time.monotonic()
            threading.Timer(0.4, _write, (hand, "k")).start()
            # Woken, not found by looking: the looks are at 0, 20 and 220 ms, and after 2.2 s.
            await done(store.wait("k", after=seen.revision, timeout=10))
            assert 0.35 < time.monotonic() - began < 1.5
            seen = await done(store.load("k"))
        await done(store.wait("k", after=ABSENT, timeout=10))  # newer already
        await hand.close(store, other)

    hand.run(scenario)


def _write(hand: Hand, key: str) -> None:
    with PostgresStore(hand.dsn, schema=hand.schema) as store:
        store.compare_and_set(key, b"", expected=ANY)


def test_another_keys_write_wakes_nobody_and_a_write_without_waiters_says_nothing(hand: Hand, server: Postgres) -> None:
    async def scenario() -> None:
        store = await hand.open()
        with psycopg.connect(server.dsn, autocommit=True) as listening:
            listening.execute(f'LISTEN "resilience.{hand.schema}"')
            await done(store.compare_and_set("k", b"", expected=ANY))
            timer = threading.Timer(0.1, _write, (hand, "another"))
            timer.start()
            began = time.monotonic()
            await done(store.wait("nothing", after=ABSENT, timeout=0.3))
            assert time.monotonic() - began >= 0.3
            timer.join()
            assert list(listening.notifies(timeout=0.05)) == []
        await hand.close(store)

    hand.run(scenario)


def test_without_hints_it_looks_and_listens_to_nobody(hand: Hand) -> None:
    async def scenario() -> None:
        store = await hand.open(hints=False)
        timer = threading.Timer(0.1, _write, (hand, "k"))
        timer.start()
        began = time.monotonic()
        await done(store.wait("k", after=ABSENT, timeout=10))
        assert 0.05 < time.monotonic() - began < 2
        assert store._hearing.line is None
        timer.join()
        await hand.close(store)

    hand.run(scenario)


@pytest.mark.parametrize("who", ["on a standby", "who may only read"])
def test_where_nothing_can_be_said_a_wait_looks(
    hand: Hand, server: Postgres, admin: psycopg.Connection[Any], who: str
) -> None:
    async def scenario() -> None:
        maker = await hand.open()
        admin.execute("DROP ROLE IF EXISTS reader")
        admin.execute("CREATE ROLE reader LOGIN")
        admin.execute(f"GRANT USAGE ON SCHEMA {hand.schema} TO reader")
        admin.execute(f"GRANT SELECT ON {hand.schema}.records, {hand.schema}.meta TO reader")
        read_only = f"{hand.dsn}?options=-c%20default_transaction_read_only%3Don"
        store = await hand.open(dsn=read_only if who == "on a standby" else server.dsn_of("reader"))
        timer = threading.Timer(0.1, _write, (hand, "k"))
        timer.start()
        began = time.monotonic()
        await done(store.wait("k", after=ABSENT, timeout=10))
        assert 0.05 < time.monotonic() - began < 2
        timer.join()
        with pytest.raises(StoreError, match=r"read-only|permission denied") as error:
            await done(store.compare_and_set("k", b"", expected=ANY))
        assert type(error.value) is (StoreUnavailableError if who == "on a standby" else StoreError)
        await hand.close(store, maker)
        admin.execute("DROP OWNED BY reader")
        admin.execute("DROP ROLE reader")

    hand.run(scenario)


def test_who_waits_learns_that_the_deadline_has_passed(hand: Hand) -> None:
    async def scenario() -> None:
        store = await hand.open()
        began = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            if hand.colour == "sync":
                with deadline(0.2):
                    store.wait("k", after=ABSENT, timeout=10)
            else:
                async with deadline(0.2):
                    await store.wait("k", after=ABSENT, timeout=10)
        assert time.monotonic() - began < 1
        await hand.close(store)

    hand.run(scenario)


def test_a_word_that_somebody_waits_is_taken_away_when_it_is_old(
    opened: Callable[..., PostgresStore], admin: psycopg.Connection[Any]
) -> None:
    clock = VirtualClock()
    store = opened(clock=clock)
    for n in range(4):
        store.wait(f"k{n}", after=ABSENT, timeout=0.01)
        clock.advance(60)
    assert admin.execute(f"SELECT count(*) FROM {schema_of(store)}.waiters").fetchone() == (1,)


def test_many_waiters_share_one_connection(hand: Hand, admin: psycopg.Connection[Any]) -> None:
    async def scenario() -> None:
        store = await hand.open()
        timer = threading.Timer(0.4, _write, (hand, "k"))
        timer.start()
        began = time.monotonic()
        await hand.gather(*[lambda: store.wait("k", after=ABSENT, timeout=10)] * 6)
        assert time.monotonic() - began < 2
        timer.join()
        listening = "SELECT count(*) FROM pg_stat_activity WHERE query = %s"
        assert admin.execute(listening, [f'LISTEN "resilience.{hand.schema}"']).fetchone() == (1,)
        await hand.close(store)

    hand.run(scenario)


def test_a_hint_that_came_before_the_wait_ends_it_at_once() -> None:
    """Between the look and the wait there is a moment, too."""
    told: list[str] = []
    with Hearing().hint("k") as hint:
        hint.tell()
        undo = hint.watch(lambda: told.append("woken"))
        undo()
        hint.tell()
    assert told == ["woken"]
    assert hint.error() is None


# -- connections -----------------------------------------------------------------------------------------------------


def test_nothing_of_a_verb_stays_in_the_session(hand: Hand) -> None:
    """So a pooler may give each statement another connection of the server's, and forget what the last one set."""

    async def scenario() -> None:
        store = await hand.open(hints=False)
        lines = [hosts.connect(hosts.targets(hand.dsn), 5) for _ in range(2)]

        def said(line: Any, text: str) -> Any:
            return wire.by_thread(wire.ask_on(line, Ask(text.encode()), 5), 5).rows

        async def verbs() -> Any:
            """A different connection for each of them, and nothing left on the one before."""
            lease = await alternating(lambda: store.compare_and_set("lease", b"", expected=VACANT, ttl=60))
            guard = Guard("lease", lease.revision)
            await alternating(lambda: store.compare_and_set("k", b"v", expected=ANY, guard=guard))
            assert await alternating(lambda: store.extend([Beat("lease", lease.revision, 60)])) == frozenset()
            assert (await alternating(lambda: store.load("k"))).value == b"v"
            assert await alternating(lambda: store.remove("lease", expected=lease.revision))

        async def alternating(verb: Callable[[], Any]) -> Any:
            lines.reverse()
            store._idle.close()
            store._idle = wire.Idle()
            store._idle.give(lines[0], fine=True)
            before = dict(said(lines[0], "SELECT name, setting FROM pg_settings"))
            answer = await done(verb())
            # Those of plpgsql come with the first function that a session calls.
            assert before.items() <= dict(said(lines[0], "SELECT name, setting FROM pg_settings")).items()
            assert said(lines[0], "SELECT FROM pg_prepared_statements") == []
            assert said(lines[0], "SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'") == []
            store._idle._lines.clear()
            if discards:
                said(lines[0], "DISCARD ALL")
            return answer

        for discards in (False, True):
            await verbs()
        for line in lines:
            line.finish()
        await hand.close(store)

    hand.run(scenario)


def test_a_search_path_that_leads_elsewhere_changes_nothing(opened: Callable[..., PostgresStore]) -> None:
    store = opened()
    elsewhere = opened(dsn=f"{_dsn_of(store)}?options=-c%20search_path%3Dnowhere")
    elsewhere.compare_and_set("k", b"v", expected=ABSENT, guard=Guard("g", VACANT))
    assert store.load("k") is not None


def _dsn_of(store: PostgresStore) -> str:
    (params,) = store._targets
    return f"postgresql://{params['user']}@{params['host']}:{params['port']}/{params['dbname']}"


ISOLATED = "?options=-c%20default_transaction_isolation%3D"


def test_a_database_with_one_snapshot_for_a_transaction_does_not_judge_by_it(
    opened: Callable[..., PostgresStore], server: Postgres
) -> None:
    store = opened()
    lease = store.compare_and_set("lease", b"", expected=ABSENT, ttl=60)
    strict = opened(dsn=f"{server.dsn}{ISOLATED}repeatable%5C%20read")
    with psycopg.connect(server.dsn) as taking_over:
        taking_over.execute(f"UPDATE {schema_of(store)}.records SET revision = revision + 1")
        timer = threading.Timer(0.2, taking_over.commit)
        timer.start()
        with pytest.raises(GuardRefusedError):
            strict.compare_and_set("result", b"", expected=ANY, guard=Guard("lease", lease.revision))
        timer.join()
    assert store.load("result") is None


@pytest.mark.parametrize("isolation", ["repeatable%5C%20read", "serializable"])
def test_where_transactions_are_isolated_more_strictly_contended_updates_get_through(
    hand: Hand, server: Postgres, isolation: str
) -> None:
    async def scenario() -> None:
        store = await hand.open(dsn=f"{server.dsn}{ISOLATED}{isolation}")
        writes = [lambda: store.compare_and_set("k", b"", expected=ANY)] * 10
        revisions = [seen.revision for _ in range(10) for seen in await hand.gather(*writes)]
        assert len(set(revisions)) == 100
        await hand.close(store)

    hand.run(scenario)


def test_a_child_process_leaves_its_parents_connections_alone(
    opened: Callable[..., PostgresStore], admin: psycopg.Connection[Any]
) -> None:
    script = """
import os, sys, time
from resilience.stores import ANY
from resilience.stores.postgres import PostgresStore
store = PostgresStore(sys.argv[1], schema=sys.argv[2])
store.compare_and_set("k", b"parent", expected=ANY)
store.wait("k", after=5, timeout=5)
line, heard = store._idle._lines[0], store._hearing.line
child = os.fork()
if child == 0:
    store.compare_and_set("k", b"child", expected=ANY)
    store.close()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert store.load("k").value == b"child"
assert store._idle._lines == [line]
time.sleep(0.05)
assert store._hearing.line is heard
unused = PostgresStore(sys.argv[1], schema=sys.argv[2])
unused.load("k")
child = os.fork()
if child == 0:
    unused.close()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert unused.load("k").value == b"child"
store.close()
unused.close()
"""
    store = opened()
    argv = [sys.executable, "-W", "error", "-W", "ignore:.*fork:DeprecationWarning", "-c", script]
    ran = subprocess.run([*argv, _dsn_of(store), schema_of(store)], capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_in_another_process_it_starts_anew(hand: Hand) -> None:
    async def scenario() -> None:
        store = await hand.open()
        inherited = store._idle
        store._pid += 1
        await hand.close(store)
        assert inherited._lines, "what is another process's was closed"
        store._closed = False
        await done(store.load("k"))
        assert store._idle is not inherited
        inherited.close()
        await hand.close(store)

    hand.run(scenario)


def test_of_two_threads_in_another_process_neither_takes_its_parents_connection(
    opened: Callable[..., PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not the one that comes while the other is about to start anew."""
    store = opened()
    store.ping()
    inherited = store._idle
    taken: list[str] = []

    class Watched(list[Any]):
        def pop(self, *_: Any) -> Any:
            taken.append("the parent's")
            raise IndexError

    lines, inherited._lines = inherited._lines, Watched()
    make, second = wire.Idle, threading.Thread(target=store.ping)

    def meanwhile() -> wire.Idle:
        monkeypatch.setattr(wire, "Idle", make)
        second.start()
        second.join()
        return make()

    monkeypatch.setattr(wire, "Idle", meanwhile)
    store._pid += 1
    store.ping()
    assert taken == []
    assert not second.is_alive()
    for line in lines:
        line.finish()


def test_a_child_process_that_drops_its_parents_store_does_not_hang_up_for_it(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing, line = Hearing(), hosts.connect(hosts.targets(server.dsn), 5)
    hearing.begin(line)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        del hearing
    assert not wire.is_ready(wire.reading(line), 0.05)
    line.finish()


def test_a_store_that_is_dropped_without_being_closed_leaves_nothing_behind(
    hand: Hand, admin: psycopg.Connection[Any]
) -> None:
    listening = "SELECT count(*) FROM pg_stat_activity WHERE query = %s"

    def count() -> Any:
        return admin.execute(listening, [f'LISTEN "resilience.{hand.schema}"']).fetchone()

    async def scenario() -> None:
        before = set(threading.enumerate())
        store = await hand.open()
        await done(store.wait("k", after=ABSENT, timeout=0.01))
        assert count() == (1,)
        del store
        gc.collect()
        end = time.monotonic() + 5
        while count() != (0,) or {one.name for one in set(threading.enumerate()) - before} & {HINTS}:
            assert time.monotonic() < end
            await hand.sleep(0.01)

    hand.run(scenario)


HINTS = "resilience PostgreSQL hints"


def test_whoever_finds_all_connections_in_use_waits_for_one(hand: Hand, server: Postgres) -> None:
    async def scenario() -> None:
        store = await hand.open(timeout=5)
        await done(store.compare_and_set("k", b"", expected=ANY))
        with psycopg.connect(server.dsn) as blocking:
            blocking.execute(f"SELECT FROM {hand.schema}.records FOR UPDATE")
            threading.Timer(0.3, blocking.commit).start()
            calls = [lambda: store.compare_and_set("k", b"", expected=ANY)] * 25
            results = await hand.gather(*calls)
        assert [result for result in results if isinstance(result, BaseException)] == []
        assert len({result.revision for result in results}) == 25
        assert len(store._idle._lines) <= 10
        await hand.close(store)

    hand.run(scenario)


def test_whoever_finds_all_connections_in_use_for_too_long_is_told(
    hand: Hand, server: Postgres, admin: psycopg.Connection[Any]
) -> None:
    async def scenario() -> None:
        store = await hand.open(timeout=0.2)
        await done(store.compare_and_set("k", b"", expected=ANY))
        with psycopg.connect(server.dsn) as blocking:
            blocking.execute(f"SELECT FROM {hand.schema}.records FOR UPDATE")
            calls = [lambda: store.compare_and_set("k", b"", expected=ANY)] * 25
            results = await hand.gather(*calls)
            # A queue for one row is two locks: who waited for both was given up, but is not left behind.
            assert {type(result) for result in results} <= {StoreUnavailableError, OutcomeUnknownError}
            await hand.sleep(0.2)
            assert admin.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,)
        crowded = [result for result in results if "connections were in use" in str(result)]
        assert crowded
        assert (await done(store.load("k"))).value == b""
        await hand.close(store)

    hand.run(scenario)


def test_a_store_that_is_closed_while_a_verb_is_under_way_closes_that_connection_too(
    opened: Callable[..., PostgresStore], server: Postgres, admin: psycopg.Connection[Any]
) -> None:
    store = opened()
    store.compare_and_set("k", b"", expected=ANY)
    with psycopg.connect(server.dsn) as blocking:
        blocking.execute(f"SELECT FROM {schema_of(store)}.records FOR UPDATE")
        writing = threading.Thread(target=lambda: store.compare_and_set("k", b"", expected=ANY))
        writing.start()
        time.sleep(0.1)
        store.close()
        blocking.commit()
        writing.join()
    assert store._idle._lines == []


# -- asyncio alone ---------------------------------------------------------------------------------------------------


def run_async(dsn: str, scenario: Callable[[AsyncPostgresStore], Awaitable[T]], **options: Any) -> T:
    async def main() -> T:
        async with AsyncPostgresStore(dsn, schema=f"test_{next(_numbers)}", **options) as store:
            await store.acreate_schema()
            return await scenario(store)

    return asyncio.run(main())


def test_a_task_that_is_cancelled_gives_up_its_connection_at_once(server: Postgres) -> None:
    async def scenario(store: AsyncPostgresStore) -> None:
        await store.compare_and_set("k", b"", expected=ANY)
        used = store._idle._lines[0]
        with psycopg.connect(server.dsn) as blocking:
            blocking.execute(f"SELECT FROM {schema_of(store)}.records FOR UPDATE")
            tasks = [asyncio.create_task(store.compare_and_set("k", b"", expected=ANY)) for _ in range(12)]
            await asyncio.sleep(0.3)
            began = time.monotonic()
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert time.monotonic() - began < 0.5
        assert {type(end) for end in ended} == {asyncio.CancelledError}
        assert store._lending.out == 0
        assert used.status != 0
        assert (await store.load("k")) is not None

    run_async(server.dsn, scenario)


def test_a_task_that_is_cancelled_as_its_turn_comes_passes_it_on(server: Postgres) -> None:
    async def scenario(store: AsyncPostgresStore) -> None:
        store._lending.out = 10
        waiting = [asyncio.create_task(store.load("k")) for _ in range(2)]
        await asyncio.sleep(0)
        store._lending.give()
        waiting[0].cancel()
        assert await waiting[1] is None
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        assert store._lending.out == 9

    run_async(server.dsn, scenario)


def test_a_connection_that_nobody_waits_for_any_more_is_closed(
    server: Postgres, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made in a thread, which no cancellation reaches."""
    go_on, made = threading.Event(), threading.Event()
    connect = hosts.connect
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'resilience'"
    (before,) = admin.execute(sessions).fetchone() or (0,)

    def late(targets: Any, seconds: float) -> Any:
        assert go_on.wait(5)
        try:
            return connect(targets, seconds)
        finally:
            made.set()

    async def main() -> None:
        async with AsyncPostgresStore(server.dsn) as store:
            monkeypatch.setattr(hosts, "connect", late)
            task = asyncio.create_task(store.load("k"))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert store._lending.out == 0
            go_on.set()

    asyncio.run(main())
    assert made.wait(5)
    end = time.monotonic() + 5
    while (admin.execute(sessions).fetchone() or (0,))[0] > before:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_it_belongs_to_its_first_event_loop(server: Postgres) -> None:
    store = AsyncPostgresStore(server.dsn, schema=f"test_{next(_numbers)}")
    asyncio.run(store.acreate_schema())
    with pytest.raises(StoreError, match="belongs to the event loop on which it was first used"):
        asyncio.run(store.load("k"))
    asyncio.run(store.aclose())


def test_it_says_that_it_needs_asyncio(server: Postgres) -> None:
    async def elsewhere() -> None:
        async with AsyncPostgresStore(server.dsn) as store:
            await store.load("k")

    with pytest.raises(StoreError, match="needs a task of asyncio"):
        trio.run(elsewhere)


def test_on_an_event_loop_that_waits_for_no_socket_it_says_so_before_anything_is_sent(
    opened: Callable[..., PostgresStore], server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()

    def add_reader(*_: Any) -> None:
        raise NotImplementedError

    async def main() -> None:
        async with AsyncPostgresStore(server.dsn, schema=schema_of(store)) as other:
            with monkeypatch.context() as patch:
                patch.setattr(asyncio.get_running_loop(), "add_reader", add_reader)
                with pytest.raises(StoreError, match="cannot wait for a socket"):
                    await other.compare_and_set("k", b"", expected=ANY)
            # What is sent goes its way, also without anybody who waits for an answer.
            await asyncio.sleep(0.1)
            assert await other.load("k") is None

    asyncio.run(main())


def test_its_blocking_store_is_closed_with_it(server: Postgres) -> None:
    async def scenario() -> PostgresStore:
        async with AsyncPostgresStore(server.dsn, schema=f"test_{next(_numbers)}", timeout=3) as store:
            await store.acreate_schema()
            blocking = store.blocking()
            assert store.blocking() is blocking
            blocking.compare_and_set("k", b"v", expected=ABSENT)
            assert await store.load("k") == blocking.load("k")
            return blocking

    with pytest.raises(StoreError, match="closed"):
        asyncio.run(scenario()).load("k")


def test_two_tasks_that_begin_to_wait_at_once_share_one_connection(server: Postgres) -> None:
    async def scenario(store: AsyncPostgresStore) -> None:
        await asyncio.gather(*(store.wait("k", after=ABSENT, timeout=0.05) for _ in range(3)))
        assert store._hearing.line is not None

    run_async(server.dsn, scenario)


def test_what_is_given_back_has_a_moment_of_its_own(opened: Callable[..., PostgresStore]) -> None:
    """The Scope's moment counts, also where it is later than that of the deadline around."""
    store = opened()
    with virtual_time() as clock, scoped(clock.monotonic() + 1):
        store.ping()
    with virtual_time() as clock, scoped(clock.monotonic()), pytest.raises(DeadlineExceededError):
        store.ping()


def test_the_servers_refusals_keep_their_words(
    opened: Callable[..., PostgresStore], admin: psycopg.Connection[Any]
) -> None:
    store = opened()
    schema = schema_of(store)
    admin.execute(
        f"CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE 'said' USING errcode = convert_from(NEW.value, 'utf8'); END $$"
    )
    admin.execute(
        f"CREATE TRIGGER refuse BEFORE INSERT ON {schema}.records FOR EACH ROW EXECUTE FUNCTION {schema}.refuse()"
    )
    for sqlstate, kind in {
        "53100": StorageFullError,
        "40001": StoreUnavailableError,
        "40P01": StoreUnavailableError,
        "53300": StoreUnavailableError,
        "57P03": StoreUnavailableError,
        "P0001": StoreError,
        "42501": StoreError,
    }.items():
        with pytest.raises(kind, match="said") as error:
            store.compare_and_set("k", sqlstate.encode(), expected=ANY)
        assert type(error.value) is kind
        assert isinstance(error.value.__cause__, psycopg.Error)
        assert error.value.__cause__.sqlstate == sqlstate
    assert store.load("k") is None


def test_a_value_has_a_limit(opened: Callable[..., PostgresStore]) -> None:
    store = opened(max_value_bytes=10)
    with pytest.raises(ConfigError, match="max_value_bytes"):
        store.compare_and_set("k", b"x" * 11, expected=ANY)


@pytest.mark.parametrize(
    ("dsn", "kind"),
    [
        ("postgresql://me@nowhere.invalid/x", StoreUnavailableError),
        ("postgresql://me@127.0.0.1:1/x", StoreUnavailableError),
        ("postgresql://me@127.0.0.1:port/x", StoreError),
        ("postgresql://me@127.0.0.1:70000/x", StoreError),
        ("postgresql://me@127.0.0.1/x?sslmode=foo", StoreError),
    ],
    ids=["no such name", "nobody listens", "port", "too large a port", "sslmode"],
)
def test_what_cannot_be_reached_is_worth_trying_again_and_a_mistake_is_not(dsn: str, kind: type[StoreError]) -> None:
    """libpq counts either as a connection that failed."""
    with PostgresStore(dsn, timeout=5.0) as store, pytest.raises(StoreError) as caught:
        store.ping()
    assert type(caught.value) is kind
