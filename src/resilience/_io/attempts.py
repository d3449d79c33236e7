"""The hands of retry: attempt, and wait in between, until the call says that it is over.

`decorated` and `adecorated` are twins, and so are `run` and `arun`, `pause` and `apause`. A twin contains `await` and the other colour's way to wait;
it decides nothing. No handler stores its exception in a local: a frame must not refer to an exception whose traceback
refers to the frame.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, ParamSpec, TypeVar

from resilience._io import aio, world
from resilience._io.ambient import SCOPE
from resilience._io.call import Call, Plan
from resilience._io.stay import Stay


__all__ = ["adecorated", "apause", "arun", "decorated", "pause", "run"]

P = ParamSpec("P")
R = TypeVar("R")


def decorated(plan: Plan, name: str, fn: Callable[P, R]) -> Callable[P, R]:
    """`fn`, retried; under a plain policy a call that succeeds costs one `try`."""
    if not plan.plain:

        @functools.wraps(fn)
        def call_limited(*args: P.args, **kwargs: P.kwargs) -> R:
            return run(begin(plan, name), fn, args, kwargs)

        return call_limited

    @functools.wraps(fn)
    def call_plain(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return fn(*args, **kwargs)
        except Exception as error:
            call = Call.after_first(plan, name, error)
            if call is None:
                raise
        return run(call, fn, args, kwargs)

    return call_plain


def adecorated(plan: Plan, name: str, fn: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """`decorated` for coroutine functions."""
    if not plan.plain:

        @functools.wraps(fn)
        async def call_limited(*args: P.args, **kwargs: P.kwargs) -> R:
            return await arun(begin(plan, name), fn, args, kwargs)

        return call_limited

    @functools.wraps(fn)
    async def call_plain(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await fn(*args, **kwargs)
        except Exception as error:
            call = Call.after_first(plan, name, error)
            if call is None:
                raise
        return await arun(call, fn, args, kwargs)

    return call_plain


def begin(plan: Plan, name: str) -> Call:
    """A call of a policy that is not plain, about to make its first attempt."""
    now = world.current.monotonic()
    if plan.budget is not None:
        plan.budget.call(now)
    return Call(plan, name, now, SCOPE.get())


def run(call: Call, fn: Callable[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
    """Attempt `fn` until the call ends; entered either before its first attempt, or after that one has failed."""
    try:
        while True:
            if call.delay is not None and not pause(call):
                raise call.cut_short()
            scope = call.scope_of_attempt()
            try:
                if scope is None:
                    value = fn(*args, **kwargs)
                else:
                    token = SCOPE.set(scope)
                    try:
                        value = fn(*args, **kwargs)
                    finally:
                        SCOPE.reset(token)
            except Exception as error:
                if not call.failed(error):
                    if call.wraps:
                        raise call.exhausted() from error
                    raise
            else:
                if call.succeeded(value):
                    return value
    finally:
        call.held = None


async def arun(call: Call, fn: Callable[..., Awaitable[R]], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
    """`run` for coroutine functions; a timer ends an attempt that overruns."""
    try:
        while True:
            if call.delay is not None and not await apause(call):
                raise call.cut_short()
            scope = call.scope_of_attempt()
            try:
                if scope is None:
                    value = await fn(*args, **kwargs)
                else:
                    with Stay(scope, call.outer) as stay:
                        value = await fn(*args, **kwargs)
                    if stay.overran:
                        raise scope.error() from stay.cause
            except Exception as error:
                if not call.failed(error):
                    if call.wraps:
                        raise call.exhausted() from error
                    raise
            else:
                if call.succeeded(value):
                    return value
    except BaseException as cut:
        call.trail(cut)
        raise
    finally:
        call.held = None


def pause(call: Call) -> bool:
    """Wait as long as the call says; whether the next attempt may begin."""
    delay, stops = call.delay or 0.0, call.outer.stops
    if delay > 0:  # `time.sleep(0)` is not free: 75 µs on Linux
        clock = world.current.clock
        if stops:
            woken = threading.Event()
            undo = [stop.watch(woken.set) for stop in stops]
            try:
                clock.wait(woken, delay)
            finally:
                for step in undo:
                    step()
        else:
            clock.sleep(delay)
    return call.may_begin()


async def apause(call: Call) -> bool:
    """`pause` by the running event loop's time."""
    delay, stops = call.delay or 0.0, call.outer.stops
    if delay > 0:
        if stops:
            await aio.wait_stopped(stops, delay)
        else:
            await aio.sleep(delay)
    return call.may_begin()
