"""Connections to one SQLite database: how its file comes to be, what every connection is set to, and which file it is.

The file is made before SQLite opens it, under another name and then linked, so that it is nobody else's to read from its
first moment, and so that this process never closes a descriptor of a database in use: that would drop every lock it has.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from resilience._io import world
from resilience._io.disk import OsDisk, make_dirs
from resilience.errors import StoreError, UnknownFormatError
from resilience.stores._pool import Pool
from resilience.stores._sqlite_log import KEPT, Log
from resilience.stores._sqlite_table import SCHEMA


__all__ = ["LOOK_EVERY", "Link", "Links"]

#: "Resi", in the header of the file.
_APPLICATION: Final = 0x52657369
#: The format of the tables.
_FORMAT: Final = 1

#: Seconds that SQLite itself waits for a lock. Short: above it stands a wait that is fair, and ends when the work must.
_SQLITE_WAIT = 0.01

#: Seconds after which it is looked whether a connection's file is still the one at the path, and how long the log is.
LOOK_EVERY = 0.1


class Link:
    """One connection, used by one thread at a time.

    Args:
        raw: The connection, which commits each statement unless a transaction was begun.
        file: Which file it has open: device and inode.
    """

    __slots__ = ("committing", "durable", "execute", "execute_many", "file", "look_at", "quick", "raw", "wrote")

    def __init__(self, raw: sqlite3.Connection, file: tuple[int, int]) -> None:
        self.raw = raw
        self.execute = raw.execute
        self.execute_many = raw.executemany
        #: The same on one cursor, for what has no rows: it costs less than a new one each time.
        self.quick = raw.cursor().execute
        self.file = file
        #: When to look whether that is still the one at the path.
        self.look_at = 0.0
        #: Whether a commit is under way.
        self.committing = False
        #: How many transactions it has written: SQLite tells it only of others' writes.
        self.wrote = 0
        #: Whether its commits wait for the disk.
        self.durable = False

    def wait_for_disk(self, durable: bool) -> None:
        """Let the commits from now on wait for the disk, or not; outside of a transaction only."""
        self.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self.durable = durable

    def commit(self) -> None:
        """End the transaction."""
        self.committing = True
        self.quick("COMMIT")
        self.committing = False

    def undo(self) -> None:
        """End the transaction, if there is one, without a trace."""
        self.committing = False
        if self.raw.in_transaction:
            self.execute("ROLLBACK")


class Links(Pool[Link]):
    """The connections of one store to its database. Safe for threads, and across forks.

    Args:
        name: Which store, for errors.
        path: Absolute.
    """

    def __init__(self, name: str, path: str) -> None:
        self._path = path
        self.log = Log(path)
        super().__init__(name, self._opened, lambda link: link.raw.close())

    def current(self, link: Link) -> Link:
        """A connection to the file that is at the path now: whoever removed it must not leave two databases in use.

        Args:
            link: One that was taken; the answer, or discarded.
        """
        while _which(self._path) != link.file:
            self.discard(link)
            link = self.take()
        self.log.look()
        link.look_at = world.current.monotonic() + LOOK_EVERY
        return link

    def _opened(self) -> Link:
        _make_file(self._path)
        # Looked at before it is opened: one that is swapped in later is not taken for the one that is open.
        file = _which(self._path)
        raw = sqlite3.connect(
            self._path, timeout=_SQLITE_WAIT, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            self._set_up(raw)
            return Link(raw, file or _which(self._path) or (0, 0))
        except BaseException:
            raw.close()
            raise

    def _set_up(self, raw: sqlite3.Connection) -> None:
        # First of all: another's database must stay as it is. In a transaction, for somebody may be making the tables.
        raw.execute("BEGIN")
        ours = self._is_ours(raw)
        raw.execute("COMMIT")
        mode = raw.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreError(self._name, f"SQLite keeps no write-ahead log here (its journal mode is {mode!r})")
        if not ours:
            raw.execute("BEGIN IMMEDIATE")
            if not self._is_ours(raw):
                for statement in SCHEMA:
                    raw.execute(statement)
                raw.execute("INSERT INTO store VALUES (1, 0, ?)", (secrets.token_hex(8),))
                raw.execute(f"PRAGMA application_id = {_APPLICATION}")
                raw.execute(f"PRAGMA user_version = {_FORMAT}")
            raw.execute("COMMIT")
        raw.execute("PRAGMA wal_autocheckpoint = 0")  # see `Verbs._tidy`
        raw.execute(f"PRAGMA journal_size_limit = {KEPT}")
        raw.execute("PRAGMA fullfsync = ON")  # macOS: through the drive's own cache
        raw.execute("PRAGMA synchronous = NORMAL")

    def _is_ours(self, raw: sqlite3.Connection) -> bool:
        """Whether the tables are there; False where there is nothing yet."""
        application, found = (
            raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if (application, found) == (_APPLICATION, _FORMAT):
            return True
        if application == _APPLICATION:
            raise UnknownFormatError(self._path, f"its format is {found}, and this version knows {_FORMAT}")
        if application or found or raw.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise UnknownFormatError(self._path, "it is a SQLite database of something else")
        return False


def _which(path: str) -> tuple[int, int] | None:
    """Which file is at a path; None if there is none. Does not open it."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_file(path: str) -> None:
    """An empty file that only its owner can read and write, in folders that only he can enter; nothing if it is there."""
    if _which(path) is not None:
        return
    fresh, folder, disk = f"{path}.{secrets.token_hex(8)}", str(Path(path).parent), OsDisk()
    with suppress(OSError):  # where it is not there now, nothing can be made in it either
        make_dirs(disk, folder)
    try:
        disk.close(disk.create(fresh))
        try:
            os.link(fresh, path)
        finally:
            disk.unlink(fresh)
        disk.sync_dir(folder)
    except OSError:
        # Somebody else was first; or nothing can be made here, as SQLite will say better; or the file system knows no
        # links, and so as a rule no modes either: then SQLite makes the file. Or it cannot sync a directory, and SQLite
        # does not mind that either.
        return
