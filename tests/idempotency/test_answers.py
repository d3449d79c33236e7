"""Answers that are errors, from servers that have done the work all the same: what they say is all that a client knows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import httpx2
import pika
import pytest
import redis
import websockets.sync.server
from tests.idempotency.checking import each
from tests.idempotency.counting import DONE, CountingServer
from tests.idempotency.http_clients import CHARGE, HTTP, SDKS, url
from tests.idempotency.matrix import Client, Setting, Work, counted
from tests.idempotency.rpc_clients import RPC
from tests.idempotency.services import Counter, counting_grpc, counting_websockets
from tests.servers.http import free_port
from tests.servers.rabbitmq import Broker
from tests.servers.redis import redis_server

from resilience import ConstantBackoff, RetryPolicy, retry, transient
from resilience.instrumentation import GiveUpReason


#: Those that return the answer, and leave it to the caller to raise.
SILENT = {"http.client", "urllib3"}
RAISING = [client for client in (*HTTP, *SDKS) if client.name not in SILENT]
#: How often `counted` tries.
ATTEMPTS = 4
ONCE: RetryPolicy = retry(on=transient, idempotent=False, attempts=ATTEMPTS, backoff=ConstantBackoff(0.01), name="once")


def answered(client: Client, server: CountingServer, status: int, location: str | None = None) -> tuple[int, object]:
    """How often the work is done if the server does it and says this, and why no more is tried."""
    headers = {} if location is None else {"Location": location}

    def say_so(_proxy: object) -> None:
        server.instead = (status, headers, {"message": "said"})

    try:
        seen = counted(client, server, idempotent=False, expected=None, meeting=say_so)
    finally:
        server.instead = None
    assert seen.error is not None
    return seen.executions, seen.reason


@each(RAISING)
@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 529])
def test_a_status_that_is_worth_another_try(client: Client, status: int, http_server: CountingServer) -> None:
    """None of them says that nothing was done."""
    executions, _ = answered(client, http_server, status)
    assert executions == 1


@each(RAISING)
def test_too_many_requests_is_believed(client: Client, http_server: CountingServer) -> None:
    """429 means "refused": a server that did the work before it says so is asked for it again."""
    assert answered(client, http_server, 429) == (ATTEMPTS, GiveUpReason.ATTEMPTS)


def by_httpx_following(at: Setting) -> Iterator[Work]:
    with httpx.Client(timeout=at.patience, follow_redirects=True) as client:
        yield lambda: client.post(url(at.port), content=CHARGE)


def by_httpx2_following(at: Setting) -> Iterator[Work]:
    with httpx2.Client(timeout=at.patience, follow_redirects=True) as client:
        yield lambda: client.post(url(at.port), content=CHARGE)


FOLLOWING = [
    *(client for client in RAISING if client.name in {"urllib.request", "requests", "aiohttp", "docker"}),
    *(client for client in RAISING if client.name.startswith(("openai", "anthropic"))),
    Client("httpx, following", "http_server", by_httpx_following),
    Client("httpx2, following", "http_server", by_httpx2_following),
]


@each(FOLLOWING)
@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_to_where_nobody_is(client: Client, status: int, http_server: CountingServer) -> None:
    """The first server has done the work; that the second one refused the connection is no proof."""
    location = f"http://127.0.0.1:{free_port()}/receipt"
    assert answered(client, http_server, status, location) == (1, GiveUpReason.UNSURE)


# -- gRPC -----------------------------------------------------------------------------------------------------------------


GRPC = [client for client in RPC if client.service == "grpc_server"]


def aborted(client: Client, code: grpc.StatusCode, details: str) -> int:
    """How often the work is done if the server does it and says this."""
    said: list[tuple[grpc.StatusCode, str]] = []

    def answer(context: grpc.ServicerContext) -> bytes:
        if said:
            context.abort(*said[0])
        return DONE.encode()

    with counting_grpc(answer) as service:
        tell = lambda _proxy: said.append((code, details))  # noqa: E731
        seen = counted(client, service, idempotent=False, expected=None, meeting=tell)
    assert seen.error is not None
    return seen.executions


@pytest.mark.filterwarnings("ignore:Please install grpcio-status:ImportWarning")
@each(GRPC)
@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_status_of_grpc(client: Client, code: grpc.StatusCode) -> None:
    """No status says by itself that nothing was done."""
    assert aborted(client, code, "said by the handler") == 1


@pytest.mark.filterwarnings("ignore:Please install grpcio-status:ImportWarning")
@each(GRPC)
def test_the_words_of_grpc_are_believed(client: Client) -> None:
    """A server that passes on, letter for letter, that it could not connect to another one is taken for unreachable."""
    words = "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:443: Connection refused"
    assert aborted(client, grpc.StatusCode.UNAVAILABLE, words) == ATTEMPTS


# -- the rest -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 1013, 1014, 4000])
def test_a_websocket_closed_in_good_order(code: int) -> None:
    """The message was read, and the work done, before the server said goodbye."""
    (client,) = (client for client in RPC if client.name == "websockets")
    closing: list[int] = []

    def charged(counter: Counter, connection: websockets.sync.server.ServerConnection) -> None:
        counter.done += 1
        if closing:
            connection.close(closing[0])
        else:
            connection.send(DONE)

    with counting_websockets(charged) as service:
        seen = counted(client, service, idempotent=False, expected=None, meeting=lambda _proxy: closing.append(code))
    assert (seen.executions, seen.error is None) == (1, False)


def test_a_pipeline_of_which_one_command_was_refused(tmp_path: Path) -> None:
    """Without a transaction the other commands were carried out, and are not again."""
    with redis_server(tmp_path) as server, redis.Redis(port=server.port) as client:
        client.rpush("queue", *range(10))
        client.config_set("maxmemory", 1)

        def take() -> None:
            with client.pipeline(transaction=False) as pipeline:
                pipeline.lpop("queue")
                pipeline.set("taken", 1)
                pipeline.execute()

        with pytest.raises(redis.exceptions.OutOfMemoryError):
            ONCE.call(take)
        assert client.llen("queue") == 9


def test_a_transaction_that_was_refused(tmp_path: Path) -> None:
    """Of a transaction nothing was carried out: it is tried again as soon as there is room."""
    with redis_server(tmp_path) as server, redis.Redis(port=server.port) as client:
        client.rpush("queue", *range(10))
        client.config_set("maxmemory", 1)
        attempts: list[int] = []

        def take() -> None:
            attempts.append(1)
            with client.pipeline(transaction=True) as pipeline:
                pipeline.lpop("queue")
                pipeline.set("taken", 1)
                try:
                    pipeline.execute()
                finally:
                    client.config_set("maxmemory", 0)

        ONCE.call(take)
        assert (len(attempts), client.llen("queue")) == (2, 9)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with contextlib.closing(Broker(tmp_path_factory.mktemp("rabbitmq"), {})) as broker:
        yield broker


def test_a_message_that_one_of_two_queues_refused(broker: Broker) -> None:
    """The nack is for both; the other queue has the message."""
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.port)) as connection:
        channel = connection.channel()
        channel.exchange_declare("both", "fanout")
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        for name, arguments in (("full", full), ("free", {})):
            channel.queue_declare(name, arguments=arguments)
            channel.queue_bind(name, "both")
        channel.basic_publish("", "full", b"the only one")
        channel.confirm_delivery()
        publish: Callable[..., None] = channel.basic_publish
        with pytest.raises(pika.exceptions.NackError):
            ONCE.call(publish, "both", "", b"charge 300", mandatory=True)
        assert channel.queue_declare("free", passive=True).method.message_count == 1
