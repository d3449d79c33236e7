"""RabbitMQ by pika, and by aiormq, whose exceptions aio-pika raises.

What fails before the connection is open precedes every message: so does what pika makes of it ("probable" this or that,
with the broker's reply in the text), and what aiormq raises in its ``connect``. Once it is open, a connection that
breaks leaves open what the broker had done by then, also if the broker says why it closes it.

A channel that the broker closes had one method refused. In pika that is the method that raises. In aiormq all who share
the channel get the same exception, those who wait for a confirmation too: so the refusal says nothing of their work.

Of publisher confirms a nack is no proof: one of several queues may have taken the message. One that was returned is in
no queue. What finds its channel or connection closed has sent nothing; to try again helps whoever gets another one,
as robust connections of aio-pika do. Those connect again by themselves, by default, and publish nothing twice; pika
tries to connect once by default. A closed connection of aiormq raises a bare `RuntimeError`, which nobody can know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from resilience._core.rows import Always, By, Inside, Rule, Table, local, read
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

_LIMIT = "530, a limit is reached"
_NODE_DOWN = "404, its node is down"
_NONE = "none"
_CONNECTING = "while connecting"

#: Why a broker closes a connection that was open; every other reply is about what the client did, or may do.
_CLOSED: Mapping[str, Verdict] = {
    "320": Verdict.unsure(reason="the broker closed the connection"),
    "506": Verdict.unsure(throttled=True, reason="the broker lacks resources"),
    "541": Verdict.unsure(reason="internal error of the broker"),
}
#: Why it closes one that was not open yet.
_REFUSED_OPENING: Mapping[str, Verdict] = {
    "320": Verdict.transient(reason="the broker is going down"),
    "506": Verdict.transient(throttled=True, reason="the broker lacks resources"),
    "541": Verdict.transient(reason="the virtual host is down"),
    _LIMIT: Verdict.transient(throttled=True, reason="too many connections"),
}
_BROKEN_OPENING = Verdict.transient(reason="closed before it was open")
#: Why a broker closes a channel; every other reply is about what the client did, or may do.
_REFUSED: Mapping[str, Verdict] = {
    "506": Verdict.unsure(throttled=True, reason="the broker lacks resources"),
    "541": Verdict.unsure(reason="internal error of the broker"),
}
_LOCKED = "another connection has the queue for itself"
_GONE = "the queue is on a node that is down"
_UNSENT = "closed before: nothing was sent"


def _reply(code: object, text: object) -> str:
    """A reply's code, and what some words of it add."""
    said = _NONE if code is None else str(code)
    if said == "530" and re.search(r"limit \(\d+\) is reached", str(text)):
        return _LIMIT
    return _NODE_DOWN if said == "404" and "is down or inaccessible" in str(text) else said


def _closed(error: Any) -> str:
    return _reply(read(error, "args.0"), read(error, "args.1"))


def _told_by_pika(error: Any) -> str | None:
    """The reply, out of what pika makes of it while connecting: the `repr` of what the connection ended with."""
    said = str(read(error, "args.0"))
    closed = re.match(r"ConnectionClosedByBroker: \((\d+)\) ", said)
    if closed is not None:
        return _reply(closed[1], said)
    return _NONE if said.startswith("StreamLostError") else None


def _connecting(error: BaseException) -> bool:
    return local(error, "aiormq.connection", "connect", "self") is not None


def _of_aiormq(error: Any) -> str:
    reply = _closed(error)
    return f"{reply}, {_CONNECTING}" if reply in _CLOSED and _connecting(error) else reply


def _unexpected(error: Any) -> str | None:
    """The reply that aiormq 7 did not expect when it asked for a virtual host: the exception has it only in its frames."""
    closing = local(error, "aiormq.connection", "_rpc", "frame")
    code = read(closing, "reply_code")
    return None if code is None else _reply(code, read(closing, "reply_text"))


def _lost(error: Any) -> str | None:
    if not _connecting(error):
        return "once open"
    return _CONNECTING if str(read(error, "args.0")).startswith("Server ") else None


def _absent(error: Any) -> str:
    return _reply(404, read(error, "args.0"))


def _not_opened(error: str) -> Rule:
    return By(
        error, "reply", _told_by_pika, {**_REFUSED_OPENING, _NONE: _BROKEN_OPENING}, otherwise=Verdict.permanent()
    )


_OF_PIKA: tuple[Rule, ...] = (
    # Before the connection is open.
    Inside("pika.exceptions.AMQPConnectionError", ("args.0.exception",), unsent=True),
    Always(
        "pika.adapters.utils.connection_workflow.AMQPConnectorStackTimeout",
        Verdict.transient(reason="connecting took too long"),
    ),
    By("pika.exceptions.IncompatibleProtocolError", "reply", _told_by_pika, {_NONE: _BROKEN_OPENING}),
    _not_opened("pika.exceptions.ProbableAuthenticationError"),
    _not_opened("pika.exceptions.ProbableAccessDeniedError"),
    Always("pika.exceptions.AuthenticationError", Verdict.permanent("no common way to log in")),
    Always("pika.exceptions.ProtocolVersionMismatch", Verdict.permanent("another version of AMQP")),
    # Connections.
    By("pika.exceptions.ConnectionClosedByBroker", "reply", _closed, _CLOSED, otherwise=Verdict.permanent()),
    Always("pika.exceptions.StreamLostError", Verdict.unsure(reason="the connection broke")),
    Always("pika.exceptions.AMQPHeartbeatTimeout", Verdict.unsure(reason="the broker went silent")),
    Always(
        "pika.exceptions.ConnectionBlockedTimeout",
        Verdict.unsure(throttled=True, reason="the broker takes no messages for want of memory or disk"),
    ),
    Always("pika.exceptions.ConnectionWrongStateError", Verdict.transient(reason=_UNSENT)),
    Always("pika.exceptions.NoFreeChannels", Verdict.transient(reason="no channel free")),
    # Channels.
    By(
        "pika.exceptions.ChannelClosedByBroker",
        "reply",
        _closed,
        {"405": Verdict.transient(reason=_LOCKED), _NODE_DOWN: Verdict.transient(reason=_GONE), **_REFUSED},
        otherwise=Verdict.permanent(),
    ),
    Always("pika.exceptions.ChannelWrongStateError", Verdict.transient(reason=_UNSENT)),
    Always("pika.exceptions.NackError", Verdict.unsure(reason="the broker did not take the message")),
    Always("pika.exceptions.UnroutableError", Verdict.permanent("no queue for the message")),
)

_OF_AIORMQ: tuple[Rule, ...] = (
    # Connections.
    By(
        "aiormq.exceptions.AMQPConnectionError",
        "lost",
        _lost,
        {"once open": Verdict.unsure(reason="the connection broke"), _CONNECTING: _BROKEN_OPENING},
    ),
    Inside(
        "aiormq.exceptions.AMQPConnectionError",
        ("__cause__",),
        unsent=True,
        otherwise=Verdict.transient(reason="could not connect"),
    ),
    Always("aiormq.exceptions.AuthenticationError", Verdict.permanent("no common way to log in")),
    Always("aiormq.exceptions.ProbableAuthenticationError", Verdict.permanent("login refused")),
    By(
        "aiormq.exceptions.ConnectionClosed",
        "reply",
        _of_aiormq,
        {
            "320": _CLOSED["320"],
            **{f"{reply}, {_CONNECTING}": _REFUSED_OPENING[reply] for reply in _CLOSED},
            _LIMIT: _REFUSED_OPENING[_LIMIT],
        },
        otherwise=Verdict.permanent(),
    ),
    Always("aiormq.exceptions.ConnectionResourceError", _CLOSED["506"]),
    Always("aiormq.exceptions.ConnectionInternalError", _CLOSED["541"]),
    By("aiormq.exceptions.InvalidFrameError", "reply", _unexpected, _REFUSED_OPENING, otherwise=Verdict.permanent()),
    Always("aiormq.exceptions.InvalidFrameError", Verdict.unsure(reason="the answer was no AMQP")),
    Always("aiormq.exceptions.ProtocolSyntaxError", Verdict.permanent("another version of AMQP")),
    # Channels.
    By(
        "aiormq.exceptions.ChannelClosed",
        "reply",
        _closed,
        {**_REFUSED, _NONE: Verdict.unsure(reason="closed by this side, for all who waited")},
        otherwise=Verdict.permanent(),
    ),
    Always("aiormq.exceptions.ChannelLockedResource", Verdict.unsure(reason=_LOCKED)),
    By(
        "aiormq.exceptions.ChannelNotFoundEntity",
        "reply",
        _absent,
        {_NODE_DOWN: Verdict.unsure(reason=_GONE)},
        otherwise=Verdict.permanent(),
    ),
    Always("aiormq.exceptions.ChannelInvalidStateError", Verdict.transient(reason=_UNSENT)),
    Always("aiormq.exceptions.DeliveryError", Verdict.unsure(reason="the broker did not take the message")),
    Always("aiormq.exceptions.PublishError", Verdict.permanent("no queue for the message")),
)

TABLE = Table(
    "RabbitMQ",
    (*_OF_PIKA, *_OF_AIORMQ),
    source="https://www.rabbitmq.com/amqp-0-9-1-reference.html#constants",
)
