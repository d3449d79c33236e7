"""Until when a blocking connection to a Redis server may take: to one moment, whatever it does until then.

The driver knows a timeout for each call of the socket's, and gives it to each address of a host anew. A server that
trickles, or a host with several addresses that swallow all, would so take many times what it may.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, cast

from resilience._io import world


__all__ = ["bounded"]

#: Seconds, after which what is not there yet is too late; 0 would be another mode of the socket.
_AT_ONCE = 1e-6


class _Socket:
    """A socket on which a whole exchange ends at one moment: a timeout of each call would let a trickle go on for ever."""

    def __init__(self, sock: Any, ends: float | None) -> None:
        self._sock = sock
        self.ends = ends

    def __getattr__(self, name: str) -> Any:
        if self.ends is not None and name in {"sendall", "recv", "recv_into"}:
            self._sock.settimeout(max(self.ends - world.current.monotonic(), _AT_ONCE))
        return getattr(self._sock, name)


class _Connection:
    """What a driver's connection is mixed with: connecting ends at one moment, however many addresses the host has."""

    ends: float
    _shares: Iterator[float] | None = None

    def _connect(self) -> _Socket:
        self._shares = map(self._share, range(self._addresses(), 0, -1))
        return _Socket(cast("Any", super())._connect(), self.ends)  # noqa: SLF001  # a driver's place to override

    @property
    def socket_connect_timeout(self) -> float | None:
        """What one address may take, which the driver asks anew for each: one that swallows all must leave some to the next."""
        return None if self._shares is None else next(self._shares, _AT_ONCE)

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, seconds: float | None) -> None:
        """The driver's constructor brings one."""

    @property
    def socket_timeout(self) -> float | None:
        """What is left once there is a connection, for TLS."""
        return None if self._shares is None else self._left()

    @socket_timeout.setter
    def socket_timeout(self, seconds: float | None) -> None:
        """The driver's constructor brings one."""

    def _share(self, addresses: int) -> float:
        return max(self._left() / addresses, _AT_ONCE)

    def _addresses(self) -> int:
        here: Any = self
        if hasattr(here, "path"):  # of a Unix socket
            return 1
        return len(socket.getaddrinfo(here.host, here.port, here.socket_type, socket.SOCK_STREAM))

    def _left(self) -> float:
        return max(self.ends - world.current.monotonic(), _AT_ONCE)


def bounded(kind: Any) -> Any:
    """A kind of connection of the driver's, that keeps to the moment which `ends` names."""
    return type(kind.__name__, (_Connection, kind), {})
