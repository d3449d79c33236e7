"""The deadline on the wire: the grammar of two headers and one environment variable, written and read back."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience._core.deadline import BootMoment, headers_for, limit_in
from resilience.errors import ConfigError


GRPC, PLAIN = "grpc-timeout", "request-timeout-ms"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1H", 3600.0),
        ("2M", 120.0),
        ("5S", 5.0),
        ("0S", 0.0),
        ("250m", 0.25),
        ("7u", 7e-6),
        ("99999999n", 0.099999999),
        ("99999999H", 99999999 * 3600.0),
        ("00000001S", 1.0),
    ],
)
def test_grpc_timeout_grammar(value: str, seconds: float) -> None:
    """At most eight digits and one of six units, where M is minutes and m milliseconds."""
    assert limit_in({GRPC: value}) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "value",
    [
        "", "5", "S", "5s", "5h", "123456789S", "-5S", "+5S", "5.5S", "5 S", " 5S", "5S ", "5mS", "1_0S", "٣S", "²S",
        "infS", "5S,6S", "\0S",
    ],
    ids=ascii,
)  # fmt: skip
def test_malformed_grpc_timeout_is_named(value: str) -> None:
    """Anything else is a `ConfigError` that names the header and shows the value."""
    with pytest.raises(
        ConfigError, match=r"^header grpc-timeout must be at most 8 digits and one of H, M, S, m, u, n;"
    ):
        limit_in({GRPC: value})


@pytest.mark.parametrize(
    "value", ["", "-1", "+1", "1.5", "soon", "1e3", "1_000", " 5", "5 ", "٣", "²", "nan", "inf", "5, 6", "9" * 17]
)
def test_malformed_plain_header_is_named(value: str) -> None:
    """The plain header is whole milliseconds and nothing else."""
    with pytest.raises(ConfigError, match=r"^header request-timeout-ms must be whole milliseconds") as raised:
        limit_in({PLAIN: value})
    assert raised.value.value == value


@pytest.mark.parametrize(("value", "seconds"), [("0", 0.0), ("1500", 1.5), ("9" * 16, 9999999999999.999)])
def test_plain_header_is_milliseconds(value: str, seconds: float) -> None:
    """Up to sixteen digits, in milliseconds."""
    assert limit_in({PLAIN: value}) == seconds


@pytest.mark.parametrize(
    "headers",
    [
        {"grpc-timeout": "2S"},
        {"GRPC-Timeout": "2S"},
        {b"grpc-timeout": b"2S"},
        [("grpc-timeout", "2S")],
        [(b"Grpc-Timeout", b"2S"), (b"x-other", b"\xff\xfe")],
        iter([("Request-Timeout-Ms", "2000")]),
        {"REQUEST-TIMEOUT-MS": "2000", "host": "example.org"},
    ],
    ids=["mapping", "capitals", "bytes", "pairs", "pairs of bytes", "iterator", "plain"],
)
def test_headers_as_frameworks_give_them(headers: Any) -> None:
    """A mapping or pairs, text or bytes, in any case of letters, beside any other header."""
    assert limit_in(headers) == 2.0


@pytest.mark.parametrize("headers", [{}, [], {"timeout": "5"}, [("x-request-timeout-ms", "5")]])
def test_no_header_says_no_limit(headers: Any) -> None:
    """Headers that do not say it leave it open."""
    assert limit_in(headers) is None


def test_said_twice_the_smaller_counts() -> None:
    """A header that a proxy has added to, or both headers at once: the earlier deadline."""
    assert limit_in([(GRPC, "5S"), (GRPC, "2S"), (GRPC, "9S")]) == 2.0
    assert limit_in({PLAIN: "1500", GRPC: "2S"}) == 1.5
    assert limit_in({PLAIN: "2500", GRPC: "2S"}) == 2.0


def test_one_malformed_value_among_good_ones_is_refused() -> None:
    """A good value beside it does not make a malformed one pass."""
    with pytest.raises(ConfigError, match=r"^header grpc-timeout"):
        limit_in([(GRPC, "2S"), (GRPC, "soon")])


@pytest.mark.parametrize("value", [5, None, ["a", "b"], 1.5], ids=repr)
def test_other_headers_may_hold_anything(value: Any) -> None:
    """Only the two headers are read: what a framework keeps under other names is none of our business."""
    assert limit_in({"content-length": value, GRPC: "2S"}) == 2.0


@given(st.one_of(st.floats(0, 1e6), st.floats(0, 9.9e12)))
@settings(deadline=None, max_examples=200)
def test_what_is_written_is_read_back(left: float) -> None:
    """A round trip gives the time that was left, at most a millisecond less; beyond a day a second; never more."""
    headers, rounding = headers_for(left), 1e-12 * left
    plain, grpc = limit_in({PLAIN: headers[PLAIN]}), limit_in({GRPC: headers[GRPC]})
    assert plain is not None
    assert grpc is not None
    assert left - 0.001 - rounding <= plain <= left + rounding
    assert grpc <= left + rounding
    if left < 10**8:
        assert grpc >= left - (0.001 if left < 99_999 else 1.0) - rounding


@pytest.mark.parametrize(
    ("left", "plain", "grpc"),
    [
        (0.0, "0", "0m"),
        (-3.0, "0", "0m"),
        (0.0009, "0", "0m"),
        (1.5, "1500", "1500m"),
        (99_999.999, "99999999", "99999999m"),
        (100_000.0, "100000000", "100000S"),
        (5e8, "500000000000", "99999999S"),
    ],
)
def test_headers_round_down_and_keep_to_the_grammar(left: float, plain: str, grpc: str) -> None:
    """Milliseconds while eight digits hold them, then seconds, then the most that the grammar can say."""
    assert headers_for(left) == {PLAIN: plain, GRPC: grpc}


def test_no_limit_writes_no_header() -> None:
    """Where nothing is to be said nothing is written."""
    assert headers_for(math.inf) == {}


@pytest.mark.parametrize("left", [1e13, 1e15, 1e300])
def test_a_deadline_for_ever_can_be_read_back_too(left: float) -> None:
    """What we write we can read, however far the deadline: a peer must not answer 400 to our own header."""
    limit = limit_in(headers_for(left))
    assert limit is None or 0 < limit <= left


NOW = BootMoment(100.0, "boot-a", "time:[1]")


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        (BootMoment(103.5, "boot-a", "time:[1]"), 3.5),
        (BootMoment(100.0, "boot-a", "time:[1]"), 0.0),
        (BootMoment(5.0, "boot-a", "time:[1]"), 0.0),
        (BootMoment(103.5, "boot-b", "time:[1]"), None),
        (BootMoment(103.5, "boot-a", "time:[2]"), None),
        (BootMoment(103.5, "", ""), None),
    ],
)
def test_a_moment_counts_only_on_its_own_clock(moment: BootMoment, left: float | None) -> None:
    """In the same boot and time namespace it says what is left, never below 0; else nothing."""
    assert moment.left(NOW) == left


def test_a_later_moment_is_on_the_same_clock() -> None:
    """So many seconds later, in the same boot and namespace; the moment itself stays."""
    assert NOW.after(2.5) == BootMoment(102.5, "boot-a", "time:[1]")
    assert NOW.after(2.5).left(NOW) == 2.5
    assert NOW.at == 100.0


@given(
    at=st.floats(0, 1e9),
    boot=st.text(st.characters(exclude_characters=";"), max_size=36),
    namespace=st.text(max_size=20),
)
@settings(deadline=None, max_examples=100)
def test_a_moment_survives_its_text(at: float, boot: str, namespace: str) -> None:
    """What a parent writes a child reads back, to the microsecond."""
    back = BootMoment.parse(str(BootMoment(at, boot, namespace)))
    assert (back.boot, back.namespace) == (boot, namespace)
    assert back.at == pytest.approx(at, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";;",
        "5",
        "5;boot",
        ".;b;n",
        "-5;b;n",
        "nan;b;n",
        "inf;b;n",
        "1e3;b;n",
        "1.2.3;b;n",
        "٣;b;n",
        "²;b;n",
        "x;b;n",
    ],
    ids=ascii,
)
def test_a_malformed_moment_names_the_variable(text: str) -> None:
    """What no parent process wrote is a `ConfigError`, not "no deadline"."""
    with pytest.raises(ConfigError, match=r"^environment variable RESILIENCE_DEADLINE must be seconds;boot;namespace"):
        BootMoment.parse(text)


def test_a_moment_of_absurd_length_is_refused_or_finite() -> None:
    """Four hundred digits are not a moment that turns into infinity, and so into no deadline at all."""
    try:
        moment = BootMoment.parse("9" * 400 + ";b;n")
    except ConfigError:
        return
    assert math.isfinite(moment.at)


@pytest.mark.parametrize("headers", [None, "abc", [1], [("a", "b", "c")]])
def test_what_are_no_headers_is_refused_by_name(headers: Any) -> None:
    with pytest.raises(ConfigError, match="headers must be a mapping, or pairs"):
        limit_in(headers)
