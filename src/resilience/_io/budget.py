"""The retry budget: the window of `_core.budget`, given a lock and a clock so that threads and tasks can share it."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from weakref import WeakSet

from resilience._core import checks
from resilience._core.budget import Window
from resilience.errors import ConfigError
from resilience.typing import Seconds


__all__ = ["RetryBudget", "checked_budget", "fresh_counts"]


#: Seconds; below that, a slot of the window would be shorter than the clock can tell.
_SHORTEST_WINDOW = 0.001


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

    __slots__ = ("__weakref__", "at_least", "counts", "lock", "ratio", "window")

    ratio: float
    at_least: int
    window: float
    lock: threading.RLock
    """Held while `counts` is used. Re-entrant: a signal handler that retries may interrupt its own thread in here."""
    counts: Window

    def __init__(self, ratio: float = 0.1, *, at_least: int = 3, window: Seconds = 10.0) -> None:
        self.ratio = checks.share("ratio", ratio)
        self.at_least = checks.count("at_least", at_least)
        self.window = checks.seconds("window", window)
        if self.window < _SHORTEST_WINDOW:
            raise ConfigError("window", window, f"at least {_SHORTEST_WINDOW:g} s")
        self.lock = threading.RLock()
        self.clear()
        _living.add(self)

    def __repr__(self) -> str:
        return f"RetryBudget(ratio={self.ratio:g}, at_least={self.at_least}, window={self.window:g})"

    def clear(self) -> None:
        """Forget every call and every retry."""
        self.counts = Window(self.ratio, self.at_least, self.window)

    def spend(self, now: float) -> bool:
        """Take one retry, if there is one left; a policy does this by itself."""
        with self.lock:
            return self.counts.retry(now)

    def __reduce__(self) -> str:
        raise TypeError("a RetryBudget belongs to one process and is not pickled; make one in each")


def checked_budget(value: RetryBudget | None) -> RetryBudget | None:
    """A budget, or None for none; `ConfigError` for anything else."""
    if value is None or isinstance(value, RetryBudget):
        return value
    raise ConfigError("budget", value, "a RetryBudget, or None for no limit")


_living: WeakSet[RetryBudget] = WeakSet()


@contextmanager
def fresh_counts() -> Generator[None]:
    """Let every budget start empty in the block, and have its own counts back after it: for a block on another clock."""
    before = {budget: budget.counts for budget in _living}
    for budget in before:
        budget.clear()
    try:
        yield
    finally:
        for budget in list(_living):
            budget.clear()
        for budget, counts in before.items():
            budget.counts = counts


def _free_locks() -> None:
    """In a forked child: whoever held a lock is a thread of the parent's, which the child does not have."""
    for budget in list(_living):
        budget.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_locks)
