"""Steps: the verbs of a store as values, and the few other things that a protocol over a store has to ask for.

A protocol that takes several steps (an optimistic update, waiting for one's turn) is a generator: it yields steps, is
sent what came of them, and has what went wrong thrown into it where it stands. It reads no clock and waits for nothing,
so the same generator runs under `drive`, under `adrive`, and under the explorer of `resilience.testing`, for which every
``yield`` is a place where somebody else may go first, or where this one may die.

What a user gives to a verb is checked here, where the step is made; what reaches a store is right.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, Generic, TypeAlias, TypeVar, cast

from attrs import field, frozen

from resilience._core import checks
from resilience._core.records import ABSENT, ANY, VACANT, Beat, Expected, Guard, Seen, Versioned
from resilience.errors import ConfigError


__all__ = [
    "Call",
    "Extend",
    "GiveBack",
    "Load",
    "LoadMany",
    "Pause",
    "Remove",
    "Scan",
    "Step",
    "Steps",
    "Swap",
    "Verb",
    "Wait",
    "checked_key",
]

R = TypeVar("R")

#: Bytes of UTF-8. The shortest limit among the engines is that of a PostgreSQL index, 2.7 KB.
LONGEST_KEY = 1024
LONGEST_WRITE_ID = 64
MOST_IN_A_PAGE = 10_000


def checked_key(option: str, key: Any, least: int = 1) -> str:
    """A key: text of 1 to 1024 bytes in UTF-8, of any characters."""
    expected = f"text of {least} to {LONGEST_KEY} bytes in UTF-8"
    if not isinstance(key, str):
        raise ConfigError(option, key, expected)
    try:
        size = len(key) if key.isascii() else len(key.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        raise ConfigError(option, key, expected) from None
    if least <= size <= LONGEST_KEY:
        return key
    raise ConfigError(option, key, f"{expected}, not {size}")


def _key(key: Any) -> str:
    return checked_key("key", key)


def _keys(keys: Iterable[Any]) -> tuple[str, ...]:
    if isinstance(keys, (str, bytes)):
        raise ConfigError("keys", keys, "several keys, not a single one")
    return tuple(_key(key) for key in keys)


def _prefix(prefix: Any) -> str:
    return checked_key("prefix", prefix, 0)


def _after(after: Any) -> str:
    return checked_key("after", after, 0)


def _value(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(cast("bytes", value))
    raise ConfigError("value", value, "bytes: a codec such as Json makes them of other things")


def _ttl(ttl: Any) -> float | None:
    return None if ttl is None else checks.seconds("ttl", ttl)


def _revision(option: str, value: Any) -> bool:
    if type(value) is int and value < 0:
        raise ConfigError(option, value, "a revision, which is never negative")
    return isinstance(value, int) and not isinstance(value, bool)


def _expected(expected: Any) -> Expected:
    if isinstance(expected, Seen):
        checks.count("Seen.revision", expected.revision)
        checks.count("Seen.beats", expected.beats)
        return expected
    if expected is VACANT or expected is ANY or _revision("expected", expected):
        return cast("Expected", expected)
    raise ConfigError("expected", expected, "a revision, ABSENT, VACANT, ANY or Seen(revision, beats)")


def _guard(guard: Any) -> Guard | None:
    if guard is None:
        return None
    if not isinstance(guard, Guard):
        raise ConfigError("guard", guard, "a Guard(key, token), or None")
    checked_key("guard.key", guard.key)
    if guard.token is not VACANT and (not _revision("guard.token", guard.token) or guard.token == ABSENT):
        raise ConfigError("guard.token", guard.token, "a fencing token, which is at least 1, or VACANT")
    return guard


def _write_id(write_id: Any) -> str | None:
    if write_id is None or (
        isinstance(write_id, str)
        and 0 < len(write_id) <= LONGEST_WRITE_ID
        and write_id.isascii()
        and write_id.isprintable()
    ):
        return write_id
    raise ConfigError("write_id", write_id, f"1 to {LONGEST_WRITE_ID} printable ASCII characters, or None")


def _beats(beats: Iterable[Any]) -> tuple[Beat, ...]:
    plain: list[tuple[Beat, float]] = []
    for beat in beats:
        if not isinstance(beat, Beat):
            raise ConfigError("beats", beat, "several Beat(key, token, ttl)")
        checked_key("beat.key", beat.key)
        if not _revision("beat.token", beat.token):
            raise ConfigError("beat.token", beat.token, "a fencing token")
        plain.append((beat, checks.seconds("beat.ttl", beat.ttl)))
    return tuple([beat if type(beat.ttl) is float else Beat(beat.key, beat.token, ttl) for beat, ttl in plain])


def _limit(limit: Any) -> int:
    if checks.at_least_one("limit", limit) > MOST_IN_A_PAGE:
        raise ConfigError("limit", limit, f"at most {MOST_IN_A_PAGE}")
    return int(limit)


def _expired(expired: Any) -> bool:
    return checks.flag("expired", expired)


def _known(after: Any) -> int:
    if not _revision("after", after):
        raise ConfigError("after", after, "a revision, or ABSENT")
    return int(after)


def _timeout(timeout: Any) -> float:
    return checks.seconds("timeout", timeout, zero=True)


class Step(Generic[R]):
    """One thing that a protocol asks for; `R` is what comes of it."""

    __slots__ = ()


class Verb(Step[R]):
    """A step that a store carries out, in one round trip."""

    __slots__ = ()

    def on(self, store: Any) -> Any:
        """Have it carried out: the answer of a `Store`, or the awaitable of an `AsyncStore`."""
        raise NotImplementedError  # each verb says which of a store's it is


@frozen
class Load(Verb[Versioned[bytes] | None]):
    """The record under a key."""

    key: str = field(converter=_key)

    def on(self, store: Any) -> Any:
        return store.load(self.key)


@frozen
class LoadMany(Verb[dict[str, Versioned[bytes] | None]]):
    """The records under several keys, as they were at one moment."""

    keys: tuple[str, ...] = field(converter=_keys)

    def on(self, store: Any) -> Any:
        return store.load_many(self.keys)


@frozen
class Swap(Verb[Versioned[bytes]]):
    """Compare and set: write, if the record is as expected and the guard holds."""

    key: str = field(converter=_key)
    value: bytes = field(converter=_value, repr=False)
    expected: Expected = field(converter=_expected)
    ttl: float | None = field(default=None, converter=_ttl)
    guard: Guard | None = field(default=None, converter=_guard)
    write_id: str | None = field(default=None, converter=_write_id)

    def on(self, store: Any) -> Any:
        return store.compare_and_set(
            self.key, self.value, expected=self.expected, ttl=self.ttl, guard=self.guard, write_id=self.write_id
        )


@frozen
class Extend(Verb[frozenset[str]]):
    """Renew leases; the answer is those that were lost."""

    beats: tuple[Beat, ...] = field(converter=_beats)

    def on(self, store: Any) -> Any:
        return store.extend(self.beats)


@frozen
class Remove(Verb[bool]):
    """Remove a record; whether there was one."""

    key: str = field(converter=_key)
    expected: Expected = field(converter=_expected)
    guard: Guard | None = field(default=None, converter=_guard)

    def on(self, store: Any) -> Any:
        return store.remove(self.key, expected=self.expected, guard=self.guard)


@frozen
class Scan(Verb[list[tuple[str, Versioned[bytes]]]]):
    """One page of the records under a prefix, in order; those that have expired, or those that have not."""

    prefix: str = field(default="", converter=_prefix)
    after: str = field(default="", converter=_after)
    limit: int = field(default=1000, converter=_limit)
    expired: bool = field(default=False, converter=_expired)

    def on(self, store: Any) -> Any:
        return store.scan(self.prefix, after=self.after, limit=self.limit, expired=self.expired)


@frozen
class Wait(Verb[None]):
    """Wait until the record may no longer be at revision `after` (`ABSENT`: until there may be one), or for a while."""

    key: str = field(converter=_key)
    after: int = field(converter=_known)
    timeout: float = field(converter=_timeout)

    def on(self, store: Any) -> Any:
        return store.wait(self.key, after=self.after, timeout=self.timeout)


@frozen
class GiveBack(Step[R]):
    """Carry out a verb even where the work around may no longer go on, for at most a second: what is held is given back."""

    verb: Verb[R]


@frozen
class Pause(Step[None]):
    """Wait for a random while of at most so many seconds: full jitter."""

    at_most: float


@frozen
class Call(Step[R]):
    """Call the user's own function; where that is a coroutine function, wait for it."""

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()


#: A protocol: yields steps, is sent what came of each, returns an `R`.
Steps: TypeAlias = Generator[Step[Any], Any, R]
