"""urllib3, row by row: real pools against a server that misbehaves, with its own retries off, at none, and on."""

from __future__ import annotations

import contextlib
import errno
import pickle
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from tests.core.tables.proving import Proof
from tests.servers.http import (
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
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProxyError, ResponseError
from urllib3.util import Retry

from resilience._core.rows import local
from resilience._core.tables.http import STATUS


#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.05
NEW = "urllib3.exceptions.NewConnectionError, by its __cause__ or __context__"
CONNECT_TIMEOUT = "urllib3.exceptions.ConnectTimeoutError"
READ_TIMEOUT = "urllib3.exceptions.ReadTimeoutError"
PROTOCOL = "urllib3.exceptions.ProtocolError, by its args.1"
PROXY = "urllib3.exceptions.ProxyError, by its original_error"
TLS = "urllib3.exceptions.SSLError, by its args.0"
WRAPPED = "urllib3.exceptions.MaxRetryError, by its reason"


@pytest.fixture(params=[False, Retry(0)], ids=["retries=False", "Retry(0)"])
def once(request: pytest.FixtureRequest) -> Any:
    """No retries, in both ways to say so: an error comes as it is, or wrapped."""
    return request.param


def failed(url: str, method: str = "GET", **options: Any) -> Exception:
    """The error of one request; `manager` is how it is made."""
    manager = options.pop("manager", None) or urllib3.PoolManager()
    with manager, pytest.raises(Exception) as caught:
        manager.request(method, url, **options)
    return caught.value


def prove(proof: Proof, error: Any, row: str, kind: str, **said: Any) -> None:
    """The row of the error, and that of its wrapper if it has one.

    Some reasons were never raised. Without the wrapper, nothing tells that theirs was the only request.
    """
    if isinstance(error, MaxRetryError):
        proof.server(error, WRAPPED, kind, **said)
        assert error.reason is not None
        error = error.reason
        if kind == "transient" and error.__traceback__ is None:
            kind = "unsure"
    proof.server(error, row, kind, **said)


def kind_of(proof: Proof, error: BaseException) -> str:
    verdict = proof.tables(error)
    assert verdict is not None
    return str(verdict.kind)


@contextlib.contextmanager
def answering_hello(answer: bytes) -> Iterator[str]:
    """What a client that begins with TLS meets: these bytes, and the end."""

    def accept() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65_536)
            peer.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join(5)


class UnixConnection(urllib3.connection.HTTPConnection):
    """As docker's and others': the host is the path of a socket."""

    path: str

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.connect(self.path)
        except OSError:
            self.close()
            raise


def failed_at(path: Path) -> Exception:
    class Connection(UnixConnection):
        pass

    Connection.path = str(path)
    pool = urllib3.HTTPConnectionPool("localhost")
    pool.ConnectionCls = Connection
    with pool, pytest.raises(Exception) as caught:
        pool.request("POST", "/", retries=False)
    return caught.value


# ---------------------------------------------------------------------------------------------- before the request


def test_refused(proof: Proof, once: Any) -> None:
    """Nobody listens: nothing was sent."""
    prove(proof, failed(f"http://127.0.0.1:{free_port()}/", retries=once), NEW, "transient")


def test_unreachable_is_unsent_too(proof: Proof) -> None:
    """What would be unsure of a connection that stands is transient of one that never came about."""
    conn: Any = None
    error = NewConnectionError(conn, "Failed to establish a new connection")
    error.__cause__ = OSError(errno.EHOSTUNREACH, "No route to host")

    class Connection(urllib3.connection.HTTPConnection):
        def connect(self) -> None:
            raise error

    with urllib3.HTTPConnectionPool("127.0.0.1", 1) as pool, pytest.raises(NewConnectionError) as caught:
        pool.ConnectionCls = Connection
        pool.request("GET", "/", retries=False)
    assert caught.value is error
    assert kind_of(proof, error.__cause__) == "unsure"
    assert kind_of(proof, error) == "transient"


def test_name_not_known(proof: Proof, once: Any) -> None:
    """No such host: no better the next time. (Without a network, DNS itself does not answer.)"""
    error: Any = failed("http://nobody.invalid/", retries=once)
    reason = error if once is False else error.reason
    assert type(reason).__name__ == "NameResolutionError"
    kind = "transient" if reason.__cause__.errno == socket.EAI_AGAIN else "permanent"
    prove(proof, error, NEW, kind)


def test_an_error_that_came_from_another_process_has_lost_what_was_inside(proof: Proof) -> None:
    """And with its traceback, whether it was the first: only a wrapper that has one can still tell."""
    row = "urllib3.exceptions.NewConnectionError, nothing known inside"
    error: Any = pickle.loads(pickle.dumps(failed(f"http://127.0.0.1:{free_port()}/", retries=False)))
    proof.server(error, row, "unsure")
    wrapper: Any = failed(f"http://127.0.0.1:{free_port()}/")
    wrapper.reason = error
    proof.server(wrapper, WRAPPED, "transient")


def test_connecting_takes_too_long(proof: Proof, once: Any) -> None:
    """The queue of the listener is full: the connection does not come about."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
    ):
        error = failed(f"http://127.0.0.1:{full.getsockname()[1]}/", timeout=SOON, retries=once)
    prove(proof, error, CONNECT_TIMEOUT, "transient")


def test_no_connection_in_the_pool(proof: Proof, once: Any) -> None:
    with serving(stall) as server, urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1, block=True) as pool:
        kept = pool._get_conn()
        with pytest.raises(urllib3.exceptions.EmptyPoolError) as caught:
            pool.request("GET", "/", retries=once, pool_timeout=SOON)
        pool._put_conn(kept)
    assert server.requests == []
    proof.server(caught.value, "urllib3.exceptions.EmptyPoolError", "transient")


def test_the_pool_was_closed(proof: Proof) -> None:
    with serving(says(200)) as server, urllib3.HTTPConnectionPool("127.0.0.1", server.port) as pool:
        pool.close()
        with pytest.raises(urllib3.exceptions.ClosedPoolError) as caught:
            pool.request("GET", "/")
    assert server.requests == []
    proof.server(caught.value, "urllib3.exceptions.ClosedPoolError", "transient")


def test_socket_file(proof: Proof, tmp_path: Path) -> None:
    """A daemon that starts has not made its Unix socket yet, or nobody listens behind it any more."""
    path = tmp_path / "daemon.sock"
    proof.server(failed_at(path), "urllib3.exceptions.ProtocolError, Unix socket not there", "transient")
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
        proof.server(failed_at(path), PROTOCOL, "transient")


def test_no_file_to_send_is_something_else(proof: Proof, tmp_path: Path) -> None:
    """The same error, of a file that the request's body was to come from."""

    def body() -> Iterator[bytes]:
        yield (tmp_path / "none").read_bytes()

    with serving(hang_up) as server:
        proof.server(failed(server.url, "POST", body=body(), retries=False), PROTOCOL, "permanent")


def test_certificate_not_trusted(proof: Proof, once: Any) -> None:
    with serving(says(200), ssl_context=untrusted()) as server:
        error = failed(f"https://localhost:{server.port}/", retries=once)
    prove(proof, error, TLS, "permanent")


@pytest.mark.parametrize(("answer", "kind"), [(b"", "unsure"), (b"HTTP/1.1 400 Bad\r\n\r\n", "permanent")])
def test_no_tls(proof: Proof, once: Any, answer: bytes, kind: str) -> None:
    """Closed in the middle of the handshake, by one that may be starting; or a server that speaks no TLS."""
    with answering_hello(answer) as url:
        error = failed(url, retries=once)
    prove(proof, error, TLS, kind)


def test_the_key_cannot_be_read(proof: Proof, tmp_path: Path) -> None:
    """It wants a password, which urllib3 says in its own words."""
    key = tmp_path / "key.pem"
    key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        manager = urllib3.PoolManager(cert_file="none.pem", key_file=str(key))
        error = failed(f"https://127.0.0.1:{listener.getsockname()[1]}/", manager=manager, retries=False)
    proof.server(error, "urllib3.exceptions.SSLError, nothing known inside", "permanent")


# ------------------------------------------------------------------------------------------------------ the proxy


def test_no_proxy(proof: Proof, once: Any) -> None:
    manager = urllib3.ProxyManager(f"http://127.0.0.1:{free_port()}")
    prove(proof, failed("http://nobody.invalid/", manager=manager, retries=once), PROXY, "transient")


@pytest.mark.parametrize("status", [429, 502, 503, 504, 407, 403])
def test_no_tunnel(proof: Proof, once: Any, status: int) -> None:
    """The proxy could not reach the server; or does not want to."""
    with serving(says(status)) as server:
        manager = urllib3.ProxyManager(server.url)
        error = failed("https://nobody.invalid/", manager=manager, retries=once)
    assert server.requests[0].startswith(b"CONNECT ")
    passing = status in {429, 502, 503, 504}
    row = f"tunnel {status}" if passing else "any other tunnel"
    prove(proof, error, f"urllib3.exceptions.ProxyError, {row}", "transient" if passing else "permanent")


def test_the_proxy_hangs_up_with_the_request_in_hand(proof: Proof, once: Any) -> None:
    """urllib3 says that it could not connect to the proxy; yet this one may have passed the request on."""
    with serving(hang_up) as server:
        error = failed("http://nobody.invalid/", manager=urllib3.ProxyManager(server.url), retries=once)
    assert server.requests[0].startswith(b"GET http://nobody.invalid/ ")
    assert "Unable to connect to proxy" in str(error)
    prove(proof, error, PROXY, "unsure")


@pytest.mark.parametrize("inside", [ValueError("no idea"), None, "text"])
def test_a_proxy_error_with_something_unknown(proof: Proof, inside: Any) -> None:
    error = ProxyError("Unable to connect to proxy", inside)
    because = "what is inside a real one is known"
    proof.constructor(error, "urllib3.exceptions.ProxyError, nothing known inside", "unsure", because=because)


# ------------------------------------------------------------------------------------------------ after the request


def test_no_answer_in_time(proof: Proof, once: Any) -> None:
    with serving(stall) as server:
        prove(proof, failed(server.url, timeout=SOON, retries=once), READ_TIMEOUT, "unsure")


@pytest.mark.parametrize("answer", [hang_up, reset, babble, cut_off], ids=["hang up", "reset", "babble", "cut off"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_broken(proof: Proof, once: Any, answer: Any, method: str) -> None:
    with serving(answer) as server:
        error = failed(server.url, method, retries=once)
    assert len(server.requests) == 1
    prove(proof, error, PROTOCOL, "unsure")


def test_chunks_end_too_soon(proof: Proof) -> None:
    with serving(says_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")) as server:
        with urllib3.PoolManager() as manager, pytest.raises(urllib3.exceptions.ProtocolError) as caught:
            list(manager.request("GET", server.url, preload_content=False).stream())
    proof.server(caught.value, "urllib3.exceptions.ProtocolError, nothing known inside", "unsure")


def test_silence_within_the_answer(proof: Proof) -> None:
    def half(peer: socket.socket) -> None:
        cut_off(peer)
        stall(peer)

    with serving(half) as server:
        proof.server(failed(server.url, timeout=SOON, retries=False), READ_TIMEOUT, "unsure")


def test_not_decoded(proof: Proof) -> None:
    with serving(says(200, b"not gzip", content_encoding="gzip")) as server:
        error = failed(server.url, retries=False)
    proof.server(error, "urllib3.exceptions.DecodeError", "permanent")


@pytest.mark.parametrize("status", [*STATUS, 418])
def test_a_status_that_urllib3_was_told_to_retry(proof: Proof, status: int) -> None:
    """The only errors that it makes of answers."""
    with serving(says(status)) as server:
        error: Any = failed(server.url, retries=Retry(0, status_forcelist=[status]))
    verdict = STATUS.get(status)
    kind, throttled = ("permanent", False) if verdict is None else (str(verdict.kind), verdict.throttled)
    row = "any other HTTP" if verdict is None else f"HTTP {status}"
    prove(proof, error, f"urllib3.exceptions.ResponseError, {row}", kind, throttled=throttled)


# ----------------------------------------------------------------------------------------------- the last of several


def redirecting() -> tuple[Any, Any]:
    """An answer, and then nobody who listens at the place that it names."""
    return says(303, location=f"http://127.0.0.1:{free_port()}/"), hang_up


def test_refused_every_time(proof: Proof) -> None:
    """Four times nothing was sent."""
    error: Any = failed(f"http://127.0.0.1:{free_port()}/", "POST")
    assert local(error, "urllib3.util.retry", "increment", "new_retry").history  # type: ignore[attr-defined]
    proof.server(error, WRAPPED, "transient")


def test_refused_after_a_redirect(proof: Proof) -> None:
    """The POST was answered, and may have been done; what was refused is another request."""
    with serving(*redirecting()) as server:
        error: Any = failed(server.url, "POST")
    assert len(server.requests) == 1
    assert isinstance(error.reason, NewConnectionError)
    verdict = proof.server(error, WRAPPED, "unsure")
    assert verdict.reason == "errno ECONNREFUSED; but an earlier request of the same call may have been done"


def test_refused_after_a_redirect_and_not_wrapped(proof: Proof) -> None:
    with serving(*redirecting()) as server:
        error = failed(server.url, "POST", retries=Retry(3, connect=False))
    proof.server(error, NEW, "unsure")


def test_throttled_after_a_request_without_an_answer(proof: Proof) -> None:
    with serving(hang_up, says(429)) as server:
        error: Any = failed(server.url, retries=Retry(1, status_forcelist=[429]))
    assert len(server.requests) == 2
    proof.server(error, WRAPPED, "unsure", throttled=True)


def test_not_trusted_after_a_redirect_is_permanent_all_the_same(proof: Proof) -> None:
    with serving(says(200), ssl_context=untrusted()) as secret:
        with serving(says(303, location=f"https://localhost:{secret.port}/")) as server:
            error: Any = failed(server.url, "POST")
    proof.server(error, WRAPPED, "permanent")


def test_without_its_traceback_nothing_is_proven(proof: Proof) -> None:
    with serving(*redirecting()) as server:
        error: Any = failed(server.url, "POST")
    alone: Any = failed(f"http://127.0.0.1:{free_port()}/", retries=Retry(0))
    assert kind_of(proof, alone) == "transient"
    for one in (error, alone):
        assert kind_of(proof, one.with_traceback(None)) == "unsure"


# ---------------------------------------------------------------------------------------------------- never again


@pytest.mark.parametrize("url", ["http://", "ftp://127.0.0.1/", "http://[::1"])
def test_no_such_address(proof: Proof, url: str) -> None:
    proof.unknown(failed(url, retries=False))


def test_too_many_redirects(proof: Proof) -> None:
    with serving(says(302, location="/again")) as server:
        error: Any = failed(server.url, retries=Retry(0))
    assert isinstance(error.reason, ResponseError)
    proof.unknown(error)


def test_another_host(proof: Proof) -> None:
    with urllib3.HTTPConnectionPool("127.0.0.1", 1) as pool, pytest.raises(urllib3.exceptions.HTTPError) as caught:
        pool.request("GET", "http://127.0.0.2:1/")
    proof.unknown(caught.value)


# ------------------------------------------------------------------------------------------------------ strange facts


@pytest.mark.parametrize("reason", [None, ValueError(), KeyboardInterrupt()])
def test_nothing_known_was_the_reason(proof: Proof, reason: Any) -> None:
    pool: Any = None
    proof.unknown(MaxRetryError(pool, "/", reason))


def test_subclasses_are_meant_too(proof: Proof) -> None:
    class Mine(urllib3.exceptions.ReadTimeoutError):
        def __init__(self) -> None:
            self.args = ()

    assert kind_of(proof, Mine()) == "unsure"
