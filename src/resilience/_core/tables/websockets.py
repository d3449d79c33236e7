"""websockets: its asyncio, threading and trio clients, which raise the same classes.

The opening handshake is a GET, and no message can be sent before it has succeeded: whatever ends it was before the work.
Once the connection is open, nothing says whether a message arrived, so every end of it is unsure at best; the close code
of the side that closed first says whether another connection may fare better. Application codes (3000 to 4999) mean
something only to their application. What fails below it (refused, not resolved, not trusted, timed out) comes out as
the standard library's own. The library reconnects by itself only in ``async for ... in connect(...)`` and `reconnect`.

Sources: RFC 6455 §4.1, §7.4; the IANA WebSocket Close Code Number Registry; RFC 1928 §6 (SOCKS);
`websockets.client.process_exception`, which says what the library would try again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from attrs import evolve

from resilience._core.rows import Always, By, Table, read
from resilience._core.tables.http import STATUS, by_status
from resilience._core.verdict import Verdict, VerdictKind


__all__ = ["CLOSED", "REFUSED", "TABLE", "each_once"]

#: What it means to be refused a connection by an HTTP status: as for any request, but nothing was sent that could be done.
REFUSED: Mapping[int, Verdict] = {
    status: evolve(verdict, kind=VerdictKind.TRANSIENT) for status, verdict in STATUS.items()
}
#: Close codes after which another connection may fare better; 1006 stands for none: the connection broke.
CLOSED: Mapping[int, Verdict] = {
    1001: Verdict.unsure(reason="going away"),
    1006: Verdict.unsure(reason="the connection broke"),
    1011: Verdict.unsure(reason="internal error, or no answer to a ping"),
    1012: Verdict.unsure(reason="service restart"),
    1013: Verdict.unsure(throttled=True, reason="try again later"),
    1014: Verdict.unsure(reason="bad gateway"),
}
#: The proxy failed, or could not reach the server; the other codes forbid it, or know no such command.
_SOCKS = {code: Verdict.transient() for code in (1, 3, 4, 5, 6)}
_UNANSWERED = {"closed": Verdict.transient(reason="closed before the handshake was answered")}


def each_once(headers: Any) -> dict[str, str] | None:
    """Headers by their names in lower case, the values of one that is there twice joined; None for what are no headers.

    Asked for such a header by `get`, websockets raises and aiohttp gives the first.
    """
    pairs = getattr(headers, "raw_items", None) or getattr(headers, "items", None)
    if not callable(pairs):
        return None
    found: dict[str, str] = {}
    for name, value in cast("Callable[[], Iterable[tuple[object, object]]]", pairs)():
        key = str(name).lower()
        found[key] = f"{found[key]}, {value}" if key in found else str(value)
    return found


def _close_code(error: Any) -> int | None:
    """The code of the side that closed first."""
    if not hasattr(error, "rcvd"):
        # Before version 10.1; later ones warn whoever asks.
        code = read(error, "code")
        return code if isinstance(code, int) else None
    ours_first = error.rcvd is None or error.rcvd_then_sent is False
    close = error.sent if ours_first else error.rcvd
    code = 1006 if close is None else read(close, "code")
    return code if isinstance(code, int) else None


def _instead(error: Any) -> str:
    """What came instead of an answer to the handshake."""
    return "closed" if isinstance(error.__cause__, (EOFError, OSError)) else "no HTTP"


def _response_headers(error: Any) -> dict[str, str] | None:
    return each_once(read(error, "response.headers"))


TABLE = Table(
    "websockets",
    (
        By("websockets.exceptions.ConnectionClosed", "close code", _close_code, CLOSED, otherwise=Verdict.permanent()),
        by_status("websockets.exceptions.InvalidStatus", headers=_response_headers, known=REFUSED),
        by_status(
            "websockets.legacy.exceptions.InvalidStatusCode",
            "status_code",
            lambda error: each_once(read(error, "headers")),
            REFUSED,
        ),
        By("websockets.exceptions.InvalidMessage", "instead:", _instead, _UNANSWERED,
           otherwise=Verdict.permanent("the answer was no HTTP")),
        by_status("websockets.exceptions.InvalidProxyStatus", headers=_response_headers, known=REFUSED),
        By("websockets.exceptions.InvalidProxyMessage", "instead:", _instead, _UNANSWERED,
           otherwise=Verdict.permanent("the proxy's answer was no HTTP")),
        By("websockets.exceptions.ProxyError", "SOCKS reply", "__cause__.error_code", _SOCKS, otherwise=Verdict.permanent()),
        Always("websockets.exceptions.InvalidHandshake", Verdict.permanent("the handshake failed")),
    ),
    source="https://websockets.readthedocs.io/en/stable/reference/exceptions.html",
)  # fmt: skip
