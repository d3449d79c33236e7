"""What became of the updates of all writers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import frozen


@frozen
class Update:
    """One update: how many tries it took, how long, and whether it got through."""

    tries: int
    took: float
    done: bool


@frozen
class Figures:
    """All updates of a round.

    Args:
        done: Updates that got through.
        success: Their share.
        tries: The most that one of those took, and `mean_tries` on average.
        p50: Seconds, of those that got through; `p99` likewise.
        share: What the unluckiest writer had got done, over the luckiest one, when the first one was ready.
        exact: Whether the counter says what was done.
    """

    done: int
    success: float
    tries: int
    mean_tries: float
    p50: float
    p99: float
    share: float
    exact: bool

    @classmethod
    def of(cls, updates: Sequence[Update], by_writer: Sequence[int], counted: int) -> Figures:
        """Count them."""
        through = [update for update in updates if update.done]
        took = sorted(update.took for update in through)
        tries = [update.tries for update in through]
        return cls(
            len(through),
            len(through) / len(updates),
            max(tries),
            sum(tries) / len(tries),
            took[len(took) // 2],
            took[min(len(took) - 1, math.ceil(len(took) * 0.99) - 1)],
            min(by_writer) / max(by_writer),
            counted == len(through),
        )
