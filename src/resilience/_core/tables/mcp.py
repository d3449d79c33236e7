"""The MCP SDK's client: JSON-RPC errors, by their code and message.

What arrives over HTTP and fails below JSON-RPC comes out as httpx2's errors, what a client's task group raises as a
group of errors: both are judged by what they are. A tool that fails raises nothing: its result says ``is_error``.

Put the retry around the client, not inside it: a connection that is lost ends the client for good. Over HTTP the call
that it is lost under is moreover only *cancelled* (python-sdk issue 3560), and a cancellation is never tried again; the
error itself comes out of ``async with Client(...)``. And as the client must be made again, so must a session that its
server no longer knows.

Codes from -32000 to -32019 are each server's own, so what the SDK means by one is told by its message. An answer with
an HTTP status above 399 and no JSON-RPC in it becomes "internal error", whether it was 401 or 503. To tell them apart,
and for ``Retry-After``, give the client an `httpx2.AsyncClient` with an event hook that raises for the status.
The SDK reconnects by itself to a response stream that its server numbers, and asks nothing twice.

Sources: JSON-RPC 2.0 §5.1; `mcp_types.jsonrpc`; the MCP specification, "Session Management" (404 for a session that is
no more).
"""

from __future__ import annotations

from typing import Any

from resilience._core.rows import Always, By, Rule, Table, read
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

_CLOSED = Verdict.unsure(reason="the connection was closed before the answer")
_NO_ANSWER = Verdict.unsure(reason="no answer in time")
_NO_SESSION = Verdict.transient(reason="the server knows the session no more; a new one may do")

_MEANT = {
    "-32000: Connection closed*": _CLOSED,
    "-32000: SSE stream*": _CLOSED,
    "-32001: Request *": _NO_ANSWER,
    "-32001: Session not found*": _NO_SESSION,
    "-32600: Session not found*": _NO_SESSION,
    "-32600: Session terminated*": _NO_SESSION,
    "-32600: Not Found: Session *": _NO_SESSION,
    "-32600: Not Found: Invalid or expired session*": _NO_SESSION,
    "-32603: Too many open sessions*": Verdict.transient(throttled=True, reason="too many open sessions"),
    "-32603: *": Verdict.unsure(reason="internal error, or an HTTP status that the client keeps to itself"),
    # What a handler raised, where the server is of the Python SDK and speaks a protocol before 2026.
    "0: *": Verdict.unsure(reason="the server's handler failed"),
    "0: Unknown *": Verdict.permanent("not found"),
}
#: Version 1 of the SDK made up its own codes out of HTTP's.
_MEANT_IN_1 = {
    "408: Timed out*": _NO_ANSWER,
    "32600: Session terminated*": _NO_SESSION,
}


def _said(error: Any) -> str | None:
    code, message = read(error, "error.code"), read(error, "error.message")
    return f"{code}: {message}" if isinstance(code, int) and isinstance(message, str) else None


def _answers(name: str, meant: dict[str, Verdict]) -> Rule:
    return By(f"mcp.shared.exceptions.{name}", "error", _said, meant, otherwise=Verdict.permanent())


TABLE = Table(
    "mcp",
    (
        _answers("MCPError", _MEANT),
        _answers("McpError", {**_MEANT, **_MEANT_IN_1}),
        Always("mcp.client.subscriptions.SubscriptionLost", Verdict.unsure(reason="the subscription broke off")),
    ),
    source="https://modelcontextprotocol.io/specification/",
)
