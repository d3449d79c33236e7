"""The stores in PostgreSQL, for threads and for asyncio: two shells around one brain. Needs the extra ``postgres``.

What is decided is decided in the server (`_postgres_schema`), and what it says is understood in `_postgres_place`. Here
is what carries it out: a few connections, the last one used first, each with one statement at a time and nothing that
outlives it, so that a transaction pooler may stand in between; and one more that listens, once somebody waits.

A statement has the time that the Scope leaves, and at most `timeout`. What takes longer is given up with its connection.
"""

from __future__ import annotations

import functools
import os
import secrets
import threading
import weakref
from typing import Any, TypeVar

from typing_extensions import override

from resilience._core.description import Description
from resilience._core.steps import Verb, Wait
from resilience._io import aio, waiting, world
from resilience._io.ambient import scope_now
from resilience.errors import StoreError
from resilience.stores import _postgres_wire as wire
from resilience.stores._base import LARGEST_VALUE, AsyncStoreBase, StoreBase
from resilience.stores._postgres_hints import Hearing, attend, hears, part
from resilience.stores._postgres_lending import Lending
from resilience.stores._postgres_place import Talk, pauses
from resilience.stores._postgres_shell import MOST, WATCH, Shell, asettled, settled
from resilience.stores._postgres_verbs import Ask, Reply
from resilience.typing import Clock, Seconds


__all__ = ["AsyncPostgresStore", "PostgresStore"]

R = TypeVar("R")


class PostgresStore(StoreBase, Shell):
    """A `resilience.typing.Store` in a PostgreSQL database: shared by all who reach it. Safe for threads and forks.

    Make its schema once, with `create_schema`. Behind a pooler in transaction mode give ``hints=False``: `wait` then
    looks again and again, for a pooler passes no notifications on.

        with PostgresStore("postgresql://app@db.example/app") as store:
            store.create_schema()
            store.compare_and_set("task:42", b"queued", expected=ABSENT)

    Args:
        dsn: A connection string or URL, as libpq knows them.
        schema: Where its tables and functions are: an identifier in lower case.
        clock: Where its time comes from, for tests; None for the server's clock, which is the same for all clients.
        timeout: Seconds that a statement, or a connection attempt, may take; less where a deadline leaves less.
        hints: Whether `wait` is woken by a write, for which one more connection listens.
        max_value_bytes: The limit of a value.

    Raises:
        ConfigError: A value nothing can work with.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "resilience",
        clock: Clock | None = None,
        timeout: Seconds = 5.0,
        hints: bool = True,
        max_value_bytes: int = LARGEST_VALUE,
    ) -> None:
        super().__init__(self._set_up(dsn, schema, clock, timeout, hints), max_value_bytes)

    def create_schema(self) -> None:
        """Make what the store keeps in its database; of no effect where it is there, however many do it at once.

        Raises:
            StoreError: The user may not; the server's words say what.
            UnknownFormatError: There is another version of it.
        """
        self._converse(self._place.create(secrets.token_hex(8)))

    @override
    def describe(self) -> Description:
        """What this store promises, and what it may lose; durable as the server's settings are for this user."""
        return self._converse(self._place.describe(wakes=self._hints))

    @override
    def _start_anew(self) -> None:
        super()._start_anew()
        self._lending = threading.Semaphore(MOST)

    @override
    def _run(self, verb: Verb[R]) -> R:
        return self._converse(self._carrying_out(verb))

    @override
    def _wait(self, verb: Wait) -> None:
        end = world.current.monotonic() + verb.timeout
        if self._hints:
            try:
                return self._heed(verb)
            except StoreError:
                # Nobody to listen to, or nothing may be said, as on a standby: look, which raises what is true.
                pass
        return super()._wait(Wait(verb.key, verb.after, max(0.0, end - world.current.monotonic())))

    def _heed(self, verb: Wait) -> None:
        with self._listening().hint(verb.key) as hint:
            for pause in pauses(verb.timeout, world.current.monotonic):
                if self._converse(self._place.watch(verb.key, WATCH, self._at())) != verb.after:
                    return
                scope = scope_now()
                waiting.rest(min(pause, scope.remaining), (*scope.stops, hint))
                scope.check()
                if hint.heard:
                    return

    def _listening(self) -> Hearing:
        self._ready()
        self._in_this_process()
        hearing = self._hearing
        with hearing.lock:
            if hearing.line is None:
                line = self._connected(self._seconds())
                try:
                    settled(self._place.listen(), lambda ask: self._ask_on(line, ask))
                except BaseException:
                    line.finish()
                    raise
                hearing.begin(line)
                work = functools.partial(attend, weakref.ref(hearing), line)
                world.current.clock.spawn(work, name="resilience PostgreSQL hints")
        return hearing

    def _converse(self, talk: Talk[R]) -> R:
        self._ready()
        self._in_this_process()
        return settled(talk, self._ask)

    def _ask(self, ask: Ask) -> Reply:
        lending, idle, fine = self._lending, self._idle, False
        if not lending.acquire(timeout=self._seconds()):
            raise self._crowded()
        try:
            line = idle.take() or self._connected(self._seconds())
            try:
                reply = self._ask_on(line, ask)
                fine = not reply.ended
            finally:
                idle.give(line, fine=fine)
        finally:
            lending.release()
        return reply

    def _ask_on(self, line: wire.Line, ask: Ask) -> Reply:
        seconds = self._seconds()
        try:
            return wire.by_thread(wire.ask_on(line, ask, seconds), seconds)
        except (wire.DriverError, TimeoutError) as error:
            raise self._place.lost(ask, str(error)) from error

    @override
    def _close(self) -> None:
        if os.getpid() == self._pid:
            self._idle.close()
            self._hearing.hang_up()


class AsyncPostgresStore(AsyncStoreBase, Shell):
    """A `resilience.typing.AsyncStore` in a PostgreSQL database, for asyncio. Safe for tasks, on its first event loop.

    Under trio use ``ThreadedStore(PostgresStore(…))``. A task that is cancelled while a verb is under way does not wait
    for it, and whether it was applied is not known.

        async with AsyncPostgresStore("postgresql://app@db.example/app") as store:
            await store.acreate_schema()
            await store.compare_and_set("task:42", b"queued", expected=ABSENT)

    Args:
        dsn: As of `PostgresStore`, and so are the others.
        schema: Where its tables and functions are.
        clock: Where its time comes from, for tests; None for the server's clock.
        timeout: Seconds that a statement, or a connection attempt, may take.
        hints: Whether `wait` is woken by a write.
        max_value_bytes: The limit of a value.

    Raises:
        ConfigError: A value nothing can work with.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "resilience",
        clock: Clock | None = None,
        timeout: Seconds = 5.0,
        hints: bool = True,
        max_value_bytes: int = LARGEST_VALUE,
    ) -> None:
        self._loop: Any = None
        super().__init__(self._set_up(dsn, schema, clock, timeout, hints), max_value_bytes)
        self._dsn = dsn
        self._blocking: PostgresStore | None = None

    async def acreate_schema(self) -> None:
        """Make what the store keeps in its database; see `PostgresStore.create_schema`."""
        await self._converse(self._place.create(secrets.token_hex(8)))

    @override
    async def describe(self) -> Description:
        """What this store promises, and what it may lose; durable as the server's settings are for this user."""
        return await self._converse(self._place.describe(wakes=self._hints))

    def blocking(self) -> PostgresStore:
        """The store for threads over the same database, with connections of its own; closed with this one."""
        self._ready()
        if self._blocking is None:
            self._blocking = PostgresStore(
                self._dsn,
                schema=self._place.schema,
                clock=self._clock,
                timeout=self._timeout,
                hints=self._hints,
                max_value_bytes=self._largest,
            )
        return self._blocking

    @override
    def _start_anew(self) -> None:
        super()._start_anew()
        self._loop = None
        self._lending = Lending(MOST)

    @override
    async def _run(self, verb: Verb[R]) -> R:
        return await self._converse(self._carrying_out(verb))

    @override
    async def _wait(self, verb: Wait) -> None:
        end = world.current.monotonic() + verb.timeout
        if self._hints:
            try:
                return await self._heed(verb)
            except StoreError:
                pass
        return await super()._wait(Wait(verb.key, verb.after, max(0.0, end - world.current.monotonic())))

    async def _heed(self, verb: Wait) -> None:
        with (await self._listening()).hint(verb.key) as hint:
            for pause in pauses(verb.timeout, world.current.monotonic):
                if await self._converse(self._place.watch(verb.key, WATCH, self._at())) != verb.after:
                    return
                scope = scope_now()
                await waiting.arest(min(pause, scope.remaining), (*scope.stops, hint))
                scope.check()
                if hint.heard:
                    return

    async def _listening(self) -> Hearing:
        loop, hearing = self._here(), self._hearing
        if hearing.line is None:
            line = await self._opened()
            try:
                await asettled(self._place.listen(), lambda ask: self._ask_on(loop, line, ask))
                self._ready()
            except BaseException:
                line.finish()
                raise
            self._hear_from(hearing, line)
        return hearing

    def _hear_from(self, hearing: Hearing, line: wire.Line) -> None:
        if hearing.line is not None:  # another task was quicker
            line.finish()
            return
        hearing.begin(line)
        self._loop.add_reader(line.socket, _hear, self._loop, weakref.ref(hearing), line, line.socket)

    async def _converse(self, talk: Talk[R]) -> R:
        return await asettled(talk, self._ask)

    async def _ask(self, ask: Ask) -> Reply:
        loop, idle, fine = self._here(), self._idle, False
        lending = self._lending
        if not await lending.take(loop, self._seconds()):
            raise self._crowded()
        try:
            line = idle.take() or await self._opened()
            try:
                reply = await self._ask_on(loop, line, ask)
                fine = not reply.ended
            finally:
                idle.give(line, fine=fine)
        finally:
            lending.give()
        return reply

    async def _ask_on(self, loop: Any, line: wire.Line, ask: Ask) -> Reply:
        seconds = self._seconds()
        try:
            return await wire.by_loop(loop, wire.ask_on(line, ask, seconds), seconds)
        except (wire.DriverError, TimeoutError) as error:
            raise self._place.lost(ask, str(error)) from error

    async def _opened(self) -> wire.Line:
        """A new connection: made in a thread, for the name of a host is resolved by a call that blocks."""
        seconds = self._seconds()
        try:
            return await aio.sheltered(lambda: aio.to_thread(lambda: self._connected(seconds)), seconds + 0.1)
        except TimeoutError as error:
            raise self._place.refused(error) from error

    def _here(self) -> Any:
        """The event loop: the first one that it was used on."""
        self._ready()
        self._in_this_process()
        loop = getattr(aio.current_task(), "get_loop", lambda: None)()
        if loop is None:
            raise StoreError(self._name, "it needs a task of asyncio; elsewhere use ThreadedStore(PostgresStore(…))")
        if self._loop is None:
            # Now, not when a statement was sent: then the record would be stored, and the error not say so.
            if not wire.can_wait_on(loop):
                raise StoreError(self._name, f"it cannot wait for a socket on this event loop, a {type(loop).__name__}")
            self._loop = loop
        elif loop is not self._loop:
            raise StoreError(self._name, "it belongs to the event loop on which it was first used, and this is another")
        return loop

    @override
    async def _aclose(self) -> None:
        if self._blocking is not None:
            self._blocking.close()
        if os.getpid() == self._pid:
            self._idle.close()
            line = self._hearing.line
            if line is not None:
                self._loop.remove_reader(line.socket)
                self._hearing.deafen(line)


def _hear(loop: Any, hearing: weakref.ref[Hearing], line: wire.Line, fd: int) -> None:
    """Something has come."""
    if not hears(hearing, line):
        loop.remove_reader(fd)
        part(hearing, line)
