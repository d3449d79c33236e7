"""The records of a SQLite store as one transaction sees them: the table, and how each row proves that it is whole.

A row is proven by two columns. ``digest`` is the SHA-256 of what a write fixes: the key, the value, the revision, the
write's name, and whether it expires at all. ``proof`` is the sum of what a renewal changes: the beats, the TTL, both
expiries and the boot's number. SQLite itself can add, in the same statement that renews a lease; a digest would need the
row to be brought here first, and a thousand renewals would cost three times as much. A bit that flips in one of the terms
changes the sum, unless it moves an expiry by less than a microsecond.

The two verbs that make a lease, and the one that keeps it, have a statement of their own for the case that nothing stands
in the way; where it changes no row, the shared brain decides. Keys are kept as UTF-8, whose order is that of code points.
"""

from __future__ import annotations

import functools
import sqlite3
import struct
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, Final, TypeAlias

from resilience._core.deciding import decide
from resilience._core.records import Now, Record, Versioned, next_revision
from resilience._core.steps import Extend, Swap, Verb
from resilience.errors import CorruptStateError


__all__ = ["SCHEMA", "LastingError", "Table", "claim", "renew", "unclaim"]

Execute: TypeAlias = "Callable[[str, tuple[Any, ...]], sqlite3.Cursor]"
ExecuteMany: TypeAlias = "Callable[[str, list[tuple[Any, ...]]], sqlite3.Cursor]"

SCHEMA: Final = (
    """
    CREATE TABLE records (
        key BLOB PRIMARY KEY NOT NULL,
        revision INTEGER NOT NULL,
        beats INTEGER NOT NULL,
        ttl REAL,
        expires_boottime REAL NOT NULL,
        expires_wall REAL NOT NULL,
        boot INTEGER NOT NULL,
        write_id BLOB,
        digest BLOB NOT NULL,
        proof REAL NOT NULL,
        value BLOB NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE TABLE store (id INTEGER PRIMARY KEY CHECK (id = 1), floor INTEGER NOT NULL, incarnation TEXT NOT NULL)",
    """
    CREATE TRIGGER raise_floor AFTER DELETE ON records BEGIN
        UPDATE store SET floor = max(floor, OLD.revision) WHERE id = 1;
    END
    """,
)

_FACTS = "revision, beats, ttl, expires_boottime, expires_wall, boot, write_id, digest, proof, value"
_FLOOR = "SELECT floor FROM store WHERE id = 1"
_GET = f"SELECT {_FACTS} FROM records WHERE key = ?"  # noqa: S608  # names of columns
_PUT = f"INSERT OR REPLACE INTO records (key, {_FACTS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # names of columns
_DROP = "DELETE FROM records WHERE key = ?"
_FROM = f"SELECT key, {_FACTS} FROM records WHERE key >= ? AND key < ? ORDER BY key"  # noqa: S608  # names of columns
_AFTER = f"SELECT key, {_FACTS} FROM records WHERE key > ? AND key < ? ORDER BY key"  # noqa: S608  # names of columns

_CLAIM = f"""
    INSERT INTO records (key, {_FACTS}) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE ({_FLOOR}) < ?
    ON CONFLICT DO NOTHING
"""
_UNCLAIM = "DELETE FROM records WHERE key = ? AND revision = ? AND ttl IS NOT NULL"

#: A lease of this boot, which is every lease whose holder lives; the parameters are bound once for each place where they stand.
_HELD = """
    key = ? AND revision = ? AND boot = ? AND expires_boottime > ? AND ttl IS NOT NULL
    AND proof = expires_wall + expires_boottime + ttl + beats + boot
"""
_RENEW = f"""
    UPDATE records SET
        beats = beats + 1, ttl = ?, expires_boottime = max(?, expires_boottime), expires_wall = max(?, expires_boottime + ?),
        proof = max(?, expires_boottime + ?) + max(?, expires_boottime) + ? + (beats + 1) + boot
    WHERE {_HELD}
"""  # noqa: S608
_IS_HELD = f"SELECT 1 FROM records WHERE {_HELD}"  # noqa: S608

#: What comes before the texts in a digest: nothing else may look the same.
_head = struct.Struct("<q?ii").pack

#: What no key in UTF-8 reaches.
_END = b"\xff"
#: The largest integer of SQLite, which no revision reaches.
_LARGEST: Final = 2**63 - 1


class LastingError(Exception):
    """A record without a TTL is to be removed or replaced, by a transaction that does not wait for the disk."""


class Table:
    """A `resilience._core.deciding.Shelf` over the table.

    Args:
        execute: Of the connection whose transaction it is.
        now: This moment.
        where: Which database, for errors.
        durable: Whether the transaction's commit waits for the disk.
    """

    __slots__ = ("_durable", "_execute", "_lasting", "_now", "_where")

    def __init__(self, execute: Execute, now: Now, where: str, durable: bool = False) -> None:
        self._execute = execute
        self._now = now
        self._where = where
        self._durable = durable
        #: The key that was read last of those without a TTL: nothing is replaced that was not read before.
        self._lasting: str | None = None

    def get(self, key: str) -> Record | None:
        blob = key.encode()
        row = self._execute(_GET, (blob,)).fetchone()
        if row is None:
            return None
        record = self._record(blob, *row)
        if record.ttl is None:
            self._lasting = key
        return record

    def put(self, key: str, record: Record) -> None:
        if key == self._lasting and not self._durable:
            raise LastingError
        self._execute(_PUT, _row(key.encode(), record))

    def drop(self, key: str, record: Record) -> None:
        if record.ttl is None and not self._durable:
            raise LastingError
        self._execute(_DROP, (key.encode(),))

    def floor(self) -> int:
        return int(self._execute(_FLOOR, ()).fetchone()[0])

    def under(self, prefix: str, after: str) -> Iterator[tuple[str, Record]]:
        first, last = prefix.encode(), after.encode()
        end = first[:-1] + bytes([first[-1] + 1]) if first else _END
        rows = self._execute(_FROM, (first, end)) if last < first else self._execute(_AFTER, (last, end))
        try:
            for blob, *facts in rows:
                record = self._record(blob, *facts)
                yield blob.decode(), record
        finally:
            rows.close()  # or the transaction stays open

    def _record(
        self,
        key: bytes,
        revision: int,
        beats: int,
        ttl: float | None,
        boottime: float,
        wall: float,
        boot: int,
        write_id: bytes | None,
        digest: bytes,
        proof: float,
        value: bytes,
    ) -> Record:
        try:
            whole = digest == _digest(key, revision, ttl is not None, write_id, value) and proof == (
                wall + boottime + (ttl or 0.0) + beats + boot
            )
        except (TypeError, struct.error):  # a value of another type than was written
            whole = False
        if not whole:
            name = bytes(key).decode(errors="backslashreplace")
            raise CorruptStateError(f"{self._where}: {name!r}", "its checksum does not match; it is left as it is")
        named = None if write_id is None else write_id.decode()
        same = boot == _number(self._now.boot)
        return Record(value, revision, beats, ttl, boottime, wall, self._now.boot if same else "another boot", named)


def claim(execute: Execute, verb: Swap, ttl: float, now: Now) -> Versioned[bytes] | None:
    """Write a record where there is none, in one statement; None if there is one, or the clock is behind the floor.

    What `Record.written` says, without making one: that would be a tenth of what a lease costs.
    """
    key, value, named = verb.key.encode(), verb.value, verb.write_id
    revision, boottime, wall, boot = next_revision(0, now.wall), now.boottime + ttl, now.wall + ttl, _number(now.boot)
    write_id = None if named is None else named.encode()
    proof = wall + boottime + ttl + 0 + boot
    digest = _digest(key, revision, True, write_id, value)
    row = (key, revision, 0, ttl, boottime, wall, boot, write_id, digest, proof, value, revision)
    if execute(_CLAIM, row).rowcount != 1:
        return None
    return Versioned(value, revision, 0, ttl, boottime - now.boottime, False, named)


def unclaim(execute: Execute, key: str, revision: int) -> bool:
    """Remove a record with a TTL that is at its revision, in one statement; False if there is no such record."""
    return execute(_UNCLAIM, (key.encode(), min(revision, _LARGEST))).rowcount == 1


def renew(execute: Execute, execute_many: ExecuteMany, verb: Extend, now: Now, where: str) -> frozenset[str]:
    """Renew leases; those that were lost."""
    wall, boottime, boot = now.wall, now.boottime, _number(now.boot)
    ahead = wall - boottime
    rows: list[tuple[Any, ...]] = [
        (
            ttl := beat.ttl,
            until := boottime + ttl,
            later := wall + ttl,
            ahead,
            later,
            ahead,
            until,
            ttl,
            beat.key.encode(),
            token if (token := beat.token) < _LARGEST else _LARGEST,
            boot,
            boottime,
        )
        for beat in verb.beats
    ]
    if execute_many(_RENEW, rows).rowcount == len(rows):
        return frozenset()
    # What was renewed is held, at this same moment; what was not is another's, or over, or of another boot.
    pairs = zip(verb.beats, rows, strict=True)
    again: Verb[frozenset[str]] = Extend(beat for beat, row in pairs if execute(_IS_HELD, row[-4:]).fetchone() is None)
    return decide(again, Table(execute, now, where), now)


def _row(key: bytes, record: Record) -> tuple[Any, ...]:
    value, revision, beats, ttl, boottime, wall, boot, named = record
    number = 0 if ttl is None else _number(boot)
    write_id = None if named is None else named.encode()
    digest = _digest(key, revision, ttl is not None, write_id, value)
    proof = wall + boottime + (ttl or 0.0) + beats + number
    return (key, revision, beats, ttl, boottime, wall, number, write_id, digest, proof, value)


def _digest(key: bytes, revision: int, expires: bool, write_id: bytes | None, value: bytes) -> bytes:
    if write_id is None:
        return sha256(b"".join((_head(revision, expires, len(key), -1), key, value))).digest()
    return sha256(b"".join((_head(revision, expires, len(key), len(write_id)), key, write_id, value))).digest()


@functools.lru_cache(maxsize=8)
def _number(boot: str) -> int:
    """Which boot, as a number that SQLite can compare and add: 30 bits, so that the sum keeps its microseconds."""
    return int.from_bytes(sha256(boot.encode()).digest()[:4], "big") >> 2
