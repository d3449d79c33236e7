"""The hands of retry: attempt, and wait in between, until the call says that it is over.

`attempting` and `aattempting` are twins, and so are `_shielding` and `_ashielding`, `_general` and `_ageneral`,
`_limited` and `_alimited`, `run` and
`arun`, `pause` and `apause`. A twin contains `await` and the other colour's way to wait; what happens after a failure is decided in `call`, for both. One
comparison stands in `_limited` and its twin although `Call.scope_of_attempt` has it too, whether the first attempt's own
limit is the tighter one: on the happy path of a limited call there is no `Call` yet, and making one would cost more than
the rest.

No handler stores its exception in a local: a frame must not refer to an exception whose traceback refers to the frame.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from resilience._io import aio, waiting, world
from resilience._io.ambient import (
    Scope,
    enter_retries,
    enter_scope,
    leave_retries,
    leave_scope,
    new_scope,
    retries_now,
    scope_now,
)
from resilience._io.call import Call, Plan
from resilience._io.stay import Stay, covered


__all__ = ["aattempting", "apause", "arun", "attempting", "begin", "pause", "run"]

P = ParamSpec("P")
R = TypeVar("R")


def attempting(plan: Plan, name: str, fn: Callable[P, R]) -> Callable[P, R]:
    """`fn`, retried; under a plain policy a call that succeeds costs one `try`."""
    if not plan.plain:
        return (_limited if not plan.shield_inner else _general if plan.clocked else _shielding)(plan, name, fn)

    def call_plain(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return fn(*args, **kwargs)
        except Exception as error:
            call = Call.after_first(plan, name, world.current.monotonic(), scope_now(), error)
            if call is None:
                raise
        return run(call, fn, args, kwargs)

    return call_plain


def aattempting(plan: Plan, name: str, fn: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """`attempting` for coroutine functions."""
    if not plan.plain:
        return (_alimited if not plan.shield_inner else _ageneral if plan.clocked else _ashielding)(plan, name, fn)

    async def call_plain(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await fn(*args, **kwargs)
        except Exception as error:
            call = Call.after_first(plan, name, world.current.monotonic(), scope_now(), error)
            if call is None:
                raise
        return await arun(call, fn, args, kwargs)

    return call_plain


def begin(plan: Plan, name: str) -> Call:
    """A call that is about to make its first attempt; the budget counts it."""
    started = world.current.monotonic()
    if plan.budget is not None:
        with plan.budget.lock:
            plan.budget.counts.call(started)
    return Call(plan, name, started, scope_now())


def _shielding(plan: Plan, name: str, fn: Callable[P, R]) -> Callable[P, R]:
    """`attempting` for a policy that must know nothing before a call fails, and only shields what is inside."""

    def call_shielding(*args: P.args, **kwargs: P.kwargs) -> R:
        mark = [name]
        token = enter_retries((retries_now()[0], mark))
        try:
            try:
                return fn(*args, **kwargs)
            finally:
                leave_retries(token)
                mark.clear()
        except Exception as error:
            call = Call.after_first(plan, name, world.current.monotonic(), scope_now(), error)
            if call is None:
                raise
        return run(call, fn, args, kwargs)

    return call_shielding


def _ashielding(plan: Plan, name: str, fn: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """`_shielding` for coroutine functions."""

    async def call_shielding(*args: P.args, **kwargs: P.kwargs) -> R:
        mark = [name]
        token = enter_retries((retries_now()[0], mark))
        try:
            try:
                return await fn(*args, **kwargs)
            finally:
                leave_retries(token)
                mark.clear()
        except Exception as error:
            call = Call.after_first(plan, name, world.current.monotonic(), scope_now(), error)
            if call is None:
                raise
        return await arun(call, fn, args, kwargs)

    return call_shielding


def _general(plan: Plan, name: str, fn: Callable[P, R]) -> Callable[P, R]:
    """`attempting` for a policy that shields and must know of a call before it fails: what is said of all attempts does."""

    def call_general(*args: P.args, **kwargs: P.kwargs) -> R:
        return run(begin(plan, name), fn, args, kwargs)

    return call_general


def _ageneral(plan: Plan, name: str, fn: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """`_general` for coroutine functions."""

    async def call_general(*args: P.args, **kwargs: P.kwargs) -> R:
        return await arun(begin(plan, name), fn, args, kwargs)

    return call_general


def _limited(plan: Plan, name: str, fn: Callable[P, R]) -> Callable[P, R]:
    """`attempting` for a policy that must know of a call before it fails."""
    budget, limit, refuses = plan.budget, plan.first_limit, plan.refuses
    limit_name = f"{name}: {plan.first_limit_name}"

    def call_limited(*args: P.args, **kwargs: P.kwargs) -> R:
        started, outer = world.current.monotonic(), scope_now()
        if budget is not None:
            with budget.lock:
                budget.counts.call(started)
        try:
            if limit is None or started + limit >= outer.at:
                value = fn(*args, **kwargs)
            else:
                token = enter_scope(new_scope(Scope, (started + limit, limit, limit_name, outer.stops, None, None)))
                try:
                    value = fn(*args, **kwargs)
                finally:
                    leave_scope(token)
        except Exception as error:
            call = Call.after_first(plan, name, started, outer, error)
            if call is None:
                raise
        else:
            if refuses is None:
                return value
            call = Call.after_value(plan, name, started, outer, value)
            if call is None:
                return value
        return run(call, fn, args, kwargs)

    return call_limited


def _alimited(plan: Plan, name: str, fn: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """`_limited` for coroutine functions; a timer ends an attempt that overruns."""
    budget, limit, refuses = plan.budget, plan.first_limit, plan.refuses
    limit_name = f"{name}: {plan.first_limit_name}"

    async def call_limited(*args: P.args, **kwargs: P.kwargs) -> R:
        started, outer = world.current.monotonic(), scope_now()
        if budget is not None:
            with budget.lock:
                budget.counts.call(started)
        value = cast("R", None)  # for type checkers: a block that was cut short is left by the `raise` below it
        try:
            stay = None
            if limit is not None:
                at = started + limit
                if at < outer.at:
                    task = aio.current_task()
                    scope = new_scope(Scope, (at, limit, limit_name, outer.stops, None, task))
                    stay = Stay(scope, outer, limit)
                elif not covered(outer):
                    stay = Stay(outer, outer)
            if stay is None:
                value = await fn(*args, **kwargs)
            else:
                with stay:
                    value = await fn(*args, **kwargs)
                if stay.overran:
                    raise stay.scope.error() from stay.take_cause()
        except Exception as error:
            call = Call.after_first(plan, name, started, outer, error)
            if call is None:
                raise
        else:
            if refuses is None:
                return value
            call = Call.after_value(plan, name, started, outer, value)
            if call is None:
                return value
        return await arun(call, fn, args, kwargs)

    return call_limited


def run(call: Call, fn: Callable[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
    """Attempt `fn` until the call ends: from its first attempt on, or after that one has failed."""
    scoped, speaks = call.plan.first_limit is not None, call.speaks
    inside = None
    try:
        while True:
            if (call.delay or call.limited) and not pause(call):
                raise call.cut_short()
            try:
                scope = call.scope_of_attempt() if scoped else None
                inside = call.enter_attempt() if speaks else None
                if scope is None:
                    value = fn(*args, **kwargs)
                else:
                    token = enter_scope(scope)
                    try:
                        value = fn(*args, **kwargs)
                    finally:
                        leave_scope(token)
            except Exception as error:
                if inside is not None:
                    inside.leave()
                    inside = None
                if not call.failed(error):
                    if call.wraps:
                        raise call.exhausted() from error
                    raise
            else:
                if inside is not None:
                    inside.leave()
                    inside = None
                if call.succeeded(value):
                    return value
    except Exception:
        raise
    except BaseException as cut:
        call.cut_off(cut)
        raise
    finally:
        if inside is not None:
            inside.leave()
        call.held = None


async def arun(call: Call, fn: Callable[..., Awaitable[R]], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
    """`run` for coroutine functions; a timer ends an attempt that overruns."""
    scoped, speaks = call.plan.first_limit is not None, call.speaks
    inside = None
    value = cast("R", None)
    try:
        while True:
            if call.delay is not None and not await apause(call):
                raise call.cut_short()
            try:
                scope = (call.scope_of_attempt() or call.outer) if scoped else None
                inside = call.enter_attempt() if speaks else None
                if scope is None or (scope is call.outer and covered(scope)):
                    value = await fn(*args, **kwargs)
                else:
                    with Stay(scope, call.outer) as stay:
                        value = await fn(*args, **kwargs)
                    if stay.overran:
                        raise scope.error() from stay.take_cause()
            except Exception as error:
                if inside is not None:
                    inside.leave()
                    inside = None
                if not call.failed(error):
                    if call.wraps:
                        raise call.exhausted() from error
                    raise
            else:
                if inside is not None:
                    inside.leave()
                    inside = None
                if call.succeeded(value):
                    return value
    except Exception:
        raise
    except BaseException as cut:
        call.cut_off(cut)
        raise
    finally:
        if inside is not None:
            inside.leave()
        call.held = None


def pause(call: Call) -> bool:
    """Wait as long as the call says; whether the next attempt may begin."""
    waiting.rest(call.delay or 0.0, call.outer.stops)  # none before the first attempt
    return not call.limited or call.may_begin()


async def apause(call: Call) -> bool:
    """`pause` by the running event loop's time."""
    await waiting.arest(call.delay or 0.0, call.outer.stops)
    return not call.limited or call.may_begin()
