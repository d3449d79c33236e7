"""What is said to etcd, what is answered, and what it means where that is an error or nothing at all. No I/O."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal, TypeAlias, TypeVar, cast

from attrs import frozen

from resilience.errors import OutcomeUnknownError, ResilienceError, StorageFullError, StoreError, StoreUnavailableError
from resilience.stores._etcd_words import Json


__all__ = ["Answer", "Ask", "Program", "ServerTime", "Stake", "broken", "refused"]

R = TypeVar("R")

#: What a lost answer leaves in doubt: nothing; this request; or a request of the same verb that was answered before it,
#: so that even "this one was never sent" is not the whole truth.
Stake: TypeAlias = Literal["read", "write", "begun"]

#: gRPC's numbers for answers that mean: nothing was done, and that will pass (not found: an etcd lease that was over before
#: it was used; out of range: the history of that moment is compacted).
_PASSING = {5, 11}
#: Nothing was done, and it will not be (invalid argument, denied, larger than allowed, precondition, unimplemented, unknown
#: user).
_REFUSED = {3, 7, 8, 9, 12, 16}


@frozen
class Ask:
    """One request.

    Args:
        path: Below the gateway's ``/v3/``.
        body: What to send.
        stake: What is in doubt if it is not answered.
    """

    path: str
    body: Json
    stake: Stake = "read"


@frozen
class Answer:
    """What came of it.

    Args:
        body: As it was answered.
        at: The server's wall clock, in Unix seconds.
    """

    body: Json
    at: float


Program: TypeAlias = Generator[Ask, Answer, R]


@frozen
class ServerTime:
    """The server's wall clock, as the dates of its answers tell: whole seconds, between which the boot clock counts.

    No verb judges by it: it is what revisions start from and what `expires_in` is told by. A host whose own clock agrees
    with the date is believed about the fraction.

    Args:
        wall: Unix seconds at one moment.
        boottime: That moment, on this host.
    """

    wall: float
    boottime: float

    def at(self, boottime: float) -> float:
        """What it shows at a moment."""
        return self.wall + boottime - self.boottime

    def heard(self, date: float, boottime: float) -> ServerTime:
        """The same, after an answer with this date: kept while it agrees, late by what the answer took at most."""
        return self if date <= self.at(boottime) < date + 2.0 else ServerTime(date, boottime)

    @staticmethod
    def first(date: float, boottime: float, wall: float) -> ServerTime:
        """From the first date that was heard, when this host's wall clock showed `wall`."""
        return ServerTime(wall if date <= wall < date + 1.0 else date, boottime)


def refused(store: str, ask: Ask, status: int, answer: Any) -> ResilienceError:
    """What it means that the gateway answered with an error.

    Args:
        store: The store, for people.
        ask: What was asked.
        status: Of HTTP.
        answer: The JSON; None if it was none.
    """
    code, what = None, f"it answered with HTTP status {status}"
    if isinstance(answer, dict):
        known = cast("Json", answer)
        code, what = known.get("code"), str(known.get("error", what))
    if "space exceeded" in what:
        return StorageFullError(store, what)
    if ask.stake == "begun":
        return OutcomeUnknownError(store, f"a part of it was done, then: {what}")
    if code in _PASSING or "too many requests" in what or (ask.stake == "read" and code not in _REFUSED):
        return StoreUnavailableError(store, what)
    if code in _REFUSED:
        return StoreError(store, what)
    return OutcomeUnknownError(store, what)


def broken(store: str, ask: Ask, what: str, *, sent: bool) -> StoreError:
    """What it means that there was no answer.

    Args:
        store: The store, for people.
        ask: What was asked, or was to be.
        what: What happened, as the end of a sentence.
        sent: Whether a part of it may have been sent.
    """
    if ask.stake == "begun" or (sent and ask.stake == "write"):
        return OutcomeUnknownError(store, what)
    return StoreUnavailableError(store, what)
