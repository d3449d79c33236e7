"""Three colours of one scenario: it is written once, as a coroutine, and run as plain code, by asyncio and by trio."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from resilience import RetryPolicy
from resilience.testing import VirtualClock, virtual_time


class Colour:
    """One way to run a scenario, on virtual time. As plain code, a scenario never suspends."""

    def __init__(self, name: str, clock: VirtualClock) -> None:
        self.name = name
        self.clock = clock

    def run(self, scenario: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run the scenario to its end."""
        if self.name == "asyncio":
            return self.clock.run_async(scenario())
        if self.name == "trio":
            return self.clock.run_trio(scenario)
        try:
            scenario().send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("plain code cannot suspend")

    def fn(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """`fn` as this colour has it: itself, or a coroutine function that does the same."""

        async def afn(*args: Any, **kwargs: Any) -> Any:
            found = fn(*args, **kwargs)
            return await found if isinstance(found, Awaitable) else found

        return fn if self.name == "sync" else functools.update_wrapper(afn, fn, ("__name__", "__qualname__"), ())

    async def call(self, policy: RetryPolicy, fn: Callable[..., Any], *args: Any) -> Any:
        """`policy.call` or `policy.acall`, of `fn` as this colour has it."""
        return policy.call(fn, *args) if self.name == "sync" else await policy.acall(self.fn(fn), *args)

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        if self.name == "sync":
            self.clock.advance(seconds)
        else:
            await importlib.import_module(self.name).sleep(seconds)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def colour(request: pytest.FixtureRequest) -> Iterator[Colour]:
    """Each of the three in turn."""
    with virtual_time() as clock:
        yield Colour(request.param, clock)
