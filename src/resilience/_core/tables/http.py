"""What an HTTP status says, and when the server wants to be asked again: shared by every HTTP client's table.

Sources: RFC 9110 §10.2.3 (Retry-After: seconds, or an HTTP-date), §15.5.9 (408), §15.6; RFC 6585 §4 (429);
RFC 8470 §5.2 (425); 529 is what several APIs say when they are overloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC

from resilience._core.verdict import Verdict


__all__ = ["hint", "status_verdict"]

#: Refused before any work was done.
TRANSIENT = frozenset({429})
#: Worth trying again, but work may have been done before the answer was given up.
UNSURE = frozenset({408, 425, 500, 502, 503, 504, 529})
#: Seconds; what a hint of any more digits is read as. Thirty million years, and still a finite number.
LONGEST = 1e15
#: Too much work for the server, or for this client's share of it.
THROTTLED = frozenset({429, 503, 529})


def status_verdict(status: int, headers: Mapping[str, str] | None, wall: Callable[[], float]) -> Verdict:
    """The verdict on a response by its status; the server's hint is read from any status that carries one.

    Args:
        status: The status code.
        headers: The response's headers (any mapping that ignores case, or None if they are gone).
        wall: Unix seconds now; only asked when the server names a date but not its own time.
    """
    reason = f"HTTP {status}"
    if status in TRANSIENT:
        return Verdict.transient(hint(headers, wall), throttled=True, reason=reason)
    if status in UNSURE:
        return Verdict.unsure(hint(headers, wall), throttled=status in THROTTLED, reason=reason)
    return Verdict.permanent(reason)


def hint(headers: Mapping[str, str] | None, wall: Callable[[], float]) -> float | None:
    """Seconds the server asks for, from ``retry-after-ms`` or ``Retry-After``; None if it says nothing that can be read.

    A date in the past is 0. What cannot be read ("tomorrow") is no hint: the policy's own backoff applies. A number
    of any size is passed on; a policy gives up at once on one above its ``max_hint``.
    """
    if headers is None:
        return None
    milliseconds = _digits(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _digits(value)
    if seconds is not None or value is None:
        return seconds
    moment = _http_date(value)
    if moment is None:
        return None
    # The server's own time where it says it: what counts is how long it meant, not whose clock is right.
    now = _http_date(headers.get("date"))
    return max(0.0, moment - (wall() if now is None else now))


def _digits(value: str | None) -> float | None:
    """Digits with an optional fraction; `float` alone would also take 'nan', 'inf', '1_0' and '-5'."""
    if value is None:
        return None
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
