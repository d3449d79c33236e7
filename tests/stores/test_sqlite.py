"""The SQLite store, as far as the contract does not say it already: real files, real processes, and what befalls both."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.stores.befalling import revisions_go_on

from resilience import OptimisticLock, deadline
from resilience._core.description import Fault
from resilience.errors import (
    ConfigError,
    CorruptStateError,
    DeadlineExceededError,
    GuardRefusedError,
    OutcomeUnknownError,
    StorageFullError,
    StoreError,
    StoreUnavailableError,
    UnknownFormatError,
    VersionConflictError,
)
from resilience.stores import ABSENT, ANY, VACANT, Beat, Expected, Guard, MemoryStore, Seen, SQLiteStore
from resilience.stores._sqlite_errors import BusyError, translated
from resilience.stores._sqlite_links import Link, Links
from resilience.stores._sqlite_log import Log
from resilience.testing import VirtualClock, virtual_time
from resilience.typing import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with SQLiteStore(path) as opened:
        yield opened


@contextlib.contextmanager
def sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    """A plain connection to the same database."""
    raw = sqlite3.connect(path, isolation_level=None, timeout=5)
    try:
        yield raw
    finally:
        raw.close()


Child: TypeAlias = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def child(path: Path) -> Iterator[Child]:
    """Starts other processes that have the store open, as `store`."""
    started: list[subprocess.Popen[str]] = []
    opening = (
        "import os, sys\nfrom resilience import *\nfrom resilience.stores import *\nstore = SQLiteStore(sys.argv[1])\n"
    )

    def start(program: str, *args: object) -> subprocess.Popen[str]:
        argv = [sys.executable, "-W", "error", "-c", opening + program, str(path), *map(str, args)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(30)
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def ended(process: subprocess.Popen[str]) -> str:
    """What a child printed, once it has ended well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# -- the verbs ---------------------------------------------------------------------------------------------------------


def test_it_answers_as_the_store_in_memory_does(path: Path) -> None:
    """The same thousand verbs, at the same moments, of leases and values, guarded and not."""
    clock, rng = VirtualClock(), random.Random(7)
    keys = ["a", "a\0b", "\U0001f600", "lease"]

    def outcome(verb: Callable[[Store], object], on: Store) -> object:
        try:
            return verb(on)
        except (VersionConflictError, GuardRefusedError) as error:
            return type(error), error.key, error.current

    with SQLiteStore(path, clock=clock) as ours, MemoryStore(clock) as model:
        seen: set[str] = set()
        for number in range(1500):
            key, ttl = rng.choice(keys), rng.choice([None, 0.5, 2.0, 8.0])
            there = model.load(rng.choice(keys))
            revision, beats = (there.revision, there.beats) if there else (5, 0)
            expected: Expected = rng.choice([ABSENT, VACANT, ANY, revision, Seen(revision, beats), 2**70])
            guard: Guard | None = rng.choice(
                [None, None, Guard("lease", VACANT), Guard("lease", revision), Guard("lease", 2**70)]
            )
            renewals = [Beat(rng.choice(keys), rng.choice([revision, 2**70]), 4.0) for _ in range(rng.randrange(4))]
            value = str(number).encode()
            verbs: dict[str, Callable[[Store], object]] = {
                "set": lambda on: on.compare_and_set(
                    key, value, expected=expected, ttl=ttl, guard=guard, write_id="w" if ttl else None
                ),
                "remove": lambda on: on.remove(key, expected=expected, guard=guard),
                "extend": lambda on: on.extend(renewals),
                "load": lambda on: on.load(key),
                "many": lambda on: on.load_many(keys),
                "scan": lambda on: on.scan(rng_prefix, after=rng_after, limit=2, expired=bool(beats)),
            }
            rng_prefix, rng_after = rng.choice(["", "a", "\U0001f600", "z"]), rng.choice(["", "a", "lease", "zz"])
            name = rng.choice(sorted(verbs))
            assert outcome(verbs[name], ours) == outcome(verbs[name], model), (number, name)
            seen.add(name)
            rng.choice(
                [lambda: None, lambda: clock.advance(0.5), lambda: clock.jump_wall(rng.choice([-9, 9])), clock.reboot]
            )()
        assert len(seen) == len(verbs)


def test_two_instances_see_one_store(store: SQLiteStore, path: Path) -> None:
    with SQLiteStore(path) as other:
        written = store.compare_and_set("k", b"v", expected=ABSENT)
        assert other.load("k") == written
        assert other.describe() == store.describe()
        with pytest.raises(VersionConflictError):
            other.compare_and_set("k", b"w", expected=ABSENT)
        store.compare_and_set("k", b"w", expected=written.revision)  # the refused write holds no lock


def test_what_it_keeps_is_there_when_it_is_opened_again(path: Path) -> None:
    with SQLiteStore(str(path)) as store:
        written = store.compare_and_set("k", b"v", expected=ABSENT)
        incarnation = store.describe().incarnation
    with SQLiteStore(path) as again:
        assert again.load("k") == written
        assert again.describe().incarnation == incarnation
    assert sorted(path.parent.iterdir()) == [path]


def test_what_has_no_ttl_is_on_the_disk_and_what_has_one_does_not_wait_for_it(store: SQLiteStore) -> None:
    def waits() -> bool:
        link = store._links.take()
        store._links.give(link)
        return bool(link.execute("PRAGMA synchronous").fetchone()[0] == 2)

    store.compare_and_set("value", b"v", expected=ABSENT)
    assert waits()
    lease = store.compare_and_set("lease", b"v", expected=ABSENT, ttl=9)
    assert not waits()
    store.remove("value", expected=ANY)
    assert waits()
    store.extend([Beat("lease", lease.revision, 9)])
    assert not waits()
    store.compare_and_set("value", b"v", expected=ABSENT)
    store.remove("lease", expected=ANY)
    assert not waits()


def test_a_lease_in_the_place_of_what_lasts_waits_for_the_disk(store: SQLiteStore) -> None:
    """Or a power cut would bring back, for good, what was replaced."""
    written: list[str] = []
    link = store._links.take()
    store._links.give(link)
    store.compare_and_set("k", b"lasts", expected=ABSENT)
    link.wait_for_disk(False)
    lasting = store.load("k")
    assert lasting is not None
    link.raw.set_trace_callback(written.append)
    lease = store.compare_and_set("k", b"lease", expected=lasting.revision, ttl=9)
    assert link.execute("PRAGMA synchronous").fetchone() == (2,)
    assert [line for line in written if line in {"ROLLBACK", "COMMIT"} or "FULL" in line] == [
        "ROLLBACK",
        "PRAGMA synchronous = FULL",
        "COMMIT",
    ]
    again = store.compare_and_set("k", b"again", expected=lease.revision, ttl=9)
    assert link.execute("PRAGMA synchronous").fetchone() == (1,)
    assert store.load("k") is not None
    assert again.revision > lease.revision > lasting.revision


def test_a_lease_taken_while_the_clock_is_behind_the_floor_has_a_new_token(path: Path) -> None:
    clock = VirtualClock()
    with SQLiteStore(path, clock=clock) as store:
        first = store.compare_and_set("k", b"", expected=ABSENT, ttl=9).revision
        store.remove("k", expected=first)
        clock.jump_wall(-3600)
        assert store.compare_and_set("k", b"", expected=ABSENT, ttl=9).revision == first + 1


def test_a_lease_of_another_boot_is_renewed_by_the_wall_clock(path: Path) -> None:
    clock = VirtualClock()
    with SQLiteStore(path, clock=clock) as store:
        tokens = [
            store.compare_and_set(key, b"", expected=ABSENT, ttl=ttl).revision for key, ttl in (("a", 60), ("b", 2))
        ]
        clock.advance(3)
        clock.reboot()
        beats = [Beat("a", tokens[0], 9), Beat("b", tokens[1], 9), Beat("a", tokens[0], 90)]
        assert store.extend(beats) == {"b"}
        there = store.load("a")
        assert there is not None
        assert (there.beats, there.expires_in, there.ttl) == (2, 90, 90)


def test_the_log_is_copied_into_the_database_before_it_grows_large(store: SQLiteStore, path: Path) -> None:
    for number in range(20):
        store.compare_and_set(f"k{number % 2}", bytes(1 << 20), expected=ANY, ttl=9)
    assert path.stat().st_size > 1 << 20
    assert Path(f"{path}-wal").stat().st_size < 12 << 20
    # The same where nothing but single statements writes.
    with SQLiteStore(path) as other:
        for number in range(20):
            lease = other.compare_and_set("lease", bytes(1 << 20), expected=ABSENT, ttl=9)
            other.remove("lease", expected=lease.revision)
    assert Path(f"{path}-wal").stat().st_size < 24 << 20


def test_the_log_stays_short_also_where_each_store_writes_little(store: SQLiteStore, path: Path) -> None:
    """One that is idle keeps the log from being copied when the others close; what those write counts together."""
    sizes: list[int] = []
    for _ in range(16):
        with SQLiteStore(path) as other:
            for number in range(6):
                other.compare_and_set(f"k{number}", os.urandom(1 << 19), expected=ANY, ttl=9)
        sizes.append(Path(f"{path}-wal").stat().st_size)
    assert max(sizes) < 21 << 20
    assert sizes != sorted(sizes)  # it is cut, or it would be copied again and again
    assert store.load("k5") is not None


def test_a_log_that_a_reader_keeps_from_being_begun_anew_is_not_copied_at_every_look(path: Path) -> None:
    log, size = Log(str(path)), 0

    def grown(by: int) -> bool:
        nonlocal size
        size += by
        with Path(f"{path}-wal").open("ab") as file:
            file.truncate(size)
        log.look()
        return log.left <= 0

    log.look()
    assert log.left > 0
    assert [grown(6 << 20) for _ in range(3)] == [False, False, True]
    log.copied()
    assert [grown(by << 20) for by in (0, 6, 2)] == [False, False, True]
    log.copied()
    assert [grown(by << 20) for by in (-26, 10, 5, 2)] == [False, False, False, True]


# -- waiting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["its own", "another instance's"])
def test_a_wait_ends_with_a_write(store: SQLiteStore, path: Path, whose: str) -> None:
    with SQLiteStore(path) as other:
        writer = store if whose == "its own" else other
        first = store.compare_and_set("k", b"1", expected=ABSENT).revision
        thread = threading.Timer(0.05, lambda: writer.compare_and_set("k", b"2", expected=first))
        thread.start()
        before = time.monotonic()
        store.wait("k", after=first, timeout=30)
        assert time.monotonic() - before < 10
        thread.join()
        there = store.load("k")
        assert there is not None
        assert there.value == b"2"


def test_a_wait_for_what_does_not_come_ends_in_time_and_other_writes_do_not_end_it(store: SQLiteStore) -> None:
    with virtual_time() as clock:
        first = store.compare_and_set("k", b"1", expected=ANY).revision
        store.wait("k", after=first, timeout=30)
        assert clock.monotonic() == 30
        store.wait("k", after=ABSENT, timeout=30)
        assert clock.monotonic() == 30


def test_closing_ends_a_wait(store: SQLiteStore) -> None:
    thread = threading.Timer(0.05, store.close)
    thread.start()
    with pytest.raises(StoreError, match="closed"):
        store.wait("k", after=ABSENT, timeout=30)
    thread.join()


# -- threads and processes ---------------------------------------------------------------------------------------------


def test_twenty_threads_share_one_store(store: SQLiteStore) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            lease = store.compare_and_set(f"own{number}", b"", expected=ABSENT, ttl=9)
            assert store.extend([Beat(f"own{number}", lease.revision, 9)]) == frozenset()
            assert store.remove(f"own{number}", expected=lease.revision)
            counter = OptimisticLock[int](store, "count", default=int)
            done.append(counter.update(lambda now: now + 1).value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == list(range(1, 101))


def test_ten_processes_lose_none_of_their_increments(store: SQLiteStore, child: Child) -> None:
    program = """
count = OptimisticLock(store, "count", default=int)
for _ in range(20):
    count.update(lambda now: now + 1)
store.close()
"""
    for process in [child(program) for _ in range(10)]:
        ended(process)
    assert OptimisticLock[int](store, "count").read().value == 200


def test_a_process_that_is_stopped_between_two_verbs_stops_nobody(store: SQLiteStore, child: Child) -> None:
    program = (
        "store.compare_and_set('k', b'1', expected=ANY); store.load('k'); print('up', flush=True); sys.stdin.read()"
    )
    process = child(program)
    assert line_of(process) == "up"
    process.send_signal(signal.SIGSTOP)
    try:
        before = time.monotonic()
        for _ in range(20):
            store.compare_and_set("k", b"2", expected=ANY)
        assert time.monotonic() - before < 5
    finally:
        process.send_signal(signal.SIGCONT)
        ended(process)


def test_kill_nine_in_the_middle_of_writes_loses_nothing_acknowledged(path: Path, child: Child) -> None:
    program = """
number = int(sys.argv[2])
while True:
    number += 1
    kept = store.compare_and_set("k", str(number).encode(), expected=ANY, ttl=600 if number % 3 else None)
    print(number, kept.revision, flush=True)
"""
    last, highest = 0, 0
    for turn in range(15):
        process = child(program, last)
        assert process.stdout is not None
        acknowledged = [process.stdout.readline()]
        time.sleep(0.004 * turn)
        process.kill()
        acknowledged += process.stdout.read().splitlines(keepends=True)
        process.communicate(timeout=30)
        pairs = [tuple(map(int, line.split())) for line in acknowledged if line.endswith("\n")]
        revisions = [highest, *(revision for _, revision in pairs)]
        assert revisions == sorted(set(revisions))
        with SQLiteStore(path) as store:
            there = store.load("k")
            assert there is not None
            assert int(there.value) in {pairs[-1][0], pairs[-1][0] + 1}
            assert there.revision >= pairs[-1][1]
            last, highest = int(there.value), there.revision


def test_a_forked_child_opens_its_own_connections_and_leaves_its_parents_alone(path: Path, child: Child) -> None:
    program = """
first = store.compare_and_set("k", b"parent", expected=ABSENT)
assert len(store._links._free) == 1
pid = os.fork()
assert store._links._free == []
if pid == 0:
    for number in range(50):
        store.compare_and_set("child", b"", expected=ANY)
    store.remove("k", expected=first.revision)
    sys.exit(0)  # the whole way out, which closes what is open
for number in range(50):
    store.compare_and_set("parent", b"", expected=ANY)
assert os.waitpid(pid, 0)[1] == 0
print(sorted(key for key, _ in store.scan()))
"""
    assert ended(child(program)) == "['child', 'parent']\n"
    with sqlite(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_child_that_closes_the_store_takes_nothing_from_its_parent(child: Child) -> None:
    program = """
lease = store.compare_and_set("k", b"", expected=ABSENT, ttl=60)
if os.fork() == 0:
    store.close()
    os._exit(0)
os.wait()
print(store.extend([Beat("k", lease.revision, 60)]) == frozenset(), store.load("k").beats)
store.close()
"""
    assert ended(child(program)) == "True 1\n"


def test_a_long_reader_and_a_writer_do_not_wait_for_each_other(store: SQLiteStore, path: Path) -> None:
    written = store.compare_and_set("k", b"1", expected=ABSENT)
    with sqlite(path) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT revision FROM records").fetchone()
        for _ in range(20):
            store.compare_and_set("k", bytes(1 << 18), expected=ANY, ttl=9)
        assert reader.execute("SELECT revision FROM records").fetchone() == before == (written.revision,)
        reader.execute("COMMIT")
    with sqlite(path) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert store.load("k") is not None
        assert len(store.scan()) == 1
        assert store.load_many(["k"])["k"] is not None


# -- locked ------------------------------------------------------------------------------------------------------------


def test_it_waits_for_a_lock_that_another_has(store: SQLiteStore, path: Path) -> None:
    with sqlite(path) as other:
        other.execute("BEGIN IMMEDIATE")
        done: list[object] = []
        threads = [
            threading.Thread(target=lambda: done.append(store.compare_and_set("k", b"", expected=ABSENT))),
            threading.Thread(target=lambda: done.append(store.compare_and_set("l", b"", expected=ABSENT, ttl=9))),
            threading.Thread(target=lambda: done.append(store.extend([Beat("x", 1, 9)]))),
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        assert done == []
        other.execute("ROLLBACK")
        for thread in threads:
            thread.join(30)
        assert len(done) == 3


def test_a_lock_that_is_never_free_is_given_up_and_nothing_is_written(path: Path) -> None:
    with SQLiteStore(path, busy_timeout=0.1) as store, sqlite(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match=r"locked for 0\.1 s"):
            store.compare_and_set("k", b"", expected=ABSENT)
        other.execute("ROLLBACK")
        assert store.load("k") is None


def test_the_deadline_around_ends_the_wait_for_a_lock(store: SQLiteStore, path: Path) -> None:
    with sqlite(path) as other:
        other.execute("BEGIN IMMEDIATE")
        before = time.monotonic()
        with pytest.raises(DeadlineExceededError), deadline(0.1):
            store.remove("k", expected=ANY)
        assert time.monotonic() - before < 3


def test_nothing_is_begun_past_the_deadline(store: SQLiteStore) -> None:
    with virtual_time() as clock, pytest.raises(DeadlineExceededError), deadline(1):
        clock.advance(2)
        store.compare_and_set("k", b"", expected=ABSENT)
    assert store.load("k") is None


def test_several_processes_may_make_the_database_at_once(path: Path, child: Child) -> None:
    program = (
        "store.compare_and_set(str(os.getpid()), b'', expected=ABSENT, ttl=60); print(store.describe().incarnation)"
    )
    incarnations = {ended(process) for process in [child(program) for _ in range(5)]}
    assert len(incarnations) == 1
    with SQLiteStore(path) as store:
        assert len(store.scan()) == 5


# -- what befalls it ---------------------------------------------------------------------------------------------------


def test_revisions_go_on_whatever_befalls_it(tmp_path: Path) -> None:
    folders: list[Path] = []

    def current() -> Path:
        return folders[-1] / "store.db"

    def opened(clock: VirtualClock) -> Store:
        folders.append(tmp_path / str(len(folders)))
        store = SQLiteStore(current(), clock=clock)
        with sqlite(current()) as source, sqlite(folders[-1] / "older.db") as older:
            source.backup(older)
        return store

    def emptied(store: Store, clock: VirtualClock) -> Store:
        store.close()
        current().unlink()
        return SQLiteStore(current(), clock=clock)

    def restored(store: Store, clock: VirtualClock) -> Store:
        store.close()
        with sqlite(folders[-1] / "older.db") as older, sqlite(current()) as target:
            older.backup(target)
        return SQLiteStore(current(), clock=clock)

    outcome = revisions_go_on(opened, {Fault.EMPTIED: emptied, Fault.RESTORED: restored})
    assert {faults for faults, goes_on in outcome.items() if not goes_on} == {
        frozenset({Fault.EMPTIED, Fault.CLOCK_SET_BACK}),
        frozenset({Fault.RESTORED, Fault.CLOCK_SET_BACK}),
    }


def test_a_store_whose_file_was_removed_goes_on_with_the_one_at_its_path(store: SQLiteStore, path: Path) -> None:
    with virtual_time() as clock:
        store.compare_and_set("k", b"old", expected=ABSENT, ttl=9)
        for file in path.parent.iterdir():
            file.unlink()
        clock.advance(1)
        with SQLiteStore(path) as other:
            lease = other.compare_and_set("k", b"new", expected=ABSENT, ttl=9)
            with pytest.raises(VersionConflictError):
                store.compare_and_set("k", b"old", expected=ABSENT, ttl=9)
            assert store.load("k") == lease or store.load("k") is not None


@pytest.mark.parametrize(
    "change",
    [
        "value = x'00'",
        "value = 'text'",
        "revision = revision + 1",
        "beats = beats + 1",
        "ttl = NULL",
        "ttl = ttl * 2",
        "expires_boottime = expires_boottime + 0.001",
        "expires_wall = expires_wall - 0.001",
        "boot = boot + 1",
        "write_id = NULL",
        "write_id = x'00'",
        "digest = zeroblob(32)",
        "proof = 'none'",
        "revision = 'text'",
    ],
)
def test_a_changed_byte_is_noticed_and_other_keys_go_on(store: SQLiteStore, path: Path, change: str) -> None:
    lease = store.compare_and_set("k", b"v", expected=ABSENT, ttl=60, write_id="w")
    good = store.compare_and_set("other", b"v", expected=ABSENT, ttl=60)
    with sqlite(path) as raw:
        raw.execute(f"UPDATE records SET {change} WHERE key = CAST('k' AS BLOB)")
    for read in (lambda: store.load("k"), store.scan, lambda: store.load_many(["other", "k"])):
        with pytest.raises(CorruptStateError, match=f"{path}: 'k'"):
            read()
    with pytest.raises(CorruptStateError):
        store.compare_and_set("k", b"w", expected=VACANT)
    store.extend([Beat("k", lease.revision, 90)])
    with pytest.raises(CorruptStateError):
        store.load("k")
    assert store.extend([Beat("k", lease.revision, 90), Beat("other", good.revision, 90)]) <= {"k"}
    there = store.load("other")
    assert there is not None
    assert there.beats == 1


def test_a_full_database_says_so_and_goes_on_when_there_is_room(store: SQLiteStore) -> None:
    store.compare_and_set("k", b"v", expected=ABSENT)
    link = store._links.take()
    store._links.give(link)
    link.execute("PRAGMA max_page_count = 10")
    with pytest.raises(StorageFullError):
        store.compare_and_set("large", bytes(1 << 20), expected=ABSENT)
    with pytest.raises(StorageFullError):
        store.compare_and_set("large", bytes(1 << 20), expected=ABSENT, ttl=9)
    assert [key for key, _ in store.scan()] == ["k"]
    link.execute("PRAGMA max_page_count = 10000")
    store.compare_and_set("large", bytes(1 << 20), expected=ABSENT)


def test_a_commit_that_fails_in_the_middle_is_not_known(child: Child) -> None:
    """A file may not grow past its limit: the disk refuses in the middle of writing the log."""
    program = """
import resource, signal
from resilience.errors import OutcomeUnknownError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store.compare_and_set("k", b"v", expected=ABSENT)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for ttl in (None, 60):
    try:
        store.compare_and_set("large", bytes(1 << 19), expected=ABSENT, ttl=ttl)
    except OutcomeUnknownError as error:
        print(error.what)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(store.load("k").value, store.compare_and_set("large", bytes(1 << 19), expected=ANY).beats)
store.close()
"""
    lines = ended(child(program)).splitlines()
    assert ["SQLITE_IOERR" in line for line in lines] == [True, True, False]
    assert lines[-1] == "b'v' 0"


def test_a_store_that_may_only_be_read_is_read() -> None:
    """As somebody who may not write, for root may."""
    program = """
import os, sys
from resilience.stores import ANY, SQLiteStore
from resilience.errors import StoreError
with SQLiteStore(sys.argv[1] + "-other") as other:  # imports what it needs: nobody else may read this Python
    other.compare_and_set("k", b"v", expected=ANY)
    other.load("k")
if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
with SQLiteStore(sys.argv[1]) as store:
    print(store.load("k").value)
    try:
        store.compare_and_set("k", b"w", expected=ANY)
    except StoreError as error:
        print(type(error).__name__, "not written" in error.what)
"""
    with tempfile.TemporaryDirectory() as folder, SQLiteStore(f"{folder}/store.db") as store:
        store.compare_and_set("k", b"v", expected=ABSENT)
        for file in Path(folder).iterdir():
            file.chmod(0o444)
        Path(folder).chmod(0o755)
        argv = [sys.executable, "-W", "error", "-c", program, f"{folder}/store.db"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("b'v'\nStoreError True\n", "")


# -- opening -----------------------------------------------------------------------------------------------------------


def test_files_and_folders_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "store.db"
    with SQLiteStore(path) as store:
        store.compare_and_set("k", b"", expected=ABSENT)
        files = list(path.parent.iterdir())
        assert len(files) == 3
        assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}
        assert {oct(folder.stat().st_mode & 0o777) for folder in (path.parent, path.parent.parent)} == {"0o700"}


def test_a_new_database_and_its_folders_are_there_to_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "folder" / "store.db"
    synced: list[tuple[int, bool]] = []
    fsync = os.fsync

    def recorded(file: int) -> None:
        fsync(file)
        synced.append((os.fstat(file).st_ino, path.exists()))

    monkeypatch.setattr(os, "fsync", recorded)
    with SQLiteStore(path):
        folders = [tmp_path, path.parent.parent, path.parent]
        assert synced == [*((folder.stat().st_ino, folder == path.parent) for folder in folders)]


def test_a_file_that_is_swapped_while_it_is_opened_is_not_taken_for_the_one_at_the_path(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped: list[SQLiteStore] = []

    class Swapped(Links):
        """Whose file is another's when it is set up."""

        def _set_up(self, raw: sqlite3.Connection) -> None:
            super()._set_up(raw)
            if not swapped:
                old = path.parent / "old"
                old.mkdir()
                for file in list(path.parent.glob("store.db*")):
                    file.rename(old / file.name)
                monkeypatch.undo()
                swapped.append(SQLiteStore(path))

    monkeypatch.setattr("resilience.stores.sqlite.Links", Swapped)
    with SQLiteStore(path) as store:
        store.compare_and_set("k", b"", expected=ABSENT)
        assert swapped[0].load("k") is not None
    swapped[0].close()


def test_what_is_synced_is_synced_through_the_drives_own_cache(store: SQLiteStore) -> None:
    """Where it matters, on macOS; SQLite keeps the setting everywhere."""
    link = store._links.take()
    store._links.give(link)
    assert link.execute("PRAGMA fullfsync").fetchone() == (1,)


def test_where_the_file_system_has_no_links_sqlite_makes_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", link)
    with SQLiteStore(path) as store:
        store.compare_and_set("k", b"", expected=ABSENT)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("path", ["", ":memory:", "a\0b", 5, None, b"x.db"], ids=repr)
def test_a_path_that_is_no_files_is_refused(path: Any) -> None:
    with pytest.raises(ConfigError, match="MemoryStore"):
        SQLiteStore(path)


def test_a_network_file_system_is_refused_by_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = path.parent / "mountinfo"
    table.write_text(f"36 35 98:0 / {path.parent} rw,noatime shared:1 - nfs4 server:/export rw\n")
    monkeypatch.setattr("resilience.stores._mounts.TABLE", str(table))
    with pytest.raises(ConfigError, match="nfs4"):
        SQLiteStore(path)
    assert not path.exists()


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="CANTOPEN"):
        SQLiteStore(tmp_path)


@pytest.mark.parametrize("below", ["store.db", "folder/store.db"])
def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="CANTOPEN"):
        SQLiteStore(tmp_path / "file" / below)


def test_a_file_of_something_else_is_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(CorruptStateError, match="not a database"):
        SQLiteStore(path)
    assert path.read_bytes() == b"this is no database at all" * 100


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE theirs (x)", "PRAGMA user_version = 3", "PRAGMA application_id = 77"]
)
def test_a_database_of_something_else_is_left_as_it_is(path: Path, statement: str) -> None:
    with sqlite(path) as raw:
        raw.execute(statement)
    with pytest.raises(UnknownFormatError, match="something else"):
        SQLiteStore(path)
    with sqlite(path) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_another_versions_database_is_refused(store: SQLiteStore, path: Path) -> None:
    store.close()
    with sqlite(path) as raw:
        raw.execute("PRAGMA user_version = 9")
    with pytest.raises(UnknownFormatError, match="its format is 9"):
        SQLiteStore(path)


def test_a_place_without_a_write_ahead_log_is_refused(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as raw:
        with pytest.raises(StoreError, match="'memory'"):
            Links("SQLiteStore('x')", str(path))._set_up(raw)


def test_a_database_that_another_makes_at_the_same_moment_is_made_once(path: Path) -> None:
    made: list[SQLiteStore] = []

    def another(statement: str) -> None:
        if "journal_mode" in statement and not made:
            made.append(SQLiteStore(path))

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.set_trace_callback(another)
        Links("SQLiteStore('x')", str(path))._set_up(raw)
        assert raw.execute("SELECT incarnation FROM store").fetchall() == [(made[0].describe().incarnation,)]
    made[0].close()


def test_tables_that_are_gone_are_said(store: SQLiteStore, path: Path) -> None:
    with sqlite(path) as raw:
        raw.execute("DROP TABLE records")
    with pytest.raises(StoreError, match="no such table"):
        store.load("k")
    store.close()
    with pytest.raises(StoreError, match="no such table"):
        SQLiteStore(path)


def test_a_closed_store_says_so(store: SQLiteStore) -> None:
    store.close()
    store.close()
    for verb in (lambda: store.load("k"), store.describe, store.ping, store.__enter__):
        with pytest.raises(StoreError, match="closed"):
            verb()


def test_ctrl_c_in_a_transaction_leaves_no_lock_behind(store: SQLiteStore) -> None:
    def interrupted(link: Link, _: None) -> None:
        link.execute("BEGIN IMMEDIATE")
        link.raw.interrupt()
        raise KeyboardInterrupt

    def broken(link: Link, _: None) -> None:
        link.execute("BEGIN IMMEDIATE")
        link.execute = refused  # type: ignore[assignment]
        raise KeyboardInterrupt

    def refused(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    for hand in (interrupted, broken):
        with pytest.raises(KeyboardInterrupt):
            store._carry_out(hand, None)
        store.compare_and_set("k", b"", expected=ANY)
    assert all(link.execute is not refused for link in store._links._free)


@pytest.mark.parametrize(
    ("code", "committing", "expected"),
    [
        ("SQLITE_IOERR_FSYNC", True, OutcomeUnknownError),
        ("SQLITE_IOERR_FSYNC", False, StoreUnavailableError),
        ("SQLITE_FULL", True, StorageFullError),
        ("SQLITE_BUSY_SNAPSHOT", True, BusyError),
        ("SQLITE_CORRUPT_INDEX", False, CorruptStateError),
        ("SQLITE_READONLY_DBMOVED", False, StoreError),
        ("SQLITE_TOOBIG", False, StoreError),
        (None, True, StoreError),
    ],
)
def test_an_error_of_sqlites_says_whether_the_verb_was_applied(
    code: str | None, committing: bool, expected: type[Exception]
) -> None:
    error = sqlite3.OperationalError("what SQLite says")
    if code is not None:
        error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, code), code
    found = translated("the store", error, committing)
    assert type(found) is expected
    assert "what SQLite says" in str(found)


def test_many_who_open_a_new_database_at_once_agree_that_it_is_theirs(tmp_path: Path) -> None:
    """Whoever looks while another makes the tables sees all of that or nothing: half of it looked like a stranger's."""
    for number in range(10):
        start = threading.Barrier(8)

        def opened(path: Path = tmp_path / f"{number}.db", start: threading.Barrier = start) -> str:
            start.wait()
            with SQLiteStore(path) as store:
                return store.describe().incarnation

        with ThreadPoolExecutor(8) as pool:
            assert len({future.result() for future in [pool.submit(opened) for _ in range(8)]}) == 1
