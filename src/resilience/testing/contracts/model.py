"""What a store must answer, in the plainest words: a dictionary, and the time that a machine has let pass.

Written from the promises in `resilience.typing.Store`, and not from the code that the library's own stores share: a
mistake there is one that this does not make. It does not say which revision a write gets, only that it must be higher
than all before it.
"""

from __future__ import annotations

from typing import NamedTuple

from resilience._core.records import ABSENT, ANY, VACANT, Beat, Expected, Guard, Seen


__all__ = ["Model", "Row"]


class Row(NamedTuple):
    """A record, as the model knows it; `until` is when it expires."""

    value: bytes
    revision: int
    beats: int
    ttl: float | None
    until: float | None
    write_id: str | None


class Model:
    """What there is, and what a verb must make of it."""

    def __init__(self) -> None:
        self.now: float = 0.0
        self.rows: dict[str, Row] = {}
        self.tokens: dict[str, list[int]] = {}

    def expired(self, key: str) -> bool:
        """Whether there is a record, and it has expired."""
        until = self.rows[key].until if key in self.rows else None
        return until is not None and until <= self.now

    def vacant(self, key: str) -> bool:
        """Whether there is no record, or one that has expired."""
        return key not in self.rows or self.expired(key)

    def revision(self, key: str) -> int:
        """The revision that is there."""
        return self.rows[key].revision if key in self.rows else ABSENT

    def last(self, key: str) -> int:
        """The highest revision that ever was."""
        return max(self.tokens.get(key, [0]))

    def as_expected(self, key: str, expected: Expected) -> bool:
        """Whether the record is as somebody expects."""
        if expected is ANY:
            return True
        if expected is VACANT:
            return self.vacant(key)
        if isinstance(expected, Seen):
            row = self.rows.get(key)
            return row is not None and row.revision == expected.revision and row.beats == expected.beats
        return self.revision(key) == expected

    def guarded(self, guard: Guard | None) -> bool:
        """Whether the guard holds."""
        if guard is None:
            return True
        if guard.token is VACANT:
            return self.vacant(guard.key)
        return not self.vacant(guard.key) and self.revision(guard.key) == guard.token

    def write(self, key: str, value: bytes, revision: int, ttl: float | None, write_id: str | None) -> None:
        """It was written."""
        until = None if ttl is None else self.now + ttl
        self.rows[key] = Row(value, revision, 0, ttl, until, write_id)
        self.tokens.setdefault(key, []).append(revision)

    def beat(self, beat: Beat) -> bool:
        """Carry out a beat; whether it was in time."""
        row = self.rows.get(beat.key)
        if row is None or row.until is None or row.until <= self.now or row.revision != beat.token:
            return False
        until = max(row.until, self.now + beat.ttl)
        self.rows[beat.key] = row._replace(beats=row.beats + 1, ttl=beat.ttl, until=until)
        return True

    def page(self, prefix: str, after: str, limit: int, *, expired: bool) -> list[str]:
        """The keys of a page of scan."""
        keys = [key for key in self.rows if key.startswith(prefix) and key > after and self.expired(key) is expired]
        return sorted(keys)[:limit]
