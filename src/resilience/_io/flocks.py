"""Locks between processes, and between threads: flock's, on files that are never unlinked.

Never a record lock of fcntl's, which excludes no threads and ends when anybody in the process closes that file. A flock
belongs to one opened descriptor and ends when that is closed, so it never outlives its holder. It is not unlocked: in a
child of a fork that would free the parent's. A child's mere copy, on the other hand, would keep it for as long as the child
lives, so a child closes its copies as it begins.

Lock files are never unlinked: those who wait would then wait for different files. There is no waiting in the kernel,
which no deadline could end, but one try after another. That alone starves: whoever lets go and comes back at once is always
faster than those who are asleep (of two such writers one had 759 turns and the other 2), and readers who overlap leave no
moment for a writer. So whoever has to wait first becomes the **next**, by a lock of its own, and while somebody is, nobody
else begins.

Windows has no flock, and nothing here pretends otherwise.
"""

# pathlib costs more than these calls themselves:
# ruff: noqa: PTH116, PTH123
from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from resilience._io import waiting, world
from resilience.errors import StoreError, StoreUnavailableError


if TYPE_CHECKING:
    from resilience._io.disk import Disk

__all__ = ["Held", "locked", "make_lock", "take"]

#: Seconds that somebody waits for a lock, if nothing around ends the work before.
PATIENCE = 5.0

#: Seconds between two tries: a verb of a store holds its lock for two or three syncs. The next one is alone, so it looks often.
_SOONEST = 0.0002
_LATEST = 0.005
_LATEST_OF_NEXT = 0.0005

#: Beside the lock's own file, that of the one who is next.
_NEXT = ".next"

#: No child process inherits the descriptor, and a link in the file's place is an error.
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class Held(Protocol):
    """A lock that is held."""

    def release(self) -> None:
        """Free it; may be called again."""
        ...


class _Lock:
    """One descriptor of a lock file. Closed when dropped, too: an interrupt may come before anybody has it in hand."""

    __slots__ = ("__weakref__", "_locks", "file")

    def __init__(self, locks: _Locks) -> None:
        self._locks = locks
        self.file = -1

    def release(self) -> None:
        """Close it: that frees the lock."""
        if self.file >= 0:
            self._locks.let_go(self)

    __del__ = release


class _Locks:
    """The locks that this process holds, so that a child can close its copies; a fork waits while one comes or goes."""

    def __init__(self) -> None:
        self._gate = threading.RLock()
        self._held: WeakSet[_Lock] = WeakSet()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._gate.acquire, after_in_parent=self._gate.release, after_in_child=self.let_all_go
            )

    def take(self, path: str, shared: bool) -> _Lock | None:
        try:
            import fcntl  # noqa: PLC0415  # not on Windows
        except ImportError:
            raise StoreError(path, "cannot be locked: this platform has no flock") from None
        lock = _Lock(self)
        with self._gate:
            self._held.add(lock)
            lock.file = os.open(path, (os.O_RDONLY if shared else os.O_RDWR) | _FLAGS)
            with suppress(BlockingIOError, FileNotFoundError):
                fcntl.flock(lock.file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                # Somebody may have removed the directory since, and made it again, with another lock file.
                if os.path.samestat(os.fstat(lock.file), os.stat(path)):
                    return lock
            lock.release()
        return None

    def let_go(self, lock: _Lock) -> None:
        with self._gate:
            file, lock.file = lock.file, -1
            self._held.discard(lock)
            with suppress(OSError):  # it is closed, whatever that says
                os.close(file)

    def let_all_go(self) -> None:
        """In a child of a fork, where the gate is held."""
        for lock in list(self._held):
            self.let_go(lock)
        self._gate.release()


#: One for the process, for that is what is forked.
_LOCKS: Final = _Locks()


def take(path: str, shared: bool) -> Held | None:
    """One try for the lock of a file that is there; None if somebody else has it.

    Raises:
        StoreError: This platform has no flock.
        OSError: There is no such file, or it may not be opened.
    """
    return _LOCKS.take(path, shared)


def make_lock(disk: Disk, path: str) -> None:
    """Make the two files of a lock, if they are not there."""
    for file in (path, path + _NEXT):
        with suppress(FileExistsError):
            disk.close(disk.create(file))


@contextmanager
def locked(disk: Disk, path: str, *, shared: bool) -> Generator[None]:
    """Hold a lock, made by `make_lock`, for the length of the block.

    Raises:
        StoreUnavailableError: Others held it for 5 s.
        DeadlineExceededError: The deadline around came first.
        Exception: A stop ended the work: its own error.
    """
    held = _at_once(disk, path, shared) or _in_turn(disk, path, shared)
    try:
        yield
    finally:
        held.release()


def _at_once(disk: Disk, path: str, shared: bool) -> Held | None:
    """The lock, if it is free and nobody is next."""
    gate = disk.lock(path + _NEXT, shared=True)
    if gate is None:
        return None
    try:
        return disk.lock(path, shared=shared)
    finally:
        gate.release()


def _in_turn(disk: Disk, path: str, shared: bool) -> Held:
    """Become the next one, then take the lock."""
    end = world.current.monotonic() + PATIENCE
    gate = _waited_for(disk, path + _NEXT, False, end, _LATEST)
    if gate is not None:
        try:
            held = _waited_for(disk, path, shared, end, _LATEST_OF_NEXT)
        finally:
            gate.release()
        if held is not None:
            return held
    raise StoreUnavailableError(path, f"locked for {PATIENCE:g} s by {_holders(path)}")


def _waited_for(disk: Disk, path: str, shared: bool, end: float, latest: float) -> Held | None:
    """One file's lock; None if the end comes first."""
    current = world.current
    delay = _SOONEST
    while (held := disk.lock(path, shared=shared)) is None and (left := end - current.monotonic()) > 0:
        waiting.linger(min(left, delay * (0.5 + current.rng.random() / 2)))
        delay = min(latest, delay * 1.5)
    return held


def _holders(path: str) -> str:
    """Who may have it, as far as this machine tells."""
    pids: list[str] = []
    with suppress(OSError):
        there = os.stat(path)
        which = f"{os.major(there.st_dev):02x}:{os.minor(there.st_dev):02x}:{there.st_ino}"
        with open("/proc/locks", encoding="ascii") as table:  # Linux
            pids = sorted({row[-4] for line in table if (row := line.split())[-3] == which and "->" not in row})
    return f"process {', '.join(pids)}" if pids else "another process, or a thread of this one"
