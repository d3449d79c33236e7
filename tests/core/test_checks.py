"""The checks where values enter: each returns the value made plain, or a `ConfigError` that says what would be right."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience._core import checks
from resilience.errors import ConfigError


NOT_NUMBERS: list[Any] = [
    None,
    True,
    False,
    "1",
    b"1",
    [],
    (1,),
    1j,
    Decimal(1),
    Fraction(1),
    object(),
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    -(10**400),
]


def refused(check: Callable[[], object], option: str, value: object) -> ConfigError:
    """The error of a check that refuses `value`, whose facts must name it."""
    with pytest.raises(ConfigError) as raised:
        check()
    error = raised.value
    assert (error.option, error.value is value) == (option, True)
    assert str(error).startswith(f"{option} must be {error.expected}; got ")
    return error


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: repr(value)[:20])
def test_number_refuses_what_is_no_finite_real_number(value: Any) -> None:
    """Text, bools, other kinds of number, NaN and infinity, and integers no float can hold, are not numbers here."""
    refused(lambda: checks.number("x", value, "a number"), "x", value)
    refused(lambda: checks.seconds("x", value), "x", value)


@pytest.mark.parametrize(("value", "plain"), [(1, 1.0), (-2.5, -2.5), (0, 0.0), (10**300, 1e300)])
def test_number_is_returned_as_a_float(value: Any, plain: float) -> None:
    """An integer is made a float."""
    found = checks.number("x", value, "a number")
    assert (found, type(found)) == (plain, float)


@given(st.one_of(st.floats(0, 1e9, exclude_min=True), st.timedeltas(timedelta(microseconds=1), timedelta(days=10_000))))
@settings(deadline=None, max_examples=50)
def test_seconds_takes_numbers_and_timedeltas(value: float | timedelta) -> None:
    """Every length above zero, up to thirty years, is taken, as seconds."""
    expected = value.total_seconds() if isinstance(value, timedelta) else value
    assert checks.seconds("x", value) == expected


@pytest.mark.parametrize("value", [1.1e9, 1e300, timedelta(days=20_000)])
def test_absurd_lengths_are_refused_unless_the_caller_bears_them(value: Any) -> None:
    """No operating system can be trusted to wait for longer than thirty years; a server may say what it likes."""
    with pytest.raises(ConfigError, match="at most 1e\\+09 s"):
        checks.seconds("x", value)
    assert checks.seconds("x", value, longest=math.inf) > 1e9


@pytest.mark.parametrize("value", [0, 0.0, -0.0, timedelta(0)])
def test_zero_seconds_only_where_they_mean_something(value: Any) -> None:
    """Zero is a length only where it is asked for."""
    assert checks.seconds("x", value, zero=True) == 0.0
    assert refused(lambda: checks.seconds("x", value), "x", value).expected.endswith("above 0")


@pytest.mark.parametrize("value", [-1, -1e-9, -5e-324, timedelta(microseconds=-1)])
def test_negative_seconds_never(value: Any) -> None:
    """No length of time is negative."""
    assert refused(lambda: checks.seconds("x", value, zero=True), "x", value).expected.endswith("of at least 0")
    refused(lambda: checks.seconds("x", value), "x", value)


@pytest.mark.parametrize("value", [0, -1, 1.0, "3", None, True, math.nan, 2.5])
def test_attempts_are_a_whole_number_from_one(value: Any) -> None:
    """`attempts=0` never calls anything, and 2.5 is no count: both are refused."""
    refused(lambda: checks.at_least_one("x", value), "x", value)
    if value is not None:
        assert "None for no limit" in refused(lambda: checks.attempts(value), "attempts", value).expected


def test_no_limit_has_to_be_said_by_none() -> None:
    """None is "no limit", by name."""
    assert (checks.attempts(None), checks.attempts(1), checks.attempts(10**9)) == (None, 1, 10**9)
    assert checks.at_least_one("x", 7) == 7


@pytest.mark.parametrize(("value", "plain"), [(0, 0.0), (0.1, 0.1), (1, 1.0)])
def test_share_is_from_zero_to_one(value: Any, plain: float) -> None:
    """Both ends are shares."""
    assert checks.share("ratio", value) == plain


@pytest.mark.parametrize("value", [-0.001, 1.001, 10, *NOT_NUMBERS], ids=lambda value: repr(value)[:20])
def test_share_refuses_the_rest(value: Any) -> None:
    """Ten is not ten per cent."""
    refused(lambda: checks.share("ratio", value), "ratio", value)


@pytest.mark.parametrize("value", [0, 1, None, "yes", "", [], 1.0])
def test_flag_is_true_or_false(value: Any) -> None:
    """What merely looks true ("no" does) is not taken for it."""
    refused(lambda: checks.flag("wrap", value), "wrap", value)
    assert checks.flag("wrap", True) is True
    assert checks.flag("wrap", False) is False


@pytest.mark.parametrize("value", ["", 1, b"x", None, ["x"]])
def test_text_is_not_empty(value: Any) -> None:
    """An empty name is no name."""
    refused(lambda: checks.text("name", value), "name", value)
    assert checks.text("name", "billing") == "billing"


def test_predicate_is_callable_or_absent() -> None:
    """A value to compare with is not a predicate, and neither is what answers a coroutine: that is always true."""
    assert checks.predicate("retry_result", None) is None
    assert checks.predicate("retry_result", callable) is callable
    refused(lambda: checks.predicate("retry_result", 3), "retry_result", 3)
    refused(lambda: checks.predicate("retry_result", told), "retry_result", told)


async def told(event: object) -> bool:
    return False


@pytest.mark.parametrize("value", [-1, 1.0, "3", None, True])
def test_count_is_a_whole_number_from_zero(value: Any) -> None:
    """None of something is a count; less is not."""
    assert (checks.count("x", 0), checks.count("x", 7)) == (0, 7)
    refused(lambda: checks.count("x", value), "x", value)


class Steady:
    """A user's own backoff: the right shape, nothing inherited."""

    def delay(self, attempt: int, /) -> float:
        return float(attempt)


class Named:
    delay = 3.0


@pytest.mark.parametrize("value", [Steady, None, 2.0, lambda attempt: 1.0, Named(), "0.1", timedelta(1)])
def test_backoff_is_an_object_with_a_delay(value: Any) -> None:
    """A number, a function, or the class in place of its object is refused, with advice."""
    assert "ConstantBackoff(1.0)" in refused(lambda: checks.backoff(value), "backoff", value).expected


def test_backoff_of_the_users_own_is_kept() -> None:
    """Anything of the right shape will do."""
    steady = Steady()
    assert checks.backoff(steady) is steady


def test_hooks_are_one_callable_or_several() -> None:
    """One hook needs no list; an iterator is read once, and kept."""
    assert checks.hooks(print) == (print,)
    assert checks.hooks([print, repr]) == (print, repr)
    assert checks.hooks(iter([print])) == (print,)
    assert checks.hooks(()) == ()


@pytest.mark.parametrize("value", [None, 3, "hook", [print, None], [1], {"a": print}, told, [print, told]])
def test_hooks_refuse_what_cannot_be_called(value: Any) -> None:
    """A hook that could not be called would be found in the next outage."""
    refused(lambda: checks.hooks(value), "hooks", value)
