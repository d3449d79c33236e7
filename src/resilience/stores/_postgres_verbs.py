"""What is said to PostgreSQL for each verb, and what the rows mean that come back. No I/O, no colour, no decision.

Values go and come in binary, so that bytes are bytes and a float comes back as the same float.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast

from resilience._core.records import ANY, VACANT, Guard, Seen, Versioned
from resilience._core.steps import Extend, Load, LoadMany, Remove, Scan, Swap, Verb
from resilience.errors import GuardRefusedError, VersionConflictError
from resilience.stores._postgres_schema import FORMAT


__all__ = ["Ask", "Reply", "said_of", "watching"]

R = TypeVar("R")

#: What came back, in binary.
_Rows: TypeAlias = list[tuple[bytes | None, ...]]


class Ask(NamedTuple):
    """One statement, and its values.

    Args:
        text: With ``$1`` for its first value.
        values: In binary.
        types: Their OIDs.
        writes: Whether it may leave something behind.
        patient: Whether its first value, which is to be put before these, says for how many ms it may wait for a lock.
        script: Whether it is several statements, in one transaction.
    """

    text: bytes
    values: tuple[bytes | None, ...] = ()
    types: tuple[int, ...] = ()
    writes: bool = False
    patient: bool = False
    script: bool = False


class Reply(NamedTuple):
    """What the server said.

    Args:
        rows: In binary.
        error: The driver's error; None if all was well.
        sqlstate: What the server called it; None where it was not the server who said it.
        ended: Whether the session ended with it.
    """

    rows: _Rows
    error: Exception | None = None
    sqlstate: str | None = None
    ended: bool = False


_BOOL, _BYTEA, _INT8, _INT4, _TEXT, _FLOAT8, _BYTEAS, _INT8S, _FLOAT8S = 16, 17, 20, 23, 25, 701, 1001, 1016, 1022
_LARGEST: Final = (1 << 63) - 1
#: Outcomes of a write.
_DONE, _CONFLICT, _REFUSED, _NOTHING = range(4)


# -- what is asked, and what is answered -----------------------------------------------------------------------------

_Said: TypeAlias = tuple[Ask, Callable[[_Rows], Any]]


def said_of(schema: str, verb: Verb[R], at: float | None, *, sweep: bool) -> tuple[Ask, Callable[[_Rows], R]]:
    """What to ask for a verb, and what its answer is, made of the rows; or the error that they are."""
    return _VERBS[type(verb)](schema, verb, _float8(at), sweep)


def watching(schema: str, key: str, seconds: float, at: float | None) -> tuple[Ask, Callable[[_Rows], int]]:
    """The same for a word that somebody waits for a key; its revision."""
    values = (key.encode(), _float8(seconds), _float8(at))
    ask = Ask(_call(schema, "watch", 4), values, (_BYTEA, _FLOAT8, _FLOAT8), patient=True)
    return ask, lambda rows: _int(rows[0][0]) or 0


def _load(schema: str, verb: Load, at: bytes | None, _sweep: bool) -> _Said:
    ask = Ask(_call(schema, "load", 2), (verb.key.encode(), at), (_BYTEA, _FLOAT8))
    return ask, lambda rows: _seen(_fields(rows))


def _load_many(schema: str, verb: LoadMany, at: bytes | None, _sweep: bool) -> _Said:
    keys = _array(_BYTEA, [key.encode() for key in dict.fromkeys(verb.keys)])
    ask = Ask(_from(schema, "load_many", 2), (keys, at), (_BYTEAS, _FLOAT8))
    return ask, lambda rows: dict.fromkeys(verb.keys) | dict(map(_keyed, rows))


def _scan(schema: str, verb: Scan, at: bytes | None, _sweep: bool) -> _Said:
    prefix, after = verb.prefix.encode(), verb.after.encode()
    # The least of what comes after a key is the key and a NUL; no UTF-8 begins with 0xff, and none ends with it.
    lowest = prefix if after < prefix else after + b"\0"
    beyond = prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else b"\xff"
    values = (lowest, beyond, _int4(verb.limit), bytes([verb.expired]), at)
    ask = Ask(_from(schema, "scan", 5), values, (_BYTEA, _BYTEA, _INT4, _BOOL, _FLOAT8))
    return ask, lambda rows: [_keyed(row) for row in rows]


def _swap(schema: str, verb: Swap, at: bytes | None, sweep: bool) -> _Said:
    def answer(rows: _Rows) -> Versioned[bytes]:
        outcome, *row = _fields(rows)
        _judge(verb, _int(outcome), row)
        left = _float(row[4])
        expired = left is not None and left <= 0
        return Versioned(verb.value, _int(row[1]) or 0, 0, verb.ttl, left and max(left, 0.0), expired, verb.write_id)

    return _write(schema, verb, (verb.value, verb.ttl, verb.write_id), at, sweep), answer


def _remove(schema: str, verb: Remove, at: bytes | None, sweep: bool) -> _Said:
    def answer(rows: _Rows) -> bool:
        outcome, *row = _fields(rows)
        _judge(verb, _int(outcome), row)
        return _int(outcome) == _DONE

    return _write(schema, verb, (None, None, None), at, sweep), answer


def _extend(schema: str, verb: Extend, at: bytes | None, _sweep: bool) -> _Said:
    # A key may come more than once: its beats are counted together, the longest counts, and the last is shown.
    merged: dict[tuple[str, int], tuple[int, float, float]] = {}
    for key, token, ttl in ((beat.key, beat.token, beat.ttl) for beat in verb.beats):
        times, longest, _ = merged.get((key, token), (0, 0.0, 0.0))
        merged[key, token] = (times + 1, max(longest, ttl), ttl)
    columns = (
        list(zip(*((key.encode(), token, *sums) for (key, token), sums in merged.items()), strict=True)) or [()] * 5
    )
    keys, tokens, times_, longest_, last = columns
    values = (
        _array(_BYTEA, keys),
        _array(_INT8, [_int8(token) for token in tokens]),
        _array(_INT8, [_int8(some) for some in times_]),
        _array(_FLOAT8, [_float8(ttl) for ttl in longest_]),
        _array(_FLOAT8, [_float8(ttl) for ttl in last]),
        at,
    )
    types = (_BYTEAS, _INT8S, _INT8S, _FLOAT8S, _FLOAT8S, _FLOAT8)
    ask = Ask(_call(schema, "extend", 7), values, types, writes=True, patient=True)
    return ask, lambda rows: frozenset((key or b"").decode() for (key,) in rows)


def _write(
    schema: str,
    verb: Swap | Remove,
    new: tuple[bytes | None, float | None, str | None],
    at: bytes | None,
    sweep: bool,
) -> Ask:
    value, ttl, write_id = new
    guard = verb.guard
    values = (
        *(
            verb.key.encode(),
            value,
            *_expected(verb.expected),
            _float8(ttl),
            None if write_id is None else write_id.encode(),
        ),
        *(None if guard is None else guard.key.encode(), _token(guard), bytes([sweep]), at),
    )
    types = (_BYTEA, _BYTEA, _INT4, _INT8, _INT8, _FLOAT8, _TEXT, _BYTEA, _INT8, _BOOL, _FLOAT8)
    return Ask(_call(schema, "write", 12), values, types, writes=True, patient=True)


def _expected(expected: Any) -> tuple[bytes, bytes | None, bytes | None]:
    if isinstance(expected, Seen):
        return _int4(3), _int8(expected.revision), _int8(expected.beats)
    if expected is VACANT or expected is ANY:
        return _int4(1 if expected is VACANT else 2), None, None
    return _int4(0), _int8(expected), None


def _token(guard: Guard | None) -> bytes | None:
    return None if guard is None or guard.token is VACANT else _int8(guard.token)


def _judge(verb: Swap | Remove, outcome: int | None, row: Sequence[bytes | None]) -> None:
    if outcome == _REFUSED:
        raise GuardRefusedError(verb.key, cast("Guard", verb.guard), _seen(row))
    if outcome == _CONFLICT:
        raise VersionConflictError(verb.key, verb.expected, _seen(row))


def _seen(row: Sequence[bytes | None]) -> Versioned[bytes] | None:
    value, revision, beats, ttl, left, write_id = row
    if revision is None:
        return None
    rest = _float(left)
    return Versioned(
        value or b"",
        _int(revision) or 0,
        _int(beats) or 0,
        _float(ttl),
        None if rest is None else max(rest, 0.0),
        rest is not None and rest <= 0,
        None if write_id is None else write_id.decode(),
    )


def _keyed(row: tuple[bytes | None, ...]) -> tuple[str, Versioned[bytes]]:
    return (row[0] or b"").decode(), cast("Versioned[bytes]", _seen(row[1:]))


_VERBS: dict[type, Callable[[str, Any, bytes | None, bool], _Said]] = {
    Load: _load,
    LoadMany: _load_many,
    Swap: _swap,
    Extend: _extend,
    Remove: _remove,
    Scan: _scan,
}

# -- in binary -------------------------------------------------------------------------------------------------------


@functools.cache
def _call(schema: str, name: str, values: int) -> bytes:
    return f'SELECT "{schema}".v{FORMAT}_{name}({", ".join(f"${n}" for n in range(1, values + 1))})'.encode()


def _from(schema: str, name: str, values: int) -> bytes:
    return _call(schema, name, values).replace(b"SELECT", b"SELECT * FROM", 1)


def _int4(value: int) -> bytes:
    return struct.pack("!i", value)


def _int8(value: int) -> bytes:
    """A revision beyond what is possible is one that nothing has."""
    return struct.pack("!q", max(-1, min(value, _LARGEST)))


def _float8(value: float | None) -> bytes | None:
    return None if value is None else struct.pack("!d", value)


def _array(kind: int, values: Iterable[bytes | None]) -> bytes:
    parts = [cast("bytes", value) for value in values]
    head = struct.pack("!iiiii", 1, 0, kind, len(parts), 1) if parts else struct.pack("!iii", 0, 0, kind)
    return head + b"".join(struct.pack("!i", len(part)) + part for part in parts)


def _int(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "big", signed=True)


def _float(value: bytes | None) -> float | None:
    return None if value is None else float(struct.unpack("!d", value)[0])


def _fields(rows: _Rows) -> list[bytes | None]:
    """The fields of the one record in the one row: each with its type and its length, which is -1 for NULL."""
    data = cast("bytes", rows[0][0])
    fields: list[bytes | None] = []
    at = 4
    while at < len(data):
        length = _LENGTH.unpack_from(data, at + 4)[0]
        at += 8
        fields.append(None if length < 0 else data[at : at + length])
        at += max(length, 0)
    return fields


_LENGTH = struct.Struct("!i")
