"""What a Redis store says to its server, and what the answers mean. It sends nothing itself, and has no colour.

A conversation is a generator: it yields commands, is sent what was answered, and has a broken connection thrown into it. An
error that the server answers means that nothing was done (see `_redis_scripts`); a connection that broke after something
was sent means, for a write, that nobody knows.

The driver is not imported here: its errors are known by the names of their classes, and by the server's own words.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar, cast

from attrs import frozen

from resilience._core.description import Description, Fault, faults_but
from resilience._core.records import ANY, VACANT, Expected, Guard, Seen, Versioned
from resilience._core.steps import Extend, Load, LoadMany, Remove, Scan, Swap, Verb
from resilience.errors import (
    CorruptStateError,
    GuardRefusedError,
    OutcomeUnknownError,
    ResilienceError,
    StorageFullError,
    StoreError,
    StoreUnavailableError,
    UnknownFormatError,
    VersionConflictError,
)
from resilience.stores._redis_scripts import CORRUPT, FORMAT, LIFE, OTHER_FORMAT, SCRIPTS, Script


__all__ = ["Broken", "Talk", "Tongue", "Words"]

R = TypeVar("R")

#: One command.
Words: TypeAlias = tuple[bytes, ...]

#: Yields commands; is sent what was answered, an error that the server answered included; returns an `R`.
Talk: TypeAlias = Generator[Words, Any, R]

_Asked: TypeAlias = tuple[Words, Words]

_SECOND = 1_000_000

_WRITES = (Swap, Remove, Extend)
#: Answers that are errors of the driver's connection.
_ANSWERED = {"ResponseError", "AuthenticationError", "AuthorizationError", "BusyLoadingError"}
#: Refusals that will pass, by the driver's class for them, or by the server's word, where the driver has (or had) no class.
_PASSING = {"BusyLoadingError", "ClusterDownError", "MasterDownError", "ReadOnlyError", "TryAgainError"}
_PASSING_WORDS = ("BUSY ", "CLUSTERDOWN ", "MASTERDOWN ", "MISCONF ", "NOREPLICAS ", "READONLY ", "TRYAGAIN ")
_FULL_WORDS = "OOM command not allowed"
_WRONG_TYPE = "WRONGTYPE "


class Broken(Exception):  # noqa: N818  # what happened to a connection; never leaves the store
    """A connection failed, and is of no use any more; its cause is what the driver said.

    Args:
        sent: Whether anything of a command may have been sent.
    """

    def __init__(self, *, sent: bool) -> None:
        super().__init__(sent)
        self.sent = sent


@frozen
class Tongue:
    """How to talk about one store.

    Args:
        name: The store, for people.
        prefix: What its keys begin with: the namespace, as a hash tag.
    """

    name: str
    prefix: bytes

    def channel(self, key: str) -> bytes:
        """Where a record is, and on which channel its changes are told."""
        return self.prefix + b"record:" + key.encode()

    def carry_out(self, verb: Verb[R], moment: bytes) -> Talk[R]:
        """Have a verb carried out.

        Args:
            verb: Which.
            moment: Unix µs; empty for the server's own clock.
        """
        ask, understand = _VERBS[type(verb)]
        records, arguments = ask(self, verb)
        try:
            reply = yield from self._run(SCRIPTS[type(verb)], records, (moment, *arguments))
        except Broken as broken:
            raise self.lost(broken, writes=isinstance(verb, _WRITES)) from broken.__cause__
        if isinstance(reply, Exception):
            raise self._refusal(reply, getattr(verb, "key", None)) from reply
        return cast("R", understand(self, verb, reply))

    def describe(self, name: bytes) -> Talk[Description]:
        """Ask what the server promises.

        Args:
            name: A random name for this life of the store, if it has none yet.
        """
        try:
            life = yield from self._run(LIFE, (), (b"", name))
            if isinstance(life, Exception):
                raise self._refusal(life, None) from life
            roles = _facts((yield (b"INFO", b"replication")))
            writing = _facts((yield (b"CONFIG", b"GET", b"append*")))
            evicting = _facts((yield (b"CONFIG", b"GET", b"maxmemory-policy")))
        except Broken as broken:
            raise self.lost(broken, writes=False) from broken.__cause__
        alone = roles.get("role") == "master" and roles.get("connected_slaves") == "0"
        # A server that may throw away what has no TTL promises nothing.
        keeps = not evicting.get("maxmemory-policy", "").startswith("allkeys")
        durable = keeps and (writing.get("appendonly"), writing.get("appendfsync")) == ("yes", "always")
        lost = [(Fault.EMPTIED, Fault.CLOCK_SET_BACK), (Fault.RESTORED, Fault.CLOCK_SET_BACK)]
        if not durable:  # then a reboot empties it, or puts it back to what was last saved
            lost.append((Fault.REBOOTED, Fault.CLOCK_SET_BACK))
        return Description(
            store=self.name,
            clock="server",
            incarnation=life.decode(),
            linearizable=alone and keeps,
            durable=durable,
            survives_crash=True,
            survives_reboot=durable,
            shared=True,
            wakes=True,
            revisions_survive=faults_but(*lost),
        )

    def lost(self, broken: Broken, *, writes: bool) -> ResilienceError:
        """What a broken connection means for a command."""
        cause = cast("Exception", broken.__cause__)
        if not broken.sent:
            if _names(cause) & _ANSWERED:
                return self._refusal(cause, None)
            return StoreUnavailableError(self.name, f"it cannot be reached: {cause}")
        if writes:
            return OutcomeUnknownError(self.name, f"the answer to a write was lost: {cause}")
        return StoreUnavailableError(self.name, f"it did not answer: {cause}")

    def _refusal(self, error: Exception, key: str | None) -> ResilienceError:
        """What an error means that the server answered: nothing was done."""
        said, names = str(error), _names(error)
        where = self.name if key is None else f"{self.name}, key {key!r}"
        if OTHER_FORMAT in said:
            return UnknownFormatError(self.name, f"it is not of format {FORMAT}, which this version knows: {said}")
        if CORRUPT in said or _WRONG_TYPE in said:
            return CorruptStateError(where, f"what is there was not written by a store: {said}")
        if "OutOfMemoryError" in names or _FULL_WORDS in said:
            return StorageFullError(self.name, said)
        if names & _PASSING or any(word in said for word in _PASSING_WORDS):
            return StoreUnavailableError(self.name, said)
        return StoreError(self.name, said)

    def _run(self, script: Script, records: Words, arguments: Words) -> Talk[Any]:
        """Have a script run; one that the server does not know was certainly not run."""
        keys = (self.prefix + b"store", self.prefix + b"index", *records)
        rest = (b"%d" % len(keys), *keys, *arguments)
        reply = yield (b"EVALSHA", script.sha, *rest)
        if isinstance(reply, Exception) and "NoScriptError" in _names(reply):
            reply = yield (b"EVAL", script.text, *rest)
        return reply


# -- each verb: the keys of its records and its arguments; and what its reply means ----------------------------------------


def _ask_load(tongue: Tongue, verb: Load) -> _Asked:
    return (tongue.channel(verb.key),), ()


def _loaded(_tongue: Tongue, _verb: Load, reply: list[bytes | None]) -> Versioned[bytes] | None:
    return _seen(reply[0])


def _ask_many(tongue: Tongue, verb: LoadMany) -> _Asked:
    return tuple(map(tongue.channel, verb.keys)), ()


def _loaded_many(_tongue: Tongue, verb: LoadMany, reply: list[bytes | None]) -> dict[str, Versioned[bytes] | None]:
    return dict(zip(verb.keys, map(_seen, reply), strict=True))


def _ask_swap(tongue: Tongue, verb: Swap) -> _Asked:
    records, conditions = _judged(tongue, verb)
    return records, (*conditions, _micros(verb.ttl), (verb.write_id or "").encode(), verb.value)


def _swapped(_tongue: Tongue, verb: Swap, reply: bytes) -> Versioned[bytes]:
    _may_raise(verb, reply)
    ttl = None if verb.ttl is None else int(_micros(verb.ttl)) / _SECOND
    return Versioned(verb.value, int(reply[1:]), 0, ttl, ttl, False, verb.write_id)


def _removed(_tongue: Tongue, verb: Remove, reply: bytes) -> bool:
    _may_raise(verb, reply)
    return reply != b"N"


def _ask_extend(tongue: Tongue, verb: Extend) -> _Asked:
    arguments = [word for beat in verb.beats for word in (b"%d" % beat.token, _micros(beat.ttl))]
    return tuple(tongue.channel(beat.key) for beat in verb.beats), tuple(arguments)


def _extended(_tongue: Tongue, verb: Extend, reply: list[int]) -> frozenset[str]:
    return frozenset(verb.beats[at].key for at in reply)


def _ask_scan(tongue: Tongue, verb: Scan) -> _Asked:
    prefix, after = verb.prefix.encode(), verb.after.encode()
    first = b"[" + prefix if after < prefix else b"(" + after
    # No byte of UTF-8 is the last of all: the next after all that begin so has its last byte raised by one.
    end = b"(" + prefix[:-1] + bytes((prefix[-1] + 1,)) if prefix else b"+"
    return (), (first, end, b"%d" % verb.limit, b"expired" if verb.expired else b"", tongue.channel(""))


def _scanned(_tongue: Tongue, _verb: Scan, reply: list[bytes]) -> list[tuple[str, Versioned[bytes]]]:
    return [(key.decode(), _record(data)) for key, data in zip(reply[::2], reply[1::2], strict=True)]


def _judged(tongue: Tongue, verb: Swap | Remove) -> _Asked:
    """The record, with the lease that guards it; and what is expected of both."""
    records: Words = (tongue.channel(verb.key),)
    token = b""
    if verb.guard is not None:
        records = (*records, tongue.channel(verb.guard.key))
        token = b"VACANT" if verb.guard.token is VACANT else b"%d" % verb.guard.token
    return records, (*_wanted(verb.expected), token, verb.key.encode())


_VERBS: dict[type, tuple[Callable[[Tongue, Any], _Asked], Callable[[Tongue, Any, Any], Any]]] = {
    Load: (_ask_load, _loaded),
    LoadMany: (_ask_many, _loaded_many),
    Swap: (_ask_swap, _swapped),
    Remove: (_judged, _removed),
    Extend: (_ask_extend, _extended),
    Scan: (_ask_scan, _scanned),
}


def _wanted(expected: Expected) -> Words:
    if isinstance(expected, int):
        return b"revision", b"%d" % expected, b""
    if isinstance(expected, Seen):
        return b"seen", str(expected.revision).encode(), str(expected.beats).encode()
    return b"any" if expected is ANY else b"vacant", b"", b""


def _may_raise(verb: Swap | Remove, reply: bytes) -> None:
    if reply.startswith(b"G"):
        raise GuardRefusedError(verb.key, cast("Guard", verb.guard), _seen(reply[1:]))
    if reply.startswith(b"C"):
        raise VersionConflictError(verb.key, verb.expected, _seen(reply[1:]))


def _seen(data: bytes | None) -> Versioned[bytes] | None:
    return _record(data) if data else None


def _record(data: bytes) -> Versioned[bytes]:
    """A record as the scripts show it: revision, beats, TTL, what is left of it, name of the write; then the value."""
    head, _, value = data.partition(b"\n")
    revision, beats, ttl, left, write_id = head.split(b" ", 4)
    name = write_id.decode() or None
    if not ttl:
        return Versioned(value, int(revision), int(beats), None, None, False, name)
    lasts = int(left)
    return Versioned(value, int(revision), int(beats), int(ttl) / _SECOND, max(lasts, 0) / _SECOND, lasts <= 0, name)


def _micros(seconds: float | None) -> bytes:
    """A TTL, in whole µs, at least one; nothing for none."""
    return b"" if seconds is None else b"%d" % max(1, round(seconds * _SECOND))


def _names(error: object) -> set[str]:
    return {base.__name__ for base in type(error).__mro__}


def _facts(reply: Any) -> dict[str, str]:
    """What INFO or CONFIG GET says; nothing where this user may not ask."""
    if isinstance(reply, Exception):
        return {}
    if isinstance(reply, bytes):
        pairs = [line.split(":", 1) for line in reply.decode().splitlines() if ":" in line]
        return {name: value for name, value in pairs}  # noqa: C416  # lists of two, which dict() takes for more
    words = [word.decode() for word in reply]
    return dict(zip(words[::2], words[1::2], strict=True))
