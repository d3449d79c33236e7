"""A TCP proxy on loopback that does on purpose what networks do by accident, between a client and a real server.

What a client can know after a failure depends on where its words were lost, and a server cannot lose them at a chosen
place; what stands between the two can. A fault is **armed** for the next exchange, and strikes at the place where the
bytes of a request come by; or it lasts for a block (`FaultProxy.during`), and befalls all that passes. Before and after,
bytes go through as they are, so that a retry succeeds.

One thread serves all connections, waits only for what can happen next, and takes its orders between two events: once
`arm` has returned, whatever is sent meets the fault.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from resilience._core import checks
from resilience.errors import ConfigError
from resilience.testing._board import Board
from resilience.testing._fault import ProxyFault


if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["FaultProxy", "ProxyFault"]


class FaultProxy:
    """A proxy before a server. Safe for threads, and for async code, whose loop it does not need.

    It listens from when it is made until it is closed, on a free port of the loopback interface, and keeps that port also
    while it refuses.

    Args:
        target_host: Where the real server is.
        target_port: Its port.
        listening: Whether it listens yet; until `open` is called, a connection is refused.

    >>> import socket
    >>> from resilience.testing.proxy import ProxyFault, FaultProxy
    >>> server = socket.create_server(("127.0.0.1", 0))
    >>> with server, FaultProxy("127.0.0.1", server.getsockname()[1]) as proxy:
    ...     with proxy.during(ProxyFault.REFUSE):
    ...         try:
    ...             socket.create_connection((proxy.host, proxy.port))
    ...         except ConnectionRefusedError:
    ...             print("refused")
    refused
    """

    host: str
    """Where it listens."""
    port: int
    """Its port."""

    def __init__(self, target_host: str, target_port: int, *, listening: bool = True) -> None:
        self._board = Board((target_host, target_port))
        self.host, self.port = self._board.host, self._board.port
        if listening:
            self.open()

    @property
    def strikes(self) -> int:
        """How many exchanges (or connections) a fault has struck since the last was armed or began."""
        return self._board.strikes

    @property
    def connections(self) -> int:
        """How many connections it has accepted."""
        return self._board.connections

    @property
    def request_bytes(self) -> int:
        """How many bytes clients have said."""
        return self._board.request_bytes

    @property
    def reply_bytes(self) -> int:
        """How many bytes servers have said."""
        return self._board.reply_bytes

    def open(self) -> None:
        """Listen from now on."""
        self._board.do(self._board.listen)

    def arm(
        self,
        fault: ProxyFault,
        *,
        request: bytes = b"",
        reply: bytes = b"",
        times: int = 1,
        then_refuse: bool = False,
    ) -> None:
        """Strike at the next request; what was armed before is forgotten.

        Args:
            fault: How; anything but ``ProxyFault.REFUSE``.
            request: Bytes by which a request is known; none for whatever a client next sends.
            reply: Bytes by which its answer is known; none for whatever the server next sends.
            times: How many requests are struck.
            then_refuse: Whether connections are refused after the last of them, until `open` is called.

        Raises:
            ConfigError: A fault that is none of an exchange, or fewer than one time.
        """
        if fault == ProxyFault.REFUSE:
            raise ConfigError(
                "fault", fault, "one that can befall an exchange; during() refuses, and so does then_refuse="
            )
        checks.at_least_one("times", times)
        board = self._board
        board.do(lambda: board.arm(fault, (request, reply), times, then_refuse=then_refuse))

    @contextmanager
    def during(self, fault: ProxyFault, *, chance: float = 1.0) -> Generator[Self]:
        """Let it befall all that passes while the block lasts, what is under way included. An inner block replaces an outer.

        When the block ends, what was held back goes on; a connection that has lost bytes, or its server, is reset.

        Args:
            fault: Which.
            chance: How likely it is that it befalls an exchange (0 to 1): drawn anew for each.

        Raises:
            ConfigError: No such chance; or a chance of ``ProxyFault.REFUSE``, which befalls all or none.
        """
        if checks.share("chance", chance) != 1 and fault == ProxyFault.REFUSE:
            raise ConfigError("chance", chance, "1 where connections are refused: that befalls all of them")
        board = self._board
        before, listening = board.lasting, board.listening
        board.do(lambda: board.last(fault, chance, afresh=True))
        try:
            yield self
        finally:
            if board.serving:
                board.do(lambda: board.last(*before))
                if listening:
                    self.open()

    def hang_up(self) -> None:
        """Close all connections, in good order, while nothing is under way on them."""
        self._board.do(self._board.end_all)

    def close(self) -> None:
        """End every connection, and the thread; may be called again."""
        if self._board.serving:
            self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        host, port = self._board.target
        closed = "" if self._board.serving else " (closed)"
        return f"<FaultProxy {self.host}:{self.port} before {host}:{port}{closed}>"
