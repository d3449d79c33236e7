"""Who waits for which key, and how he is told: by threads and by tasks alike.

A hint is to a wait what a stop is: something that may end it early, from any thread. So a hint has the shape of a
`resilience.typing.Stop` that stops nothing, and is waited for together with those that do.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from typing import Self

from attrs import define, field

from resilience.stores import _postgres_wire as wire


__all__ = ["Hearing", "Hint"]


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

    def attend(self, line: wire.Line) -> None:
        """Hear what comes until the connection ends: the work of a thread."""
        need = wire.reading(line)
        try:
            while True:
                wire.is_ready(need, None)
                self.hear(line)
        except wire.DriverError:
            self.deafen(line)

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
        with self._guard:
            told = list(self._hints)
        _tell(told)

    def hang_up(self) -> None:
        """Have the thread that attends give up its connection."""
        with self.lock:
            if self.line is not None:
                wire.hang_up(self.line)


def _tell(hints: Iterable[Hint]) -> None:
    for hint in hints:
        hint.tell()
