"""What peers shipped around locks, leases and optimistic updates, and what our stores do in its place.

On the stores of one machine, in virtual time. What needs a server stands with that: tests/stores/test_redis_faults.py (a
restart without persistence, the driver's own retries against a hung server), tests/stores/test_postgres_faults.py (a guard
judged on an old snapshot, one backend killed); what needs processes, in tests/processes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resilience import OptimisticLock
from resilience.errors import ConfigError, GuardRefusedError, OutcomeUnknownError, VersionConflictError
from resilience.stores import ABSENT, ANY, VACANT, Beat, FileStore, Guard, MemoryStore, Seen, SQLiteStore
from resilience.testing import VirtualClock, check_store
from resilience.typing import Store


MAKERS: dict[str, Callable[[Path, VirtualClock | None], Store]] = {
    "memory": lambda place, clock: MemoryStore(clock),
    "file": lambda place, clock: FileStore(place / "kept", clock=clock),
    "sqlite": lambda place, clock: SQLiteStore(place / "x.db", clock=clock),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[VirtualClock | None], Store]]:
    """Makes a store of each kind; all are closed afterwards."""
    opened: list[Store] = []

    def make(clock: VirtualClock | None) -> Store:
        opened.append(MAKERS[request.param](tmp_path, clock))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


Make = Callable[[VirtualClock | None], Store]


def test_no_check_at_the_resource(make: Make) -> None:
    """The holder stopped, another took over: his write is refused by the store, and would be done without a guard."""
    clock = VirtualClock()
    store = make(clock)
    old = store.compare_and_set("lease", b"old", expected=VACANT, ttl=2)
    clock.advance(3)
    seen = store.load("lease")
    assert seen is not None
    store.compare_and_set("lease", b"new", expected=Seen(seen.revision, seen.beats), ttl=2)
    with pytest.raises(GuardRefusedError):
        store.compare_and_set("value", b"stale", expected=ANY, guard=Guard("lease", old.revision))
    assert store.load("value") is None
    store.compare_and_set("value", b"stale", expected=ANY)  # the control arm
    assert store.load("value") is not None


@pytest.mark.parametrize("jump", [-3600.0, 3600.0], ids=["back", "forward"])
def test_wall_clocks_break_leases(make: Make, jump: float) -> None:
    """An hour on either side ends nothing early, and makes nothing immortal."""
    clock = VirtualClock()
    store = make(clock)
    held = store.compare_and_set("lease", b"", expected=VACANT, ttl=30)
    clock.jump_wall(jump)
    with pytest.raises(VersionConflictError):
        store.compare_and_set("lease", b"", expected=VACANT, ttl=30)
    assert store.extend([Beat("lease", held.revision, 30)]) == frozenset()
    clock.advance(30)
    assert store.compare_and_set("lease", b"", expected=VACANT, ttl=30).revision > held.revision


def test_a_token_repeats_after_the_key_was_removed(make: Make) -> None:
    clock = VirtualClock()  # it stands still: nothing but the count can tell two revisions apart
    store = make(clock)
    seen = []
    for _ in range(3):
        seen.append(store.compare_and_set("lease", b"", expected=ABSENT).revision)
        store.remove("lease", expected=seen[-1])
    assert seen == sorted(set(seen))


def test_an_expired_lease_is_revived_by_a_late_beat(make: Make) -> None:
    clock = VirtualClock()
    store = make(clock)
    held = store.compare_and_set("lease", b"", expected=VACANT, ttl=2)
    clock.advance(2)
    assert store.extend([Beat("lease", held.revision, 30)]) == {"lease"}
    there = store.load("lease")
    assert there is not None
    assert there.expired


def test_takeover_of_a_lease_renewed_after_it_was_listed(make: Make) -> None:
    clock = VirtualClock()
    store = make(clock)
    held = store.compare_and_set("lease", b"", expected=VACANT, ttl=2)
    [(_, listed)] = store.scan("lease")
    store.extend([Beat("lease", held.revision, 30)])
    with pytest.raises(VersionConflictError):
        store.compare_and_set("lease", b"mine", expected=Seen(listed.revision, listed.beats), ttl=2)


@pytest.mark.parametrize("ttl", [0, -1, float("nan")], ids=str)
def test_a_timeout_of_zero_deletes_the_lock(make: Make, ttl: float) -> None:
    store = make(None)
    held = store.compare_and_set("lease", b"", expected=VACANT, ttl=30)
    with pytest.raises(ConfigError, match="ttl"):
        store.extend([Beat("lease", held.revision, ttl)])
    with pytest.raises(ConfigError, match="ttl"):
        store.compare_and_set("lease", b"", expected=ANY, ttl=ttl)
    there = store.load("lease")
    assert there is not None
    assert (there.revision, there.expired) == (held.revision, False)


def test_no_expiry_locks_nothing(make: Make) -> None:
    """Without a TTL a record excludes others for ever, as it says."""
    clock = VirtualClock()
    store = make(clock)
    store.compare_and_set("lease", b"", expected=VACANT, ttl=None)
    clock.advance(1e8)
    with pytest.raises(VersionConflictError):
        store.compare_and_set("lease", b"", expected=VACANT, ttl=30)


def test_a_lost_reply_is_retried_and_the_change_applied_twice(make: Make) -> None:
    """The answer to the write is lost, once; the control arm tries again blindly, as drivers do."""
    store = make(None)

    class Losing:
        """Does what it is asked, and loses its first answer to a write."""

        def __init__(self) -> None:
            self.lost = False

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def compare_and_set(self, key: str, value: bytes, **options: Any) -> Any:
            written = store.compare_and_set(key, value, **options)
            if not self.lost:
                self.lost = True
                raise OutcomeUnknownError("a store", "the answer was lost")
            return written

    store.compare_and_set("n", b"0", expected=ABSENT)
    losing: Any = Losing()
    assert OptimisticLock(losing, "n", default=int).update(lambda n: n + 1).value == 1

    blind: Any = Losing()
    for _ in range(2):
        there = blind.load("n")
        try:
            blind.compare_and_set("n", b"%d" % (int(there.value) + 1), expected=there.revision)
        except OutcomeUnknownError:
            continue
        break
    assert OptimisticLock(store, "n", default=int).read().value == 3


def test_locks_exclude_no_threads(make: Make) -> None:
    """Record locks belong to the process: two threads both have them (78 712 lost updates)."""
    store = make(None)
    counter = OptimisticLock(store, "n", default=int)
    start = threading.Barrier(10)

    def work() -> None:
        start.wait()
        for _ in range(5):
            counter.update(lambda n: n + 1)

    with ThreadPoolExecutor(10) as pool:
        for future in [pool.submit(work) for _ in range(10)]:
            future.result()
    assert counter.read().value == 50


def test_a_contract_with_one_instance_calls_a_split_brain_full() -> None:
    """Two instances with data of their own: each alone is right, so only a suite with two finds it."""
    alone = check_store(MemoryStore, max_examples=5)
    assert not {name for name in alone.failed if "machine" not in name}
    split = check_store(MemoryStore, another=lambda store: MemoryStore(store._clock), max_examples=5)
    assert "only_one_instance_takes_a_lease" in split.failed
