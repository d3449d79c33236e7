"""A store by its URL."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from resilience import aopen_store, open_store, stores
from resilience.errors import ConfigError, StoreUnavailableError
from resilience.stores import ABSENT, AsyncRedisStore, FileStore, MemoryStore, SQLiteStore, ThreadedStore


def test_memory() -> None:
    with open_store("memory:", max_value_bytes=5) as store:
        assert isinstance(store, MemoryStore)
        with pytest.raises(ConfigError):
            store.compare_and_set("k", b"123456", expected=ABSENT)


def test_a_relative_and_an_absolute_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///some%20name.db") as store:
        assert isinstance(store, SQLiteStore)
        store.compare_and_set("k", b"v", expected=ABSENT)
    assert (tmp_path / "some name.db").exists()
    with open_store(f"sqlite:///{tmp_path / 'some name.db'}") as store:
        assert store.load("k") is not None


def test_a_directory(tmp_path: Path) -> None:
    with open_store(f"file://{tmp_path / 'kept'}") as store:
        assert isinstance(store, FileStore)
        store.compare_and_set("k", b"v", expected=ABSENT)
    assert (tmp_path / "kept").is_dir()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlit:///x.db", r"is sqlite: meant\?"),
        ("mysql://x", "one of memory:"),
        ("", "memory:"),
        ("bridge.db", "memory:"),
        (7, "memory:"),
        ("sqlite://x.db", "sqlite:///x.db"),
        ("sqlite:x.db", "memory:"),
        ("sqlite:///", "memory:"),
        ("sqlite:///x.db?mode=ro", "memory:"),
        ("file://host/var/x", "file:///host/var/x"),
        ("memory:x", "no address"),
    ],
    ids=repr,
)
def test_a_url_that_means_no_store(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_store(url)


def test_a_store_that_lacks_what_is_required_is_not_left_open(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'x.db'}", require=["durable", "guards"]) as store:
        assert store.describe().durable
    descriptors = Path("/proc/self/fd")
    before = sum(1 for _ in descriptors.iterdir())
    with pytest.raises(ConfigError, match="one that is shared"):
        open_store(f"sqlite:///{tmp_path / 'x.db'}", require=["shared"])
    assert sum(1 for _ in descriptors.iterdir()) <= before


def test_for_async_code_a_store_without_an_async_driver_runs_in_threads(tmp_path: Path) -> None:
    async def main() -> None:
        async with await aopen_store(f"sqlite:///{tmp_path / 'x.db'}", require=["durable"]) as store:
            assert isinstance(store, ThreadedStore)
            await store.compare_and_set("k", b"v", expected=ABSENT)
            assert await store.load("k") is not None
        with pytest.raises(ConfigError, match="one that is durable"):
            await aopen_store("memory:", require=["durable"])

    asyncio.run(main())


@pytest.mark.parametrize(
    "url",
    ["postgresql+asyncpg://u:hunter2@h/db", "redis+sentinel://:hunter2@h", "file://u:hunter2@h/x", "x://u:hunter2@h"],
)
def test_a_password_is_shown_to_nobody(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert "hunter2" not in f"{caught.value} {caught.value.value}"


def test_a_store_that_takes_its_time_to_open_does_not_stop_the_loop(tmp_path: Path) -> None:
    """Somebody else has the database locked."""
    path = tmp_path / "x.db"
    open_store(f"sqlite:///{path}").close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")

    async def main() -> int:
        opening = asyncio.create_task(aopen_store(f"sqlite:///{path}", busy_timeout=0.2))
        turns = 0
        while not opening.done():
            turns += 1
            await asyncio.sleep(0.01)
        with pytest.raises(StoreUnavailableError):
            await opening
        return turns

    assert asyncio.run(main()) > 3
    other.close()


def test_for_async_code_redis_has_a_driver_of_its_own() -> None:
    async def main() -> None:
        async with await aopen_store("redis://127.0.0.1:1") as store:
            assert isinstance(store, AsyncRedisStore)

    asyncio.run(main())


def test_the_room_of_stores_lists_what_is_in_it() -> None:
    assert set(stores.__all__) <= set(dir(stores))
    with pytest.raises(AttributeError, match="no attribute 'MySQLStore'"):
        _ = stores.MySQLStore  # type: ignore[attr-defined]
