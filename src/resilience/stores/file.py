"""The store in files: one for each record, in one directory of this machine, for people who want to see what is kept.

Every verb holds one lock on the whole directory: with others that read, or alone to write. Hence a verb is one moment, and
a writer finds no other's half-done work but that of the dead, which is a file that nobody reads. Nothing stays open and
nothing is remembered from one verb to the next: threads, processes and children of a fork may use the directory together.

Everything that is written is **published**, leases too: a record that is renamed without having been synced may come back
empty after a power cut, and then nobody knows whether what blocks its key would ever have expired. Two are not synced:

- renewals: after a power cut their holder is dead, and what is left is an earlier renewal;
- the removal of a record that expires: after a power cut it may be there again, whole, and expires when it would have.

The **floor**, the highest revision of all that were removed, is a record's file like the others. A record that expires
becomes the floor by one rename, so that no power cut comes between its end and the floor's rise, and no room is needed.
Other values shall be gone when they are removed: for them a floor without a value is published first. Where the disk is too
full for that they take the way of the former, for whoever makes room must be able to.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar, cast

from typing_extensions import override

from resilience._core.deciding import decide
from resilience._core.description import Description, Fault, faults_but
from resilience._core.records import ABSENT, Record
from resilience._core.steps import Load, LoadMany, Scan, Verb
from resilience._io.disk import FULL, STRAY, Disk, OsDisk, make_dirs, publish, write_in_place
from resilience._io.flocks import locked, make_lock
from resilience._io.host import host_now
from resilience.errors import (
    ConfigError,
    CorruptStateError,
    OutcomeUnknownError,
    StorageFullError,
    StoreError,
    StoreUnavailableError,
    UnknownFormatError,
)
from resilience.stores import _recordfiles as files
from resilience.stores._base import LARGEST_VALUE, StoreBase
from resilience.stores._mounts import network_file_system
from resilience.typing import Clock


__all__ = ["FileStore"]

R = TypeVar("R")

#: The store's own files; the names of all others begin or end differently.
_META = "store.json"
_LOCK = "lock"
_FLOOR = "floor"

_FORMAT = "resilience.store"
_VERSION = 1

#: What will not be better the next time.
_REFUSED = {getattr(errno, name) for name in ("EACCES", "EPERM", "EROFS", "ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG")}


class FileStore(StoreBase):
    """A `resilience.typing.Store` in a directory of a local file system, for up to some thousands of keys.

    Safe for threads, processes and forks of one machine. A file whose checksum is wrong is reported, by name, by every verb
    that needs it, and left as it is; the other keys go on. (For `extend` such a lease is lost, and the others are renewed.)
    Only the user who made it can read it. Not for network file systems, and not for Windows, which has no flock.

    Args:
        dir: The directory; made, with those above it, if it is not there.
        clock: Where its time comes from; None for the World's clock, which tests swap.
        disk: The file system; None for the operating system's.
        max_value_bytes: The limit of a value.

    Raises:
        ConfigError: There can be no directory of that name, or it is on a network file system.
        StoreError: The directory cannot be made or read; this platform has no flock.
        UnknownFormatError: It was written by another version.
        CorruptStateError: Its file ``store.json`` is not what was written.
        StorageFullError: There is no room for a new store.

    >>> import tempfile
    >>> from resilience.stores import ABSENT, FileStore
    >>> with tempfile.TemporaryDirectory() as dir, FileStore(dir) as store:
    ...     written = store.compare_and_set("greeting", b"hello", expected=ABSENT)
    ...     store.load("greeting").value
    b'hello'
    """

    def __init__(
        self,
        dir: str | os.PathLike[str],  # noqa: A002  # what it is
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
        max_value_bytes: int = LARGEST_VALUE,
    ) -> None:
        self._dir = _directory(dir)
        super().__init__(f"FileStore({self._dir!r})", max_value_bytes)
        self._clock = clock
        self._disk = OsDisk() if disk is None else disk
        self._swept = False
        self._incarnation()

    @override
    def _run(self, verb: Verb[R]) -> R:
        self._begin()
        with self._explained():
            try:
                return self._once(verb)
            except FileNotFoundError:  # somebody removed the directory; nothing was done
                self._make()
                return self._once(verb)

    def _once(self, verb: Verb[R]) -> R:
        shared = isinstance(verb, (Load, LoadMany, Scan))
        with locked(self._disk, f"{self._dir}/{_LOCK}", shared=shared):
            if not shared and not self._swept:
                self._sweep()
            return decide(verb, _Shelf(self._disk, self._dir), host_now(self._clock))

    @override
    def describe(self) -> Description:
        """What this store promises, and what it may lose."""
        return Description(
            store=self._name,
            clock="host",
            incarnation=self._incarnation(),
            durable=True,
            survives_crash=True,
            survives_reboot=True,
            shared=False,
            wakes=False,
            revisions_survive=faults_but((Fault.EMPTIED, Fault.CLOCK_SET_BACK), (Fault.RESTORED, Fault.CLOCK_SET_BACK)),
        )

    def _incarnation(self) -> str:
        """What the store says of itself; it is made, if there is none."""
        with self._explained():
            try:
                return self._read_meta()
            except FileNotFoundError:
                self._make()
                return self._read_meta()

    def _read_meta(self) -> str:
        path = f"{self._dir}/{_META}"
        meta = json.loads(files.unsealed(self._disk.read(path), path))
        if (meta.get("format"), meta.get("v")) != (_FORMAT, _VERSION):
            raise UnknownFormatError(self._dir, f"not a store in version {_VERSION} of its format")
        return str(meta["incarnation"])

    def _make(self) -> None:
        """Make the store. Its description comes last: where that is, the rest is there to stay."""
        make_dirs(self._disk, self._dir)
        make_lock(self._disk, f"{self._dir}/{_LOCK}")
        with locked(self._disk, f"{self._dir}/{_LOCK}", shared=False):
            try:
                self._disk.read(f"{self._dir}/{_META}")
            except FileNotFoundError:
                meta = {"format": _FORMAT, "v": _VERSION, "incarnation": secrets.token_hex(8)}
                publish(self._disk, f"{self._dir}/{_META}", files.sealed(json.dumps(meta).encode()))

    def _sweep(self) -> None:
        """Remove what the dead left half done: unpublished files, and beats without a record."""
        names = set(self._disk.list(self._dir))
        for name in names:
            if name.startswith(STRAY) or (
                name.endswith(files.BEATS) and name.removesuffix(files.BEATS) + files.RECORD not in names
            ):
                with suppress(OSError):
                    self._disk.unlink(f"{self._dir}/{name}")
        self._swept = True

    @contextmanager
    def _explained(self) -> Generator[None]:
        """What the operating system says, as a store's error. Where something may have been done, the shelf has said so."""
        try:
            yield
        except OSError as error:
            if not isinstance(error.errno, int):  # an error of ours
                raise
            what = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
            if error.errno in FULL:
                raise StorageFullError(self._dir, what) from error
            kind = StoreError if error.errno in _REFUSED else StoreUnavailableError
            raise kind(self._name, what) from error


class _Shelf:
    """The records in the directory, while it is locked."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk = disk
        self._folder = folder
        self._floor = f"{folder}/{_FLOOR}"

    def get(self, key: str) -> Record | None:
        path = self._path(key)
        found = self._read(path + files.RECORD)
        if found is None:
            return None
        kept, record = found
        if kept != key:
            raise CorruptStateError(path + files.RECORD, f"it holds the record of another key, {kept!r}")
        if record.ttl is not None:
            with suppress(FileNotFoundError):
                record = files.renewed_by(record, self._disk.read(path + files.BEATS))
        return record

    def put(self, key: str, record: Record) -> None:
        path = self._path(key)
        if record.beats:
            try:
                write_in_place(self._disk, path + files.BEATS, *files.beat_of(record))
            except OSError as error:
                raise OutcomeUnknownError(path + files.BEATS, f"renewed, or not ({error})") from error
        else:
            publish(self._disk, path + files.RECORD, files.dump_record(key, record))

    def drop(self, key: str, record: Record) -> None:
        path = self._path(key)
        if record.revision <= self.floor():
            self._disk.sync_dir(self._folder)  # what raised the floor may not have been synced, and comes before this
            self._disk.unlink(path + files.RECORD)
        elif record.ttl is not None or not self._raised(key, record):
            self._disk.replace(path + files.RECORD, self._floor)
        else:
            self._disk.unlink(path + files.RECORD)
        with suppress(OSError):
            self._disk.unlink(path + files.BEATS)
        if record.ttl is None:
            try:
                self._disk.sync_dir(self._folder)
            except OSError as error:
                raise OutcomeUnknownError(
                    path + files.RECORD, f"removed, but its directory could not be synced ({error})"
                ) from error

    def _raised(self, key: str, record: Record) -> bool:
        """Whether there was room for a new floor."""
        try:
            publish(self._disk, self._floor, files.dump_record(key, record._replace(value=b"")))
        except StorageFullError:
            return False
        return True

    def floor(self) -> int:
        found = self._read(self._floor)
        return ABSENT if found is None else found[1].revision

    def under(self, prefix: str, after: str) -> Iterator[tuple[str, Record]]:
        begin = files.escaped(prefix)
        names = (
            name.removesuffix(files.RECORD) for name in self._disk.list(self._folder) if name.endswith(files.RECORD)
        )
        keys = [self._key(name) for name in names if files.could_be_under(name, begin)]
        for key in sorted(key for key in keys if key is not None and key > after and key.startswith(prefix)):
            record = self.get(key)
            if record is not None:
                yield key, record

    def _key(self, name: str) -> str | None:
        """The key of a file; None for one that is not ours."""
        if not files.is_cut(name):
            return files.key_of(name)
        found = self._read(f"{self._folder}/{name}{files.RECORD}")
        return found and found[0]

    def _path(self, key: str) -> str:
        return f"{self._folder}/{files.name_of(key)}"

    def _read(self, path: str) -> tuple[str, Record] | None:
        try:
            data = self._disk.read(path)
        except FileNotFoundError:
            return None
        return files.parse_record(data, path)


def _directory(given: object) -> str:
    path = given
    if isinstance(given, os.PathLike):
        path = os.fspath(cast("os.PathLike[str]", given))
    if not isinstance(path, str) or not path or "\0" in path:
        raise ConfigError("dir", path, "the path of a directory")
    absolute = str(Path(path).absolute())
    network = network_file_system(absolute)
    if network is not None:  # locks do not hold there, and a rename may be seen late
        raise ConfigError("dir", path, f"on a disk of this machine, not on a network file system ({network})")
    return absolute
