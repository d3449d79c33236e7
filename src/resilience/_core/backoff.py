"""How long to wait after attempt n: the arithmetic, without the dice.

A rule yields for each attempt the *ceiling* of the wait; the jitter says which part of it chance may take off.
The cap comes first and the jitter after it. The other order (add, then cap) gives every client the same wait
once the cap is reached, and so brings them all back in the same instant; several libraries shipped that.

Full jitter is the default: of the usual kinds it recovers soonest after an outage, and spreads the clients widest
(AWS Architecture Blog, "Exponential Backoff And Jitter", 2015; re-simulated for this library, see the docs).
"""

from __future__ import annotations

import math
from enum import StrEnum

from resilience.errors import ConfigError


__all__ = ["Jitter", "ceiling"]


class Jitter(StrEnum):
    """Which part of a delay is left to chance."""

    FULL = "full"
    """Anywhere between nothing and the whole delay."""
    EQUAL = "equal"
    """Half of the delay is kept, the other half is left to chance."""
    NONE = "none"
    """The delay as it is: for tests, and where one client is all there is."""

    def least(self, delay: float) -> float:
        """The part of `delay` that is waited whatever chance says."""
        if self is Jitter.FULL:
            return 0.0
        return delay / 2 if self is Jitter.EQUAL else delay

    @classmethod
    def of(cls, value: object, option: str = "jitter") -> Jitter:
        """The member, from itself or from its name in any case; `ConfigError` for anything else."""
        if isinstance(value, str) and value.lower() in cls.__members__.values():
            return cls(value.lower())
        raise ConfigError(option, value, "one of 'full', 'equal' and 'none'")


def ceiling(initial: float, cap: float, factor: float, attempt: int) -> float:
    """`initial * factor ** (attempt - 1)`, never above `cap`, for every attempt however late.

    The power overflows a float near attempt 1 024 for factor 2 (a crash in several libraries): from there on the sum of
    the logarithms tells whether the cap is reached.
    """
    if initial == 0:
        return 0.0
    try:
        return min(cap, initial * factor ** (attempt - 1))
    except OverflowError:
        growth = math.log(initial) + (attempt - 1) * math.log(factor)
        return cap if growth >= math.log(cap) else min(cap, math.exp(growth))
