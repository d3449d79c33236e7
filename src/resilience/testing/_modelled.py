"""The store of an exploration: the reference, as a graph of contents.

Contents and replies are kept once each and compared by identity, and what a verb does in a content is worked out once.

Time is order. A lease is live until it is said to have run out, and any lease may run out before any other: that covers
every pause, drift and speed, and some orders which no clock would bring.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from attrs import frozen

from resilience._core.deciding import decide
from resilience._core.records import ANY, Now, Record, Versioned
from resilience._core.steps import Swap, Verb
from resilience.errors import ResilienceError


__all__ = ["NOTHING", "Content", "Model", "Reply", "fails"]


@frozen(eq=False)
class Reply:
    """What came of a step. There is one object for each.

    Args:
        value: What it returned.
        error: What it raised instead; None if it returned.
    """

    value: Any = None
    error: BaseException | None = None


#: Of a step that only has to be over; and what every client is told first.
NOTHING: Final = Reply()


def fails(error: BaseException) -> Reply:
    """The reply of a step that fails."""
    return Reply(None, error)


@frozen(eq=False)
class Content:
    """All that the store keeps at one moment. There is one object for each.

    Args:
        records: By key, in order.
        floor: The highest revision of all that were removed.
        old: Leases that nobody has renewed since time last passed.
    """

    records: Mapping[str, Record]
    floor: int
    old: frozenset[str]

    @property
    def live(self) -> frozenset[str]:
        """The leases that have not run out."""
        return frozenset(key for key, record in self.records.items() if record.expires_boottime > 0)

    @property
    def outline(self) -> tuple[tuple[str, int, bool], ...]:
        """What is there but for the beats, by which alone nobody gets on."""
        return tuple((key, record.revision, record.expires_boottime > 0) for key, record in self.records.items())

    @property
    def seen(self) -> dict[str, Versioned[bytes]]:
        """The records, as a client would see them."""
        return {key: record.seen(_NOW) for key, record in self.records.items()}


#: A moment at which every live lease has its whole TTL left.
_NOW: Final = Now(0.0, 0.0, "")


class _Shelf:
    """The records of one content, for one verb."""

    def __init__(self, content: Content) -> None:
        self.records = dict(content.records)
        self.changed: set[str] = set()
        self._floor = content.floor

    def get(self, key: str) -> Record | None:
        return self.records.get(key)

    def put(self, key: str, record: Record) -> None:
        self.records[key] = record
        self.changed.add(key)

    def drop(self, key: str, record: Record) -> None:
        del self.records[key]
        self.changed.add(key)
        self._floor = max(self._floor, record.revision)

    def floor(self) -> int:
        return self._floor

    def under(self, prefix: str, after: str) -> Iterator[tuple[str, Record]]:
        for key in sorted(self.records):
            if key.startswith(prefix) and key > after:
                yield key, self.records[key]


class Model:
    """The reference store as a graph of contents.

    Args:
        ticks: Whether the wall clock goes on from write to write, or stands, as after it was set far back.
    """

    def __init__(self, *, ticks: bool) -> None:
        self._ticks = ticks
        self._contents: dict[object, Content] = {}
        self._replies: dict[object, Reply] = {}
        self._done: dict[tuple[Content, Verb[Any]], tuple[Reply, Content]] = {}

    def start(self, records: Mapping[str, bytes]) -> Content:
        """The content that an exploration begins with."""
        content = self._content({}, 0, frozenset())
        for key, value in records.items():
            _, content = self.apply(content, Swap(key, value, ANY))
        return content

    def apply(self, content: Content, verb: Verb[Any]) -> tuple[Reply, Content]:
        """What comes of a verb, and what is there afterwards."""
        known = self._done.get((content, verb))
        if known is None:
            known = self._done[content, verb] = self._decided(content, verb)
        return known

    def expire(self, content: Content, key: str) -> Content:
        """The same, with one lease run out."""
        records = {**content.records, key: content.records[key]._replace(expires_boottime=0.0, expires_wall=0.0)}
        return self._content(records, content.floor, content.old - {key})

    def age(self, content: Content) -> Content:
        """The same, with every lease old unless it is renewed."""
        return self._content(content.records, content.floor, content.live)

    def _decided(self, content: Content, verb: Verb[Any]) -> tuple[Reply, Content]:
        shelf = _Shelf(content)
        # Later than every write so far, by as little as can be; the half keeps it from being rounded down.
        latest = max([content.floor, *(record.revision for record in content.records.values())])
        now = _NOW._replace(wall=(latest + 1.5) / 1e6) if self._ticks else _NOW
        try:
            reply = Reply(decide(verb, shelf, now))
        except ResilienceError as error:
            reply = fails(error.with_traceback(None))
        reply = self._replies.setdefault(_identity(reply), reply)
        if not shelf.changed:
            return reply, content
        return reply, self._content(shelf.records, shelf.floor(), content.old - shelf.changed)

    def _content(self, records: Mapping[str, Record], floor: int, old: frozenset[str]) -> Content:
        ordered = dict(sorted(records.items()))
        return self._contents.setdefault((tuple(ordered.items()), floor, old), Content(ordered, floor, old))


def _identity(reply: Reply) -> object:
    """What tells one reply from another."""
    if reply.error is not None:
        return type(reply.error), reply.error.__reduce__()[1]
    kind = cast("type[object]", type(reply.value))
    if kind in {list, dict}:
        return kind, tuple(reply.value.items() if kind is dict else reply.value)
    return kind, reply.value
