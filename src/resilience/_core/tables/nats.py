"""nats (nats-py), and JetStream.

The client connects again by itself, sixty times by default; what is published meanwhile it keeps and sends later. So
`publish` returns before anything is sent, and neither its return nor an error of a later call says what came of it.
A request is sent once. NATS itself answers at once where nobody listens; JetStream answers what it does not store, or
does not do, with a code of its own (``err_code``), each of which stands for one place in the server.

Some errors are never raised: the client hands them to its ``error_cb``, or keeps them as ``last_error``.
"""

from __future__ import annotations

from typing import Any

from resilience._core.rows import Always, By, Table
from resilience._core.tables.http import status_of
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

#: JetStream's own numbers (nats-server's errors.json). All but 10158 refuse before anything is done.
_ERR_CODE = {
    10008: Verdict.transient(reason="JetStream has no leader"),
    10163: Verdict.transient(reason="JetStream does not know the last sequence yet"),
    10158: Verdict.unsure(reason="the same message is on its way"),
    10023: Verdict.transient(throttled=True, reason="JetStream has no room"),
    10028: Verdict.transient(throttled=True, reason="JetStream has no memory"),
    10047: Verdict.transient(throttled=True, reason="JetStream has no storage"),
    10077: Verdict.transient(throttled=True, reason="the stream is full"),
    10039: Verdict.permanent("no JetStream for this account"),
    10076: Verdict.permanent("no JetStream"),
}
#: For the other numbers, and other servers.
_CODE = {
    429: Verdict.transient(throttled=True),
    500: Verdict.unsure(),
    503: Verdict.unsure(throttled=True),
}
#: What the server says, and the client only passes on.
_SAID = {
    "authentication timeout": Verdict.transient(reason="the server waited too long for who it is"),
    "authorization violation": Verdict.permanent("not allowed"),
    "empty response from server when expecting info message": Verdict.transient(reason="closed at once"),
    "maximum account active connections exceeded": Verdict.transient(throttled=True, reason="too many connections"),
    "maximum connections exceeded": Verdict.transient(throttled=True, reason="too many connections"),
    "permissions violation*": Verdict.permanent("not allowed"),
}


def _err_code(error: Any) -> int | None:
    number = getattr(error, "err_code", None)
    return number if isinstance(number, int) else None


def _code(error: Any) -> int | None:
    return status_of(getattr(error, "code", None))


def _uncoded(error: Any) -> str | None:
    """Nobody listens where JetStream should."""
    return "none" if _code(error) is None else None


def _said(error: Any) -> str | None:
    """The server's own words; an error of a class of its own has none."""
    text = error.args[0] if error.args else None
    return text.removeprefix("nats: ").strip("'").lower() if isinstance(text, str) else None


def _raised_in(error: Any) -> str:
    """The innermost call: `publish` and `subscribe` look before they send."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "nothing" if trace is None else trace.tb_frame.f_code.co_name


_CLOSED = Verdict.transient(reason="the connection is closed")

TABLE = Table(
    "nats",
    (
        # Connecting.
        Always("nats.errors.NoServersError", Verdict.transient(reason="no server could be connected to")),
        Always("nats.errors.AuthorizationError", Verdict.permanent("not allowed")),
        By("nats.errors.Error", "said:", _said, _SAID),
        # The connection.
        By("nats.errors.ConnectionClosedError", "raised in", _raised_in, {"publish": _CLOSED, "subscribe": _CLOSED},
           otherwise=Verdict.unsure(reason="the connection is closed")),
        Always("nats.errors.ConnectionDrainingError", Verdict.permanent("the client is being closed")),
        Always("nats.errors.ConnectionReconnectingError", Verdict.transient(reason="the client is connecting again")),
        Always("nats.errors.OutboundBufferLimitError", Verdict.transient(reason="what waits to be sent is too much already")),
        Always("nats.errors.StaleConnectionError", Verdict.unsure(reason="the connection broke")),
        Always("nats.errors.ProtocolError", Verdict.unsure(reason="the answer was no NATS")),
        Always("nats.errors.SlowConsumerError", Verdict.unsure(throttled=True, reason="messages came too fast, and were dropped")),
        # Messages and requests.
        Always("nats.errors.NoRespondersError", Verdict.transient(reason="nobody listens")),
        Always("nats.errors.TimeoutError", Verdict.unsure(reason="no answer in time")),
        Always("nats.errors.MaxPayloadError", Verdict.permanent("too large")),
        # JetStream.
        Always("nats.js.errors.NoStreamResponseError", Verdict.transient(reason="no stream listens")),
        Always("nats.js.errors.TooManyStalledMsgsError", Verdict.transient(reason="too many messages wait for an answer")),
        By("nats.js.errors.APIError", "err_code", _err_code, _ERR_CODE),
        By("nats.js.errors.APIError", "code", _code, _CODE, otherwise=Verdict.permanent()),
        By("nats.js.errors.ServiceUnavailableError", "code", _uncoded, {
            "none": Verdict.transient(reason="JetStream does not listen"),
        }),
        Always("nats.js.errors.NotFoundError", Verdict.permanent("not found")),
        Always("nats.js.errors.BadRequestError", Verdict.permanent("refused")),
    ),
    source="https://github.com/nats-io/nats-server/blob/main/server/errors.json",
)  # fmt: skip
