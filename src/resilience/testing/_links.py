"""One client's connection through a proxy, and the one to the server that was made for it.

Each direction is a `Pipe`: bytes that came and may not go on yet, each piece with the moment from which it may. No socket
is ever waited for: a peer that does not read (a stopped process, say) holds up its own connection and no other. What a
link does with bytes is said by the `ProxyFault` that has struck it.
"""

from __future__ import annotations

import errno
import math
import selectors
import socket
import struct
from collections import deque
from collections.abc import Iterator
from typing import Any

from attrs import Factory, define

from resilience.testing._fault import Act, ProxyFault


__all__ = ["Link", "Pipe"]

#: Bytes: so much may wait in one direction before no more is read from the side that says it.
_ROOM = 1 << 18
#: Bytes of what a client said that are searched for a mark.
_MEMORY = 1 << 17
#: Seconds: what is let through at a rate goes in portions of so much time.
_PORTION = 0.05


@define(eq=False)
class _Piece:
    """Bytes that are to go on.

    Args:
        data: What is left of them.
        due: The moment from which they may.
        rate: Bytes per second.
    """

    data: memoryview
    due: float
    rate: float

    @property
    def portion(self) -> int:
        """How many go at once."""
        return int(min(len(self.data), max(1, self.rate * _PORTION)))


@define(eq=False)
class Pipe:
    """One direction."""

    pieces: deque[_Piece] = Factory(deque[_Piece])
    #: How many bytes wait.
    size: int = 0
    #: When the first of them may go on.
    due: float = math.inf
    #: Whether the side that they go to takes no more for now.
    blocked: bool = False
    #: Whether no more will come, and whether the other side has been told.
    ended: bool = False
    told: bool = False

    def put(self, data: bytes, now: float, delay: float = 0.0, rate: float = math.inf) -> None:
        """Let these bytes go on after all others, in `delay` seconds at the earliest."""
        if data:
            self.pieces.append(_Piece(memoryview(data), now + delay, rate))
            self.size += len(data)
            if len(self.pieces) == 1:
                self._pace(now)

    def send(self, sink: socket.socket, now: float, *, tell: bool = True) -> None:
        """Let go on what may; then tell that no more will come."""
        self.blocked = False
        while self.due <= now:
            piece = self.pieces[0]
            try:
                sent = sink.send(piece.data[: piece.portion])
            except BlockingIOError:
                self.blocked = True
                return
            self.size -= sent
            piece.data = piece.data[sent:]
            if not piece.data:
                self.pieces.popleft()
            self._pace(now)
        if tell and self.ended and not self.pieces and not self.told:
            self.told = True
            sink.shutdown(socket.SHUT_WR)

    def _pace(self, now: float) -> None:
        head = self.pieces[0] if self.pieces else None
        self.due = math.inf if head is None else max(head.due, now + head.portion / head.rate)


@define(eq=False)
class Link:
    """A connection, both halves of it.

    Args:
        client: The client's half.
        addresses: Where the server may be, as `socket.getaddrinfo` says it: the first that answers is taken.
    """

    client: socket.socket
    addresses: Iterator[tuple[Any, ...]] = Factory(lambda: iter(()))
    server: socket.socket | None = None
    connected: bool = False
    requests: Pipe = Factory(Pipe)
    replies: Pipe = Factory(Pipe)

    #: What has struck it, whether that lasts for a block, and the bytes by which the request and its answer are known.
    struck: ProxyFault | None = None
    lasting: bool = False
    marks: tuple[bytes, bytes] = (b"", b"")
    #: Whether chance let this exchange off.
    spared: bool = False
    #: Whether the server has answered since the client last spoke.
    answering: bool = False
    #: What the client said lately, and the server since it was struck: marks may come in pieces.
    said: bytes = b""
    answered: bytes = b""
    #: How much of an answer that is to be cut has gone through.
    passed: int = 0
    #: Whether nothing moves; whether bytes are missing from one direction; whether it ends when the answer has gone through.
    paused: bool = False
    lossy: bool = False
    ending: bool = False

    def connect(self) -> None:
        """Begin to connect to the server, at its next address.

        Raises:
            OSError: There is none left.
        """
        for family, kind, protocol, _, address in self.addresses:
            self.forget_server()
            self.server = socket.socket(family, kind, protocol)
            self.server.setblocking(False)
            self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.server.connect_ex(address) in {0, errno.EINPROGRESS, errno.EWOULDBLOCK}:
                return
        raise ConnectionRefusedError

    def forget_server(self) -> None:
        """Close the server's half."""
        if self.server is not None:
            self.server.close()
        self.server, self.connected = None, False

    def strike(self, fault: ProxyFault, marks: tuple[bytes, bytes], *, lasting: bool) -> None:
        """From now on this befalls it."""
        self.struck, self.marks, self.lasting = fault, marks, lasting
        self.said = self.answered = b""
        self.passed = 0
        self.paused = fault.request is Act.PAUSE
        if fault == ProxyFault.HALF_OPEN:
            self.lossy, self.requests = True, Pipe()

    def heal(self, now: float) -> None:
        """What struck it is over: what was held back goes on."""
        self.struck, self.paused = None, False
        self.replies.put(self.answered, now)
        self.answered = b""

    def hears(self, data: bytes) -> None:
        """The client said this: remembered for as long as a mark may be in it."""
        self.said = (self.said + data)[-_MEMORY:]

    def request(self, data: bytes, now: float) -> Act:
        """The client said this; what is to become of the link now, `PASS` for nothing."""
        fault = self.struck
        if fault is None:
            self.requests.put(data, now)
        elif fault.request in {Act.PASS, Act.PAUSE}:
            self.requests.put(data, now, fault.request_delay, fault.rate)
        elif fault.request is Act.DROP:
            self.lossy = True
        else:
            return fault.request
        return Act.PASS

    def reply(self, data: bytes, now: float) -> Act:
        """The server said this; what is to become of the link now, `PASS` for nothing."""
        fault = self.struck
        if fault is None or fault.reply in {Act.PASS, Act.PAUSE}:
            late, rate = (0.0, math.inf) if fault is None else (fault.reply_delay, fault.rate)
            self.replies.put(data, now, late, rate)
            return Act.PASS
        if fault.reply is Act.DROP:
            self.lossy = True
            return Act.PASS
        if fault.reply is Act.CUT and fault.first >= 0:
            part = data[: fault.first - self.passed]
            self.passed += len(part)
            self.replies.put(part, now)
            return Act.CUT if self.passed == fault.first else Act.PASS
        self.answered += data
        mark = self.marks[1]
        if fault.reply is Act.HOLD:
            self.said = b""  # what it says from now on is not the request that this answers
        elif mark in self.answered:
            end = self.answered.index(mark) + len(mark) if mark else len(self.answered)
            kept = {Act.CUT: self.answered[: end + fault.first], Act.LAST: self.answered}
            self.replies.put(kept.get(fault.reply, b""), now)
            return fault.reply
        return Act.PASS

    def wants(self) -> list[tuple[socket.socket | None, int]]:
        """What each half is waited for."""
        if self.paused:
            return [(self.client, 0), (self.server, 0)]
        if not self.connected:  # what the client says meanwhile may well be struck
            reading = selectors.EVENT_READ if self.requests.size < _ROOM and not self.requests.ended else 0
            return [(self.client, reading), (self.server, selectors.EVENT_WRITE)]
        return [
            (self.client, self._events(self.requests, self.replies)),
            (self.server, self._events(self.replies, self.requests)),
        ]

    def _events(self, source: Pipe, sink: Pipe) -> int:
        reads = not (self.ending or source.ended or source.size >= _ROOM)
        return (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if sink.blocked else 0)

    def send(self, now: float) -> None:
        """Let go on, in both directions, what may."""
        if not self.paused:
            self.replies.send(self.client, now, tell=not self._muted)
            if self.connected and self.server is not None:
                self.requests.send(self.server, now)

    @property
    def due(self) -> float:
        """When there is something to send that is held up by nothing but time."""
        pipes = () if self.paused else (self.replies, self.requests) if self.connected else (self.replies,)
        return min([pipe.due for pipe in pipes if not pipe.blocked], default=math.inf)

    @property
    def over(self) -> bool:
        """Whether nothing more can come of it."""
        if self.ending:
            return not self.replies.pieces
        return self.requests.told and (self.replies.told or (self.replies.ended and self._muted))

    @property
    def _muted(self) -> bool:
        """Whether the client is not told that the server has ended."""
        return self.struck is not None and self.struck.reply in {Act.HOLD, Act.DROP}

    def close(self, *, by_reset: bool = False) -> None:
        """End both halves."""
        if by_reset:  # whoever is at its other end is told so
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.close()
        self.forget_server()
