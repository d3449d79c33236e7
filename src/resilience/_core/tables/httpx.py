"""httpx and httpx2, and httpcore and httpcore2, on which they stand: the classes have the same names in all four.

What is raised while connecting, or while waiting for a connection of the pool, precedes the request; a certificate that
is not trusted, or a name that is not known, will be no better the next time. Once the request is on its way, nothing is
sure, but for a server of HTTP/2 that says it has not looked at it.

The client's own error says little more than its name. What it wraps says the rest, so it is judged by that, also where
somebody else's transport raised it. A client that follows redirects sends several requests for one: the last of them
may have come to nothing after the first was done.

A transport tries again by itself only to connect, and only if it was made with ``retries=``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from attrs import evolve

from resilience._core.rows import Always, By, Inside, LastOf, Rule, Table, read
from resilience._core.tables.http import STATUS, by_status
from resilience._core.verdict import Verdict, VerdictKind


__all__ = ["TABLE", "redirected"]

#: What a proxy answers to CONNECT is what it says of itself, or of a server that it could not reach.
_PROXY = {status: evolve(verdict, kind=VerdictKind.TRANSIENT) for status, verdict in STATUS.items()}
_COULD_NOT_CONNECT = "Proxy Server could not connect: "
#: RFC 1928 §6: the proxy made no connection. Of the other replies, and of its refusal to speak to us, none will pass.
_SOCKS = {
    reply: Verdict.transient()
    for reply in (
        *("General SOCKS server failure", "Network unreachable", "Host unreachable"),
        *("Connection refused", "TTL expired"),
    )
}
#: RFC 9113 §7. A stream that was refused was not processed (§8.7).
_HTTP2 = {
    7: Verdict.transient(reason="REFUSED_STREAM"),
    11: Verdict.unsure(throttled=True, reason="ENHANCE_YOUR_CALM"),
}
_ENHANCE_YOUR_CALM = 11
#: The connection was closed under the request: h2 says so of whatever comes next, and calls it our mistake.
_H2_CLOSED = {
    "SEND_HEADERS": Verdict.transient(reason="the connection of HTTP/2 was closed already"),
    "anything later": Verdict.unsure(reason="the connection of HTTP/2 was closed"),
}
#: What may answer a request that was done.
_SEE_OTHER = (301, 302, 303)
_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
#: The ways in which TLS reports a connection that broke; all else is its own opinion.
_TLS_BROKE = ("SSLEOFError", "SSLZeroReturnError", "SSLSyscallError")


def redirected(error: Any) -> bool | None:
    """Whether the server had answered with a redirect what it may have done: anything but a mere question."""
    hops = _hops(error)
    if hops is None:
        return None
    return any(read(hop, "status_code") in _SEE_OTHER and read(hop, "request.method") not in _SAFE for hop in hops)


def _hops(error: Any) -> Sequence[object] | None:
    """The redirects before this one: the answer has them; without one, only the client's own frame does."""
    hops = read(error, "response.history")
    trace = error.__traceback__
    while not isinstance(hops, list) and trace is not None:
        if trace.tb_frame.f_code.co_name == "_send_handling_redirects":
            hops = trace.tb_frame.f_locals.get("history")
        trace = trace.tb_next
    return cast("list[object]", hops) if isinstance(hops, list) else None


def _tls(error: Any) -> str | None:
    """What TLS itself said; trio has it one deeper than the others."""
    inner, depth = error, 0
    while inner is not None and depth < 4:  # noqa: PLR2004
        names = {base.__qualname__ for base in type(inner).__mro__ if base.__module__ == "ssl"}
        if "SSLError" in names:
            reason = str(getattr(inner, "reason", None))
            certificate = "CERTIFICATE" in reason or "UNKNOWN_CA" in reason
            return None if not names.isdisjoint(_TLS_BROKE) else "certificate" if certificate else "refused"
        inner, depth = inner.__cause__ or inner.__context__, depth + 1
    return None


def _connect_status(error: object) -> str | None:
    """The number that the words begin with: "502 Bad Gateway"."""
    status, _, _ = str(error).partition(" ")
    return status if len(status) == 3 and status.isdigit() else None  # noqa: PLR2004


def _socks(error: object) -> str:
    return str(error).removeprefix(_COULD_NOT_CONNECT).removesuffix(".")


def _http2(error: Any) -> int | None:
    """The error code of a stream that was reset, or of a server that ends the connection because it has had enough."""
    event = error.args[0] if error.args else None
    code = getattr(event, "error_code", None)
    is_stream = getattr(event, "stream_id", None) is not None
    return int(code) if isinstance(code, int) and (is_stream or code == _ENHANCE_YOUR_CALM) else None


def _h2_closed(error: object) -> str | None:
    text = str(error)
    if not text.endswith(" in state ConnectionState.CLOSED"):
        return None
    return "SEND_HEADERS" if "ConnectionInputs.SEND_HEADERS" in text else "anything later"


_CONNECTING = Verdict.transient(reason="could not connect")
_CONNECTING_LATE = Verdict.transient(reason="connecting took too long")
_POOL = Verdict.transient(reason="no connection of the pool came free")
_NO_ANSWER = Verdict.unsure(reason="no answer in time")
_SENDING_LATE = Verdict.unsure(reason="sending took too long")
_READING = Verdict.unsure(reason="the connection broke before the answer")
_WRITING = Verdict.unsure(reason="the connection broke while sending")
_BROKE_OFF = Verdict.unsure(reason="closed without an answer, or in the middle of it")
_NO_HTTP = Verdict.permanent("the request is no HTTP")
_NO_PROXY = Verdict.permanent("the proxy refused")
_NO_PROTOCOL = Verdict.permanent("no such protocol")
_CERTIFICATE = Verdict.permanent("a certificate that is not trusted, by us or by the server")


def _transport(library: str) -> tuple[Rule, ...]:
    """What the lower floor raises."""
    return (
        By(f"{library}.ConnectError", "TLS:", _tls, {"certificate": _CERTIFICATE, "refused": Verdict.permanent()}),
        # The pool takes the cause away; the context stays.
        Inside(f"{library}.ConnectError", unsent=True, otherwise=_CONNECTING),
        Always(f"{library}.ConnectTimeout", _CONNECTING_LATE),
        Always(f"{library}.PoolTimeout", _POOL),
        By(f"{library}.ProxyError", "HTTP", _connect_status, {str(status): verdict for status, verdict in _PROXY.items()},
           otherwise=_NO_PROXY),
        By(f"{library}.ProxyError", "SOCKS:", _socks, _SOCKS, otherwise=_NO_PROXY),
        Always(f"{library}.ReadTimeout", _NO_ANSWER),
        Always(f"{library}.WriteTimeout", _SENDING_LATE),
        # With TLS 1.3 a server looks at the client's certificate when the client already waits for the answer.
        By(f"{library}.ReadError", "TLS:", _tls, {"certificate": _CERTIFICATE}),
        Always(f"{library}.ReadError", _READING),
        Always(f"{library}.WriteError", _WRITING),
        By(f"{library}.RemoteProtocolError", "HTTP/2 error", _http2, _HTTP2),
        Always(f"{library}.RemoteProtocolError", _BROKE_OFF),
        By(f"{library}.LocalProtocolError", "closed before", _h2_closed, _H2_CLOSED),
        Always(f"{library}.LocalProtocolError", _NO_HTTP),
        Always(f"{library}.UnsupportedProtocol", _NO_PROTOCOL),
    )  # fmt: skip


def _client(library: str) -> tuple[Rule, ...]:
    """What the upper floor makes of it, and its own."""

    def wrapping(name: str, otherwise: Verdict) -> Rule:
        return Inside(f"{library}.{name}", ("__cause__",), otherwise=otherwise)

    def once(*rules: Rule) -> Rule:
        return LastOf(rules, redirected, "after a redirect")

    return (
        once(wrapping("ConnectError", _CONNECTING)),
        once(wrapping("ConnectTimeout", _CONNECTING_LATE)),
        once(Always(f"{library}.PoolTimeout", _POOL)),
        once(wrapping("ProxyError", _NO_PROXY)),
        Always(f"{library}.ReadTimeout", _NO_ANSWER),
        Always(f"{library}.WriteTimeout", _SENDING_LATE),
        wrapping("ReadError", _READING),
        Always(f"{library}.WriteError", _WRITING),
        By(f"{library}.RemoteProtocolError", "saying", str, {
            "Invalid URL in location header*": Verdict.permanent("a redirect to nowhere"),
        }),
        once(wrapping("RemoteProtocolError", _BROKE_OFF)),
        once(wrapping("LocalProtocolError", _NO_HTTP)),
        Always(f"{library}.UnsupportedProtocol", _NO_PROTOCOL),
        once(by_status(f"{library}.HTTPStatusError")),
        Always(f"{library}.DecodingError", Verdict.permanent("the answer cannot be decoded")),
        Always(f"{library}.TooManyRedirects", Verdict.permanent("too many redirects")),
        # What their own transports never raise, and others do.
        Always(f"{library}.TimeoutException", _NO_ANSWER),
        Always(f"{library}.NetworkError", Verdict.unsure(reason="the network failed")),
    )  # fmt: skip


TABLE = Table(
    "httpx",
    (*_client("httpx"), *_client("httpx2"), *_transport("httpcore"), *_transport("httpcore2")),
    source="https://www.python-httpx.org/exceptions/",
)
