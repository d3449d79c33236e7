"""What becomes of two changes made to one value at the same time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import merge_appends, merge_counters, merge_mappings, merge_sets
from resilience.errors import VersionConflictError


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "merged"),
    [
        pytest.param({}, {"a": 1}, {"b": 2}, {"b": 2, "a": 1}, id="both added"),
        pytest.param({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 2}, id="both changed"),
        pytest.param({"a": 1, "b": 1}, {"b": 1}, {"a": 1, "b": 1, "c": 1}, {"b": 1, "c": 1}, id="one removed"),
        pytest.param({"a": 1}, {}, {}, {}, id="both removed"),
        pytest.param({"a": {"b": 1, "c": 1}}, {"a": {"b": 2, "c": 1}}, {"a": {"b": 1, "c": 2}}, {"a": {"b": 2, "c": 2}},
                     id="further down"),
        pytest.param({}, {"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"c": 2, "b": 1}}, id="both added a mapping"),
        pytest.param(None, {"a": 1}, {"b": 1}, {"b": 1, "a": 1}, id="from nothing"),
        pytest.param({"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, id="the same change"),
        pytest.param({"a": 1}, {"a": True}, {"a": 1}, {"a": True}, id="True is not 1"),
        pytest.param({"a": 1}, {"a": 1}, {"a": True}, {"a": True}, id="they made it True"),
        pytest.param({"a": {"b": 1}, "n": 1}, {"a": {"b": True}, "n": 1}, {"a": {"b": 1}, "n": 2}, {"a": {"b": True}, "n": 2},
                     id="True further down"),
        pytest.param({"a": [1]}, {"a": [True]}, {"a": [1], "b": 1}, {"a": [True], "b": 1}, id="True in a list"),
        pytest.param({"a": [1]}, {"a": [1, 2]}, {"a": [1], "b": 1}, {"a": [1, 2], "b": 1}, id="a longer list"),
        pytest.param({"a": None}, {"a": None, "b": 1}, {}, {"b": 1}, id="None is not absence"),
    ],
)  # fmt: skip
def test_both_changes_are_kept(base: Any, mine: Any, theirs: Any, merged: Any) -> None:
    result = merge_mappings(base, mine, theirs)
    assert result == merged
    assert repr(result) == repr(merged)  # also the types, which `==` does not tell


def test_clashes_are_named_and_nothing_is_decided() -> None:
    base = {"a": 1, "b": {"c": 1, "d": 1}, "e": 1}
    mine = {"a": 2, "b": {"c": 2, "d": 1}, "e": 1}
    theirs = {"a": 3, "b": {"d": 1}, "e": 2}
    with pytest.raises(VersionConflictError, match=r"both sides changed a, b\.c") as caught:
        merge_mappings(base, mine, theirs)
    assert set(caught.value.paths) == {("a",), ("b", "c")}
    assert (caught.value.base, caught.value.mine, caught.value.theirs) == (base, mine, theirs)


documents = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(base=documents, mine=documents)
def test_where_only_one_side_changed_it_is_that_sides(base: Any, mine: Any) -> None:
    assert merge_mappings(base, mine, base) == mine
    assert merge_mappings(base, base, mine) == mine
    assert merge_mappings(base, mine, mine) == mine


@given(base=documents, mine=documents, theirs=documents)
def test_it_does_not_matter_who_is_who(base: Any, mine: Any, theirs: Any) -> None:
    try:
        one: Any = merge_mappings(base, mine, theirs)
    except VersionConflictError as clash:
        one = set(clash.paths)
    try:
        other: Any = merge_mappings(base, theirs, mine)
    except VersionConflictError as clash:
        other = set(clash.paths)
    assert one == other


def test_counters_add_up() -> None:
    assert merge_counters(10, 11, 9) == 10


def test_sets_keep_both_sides_additions_and_removals() -> None:
    assert merge_sets({1, 2, 3}, {2, 3, 4}, {1, 3, 5}) == {3, 4, 5}


def test_appends_stand_in_the_order_of_their_writing() -> None:
    assert merge_appends([1], [1, 2], [1, 3, 4]) == [1, 3, 4, 2]


@pytest.mark.parametrize(("mine", "theirs"), [([2], [1, 3]), ([1, 2], [])], ids=["mine", "theirs"])
def test_what_is_no_appending_clashes(mine: list[int], theirs: list[int]) -> None:
    with pytest.raises(VersionConflictError):
        merge_appends([1], mine, theirs)
