"""Files that are whole or not there: how they are published, and the little of a file system that this takes.

What a file system promises after a power cut is little: data that was synced is there, and a name is durable once its
directory was synced. Nothing else is in any order. So a file is **published**: written under a name that nobody reads,
synced, renamed, and its directory synced, before anybody is told. After a failed sync the kernel forgets what it could not
write and says so only once, hence nothing is ever synced a second time: whoever tries again publishes a new file.

`Disk` is the little that this takes, path by path and call by call, so that a simulated one can stop after any call and
say what the disk may hold then.

On Windows a directory cannot be synced, and a rename is repeated while a reader may have the file open; there is no flock
(`flocks`), so what needs a lock is refused.
"""

# pathlib costs more than these calls themselves:
# ruff: noqa: PTH102, PTH105, PTH108, PTH118, PTH120, PTH208
from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from resilience._io import flocks, waiting
from resilience._io.flocks import Held
from resilience.errors import OutcomeUnknownError, StorageFullError


__all__ = ["FULL", "STRAY", "Disk", "OsDisk", "make_dirs", "publish", "write_in_place"]

#: How the name of a file begins that is not yet published. One that is there while nobody holds the lock is nobody's.
STRAY = ".unpublished-"

#: Flags of every file that is opened: no child inherits it, and a link in its place is an error.
_ALWAYS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_CHUNK = 1 << 16

#: Error numbers that mean: no room.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

#: What a volume says to F_FULLFSYNC if it cannot do that.
_CANNOT = {errno.ENOTSUP, errno.EINVAL, errno.ENOTTY}

#: Windows: access denied, sharing violation, lock violation. A reader has the file open, for a moment.
_IN_USE = {5, 32, 33}
_IN_USE_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8, 0.95)


class Disk(Protocol):
    """A file system, as durable files need it. Paths are absolute; every method may raise `OSError`."""

    def list(self, path: str) -> Sequence[str]:
        """The names in a directory."""
        ...

    def read(self, path: str) -> bytes:
        """A whole file."""
        ...

    def create(self, path: str) -> int:
        """Open a new file, readable for its owner alone, to be written; `FileExistsError` if there is one."""
        ...

    def open(self, path: str) -> int:
        """Open a file that is there, to be written in place."""
        ...

    def write(self, file: int, data: bytes, at: int) -> int:
        """Write at an offset; how many bytes were written, which may be fewer."""
        ...

    def sync(self, file: int) -> None:
        """Return when what was written to the file is on the disk."""
        ...

    def close(self, file: int) -> None:
        """Close it, also where that fails."""
        ...

    def replace(self, source: str, target: str) -> None:
        """Rename a file, in the place of another if there is one: readers see the one or the other."""
        ...

    def unlink(self, path: str) -> None:
        """Remove a name."""
        ...

    def make_dir(self, path: str) -> None:
        """Make a directory for its owner alone; `FileExistsError` if there is one."""
        ...

    def sync_dir(self, path: str) -> None:
        """Return when the names in a directory are on the disk."""
        ...

    def lock(self, path: str, *, shared: bool) -> Held | None:
        """Lock a file that is there, for this caller alone or with others that share; None if somebody else has it."""
        ...


class OsDisk:
    """The file system of the operating system. Stateless; safe for threads, processes and forks."""

    __slots__ = ()

    def list(self, path: str) -> Sequence[str]:
        """As `Disk.list`."""
        return os.listdir(path)

    def read(self, path: str) -> bytes:
        """As `Disk.read`."""
        file = os.open(path, os.O_RDONLY | _ALWAYS)
        try:
            chunks = [os.read(file, _CHUNK)]
            while chunks[-1]:
                chunks.append(os.read(file, _CHUNK))
        finally:
            os.close(file)
        return b"".join(chunks)

    def create(self, path: str) -> int:
        """As `Disk.create`."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _ALWAYS, 0o600)

    def open(self, path: str) -> int:
        """As `Disk.open`."""
        return os.open(path, os.O_WRONLY | _ALWAYS)

    def write(self, file: int, data: bytes, at: int) -> int:
        """As `Disk.write`."""
        os.lseek(file, at, os.SEEK_SET)
        return os.write(file, data)

    def sync(self, file: int) -> None:
        """As `Disk.sync`; on macOS through the drive's own cache as well, where the volume can do that."""
        fcntl = _fcntl()
        through = getattr(fcntl, "F_FULLFSYNC", None)
        if through is not None:
            try:
                fcntl.fcntl(file, through)
                return
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
        os.fsync(file)

    def close(self, file: int) -> None:
        """As `Disk.close`."""
        os.close(file)

    def replace(self, source: str, target: str) -> None:
        """As `Disk.replace`."""
        os.replace(source, target)

    def unlink(self, path: str) -> None:
        """As `Disk.unlink`."""
        os.unlink(path)

    def make_dir(self, path: str) -> None:
        """As `Disk.make_dir`."""
        os.mkdir(path, 0o700)

    def sync_dir(self, path: str) -> None:
        """As `Disk.sync_dir`; nothing where directories cannot be opened (Windows)."""
        if hasattr(os, "O_DIRECTORY"):
            file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def lock(self, path: str, *, shared: bool) -> Held | None:
        """As `Disk.lock`; `StoreError` where there is no flock (Windows)."""
        return flocks.take(path, shared)


def _fcntl() -> Any:
    try:
        import fcntl  # noqa: PLC0415  # not on Windows
    except ImportError:
        return None
    return fcntl


def publish(disk: Disk, path: str, data: bytes) -> None:
    """Put a file in the place of another, or where there is none; returns when it is there to stay.

    Raises:
        StorageFullError: There is no room; nothing has happened.
        OutcomeUnknownError: It is there, but may not survive a power cut.
        OSError: Anything else; nothing has happened.
    """
    folder = os.path.dirname(path)
    fresh = os.path.join(folder, STRAY + secrets.token_hex(16))
    try:
        _create(disk, fresh, data)
        _rename(disk, fresh, path)
    except BaseException as error:
        with suppress(OSError):
            disk.unlink(fresh)
        if isinstance(error, OSError) and error.errno in FULL:
            raise StorageFullError(path, f"no room for {len(data)} bytes more ({error.strerror})") from error
        raise
    try:
        disk.sync_dir(folder)
    except OSError as error:
        raise OutcomeUnknownError(path, f"written, but its directory could not be synced ({error})") from error


def _create(disk: Disk, path: str, data: bytes) -> None:
    file = disk.create(path)
    try:
        _write_all(disk, file, data, 0)
        disk.sync(file)
    except BaseException:
        with suppress(OSError):
            disk.close(file)
        raise
    disk.close(file)


def _rename(disk: Disk, source: str, target: str) -> None:
    for delay in _IN_USE_WAITS:
        try:
            return disk.replace(source, target)
        except OSError as error:
            if getattr(error, "winerror", None) not in _IN_USE:
                raise
        waiting.rest(delay, ())
    return disk.replace(source, target)


def write_in_place(disk: Disk, path: str, data: bytes, at: int) -> None:
    """Write a few bytes into a file, made if it is not there. Not synced: a power cut may undo it, or keep a part of it."""
    try:
        file = disk.open(path)
    except FileNotFoundError:
        file = disk.create(path)
    try:
        _write_all(disk, file, data, at)
    finally:
        disk.close(file)


def _write_all(disk: Disk, file: int, data: bytes, at: int) -> None:
    while data:
        count = disk.write(file, data, at)
        if not count:  # or this would never end
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        data, at = data[count:], at + count


def make_dirs(disk: Disk, path: str) -> None:
    """Make a directory, and those above it that are not there; returns when they are there to stay.

    Also where it is there already: whoever made it may not have come to sync it. Where we may not, because the one above
    is not ours to read (homes are often so), it was made by somebody who may.
    """
    above = os.path.dirname(path)
    try:
        disk.make_dir(path)
    except FileExistsError:
        with suppress(PermissionError):
            disk.sync_dir(above)
        return
    except FileNotFoundError:
        make_dirs(disk, above)
        with suppress(FileExistsError):
            disk.make_dir(path)
    disk.sync_dir(above)
