"""What a writer does about a conflict: ours, and what is usual."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from resilience._core.records import Versioned
from resilience._core.steps import Call, Pause, Steps
from resilience._core.updating import Document, read, update, write
from resilience.errors import VersionConflictError
from resilience.stores import Json


class Policy(StrEnum):
    """By its name in the tables."""

    OURS = "ours"
    FIVE_AT_ONCE = "5 tries at once"
    FIVE_JITTERED = "5 tries, jitter"
    UNLIMITED = "unlimited jitter"


#: The usual wait after a conflict: full jitter from 4 ms, doubled up to half a second.
_FIRST, _CAP = 0.004, 0.5

COUNTER = Document("counter", Json(), int, None)


class Gave(Exception):
    """Up: five tries were all there were."""


def updating(policy: Policy, change: Callable[[int], int], name: str) -> Steps[Versioned[int]]:
    """One update under a policy, as steps."""
    if policy is Policy.OURS:
        return (yield from update(COUNTER, change, "retry", name))
    tries = None if policy is Policy.UNLIMITED else 5
    attempt = 0
    while True:
        attempt += 1
        seen = yield from read(COUNTER)
        value: int = yield Call(change, (seen.value,))
        try:
            return (yield from write(COUNTER, value, seen.revision, name))
        except VersionConflictError:
            if attempt == tries:
                raise Gave from None
        if policy is not Policy.FIVE_AT_ONCE:
            yield Pause(min(_CAP, _FIRST * 2 ** min(attempt - 1, 20)))
