"""The connections of one Redis store: kept for the next command, and one at a time for each conversation.

Twins, one for each colour. A process that was forked opens connections of its own, and never uses those that it inherited.
It disowns them **in the fork itself**, before a second thread can take one, and before they are collected: to close a
connection of an event loop means to tell the selector, which parent and child share.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, TypeVar, cast

from typing_extensions import override

from resilience._io import aio
from resilience._io.ambient import scope_now, watching
from resilience.errors import StoreError
from resilience.stores._pool import weakly
from resilience.stores._redis_links import AsyncLink, Link
from resilience.stores._redis_talk import Broken, Talk, Words


__all__ = ["AsyncLinks", "Links"]

R = TypeVar("R")
L = TypeVar("L")

#: Connections that are kept for the next command.
_MOST_IDLE = 32


class _Pool(Generic[L]):
    """The connections of one store: those that wait for the next command, and those that somebody listens on."""

    def __init__(self, make: Callable[[], Any], timeout: float) -> None:
        self._make = make
        self._timeout = timeout
        self._closed = False
        self._idle: list[L] = []
        self._listening: set[L] = set()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=weakly(self._in_child))

    def _in_child(self) -> None:
        """Leave what was inherited alone; while this runs, the child has no other thread."""
        self._idle, self._listening = [], set()

    def _next_idle(self) -> L | None:
        try:
            return self._idle.pop()
        except IndexError:  # asked for, not looked at before: there may be other threads
            return None

    def _keeps(self) -> bool:
        return not self._closed and len(self._idle) < _MOST_IDLE

    def _seconds(self) -> float:
        """What the next round trip may take."""
        return cast("float", scope_now().timeout(self._timeout))


class Links(_Pool[Link]):
    """The connections of a blocking store. Safe for threads."""

    def converse(self, talk: Talk[R]) -> R:
        """Have a conversation with the server."""
        try:
            words = next(talk)
            while True:
                try:
                    reply = self._ask(words)
                except Broken as broken:
                    words = talk.throw(broken)
                else:
                    words = talk.send(reply)
        except StopIteration as end:
            return cast("R", end.value)

    @contextmanager
    def listening(self, channel: bytes) -> Generator[Link]:
        """A link that hears what is told on a channel; `close`, and every stop around, cuts it."""
        link = self._take()
        self._listening.add(link)
        try:
            _must_not_be_refused(link.ask((b"SUBSCRIBE", channel), self._seconds()))
            with watching(scope_now().stops, link.cut):
                yield link
            if link.fresh():
                said = link.ask((b"UNSUBSCRIBE",), self._seconds())
                while not _is_over(said):
                    said = link.hear(self._seconds())
        except BaseException:
            link.drop()
            raise
        finally:
            self._listening.discard(link)
        self._give(link)

    def close(self) -> None:
        """Close those that are idle; end those that somebody listens on. Those in use are closed after it."""
        self._closed = True
        for listening in tuple(self._listening):
            listening.cut()
        while self._idle:
            self._idle.pop().drop()

    def _ask(self, words: Words) -> Any:
        link = self._take()
        try:
            reply = link.ask(words, self._seconds())
        except BaseException:
            link.drop()
            raise
        self._give(link)
        return reply

    def _take(self) -> Link:
        while (link := self._next_idle()) is not None:
            if link.fresh():
                return link
            link.drop()
        link = Link(self._make())
        link.open(self._seconds())
        return link

    def _give(self, link: Link) -> None:
        if self._keeps():
            self._idle.append(link)
        else:
            link.drop()


class AsyncLinks(_Pool[AsyncLink]):
    """The connections of an async store, which belong to the event loop that it is first used under. Safe for tasks.

    Args:
        make: Makes a connection.
        timeout: Seconds that a round trip may take.
        name: The store, for people.
    """

    def __init__(self, make: Callable[[], Any], timeout: float, name: str) -> None:
        super().__init__(make, timeout)
        self._name = name
        self._loop: Any = None

    async def converse(self, talk: Talk[R]) -> R:
        """Have a conversation with the server."""
        try:
            words = next(talk)
            while True:
                try:
                    reply = await self._ask(words)
                except Broken as broken:
                    words = talk.throw(broken)
                else:
                    words = talk.send(reply)
        except StopIteration as end:
            return cast("R", end.value)

    @asynccontextmanager
    async def listening(self, channel: bytes) -> AsyncGenerator[AsyncLink]:
        """A link that hears what is told on a channel; `aclose`, and every stop around, cuts it."""
        link = await self._take()
        self._listening.add(link)
        try:
            _must_not_be_refused(await link.ask((b"SUBSCRIBE", channel), self._seconds()))
            with watching(scope_now().stops, link.cut):
                yield link
            if link.fresh():
                said = await link.ask((b"UNSUBSCRIBE",), self._seconds())
                while not _is_over(said):
                    said = await link.hear(self._seconds())
        except BaseException:
            await link.drop()
            raise
        finally:
            self._listening.discard(link)
        await self._give(link)

    async def aclose(self) -> None:
        """As `Links.close`."""
        self._closed = True
        for listening in tuple(self._listening):
            listening.cut()
        while self._idle:
            await self._idle.pop().drop()
        await aio.checkpoint()  # in which the loop ends what was closed

    @override
    def _in_child(self) -> None:
        for link in (*self._idle, *self._listening):
            link.disown()
        self._loop = None
        super()._in_child()

    async def _ask(self, words: Words) -> Any:
        link = await self._take()
        try:
            reply = await link.ask(words, self._seconds())
        except BaseException:
            await link.drop()
            raise
        await self._give(link)
        return reply

    async def _take(self) -> AsyncLink:
        loop = self._home()
        while (link := self._next_idle()) is not None:
            if link.fresh():
                return link
            await link.drop()
        link = AsyncLink(self._make(), loop)
        await link.open(self._seconds())
        return link

    async def _give(self, link: AsyncLink) -> None:
        if self._keeps():
            self._idle.append(link)
        else:
            await link.drop()

    def _home(self) -> Any:
        """The event loop that runs this, which must be the first one."""
        task: Any = aio.current_task()
        if not hasattr(task, "get_loop"):
            what = "its driver runs under asyncio only: elsewhere, use ThreadedStore(RedisStore(url))"
            raise StoreError(self._name, what)
        loop = task.get_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            what = "its connections belong to the event loop that it was first used under: open one for each loop"
            raise StoreError(self._name, what)
        return loop


def _must_not_be_refused(reply: Any) -> None:
    """Somebody who may not listen has to look."""
    if isinstance(reply, Exception):
        raise Broken(sent=True) from reply


def _is_over(said: Any) -> bool:
    """Whether what was said is that nobody listens any more; messages may come before that."""
    if said is None or isinstance(said, Exception):  # nothing in time, or a refusal
        raise Broken(sent=True)
    return bool(said[0] == b"unsubscribe")
