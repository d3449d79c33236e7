"""A real HTTP server that counts: what is posted to it is done, and then answered as the client expects it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias


#: How an answer ends, whatever else it says.
DONE = "done-and-said-so"

_CHAT = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": DONE}}],
}
_MESSAGE = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": DONE}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
_FILE = {"id": DONE, "object": "vector_store.file", "created_at": 1, "status": "completed", "vector_store_id": "shop"}
#: What the services that clients expect answer, by the path; anywhere else the answer is `DONE`.
_ANSWERS: Mapping[str, tuple[int, dict[str, Any]]] = {
    "/v1/chat/completions": (200, _CHAT),
    "/v1/messages": (200, _MESSAGE),
    "/v1.44/containers/create": (201, {"Id": DONE, "Warnings": []}),
    "/v1/vector_stores/shop/files": (200, _FILE),
    "/queue": (200, {"MessageId": DONE}),
    # What is only asked for.
    f"/v1.44/containers/{DONE}/json": (200, {"Id": DONE}),
    f"/v1/vector_stores/shop/files/{DONE}": (200, _FILE),
}

#: A status, headers, and what is sent as JSON.
Answer: TypeAlias = tuple[int, dict[str, str], dict[str, Any] | None]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CountingServer

    def do_POST(self) -> None:
        """Do the work, whatever it is, and say so."""
        # Nobody is charged for a request of which a part is missing.
        length = int(self.headers["Content-Length"])
        if len(self.rfile.read(length)) < length:
            return
        with self.server.lock:
            self.server.done += 1
        self.do_GET()

    do_PUT = do_POST  # noqa: N815  # as http.server calls it

    def do_GET(self) -> None:
        """Answer, and do nothing."""
        status, headers, answer = self.server.instead or self._usual()
        body = DONE.encode() if answer is None else json.dumps(answer).encode()
        headers = {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}
        lines = [f"HTTP/1.1 {status} Done", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        # All at once: what is read is whole, or nothing.
        self.wfile.write("\r\n".join(lines).encode() + body)

    def _usual(self) -> Answer:
        status, answer = _ANSWERS.get(self.path, (200, None))
        return status, {}, answer

    def handle(self) -> None:
        """Whatever a client does to its connection is its own affair."""
        with contextlib.suppress(OSError):
            super().handle()


class CountingServer(ThreadingHTTPServer):
    """See `tests.idempotency.matrix.Service`."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.done = 0
        #: What to answer from now on, in place of what is usual; the work is done all the same.
        self.instead: Answer | None = None
        self.lock = threading.Lock()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server_port

    def executions(self) -> int:
        """How many requests were carried out."""
        return self.done


@contextlib.contextmanager
def counting_server() -> Iterator[CountingServer]:
    """One, in a thread of its own."""
    with CountingServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
