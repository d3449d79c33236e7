"""One store in one PostgreSQL database, as a conversation: what is asked, what it means, and which error is raised.

A conversation is a generator: it yields what to ask, is sent the reply, and returns the answer or raises the error.

Of an error that the server has sent, its transaction is undone: nothing was applied. It is a session's end that leaves
a write in doubt, for it may come between the commit and the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from resilience._core.description import Description, Fault, faults_but
from resilience._core.steps import Verb
from resilience._core.tables import Tables
from resilience._core.verdict import VerdictKind
from resilience.errors import (
    ConfigError,
    OutcomeUnknownError,
    ResilienceError,
    StorageFullError,
    StoreError,
    StoreUnavailableError,
    UnknownFormatError,
)
from resilience.stores._postgres_schema import ANOTHER_VERSION, FORMAT, channel_of, creation
from resilience.stores._postgres_verbs import Ask, Reply, said_of, watching


__all__ = ["Place", "Talk", "checked_schema", "pauses"]

R = TypeVar("R")

#: What is asked one after another, and what comes of it.
Talk: TypeAlias = Generator[Ask, Reply, R]

#: The transaction was undone, for a reason that may pass. 57014: it was told to stop.
_PASSING = frozenset(
    {"25006", "25P03", "25P04", "40000", "40001", "40P01", "53000", "53200", "53300", "53400"}
    | {"55006", "55P03", "57014", "57P03", "72000"}
)
#: The session ends, or nobody knows how the transaction did. Of class 08 poolers speak, when they lost the server.
_DOUBTFUL = frozenset({"40003", "57P01", "57P02"})
#: Undone for the sake of another transaction, which is done with by now: to be asked again. The first comes of a database
#: that has one snapshot for a transaction, where nothing is judged by an old one.
_OVERTAKEN = frozenset({"40001", "40P01"})
#: How often.
_AGAIN = 20
#: No such schema, table or function.
_MISSING = frozenset({"3F000", "42P01", "42883"})


class Place(NamedTuple):
    """One store in one database.

    Args:
        name: How it is called, for people.
        schema: Its schema.
    """

    name: str
    schema: str

    @property
    def channel(self) -> str:
        """Where hints are said."""
        return channel_of(self.schema)

    def carry_out(self, verb: Verb[R], at: float | None, *, sweep: bool = False) -> Talk[R]:
        """Carry out one verb.

        Args:
            verb: Which.
            at: The moment; None for the server's clock.
            sweep: Whether a write is to take away old tombstones as well.
        """
        ask, answer = said_of(self.schema, verb, at, sweep=sweep)
        reply = yield from self._asked(ask)
        return answer(reply.rows)

    def watch(self, key: str, seconds: float, at: float | None) -> Talk[int]:
        """Say for so long that somebody waits for this key; its revision now."""
        ask, answer = watching(self.schema, key, seconds, at)
        reply = yield from self._asked(ask)
        return answer(reply.rows)

    def listen(self) -> Talk[None]:
        """Have this connection told of what is written."""
        yield from self._asked(Ask(f'LISTEN "{self.channel}"'.encode()))

    def create(self, incarnation: str) -> Talk[None]:
        """Make what is kept there; of no effect where it is there."""
        if (yield from self._version()) is None:
            yield from self._asked(Ask(creation(self.schema, incarnation).encode(), writes=True, script=True))

    def describe(self, *, wakes: bool) -> Talk[Description]:
        """What the store promises; whether it wakes is the shell's to say."""
        self._check_version((yield from self._version()))
        reply = yield from self._asked(Ask(_DESCRIBE + _meta(self.schema)))
        incarnation, recovering, synced, whole_pages, committed = reply.rows[0]
        durable = synced == b"on" and committed != b"off"
        lost = [(Fault.EMPTIED, Fault.CLOCK_SET_BACK), (Fault.RESTORED, Fault.CLOCK_SET_BACK)]
        if not durable:
            lost.append((Fault.REBOOTED, Fault.CLOCK_SET_BACK))
        return Description(
            store=self.name,
            clock="server",
            incarnation=(incarnation or b"").decode(),
            linearizable=recovering == b"\0",
            durable=durable,
            survives_crash=True,
            survives_reboot=durable and whole_pages == b"on",
            shared=True,
            wakes=wakes,
            revisions_survive=faults_but(*lost),
        )

    def refused(self, error: Exception) -> ResilienceError:
        """No connection was made: the driver says why."""
        words = " ".join(str(error).split())
        verdict = _KNOWN(error)
        hopeless = verdict is not None and verdict.kind is VerdictKind.PERMANENT
        if isinstance(
            error.__cause__, OSError
        ):  # no address for the name, which is what one sees of an outage of DNS as well
            hopeless = False
        kind = StoreError if hopeless or _MISTAKEN.search(words) else StoreUnavailableError
        return kind(self.name, words)

    def lost(self, ask: Ask, what: str) -> ResilienceError:
        """The answer did not come."""
        return OutcomeUnknownError(self.name, what) if ask.writes else StoreUnavailableError(self.name, what)

    def _replied(self, ask: Ask) -> Talk[Reply]:
        reply = yield ask
        for _ in range(_AGAIN):
            if reply.ended or reply.sqlstate not in _OVERTAKEN:
                break
            reply = yield ask
        return reply

    def _asked(self, ask: Ask) -> Talk[Reply]:
        reply = yield from self._replied(ask)
        if reply.error is None:
            return reply
        if reply.sqlstate in _MISSING:
            self._check_version((yield from self._version()))
        raise self._said(ask, reply) from reply.error

    def _said(self, ask: Ask, reply: Reply) -> ResilienceError:
        words = " ".join(str(reply.error).split())
        if reply.ended or reply.sqlstate is None or reply.sqlstate.startswith("08") or reply.sqlstate in _DOUBTFUL:
            return self.lost(ask, f"the session has ended: {words}")
        if reply.sqlstate == "53100":
            return StorageFullError(self.name, words)
        if reply.sqlstate == ANOTHER_VERSION:
            return self._unknown("another")
        return (StoreUnavailableError if reply.sqlstate in _PASSING else StoreError)(self.name, words)

    def _version(self) -> Talk[int | None]:
        """Which version there is; None for none. Another than ours is not to be touched."""
        ask = Ask(_VERSION + _meta(self.schema))
        reply = yield from self._replied(ask)
        if reply.sqlstate in _MISSING:
            return None
        if reply.error is not None:
            raise self._said(ask, reply) from reply.error
        version = int.from_bytes(reply.rows[0][0] or b"", "big")
        if version != FORMAT:
            raise self._unknown(str(version))
        return version

    def _check_version(self, version: int | None) -> None:
        if version is None:
            raise StoreError(
                self.name,
                f"there is no schema {self.schema!r} yet: call create_schema() once (acreate_schema() of the async store)",
            )

    def _unknown(self, version: str) -> UnknownFormatError:
        return UnknownFormatError(self.name, f"schema {self.schema!r} is of version {version}, and this reads {FORMAT}")


_KNOWN = Tables(lambda: 0.0)
#: What libpq says of a connection string that means nothing: it counts that as a connection that failed.
_MISTAKEN = re.compile(r"invalid (integer value|port number|\w+ value)")
_VERSION = b"SELECT version FROM "
_DESCRIBE = (
    b"SELECT incarnation, pg_is_in_recovery(), "
    b"current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit') FROM "
)


def _meta(schema: str) -> bytes:
    return f'"{schema}".meta'.encode()


#: Names of the server have 63 bytes; the channel's begins with 11.
_LONGEST_SCHEMA = 48


def checked_schema(schema: Any) -> str:
    """A name that is an identifier as it is, without quotes, and leaves room for what is derived from it."""
    if (
        isinstance(schema, str)
        and schema.isascii()
        and schema.isidentifier()
        and schema.islower()
        and len(schema) <= _LONGEST_SCHEMA
    ):
        return schema
    raise ConfigError(
        "schema", schema, f"an identifier of at most {_LONGEST_SCHEMA} lower-case letters, digits and underscores"
    )


def pauses(timeout: float, now: Callable[[], float]) -> Iterator[float]:
    """The waits between two looks of one who is told: first soon, for a write may have looked for him as he came."""
    end = now() + timeout
    pause = 0.02
    while (left := end - now()) > 0:
        yield min(left, pause)
        pause = min(pause * 10, 2.0)
