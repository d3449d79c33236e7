"""The servers of the matrix, and how each counts: by its own state, asked on a connection that does not go through a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import mcp.server
import mcp_types
import nats
import pika
import psycopg
import redis
import uvicorn
import websockets.sync.server
from attrs import define
from tests.idempotency.counting import DONE
from tests.idempotency.database_clients import CHARGES
from tests.idempotency.rpc_clients import METHOD, QUEUE
from tests.servers.mongo import mongo_server


@define
class Counted:
    """A server elsewhere; see `tests.idempotency.matrix.Service`."""

    port: int
    executions: Callable[[], int]


@define
class Counter:
    """A server whose handler, in this process, counts."""

    port: int = 0
    done: int = 0

    def executions(self) -> int:
        """How often the handler was called."""
        return self.done


@contextlib.contextmanager
def counting_redis(port: int) -> Iterator[Counted]:
    """By the value of the counter."""
    with redis.Redis(port=port) as client:
        client.set(CHARGES, 0)
        yield Counted(port, lambda: int(client.get(CHARGES)))


@contextlib.contextmanager
def counting_postgres(port: int) -> Iterator[Counted]:
    """By the rows of the table."""
    with psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {CHARGES} (cents integer)")

        def rows() -> int:
            found = connection.execute(f"SELECT count(*) FROM {CHARGES}").fetchone()
            assert found is not None
            return int(found[0])

        yield Counted(port, rows)


@contextlib.contextmanager
def counting_mongo() -> Iterator[Counted]:
    """By the inserts that were carried out: as a real server, it does nothing again under the same transaction number."""
    done: list[object] = []

    def answer(command: dict[str, Any]) -> dict[str, Any]:
        if "insert" in command:
            known = (command["lsid"]["id"], command["txnNumber"]) if "txnNumber" in command else object()
            if known not in done:
                done.append(known)
        return {"ok": 1.0, "n": 1}

    with mongo_server(answer) as server:
        yield Counted(server.port, lambda: len(done))


@contextlib.contextmanager
def counting_rabbitmq(port: int) -> Iterator[Counted]:
    """By the messages in the queue."""
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, heartbeat=0)) as connection:
        channel = connection.channel()
        channel.queue_delete(QUEUE)
        channel.queue_declare(QUEUE)
        yield Counted(port, lambda: channel.queue_declare(QUEUE, passive=True).method.message_count)
        channel.queue_delete(QUEUE)


@contextlib.contextmanager
def counting_nats(port: int) -> Iterator[Counter]:
    """By the calls of a responder."""
    counter = Counter(port)

    async def respond(ready: threading.Event, stop: asyncio.Event) -> None:
        async def charged(message: Any) -> None:
            counter.done += 1
            await message.respond(DONE.encode())

        connection = await nats.connect(f"nats://127.0.0.1:{port}")
        await connection.subscribe(QUEUE, cb=charged)
        await connection.flush()
        ready.set()
        await stop.wait()
        await connection.close()

    with _in_thread(respond):
        yield counter


def _charged(counter: Counter, connection: websockets.sync.server.ServerConnection) -> None:
    counter.done += 1
    connection.send(DONE)


@contextlib.contextmanager
def counting_websockets(
    charged: Callable[[Counter, websockets.sync.server.ServerConnection], None] = _charged,
) -> Iterator[Counter]:
    """By the messages that came; what is done with one may be told."""
    counter = Counter()

    def serve(connection: websockets.sync.server.ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                connection.recv()
                charged(counter, connection)

    with websockets.sync.server.serve(serve, "127.0.0.1", 0) as server:
        counter.port = server.socket.getsockname()[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield counter
        finally:
            server.shutdown()
            thread.join()


def _carried_out(_context: grpc.ServicerContext) -> bytes:
    return DONE.encode()


@contextlib.contextmanager
def counting_grpc(answer: Callable[[grpc.ServicerContext], bytes] = _carried_out) -> Iterator[Counter]:
    """By the calls of the handler; what it says after the work may be told."""
    counter = Counter()

    def charged(_request: bytes, context: grpc.ServicerContext) -> bytes:
        counter.done += 1
        return answer(context)

    class Till(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(charged) if details.method == METHOD else None

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, [Till()])
        counter.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield counter
        finally:
            server.stop(None).wait()


@contextlib.contextmanager
def counting_mcp() -> Iterator[Counter]:
    """By the calls of the tool."""
    counter = Counter()
    charging = mcp_types.Tool(name="charge", input_schema={"type": "object"})

    async def list_tools(_context: Any, _params: Any) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=[charging])

    async def charge(_context: Any, _params: Any) -> mcp_types.CallToolResult:
        counter.done += 1
        return mcp_types.CallToolResult(content=[mcp_types.TextContent(type="text", text=DONE)])

    shop = mcp.server.Server("shop", on_list_tools=list_tools, on_call_tool=charge)
    server = uvicorn.Server(uvicorn.Config(shop.streamable_http_app(), host="127.0.0.1", port=0, log_level="critical"))

    async def serve(ready: threading.Event, stop: asyncio.Event) -> None:
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        counter.port = server.servers[0].sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.should_exit = True
        await serving

    with _in_thread(serve):
        yield counter


@contextlib.contextmanager
def _in_thread(work: Callable[[threading.Event, asyncio.Event], Coroutine[Any, Any, None]]) -> Iterator[None]:
    """The coroutine in an event loop of its own: it says when it is ready, and is told when to stop."""
    ready, stopping = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(work(ready, stopping))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
