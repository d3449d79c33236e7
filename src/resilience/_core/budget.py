"""The retry budget's arithmetic: calls and retries of the last window, in slots, and whether one more retry fits.

The window is ten slots long. Calls are counted over the last ten, the one under way included, so over *at most* the
window; retries over the last eleven, so over *at least* the window. The error of the slots thus always falls on the
side of fewer retries, and the promise is exact: at the moment a retry is granted, the retries granted in the last
window are no more than `at_least`, or than `ratio` times the calls begun in it.

Why a ratio: see "Handling Overload" in Google's SRE book (ch. 21), which allows a client 10 % of retries. A fixed number
of tokens either starves small clients or lets large ones storm.
"""

from __future__ import annotations

import math


__all__ = ["SLOTS", "Window"]

SLOTS = 10
_RING = SLOTS + 1


class Window:
    """Mutable and without a lock of its own: the caller holds one."""

    __slots__ = ("_at_least", "_calls", "_index", "_per_second", "_ratio", "_retries", "_slot")

    def __init__(self, ratio: float, at_least: int, window: float) -> None:
        self._ratio = ratio
        self._at_least = at_least
        self._per_second = SLOTS / window
        self._slot = -math.inf  # before any moment: a monotonic clock may begin below 0
        self._index = 0
        self._calls = [0] * _RING
        self._retries = [0] * _RING

    def call(self, now: float) -> None:
        """Count one call, begun at the monotonic moment `now`."""
        slot = math.floor(now * self._per_second)
        if slot > self._slot:
            self._roll(slot)
        self._calls[self._index] += 1

    def retry(self, now: float) -> bool:
        """Take one retry, if it fits."""
        slot = math.floor(now * self._per_second)
        if slot > self._slot:
            self._roll(slot)
        if sum(self._retries) + 1 > self.allowed():
            return False
        self._retries[self._index] += 1
        return True

    def allowed(self) -> float:
        """How many retries the window holds in all, as of the last count."""
        oldest = (self._index + 1) % _RING
        return max(self._at_least, self._ratio * (sum(self._calls) - self._calls[oldest]))

    def _roll(self, slot: int) -> None:
        """Move to a later slot and empty those that were passed over. A clock that went back stays where it was."""
        for passed in range(int(max(self._slot, slot - _RING)) + 1, slot + 1):
            self._calls[passed % _RING] = self._retries[passed % _RING] = 0
        self._slot = slot
        self._index = slot % _RING
