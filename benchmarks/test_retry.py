"""What retry costs: on the happy path, when all attempts fail, under each limit; in time, in garbage, in frames."""

from __future__ import annotations

import asyncio
import functools
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import floors
import peers
import pytest
from compare import Cell, Table, Target, Variant, acalls, agarbage_of, calls, garbage_of, table_of_garbage
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from peers import Decorator
from prometheus_client import CollectorRegistry
from work import Boom, Flaky, Stuck, aboom, aok, boom, ok

from resilience import ConstantBackoff, RetryBudget, RetryPolicy, retry
from resilience.instrumentation import observe, otel, prometheus


if TYPE_CHECKING:
    from conftest import Bench

LONG = 5.0
"""Seconds: a limit that nothing here comes near."""

FAIL_NOTE = "bare = one raise and catch; waits cost nothing: time.sleep and asyncio.sleep are stubbed out for all"


def policy(**options: Any) -> RetryPolicy:
    """Ours: four attempts, no wait in between."""
    return retry(**{"on": Boom, "backoff": ConstantBackoff(0), **options})


def loop_over(make: Callable[[], Any], fn: Callable[[int], Any]) -> Callable[[int], Any]:
    """The for/with form around one call of `fn`."""

    def block(x: int) -> Any:
        for attempt in make():
            with attempt:
                return fn(x)
        return None

    return block


def aloop_over(make: Callable[[], Any], fn: Callable[[int], Awaitable[Any]]) -> Callable[[int], Awaitable[Any]]:
    """The async for/with form around one call of `fn`."""

    async def block(x: int) -> Any:
        async for attempt in make():
            with attempt:
                return await fn(x)
        return None

    return block


@contextmanager
def listening() -> Iterator[None]:
    """As in a program that never configured logging, but for the output: WARNING is on, a NullHandler takes it."""
    logger, handler = logging.getLogger("resilience"), logging.NullHandler()
    before = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)
        logging.disable(before)


@contextmanager
def observing(*observers: Callable[[Any], object]) -> Iterator[None]:
    """With these observers, and the log off."""
    observe(*observers)
    try:
        yield
    finally:
        observe()


#: The real exporters' libraries, with nobody scraping.
_METER = MeterProvider([InMemoryMetricReader()])
OBSERVING = {
    "Prometheus": functools.partial(observing, prometheus.metrics(CollectorRegistry())),
    "OTel": functools.partial(observing, otel.metrics(_METER), otel.span_events()),
}


# -- the same work -----------------------------------------------------------------------------------------------------


def contenders() -> dict[str, Decorator]:
    """All that is compared in synchronous code, new: a budget that one test has spent is no other's."""
    return {
        "floors.retry": floors.retry(Boom),
        "floors.within": floors.within(Boom, LONG),
        "floors.attempt_timeout": floors.attempt_timeout(Boom, LONG),
        "floors.budget": floors.budget(Boom, window()),
        "floors.shield": floors.shield(Boom),
        "ours": policy(),
        "ours, within": policy(within=LONG),
        "ours, attempt_timeout": policy(attempt_timeout=LONG),
        "ours, budget": policy(budget=RetryBudget()),
        "ours, shield": policy(shield_inner=True),
        "ours, wrap": policy(wrap=True),
        "ours, .call": called,
        "ours, for/with": looped,
        **peers.retry(),
        **peers.within(LONG),
        **peers.attempt_timeout(LONG),
        **peers.budget(),
    }


def acontenders() -> dict[str, Decorator]:
    """The same for coroutine functions."""
    return {
        **contenders(),
        **peers.aretry(),
        "floors.retry": floors.aretry(Boom),
        "floors.within": floors.awithin(Boom, LONG),
        "floors.attempt_timeout": floors.aattempt_timeout(Boom, LONG),
        "floors.budget": floors.abudget(Boom, window()),
        "floors.shield": floors.ashield(Boom),
        "ours, .call": acalled,
        "ours, for/with": alooped,
    }


def window() -> floors.Window:
    """The hand-written budget, with the defaults of ours."""
    return floors.Window(0.1, 3, 10)


def called(fn: Callable[[int], Any]) -> Callable[[int], Any]:
    """`fn` by way of `.call`."""
    call: Callable[..., Any] = policy().call
    return functools.partial(call, fn)


def acalled(fn: Callable[[int], Awaitable[Any]]) -> Callable[[int], Awaitable[Any]]:
    """`fn` by way of `.acall`."""
    acall: Callable[..., Any] = policy().acall
    return functools.partial(acall, fn)


def looped(fn: Callable[[int], Any]) -> Callable[[int], Any]:
    """`fn` in the for/with form."""
    plain = policy()
    return loop_over(lambda: plain, fn)


def alooped(fn: Callable[[int], Awaitable[Any]]) -> Callable[[int], Awaitable[Any]]:
    """`fn` in the async for/with form."""
    plain = policy()
    return aloop_over(lambda: plain, fn)


@pytest.mark.parametrize("name", contenders())
def test_all_do_the_same_work(name: str) -> None:
    """Whoever is compared hands the value through, and makes four attempts before the error goes out."""
    decorate, attempts = contenders()[name], []

    def fails(x: int) -> None:
        attempts.append(x)
        boom(x)

    with peers.no_sleep():
        assert decorate(ok)(7) == 7
        with pytest.raises(Exception):  # noqa: PT011  # some raise an error of their own
            decorate(fails)(7)
    assert attempts == [7, 7, 7, 7]


@pytest.mark.parametrize("name", acontenders())
def test_all_do_the_same_work_as_coroutines(name: str) -> None:
    """The same, for what is awaited."""
    attempts = []

    async def fails(x: int) -> None:
        attempts.append(x)
        await aboom(x)

    async def main() -> None:
        decorate = acontenders()[name]
        assert await decorate(aok)(7) == 7
        with pytest.raises(Exception):  # noqa: PT011
            await decorate(fails)(7)

    with peers.no_sleep():
        asyncio.run(main())
    assert attempts == [7, 7, 7, 7]


# -- time --------------------------------------------------------------------------------------------------------------


def test_happy_path(bench: Bench) -> None:
    """A call that succeeds costs one `try`, as in the smallest decorator written by hand."""
    plain = policy()
    bench.times(
        "retry, happy path",
        Variant("bare call", calls(ok)),
        Variant("floors.retry", calls(floors.retry(Boom)(ok))),
        Variant("ours, decorator", calls(plain(ok)), Target(1.3)),
        *(Variant(f"ours, {name} on", calls(plain(ok), around=around)) for name, around in OBSERVING.items()),
        Variant("ours, .call", calls(called(ok))),
        Variant("ours, for/with", calls(looped(ok)), Target(5)),
        *(Variant(name, calls(decorate(ok))) for name, decorate in peers.retry().items()),
        Variant("tenacity, Retrying()(fn)", calls(functools.partial(tenacity_loop(), ok))),
        Variant("stamina, RetryingCaller", calls(functools.partial(stamina_caller(), ok))),
        Variant("tenacity, for/with", calls(loop_over(tenacity_loop, ok))),
        Variant("stamina, for/with", calls(loop_over(stamina_loop, ok))),
    )


def test_happy_path_async(bench: Bench, runner: asyncio.Runner) -> None:
    """The same for a coroutine function: one wrapper coroutine, one `try`."""
    plain = policy()
    bench.times(
        "retry, happy path, async",
        Variant("bare call", acalls(runner, aok)),
        Variant("floors.aretry", acalls(runner, floors.aretry(Boom)(aok))),
        Variant("ours, decorator", acalls(runner, plain(aok)), Target(1.5)),
        *(Variant(f"ours, {name} on", acalls(runner, plain(aok), around=around)) for name, around in OBSERVING.items()),
        Variant("ours, .acall", acalls(runner, acalled(aok))),
        Variant("ours, async for/with", acalls(runner, alooped(aok))),
        *(Variant(name, acalls(runner, decorate(aok))) for name, decorate in peers.aretry().items()),
        Variant("stamina, async for/with", acalls(runner, aloop_over(stamina_loop, aok))),
        note="a coroutine function that never suspends",
    )


def test_four_failing_attempts(bench: Bench) -> None:
    """Four attempts that fail: the machinery between them costs no more than the attempts themselves."""
    plain, wrapping = policy(), policy(wrap=True)
    with peers.no_sleep():
        bench.times(
            "retry, 4 failing attempts",
            Variant("bare raise and catch", calls(boom, failing=True)),
            Variant("floors.retry", calls(floors.retry(Boom)(boom), failing=True)),
            Variant("ours, decorator", calls(plain(boom), failing=True), Target(2)),
            Variant("ours, decorator, log on", calls(plain(boom), failing=True, around=listening)),
            *(
                Variant(f"ours, decorator, {name} on", calls(plain(boom), failing=True, around=around))
                for name, around in OBSERVING.items()
            ),
            Variant("ours, .call", calls(called(boom), failing=True)),
            Variant("ours, for/with", calls(looped(boom), failing=True)),
            Variant("ours, wrap=True", calls(wrapping(boom), failing=True)),
            *(Variant(name, calls(decorate(boom), failing=True)) for name, decorate in peers.retry().items()),
            note=FAIL_NOTE,
        )


def test_four_failing_attempts_async(bench: Bench, runner: asyncio.Runner) -> None:
    """The same for a coroutine function."""
    plain, wrapping = policy(), policy(wrap=True)
    with peers.no_sleep():
        bench.times(
            "retry, 4 failing attempts, async",
            Variant("bare raise and catch", acalls(runner, aboom, failing=True)),
            Variant("floors.aretry", acalls(runner, floors.aretry(Boom)(aboom), failing=True)),
            Variant("ours, decorator", acalls(runner, plain(aboom), failing=True), Target(2)),
            Variant("ours, decorator, log on", acalls(runner, plain(aboom), failing=True, around=listening)),
            *(
                Variant(f"ours, decorator, {name} on", acalls(runner, plain(aboom), failing=True, around=around))
                for name, around in OBSERVING.items()
            ),
            Variant("ours, .acall", acalls(runner, acalled(aboom), failing=True)),
            Variant("ours, async for/with", acalls(runner, alooped(aboom), failing=True)),
            Variant("ours, wrap=True", acalls(runner, wrapping(aboom), failing=True)),
            *(Variant(name, acalls(runner, deco(aboom), failing=True)) for name, deco in peers.aretry().items()),
            note=FAIL_NOTE,
        )


LIMITS: dict[str, tuple[Decorator, Decorator, Decorator, dict[str, Decorator]]] = {
    "within": (
        floors.within(Boom, LONG),
        floors.awithin(Boom, LONG),
        policy(within=LONG),
        peers.within(LONG),
    ),
    "attempt_timeout": (
        floors.attempt_timeout(Boom, LONG),
        floors.aattempt_timeout(Boom, LONG),
        policy(attempt_timeout=LONG),
        peers.attempt_timeout(LONG),
    ),
    "budget": (
        floors.budget(Boom, window()),
        floors.abudget(Boom, window()),
        policy(budget=RetryBudget()),
        peers.budget(),
    ),
    "shield": (
        floors.shield(Boom),
        floors.ashield(Boom),
        policy(shield_inner=True),
        {},
    ),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_limits(bench: Bench, limit: str) -> None:
    """Each limit costs what a decorator costs that was written by hand for that one thing."""
    floor, _, ours, others = LIMITS[limit]
    bench.times(
        f"retry, happy path with {limit}",
        Variant("bare call", calls(ok)),
        Variant(f"floors.{limit}", calls(floor(ok))),
        Variant(f"ours, {limit}", calls(ours(ok)), Target(1.5)),
        *(Variant(name, calls(decorate(ok))) for name, decorate in others.items()),
    )


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_async(bench: Bench, runner: asyncio.Runner, limit: str) -> None:
    """The same for a coroutine function, where a limit in time is a timer."""
    _, floor, ours, others = LIMITS[limit]
    bench.times(
        f"retry, happy path with {limit}, async",
        Variant("bare call", acalls(runner, aok)),
        Variant(f"floors.a{limit}", acalls(runner, floor(aok))),
        Variant(f"ours, {limit}", acalls(runner, ours(aok)), Target(1.5)),
        *(Variant(name, acalls(runner, decorate(aok))) for name, decorate in others.items()),
    )


def tenacity_loop() -> Any:
    """What tenacity loops over."""
    return peers.tenacity.Retrying(**peers.tenacity_options())


def stamina_loop() -> Any:
    """What stamina loops over."""
    return peers.stamina.retry_context(**peers.stamina_options())


def stamina_caller() -> Any:
    """What stamina calls by."""
    options = peers.stamina_options()
    return peers.stamina.RetryingCaller(**{k: v for k, v in options.items() if k != "on"}).on(Boom)


# -- garbage -----------------------------------------------------------------------------------------------------------

PATHS = ("success", "3 failures, then success", "all fail", "wrapped")


def test_garbage(bench: Bench) -> None:
    """No path leaves anything behind that only the garbage collector can free."""
    wrapping: dict[str, Decorator] = {"ours": policy(wrap=True), "tenacity": tenacity_wrapping()}

    def found(name: str, decorate: Decorator) -> list[float | None]:
        wrap = wrapping.get(name)
        return [
            garbage_of(caught(decorate(ok))),
            garbage_of(caught(decorate(Flaky().call))),
            garbage_of(caught(decorate(boom))),
            None if wrap is None else garbage_of(caught(wrap(boom))),
        ]

    def make() -> Table:
        decorators: dict[str, Decorator] = {
            "floors.retry": floors.retry(Boom),
            "ours": policy(),
            "ours, for/with": looped,
            "ours, within": policy(within=LONG),
            **peers.retry(),
        }
        rows = {name: found(name, decorate) for name, decorate in decorators.items()}
        return table_of_garbage("cyclic garbage", PATHS, rows)

    with peers.no_sleep():
        bench.count(make)


def test_garbage_async(bench: Bench, runner: asyncio.Runner) -> None:
    """The same for coroutine functions."""
    wrapping: dict[str, Decorator] = {"ours": policy(wrap=True), "tenacity": tenacity_wrapping()}

    async def found(name: str, decorate: Decorator) -> list[float | None]:
        wrap = wrapping.get(name)
        return [
            await agarbage_of(acaught(decorate(aok))),
            await agarbage_of(acaught(decorate(Flaky().acall))),
            await agarbage_of(acaught(decorate(aboom))),
            None if wrap is None else await agarbage_of(acaught(wrap(aboom))),
        ]

    async def make() -> Table:
        decorators: dict[str, Decorator] = {
            "floors.aretry": floors.aretry(Boom),
            "ours": policy(),
            "ours, async for/with": alooped,
            "ours, within": policy(within=LONG),
            **peers.aretry(),
        }
        rows = {name: await found(name, decorate) for name, decorate in decorators.items()}
        return table_of_garbage("cyclic garbage, async", PATHS, rows)

    with peers.no_sleep():
        bench.count(lambda: runner.run(make()))


def test_garbage_when_cancelled(bench: Bench, runner: asyncio.Runner) -> None:
    """A task that is cancelled in the wait between two attempts, or in an attempt, leaves no garbage either."""

    async def make() -> Table:
        waiting: dict[str, Decorator] = {"ours": policy(backoff=ConstantBackoff(60)), **peers.aretry(wait=60)}
        trying: dict[str, Decorator] = {"ours": policy(), **peers.aretry()}
        timed: dict[str, Decorator] = {
            "ours": policy(attempt_timeout=60),
            **{name.split()[0]: decorate for name, decorate in peers.attempt_timeout(60).items()},
        }
        rows: dict[str, list[float | None]] = {"bare task": [None, await cancelling(None, 1), None]}
        for name, decorate in trying.items():
            timer = timed.get(name)
            rows[name] = [
                await cancelling(waiting[name], 1),
                await cancelling(decorate, 2),
                None if timer is None else await cancelling(timer, 2),
            ]
        paths = ("in the wait", "in an attempt", "in a timed attempt")
        return table_of_garbage("cyclic garbage of a cancelled task", paths, rows)

    bench.count(lambda: runner.run(make()))


async def cancelling(decorate: Decorator | None, attempts: int) -> float:
    """Garbage per task that is cancelled in, or after, attempt number `attempts` of work that fails once and hangs."""
    stuck = Stuck()
    work: Any = stuck.hang if decorate is None else decorate(stuck.fail_once_and_hang)

    async def once() -> None:
        stuck.calls = 0
        task = asyncio.get_running_loop().create_task(work(1))
        for _ in range(10):  # turns: for the attempts, and for what a peer does in between
            await asyncio.sleep(0)
        assert (stuck.calls, task.done()) == (attempts, False)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return await agarbage_of(once)


def tenacity_wrapping() -> Decorator:
    """What tenacity does by default: its own error in place of the caller's."""
    decorate: Decorator = peers.tenacity.retry(**{**peers.tenacity_options(), "reraise": False})
    return decorate


def caught(fn: Callable[[int], object]) -> Callable[[], None]:
    """Call it, and let no error out."""

    def call() -> None:
        with suppress(Exception):
            fn(1)

    return call


def acaught(fn: Callable[[int], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """`caught`, for a coroutine function."""

    async def call() -> None:
        with suppress(Exception):
            await fn(1)

    return call


# -- frames ------------------------------------------------------------------------------------------------------------

MOST_FRAMES = 2


def test_frames(bench: Bench, runner: asyncio.Runner) -> None:
    """Between the caller and what failed, the traceback shows two frames of the library at the most."""
    ours: dict[str, tuple[Decorator | None, Decorator | None]] = {
        "ours, decorator": (policy(), policy()),
        "ours, .call and .acall": (called, acalled),
        "ours, for/with": (looped, alooped),
        "ours, within": (policy(within=LONG), policy(within=LONG)),
        "ours, attempt_timeout": (policy(attempt_timeout=LONG), policy(attempt_timeout=LONG)),
        "ours, budget": (policy(budget=RetryBudget()), policy(budget=RetryBudget())),
        "ours, wrap=True": (policy(wrap=True), policy(wrap=True)),
        "ours, not tried again": (policy(on=OSError), policy(on=OSError)),
    }
    others = {name: (peers.retry().get(name), decorate) for name, decorate in peers.aretry().items()}

    def make() -> Table:
        rows: list[list[Cell]] = []
        misses = []
        for name, (decorate, adecorate) in {**ours, **others}.items():
            found = [
                None if decorate is None else frames(decorate(boom)),
                None if adecorate is None else runner.run(aframes(adecorate(aboom))),
            ]
            verdict = None
            if name in ours:
                kept = all(count is None or count <= MOST_FRAMES for count in found)
                verdict = "ok" if kept else "MISS"
                if not kept:
                    misses.append(f"frames in the traceback: {name} shows {found}, target ≤ {MOST_FRAMES}")
            rows.append([name, *found, None if verdict is None else f"≤ {MOST_FRAMES}", verdict])
        columns = {"variant": "", "sync": "d", "async": "d", "target": "", "verdict": ""}
        return Table("library frames in the traceback, all attempts fail", columns, rows, misses)

    with peers.no_sleep():
        bench.count(make)


def frames(fn: Callable[[int], object]) -> int:
    """Frames of the error that comes out that are neither the caller's nor those of the work."""
    try:
        fn(1)
    except Exception as error:
        return foreign_frames(error)
    raise AssertionError("it should have failed")


async def aframes(fn: Callable[[int], Awaitable[object]]) -> int:
    """`frames`, for a coroutine function."""
    try:
        await fn(1)
    except Exception as error:
        return foreign_frames(error)
    raise AssertionError("it should have failed")


def foreign_frames(error: Exception) -> int:
    """Frames of the traceback outside these benchmarks."""
    own = {__file__, boom.__code__.co_filename}
    return sum(frame.f_code.co_filename not in own for frame, _ in traceback.walk_tb(error.__traceback__))
