"""Locks: one has it, others wait for as long as they may, and no way of ending keeps it."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.io.failing_disk import descriptors

from resilience import deadline
from resilience._io.ambient import stopping
from resilience._io.disk import OsDisk
from resilience._io.flocks import _Locks, locked, make_lock, take
from resilience.errors import DeadlineExceededError, StoreError, StoreUnavailableError
from resilience.testing import virtual_time


@pytest.fixture
def path(tmp_path: Path) -> str:
    make_lock(OsDisk(), str(tmp_path / "lock"))
    return str(tmp_path / "lock")


def is_free(path: str) -> bool:
    """Whether another process gets it."""
    script = "import sys; from resilience._io.flocks import take; sys.exit(take(sys.argv[1], False) is None)"
    return subprocess.run([sys.executable, "-c", script, path], timeout=60, check=False).returncode == 0


@contextmanager
def child(script: Callable[[int], object]) -> Iterator[int]:
    """A fork of this process that runs the script, which is given a pipe to read from; ended with the block."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which other tests may have left
        pid = os.fork()
    if not pid:
        try:
            os.close(write)
            script(read)
        finally:
            os._exit(0)
    os.close(read)
    try:
        yield write
    finally:
        os.close(write)
        os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
    ids=["two readers", "a reader, then a writer", "a writer, then a reader", "two writers"],
)
def test_who_excludes_whom_in_one_process(path: str, first: bool, second: bool, both: bool) -> None:
    one = take(path, first)
    assert one is not None
    two = take(path, second)
    assert (two is not None) is both
    one.release()
    three = take(path, second)
    assert three is not None
    for held in (two, three):
        if held is not None:
            held.release()
            held.release()
    assert is_free(path)


def test_other_processes_are_excluded(path: str) -> None:
    with locked(OsDisk(), path, shared=False):
        assert not is_free(path)
    assert is_free(path)


def test_opening_and_closing_the_file_meanwhile_frees_nothing(path: str) -> None:
    """As it would a record lock."""
    with locked(OsDisk(), path, shared=False):
        Path(path).read_bytes()
        assert not is_free(path)


def test_one_that_was_dropped_is_free(path: str) -> None:
    """An interrupt may come before anybody has it in hand."""
    before = descriptors()
    held = take(path, False)
    del held
    gc.collect()
    assert is_free(path)
    assert descriptors() == before


def test_a_lock_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        take(str(tmp_path / "lock"), False)
    assert (list(tmp_path.iterdir()), descriptors()) == ([], before)


@pytest.mark.parametrize("made_again", [True, False])
def test_a_file_that_was_removed_is_not_the_lock_any_more(
    path: str, monkeypatch: pytest.MonkeyPatch, made_again: bool
) -> None:
    flock, before = fcntl.flock, descriptors()

    def removed(file: int, how: int) -> None:
        Path(path).unlink()
        if made_again:
            Path(path).touch()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", removed)
    assert take(path, False) is None
    monkeypatch.undo()
    assert descriptors() == before
    if made_again:
        assert is_free(path)


def test_a_platform_without_flock_is_told_so(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(StoreError, match="this platform has no flock"):
        take(path, False)


class TestWaiting:
    def test_it_is_had_as_soon_as_it_is_free(self, path: str) -> None:
        held = take(path, False)
        assert held is not None
        threading.Timer(0.05, held.release).start()
        with locked(OsDisk(), path, shared=False):
            assert not is_free(path)

    def test_five_seconds_and_no_more_then_who_has_it(self, path: str) -> None:
        with virtual_time() as clock, locked(OsDisk(), path, shared=False):
            with pytest.raises(StoreUnavailableError, match=rf"locked for 5 s by process {os.getpid()}$"):
                locked(OsDisk(), path, shared=True).__enter__()
        assert clock.monotonic() == pytest.approx(5)
        assert len(set(clock.waits)) > 100, "no two wait in step"
        assert max(clock.waits) <= 0.0005, "there is only one who is next"

    def test_while_somebody_is_next_nobody_else_begins(self, path: str) -> None:
        held, following = take(path, True), take(f"{path}.next", False)
        assert held is not None
        assert following is not None
        with virtual_time() as clock, pytest.raises(StoreUnavailableError):
            locked(OsDisk(), path, shared=True).__enter__()
        assert (clock.monotonic(), max(clock.waits) <= 0.005) == (pytest.approx(5), True)
        following.release()
        with locked(OsDisk(), path, shared=True):
            pass
        held.release()

    def test_whoever_comes_back_at_once_does_not_starve_the_others(self, path: str) -> None:
        turns = [0] * 4
        end = threading.Event()

        def again_and_again(number: int) -> None:
            while not end.is_set():
                with locked(OsDisk(), path, shared=False):
                    turns[number] += 1
                    time.sleep(0.001)

        threads = [threading.Thread(target=again_and_again, args=[number]) for number in range(len(turns))]
        for thread in threads:
            thread.start()
        while sum(turns) < 200:
            time.sleep(0.01)
        end.set()
        for thread in threads:
            thread.join(30)
        assert min(turns) > sum(turns) / len(turns) / 5

    def test_readers_who_overlap_leave_a_writer_its_moment(self, path: str) -> None:
        end = threading.Event()

        def read() -> None:
            while not end.is_set():
                with locked(OsDisk(), path, shared=True):
                    time.sleep(0.002)

        readers = [threading.Thread(target=read) for _ in range(6)]
        for reader in readers:
            reader.start()
        began = time.monotonic()
        try:
            with locked(OsDisk(), path, shared=False):
                waited = time.monotonic() - began
        finally:
            end.set()
            for reader in readers:
                reader.join(30)
        assert waited < 2

    def test_no_longer_than_the_work_around_may_take(self, path: str) -> None:
        with virtual_time() as clock, locked(OsDisk(), path, shared=False):
            with pytest.raises(DeadlineExceededError, match=r"deadline of 0\.5 s"), deadline(0.5):
                locked(OsDisk(), path, shared=True).__enter__()
        assert clock.monotonic() == pytest.approx(0.5)

    def test_a_stop_ends_it_with_its_own_error(self, path: str) -> None:
        class Lamp:
            at = 1000.0

            def error(self) -> Exception | None:
                return LookupError("gone") if clock.monotonic() > 0.1 else None

            def watch(self, wake: Callable[[], object], /) -> Callable[[], None]:
                return lambda: None

        with virtual_time() as clock, locked(OsDisk(), path, shared=False):
            with pytest.raises(LookupError), stopping(Lamp()):
                locked(OsDisk(), path, shared=True).__enter__()
        assert clock.monotonic() == pytest.approx(0.1, abs=0.01)

    @pytest.mark.parametrize("table", ["", "1: POSIX  ADVISORY  WRITE 77 00:00:1 0 EOF\n", None])
    def test_a_machine_that_does_not_say_who_has_it(
        self, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str | None
    ) -> None:
        other = tmp_path / "locks"
        if table is not None:
            other.write_text(table)
        with virtual_time(), locked(OsDisk(), path, shared=False):
            monkeypatch.setattr("builtins.open", lambda *args, **options: other.open("r", **options))
            with pytest.raises(StoreUnavailableError, match="by another process, or a thread of this one"):
                locked(OsDisk(), path, shared=True).__enter__()


class TestFork:
    def test_a_child_that_ends_does_not_free_its_parents(self, path: str) -> None:
        with locked(OsDisk(), path, shared=False):
            with child(lambda pipe: None):
                pass
            assert not is_free(path)

    def test_a_child_that_leaves_the_block_does_not_free_its_parents(self, path: str) -> None:
        def leave(pipe: int) -> None:
            block.__exit__(None, None, None)
            os.read(pipe, 1)

        block = locked(OsDisk(), path, shared=False)
        block.__enter__()
        with child(leave):
            assert not is_free(path)
        block.__exit__(None, None, None)
        assert is_free(path)

    def test_a_child_that_lives_does_not_keep_what_its_parent_let_go(self, path: str) -> None:
        block = locked(OsDisk(), path, shared=False)
        block.__enter__()
        with child(lambda pipe: os.read(pipe, 1)):
            block.__exit__(None, None, None)
            assert is_free(path)

    def test_a_child_that_lives_does_not_keep_what_its_dead_parent_had(self, path: str) -> None:
        script = """
            import os, sys, time
            from resilience._io.flocks import take
            held = take(sys.argv[1], False)
            if os.fork():
                print("forked", flush=True)
            time.sleep(60)
        """
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), path],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as parent:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "forked\n"
            assert not is_free(path)
            parent.kill()
            parent.wait(30)
            try:
                assert is_free(path)
            finally:
                os.killpg(parent.pid, signal.SIGKILL)

    def test_what_a_child_does_as_it_begins(self, path: str) -> None:
        locks = _Locks()
        held = locks.take(path, False)
        assert held is not None
        locks._gate.acquire()
        locks.let_all_go()
        assert is_free(path)
        held.release()
