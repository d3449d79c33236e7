"""Which task may use a connection: so many at a time, in the order in which they came."""

from __future__ import annotations

from collections import deque
from typing import Any


__all__ = ["Lending"]


class Lending:
    """So many connections for the tasks of one event loop.

    Args:
        most: How many may be lent at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        #: How many are lent.
        self.out = 0
        self._waiting: deque[Any] = deque()

    async def take(self, loop: Any, seconds: float) -> bool:
        """Wait for one; False where none came back in so many seconds."""
        if self.out < self._most:
            self.out += 1
            return True
        lent = loop.create_future()
        self._waiting.append(lent)
        timer = loop.call_later(seconds, _tell, lent, False)
        try:
            return bool(await lent)
        except BaseException:
            if lent.done() and not lent.cancelled() and lent.result():  # cancelled at the moment when it had come
                self.give()
            raise
        finally:
            timer.cancel()

    def give(self) -> None:
        """One is back: it is for who waits longest."""
        while self._waiting:
            if _tell(self._waiting.popleft(), True):
                return
        self.out -= 1


def _tell(lent: Any, given: bool) -> bool:
    """Tell one who waits; whether he still did."""
    if lent.done():
        return False
    lent.set_result(given)
    return True
