"""gRPC, sync and asyncio, by the status of the call; where that leaves it open, by the words of gRPC's own core.

`UNAVAILABLE` is a server that goes away, a connection that broke and one that never came about. Only the last is certain
not to have been applied, and only words tell it: a call that found no connection says so, as does one that the server
refused unread (REFUSED_STREAM, RFC 9113 §8.7). Nothing in the error says whose words they are: a server that passes on,
letter for letter, that it could not connect to another one, is taken for one that could not be reached.

`RESOURCE_EXHAUSTED` and `ABORTED` are for the service to use: neither says when the work was refused. `CANCELLED` is
somebody's wish. A server's ``grpc-retry-pushback-ms`` is its hint; one that is negative, or no number, forbids to try
again. A google.rpc.RetryInfo in ``grpc-status-details-bin`` is not read: it is a protobuf message.

By default gRPC tries again what the server certainly never saw; the rest only where a service config has a retryPolicy.
The last of such attempts is the one that is judged here: whoever configures them has said that twice is no harm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from resilience._core.rows import Always, By, Table
from resilience._core.tables import http
from resilience._core.verdict import Verdict


__all__ = ["STATUS", "TABLE", "hint", "status_of"]

_NO_CONNECTION = (
    "UNAVAILABLE: (failed to connect to all addresses|connections to all backends failing|empty address list)"
)
_NO_ADDRESS = "UNAVAILABLE: (errors resolving|DNS resolution failed)"
_NO_TRUST = "SSL_ERROR_SSL|TSI_PROTOCOL_FAILURE|erification check failed|is not in peer certificate"
_UNKNOWN_HOST = "Domain name not found|Name or service not known|nodename nor servname|Failed to parse"
_FORBIDDEN = "told not to try again"

#: What status and details begin with, and what that is; the first counts.
_WORDS: Mapping[str, str] = {
    f"{_NO_CONNECTION}.*({_NO_TRUST})": "UNAVAILABLE, TLS refused",
    _NO_CONNECTION: "UNAVAILABLE, not connected",
    f"{_NO_ADDRESS}.*({_UNKNOWN_HOST})": "UNAVAILABLE, unknown host",
    _NO_ADDRESS: "UNAVAILABLE, DNS did not answer",
    r"UNAVAILABLE: (Stream removed \(RST_STREAM \()?Received RST_STREAM with error code 7\b": "UNAVAILABLE, refused unread",
    "RESOURCE_EXHAUSTED: .*(message larger than max|metadata size exceeds)": "RESOURCE_EXHAUSTED, too large",
    "INTERNAL: (Exception (de)?serializing|Failed to serialize)": "INTERNAL, cannot be serialized",
    "UNKNOWN: Exception iterating requests!": "UNKNOWN, the caller's own exception",
}
_PATTERNS = {re.compile(pattern, re.DOTALL): meaning for pattern, meaning in _WORDS.items()}

#: What each status means; every other is permanent.
STATUS: Mapping[str, Verdict] = {
    "UNAVAILABLE": Verdict.unsure(),
    "UNAVAILABLE, not connected": Verdict.transient(),
    "UNAVAILABLE, DNS did not answer": Verdict.transient(),
    "UNAVAILABLE, refused unread": Verdict.transient(),
    "UNAVAILABLE, TLS refused": Verdict.permanent(),
    "UNAVAILABLE, unknown host": Verdict.permanent(),
    "RESOURCE_EXHAUSTED": Verdict.unsure(throttled=True),
    "RESOURCE_EXHAUSTED, too large": Verdict.permanent(),
    "DEADLINE_EXCEEDED": Verdict.unsure(),
    "ABORTED": Verdict.unsure(),
    "INTERNAL": Verdict.unsure(),
    "INTERNAL, cannot be serialized": Verdict.permanent(),
    "UNKNOWN": Verdict.unsure(),
    "UNKNOWN, the caller's own exception": Verdict.permanent(),
    _FORBIDDEN: Verdict.permanent(),
}


def status_of(error: Any) -> str | None:
    """The status of a call by name, and what its words add; None for what is no call that has ended."""
    if _said(error, "done") is False:
        # What a stream says of its end, it waits for.
        return None
    name = getattr(_said(error, "code"), "name", None)
    if not isinstance(name, str):
        return None
    pushback = hint(error)
    if pushback is not None and pushback < 0:
        return _FORBIDDEN
    said = f"{name}: {_said(error, 'details')}"
    return next((meaning for pattern, meaning in _PATTERNS.items() if pattern.match(said)), name)


def hint(error: Any, _wall: Callable[[], float] = float) -> float | None:
    """Seconds the server asks for in ``grpc-retry-pushback-ms`` (gRFC A6); negative where it forbids to try again."""
    metadata: dict[str, Any] = dict(_said(error, "trailing_metadata") or ())
    pushback = metadata.get("grpc-retry-pushback-ms")
    if pushback is None:
        return None
    seconds = http.hint({"retry-after-ms": pushback}, float)
    return -1.0 if seconds is None else seconds


def _said(error: Any, name: str) -> Any:
    """What one of the call's methods says; None where it has none, as a bare `grpc.RpcError` has not."""
    method = getattr(error, name, None)
    return method() if callable(method) else None


TABLE = Table(
    "gRPC",
    (
        By("grpc.RpcError", "gRPC", status_of, STATUS, otherwise=Verdict.permanent(), hint=hint),
        Always("grpc.FutureTimeoutError", Verdict.unsure(reason="no answer in time")),
    ),
    source="https://grpc.io/docs/guides/status-codes/",
)
