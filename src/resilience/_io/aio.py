"""The only place that knows asyncio from trio: who runs this code, how it waits, how a timer ends it.

Neither library is imported here at load, and neither is imported at all unless the program already runs on it.

A timer ends the work by cancelling it, and must then say whether *its own* cancellation is what came out. The scope
decides that, never the type of the exception: for asyncio by the task's count of cancellations (a timer's own cancel
is taken back; if others remain, they are somebody else's and pass through), for trio by `CancelScope.cancelled_caught`.
`asyncio.wait_for` is not used anywhere: on 3.11 it loses a cancellation that arrives in the tick of completion
(cpython #86296).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from resilience._io import world
from resilience._io.ambient import watching
from resilience.typing import Stop


if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

__all__ = ["Timer", "arm", "checkpoint", "current_task", "sheltered", "sleep", "to_thread", "wait_stopped"]

R = TypeVar("R")


class Timer(Protocol):
    """A running timer over the current task."""

    def disarm(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        """Stop it; whether what leaves the block is the cancellation that it caused."""
        ...


class AsyncioTimer:
    """Cancels the current asyncio task after `delay` seconds of its loop's time."""

    __slots__ = ("_before", "_fired", "_handle", "_task")

    def __init__(self, task: asyncio.Task[object], delay: float) -> None:
        self._task = task
        self._before = task.cancelling()
        self._fired = False
        loop = task.get_loop()
        self._handle = loop.call_at(loop.time() + delay, self._fire)

    def disarm(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        """Stop it; whether what leaves the block is the cancellation that it caused."""
        del error, tb
        self._handle.cancel()
        if not self._fired:
            return False
        # Take back our own cancel. Anything above the count at entry is somebody else's, and theirs wins.
        ours_alone = self._task.uncancel() <= self._before
        return ours_alone and kind is not None and issubclass(kind, sys.modules["asyncio"].CancelledError)

    def _fire(self) -> None:
        self._fired = True
        self._task.cancel()


class TrioTimer:
    """Cancels the current trio task's work after `delay` seconds of trio's time."""

    __slots__ = ("_scope",)

    def __init__(self, library: Any, delay: float) -> None:
        self._scope = library.CancelScope(deadline=library.current_time() + delay)
        self._scope.__enter__()

    def disarm(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        """Stop it; whether what leaves the block is the cancellation that it caused."""
        self._scope.__exit__(kind, error, tb)
        return bool(self._scope.cancelled_caught)


def _trio() -> Any:
    """The trio library, if it runs this code; else None. Untyped, since it may not be installed."""
    library = sys.modules.get("trio")
    asks = getattr(getattr(library, "lowlevel", None), "in_trio_task", None)
    return library if asks is not None and asks() else None


def current_task() -> object | None:
    """The task of asyncio or trio that runs this code; None where there is none, and so nothing that can be cancelled."""
    # By attribute: while another thread imports asyncio, `sys.modules` holds a module that is not finished.
    ask = getattr(sys.modules.get("asyncio"), "current_task", None)
    if ask is not None:
        try:
            # Not just "is a loop running?": trio as a guest of asyncio has one, but is in no task of it.
            task: object | None = ask()
        except RuntimeError:
            task = None
        if task is not None:
            return task
    library = _trio()
    return None if library is None else library.lowlevel.current_task()


def arm(task: Any, delay: float) -> Timer:
    """Start a timer over the task that runs this code, as `current_task` gave it."""
    return AsyncioTimer(task, delay) if hasattr(task, "uncancel") else TrioTimer(_trio(), delay)


async def checkpoint() -> None:
    """Let the other tasks have their turn, and a cancellation come in, without waiting."""
    library = _library()
    await (library.lowlevel.checkpoint() if library.__name__ == "trio" else library.sleep(0))


async def sleep(seconds: float) -> None:
    """Wait by the running library's own time."""
    world.current.clock.announce(seconds)
    await _library().sleep(seconds)


def _library() -> Any:
    """The module, asyncio or trio, whose task runs this code. asyncio is asked first: its answer costs next to nothing."""
    asks = getattr(sys.modules.get("asyncio"), "current_task", None)
    if asks is not None:
        try:
            if asks() is not None:
                return sys.modules["asyncio"]
        except RuntimeError:
            pass
    return _trio() or importlib.import_module("asyncio")


async def to_thread(fn: Callable[[], R]) -> R:
    """Call a blocking function in a worker thread, in a copy of this context; a cancellation does not wait for it."""
    library = _library()
    if library.__name__ == "trio":
        return cast("R", await library.to_thread.run_sync(fn, abandon_on_cancel=True))
    return cast("R", await library.to_thread(fn))


async def sheltered(work: Callable[[], Awaitable[R]], seconds: float) -> R:
    """Do what a cancelled task still has to do, for at most so many seconds.

    Under trio a cancelled scope ends every wait inside it, so this one is shielded. Under asyncio a cancellation comes
    once, and has come.

    Raises:
        TimeoutError: It took longer.
    """
    library = _library()
    if library.__name__ == "trio":
        with library.CancelScope(shield=True, deadline=library.current_time() + seconds):
            return await work()
        raise TimeoutError
    timer = AsyncioTimer(library.current_task(), seconds)
    try:
        value = await work()
    except BaseException as error:
        if timer.disarm(type(error), error, error.__traceback__):
            raise TimeoutError from None
        raise
    timer.disarm(None, None, None)
    return value


async def wait_stopped(stops: Sequence[Stop], seconds: float) -> bool:
    """Wait until one of the stops ends the work, or for `seconds`; whether one did."""
    world.current.clock.announce(seconds)
    library = _trio()
    if library is not None:
        return await _trio_wait(library, stops, seconds)
    import asyncio  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    handle = loop.call_later(seconds, woken.set)
    try:
        with watching(stops, lambda: loop.call_soon_threadsafe(woken.set)):
            await woken.wait()
    finally:
        handle.cancel()
    return any(stop.error() is not None for stop in stops)


async def _trio_wait(library: Any, stops: Sequence[Stop], seconds: float) -> bool:
    woken = library.Event()
    token = library.lowlevel.current_trio_token()
    with watching(stops, lambda: token.run_sync_soon(woken.set)), library.move_on_after(seconds):
        await woken.wait()
    return any(stop.error() is not None for stop in stops)
