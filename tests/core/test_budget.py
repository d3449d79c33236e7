"""The retry budget's window: never more retries than promised, under any schedule of calls and retries."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from resilience._core.budget import SLOTS, Window


WIDTH = 10.0

#: Sixteenths of a second since the step before (exact in binary), and whether it is a retry.
Schedule: TypeAlias = Sequence[tuple[int, bool]]

#: Mostly steps within a slot or across a few; now and then the edge of the window, and silence.
steps = st.one_of(st.integers(0, 4), st.integers(0, 40), st.sampled_from([0, 15, 16, 17, 159, 160, 161, 176, 320]))
schedules = st.lists(st.tuples(steps, st.booleans()), max_size=120)


class Counter(Protocol):
    def call(self, now: float, /) -> None: ...
    def retry(self, now: float, /) -> bool: ...


class FixedWindow:
    """The naive counter: counts from zero again every ten seconds."""

    def __init__(self, ratio: float, at_least: int) -> None:
        self.ratio, self.at_least = ratio, at_least
        self.period = self.calls = self.retries = 0

    def roll(self, now: float) -> None:
        if int(now / WIDTH) != self.period:
            self.period, self.calls, self.retries = int(now / WIDTH), 0, 0

    def call(self, now: float) -> None:
        self.roll(now)
        self.calls += 1

    def retry(self, now: float) -> bool:
        self.roll(now)
        if self.retries + 1 > max(self.at_least, self.ratio * self.calls):
            return False
        self.retries += 1
        return True


def played(counter: Counter, schedule: Schedule, ratio: float, at_least: int, start: float = 0.0) -> tuple[int, bool]:
    """How many retries were granted, and whether each of them kept the promise at its moment."""
    now = start
    calls: list[float] = []
    granted: list[float] = []
    kept = True
    for sixteenths, is_retry in schedule:
        now += sixteenths / 16
        if not is_retry:
            counter.call(now)
            calls.append(now)
        elif counter.retry(now):
            granted.append(now)
            # The edge counts against us on both sides: a retry exactly one window old is in it, a call is not.
            retries = sum(moment >= now - WIDTH for moment in granted)
            allowed = max(at_least, ratio * sum(moment > now - WIDTH for moment in calls))
            kept = kept and retries <= allowed
    return len(granted), kept


@given(
    schedule=schedules,
    ratio=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
    at_least=st.integers(0, 4),
    start=st.sampled_from([0.0, 3.5, 123_456.0625, 2.0**31]),
)
@settings(deadline=None, max_examples=400)
def test_granted_retries_never_exceed_the_promise(
    schedule: Schedule, ratio: float, at_least: int, start: float
) -> None:
    """Whenever a retry is granted, those of the last window are at most `at_least`, or `ratio` × the calls in it."""
    _, kept = played(Window(ratio, at_least, WIDTH), schedule, ratio, at_least, start)
    assert kept


def test_a_naive_counter_breaks_the_promise() -> None:
    """The control: the same check finds a schedule at which a counter of fixed windows grants too much."""
    broken = find(
        schedules,
        lambda schedule: not played(FixedWindow(0.1, 1), schedule, 0.1, 1)[1],
        settings=settings(deadline=None, database=None, max_examples=20_000),
    )
    assert played(FixedWindow(0.1, 1), broken, 0.1, 1) == (2, False)
    assert played(Window(0.1, 1, WIDTH), broken, 0.1, 1) == (1, True)


def test_the_promise_is_not_kept_by_granting_nothing() -> None:
    """Under steady load about the promised share of calls is granted, and at least nine tenths of it."""
    chance = random.Random(5)
    schedule = [(1, chance.random() < 0.5) for _ in range(16 * 200)]
    granted, kept = played(Window(0.25, 3, WIDTH), schedule, 0.25, 3)
    calls = sum(not is_retry for _, is_retry in schedule)
    assert kept
    assert 0.9 * 0.8 * 0.25 * calls < granted <= 0.25 * calls + 3


@pytest.mark.parametrize("at_least", [0, 1, 3])
def test_a_quiet_client_has_its_floor(at_least: int) -> None:
    """Without calls to speak of exactly `at_least` retries fit into a window, and as many again into the next."""
    window = Window(0.1, at_least, WIDTH)
    assert [window.retry(5.0) for _ in range(5)] == [True] * at_least + [False] * (5 - at_least)
    assert window.retry(15.0) is False  # one window later to the second: still counted
    assert [window.retry(16.0) for _ in range(5)] == [True] * at_least + [False] * (5 - at_least)


def test_a_busy_client_has_its_share() -> None:
    """A hundred calls allow ten retries at a ratio of a tenth, and not one more."""
    window = Window(0.1, 0, WIDTH)
    for _ in range(100):
        window.call(1.0)
    assert window.allowed() == pytest.approx(10)
    assert sum(window.retry(1.5) for _ in range(50)) == 10


def test_calls_are_forgotten_with_the_window() -> None:
    """What was called more than a window ago allows nothing."""
    window = Window(0.5, 0, WIDTH)
    for _ in range(100):
        window.call(0.0)
    window.call(WIDTH * (SLOTS - 1) / SLOTS)
    assert window.allowed() == 50.5
    window.call(WIDTH)
    assert window.allowed() == 1.0
    assert window.retry(10 * WIDTH) is False


def test_retries_outlive_calls_by_one_slot() -> None:
    """The error of the slots falls on the side of fewer retries: a spent one is forgotten last."""
    window = Window(0.0, 1, WIDTH)
    assert window.retry(0.99)
    assert not window.retry(10.99)
    assert window.retry(11.0)


def test_a_clock_that_goes_back_brings_no_retries_back() -> None:
    """Set back, the window stays where it was: nothing is forgotten, nothing is granted twice, nothing fails."""
    window = Window(0.1, 2, WIDTH)
    assert window.retry(1_000.0)
    assert window.retry(990.0)
    assert not window.retry(500.0)
    window.call(0.0)
    assert not window.retry(1_000.5)
    assert window.retry(1_011.0)


@given(schedule=schedules, start=st.sampled_from([-2_000.0, -30.0, -1.0]))
@settings(deadline=None, max_examples=100)
def test_the_promise_holds_on_a_clock_below_zero(schedule: Schedule, start: float) -> None:
    """The origin of a monotonic clock means nothing: the promise holds for moments below zero too."""
    _, kept = played(Window(0.25, 0, WIDTH), schedule, 0.25, 0, start)
    assert kept


@pytest.mark.parametrize("width", [0.001, 0.3, 86_400.0])
def test_windows_of_any_width(width: float) -> None:
    """Short and long windows count alike."""
    window = Window(0.0, 1, width)
    assert window.retry(100 * width)
    assert not window.retry(100.95 * width)
    assert window.retry(101.25 * width)
