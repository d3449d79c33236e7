"""The two hands of every protocol: carry out the steps that it asks for, and tell it what came of each.

What goes wrong is thrown into the protocol, at the step that asked for it: a conflict, a lost answer, also a cancellation
or Ctrl-C, so that what must be given back is given back in its ``finally``. Nothing is decided here.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any, TypeVar, cast

from resilience._core.steps import Call, GiveBack, Pause, Step, Steps, Verb
from resilience._io import aio, waiting, world
from resilience._io.ambient import scoped
from resilience.typing import AsyncStore, Store


__all__ = ["adrive", "drive"]

R = TypeVar("R")

#: Seconds for giving back what is held, also where the work around is over; after that leases expire by themselves.
LAST_SECOND = 1.0


def drive(steps: Steps[R], store: Store) -> R:
    """Carry out a protocol on a store, to its end."""
    try:
        step = next(steps)
        while True:
            try:
                reply = _carry_out(step, store)
            except BaseException as error:  # whatever it is, it is the protocol's
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as end:
        return cast("R", end.value)


async def adrive(steps: Steps[R], store: AsyncStore) -> R:
    """Carry out a protocol on an async store, to its end."""
    try:
        step = next(steps)
        while True:
            try:
                reply = await _acarry_out(step, store)
            except GeneratorExit:  # this coroutine was dropped where it stood: nothing can be awaited any more
                with suppress(RuntimeError):
                    steps.close()
                raise
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as end:
        return cast("R", end.value)


def _carry_out(step: Step[Any], store: Store) -> Any:
    if isinstance(step, Verb):
        return step.on(store)
    if isinstance(step, Pause):
        return waiting.pause(world.current.rng.random() * step.at_most)
    if isinstance(step, GiveBack):
        with scoped(world.current.monotonic() + LAST_SECOND):
            return step.verb.on(store)
    call = cast("Call[Any]", step)
    return call.fn(*call.args)


async def _acarry_out(step: Step[Any], store: AsyncStore) -> Any:
    if isinstance(step, Verb):
        return await step.on(store)
    if isinstance(step, Pause):
        return await waiting.apause(world.current.rng.random() * step.at_most)
    if isinstance(step, GiveBack):
        with scoped(world.current.monotonic() + LAST_SECOND):
            return await aio.sheltered(lambda: step.verb.on(store), LAST_SECOND)
    call = cast("Call[Any]", step)
    value = call.fn(*call.args)
    return await value if inspect.isawaitable(value) else value
