"""Publishing: whole or not at all, durable before anybody is told, and nothing left behind by what failed."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.io.failing_disk import FailingDisk, descriptors, strays

from resilience._io.disk import FULL, OsDisk, make_dirs, publish, write_in_place
from resilience.errors import OutcomeUnknownError, StorageFullError
from resilience.testing import virtual_time


#: The calls of one publishing, in order.
PUBLISHING = ["create", "write", "sync", "close", "replace", "sync_dir"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_what_was_published_is_read_as_a_whole(tmp_path: Path, size: int) -> None:
    path, data = tmp_path / "file", os.urandom(size)
    publish(OsDisk(), str(path), data)
    assert OsDisk().read(str(path)) == data == path.read_bytes()
    assert OsDisk().list(str(tmp_path)) == ["file"]


def test_it_takes_the_place_of_the_one_before_it_and_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    publish(OsDisk(), str(path), b"old")
    with path.open("rb") as reader:
        publish(OsDisk(), str(path), b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_nothing_is_told_before_file_and_directory_are_synced(tmp_path: Path) -> None:
    disk = FailingDisk()
    publish(disk, str(tmp_path / "file"), b"data")
    assert disk.calls == PUBLISHING


def test_only_the_owner_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        publish(OsDisk(), str(tmp_path / "file"), b"data")
        write_in_place(OsDisk(), str(tmp_path / "beats"), b"data", 0)
        make_dirs(OsDisk(), str(tmp_path / "a/b"))
    finally:
        os.umask(before)
    assert [mode(tmp_path / name) for name in ("file", "beats", "a", "a/b")] == [0o600, 0o600, 0o700, 0o700]


def test_short_counts_are_gone_on_from(tmp_path: Path) -> None:
    disk = FailingDisk(short=3)
    publish(disk, str(tmp_path / "file"), b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"
    assert disk.calls.count("write") == 4


def test_a_disk_that_writes_nothing_at_all_is_an_error_rather_than_a_loop_without_end(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        publish(FailingDisk(short=0), str(tmp_path / "file"), b"data")
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("data", [b"new", b"0123456789" * 1000], ids=["short", "long"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES])
@pytest.mark.parametrize("number", range(len(PUBLISHING)), ids=PUBLISHING)
def test_an_error_of_any_call(tmp_path: Path, number: int, code: int, data: bytes) -> None:
    path, before = tmp_path / "file", descriptors()
    publish(OsDisk(), str(path), b"old")
    disk = FailingDisk([number], code)
    if PUBLISHING[number] == "sync_dir":
        with pytest.raises(OutcomeUnknownError, match="could not be synced"):
            publish(disk, str(path), data)
        assert path.read_bytes() == data
    else:
        with pytest.raises(StorageFullError if code in FULL else OSError) as caught:
            publish(disk, str(path), data)
        assert code in FULL or getattr(caught.value, "errno", None) == code
        assert path.read_bytes() == b"old"
    assert (strays(tmp_path), descriptors()) == ([], before)
    assert disk.calls.count("sync") <= 1, "a failed sync is never repeated"


@pytest.mark.parametrize("number", range(len(PUBLISHING) - 1), ids=PUBLISHING[:-1])
def test_a_disk_that_fails_from_one_call_on_keeps_the_old_and_at_most_one_stray(tmp_path: Path, number: int) -> None:
    path, before = tmp_path / "file", descriptors()
    publish(OsDisk(), str(path), b"old")
    with pytest.raises(OSError):
        publish(FailingDisk(range(number, 100)), str(path), b"new")
    assert path.read_bytes() == b"old"
    assert (len(strays(tmp_path)) <= 1, descriptors()) == (True, before)


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    class Interrupted(OsDisk):
        def sync(self, file: int) -> None:
            raise KeyboardInterrupt

    before = descriptors()
    with pytest.raises(KeyboardInterrupt):
        publish(Interrupted(), str(tmp_path / "file"), b"data")
    assert (list(tmp_path.iterdir()), descriptors()) == ([], before)


def test_a_real_limit_of_the_kernel_is_a_full_disk(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: short counts, then EFBIG."""
    script = """
        import resource, sys
        from resilience._io.disk import OsDisk, publish
        from resilience.errors import StorageFullError
        publish(OsDisk(), sys.argv[1], b"old")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            publish(OsDisk(), sys.argv[1], bytes(5000))
        except StorageFullError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "file")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "no room for 5000 bytes more (File too large)" in done.stdout
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000
    assert ((tmp_path / "file").read_bytes(), strays(tmp_path)) == (b"old", [])


def test_a_link_in_the_place_of_the_target_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    path = tmp_path / "file"
    path.symlink_to(tmp_path / "elsewhere")
    for refused in (OsDisk().read, OsDisk().open, OsDisk().create):
        with pytest.raises(OSError):
            refused(str(path))
    publish(OsDisk(), str(path), b"ours")
    assert (path.read_bytes(), path.is_symlink()) == (b"ours", False)
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"


class TestWindows:
    """What Windows says, and what it lacks."""

    @staticmethod
    def disk(failures: Sequence[int]) -> OsDisk:
        class InUse(OsDisk):
            left = list(failures)

            def replace(self, source: str, target: str) -> None:
                if self.left:
                    error = PermissionError(errno.EACCES, "denied")
                    error.winerror = self.left.pop(0)  # type: ignore[attr-defined]
                    raise error
                super().replace(source, target)

        return InUse()

    def test_a_rename_waits_while_a_reader_has_the_file_open(self, tmp_path: Path) -> None:
        with virtual_time() as clock:
            publish(self.disk([5, 32, 33]), str(tmp_path / "file"), b"data")
        assert (tmp_path / "file").read_bytes() == b"data"
        assert clock.waits == [0.05, 0.1, 0.2]

    def test_it_does_not_wait_for_ever(self, tmp_path: Path) -> None:
        with virtual_time() as clock, pytest.raises(PermissionError):
            publish(self.disk([32] * 100), str(tmp_path / "file"), b"data")
        assert sum(clock.waits) == pytest.approx(2.5)
        assert list(tmp_path.iterdir()) == []

    def test_no_other_error_is_waited_for(self, tmp_path: Path) -> None:
        with virtual_time() as clock, pytest.raises(PermissionError):
            publish(self.disk([6]), str(tmp_path / "file"), b"data")
        assert clock.waits == []

    def test_a_directory_that_cannot_be_opened_is_not_synced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(os, "O_DIRECTORY")
        OsDisk().sync_dir(str(tmp_path / "nowhere"))

    def test_without_fcntl_a_file_is_synced_all_the_same(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "fcntl", None)
        publish(OsDisk(), str(tmp_path / "file"), b"data")
        assert (tmp_path / "file").read_bytes() == b"data"


class TestMacOS:
    """F_FULLFSYNC, where there is one."""

    @pytest.mark.parametrize(("answer", "syncs"), [(None, 0), (errno.ENOTSUP, 1), (errno.EINVAL, 1), (errno.ENOTTY, 1)])
    def test_through_the_drives_cache_or_else_as_elsewhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int | None, syncs: int
    ) -> None:
        asked, synced = self.kernel(monkeypatch, answer)
        file = OsDisk().create(str(tmp_path / "file"))
        OsDisk().sync(file)
        OsDisk().close(file)
        assert (asked, len(synced)) == ([51], syncs)

    def test_a_real_error_is_not_covered_up_by_a_second_sync(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, synced = self.kernel(monkeypatch, errno.EIO)
        with pytest.raises(OSError):
            publish(OsDisk(), str(tmp_path / "file"), b"data")
        assert synced == []

    @staticmethod
    def kernel(monkeypatch: pytest.MonkeyPatch, answer: int | None) -> tuple[list[int], list[int]]:
        fcntl = pytest.importorskip("fcntl")
        asked: list[int] = []
        synced: list[int] = []

        def control(file: int, what: int) -> None:
            asked.append(what)
            if answer is not None:
                raise OSError(answer, os.strerror(answer))

        monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
        monkeypatch.setattr(fcntl, "fcntl", control)
        monkeypatch.setattr(os, "fsync", synced.append)
        return asked, synced


class TestDirectories:
    def test_each_is_synced_into_the_one_above_it_before_the_next_is_made(self, tmp_path: Path) -> None:
        made: list[str] = []

        class Watched(OsDisk):
            def make_dir(self, path: str) -> None:
                super().make_dir(path)
                made.append(f"made {Path(path).name}")

            def sync_dir(self, path: str) -> None:
                super().sync_dir(path)
                made.append(f"synced {Path(path).name}")

        make_dirs(Watched(), str(tmp_path / "a/b"))
        assert made == ["made a", f"synced {tmp_path.name}", "made b", "synced a"]

    def test_one_that_is_there_is_synced_too_for_its_maker_may_have_died_before(self, tmp_path: Path) -> None:
        disk = FailingDisk()
        make_dirs(disk, str(tmp_path))
        assert disk.calls == ["make_dir", "sync_dir"]

    def test_one_that_is_there_need_not_be_synced_by_those_who_may_not(self, tmp_path: Path) -> None:
        disk = FailingDisk([0], errno.EACCES, only=["sync_dir"])
        make_dirs(disk, str(tmp_path))
        assert disk.failed

    @pytest.mark.parametrize(("name", "code"), [("", errno.EIO), ("new", errno.EACCES)])
    def test_any_other_error_of_syncing_it_is_told(self, tmp_path: Path, name: str, code: int) -> None:
        with pytest.raises(OSError, match=os.strerror(code)):
            make_dirs(FailingDisk([0], code, only=["sync_dir"]), str(tmp_path / name))

    def test_somebody_else_may_be_faster(self, tmp_path: Path) -> None:
        class Raced(OsDisk):
            def make_dir(self, path: str) -> None:
                if path.endswith("b") and (tmp_path / "a").exists():
                    super().make_dir(path)
                super().make_dir(path)

        make_dirs(Raced(), str(tmp_path / "a/b"))
        assert (tmp_path / "a/b").is_dir()


class TestInPlace:
    def test_it_is_not_synced(self, tmp_path: Path) -> None:
        disk = FailingDisk()
        write_in_place(disk, str(tmp_path / "file"), b"one", 0)
        write_in_place(disk, str(tmp_path / "file"), b"two", 5)
        assert disk.calls == ["open", "create", "write", "close", "open", "write", "close"]
        assert (tmp_path / "file").read_bytes() == b"one\0\0two"

    @pytest.mark.parametrize("number", range(4))
    def test_an_error_leaves_nothing_open(self, tmp_path: Path, number: int) -> None:
        before = descriptors()
        with pytest.raises(OSError):
            write_in_place(FailingDisk([number]), str(tmp_path / "file"), b"one", 0)
        assert descriptors() == before


def test_a_publisher_that_is_killed_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    script = """
        import sys
        from resilience._io.disk import OsDisk, publish
        for number in range(10**9):
            publish(OsDisk(), sys.argv[1], (b"%d\\n" % number) * 5000)
            print(number, flush=True)
    """
    path, last = tmp_path / "file", 0
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        with writer, writer.stdout as told:
            for _ in range(5):
                last = int(told.readline())
            writer.send_signal(signal.SIGKILL)
            last = max([last, *(int(line) for line in told)])
        lines = path.read_bytes().splitlines()
        assert len(lines) == 5000
        assert len(set(lines)) == 1
        assert int(lines[0]) in (last, last + 1)
