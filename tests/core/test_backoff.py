"""The arithmetic of the backoffs: a ceiling for every attempt, however late, and the part of it that chance may take."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience._core.backoff import Jitter, ceiling
from resilience.errors import ConfigError


@pytest.mark.parametrize(
    ("attempt", "expected"), [(1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2), (7, 5.0), (8, 5.0), (10**6, 5.0)]
)
def test_ceiling_grows_by_the_factor_up_to_the_cap(attempt: int, expected: float) -> None:
    """Each ceiling is the factor times the one before, until the cap, which stays."""
    assert ceiling(0.1, 5.0, 2.0, attempt) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("attempt", [1, 2, 1024, 1025, 10**6, 10**30])
def test_ceiling_without_growth_is_the_initial_delay(attempt: int) -> None:
    """A factor of 1, or an initial delay of 0, gives the same ceiling after every attempt."""
    assert ceiling(0.25, 5.0, 1.0, attempt) == 0.25
    assert ceiling(0.0, 5.0, 2.0, attempt) == 0.0
    assert ceiling(0.0, 0.0, 2.0, attempt) == 0.0


@given(
    initial=st.floats(1e-9, 1e6),
    ratio=st.floats(1, 1e12),
    factor=st.floats(1, 1e6),
    attempt=st.integers(1, 10**6),
)
@settings(deadline=None, max_examples=200)
def test_ceiling_is_finite_and_bounded_for_every_attempt(
    initial: float, ratio: float, factor: float, attempt: int
) -> None:
    """For attempts up to a million the ceiling is a finite number from the initial delay to the cap, and never falls."""
    cap = initial * ratio
    value = ceiling(initial, cap, factor, attempt)
    assert math.isfinite(value)
    assert min(initial, cap) * (1 - 1e-12) <= value <= cap
    assert ceiling(initial, cap, factor, attempt + 1) >= value


@pytest.mark.parametrize(
    ("initial", "cap", "factor"),
    [
        (1.0, sys.float_info.max, 2.0),  # "no cap", as people write it where infinity is refused
        (1e-300, 1e300, 2.0),
        (5e-324, 1.0, 2.0),
        (1e-100, 1e100, 1e200),
        (1.0, 1.0 + 1e-15, 1.0 + 2**-52),
    ],
)
def test_ceiling_does_not_overflow_at_the_ends_of_the_floats(initial: float, cap: float, factor: float) -> None:
    """No attempt number overflows, whatever finite numbers the rule was made of."""
    for attempt in (*range(1, 5), *range(1020, 1030), *range(2090, 2105), 10**6):
        value = ceiling(initial, cap, factor, attempt)
        assert initial <= value <= cap


@pytest.mark.parametrize(("jitter", "least"), [(Jitter.FULL, 0.0), (Jitter.EQUAL, 2.0), (Jitter.NONE, 4.0)])
def test_least_is_the_part_that_chance_does_not_touch(jitter: Jitter, least: float) -> None:
    """Full jitter keeps nothing of a delay, equal jitter half of it, no jitter all of it."""
    assert jitter.least(4.0) == least
    assert jitter.least(0.0) == 0.0


@pytest.mark.parametrize("value", [Jitter.EQUAL, "equal", "EQUAL", "Equal"], ids=repr)
def test_jitter_is_known_by_name_in_any_case(value: object) -> None:
    """A jitter may be given as the member or as its name, in any case of letters."""
    assert Jitter.of(value) is Jitter.EQUAL


@pytest.mark.parametrize("value", ["half", "", "full ", None, 0, 1.5, True, [], {}, object()])
def test_unknown_jitter_is_refused_by_the_name_of_its_option(value: object) -> None:
    """What is no jitter is a `ConfigError` that names the option and the three that there are."""
    with pytest.raises(ConfigError, match=r"^spread must be one of 'full', 'equal' and 'none'; got ") as raised:
        Jitter.of(value, "spread")
    assert (raised.value.option, raised.value.value) == ("spread", value)
    with pytest.raises(ConfigError, match=r"^jitter must be"):
        Jitter.of(value)
