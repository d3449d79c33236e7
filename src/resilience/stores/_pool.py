"""A pool of connections: a thread takes a free one, the one last given back, or opens another.

A connection must not cross a fork. Two processes on one socket read each other's answers; and SQLite remembers in the
process, beside its connections, which locks on the file it holds: a child that inherits that memory believes in locks it
does not have, also for connections that it opens itself. So nothing is there to be inherited: before a fork the pool
waits for the connections that are lent (a verb is short), closes them all, and lends none until the fork is done. Where
one is not given back in time, the pool is of no use in the child, and says so.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from resilience._io import world
from resilience.errors import StoreError


__all__ = ["Pool", "weakly"]

C = TypeVar("C")

#: Seconds for which a fork waits for the connections that are lent.
_FORK_PATIENCE = 1.0


class Pool(Generic[C]):
    """Connections to one place. Safe for threads, and across forks.

    Args:
        name: Whose connections, for errors.
        open: Opens one; called without a lock, by any thread.
        close: Closes one; does not raise.
        patience: Seconds for which a fork waits for connections that are lent.
    """

    def __init__(
        self,
        name: str,
        open: Callable[[], C],  # noqa: A002
        close: Callable[[C], object],
        patience: float = _FORK_PATIENCE,
    ) -> None:
        self._name = name
        self._open = open
        self._shut = close
        self._patience = patience
        self._free: list[C] = []
        self._open_count = 0
        self._closed = False
        self._forking = False
        self._inherited = False
        #: Whether any of the three is so: the one thing that is asked where a connection is taken or given back.
        self._special = False
        # Reentrant, for a signal handler may fork while its thread is in here.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=weakly(self._before_fork),
                after_in_parent=weakly(self._after_fork),
                after_in_child=weakly(self._in_child),
            )

    def take(self, *, holding: bool = False) -> C:
        """A connection, to be given back or discarded.

        Args:
            holding: Whether the caller holds another one, for which a fork is waiting.

        Raises:
            StoreError: This process was forked while a connection was in use.
        """
        # A list's own operations are atomic: a lock would cost more than they do.
        try:
            connection = self._free.pop()
        except IndexError:
            return self._another(holding)
        if self._special and not holding:
            self.give(connection)
            return self._another(holding)
        return connection

    def give(self, connection: C) -> None:
        """Give a connection back; it is closed if the pool is."""
        self._free.append(connection)
        if self._special:
            self._settle()

    def discard(self, connection: C) -> None:
        """Close a connection that was taken, instead of giving it back."""
        try:
            self._shut(connection)
        finally:
            self._forget()

    def close(self) -> None:
        """Close all, those that are lent when they come back."""
        with self._lock:
            self._closed = self._special = True
            self._settle()

    def _another(self, holding: bool) -> C:
        """Open one, unless one has come back by now; waits until a fork is over."""
        with self._lock:
            while self._forking and not holding:
                self._changed.wait()
            if self._inherited:
                raise StoreError(
                    self._name, "the process was forked in the middle of its work: a new process must open it"
                )
            if self._free:
                return self._free.pop()
            self._open_count += 1
        try:
            return self._open()
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        with self._lock:
            self._open_count -= 1
            self._changed.notify_all()

    def _settle(self) -> None:
        """What came back where it is not wanted any more: closed, or reported to the fork that waits for it."""
        with self._lock:
            # What was inherited is another process's: neither used nor closed.
            while self._closed and self._free and not self._inherited:
                self.discard(self._free.pop())
            self._changed.notify_all()

    def _before_fork(self) -> None:
        self._lock.acquire()
        self._forking = self._special = True
        end = world.current.monotonic() + self._patience
        while len(self._free) < self._open_count and (left := end - world.current.monotonic()) > 0:
            self._changed.wait(left)
        while self._free:
            self.discard(self._free.pop())

    def _after_fork(self) -> None:
        self._forking = False
        self._special = self._closed or self._inherited
        self._changed.notify_all()
        self._lock.release()

    def _in_child(self) -> None:
        self._inherited = self._inherited or self._open_count > 0
        self._changed = threading.Condition(self._lock)  # who waited on the old one is not in this process
        self._after_fork()


def weakly(method: Callable[[], None]) -> Callable[[], None]:
    """Call a method for as long as its object lives: what is registered for forks is registered for ever."""
    reference: weakref.WeakMethod[Any] = weakref.WeakMethod(method)

    def call() -> None:
        alive = reference()
        if alive is not None:
            alive()

    return call
