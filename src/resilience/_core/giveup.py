"""Why a retried call tries no more."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


__all__ = ["GiveUp", "GiveUpReason"]


class GiveUpReason(StrEnum):
    """Which limit ended a retried call."""

    PERMANENT = "permanent"
    """The failure is not worth trying again."""
    UNSURE = "unsure"
    """It may already have been applied, and the policy says ``idempotent=False``."""
    ATTEMPTS = "attempts"
    """All attempts are used."""
    WITHIN = "within"
    """The next wait does not fit into what is left of the policy's ``within``."""
    DEADLINE = "deadline"
    """The next wait does not fit into what is left of the deadline around the call."""
    SHIELDED = "shielded"
    """A retry around this one has ``shield_inner``: that one tries again, this one tries once."""
    HINT = "hint"
    """The server asked for a longer wait than the policy's ``max_hint``."""
    BUDGET = "budget"
    """The retry budget is spent."""
    STOP = "stop"
    """Something live ended the work: a lease was lost, a shutdown began."""
    CANCELLED = "cancelled"
    """The call was cut off from outside: its task was cancelled, or the program interrupted."""
    POLICY = "policy"
    """The policy itself failed: its classifier or its backoff raised, or returned nonsense."""


class GiveUp(NamedTuple):
    """The decision to try no more.

    Args:
        reason: Which limit ended the call.
        detail: The same for people, with its figures.
    """

    reason: GiveUpReason
    detail: str
