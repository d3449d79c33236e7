"""The Redis stores against a real server: every verb in both colours, and the same answers as the store in memory."""

# mypy: disable-error-code="no-untyped-call"
# redis-py has types for a part of itself only.

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from tests.servers.http import __file__ as untrusted_file
from tests.servers.http import free_port
from tests.servers.redis import RedisServer, answering, redis_server, refusal
from tests.stores.befalling import revisions_go_on
from tests.stores.redis_stores import Colour, client

from resilience import OptimisticLock, deadline
from resilience._core.description import Fault
from resilience._io.ambient import stopping
from resilience.errors import (
    ConfigError,
    CorruptStateError,
    DeadlineExceededError,
    GuardRefusedError,
    ResilienceError,
    StorageFullError,
    StoreError,
    StoreUnavailableError,
    UnknownFormatError,
    VersionConflictError,
)
from resilience.stores import ABSENT, ANY, VACANT, Beat, Guard, Seen
from resilience.stores.memory import MemoryStore
from resilience.stores.redis import AsyncRedisStore, RedisStore
from resilience.testing import VirtualClock


#: Keys that hurt, in the order of their code points.
KEYS = ["\0", "\0turn\0x", " ", "%s {x}", "a", "a\n", "a\0", "ab", "z" * 1024, "é", "\uffff", "😀"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["sync", "asyncio"])
def colour(request: pytest.FixtureRequest) -> Colour:
    return Colour(request.param)


@pytest.fixture
def admin(server: RedisServer) -> Iterator[Any]:
    """Somebody else on the server, who leaves it as it was."""
    with client(server) as admin:
        yield admin
        admin.config_set("maxmemory", "0")
        admin.config_set("maxmemory-policy", "noeviction")
        admin.config_set("min-replicas-to-write", "0")
        admin.execute_command("ACL", "DELUSER", "guest")
        admin.flushall()


def guest(server: RedisServer, admin: Any, *rules: str) -> str:
    """The URL of a user with these rights."""
    admin.execute_command("ACL", "SETUSER", "guest", "reset", "on", ">secret", *rules)
    return f"redis://guest:secret@127.0.0.1:{server.port}"


# -- the verbs ---------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_with_all_that_is_known_about_it(server: RedisServer, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(server.url) as store:
            before = time.time()
            written = await store.compare_and_set("key", b"\0\r\n\xff ", expected=ABSENT, ttl=30, write_id="my name")
            assert before - 1 < written.revision / 1e6 < time.time() + 1
            assert (written.value, written.beats, written.ttl, written.expires_in) == (b"\0\r\n\xff ", 0, 30, 30)
            assert (written.expired, written.write_id) == (False, "my name")
            read = await store.load("key")
            assert 29 < read.expires_in < 30
            assert read == type(read)(written.value, written.revision, 0, 30.0, read.expires_in, False, "my name")
            lasting = await store.compare_and_set("lasting", bytearray(b""), expected=VACANT)
            assert await store.load("lasting") == lasting
            assert (lasting.value, lasting.ttl, lasting.expires_in, lasting.write_id) == (b"", None, None, None)
            assert await store.load("none") is None
            many = await store.load_many(["lasting", "none"])
            assert many == {"lasting": lasting, "none": None}
            assert await store.load_many([]) == {}
            await store.ping()

    colour.run(scenario)


def test_a_write_needs_the_record_to_be_as_expected(server: RedisServer, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(server.url) as store:
            with pytest.raises(VersionConflictError, match="found no record") as caught:
                await store.compare_and_set("key", b"", expected=7)
            assert caught.value.current is None
            first = await store.compare_and_set("key", b"1", expected=ABSENT)
            for wrong in (ABSENT, VACANT, first.revision - 1, Seen(first.revision, 1), 10**30):
                with pytest.raises(VersionConflictError) as caught:
                    await store.compare_and_set("key", b"2", expected=wrong)
                assert caught.value.current == first
            second = await store.compare_and_set("key", b"2", expected=first.revision)
            third = await store.compare_and_set("key", b"3", expected=Seen(second.revision, 0))
            fourth = await store.compare_and_set("key", b"4", expected=ANY)
            assert first.revision < second.revision < third.revision < fourth.revision
            with pytest.raises(VersionConflictError) as caught:
                await store.remove("key", expected=third.revision)
            assert caught.value.current == fourth
            assert await store.remove("key", expected=fourth.revision)
            assert not await store.remove("key", expected=fourth.revision)
            again = await store.compare_and_set("key", b"5", expected=ABSENT)
            assert again.revision > fourth.revision

    colour.run(scenario)


def test_a_write_is_refused_unless_its_guard_holds(server: RedisServer, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(server.url) as store:
            vacant = Guard("lease", VACANT)
            await store.compare_and_set("key", b"1", expected=ANY, guard=vacant)
            with pytest.raises(GuardRefusedError, match="no such record"):
                await store.compare_and_set("key", b"2", expected=ANY, guard=Guard("lease", 1))
            lease = await store.compare_and_set("lease", b"", expected=ABSENT, ttl=30)
            held = Guard("lease", lease.revision)
            await store.compare_and_set("key", b"3", expected=ANY, guard=held)
            for guard in (vacant, Guard("lease", lease.revision + 1)):
                for refused in (
                    store.compare_and_set("key", b"4", expected=ABSENT, guard=guard),
                    store.remove("key", expected=ABSENT, guard=guard),
                ):
                    with pytest.raises(GuardRefusedError) as caught:
                        await refused
                    assert caught.value.current is not None
                    assert caught.value.current.revision == lease.revision
            assert (await store.load("key")).value == b"3"
            assert await store.remove("key", expected=ANY, guard=held)
            assert await store.compare_and_set("lease", b"", expected=ANY, guard=held), "a lease may guard itself"

    colour.run(scenario)


def test_a_thousand_leases_are_renewed_at_once_and_the_lost_ones_are_named(
    server: RedisServer, admin: Any, colour: Colour
) -> None:
    async def scenario() -> None:
        async with colour.store(server.url) as store:
            keys = [f"lease:{number}" for number in range(1000)]
            tokens = {key: (await store.compare_and_set(key, b"", expected=ABSENT, ttl=30)).revision for key in keys}
            await store.compare_and_set("lasting", b"", expected=ABSENT)
            beats = [Beat(key, token, 60) for key, token in tokens.items()]
            calls = admin.info("commandstats")["cmdstat_evalsha"]["calls"]
            lost = await store.extend([*beats, Beat("none", 5, 1), Beat(keys[7], 5, 1), Beat("lasting", 5, 1)])
            assert admin.info("commandstats")["cmdstat_evalsha"]["calls"] == calls + 1
            assert lost == {"none", keys[7], "lasting"}
            renewed = await store.load_many(keys)
            assert {(seen.revision, seen.beats, seen.ttl) for seen in renewed.values()} == {
                (token, 1, 60.0) for token in tokens.values()
            }
            assert await store.extend([Beat(keys[0], tokens[keys[0]], 1)]) == frozenset()
            assert (await store.load(keys[0])).expires_in > 50, "what is left is never shortened"
            assert await store.extend([]) == frozenset()

    colour.run(scenario)


def test_records_are_listed_in_the_order_of_code_points_a_page_at_a_time(server: RedisServer, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(server.url) as store:
            assert await store.scan() == []
            for key in sorted(KEYS, reverse=True):
                await store.compare_and_set(key, key.encode(), expected=ABSENT)
            pages, after = [], ""
            while page := await store.scan(after=after, limit=5):
                pages += page
                after = page[-1][0]
            assert [key for key, _ in pages] == sorted(KEYS)
            assert all(seen.value == key.encode() for key, seen in pages)
            assert [key for key, _ in await store.scan("a")] == ["a", "a\0", "a\n", "ab"]
            assert [key for key, _ in await store.scan("a", after="a")] == ["a\0", "a\n", "ab"]
            assert [key for key, _ in await store.scan("a", after="a\0")] == ["a\n", "ab"]
            assert [key for key, _ in await store.scan("a", after="A")] == ["a", "a\0", "a\n", "ab"]
            assert [key for key, _ in await store.scan("é")] == ["é"]
            assert [key for key, _ in await store.scan("\U0010ffff")] == []

    colour.run(scenario)


def test_a_scan_finds_what_has_expired_behind_a_thousand_that_have_not(server: RedisServer, colour: Colour) -> None:
    clock = VirtualClock()

    async def scenario() -> None:
        async with colour.store(server.url, clock=clock) as store:
            for number in range(1001):
                await store.compare_and_set(f"{number:04}", b"", expected=ABSENT)
            await store.compare_and_set("last", b"", expected=ABSENT, ttl=1)
            assert await store.scan(expired=True) == []
            clock.advance(1)
            [(key, seen)] = await store.scan(expired=True)
            assert (key, seen.expired, seen.expires_in) == ("last", True, 0.0)
            assert [key for key, _ in await store.scan(limit=10_000)] == [f"{number:04}" for number in range(1001)]

    colour.run(scenario)


def test_stores_of_several_namespaces_share_a_database(server: RedisServer, admin: Any, colour: Colour) -> None:
    admin.flushall()

    async def scenario() -> None:
        async with (
            colour.store(server.url, namespace="é") as one,
            colour.store(server.url, namespace="é:record") as two,
        ):
            await one.compare_and_set("key", b"1", expected=ABSENT)
            await two.compare_and_set("key", b"2", expected=ABSENT)
            assert [seen.value for _, seen in await one.scan()] == [b"1"]
            assert await two.remove("key", expected=ANY)
            assert (await one.load("key")).value == b"1"
            assert all(key.startswith(("{é}:".encode(), "{é:record}:".encode())) for key in admin.scan_iter())

    colour.run(scenario)


def test_what_is_removed_leaves_nothing_but_the_floor(server: RedisServer, admin: Any, colour: Colour) -> None:
    admin.flushall()

    async def scenario() -> None:
        async with colour.store(server.url, namespace="n") as store:
            for number in range(3):
                await store.compare_and_set(f"{number}", b"", expected=ABSENT, ttl=30)
            last = await store.compare_and_set("last", b"", expected=ABSENT)
            for key, _ in await store.scan():
                await store.remove(key, expected=ANY)
            assert admin.keys() == [b"{n}:store"]
            assert admin.hgetall("{n}:store") == {b"format": b"1", b"floor": str(last.revision).encode()}

    colour.run(scenario)


@pytest.mark.parametrize(
    "verb",
    [
        lambda store: store.load(""),
        lambda store: store.load("é" * 513),
        lambda store: store.load("\ud800"),
        lambda store: store.load_many("key"),
        lambda store: store.compare_and_set("key", "text", expected=ANY),
        lambda store: store.compare_and_set("key", b"123456789", expected=ANY),
        lambda store: store.compare_and_set("key", b"", expected=-1),
        lambda store: store.compare_and_set("key", b"", expected=ANY, ttl=0),
        lambda store: store.compare_and_set("key", b"", expected=ANY, write_id="two\nlines"),
        lambda store: store.remove("key", expected=None),
        lambda store: store.scan(limit=0),
        lambda store: store.wait("key", after=0, timeout=-1),
    ],
    ids=[
        "empty key",
        "long key",
        "half a pair",
        "one key",
        "text",
        "long value",
        "expected",
        "ttl",
        "write_id",
        "no expectation",
        "limit",
        "timeout",
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(colour: Colour, verb: Any) -> None:
    async def scenario() -> None:
        async with colour.store("redis://127.0.0.1:1", max_value_bytes=8) as store:
            with pytest.raises(ConfigError):
                await verb(store)

    colour.run(scenario)


def test_a_value_of_a_mebibyte_comes_back_whole(server: RedisServer, colour: Colour) -> None:
    value = os.urandom(1 << 20)

    async def scenario() -> None:
        async with colour.store(server.url) as store:
            await store.compare_and_set("key", value, expected=ABSENT)
            assert (await store.load("key")).value == value
            with pytest.raises(VersionConflictError) as caught:
                await store.compare_and_set("key", value, expected=ABSENT)
            assert caught.value.current is not None
            assert caught.value.current.value == value

    colour.run(scenario)


# -- the same answers as the reference -----------------------------------------------------------------------------------

_KEY = st.sampled_from(["a", "b\0é", "😀"])
_TTL = st.sampled_from([None, 0.25, 1.0, 2.5])
_EXPECTED = st.sampled_from(["absent", "vacant", "any", "now", "old", "seen", "seen with another beat"])
_GUARD = st.none() | st.tuples(_KEY, st.sampled_from(["vacant", "now", "old"]))
_STEP = st.one_of(
    st.tuples(st.just("swap"), _KEY, st.binary(max_size=3), _EXPECTED, _TTL, _GUARD, st.sampled_from([None, "me"])),
    st.tuples(st.just("remove"), _KEY, _EXPECTED, _GUARD),
    st.tuples(st.just("extend"), st.lists(st.tuples(_KEY, st.sampled_from(["now", "old"]), _TTL), max_size=3)),
    st.tuples(st.just("load"), st.lists(_KEY, max_size=3)),
    st.tuples(st.just("scan"), st.sampled_from(["", "a", "b"]), _KEY | st.just(""), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("advance"), st.sampled_from([0.25, 0.5, 1.0, 2.5])),
)


def _verb(step: tuple[Any, ...], reference: MemoryStore) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """What to call, of a step that speaks of what is there."""

    def revision(key: str, which: str) -> Any:
        there = reference.load(key)
        number = 7 if there is None else there.revision
        beats = 0 if there is None else there.beats
        return {
            "absent": ABSENT,
            "vacant": VACANT,
            "any": ANY,
            "now": number,
            "old": number - 1,
            "seen": Seen(number, beats),
            "seen with another beat": Seen(number, beats + 1),
        }[which]

    def guard(asked: tuple[str, str] | None) -> Guard | None:
        return None if asked is None else Guard(asked[0], revision(*asked))

    match step:
        case "swap", key, value, expected, ttl, guarded, name:
            options = {"expected": revision(key, expected), "ttl": ttl, "guard": guard(guarded), "write_id": name}
            return "compare_and_set", (key, value), options
        case "remove", key, expected, guarded:
            return "remove", (key,), {"expected": revision(key, expected), "guard": guard(guarded)}
        case "extend", beats:
            return "extend", ([Beat(key, revision(key, which), ttl or 3.0) for key, which, ttl in beats],), {}
        case "load", keys:
            return "load_many", (keys,), {}
        case "scan", prefix, after, limit, expired:
            return "scan", (prefix,), {"after": after, "limit": limit, "expired": expired}
        case _:
            raise AssertionError(step)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(_STEP, min_size=1, max_size=25))
@example(
    steps=[
        ("swap", "a", b"1", "absent", 1.0, None, "me"),
        ("extend", [("a", "now", 0.25), ("a", "now", 2.5), ("😀", "now", 1.0)]),
        ("swap", "a", b"2", "seen with another beat", None, None, None),
        ("advance", 2.5),
        ("extend", [("a", "now", 1.0)]),
        ("swap", "b\0é", b"", "vacant", None, ("a", "vacant"), None),
        ("scan", "", "", 1, True),
        ("remove", "a", "seen", None),
        ("swap", "a", b"3", "vacant", None, None, None),
        ("load", ["a", "b\0é"]),
    ]
)
def test_it_answers_what_the_store_in_memory_answers(
    server: RedisServer, colour: Colour, steps: list[tuple[Any, ...]]
) -> None:
    clock = VirtualClock()
    reference = MemoryStore(clock)

    async def scenario() -> None:
        async with colour.store(server.url, clock=clock) as store:
            for step in steps:
                if step[0] == "advance":
                    clock.advance(step[1])
                    continue
                name, args, options = _verb(step, reference)
                try:
                    expected: Any = getattr(reference, name)(*args, **options)
                except ResilienceError as error:
                    with pytest.raises(type(error)) as caught:
                        await getattr(store, name)(*args, **options)
                    found: Any = caught.value
                    assert (str(found), found.current) == (str(error), error.current)  # type: ignore[attr-defined]
                else:
                    assert await getattr(store, name)(*args, **options) == expected

    colour.run(scenario)


# -- revisions -----------------------------------------------------------------------------------------------------------


def test_revisions_go_on_after_every_fault_that_it_says_it_survives(server: RedisServer, admin: Any) -> None:
    backup: dict[bytes, bytes] = {}

    def opened(clock: VirtualClock) -> RedisStore:
        admin.flushall()
        store = RedisStore(server.url, clock=clock)
        store.compare_and_set("other", b"", expected=ABSENT)
        backup.update({key: admin.dump(key) for key in admin.scan_iter()})
        return store

    def emptied(store: Any, clock: VirtualClock) -> Any:
        admin.flushall()
        return store

    def restored(store: Any, clock: VirtualClock) -> Any:
        admin.flushall()
        for key, value in backup.items():
            admin.restore(key, 0, value)
        return store

    befall: Any = {Fault.EMPTIED: emptied, Fault.RESTORED: restored, Fault.REBOOTED: emptied}
    outcome = revisions_go_on(opened, befall)
    assert sum(outcome.values()) == len(outcome) - 3


def test_revisions_go_on_where_every_write_is_on_the_disk(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as disk:

        def opened(clock: VirtualClock) -> RedisStore:
            return RedisStore(disk.url, clock=clock, namespace=uuid.uuid4().hex)

        def restarted(store: Any, clock: VirtualClock) -> Any:
            disk.kill()
            disk.start()
            return store

        outcome = revisions_go_on(opened, {Fault.REBOOTED: restarted})
    assert outcome
    assert all(outcome.values())


def test_revisions_never_repeat_across_a_restart_without_persistence(tmp_path: Path, colour: Colour) -> None:
    async def scenario(server: RedisServer) -> None:
        async with colour.store(server.url) as store:
            before = [(await store.compare_and_set("key", b"", expected=ANY)).revision for _ in range(50)]
            born = (await store.describe()).incarnation
            server.kill()
            server.start()
            await colour.turn()
            assert await store.load("key") is None
            after = [(await store.compare_and_set("key", b"", expected=ANY)).revision for _ in range(50)]
            assert before + after == sorted({*before, *after})
            assert (await store.describe()).incarnation != born

    with redis_server(tmp_path) as server:
        colour.run(lambda: scenario(server))


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_jumps_makes_no_revision_repeat(server: RedisServer, colour: Colour, hours: int) -> None:
    clock = VirtualClock()

    async def scenario() -> None:
        async with colour.store(server.url, clock=clock) as store:
            lease = await store.compare_and_set("lease", b"", expected=ABSENT, ttl=30)
            removed = await store.compare_and_set("removed", b"", expected=ABSENT)
            await store.remove("removed", expected=ANY)
            clock.jump_wall(3600 * hours)
            assert (await store.load("lease")).expired is (hours > 0)
            assert (await store.compare_and_set("lease", b"", expected=ANY)).revision > lease.revision
            assert (await store.compare_and_set("removed", b"", expected=ANY)).revision > removed.revision

    colour.run(scenario)


# -- waiting -------------------------------------------------------------------------------------------------------------


def later(seconds: float, fn: Any) -> threading.Timer:
    timer = threading.Timer(seconds, fn)
    timer.start()
    return timer


class Stopper:
    """A stop that is told from another thread."""

    at = float("inf")

    def __init__(self) -> None:
        self.ended: Exception | None = None
        self.wake: Any = None

    def error(self) -> Exception | None:
        return self.ended

    def watch(self, wake: Any) -> Any:
        self.wake = wake
        return lambda: None

    def stop(self) -> None:
        self.ended = InterruptedError("lost")
        if self.wake is not None:
            self.wake()


@pytest.mark.parametrize("change", ["write", "first write", "removal"])
def test_wait_wakes_at_once_when_another_store_writes(server: RedisServer, colour: Colour, change: str) -> None:
    namespace = uuid.uuid4().hex
    told: list[float] = []
    late: list[float] = []

    def write() -> None:
        if change == "removal":
            other.remove("key", expected=ANY)
        else:
            other.compare_and_set("key", b"2", expected=ANY)
        told.append(time.monotonic())

    async def scenario() -> None:
        async with colour.store(server.url, namespace=namespace) as store:
            for _ in range(3):  # again on the connection of the first time
                there = await store.compare_and_set("key", b"1", expected=ANY)
                if change == "first write":
                    await store.remove("key", expected=ANY)
                timer = later(0.05, write)
                await store.wait("key", after=ABSENT if change == "first write" else there.revision, timeout=10)
                woken = time.monotonic()
                timer.join()
                late.append(woken - told[-1])

    with RedisStore(server.url, namespace=namespace) as other:
        other.ping()
        colour.run(scenario)
    assert min(late) < 0.05
    assert max(late) < 1


def test_wait_ends_at_once_where_the_record_is_newer_already(server: RedisServer, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(server.url) as store:
            there = await store.compare_and_set("key", b"1", expected=ABSENT)
            began = time.monotonic()
            await store.wait("key", after=there.revision - 1, timeout=10)
            await store.wait("key", after=there.revision, timeout=0)
            assert time.monotonic() - began < 1

    colour.run(scenario)


def test_wait_ends_at_its_timeout_and_at_the_deadline(server: RedisServer, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(server.url) as store:
            began = time.monotonic()
            await store.wait("key", after=ABSENT, timeout=0.1)
            assert 0.09 < time.monotonic() - began < 0.6
            with pytest.raises(DeadlineExceededError), deadline(0.1):
                await store.wait("key", after=ABSENT, timeout=1e9)
            assert time.monotonic() - began < 1.2
            assert await store.load("key") is None

    colour.run(scenario)


def test_a_wait_that_nothing_ends_looks_again_now_and_then(
    server: RedisServer, admin: Any, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resilience.stores.redis._SPELL", 0.05)

    async def scenario() -> None:
        async with colour.store(server.url, namespace="unheard") as store:
            there = await store.compare_and_set("key", b"1", expected=ABSENT)
            # Written by somebody who tells nobody.
            timer = later(0.1, lambda: admin.hset("{unheard}:record:key", "revision", there.revision + 1))
            await store.wait("key", after=there.revision, timeout=10)
            timer.join()

    began = time.monotonic()
    colour.run(scenario)
    assert time.monotonic() - began < 5


def test_a_stop_ends_a_wait_at_once(server: RedisServer, colour: Colour) -> None:
    stop = Stopper()

    async def scenario() -> None:
        async with colour.store(server.url) as store:
            timer = later(0.1, stop.stop)
            with pytest.raises(InterruptedError), stopping(stop):
                await store.wait("key", after=ABSENT, timeout=10)
            timer.join()
            await store.ping()

    began = time.monotonic()
    colour.run(scenario)
    assert time.monotonic() - began < 1


def test_a_wait_survives_the_death_of_its_connection(server: RedisServer, admin: Any, colour: Colour) -> None:
    namespace = uuid.uuid4().hex

    def kill() -> None:
        assert admin.client_kill_filter(_type="pubsub") == 1

    async def scenario() -> None:
        async with colour.store(server.url, namespace=namespace) as store:
            timers = [later(0.1, kill), later(0.3, lambda: other.compare_and_set("key", b"", expected=ABSENT))]
            began = time.monotonic()
            await store.wait("key", after=ABSENT, timeout=10)
            assert 0.2 < time.monotonic() - began < 1
            for timer in timers:
                timer.join()

    with RedisStore(server.url, namespace=namespace) as other:
        other.ping()
        colour.run(scenario)


def test_who_may_not_listen_looks_again_and_who_may_not_publish_writes_all_the_same(
    server: RedisServer, admin: Any, colour: Colour
) -> None:
    url = guest(server, admin, "~*", "+@all", "resetchannels")

    async def scenario() -> None:
        async with colour.store(url) as store:
            there = await store.compare_and_set("key", b"1", expected=ABSENT)
            began = time.monotonic()
            await store.wait("key", after=there.revision, timeout=0.1)
            assert time.monotonic() - began > 0.09
            await store.wait("key", after=ABSENT, timeout=10)
            assert await store.remove("key", expected=there.revision)

    colour.run(scenario)


def test_who_stops_listening_may_hear_one_more_message(colour: Colour) -> None:
    """It is told between the last look and the end of listening, and is not taken for the answer to something else."""

    def answer(words: list[str]) -> bytes:
        said = {
            "SUBSCRIBE": ["$9\r\nsubscribe\r\n$1\r\nc\r\n:1"],
            "UNSUBSCRIBE": ["$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n7", "$11\r\nunsubscribe\r\n$1\r\nc\r\n:0"],
        }
        return (
            "".join(f"*3\r\n{each}\r\n" for each in said[words[0]]).encode() if words[0] in said else b"*1\r\n$-1\r\n"
        )

    async def scenario(port: int) -> None:
        async with colour.store(f"redis://127.0.0.1:{port}") as store:
            for _ in range(3):
                await store.wait("key", after=7, timeout=10)
                assert await store.load("key") is None

    with answering(answer) as port:
        colour.run(lambda: scenario(port))


@pytest.mark.parametrize("said", [b"", b"-NOPERM no\r\n"], ids=["nothing", "no"])
def test_who_cannot_stop_listening_drops_the_connection(colour: Colour, said: bytes) -> None:
    def answer(words: list[str]) -> bytes:
        replies = {"SUBSCRIBE": b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", "UNSUBSCRIBE": said}
        return replies.get(words[0], b"*1\r\n$-1\r\n")

    async def scenario(port: int) -> None:
        async with colour.store(f"redis://127.0.0.1:{port}", timeout=0.1) as store:
            await store.wait("key", after=7, timeout=10)
            assert await store.load("key") is None

    with answering(answer) as port:
        colour.run(lambda: scenario(port))


def test_closing_a_store_ends_who_waits_on_it(server: RedisServer) -> None:
    store = RedisStore(server.url)
    later(0.1, store.close)
    began = time.monotonic()
    store.wait("key", after=ABSENT, timeout=10)
    assert time.monotonic() - began < 1

    async def scenario() -> None:
        store = AsyncRedisStore(server.url)
        waiting = asyncio.create_task(store.wait("key", after=ABSENT, timeout=10))
        await asyncio.sleep(0.1)
        await store.aclose()
        await waiting

    asyncio.run(scenario())
    assert time.monotonic() - began < 2


# -- what the server says ------------------------------------------------------------------------------------------------


def test_a_script_that_the_server_has_forgotten_is_sent_again(server: RedisServer, admin: Any, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(server.url) as store:
            there = await store.compare_and_set("key", b"1", expected=ABSENT)
            admin.script_flush()
            second = await store.compare_and_set("key", b"2", expected=there.revision)
            admin.script_flush()
            assert await store.load("key") == second

    colour.run(scenario)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("LOADING Redis is loading the dataset in memory", StoreUnavailableError),
        (
            "READONLY You can't write against a read only replica. script: abc, on @user_script:1.",
            StoreUnavailableError,
        ),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", StoreUnavailableError),
        ("BUSY Redis is busy running a script.", StoreUnavailableError),
        ("MISCONF Redis is configured to save RDB snapshots", StoreUnavailableError),
        ("NOREPLICAS Not enough good replicas to write.", StoreUnavailableError),
        ("CLUSTERDOWN The cluster is down", StoreUnavailableError),
        ("TRYAGAIN Multiple keys request during rehashing of slot", StoreUnavailableError),
        ("OOM command not allowed when used memory > 'maxmemory'.", StorageFullError),
        ("ERR Error running script (call to f_1): @user_script:1: OOM command not allowed", StorageFullError),
        ("ERR Error running script (call to f_1): @user_script:1: WRONGTYPE Operation", CorruptStateError),
        ("NOAUTH Authentication required.", StoreError),
        ("NOPERM this user has no permissions to run the 'evalsha' command", StoreError),
        ("MOVED 3999 127.0.0.1:6381", StoreError),
        ("ERR unknown command 'EVALSHA'", StoreError),
    ],
)
def test_an_error_that_is_answered_means_that_nothing_was_done(colour: Colour, said: str, error: type) -> None:
    async def scenario(port: int) -> None:
        async with colour.store(f"redis://127.0.0.1:{port}") as store:
            for _ in range(2):
                with pytest.raises(error) as caught:
                    await store.compare_and_set("key", b"", expected=ANY)
                assert type(caught.value) is error
                assert caught.value.__cause__ is not None
                assert str(caught.value.__cause__) in str(caught.value)

    with answering(lambda words: refusal(said)) as port:
        colour.run(lambda: scenario(port))


def test_a_server_without_memory_takes_nothing_and_goes_on_reading(
    server: RedisServer, admin: Any, colour: Colour
) -> None:
    async def scenario() -> None:
        async with colour.store(server.url) as store:
            there = await store.compare_and_set("key", b"1", expected=ABSENT, ttl=30)
            admin.config_set("maxmemory", "1")
            for write in (
                store.compare_and_set("key", b"2", expected=ANY),
                store.compare_and_set("new", b"2", expected=ANY),
                store.extend([Beat("key", there.revision, 60)]),
            ):
                with pytest.raises(StorageFullError):
                    await write
            assert (await store.load("key")).value == b"1"
            assert [key for key, _ in await store.scan()] == ["key"]
            assert await store.load("new") is None
            admin.config_set("maxmemory", "0")
            await store.compare_and_set("new", b"2", expected=ABSENT)

    colour.run(scenario)


def test_a_server_that_lacks_replicas_takes_nothing(server: RedisServer, admin: Any, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(server.url) as store:
            admin.config_set("min-replicas-to-write", "1")
            with pytest.raises(StoreUnavailableError, match="NOREPLICAS"):
                await store.compare_and_set("key", b"1", expected=ABSENT)
            assert await store.scan() == []
            admin.config_set("min-replicas-to-write", "0")

    colour.run(scenario)


@pytest.mark.parametrize(
    ("key", "write"),
    [
        ("record:key", lambda admin, key: admin.set(key, "something else")),
        ("record:key", lambda admin, key: admin.hset(key, mapping={"revision": "many", "beats": 0, "ttl": ""})),
        (
            "record:key",
            lambda admin, key: admin.hset(key, mapping={"revision": 1, "beats": 0, "ttl": "1", "write_id": ""}),
        ),
        ("index", lambda admin, key: admin.set(key, "something else")),
        ("store", lambda admin, key: admin.set(key, "something else")),
    ],
    ids=["type", "revision", "expiry", "index", "store"],
)
def test_what_no_store_has_written_is_left_as_it_is(
    server: RedisServer, admin: Any, colour: Colour, key: str, write: Any
) -> None:
    async def scenario() -> None:
        async with colour.store(server.url, namespace="odd") as store:
            name = f"{{odd}}:{key}"
            write(admin, name)
            before = admin.dump(name)
            with pytest.raises(CorruptStateError, match="was not written by a store"):
                await store.compare_and_set("key", b"", expected=ANY)
            assert admin.dump(name) == before
            assert admin.keys() == [name.encode()]

    colour.run(scenario)


@pytest.mark.parametrize(
    "damage",
    [
        lambda admin, key: admin.hset(key, "revision", "many"),
        lambda admin, key: (admin.delete(key), admin.set(key, "something else")),
    ],
    ids=["revision", "type"],
)
def test_a_damaged_lease_is_lost_and_costs_no_other_its_renewal(
    server: RedisServer, admin: Any, colour: Colour, damage: Any
) -> None:
    async def scenario() -> None:
        async with colour.store(server.url, namespace="damaged") as store:
            tokens = {key: (await store.compare_and_set(key, b"", expected=ABSENT, ttl=30)).revision for key in "abc"}
            damage(admin, "{damaged}:record:b")
            before = admin.dump("{damaged}:record:b")
            assert await store.extend([Beat(key, token, 60) for key, token in tokens.items()]) == {"b"}
            renewed = await store.load_many(["a", "c"])
            assert [(seen.beats, seen.ttl) for seen in renewed.values()] == [(1, 60.0), (1, 60.0)]
            assert admin.dump("{damaged}:record:b") == before

    colour.run(scenario)


def test_a_removal_that_cannot_raise_the_floor_removes_nothing(server: RedisServer, admin: Any, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(server.url, namespace="floor") as store:
            there = await store.compare_and_set("key", b"1", expected=ABSENT)
            admin.hset("{floor}:store", "floor", "something else")
            with pytest.raises(StoreError):
                await store.remove("key", expected=ANY)
            assert await store.load("key") == there
            assert [key for key, _ in await store.scan()] == ["key"]

    colour.run(scenario)


def test_a_store_of_another_version_is_neither_read_nor_written(
    server: RedisServer, admin: Any, colour: Colour
) -> None:
    async def scenario() -> None:
        async with colour.store(server.url, namespace="newer") as store:
            admin.hset("{newer}:store", "format", "2")
            for verb in (store.load("key"), store.compare_and_set("key", b"", expected=ANY), store.describe()):
                with pytest.raises(UnknownFormatError, match="FORMAT 2"):
                    await verb
            assert admin.keys() == [b"{newer}:store"]

    colour.run(scenario)


def test_an_index_that_names_what_is_gone_is_no_harm(server: RedisServer, admin: Any, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(server.url, namespace="evicted") as store:
            await store.compare_and_set("a", b"", expected=ABSENT)
            await store.compare_and_set("b", b"", expected=ABSENT)
            admin.delete("{evicted}:record:a")
            assert [key for key, _ in await store.scan()] == ["b"]

    colour.run(scenario)


# -- who may come in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["redis://guest:wrong@127.0.0.1:{}", "redis://127.0.0.1:{}/99"])
def test_who_is_not_let_in_is_told_the_servers_words(server: RedisServer, admin: Any, colour: Colour, url: str) -> None:
    async def scenario() -> None:
        async with colour.store(url.format(server.port)) as store:
            with pytest.raises(StoreError) as caught:
                await store.ping()
            assert type(caught.value) is StoreError
            assert "wrong" not in str(caught.value).replace("WRONGPASS", "")

    colour.run(scenario)


@pytest.mark.parametrize(
    "url",
    [
        7,
        "http://:hunter2@127.0.0.1",
        "redis://:hunter2@127.0.0.1:port",
        "redis://:hunter2/and@127.0.0.1",
        "redis://:hunter2@127.0.0.1?nonsense=hunter2",
        "redis://:hunter2@127.0.0.1?socket_timeout=hunter2",
    ],
)
@pytest.mark.parametrize("kind", [RedisStore, AsyncRedisStore])
def test_a_url_that_cannot_be_is_refused_without_its_secrets(kind: Any, url: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(url)
    assert caught.value.option == "url"
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("namespace", ["", "a{b", "a}b", 7])
def test_a_namespace_that_cannot_be_is_refused(namespace: Any) -> None:
    with pytest.raises(ConfigError, match="namespace"):
        RedisStore("redis://127.0.0.1", namespace=namespace)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@cache:7/3", "RedisStore(redis://cache:7/3, namespace='resilience')"),
        ("rediss://cache", "RedisStore(rediss://cache:6379/0, namespace='resilience')"),
        ("unix:///run/redis.sock?password=secret", "RedisStore(unix:///run/redis.sock?db=0, namespace='resilience')"),
    ],
)
def test_it_is_shown_without_secrets(url: str, shown: str) -> None:
    store = RedisStore(url)
    assert repr(store) == f"<{shown}>"
    store.close()
    assert repr(store) == f"<{shown} (closed)>"


def test_a_unix_socket_will_do(tmp_path: Path, colour: Colour) -> None:
    path = tmp_path / "redis.sock"

    async def scenario() -> None:
        async with colour.store(f"unix://{path}?db=1") as store:
            await store.compare_and_set("key", b"1", expected=ABSENT)
            assert (await store.load("key")).value == b"1"

    with redis_server(tmp_path, "--unixsocket", str(path)):
        colour.run(scenario)


def test_over_tls_it_is_the_same(tmp_path: Path, colour: Colour) -> None:
    port = free_port()
    certificate = str(Path(untrusted_file).with_name("untrusted.pem"))
    options = ["--tls-port", str(port), "--tls-cert-file", certificate, "--tls-key-file", certificate]
    stop = Stopper()

    async def scenario() -> None:
        url = f"rediss://127.0.0.1:{port}?ssl_cert_reqs=none&ssl_check_hostname=false"
        async with colour.store(url) as store:
            value = os.urandom(1 << 18)
            written = await store.compare_and_set("key", value, expected=ABSENT)
            for _ in range(3):
                assert await store.load("key") == written
            timer = later(0.1, stop.stop)
            began = time.monotonic()
            with pytest.raises(InterruptedError), stopping(stop):
                await store.wait("key", after=written.revision, timeout=10)
            assert time.monotonic() - began < 1
            timer.join()
        async with colour.store(f"rediss://127.0.0.1:{port}") as store:
            with pytest.raises(StoreUnavailableError, match="certificate"):
                await store.ping()

    with redis_server(tmp_path, *options, "--tls-auth-clients", "no"):
        colour.run(scenario)


def test_the_options_of_a_url_change_neither_values_nor_timeouts(
    server: RedisServer, admin: Any, colour: Colour
) -> None:
    options = "decode_responses=true&protocol=3&retry_on_timeout=true&health_check_interval=1&socket_timeout=60"

    async def scenario() -> None:
        async with colour.store(f"{server.url}?{options}&client_name=me", timeout=0.2) as store:
            await store.compare_and_set("key", b"\xff", expected=ABSENT)
            assert (await store.load("key")).value == b"\xff"
            assert "me" in {each["name"] for each in admin.client_list()}
            server.pause()
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                await store.load("key")
            assert time.monotonic() - began < 0.5
            server.resume()

    try:
        colour.run(scenario)
    finally:
        server.resume()


def test_without_the_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    home = importlib.util.find_spec("resilience.stores._redis_links")
    spec = importlib.util.spec_from_file_location("links_without_driver", str(home and home.origin))
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"pip install resilience-primitives\[redis\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


# -- what it promises ----------------------------------------------------------------------------------------------------


def described(colour: Colour, url: str, **options: Any) -> Any:
    async def scenario() -> Any:
        async with colour.store(url, **options) as store:
            return await store.describe()

    return colour.run(scenario)


def test_it_describes_a_server_that_keeps_nothing(server: RedisServer, admin: Any, colour: Colour) -> None:
    found = described(colour, server.url, namespace="one")
    assert (found.clock, found.linearizable, found.shared, found.wakes) == ("server", True, True, True)
    assert (found.durable, found.survives_crash, found.survives_reboot) == (False, True, False)
    assert frozenset({Fault.REBOOTED, Fault.CLOCK_SET_BACK}) not in found.revisions_survive
    assert described(colour, server.url, namespace="one").incarnation == found.incarnation
    assert described(colour, server.url, namespace="two").incarnation != found.incarnation
    admin.flushall()
    assert described(colour, server.url, namespace="one").incarnation != found.incarnation


@pytest.mark.parametrize("sync", ["always", "everysec"])
def test_it_is_durable_where_the_server_syncs_before_it_answers(tmp_path: Path, colour: Colour, sync: str) -> None:
    with redis_server(tmp_path, "--appendonly", "yes", "--appendfsync", sync) as server:
        found = described(colour, server.url)
        assert (found.durable, found.survives_reboot) == (sync == "always", sync == "always")
        assert (frozenset({Fault.REBOOTED, Fault.CLOCK_SET_BACK}) in found.revisions_survive) is (sync == "always")


def test_a_server_that_may_evict_promises_little(server: RedisServer, admin: Any, colour: Colour) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    found = described(colour, server.url)
    assert (found.linearizable, found.durable) == (False, False)


def test_a_user_who_may_not_ask_is_promised_little(server: RedisServer, admin: Any, colour: Colour) -> None:
    found = described(colour, guest(server, admin, "~*", "&*", "+@all", "-config", "-info"))
    assert (found.linearizable, found.durable) == (False, False)


def test_replicas_may_lose_what_was_acknowledged_and_take_no_writes(tmp_path: Path, colour: Colour) -> None:
    with redis_server(tmp_path, "--repl-diskless-sync-delay", "0") as master:
        with redis_server(tmp_path, "--replicaof", "127.0.0.1", str(master.port)) as replica:
            with client(master) as watcher, client(replica) as copy:
                end = time.monotonic() + 20
                while copy.info("replication")["master_link_status"] != "up" or not described_replicas(watcher):
                    assert time.monotonic() < end
                    time.sleep(0.02)
            assert not described(colour, master.url, namespace="one").linearizable

            async def scenario() -> None:
                async with colour.store(replica.url, namespace="one") as store:
                    with pytest.raises(StoreUnavailableError):
                        await store.compare_and_set("key", b"", expected=ANY)
                    assert await store.load("key") is None

            colour.run(scenario)


def described_replicas(watcher: Any) -> int:
    return int(watcher.info("replication")["connected_slaves"])


# -- its life ------------------------------------------------------------------------------------------------------------


def test_a_closed_store_says_so_and_may_be_closed_again(server: RedisServer, colour: Colour) -> None:
    async def scenario() -> None:
        store = colour.store(server.url)
        await store.compare_and_set("key", b"", expected=ABSENT)
        await store.aclose()
        await store.aclose()
        for verb in (store.load("key"), store.wait("key", after=1, timeout=1), store.describe(), store.ping()):
            with pytest.raises(StoreError, match="it is closed"):
                await verb

    colour.run(scenario)


def alone(admin: Any) -> None:
    """Wait until the server has no other client."""
    end = time.monotonic() + 5
    while admin.info("clients")["connected_clients"] > 1:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_closing_it_closes_its_connections(server: RedisServer, admin: Any, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(server.url) as store:
            await store.ping()
            assert admin.info("clients")["connected_clients"] == 2

    alone(admin)
    colour.run(scenario)
    alone(admin)


def test_the_blocking_store_has_the_same_records_and_is_closed_with_the_async_one(server: RedisServer) -> None:
    async def scenario() -> None:
        store = AsyncRedisStore(server.url, namespace=uuid.uuid4().hex)
        blocking = store.blocking()
        assert store.blocking() is blocking
        written = await store.compare_and_set("key", b"1", expected=ABSENT)
        assert blocking.load("key") == written
        await store.aclose()
        with pytest.raises(StoreError, match="it is closed"):
            blocking.load("key")

    asyncio.run(scenario())


def test_a_store_closed_while_it_is_used_keeps_no_connection(server: RedisServer, admin: Any) -> None:
    async def scenario() -> None:
        store = AsyncRedisStore(server.url)
        reading = [asyncio.create_task(store.load("key")) for _ in range(3)]
        await asyncio.sleep(0)
        await store.aclose()
        await asyncio.gather(*reading)

    asyncio.run(scenario())
    store = RedisStore(server.url)
    with store._links.listening(b"channel"):
        store.close()
    alone(admin)


def test_of_many_connections_only_some_are_kept(server: RedisServer, admin: Any) -> None:
    async def scenario() -> None:
        async with AsyncRedisStore(server.url) as store:
            await asyncio.gather(*(store.load("key") for _ in range(50)))
            end = time.monotonic() + 5
            while admin.info("clients")["connected_clients"] != 1 + 32:
                assert time.monotonic() < end

    alone(admin)
    asyncio.run(scenario())
    alone(admin)


def test_under_another_event_loop_and_under_none_of_asyncio_it_says_so(server: RedisServer) -> None:
    store = AsyncRedisStore(server.url)

    async def ping() -> None:
        await store.ping()

    async def close() -> None:
        await store.ping()
        await store.aclose()

    with asyncio.Runner() as first:
        first.run(ping())
        with pytest.raises(StoreError, match="event loop"):
            with asyncio.Runner() as second:
                second.run(ping())
        with pytest.raises(StoreError, match="asyncio only"):
            trio.run(ping)
        first.run(close())


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_store_whose_event_loop_is_gone_can_be_closed(server: RedisServer) -> None:
    store = AsyncRedisStore(server.url)
    asyncio.run(store.ping())
    asyncio.run(store.aclose())
    with pytest.raises(StoreError, match="it is closed"):
        asyncio.run(store.ping())
    del store
    gc.collect()


def test_ten_threads_lose_no_update(server: RedisServer) -> None:
    with RedisStore(server.url, namespace=uuid.uuid4().hex) as store:
        count = OptimisticLock(store, "count", default=lambda: 0)

        def work(_: int) -> None:
            for _ in range(10):
                count.update(lambda now: now + 1)

        with ThreadPoolExecutor(10) as pool, deadline(30):
            list(pool.map(work, range(10)))
        assert count.read().value == 100


@pytest.mark.capability("fork")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(server: RedisServer, admin: Any) -> None:
    with RedisStore(server.url, namespace=uuid.uuid4().hex) as store:
        store.compare_and_set("key", b"parent", expected=ABSENT)
        mine = {each["id"] for each in admin.client_list()}
        child = os.fork()
        if child == 0:
            ended = 1
            try:
                there = store.load("key")
                assert there is not None
                assert there.value == b"parent"
                store.compare_and_set("key", b"child", expected=there.revision)
                assert not {each["id"] for each in client(server).client_list()} <= mine
                store.close()
                ended = 0
            finally:
                os._exit(ended)
        assert os.waitpid(child, 0)[1] == 0
        there = store.load("key")
        assert there is not None
        assert there.value == b"child"
        assert {each["id"] for each in admin.client_list()} <= mine, "the parent still has its own connection"


def forked(work: Any) -> None:
    """Have a forked child do it, without an error."""
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            work()
            ended = 0
        finally:
            os._exit(ended)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.capability("fork")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(("does", "hears"), [("uses", True), ("closes", True), ("closes", False), ("drops", False)])
def test_whatever_a_forked_child_does_with_an_async_store_its_parent_goes_on(
    server: RedisServer, does: str, hears: bool
) -> None:
    namespace = uuid.uuid4().hex
    stores: list[AsyncRedisStore] = []

    async def in_child() -> None:
        if does == "uses":
            there = await stores[0].load("key")
            assert there is not None
            assert there.value == b"1"
        elif does == "closes":
            await stores[0].aclose()
        stores.clear()
        gc.collect()

    async def in_parent(other: RedisStore) -> None:
        there = await stores[0].compare_and_set("key", b"1", expected=ABSENT)
        hearing = asyncio.create_task(stores[0].wait("key", after=there.revision, timeout=10)) if hears else None
        while bool(stores[0]._links._listening) is not hears or not stores[0]._links._idle:
            await asyncio.sleep(0.01)
        forked(lambda: asyncio.run(in_child()))
        began = time.monotonic()
        assert await stores[0].load("key") == there
        other.compare_and_set("key", b"2", expected=ANY)
        if hearing is not None:
            await hearing
        assert time.monotonic() - began < 1
        await stores[0].aclose()

    with RedisStore(server.url, namespace=namespace) as other:
        stores.append(AsyncRedisStore(server.url, namespace=namespace, timeout=2))
        asyncio.run(in_parent(other))


@pytest.mark.capability("fork")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_no_thread_of_a_forked_child_finds_a_connection_of_its_parents(server: RedisServer) -> None:
    with RedisStore(server.url) as store, store._links.listening(b"channel"):
        store.ping()

        def look() -> None:
            assert not store._links._idle
            assert not store._links._listening

        forked(look)
        assert store._links._idle


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_what_a_process_inherited_is_disowned(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[Any] = []
    monkeypatch.setattr(os, "register_at_fork", lambda *, after_in_child: hooks.append(after_in_child))

    async def scenario() -> None:
        store = AsyncRedisStore(server.url)
        await store.ping()
        [link] = store._links._idle
        number = link._transport.get_extra_info("socket").fileno()
        for hook in hooks:
            hook()
        with pytest.raises(OSError, match="not connected"), socket.socket(fileno=os.dup(number)) as nothing:
            nothing.getpeername()
        await store.ping()
        assert link not in store._links._idle
        del link
        gc.collect()  # closes it
        await store.aclose()

    asyncio.run(scenario())
    gc.collect()
    for hook in hooks:
        hook()  # of a store that is gone
