"""What both PostgreSQL shells have: where the database is, how long things may take, and which process it is."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from resilience._core import checks
from resilience._core.steps import Remove, Verb
from resilience._io import world
from resilience._io.ambient import scope_now
from resilience.errors import StoreUnavailableError
from resilience.stores import _postgres_hosts as hosts
from resilience.stores import _postgres_wire as wire
from resilience.stores._postgres_hints import Hearing
from resilience.stores._postgres_place import Place, Talk, checked_schema
from resilience.stores._postgres_verbs import Ask, Reply
from resilience.typing import Clock, Seconds


__all__ = ["MOST", "WATCH", "Shell", "asettled", "settled"]

R = TypeVar("R")

#: Connections of one store at most, beside the one that listens; whoever finds all in use waits for one.
MOST = 10
#: Seconds for which a waiter says that he is there, before he says it again.
WATCH = 5.0
#: One removal in so many sweeps up the tombstones that are older than an hour.
_SWEEP = 1 / 1000


class Shell:
    """What both have: where the database is, how long things may take, and which process and moment it is."""

    def _set_up(self, dsn: str, schema: str, clock: Clock | None, timeout: Seconds, hints: bool) -> str:
        name = hosts.named(type(self).__name__, dsn, checked_schema(schema))
        self._place = Place(name, schema)
        self._targets = hosts.targets(dsn)
        self._clock = clock
        self._timeout = checks.seconds("timeout", timeout)
        self._hints = checks.flag("hints", hints)
        self._start_anew()
        self._pid = os.getpid()
        return name

    def _start_anew(self) -> None:
        """Start with no connection. In a child process too: those of its parent are not touched."""
        self._idle = wire.Idle()
        self._hearing = Hearing()

    def _in_this_process(self) -> None:
        pid = os.getpid()
        if pid != self._pid:
            self._start_anew()
            self._pid = pid  # last: with that, other threads take what there is, which must not be the parent's

    def _at(self) -> float | None:
        return None if self._clock is None else self._clock.wall()

    def _seconds(self) -> float:
        """What the next round trip may take."""
        return cast("float", scope_now().timeout(cap=self._timeout))

    def _carrying_out(self, verb: Verb[R]) -> Talk[R]:
        return self._place.carry_out(
            verb, self._at(), sweep=isinstance(verb, Remove) and world.current.rng.random() < _SWEEP
        )

    def _connected(self, seconds: float) -> wire.Line:
        """A new connection, made in this thread."""
        try:
            return hosts.connect(self._targets, seconds)
        except (wire.DriverError, TimeoutError) as error:
            raise self._place.refused(error) from error

    def _crowded(self) -> StoreUnavailableError:
        return StoreUnavailableError(self._place.name, f"all of its {MOST} connections were in use for too long")


def settled(talk: Talk[R], ask: Callable[[Ask], Reply]) -> R:
    """Have everything asked that a conversation asks."""
    try:
        question = next(talk)
        while True:
            question = talk.send(ask(question))
    except StopIteration as end:
        return cast("R", end.value)


async def asettled(talk: Talk[R], ask: Callable[[Ask], Awaitable[Reply]]) -> R:
    """As `settled`."""
    try:
        question = next(talk)
        while True:
            question = talk.send(await ask(question))
    except StopIteration as end:
        return cast("R", end.value)
