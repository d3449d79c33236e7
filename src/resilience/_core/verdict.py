"""The verdict on a failure: is it worth trying again, may it have been applied, and how long does the other side ask for?

Three answers, because "worth trying again" is two questions. A refused connection is *transient*: nothing can have
happened. A connection lost after the request was sent is *unsure*: the work may have been done and only the answer
lost, so trying again is safe only where doing it twice is. Anything else is *permanent*.
"""

from __future__ import annotations

import math
from enum import StrEnum

from attrs import field, frozen

from resilience._core import checks
from resilience.errors import ConfigError
from resilience.typing import Seconds


__all__ = ["Verdict", "VerdictKind"]


class VerdictKind(StrEnum):
    """What a failure means for trying again."""

    TRANSIENT = "transient"
    """Worth trying again, and certainly not applied."""
    UNSURE = "unsure"
    """Worth trying again, but it may already have been applied."""
    PERMANENT = "permanent"
    """Not worth trying again."""


def _kind(value: VerdictKind | str) -> VerdictKind:
    if isinstance(value, VerdictKind):
        return value
    if value in VerdictKind.__members__.values():
        return VerdictKind(value)
    raise ConfigError("kind", value, "one of 'transient', 'unsure' and 'permanent'")


def _hint(value: Seconds | None) -> float | None:
    return None if value is None else checks.seconds("after", value, zero=True, longest=math.inf)


@frozen
class Verdict:
    """What a failure means for trying again. A value: frozen, shareable, made by the three constructors.

    Args:
        kind: One of `VerdictKind`; compares equal to its plain string.
        after: Seconds the other side asked to be left alone, at least; None if it did not ask.
        throttled: Whether the other side said that there is too much work for it.
        reason: Which rule decided, for people; may be empty.
    """

    kind: VerdictKind = field(converter=_kind)
    after: float | None = field(default=None, converter=_hint)
    throttled: bool = False
    reason: str = ""

    @classmethod
    def transient(cls, after: Seconds | None = None, *, throttled: bool = False, reason: str = "") -> Verdict:
        """Worth trying again, and certainly not applied."""
        return cls(VerdictKind.TRANSIENT, after, throttled, reason)

    @classmethod
    def unsure(cls, after: Seconds | None = None, *, throttled: bool = False, reason: str = "") -> Verdict:
        """Worth trying again, but it may already have been applied."""
        return cls(VerdictKind.UNSURE, after, throttled, reason)

    @classmethod
    def permanent(cls, reason: str = "") -> Verdict:
        """Not worth trying again."""
        return cls(VerdictKind.PERMANENT, None, False, reason)
