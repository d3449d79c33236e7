"""Who waits for which key, and how he is told: by threads and by tasks alike.

A hint is to a wait what a stop is: something that may end it early, from any thread. So a hint has the shape of a
`resilience.typing.Stop` that stops nothing, and is waited for together with those that do.

Whoever attends the connection, a thread or an event loop, holds the store's hearing weakly: else a store that is dropped
without being closed would live on for ever, for nothing. So its end is hung up on the connection, and is heard like any.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Self

from attrs import define, field

from resilience.stores import _postgres_wire as wire


__all__ = ["Hearing", "Hint", "attend", "hears", "part"]


@define(eq=False)
class Hint:
    """One who waits for one key; registered for as long as its block lasts.

    Args:
        hearing: Who tells him.
        key: For what, as hints name it.
    """

    hearing: Hearing
    key: bytes
    #: Whether he was told.
    heard: bool = False
    _wake: Callable[[], object] | None = None

    #: As a stop it has no moment.
    at = math.inf

    def error(self) -> Exception | None:
        """As a stop it ends no work."""
        return None

    def watch(self, wake: Callable[[], object], /) -> Callable[[], None]:
        """Call `wake` when he is told, or at once if he was; returns how to undo this."""
        self._wake = wake
        if self.heard:
            wake()
        return self._forget

    def tell(self) -> None:
        """The key was written, or nobody would hear of it any more."""
        self.heard = True
        wake = self._wake
        if wake is not None:
            wake()

    def _forget(self) -> None:
        self._wake = None

    def __enter__(self) -> Self:
        self.hearing.add(self)
        return self

    def __exit__(self, *error: object) -> None:
        self.hearing.discard(self)


@define(eq=False)
class Hearing:
    """The connection that listens, and those who wait for what it hears. Safe for threads."""

    #: The connection; None while there is none.
    line: wire.Line | None = None
    #: Held while the connection is made, and while it is given up.
    lock: threading.Lock = field(factory=threading.Lock)
    _hints: set[Hint] = field(factory=set[Hint])
    _guard: threading.Lock = field(factory=threading.Lock)
    #: Ends what would hang up on the connection when nobody has this object any more.
    _unfollow: Callable[[], object] = bool

    def hint(self, key: str) -> Hint:
        """Somebody who is to be told of this key."""
        return Hint(self, key.encode().hex().encode())

    def add(self, hint: Hint) -> None:
        """Tell him from now on."""
        with self._guard:
            self._hints.add(hint)

    def discard(self, hint: Hint) -> None:
        """Tell him no more."""
        with self._guard:
            self._hints.discard(hint)

    def begin(self, line: wire.Line) -> None:
        """This is the connection that listens, until it ends or nobody has this object any more."""
        self.line = line
        dropped = weakref.finalize(self, _hang_up, os.getpid(), line)
        dropped.atexit = False
        self._unfollow = dropped.detach

    def hear(self, line: wire.Line) -> None:
        """Tell those whom it concerns of what has come."""
        said = set(wire.hear_on(line))
        with self._guard:
            told = [hint for hint in self._hints if hint.key in said]
        _tell(told)

    def deafen(self, line: wire.Line) -> None:
        """Nothing will come any more on this connection: everybody is told, and may look for himself."""
        with self.lock:
            line.finish()
            self.line = None
            self._unfollow()
        with self._guard:
            told = list(self._hints)
        _tell(told)

    def hang_up(self) -> None:
        """Have the thread that attends give up its connection."""
        with self.lock:
            if self.line is not None:
                wire.hang_up(self.line)


def attend(hearing: weakref.ref[Hearing], line: wire.Line) -> None:
    """Hear what comes until the connection ends: the work of a thread."""
    need = wire.reading(line)
    while wire.is_ready(need, None) and hears(hearing, line):
        pass
    part(hearing, line)


def hears(hearing: weakref.ref[Hearing], line: wire.Line) -> bool:
    """Hear what has come; whether more may come."""
    owner = hearing()
    if owner is None:
        return False
    try:
        owner.hear(line)
    except wire.DriverError:
        return False
    return True


def part(hearing: weakref.ref[Hearing], line: wire.Line) -> None:
    """Give up the connection. Where nobody has the store any more, the last who has the connection closes it."""
    owner = hearing()
    if owner is not None:
        owner.deafen(line)


def _hang_up(pid: int, line: wire.Line) -> None:
    """A store was dropped; not where a child process drops its parent's, whose socket it shares."""
    if os.getpid() == pid:
        wire.hang_up(line)


def _tell(hints: Iterable[Hint]) -> None:
    for hint in hints:
        hint.tell()
