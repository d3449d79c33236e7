"""The two hands of the contract: how a clause, written once as plain code, reaches a store of either colour.

A blocking store is called. An async one is called on an event loop that lives as long as the store, on virtual time where
the store's is. Only where several must be under way at once do the colours differ: threads there, tasks here.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from typing_extensions import override

from resilience._core.steps import Steps
from resilience._io.drive import adrive, drive


__all__ = ["Direct", "Hands", "Job", "OnLoop"]

#: Something to be done beside others: a store, and the steps to carry out on it.
Job: TypeAlias = tuple[Any, Steps[Any]]

#: Seconds after which what should long have ended is called stuck.
STUCK = 60.0

#: What the verbs of a life are called by an async store.
_ASYNC_NAMES = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__"}


class Hands(Protocol):
    """How a store is reached."""

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Call one of the user's own functions."""
        ...

    def verb(self, store: Any, name: str, args: Sequence[Any], options: dict[str, Any]) -> Any:
        """Carry out a verb."""
        ...

    def race(self, jobs: Sequence[Job]) -> list[Any]:
        """Carry out several jobs at once; what came of each, an exception included."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...


class Direct(Hands):
    """For a blocking store."""

    @override
    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return fn(*args)

    @override
    def verb(self, store: Any, name: str, args: Sequence[Any], options: dict[str, Any]) -> Any:
        return getattr(store, name)(*args, **options)

    @override
    def race(self, jobs: Sequence[Job]) -> list[Any]:
        outcomes: list[Any] = [TimeoutError(f"it did not end within {STUCK:g} s")] * len(jobs)
        start = threading.Barrier(len(jobs))

        def run(at: int, job: Job) -> None:
            store, steps = job
            start.wait(STUCK)
            try:
                outcomes[at] = drive(steps, store)
            except Exception as error:  # it is the clause's to judge
                outcomes[at] = error

        threads = [threading.Thread(target=run, args=numbered, daemon=True) for numbered in enumerate(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(STUCK)
        return outcomes

    @override
    def close(self) -> None:
        """Nothing is open."""


class OnLoop(Hands):
    """For an async store.

    Args:
        loop_factory: Makes the event loop; None for asyncio's own.
    """

    def __init__(self, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> None:
        self._runner = asyncio.Runner(loop_factory=loop_factory)

    @override
    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._runner.run(_awaited(lambda: fn(*args)))

    @override
    def verb(self, store: Any, name: str, args: Sequence[Any], options: dict[str, Any]) -> Any:
        fn = getattr(store, _ASYNC_NAMES.get(name, name))
        # In this context, and not in that of the runner's first call: the deadline around holds for the verb.
        return self._runner.run(_awaited(lambda: fn(*args, **options)), context=contextvars.copy_context())

    @override
    def race(self, jobs: Sequence[Job]) -> list[Any]:
        async def run() -> list[Any]:
            async with asyncio.timeout(STUCK):
                return await asyncio.gather(*(adrive(steps, store) for store, steps in jobs), return_exceptions=True)

        return self._runner.run(run())

    @override
    def close(self) -> None:
        self._runner.close()


async def _awaited(fn: Callable[[], Any]) -> Any:
    value = fn()
    return await value if inspect.isawaitable(value) else value
