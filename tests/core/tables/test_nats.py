"""nats-py, row by row: a real client against real servers, with JetStream and without, and one that says what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client
from nats.js.api import StorageType
from tests.core.tables.proving import Proof
from tests.servers.http import free_port
from tests.servers.nats import NatsServer, nats_server, saying


#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.1

APIError = "nats.js.errors.APIError"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("shared")) as server:
        yield server


@contextlib.asynccontextmanager
async def connected(url: str, heard: list[Exception] | None = None, **options: Any) -> AsyncIterator[Client]:
    """A client that does not connect again by itself; what it hands to its ``error_cb`` is `heard`."""

    async def hear(error: Exception) -> None:
        if heard is not None:
            heard.append(error)

    once = {"allow_reconnect": False, "max_reconnect_attempts": 1, "reconnect_time_wait": 0.01, "connect_timeout": 5}
    client = Client()
    try:
        await client.connect(url, error_cb=hear, **{**once, **options})
    except Exception:
        # It leaves the connection open that it gave up.
        if client._transport is not None:
            client._transport.close()  # type: ignore[no-untyped-call]
            await asyncio.sleep(0)
        raise
    try:
        yield client
    finally:
        await client.close()


async def raised(work: Awaitable[object]) -> Exception:
    with pytest.raises(Exception) as caught:
        await work
    return caught.value


async def when(answer: Callable[[], object]) -> None:
    """Wait for what the client does by itself."""
    async with asyncio.timeout(10):
        while not answer():
            await asyncio.sleep(0.01)


async def error_of_connecting(url: str, **options: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        async with connected(url, **options):
            pass
    return caught.value


# Connecting.


def test_refused(proof: Proof) -> None:
    """It tries every server as often as it may, and then says only that."""
    error = asyncio.run(error_of_connecting(f"nats://127.0.0.1:{free_port()}"))
    proof.server(error, "nats.errors.NoServersError", "transient")


def test_a_server_that_is_back(proof: Proof, tmp_path: Path) -> None:
    with nats_server(tmp_path) as restarted:
        restarted.kill()
        error = asyncio.run(error_of_connecting(restarted.url))
        proof.server(error, "nats.errors.NoServersError", "transient")
        restarted.start()

        async def asks() -> bytes:
            async with connected(restarted.url) as client:
                return (await client.request("$JS.API.INFO")).data

        assert b"memory" in asyncio.run(asks())


def test_authentication(proof: Proof, tmp_path: Path) -> None:
    """Where the client may connect again, it does, and in the end says that there is no server."""
    row = "nats.errors.Error, said: authorization violation"
    with nats_server(tmp_path, "authorization: {user: me, password: right}") as server:
        error = asyncio.run(error_of_connecting(server.url, user="me", password="wrong"))
        proof.server(error, row, "permanent")
        error = asyncio.run(error_of_connecting(server.url, allow_reconnect=True))
        proof.server(error, "nats.errors.NoServersError", "transient")


def test_a_certificate_that_is_not_trusted(proof: Proof, tmp_path: Path) -> None:
    """The error of TLS itself: another table's."""
    pem = Path(__file__).parents[2] / "servers" / "untrusted.pem"
    with nats_server(tmp_path, f'tls: {{cert_file: "{pem}", key_file: "{pem}"}}') as server:
        error = asyncio.run(error_of_connecting(server.url, tls=ssl.create_default_context(), tls_hostname="localhost"))
        proof.server(error, "ssl.SSLCertVerificationError", "permanent")


@pytest.mark.parametrize(("said", "kind", "throttled"), [
    ("Authentication Timeout", "transient", False),
    ("maximum account active connections exceeded", "transient", True),
    ("maximum connections exceeded", "transient", True),
])  # fmt: skip
def test_turned_away(proof: Proof, said: str, kind: str, throttled: bool) -> None:
    """A real one says so and hangs up, mostly before the client can read it."""
    with saying(f"-ERR '{said}'") as url:
        error = asyncio.run(error_of_connecting(url))
    proof.server(error, f"nats.errors.Error, said: {said.lower()}", kind, throttled=throttled)


def test_turned_away_without_a_word(proof: Proof) -> None:
    with saying(info="") as url:
        error = asyncio.run(error_of_connecting(url))
    proof.server(error, "nats.errors.Error, said: empty response from server when expecting info message", "transient")


def test_one_connection_too_many(proof: Proof, tmp_path: Path) -> None:
    """Whichever the client meets first, the words or the reset, it is worth another try."""

    async def error(url: str) -> Exception:
        async with contextlib.AsyncExitStack() as stack:
            with pytest.raises(Exception) as caught:
                for _ in range(3):
                    await stack.enter_async_context(connected(url))
        return caught.value

    with nats_server(tmp_path, "max_connections: 2") as server:
        verdict = proof.tables(asyncio.run(error(server.url)))
    assert verdict is not None
    assert verdict.kind in {"transient", "unsure"}


# The connection.


def test_killed(proof: Proof, tmp_path: Path) -> None:
    """A client that may not connect again is closed: the next call says so before it sends anything."""

    async def errors(server: NatsServer) -> list[Exception]:
        async with connected(server.url) as client:
            server.kill()
            await when(lambda: client.is_closed)
            return [
                await raised(client.publish("it", b"")),
                await raised(client.subscribe("it")),
                await raised(client.request("it", b"")),
                await raised(client.flush()),
            ]

    row = "nats.errors.ConnectionClosedError"
    with nats_server(tmp_path) as server:
        published, subscribed, requested, flushed = asyncio.run(errors(server))
    proof.server(published, f"{row}, raised in publish", "transient")
    proof.server(subscribed, f"{row}, raised in subscribe", "transient")
    proof.server(requested, f"{row}, raised in subscribe", "transient")
    # What was published before may be on its way, or lost.
    proof.server(flushed, f"{row}, any other raised in", "unsure")


def test_killed_in_the_middle_of_a_request(proof: Proof, tmp_path: Path) -> None:
    """Nobody tells the request: its time runs out."""

    async def error(server: NatsServer) -> Exception:
        async with connected(server.url) as client:
            asked = await client.subscribe("silent")
            waiting = asyncio.create_task(raised(client.request("silent", b"", timeout=0.5)))
            await asked.next_msg()
            server.kill()
            return await waiting

    with nats_server(tmp_path) as server:
        proof.server(asyncio.run(error(server)), "nats.errors.TimeoutError", "unsure")


def test_a_server_that_hangs(proof: Proof, tmp_path: Path) -> None:
    """The client asks whether it is still there, and gives the connection up."""

    async def errors(server: NatsServer) -> tuple[Exception, Exception | None]:
        async with connected(server.url, ping_interval=0.1, max_outstanding_pings=1) as client:
            server.pause()
            flushed = await raised(client.flush(timeout=0.05))  # type: ignore[arg-type]
            await when(lambda: client.is_closed)
            return flushed, client.last_error

    with nats_server(tmp_path) as server:
        flushed, last = asyncio.run(errors(server))
    assert isinstance(flushed, nats.errors.FlushTimeoutError)
    proof.server(flushed, "nats.errors.TimeoutError", "unsure")
    assert last is not None
    proof.server(last, "nats.errors.StaleConnectionError", "unsure")


def test_the_end_of_the_stream(proof: Proof, tmp_path: Path) -> None:
    """A server that ends as it wants to."""

    async def heard(server: NatsServer) -> list[Exception]:
        errors: list[Exception] = []
        async with connected(server.url, errors) as client:
            server.stop()
            await when(lambda: client.is_closed)
        return errors

    with nats_server(tmp_path) as server:
        ended = asyncio.run(heard(server))[-1]
    assert isinstance(ended, nats.errors.UnexpectedEOF)
    proof.server(ended, "nats.errors.StaleConnectionError", "unsure")


def test_while_it_connects_again(proof: Proof, tmp_path: Path) -> None:
    """What is published is kept, unless it is too much."""

    async def errors(server: NatsServer) -> tuple[Exception, Exception]:
        async with connected(server.url, allow_reconnect=True, max_reconnect_attempts=100, pending_size=10) as client:
            server.kill()
            await when(lambda: client.is_reconnecting)
            return await raised(client.publish("it", b"not so small")), await raised(client.drain())

    with nats_server(tmp_path) as server:
        full, drained = asyncio.run(errors(server))
    proof.server(full, "nats.errors.OutboundBufferLimitError", "transient")
    proof.server(drained, "nats.errors.ConnectionReconnectingError", "transient")


def test_while_it_is_being_closed(proof: Proof, server: NatsServer) -> None:
    async def error() -> Exception:
        async with connected(server.url) as client:
            handling = asyncio.Event()

            async def slowly(_message: object) -> None:
                await handling.wait()

            await client.subscribe("it", cb=slowly)
            await client.publish("it", b"")
            await client.flush()
            draining = asyncio.create_task(client.drain())
            await when(lambda: client.is_draining)
            caught = await raised(client.subscribe("more"))
            handling.set()
            await draining
            return caught

    proof.server(asyncio.run(error()), "nats.errors.ConnectionDrainingError", "permanent")


@pytest.mark.parametrize(("said", "row", "kind"), [
    ("-ERR 'Authorization Violation'", "nats.errors.AuthorizationError", "permanent"),
    ("-ERR 'Stale Connection'", "nats.errors.StaleConnectionError", "unsure"),
    ("what?", "nats.errors.ProtocolError", "unsure"),
])  # fmt: skip
def test_said_later(proof: Proof, said: str, row: str, kind: str) -> None:
    """The client keeps why it closed."""

    async def last(url: str) -> Exception | None:
        async with connected(url) as client:
            await when(lambda: client.is_closed)
            return client.last_error

    with saying("PONG", said) as url:
        error = asyncio.run(last(url))
    assert error is not None
    proof.server(error, row, kind)


def test_not_permitted(proof: Proof, tmp_path: Path) -> None:
    """Publishing is not answered: the client hears of it later."""

    async def heard(url: str) -> list[Exception]:
        errors: list[Exception] = []
        async with connected(url, errors, user="me", password="me") as client:
            await client.publish("it", b"")
            await when(lambda: errors)
        return errors

    config = 'authorization: {users: [{user: me, password: me, permissions: {publish: {deny: "it"}}}]}'
    with nats_server(tmp_path, config) as server:
        proof.server(asyncio.run(heard(server.url))[0], "nats.errors.Error, said: permissions violation*", "permanent")


def test_messages_that_come_too_fast(proof: Proof, server: NatsServer) -> None:
    async def heard() -> list[Exception]:
        errors: list[Exception] = []
        async with connected(server.url, errors) as client:
            await client.subscribe("it", pending_msgs_limit=1)
            for _ in range(3):
                await client.publish("it", b"")
            await when(lambda: errors)
        return errors

    proof.server(asyncio.run(heard())[0], "nats.errors.SlowConsumerError", "unsure", throttled=True)


# Requests.


def test_nobody_listens(proof: Proof, server: NatsServer) -> None:
    """The server says so at once."""

    async def errors() -> list[Exception]:
        async with connected(server.url) as client:
            new = await raised(client.request("nobody", b""))
            return [new, await raised(client.request("nobody", b"", old_style=True))]

    for error in asyncio.run(errors()):
        proof.server(error, "nats.errors.NoRespondersError", "transient")


def test_no_answer_in_time(proof: Proof, server: NatsServer) -> None:
    async def errors() -> list[Exception]:
        async with connected(server.url) as client:
            silent = await client.subscribe("silent")
            request = await raised(client.request("silent", b"", timeout=SOON))
            assert await silent.next_msg()
            return [request, await raised(silent.next_msg(timeout=SOON))]

    for error in asyncio.run(errors()):
        proof.server(error, "nats.errors.TimeoutError", "unsure")


def test_too_large(proof: Proof, server: NatsServer) -> None:
    async def error() -> Exception:
        async with connected(server.url) as client:
            return await raised(client.publish("it", b"x" * 2_000_000))

    proof.server(asyncio.run(error()), "nats.errors.MaxPayloadError", "permanent")


def test_misuse_is_not_known(proof: Proof, server: NatsServer) -> None:
    async def errors() -> list[Exception]:
        async with connected(server.url) as client:
            received = await client.subscribe("it")
            await client.publish("it", b"")
            message = await received.next_msg()
            return [
                await raised(client.publish("not a subject", b"")),
                await raised(client.publish("it", b"", headers={"no:header": ""})),
                await raised(client.flush(timeout=0)),
                await raised(message.ack()),
            ]

    for error in asyncio.run(errors()):
        proof.unknown(error)


# JetStream.


def test_no_jetstream(proof: Proof, tmp_path: Path) -> None:
    """Nobody listens; for an account that may not use it, somebody says so."""

    async def errors(url: str, **options: Any) -> tuple[Exception, Exception]:
        async with connected(url, **options) as client:
            stream = client.jetstream()
            return await raised(stream.publish("it", b"")), await raised(stream.account_info())

    with nats_server(tmp_path, "") as server:
        published, asked = asyncio.run(errors(server.url))
        proof.server(published, "nats.js.errors.NoStreamResponseError", "transient")
        proof.server(asked, "nats.js.errors.ServiceUnavailableError, code none", "transient")
    accounts = "{A: {users: [{user: a, password: a}]}, B: {jetstream: enabled, users: [{user: b, password: b}]}}"
    with nats_server(tmp_path, f"jetstream: enabled\naccounts: {accounts}") as server:
        published, asked = asyncio.run(errors(server.url, user="a", password="a"))
        proof.server(published, "nats.js.errors.NoStreamResponseError", "transient")
        proof.server(asked, f"{APIError}, err_code 10039", "permanent")


def test_a_stream_that_is_full(proof: Proof, server: NatsServer) -> None:
    """It keeps what it has, and takes nothing more."""

    async def errors() -> tuple[Exception, Exception]:
        async with connected(server.url) as client:
            stream = client.jetstream()
            await stream.add_stream(name="full", subjects=["full"], max_msgs=1, discard="new")
            await stream.publish("full", b"")
            published = await raised(stream.publish("full", b""))
            wrong = await raised(stream.publish("full", b"", headers={"Nats-Expected-Last-Sequence": "7"}))
            return published, wrong

    published, wrong = asyncio.run(errors())
    proof.server(published, f"{APIError}, err_code 10077", "transient", throttled=True)
    proof.server(wrong, "nats.js.errors.BadRequestError", "permanent")


def test_no_room(proof: Proof, tmp_path: Path) -> None:
    async def errors(url: str) -> tuple[Exception, Exception, Exception]:
        async with connected(url) as client:
            stream = client.jetstream()
            file = await raised(stream.add_stream(name="large", subjects=["large"], max_bytes=10_000_000))
            memory = await raised(
                stream.add_stream(name="large", subjects=["large"], max_bytes=10_000_000, storage=StorageType.MEMORY)
            )
            await stream.add_stream(name="filled", subjects=["filled"])

            async def fill() -> None:
                for _ in range(20):
                    await stream.publish("filled", b"x" * 100_000)

            return file, memory, await raised(fill())

    with nats_server(tmp_path, "jetstream: {max_file_store: 1MB, max_memory_store: 1MB}") as server:
        file, memory, filled = asyncio.run(errors(server.url))
    proof.server(file, f"{APIError}, err_code 10047", "transient", throttled=True)
    proof.server(memory, f"{APIError}, err_code 10028", "transient", throttled=True)
    proof.server(filled, f"{APIError}, err_code 10023", "transient", throttled=True)


def test_not_found(proof: Proof, server: NatsServer) -> None:
    async def errors() -> list[Exception]:
        async with connected(server.url) as client:
            stream = client.jetstream()
            buckets = await stream.create_key_value(bucket="bucket")
            found = [
                await raised(stream.stream_info("none")),
                await raised(stream.key_value("none")),
                await raised(buckets.get("none")),
            ]
            await buckets.put("gone", b"")
            await buckets.delete("gone")
            return [*found, await raised(buckets.get("gone"))]

    for error in asyncio.run(errors()):
        proof.server(error, "nats.js.errors.NotFoundError", "permanent")


def test_somebody_else_was_first(proof: Proof, server: NatsServer) -> None:
    """Whoever updates a key reads it again first."""

    async def errors() -> list[Exception]:
        async with connected(server.url) as client:
            bucket = await client.jetstream().create_key_value(bucket="updated")
            await bucket.create("key", b"")
            return [await raised(bucket.create("key", b"")), await raised(bucket.update("key", b"", last=7))]

    for error in asyncio.run(errors()):
        assert isinstance(error, nats.js.errors.KeyWrongLastSequenceError)
        proof.server(error, "nats.js.errors.BadRequestError", "permanent")


def test_nothing_to_fetch(proof: Proof, server: NatsServer) -> None:
    async def error() -> Exception:
        async with connected(server.url) as client:
            stream = client.jetstream()
            await stream.add_stream(name="empty", subjects=["empty"])
            pulled = await stream.pull_subscribe("empty", "reader")
            return await raised(pulled.fetch(1, timeout=SOON))

    proof.server(asyncio.run(error()), "nats.errors.TimeoutError", "unsure")


def test_too_many_messages_wait_for_an_answer(proof: Proof, server: NatsServer) -> None:
    async def error() -> Exception:
        async with connected(server.url) as client:
            await client.subscribe("silent")
            stream = client.jetstream(publish_async_max_pending=1)
            first = await stream.publish_async("silent", b"")
            caught = await raised(stream.publish_async("silent", b"", wait_stall=SOON))
            first.cancel()
            return caught

    proof.server(asyncio.run(error()), "nats.js.errors.TooManyStalledMsgsError", "transient")


@pytest.mark.parametrize(("code", "err_code", "row", "kind", "throttled"), [
    (503, 10008, "err_code 10008", "transient", False),
    (503, 10163, "err_code 10163", "transient", False),
    (409, 10158, "err_code 10158", "unsure", False),
    (503, 10076, "err_code 10076", "permanent", False),
    (429, 10167, "code 429", "transient", True),
    (500, 10050, "code 500", "unsure", False),
    (503, 10004, "code 503", "unsure", True),
    (503, None, "code 503", "unsure", True),
    (409, 10000, "any other code", "permanent", False),
])  # fmt: skip
def test_what_only_a_larger_or_newer_server_answers(
    proof: Proof, server: NatsServer, code: object, err_code: object, row: str, kind: str, throttled: bool
) -> None:
    """A client that answers in JetStream's place."""

    async def error() -> Exception:
        async with connected(server.url) as client:
            body = {"error": {"code": code, "err_code": err_code, "description": "no"}}

            async def answer(message: Any) -> None:
                await message.respond(json.dumps(body).encode())

            await client.subscribe("stream", cb=answer)
            return await raised(client.jetstream().publish("stream", b""))

    proof.server(asyncio.run(error()), f"{APIError}, {row}", kind, throttled=throttled)


def test_errors_of_another_kind(proof: Proof) -> None:
    """Without words, without codes, without a traceback."""
    for args in ((), (None,), (7,), ("nats: something new",)):
        proof.unknown(nats.errors.Error(*args))
    proof.unknown(nats.js.errors.APIError())
    proof.unknown(nats.js.errors.NoKeysError())
    proof.unknown(nats.js.errors.APIError(code="many", err_code=[]))  # type: ignore[arg-type]
    texts = nats.js.errors.APIError(code="503", err_code="10008")  # type: ignore[arg-type]
    proof.server(texts, f"{APIError}, code 503", "unsure", throttled=True)
    proof.server(
        nats.errors.ConnectionClosedError(), "nats.errors.ConnectionClosedError, any other raised in", "unsure"
    )


def test_a_class_of_ones_own(proof: Proof) -> None:
    """The nearest class that is known counts; the client's own old names are such."""

    class Mine(nats.errors.NoRespondersError):
        pass

    proof.server(Mine(), "nats.errors.NoRespondersError", "transient")
