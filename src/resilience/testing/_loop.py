"""An asyncio event loop on virtual time: when nothing is ready, it moves the clock instead of waiting."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override


if TYPE_CHECKING:
    from resilience.testing.clock import VirtualClock

__all__ = ["VirtualDeadlock", "VirtualLoop"]

T = TypeVar("T")

#: Real seconds: how long the loop looks for real work at a time, and how long it waits before it calls a deadlock.
_PATIENCE = 0.05
_LAST_CALL = 0.5


class VirtualDeadlock(RuntimeError):  # noqa: N818  # what happened, as a test report should say it
    """Everything waits, and for nothing that time will bring: in real life this would hang."""


class _Selector(selectors.BaseSelector):
    """A real selector that never waits for longer than real work needs."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._real = selectors.DefaultSelector()

    @override
    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    @override
    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    @override
    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    @override
    def close(self) -> None:
        self._real.close()

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if self._clock.held:
            return self._real.select(_PATIENCE)
        if timeout is None:
            ready = self._real.select(_LAST_CALL)
            if not ready:
                raise VirtualDeadlock("every task waits, and no timer is set that could end it")
            return ready
        self._clock.advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`asyncio.SelectorEventLoop` on the time of a `VirtualClock`."""

    def __init__(self, clock: VirtualClock) -> None:
        self.virtual = clock
        self._holds: set[AbstractContextManager[None]] = set()
        super().__init__(_Selector(clock))

    @property
    def _clock_resolution(self) -> float:
        # A timer fires once it is due to within the resolution. A fixed 1e-9 is below one step of a float from about
        # 8.4e6 s on: then no timer would ever be due, and the loop would spin.
        return math.ulp(self.virtual.monotonic())

    @_clock_resolution.setter
    def _clock_resolution(self, value: float) -> None:
        """The base class sets it from the machine's clock."""

    @override
    def time(self) -> float:
        return self.virtual.monotonic()

    @override
    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # typeshed's TypeVarTuple cannot be repeated here
        hold = self.virtual.hold()
        hold.__enter__()
        self._holds.add(hold)
        try:
            future = super().run_in_executor(executor, func, *args)
        except BaseException:
            self._let_go(hold)
            raise
        future.add_done_callback(lambda _: self._let_go(hold))
        return future

    @override
    def close(self) -> None:
        # Work that outlives the loop can tell nobody that it has ended.
        for hold in list(self._holds):
            self._let_go(hold)
        super().close()

    def _let_go(self, hold: AbstractContextManager[None]) -> None:
        self._holds.remove(hold)
        hold.__exit__(None, None, None)

    @override
    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        # It joins a real thread, bounded by a timer of the loop from 3.12 on: no time may pass meanwhile.
        with self.virtual.hold():
            await super().shutdown_default_executor()
