"""What may be asked of a store is checked where the step is made."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, cast

import pytest

from resilience._core.steps import Extend, Load, LoadMany, Remove, Scan, Swap, Verb, Wait
from resilience.errors import ConfigError
from resilience.stores import ABSENT, ANY, VACANT, Beat, Guard, MemoryStore, Seen


BAD_KEYS: list[Any] = ["", "k" * 1025, "ü" * 513, "\ud800", b"bytes", None, 7]


@pytest.mark.parametrize("key", BAD_KEYS, ids=lambda key: repr(key)[:12])
def test_a_key_that_cannot_be_is_refused_by_every_verb(key: Any) -> None:
    for ask in (Load, lambda key: LoadMany([key]), lambda key: Swap(key, b"", ANY), lambda key: Remove(key, ANY),
                lambda key: Wait(key, 0, 1), lambda key: Extend([Beat(key, 1, 1)]), lambda key: Swap("k", b"", ANY, guard=Guard(key, 1))):  # fmt: skip
        with pytest.raises(ConfigError, match="text of 1 to 1024 bytes"):
            ask(key)


@pytest.mark.parametrize("key", ["k" * 1024, "ü" * 512, "a/../b", "\0", "..", "C:\\x", "😀", " "], ids=repr)
def test_a_key_is_any_text(key: str) -> None:
    assert Load(key).key == key


@pytest.mark.parametrize(
    "ttl", [0, -1, 0.0, math.nan, math.inf, timedelta(0), True, "1", 1e10], ids=lambda ttl: repr(ttl)
)
def test_a_time_to_live_is_a_length_of_time(ttl: Any) -> None:
    with pytest.raises(ConfigError, match="ttl must be"):
        Swap("k", b"", ANY, ttl)
    with pytest.raises(ConfigError, match="ttl must be"):
        Extend([Beat("k", 1, ttl)])


def test_a_time_to_live_may_be_a_timedelta() -> None:
    assert Swap("k", b"", ANY, timedelta(minutes=1)).ttl == 60.0  # type: ignore[arg-type]


@pytest.mark.parametrize("expected", [-1, "7", None, 1.0, True], ids=repr)
def test_what_is_expected_is_a_revision_or_a_mark(expected: Any) -> None:
    with pytest.raises(ConfigError, match="expected must be"):
        Swap("k", b"", expected)


@pytest.mark.parametrize("expected", [0, 7, ABSENT, VACANT, ANY, Seen(7, 0)], ids=str)
def test_each_of_the_expectations_passes(expected: Any) -> None:
    assert Remove("k", expected).expected == expected


@pytest.mark.parametrize("value", ["text", None, 7, [1]], ids=repr)
def test_a_value_is_bytes(value: Any) -> None:
    with pytest.raises(ConfigError, match="value must be bytes"):
        Swap("k", value, ANY)


def test_a_value_is_not_the_callers_own_buffer() -> None:
    buffer = bytearray(b"before")
    swap = Swap("k", buffer, ANY)
    buffer[:] = b"after!"
    assert swap.value == b"before"


@pytest.mark.parametrize(
    "guard",
    ["k", ("k", 1), Guard("k", 0), Guard("k", -1), Guard("k", cast("Any", ANY))],
    ids=repr,  # type: ignore[arg-type]
)
def test_a_guard_names_a_lease_and_a_token(guard: Any) -> None:
    with pytest.raises(ConfigError, match="guard"):
        Swap("k", b"", ANY, guard=guard)


@pytest.mark.parametrize("write_id", ["", "x" * 65, "ü", "a\nb", 7], ids=lambda name: repr(name)[:8])
def test_a_write_id_is_short_and_printable(write_id: Any) -> None:
    with pytest.raises(ConfigError, match="write_id must be"):
        Swap("k", b"", ANY, write_id=write_id)


@pytest.mark.parametrize("keys", ["abc", b"abc"], ids=["text", "bytes"])
def test_one_key_is_not_several(keys: Any) -> None:
    with pytest.raises(ConfigError, match="several keys"):
        LoadMany(keys)


@pytest.mark.parametrize("beat", ["k", ("k", 1, 1.0), Beat("k", "1", 1.0)], ids=repr)  # type: ignore[arg-type]
def test_a_beat_is_a_beat(beat: Any) -> None:
    with pytest.raises(ConfigError, match="beat"):
        Extend([beat])


@pytest.mark.parametrize("limit", [0, -1, 10_001, True, 1.0], ids=repr)
def test_a_page_has_a_limit(limit: Any) -> None:
    with pytest.raises(ConfigError, match="limit must be"):
        Scan("", limit=limit)


def test_a_verb_of_no_store() -> None:
    with pytest.raises(NotImplementedError):
        Verb().on(MemoryStore())


def test_each_verb_asks_a_store_for_itself() -> None:
    store = MemoryStore()
    written = Swap("k", b"v", ABSENT, 5.0, Guard("turn", VACANT), "me").on(store)
    assert Load("k").on(store).write_id == "me"
    assert LoadMany(["k", "none"]).on(store)["none"] is None
    assert Extend([Beat("k", written.revision, 9.0)]).on(store) == frozenset()
    assert [key for key, _ in Scan().on(store)] == ["k"]
    assert Wait("k", 0, 10).on(store) is None
    assert Remove("k", written.revision).on(store) is True


@pytest.mark.parametrize(
    "seen", [Seen(-1, 0), Seen(1, -1), Seen(cast("Any", "x"), 0), Seen(1, cast("Any", None))], ids=repr
)
def test_what_was_seen_is_a_revision_and_a_count(seen: Seen) -> None:
    with pytest.raises(ConfigError, match=r"Seen\."):
        Swap("k", b"", seen)


@pytest.mark.parametrize("expired", [1, "yes", None], ids=repr)
def test_expired_is_yes_or_no(expired: Any) -> None:
    with pytest.raises(ConfigError, match="expired must be"):
        Scan(expired=expired)


@pytest.mark.parametrize("after", [-1, "7", None, True], ids=repr)
def test_what_is_known_is_a_revision(after: Any) -> None:
    with pytest.raises(ConfigError, match="after must be"):
        Wait("k", after, 1)
