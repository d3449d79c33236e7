"""HTTP's statuses and hints: row by row, and whatever a server may write into Retry-After."""

from __future__ import annotations

import calendar
import locale
import time
from email.message import Message
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience._core.tables import Tables
from resilience._core.tables.http import LONGEST, STATUS, by_status, hint, status_of
from resilience._core.verdict import Verdict, VerdictKind


#: 2015-10-21T07:28:00Z, as Unix seconds.
THEN = 1445412480.0
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


def headers_of(**named: str) -> Any:
    """Headers as `http.client` gives them: any case of letters."""
    message = Message()
    for name, value in named.items():
        message[name.replace("_", "-")] = value
    return message


def never() -> float:
    raise AssertionError("the wall clock was asked without need")


def hint_of(value: str, now: float = THEN) -> float | None:
    return hint(headers_of(Retry_After=value), lambda: now)


class Answered(Exception):
    """As HTTP clients raise it: with the response."""

    def __init__(self, status: object, headers: object = None) -> None:
        self.response = SimpleNamespace(status_code=status, headers=headers)


def status_verdict(status: object, headers: Any, wall: Any) -> Any:
    finding = by_status("Answered").find(Answered(status, headers), Tables(wall), 0)
    return None if finding is None else finding.verdict


TRANSIENT, UNSURE = {429}, {408, 425, 500, 502, 503, 504, 529}
THROTTLED = {429, 503, 529}


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status(status: int) -> None:
    """429 is transient, the eight of the table are unsure, and every other status is permanent."""
    verdict = status_verdict(status, None, never)
    kind = VerdictKind.TRANSIENT if status in TRANSIENT else VerdictKind.UNSURE if status in UNSURE else "permanent"
    assert (verdict.kind, verdict.throttled, verdict.after) == (kind, status in THROTTLED, None)
    assert verdict.reason == f"HTTP {status}"


@pytest.mark.parametrize("status", [104, 111, 0, -1, 1000])
def test_numbers_that_are_no_status_are_permanent(status: int) -> None:
    """An error number is not taken for a status worth trying again."""
    assert status_verdict(status, None, never).kind == "permanent"


def test_the_table_is_these() -> None:
    """Nothing is in the table that is not tested above."""
    assert set(STATUS) == TRANSIENT | UNSURE


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("503", 503),
        ("0503", 503),
        ("", None),
        ("5O3", None),
        ("٥٠٣", None),
        ("-1", None),
        (None, None),
        (True, None),
        (503.0, None),
        (b"503", None),
        ([503], None),
        ("9" * 5000, 9999),
    ],
    ids=lambda value: str(value)[:8],
)
def test_a_status_as_text_is_read(value: object, status: int | None) -> None:
    """Some libraries keep the status as they read it; what is no number is none, and then the rule has nothing to say."""
    assert status_of(value) == status
    verdict = status_verdict(value, None, never)
    assert verdict is None if status is None else verdict.reason == f"HTTP {status}"


@pytest.mark.parametrize(
    "headers",
    [
        object(),
        5,
        "retry-after: 5",
        [("retry-after", "5")],
        {"retry-after": [5]},
        {"retry-after": None},
        {1: 2},
        {"retry-after": "fünf"},
        {"retry-after": b"\xff"},
    ],
    ids=ascii,
)
def test_headers_that_are_no_headers_hold_no_hint(headers: object) -> None:
    """Whatever stands where headers should be, the status still decides."""
    verdict = status_verdict(503, headers, never)
    assert (verdict.kind, verdict.after) == ("unsure", None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),  # a plain dict, as the server wrote it
        ({"retry-after": b"7"}, 7.0),
        ({"RETRY-AFTER": "7"}, 7.0),
        ({"retry-after": 7}, 7.0),
        ({"retry-after": "5, 7"}, 7.0),  # sent twice: the client joined the two
        ({"retry-after": "7, 5"}, 7.0),
        ({"retry-after": "7, soon"}, None),
        ({"retry-after-ms": "500, 700"}, 0.7),
    ],
    ids=str,
)
def test_headers_as_libraries_keep_them(headers: Any, seconds: float | None) -> None:
    """In any case of letters, as bytes, and twice: then the longest counts, if each can be read."""
    assert hint(headers, never) == seconds


@pytest.mark.parametrize("status", sorted(TRANSIENT | UNSURE))
def test_a_hint_is_read_from_every_status_that_is_tried_again(status: int) -> None:
    """Not only 429 may ask for time."""
    assert status_verdict(status, headers_of(retry_after="7"), never).after == 7.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("2.", 2.0),
        ("000030", 30.0),
        ("86400", 86_400.0),
        ("259200", 259_200.0),  # three days: none of them dropped
        ("1000000000000", 1e12),
        ("9" * 400, LONGEST),
        ("9" * 20_000, LONGEST),
    ],
    ids=lambda value: str(value)[:16] + str(len(str(value))),
)
def test_seconds(value: str, seconds: float) -> None:
    """Digits are seconds, of any size, and always a finite number."""
    assert hint_of(value) == seconds
    assert Verdict.transient(hint_of(value)).after == seconds


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "tomorrow", "-5", "+5", "nan", "NaN", "inf", "-inf", "Infinity", "1_0", "1e3", "0x10", "1,5", "5s", "5 s", "٣",
        "²", ".", "1.2.3", "30,60", "30, x", "Wed", "Wed, 99 Oct 2015 07:28:00 GMT", "32 Foo 2015", ",", ":",
        "Wed, 21 Oct 99999999999999999999 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 +9999999",
        "Wed, 21 Oct 2015 25:61:61 GMT", "(", "(((", "\0", "0 0 0 0 0", "21 Oct 2015 :: GMT",
    ],
    ids=ascii,
)  # fmt: skip
def test_what_cannot_be_read_is_no_hint(value: str) -> None:
    """ "tomorrow", signs, NaN, infinity, underscores, other digits, broken dates: no hint, and no exception."""
    assert hint_of(value) is None


@given(st.one_of(st.text(max_size=40), st.text("0123456789 :,-+GMTWedOctz()", max_size=40)))
@settings(deadline=None, max_examples=400)
def test_no_value_raises(value: str) -> None:
    """Whatever a server writes: a finite number of seconds, not negative, or None."""
    for headers in ({"retry-after": value}, {"retry-after-ms": value}, {"retry-after": DATE, "date": value}):
        seconds = hint(headers, lambda: THEN)
        assert seconds is None or 0 <= seconds <= 1e15


@pytest.mark.parametrize(
    "value",
    [
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Wednesday, 21-Oct-15 07:28:00 GMT",
        "Wed Oct 21 07:28:00 2015",
        "wed, 21 oct 2015 07:28:00 gmt",
        "21 Oct 2015 07:28:00 GMT",
        "Wed, 21 Oct 2015 09:28:00 +0200",
        "Wed, 21 Oct 2015 07:28:00 -0000",
        "Wed, 21 Oct 2015 07:28:00 UTC",
    ],
)
def test_the_forms_of_an_http_date(value: str) -> None:
    """All three forms of RFC 9110 §5.6.7, and what servers make of them; a date without a zone is UTC."""
    assert hint_of(value, THEN - 90) == 90.0


def test_a_date_days_ahead_keeps_its_days() -> None:
    """Three days ahead are 259 200 s, not 0."""
    assert hint_of(formatdate(THEN + 3 * 86_400, usegmt=True)) == 3 * 86_400


def test_a_date_in_the_past_is_zero() -> None:
    """A moment that has passed asks for nothing more."""
    assert hint_of(DATE, THEN + 1) == 0.0
    assert hint_of("Sun, 06 Nov 1994 08:49:37 GMT") == 0.0


def test_the_servers_own_clock_counts_where_it_says_it() -> None:
    """With a Date header the wall clock here is not asked, however wrong it is."""
    later = formatdate(THEN + 45, usegmt=True)
    assert hint(headers_of(Retry_After=later, Date=DATE), never) == 45.0
    assert hint(headers_of(Retry_After=later, Date="some day"), lambda: THEN + 5) == 40.0


def test_digits_ask_no_clock() -> None:
    """Only a date needs the time."""
    assert hint(headers_of(retry_after="3"), never) == 3.0
    assert hint(headers_of(retry_after="soon"), never) is None
    assert hint(headers_of(), never) is None
    assert hint(None, never) is None


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [("1500", 1.5), ("0", 0.0), ("0.5", 0.0005), ("9" * 400, LONGEST / 1000)]
)
def test_retry_after_ms_comes_first(milliseconds: str, seconds: float) -> None:
    """`retry-after-ms` is the finer one, and counts where both are there."""
    assert hint(headers_of(Retry_After="30", Retry_After_Ms=milliseconds), never) == seconds


@pytest.mark.parametrize("milliseconds", ["soon", "-1", "nan", ""])
def test_unreadable_retry_after_ms_leaves_the_other(milliseconds: str) -> None:
    """Where the finer one cannot be read the other one counts."""
    assert hint(headers_of(Retry_After="30", Retry_After_Ms=milliseconds), never) == 30.0
    assert hint(headers_of(Retry_After_Ms=milliseconds), never) is None


def test_dates_do_not_depend_on_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    """English months are read where the program's own are "Okt" and "mer." (and those are not taken for a date)."""
    foreign = ["", "Jän", "Feb", "Mär", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez"]
    days = ["Mo", "Di", "Mi", "Do", "Fr", "Sa", "So"]
    monkeypatch.setattr(calendar, "month_abbr", foreign)
    monkeypatch.setattr(calendar, "day_abbr", days)
    real = time.strftime
    monkeypatch.setattr(
        time, "strftime", lambda form, *moment: real(form, *moment).replace("Oct", "Okt").replace("Wed", "Mi")
    )
    assert time.strftime("%a %b", time.gmtime(THEN)) == "Mi Okt"
    assert hint_of(DATE, THEN - 60) == 60.0
    assert hint_of("Mi, 21 Okt 2015 07:28:00 GMT", THEN - 60) is None


@pytest.mark.parametrize("name", ["de_DE.UTF-8", "fr_FR.UTF-8", "ja_JP.UTF-8", "tr_TR.UTF-8", "ar_EG.UTF-8"])
def test_dates_under_a_real_foreign_locale(name: str) -> None:
    """The same with a foreign locale in force, where the machine has one."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        pytest.skip(f"locale {name} is not installed")
    try:
        assert hint_of(DATE, THEN - 60) == 60.0
        assert hint_of("1.5") == 1.5
    finally:
        locale.setlocale(locale.LC_ALL, before)
