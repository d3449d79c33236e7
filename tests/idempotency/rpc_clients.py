"""The clients of brokers and of remote calls: each sends one charge, which a queue keeps or a handler carries out."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import aio_pika
import aio_pika.abc
import grpc
import grpc.aio
import mcp
import nats
import nats.aio.client
import pika
import websockets.asyncio.client
import websockets.sync.client
from pika.adapters.blocking_connection import BlockingChannel
from tests.idempotency.counting import DONE
from tests.idempotency.matrix import SHORT, Client, Held, Setting, Work
from tests.servers.proxy import Fault

from resilience import deadline


with warnings.catch_warnings():
    # It says that grpcio-status would make its messages better.
    warnings.simplefilter("ignore", ImportWarning)
    from google.api_core import grpc_helpers, grpc_helpers_async
    from google.api_core import retry as google_retry

__all__ = ["BROKERS", "CHARGE", "METHOD", "QUEUE", "RPC", "RPC_RETRYING", "RPC_TWICE"]

CHARGE = b"charge 300"
#: The queue of RabbitMQ, the subject of NATS.
QUEUE = "charges"
#: Of gRPC.
METHOD = "/shop.Till/Charge"
#: In the body, not in the header that also names the method.
_TOOL_CALL = b'"cents":300'
#: How the frame of a charge begins (RFC 6455 §5.2): binary, masked; and its length.
_FRAME = bytes([0x82, 0x80 | len(CHARGE)])


def by_websockets(at: Setting) -> Iterator[Work]:
    held = Held[websockets.sync.client.ClientConnection](
        lambda: websockets.sync.client.connect(
            f"ws://127.0.0.1:{at.port}", compression=None, close_timeout=at.patience
        ).__enter__(),
        websockets.sync.client.ClientConnection.close,
    )

    def charge() -> None:
        with held.use() as connection:
            connection.send(CHARGE)
            assert connection.recv(at.patience) == DONE

    yield charge
    held.drop()


async def by_websockets_async(at: Setting) -> AsyncIterator[Work]:
    async def connect() -> Any:
        return await websockets.asyncio.client.connect(
            f"ws://127.0.0.1:{at.port}", compression=None, close_timeout=at.patience
        )

    held = Held[websockets.asyncio.client.ClientConnection](connect, websockets.asyncio.client.ClientConnection.close)

    async def charge() -> None:
        async with held.ause() as connection, asyncio.timeout(at.patience):
            await connection.send(CHARGE)
            assert await connection.recv() == DONE

    yield charge
    await held.adrop()


async def by_nats(at: Setting) -> AsyncIterator[Work]:
    async def quiet(_error: Exception) -> None:
        pass

    held = Held[nats.aio.client.Client](
        lambda: nats.connect(
            f"nats://127.0.0.1:{at.port}",
            allow_reconnect=at.own_retries,
            max_reconnect_attempts=5,
            reconnect_time_wait=0.01,
            error_cb=quiet,
        ),
        nats.aio.client.Client.close,
    )

    async def charge() -> None:
        # It does not say that the connection broke: whoever asked waits to the end.
        async with held.ause() as connection:
            assert (await connection.request(QUEUE, CHARGE, timeout=SHORT)).data == DONE.encode()

    yield charge
    await held.adrop()


def by_pika(at: Setting) -> Iterator[Work]:
    def connect() -> BlockingChannel:
        channel = pika.BlockingConnection(
            pika.ConnectionParameters("127.0.0.1", at.port, socket_timeout=1, connection_attempts=1)
        ).channel()
        channel.confirm_delivery()
        return channel

    def close(channel: BlockingChannel) -> None:
        connection = channel.connection
        try:
            with deadline.interrupting(at.patience):
                connection.close()
        except TimeoutError:
            # While its server says nothing, nothing public lets go of its sockets.
            connection._impl._terminate_stream(pika.exceptions.StreamLostError())
            connection._impl.ioloop.process_timeouts()
            connection._cleanup()

    held = Held[BlockingChannel](connect, close)

    def charge() -> None:
        # pika has no timeout for a confirmation.
        with held.use() as channel, deadline.interrupting(at.patience):
            channel.basic_publish("", QUEUE, CHARGE, mandatory=True)

    yield charge
    held.drop()


async def by_aio_pika(at: Setting) -> AsyncIterator[Work]:
    connect = aio_pika.connect_robust if at.own_retries else aio_pika.connect
    held = Held[aio_pika.abc.AbstractConnection](
        lambda: connect(f"amqp://127.0.0.1:{at.port}"),
        lambda connection: connection.close(),
        lambda connection: not connection.connected.is_set(),  # `is_closed` says so only of its own doing
    )

    async def charge() -> None:
        async with held.ause() as connection:
            channel = await connection.channel()
            await channel.default_exchange.publish(aio_pika.Message(CHARGE), QUEUE, timeout=at.patience)
            await channel.close()

    yield charge
    await held.adrop()


#: To connect again soon, and to try nothing again.
_SOON = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100)]
_ONCE = [("grpc.enable_retries", 0)]
_POLICY = {
    "maxAttempts": 3,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.1s",
    "backoffMultiplier": 1,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_RETRYING = [("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": _POLICY}]}))]


def _by_grpc(
    at: Setting, options: Sequence[tuple[str, Any]], wrapped: Callable[[Any], Callable[..., Any]] = lambda call: call
) -> Iterator[Work]:
    with grpc.insecure_channel(f"127.0.0.1:{at.port}", [*_SOON, *options]) as channel:
        call = wrapped(channel.unary_unary(METHOD))
        yield lambda: call(CHARGE, timeout=at.patience)


async def _by_grpc_async(
    at: Setting, options: Sequence[tuple[str, Any]], wrapped: Callable[[Any], Callable[..., Any]] = lambda call: call
) -> AsyncIterator[Work]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{at.port}", [*_SOON, *options]) as channel:
        call = wrapped(channel.unary_unary(METHOD))

        async def charge() -> None:
            await call(CHARGE, timeout=at.patience)

        yield charge


def by_grpc(at: Setting) -> Iterator[Work]:
    yield from _by_grpc(at, [] if at.own_retries else _ONCE)


async def by_grpc_async(at: Setting) -> AsyncIterator[Work]:
    async for work in _by_grpc_async(at, [] if at.own_retries else _ONCE):
        yield work


def by_grpc_retrying(at: Setting) -> Iterator[Work]:
    yield from _by_grpc(at, _RETRYING if at.own_retries else _ONCE)


def by_google(at: Setting) -> Iterator[Work]:
    yield from _by_grpc(at, _ONCE, grpc_helpers.wrap_errors)


async def by_google_async(at: Setting) -> AsyncIterator[Work]:
    async for work in _by_grpc_async(at, _ONCE, grpc_helpers_async.wrap_errors):
        yield work


def by_google_retrying(at: Setting) -> Iterator[Work]:
    trying: Any = google_retry.Retry(initial=0.05, maximum=0.1, timeout=1) if at.own_retries else lambda call: call
    wrapped: Any = grpc_helpers.wrap_errors
    yield from _by_grpc(at, _ONCE, lambda call: trying(wrapped(call)))


async def by_mcp(at: Setting) -> AsyncIterator[Work]:
    async def charge() -> None:
        async with mcp.Client(f"http://127.0.0.1:{at.port}/mcp", read_timeout_seconds=at.patience) as client:
            await client.list_tools()  # or else the client asks for the list after the call, and fails if that is lost
            assert not (await client.call_tool("charge", {"cents": 300})).is_error

    yield charge


async def by_mcp_unlisted(at: Setting) -> AsyncIterator[Work]:
    async def charge() -> None:
        async with mcp.Client(f"http://127.0.0.1:{at.port}/mcp", read_timeout_seconds=at.patience) as client:
            assert not (await client.call_tool("charge", {"cents": 300})).is_error

    yield charge


BROKERS = (
    Client("nats", "nats_server", by_nats, request=CHARGE, reply=DONE.encode(), own=1),
    # A confirmation that comes with the end of the connection, pika does not look at.
    Client("pika", "rabbitmq_server", by_pika, request=CHARGE, others={Fault.GO_AWAY: (1, 2)}),
    Client("aio-pika", "rabbitmq_server", by_aio_pika, request=CHARGE, own=1),
)
RPC = (
    Client("websockets", "websocket_server", by_websockets, request=_FRAME),
    Client("websockets, async", "websocket_server", by_websockets_async, request=_FRAME),
    Client("grpc", "grpc_server", by_grpc, request=CHARGE, reply=DONE.encode(), pause=0.15, own=1),
    Client("grpc, async", "grpc_server", by_grpc_async, request=CHARGE, reply=DONE.encode(), pause=0.15, own=1),
    Client("google-api-core", "grpc_server", by_google, request=CHARGE, reply=DONE.encode(), pause=0.15),
    Client("google-api-core, async", "grpc_server", by_google_async, request=CHARGE, reply=DONE.encode(), pause=0.15),
    Client("mcp", "mcp_server", by_mcp, request=_TOOL_CALL, reply=DONE.encode()),
)
#: What is one call, and two requests.
RPC_TWICE = (Client("mcp, tools not listed", "mcp_server", by_mcp_unlisted, request=_TOOL_CALL, reply=DONE.encode()),)
#: What they try again by themselves only if asked.
RPC_RETRYING = (
    # Its last attempt is all that gRPC tells of: that one found nobody.
    Client(
        "grpc, a retryPolicy",
        "grpc_server",
        by_grpc_retrying,
        request=CHARGE,
        reply=DONE.encode(),
        pause=0.15,
        own=2,
        own_refused=2,
    ),
    Client("google-api-core, a Retry", "grpc_server", by_google_retrying, request=CHARGE, reply=DONE.encode(), own=2),
)
