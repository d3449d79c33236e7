"""How a store in etcd is laid out, and how etcd's JSON gateway is told: names, compares, operations. No I/O.

etcd compares whole keys and counts of their writings, never a part of a value. So whatever a verb has to compare is in the
*names*. The parts of one record are, in this order (numbers in 16 hexadecimal digits)::

    b/<revision>                  made by the first beat, written by each: etcd's count of its writings is the beats
    l/<revision>/<end>/<lease>    a mark that the record is alive, bound to an etcd lease that ends at about `end`, in µs;
                                  that of a record which never expires is called "never", and is bound to none
    r/<revision>                  the record, which stays

"At this revision" is then "there is r/<revision>", "unexpired" is "there is some l/<revision>/", and both can stand in one
transaction with the write. A beat adds a mark rather than moving one, and a record is alive while any of its marks is: so
no beat shortens what is left, also not one that was overtaken on its way by a later one. It takes away marks that end a
minute sooner at least, which is more than the ends can be wrong by. The floor is the name of an empty key.
"""

from __future__ import annotations

import base64
import json
from typing import Any, TypeAlias

from attrs import frozen

from resilience._core.records import ABSENT, ANY, VACANT, Beat, Expected, Guard, Seen, Versioned
from resilience._core.steps import Swap
from resilience.errors import CorruptStateError, UnknownFormatError


__all__ = ["Json", "Life", "Names", "after", "digits", "drop", "none", "plain", "put", "ranges", "read", "some", "span"]

Json: TypeAlias = dict[str, Any]

#: What the mark of a record that does not expire is called: it sorts after every number.
_NEVER = b"never"

#: Seconds by which a mark must end sooner than another to be of no use: the ends are known to the second or two that the
#: server's dates are good for, and to what the answer took.
SOONER = 60.0

_FORMAT = 1
#: Seconds between two looks of etcd for leases that are over: what is alive has about this long to live, at least.
_LAST = 0.5


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def plain(text: str) -> bytes:
    """The bytes that the gateway's text stands for."""
    return base64.b64decode(text)


def digits(number: int) -> bytes:
    """A number, so that names sort as numbers do."""
    return b"%016x" % number


def span(begin: bytes, end: bytes | None = None) -> Json:
    """The keys from `begin` to before `end`; or the one key."""
    return {"key": _text(begin)} if end is None else {"key": _text(begin), "range_end": _text(end)}


def some(keys: Json) -> Json:
    """That there are such keys."""
    return keys | {"target": "CREATE", "result": "GREATER", "create_revision": "0"}


def none(keys: Json) -> Json:
    """That there is no such key."""
    return keys | {"target": "CREATE", "result": "EQUAL", "create_revision": "0"}


def read(keys: Json) -> Json:
    """Read them."""
    return {"request_range": keys}


def drop(keys: Json) -> Json:
    """Delete them."""
    return {"request_delete_range": keys}


def put(name: bytes, value: bytes = b"", lease: str = "0") -> Json:
    """Write a key, bound to an etcd lease or (0) to none."""
    return {"request_put": {"key": _text(name), "value": _text(value), "lease": lease}}


def ranges(body: Json) -> list[list[Json]]:
    """What a transaction of reads has read."""
    return [each["response_range"].get("kvs", []) for each in body["responses"]]


@frozen
class Life:
    """How long a record is to be alive.

    Args:
        ttl: Seconds, as asked for; None for ever.
        lease: The etcd lease that ends then; 0 for none.
        granted: When it was granted, in Unix seconds by the server's clock.
        seconds: For how long.
    """

    ttl: float | None = None
    lease: str = "0"
    granted: float = 0.0
    seconds: int = 0

    def mark(self, marks: bytes) -> Json:
        """Set a mark, among those that begin like this."""
        if self.ttl is None:
            return put(marks + _NEVER)
        says = b"%r %r" % (self.granted + self.ttl, self.ttl)
        return put(marks + self._end() + b"/" + self.lease.encode(), says, self.lease)

    def outlived(self, marks: bytes) -> Json:
        """Those of them that certainly end sooner."""
        return span(marks, marks + self._end(SOONER))

    def _end(self, sooner: float = 0.0) -> bytes:
        return digits(int((self.granted + self.seconds - sooner) * 1_000_000))


@frozen
class Names:
    """Where a store's records are, and what they say.

    Args:
        store: The store, for people.
        namespace: What all its names begin with.
    """

    store: str
    namespace: str

    # -- names -------------------------------------------------------------------------------------------------------

    @property
    def incarnation(self) -> bytes:
        """The key that holds the name of this life."""
        return self.namespace.encode() + b"/incarnation"

    def floor(self, revision: int) -> bytes:
        """The key that says that the floor is at least at this revision."""
        return self.namespace.encode() + b"/floor/" + digits(revision)

    def floors(self, revision: int) -> Json:
        """All that say that it is at this revision or above."""
        return span(self.floor(revision), self.namespace.encode() + b"/floor0")

    def under(self, prefix: str) -> bytes:
        """What the names of all keys with this prefix begin with."""
        return self.namespace.encode() + b"/record/" + prefix.encode().replace(b"\0", b"\0\xff")

    def base(self, key: str) -> bytes:
        """What the parts of one record begin with: those of no other do, and bases sort as keys do."""
        return self.under(key) + b"\0\1"

    def all_of(self, key: str) -> Json:
        """All parts of one record."""
        base = self.base(key)
        return span(base, after(base))

    def split(self, name: bytes) -> tuple[str, bytes]:
        """The key that a part belongs to, and which part it is."""
        start = len(self.under(""))
        end = name.index(b"\0\1", start)
        return name[start:end].replace(b"\0\xff", b"\0").decode(), name[end + 2 :]

    # -- compares ----------------------------------------------------------------------------------------------------

    def as_guarded(self, guard: Guard | None) -> list[Json]:
        """That a guard holds."""
        if guard is None:
            return []
        base = self.base(guard.key)
        if guard.token is VACANT:
            return [self._is_vacant(base)]
        mark = base + b"l/" + digits(guard.token)
        return [some(span(mark + b"/", mark + b"0"))]

    def as_expected(self, key: str, expected: Expected) -> list[Json]:
        """That a record is as expected."""
        base = self.base(key)
        if isinstance(expected, Seen):
            number = digits(expected.revision)
            beats = span(base + b"b/" + number) | {"target": "VERSION", "result": "EQUAL"}
            return [some(span(base + b"r/" + number)), beats | {"version": str(expected.beats)}]
        if isinstance(expected, int):
            return [self.is_below(key, 0) if expected == ABSENT else some(span(base + b"r/" + digits(expected)))]
        return [] if expected is ANY else [self._is_vacant(base)]

    def is_below(self, key: str, revision: int) -> Json:
        """That there is no record at this revision or above."""
        base = self.base(key)
        return none(span(base + b"r/" + digits(revision), base + b"s"))

    def is_there(self, key: str) -> Json:
        """That there is a record."""
        base = self.base(key)
        return some(span(base + b"r/", base + b"s"))

    def _is_vacant(self, base: bytes) -> Json:
        return none(span(base + b"l/", base + b"m"))

    # -- records -----------------------------------------------------------------------------------------------------

    def written(self, verb: Swap, revision: int, life: Life) -> list[Json]:
        """Write a record in the place of those with lower revisions."""
        base, number = self.base(verb.key), digits(revision)
        head = json.dumps({"format": _FORMAT, "ttl": verb.ttl, "write_id": verb.write_id}).encode()
        older = [drop(span(base + part, base + part + number)) for part in (b"b/", b"l/", b"r/")]
        return [*older, put(base + b"r/" + number, head + b"\n" + verb.value), life.mark(base + b"l/" + number + b"/")]

    def beaten(self, beat: Beat, life: Life) -> Json:
        """Renew a lease, if it is held."""
        base, number = self.base(beat.key), digits(beat.token)
        marks = base + b"l/" + number + b"/"
        return {
            "request_txn": {
                "compare": [some(span(marks, marks + _NEVER))],
                "success": [
                    put(base + b"b/" + number, repr(beat.ttl).encode()),
                    drop(life.outlived(marks)),
                    life.mark(marks),
                ],
            }
        }

    def found(self, key: str, parts: list[Json], now: float) -> Versioned[bytes] | None:
        """The record that is made of these parts.

        Args:
            key: Whose.
            parts: All that there are.
            now: Unix seconds, as far as they can be known: `expires_in` is by these, `expired` is not.

        Raises:
            CorruptStateError: They cannot be read, or do not belong together.
            UnknownFormatError: Another version wrote it.
        """
        if not parts:
            return None
        where = f"{self.store}, key {key!r}"
        try:
            return self._made(where, {self.split(plain(part["key"]))[1]: part for part in parts}, now)
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptStateError(where, f"its parts cannot be read: {error}") from error

    def _made(self, where: str, parts: dict[bytes, Json], now: float) -> Versioned[bytes]:
        records = {name: part for name, part in parts.items() if name.startswith(b"r/")}
        ((name, record),) = records.items()
        head, _, value = plain(record["value"]).partition(b"\n")
        about = json.loads(head)
        if about["format"] != _FORMAT:
            raise UnknownFormatError(where, f"of format {about['format']!r}, not {_FORMAT}")
        revision, ttl, beats = int(name.removeprefix(b"r/"), base=16), about["ttl"], 0
        if ttl is None:
            return Versioned(value, revision, write_id=about["write_id"])
        lefts = [0.0]
        for other, part in parts.items():
            if other.startswith(b"b/"):
                beats, ttl = int(part["version"]), float(plain(part["value"]))
            elif other.startswith(b"l/"):
                until, longest = map(float, plain(part["value"]).split())
                lefts.append(min(max(until - now, _LAST), longest))
        return Versioned(value, revision, beats, ttl, max(lefts), len(lefts) == 1, about["write_id"])


def after(prefix: bytes) -> bytes:
    """The first name after all that begin with `prefix`."""
    short = prefix.rstrip(b"\xff")
    return short[:-1] + bytes([short[-1] + 1])
