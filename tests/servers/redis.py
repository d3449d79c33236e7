"""A Redis server of the test's own, and one that answers what it is told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from tests.servers.http import free_port
from tests.servers.process import Server, program


#: What to answer to a command, its words as text; None is to hang up, an iterator sends one piece after the other.
Answer: TypeAlias = Callable[[list[str]], bytes | Iterator[bytes] | None]


class RedisServer(Server):
    """A redis-server on a free loopback port; it keeps nothing on its disk unless the options say so.

    Args:
        directory: Where it may write.
        options: More for its command line.
        config: The lines of its configuration file.
    """

    def __init__(self, directory: Path, *options: str, config: str = "") -> None:
        self.port = free_port()
        self.directory = directory / f"redis-{self.port}"
        self.directory.mkdir()
        (self.directory / "conf").write_text(config)
        listen = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.directory)]
        argv = [program("redis-server"), str(self.directory / "conf"), *listen, *options]
        super().__init__(argv, self._pings, self.directory / "log")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def _pings(self) -> bool:
        """Whether it answers; that it is loading is an answer too."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
            peer.sendall(b"PING\r\n")
            return peer.recv(1) in {b"+", b"-"}


@contextlib.contextmanager
def redis_server(directory: Path, *options: str, config: str = "") -> Iterator[RedisServer]:
    """One for as long as the block lasts: ``server.port``, ``server.pause()``, ``server.kill()``, ``server.start()``."""
    server = RedisServer(directory, *options, config=config)
    try:
        yield server
    finally:
        server.kill()


def refusal(text: str) -> bytes:
    """An error, as Redis writes it."""
    return f"-{text}\r\n".encode()


OK = b"+OK\r\n"


@contextlib.contextmanager
def answering(answer: Answer, ssl_context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that speaks Redis, RESP 3, and answers what it is told; its port. How clients introduce themselves is fine by it."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(peer: socket.socket) -> None:
        # Whatever a client does to its connection is its own affair.
        with contextlib.suppress(OSError), contextlib.closing(wrapped(peer)) as plain, plain.makefile("rb") as stream:
            while words := _command(stream):
                reply = answer(words) if words[0] not in {"HELLO", "CLIENT"} else _introduction(words)
                if reply is None:
                    plain.shutdown(socket.SHUT_RDWR)
                    return
                for piece in [reply] if isinstance(reply, bytes) else reply:
                    plain.sendall(piece)

    def wrapped(peer: socket.socket) -> socket.socket:
        return peer if ssl_context is None else ssl_context.wrap_socket(peer, server_side=True)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                opened.append(peer)
                threads.append(threading.Thread(target=serve, args=(peer,)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)
        for peer in opened:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)


def _command(stream: Any) -> list[str]:
    """The words of the next command; none if the client has gone."""
    head = stream.readline()
    if not head.startswith(b"*"):
        return []
    words = []
    for _ in range(int(head[1:])):
        length = int(stream.readline()[1:])
        words.append(stream.read(length + 2)[:-2].decode())
    return words


def _introduction(words: list[str]) -> bytes:
    if words[0] == "HELLO":
        return f"%1\r\n$5\r\nproto\r\n:{words[1]}\r\n".encode()
    return OK if words[1] != "MAINT_NOTIFICATIONS" else refusal("ERR unknown subcommand")
