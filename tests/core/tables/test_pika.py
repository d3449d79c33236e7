"""pika, aiormq and aio-pika row by row: real clients against a RabbitMQ, and against a server that breaks off."""

from __future__ import annotations

import asyncio
import pickle
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import aio_pika
import aiormq
import aiormq.exceptions
import pamqp.commands as amqp
import pika  # type: ignore[import-untyped]
import pika.exceptions  # type: ignore[import-untyped]
import pytest
from aiormq.exceptions import (
    ChannelNotFoundEntity,
    ConnectionClosed,
    DuplicateConsumerTag,
    IncompatibleProtocolError,
)
from pika.adapters.utils import connection_workflow  # type: ignore[import-untyped]
from tests.core.tables.proving import NOW, Proof
from tests.servers.http import free_port, serving, untrusted
from tests.servers.proxy import Fault, proxying
from tests.servers.rabbitmq import Broker, HangUp, scripted

from resilience._core.tables import Tables
from resilience._core.verdict import VerdictKind


P = "pika.exceptions"
A = "aiormq.exceptions"
#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.05
#: How RabbitMQ words what has no code of its own.
LIMIT = "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (1) is reached"
NODE_DOWN = "NOT_FOUND - home node 'rabbit@b' of durable queue 'q' in vhost '/' is down or inaccessible"


# -- clients ---------------------------------------------------------------------------------------------------------


def nothing(_connection: Any) -> None: ...


async def anothing(_connection: Any) -> None: ...


def by_pika(port: int, work: Callable[[Any], object] = nothing, **parameters: Any) -> Exception:
    """What work on a connection of pika raises, or connecting."""
    with pytest.raises(Exception) as caught:
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, **parameters))
        try:
            work(connection)
        finally:
            if connection.is_open:
                connection.close()
    return caught.value


def by_aiormq(port: int, work: Callable[[Any], Any] = anothing, who: str = "guest:guest", where: str = "") -> Exception:
    """The same of aiormq."""

    async def connect_and_work() -> None:
        connection = await aiormq.connect(f"amqp://{who}@127.0.0.1:{port}/{where}")
        try:
            await work(connection)
        finally:
            await connection.close()

    with pytest.raises(Exception) as caught:
        asyncio.run(connect_and_work())
    return caught.value


def by_aio_pika(port: int, work: Callable[[Any], Any], **options: Any) -> Exception:
    """The same of aio-pika."""

    async def connect_and_work() -> None:
        async with await aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{port}/", **options) as connection:
            await work(connection)

    with pytest.raises(Exception) as caught:
        asyncio.run(connect_and_work())
    return caught.value


def declare(connection: Any) -> None:
    connection.channel().queue_declare("q")


async def adeclare(connection: Any) -> None:
    await (await connection.channel()).queue_declare("q")


def to(method: str, *answers: Any) -> Callable[[Any], list[Any] | None]:
    """A script that answers so to this method, and as usual to all others."""
    return lambda said: list(answers) if getattr(said, "name", "") == method else None


def closing(code: int, text: str = "said so") -> Any:
    return amqp.Connection.Close(code, text, 0, 0)


def closing_channel(code: int, text: str = "said so") -> Any:
    return amqp.Channel.Close(code, text, 0, 0)


# -- no connection ---------------------------------------------------------------------------------------------------


def test_refused(proof: Proof) -> None:
    """Nobody listens: nothing was sent."""
    port = free_port()
    proof.server(by_pika(port), f"{P}.AMQPConnectionError, by its args.0.exception", "transient")
    proof.server(by_aiormq(port), f"{A}.AMQPConnectionError, by its __cause__", "transient")
    proof.server(by_aio_pika(port, anothing), f"{A}.AMQPConnectionError, by its __cause__", "transient")


def test_unknown_host(proof: Proof) -> None:
    """A name too long to be one, so nobody is asked: pika raises what the resolver raises, aiormq wraps it."""
    name = "a." * 130 + "invalid"
    with pytest.raises(socket.gaierror) as bare:
        pika.BlockingConnection(pika.ConnectionParameters(name))
    verdict = proof.tables(bare.value)
    assert verdict is not None
    assert verdict.kind is VerdictKind.PERMANENT
    with pytest.raises(aiormq.exceptions.AMQPConnectionError) as wrapped:
        asyncio.run(aiormq.connect(f"amqp://{name}/"))
    proof.server(wrapped.value, f"{A}.AMQPConnectionError, by its __cause__", "permanent")


def test_every_address_refuses(proof: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with two addresses: asyncio tells of both in one text, without an error number."""
    port = free_port()
    real = socket.getaddrinfo

    def two(host: Any, *args: Any, **options: Any) -> Any:
        return [*real("127.0.0.1", *args, **options), *real("127.0.0.2", *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with pytest.raises(aiormq.exceptions.AMQPConnectionError) as caught:
        asyncio.run(aiormq.connect(f"amqp://localhost:{port}/"))
    assert "Multiple exceptions" in str(caught.value)
    proof.server(caught.value, f"{A}.AMQPConnectionError, by its __cause__", "transient")
    caught.value.__cause__ = None
    row = f"{A}.AMQPConnectionError, nothing known inside"
    proof.constructor(caught.value, row, "transient", because="what is inside a real one is known")


def test_no_answer_while_connecting(proof: Proof) -> None:
    """It accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        error = by_pika(listener.getsockname()[1], stack_timeout=SOON)
    row = "pika.adapters.utils.connection_workflow.AMQPConnectorStackTimeout"
    proof.server(error, row, "transient")
    # As it is when not even the connection came about: no address on loopback stays silent.
    socket_timeout = connection_workflow.AMQPConnectorSocketConnectError(error)
    wrapped = pika.exceptions.AMQPConnectionError(socket_timeout)
    verdict = proof.tables(wrapped)
    assert verdict is not None
    assert verdict.kind is VerdictKind.TRANSIENT


def test_tls_not_trusted(proof: Proof) -> None:
    """It will be no better the next time, whoever wraps it."""
    context = ssl.create_default_context()
    with serving(lambda _: None, ssl_context=untrusted()) as server:
        bare = by_pika(server.port, ssl_options=pika.SSLOptions(context, "localhost"))
        with pytest.raises(aiormq.exceptions.AMQPConnectionError) as wrapped:
            asyncio.run(aiormq.connect(f"amqps://localhost:{server.port}/", context=context))
    verdict = proof.tables(bare)
    assert verdict is not None
    assert verdict.kind is VerdictKind.PERMANENT
    proof.server(wrapped.value, f"{A}.AMQPConnectionError, by its __cause__", "permanent")


# -- a connection that does not open ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("Connection.StartOk", "ProbableAuthenticationError"),
        ("Connection.TuneOk", "ProbableAccessDeniedError"),
        ("Connection.Open", "ProbableAccessDeniedError"),
    ],
)
def test_hung_up_while_opening(proof: Proof, method: str, name: str) -> None:
    """What pika takes for a probable refusal is a broker that says nothing: one that refuses says so."""
    with scripted(to(method, HangUp)) as port:
        proof.server(by_pika(port), f"{P}.{name}, reply none", "transient")
        proof.server(by_aiormq(port), f"{A}.AMQPConnectionError, lost while connecting", "transient")


def test_hung_up_before_a_word(proof: Proof) -> None:
    """A proxy without a broker behind it; or a server of something else, which says something first."""
    with scripted(to(""), HangUp) as port:
        proof.server(by_pika(port), f"{P}.IncompatibleProtocolError, reply none", "transient")
        proof.server(by_aiormq(port), f"{A}.AMQPConnectionError, lost while connecting", "transient")


@pytest.mark.parametrize(
    ("code", "text", "reply", "kind", "throttled"),
    [
        (320, "CONNECTION_FORCED - going down", "reply 320", "transient", False),
        (506, "RESOURCE_ERROR", "reply 506", "transient", True),
        (541, "INTERNAL_ERROR - vhost '/' is down", "reply 541", "transient", False),
        (530, LIMIT, "reply 530, a limit is reached", "transient", True),
        (530, "NOT_ALLOWED - vhost none not found", "any other reply", "permanent", False),
        (504, "CHANNEL_ERROR", "any other reply", "permanent", False),
    ],
)
def test_refused_while_opening(proof: Proof, code: int, text: str, reply: str, kind: str, throttled: bool) -> None:
    """By the broker, after the login, and when the virtual host was asked for: nothing was sent yet."""
    with scripted(to("Connection.StartOk", closing(code, text))) as port:
        proof.server(by_pika(port), f"{P}.ProbableAuthenticationError, {reply}", kind, throttled=throttled)
        where = f"{reply}, while connecting" if reply[6:] in {"320", "506", "541"} else reply
        proof.server(by_aiormq(port), f"{A}.ConnectionClosed, {where}", kind, throttled=throttled)
    with scripted(to("Connection.Open", closing(code, text))) as port:
        proof.server(by_pika(port), f"{P}.ProbableAccessDeniedError, {reply}", kind, throttled=throttled)
        proof.server(by_aiormq(port), f"{A}.InvalidFrameError, {reply}", kind, throttled=throttled)


def test_login_refused_by_the_script(proof: Proof) -> None:
    """The same by a server that is none: 403 is a login refused whatever the words."""
    with scripted(to("Connection.StartOk", closing(403))) as port:
        proof.server(by_pika(port), f"{P}.ProbableAuthenticationError, any other reply", "permanent")
        proof.server(by_aiormq(port), f"{A}.ProbableAuthenticationError", "permanent")


def test_no_common_way_to_log_in(proof: Proof) -> None:
    with scripted(to(""), amqp.Connection.Start(mechanisms="EXTERNAL", server_properties={})) as port:
        proof.server(by_pika(port), f"{P}.AuthenticationError", "permanent")
        proof.server(by_aiormq(port), f"{A}.AuthenticationError", "permanent")


def test_another_version(proof: Proof) -> None:
    """A server of AMQP 1.0 says which version it wants, or begins with it."""
    with scripted(to(""), amqp.Connection.Start(version_major=1, version_minor=0)) as port:
        proof.server(by_pika(port), f"{P}.ProtocolVersionMismatch", "permanent")
    with scripted(to(""), b"AMQP\0\1\0\0") as port:
        proof.server(by_aiormq(port), f"{A}.ProtocolSyntaxError", "permanent")


# -- a connection that ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "row", "kind", "throttled"),
    [
        (320, "ConnectionClosed, reply 320", "unsure", False),
        (506, "ConnectionResourceError", "unsure", True),
        (541, "ConnectionInternalError", "unsure", False),
        (501, "ConnectionClosed, any other reply", "permanent", False),
        (503, "ConnectionClosed, any other reply", "permanent", False),
        (530, "ConnectionClosed, any other reply", "permanent", False),
    ],
)
def test_closed_by_the_broker(proof: Proof, code: int, row: str, kind: str, throttled: bool) -> None:
    """In answer to a method: what came before it, or another channel's, may have been done."""
    with scripted(to("Queue.Declare", closing(code))) as port:
        reply = "any other reply" if kind == "permanent" else f"reply {code}"
        proof.server(by_pika(port, declare), f"{P}.ConnectionClosedByBroker, {reply}", kind, throttled=throttled)
        proof.server(by_aiormq(port, adeclare), f"{A}.{row}", kind, throttled=throttled)
        proof.server(by_aio_pika(port, apika_declare), f"{A}.{row}", kind, throttled=throttled)


async def apika_declare(connection: Any) -> None:
    await (await connection.channel()).declare_queue("q")


def test_connection_lost(proof: Proof) -> None:
    with scripted(to("Queue.Declare", HangUp)) as port:
        proof.server(by_pika(port, declare), f"{P}.StreamLostError", "unsure")
        proof.server(by_aiormq(port, adeclare), f"{A}.AMQPConnectionError, lost once open", "unsure")
        proof.server(by_aio_pika(port, apika_declare), f"{A}.AMQPConnectionError, lost once open", "unsure")


def test_answer_that_is_no_amqp(proof: Proof) -> None:
    """A frame without its end; what was asked for may have been done."""
    broken = b"\x01\0\1\0\0\0\4\0\x32\0\x0b\0"
    with scripted(to("Queue.Declare", broken)) as port:
        proof.server(by_pika(port, declare), f"{P}.StreamLostError", "unsure")
        proof.server(by_aiormq(port, adeclare), f"{A}.InvalidFrameError", "unsure")


def test_blocked(proof: Proof) -> None:
    """The broker is short of memory or disk, reads no more, and pika has waited long enough."""

    def publish(connection: Any) -> None:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", "q", b"x")

    with scripted(to("Basic.Publish", amqp.Connection.Blocked("low on memory"))) as port:
        error = by_pika(port, publish, blocked_connection_timeout=SOON)
    proof.server(error, f"{P}.ConnectionBlockedTimeout", "unsure", throttled=True)


def test_heartbeat_lost(proof: Proof) -> None:
    """pika looks every 6 s at the soonest, and the second time counts."""
    error = pika.exceptions.AMQPHeartbeatTimeout("No activity or too many missed heartbeats in the last 1 seconds")
    proof.constructor(error, f"{P}.AMQPHeartbeatTimeout", "unsure", because="it takes 12 s of silence")


# -- channels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "of_pika", "of_aiormq"),
    [
        (506, "x", ("reply 506", "unsure", True), ("ChannelClosed, reply 506", "unsure", True)),
        (541, "x", ("reply 541", "unsure", False), ("ChannelClosed, reply 541", "unsure", False)),
        (311, "x", ("any other reply", "permanent", False), ("ChannelClosed, any other reply", "permanent", False)),
        (
            404,
            NODE_DOWN,
            ("reply 404, its node is down", "transient", False),
            ("ChannelNotFoundEntity, reply 404, its node is down", "unsure", False),
        ),
    ],
)
def test_channel_closed(
    proof: Proof, code: int, text: str, of_pika: tuple[str, str, bool], of_aiormq: tuple[str, str, bool]
) -> None:
    """What a single broker in good health does not say."""
    with scripted(to("Queue.Declare", closing_channel(code, text))) as port:
        row, kind, throttled = of_pika
        proof.server(by_pika(port, declare), f"{P}.ChannelClosedByBroker, {row}", kind, throttled=throttled)
        row, kind, throttled = of_aiormq
        proof.server(by_aiormq(port, adeclare), f"{A}.{row}", kind, throttled=throttled)


def test_what_is_closed_already(proof: Proof) -> None:
    """Nothing is sent on what is closed, and whoever makes the next one has it."""

    def on_closed_channel(connection: Any) -> None:
        channel = connection.channel()
        channel.close()
        channel.basic_publish("", "q", b"x")

    def on_closed_connection(connection: Any) -> None:
        connection.close()
        connection.channel()

    async def on_closed_channel_too(connection: Any) -> None:
        channel = await connection.channel()
        await channel.close()
        await channel.basic_publish(b"x", routing_key="q")

    said: list[str] = []
    with scripted(lambda method: said.append(getattr(method, "name", ""))) as port:
        proof.server(by_pika(port, on_closed_channel), f"{P}.ChannelWrongStateError", "transient")
        proof.server(by_pika(port, on_closed_connection), f"{P}.ConnectionWrongStateError", "transient")
        proof.server(by_aiormq(port, on_closed_channel_too), f"{A}.ChannelInvalidStateError", "transient")
    assert "Channel.Close" in said
    assert "Basic.Publish" not in said


def test_a_closed_connection_of_aiormq(proof: Proof) -> None:
    """A `RuntimeError` without a class of its own: it could be any bug."""

    async def closed(connection: Any) -> None:
        await connection.close()
        await connection.channel()

    with scripted(to("")) as port:
        error = by_aiormq(port, closed)
    assert type(error) is RuntimeError
    proof.unknown(error)


def test_no_channel_free(proof: Proof) -> None:
    with scripted(to("")) as port:
        error = by_pika(port, lambda connection: (connection.channel(), connection.channel()), channel_max=1)
    proof.server(error, f"{P}.NoFreeChannels", "transient")


def test_one_refusal_for_all_who_share_a_channel() -> None:
    """The reason why a refusal is no proof in aiormq: who waits for a confirmation gets the same exception."""

    async def share(connection: Any) -> None:
        channel = await connection.channel()
        publishing = asyncio.create_task(channel.basic_publish(b"x", routing_key="q"))
        await asyncio.sleep(SOON)
        with pytest.raises(aiormq.exceptions.ChannelLockedResource) as refused:
            await channel.queue_declare("locked")
        with pytest.raises(aiormq.exceptions.ChannelLockedResource) as of_another:
            await publishing
        assert of_another.value is refused.value
        raise refused.value

    with scripted(to("Queue.Declare", closing_channel(405))) as port:
        error = by_aiormq(port, share)
    verdict = Tables(lambda: NOW)(error)
    assert verdict is not None
    assert verdict.kind is VerdictKind.UNSURE


def test_channel_closed_by_who_shares_it(proof: Proof) -> None:
    """Who does not wait for an answer any longer closes the channel, for the one too who waits for a confirmation."""

    async def share(connection: Any) -> None:
        channel = await connection.channel()
        publishing = asyncio.create_task(channel.basic_publish(b"x", routing_key="q"))
        with pytest.raises(TimeoutError):
            await channel.queue_declare("slow", timeout=SOON)
        await publishing

    with scripted(to("Queue.Declare")) as port:
        proof.server(by_aiormq(port, share), f"{A}.ChannelClosed, reply none", "unsure")


# -- a RabbitMQ ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """With a user who may do nothing, and a virtual host that lets nobody in."""
    definitions: dict[str, list[dict[str, Any]]] = {
        "users": [{"name": "limited", "password": "limited", "tags": []}],
        "vhosts": [{"name": "full"}],
        "permissions": [{"user": "guest", "vhost": "full", "configure": ".*", "write": ".*", "read": ".*"}],
        "parameters": [
            {"vhost": "full", "component": "vhost-limits", "name": "limits", "value": {"max-connections": 0}}
        ],
    }
    node = Broker(tmp_path_factory.mktemp("rabbitmq"), definitions)
    yield node
    node.close()


def test_login_refused(proof: Proof, broker: Broker) -> None:
    nobody = pika.PlainCredentials("guest", "wrong")
    error = by_pika(broker.port, credentials=nobody)
    proof.server(error, f"{P}.ProbableAuthenticationError, any other reply", "permanent")
    proof.server(by_aiormq(broker.port, who="guest:wrong"), f"{A}.ProbableAuthenticationError", "permanent")


def test_virtual_hosts(proof: Proof, broker: Broker) -> None:
    """One that is not there, one that is not for this user, and one that is full."""
    row = "ProbableAccessDeniedError, any other reply"
    proof.server(by_pika(broker.port, virtual_host="none"), f"{P}.{row}", "permanent")
    proof.server(by_aiormq(broker.port, where="none"), f"{A}.InvalidFrameError, any other reply", "permanent")
    limited = pika.PlainCredentials("limited", "limited")
    proof.server(by_pika(broker.port, credentials=limited), f"{P}.{row}", "permanent")
    denied = by_aiormq(broker.port, who="limited:limited")
    proof.server(denied, f"{A}.InvalidFrameError, any other reply", "permanent")
    full = "reply 530, a limit is reached"
    error = by_pika(broker.port, virtual_host="full")
    proof.server(error, f"{P}.ProbableAccessDeniedError, {full}", "transient", throttled=True)
    proof.server(by_aiormq(broker.port, where="full"), f"{A}.InvalidFrameError, {full}", "transient", throttled=True)


def test_not_found(proof: Proof, broker: Broker) -> None:
    """Asked for, and published to."""

    def publish(connection: Any) -> None:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("none", "q", b"x")

    async def ask(connection: Any) -> None:
        await (await connection.channel()).queue_declare("none", passive=True)

    row = f"{P}.ChannelClosedByBroker, any other reply"
    asked = by_pika(broker.port, lambda connection: connection.channel().queue_declare("none", passive=True))
    proof.server(asked, row, "permanent")
    proof.server(by_pika(broker.port, publish), row, "permanent")
    proof.server(by_aiormq(broker.port, ask), f"{A}.ChannelNotFoundEntity, any other reply", "permanent")


def test_denied_and_not_as_it_is(proof: Proof, broker: Broker) -> None:
    """A name that is reserved, and a queue that is there with other properties."""

    def otherwise(connection: Any) -> None:
        channel = connection.channel()
        channel.queue_declare("here")
        channel.queue_declare("here", durable=True)

    async def otherwise_too(connection: Any) -> None:
        channel = await connection.channel()
        await channel.queue_declare("here")
        await channel.queue_declare("here", durable=True)

    async def reserved(connection: Any) -> None:
        await (await connection.channel()).queue_declare("amq.x")

    row = f"{P}.ChannelClosedByBroker, any other reply"
    denied = by_pika(broker.port, lambda connection: connection.channel().queue_declare("amq.x"))
    proof.server(denied, row, "permanent")
    proof.server(by_pika(broker.port, otherwise), row, "permanent")
    for error in (by_aiormq(broker.port, otherwise_too), by_aiormq(broker.port, reserved)):
        proof.server(error, f"{A}.ChannelClosed, any other reply", "permanent")


def test_locked(proof: Proof, broker: Broker) -> None:
    """A queue that another connection has for itself, as long as that one is open."""

    async def want(connection: Any) -> None:
        await (await connection.channel()).queue_declare("own")

    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.port)) as owner:
        owner.channel().queue_declare("own", exclusive=True)
        refused = by_pika(broker.port, lambda connection: connection.channel().queue_declare("own"))
        refused_too = by_aiormq(broker.port, want)
    proof.server(refused, f"{P}.ChannelClosedByBroker, reply 405", "transient")
    proof.server(refused_too, f"{A}.ChannelLockedResource", "unsure")


def test_no_route(proof: Proof, broker: Broker) -> None:
    """The message came back: it is in no queue."""

    def publish(connection: Any) -> None:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", "nobody", b"x", mandatory=True)

    async def apublish(connection: Any) -> None:
        await (await connection.channel()).basic_publish(b"x", routing_key="nobody", mandatory=True)

    async def raising(connection: Any) -> None:
        channel = await connection.channel(on_return_raises=True)
        await channel.default_exchange.publish(aio_pika.Message(b"x"), "nobody")

    proof.server(by_pika(broker.port, publish), f"{P}.UnroutableError", "permanent")
    proof.server(by_aiormq(broker.port, apublish), f"{A}.PublishError", "permanent")
    proof.server(by_aio_pika(broker.port, raising), f"{A}.PublishError", "permanent")


def test_nack(proof: Proof, broker: Broker) -> None:
    """A queue that is full and says so; the message may be in another one that the exchange feeds."""
    small = {"x-max-length": 1, "x-overflow": "reject-publish"}

    def publish(connection: Any) -> None:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare("both", "fanout")
        for queue in ("small", "large"):
            channel.queue_declare(queue, arguments=small if queue == "small" else None)
            channel.queue_bind(queue, "both")
        for _ in range(5):
            channel.basic_publish("both", "", b"x")

    async def apublish(connection: Any) -> None:
        channel = await connection.channel()
        await channel.queue_declare("small", arguments=small)
        for _ in range(5):
            await channel.basic_publish(b"x", routing_key="small")

    proof.server(by_pika(broker.port, publish), f"{P}.NackError", "unsure")
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.port)) as connection:
        channel = connection.channel()
        in_small = channel.queue_declare("small", passive=True).method.message_count
        in_large = channel.queue_declare("large", passive=True).method.message_count
    assert in_large > in_small
    proof.server(by_aiormq(broker.port, apublish), f"{A}.DeliveryError", "unsure")


def test_message_lost_or_not(proof: Proof, broker: Broker) -> None:
    """The connection breaks before the broker's confirmation, and the message is in its queue."""

    def publish(connection: Any) -> None:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("kept")
        proxy.arm(Fault.LOSE_REPLY, request=b"keep me")
        channel.basic_publish("", "kept", b"keep me")

    async def apublish(connection: Any) -> None:
        channel = await connection.channel()
        proxy.arm(Fault.LOSE_REPLY, request=b"keep me")
        await channel.basic_publish(b"keep me", routing_key="kept")

    with proxying(broker.port) as proxy:
        proof.server(by_pika(proxy.port, publish), f"{P}.StreamLostError", "unsure")
        proof.server(by_aiormq(proxy.port, apublish), f"{A}.AMQPConnectionError, lost once open", "unsure")
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.port)) as connection:
        assert connection.channel().queue_declare("kept").method.message_count == 2


def test_closed_by_its_operator(proof: Proof, broker: Broker) -> None:
    """`CONNECTION_FORCED`, as when a broker goes down in good order."""
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.port))

    async def wait(aconnection: Any) -> None:
        channel = await aconnection.channel()
        await asyncio.to_thread(broker.ctl, "close_all_connections", "going down")
        await channel.closing

    forced = by_aiormq(broker.port, wait)
    proof.server(forced, f"{A}.ConnectionClosed, reply 320", "unsure")
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as caught:
        connection.process_data_events(time_limit=5)
    proof.server(caught.value, f"{P}.ConnectionClosedByBroker, reply 320", "unsure")


def test_out_of_memory(proof: Proof, broker: Broker) -> None:
    """An alarm blocks who publishes. aiormq waits for as long as it is told."""

    def publish(connection: Any) -> None:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", "q", b"x")

    async def apublish(connection: Any) -> None:
        channel = await connection.channel()
        await channel.basic_publish(b"x", routing_key="q", timeout=SOON)

    broker.ctl("set_vm_memory_high_watermark", "absolute", "1")
    try:
        error = by_pika(broker.port, publish, blocked_connection_timeout=SOON)
        late = by_aiormq(broker.port, apublish)
    finally:
        broker.ctl("set_vm_memory_high_watermark", "absolute", "4GB")
    proof.server(error, f"{P}.ConnectionBlockedTimeout", "unsure", throttled=True)
    assert type(late) is TimeoutError
    verdict = proof.tables(late)
    assert verdict is not None
    assert verdict.kind is VerdictKind.UNSURE


# -- strange facts ---------------------------------------------------------------------------------------------------


def judged(error: Exception) -> str | None:
    verdict = Tables(lambda: NOW)(error)
    return None if verdict is None else verdict.kind


def test_what_is_not_known(proof: Proof) -> None:
    """What the client itself ended or got wrong; and what says nothing."""
    for error in (
        pika.exceptions.AMQPError("x"),
        pika.exceptions.AMQPConnectionError(),
        pika.exceptions.AMQPConnectionError("x"),
        pika.exceptions.AMQPConnectionError(ValueError("x")),
        pika.exceptions.ConnectionClosedByClient(200, "bye"),
        pika.exceptions.ConnectionClosedByClient(320, "bye"),
        pika.exceptions.ConnectionOpenAborted("x"),
        pika.exceptions.ChannelClosedByClient(0, "bye"),
        pika.exceptions.DuplicateConsumerTag("x"),
        pika.exceptions.UnsupportedAMQPFieldException("x", "y"),
        pika.exceptions.ProbableAuthenticationError("x"),
        pika.exceptions.ProbableAccessDeniedError(),
        pika.exceptions.IncompatibleProtocolError(None),
        pika.exceptions.IncompatibleProtocolError("ConnectionClosedByBroker: (320) 'x'"),
        aiormq.exceptions.AMQPError("x"),
        aiormq.exceptions.MethodNotImplemented(),
        aio_pika.exceptions.QueueEmpty(),
        aio_pika.exceptions.MessageProcessError("x", None),
    ):
        proof.unknown(error)


def test_closed_in_good_order() -> None:
    """What aiormq raises where its own user closes."""
    assert judged(ConnectionClosed(0, "normal closed")) == "permanent"
    assert judged(ConnectionClosed(None, None)) == "permanent"
    assert judged(ConnectionClosed()) == "permanent"
    assert judged(DuplicateConsumerTag(1)) == "permanent"
    assert judged(ChannelNotFoundEntity()) == "permanent"


def test_by_hand_nothing_is_certain() -> None:
    """Where it passed through is the proof: without that, an error of connecting is one of a connection."""
    assert judged(aiormq.exceptions.AMQPConnectionError()) == "unsure"
    assert judged(aiormq.exceptions.AMQPConnectionError(111, "refused")) == "unsure"
    assert judged(IncompatibleProtocolError("x")) == "unsure"
    refused = by_aiormq(free_port())
    assert judged(refused) == "transient"
    assert judged(pickle.loads(pickle.dumps(refused))) == "unsure"


def test_subclasses() -> None:
    """Somebody's own."""

    class Own(pika.exceptions.StreamLostError):  # type: ignore[misc]
        pass

    class OwnToo(aiormq.exceptions.ChannelAccessRefused):
        pass

    assert judged(Own("x")) == "unsure"
    assert judged(OwnToo("x")) == "permanent"


def test_codes_of_other_kinds() -> None:
    """As text, and none."""
    error = pika.exceptions.ChannelClosedByBroker(405, "x")
    for args, expected in (
        (("405", "x"), "transient"),
        ((405,), "transient"),
        ((), "permanent"),
        ((None, 3), "permanent"),
    ):
        error.args = args
        assert judged(error) == expected
