"""How long to wait, as several libraries have it, each as a backoff that a policy of ours can use.

All begin at `BASE` seconds, double, and stop growing at `CAP`. tests/benchmarks/test_storms.py holds each one to the
installed library that it is named after, draw by draw.

Two of them remember their last wait. A backoff object is shared by all calls of its policy, so these get one policy for
each client, and begin anew with each call's first wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from attrs import define, frozen

from resilience import ConstantBackoff, ExponentialBackoff, Jitter
from resilience.typing import Backoff


BASE = 0.1
CAP = 5.0


def ceiling(attempt: int) -> float:
    """`BASE` doubled with each attempt, up to `CAP`."""
    return min(CAP, BASE * 2.0 ** (attempt - 1))


@frozen
class PlusMinus:
    """The ceiling, a fifth more or less: gRPC (gRFC A6). The cap comes first, so that a wait may exceed it."""

    chance: Random

    def delay(self, attempt: int, /) -> float:
        """Seconds."""
        return ceiling(attempt) * self.chance.uniform(0.8, 1.2)


@frozen
class AddedThenCapped:
    """Up to a second more than the growth gives, and then the cap: stamina, and tenacity's `wait_exponential_jitter`."""

    chance: Random

    def delay(self, attempt: int, /) -> float:
        """Seconds."""
        return min(CAP, ceiling(attempt) + self.chance.uniform(0, 1))


@define
class Decorrelated:
    """Between the base and three times the last wait, and then the cap: the third one of the AWS blog's formulas."""

    chance: Random
    last: float = BASE

    def delay(self, attempt: int, /) -> float:
        """Seconds."""
        last = BASE if attempt == 1 else self.last
        self.last = min(CAP, self.chance.uniform(BASE, last * 3))
        return self.last


@define
class SmoothDecorrelated:
    """The steps between random points of one smooth exponential curve, and then the cap: Polly's.

    The curve is 2**t * tanh(sqrt(4 * t)), from George Polevoy (Polly, issue 530); 1 / 1.4 brings the median of the first
    wait to about the base.
    """

    chance: Random
    last: float = 0.0

    def delay(self, attempt: int, /) -> float:
        """Seconds."""
        t = attempt - 1 + self.chance.random()
        last = 0.0 if attempt == 1 else self.last
        self.last = math.pow(2, t) * math.tanh(math.sqrt(4 * t))
        return min(CAP, (self.last - last) / 1.4 * BASE)


@frozen
class Formula:
    """One row of a table.

    Args:
        name: How the tables call it.
        who: Who has it.
        make: A backoff that draws from this chance; ours draw from the World's.
        remembers: Whether each client needs an object of its own.
    """

    name: str
    who: str
    make: Callable[[Random], Backoff]
    remembers: bool = False


FORMULAS = {
    formula.name: formula
    for formula in (
        Formula("none", "tenacity `wait_exponential`", lambda _: ExponentialBackoff(BASE, CAP, jitter=Jitter.NONE)),
        Formula("fixed 1 s", "tenacity `wait_fixed`", lambda _: ConstantBackoff(1.0)),
        Formula(
            "full",
            "ours; tenacity `wait_random_exponential`; backoff `full_jitter`",
            lambda _: ExponentialBackoff(BASE, CAP),
        ),
        Formula("equal", "ours; redress", lambda _: ExponentialBackoff(BASE, CAP, jitter=Jitter.EQUAL)),
        Formula("decorrelated", "AWS blog; redress", Decorrelated, remembers=True),
        Formula("decorrelated V2", "Polly; hyx `softexp`", SmoothDecorrelated, remembers=True),
        Formula("±20 %", "gRPC", PlusMinus),
        Formula("added, then capped", "stamina; tenacity `wait_exponential_jitter`", AddedThenCapped),
    )
}
