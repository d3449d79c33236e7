"""The standard library's row by row, by real failures where they are cheap to cause."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import multiprocessing
import os
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.core.tables.proving import NOW, Proof
from tests.servers import http as servers
from tests.servers.http import untrusted

from resilience._core.tables import Tables
from resilience._core.tables.http import STATUS
from resilience._core.tables.stdlib import ERRNO_TRANSIENT, ERRNO_UNSURE
from resilience._core.verdict import Verdict, VerdictKind


TRANSIENT, UNSURE, PERMANENT = VerdictKind.TRANSIENT, VerdictKind.UNSURE, VerdictKind.PERMANENT


def judged(error: BaseException) -> Verdict | None:
    assert isinstance(error, Exception)
    return Tables(lambda: NOW)(error)


def kind_of(error: BaseException) -> VerdictKind | None:
    found = judged(error)
    return None if found is None else found.kind


def caught(work: Callable[[], object]) -> Exception:
    """The real error of real work."""
    with pytest.raises(Exception) as raised:
        work()
    return raised.value


TRANSIENT_NAMES = "ECONNREFUSED EADDRNOTAVAIL EINTR EBUSY ETXTBSY EDEADLK ENOLCK EMFILE ENFILE"
UNSURE_NAMES = (
    "ECONNRESET ECONNABORTED EPIPE ESHUTDOWN ETIMEDOUT ENETDOWN ENETUNREACH ENETRESET EHOSTDOWN EHOSTUNREACH ESTALE"
    " EAGAIN EWOULDBLOCK ENOBUFS ENOMEM"
)
PERMANENT_NAMES = (
    "EACCES EPERM ENOENT EEXIST EISDIR ENOTDIR ENOSPC EROFS EDQUOT EINVAL EBADF ENOTEMPTY ENAMETOOLONG EADDRINUSE ENOTCONN EISCONN"
    " EPROTONOSUPPORT EAFNOSUPPORT EIO ENXIO ECHILD EFBIG EMSGSIZE ENOEXEC ELOOP"
)
NUMBERS_TRANSIENT = frozenset(getattr(errno, name) for name in ERRNO_TRANSIENT if hasattr(errno, name))
NUMBERS_UNSURE = frozenset(getattr(errno, name) for name in ERRNO_UNSURE if hasattr(errno, name))
ERRNO_ROWS = [
    (name, kind)
    for names, kind in ((TRANSIENT_NAMES, TRANSIENT), (UNSURE_NAMES, UNSURE), (PERMANENT_NAMES, PERMANENT))
    for name in names.split()
    if hasattr(errno, name)
]


@pytest.mark.parametrize(("name", "kind"), ERRNO_ROWS)
def test_errno(name: str, kind: VerdictKind) -> None:
    """Each error number has its verdict, whatever class the operating system's error takes, and names itself."""
    number = getattr(errno, name)
    found = judged(OSError(number, "said"))
    assert found is not None
    assert found.kind is kind
    assert getattr(errno, found.reason.removeprefix("errno ")) == number


def test_every_number_of_the_table_has_its_row() -> None:
    """Nothing is in the table that no row above tests, and nothing is in it twice."""
    rows = {kind: frozenset(getattr(errno, name) for name, of in ERRNO_ROWS if of is kind) for kind in VerdictKind}
    assert (rows[TRANSIENT], rows[UNSURE]) == (NUMBERS_TRANSIENT, NUMBERS_UNSURE)
    assert not NUMBERS_TRANSIENT & NUMBERS_UNSURE


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_number_of_the_platform_has_a_verdict(number: int) -> None:
    """What is in neither set is permanent."""
    expected = TRANSIENT if number in NUMBERS_TRANSIENT else UNSURE if number in NUMBERS_UNSURE else PERMANENT
    assert kind_of(OSError(number, "said")) is expected


def test_an_error_number_is_no_http_status() -> None:
    """ECONNRESET, 104 on Linux, is unsure: not "HTTP 104", and so not permanent."""
    assert kind_of(ConnectionResetError(errno.ECONNRESET, "reset")) is UNSURE
    assert kind_of(OSError(503, "made up")) is PERMANENT


def test_a_number_that_no_one_knows_is_permanent_and_named() -> None:
    """An unknown number is said as it is."""
    assert judged(OSError(99_999, "new")) == Verdict.permanent("errno 99999")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError("nobody there"), TRANSIENT),
        (ConnectionResetError(), UNSURE),
        (BrokenPipeError("x"), UNSURE),
        (ConnectionError("x"), UNSURE),
        (TimeoutError(), UNSURE),
        (TimeoutError("x"), UNSURE),
        (TimeoutError("of asyncio"), UNSURE),
        (socket.timeout("timed out"), UNSURE),  # noqa: UP041
        (OSError("x"), None),
        (FileNotFoundError("x"), None),
        (PermissionError(), None),
        (asyncio.IncompleteReadError(b"", 4), UNSURE),
        (asyncio.LimitOverrunError("x", 1), None),
        (BrokenProcessPool("died"), UNSURE),
        (http.client.BadStatusLine("x"), UNSURE),
        (http.client.InvalidURL("x"), None),
        (http.client.CannotSendRequest(), None),
        (subprocess.CalledProcessError(1, "false"), None),
        (ValueError("x"), None),
        (EOFError(), None),
        (ssl.SSLZeroReturnError("x"), UNSURE),
        (ssl.SSLSyscallError("x"), UNSURE),
        (ssl.SSLEOFError("x"), UNSURE),
        (ssl.SSLError("x"), PERMANENT),
        (ssl.SSLCertVerificationError("x"), PERMANENT),
    ],
    ids=repr,
)
def test_by_class(error: Exception, kind: VerdictKind | None) -> None:
    """Without a number the class says what it is; what says nothing is not known."""
    assert kind_of(error) is kind


def test_subclasses_are_judged_as_their_bases() -> None:
    """A library's own class on top of a standard one means what that one means."""

    class Own(http.client.IncompleteRead):
        pass

    class OwnRefused(ConnectionRefusedError):
        pass

    assert kind_of(Own(b"", 1)) is UNSURE
    assert kind_of(OwnRefused(errno.ECONNREFUSED, "x")) is TRANSIENT


@pytest.mark.parametrize("number", [[], {}, "104", b"x", 1.5, None], ids=repr)
def test_an_errno_that_is_no_number_breaks_nothing(number: Any) -> None:
    """`OSError` takes anything for its errno; a verdict on it must not raise."""
    judged(OSError(number, "said"))


# -- DNS -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [("EAI_AGAIN", TRANSIENT), ("EAI_FAIL", TRANSIENT), ("EAI_NONAME", PERMANENT), ("EAI_FAMILY", PERMANENT)],
)
def test_dns_by_number(name: str, kind: VerdictKind) -> None:
    """A resolver that does not answer is transient; a name that is not there is permanent."""
    assert kind_of(socket.gaierror(getattr(socket, name), "said")) is kind


@pytest.mark.parametrize("number", [-3, -4, 2, 4, 11002, 11003])
def test_dns_numbers_of_other_platforms(number: int) -> None:
    """Pickled across platforms, the number is the other one's."""
    assert kind_of(socket.gaierror(number, "said")) is TRANSIENT


def test_dns_for_real() -> None:
    """A name that cannot be one is refused by the resolver without a network; urllib's wrapping changes nothing."""
    error = caught(lambda: socket.getaddrinfo("256.256.256.256", 80, flags=socket.AI_NUMERICHOST))
    assert isinstance(error, socket.gaierror)
    assert kind_of(error) is PERMANENT
    assert kind_of(urllib.error.URLError(error)) is PERMANENT


# -- sockets ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(answer: Callable[[socket.socket], None], *, connections: int = 1) -> Iterator[int]:
    """A real server on a free port that answers each connection so; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(connections):
                peer, _ = server.accept()
                with peer:
                    answer(peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def reset(peer: socket.socket) -> None:
    peer.recv(1000)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang_up(peer: socket.socket) -> None:
    peer.recv(1000)


def cut_off(peer: socket.socket) -> None:
    peer.recv(1000)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")


def babble(peer: socket.socket) -> None:
    peer.recv(1000)
    peer.sendall(b"no http at all\r\n\r\n")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def get(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().read()


def test_connect_refused_for_real() -> None:
    """Nobody listens: transient."""
    port = free_port()
    assert kind_of(caught(lambda: socket.create_connection(("127.0.0.1", port)))) is TRANSIENT
    wrapped = caught(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5))
    assert isinstance(wrapped, urllib.error.URLError)
    assert kind_of(wrapped) is TRANSIENT


def test_reset_for_real() -> None:
    """The peer takes the request and resets: what was sent may have been done."""
    with served(reset) as port:
        error = caught(lambda: get(port))
    assert isinstance(error, ConnectionResetError)
    assert kind_of(error) is UNSURE


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (hang_up, http.client.RemoteDisconnected),
        (cut_off, http.client.IncompleteRead),
        (babble, http.client.BadStatusLine),
    ],
)
def test_answers_that_break_off_for_real(answer: Callable[[socket.socket], None], kind: type[Exception]) -> None:
    """Closed without an answer, in the middle of it, or no HTTP: unsure."""
    with served(answer) as port:
        error = caught(lambda: get(port))
    assert type(error) is kind
    assert kind_of(error) is UNSURE


def test_read_timeout_for_real() -> None:
    """A peer that does not answer in time may still be at it."""
    first, second = socket.socketpair()
    with first, second:
        first.settimeout(0.001)
        assert kind_of(caught(lambda: first.recv(1))) is UNSURE
        first.setblocking(False)
        assert kind_of(caught(lambda: first.recv(1))) is UNSURE


def test_broken_pipe_for_real() -> None:
    """Writing to a peer that is gone: unsure."""
    first, second = socket.socketpair()
    with first:
        second.close()
        assert kind_of(caught(lambda: first.sendall(b"x"))) is UNSURE


def test_missing_file_for_real(tmp_path: Path) -> None:
    """A file that is not there will not be there the next time."""
    assert kind_of(caught((tmp_path / "none").read_bytes)) is PERMANENT
    assert kind_of(caught(tmp_path.read_bytes)) is PERMANENT


# -- TLS -------------------------------------------------------------------------------------------------------------


def test_tls_against_a_plain_server_for_real() -> None:
    """A server that does not speak TLS will not learn it: permanent, also in urllib's wrapping."""

    def plain(peer: socket.socket) -> None:
        peer.recv(1000)
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    def connect(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 5) as plain_socket:
            ssl.create_default_context().wrap_socket(plain_socket, server_hostname="localhost").close()

    with served(plain) as port:
        error = caught(lambda: connect(port))
    assert isinstance(error, ssl.SSLError)
    assert kind_of(error) is PERMANENT
    assert kind_of(urllib.error.URLError(error)) is PERMANENT


def test_tls_broken_off_for_real() -> None:
    """A connection that ends within the handshake, or is reset in it: unsure."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    incoming.write_eof()
    error = caught(tls.do_handshake)
    assert isinstance(error, ssl.SSLEOFError)
    assert kind_of(error) is UNSURE


# -- urllib ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def http_server(status: int, headers: dict[str, str]) -> Iterator[str]:
    """A real HTTP server that answers everything so; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        thread.join(5)


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (429, {"Retry-After": "7"}, Verdict.transient(7.0, throttled=True, reason="HTTP 429")),
        (429, {}, Verdict.transient(throttled=True, reason="HTTP 429")),
        (503, {"retry-after": "1000000000000"}, Verdict.unsure(1e12, throttled=True, reason="HTTP 503")),
        (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT"}, Verdict.unsure(30, throttled=True, reason="HTTP 503")),
        (
            503,
            {"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:20 GMT"},
            Verdict.unsure(10, throttled=True, reason="HTTP 503"),
        ),
        (503, {"Retry-After": "tomorrow"}, Verdict.unsure(throttled=True, reason="HTTP 503")),
        (502, {"Retry-After-Ms": "250", "Retry-After": "9"}, Verdict.unsure(0.25, reason="HTTP 502")),
        (404, {"Retry-After": "7"}, Verdict.permanent("HTTP 404")),
        (401, {}, Verdict.permanent("HTTP 401")),
    ],
    ids=str,
)
def test_urllib_statuses_for_real(status: int, headers: dict[str, str], expected: Verdict) -> None:
    """A real answer of a real server, through urllib, has the status's verdict and the server's hint."""
    with http_server(status, headers) as url, pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(url, timeout=5)
    with raised.value as error:
        assert judged(error) == expected


def test_urllib_without_headers() -> None:
    """An `HTTPError` made by hand may have none."""
    with urllib.error.HTTPError("http://x", 503, "", None, None) as error:  # type: ignore[arg-type]
        assert judged(error) == Verdict.unsure(throttled=True, reason="HTTP 503")
    with urllib.error.HTTPError("http://x", 429, "", Message(), None) as error:
        verdict = judged(error)
    assert verdict is not None
    assert (verdict.kind, verdict.throttled) == (UNSURE, True)  # nobody knows whether urllib had been redirected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("unknown url type: ftq", Verdict.permanent("reason: unknown url type: ftq")),
        (TimeoutError("timed out"), Verdict.unsure(reason="timed out")),
        (ValueError("bug"), None),
    ],
    ids=repr,
)
def test_url_error_is_judged_by_its_reason(reason: Any, expected: Verdict | None) -> None:
    """The wrapping says nothing; what is inside does."""
    assert judged(urllib.error.URLError(reason)) == expected


def test_a_download_that_broke_off_is_unsure() -> None:
    """`urlretrieve` cut short is the same event as `IncompleteRead`."""
    with served(cut_off) as port:
        error = caught(lambda: urllib.request.urlretrieve(f"http://127.0.0.1:{port}/"))
    urllib.request.urlcleanup()
    assert kind_of(error) is UNSURE


# -- sqlite3 and subprocess --------------------------------------------------------------------------------------------


def test_a_locked_database_for_real(tmp_path: Path) -> None:
    """Another connection writes: the statement was refused whole, so transient; a bad statement is permanent."""
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as first,
        contextlib.closing(sqlite3.connect(tmp_path / "db", isolation_level=None, timeout=0)) as second,
    ):
        first.execute("CREATE TABLE t (x UNIQUE)")
        first.execute("BEGIN IMMEDIATE")
        error = caught(lambda: second.execute("INSERT INTO t VALUES (1)"))
        first.execute("ROLLBACK")
        assert judged(error) == Verdict.transient(reason="SQLITE_BUSY")
        assert kind_of(caught(lambda: second.execute("SELEKT"))) is PERMANENT
        second.execute("INSERT INTO t VALUES (1)")
        error = caught(lambda: second.execute("INSERT INTO t VALUES (1)"))
        assert judged(error) == Verdict.permanent(f"sqlite_errorcode {sqlite3.SQLITE_CONSTRAINT_UNIQUE}")
    assert kind_of(caught(lambda: second.execute("SELECT 1"))) is None  # closed: a bug, without a code


@pytest.mark.parametrize("code", [5, 6, 7, 15, 17, 5 | 2 << 8, 6 | 1 << 8, 261])
def test_sqlite_codes_with_their_extensions(code: int) -> None:
    """The primary part decides: SQLITE_BUSY_SNAPSHOT is a SQLITE_BUSY."""
    error = sqlite3.OperationalError("said")
    error.sqlite_errorcode = code
    assert kind_of(error) is TRANSIENT


@pytest.mark.parametrize("code", [1, 8, 10, 11, 13, 14, 19, 26])
def test_other_sqlite_codes_are_permanent(code: int) -> None:
    """Read-only, I/O, corrupt, full, constraint: not worth trying again."""
    error = sqlite3.OperationalError("said")
    error.sqlite_errorcode = code
    assert kind_of(error) is PERMANENT


def test_a_child_that_ran_out_of_time_for_real() -> None:
    """A command that was killed for its timeout may have done its work."""
    work = [sys.executable, "-c", "import time; time.sleep(30)"]
    assert kind_of(caught(lambda: subprocess.run(work, timeout=0.05, check=False))) is UNSURE


# -- every row, with its proof ---------------------------------------------------------------------------------------------


def read_http(server: servers.Misbehaving) -> bytes:
    return get(server.port)


@pytest.mark.parametrize(
    ("answer", "row"),
    [
        (servers.hang_up, "http.client.RemoteDisconnected"),
        (servers.cut_off, "http.client.IncompleteRead"),
        (servers.babble, "http.client.BadStatusLine"),
        (servers.reset, "builtins.OSError, errno ECONNRESET"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_rows_of_broken_answers(proof: Proof, answer: servers.Answer, row: str) -> None:
    """What `http.client` raises when an answer breaks off; urllib wraps some of it."""
    with servers.serving(answer) as server:
        proof.server(caught(lambda: read_http(server)), row, "unsure")


def test_rows_of_urllib(proof: Proof) -> None:
    """By what it wraps, by its words, and a download that came short."""
    port = free_port()
    refused = caught(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5))
    proof.server(refused, "urllib.error.URLError, by its reason", "transient")
    words = caught(lambda: urllib.request.urlopen("ftq://127.0.0.1/"))
    proof.server(words, "urllib.error.URLError, any other reason", "permanent")
    with servers.serving(servers.cut_off) as server:
        short = caught(lambda: urllib.request.urlretrieve(f"{server.url}/"))
    urllib.request.urlcleanup()
    proof.server(short, "urllib.error.ContentTooShortError", "unsure")


@pytest.mark.parametrize("status", [*STATUS, 404])
def test_rows_of_urllib_statuses(proof: Proof, status: int) -> None:
    """Each status, as urllib raises it."""
    with (
        servers.serving(servers.says(status, retry_after="7")) as server,
        pytest.raises(urllib.error.HTTPError) as raised,
    ):
        urllib.request.urlopen(f"{server.url}/", timeout=5)
    known = STATUS.get(status)
    row = "urllib.error.HTTPError, any other HTTP" if known is None else f"urllib.error.HTTPError, HTTP {status}"
    with raised.value as error:
        if known is None:
            proof.server(error, row, "permanent")
        else:
            proof.server(error, row, known.kind, throttled=known.throttled, after=7.0)


@pytest.mark.parametrize("after", ["refused", "throttled"])
def test_an_error_after_a_redirect_proves_nothing_of_the_first_request(after: str) -> None:
    """A POST was done and answered with a redirect; that nobody listens there does not undo it."""
    with servers.serving(servers.says(429)) as busy:
        target = busy.url if after == "throttled" else f"http://127.0.0.1:{free_port()}"
        with servers.serving(servers.says(303, location=f"{target}/")) as first, pytest.raises(OSError) as raised:
            urllib.request.urlopen(first.url, data=b"x", timeout=5)
    verdict = judged(raised.value)
    getattr(raised.value, "close", str)()
    assert verdict is not None
    assert verdict.kind is UNSURE
    assert "an earlier request of the same call may have been done" in verdict.reason


@pytest.mark.parametrize("name", [*ERRNO_TRANSIENT, *ERRNO_UNSURE])
def test_rows_of_error_numbers(proof: Proof, name: str) -> None:
    """Each number of the table; that the operating system raises the same class with the same number is Python's promise."""
    kind = "transient" if name in ERRNO_TRANSIENT else "unsure"
    because = "the operating system sets the number, and Python makes the same class of it"
    proof.constructor(OSError(getattr(errno, name), "said"), f"builtins.OSError, errno {name}", kind, because=because)


def test_rows_of_error_numbers_for_real(proof: Proof, tmp_path: Path) -> None:
    """Some of them by the operating system itself."""
    port = free_port()
    refused = caught(lambda: socket.create_connection(("127.0.0.1", port)))
    proof.server(refused, "builtins.OSError, errno ECONNREFUSED", "transient")
    first, second = socket.socketpair()
    with first, second:
        first.setblocking(False)
        proof.server(caught(lambda: first.recv(1)), "builtins.OSError, errno EAGAIN", "unsure")
        second.close()
        proof.server(caught(lambda: first.sendall(b"x")), "builtins.OSError, errno EPIPE", "unsure")
    proof.server(caught((tmp_path / "none").read_bytes), "builtins.OSError, any other errno", "permanent")


def test_rows_of_errors_without_a_number(proof: Proof) -> None:
    """Raised by Python code, which sets none: asyncio's and socket's own timeouts, and programs that raise them by name."""
    first, second = socket.socketpair()
    with first, second:
        first.settimeout(0.001)
        proof.server(caught(lambda: first.recv(1)), "builtins.TimeoutError, errno none", "unsure")
    because = "the operating system always sets a number; only Python code raises it without one"
    proof.constructor(
        ConnectionRefusedError(), "builtins.ConnectionRefusedError, errno none", "transient", because=because
    )
    proof.constructor(ConnectionResetError(), "builtins.ConnectionError, errno none", "unsure", because=because)


def test_rows_of_several_addresses(proof: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with two addresses, at neither of which anybody listens: asyncio raises one error without a number."""
    port = free_port()

    async def connect() -> None:
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.1", "127.0.0.2")]

        async def resolve(*args: object, **options: object) -> Any:
            return addresses

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        await asyncio.open_connection("two.test", port)

    error = caught(lambda: asyncio.run(connect()))
    proof.server(error, "builtins.OSError, connecting: no address reached", "transient")


def test_rows_of_dns(proof: Proof) -> None:
    """A name that cannot be one; a resolver that does not answer cannot be had on loopback."""
    error = caught(lambda: socket.getaddrinfo("256.256.256.256", 80, flags=socket.AI_NUMERICHOST))
    proof.server(error, "socket.gaierror, any other DNS", "permanent")
    silent = socket.gaierror(socket.EAI_AGAIN, "said")
    because = "the machine's resolver would have to be silenced"
    proof.constructor(silent, "socket.gaierror, DNS: EAI_AGAIN or EAI_FAIL", "transient", because=because)


def test_rows_of_tls(proof: Proof) -> None:
    """Not trusted, not spoken, broken off."""

    def connect(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 5) as plain_socket:
            ssl.create_default_context().wrap_socket(plain_socket, server_hostname="localhost").close()

    with servers.serving(servers.says(200), ssl_context=untrusted()) as server:
        proof.server(caught(lambda: connect(server.port)), "ssl.SSLCertVerificationError", "permanent")

    def plain(peer: socket.socket) -> None:
        peer.recv(1000)
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with served(plain) as port:
        proof.server(caught(lambda: connect(port)), "ssl.SSLError", "permanent")
    with served(hang_up) as port:
        proof.server(caught(lambda: connect(port)), "ssl.SSLEOFError", "unsure")
    because = "the TLS library decides how it reports a broken connection, and this version reports an end of file"
    proof.constructor(ssl.SSLZeroReturnError(6, "closed"), "ssl.SSLZeroReturnError", "unsure", because=because)
    proof.constructor(ssl.SSLSyscallError(5, "broke"), "ssl.SSLSyscallError", "unsure", because=because)


def test_rows_of_sqlite(proof: Proof, tmp_path: Path) -> None:
    """Locked by another connection, or by another statement of a shared cache; and a statement that is none."""
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as first,
        contextlib.closing(sqlite3.connect(tmp_path / "db", isolation_level=None, timeout=0)) as second,
    ):
        first.execute("BEGIN IMMEDIATE")
        busy = caught(lambda: second.execute("CREATE TABLE t (x)"))
        proof.server(busy, "sqlite3.Error, sqlite_errorcode SQLITE_BUSY", "transient")
        proof.server(caught(lambda: second.execute("SELEKT")), "sqlite3.Error, any other sqlite_errorcode", "permanent")
    shared = "file:shared?mode=memory&cache=shared"
    with (
        contextlib.closing(sqlite3.connect(shared, uri=True, isolation_level=None)) as first,
        contextlib.closing(sqlite3.connect(shared, uri=True, isolation_level=None, timeout=0)) as second,
    ):
        first.execute("CREATE TABLE t (x)")
        first.execute("BEGIN IMMEDIATE")
        first.execute("INSERT INTO t VALUES (1)")
        locked = caught(lambda: second.execute("SELECT * FROM t"))
        proof.server(locked, "sqlite3.Error, sqlite_errorcode SQLITE_LOCKED", "transient")
    for name, code in (("SQLITE_NOMEM", 7), ("SQLITE_PROTOCOL", 15), ("SQLITE_SCHEMA", 17)):
        error = sqlite3.OperationalError("said")
        error.sqlite_errorcode = code
        because = "a race inside SQLite, or no memory: not to be caused at will"
        proof.constructor(error, f"sqlite3.Error, sqlite_errorcode {name}", "transient", because=because)


def test_rows_of_children(proof: Proof) -> None:
    """A command that ran out of time, and a pool whose worker died."""
    work = [sys.executable, "-c", "import time; time.sleep(30)"]
    slow = caught(lambda: subprocess.run(work, timeout=0.05, check=False))
    proof.server(slow, "subprocess.TimeoutExpired", "unsure")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        died = caught(pool.submit(os._exit, 1).result)
    proof.server(died, "concurrent.futures.process.BrokenProcessPool", "unsure")


def test_rows_of_streams(proof: Proof) -> None:
    """asyncio's reader meets the end before it has read what it was to read."""

    async def read() -> bytes:
        with servers.serving(servers.cut_off) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            try:
                return await reader.readexactly(10_000)
            finally:
                writer.close()
                await writer.wait_closed()

    proof.server(caught(lambda: asyncio.run(read())), "asyncio.exceptions.IncompleteReadError", "unsure")
