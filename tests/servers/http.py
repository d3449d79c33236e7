"""A real HTTP server that misbehaves as it is told, one answer for each connection; it closes each after its answer."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from attrs import Factory, define


#: What to do with a connection, once its request is there.
Answer: TypeAlias = Callable[[socket.socket], None]


@define
class Misbehaving:
    """What a test sees of the server: where it is, and the requests that came, whole, in order."""

    port: int
    requests: list[bytes] = Factory(list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def serving(*answers: Answer, ssl_context: ssl.SSLContext | None = None) -> Iterator[Misbehaving]:
    """Answer the first connection with the first answer, and so on; the last one answers all that follow."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Misbehaving(listener.getsockname()[1])
    closing = threading.Event()
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def answer(peer: socket.socket, how: Answer) -> None:
        # Whatever a client does to its connection is its own affair.
        with contextlib.suppress(OSError), contextlib.closing(peer):
            secured = peer if ssl_context is None else ssl_context.wrap_socket(peer, server_side=True)
            with contextlib.closing(secured):
                request = _whole_request(secured)
                if request:
                    server.requests.append(request)
                    how(secured)

    def accept() -> None:
        number = 0
        while not closing.is_set():
            with contextlib.suppress(OSError):
                peer, _ = listener.accept()
                opened.append(peer)
                thread = threading.Thread(target=answer, args=(peer, answers[min(number, len(answers) - 1)]))
                threads.append(thread)
                thread.start()
                number += 1

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield server
    finally:
        closing.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for peer in opened:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in (acceptor, *threads):
            thread.join(5)


def untrusted() -> ssl.SSLContext:
    """TLS with a certificate of localhost that nobody has signed but itself."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Path(__file__).with_name("untrusted.pem"))
    return context


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def says(status: int, body: bytes | dict[str, Any] = b"", **headers: str) -> Answer:
    """Answer with this status; ``retry_after="7"`` is the header ``Retry-After: 7``. A dict is sent as JSON."""
    kind = "text/plain" if isinstance(body, bytes) else "application/json"
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Said", "Connection: close", f"Content-Type: {kind}", f"Content-Length: {len(payload)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return lambda peer: peer.sendall(head + payload)


def says_raw(data: bytes) -> Answer:
    """Answer with these bytes, whatever they are, and close."""
    return lambda peer: peer.sendall(data)


#: Headers that promise more than what follows.
cut_off = says_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
#: Something, but no HTTP.
babble = says_raw(b"no http at all\r\n\r\n")


def hang_up(_peer: socket.socket) -> None:
    """Close without a word."""


def reset(peer: socket.socket) -> None:
    """Reset the connection."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def stall(peer: socket.socket) -> None:
    """Say nothing until the client, or the end of the test, closes the connection."""
    while peer.recv(65_536):
        pass


def _whole_request(peer: socket.socket) -> bytes:
    """The request's head, and its body by Content-Length; what there is, if the client goes before that."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(65_536)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        more = peer.recv(65_536)
        if not more:
            break
        body += more
    return head + b"\r\n\r\n" + body
