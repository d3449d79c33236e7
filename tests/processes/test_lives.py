"""What becomes of a store when its process forks, when it is closed, and where another process has another clock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.processes.children import Child, Place, in_another_time

from resilience.errors import StoreError
from resilience.stores import ABSENT, ANY, Beat


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="capability: os.fork")


@forks
@pytest.mark.parametrize("how", ["multiprocessing", "os.fork"])
@pytest.mark.parametrize("times", [20, 0], ids=["the child goes on", "the child only ends"])
def test_parent_and_child_of_a_fork_go_on_beside_each_other(place: Place, how: str, times: int) -> None:
    with Child("fork", place, "count", how, times) as process:
        assert process.hear() == [0, 1 + times + 20 + 20]
        assert process.end() == 0


@forks
def test_a_store_in_memory_refuses_the_child_of_a_fork() -> None:
    with Child("fork_memory") as process:
        assert "before a fork" in process.hear()
        assert process.hear() is True
        assert process.end() == 0


VERBS: dict[str, Callable[[Any], object]] = {
    "load": lambda store: store.load("key"),
    "load_many": lambda store: store.load_many(["key"]),
    "compare_and_set": lambda store: store.compare_and_set("key", b"", expected=ANY),
    "extend": lambda store: store.extend([Beat("key", 1, 1.0)]),
    "remove": lambda store: store.remove("key", expected=ANY),
    "scan": lambda store: store.scan(),
    "wait": lambda store: store.wait("key", after=ABSENT, timeout=1),
    "ping": lambda store: store.ping(),
    "enter": lambda store: store.__enter__(),
}


def _assert_refuses(store: Any) -> None:
    for name, verb in VERBS.items():
        with pytest.raises(StoreError, match="it is closed"):
            verb(store)
            pytest.fail(f"{name} works on a closed store")
    assert repr(store).endswith("(closed)>")


def test_a_store_is_closed_twice_in_silence_and_refuses_every_verb_then(place: Place) -> None:
    store = place.open()
    store.compare_and_set("key", b"kept", expected=ABSENT)
    store.close()
    store.close()
    _assert_refuses(store)
    with place.open() as again:
        assert again.load("key").value == b"kept"


def test_a_store_in_memory_is_closed_twice_too() -> None:
    store = Place("memory", "", "").open()
    store.compare_and_set("key", b"", expected=ABSENT)
    store.close()
    store.close()
    _assert_refuses(store)


#: Seconds: long enough for a process to start within.
TTL = 1.5


def _assert_judged_rightly(look: Callable[[], tuple[bool, float]], written: float) -> None:
    """Alive at first, dead when its time is over."""
    expired, left = look()
    assert (expired, 0 < left <= TTL) == (False, True)
    time.sleep(max(0.0, written + TTL + 0.05 - time.monotonic()))
    assert look() == (True, 0.0)


@pytest.mark.parametrize("ahead", [100_000, -100], ids=["booted earlier", "booted later"])
def test_a_lease_of_a_process_with_another_boot_clock_is_judged_rightly(disk_place: Place, ahead: int) -> None:
    before = in_another_time(ahead)
    with Child("write_lease", disk_place, "lease", TTL, before=before) as writer, disk_place.open() as store:
        assert writer.hear() == "ready"
        written = time.monotonic()

        def look() -> tuple[bool, float]:
            seen = store.load("lease")
            writer.say()
            assert writer.hear()[0] == seen.expired
            return seen.expired, seen.expires_in

        _assert_judged_rightly(look, written)


def test_a_process_with_another_boot_clock_judges_a_lease_rightly(disk_place: Place) -> None:
    before = in_another_time(100_000)
    with disk_place.open() as store, Child("watch_lease", disk_place, "lease", before=before) as watcher:
        assert watcher.hear() == "ready"
        store.compare_and_set("lease", b"", expected=ABSENT, ttl=TTL)
        written = time.monotonic()

        def look() -> tuple[bool, float]:
            watcher.say()
            expired, left = watcher.hear()
            return expired, left

        _assert_judged_rightly(look, written)
