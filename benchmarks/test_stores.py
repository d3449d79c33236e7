"""What each verb of a store costs, over the raw statement, script or file that does the same by hand; and beside peers."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diskcache
import pytest
import redis
from attrs import frozen
from compare import Cell, Run, Table, acalls, calibrated, calls
from key_value.aio.stores.redis import RedisStore as PyKeyValueRedis
from raw import KEY, VALUE, Raw, RawFiles, RawPostgres, RawRedis, RawSQLite, keys
from tests.servers.postgres import postgres_server
from tests.servers.redis import redis_server

from resilience import AsyncOptimisticLock, OptimisticLock, open_store
from resilience.stores import ABSENT, ANY, AsyncRedisStore, Beat, Bytes, MemoryStore, PostgresStore, ThreadedStore
from resilience.typing import Store


if TYPE_CHECKING:
    from conftest import Bench

ROUNDS = 15


@frozen
class Engine:
    """A store of ours on an engine, and the engine itself beside it."""

    name: str
    store: Store
    raw: Raw
    #: What acquiring and releasing a lease may cost, over two raw statements; None where nothing is promised.
    lease_at_most: float | None


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    """All of them, with a thousand leases in each store."""
    place = tmp_path_factory.mktemp("stores")
    with ExitStack() as stack:
        server = stack.enter_context(redis_server(place))
        database = stack.enter_context(postgres_server(place, fsync="on", synchronous_commit="on"))
        with PostgresStore(database.dsn) as store:
            store.create_schema()
        found: dict[str, tuple[str, Raw, float | None]] = {
            "SQLite": (f"sqlite:///{place / 'ours.db'}", RawSQLite(place / "raw.db"), 2.0),
            "files": (f"file://{place / 'ours'}", RawFiles(place / "raw"), None),
            "Redis": (server.url, RawRedis(server.url), 1.3),
            "PostgreSQL": (database.dsn, RawPostgres(database.dsn), 1.3),
        }
        for _, raw, _ in found.values():
            stack.callback(raw.close)
        yield {
            name: Engine(name, stack.enter_context(_filled(url)), raw, bound)
            for name, (url, raw, bound) in found.items()
        }


def _filled(url: str) -> Store:
    store = open_store(url)
    for key in keys(1000):
        store.compare_and_set(key, VALUE, expected=ANY, ttl=3600)
    return store


def table_of(
    title: str,
    times: Mapping[str, Sequence[float]],
    pairs: Mapping[str, str],
    bounds: Mapping[str, float],
    note: str = "",
) -> Table:
    """Each variant over the one it is held against: the median of the rounds' ratios."""
    rows: list[list[Cell]] = []
    misses = []
    for name, floor in pairs.items():
        ratios = sorted(map(float.__truediv__, times[name], times[floor]))
        ratio, bound = statistics.median(ratios), bounds.get(name)
        missed = bound is not None and ratio > bound
        if missed:
            misses.append(f"{title}: {name} is {ratio:.2f} × {floor}, target ≤ {bound:g}")
        target = None if bound is None else f"≤ {bound:g}"
        verdict = None if bound is None else "MISS" if missed else "ok"
        micros = statistics.median(times[name]) / 1000, statistics.median(times[floor]) / 1000
        rows.append([name, floor, *micros, ratio, ratios[0], ratios[-1], target, verdict])
    columns = {
        "": "",
        "over": "",
        "µs": ",.1f",
        "its µs": ",.1f",
        "ratio": ".2f",
        "least": ".2f",
        "most": ".2f",
        "target": "",
        "verdict": "",
    }
    return Table(title, columns, rows, misses, note)


def measured(bench: Bench, runs: Mapping[str, Run]) -> dict[str, list[float]]:
    """Interleaved rounds of these."""
    return bench.interleave({name: calibrated(run) for name, run in runs.items()}, ROUNDS)


def leasing(store: Store) -> Callable[[int], object]:
    """Acquire a lease and release it."""

    def lease(x: int) -> object:
        held = store.compare_and_set("lease", b"", expected=ABSENT, ttl=30)
        return store.remove("lease", expected=held.revision)

    return lease


def extending(store: Store, number: int) -> Callable[[int], object]:
    """Renew so many leases."""
    found = store.load_many(keys(number))
    beats = [Beat(key, there.revision, 3600) for key, there in found.items() if there is not None]
    assert store.extend(beats) == frozenset()
    return lambda x: store.extend(beats)


def swapping(store: Store) -> Callable[[int], object]:
    """Compare and set, again and again."""
    revision = store.compare_and_set("value", VALUE, expected=ANY).revision

    def swap(x: int) -> None:
        nonlocal revision
        revision = store.compare_and_set("value", VALUE, expected=revision).revision

    return swap


@pytest.mark.parametrize("name", ["SQLite", "files", "Redis", "PostgreSQL"])
def test_verbs(bench: Bench, engines: dict[str, Engine], name: str) -> None:
    """Each verb over what it comes down to."""
    engine = engines[name]
    store, raw = engine.store, engine.raw
    pairs: dict[str, tuple[Callable[[int], object], Callable[[int], object]]] = {
        "load": (lambda x: store.load(KEY), raw.load),
        "compare-and-set": (swapping(store), raw.swap),
        "acquire + release": (leasing(store), raw.lease),
    }
    for number in (1, 100, 1000):
        many = keys(number)
        pairs[f"extend {number}"] = (extending(store, number), lambda x, many=many: raw.extend(many))  # type: ignore[misc]  # mypy infers no lambda with a default
    pairs["scan 1000"] = (lambda x: store.scan("bench:"), raw.scan)
    runs = {}
    for verb, (ours, floor) in pairs.items():
        runs[verb], runs[f"raw {verb}"] = calls(ours), calls(floor)
    bounds = {"extend 1000": 2.0} if name != "files" else {}
    if engine.lease_at_most is not None:
        bounds["acquire + release"] = engine.lease_at_most
    table = table_of(f"{name}: verbs", measured(bench, runs), {verb: f"raw {verb}" for verb in pairs}, bounds)
    bench.keep(table)


def test_threads(bench: Bench, runner: asyncio.Runner) -> None:
    """What a worker thread adds to a verb, in async code."""
    memory = MemoryStore()
    memory.compare_and_set(KEY, VALUE, expected=ANY)
    threaded = ThreadedStore(memory)

    async def nothing(x: int) -> object:
        return await asyncio.to_thread(int)

    async def load(x: int) -> object:
        return await threaded.load(KEY)

    runs = {
        "memory, blocking": calls(lambda x: memory.load(KEY)),
        "asyncio.to_thread(int)": acalls(runner, nothing),
        "ThreadedStore(memory)": acalls(runner, load),
    }
    pairs = {"ThreadedStore(memory)": "asyncio.to_thread(int)", "asyncio.to_thread(int)": "memory, blocking"}
    bench.keep(table_of("a load in a worker thread", measured(bench, runs), pairs, {}))


def test_peers(bench: Bench, engines: dict[str, Engine], runner: asyncio.Runner, tmp_path: Path) -> None:
    """The same work by others: a read, a write, and a read-modify-write that loses nothing."""
    sqlite, remote = engines["SQLite"].store, engines["Redis"].store
    cache: Any = diskcache.Cache(str(tmp_path / "cache"))
    cache.set(KEY, VALUE)
    cache.set("count", 0)
    url = _url_of(engines)
    client: Any = redis.Redis.from_url(url)
    client.set("plain", VALUE)
    client.set("count", 0)
    peer: Any = PyKeyValueRedis(url=url)
    asynchronous = AsyncRedisStore(url)
    counters = [OptimisticLock(store, "count", default=int) for store in (sqlite, remote)]
    acounter: AsyncOptimisticLock[int] = AsyncOptimisticLock(asynchronous, "count", default=int)

    def one_more(x: int) -> int:
        return x + 1

    def watch(x: int) -> object:
        """As redis-py documents it: WATCH, GET, MULTI, SET, EXEC."""

        def change(pipe: Any) -> None:
            count = int(pipe.get("count"))
            pipe.multi()
            pipe.set("count", count + 1)

        return client.transaction(change, "count")

    def transact(x: int) -> None:
        with cache.transact():
            cache["count"] += 1

    async def put(x: int) -> object:
        return await peer.put(KEY, {"value": "v" * 200})

    async def get(x: int) -> object:
        return await peer.get(KEY)

    async def aload(x: int) -> object:
        return await asynchronous.load(KEY)

    async def aset(x: int) -> object:
        return await asynchronous.compare_and_set("value", VALUE, expected=ANY)

    async def aupdate(x: int) -> object:
        return await acounter.update(one_more)

    runs = {
        "SQLite: load": calls(lambda x: sqlite.load(KEY)),
        "diskcache: get": calls(lambda x: cache.get(KEY)),
        "SQLite: compare-and-set, expiring": calls(lambda x: sqlite.compare_and_set("v", VALUE, expected=ANY, ttl=60)),
        "diskcache: set, expiring": calls(lambda x: cache.set("v", VALUE, expire=60)),
        "SQLite: update": calls(lambda x: counters[0].update(one_more)),
        "diskcache: transact": calls(transact),
        "Redis: load": calls(lambda x: remote.load(KEY)),
        "redis-py: get": calls(lambda x: client.get("plain")),
        "Redis: compare-and-set": calls(lambda x: remote.compare_and_set("v", VALUE, expected=ANY)),
        "redis-py: set": calls(lambda x: client.set("plain", VALUE)),
        "Redis: update": calls(lambda x: counters[1].update(one_more)),
        "redis-py: watch": calls(watch),
        "Redis, async: load": acalls(runner, aload),
        "py-key-value: get": acalls(runner, get),
        "Redis, async: compare-and-set": acalls(runner, aset),
        "py-key-value: put": acalls(runner, put),
        "Redis, async: update": acalls(runner, aupdate),
    }
    names = list(runs)
    pairs = dict(zip(names[0:16:2], names[1:16:2], strict=True))
    note = (
        "diskcache commits without waiting for the disk, and SQLite: update waits; py-key-value has no compare-and-set"
    )
    bench.keep(
        table_of("beside peers", measured(bench, runs), {**pairs, "Redis, async: update": "redis-py: watch"}, {}, note)
    )
    runner.run(asynchronous.aclose())
    runner.run(peer.close())
    cache.close()
    client.close()


def _url_of(engines: dict[str, Engine]) -> str:
    raw: Any = engines["Redis"].raw
    arguments = raw._client.connection_pool.connection_kwargs
    return f"redis://{arguments['host']}:{arguments['port']}"


def test_codec(bench: Bench) -> None:
    """What an update adds to its two verbs, on a memory."""
    memory = MemoryStore()
    lock = OptimisticLock(memory, "k", Bytes(), default=bytes)
    lock.update(lambda data: VALUE)

    def by_hand(x: int) -> None:
        there = memory.load("k")
        assert there is not None
        memory.compare_and_set("k", there.value, expected=there.revision, write_id="w")

    runs = {"update": calls(lambda x: lock.update(lambda data: data)), "load, compare-and-set": calls(by_hand)}
    bench.keep(table_of("an update, in memory", measured(bench, runs), {"update": "load, compare-and-set"}, {}))
