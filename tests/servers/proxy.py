"""A TCP proxy on loopback that loses things: it stands before a real server, and strikes when the client next sends.

What a client can know after a failure depends on where its words were lost, and a server cannot lose them at a chosen
place; what stands between the two can. A fault strikes once (or as often as it is armed for), on the connection where
the bytes of a request come by; before and after it, bytes pass as they are, so that a retry gets through.

One thread serves all connections: so to reset one is to close a socket that nobody is reading from.
"""

from __future__ import annotations

import contextlib
import queue
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum

from attrs import Factory, define


class Fault(StrEnum):
    """What happens to an exchange."""

    REFUSE = "refuse"
    """Nobody listens."""
    LOSE_REQUEST = "lose_request"
    """What the client sends is swallowed, the connection reset."""
    LOSE_REPLY = "lose_reply"
    """The server has answered; its answer is swallowed, the connection reset."""
    HANG_UP = "hang_up"
    """The same, but the connection is closed in good order."""
    CUT_REPLY = "cut_reply"
    """The answer comes through but for its last byte and what follows; then the connection is closed in good order."""
    STALL_REPLY = "stall_reply"
    """The answer is held back until the client, tired of waiting, sends another request on the connection, if ever."""
    GO_AWAY = "go_away"
    """The answer comes through; then the connection is closed in good order, and nobody listens any more until `open`."""


@define(eq=False)
class _Link:
    """One client's connection, and the one to the server that was made for it."""

    client: socket.socket
    server: socket.socket
    struck: Fault | None = None
    #: What each side said since the fault was armed, or struck: the marks may come in pieces.
    said: bytes = b""
    answered: bytes = b""
    #: Sides that will send no more.
    ended: set[socket.socket] = Factory(set)


class Proxy:
    """What a test sees of it: where it listens, and what to lose next.

    Args:
        target: The port of the real server.
        listening: Whether it listens yet; until `open` is called, a connection is refused.
    """

    def __init__(self, target: int, *, listening: bool = True) -> None:
        self.target = target
        #: How often the fault struck since it was armed.
        self.strikes = 0
        self._fault: Fault | None = None
        self._times = 0
        self._request = self._reply = b""
        self._then_refuse = False
        self._links: set[_Link] = set()
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, self._obey)
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._serving, self._listening = True, False
        self._listener = _bound(0)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="proxy")
        self._thread.start()
        if listening:
            self.open()

    def open(self) -> None:
        """Listen from now on."""
        self._do(self._listen)

    def arm(
        self,
        fault: Fault,
        *,
        request: bytes = b"",
        reply: bytes = b"",
        times: int = 1,
        then_refuse: bool = False,
    ) -> None:
        """Strike at the next request.

        Args:
            fault: How; anything but to refuse.
            request: Bytes by which a request is known; none for whatever a client next sends.
            reply: Bytes by which its answer is known; none for whatever the server next sends.
            times: How many requests are struck.
            then_refuse: Whether connections are refused after the last of them, until `open` is called.
        """
        for link in list(self._links):
            link.said = link.answered = b""
        self._request, self._reply, self._then_refuse = request, reply, then_refuse
        self._fault, self._times, self.strikes = fault, times, 0

    def hang_up(self) -> None:
        """Close all connections, in good order, while nothing is under way on them."""
        self._do(self._end_all)

    def close(self) -> None:
        """End every connection, and the thread."""
        self._do(self._stop)
        self._thread.join(5)
        for part in (self._selector, self._listener, self._waker, self._woken):
            part.close()

    def _do(self, order: Callable[[], None]) -> None:
        """Let the proxy's own thread do it, and wait until it has."""
        done = threading.Event()
        self._orders.put((order, done))
        self._waker.send(b"!")
        assert done.wait(5)

    def _serve(self) -> None:
        while self._serving:
            for key, _ in self._selector.select():
                serve: Callable[[], None] = key.data
                serve()

    def _obey(self) -> None:
        self._woken.recv(1)
        order, done = self._orders.get()
        order()
        done.set()

    def _stop(self) -> None:
        self._serving = False
        self._end_all()

    def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            self._listener.listen()
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _refuse(self) -> None:
        if self._listening:
            self._listening = False
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = _bound(self.port)

    def _accept(self) -> None:
        if not self._listening:  # any more, since it was found that somebody knocks
            return
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
        except OSError:
            _reset(client)
            return
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(client, server)
        self._links.add(link)
        self._selector.register(client, selectors.EVENT_READ, lambda: self._pass(link, client, server))
        self._selector.register(server, selectors.EVENT_READ, lambda: self._pass(link, server, client))

    def _pass(self, link: _Link, source: socket.socket, sink: socket.socket) -> None:
        """Something came from one side: let it through to the other, unless it is to be lost."""
        if link not in self._links:  # ended by what the other side sent at the same moment
            return
        try:
            data = source.recv(65_536)
            if not data:
                self._ended(link, source, sink)
            elif source is link.client:
                self._from_client(link, data)
            else:
                self._from_server(link, data)
        except OSError:
            self._end(link, reset=True)

    def _from_client(self, link: _Link, data: bytes) -> None:
        link.said += data
        asked = self._request in link.said
        if asked and link.struck is Fault.STALL_REPLY and link.answered:
            link.client.sendall(link.answered)
            link.struck = None
        if asked and link.struck is None and self._fault is not None:
            link.struck = self._fault
            link.said = link.answered = b""
            self.strikes += 1
            if self.strikes == self._times:
                self._fault = None
                if self._then_refuse:
                    self._refuse()
            if link.struck is Fault.LOSE_REQUEST:
                self._end(link, reset=True)
                return
        link.server.sendall(data)

    def _from_server(self, link: _Link, data: bytes) -> None:
        if link.struck is None:
            link.client.sendall(data)
            return
        link.answered += data
        if link.struck is Fault.STALL_REPLY:
            link.said = b""  # what it says from now on is not the request that this answers
        elif self._reply in link.answered:
            if link.struck is Fault.CUT_REPLY:
                end = link.answered.index(self._reply) + len(self._reply) if self._reply else len(link.answered)
                link.client.sendall(link.answered[: end - 1])
            if link.struck is Fault.GO_AWAY:
                self._refuse()
                # The end comes with the last of the answer, and not at some moment after it.
                if hasattr(socket, "TCP_CORK"):  # capability: Linux
                    link.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                link.client.sendall(link.answered)
            self._end(link, reset=link.struck is Fault.LOSE_REPLY)

    def _ended(self, link: _Link, source: socket.socket, sink: socket.socket) -> None:
        """One side will send no more."""
        self._selector.unregister(source)
        link.ended.add(source)
        if link.struck is Fault.STALL_REPLY and source is link.server:
            return
        if link.struck is not None or len(link.ended) == 2:
            self._end(link)
        else:
            sink.shutdown(socket.SHUT_WR)

    def _end_all(self) -> None:
        for link in list(self._links):
            self._end(link)

    def _end(self, link: _Link, *, reset: bool = False) -> None:
        self._links.discard(link)
        for side in (link.client, link.server):
            with contextlib.suppress(KeyError):
                self._selector.unregister(side)
        if reset:
            _reset(link.client)
        link.client.close()
        link.server.close()


def _bound(port: int) -> socket.socket:
    """Bound and not listening: it refuses, and nobody else can have the port meanwhile."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def _reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@contextlib.contextmanager
def proxying(target: int, *, listening: bool = True) -> Iterator[Proxy]:
    """A proxy before the server on this port, for the length of the block."""
    proxy = Proxy(target, listening=listening)
    try:
        yield proxy
    finally:
        proxy.close()
