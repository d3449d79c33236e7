"""What SQLite's errors mean to whoever asked for a verb: tried again, certainly not applied, perhaps applied, damaged.

Everything but a failed commit is rolled back, so it is certainly not applied. Of a commit that failed in the middle of its
writing, the file alone knows: the connections that open it next may find it whole.
"""

from __future__ import annotations

import sqlite3

from resilience.errors import (
    CorruptStateError,
    OutcomeUnknownError,
    ResilienceError,
    StorageFullError,
    StoreError,
    StoreUnavailableError,
)


__all__ = ["BusyError", "is_busy", "translated"]

#: Somebody else has what is needed, for a moment.
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNREACHABLE = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_INTERRUPT})
_READ_ONLY = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH})


class BusyError(StoreUnavailableError):
    """Another connection has the lock; worth trying again in a moment."""


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection has the lock; worth trying again in a moment."""
    return _kind(error) in _BUSY


def translated(store: str, error: sqlite3.Error, committing: bool) -> ResilienceError:
    """The error to raise in the place of SQLite's own.

    Args:
        store: Which store, for people.
        error: What SQLite said.
        committing: Whether a commit was under way, a statement's own included.
    """
    kind = _kind(error)
    said = f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    if kind in _BUSY:
        return BusyError(store, said)
    if kind == sqlite3.SQLITE_FULL:
        return StorageFullError(store, said)
    if kind in _DAMAGED:
        return CorruptStateError(store, said)
    if kind == sqlite3.SQLITE_IOERR and committing:
        return OutcomeUnknownError(store, said)
    if kind in _UNREACHABLE:
        return StoreUnavailableError(store, said)
    if kind in _READ_ONLY:
        return StoreError(store, f"it can be read, but not written: {said}")
    return StoreError(store, said)


def _kind(error: sqlite3.Error) -> int:
    # The low byte says what, the rest says where. Errors of the sqlite3 module itself have no code.
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF
