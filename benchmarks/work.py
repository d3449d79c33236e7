"""The work that is retried, timed and cut short: as little as can be, so that what is around it shows."""

from __future__ import annotations

import asyncio
from typing import NoReturn


class Boom(Exception):
    """The failure that every policy here holds to be worth another attempt."""


def ok(x: int) -> int:
    """Succeed."""
    return x


def boom(x: int) -> NoReturn:
    """Fail."""
    raise Boom(x)


async def aok(x: int) -> int:
    """Succeed without ever suspending."""
    return x


async def aboom(x: int) -> NoReturn:
    """Fail without ever suspending."""
    raise Boom(x)


async def asuspends(x: int) -> int:
    """Succeed after one turn of the event loop."""
    await asyncio.sleep(0)
    return x


class Flaky:
    """Fails three times, then succeeds, and so on for ever: each call of a policy with four attempts comes through."""

    def __init__(self) -> None:
        self.calls = 0

    def call(self, x: int) -> int:
        """Succeed at every fourth call."""
        self.calls += 1
        if self.calls % 4:
            raise Boom(x)
        return x

    async def acall(self, x: int) -> int:
        """`call`, as a coroutine function."""
        return self.call(x)


class Stuck:
    """Never ends, unless it is cancelled; `calls` counts the attempts, and may be set back."""

    def __init__(self) -> None:
        self.calls = 0

    async def hang(self, x: int) -> NoReturn:
        """Hang."""
        self.calls += 1
        await asyncio.sleep(3600 * x)
        raise AssertionError("nobody cancelled it")

    async def fail_once_and_hang(self, x: int) -> NoReturn:
        """Fail in the first attempt, hang in the second."""
        if self.calls == 0:
            self.calls += 1
            raise Boom(x)
        await self.hang(x)
