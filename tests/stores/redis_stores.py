"""Redis stores in both colours, so that a scenario is written once: as a coroutine, which plain code runs without suspending."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Self

import redis
from tests.servers.redis import RedisServer

from resilience.stores.redis import AsyncRedisStore, RedisStore


class Plain:
    """A blocking store in the shape of an async one."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        async def verb(*args: Any, **kwargs: Any) -> Any:
            return getattr(self.store, "close" if name == "aclose" else name)(*args, **kwargs)

        return verb

    async def __aenter__(self) -> Self:
        self.store.__enter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.store.close()


class Colour:
    """One way to run a scenario: as plain code, or by asyncio."""

    def __init__(self, name: str) -> None:
        self.name = name

    def store(self, url: str, **options: Any) -> Any:
        """A store of this colour, in a namespace of its own unless one is given; its verbs are awaited."""
        options.setdefault("namespace", uuid.uuid4().hex)
        return Plain(RedisStore(url, **options)) if self.name == "sync" else AsyncRedisStore(url, **options)

    def run(self, scenario: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run the scenario to its end."""
        if self.name == "asyncio":
            return asyncio.run(scenario())
        try:
            scenario().send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("plain code cannot suspend")

    async def turn(self) -> None:
        """Let an event loop see what has come on its connections meanwhile."""
        if self.name == "asyncio":
            await asyncio.sleep(0.01)


def client(server: RedisServer, **options: Any) -> Any:
    """A client of the driver's own, to look at the server, and to break things."""
    return redis.Redis(host="127.0.0.1", port=server.port, **options)
