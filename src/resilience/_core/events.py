"""What is told to those who listen: one frozen record for each thing that happened.

Every failed attempt is told once: by `RetryScheduled` if another follows, by `GaveUp` if none does. Attempts that succeed
at once are not told: nothing is counted, and no clock is read, where nothing fails.

Field names are stable and carry their units: seconds where nothing is said. A record holds the exception itself, so a
hook that keeps events keeps the frames of the failure alive; keep ``repr(event.error)`` instead.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from resilience._core.giveup import GiveUpReason
from resilience._core.verdict import Verdict


__all__ = ["DeadlineExceeded", "Event", "GaveUp", "Recovered", "RetryScheduled"]


@frozen(kw_only=True)
class RetryScheduled:
    """An attempt failed and another will follow.

    Args:
        name: The policy's name, or the retried function's.
        attempt: The attempt that failed, from 1.
        attempts: How many there may be; None for no limit.
        delay: Seconds until the next one.
        elapsed: Seconds since the call began; of a plain policy's call, which reads no clock before it, since its first
            failure.
        verdict: Why it is worth trying again.
        error: What the attempt raised; None if its result was refused by ``retry_result``.
        depth: How many calls around this one are being tried again themselves, in their second or a later attempt. Above 0,
            retries multiply: see ``shield_inner``.
    """

    name: str
    attempt: int
    attempts: int | None
    delay: float
    elapsed: float
    verdict: Verdict
    error: Exception | None
    depth: int = 0


@frozen(kw_only=True)
class GaveUp:
    """A call ended in failure: told just before the exception goes out (or the last result, refused).

    A call that is cancelled during its first attempt tells nothing: nothing was known of it.

    Args:
        name: The policy's name, or the retried function's.
        attempt: The last attempt, which is also how many there were.
        elapsed: As in `RetryScheduled`.
        reason: Which limit ended it.
        detail: The same for people, with its figures.
        error: What goes out; None if it is a result.
        depth: As in `RetryScheduled`.
    """

    name: str
    attempt: int
    elapsed: float
    reason: GiveUpReason
    detail: str
    error: BaseException | None
    depth: int = 0


@frozen(kw_only=True)
class Recovered:
    """A call succeeded after at least one failed attempt.

    Args:
        name: The policy's name, or the retried function's.
        attempt: The attempt that succeeded, from 2.
        elapsed: As in `RetryScheduled`.
        depth: As in `RetryScheduled`.
    """

    name: str
    attempt: int
    elapsed: float
    depth: int = 0


@frozen(kw_only=True)
class DeadlineExceeded:
    """A deadline ended work: told where `DeadlineExceededError` is raised, to observers only.

    A deadline that several tasks or checks run into is told by each of them.

    Args:
        name: Which deadline; None if it has no name. Of a policy's limits, ``"fetch: within"``.
        limit: The timeout it was made from, in seconds; None if only the moment was given.
        depth: As in `RetryScheduled`.
    """

    name: str | None
    limit: float | None
    depth: int = 0


#: Everything a hook may receive.
Event: TypeAlias = RetryScheduled | GaveUp | Recovered | DeadlineExceeded
