"""The examples as their readers run them: real processes, a real server, real sockets."""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


EXAMPLES = Path(__file__).parents[2] / "examples"
DEMO = EXAMPLES / "demo.py"
FETCH_ORDER = EXAMPLES / "fetch_order.py"
SERVER = EXAMPLES / "unreliable_server.py"

#: What the children see: warnings are errors, no proxy stands between us, and nobody asks for colours in a pipe.
ENVIRON = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "TTY_COMPATIBLE"}}
ENVIRON.update(PYTHONWARNINGS="error", no_proxy="127.0.0.1", TERM="xterm")


def finished(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program run to its end, its output piped."""
    command = [sys.executable, str(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRON, timeout=30, check=False)


@contextmanager
def serving(*arguments: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """The server as a child process, and its URL; closing its input ends it, in silence, or the test fails."""
    command = [sys.executable, str(SERVER), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=ENVIRON) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process, process.stdout.readline().strip()
            process.stdin.close()
            assert (process.wait(5), process.stderr.read()) == (0, "")
        finally:
            process.kill()  # does nothing to a process that has ended


@pytest.fixture
def url() -> Iterator[str]:
    with serving() as (_, url):
        yield url


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def get(url: str, path: str, timeout: float = 5.0) -> tuple[int, str | None, Any]:
    """One request: status, Retry-After, and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(url), timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Retry-After"], json.loads(answer.read())
    finally:
        connection.close()


class TestServer:
    """The server alone."""

    def test_first_request_is_reset_on_the_wire(self, url: str) -> None:
        """The kernel reports ECONNRESET: an RST came, not the FIN of a connection closed in peace."""
        with socket.create_connection(("127.0.0.1", port_of(url)), timeout=5) as connection:
            connection.sendall(b"GET /orders/me HTTP/1.0\r\n\r\n")
            with pytest.raises(ConnectionResetError) as caught:
                connection.recv(1)
        assert caught.value.errno == errno.ECONNRESET

    def test_day(self, url: str) -> None:
        """Reset, stall, 503, 429 until the second has passed since the first of them, then 200; all of it counted."""
        with pytest.raises(ConnectionResetError):
            get(url, "/orders/me")
        with pytest.raises(TimeoutError):
            get(url, "/orders/me", timeout=0.3)
        assert get(url, "/orders/me")[:2] == (503, None)
        assert get(url, "/orders/me")[:2] == (429, "1")
        told = time.monotonic()
        assert get(url, "/orders/me")[:2] == (429, "1")
        time.sleep(told + 1.0 - time.monotonic())
        assert get(url, "/orders/me") == (200, None, {"order": "me", "status": "shipped"})
        answers = {"reset": 1, "stall": 1, "503": 1, "429": 2, "200": 1}
        assert get(url, "/counts")[2] == {"me": {"requests": 6, "against_retry_after": 1, "answers": answers}}

    def test_each_client_has_a_day_of_its_own(self, url: str) -> None:
        """What one client has been through says nothing about the next one's first request."""
        for client in ("one", "another"):
            with pytest.raises(ConnectionResetError):
                get(url, f"/orders/{client}")
        assert {client: day["requests"] for client, day in get(url, "/counts")[2].items()} == {"one": 1, "another": 1}

    @pytest.mark.parametrize("path", ["/", "/orders/", "/other"])
    def test_other_paths_are_not_found(self, url: str, path: str) -> None:
        """404, and nobody's day has begun."""
        assert get(url, path)[0] == 404
        assert get(url, "/counts")[2] == {}

    def test_ends_when_its_input_closes(self) -> None:
        """At once and in silence, even while a request stalls."""
        with serving() as (process, url):  # leaving it closes the input, and allows 5 s
            with pytest.raises(ConnectionResetError):
                get(url, "/orders/me")
            with pytest.raises(TimeoutError):
                get(url, "/orders/me", timeout=0.1)
            assert process.poll() is None

    def test_ends_by_itself(self) -> None:
        """When its time is up, though its input is open."""
        with serving("0.2") as (process, _):
            assert process.wait(5) == 0


class TestFetchOrder:
    """The program that newcomers read."""

    def test_fetches_the_order_in_five_requests(self, url: str) -> None:
        """One line for each failed attempt, the order at the end, and no request against Retry-After."""
        done = finished(FETCH_ORDER, f"{url}/orders/me")
        assert (done.returncode, json.loads(done.stdout)) == (0, {"order": "me", "status": "shipped"})
        said = done.stderr.splitlines()
        assert [re.match(r"fetch_order: (attempt \d of 6) failed", line)[1] for line in said] == [  # type: ignore[index]
            f"attempt {number} of 6" for number in (1, 2, 3, 4)
        ]
        day = get(url, "/counts")[2]["me"]
        assert (day["requests"], day["against_retry_after"]) == (5, 0)

    def test_says_why_there_is_no_order(self, url: str) -> None:
        """What is not worth another attempt gets none; the error is named, and the exit is 1."""
        done = finished(FETCH_ORDER, f"{url}/nothing/here")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "HTTPError: HTTP Error 404: Not Found\n")

    def test_wants_one_url(self) -> None:
        """Without it, the usage and exit 2."""
        done = finished(FETCH_ORDER)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "usage: fetch_order.py URL\n")


class TestDemo:
    """`make demo`, after set-up."""

    def test_piped(self, tmp_path: Path) -> None:
        """It ends 0 in time, in plain lines, and the server's counts tell the clients apart."""
        began = time.monotonic()
        done = finished(DEMO, "--json", str(tmp_path / "table.json"))
        took = time.monotonic() - began
        assert (done.returncode, done.stderr) == (0, "")
        assert took < 20
        assert "\x1b" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80

        rows = json.loads((tmp_path / "table.json").read_text())
        ours, undecorated, tenacity = rows
        assert ours["client"] == "resilience"
        assert (ours["got_order"], ours["requests"], ours["against_retry_after"]) == (True, 5, 0)
        assert (undecorated["outcome"], undecorated["requests"]) == ("ConnectionResetError", 1)
        assert tenacity["client"] == "tenacity's defaults"
        assert tenacity["against_retry_after"] > 0

        table = done.stdout.partition("As the server counted it")[2]
        for row in rows:
            figures = (row["outcome"], row["requests"], row["against_retry_after"], f"{row['seconds']:.2f}")
            assert re.search(rf"^{row['client']} +" + " +".join(map(str, figures)) + "$", table, re.MULTILINE)

    def test_leaves_no_server_behind(self) -> None:
        """Whichever way it ends, the process it started is gone; it fails with one clear line."""
        done = finished(DEMO, "--deadline", "0.5")
        assert done.returncode == 1
        assert re.fullmatch(r"demo: the decorated client failed: \w+: .+\n", done.stderr)
        assert "tenacity" not in done.stdout
        found = re.search(r"http://127\.0\.0\.1:(\d+)", done.stdout)
        assert found is not None
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(found[1])), timeout=5)

    def test_deadline_must_be_one(self) -> None:
        """A deadline that is none is a mistake on the command line: exit 2."""
        done = finished(DEMO, "--deadline", "-1")
        assert done.returncode == 2
        assert "--deadline: seconds must be" in done.stderr

    @pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
    def test_on_a_terminal(self) -> None:
        """There, and only there, it uses colours."""
        ours, theirs = os.openpty()
        command = [sys.executable, str(DEMO), "--deadline", "0.5"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=ENVIRON) as process:
            os.close(theirs)
            said = bytearray()
            try:
                while some := os.read(ours, 4096):
                    said += some
            except OSError:  # how Linux says that the other end has closed
                pass
            finally:
                os.close(ours)
        assert process.returncode == 1
        assert b"\x1b[33mconnection reset" in said
