"""websockets, row by row: its three clients (asyncio, threads, trio) against its own server, and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import re
import socket
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
import websockets.asyncio.client
import websockets.exceptions
import websockets.sync.client
import websockets.trio.client
from tests.core.tables.proving import Proof
from tests.servers.http import Answer, Misbehaving, babble, hang_up, reset, says, says_raw, serving, stall
from websockets.sync.server import ServerConnection, serve
from websockets.utils import accept_key

from resilience._core.tables.websockets import CLOSED, REFUSED, each_once


IN = "websockets.exceptions"
#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.05


def by_threads(url: str, **options: Any) -> object:
    with websockets.sync.client.connect(url, **options) as ws:
        ws.send("x")
        return ws.recv()


def by_asyncio(url: str, **options: Any) -> object:
    async def talk() -> object:
        async with websockets.asyncio.client.connect(url, **options) as ws:
            await ws.send("x")
            return await ws.recv()

    return asyncio.run(talk())


def by_trio(url: str, **options: Any) -> object:
    async def talk() -> object:
        async with websockets.trio.client.connect(url, **options) as ws:
            await ws.send("x")
            return await ws.recv()

    return trio.run(talk)


@pytest.fixture(params=[by_threads, by_asyncio, by_trio], ids=lambda by: by.__name__)
def error_of(request: pytest.FixtureRequest) -> Callable[..., Exception]:
    """The error of a client of that colour, which sends one message and waits for one."""

    def error(url: str, **options: Any) -> Exception:
        return raised(lambda: request.param(url.replace("http:", "ws:"), **{"proxy": None, **options}))

    return error


def raised(work: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        work()
    assert not isinstance(caught.value, (Warning, AssertionError))
    return caught.value


@contextlib.contextmanager
def talking(end: Callable[[ServerConnection], object]) -> Iterator[str]:
    """The address of websockets' own server, which takes one message on each connection, and ends it so."""

    def handle(ws: ServerConnection) -> None:
        ws.recv()
        end(ws)

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join(5)


def in_silence(opened: list[Misbehaving]) -> Answer:
    """Open the connection, and say nothing more."""

    def answer(peer: socket.socket) -> None:
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", opened[0].requests[-1])
        assert key is not None
        accepted = accept_key(key[1].decode()).encode()
        head = b"HTTP/1.1 101 Said\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
        says_raw(head % accepted)(peer)
        stall(peer)

    return answer


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that nobody listens on, nor can meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# The end of a connection.


@pytest.mark.parametrize("code", [code for code in CLOSED if code != 1006])
def test_closed_with_a_code(proof: Proof, error_of: Callable[..., Exception], code: int) -> None:
    """The message was sent; the code says that another connection may fare better."""
    with talking(lambda ws: ws.close(code, "why")) as url:
        row = f"{IN}.ConnectionClosed, close code {code}"
        proof.server(error_of(url), row, "unsure", throttled=CLOSED[code].throttled)


@pytest.mark.parametrize("code", [1000, 1003, 1008, 4001])
def test_closed_for_good(proof: Proof, error_of: Callable[..., Exception], code: int) -> None:
    """In good order, or for a reason that stays; what the application's own codes mean it alone knows."""
    with talking(lambda ws: ws.close(code)) as url:
        verdict = proof.server(error_of(url), f"{IN}.ConnectionClosed, any other close code", "permanent")
    assert verdict.reason == f"close code {code}"


def test_closed_without_a_code(proof: Proof, error_of: Callable[..., Exception]) -> None:
    """As good as in good order."""
    with talking(lambda ws: ws.socket.sendall(b"\x88\x00")) as url:
        verdict = proof.server(error_of(url), f"{IN}.ConnectionClosed, any other close code", "permanent")
    assert verdict.reason == "close code 1005"


def cut(ws: ServerConnection) -> None:
    ws.socket.shutdown(socket.SHUT_RDWR)


def reset_it(ws: ServerConnection) -> None:
    ws.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ws.socket.close()


@pytest.mark.parametrize("end", [cut, reset_it])
def test_broke(proof: Proof, error_of: Callable[..., Exception], end: Callable[[ServerConnection], object]) -> None:
    """Nobody said a word."""
    with talking(end) as url:
        proof.server(error_of(url, close_timeout=SOON), f"{IN}.ConnectionClosed, close code 1006", "unsure")


def test_no_answer_to_a_ping(proof: Proof, error_of: Callable[..., Exception]) -> None:
    """This side ends it then, with a code of its own: 1011."""
    opened: list[Misbehaving] = []
    with serving(in_silence(opened)) as server:
        opened.append(server)
        error = error_of(server.url, ping_interval=SOON, ping_timeout=SOON, close_timeout=SOON)
    assert "keepalive ping timeout" in str(error)
    proof.server(error, f"{IN}.ConnectionClosed, close code 1011", "unsure")


def test_refused_by_this_side(proof: Proof, error_of: Callable[..., Exception]) -> None:
    """A message that is too big, or none at all, will be so again."""
    row = f"{IN}.ConnectionClosed, any other close code"
    with talking(lambda ws: ws.send("x" * 100)) as url:
        error = error_of(url, max_size=50, close_timeout=SOON)
        assert proof.server(error, row, "permanent").reason == "close code 1009"
    with talking(lambda ws: ws.socket.sendall(b"\xff" * 10)) as url:
        error = error_of(url, close_timeout=SOON)
        assert proof.server(error, row, "permanent").reason == "close code 1002"


def test_closed_by_this_side(proof: Proof) -> None:
    """To use it after that is a mistake, whatever the other side echoed."""
    with talking(lambda ws: ws.recv()) as url, websockets.sync.client.connect(url, proxy=None) as ws:
        ws.send("x")
        ws.close(1000)
        error = raised(lambda: ws.send("y"))
    assert isinstance(error, websockets.exceptions.ConnectionClosedOK)
    proof.server(error, f"{IN}.ConnectionClosed, any other close code", "permanent")


# The handshake.


@pytest.mark.parametrize("status", [*REFUSED, 302, 401, 404])
def test_handshake_refused(proof: Proof, error_of: Callable[..., Exception], status: int) -> None:
    """No message was sent."""
    verdict = REFUSED.get(status)
    with serving(says(status, retry_after="7")) as server:
        error = error_of(server.url)
    if verdict is None:
        proof.server(error, f"{IN}.InvalidStatus, any other HTTP", "permanent")
    else:
        row = f"{IN}.InvalidStatus, HTTP {status}"
        proof.server(error, row, "transient", throttled=verdict.throttled, after=7.0)


def test_a_hint_that_is_there_twice_counts_as_its_longest(proof: Proof, error_of: Callable[..., Exception]) -> None:
    """websockets' own `get` raises for such a header."""
    twice = says_raw(b"HTTP/1.1 503 Said\r\nRetry-After: 3\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n")
    with serving(twice) as server:
        row = f"{IN}.InvalidStatus, HTTP 503"
        proof.server(error_of(server.url), row, "transient", throttled=True, after=9.0)


@pytest.mark.parametrize("how", [hang_up, reset, says_raw(b"HTTP/1.1 101 Sw")])
def test_handshake_unanswered(proof: Proof, error_of: Callable[..., Exception], how: Answer) -> None:
    """The connection ended in the handshake."""
    with serving(how) as server:
        proof.server(error_of(server.url), f"{IN}.InvalidMessage, instead: closed", "transient")


def test_no_http_there(proof: Proof, error_of: Callable[..., Exception]) -> None:
    """The wrong port will be the wrong port the next time."""
    with serving(babble) as server:
        proof.server(error_of(server.url), f"{IN}.InvalidMessage, any other instead", "permanent")


@pytest.mark.parametrize(
    "head",
    [
        b"Upgrade: else\r\nConnection: Upgrade\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n",
        b"X: %s\r\n" % (b"x" * 10_000),
    ],
)
def test_no_websocket_there(proof: Proof, error_of: Callable[..., Exception], head: bytes) -> None:
    """An answer that switches to something else, or is not to us; one that is too long is no HTTP to this client."""
    with serving(says_raw(b"HTTP/1.1 101 Said\r\n%s\r\n" % head)) as server:
        error = error_of(server.url)
    row = f"{IN}.InvalidMessage, any other instead" if head.startswith(b"X") else f"{IN}.InvalidHandshake"
    proof.server(error, row, "permanent")


def test_round_in_a_circle(proof: Proof, error_of: Callable[..., Exception]) -> None:
    """Redirects without an end."""
    with serving(says(302, location="/")) as server:
        error = error_of(server.url)
    assert isinstance(error, websockets.exceptions.SecurityError)
    proof.server(error, f"{IN}.InvalidHandshake", "permanent")


@pytest.mark.parametrize("status", [*REFUSED, 407])
def test_the_proxy_refuses(proof: Proof, error_of: Callable[..., Exception], status: int) -> None:
    """Nothing was sent to the server behind it."""
    verdict = REFUSED.get(status)
    with serving(says(status, retry_after="7")) as proxy:
        error = error_of("ws://example.invalid/", proxy=proxy.url)
    if verdict is None:
        proof.server(error, f"{IN}.InvalidProxyStatus, any other HTTP", "permanent")
    else:
        row = f"{IN}.InvalidProxyStatus, HTTP {status}"
        proof.server(error, row, "transient", throttled=verdict.throttled, after=7.0)


def test_the_proxy_says_nothing_or_nonsense(proof: Proof, error_of: Callable[..., Exception]) -> None:
    """As with the server's own answer."""
    with serving(hang_up) as proxy:
        error = error_of("ws://example.invalid/", proxy=proxy.url)
        proof.server(error, f"{IN}.InvalidProxyMessage, instead: closed", "transient")
    with serving(babble) as proxy:
        error = error_of("ws://example.invalid/", proxy=proxy.url)
        proof.server(error, f"{IN}.InvalidProxyMessage, any other instead", "permanent")


class SocksError(Exception):
    """As python-socks has it."""

    def __init__(self, error_code: object) -> None:
        super().__init__("SOCKS")
        self.error_code = error_code


@pytest.mark.parametrize("reply", [1, 2, 3, 4, 5, 6, 7, 8])
def test_the_socks_proxy_refuses(proof: Proof, reply: int) -> None:
    """It could not reach the server, or will not."""
    error = websockets.exceptions.ProxyError("failed to connect to SOCKS proxy")
    error.__cause__ = SocksError(reply)
    because = "python-socks is not installed"
    if reply in {2, 7, 8}:
        proof.constructor(error, f"{IN}.ProxyError, any other SOCKS reply", "permanent", because=because)
    else:
        proof.constructor(error, f"{IN}.ProxyError, SOCKS reply {reply}", "transient", because=because)


def test_a_socks_proxy_that_says_no_number(proof: Proof) -> None:
    """A wrong password, for one: then it is a handshake like any other."""
    error = websockets.exceptions.ProxyError("failed to connect to SOCKS proxy")
    error.__cause__ = SocksError(None)
    finding = proof.tables.find(error)
    assert finding is not None
    assert str(finding.by) == f"{IN}.InvalidHandshake"


@pytest.fixture
def legacy() -> Iterator[Any]:
    """The client of before version 14, which warns that it will go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield importlib.import_module("websockets.legacy.client")


@pytest.mark.parametrize("status", [*REFUSED, 401])
def test_handshake_refused_to_the_legacy_client(proof: Proof, legacy: Any, status: int) -> None:
    """Another class for the same."""

    async def talk(url: str) -> None:
        async with legacy.connect(url):
            pass

    verdict = REFUSED.get(status)
    with serving(says(status, retry_after="7")) as server:
        error = raised(lambda: asyncio.run(talk(server.url.replace("http", "ws"))))
    row = "websockets.legacy.exceptions.InvalidStatusCode"
    if verdict is None:
        proof.server(error, f"{row}, any other HTTP", "permanent")
    else:
        proof.server(error, f"{row}, HTTP {status}", "transient", throttled=verdict.throttled, after=7.0)


# Below it, and what nobody knows.


def test_what_fails_below_is_the_standard_librarys(proof: Proof, nobody: int) -> None:
    """Nobody listens; nobody answers."""
    for by in (by_threads, by_asyncio):
        error = raised(lambda: by(f"ws://127.0.0.1:{nobody}", proxy=None))
        verdict = proof.tables(error)
        assert verdict is not None
        assert verdict.kind == "transient"
    with serving(stall) as server:
        for by in (by_threads, by_asyncio, by_trio):
            error = raised(lambda: by(server.url.replace("http", "ws"), proxy=None, open_timeout=SOON))
            assert type(error) is TimeoutError
            verdict = proof.tables(error)
            assert verdict is not None
            assert verdict.kind == "unsure"


def test_mistakes_are_not_known(proof: Proof) -> None:
    """Two that read at once, a message of a wrong type, an address that is none."""

    async def twice(url: str) -> None:
        async with websockets.asyncio.client.connect(url, proxy=None) as ws:
            first = asyncio.create_task(ws.recv())
            await asyncio.sleep(0)
            try:
                await ws.recv()
            finally:
                first.cancel()

    with talking(lambda ws: None) as url:
        error = raised(lambda: asyncio.run(twice(url)))
    assert isinstance(error, websockets.exceptions.ConcurrencyError)
    proof.unknown(error)
    proof.unknown(raised(lambda: by_threads("http://127.0.0.1/", proxy=None)))
    proof.unknown(raised(lambda: by_threads("ws://127.0.0.1/", proxy="none://x")))
    proof.unknown(websockets.exceptions.PayloadTooBig(2, 1))
    proof.unknown(websockets.exceptions.InvalidState())


@pytest.mark.parametrize(("code", "kind"), [(1012, "unsure"), (1000, "permanent"), (None, None), ("1012", None)])
def test_before_version_10_the_error_has_the_code_itself(proof: Proof, code: object, kind: str | None) -> None:
    """And no frames."""
    old = type("ConnectionClosed", (Exception,), {"__module__": IN, "code": code})
    verdict = proof.tables(old())
    assert (None if verdict is None else verdict.kind) == kind


def test_a_class_of_ones_own(proof: Proof) -> None:
    """It means what its base does."""

    class Own(websockets.exceptions.ConnectionClosedError):
        pass

    verdict = proof.tables(Own(None, None))
    assert verdict is not None
    assert verdict.kind == "unsure"


def test_strange_headers() -> None:
    """What are no headers are not there."""
    assert each_once(None) is None
    assert each_once("x") is None
    assert each_once({"A": 1, "a": "2", 3: None}) == {"a": "1, 2", "3": "None"}
