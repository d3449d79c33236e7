"""The World: clock, chance and observers, swapped whole."""

from __future__ import annotations

import os
import random
import threading

import pytest

from resilience._io import world
from resilience._io.clock import SystemClock
from resilience._io.world import SystemRng, World, observing, swapped
from resilience.testing import VirtualClock


def test_the_world_of_every_day() -> None:
    assert isinstance(world.current.clock, SystemClock)
    assert isinstance(world.current.rng, SystemRng)
    assert world.current.observers == ()


def test_swapped_in_every_thread_and_back_again() -> None:
    before, other = world.current, World(clock=VirtualClock())
    seen: list[World] = []
    with swapped(other) as same:
        thread = threading.Thread(target=lambda: seen.append(world.current))
        thread.start()
        thread.join()
        assert world.current is same is other
    assert seen == [other]
    with pytest.raises(ZeroDivisionError), swapped(other):
        raise ZeroDivisionError
    assert world.current is before


def test_monotonic_is_the_clocks() -> None:
    clock = VirtualClock()
    clock.advance(7)
    assert World(clock=clock).monotonic() == 7


def test_observing_changes_the_observers_alone() -> None:
    before = world.current
    try:
        observing(print)
        assert world.current.observers == (print,)
        assert (world.current.clock, world.current.rng) == (before.clock, before.rng)
    finally:
        observing()
    assert world.current.observers == ()


def test_chance_is_apart_from_the_programs_own() -> None:
    random.seed(1)
    state = random.getstate()
    rng = SystemRng()
    drawn = [rng.random() for _ in range(100)]
    assert all(0 <= number < 1 for number in drawn)
    assert len(set(drawn)) == 100
    assert random.getstate() == state


def test_forgetting_seeds_anew() -> None:
    rng = SystemRng()
    rng.random()
    first = rng._generator
    rng._forget()
    rng.random()
    assert rng._generator is not first


def test_where_there_is_no_fork_nothing_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork")
    assert 0 <= SystemRng().random() < 1
