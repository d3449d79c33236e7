"""A crowd in virtual time: how it is run, and what is counted."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
from array import array
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from resilience.testing import VirtualClock, virtual_time


T = TypeVar("T")

Moments: TypeAlias = "array[float]"
"""Virtual seconds, in order."""

#: Seconds: the length of a slot and of a window.
SLOT = 0.1


def simulate(main: Callable[[VirtualClock], Coroutine[Any, Any, T]], seed: int) -> T:
    """Run `main` on a clock of its own; jitter is drawn with this seed."""
    with _undisturbed(), virtual_time(seed=seed) as clock:
        return clock.run_async(main(clock))


async def all_of(clients: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run every client as a task of its own."""
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No log lines, of which there would be millions, and no garbage collections, which would find nothing."""
    log = logging.getLogger("resilience")
    level, collecting = log.level, gc.isenabled()
    log.setLevel(logging.CRITICAL + 1)
    gc.disable()
    try:
        yield
    finally:
        log.setLevel(level)
        if collecting:
            gc.enable()


def most_in_a_window(moments: Sequence[float], start: float = 0.0, length: float = SLOT) -> int:
    """The most of these moments that any window of this length, from `start` on, holds: a sliding window, not bins."""
    most = first = 0
    for last, moment in enumerate(moments):
        if moment < start:
            first = last + 1
            continue
        while moment - moments[first] >= length:
            first += 1
        most = max(most, last - first + 1)
    return most


def slot_of(moment: float, length: float = SLOT) -> int:
    """Which slot of this length it falls into; one that was to be a slot's beginning may be rounded to just before."""
    return math.floor((moment + 1e-6) / length)


def by_slot(moments: Iterable[float], end: float, length: float = SLOT) -> list[int]:
    """How many of the moments fall into each slot of this length, from 0 to `end`."""
    found = Counter(slot_of(moment, length) for moment in moments)
    return [found[slot] for slot in range(round(end / length))]


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
