"""A real HTTP server on a bad day, for trying out what a client does about it.

Each client, told apart by the last part of the path (/orders/<client>), meets the same day of its own:

    request 1     the connection is reset
    request 2     nothing is answered for 30 s
    request 3     503 Service Unavailable
    request 4     429 Too Many Requests, `Retry-After: 1`; the same for whatever comes before that second has passed
    after that    200 and the order, as JSON

GET /counts says how many requests of each client arrived, how each was answered, and how many of them were sent
while the server had asked to be left alone.

Its URL is the one line it prints. It ends when its standard input closes, so that it never outlives the program that
started it, and in any case after 60 s, or after the seconds given as argument.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import threading
import time
from collections import Counter
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast


STALL = 30.0
RETRY_AFTER = 1
LIFETIME = 60.0


class Day:
    """One client's bad day: what it gets for each request, and what it was seen to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told_at: float | None = None  # when it was first asked to wait
        self._answers: Counter[str] = Counter()
        self._against = 0

    def next_answer(self) -> str:
        """Count one request, and say how to answer it."""
        with self._lock:
            answer = self._answer(self._answers.total() + 1, time.monotonic())
            self._answers[answer] += 1
            return answer

    def _answer(self, request: int, now: float) -> str:
        if request <= 3:
            return ("reset", "stall", "503")[request - 1]
        if self._told_at is None:
            self._told_at = now
            return "429"
        if now - self._told_at < RETRY_AFTER:
            self._against += 1
            return "429"
        return "200"

    def counts(self) -> dict[str, object]:
        """What `/counts` says of this client."""
        with self._lock:
            return {
                "requests": self._answers.total(),
                "against_retry_after": self._against,
                "answers": dict(self._answers),
            }


class BadDays(ThreadingHTTPServer):
    """The server: one thread a request, one `Day` a client."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ending = threading.Event()
        self._days: dict[str, Day] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"

    def day(self, client: str) -> Day:
        """This client's day; a client not seen before begins a new one."""
        with self._lock:
            return self._days.setdefault(client, Day())

    def counts(self) -> dict[str, object]:
        """What `/counts` says."""
        with self._lock:
            return {client: day.counts() for client, day in self._days.items()}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """Answer as the client's day has it, or with the counts."""
        server = cast("BadDays", self.server)
        if self.path == "/counts":
            self._send(HTTPStatus.OK, server.counts())
            return
        client = self.path.removeprefix("/orders/")
        if client == self.path or not client:
            self._send(HTTPStatus.NOT_FOUND, {"error": "there are /orders/<client> and /counts"})
            return
        match server.day(client).next_answer():
            case "reset":
                self._reset()
            case "stall":
                server.ending.wait(STALL)
            case "503":
                self._send(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "down for a moment"})
            case "429":
                headers = {"Retry-After": str(RETRY_AFTER)}
                self._send(HTTPStatus.TOO_MANY_REQUESTS, {"error": "too many requests"}, headers)
            case _:
                self._send(HTTPStatus.OK, {"order": client, "status": "shipped"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class has it so
        """Say nothing: whoever started this server does the talking."""

    def _send(self, status: HTTPStatus, body: object, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _reset(self) -> None:
        # Closing a socket that lingers for 0 s sends RST in place of FIN. It must be closed here: the server would
        # first shut it down, which sends FIN, and the client would read a clean end. The reader holds it open too.
        no_time = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_time)
        self.rfile.close()
        self.connection.close()


def main() -> None:
    """Serve until standard input closes, or the time is up."""
    lifetime = float(sys.argv[1]) if len(sys.argv) > 1 else LIFETIME
    with BadDays() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        threading.Thread(target=wait_for_end_of_input, args=(server.ending,), daemon=True).start()
        print(server.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.ending.wait(lifetime)
        server.shutdown()


def wait_for_end_of_input(ending: threading.Event) -> None:
    """Set `ending` when whoever started this process has closed its standard input, or is gone."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):  # not sys.stdin: its lock, held by a daemon thread, would break the interpreter's exit
            pass
    ending.set()


if __name__ == "__main__":
    main()
