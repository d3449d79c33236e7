"""An etcd of the test's own."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.servers.http import free_port
from tests.servers.process import Server, program


class EtcdServer(Server):
    """An etcd of one member on free loopback ports, whose least TTL is 1 s.

    Args:
        directory: Where its data and its log go.
        options: More for its command line.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self.port, peers = free_port(), free_port()
        self.directory = directory / f"etcd-{self.port}"
        self.directory.mkdir()
        here, there = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{peers}"
        argv = [program("etcd"), "--name", "one", "--data-dir", str(self.directory / "data")]
        argv += ["--listen-client-urls", here, "--advertise-client-urls", here]
        argv += [
            "--listen-peer-urls",
            there,
            "--initial-advertise-peer-urls",
            there,
            "--initial-cluster",
            f"one={there}",
        ]
        argv += ["--heartbeat-interval", "10", "--election-timeout", "50", "--logger", "zap", "--log-level", "error"]
        super().__init__([*argv, *options], self._is_healthy, self.directory / "log")

    @property
    def url(self) -> str:
        return f"etcd://127.0.0.1:{self.port}"

    def _is_healthy(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1) as reply:
            return b'"true"' in reply.read()


@contextlib.contextmanager
def etcd_server(directory: Path, *options: str) -> Iterator[EtcdServer]:
    """One for as long as the block lasts: ``server.port``, ``server.pause()``, ``server.kill()``, ``server.start()``."""
    server = EtcdServer(directory, *options)
    try:
        yield server
    finally:
        server.kill()
