"""The backoffs as values: what they accept, and how their waits are spread."""

from __future__ import annotations

import copy
import math
import pickle
import random
import statistics
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience._backoff import ConstantBackoff, ExponentialBackoff, SequenceBackoff, with_backoff
from resilience._core.backoff import Jitter
from resilience._io.world import SystemRng
from resilience.errors import ConfigError
from resilience.testing import virtual_time
from resilience.typing import Backoff


BACKOFFS = [
    ExponentialBackoff(),
    ConstantBackoff(2.0, jitter=Jitter.EQUAL),
    SequenceBackoff([1, 5, 30], jitter=Jitter.FULL),
]

attempts = st.one_of(st.integers(1, 60), st.integers(1, 10**6), st.sampled_from([1023, 1024, 1025, 1026, 10**6]))
delays = st.floats(0, 4e8)


def waits(backoff: Backoff, *, seed: int, count: int = 20) -> list[float]:
    with virtual_time(seed=seed):
        return [backoff.delay(attempt) for attempt in range(1, count + 1)]


@given(
    initial=delays,
    more=delays,
    factor=st.floats(1, 1e3),
    jitter=st.sampled_from(Jitter),
    attempt=attempts,
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=300)
def test_exponential_delay_stays_in_the_bounds_of_its_jitter(
    initial: float, more: float, factor: float, jitter: Jitter, attempt: int, seed: int
) -> None:
    """From attempt 1 to a million a delay is finite, not negative, and within its least and its most, for each jitter."""
    backoff = ExponentialBackoff(initial, initial + more, factor, jitter)
    with virtual_time(seed=seed):
        delay = backoff.delay(attempt)
    most = backoff.most(attempt)
    assert math.isfinite(delay)
    assert 0 <= backoff.least(attempt) <= delay <= most <= backoff.cap
    assert backoff.least(attempt) == {Jitter.FULL: 0.0, Jitter.EQUAL: most / 2, Jitter.NONE: most}[jitter]


@given(every=delays, jitter=st.sampled_from(Jitter), attempt=attempts)
@settings(deadline=None, max_examples=100)
def test_constant_and_sequence_delays_stay_in_their_bounds(every: float, jitter: Jitter, attempt: int) -> None:
    """A constant and a sequence keep the same bounds, however late the attempt."""
    for backoff in (ConstantBackoff(every, jitter), SequenceBackoff([0, every], jitter)):
        with virtual_time():
            delay = backoff.delay(attempt)
        assert backoff.least(attempt) <= delay <= backoff.most(attempt) <= every


def test_sequence_gives_its_delays_in_order_and_keeps_the_last() -> None:
    """The waits come one after the other, and the last one stays."""
    backoff = SequenceBackoff([1, timedelta(seconds=5), 30.0])
    assert [backoff.delay(attempt) for attempt in (1, 2, 3, 4, 10**6)] == [1.0, 5.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("jitter", "floor"), [(Jitter.FULL, 0.0), (Jitter.EQUAL, 2.5)], ids=["full jitter", "equal jitter"]
)
@pytest.mark.parametrize("attempt", [7, 50, 1025, 10**6])
def test_jitter_survives_the_cap(jitter: Jitter, floor: float, attempt: int) -> None:
    """At the cap 2 000 clients are still spread evenly over what is left to chance, not bunched at the cap."""
    backoff = ExponentialBackoff(initial=0.1, cap=5.0, jitter=jitter)
    with virtual_time(seed=20):
        drawn = [(backoff.delay(attempt) - floor) / (5.0 - floor) for _ in range(2_000)]
    bins = [0] * 20
    for part in drawn:
        bins[min(int(part * 20), 19)] += 1
    chi_square = sum((count - 100) ** 2 / 100 for count in bins)
    assert chi_square < 43.8  # 19 degrees of freedom: an even spread exceeds it once in a thousand seeds
    assert len(set(drawn)) > 1_990
    assert statistics.quantiles(drawn, n=4) == pytest.approx([0.25, 0.5, 0.75], abs=0.04)


def test_the_distribution_test_would_notice_a_cap_after_the_jitter() -> None:
    """The control: jitter first and cap last gives nearly all clients the cap, and fails the quantiles above."""
    chance = random.Random(20)
    drawn = [min(5.0, 0.1 * 2**49 * chance.random()) / 5.0 for _ in range(2_000)]
    assert statistics.quantiles(drawn, n=4) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("backoff", BACKOFFS, ids=lambda backoff: type(backoff).__name__)
def test_same_state_of_chance_gives_the_same_waits(backoff: Backoff) -> None:
    """With the rng in the same state the waits are the same; with another seed they are not."""
    assert waits(backoff, seed=7) == waits(backoff, seed=7)
    assert waits(backoff, seed=7) != waits(backoff, seed=8)


@pytest.mark.parametrize("backoff", BACKOFFS, ids=lambda backoff: type(backoff).__name__)
def test_global_random_state_is_neither_read_nor_advanced(backoff: Backoff) -> None:
    """Waits take nothing from the generator of the `random` module, which belongs to the program."""
    random.seed(1)
    before = random.getstate()
    under_one = waits(backoff, seed=7)
    real = [backoff.delay(attempt) for attempt in range(1, 50)]
    assert random.getstate() == before
    random.seed(2)
    assert waits(backoff, seed=7) == under_one
    assert [backoff.delay(attempt) for attempt in range(1, 50)] != real


def test_system_chance_does_not_follow_the_global_seed() -> None:
    """Seeding `random`, as test suites and simulations do, does not make a process's own generator repeat itself."""
    random.seed(3)
    first = [SystemRng().random() for _ in range(3)]
    random.seed(3)
    assert [SystemRng().random() for _ in range(3)] != first


def test_no_jitter_asks_chance_for_nothing() -> None:
    """A delay of which nothing is left to chance is exact, and leaves the generator as it was."""
    with virtual_time(seed=1):
        ConstantBackoff(1.0).delay(1)
        ExponentialBackoff(jitter=Jitter.NONE).delay(1)
        SequenceBackoff([1, 2]).delay(2)
        after_none = ConstantBackoff(1.0, Jitter.FULL).delay(1)
    with virtual_time(seed=1):
        assert ConstantBackoff(1.0, Jitter.FULL).delay(1) == after_none


def test_one_object_serves_calls_in_any_order() -> None:
    """A backoff keeps no state: what one call has seen does not lengthen the waits of another."""
    backoff = ExponentialBackoff(initial=0.1, cap=100.0, jitter=Jitter.NONE)
    interleaved = [backoff.delay(attempt) for attempt in (1, 1, 2, 1, 3, 2, 1)]
    assert interleaved == [0.1, 0.1, 0.2, 0.1, 0.4, 0.2, 0.1]


BAD_SECONDS: list[object] = [
    -1,
    -0.001,
    math.nan,
    math.inf,
    -math.inf,
    "1",
    None,
    True,
    False,
    [],
    10**400,
    1j,
    timedelta(seconds=-1),
]


@pytest.mark.parametrize("value", BAD_SECONDS, ids=repr)
@pytest.mark.parametrize(
    ("option", "make"),
    [
        ("initial", lambda value: ExponentialBackoff(initial=value)),
        ("cap", lambda value: ExponentialBackoff(cap=value)),
        ("delay", ConstantBackoff),
        ("delay", lambda value: SequenceBackoff([1, value])),
    ],
    ids=["initial", "cap", "constant", "sequence"],
)
def test_a_wait_that_is_no_length_of_time_is_refused(option: str, make: Any, value: object) -> None:
    """Negative, NaN, infinite, or not a number: a `ConfigError` that names the option, when the value is made."""
    with pytest.raises(ConfigError, match=f"^{option} must be a finite number of seconds") as raised:
        make(value)
    assert raised.value.option == option


@pytest.mark.parametrize("value", [0.999, 0, -2, math.nan, math.inf, "2", None, True], ids=repr)
def test_a_factor_below_one_is_refused(value: Any) -> None:
    """A backoff that shrinks is a mistake."""
    with pytest.raises(ConfigError, match=r"^factor must be a finite number of at least 1; got "):
        ExponentialBackoff(factor=value)


def test_initial_above_the_cap_is_refused() -> None:
    """`initial > cap` contradicts itself; equal is a constant."""
    with pytest.raises(ConfigError, match=r"^initial must be at most the cap of 5 s; got 6\.0$"):
        ExponentialBackoff(initial=6)
    assert ExponentialBackoff(initial=5, cap=5, jitter=Jitter.NONE).delay(9) == 5.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [((), "at least one delay"), ([], "at least one delay"), (5, "a sequence"), (None, "a sequence"), ("ab", "finite")],
)
def test_a_sequence_needs_delays(value: Any, expected: str) -> None:
    """No delay at all, or nothing that holds delays, is refused."""
    with pytest.raises(ConfigError, match=expected):
        SequenceBackoff(value)


@pytest.mark.parametrize("make", [ExponentialBackoff, lambda jitter: ConstantBackoff(1, jitter=jitter)])
def test_an_unknown_jitter_is_refused(make: Any) -> None:
    """The jitter is one of three."""
    with pytest.raises(ConfigError, match=r"^jitter must be one of"):
        make(jitter="some")


@pytest.mark.parametrize(
    ("backoff", "text"),
    [
        (ExponentialBackoff(), "0.1 s × 2 up to 5 s, full jitter"),
        (ConstantBackoff(2), "2 s, no jitter"),
        (SequenceBackoff([1, 5]), "1, 5 s, no jitter"),
    ],
)
def test_text_for_people(backoff: Backoff, text: str) -> None:
    """Its text says the figures, for the description of a policy."""
    assert str(backoff) == text


@pytest.mark.parametrize("backoff", BACKOFFS, ids=lambda backoff: type(backoff).__name__)
def test_values_compare_hash_pickle_and_stay_frozen(backoff: Any) -> None:
    """A backoff is a value: equal to its copies, hashable, picklable, and never changed."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(backoff, protocol)) == backoff
    assert copy.deepcopy(backoff) == backoff
    assert hash(copy.copy(backoff)) == hash(backoff)
    with pytest.raises(AttributeError):
        backoff.jitter = Jitter.NONE
    assert isinstance(backoff, Backoff)


def test_minutes_may_be_given_as_timedelta() -> None:
    """Lengths of time may be `timedelta`."""
    backoff = ExponentialBackoff(timedelta(milliseconds=100), timedelta(minutes=1))
    assert (backoff.initial, backoff.cap) == (0.1, 60.0)
    assert ConstantBackoff(timedelta(seconds=2)).every == 2.0


def test_settings_of_a_backoff_become_one() -> None:
    """A configuration's backoff settings are taken out and made into a backoff; the others stay."""
    assert with_backoff({"initial": 1, "cap": 9, "attempts": 3}) == {
        "attempts": 3,
        "backoff": ExponentialBackoff(1, 9),
    }
    assert with_backoff({"delays": [1, 2], "jitter": "full"}) == {"backoff": SequenceBackoff([1, 2], Jitter.FULL)}
    assert with_backoff({"attempts": 3}) == {"attempts": 3}


def test_a_sequence_beside_a_growing_backoff_is_refused() -> None:
    """Delays and a rule that makes delays contradict each other; the error names what is too much."""
    with pytest.raises(ConfigError, match=r"^delays must be without cap, initial: a sequence says it all; got"):
        with_backoff({"delays": [1], "initial": 1, "cap": 2})


@pytest.mark.parametrize(
    ("backoff", "attempt", "hint", "most"),
    [
        (ExponentialBackoff(), 1, 30.0, 5.0),  # the cap
        (ExponentialBackoff(), 1, 2.0, 2.0),  # as long as the hint
        (ExponentialBackoff(), 1, 0.0, 0.1),  # as the delay itself
        (ExponentialBackoff(), 6, 0.5, 3.2),
        (ExponentialBackoff(jitter="equal"), 1, 30.0, 2.5),
        (ExponentialBackoff(jitter="none"), 1, 30.0, 0.0),
        (ConstantBackoff(2.0), 1, 30.0, 0.0),
        (ConstantBackoff(2.0, "full"), 1, 30.0, 2.0),
        (SequenceBackoff([1, 4], "full"), 1, 30.0, 4.0),
        (SequenceBackoff([1, 4], "full"), 1, 0.5, 1.0),
    ],
    ids=str,
)
def test_scatter_on_top_of_a_hint(backoff: Any, attempt: int, hint: float, most: float) -> None:
    """Chance as of a delay as long as the hint, within what the backoff ever waits; none where it leaves nothing to chance."""
    with virtual_time():
        drawn = [backoff.scatter(attempt, hint) for _ in range(400)]
    assert min(drawn) >= 0.0
    assert max(drawn) <= most
    assert max(drawn) >= most * 0.95
