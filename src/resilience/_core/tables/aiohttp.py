"""aiohttp.

A connector's error, and a wait for a connection that ran out, precede the request; what is inside says whether another
try may help. After that nothing is sure. Many classes are also the operating system's (`OSError`, `TimeoutError`,
`ssl.SSLError`), and carry a number that is not always an errno: each has a rule of its own, asked before theirs.
A body that fails while it is sent comes out as `ClientOSError` too, with the body's own error number: never transient.

One call may be several requests, the last of which came to nothing after the first was done: the client follows
redirects, and sends GET, HEAD, OPTIONS, TRACE, PUT and DELETE once more by itself if the connection broke. The total
timeout is a plain `TimeoutError`. A WebSocket that ends gives no error but a message, which `receive_str` and its like
then call a wrong type.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Any, cast

from resilience._core.rows import Always, By, Inside, LastOf, Rule, Table, read
from resilience._core.tables.http import by_status
from resilience._core.tables.stdlib import ERRNO_TRANSIENT, ERRNO_UNSURE
from resilience._core.tables.websockets import CLOSED, REFUSED, each_once
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

_IN = "aiohttp.client_exceptions"
#: On a connection that is open, none of them says that nothing was sent.
_BROKE = {getattr(errno, name) for name in (*ERRNO_TRANSIENT, *ERRNO_UNSURE) if hasattr(errno, name)}
#: The ways in which TLS reports a connection that broke.
_TLS_BROKE = ("SSLEOFError", "SSLZeroReturnError", "SSLSyscallError")
_UNKNOWN_HOST = Verdict.permanent("unknown host")
#: What may answer a request that was done.
_SEE_OTHER = (301, 302, 303)
_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
#: What the client sends once more by itself, and changes something.
_TRIED_AGAIN = ("PUT", "DELETE")


def _sent_before(error: Any) -> bool | None:
    """Whether another request was sent for the same call, and may have been done: anything but a mere question."""
    inside = _client(error)
    if not inside and read(error, "history") is None:
        return None
    # By itself, when the connection broke.
    twice = inside.get("retry_persistent_connection") is False and inside.get("method") in _TRIED_AGAIN
    if twice and read(inside.get("self"), "_retry_connection") is not False:
        return True
    hops = read(error, "history") or inside.get("history")
    redirects = cast("Sequence[object]", hops) if isinstance(hops, (tuple, list)) else ()
    if any(read(hop, "status") in _SEE_OTHER and read(hop, "method") not in _SAFE for hop in redirects):
        return True
    # Where `raise_for_status` is the caller's own, the client's frame is gone, and with it whether it had sent this twice.
    return None if not inside and read(error, "request_info.method") in _TRIED_AGAIN else False


def _client(error: Any) -> Mapping[str, object]:
    """What the client knew: of earlier requests an error without an answer says nothing."""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == "_request" and frame.f_globals.get("__name__") == "aiohttp.client":
            return cast("Mapping[str, object]", frame.f_locals)
        trace = trace.tb_next
    return {}


def _once(*rules: Rule) -> Rule:
    return LastOf(rules, _sent_before, "after another request")


def _c_ares(error: Any) -> object:
    """The resolver of `aiodns` hides its error number behind an `OSError` that has none."""
    cause = read(error, "os_error.__cause__")
    arguments = cast("tuple[object, ...]", read(cause, "args")) if type(cause).__name__ == "DNSError" else ()
    return arguments[0] if arguments else None


def _cause(error: Any) -> str | None:
    """What ended an open connection. The number may be one of TLS, which means something else as an errno."""
    tls = {base.__qualname__ for base in type(error.__cause__).__mro__ if base.__module__ == "ssl"}
    if "SSLError" in tls:
        return "TLS" if tls.isdisjoint(_TLS_BROKE) else "the connection broke"
    number = error.errno
    if number is None or number in _BROKE:
        return "the connection broke"
    return errno.errorcode.get(number, str(number))


def _unreadable(error: Any) -> str | None:
    """What the parser says of an answer; the status 400 is then of its own making, not the server's."""
    bases = {f"{base.__module__}.{base.__qualname__}" for base in type(error.__cause__).__mro__}
    return str(error.message) if "aiohttp.http_exceptions.HttpProcessingError" in bases else None


def _payload(error: object) -> str:
    return str(error).removeprefix("400, message:").strip()


def _message(error: object) -> str:
    """The type of the message, of RFC 6455 or above 255 aiohttp's own, and what it says: "8:1001 is not WSMsgType.TEXT"."""
    return str(error).removeprefix("Received message ")


def _headers(error: Any) -> dict[str, str] | None:
    return each_once(read(error, "headers"))


TABLE = Table(
    "aiohttp",
    (
        # Before the request.
        Always(f"{_IN}.ClientConnectorCertificateError", Verdict.permanent("certificate not trusted")),
        By(f"{_IN}.ClientConnectorDNSError", "c-ares", _c_ares, {1: _UNKNOWN_HOST, 4: _UNKNOWN_HOST}),
        _once(Inside(f"{_IN}.ClientConnectorError", ("os_error",), unsent=True,
                     otherwise=Verdict.transient(reason="could not connect"))),
        _once(Always(f"{_IN}.ConnectionTimeoutError", Verdict.transient(reason="connecting took too long"))),
        _once(by_status(f"{_IN}.ClientHttpProxyError", "status", _headers, REFUSED)),
        by_status(f"{_IN}.WSServerHandshakeError", "status", _headers, REFUSED),
        # On the way.
        By(f"{_IN}.ClientOSError", "cause:", _cause,
           {"the connection broke": Verdict.unsure(reason="the connection broke")}, otherwise=Verdict.permanent()),
        Always(f"{_IN}.ClientConnectionResetError", Verdict.unsure(reason="the connection was closed before all was sent")),
        Always(f"{_IN}.ServerDisconnectedError", Verdict.unsure(reason="closed without an answer")),
        Always(f"{_IN}.ServerTimeoutError", Verdict.unsure(reason="no answer in time")),
        # The answer.
        By(f"{_IN}.ClientPayloadError", "saying", _payload, {
            "Can not decode content-encoding*": Verdict.permanent("the answer cannot be decoded"),
            "Cannot follow redirect*": Verdict.permanent("the body cannot be sent again"),
        }, otherwise=Verdict.unsure(reason="the answer broke off")),
        Always(f"{_IN}.TooManyRedirects", Verdict.permanent("too many redirects")),
        By(f"{_IN}.ClientResponseError", "unreadable:", _unreadable, {
            "Got more than*": Verdict.permanent("a line of the answer is longer than allowed"),
            "Too many headers*": Verdict.permanent("the answer has more headers than allowed"),
        }, otherwise=Verdict.unsure(reason="the answer was no HTTP")),
        _once(by_status(f"{_IN}.ClientResponseError", "status", _headers)),
        # A WebSocket that ended while somebody waited for a message of it.
        By(f"{_IN}.WSMessageTypeError", "message", _message, {
            **{f"8:{code} *": verdict for code, verdict in CLOSED.items()},
            "257:*": Verdict.unsure(reason="the connection broke, or was closed before"),
            "258:ServerTimeoutError*": Verdict.unsure(reason="no answer to a ping"),
        }),
    ),
    source="https://docs.aiohttp.org/en/stable/client_reference.html#client-exceptions",
)  # fmt: skip
