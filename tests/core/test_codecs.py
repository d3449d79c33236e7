"""Values as bytes, and back as they were."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.errors import ConfigError
from resilience.stores import Bytes, Json


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_every_json_value_comes_back(value: Any) -> None:
    codec = Json()
    data = codec.encode(value)
    assert codec.decode(data) == value
    assert codec.decode(data) is not value or not isinstance(value, (list, dict))


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1: "one"}, {1, 2}, b"bytes", math.nan, math.inf, object(), [(1,)], "\ud800"],
    ids=lambda value: repr(value)[:12],
)
def test_what_would_come_back_as_something_else_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="value must be JSON"):
        Json().encode(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ConfigError, match="value must be JSON"):
        Json().encode(endless)


def test_bytes_are_as_they_are() -> None:
    assert Bytes().encode(bytearray(b"\0x")) == b"\0x"  # type: ignore[arg-type]
    assert Bytes().decode(b"\0x") == b"\0x"
    with pytest.raises(ConfigError, match="value must be bytes"):
        Bytes().encode("text")  # type: ignore[arg-type]


def test_they_say_what_they_are() -> None:
    assert [repr(Json()), repr(Bytes())] == ["Json()", "Bytes()"]
