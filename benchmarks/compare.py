"""Side by side, in one process: the harness that every timing here goes through.

In each round every variant runs once, for a few milliseconds, and the order rotates from round to round. A ratio is
taken within a round, between slots that lie some milliseconds apart, and the figure is the median of these ratios: a
machine that is slow for a second is slow for all of them. Absolute times are shown, and never gate.

"× bare" is the variant ÷ the bare call. "× floor" is the overhead ÷ the floor's overhead, (variant - bare) ÷ (floor -
bare): what the library adds, in units of what the smallest hand-written code for the same job adds.

What is kept out of the figures: the heap of the process (frozen, so that no collection walks it), other variants'
garbage (collected before each slot; its own, a variant pays for), timers that an event loop still has to throw away
(it gets an untimed turn after each chunk of calls), and the interpreter's inline caches (each variant's loop is a code
object of its own, which is never specialised for another variant's function).
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

from attrs import frozen


#: Rounds of each comparison: `BENCH_ROUNDS`.
ROUNDS = max(1, int(os.environ.get("BENCH_ROUNDS", "51")))

#: Nanoseconds that one variant runs for in one round.
SLOT = 4e6

#: Calls between two untimed turns of the event loop.
CHUNK = 50

Run = Callable[[int], float]
"""Makes so many calls; the nanoseconds they took."""

Around = Callable[[], AbstractContextManager[object]]

clock = time.perf_counter_ns


# -- what is measured --------------------------------------------------------------------------------------------------


@frozen
class Target:
    """The most that a ratio may be.

    Args:
        at_most: The bound.
        over: Which ratio: to the bare call, or of the overhead to the floor's.
        gates: Whether missing it fails the benchmark; otherwise it is shown and no more.
    """

    at_most: float
    over: Literal["bare", "floor"] = "floor"
    gates: bool = True

    def __str__(self) -> str:
        return f"≤ {self.at_most:g} × {self.over}"


@frozen
class Variant:
    """One way to do the work.

    Args:
        name: How the tables call it.
        run: Does it.
        target: What we hold it to; None for what is only reported.
    """

    name: str
    run: Run
    target: Target | None = None


def calls(fn: Callable[[int], object], *, failing: bool = False, around: Around = nullcontext) -> Run:
    """Call `fn(1)` again and again; with `failing`, catch what it raises."""

    def succeed(count: int) -> float:
        with around():
            start = clock()
            for _ in range(count):
                fn(1)
            return clock() - start

    def fail(count: int) -> float:
        with around():
            start = clock()
            for _ in range(count):
                try:  # `suppress` would cost more than the work
                    fn(1)
                except Exception:
                    pass
            return clock() - start

    run = fail if failing else succeed
    run.__code__ = run.__code__.replace()  # inline caches of its own
    return run


def acalls(
    runner: asyncio.Runner,
    fn: Callable[[int], Awaitable[object]],
    *,
    failing: bool = False,
    around: Around = nullcontext,
) -> Run:
    """`calls` for coroutine functions, awaited in a task of the runner's loop."""
    turn = asyncio.sleep  # the real one, whatever a comparison puts in its place

    async def succeed(count: int) -> float:
        spent, chunks = 0, max(1, count // CHUNK)
        with around():
            for _ in range(chunks):
                start = clock()
                for _ in range(CHUNK):
                    await fn(1)
                spent += clock() - start
                await turn(0)
        return spent * count / (chunks * CHUNK)

    async def fail(count: int) -> float:
        spent, chunks = 0, max(1, count // CHUNK)
        with around():
            for _ in range(chunks):
                start = clock()
                for _ in range(CHUNK):
                    try:
                        await fn(1)
                    except Exception:
                        pass
                spent += clock() - start
                await turn(0)
        return spent * count / (chunks * CHUNK)

    main = fail if failing else succeed
    main.__code__ = main.__code__.replace()
    return lambda count: runner.run(main(count))


def trio_calls(fn: Callable[[int], Awaitable[object]]) -> Run:
    """`calls` for coroutine functions, awaited in a task of trio."""
    import trio  # only this comparison needs it

    async def main(count: int) -> float:
        spent, chunks = 0, max(1, count // CHUNK)
        for _ in range(chunks):
            start = clock()
            for _ in range(CHUNK):
                await fn(1)
            spent += clock() - start
            await trio.lowlevel.checkpoint()
        return spent * count / (chunks * CHUNK)

    main.__code__ = main.__code__.replace()
    return lambda count: trio.run(main, count)


# -- how it is measured ------------------------------------------------------------------------------------------------


def calibrated(run: Run) -> Callable[[], float]:
    """One slot of `run`: so many calls as fill it, and the nanoseconds of one."""
    count = 1
    while (took := run(count)) < SLOT / 3 and count < 1 << 24:
        count *= 2
    count = max(1, int(count * SLOT / max(took, 1)))
    return lambda: run(count) / count


class Interleaved:
    """Rounds in which each slot comes once, in rotating order; `times` fills up with one figure a round."""

    def __init__(self, slots: Mapping[str, Callable[[], float]]) -> None:
        self.times: dict[str, list[float]] = {name: [] for name in slots}
        self._slots = slots
        self._names = list(slots)

    def round(self) -> None:
        """Run every slot once."""
        for name in self._names:
            gc.collect()  # what the one before has left behind is not this one's to pay for
            self.times[name].append(self._slots[name]())
        self._names.append(self._names.pop(0))


@contextmanager
def frozen_heap() -> Iterator[None]:
    """All that is alive now is left out of garbage collections."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def garbage_of(call: Callable[[], object], count: int = 100) -> float:
    """Objects per call that only the cyclic garbage collector can free."""
    for _ in range(8):
        call()
    with frozen_heap():
        gc.disable()
        try:
            for _ in range(count):
                call()
            return gc.collect() / count
        finally:
            gc.enable()


async def agarbage_of(call: Callable[[], Awaitable[object]], count: int = 100) -> float:
    """`garbage_of` for coroutine functions."""
    for _ in range(8):
        await call()
    with frozen_heap():
        gc.disable()
        try:
            for _ in range(count):
                await call()
            return gc.collect() / count
        finally:
            gc.enable()


# -- what comes out ----------------------------------------------------------------------------------------------------

Cell = str | float | bool | None


@frozen
class Table:
    """What one comparison found.

    Args:
        title: What was compared.
        columns: The heading of each column, and how its numbers are written (a format specification).
        rows: The cells, one to a column; None where a column says nothing of a row.
        misses: The targets missed, a sentence each.
        note: How to read it.
    """

    title: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Cell]]
    misses: Sequence[str] = ()
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """The same for machines: numbers as they are, each row a mapping by column."""
        return {
            "title": self.title,
            "note": self.note,
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
            "misses": list(self.misses),
        }

    def lines(self) -> list[str]:
        """The same for people: the first column to the left, the rest to the right."""
        specs = list(self.columns.values())
        text = [
            list(self.columns),
            *([_text(cell, spec) for cell, spec in zip(row, specs, strict=True)] for row in self.rows),
        ]
        widths = [max(map(len, column)) for column in zip(*text, strict=True)]
        return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in text]


def _text(cell: Cell, spec: str) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return cell if isinstance(cell, str) else format(cell, spec)


def table_of_times(
    title: str, times: Mapping[str, Sequence[float]], variants: Sequence[Variant], note: str = ""
) -> Table:
    """The ratios of a comparison, held to the targets. The first variant is the bare call, the second one the floor."""
    bare, floor = variants[0].name, variants[1].name
    rows, misses = [], []
    for variant in variants:
        name, target = variant.name, variant.target
        over_bare = statistics.median(map(float.__truediv__, times[name], times[bare]))
        over_floor = None if name == bare else statistics.median(map(_overhead, times[name], times[bare], times[floor]))
        verdict = None
        if target is not None:
            ratio = over_bare if target.over == "bare" or over_floor is None else over_floor
            kept = ratio <= target.at_most
            verdict = ("ok" if kept else "MISS") if target.gates else "reported"
            if target.gates and not kept:
                misses.append(f"{title}: {name} is {ratio:.2f} × {target.over}, target {target}")
        shown = None if target is None else str(target)
        rows.append((name, statistics.median(times[name]), over_bare, over_floor, shown, verdict))
    columns = {"variant": "", "ns": ",.0f", "× bare": ".2f", "× floor": ".2f", "target": "", "verdict": ""}
    return Table(title, columns, rows, misses, note)


def _overhead(variant: float, bare: float, floor: float) -> float:
    # A round so disturbed that the floor cost nothing shows nothing: it counts against us.
    return (variant - bare) / (floor - bare) if floor > bare else math.inf


def table_of_garbage(title: str, paths: Sequence[str], found: Mapping[str, Sequence[float | None]]) -> Table:
    """Objects per call, by variant and path; ours (the variants whose name says so) must leave none."""
    rows: list[list[Cell]] = []
    misses = []
    for name, counts in found.items():
        verdict = None
        if name.startswith("ours"):
            left = {path: count for path, count in zip(paths, counts, strict=True) if count}
            verdict = "MISS" if left else "ok"
            misses += [f"{title}: {name} leaves {count:g} objects a call, {path}" for path, count in left.items()]
        rows.append([name, *counts, None if verdict is None else "0", verdict])
    columns = {"variant": "", **dict.fromkeys(paths, ".1f"), "target": "", "verdict": ""}
    return Table(title, columns, rows, misses, "objects per call that only the garbage collector can free")
