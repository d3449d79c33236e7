"""httpx and httpx2, and what they stand on, row by row: real clients, sync, asyncio and trio, against a server that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import pickle
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from tests import servers
from tests.core.tables.proving import Proof
from tests.servers.http import (
    Answer,
    babble,
    cut_off,
    free_port,
    hang_up,
    reset,
    says,
    says_raw,
    serving,
    stall,
    untrusted,
)

from resilience._core.tables.http import STATUS


LIBRARIES = ("httpx", "httpx2")
BELOW = {"httpx": "httpcore", "httpx2": "httpcore2"}
#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.05
CERTIFICATE = Path(servers.__path__[0]) / "untrusted.pem"
#: One for all clients that speak no TLS: to load the certificates that are trusted takes longer than a test.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
BY_CAUSE = "by its __cause__"
BY_EITHER = "by its __cause__ or __context__"
NO_H2 = "h2 is not among the tests' libraries"
NO_SOCKSIO = "socksio is not among the tests' libraries"
OTHERS = "only transports of others raise it so"

Post = Callable[..., Any]

#: They leave their generators to the garbage collector when a request fails, and trio says so.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Any:
    """The client library."""
    return importlib.import_module(request.param)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def colour(request: pytest.FixtureRequest) -> str:
    """Which client."""
    return str(request.param)


@pytest.fixture
def post(library: Any, colour: str) -> Post:
    """One POST by a client of that colour; its response, or its error as it is raised."""
    return posting(library, colour)


def posting(library: Any, colour: str = "sync") -> Post:
    def options(more: dict[str, Any]) -> dict[str, Any]:
        return {"timeout": 5.0, "verify": NO_TLS, "trust_env": False, **more}

    def sync(url: str, *, content: bytes = b"x", headers: dict[str, str] | None = None, **more: Any) -> Any:
        with library.Client(**options(more)) as client:
            return client.post(url, content=content, headers=headers).raise_for_status()

    async def post(url: str, *, content: bytes = b"x", headers: dict[str, str] | None = None, **more: Any) -> Any:
        async with library.AsyncClient(**options(more)) as client:
            return (await client.post(url, content=content, headers=headers)).raise_for_status()

    def by_asyncio(url: str, **more: Any) -> Any:
        return asyncio.run(post(url, **more))

    async def in_trio(url: str, more: dict[str, Any]) -> Any:
        return await post(url, **more)

    def by_trio(url: str, **more: Any) -> Any:
        return trio.run(in_trio, url, more)

    return {"sync": sync, "asyncio": by_asyncio, "trio": by_trio}[colour]


def raised(work: Callable[..., object], *args: Any, **options: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        work(*args, **options)
    return caught.value


def cause(error: BaseException) -> BaseException:
    assert error.__cause__ is not None
    return error.__cause__


def both(
    proof: Proof, library: Any, error: BaseException, row: str, below: str, kind: str, *, throttled: bool = False
) -> None:
    """Both floors say the same, each by a row of its own."""
    assert type(error).__module__ == library.__name__
    proof.server(error, f"{library.__name__}.{row}", kind, throttled=throttled)
    proof.server(cause(error), f"{BELOW[library.__name__]}.{below}", kind, throttled=throttled)


@contextlib.contextmanager
def talking(how: Answer) -> Iterator[int]:
    """A server that does this to each connection as it comes, before anything was read from it; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opened: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    opened.append(peer)
                    with contextlib.suppress(OSError):
                        how(peer)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for peer in opened:
                with contextlib.suppress(OSError):
                    peer.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for peer in opened:
                peer.close()


def leaves(peer: socket.socket) -> None:
    """Close before anything was said, in good order."""
    peer.recv(65_536)
    peer.close()


def stays(_peer: socket.socket) -> None:
    """Read nothing, say nothing, stay."""


# Connecting.


def test_refused(proof: Proof, library: Any, post: Post) -> None:
    """Nobody listens: nothing was sent."""
    error = raised(post, f"http://127.0.0.1:{free_port()}/")
    both(proof, library, error, f"ConnectError, {BY_CAUSE}", f"ConnectError, {BY_EITHER}", "transient")


def test_not_connected_for_whatever_reason(proof: Proof, library: Any) -> None:
    """The backends wrap what they know; what nobody knows came before the request all the same."""
    below = importlib.import_module(BELOW[library.__name__])
    error = below.ConnectError("said")
    error.__context__ = RuntimeError("whatever")
    because = "each backend gives a cause that is known"
    proof.constructor(error, f"{below.__name__}.ConnectError, nothing known inside", "transient", because=because)


def test_unknown_host(proof: Proof, library: Any, post: Post) -> None:
    """A name that cannot be one: no resolver is asked."""
    name = "a." * 130 + "invalid"
    error = raised(post, f"http://{name}/")
    both(proof, library, error, f"ConnectError, {BY_CAUSE}", f"ConnectError, {BY_EITHER}", "permanent")


def test_not_trusted(proof: Proof, library: Any, post: Post) -> None:
    """A certificate that nobody signed."""
    with serving(says(200), ssl_context=untrusted()) as server:
        error = raised(post, f"https://127.0.0.1:{server.port}/", verify=ssl.create_default_context())
    both(proof, library, error, f"ConnectError, {BY_CAUSE}", "ConnectError, TLS: certificate", "permanent")


def test_no_tls(proof: Proof, library: Any, post: Post) -> None:
    """A server that speaks no TLS."""
    with talking(lambda peer: peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        error = raised(post, f"https://127.0.0.1:{port}/")
    both(proof, library, error, f"ConnectError, {BY_CAUSE}", "ConnectError, TLS: refused", "permanent")


def test_hung_up_in_the_handshake(proof: Proof, library: Any, post: Post) -> None:
    """The request had not been sent: whatever broke, it is transient."""
    with talking(leaves) as port:
        error = raised(post, f"https://127.0.0.1:{port}/")
    verdict = proof.server(error, f"{library.__name__}.ConnectError, {BY_CAUSE}", "transient")
    assert not verdict.throttled


def test_connecting_takes_too_long(proof: Proof, library: Any, post: Post) -> None:
    """A listener that accepts nobody, its queue full."""
    timeout = library.Timeout(5, connect=SOON)
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        error = raised(post, f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=timeout)
    both(proof, library, error, f"ConnectTimeout, {BY_CAUSE}", "ConnectTimeout", "transient")


def test_the_handshake_takes_too_long(proof: Proof, library: Any, post: Post) -> None:
    """A server that says nothing to TLS."""
    with talking(stays) as port:
        error = raised(post, f"https://127.0.0.1:{port}/", timeout=library.Timeout(5, connect=SOON))
    both(proof, library, error, f"ConnectTimeout, {BY_CAUSE}", "ConnectTimeout", "transient")


def begins(peer: socket.socket) -> None:
    """An answer that goes on for ever."""
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    stall(peer)


def test_the_pool_is_used_up(proof: Proof, library: Any, colour: str) -> None:
    """The one connection is taken."""
    options = {"limits": library.Limits(max_connections=1), "timeout": library.Timeout(5, pool=SOON), "verify": NO_TLS}

    async def second(url: str) -> None:
        async with library.AsyncClient(**options) as client, client.stream("GET", url):
            await client.get(url)

    with serving(begins) as server:
        if colour == "sync":
            with library.Client(**options) as client, client.stream("GET", server.url):
                error = raised(client.get, server.url)
        elif colour == "asyncio":
            error = raised(lambda: asyncio.run(second(server.url)))
        else:
            error = raised(trio.run, second, server.url)
    both(proof, library, error, "PoolTimeout", "PoolTimeout", "transient")


# Proxies.


@pytest.mark.parametrize("status", [*STATUS, 403, 407])
def test_a_proxy_that_makes_no_tunnel(proof: Proof, library: Any, status: int) -> None:
    """What it answers to CONNECT; nothing was sent to the server itself."""
    known = STATUS.get(status)
    with serving(says(status)) as proxy:
        error = raised(posting(library), "https://127.0.0.1:9/", proxy=proxy.url)
        assert proxy.requests[0].startswith(b"CONNECT 127.0.0.1:9 ")
    row = "any other HTTP" if known is None else f"HTTP {status}"
    kind, throttled = ("permanent", False) if known is None else ("transient", known.throttled)
    both(proof, library, error, f"ProxyError, {BY_CAUSE}", f"ProxyError, {row}", kind, throttled=throttled)


def test_a_proxy_and_an_async_client(proof: Proof, library: Any, post: Post) -> None:
    """In every colour; and where the proxy itself is not there, it is a connection like any other."""
    with serving(says(503)) as proxy:
        error = raised(post, "https://127.0.0.1:9/", proxy=proxy.url)
    both(proof, library, error, f"ProxyError, {BY_CAUSE}", "ProxyError, HTTP 503", "transient", throttled=True)
    error = raised(post, "https://127.0.0.1:9/", proxy=f"http://127.0.0.1:{free_port()}")
    proof.server(error, f"{library.__name__}.ConnectError, {BY_CAUSE}", "transient")


def test_a_proxy_that_forwards(proof: Proof, library: Any, post: Post) -> None:
    """Without TLS it takes the request itself: what it answers then is the server's, as far as anybody can see."""
    with serving(says(502)) as proxy:
        error = raised(post, "http://127.0.0.1:9/", proxy=proxy.url)
    proof.server(error, f"{library.__name__}.HTTPStatusError, HTTP 502", "unsure")


#: By the number of the reply; one that has no name in the RFC, and one that refuses.
SOCKS = {
    1: ("General SOCKS server failure", "transient"),
    2: ("Connection not allowed by ruleset", "permanent"),
    3: ("Network unreachable", "transient"),
    4: ("Host unreachable", "transient"),
    5: ("Connection refused", "transient"),
    6: ("TTL expired", "transient"),
    7: ("Command not supported", "permanent"),
    8: ("Address type not supported", "permanent"),
}


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # httpcore's, when the proxy refuses
@pytest.mark.parametrize("reply", SOCKS)
def test_socks(proof: Proof, library: Any, reply: int) -> None:
    """The proxy made no connection."""
    said, kind = SOCKS[reply]
    below = importlib.import_module(BELOW[library.__name__])
    row = f"{below.__name__}.ProxyError, {'any other SOCKS' if kind == 'permanent' else f'SOCKS: {said}'}"
    error: BaseException = below.ProxyError(f"Proxy Server could not connect: {said}.")
    proof.constructor(error, row, kind, because=NO_SOCKSIO)
    if importlib.util.find_spec("socksio") is None:
        return

    def refuse(peer: socket.socket) -> None:
        peer.recv(100)
        peer.sendall(b"\x05\x00")
        peer.recv(100)
        peer.sendall(bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]))

    with talking(refuse) as port:
        error = raised(posting(library), "http://127.0.0.1:9/", proxy=f"socks5://127.0.0.1:{port}")
    assert str(error) == f"Proxy Server could not connect: {said}."
    proof.server(cause(error), row, kind)
    proof.server(error, f"{library.__name__}.ProxyError, {BY_CAUSE}", kind)
    del error
    gc.collect()


@pytest.mark.parametrize(
    "said", ["Invalid username/password", "Requested X from proxy server, but got Y.", "", "Too bad"]
)
def test_what_else_a_proxy_says(proof: Proof, library: Any, said: str) -> None:
    """It does not want us."""
    below = importlib.import_module(BELOW[library.__name__])
    row = f"{below.__name__}.ProxyError, any other SOCKS"
    proof.constructor(below.ProxyError(said), row, "permanent", because=NO_SOCKSIO)


# Sending, and waiting for the answer.


def test_no_answer_in_time(proof: Proof, library: Any, post: Post) -> None:
    """The request was sent, and nothing came back."""
    with serving(stall) as server:
        error = raised(post, server.url, timeout=library.Timeout(5, read=SOON))
    assert server.requests
    both(proof, library, error, "ReadTimeout", "ReadTimeout", "unsure")


def test_no_end_of_the_answer_in_time(proof: Proof, library: Any, post: Post) -> None:
    """The answer began."""
    with serving(begins) as server:
        error = raised(post, server.url, timeout=library.Timeout(5, read=SOON))
    both(proof, library, error, "ReadTimeout", "ReadTimeout", "unsure")


def test_sending_takes_too_long(proof: Proof, library: Any, post: Post) -> None:
    """A server that reads nothing; part of the request is on its way."""
    with talking(stays) as port:
        timeout = library.Timeout(5, write=SOON)
        error = raised(post, f"http://127.0.0.1:{port}/", content=bytes(1 << 24), timeout=timeout)
    both(proof, library, error, "WriteTimeout", "WriteTimeout", "unsure")


def test_reset(proof: Proof, library: Any, post: Post) -> None:
    """The connection was reset when the request had come."""
    with serving(reset) as server:
        error = raised(post, server.url)
    assert server.requests
    both(proof, library, error, f"ReadError, {BY_CAUSE}", "ReadError", "unsure")


@pytest.mark.parametrize(
    "answer",
    [hang_up, cut_off, babble, says_raw(b"HTTP/1.1 200 OK\r\nContent")],
    ids=["nothing", "half a body", "no HTTP", "half a head"],
)
def test_no_whole_answer(proof: Proof, library: Any, post: Post, answer: Answer) -> None:
    """Closed without an answer, in the middle of its body or of its head; or what came was no HTTP."""
    with serving(answer) as server:
        error = raised(post, server.url)
    assert server.requests
    both(proof, library, error, f"RemoteProtocolError, {BY_CAUSE}", "RemoteProtocolError", "unsure")


def test_closed_while_the_body_is_streamed(proof: Proof, library: Any) -> None:
    """The answer was good so far."""
    with (
        serving(cut_off) as server,
        library.Client(verify=NO_TLS) as client,
        client.stream("GET", server.url) as answer,
    ):
        error = raised(lambda: list(answer.iter_bytes()))
    both(proof, library, error, f"RemoteProtocolError, {BY_CAUSE}", "RemoteProtocolError", "unsure")


def test_a_connection_that_was_kept_is_closed(proof: Proof, library: Any) -> None:
    """The server closes it just when the next request comes: the request may have been read."""

    def one_and_a_half(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        peer.recv(65_536)

    with serving(one_and_a_half) as server, library.Client(verify=NO_TLS) as client:
        assert client.post(server.url).status_code == 200
        error = raised(client.post, server.url)
    both(proof, library, error, f"RemoteProtocolError, {BY_CAUSE}", "RemoteProtocolError", "unsure")


def test_the_server_does_not_trust_the_client(proof: Proof, library: Any, post: Post, colour: str) -> None:
    """It asks for a certificate, and says so when the request has been sent: TLS 1.3."""
    asks = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATE)
    asks.load_cert_chain(CERTIFICATE)
    asks.verify_mode = ssl.CERT_REQUIRED

    def refuse(peer: socket.socket) -> None:
        with asks.wrap_socket(peer, server_side=True, do_handshake_on_connect=False) as tls:
            with contextlib.suppress(ssl.SSLError):
                tls.do_handshake()
            # Closed with anything unread, the kernel would reset the connection before the alert is read.
            with contextlib.suppress(OSError):
                while socket.socket.recv(tls, 65_536):
                    pass

    trusts = ssl.create_default_context(cafile=CERTIFICATE)
    with talking(refuse) as port:
        error = raised(post, f"https://127.0.0.1:{port}/", verify=trusts)
    if isinstance(error, ssl.SSLError):  # anyio passes it on, and so does httpcore
        assert colour == "asyncio"
        proof.server(error, "ssl.SSLError", "permanent")
    else:
        both(proof, library, error, f"ReadError, {BY_CAUSE}", "ReadError, TLS: certificate", "permanent")


def test_sending_on_a_connection_that_broke(proof: Proof, library: Any) -> None:
    """HTTP/1.1 swallows the error, to read what the server may have answered; an upgraded connection does not."""

    def upgrade(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        peer.recv(1)
        reset(peer)

    def send(stream: Any) -> None:
        while True:
            stream.write(bytes(65_536), timeout=5)

    upgraded = {"Connection": "Upgrade", "Upgrade": "any"}
    with serving(upgrade) as server, library.Client(verify=NO_TLS, headers=upgraded) as client:
        with client.stream("GET", server.url) as answer:
            error = raised(send, answer.extensions["network_stream"])
    proof.server(error, f"{BELOW[library.__name__]}.WriteError", "unsure")
    because = "HTTP/1.1 swallows it, and h2 is not among the tests' libraries"
    proof.constructor(library.WriteError("broke"), f"{library.__name__}.WriteError", "unsure", because=because)


# HTTP/2.


def h2_event(code: object, *, stream: int | None = 1) -> Any:
    return SimpleNamespace(stream_id=stream, error_code=code)


@pytest.mark.parametrize(
    ("code", "stream", "row", "kind", "throttled"),
    [
        (7, 1, ", HTTP/2 error 7", "transient", False),
        (11, 1, ", HTTP/2 error 11", "unsure", True),
        (11, None, ", HTTP/2 error 11", "unsure", True),
        (7, None, "", "unsure", False),  # the whole connection: another stream's
        (0, None, "", "unsure", False),
        (2, 1, "", "unsure", False),
        (None, 1, "", "unsure", False),
        ("7", 1, "", "unsure", False),
    ],
)
def test_http2(
    proof: Proof, library: Any, code: object, stream: int | None, row: str, kind: str, *, throttled: bool
) -> None:
    """A stream that was refused was not looked at; any other error says nothing of that."""
    below = importlib.import_module(BELOW[library.__name__])
    inner = below.RemoteProtocolError(h2_event(code, stream=stream))
    row = f"{below.__name__}.RemoteProtocolError{row}"
    proof.constructor(inner, row, kind, throttled=throttled, because=NO_H2)
    if importlib.util.find_spec("h2") is None or not isinstance(code, int):
        return
    with talking(lambda peer: refuse_by_h2(peer, code, stream)) as port:
        error = raised(posting(library), f"http://127.0.0.1:{port}/", http1=False, http2=True)
    proof.server(cause(error), row, kind, throttled=throttled)
    proof.server(error, f"{library.__name__}.RemoteProtocolError, {BY_CAUSE}", kind, throttled=throttled)


def refuse_by_h2(peer: socket.socket, code: int, stream: int | None) -> None:
    config, connection, events = (importlib.import_module(f"h2.{name}") for name in ("config", "connection", "events"))
    state = connection.H2Connection(config.H2Configuration(client_side=False))
    state.initiate_connection()
    peer.sendall(state.data_to_send())
    asked = None
    while asked is None:
        received = state.receive_data(peer.recv(65_536))
        asked = next((event.stream_id for event in received if isinstance(event, events.RequestReceived)), None)
    if stream is None:
        state.close_connection(code, last_stream_id=asked)
    else:
        state.reset_stream(asked, code)
    peer.sendall(state.data_to_send())
    stall(peer)


@pytest.mark.parametrize(
    ("said", "row", "kind"),
    [
        ("Invalid input ConnectionInputs.SEND_HEADERS in state ConnectionState.CLOSED", "SEND_HEADERS", "transient"),
        (
            "Invalid input ConnectionInputs.RECV_WINDOW_UPDATE in state ConnectionState.CLOSED",
            "anything later",
            "unsure",
        ),
        ("Invalid input ConnectionInputs.SEND_DATA in state ConnectionState.CLOSED", "anything later", "unsure"),
        ("Invalid input StreamInputs.SEND_HEADERS in state 5", None, "permanent"),
    ],
)
def test_http2_closed_by_another_request(proof: Proof, library: Any, said: str, row: str | None, kind: str) -> None:
    """The state machine of h2 refuses what comes next: before the request's own first frame, or after it."""
    below = importlib.import_module(BELOW[library.__name__])
    suffix = "" if row is None else f", closed before {row}"
    because = "a race between requests that share a connection"
    proof.constructor(
        below.LocalProtocolError(ValueError(said)),
        f"{below.__name__}.LocalProtocolError{suffix}",
        kind,
        because=because,
    )


# What it answers.


@pytest.mark.parametrize("status", [*STATUS, 400, 401, 403, 404, 409, 422, 501])
def test_statuses(proof: Proof, library: Any, status: int) -> None:
    """By the status, with the server's hint."""
    known = STATUS.get(status)
    with serving(says(status, retry_after="7")) as server:
        error = raised(posting(library), server.url)
    prefix = f"{library.__name__}.HTTPStatusError, "
    if known is None:
        proof.server(error, f"{prefix}any other HTTP", "permanent")
    else:
        proof.server(error, f"{prefix}HTTP {status}", known.kind, throttled=known.throttled, after=7.0)


def test_a_status_in_every_colour(proof: Proof, library: Any, post: Post) -> None:
    """The response is the same; the finer hint counts."""
    with serving(says(429, retry_after="7", retry_after_ms="250")) as server:
        error = raised(post, server.url)
    proof.server(error, f"{library.__name__}.HTTPStatusError, HTTP 429", "transient", throttled=True, after=0.25)


def test_a_redirect_that_is_not_followed(proof: Proof, library: Any) -> None:
    """It is no answer, and it will be none the next time."""
    with serving(says(302, location="/")) as server:
        error = raised(posting(library), server.url)
    proof.server(error, f"{library.__name__}.HTTPStatusError, any other HTTP", "permanent")


def test_misuse(proof: Proof, library: Any, post: Post) -> None:
    """Whatever is wrong with the request or the answer is wrong the next time."""
    with serving(says(200)) as server:
        error = raised(post, server.url, headers={"x": "a\nb"})
    both(proof, library, error, f"LocalProtocolError, {BY_CAUSE}", "LocalProtocolError", "permanent")
    error = raised(post, "ftp://127.0.0.1:9/")
    both(proof, library, error, "UnsupportedProtocol", "UnsupportedProtocol", "permanent")
    with serving(says(200, b"no gzip", content_encoding="gzip")) as server:
        error = raised(post, server.url)
    proof.server(error, f"{library.__name__}.DecodingError", "permanent")
    with serving(says(307, location="/")) as server:
        error = raised(post, server.url, follow_redirects=True, max_redirects=2)
    proof.server(error, f"{library.__name__}.TooManyRedirects", "permanent")
    with serving(says(307, location="http://127.0.0.1:none/")) as server:
        error = raised(post, server.url, follow_redirects=True)
    row = f"{library.__name__}.RemoteProtocolError, saying Invalid URL in location header*"
    proof.server(error, row, "permanent")


def test_bugs_are_unknown(proof: Proof, library: Any) -> None:
    """Nobody tries again what the programmer got wrong."""
    with library.Client(verify=NO_TLS) as client:
        proof.unknown(raised(client.get, "http://127.0.0.1:none/"))
        proof.unknown(raised(client.get, "http://127.0.0.1/", content="x"))
    proof.unknown(raised(client.get, "http://127.0.0.1/"))
    with serving(says(200)) as server, library.Client(verify=NO_TLS) as client:
        with client.stream("GET", server.url) as answer:
            proof.unknown(raised(lambda: answer.text))
        proof.unknown(raised(answer.read))
    proof.unknown(library.ProtocolError("Malformed Digest WWW-Authenticate header"))


# After a redirect.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_refused_after_a_redirect(proof: Proof, library: Any, post: Post, status: int) -> None:
    """The POST may have been done before the server said "see there"; with 307 and 308 it says that it was not."""
    with serving(says(status, location=f"http://127.0.0.1:{free_port()}/")) as server:
        error = raised(post, server.url, follow_redirects=True)
    if status in {307, 308}:
        proof.server(error, f"{library.__name__}.ConnectError, {BY_CAUSE}", "transient")
    else:
        proof.server(error, f"{library.__name__}.ConnectError, after a redirect", "unsure")


def test_a_question_is_none_the_worse_for_a_redirect(proof: Proof, library: Any) -> None:
    """A GET does nothing, wherever it is sent on to."""
    with (
        serving(says(302, location=f"http://127.0.0.1:{free_port()}/")) as server,
        library.Client(verify=NO_TLS, follow_redirects=True) as client,
    ):
        error = raised(client.get, server.url)
    proof.server(error, f"{library.__name__}.ConnectError, {BY_CAUSE}", "transient")


def test_a_status_after_a_redirect(proof: Proof, library: Any) -> None:
    """The last answer is a refusal, the first one was not: the hint holds all the same."""
    with serving(says(303, location="/"), says(429, retry_after="7")) as server:
        error = raised(posting(library), server.url, follow_redirects=True)
    row = f"{library.__name__}.HTTPStatusError, after a redirect"
    proof.server(error, row, "unsure", throttled=True, after=7.0)
    with serving(says(303, location="/"), says(404)) as server:
        error = raised(posting(library), server.url, follow_redirects=True)
    proof.server(error, f"{library.__name__}.HTTPStatusError, any other HTTP", "permanent")


def test_other_failures_after_a_redirect(proof: Proof, library: Any, post: Post) -> None:
    """Connecting that takes too long, and a proxy that makes no tunnel."""
    with talking(stays) as port, serving(says(303, location=f"https://127.0.0.1:{port}/")) as server:
        error = raised(post, server.url, follow_redirects=True, timeout=library.Timeout(5, connect=SOON))
    proof.server(error, f"{library.__name__}.ConnectTimeout, after a redirect", "unsure")
    with serving(says(303, location="https://127.0.0.1:9/"), says(503)) as proxy:
        error = raised(post, "http://127.0.0.1:9/", follow_redirects=True, proxy=proxy.url)
    proof.server(error, f"{library.__name__}.ProxyError, after a redirect", "unsure", throttled=True)


def test_the_pool_is_used_up_after_a_redirect(proof: Proof, library: Any) -> None:
    """The pool is another one for the second host."""
    with serving(begins) as taken, serving(says(303, location=taken.url)) as server:
        narrow = library.HTTPTransport(verify=NO_TLS, limits=library.Limits(max_connections=1))
        with library.Client(
            verify=NO_TLS, follow_redirects=True, mounts={taken.url: narrow}, timeout=library.Timeout(5, pool=SOON)
        ) as client:
            with client.stream("GET", taken.url):
                error = raised(client.post, server.url)
    proof.server(error, f"{library.__name__}.PoolTimeout, after a redirect", "unsure")


def raises(error: Exception) -> Callable[..., Any]:
    """A transport of somebody else."""

    def transport(request: Any) -> Any:
        if request.method == "POST":
            library = importlib.import_module(type(request).__module__.partition(".")[0])
            return library.Response(303, headers={"location": "/there"})
        raise error

    return transport


@pytest.mark.parametrize("name", ["RemoteProtocolError", "LocalProtocolError"])
def test_http2_after_a_redirect(proof: Proof, library: Any, name: str) -> None:
    """What was certain of a stream is not of the whole call."""
    below = importlib.import_module(BELOW[library.__name__])
    said = "Invalid input ConnectionInputs.SEND_HEADERS in state ConnectionState.CLOSED"
    inner = getattr(below, name)(h2_event(7) if name == "RemoteProtocolError" else said)
    error = getattr(library, name)("said")
    error.__cause__ = inner
    transport = library.MockTransport(raises(error))
    with library.Client(transport=transport, follow_redirects=True) as client:
        assert raised(client.post, "http://127.0.0.1/") is error
    proof.constructor(error, f"{library.__name__}.{name}, after a redirect", "unsure", because=NO_H2)


# What the libraries make of it, and others.


@pytest.mark.parametrize(
    ("name", "row", "kind"),
    [
        ("ConnectError", "ConnectError, nothing known inside", "transient"),
        ("ConnectTimeout", "ConnectTimeout, nothing known inside", "transient"),
        ("ProxyError", "ProxyError, nothing known inside", "permanent"),
        ("ReadError", "ReadError, nothing known inside", "unsure"),
        ("RemoteProtocolError", "RemoteProtocolError, nothing known inside", "unsure"),
        ("LocalProtocolError", "LocalProtocolError, nothing known inside", "permanent"),
        ("TimeoutException", "TimeoutException", "unsure"),
        ("NetworkError", "NetworkError", "unsure"),
        ("CloseError", "NetworkError", "unsure"),
    ],
)
def test_without_a_cause(proof: Proof, library: Any, name: str, row: str, kind: str) -> None:
    """By the name alone; httpx gives each of them a cause, or does not raise it at all."""
    known: Any = getattr(library, name)

    class Mine(known):  # type: ignore[misc]
        """A subclass is meant too."""

    while_handling = known("said")
    while_handling.__context__ = ValueError("no cause of it")
    for error in (known("said"), Mine("said"), while_handling):
        with library.Client(transport=library.MockTransport(raises(error))) as client:
            assert raised(client.get, "http://127.0.0.1/") is error
        proof.constructor(error, f"{library.__name__}.{row}", kind, because=OTHERS)


@pytest.mark.parametrize("name", ["ConnectError", "ConnectTimeout", "PoolTimeout"])
def test_an_error_that_no_client_raised(proof: Proof, library: Any, name: str) -> None:
    """Whether there was a redirect before it, nobody knows."""
    row = f"{library.__name__}.{name}, after a redirect"
    proof.constructor(getattr(library, name)("said"), row, "unsure", because="it never went through a client")


def test_another_transport_is_judged_by_what_it_wraps(proof: Proof, library: Any) -> None:
    """One that calls a broken connection a ConnectError, as adapters to aiohttp do: it may have been sent."""
    error = library.ConnectError("broke")
    error.__cause__ = ConnectionResetError(104, "reset")
    proof.constructor(error, f"{library.__name__}.ConnectError, {BY_CAUSE}", "unsure", because=OTHERS)


def test_an_error_that_was_pickled(proof: Proof, library: Any) -> None:
    """The name remains, without its cause; and without its traceback there is no proof that nothing was sent before."""
    error = raised(posting(library), f"http://127.0.0.1:{free_port()}/")
    copy = pickle.loads(pickle.dumps(error.with_traceback(None)))
    assert copy.__cause__ is None
    because = "no server sees the pickling"
    proof.constructor(copy, f"{library.__name__}.ConnectError, after a redirect", "unsure", because=because)


@pytest.mark.parametrize("history", [[], [None], [SimpleNamespace(status_code="303")], ["x"], None, 5])
def test_a_strange_history(proof: Proof, library: Any, history: object) -> None:
    """What is no redirect in a list is none; of what is no list nobody knows."""
    response = SimpleNamespace(status_code=429, headers={}, history=history)
    error = library.HTTPStatusError("said", request=None, response=response)
    because = "no response of httpx is so"
    row, kind = ("HTTP 429", "transient") if isinstance(history, list) else ("after a redirect", "unsure")
    proof.constructor(error, f"{library.__name__}.HTTPStatusError, {row}", kind, throttled=True, because=because)


@pytest.mark.parametrize("response", [None, SimpleNamespace(), SimpleNamespace(status_code=None)])
def test_no_response(proof: Proof, library: Any, response: object) -> None:
    """A status error without a status is nobody's."""
    proof.unknown(library.HTTPStatusError("said", request=None, response=response))


@pytest.mark.parametrize("reason", [None, 5, "UNEXPECTED_EOF_WHILE_READING"])
def test_strange_words_of_tls(proof: Proof, library: Any, reason: object) -> None:
    """A TLS that broke is no certificate."""
    below = importlib.import_module(BELOW[library.__name__])
    error = below.ReadError("broke")
    inner = ssl.SSLError("said")
    inner.reason = reason  # type: ignore[assignment]
    error.__context__ = inner
    because = "TLS is never so short of words"
    proof.constructor(error, f"{below.__name__}.ReadError", "unsure", because=because)
