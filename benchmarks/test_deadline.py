"""What a deadline costs beside the timeouts of asyncio, trio and the peers; what is left when its timer fires."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import floors
import peers
import pytest
import trio
from compare import Table, Target, Variant, acalls, agarbage_of, calls, table_of_garbage, trio_calls
from peers import Decorator
from work import Boom, Stuck, aok, asuspends, ok

from resilience import ConstantBackoff, deadline, retry
from resilience.errors import DeadlineExceededError


if TYPE_CHECKING:
    from conftest import Bench

AWork = Callable[[int], Awaitable[Any]]

LONG = 5.0
"""Seconds: a deadline that nothing here comes near."""

SOON = 0.004
"""Seconds: a deadline that is reached each time."""


def with_deadline(fn: AWork) -> AWork:
    """The block form of ours."""

    async def block(x: int) -> Any:
        with deadline(LONG):
            return await fn(x)

    return block


def with_asyncio(seconds: float) -> Decorator:
    """`asyncio.timeout`."""

    def decorate(fn: AWork) -> AWork:
        async def block(x: int) -> Any:
            async with asyncio.timeout(seconds):
                return await fn(x)

        return block

    return decorate


def with_wait_for(seconds: float) -> Decorator:
    """`asyncio.wait_for`."""

    def decorate(fn: AWork) -> AWork:
        async def call(x: int) -> Any:
            return await asyncio.wait_for(fn(x), seconds)

        return call

    return decorate


def with_hyx(seconds: float) -> Decorator:
    """The block form of hyx."""

    def decorate(fn: AWork) -> AWork:
        async def block(x: int) -> Any:
            async with peers.hyx_timeout.timeout(seconds):
                return await fn(x)

        return block

    return decorate


def test_an_outer_one_is_tighter(bench: Bench, runner: asyncio.Runner) -> None:
    """A deadline inside a tighter one arms no timer: it costs little more than a wrapper coroutine."""

    def nested(fn: AWork) -> Any:
        return acalls(runner, fn, around=lambda: deadline(LONG / 2))

    bench.times(
        "async deadline inside a tighter one",
        Variant("bare call", acalls(runner, aok)),
        Variant("a wrapper alone: floors.aretry", acalls(runner, floors.aretry(Boom)(aok))),
        Variant("ours, decorator", nested(deadline(LONG)(aok)), Target(3, over="bare", gates=False)),
        Variant("ours, with", nested(with_deadline(aok))),
        Variant("asyncio.timeout", acalls(runner, with_asyncio(LONG)(aok))),
        Variant("asyncio.wait_for", acalls(runner, with_wait_for(LONG)(aok))),
        Variant("hyx.timeout", acalls(runner, with_hyx(LONG)(aok))),
        note="the wrapper coroutine by itself is most of it; the others arm their timer whatever is around them",
    )


@pytest.mark.parametrize("work", [aok, asuspends], ids=["never_suspends", "suspends_once"])
def test_beside_asyncio(bench: Bench, runner: asyncio.Runner, work: AWork) -> None:
    """Our block that arms a timer, beside asyncio's own. The floor is `asyncio.timeout`."""
    limited = peers.attempt_timeout(LONG)
    bench.times(
        f"async deadline, {'suspends once' if work is asuspends else 'never suspends'}",
        Variant("bare call", acalls(runner, work)),
        Variant("asyncio.timeout", acalls(runner, with_asyncio(LONG)(work))),
        Variant("ours, with", acalls(runner, with_deadline(work))),
        Variant("ours, decorator", acalls(runner, deadline(LONG)(work))),
        Variant("asyncio.wait_for", acalls(runner, with_wait_for(LONG)(work))),
        Variant("hyx.timeout", acalls(runner, with_hyx(LONG)(work))),
        *(Variant(name, acalls(runner, decorate(work))) for name, decorate in limited.items()),
        note="floor = asyncio.timeout",
    )


def test_beside_trio(bench: Bench) -> None:
    """Our block in a task of trio, beside trio's own. The floor is `trio.fail_after`."""

    async def fail_after(x: int) -> int:
        with trio.fail_after(LONG):
            return await aok(x)

    bench.times(
        "deadline in a task of trio",
        Variant("bare call", trio_calls(aok)),
        Variant("trio.fail_after", trio_calls(fail_after)),
        Variant("ours, with", trio_calls(with_deadline(aok))),
        Variant("ours, decorator", trio_calls(deadline(LONG)(aok))),
        note="floor = trio.fail_after",
    )


def test_sync(bench: Bench) -> None:
    """In plain code a deadline is a value that nested calls read; the peers start a thread to abandon."""

    def block(x: int) -> int:
        with deadline(LONG):
            return ok(x)

    bench.times(
        "sync deadline",
        Variant("bare call", calls(ok)),
        Variant("floors.within", calls(floors.within(Boom, LONG)(ok))),
        Variant("ours, decorator", calls(deadline(LONG)(ok))),
        Variant("ours, with", calls(block)),
        *(Variant(name, calls(decorate(ok))) for name, decorate in peers.attempt_timeout(LONG).items()),
        note="floor = a hand-written retry with an ambient moment, for want of a closer one",
    )


# -- garbage -----------------------------------------------------------------------------------------------------------


def test_garbage_when_it_fires(bench: Bench, runner: asyncio.Runner) -> None:
    """A deadline whose timer ends the work leaves no garbage, whether or not there is an error to name as its cause."""

    async def make() -> Table:
        short = retry(on=Boom, backoff=ConstantBackoff(0), within=SOON)
        ours = deadline(SOON)
        rows: dict[str, list[float | None]] = {
            "asyncio.timeout": [await firing(with_asyncio(SOON)), None],
            "asyncio.wait_for": [await firing(with_wait_for(SOON)), None],
            "ours, decorator": [await firing(ours), await firing(around(ours, retrying()), caused=True)],
            "ours, with": [
                await firing(with_short_deadline),
                await firing(around(with_short_deadline, retrying()), caused=True),
            ],
            "ours, retry within": [await firing(short), await firing(short, caused=True)],
            "ours, retry within around retry": [None, await firing(around(short, retrying()), caused=True)],
            "ours, attempt_timeout": [
                await firing(retry(on=Boom, attempt_timeout=SOON)),
                await firing(retry(on=Boom, backoff=ConstantBackoff(0), attempt_timeout=SOON), failing=True),
            ],
            "hyx.timeout": [await firing(with_hyx(SOON)), None],
        }
        for name, decorate in peers.aretry().items():
            within = around(with_asyncio(SOON), decorate)
            rows[f"{name} in asyncio.timeout"] = [await firing(within), await firing(within, failing=True)]
        return table_of_garbage("cyclic garbage when the timer fires", ("no cause", "after a failure"), rows)

    bench.count(lambda: runner.run(make()))


def retrying() -> Decorator:
    """Ours, without a limit of its own."""
    return retry(on=Boom, backoff=ConstantBackoff(0))


def around(outer: Decorator, inner: Decorator) -> Decorator:
    """Both decorators."""
    return lambda fn: outer(inner(fn))


def with_short_deadline(fn: AWork) -> AWork:
    """The block form of ours, about to end."""

    async def block(x: int) -> Any:
        with deadline(SOON):
            return await fn(x)

    return block


async def firing(decorate: Decorator, *, failing: bool = False, caused: bool = False) -> float:
    """Garbage per call of work that hangs until the timer fires; with `failing`, only from its second attempt on.

    With `caused`, the work is `failing`, and the error must name that failure as its cause.
    """
    stuck = Stuck()
    failing = failing or caused
    call = decorate(stuck.fail_once_and_hang if failing else stuck.hang)

    async def once() -> None:
        for _ in range(10):  # on a busy machine the time may be up before the second attempt begins
            stuck.calls = 0
            with suppress(TimeoutError, peers.MaxDurationExceeded, Boom):
                await call(1)
            if stuck.calls == (2 if failing else 1):
                return
        raise AssertionError("the timer never fired in the attempt that hangs")

    if caused:
        await once()
        stuck.calls = 0
        with pytest.raises(DeadlineExceededError) as caught:
            await call(1)
        assert isinstance(caught.value.__cause__, Boom)
        del caught
    return await agarbage_of(once, 25)
