"""What each verb of a store does: the reference, and the brain of every store that lives on one machine.

A store brings a `Shelf` (its records, inside a transaction that nobody else sees into) and the moment `Now`; the verb is
decided here, so memory, files and SQLite cannot differ in what they answer. Redis and PostgreSQL decide where their data
is, in a script and in functions of their own; the contract suite holds them to the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, cast

from resilience._core.records import ABSENT, ANY, VACANT, Expected, Guard, Now, Record, Seen, Versioned
from resilience._core.steps import Extend, Load, LoadMany, Remove, Scan, Swap, Verb
from resilience.errors import CorruptStateError, GuardRefusedError, VersionConflictError


__all__ = ["Shelf", "decide"]

R = TypeVar("R")


class Shelf(Protocol):
    """The records of a store on one machine, as one transaction sees them."""

    def get(self, key: str) -> Record | None:
        """The record under a key, expired or not."""
        ...

    def put(self, key: str, record: Record) -> None:
        """Keep a record in the place of the one before it."""
        ...

    def drop(self, key: str, record: Record) -> None:
        """Remove a record, as `get` gave it; raises the floor to its revision."""
        ...

    def floor(self) -> int:
        """The highest revision of all that were dropped."""
        ...

    def under(self, prefix: str, after: str) -> Iterator[tuple[str, Record]]:
        """The records whose keys begin with `prefix` and come after `after`, in order of code points."""
        ...


def decide(verb: Verb[R], shelf: Shelf, now: Now) -> R:
    """Carry out one verb.

    Raises:
        VersionConflictError: The record is not as expected.
        GuardRefusedError: The lease is not held as the guard says.
    """
    return cast("R", _DECISIONS[type(verb)](verb, shelf, now))


def _load(verb: Load, shelf: Shelf, now: Now) -> Versioned[bytes] | None:
    record = shelf.get(verb.key)
    return None if record is None else record.seen(now)


def _load_many(verb: LoadMany, shelf: Shelf, now: Now) -> dict[str, Versioned[bytes] | None]:
    return {key: _load(Load(key), shelf, now) for key in verb.keys}


def _swap(verb: Swap, shelf: Shelf, now: Now) -> Versioned[bytes]:
    _judge(verb.guard, verb.key, shelf, now)
    there = shelf.get(verb.key)
    if not _is_as(verb.expected, there, now):
        raise VersionConflictError(verb.key, verb.expected, there and there.seen(now))
    previous = shelf.floor() if there is None else there.revision
    record = Record.written(verb.value, previous, verb.ttl, verb.write_id, now)
    shelf.put(verb.key, record)
    return record.seen(now)


def _remove(verb: Remove, shelf: Shelf, now: Now) -> bool:
    _judge(verb.guard, verb.key, shelf, now)
    there = shelf.get(verb.key)
    if there is None:
        return False
    if not _is_as(verb.expected, there, now):
        raise VersionConflictError(verb.key, verb.expected, there.seen(now))
    shelf.drop(verb.key, there)
    return True


def _extend(verb: Extend, shelf: Shelf, now: Now) -> frozenset[str]:
    """All are read before any is written: whatever cannot be read must not leave some renewed and others not."""
    lost: set[str] = set()
    latest: dict[str, Record] = {}
    renewals: list[tuple[str, Record]] = []
    for beat in verb.beats:
        there = latest.get(beat.key) or _whole(beat.key, shelf)
        if there is None or there.revision != beat.token or there.ttl is None or there.has_expired(now):
            lost.add(beat.key)
        else:
            latest[beat.key] = renewed = there.renewed(beat.ttl, now)
            renewals.append((beat.key, renewed))
    for key, renewed in renewals:
        shelf.put(key, renewed)
    return frozenset(lost)


def _whole(key: str, shelf: Shelf) -> Record | None:
    """A lease, where it is to be had: one that is damaged must not cost the others theirs."""
    try:
        return shelf.get(key)
    except CorruptStateError:
        return None


def _scan(verb: Scan, shelf: Shelf, now: Now) -> list[tuple[str, Versioned[bytes]]]:
    page: list[tuple[str, Versioned[bytes]]] = []
    for key, record in shelf.under(verb.prefix, verb.after):
        if record.has_expired(now) is verb.expired:
            page.append((key, record.seen(now)))
            if len(page) == verb.limit:
                break
    return page


def _judge(guard: Guard | None, key: str, shelf: Shelf, now: Now) -> None:
    if guard is None:
        return
    lease = shelf.get(guard.key)
    if guard.token is VACANT:
        holds = lease is None or lease.has_expired(now)
    else:
        holds = lease is not None and lease.revision == guard.token and not lease.has_expired(now)
    if not holds:
        raise GuardRefusedError(key, guard, lease and lease.seen(now))


def _is_as(expected: Expected, there: Record | None, now: Now) -> bool:
    if isinstance(expected, int):
        return expected == (ABSENT if there is None else there.revision)
    if isinstance(expected, Seen):
        return there is not None and (there.revision, there.beats) == (expected.revision, expected.beats)
    return expected is ANY or there is None or there.has_expired(now)


_DECISIONS: dict[type, Callable[[Any, Shelf, Now], Any]] = {
    Load: _load,
    LoadMany: _load_many,
    Swap: _swap,
    Extend: _extend,
    Remove: _remove,
    Scan: _scan,
}
