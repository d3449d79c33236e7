"""The retry budget: the window of `_core.budget`, given a lock and a clock so that threads and tasks can share it."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet

from resilience._core import checks
from resilience._core.budget import Window
from resilience.errors import ConfigError
from resilience.typing import Seconds


__all__ = ["RetryBudget", "checked_budget"]


class RetryBudget:
    """The share of calls that may be retries: keeps many clients from turning an outage into a storm.

    When it is spent, a failing call raises its own error at once, with a note. In the last `window` seconds, the retries
    are never more than `ratio` of the calls, or than `at_least` if that is more. Safe for threads and tasks; one object
    is shared by every policy whose calls go to the same place. It belongs to one process: it is never pickled, and a
    forked child counts on from what its parent had counted.

    Args:
        ratio: Retries per call, from 0 to 1.
        at_least: Retries that a window always holds, so that a client with few calls may retry at all.
        window: Seconds (or a `timedelta`) that the counts look back.

    Raises:
        ConfigError: A value outside these bounds.

    Source: Google's SRE book, ch. 21, "Handling Overload" (a per-client ratio of 10 %).

    >>> from resilience import RetryBudget, retry
    >>> shared = RetryBudget(ratio=0.1)
    >>> @retry(on=ConnectionError, budget=shared)
    ... def fetch() -> str:
    ...     return "fetched"
    >>> fetch()
    'fetched'
    """

    __slots__ = ("__weakref__", "_lock", "_window", "at_least", "ratio", "window")

    ratio: float
    at_least: int
    window: float

    def __init__(self, ratio: float = 0.1, *, at_least: int = 3, window: Seconds = 10.0) -> None:
        self.ratio = checks.share("ratio", ratio)
        if isinstance(at_least, bool) or not isinstance(at_least, int) or at_least < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError("at_least", at_least, "a whole number of at least 0")
        self.at_least = at_least
        self.window = checks.seconds("window", window)
        self._lock = threading.Lock()
        self._window = Window(self.ratio, at_least, self.window)
        _living.add(self)

    def __repr__(self) -> str:
        return f"RetryBudget(ratio={self.ratio:g}, at_least={self.at_least}, window={self.window:g})"

    def call(self, now: float) -> None:
        """Count one call that begins at the monotonic moment `now`; a policy does this by itself."""
        with self._lock:
            self._window.call(now)

    def spend(self, now: float) -> bool:
        """Take one retry, if there is one left; a policy does this by itself."""
        with self._lock:
            return self._window.retry(now)

    def renew_lock(self) -> None:
        """In a forked child: the lock may have been held by a thread that the child does not have."""
        self._lock = threading.Lock()

    def __reduce__(self) -> str:
        raise TypeError("a RetryBudget belongs to one process and is not pickled; make one in each")


def checked_budget(value: RetryBudget | None) -> RetryBudget | None:
    """A budget, or None for none; `ConfigError` for anything else."""
    if value is None or isinstance(value, RetryBudget):  # pyright: ignore[reportUnnecessaryIsInstance]
        return value
    raise ConfigError("budget", value, "a RetryBudget, or None for no limit")


_living: WeakSet[RetryBudget] = WeakSet()


def _renew_locks() -> None:
    for budget in list(_living):
        budget.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
