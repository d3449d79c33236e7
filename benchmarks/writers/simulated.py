"""The writers in virtual time, as asyncio tasks on a memory whose every verb takes a while."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import TypeVar

from typing_extensions import override

from resilience._core.steps import Remove, Swap, Verb, Wait
from resilience._io.drive import adrive
from resilience.stores import MemoryStore
from resilience.stores._base import AsyncStoreBase, is_newer
from resilience.testing import VirtualClock, virtual_time
from writers.figures import Figures, Update
from writers.policies import COUNTER, Gave, Policy, updating


R = TypeVar("R")

THINKING = 0.002
WRITERS = 10
EACH = 50


class FarStore(AsyncStoreBase):
    """A memory at some distance: each verb takes half to one and a half round trips.

    Args:
        round_trip: Seconds.
        wakes: Whether a wait is woken by a write; else it looks again and again.
        rng: Where its chance comes from.
    """

    def __init__(self, round_trip: float, rng: random.Random, *, wakes: bool) -> None:
        super().__init__("FarStore()", 1 << 20)
        self.verbs = 0
        self._memory = MemoryStore()
        self._round_trip, self._rng, self._wakes = round_trip, rng, wakes
        self._waiting: dict[str, list[asyncio.Event]] = defaultdict(list)

    @override
    async def _run(self, verb: Verb[R]) -> R:
        self.verbs += 1
        way = self._round_trip * (0.5 + self._rng.random()) / 2
        await asyncio.sleep(way)
        try:
            reply: R = verb.on(self._memory)
            if isinstance(verb, (Swap, Remove)):
                for woken in self._waiting.pop(verb.key, ()):
                    woken.set()
        finally:
            await asyncio.sleep(way)
        return reply

    @override
    async def _wait(self, verb: Wait) -> None:
        if not self._wakes:
            await super()._wait(verb)
            return
        woken = asyncio.Event()
        self._waiting[verb.key].append(woken)
        if not is_newer(self._memory.load(verb.key), verb.after):
            try:
                async with asyncio.timeout(verb.timeout):
                    await woken.wait()
            except TimeoutError:
                pass
        await asyncio.sleep(self._round_trip / 2)


async def _write(
    policy: Policy, clock: VirtualClock, store: FarStore, writer: int, updates: list[Update], done: list[int]
) -> None:
    for number in range(EACH):
        tries = 0

        async def change(value: int) -> int:
            nonlocal tries
            tries += 1
            await asyncio.sleep(THINKING)
            return value + 1

        began, through = clock.monotonic(), True
        try:
            await adrive(updating(policy, change, f"{writer}-{number}"), store)  # type: ignore[arg-type]  # `adrive` awaits a coroutine function
        except Gave:
            through = False
        updates.append(Update(tries, clock.monotonic() - began, through))
        done[writer] += through


def simulate(policy: Policy, round_trip: float, *, wakes: bool, seed: int = 1) -> Figures:
    """Ten writers, fifty updates each."""
    with virtual_time(seed=seed) as clock:
        store = FarStore(round_trip, random.Random(seed), wakes=wakes)
        updates: list[Update] = []
        done = [0] * WRITERS
        shares: list[list[int]] = []

        async def writer(number: int) -> None:
            await _write(policy, clock, store, number, updates, done)
            shares.append(list(done))

        async def main() -> int:
            async with asyncio.TaskGroup() as tasks:
                for number in range(WRITERS):
                    tasks.create_task(writer(number))
            there = await store.load(COUNTER.key)
            assert there is not None
            return int(COUNTER.codec.decode(there.value))

        counted: int = clock.run_async(main())
        return Figures.of(updates, shares[0], counted)
