"""A NATS server of the test's own, with JetStream, and one that says what it is told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.servers.http import free_port
from tests.servers.process import Server, program


class NatsServer(Server):
    """A nats-server on a free loopback port.

    Args:
        directory: Where it may write.
        config: The lines of its configuration file; with "jetstream" somewhere in them it has JetStream.
    """

    def __init__(self, directory: Path, config: str = "jetstream: enabled") -> None:
        self.port = free_port()
        self.directory = directory / f"nats-{self.port}"
        self.directory.mkdir()
        (self.directory / "conf").write_text(config)
        argv = [program("nats-server"), "-c", str(self.directory / "conf"), "-a", "127.0.0.1", "-p", str(self.port)]
        argv += ["-sd", str(self.directory)] if "jetstream" in config else []
        super().__init__(argv, self._says_info, self.directory / "log")

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def _says_info(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
            return peer.recv(4) == b"INFO"


@contextlib.contextmanager
def nats_server(directory: Path, config: str = "jetstream: enabled") -> Iterator[NatsServer]:
    """One for as long as the block lasts: ``server.port``, ``server.pause()``, ``server.kill()``, ``server.start()``."""
    server = NatsServer(directory, config)
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def saying(*lines: str, info: str = "{}") -> Iterator[str]:
    """A server that reads what the client says of itself, answers with these lines, and then stays silent; its URL.

    Args:
        lines: What it says once the client has sent its first PING.
        info: What it says before that; empty to hang up instead.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(peer: socket.socket) -> None:
        # Whatever a client does to its connection is its own affair.
        with contextlib.suppress(OSError), contextlib.closing(peer), peer.makefile("rb") as stream:
            if not info:
                return
            peer.sendall(f"INFO {info}\r\n".encode())
            while (line := stream.readline()) and line != b"PING\r\n":
                pass
            for said in lines:
                peer.sendall(f"{said}\r\n".encode())
            while stream.readline():
                pass

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
        yield f"nats://127.0.0.1:{listener.getsockname()[1]}"
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
