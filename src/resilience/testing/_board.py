"""The thread of a proxy: it accepts, connects, and lets go on what may, at the moments at which it may.

It alone touches sockets, so to reset a connection is to close a socket that nobody is reading from. What it is told to do
(`Board.do`) is done between two events, and is done when the order has returned.
"""

from __future__ import annotations

import math
import queue
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from resilience._io import world
from resilience._io.clock import SystemClock
from resilience.testing._fault import Act, ProxyFault
from resilience.testing._links import Link


__all__ = ["Board"]

#: Bytes: read at once.
_GULP = 65_536
#: Seconds: how long the thread may take to obey.
_PATIENCE = 5

#: By these, the end of a connection comes with the last of an answer, and not at some moment after it.
_CORKS: tuple[int, ...] = tuple(getattr(socket, name) for name in ("TCP_CORK", "TCP_NOPUSH") if hasattr(socket, name))

# Real time, also where a test's is virtual: the peers are real.
_monotonic = SystemClock.monotonic


class Board:
    """What is connected, what is to befall it, and what has.

    Args:
        target: Host and port of the server.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.strikes = self.connections = self.request_bytes = self.reply_bytes = 0
        self.serving, self.listening = True, False
        #: What lasts, and how likely it befalls an exchange.
        self.lasting: tuple[ProxyFault | None, float] = (None, 1.0)
        self._armed: ProxyFault | None = None
        self._times = 0
        self._marks = (b"", b"")
        self._then_refuse = False
        self._links: set[Link] = set()
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, self._obey)
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._listener = _bound(0)
        self.host, self.port = self._listener.getsockname()
        self._thread = SystemClock().spawn(self._serve, name="resilience-fault-proxy")

    def do(self, order: Callable[[], None]) -> None:
        """Let the thread do it, and wait until it has."""
        if not self.serving:
            raise ValueError("this FaultProxy is closed")
        done = threading.Event()
        self._orders.put((order, done))
        self._waker.send(b"!")
        assert done.wait(_PATIENCE), "the proxy's thread does not answer"

    def close(self) -> None:
        """End every connection, and the thread."""
        self.do(self._stop)
        self._thread.join(_PATIENCE)
        for part in (self._selector, self._listener, self._waker, self._woken):
            part.close()

    def arm(self, fault: ProxyFault, marks: tuple[bytes, bytes], times: int, *, then_refuse: bool) -> None:
        """Strike at the next requests. An order."""
        for link in self._links:
            link.said = b""
        self._armed, self._times, self.strikes = fault, times, 0
        self._marks, self._then_refuse = marks, then_refuse

    def _serve(self) -> None:
        while self.serving:
            due = min([link.due for link in self._links], default=math.inf)
            timeout = None if due == math.inf else max(0.0, due - _monotonic())
            for key, events in self._selector.select(timeout):
                serve: Callable[[int], None] = key.data
                serve(events)
            now = _monotonic()
            for link in [link for link in self._links if link.due <= now]:
                self._turn(link, lambda: None)

    def _obey(self, _events: int) -> None:
        self._woken.recv(1)
        order, done = self._orders.get()
        order()
        done.set()

    def _stop(self) -> None:
        self.serving = False
        self.end_all()

    def listen(self) -> None:
        """Refuse nobody from now on. An order."""
        if not self.listening:
            self.listening = True
            self._listener.listen()
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _refuse(self) -> None:
        if self.listening:
            self.listening = False
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = _bound(self.port)

    def last(self, fault: ProxyFault | None, chance: float, *, afresh: bool = False) -> None:
        """From now on this lasts, and what did is over; `afresh` to count its strikes from 0. An order."""
        if afresh:
            self.strikes = 0
        self.lasting = fault, chance
        if fault == ProxyFault.REFUSE:
            self._refuse()
        for link in list(self._links):
            self._turn(link, partial(self._change, link))

    def _change(self, link: Link) -> None:
        link.spared = False
        if link.lasting and link.struck is not None:
            if link.lossy:
                self._end(link, by_reset=True)
                return
            link.heal(_monotonic())
            self._begin(link)
        else:
            self._meet_at_once(link)

    def _accept(self, _events: int) -> None:
        with suppress(OSError):  # who knocked may have gone by now, or nobody may listen any more
            client, _ = self._listener.accept()
            self.connections += 1
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(client)
            self._links.add(link)
            self._turn(link, lambda: self._begin(link))

    def _begin(self, link: Link) -> None:
        """Connect to the server, unless what lasts is against it."""
        self._meet_at_once(link)
        if link in self._links and link.server is None and link.struck is None:
            link.addresses = iter(socket.getaddrinfo(*self.target, type=socket.SOCK_STREAM))
            link.connect()

    def _meet(self, link: Link) -> None:
        """What lasts befalls it, if chance will have it so."""
        fault, chance = self.lasting
        if fault is not None and link.struck is None and not link.spared:
            link.spared = world.current.rng.random() >= chance
            if not link.spared:
                self._strike(link, fault, (b"", b""), lasting=True)

    def _meet_at_once(self, link: Link) -> None:
        fault, _ = self.lasting
        if fault is not None and fault.strikes_at_once:
            self._meet(link)

    def _strike(self, link: Link, fault: ProxyFault, marks: tuple[bytes, bytes], *, lasting: bool) -> None:
        self.strikes += 1
        link.strike(fault, marks, lasting=lasting)
        if fault == ProxyFault.RESET:
            self._end(link, by_reset=True)
        elif fault == ProxyFault.HALF_OPEN and link.server is not None:
            self._unwatch(link.server)
            link.forget_server()

    def _turn(self, link: Link, act: Callable[[], None]) -> None:
        """Something happens to a link; then what may go on does, and what is to be waited for is."""
        try:
            act()
            if link in self._links:
                link.send(_monotonic())
                if link.over:
                    self._end(link)
                else:
                    self._watch(link)
        except OSError:
            self._end(link, by_reset=True)

    def _watch(self, link: Link) -> None:
        for half, events in link.wants():
            if half is None:
                continue
            key = self._selector.get_map().get(half)
            if not events:
                self._unwatch(half)
            elif key is None:
                self._selector.register(half, events, partial(self._ready, link, half))
            elif key.events != events:
                self._selector.modify(half, events, key.data)

    def _unwatch(self, half: socket.socket | None) -> None:
        if half is not None and half in self._selector.get_map():
            self._selector.unregister(half)

    def _ready(self, link: Link, half: socket.socket, events: int) -> None:
        # It may have been ended, or have another half, by what happened at the same moment.
        if link in self._links and (half is link.client or half is link.server):
            self._turn(link, lambda: self._move(link, half, events))

    def _move(self, link: Link, half: socket.socket, events: int) -> None:
        """A half has said something, or takes more, or is connected by now."""
        if half is link.server and not link.connected:
            link.connected = half.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            if not link.connected:
                self._unwatch(half)
                link.connect()
        elif events & selectors.EVENT_READ:
            data = half.recv(_GULP)
            if not data:
                self._ended(link, half)
            elif half is link.client:
                self._from_client(link, data)
            else:
                self._from_server(link, data)

    def _from_client(self, link: Link, data: bytes) -> None:
        now = _monotonic()
        self.request_bytes += len(data)
        link.hears(data)
        if link.answering:
            link.answering = link.spared = False
            if link.struck is not None and link.struck.only_slows:
                link.struck = None
        if link.answered and link.struck == ProxyFault.STALL_REPLY and link.marks[0] in link.said:
            link.heal(now)
        if link.struck is None and self._armed is not None and self._marks[0] in link.said:
            self._times -= 1
            self._strike(link, self._armed, self._marks, lasting=False)
            if self._times == 0:
                self._armed = None
                if self._then_refuse:
                    self._refuse()
        self._meet(link)
        if link in self._links and link.request(data, now) is Act.RESET:
            self._end(link, by_reset=True)

    def _from_server(self, link: Link, data: bytes) -> None:
        self.reply_bytes += len(data)
        link.answering = True
        self._meet(link)
        act = link.reply(data, _monotonic()) if link in self._links else Act.PASS
        if act is Act.RESET:
            self._end(link, by_reset=True)
        elif act is not Act.PASS:
            link.ending = True
            if act is Act.LAST:
                self._refuse()
                for option in _CORKS:
                    link.client.setsockopt(socket.IPPROTO_TCP, option, 1)

    def _ended(self, link: Link, half: socket.socket) -> None:
        """One side will send no more."""
        fault = link.struck
        if half is link.client:
            link.requests.ended = True
            if fault is not None and fault.request is Act.DROP:
                self._end(link)
        else:
            link.replies.ended = True
            # It had nothing to say that could be lost.
            link.ending = fault is not None and fault.reply in {Act.RESET, Act.CLOSE, Act.CUT, Act.LAST}

    def end_all(self) -> None:
        """Close all connections. An order."""
        for link in list(self._links):
            self._end(link)

    def _end(self, link: Link, *, by_reset: bool = False) -> None:
        self._links.discard(link)
        for half in (link.client, link.server):
            self._unwatch(half)
        link.close(by_reset=by_reset)


def _bound(port: int) -> socket.socket:
    """Bound and not listening: it refuses, and nobody else can have the port meanwhile."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.setblocking(False)
    return listener
