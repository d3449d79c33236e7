"""aiohttp, row by row: a real client against servers that misbehave, and WebSockets that end."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_exceptions import UnixClientConnectorError
from tests.core.tables.proving import Proof
from tests.servers.http import (
    Answer,
    babble,
    cut_off,
    hang_up,
    reset,
    says,
    says_raw,
    serving,
    stall,
    untrusted,
)

from resilience._core.tables.http import STATUS
from resilience._core.tables.websockets import CLOSED, REFUSED
from resilience._core.verdict import Verdict


IN = "aiohttp.client_exceptions"
CONNECTOR = f"{IN}.ClientConnectorError, by its os_error"
#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.05


def error_of(url: str, *, method: str = "POST", client: dict[str, Any] | None = None, **options: Any) -> Exception:
    """The error of one request; what `client` holds as a function is made inside the event loop."""

    async def ask() -> None:
        made = {name: option() if callable(option) else option for name, option in (client or {}).items()}
        async with aiohttp.ClientSession(**made) as session, session.request(method, url, **options) as response:
            await response.read()
            response.raise_for_status()

    return raised(lambda: asyncio.run(ask()))


def raised(work: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        work()
    assert not isinstance(caught.value, (Warning, AssertionError))
    return caught.value


def timeout(**options: float) -> dict[str, Any]:
    return {"timeout": aiohttp.ClientTimeout(**options)}


def after(verdict: Verdict, seconds: float | None) -> dict[str, Any]:
    """What a proof expects of a status that came with a hint of so many seconds."""
    return {"throttled": verdict.throttled, "after": seconds}


class Resolving(AbstractResolver):
    """Asks the operating system for an address written in numbers, which no name is; or fails as it is told to."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if self.error is not None:
            raise self.error
        await asyncio.get_running_loop().getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)
        raise AssertionError("it resolves")

    async def close(self) -> None:
        pass


def resolving(error: OSError | None = None) -> dict[str, Any]:
    return {"connector": lambda: aiohttp.TCPConnector(resolver=Resolving(error))}


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that nobody listens on, nor can meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def breaking() -> Iterator[Callable[[Answer], int]]:
    """A port where one connection is answered so; for what is no HTTP."""
    threads: list[threading.Thread] = []

    def answering(how: Answer) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def answer() -> None:
            with listener, listener.accept()[0] as peer:
                how(peer)

        threads.append(threading.Thread(target=answer))
        threads[-1].start()
        port: int = listener.getsockname()[1]
        return port

    yield answering
    for thread in threads:
        thread.join(5)


def once_asked(how: Answer) -> Answer:
    """After the first bytes, whatever they are."""

    def answer(peer: socket.socket) -> None:
        peer.recv(65_536)
        how(peer)

    return answer


def wants_a_certificate(peer: socket.socket) -> None:
    """TLS 1.3: says so in an alert, when the client takes the connection for open. It waits for the alert to be read."""
    context = untrusted()
    context.verify_mode = ssl.CERT_REQUIRED
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    refused = False
    while not refused:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            peer.sendall(outgoing.read())
            incoming.write(peer.recv(65_536))
        except ssl.SSLError:
            refused = True
    peer.sendall(outgoing.read())
    stall(peer)


# Before the request.


def test_refused(proof: Proof, nobody: int, tmp_path: Path) -> None:
    """Nobody listens, neither there nor at the proxy's nor behind the file: nothing was sent."""
    url = f"http://127.0.0.1:{nobody}/"
    error = error_of(url)
    assert type(error) is aiohttp.ClientConnectorError
    assert proof.server(error, CONNECTOR, "transient").reason == "errno ECONNREFUSED"
    through = error_of("http://example.invalid/", proxy=url)
    assert isinstance(through, aiohttp.ClientProxyConnectionError)
    proof.server(through, CONNECTOR, "transient")
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        unix = error_of("http://localhost/", client={"connector": lambda: aiohttp.UnixConnector(path)})
    assert isinstance(unix, UnixClientConnectorError)
    proof.server(unix, CONNECTOR, "transient")


def test_a_connector_takes_its_number_from_what_is_inside(proof: Proof, tmp_path: Path) -> None:
    """No such file is permanent."""
    error = error_of("http://x/", client={"connector": lambda: aiohttp.UnixConnector(str(tmp_path / "nothing"))})
    proof.server(error, CONNECTOR, "permanent")


def test_unknown_host(proof: Proof) -> None:
    """A name that is not known will not be known the next time; a resolver that does not answer may."""
    error = error_of("http://example.invalid/", client=resolving())
    assert isinstance(error, aiohttp.ClientConnectorDNSError)
    assert proof.server(error, CONNECTOR, "permanent").reason == "unknown host"
    again = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    assert proof.server(error_of("http://example.invalid/", client=resolving(again)), CONNECTOR, "transient")


class DNSError(Exception):
    """As aiodns has it: a number of c-ares, and words."""


@pytest.mark.parametrize(
    ("number", "words"), [(1, "DNS server returned answer with no data"), (4, "Domain name not found")]
)
def test_unknown_host_by_aiodns(proof: Proof, number: int, words: str) -> None:
    """aiohttp's `AsyncResolver` raises an `OSError` without a number from what aiodns said."""
    row = f"{IN}.ClientConnectorDNSError, c-ares {number}"
    proof.constructor(_by_aiodns(number, words), row, "permanent", because="aiodns is not installed")


def test_a_resolver_that_aiodns_cannot_reach(proof: Proof) -> None:
    """Of any other number only "not resolved" is known: nothing was sent."""
    row = f"{IN}.ClientConnectorError, nothing known inside"
    proof.constructor(
        _by_aiodns(12, "Timeout while contacting DNS servers"), row, "transient", because="aiodns is not installed"
    )


def _by_aiodns(number: int, words: str) -> Exception:
    hidden = OSError(None, words)
    hidden.__cause__ = DNSError(number, words)
    return error_of("http://example.invalid/", client=resolving(hidden))


def test_certificate_not_trusted(proof: Proof) -> None:
    """Signed by nobody."""
    with serving(says(200), ssl_context=untrusted()) as server:
        error = error_of(f"https://127.0.0.1:{server.port}/")
    proof.server(error, f"{IN}.ClientConnectorCertificateError", "permanent")


def test_client_certificate_required(proof: Proof, breaking: Callable[[Answer], int]) -> None:
    """TLS 1.3 says so when the connection is open already, with a number that as an errno means something else."""
    error = error_of(f"https://127.0.0.1:{breaking(wants_a_certificate)}/", ssl=False)
    assert isinstance(error, aiohttp.ClientOSError)
    assert not isinstance(error, aiohttp.ClientConnectorError)
    assert proof.server(error, f"{IN}.ClientOSError, any other cause", "permanent").reason == "cause: TLS"


@pytest.mark.parametrize("how", [hang_up, reset])
def test_broke_in_the_handshake_of_tls(proof: Proof, breaking: Callable[[Answer], int], how: Answer) -> None:
    """However the connection ended: no request was sent."""
    proof.server(error_of(f"https://127.0.0.1:{breaking(once_asked(how))}/"), CONNECTOR, "transient")


def test_no_tls_there(proof: Proof, breaking: Callable[[Answer], int]) -> None:
    """The wrong port will be the wrong port the next time."""
    error = error_of(f"https://127.0.0.1:{breaking(once_asked(babble))}/")
    assert isinstance(error, aiohttp.ClientConnectorSSLError)
    proof.server(error, CONNECTOR, "permanent")


def test_connecting_took_too_long(proof: Proof, silent: int) -> None:
    """Neither the handshake of TLS, nor a place in the pool, in time."""
    row = f"{IN}.ConnectionTimeoutError"
    proof.server(error_of(f"https://127.0.0.1:{silent}/", client=timeout(sock_connect=SOON)), row, "transient")

    async def ask(url: str) -> None:
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(connect=SOON)) as session:
            async with session.get(url), session.post(url):
                pass

    with serving(_never_ending) as server:
        proof.server(raised(lambda: asyncio.run(ask(server.url))), row, "transient")


def _never_ending(peer: socket.socket) -> None:
    says_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")(peer)
    stall(peer)


@pytest.mark.parametrize("status", [*REFUSED, 407])
def test_the_proxy_refuses(proof: Proof, status: int) -> None:
    """Nothing was sent to the server behind it."""
    verdict = REFUSED.get(status)
    with serving(says(status, retry_after="7")) as proxy:
        error = error_of("https://example.invalid/", proxy=proxy.url)
    assert isinstance(error, aiohttp.ClientHttpProxyError)
    if verdict is None:
        proof.server(error, f"{IN}.ClientHttpProxyError, any other HTTP", "permanent")
    else:
        proof.server(error, f"{IN}.ClientHttpProxyError, HTTP {status}", "transient", **after(verdict, 7.0))


# On the way.


def test_reset(proof: Proof) -> None:
    """The request was there."""
    row = f"{IN}.ClientOSError, cause: the connection broke"
    with serving(reset) as server:
        proof.server(error_of(server.url, data=b"x"), row, "unsure")


def test_a_body_that_fails(proof: Proof) -> None:
    """Its error number is no word about our request, a part of which was sent: it says at most "try again"."""

    async def body(number: int) -> AsyncIterator[bytes]:
        yield b"a part"
        raise OSError(number, "the body's own")

    with serving(stall) as server:
        refused = error_of(server.url, data=body(errno.ECONNREFUSED))
        full = error_of(server.url, data=body(errno.ENOSPC))
    assert isinstance(refused, aiohttp.ClientOSError)
    assert refused.errno == errno.ECONNREFUSED
    proof.server(refused, f"{IN}.ClientOSError, cause: the connection broke", "unsure")
    assert proof.server(full, f"{IN}.ClientOSError, any other cause", "permanent").reason == "cause: ENOSPC"


def test_the_end_of_tls_is_no_errno(proof: Proof) -> None:
    """8 is TLS's number for an end without a word; as an errno it is ENOEXEC."""
    error = aiohttp.ClientOSError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol")
    error.__cause__ = ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol")
    row = f"{IN}.ClientOSError, cause: the connection broke"
    proof.constructor(error, row, "unsure", because="asyncio's TLS keeps the end to itself")


def test_hang_up(proof: Proof) -> None:
    """Closed without an answer: the server may have done it. What is idempotent the client sends twice by itself."""
    with serving(hang_up) as server:
        proof.server(error_of(server.url, data=b"x"), f"{IN}.ServerDisconnectedError", "unsure")
        assert len(server.requests) == 1
        proof.server(error_of(server.url, method="PUT", data=b"x"), f"{IN}.ServerDisconnectedError", "unsure")
        assert len(server.requests) == 3


def test_no_answer_in_time(proof: Proof) -> None:
    """A silent socket is aiohttp's own error, the end of all the time the standard library's."""
    with serving(stall) as server:
        error = error_of(server.url, client=timeout(sock_read=SOON))
        total = error_of(server.url, client=timeout(total=SOON))
    assert isinstance(error, aiohttp.SocketTimeoutError)
    proof.server(error, f"{IN}.ServerTimeoutError", "unsure")
    assert type(total) is TimeoutError
    verdict = proof.tables(total)
    assert verdict is not None
    assert verdict.kind == "unsure"


# The answer.


def test_broke_off(proof: Proof) -> None:
    """The headers promised more."""
    row = f"{IN}.ClientPayloadError, any other saying"
    in_chunks = says_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello")
    for answer in (cut_off, in_chunks):
        with serving(answer) as server:
            proof.server(error_of(server.url), row, "unsure")


def test_cannot_be_decoded(proof: Proof) -> None:
    """It would come so again."""
    with serving(says(200, b"hello", content_encoding="gzip")) as server:
        row = f"{IN}.ClientPayloadError, saying Can not decode content-encoding*"
        proof.server(error_of(server.url), row, "permanent")


def test_a_body_that_cannot_be_sent_again(proof: Proof) -> None:
    """A redirect asks for the body once more, and it is used up."""

    async def body() -> AsyncIterator[bytes]:
        yield b"x"

    with serving(says_raw(b"HTTP/1.1 307 Said\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")) as server:
        row = f"{IN}.ClientPayloadError, saying Cannot follow redirect*"
        proof.server(error_of(server.url, data=body()), row, "permanent")


def test_too_many_redirects(proof: Proof) -> None:
    """Round in a circle."""
    with serving(says(302, location="/")) as server:
        proof.server(error_of(server.url, method="GET", max_redirects=3), f"{IN}.TooManyRedirects", "permanent")


@pytest.mark.parametrize(
    ("answer", "row", "kind"),
    [
        (babble, "any other unreadable", "unsure"),
        (says_raw(b"HTTP/1.1 200 OK\r\nX: %s\r\n\r\n" % (b"x" * 10_000)), "unreadable: Got more than*", "permanent"),
        (says_raw(b"HTTP/1.1 200 OK\r\n%s\r\n" % (b"X: y\r\n" * 200)), "unreadable: Too many headers*", "permanent"),
    ],
)
def test_an_answer_that_is_no_http(proof: Proof, answer: Answer, row: str, kind: str) -> None:
    """aiohttp gives it the status 400; the server said nothing of the kind."""
    with serving(answer) as server:
        error = error_of(server.url)
    assert isinstance(error, aiohttp.ClientResponseError)
    assert error.status == 400
    proof.server(error, f"{IN}.ClientResponseError, {row}", kind)


@pytest.mark.parametrize("status", [*STATUS, 400, 401, 404, 501])
def test_status(proof: Proof, status: int) -> None:
    """The server's own word, and its hint."""
    verdict = STATUS.get(status)
    with serving(says(status, retry_after="7")) as server:
        for error in (error_of(server.url), error_of(server.url, client={"raise_for_status": True})):
            if verdict is None:
                proof.server(error, f"{IN}.ClientResponseError, any other HTTP", "permanent")
            else:
                row = f"{IN}.ClientResponseError, HTTP {status}"
                proof.server(error, row, str(verdict.kind), **after(verdict, 7.0))


def test_a_hint_that_is_there_twice_counts_as_its_longest(proof: Proof) -> None:
    """`get` would give the first."""
    twice = says_raw(b"HTTP/1.1 429 Said\r\nRetry-After: 3\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n")
    with serving(twice) as server:
        row = f"{IN}.ClientResponseError, HTTP 429"
        proof.server(error_of(server.url), row, "transient", throttled=True, after=9.0)


def test_an_error_page_read_as_json_is_judged_by_its_status(proof: Proof) -> None:
    """`ContentTypeError` has the status of the answer: a busy server's page of HTML is a busy server."""

    async def ask(url: str) -> None:
        async with aiohttp.ClientSession() as session, session.post(url) as response:
            await response.json()

    with serving(says(503, b"<html>", retry_after="7")) as server:
        error = raised(lambda: asyncio.run(ask(server.url)))
    assert isinstance(error, aiohttp.ContentTypeError)
    proof.server(error, f"{IN}.ClientResponseError, HTTP 503", "unsure", throttled=True, after=7.0)
    with serving(says(200, b"<html>")) as server:
        error = raised(lambda: asyncio.run(ask(server.url)))
    proof.server(error, f"{IN}.ClientResponseError, any other HTTP", "permanent")


# One call, several requests.


def test_what_was_done_before_a_redirect_is_not_undone(proof: Proof, nobody: int, silent: int) -> None:
    """The POST was answered with "see there": done, it may be. That nobody is there says nothing of it."""
    there = f"http://127.0.0.1:{nobody}/"
    with serving(says(303, location=there)) as server:
        proof.server(error_of(server.url), f"{IN}.ClientConnectorError, after another request", "unsure")
    with serving(says(303, location=f"https://127.0.0.1:{silent}/")) as server:
        error = error_of(server.url, client=timeout(sock_connect=SOON))
        proof.server(error, f"{IN}.ConnectionTimeoutError, after another request", "unsure")
    with serving(says(303, location="/"), says(429, retry_after="7")) as server:
        row = f"{IN}.ClientResponseError, after another request"
        proof.server(error_of(server.url), row, "unsure", throttled=True, after=7.0)
    with serving(says(303, location="/"), says(429)) as server:
        proof.server(error_of(server.url, client={"raise_for_status": True}), row, "unsure", throttled=True)
    with serving(says(303, location="https://example.invalid/"), says(502)) as proxy:
        error = error_of("http://example.invalid/", proxy=proxy.url)
        proof.server(error, f"{IN}.ClientHttpProxyError, after another request", "unsure")


def test_a_redirect_of_a_question_or_to_ask_there_instead_did_nothing(proof: Proof, nobody: int) -> None:
    """GET changes nothing; 307 means "not here"."""
    there = f"http://127.0.0.1:{nobody}/"
    with serving(says(302, location=there)) as server:
        proof.server(error_of(server.url, method="GET"), CONNECTOR, "transient")
    with serving(says(307, location=there)) as server:
        proof.server(error_of(server.url), CONNECTOR, "transient")


@pytest.mark.parametrize(("method", "kind"), [("PUT", "unsure"), ("DELETE", "unsure"), ("GET", "transient")])
def test_what_was_done_before_the_client_tried_again_is_not_undone(proof: Proof, method: str, kind: str) -> None:
    """The server had the request, and died; the client asked once more by itself, and nobody was there."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def die() -> None:
        with listener.accept()[0] as peer:
            peer.recv(65_536)
            listener.close()
            reset(peer)

    server = threading.Thread(target=die)
    server.start()
    error = error_of(f"http://127.0.0.1:{port}/", method=method)
    server.join(5)
    assert isinstance(error, aiohttp.ClientConnectorError)
    row = f"{IN}.ClientConnectorError, after another request" if kind == "unsure" else CONNECTOR
    proof.server(error, row, kind)


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_first_request_is_the_only_one(proof: Proof, nobody: int, method: str) -> None:
    """Nobody was there to begin with."""
    proof.server(error_of(f"http://127.0.0.1:{nobody}/", method=method), CONNECTOR, "transient")


# WebSockets.


def ws_error_of(url: str) -> Exception:
    """The error of a handshake."""

    async def talk() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url):
            pass

    return raised(lambda: asyncio.run(talk()))


@pytest.mark.parametrize("status", [*REFUSED, 401, 403])
def test_handshake_refused(proof: Proof, status: int) -> None:
    """No message was sent."""
    verdict = REFUSED.get(status)
    with serving(says(status, retry_after="7")) as server:
        error = ws_error_of(server.url)
    if verdict is None:
        proof.server(error, f"{IN}.WSServerHandshakeError, any other HTTP", "permanent")
    else:
        row = f"{IN}.WSServerHandshakeError, HTTP {status}"
        proof.server(error, row, "transient", **after(verdict, 7.0))


def test_no_websocket_there(proof: Proof) -> None:
    """An answer that switches to something else."""
    with serving(says_raw(b"HTTP/1.1 101 Said\r\nUpgrade: else\r\nConnection: upgrade\r\n\r\n")) as server:
        proof.server(ws_error_of(server.url), f"{IN}.WSServerHandshakeError, any other HTTP", "permanent")


def ending(
    end: Callable[[web.WebSocketResponse], Any],
    use: Callable[[aiohttp.ClientWebSocketResponse], Any] = lambda ws: ws.receive_str(),
    **options: Any,
) -> Exception:
    """The error of a client that waits for a message, or does else, while aiohttp's own server ends the connection so."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await end(ws)
        return ws

    async def talk() -> None:
        app = web.Application()
        app.router.add_get("/", handle)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            async with aiohttp.ClientSession() as session:
                async with session.ws_connect(f"http://127.0.0.1:{port}/", **options) as ws:
                    await use(ws)
        finally:
            await runner.cleanup()

    return raised(lambda: asyncio.run(talk()))


@pytest.mark.parametrize("code", sorted(CLOSED))
def test_closed_with_a_code(proof: Proof, code: int) -> None:
    """`receive_str` calls the end a message of the wrong type."""
    error = ending(lambda ws: ws.close(code=code))
    assert isinstance(error, aiohttp.WSMessageTypeError)
    row = f"{IN}.WSMessageTypeError, message 8:{code} *"
    proof.server(error, row, "unsure", throttled=CLOSED[code].throttled)


@pytest.mark.parametrize("code", [1000, 1008, 4001])
def test_closed_for_good(proof: Proof, code: int) -> None:
    """Nobody knows it: a `TypeError` like any other."""
    proof.unknown(ending(lambda ws: ws.close(code=code)))


def test_a_message_of_the_wrong_type_is_a_mistake(proof: Proof) -> None:
    """Bytes where text was asked for."""
    proof.unknown(ending(lambda ws: ws.send_bytes(b"x")))


async def abort(ws: web.WebSocketResponse) -> None:
    assert ws._req is not None
    assert ws._req.transport is not None
    ws._req.transport.abort()


def test_a_websocket_that_broke(proof: Proof) -> None:
    """Without a word."""
    proof.server(ending(abort), f"{IN}.WSMessageTypeError, message 257:*", "unsure")


def test_no_answer_to_a_ping(proof: Proof) -> None:
    """The heartbeat finds the other end silent."""

    over = asyncio.Event()

    async def stay_silent(_ws: web.WebSocketResponse) -> None:
        await over.wait()

    async def receive(ws: aiohttp.ClientWebSocketResponse) -> None:
        try:
            await ws.receive_str()
        finally:
            over.set()

    row = f"{IN}.WSMessageTypeError, message 258:ServerTimeoutError*"
    proof.server(ending(stay_silent, receive, heartbeat=SOON), row, "unsure")


def test_sending_on_a_connection_that_is_gone(proof: Proof) -> None:
    """What was sent before may have arrived."""

    async def use(ws: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await ws.send_str("x")
            await asyncio.sleep(0.001)

    proof.server(ending(abort, use), f"{IN}.ClientConnectionResetError", "unsure")


# What nobody knows, and what is strange.


def test_mistakes_are_not_known(proof: Proof) -> None:
    """Addresses that are none, and a session that is closed."""
    for url in ("http://", "nohttp://x/", "http://[/"):
        proof.unknown(error_of(url))
    with serving(says(302, location="nohttp://x/")) as server:
        proof.unknown(error_of(server.url))

    async def closed() -> None:
        async with aiohttp.ClientSession() as session:
            pass
        await session.get("http://127.0.0.1/")

    proof.unknown(raised(lambda: asyncio.run(closed())))
    proof.unknown(aiohttp.ServerFingerprintMismatch(b"a", b"b", "localhost", 1))
    proof.unknown(aiohttp.ClientConnectionError("Connector is closed"))


def test_a_body_that_has_a_bug_is_not_known(proof: Proof) -> None:
    """It was our own."""

    async def body() -> AsyncIterator[bytes]:
        yield b"a part"
        raise ValueError("a bug")

    with serving(stall) as server:
        proof.unknown(error_of(server.url, data=body()))


@pytest.mark.parametrize("status", [None, "tomorrow", 0, 4.5])
def test_strange_statuses_are_not_tried_again(proof: Proof, status: Any) -> None:
    """None of them is a status."""
    error = aiohttp.ClientResponseError(None, (), status=status, headers=None)  # type: ignore[arg-type]
    verdict = proof.tables(error)
    assert verdict is None or verdict.kind == "permanent"


class Own(aiohttp.ClientConnectorError):
    """A class of one's own."""


class Refusing(aiohttp.BaseConnector):
    """A connector of one's own, that raises it."""

    async def connect(self, *_: Any, **__: Any) -> Any:
        raise Own(None, ConnectionRefusedError(errno.ECONNREFUSED, "refused"))  # type: ignore[arg-type]


def test_a_connector_of_ones_own(proof: Proof) -> None:
    """A subclass is meant too."""
    error = error_of("http://127.0.0.1/", client={"connector": Refusing})
    assert type(error) is Own
    proof.server(error, CONNECTOR, "transient")


def test_without_its_traceback_nobody_knows_what_was_sent_before(proof: Proof, nobody: int) -> None:
    """It may have been the second request of the call."""
    error = error_of(f"http://127.0.0.1:{nobody}/").with_traceback(None)
    proof.server(error, f"{IN}.ClientConnectorError, after another request", "unsure")


def test_strange_facts(proof: Proof) -> None:
    """A status as text with headers that are none, an error that no client raised, or that was never given its number."""
    text = aiohttp.ClientResponseError(None, (), status="503", headers=7)  # type: ignore[arg-type]
    own = Own(None, ConnectionRefusedError(errno.ECONNREFUSED, "refused"))  # type: ignore[arg-type]
    for error in (text, own, aiohttp.ClientOSError()):
        verdict = proof.tables(error)
        assert verdict is not None
        assert verdict.kind == "unsure"
