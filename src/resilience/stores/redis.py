"""The stores in Redis: shared by all who reach the server, for leases that are about efficiency.

Each verb is one script that the server runs in one step (`_redis_scripts`), on a connection of the store's own
(`_redis_pools`). What an answer means, and what a lost one does, is said in `_redis_talk`. Redis acknowledges a write before
its disk has it, unless it is configured otherwise, and before its replicas have it, always: `describe` asks the server.
"""

from __future__ import annotations

import secrets
from typing import TypeVar

from attrs import evolve
from typing_extensions import override

from resilience._core import checks
from resilience._core.description import Description
from resilience._core.records import Versioned
from resilience._core.steps import Load, Verb, Wait, checked_key
from resilience._io import world
from resilience._io.ambient import scope_now
from resilience.errors import ConfigError
from resilience.stores._base import LARGEST_VALUE, AsyncStoreBase, StoreBase, is_newer
from resilience.stores._redis_links import aconnector, connector, place
from resilience.stores._redis_pools import AsyncLinks, Links
from resilience.stores._redis_talk import Broken, Tongue
from resilience.typing import Clock, Seconds


__all__ = ["AsyncRedisStore", "RedisStore"]

R = TypeVar("R")

#: Seconds for which `wait` relies on a connection that says nothing, before it looks again: it may have died unnoticed.
_SPELL = 30.0


class _Place:
    """Which store on which server, and whose time: what both colours are made of."""

    def __init__(self, kind: str, url: str, namespace: str, clock: Clock | None, timeout: Seconds) -> None:
        if "{" in checked_key("namespace", namespace) or "}" in namespace:
            raise ConfigError("namespace", namespace, "text without braces, which Redis takes for a hash tag")
        self.timeout = checks.seconds("timeout", timeout)
        self.tongue = Tongue(f"{kind}({place(url)}, namespace={namespace!r})", f"{{{namespace}}}:".encode())
        self._clock = clock

    def moment(self) -> bytes:
        """Now, in Unix µs; nothing where the server is to say."""
        return b"" if self._clock is None else b"%d" % int(self._clock.wall() * 1_000_000)


class RedisStore(StoreBase):
    """A `resilience.typing.Store` in Redis 5 or later, on one master. Safe for threads, and usable after a fork.

    Expiry is judged by the server's clock. What is acknowledged can still be lost: with `appendfsync` other than "always"
    by a power cut, with replicas by a failover. Give it a database whose `maxmemory-policy` is not one of "allkeys".

    Args:
        url: redis://, rediss:// or unix://, with the options of redis-py.
        namespace: What the keys of this store begin with; several stores can share a database.
        clock: For tests: whose wall clock is the store's; None for the server's.
        timeout: Seconds that one round trip may take, or connecting, whose addresses share them; less where the deadline
            around is near. What the system's resolver takes to find a host's name comes on top, where it is slow.
        max_value_bytes: The limit of a value.

    Raises:
        ConfigError: A URL or namespace that cannot be. Nothing is connected before the first verb.

    >>> from resilience.stores import RedisStore
    >>> RedisStore("redis://:secret@cache.example/2", namespace="bridge")
    <RedisStore(redis://cache.example:6379/2, namespace='bridge')>
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "resilience",
        clock: Clock | None = None,
        timeout: Seconds = 5.0,
        max_value_bytes: int = LARGEST_VALUE,
    ) -> None:
        connect = connector(url)
        self._place = _Place(type(self).__name__, url, namespace, clock, timeout)
        super().__init__(self._place.tongue.name, max_value_bytes)
        self._links = Links(connect, self._place.timeout)

    @override
    def _run(self, verb: Verb[R]) -> R:
        self._ready()
        return self._links.converse(self._place.tongue.carry_out(verb, self._place.moment()))

    @override
    def _wait(self, verb: Wait) -> None:
        end, over = world.current.monotonic() + verb.timeout, False
        while not over and (left := end - world.current.monotonic()) > 0:
            try:
                over = self._hears(verb, min(left, _SPELL))
            except Broken:
                over = True
                if not self._closed:
                    super()._wait(evolve(verb, timeout=left))

    def _hears(self, verb: Wait, seconds: float) -> bool:
        """Whether there is, or may be, something newer; listening begins before looking, so that nothing falls between."""
        self._ready()
        with self._links.listening(self._place.tongue.channel(verb.key)) as link:
            there: Versioned[bytes] | None = self._run(Load(verb.key))
            heard = is_newer(there, verb.after) or link.hear(min(seconds, scope_now().remaining)) is not None
        scope_now().check()
        return heard

    @override
    def describe(self) -> Description:
        """What this store promises, and what it may lose, as the server is configured now."""
        self._ready()
        return self._links.converse(self._place.tongue.describe(secrets.token_hex(8).encode()))

    @override
    def _close(self) -> None:
        self._links.close()


class AsyncRedisStore(AsyncStoreBase):
    """`RedisStore` for asyncio. Safe for the tasks of one event loop, the first that it is used under in its process.

    A task that is cancelled in a verb leaves it unknown whether that was applied, and its connection is closed.

    Args:
        url: As for `RedisStore`.
        namespace: As for `RedisStore`.
        clock: As for `RedisStore`.
        timeout: As for `RedisStore`, the resolver's time included; but the first address may take all of it.
        max_value_bytes: As for `RedisStore`.

    Raises:
        ConfigError: A URL or namespace that cannot be. Nothing is connected before the first verb.

    >>> from resilience.stores import AsyncRedisStore
    >>> AsyncRedisStore("redis://cache.example")
    <AsyncRedisStore(redis://cache.example:6379/0, namespace='resilience')>
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "resilience",
        clock: Clock | None = None,
        timeout: Seconds = 5.0,
        max_value_bytes: int = LARGEST_VALUE,
    ) -> None:
        connect = aconnector(url)
        self._place = _Place(type(self).__name__, url, namespace, clock, timeout)
        super().__init__(self._place.tongue.name, max_value_bytes)
        self._links = AsyncLinks(connect, self._place.timeout, self._name)
        self._blocking = RedisStore(
            url, namespace=namespace, clock=clock, timeout=timeout, max_value_bytes=max_value_bytes
        )

    @override
    async def _run(self, verb: Verb[R]) -> R:
        self._ready()
        return await self._links.converse(self._place.tongue.carry_out(verb, self._place.moment()))

    @override
    async def _wait(self, verb: Wait) -> None:
        end, over = world.current.monotonic() + verb.timeout, False
        while not over and (left := end - world.current.monotonic()) > 0:
            try:
                over = await self._hears(verb, min(left, _SPELL))
            except Broken:
                over = True
                if not self._closed:
                    await super()._wait(evolve(verb, timeout=left))

    async def _hears(self, verb: Wait, seconds: float) -> bool:
        """As `RedisStore._hears`."""
        self._ready()
        async with self._links.listening(self._place.tongue.channel(verb.key)) as link:
            there: Versioned[bytes] | None = await self._run(Load(verb.key))
            heard = is_newer(there, verb.after) or await link.hear(min(seconds, scope_now().remaining)) is not None
        scope_now().check()
        return heard

    @override
    async def describe(self) -> Description:
        """As `RedisStore.describe`."""
        self._ready()
        return await self._links.converse(self._place.tongue.describe(secrets.token_hex(8).encode()))

    def blocking(self) -> RedisStore:
        """A blocking store over the same records, for threads such as a heartbeat's; closed with this one."""
        return self._blocking

    @override
    async def _aclose(self) -> None:
        await self._links.aclose()
        self._blocking.close()
