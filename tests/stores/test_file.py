"""The store in files: what stands in the directory, what befalls it, and what its users do to each other."""

from __future__ import annotations

import errno
import json
import os
import random
import secrets
import shutil
import signal
import stat
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.io.failing_disk import FailingDisk, descriptors, strays
from tests.stores.befalling import revisions_go_on
from tests.stores.test_recordfiles import BAD_KEYS

from resilience import OptimisticLock, deadline
from resilience._core.description import Fault
from resilience._core.steps import Verb
from resilience._io.disk import FULL, OsDisk
from resilience._io.flocks import locked, take
from resilience.errors import (
    ConfigError,
    CorruptStateError,
    DeadlineExceededError,
    OutcomeUnknownError,
    ResilienceError,
    StorageFullError,
    StoreError,
    StoreUnavailableError,
    UnknownFormatError,
    VersionConflictError,
)
from resilience.stores import ABSENT, ANY, VACANT, Beat, Guard, MemoryStore, Seen
from resilience.stores._recordfiles import sealed
from resilience.stores.file import FileStore
from resilience.testing import VirtualClock, virtual_time
from resilience.typing import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[FileStore]:
    with FileStore(folder) as store:
        yield store


def record_of(folder: Path, name: str) -> Path:
    return folder / f"k-{name}.record"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def value_of(store: Store, key: str) -> bytes | None:
    there = store.load(key)
    return None if there is None else there.value


def forked(fn: Callable[[], object]) -> int:
    """The process id of a child that does this, and ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which other tests may have left
        pid = os.fork()
    if not pid:
        try:
            fn()
        finally:
            os._exit(0)
    return pid


def answer_of(fn: Callable[[], object]) -> str:
    """What comes of this in a process that is not the superuser's, as text."""
    read, write = os.pipe()

    def say() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            answer = repr(fn())
        except ResilienceError as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(write, answer.encode())

    pid = forked(say)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read) as answers:
        return answers.read()


class TestLikeMemory:
    """Whatever is asked of both, both answer alike."""

    class Asked:
        def __init__(self, *stores: Store) -> None:
            self.stores = stores

        def __getattr__(self, verb: str) -> Callable[..., Any]:
            def ask(*args: Any, **options: Any) -> Any:
                ours, theirs = [self.outcome(getattr(store, verb), args, options) for store in self.stores]
                assert ours == theirs
                return ours

            return ask

        @staticmethod
        def outcome(fn: Callable[..., Any], args: Any, options: Any) -> Any:
            try:
                return fn(*args, **options)
            except ResilienceError as error:
                return type(error), error._facts()

    keys = st.sampled_from(["a", "A", "a/..", "\0t", "é" * 100, "é" * 101, "lock", "con"])
    ttls = st.sampled_from([None, 1.0, 4.0])
    values = st.sampled_from([b"", b"x", b"\n" * 3, bytes(200_000), bytes(range(256))])

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_of_any_verbs_in_any_order(self, data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as folder, virtual_time() as clock:
            both = self.Asked(FileStore(folder), MemoryStore())
            seen = [1]
            expected = st.one_of(
                st.sampled_from([ABSENT, VACANT, ANY]),
                st.sampled_from(seen),
                st.builds(Seen, st.sampled_from(seen), st.integers(0, 2)),
            )
            guard = st.none() | st.builds(Guard, self.keys, st.just(VACANT) | st.sampled_from(seen))
            for _ in range(data.draw(st.integers(1, 12))):
                verb = data.draw(
                    st.sampled_from(["set", "set", "set", "extend", "remove", "scan", "load", "time", "sweep"])
                )
                if verb == "set":
                    written = both.compare_and_set(
                        data.draw(self.keys), data.draw(self.values), expected=data.draw(expected), ttl=data.draw(self.ttls),
                        guard=data.draw(guard), write_id=data.draw(st.none() | st.just("w")),
                    )  # fmt: skip
                    seen.append(getattr(written, "revision", 1))
                elif verb == "extend":
                    both.extend([Beat(data.draw(self.keys), data.draw(st.sampled_from(seen)), 3.0) for _ in range(3)])
                elif verb == "remove":
                    both.remove(data.draw(self.keys), expected=data.draw(expected), guard=data.draw(guard))
                elif verb == "time":
                    clock.advance(data.draw(st.sampled_from([0.5, 1.0, 3.0])))
                elif verb == "sweep":
                    both = self.Asked(FileStore(folder), both.stores[1])
                else:
                    both.load_many(["a", "A", "con", "nothing"])
                    after = data.draw(st.sampled_from(["", "a", "é" * 100]))
                    for expired in (False, True):
                        both.scan(
                            data.draw(st.sampled_from(["", "a", "é", "é" * 101])), after=after, limit=3, expired=expired
                        )
            both.scan()


class TestNames:
    def test_every_key_that_hurts_keeps_its_own_value_and_nothing_appears_elsewhere(self, tmp_path: Path) -> None:
        folder = tmp_path / "outer/store"
        with FileStore(folder) as store:
            around = sorted(path for path in tmp_path.rglob("*") if folder not in path.parents)
            for number, key in enumerate(BAD_KEYS):
                store.compare_and_set(key, b"%d" % number, expected=ABSENT, ttl=None if number % 2 else 60)
            store.extend([Beat(key, seen.revision, 60) for key, seen in store.scan(limit=10_000) if seen.ttl])
            assert store.load_many(BAD_KEYS).keys() == set(BAD_KEYS)
            assert [value_of(store, key) for key in BAD_KEYS] == [b"%d" % n for n in range(len(BAD_KEYS))]
            assert [key for key, _ in store.scan(limit=10_000)] == sorted(BAD_KEYS)
            assert sorted(path for path in tmp_path.rglob("*") if folder not in path.parents) == around
            names = names_in(folder)
            assert all((folder / name).is_file() for name in names)
            assert len({name.lower() for name in names}) == len(names)
            for key in BAD_KEYS:
                assert store.remove(key, expected=ANY)
        assert names_in(folder) == ["floor", "lock", "lock.next", "store.json"]

    @pytest.mark.parametrize("prefix", ["", "a", "a/", "\0", "é", "é" * 300, "a" * 50, "a" * 1024, "b", "../"])
    def test_a_scan_pages_through_a_prefix_in_the_order_of_code_points(self, store: FileStore, prefix: str) -> None:
        keys = ["a", "a/1", "a/2", "A", "é" * 300, "é" * 301, "a" * 500, "a" * 1024, "\0t", "b😀", "b\uffff", "../x"]
        for key in keys:
            store.compare_and_set(key, key.encode(), expected=ABSENT)
        found: list[str] = []
        while page := store.scan(prefix, after=found[-1] if found else "", limit=2):
            assert all(seen.value == key.encode() for key, seen in page)
            found += [key for key, _ in page]
        assert found == sorted(key for key in keys if key.startswith(prefix))

    def test_a_file_that_somebody_removes_during_a_scan_is_not_there(self, folder: Path) -> None:
        class Removed(OsDisk):
            def list(self, path: str) -> Sequence[str]:
                names = super().list(path)
                record_of(folder, "k").unlink(missing_ok=True)
                return names

        with FileStore(folder, disk=Removed()) as store:
            for key in ("k", "l"):
                FileStore(folder).compare_and_set(key, b"v", expected=ABSENT)
            assert [key for key, _ in store.scan()] == ["l"]

    def test_files_that_are_not_the_stores_are_left_alone(self, store: FileStore, folder: Path) -> None:
        store.compare_and_set("k", b"v", expected=ABSENT)
        theirs = ["README", "k-k (copy).record", "k-K.record", "k-%4.record", "other.record", ".hidden"]
        for name in theirs:
            (folder / name).write_text("theirs")
        assert [key for key, _ in store.scan()] == ["k"]
        with FileStore(folder) as again:
            again.compare_and_set("k", b"w", expected=ANY)
        assert {name: (folder / name).read_text() for name in theirs} == dict.fromkeys(theirs, "theirs")


class TestFiles:
    def test_only_their_owner_may_read_them(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            with FileStore(tmp_path / "a/b") as store:
                lease = store.compare_and_set("k", b"v", expected=ABSENT, ttl=9)
                store.extend([Beat("k", lease.revision, 9)])
                store.compare_and_set("l", b"v", expected=ABSENT)
                store.remove("l", expected=ANY)
        finally:
            os.umask(before)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
        assert modes.pop("a") == modes.pop("b") == 0o700
        assert modes.keys() == {"k-k.record", "k-k.beats", "store.json", "lock", "lock.next", "floor"}
        assert set(modes.values()) == {0o600}

    def test_a_long_value_is_compressed(self, store: FileStore, folder: Path) -> None:
        store.compare_and_set("k", bytes(1 << 20), expected=ABSENT)
        assert value_of(store, "k") == bytes(1 << 20)
        assert record_of(folder, "k").stat().st_size < 10_000

    def test_values_have_a_limit(self, folder: Path) -> None:
        with FileStore(folder, max_value_bytes=5) as store, pytest.raises(ConfigError, match="at most 5 bytes"):
            store.compare_and_set("k", b"123456", expected=ANY)

    def test_what_each_verb_does_to_the_disk(self, folder: Path) -> None:
        publishing = ["create", "write", "sync", "close", "replace", "sync_dir"]
        disk = FailingDisk()

        def calls() -> list[str]:
            calls, disk.calls = disk.calls, []
            return calls

        with FileStore(folder, disk=disk) as store:
            store.compare_and_set("k", b"v", expected=ABSENT)
            calls()
            store.load("k")
            assert calls() == ["lock", "lock", "read"]
            store.compare_and_set("k", b"w", expected=ANY)
            assert calls() == ["lock", "lock", "read", *publishing]
            lease = store.compare_and_set("lease", b"w", expected=ABSENT, ttl=9)
            assert calls() == ["lock", "lock", "read", "read", *publishing]
            store.extend([Beat("lease", lease.revision, 9)])
            assert calls() == ["lock", "lock", "read", "read", "open", "create", "write", "close"]
            store.extend([Beat("lease", lease.revision, 9)])
            assert calls() == ["lock", "lock", "read", "read", "open", "write", "close"], "no sync"
            store.remove("lease", expected=ANY)
            assert calls() == ["lock", "lock", "read", "read", "read", "replace", "unlink"], (
                "it would have ended anyway: no sync"
            )
            time.sleep(0.001)
            store.compare_and_set("k", b"v", expected=ANY)
            calls()
            store.remove("k", expected=ANY)
            assert calls() == ["lock", "lock", "read", "read", *publishing, "unlink", "unlink", "sync_dir"]

    def test_what_was_removed_for_good_is_in_no_file(self, store: FileStore, folder: Path) -> None:
        store.compare_and_set("k", b"the secret", expected=ABSENT)
        store.remove("k", expected=ANY)
        assert not [path for path in folder.iterdir() if b"the secret" in path.read_bytes()]

    def test_a_removal_below_the_floor_waits_until_that_is_durable(self, folder: Path) -> None:
        disk = FailingDisk()
        with FileStore(folder, disk=disk) as store, virtual_time() as clock:
            first = store.compare_and_set("first", b"", expected=ABSENT)
            clock.advance(1)
            lease = store.compare_and_set("lease", b"", expected=ABSENT, ttl=9)
            store.remove("lease", expected=ANY)
            disk.calls = []
            store.remove("first", expected=first.revision)
            assert disk.calls[-4:] == ["sync_dir", "unlink", "unlink", "sync_dir"]
            clock.jump_wall(-3600)
            assert store.compare_and_set("first", b"", expected=ABSENT).revision > lease.revision

    def test_nothing_is_open_between_verbs(self, folder: Path) -> None:
        before = descriptors()
        store = FileStore(folder)
        store.compare_and_set("k", b"v", expected=ABSENT)
        store.scan()
        assert descriptors() == before
        store.close()
        store.close()
        with pytest.raises(StoreError, match="it is closed"):
            store.load("k")

    def test_a_folder_that_is_left_is_still_the_same(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with FileStore("store") as store:
            monkeypatch.chdir("/")
            store.compare_and_set("k", b"v", expected=ABSENT)
        assert record_of(tmp_path / "store", "k").is_file()

    def test_strays_of_the_dead_are_swept_by_the_first_who_writes(self, store: FileStore, folder: Path) -> None:
        (folder / ".unpublished-0").write_bytes(b"half")
        (folder / "k-gone.beats").write_bytes(b"half")
        lease = store.compare_and_set("lease", b"v", expected=ABSENT, ttl=9)
        store.extend([Beat("lease", lease.revision, 9)])
        assert names_in(folder) == ["k-lease.beats", "k-lease.record", "lock", "lock.next", "store.json"]
        (folder / ".unpublished-1").write_bytes(b"half")
        with FileStore(folder) as other:
            other.load("lease")
            assert (folder / ".unpublished-1").exists()
            other.remove("nothing", expected=ANY)
        assert names_in(folder) == ["k-lease.beats", "k-lease.record", "lock", "lock.next", "store.json"]


class TestDamage:
    def test_every_changed_byte_every_cut_and_every_addition_is_reported_and_left(
        self, store: FileStore, folder: Path
    ) -> None:
        store.compare_and_set("k", b"value", expected=ABSENT, write_id="w")
        store.compare_and_set("other", b"right", expected=ABSENT)
        path = record_of(folder, "k")
        data = path.read_bytes()
        rng = random.Random(0)
        damages = [data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] for at in range(len(data))]
        damages += [data[:size] for size in range(len(data))] + [
            data + b"\0",
            data + b"\n",
            b"\n" + data,
            data * 2,
            bytes(len(data)),
        ]
        for damaged in damages:
            path.write_bytes(damaged)
            with pytest.raises(CorruptStateError, match=f"^{path}: its checksum is wrong"):
                store.load("k")
        assert path.read_bytes() == damages[-1]

    def test_every_verb_that_needs_it_reports_it_and_the_other_keys_go_on(self, store: FileStore, folder: Path) -> None:
        for key in ("k", "other"):
            store.compare_and_set(key, b"value", expected=ABSENT)
        path = record_of(folder, "k")
        path.write_bytes(b"rot")
        for asked in (
            lambda: store.load("k"),
            lambda: store.load_many(["other", "k"]),
            lambda: store.compare_and_set("k", b"new", expected=ANY),
            lambda: store.compare_and_set("other", b"new", expected=ANY, guard=Guard("k", VACANT)),
            lambda: store.remove("k", expected=ANY),
            store.scan,
        ):
            with pytest.raises(CorruptStateError, match=str(path)):
                asked()
        assert path.read_bytes() == b"rot"
        assert value_of(store, "other") == b"value"
        assert [key for key, _ in store.scan("o")] == ["other"]
        store.compare_and_set("other", b"new", expected=ANY)
        assert store.remove("other", expected=ANY)
        path.unlink()
        assert value_of(store, "k") is None

    def test_a_lease_that_is_damaged_is_lost_and_costs_the_others_nothing(self, store: FileStore, folder: Path) -> None:
        beats = [Beat(key, store.compare_and_set(key, b"", expected=ABSENT, ttl=20).revision, 30) for key in "abc"]
        record_of(folder, "b").write_bytes(b"rot")
        assert store.extend(beats) == {"b"}
        assert [store.scan(key)[0][1].beats for key in "ac"] == [1, 1]
        assert record_of(folder, "b").read_bytes() == b"rot"

    def test_a_record_under_another_ones_name(self, store: FileStore, folder: Path) -> None:
        store.compare_and_set("k", b"value", expected=ABSENT)
        shutil.copy(record_of(folder, "k"), record_of(folder, "l"))
        with pytest.raises(CorruptStateError, match="it holds the record of another key, 'k'"):
            store.load("l")

    def test_a_long_key_that_is_damaged_stops_only_the_scans_it_may_belong_to(
        self, store: FileStore, folder: Path
    ) -> None:
        store.compare_and_set("é" * 400, b"value", expected=ABSENT)
        store.compare_and_set("k", b"value", expected=ABSENT)
        (path,) = folder.glob("*~*")
        path.write_bytes(b"rot")
        with pytest.raises(CorruptStateError, match=path.name):
            store.scan("é" * 100)
        assert [key for key, _ in store.scan("k")] == ["k"]

    @pytest.mark.parametrize("kept", [b"", b"rot", bytes(1024)])
    def test_beats_that_are_damaged_leave_the_record_as_it_was_written(
        self, store: FileStore, folder: Path, kept: bytes
    ) -> None:
        with virtual_time() as clock:
            lease = store.compare_and_set("k", b"v", expected=ABSENT, ttl=5)
            store.extend([Beat("k", lease.revision, 50)])
            (folder / "k-k.beats").write_bytes(kept)
            assert store.load("k") == lease
            clock.advance(1)
            assert store.extend([Beat("k", lease.revision, 9)]) == frozenset()
            there = store.load("k")
            assert there is not None
            assert (there.beats, there.expires_in) == (1, 9.0)

    def test_a_floor_that_is_damaged_stops_what_needs_it(self, store: FileStore, folder: Path) -> None:
        for key in ("k", "l"):
            store.compare_and_set(key, b"v", expected=ABSENT)
        store.remove("l", expected=ANY)
        (folder / "floor").write_bytes(b"rot")
        for asked in (lambda: store.compare_and_set("l", b"v", expected=ANY), lambda: store.remove("k", expected=ANY)):
            with pytest.raises(CorruptStateError, match=str(folder / "floor")):
                asked()
        store.compare_and_set("k", b"w", expected=ANY)
        assert value_of(store, "k") == b"w"

    def test_a_store_of_another_version_is_left_as_it_is(self, folder: Path) -> None:
        incarnation = FileStore(folder).describe().incarnation
        meta = folder / "store.json"
        assert FileStore(folder).describe().incarnation == incarnation
        other = sealed(json.dumps({"format": "resilience.store", "v": 2, "incarnation": "x"}).encode())
        meta.write_bytes(other)
        with pytest.raises(UnknownFormatError, match=f"^{folder}: not a store in version 1"):
            FileStore(folder)
        meta.write_bytes(b"rot")
        with pytest.raises(CorruptStateError, match=str(meta)):
            FileStore(folder)
        assert meta.read_bytes() == b"rot"


class TestErrors:
    """A disk that fails in any call of any verb."""

    VERBS: dict[str, Callable[[FileStore], object]] = {
        "create": lambda store: store.compare_and_set("new", b"new", expected=ABSENT),
        "replace": lambda store: store.compare_and_set("k", b"new", expected=ANY),
        "remove": lambda store: store.remove("k", expected=ANY),
        "remove below the floor": lambda store: store.remove("low", expected=ANY),
        "remove a lease": lambda store: store.remove("lease", expected=ANY),
        "extend": lambda store: store.extend([Beat("lease", store.scan("lease")[0][1].revision, 30)]),
        "extend several": lambda store: store.extend([Beat(key, it.revision, 30) for key, it in store.scan()]),
        "extend again": lambda store: store.extend([Beat("beaten", store.scan("beaten")[0][1].revision, 30)]),
        "load": lambda store: store.load("k"),
        "scan": lambda store: store.scan(),
    }
    KEYS = ("k", "new", "low", "lease", "beaten", "spare")

    def filled(self, folder: Path) -> FileStore:
        store = FileStore(folder)
        for key in ("low", "spare", "k"):
            store.compare_and_set(key, b"old", expected=ABSENT)
            time.sleep(0.0001)
        store.remove("spare", expected=ANY)
        for key in ("lease", "beaten"):
            time.sleep(0.0001)
            lease = store.compare_and_set(key, b"old", expected=ABSENT, ttl=20)
        store.extend([Beat("beaten", lease.revision, 25)])
        store.compare_and_set("k", b"old", expected=ANY)
        return store

    @staticmethod
    def seen(store: FileStore) -> dict[str, Any]:
        return {
            key: there and (there.value, there.revision, there.beats)
            for key, there in store.load_many(TestErrors.KEYS).items()
        }

    @pytest.mark.parametrize("ever_after", [False, True], ids=["once", "from then on"])
    @pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
    @pytest.mark.parametrize("verb", VERBS)
    def test_old_or_new_as_the_error_says_and_nothing_left_behind(
        self, tmp_path: Path, verb: str, code: int, ever_after: bool
    ) -> None:
        folder = tmp_path / "filled"
        before = self.seen(self.filled(folder))
        failures = 0
        for number in range(100):
            shutil.rmtree(tmp_path / "store", ignore_errors=True)
            shutil.copytree(folder, tmp_path / "store")
            opened = descriptors()
            disk = FailingDisk([], code)
            store = FileStore(tmp_path / "store", disk=disk)
            store._swept = True
            disk.calls, disk.fail = [], range(number, 10**6) if ever_after else frozenset([number])
            error: ResilienceError | None = None
            try:
                self.VERBS[verb](store)
            except ResilienceError as raised:
                error = raised
            failed, disk.fail = disk.failed, frozenset()
            after = self.seen(store)
            assert descriptors() == opened
            assert len(strays(tmp_path / "store")) <= ever_after
            if error is not None:
                failures += 1
                if isinstance(error, OutcomeUnknownError):
                    continue
                assert isinstance(
                    error,
                    StorageFullError if code in FULL else StoreError if code == errno.EROFS else StoreUnavailableError,
                )
                assert after == before, f"call {number} ({disk.calls[-1]}): {error!r}"
            if not failed:
                break
        assert failures >= 3

    def test_several_renewals_of_which_one_could_not_be_written(self, folder: Path) -> None:
        disk = FailingDisk([1], only=["write"])
        store = FileStore(folder)
        beats = [Beat(key, store.compare_and_set(key, b"", expected=ABSENT, ttl=20).revision, 30) for key in "abc"]
        with pytest.raises(OutcomeUnknownError, match=r"k-b\.beats: renewed, or not"):
            FileStore(folder, disk=disk).extend(beats)
        assert [it.beats for _, it in store.scan()] == [1, 0, 0]

    def test_room_can_be_made_on_a_full_disk(self, folder: Path) -> None:
        disk = FailingDisk([], errno.ENOSPC, only=["create", "write"])
        with FileStore(folder, disk=disk) as store, virtual_time() as clock:
            written = store.compare_and_set("k", b"v", expected=ABSENT)
            disk.fail = range(10**6)
            with pytest.raises(StorageFullError, match="No space left on device"):
                store.compare_and_set("k", b"w", expected=ANY)
            assert store.load("k") == written
            assert store.remove("k", expected=ANY)
            assert store.load("k") is None
            disk.fail = frozenset()
            clock.jump_wall(-3600)
            assert store.compare_and_set("k", b"w", expected=ABSENT).revision > written.revision

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
    def test_a_store_that_cannot_be_made(self, folder: Path, code: int) -> None:
        expected = {errno.ENOSPC: StorageFullError, errno.EIO: StoreUnavailableError, errno.EACCES: StoreError}[code]
        for number in range(100):
            shutil.rmtree(folder, ignore_errors=True)
            disk = FailingDisk([number], code)
            try:
                FileStore(folder, disk=disk)
            except OutcomeUnknownError:
                pass
            except ResilienceError as error:
                assert isinstance(error, expected)
            if not disk.failed:
                break
            FileStore(folder).compare_and_set("k", b"v", expected=ABSENT)
        assert number > 10


class TestPlaces:
    def test_a_path_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for path in ("file", "file/below"):
            with pytest.raises(StoreError, match="Not a directory"):
                FileStore(tmp_path / path)

    @pytest.mark.parametrize("path", ["", "a\0b", b"bytes", 5, None])
    def test_what_is_no_path(self, path: Any) -> None:
        with pytest.raises(ConfigError, match="dir must be the path of a directory"):
            FileStore(path)

    @pytest.fixture
    def public(self) -> Iterator[Path]:
        """A folder that another user can reach."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            yield Path(folder)

    def test_another_users_store_is_not_to_be_read(self, public: Path) -> None:
        FileStore(public / "store").compare_and_set("k", b"v", expected=ABSENT)
        (public / "store").chmod(0)
        try:
            assert answer_of(lambda: FileStore(public / "store")).startswith("StoreError: FileStore(")
            assert "Permission denied" in answer_of(lambda: FileStore(public / "store"))
        finally:
            (public / "store").chmod(0o700)

    def test_one_that_may_only_be_read_can_be_read(self, public: Path) -> None:
        folder = public / "store"
        FileStore(folder).compare_and_set("k", b"v", expected=ABSENT)
        for path in folder.iterdir():
            path.chmod(0o444)
        folder.chmod(0o555)
        try:
            assert answer_of(lambda: [key for key, _ in FileStore(folder).scan()]) == "['k']"
            assert answer_of(lambda: value_of(FileStore(folder), "k")) == "b'v'"
            for refused in (
                answer_of(lambda: FileStore(folder).compare_and_set("k", b"w", expected=ANY)),
                answer_of(lambda: FileStore(folder).remove("k", expected=ANY)),
            ):
                assert refused.startswith("StoreError: FileStore(")
                assert "Permission denied" in refused
        finally:
            folder.chmod(0o700)
            for path in folder.iterdir():
                path.chmod(0o600)
        assert value_of(FileStore(folder), "k") == b"v"

    def test_one_that_cannot_be_made_for_want_of_permission(self, public: Path) -> None:
        public.chmod(0o555)
        answer = answer_of(lambda: FileStore(public / "a/b"))
        public.chmod(0o755)
        assert answer.startswith("StoreError")
        assert "Permission denied" in answer

    def test_one_in_a_folder_that_may_only_be_passed_through(self, public: Path) -> None:
        """As people's homes often are, for services."""
        folder = public / "home/store"
        folder.mkdir(parents=True)
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
        folder.parent.chmod(0o311)
        try:
            assert answer_of(lambda: FileStore(folder).extend([])) == "frozenset()"
        finally:
            folder.parent.chmod(0o700)

    def test_a_folder_removed_under_a_store_is_made_again(self, store: FileStore, folder: Path) -> None:
        before = store.describe().incarnation
        written = store.compare_and_set("k", b"v", expected=ABSENT)
        shutil.rmtree(folder)
        assert store.load("k") is None
        assert store.compare_and_set("k", b"v", expected=ABSENT).revision > written.revision
        assert store.describe().incarnation != before
        shutil.rmtree(folder)
        assert store.describe().incarnation != before

    def test_one_whose_maker_died_half_way_is_finished(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "lock").touch()
        store = FileStore(folder)
        assert len(store.describe().incarnation) == 16

    def test_ten_that_make_it_at_once_agree(self, folder: Path) -> None:
        found: list[str] = []
        threads = [
            threading.Thread(target=lambda: found.append(FileStore(folder).describe().incarnation)) for _ in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert (len(found), len(set(found))) == (10, 1)


class TestTime:
    def test_work_that_is_over_begins_nothing_and_waits_for_nobody(self, store: FileStore, folder: Path) -> None:
        before = names_in(folder)
        with virtual_time() as clock, locked(OsDisk(), str(folder / "lock"), shared=False):
            with pytest.raises(DeadlineExceededError), deadline(0.1):
                store.compare_and_set("k", b"late", expected=ABSENT)
            assert clock.monotonic() == pytest.approx(0.1)
        with virtual_time() as clock, pytest.raises(DeadlineExceededError), deadline(0.1):
            clock.advance(0.1)
            store.compare_and_set("k", b"late", expected=ABSENT)
        assert names_in(folder) == before

    def test_within_one_boot_the_wall_clock_may_be_set_as_one_likes(self, folder: Path) -> None:
        clock = VirtualClock()
        store = FileStore(folder, clock=clock)
        lease = store.compare_and_set("k", b"v", expected=ABSENT, ttl=10)
        clock.jump_wall(3600)
        assert store.extend([Beat("k", lease.revision, 10)]) == frozenset()
        clock.jump_wall(-7200)
        clock.advance(9.5)
        there = store.load("k")
        assert there is not None
        assert (there.expired, there.expires_in) == (False, 0.5)
        clock.advance(0.5)
        with pytest.raises(VersionConflictError):
            store.compare_and_set("k", b"w", expected=ABSENT)
        assert store.extend([Beat("k", lease.revision, 10)]) == {"k"}
        assert store.compare_and_set("k", b"w", expected=VACANT).revision > lease.revision

    def test_a_lease_of_another_boot_ends_by_the_wall_clock(self, folder: Path) -> None:
        clock = VirtualClock()
        store = FileStore(folder, clock=clock)
        lease = store.compare_and_set("k", b"v", expected=ABSENT, ttl=10)
        store.extend([Beat("k", lease.revision, 20)])
        clock.advance(5)
        clock.reboot()
        again = FileStore(folder, clock=clock)
        there = again.load("k")
        assert there is not None
        assert (there.beats, there.expires_in) == (1, 15.0)
        clock.advance(15)
        assert again.scan() == []
        assert [key for key, _ in again.scan(expired=True)] == ["k"]

    def test_revisions_go_on_but_where_it_says_so(self, tmp_path: Path) -> None:
        """The store that is befallen is the one that goes on: nobody opens it anew."""

        class BackedUp(FileStore):
            backup = tmp_path / "backup"
            written = 0

            def _run(self, verb: Verb[Any]) -> Any:
                reply = super()._run(verb)
                self.written += 1
                if self.written == 3:
                    shutil.copytree(self._dir, self.backup)
                return reply

        def opened(clock: VirtualClock) -> Store:
            shutil.rmtree(BackedUp.backup, ignore_errors=True)
            return BackedUp(tmp_path / secrets.token_hex(4), clock=clock)

        def emptied(store: Any, clock: VirtualClock) -> Store:
            shutil.rmtree(store._dir)
            return store  # type: ignore[no-any-return]

        def restored(store: Any, clock: VirtualClock) -> Store:
            shutil.rmtree(store._dir, ignore_errors=True)
            shutil.copytree(store.backup, store._dir)
            return store  # type: ignore[no-any-return]

        outcome = revisions_go_on(opened, {Fault.EMPTIED: emptied, Fault.RESTORED: restored})
        assert {faults for faults, goes_on in outcome.items() if not goes_on} == {
            frozenset({Fault.EMPTIED, Fault.CLOCK_SET_BACK}),
            frozenset({Fault.RESTORED, Fault.CLOCK_SET_BACK}),
        }

    def test_what_it_promises(self, store: FileStore, folder: Path) -> None:
        store.describe().require(
            ["durable", "survives_crash", "survives_reboot", "linearizable", "guards", "batch_extend"]
        )
        assert store.describe().clock == "host"
        for trait in ("shared", "wakes"):
            with pytest.raises(ConfigError):
                store.describe().require([trait])  # type: ignore[list-item]
        assert repr(store) == f"<FileStore({str(folder)!r})>"


class TestTogether:
    def test_two_on_one_folder_see_each_other(self, store: FileStore, folder: Path) -> None:
        with FileStore(folder) as other:
            written = store.compare_and_set("k", b"1", expected=ABSENT)
            assert other.load("k") == written
            newer = other.compare_and_set("k", b"2", expected=written.revision)
            with pytest.raises(VersionConflictError):
                store.compare_and_set("k", b"3", expected=written.revision)
            assert store.load("k") == newer
            assert other.describe().incarnation == store.describe().incarnation
        store.ping()

    def test_one_waits_for_the_write_of_another(self, store: FileStore, folder: Path) -> None:
        threading.Timer(0.05, lambda: FileStore(folder).compare_and_set("k", b"v", expected=ABSENT)).start()
        store.wait("k", after=ABSENT, timeout=30)
        assert value_of(store, "k") == b"v"

    def test_who_holds_the_lock_is_named_and_nothing_was_done(self, store: FileStore, folder: Path) -> None:
        held = take(str(folder / "lock"), False)
        assert held is not None
        with virtual_time(), pytest.raises(StoreUnavailableError, match=f"locked for 5 s by process {os.getpid()}"):
            store.compare_and_set("k", b"v", expected=ABSENT)
        held.release()
        assert store.load("k") is None

    @pytest.mark.parametrize("several", [False, True], ids=["one store", "a store each"])
    def test_ten_threads_count_to_five_hundred(self, folder: Path, several: bool) -> None:
        shared = FileStore(folder)
        errors: list[Exception] = []

        def count() -> None:
            lock = OptimisticLock(FileStore(folder) if several else shared, "counter", default=lambda: 0)
            try:
                for _ in range(50):
                    lock.update(lambda n: n + 1)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=count) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert errors == []
        assert value_of(shared, "counter") == b"500"
        assert strays(folder) == []

    def test_parent_and_child_of_a_fork_use_it_together(self, store: FileStore) -> None:
        def count() -> None:
            lock = OptimisticLock(store, "counter", default=lambda: 0)
            for _ in range(20):
                lock.update(lambda n: n + 1)

        children = [forked(count) for _ in range(2)]
        count()
        for pid in children:
            os.waitpid(pid, 0)
        assert value_of(store, "counter") == b"60"

    def test_killed_in_the_middle_of_anything_two_writers_leave_whole_values_and_growing_revisions(
        self, store: FileStore, folder: Path
    ) -> None:
        rng = random.Random(7)
        keys = ["small", "large", "lease", "é" * 200]

        def write(seed: int) -> None:
            mine, chance = FileStore(folder), random.Random(seed)
            while True:
                key = chance.choice(keys)
                if chance.random() < 0.2:
                    mine.remove(key, expected=ANY)
                size = 40_000 if key == "large" else 10
                written = mine.compare_and_set(
                    key, secrets.token_bytes(4) * size, expected=ANY, ttl=60 if key == "lease" else None
                )
                mine.extend([Beat("lease", written.revision, 60)])

        highest = dict.fromkeys(keys, 0)
        removed = looked = 0

        def look() -> None:
            nonlocal removed, looked
            looked += 1
            for key, there in store.load_many(keys).items():
                if there is None:
                    removed += 1
                else:
                    assert there.value == there.value[:4] * (len(there.value) // 4)
                    assert there.revision >= highest[key]
                    highest[key] = there.revision

        writers = [forked(lambda: write(1)), forked(lambda: write(2))]
        for kill in range(15):
            end = time.monotonic() + 0.02 + rng.random() * 0.03
            while time.monotonic() < end:
                look()
            victim = writers.pop(0)
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            look()
            writers.append(forked(lambda: write(3 + kill)))
        for victim in writers:
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
        look()
        assert all(highest.values())
        assert looked > 30
        for key in keys:
            assert store.compare_and_set(key, b"last", expected=ANY).revision > highest[key]
        with FileStore(folder) as fresh:
            fresh.compare_and_set("small", b"last", expected=ANY)
        assert strays(folder) == []


def test_a_network_file_system_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its locks exclude nobody."""
    table = tmp_path / "mountinfo"
    table.write_text(f"36 35 98:0 / {tmp_path} rw - nfs4 server:/home rw\n")
    monkeypatch.setattr("resilience.stores._mounts.TABLE", str(table))
    with pytest.raises(ConfigError, match="not on a network file system \\(nfs4\\)"):
        FileStore(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
