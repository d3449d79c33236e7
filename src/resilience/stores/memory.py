"""The store in memory: the reference model, and what tests run on. Nothing outlives the process."""

from __future__ import annotations

import os
import secrets
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import TypeVar

from typing_extensions import override

from resilience._core.deciding import decide
from resilience._core.description import Description, Fault, faults_but
from resilience._core.records import Record
from resilience._core.steps import Load, Verb, Wait
from resilience._io import world
from resilience._io.ambient import scope_now, watching
from resilience._io.host import host_now
from resilience.errors import StoreError
from resilience.stores._base import LARGEST_VALUE, StoreBase, is_newer
from resilience.typing import Clock


__all__ = ["MemoryStore"]

R = TypeVar("R")


class MemoryStore(StoreBase):
    """A `resilience.typing.Store` in the memory of this process. Safe for threads; not to be used after a fork.

    Args:
        clock: Where its time comes from; None for the World's clock, which tests swap.
        max_value_bytes: The limit of a value.

    >>> from resilience.stores import ABSENT, MemoryStore
    >>> with MemoryStore() as store:
    ...     written = store.compare_and_set("greeting", b"hello", expected=ABSENT)
    ...     store.load("greeting").value
    b'hello'
    """

    def __init__(self, clock: Clock | None = None, *, max_value_bytes: int = LARGEST_VALUE) -> None:
        super().__init__("MemoryStore()", max_value_bytes)
        self._clock = clock
        self._shelf = _Shelf()
        self._lock = threading.Lock()
        self._waiting: dict[str, list[threading.Event]] = {}
        self._incarnation = secrets.token_hex(8)
        self._pid = os.getpid()

    @override
    def _run(self, verb: Verb[R]) -> R:
        self._begin()
        if os.getpid() != self._pid:
            raise StoreError(
                self._name, "it was made before a fork: what this process sees is a copy that no other sees"
            )
        with self._lock:
            reply = decide(verb, self._shelf, host_now(self._clock))
            changed = self._shelf.take_changed()
            for key in changed if self._waiting else ():
                for woken in self._waiting.get(key, ()):
                    woken.set()
        return reply

    @override
    def _wait(self, verb: Wait) -> None:
        woken = threading.Event()
        with self._lock:
            self._waiting.setdefault(verb.key, []).append(woken)
        try:
            if is_newer(self._run(Load(verb.key)), verb.after):
                return
            scope = scope_now()
            with watching(scope.stops, woken.set):
                (self._clock or world.current.clock).wait(woken, min(verb.timeout, scope.remaining))
            scope.check()
        finally:
            with self._lock:
                waiting = self._waiting[verb.key]
                waiting.remove(woken)
                if not waiting:
                    del self._waiting[verb.key]

    @override
    def _close(self) -> None:
        with self._lock:
            for waiting in self._waiting.values():
                for woken in waiting:
                    woken.set()

    @override
    def describe(self) -> Description:
        """What this store promises, and what it may lose."""
        return Description(
            store=self._name,
            clock="process",
            incarnation=self._incarnation,
            durable=False,
            survives_crash=False,
            survives_reboot=False,
            shared=False,
            wakes=True,
            revisions_survive=faults_but((Fault.EMPTIED, Fault.CLOCK_SET_BACK), (Fault.REBOOTED, Fault.CLOCK_SET_BACK)),
        )


class _Shelf:
    """A dictionary of records, and its keys in order since somebody scanned.

    An interrupt may come between any two lines. So what is derived is given up before the records change, and what was
    changed is told before it is: a waiter that is woken for nothing only looks.
    """

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._sorted: list[str] | None = None
        self._floor = 0
        self._changed: list[str] = []

    def get(self, key: str) -> Record | None:
        return self._records.get(key)

    def put(self, key: str, record: Record) -> None:
        self._changed.append(key)
        if key not in self._records:
            self._sorted = None
        self._records[key] = record

    def drop(self, key: str, record: Record) -> None:
        self._changed.append(key)
        self._sorted = None
        self._floor = max(self._floor, record.revision)
        del self._records[key]

    def floor(self) -> int:
        return self._floor

    def under(self, prefix: str, after: str) -> Iterator[tuple[str, Record]]:
        if self._sorted is None:
            self._sorted = sorted(self._records)
        keys = self._sorted
        at = bisect_left(keys, prefix) if after < prefix else bisect_right(keys, after)
        for key in keys[at:]:
            if not key.startswith(prefix):
                return
            yield key, self._records[key]

    def take_changed(self) -> list[str]:
        """The keys that were written since it was last asked."""
        changed, self._changed = self._changed, []
        return changed
