"""The verbs of a store in etcd: programs that ask, are answered, and decide; without I/O, and of no colour.

A program yields what to ask, is sent the `Answer`, and has what went wrong thrown into it where it stands. What decides is
always one transaction. What comes before it promises nothing to anybody (etcd leases that no key is bound to), and what
makes it come again is an answer that nothing was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from math import ceil
from typing import Any, Final, TypeVar, cast

from resilience._core.records import ABSENT, ANY, VACANT, Beat, Expected, Guard, Seen, Versioned, next_revision
from resilience._core.steps import Extend, Load, LoadMany, Remove, Scan, Swap, Verb
from resilience.errors import CorruptStateError, GuardRefusedError, ResilienceError, VersionConflictError
from resilience.stores._etcd_talk import Answer, Ask, Program, Stake
from resilience.stores._etcd_words import Json, Life, Names, after, drop, none, plain, put, ranges, read, span


__all__ = ["BATCH", "carry_out", "incarnation"]

R = TypeVar("R")
T = TypeVar("T")

#: Keys in one transaction: etcd's limit is 128 operations (``--max-txn-ops``), which no client can ask for.
BATCH: Final = 100


def carry_out(names: Names, verb: Verb[R], now: float | None) -> Program[R]:
    """The program for a verb.

    Args:
        names: Which store.
        verb: Which verb.
        now: The server's clock; None if it was never heard of.
    """
    timed = _TIMED.get(type(verb))
    program = _TIMELESS[type(verb)](names, verb) if timed is None else timed(names, verb, now)
    return cast("Program[R]", program)


def incarnation(names: Names, name: str) -> Program[str]:
    """The random name of this life of the store: `name`, if it has none yet."""
    key = names.incarnation
    answer = yield Ask(
        "kv/txn",
        {"compare": [none(span(key))], "success": [put(key, name.encode())], "failure": [read(span(key))]},
    )
    if answer.body.get("succeeded"):
        return name
    return plain(ranges(answer.body)[0][0]["value"]).decode()


# -- reading -----------------------------------------------------------------------------------------------------------


def _load(names: Names, verb: Load) -> Program[Versioned[bytes] | None]:
    answer = yield Ask("kv/range", names.all_of(verb.key))
    return names.found(verb.key, answer.body.get("kvs", []), answer.at)


def _load_many(names: Names, verb: LoadMany) -> Program[dict[str, Versioned[bytes] | None]]:
    """All are of one moment: what the first request does not hold is read as of when that was answered."""
    found: dict[str, Versioned[bytes] | None] = {}
    moment = "0"
    for keys in _batches(dict.fromkeys(verb.keys)):
        answer = yield Ask("kv/txn", {"success": [read(names.all_of(key) | {"revision": moment}) for key in keys]})
        for key, parts in zip(keys, ranges(answer.body), strict=True):
            found[key] = names.found(key, parts, answer.at)
        moment = answer.body["header"]["revision"] if moment == "0" else moment
    return found


def _scan(names: Names, verb: Scan) -> Program[list[tuple[str, Versioned[bytes]]]]:
    """All are of one moment, as with `_load_many`; each request asks for as much as all before it."""
    begin = names.under(verb.prefix)
    end = after(begin)
    if verb.after:
        begin = max(begin, after(names.base(verb.after)))
    page: list[tuple[str, Versioned[bytes]]] = []
    moment, size, more = "0", 2 * verb.limit, True
    while more and begin < end:
        answer = yield Ask("kv/range", span(begin, end) | {"limit": str(size), "revision": moment})
        for key, parts in _whole(names, answer.body.get("kvs", [])):
            begin = after(names.base(key))
            record = names.found(key, parts, answer.at)
            if record is not None and record.expired is verb.expired:
                page.append((key, record))
                if len(page) == verb.limit:
                    return page
        moment = answer.body["header"]["revision"] if moment == "0" else moment
        more, size = bool(answer.body.get("more")), 2 * size
    return page


def _whole(names: Names, kvs: list[Json]) -> Iterator[tuple[str, list[Json]]]:
    """The records that are here with all their parts: the last of them is the record itself."""
    parts: list[Json] = []
    for kv in kvs:
        parts.append(kv)
        key, name = names.split(plain(kv["key"]))
        if name.startswith(b"r/"):
            yield key, parts
            parts = []


# -- writing -----------------------------------------------------------------------------------------------------------


def _swap(names: Names, verb: Swap, now: float | None) -> Program[Versioned[bytes]]:
    life = Life()
    if verb.ttl is not None:
        life = yield from _granted(verb.ttl)
        now = life.granted
    elif now is None:
        now = yield from _heard(names)
    above = _known(verb.expected)
    try:
        while True:
            revision = next_revision(above, now)
            body = {
                "compare": [
                    *names.as_guarded(verb.guard),
                    *names.as_expected(verb.key, verb.expected),
                    names.is_below(verb.key, revision),
                    none(names.floors(revision)),
                ],
                "success": names.written(verb, revision, life),
                "failure": _why(names, verb, revision),
            }
            answer = yield Ask("kv/txn", body, "write")
            if answer.body.get("succeeded"):
                return Versioned(verb.value, revision, 0, verb.ttl, verb.ttl, expired=False, write_id=verb.write_id)
            there, above = _judged(names, verb, answer)
            if not _is_as(verb.expected, there):
                raise VersionConflictError(verb.key, verb.expected, there)
    except (GuardRefusedError, VersionConflictError):
        if verb.ttl is not None:
            with suppress(ResilienceError):  # it ends by itself
                yield Ask("lease/revoke", {"ID": life.lease})
        raise


def _remove(names: Names, verb: Remove, now: float | None) -> Program[bool]:
    """The floor is raised to a revision above that of the record: what it was need not be read first."""
    if now is None:
        now = yield from _heard(names)
    above = _known(verb.expected)
    base = names.base(verb.key)
    while True:
        revision = next_revision(above, now)
        body = {
            "compare": [
                *names.as_guarded(verb.guard),
                *names.as_expected(verb.key, verb.expected),
                names.is_there(verb.key),
                names.is_below(verb.key, revision),
            ],
            "success": [
                drop(span(base, after(base))),
                drop(span(names.floor(0), names.floor(revision))),
                put(names.floor(revision)),
            ],
            "failure": _why(names, verb, revision),
        }
        answer = yield Ask("kv/txn", body, "write")
        if answer.body.get("succeeded"):
            return True
        there, above = _judged(names, verb, answer)
        if there is None:
            return False
        if not _is_as(verb.expected, there):
            raise VersionConflictError(verb.key, verb.expected, there)


def _extend(names: Names, verb: Extend) -> Program[frozenset[str]]:
    """As many in one transaction as etcd allows, each judged for itself; those of one TTL share an etcd lease."""
    lives: dict[float, Life] = {}
    for ttl in {beat.ttl for beat in verb.beats}:
        lives[ttl] = yield from _granted(ttl)
    lost: set[str] = set()
    stake: Stake = "write"
    for beats in _turns(verb.beats):
        body = {"success": [names.beaten(beat, lives[beat.ttl]) for beat in beats]}
        answer = yield Ask("kv/txn", body, stake)
        stake = "begun"
        for beat, each in zip(beats, answer.body["responses"], strict=True):
            if not each["response_txn"].get("succeeded"):
                lost.add(beat.key)
    return frozenset(lost)


def _granted(ttl: float) -> Program[Life]:
    """An etcd lease of at least this length.

    etcd counts whole seconds, and has a least TTL that it raises shorter ones to: a record may live longer than was asked,
    and never shorter.
    """
    answer = yield Ask("lease/grant", {"TTL": str(ceil(ttl))})
    return Life(ttl, answer.body["ID"], answer.at, int(answer.body["TTL"]))


def _heard(names: Names) -> Program[float]:
    """The server's clock, from an answer of no other use."""
    answer = yield Ask("kv/range", span(names.incarnation))
    return answer.at


def _why(names: Names, verb: Swap | Remove, revision: int) -> list[Json]:
    """Read what decides why a write was not done, in the same transaction."""
    reads = [read(names.all_of(verb.key)), read(names.floors(revision))]
    return reads if verb.guard is None else [*reads, read(names.all_of(verb.guard.key))]


def _judged(names: Names, verb: Swap | Remove, answer: Answer) -> tuple[Versioned[bytes] | None, int]:
    """What is there where a write was not done, and above which revision the next one has to be.

    Raises:
        GuardRefusedError: The guard did not hold, which is judged first.
    """
    parts, floors, *leases = ranges(answer.body)
    there = names.found(verb.key, parts, answer.at)
    if verb.guard is not None:
        lease = names.found(verb.guard.key, leases[0], answer.at)
        if not _holds(verb.guard, lease):
            raise GuardRefusedError(verb.key, verb.guard, lease)
    try:
        tops = [int(plain(kv["key"]).rpartition(b"/")[2], 16) for kv in floors]
    except ValueError as error:
        raise CorruptStateError(names.store, f"its floor cannot be read: {error}") from error
    return there, max([0, *tops] if there is None else [there.revision, *tops])


def _known(expected: Expected) -> int:
    """The revision that a record must have for the write to be done; 0 if it may have any, or none."""
    return expected.revision if isinstance(expected, Seen) else expected if isinstance(expected, int) else ABSENT


def _holds(guard: Guard, lease: Versioned[bytes] | None) -> bool:
    revision = ABSENT if lease is None or lease.expired else lease.revision
    return revision == (ABSENT if guard.token is VACANT else guard.token)


def _is_as(expected: Expected, there: Versioned[bytes] | None) -> bool:
    if isinstance(expected, int):
        return expected == (ABSENT if there is None else there.revision)
    if isinstance(expected, Seen):
        return there is not None and (there.revision, there.beats) == (expected.revision, expected.beats)
    return expected is ANY or there is None or there.expired


def _batches(keys: dict[T, None]) -> Iterator[list[T]]:
    listed = list(keys)
    for start in range(0, len(listed), BATCH):
        yield listed[start : start + BATCH]


def _turns(beats: tuple[Beat, ...]) -> Iterator[list[Beat]]:
    """Batches, in order, in each of which a key is at most once: etcd refuses to write it twice in a transaction."""
    turn: dict[str, Beat] = {}
    for beat in beats:
        if beat.key in turn or len(turn) == BATCH:
            yield list(turn.values())
            turn = {}
        turn[beat.key] = beat
    if turn:
        yield list(turn.values())


#: What needs the server's clock, to begin with.
_TIMED: dict[type, Callable[[Names, Any, float | None], Program[Any]]] = {Swap: _swap, Remove: _remove}
_TIMELESS: dict[type, Callable[[Names, Any], Program[Any]]] = {
    Load: _load,
    LoadMany: _load_many,
    Extend: _extend,
    Scan: _scan,
}
