"""What an HTTP status says, and when the server wants to be asked again: shared by every HTTP client's table.

Sources: RFC 9110 §10.2.3 (Retry-After: seconds, or an HTTP-date), §15.5.9 (408), §15.6; RFC 6585 §4 (429);
RFC 8470 §5.2 (425); 529 is what several APIs say when they are overloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, cast

from resilience._core.rows import By, Fact, read
from resilience._core.verdict import Verdict


__all__ = ["STATUS", "by_status", "hint", "status_of"]

#: What each status means, unless a service's own table knows better. Only 429 was refused before any work was done.
STATUS: Mapping[int, Verdict] = {
    429: Verdict.transient(throttled=True),
    **{status: Verdict.unsure() for status in (408, 425, 500, 502, 504)},
    **{status: Verdict.unsure(throttled=True) for status in (503, 529)},
}
#: Seconds; what a hint of any more digits is read as. Thirty million years, and still a finite number.
LONGEST = 1e15


def by_status(
    error: str,
    status: Fact = "response.status_code",
    headers: Fact = "response.headers",
    known: Mapping[int, Verdict] = STATUS,
) -> By:
    """The rule for an error that carries an HTTP response: by its status; the server's hint is read whatever the status.

    Args:
        error: The class, with its dots.
        status: Where the status code is.
        headers: Where the response's headers are: any mapping, in any case of letters.
        known: What each status means; every other is permanent.
    """
    return By(
        error,
        "HTTP",
        lambda response: status_of(read(response, status)),
        known,
        otherwise=Verdict.permanent(),
        hint=lambda response, wall: hint(cast("Any", read(response, headers)), wall),
    )


def status_of(value: object) -> int | None:
    """A status code as a number, also of a text that is one ("503"); None for what is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:4])
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def hint(headers: Mapping[str, str] | None, wall: Callable[[], float]) -> float | None:
    """Seconds the server asks for, from ``retry-after-ms`` or ``Retry-After``; None if it says nothing that can be read.

    A date in the past is 0. What cannot be read ("tomorrow") is no hint: the policy's own backoff applies. A number
    of any size is passed on; a policy gives up at once on one above its ``max_hint``. A header that is there twice
    counts as its longest.
    """
    if headers is None:
        return None
    milliseconds = _longest(_header(headers, "retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = _header(headers, "retry-after")
    seconds = _longest(value)
    if seconds is not None or value is None:
        return seconds
    moment = _http_date(value)
    if moment is None:
        return None
    # The server's own time where it says it: what counts is how long it meant, not whose clock is right.
    now = _http_date(_header(headers, "date"))
    return max(0.0, moment - (wall() if now is None else now))


def _header(headers: Any, name: str) -> str | None:
    """A header's value as text, whatever case of letters the mapping keeps; what is no text is not there."""
    get = getattr(headers, "get", None)
    if not callable(get):
        return None
    value = next((found for found in map(get, (name, name.title(), name.upper())) if found is not None), None)
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return str(value) if isinstance(value, (str, int)) else None


def _longest(value: str | None) -> float | None:
    """Clients join a header that came twice with ", "; if one of them cannot be read, none counts."""
    numbers: list[float] = []
    for part in () if value is None else value.split(", "):
        number = _digits(part)
        if number is None:
            return None
        numbers.append(number)
    return max(numbers, default=None)


def _digits(value: str) -> float | None:
    """Digits with an optional fraction; `float` alone would also take 'nan', 'inf', '1_0' and '-5'."""
    text = value.strip()
    if not text.isascii() or not text.replace(".", "", 1).isdigit():
        return None
    return min(float(text), LONGEST)


def _http_date(value: str | None) -> float | None:
    """An HTTP-date as Unix seconds. `email.utils` knows the three forms, and English months under any locale."""
    if value is None:
        return None
    # `email`, `calendar`, `socket`: 15 ms that only a dated hint should cost.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        moment = parsedate_to_datetime(value)
        # An HTTP-date is always UTC; without a zone Python would take it for local time.
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
