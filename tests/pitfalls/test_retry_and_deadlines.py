"""Pitfalls that other libraries of this field fell into, each as a test by its name."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import math
import os
import pickle
import random
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest.mock import AsyncMock
from urllib.error import HTTPError

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import resilience
from resilience import (
    ConstantBackoff,
    ExponentialBackoff,
    Jitter,
    RetryBudget,
    RetryPolicy,
    SequenceBackoff,
    current_deadline,
    deadline,
    retry,
    transient,
)
from resilience._io.world import SystemRng, World, swapped
from resilience.errors import ConfigError, DeadlineExceededError, RetriesExhaustedError
from resilience.instrumentation import RetryScheduled
from resilience.testing import Script, VirtualClock, virtual_time


HOME = str(Path(resilience.__file__).parent)
AT_ONCE = ConstantBackoff(0)
LIMITS: dict[str, dict[str, Any]] = {
    "plain": {},
    "within": {"within": 60.0},
    "attempt_timeout": {"attempt_timeout": 20.0},
    "budget": {"budget": RetryBudget(at_least=10**6)},
    "shield_inner": {"shield_inner": True},
    "heard": {"hooks": (str,)},
}


@pytest.fixture(params=list(LIMITS))
def limits(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What costs more than a plain policy, one thing at a time."""
    return LIMITS[request.param]


@pytest.fixture(params=["asyncio", "trio"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


def run(library: str, clock: VirtualClock, scenario: Callable[[Any], Any]) -> Any:
    """Run a scenario that is given the library's own `sleep`."""
    if library == "asyncio":
        return clock.run_async(scenario(asyncio.sleep))
    return clock.run_trio(scenario, trio.sleep)


def in_form(colour: Any, form: str, policy: RetryPolicy, fn: Callable[..., Any]) -> Callable[[], Any]:
    """A scenario: `fn` under the policy, decorated, called or looped."""

    async def decorated() -> Any:
        value = policy(colour.fn(fn))()
        return await value if inspect.isawaitable(value) else value

    async def called() -> Any:
        return await colour.call(policy, fn)

    async def looped() -> Any:
        found: list[Any] = []
        if colour.name == "sync":
            for attempt in policy:
                with attempt:
                    found.append(fn())
        else:
            async for attempt in policy:
                with attempt:
                    value = fn()
                    found.append(await value if inspect.isawaitable(value) else value)
        return found[-1]

    return {"decorator": decorated, "call": called, "loop": looped}[form]


forms = pytest.mark.parametrize("form", ["decorator", "call", "loop"])


# -- limits ----------------------------------------------------------------------------------------------------------


@forms
@pytest.mark.parametrize("limit", ["within", "deadline"])
def test_sleeps_past_the_limit(colour: Any, form: str, limit: str) -> None:
    """Allowed half a second and told to wait two, several libraries slept the two seconds."""
    error = ConnectionError("down")
    policy = retry(on=ConnectionError, backoff=ConstantBackoff(2), within=0.5 if limit == "within" else None)
    scenario = in_form(colour, form, policy, Script(error))

    async def limited() -> Any:
        with deadline(0.5, name="report"):
            return await scenario()

    with pytest.raises(ConnectionError) as caught:
        colour.run(limited if limit == "deadline" else scenario)
    assert caught.value is error
    named = "within=0.5 s" if limit == "within" else "the deadline 'report' of 0.5 s"
    assert f"a wait of 2.00 s does not fit into the 0.50 s left of {named}" in error.__notes__[0]
    assert colour.clock.waits == []
    assert colour.clock.monotonic() == 0


@forms
def test_sleeps_only_to_give_up(colour: Any, form: str) -> None:
    """A peer cut the wait to what was left, waited that long, and then made no attempt."""
    policy = retry(on=ConnectionError, backoff=ConstantBackoff(1), within=2.5, attempts=None)
    script = Script(*[ConnectionError("down")] * 3)
    with pytest.raises(ConnectionError):
        colour.run(in_form(colour, form, policy, script))
    assert [call.at for call in script.calls] == [0, 1, 2]
    assert colour.clock.monotonic() == 2


@forms
def test_an_attempt_overruns_the_total(colour: Any, form: str) -> None:
    """A limit that is only looked at between attempts is no limit: here the attempt itself sees it."""
    seen: list[float] = []

    def work() -> str:
        found = current_deadline()
        assert found is not None
        seen.append(found.timeout(cap=30) or 0)
        if len(seen) == 1:
            colour.clock.advance(1)
            raise ConnectionError
        return "done"

    policy = retry(on=ConnectionError, backoff=ConstantBackoff(1), within=5)
    assert colour.run(in_form(colour, form, policy, work)) == "done"
    assert seen == [5, 3]


def test_an_attempt_overruns_the_total_in_a_task(library: str) -> None:
    """There, the attempt is cut when the total is spent."""

    async def scenario(sleep: Any) -> None:
        await retry(on=transient, within=5, attempts=None).acall(sleep, 100)

    with virtual_time() as clock, pytest.raises(DeadlineExceededError, match="5 s"):
        run(library, clock, scenario)
    assert clock.monotonic() == pytest.approx(5)


@forms
@pytest.mark.parametrize("kind", ["attempts", "within", "deadline", "budget", "max_hint"])
def test_a_second_hidden_limit_ends_it_early(colour: Any, form: str, kind: str) -> None:
    """Where several limits are set, the note names the one that ended the call."""
    wanted: dict[str, tuple[dict[str, Any], str]] = {
        "attempts": ({"attempts": 2, "within": 99}, "all 2 attempts used"),
        "within": ({"attempts": 9, "within": 1.5}, "within=1.5 s"),
        "deadline": ({"attempts": 9, "within": 99}, "the deadline 'report' of 1.5 s"),
        "budget": ({"attempts": 9, "budget": RetryBudget(0, at_least=1)}, "the retry budget is spent"),
        "max_hint": ({"attempts": 9, "max_hint": 5, "on": transient}, "max_hint=5"),
    }
    options, named = wanted[kind]

    def work() -> None:
        headers = Message()
        headers["Retry-After"] = "6"
        raise HTTPError("http://x", 503, "busy", headers, None) if kind == "max_hint" else ConnectionError("down")

    policy = retry(**{"on": ConnectionError, "backoff": ConstantBackoff(1), **options})
    scenario = in_form(colour, form, policy, work)

    async def limited() -> None:
        with deadline(1.5 if kind == "deadline" else 500, name="report"):
            await scenario()

    with pytest.raises(OSError) as caught:
        colour.run(limited)
    assert named in caught.value.__notes__[0]
    if isinstance(caught.value, HTTPError):
        caught.value.close()


# -- cancellation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [BaseException, asyncio.CancelledError, KeyboardInterrupt, (OSError, trio.Cancelled)])
def test_retries_a_cancellation_refused_when_built(on: Any) -> None:
    """Four libraries go on after a cancel when told to retry `BaseException`."""
    with pytest.raises(ConfigError, match="on must be"):
        retry(on=on)


@pytest.mark.parametrize("where", ["attempt", "wait"])
@forms
def test_retries_a_cancellation(library: str, form: str, where: str, limits: dict[str, Any]) -> None:
    """Cancelled in an attempt, or in the wait between two, a call ends at once and makes no other attempt."""
    starts: list[float] = []

    async def scenario(sleep: Any) -> bool:
        async def work() -> None:
            starts.append(clock.monotonic())
            if where == "attempt":
                await sleep(50)
            raise ConnectionError

        policy = retry(on=lambda error: True, backoff=ConstantBackoff(10), **limits)

        async def looped() -> None:
            async for attempt in policy:
                with attempt:
                    await work()

        go = {"decorator": policy(work), "call": lambda: policy.acall(work), "loop": looped}[form]
        if library == "trio":
            with trio.move_on_after(1) as scope:
                await go()
            return scope.cancelled_caught
        task = asyncio.ensure_future(go())
        await sleep(1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return task.cancelled()

    with virtual_time() as clock:
        assert run(library, clock, scenario)
        assert clock.monotonic() == 1
    assert starts == [0]


@pytest.mark.parametrize("ticks", range(4))
def test_same_tick_cancel_is_lost(ticks: int, limits: dict[str, Any]) -> None:
    """A cancel that arrives in the tick of completion comes out as one, 200 times of 200, under every limit.

    Work that was over before the cancel came has ended well; a cancel that hits a task still running is never lost.
    """

    async def scenario() -> tuple[int, int]:
        lost = hit = 0
        loop = asyncio.get_running_loop()
        for _ in range(200):
            future: asyncio.Future[str] = loop.create_future()
            with_deadline = deadline(30)(retry(on=OSError, **limits)(functools.partial(_wait, future)))
            task = asyncio.ensure_future(with_deadline())
            await asyncio.sleep(0)
            future.set_result("done")
            for _ in range(ticks):
                await asyncio.sleep(0)
            if not task.cancel():
                continue
            hit += 1
            try:
                await task
            except asyncio.CancelledError:
                continue
            lost += 1
        return hit, lost

    async def _wait(future: asyncio.Future[str]) -> str:
        return await future

    with virtual_time() as clock:
        hit, lost = clock.run_async(scenario())
    assert lost == 0
    assert hit == 200 or ticks > 0


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="capability: cpython repaired asyncio.wait_for in 3.12")
def test_same_tick_cancel_is_lost_by_wait_for() -> None:
    """The control: on 3.11 `asyncio.wait_for`, under the very same cancel, loses it every time."""

    async def scenario() -> int:
        lost = 0
        loop = asyncio.get_running_loop()
        for _ in range(200):
            future: asyncio.Future[str] = loop.create_future()
            task = asyncio.ensure_future(asyncio.wait_for(future, 30))
            await asyncio.sleep(0)
            future.set_result("done")
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                continue
            lost += 1
        return lost

    with virtual_time() as clock:
        assert clock.run_async(scenario()) == 200


def test_wait_for_is_never_used() -> None:
    """Nor `asyncio.timeout`, which would leave it to the type of the exception whose timeout fired."""
    names = {"wait_for", "timeout_at"}
    for path in Path(HOME).rglob("*.py"):
        code = compile(path.read_text("utf-8"), str(path), "exec")
        stack = [code]
        while stack:
            one = stack.pop()
            assert not names & set(one.co_names), path
            stack.extend(const for const in one.co_consts if inspect.iscode(const))


# -- the error that comes out ----------------------------------------------------------------------------------------


class OwnError(Exception):
    """Of the caller's: two arguments, as many have, which breaks a wrapper that rebuilds it from one."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code


@forms
def test_wrapper_error_hides_the_cause(colour: Any, form: str, limits: dict[str, Any]) -> None:
    """The caller's own object comes out, can be caught by its type, and survives pickling, note included."""
    error = OwnError(7, "mine")
    with pytest.raises(OwnError) as caught:
        colour.run(
            in_form(colour, form, retry(on=OwnError, attempts=2, backoff=AT_ONCE, **limits), Script(error, error))
        )
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (None, None)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.__notes__) == (OwnError, 7, error.__notes__)
    assert "gave up after 2 attempts" in again.__notes__[0]


@pytest.mark.parametrize(
    "error", [DeadlineExceededError(2, "n"), RetriesExhaustedError("n", 3, 1.5, "attempts"), ConfigError("on", 1, "x")]
)
def test_library_errors_do_not_pickle(error: Exception) -> None:
    """Those of our own travel as well: type, facts, notes."""
    error.add_note("a note")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("wrap", [False, True])
def test_error_breaks_across_a_contextmanager(wrap: bool) -> None:
    """An error object that the library re-makes, or that is StopIteration's kin, confuses `@contextmanager`."""

    @contextlib.contextmanager
    def resource() -> Iterator[None]:
        yield

    kind = RetriesExhaustedError if wrap else OwnError
    with virtual_time(), pytest.raises(kind) as caught, resource(), deadline(50):
        retry(on=OwnError, attempts=2, wrap=wrap).call(Script(OwnError(1, "a"), OwnError(2, "b")))
    final = caught.value.__cause__ if wrap else caught.value
    assert isinstance(final, OwnError)
    assert final.code == 2


def test_error_breaks_across_a_contextmanager_from_a_timer(library: str) -> None:
    @contextlib.asynccontextmanager
    async def limited() -> Any:
        async with deadline(2, name="n"):
            yield

    async def scenario(sleep: Any) -> None:
        async with limited():
            await sleep(50)

    with virtual_time() as clock, pytest.raises(DeadlineExceededError):
        run(library, clock, scenario)


# -- frames and cycles -----------------------------------------------------------------------------------------------


def library_frames(tb: TracebackType | None) -> list[str]:
    """The functions of the library in a traceback."""
    found = []
    while tb is not None:
        code = tb.tb_frame.f_code
        if code.co_filename.startswith(HOME) and "testing" not in code.co_filename:
            found.append(code.co_name)
        tb = tb.tb_next
    return found


@forms
@pytest.mark.parametrize("ending", ["first", "exhausted", "permanent later"])
def test_library_frames_in_the_traceback(colour: Any, form: str, ending: str, limits: dict[str, Any]) -> None:
    """Six or seven frames of the library bury the one line that counts; here at most two."""
    endings: dict[str, list[Exception]] = {
        "first": [KeyError("k")],
        "exhausted": [ConnectionError(str(n)) for n in range(4)],
        "permanent later": [ConnectionError("1"), KeyError("k")],
    }
    steps = endings[ending]
    policy = retry(on=ConnectionError, backoff=ConstantBackoff(1), **limits)
    with pytest.raises((ConnectionError, KeyError)) as caught:
        colour.run(in_form(colour, form, policy, Script(*steps)))
    assert len(library_frames(caught.value.__traceback__)) <= 2


@forms
def test_library_frames_in_the_traceback_inside_an_attempt(colour: Any, form: str, limits: dict[str, Any]) -> None:
    """What the retried function sees above itself, on its first and on its later attempts: at most two frames."""
    counts: list[int] = []

    def work() -> str:
        frame, count = inspect.currentframe(), 0
        while frame is not None:
            count += frame.f_code.co_filename.startswith(HOME) and "testing" not in frame.f_code.co_filename
            frame = frame.f_back
        counts.append(count)
        if len(counts) < 3:
            raise ConnectionError
        return "done"

    assert colour.run(in_form(colour, form, retry(on=ConnectionError, backoff=AT_ONCE, **limits), work)) == "done"
    assert max(counts) <= 2


@forms
def test_library_frames_in_the_traceback_after_an_overslept_wait(colour: Any, form: str) -> None:
    """Where no attempt may begin after a wait, the last error is raised again, without a pile of frames."""

    def oversleep(event: object) -> None:
        colour.clock.advance(100)

    policy = retry(on=ConnectionError, backoff=ConstantBackoff(1), hooks=oversleep)
    scenario = in_form(colour, form, policy, Script(ConnectionError("1")))

    async def limited() -> None:
        with deadline(50):
            await scenario()

    with pytest.raises(
        (ConnectionError, DeadlineExceededError)
    ) as caught:  # in a task, the deadline's timer ends the wait
        colour.run(limited)
    last = caught.value.__cause__ if colour.name != "sync" else caught.value
    assert isinstance(last, ConnectionError)
    assert len(library_frames(last.__traceback__)) <= 2


class Buffer(bytearray):
    """A megabyte in the caller's frame, which can be watched."""


#: The limits that cut an attempt in a task.
CUTTING = {"within", "attempt_timeout"}
ENDINGS = ["success", "failure", "wrap", "permanent", "overrun"]


def a_call(colour: Any, form: str, limits: dict[str, Any], ending: str, watched: list[Any]) -> Callable[[], Any]:
    """One call, whose failing frames hold a buffer."""
    calls = iter(range(10**9))

    async def work_async() -> Any:
        buffer = Buffer(2**20)
        watched.append(weakref.ref(buffer))
        number = next(calls)
        if ending == "overrun" and number:
            await colour.sleep(1000)
        fail(number)
        return len(buffer)

    def work() -> Any:
        buffer = Buffer(2**20)
        watched.append(weakref.ref(buffer))
        fail(next(calls))
        return len(buffer)

    def fail(number: int) -> None:
        if number < 2 or ending in {"failure", "wrap"}:
            raise ConnectionError("down")
        if ending == "permanent":
            raise KeyError("k")

    policy = retry(on=ConnectionError, attempts=4, backoff=AT_ONCE, wrap=ending == "wrap", **limits)
    return in_form(colour, form, policy, work if colour.name == "sync" else work_async)


@forms
def test_cyclic_objects_and_frames_kept_alive(colour: Any, form: str, limits: dict[str, Any]) -> None:
    """Peers leave 14 to 71 objects a call for the collector, and with them every frame of the failure.

    Here nothing is left, whichever way a call ends, inside a deadline or not: with the collector off, the buffers in
    the failing frames die with the call, and a collection afterwards finds nothing.
    """

    async def one(ending: str, around: str) -> int:
        watched: list[Any] = []
        scenario = a_call(colour, form, limits, ending, watched)
        try:
            with deadline(500) if around == "deadline" else contextlib.nullcontext():
                await scenario()
        except (ConnectionError, KeyError, RetriesExhaustedError, TimeoutError):
            pass
        await colour.sleep(0)  # the event loop itself holds a cancellation for the length of a task's step
        assert watched
        return sum(ref() is not None for ref in watched)

    async def scenario() -> tuple[dict[str, int], int]:
        cases = [(ending, around) for ending in ENDINGS for around in ("bare", "deadline")]
        # Plain code is not cut, and nothing cuts an overrun that no limit is set to; trio's own scopes, when they
        # cancel, leave cycles of their own.
        skipped = {"sync": ["overrun"], "asyncio": [], "trio": ["overrun"]}[colour.name]
        cases = [
            case
            for case in cases
            if case[0] not in skipped and (case != ("overrun", "bare") or limits.keys() & CUTTING)
        ]
        for case in cases:  # warm up: caches, imports
            await one(*case)
        gc.collect()
        alive = {" ".join(case): await one(*case) for case in cases}
        return {case: count for case, count in alive.items() if count}, gc.collect()

    gc.disable()
    try:
        assert colour.run(scenario) == ({}, 0)
    finally:
        gc.enable()


@forms
@pytest.mark.parametrize("around", ["bare", "deadline"])
def test_frames_kept_alive_after_a_trio_scope_cut_it(form: str, around: str, limits: dict[str, Any]) -> None:
    """The same for an attempt that a trio scope ended: what the frames held dies at once."""
    if around == "bare" and not limits.keys() & CUTTING:
        return

    async def scenario() -> list[int]:
        watched: list[Any] = []

        async def work() -> None:
            buffer = Buffer(2**20)
            watched.append(weakref.ref(buffer))
            await trio.sleep(1000)

        policy = retry(on=ConnectionError, **limits)

        async def looped() -> None:
            async for attempt in policy:
                with attempt:
                    await work()

        go: Callable[[], Any] = {"decorator": policy(work), "call": lambda: policy.acall(work), "loop": looped}[form]
        try:
            with deadline(5) if around == "deadline" else contextlib.nullcontext():
                await go()
        except DeadlineExceededError:
            pass
        await trio.sleep(0)
        return [number for number, ref in enumerate(watched) if ref() is not None]

    gc.disable()
    try:
        with virtual_time() as clock:
            assert clock.run_trio(scenario) == []
    finally:
        gc.enable()


@pytest.mark.parametrize("where", ["attempt", "wait"])
@pytest.mark.parametrize("around", ["bare", "deadline"])
@forms
def test_frames_kept_alive_after_a_cancel(
    library: str, form: str, where: str, around: str, limits: dict[str, Any]
) -> None:
    """Cancelled in an attempt or in the wait: what the failing frames held dies at once."""
    watched: list[Any] = []

    async def scenario(sleep: Any) -> list[int]:
        async def work() -> None:
            buffer = Buffer(2**20)
            watched.append(weakref.ref(buffer))
            if where == "attempt" and len(watched) > 1:
                await sleep(1000)
            raise ConnectionError(len(buffer))

        policy = retry(on=ConnectionError, backoff=ConstantBackoff(0 if where == "attempt" else 15), **limits)

        async def looped() -> None:
            async for attempt in policy:
                with attempt:
                    await work()

        go: Callable[[], Any] = {"decorator": policy(work), "call": lambda: policy.acall(work), "loop": looped}[form]

        async def limited() -> None:
            with deadline(500) if around == "deadline" else contextlib.nullcontext():
                await go()

        if library == "trio":
            with trio.move_on_after(1):
                await limited()
        else:
            task = asyncio.ensure_future(limited())
            await sleep(1)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            del task
        await sleep(0)
        return [sum(ref() is not None for ref in watched)]

    gc.disable()
    try:
        with virtual_time() as clock:
            alive = run(library, clock, scenario)
    finally:
        gc.enable()
    assert watched
    assert alive == [0]


def test_frames_kept_alive_after_a_deadline_named_its_cause(library: str) -> None:
    """The deadline's error holds the last real error as its cause, and both die together."""
    watched: list[Any] = []

    async def scenario(sleep: Any) -> int:
        @retry(on=ConnectionError, backoff=AT_ONCE)
        async def work() -> None:
            buffer = Buffer(2**20)
            watched.append(weakref.ref(buffer))
            if len(watched) > 1:
                await sleep(1000)
            raise ConnectionError(len(buffer))

        try:
            with deadline(5):
                await work()
        except DeadlineExceededError as error:
            assert isinstance(error.__cause__, ConnectionError)
            assert watched[0]() is not None  # as long as the error is, its frames are
        await sleep(0)  # the event loop itself holds the cancellation for the length of a task's step
        return sum(ref() is not None for ref in watched)

    gc.collect()
    gc.disable()
    try:
        with virtual_time() as clock:
            assert run(library, clock, scenario) == 0
    finally:
        gc.enable()


# -- state -----------------------------------------------------------------------------------------------------------


def test_one_mutable_backoff_is_shared_by_concurrent_calls() -> None:
    """One peer's calls, run at once, waited 12.8 s where 0.8 was configured: here each call has its own 0.1, 0.2, 0.4."""
    policy = retry(on=ConnectionError, backoff=ExponentialBackoff(jitter=Jitter.NONE), hooks=lambda event: None)
    heard: dict[str, list[float]] = {}

    def hook(event: object) -> None:
        if isinstance(event, RetryScheduled):
            heard.setdefault(str(event.error), []).append(event.delay)

    shared = policy.replace(hooks=hook)

    def work(key: str) -> None:
        raise ConnectionError(key)

    async def awork(key: str) -> None:
        work(key)

    def go(key: str) -> None:
        with pytest.raises(ConnectionError):
            shared.call(work, key)

    async def scenario() -> None:
        results = await asyncio.gather(*(shared.acall(awork, f"task {n}") for n in range(20)), return_exceptions=True)
        assert all(isinstance(result, ConnectionError) for result in results)

    with virtual_time() as clock:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(go, [f"thread {n}" for n in range(20)]))
        clock.run_async(scenario())
    assert len(heard) == 40
    assert set(map(tuple, heard.values())) == {(0.1, 0.2, 0.4)}


def test_statistics_on_the_function() -> None:
    """Nothing of a call is left on the decorated function."""

    @retry(on=ConnectionError, backoff=AT_ONCE, attempts=2)
    def work() -> None:
        raise ConnectionError

    before = dict(vars(work))
    for _ in range(3):
        with pytest.raises(ConnectionError):
            work()
    assert vars(work) == before


@forms
def test_hooks_entered_more_often_than_exited(colour: Any, form: str) -> None:
    """One peer entered its hooks 15 times and left them 150 times: here once for each scheduled retry."""
    heard: list[int] = []

    def hook(event: object) -> None:
        if isinstance(event, RetryScheduled):
            heard.append(event.attempt)

    policy = retry(on=ConnectionError, backoff=AT_ONCE, hooks=hook)
    for _ in range(30):
        with pytest.raises(ConnectionError):
            colour.run(in_form(colour, form, policy, Script(*[ConnectionError("down")] * 4)))
    assert heard == [1, 2, 3] * 30


# -- arithmetic ------------------------------------------------------------------------------------------------------


def test_overflow_at_a_late_attempt() -> None:
    """A power of two beyond the range of a float crashed two libraries near attempt 1 024."""
    for jitter in Jitter:
        backoff = ExponentialBackoff(jitter=jitter)
        for attempt in (1023, 1024, 1025, 10**6, 10**18):
            assert 0 <= backoff.delay(attempt) <= 5
    assert SequenceBackoff([1, 5]).delay(10**6) == 5


def test_add_then_cap_leaves_no_jitter() -> None:
    """Once at the cap, every client of four libraries waited exactly the cap: here the waits are spread over all of it."""
    with virtual_time():
        backoff = ExponentialBackoff()
        waits = sorted(backoff.delay(50) for _ in range(1000))
    assert len(set(waits)) > 990
    for part in range(10):
        share = sum(part / 2 <= wait < (part + 1) / 2 for wait in waits)
        assert 60 < share < 140


@forms
@pytest.mark.parametrize("years", [10, -10])
def test_wall_clock_for_elapsed(colour: Any, form: str, years: int) -> None:
    """Jumps of ten years, in every attempt, change neither waits nor limits nor what is said of them."""
    heard: list[Any] = []
    errors = iter([ConnectionError("1"), ConnectionError("2"), ConnectionError("3")])

    def work() -> None:
        colour.clock.jump_wall(years * 365 * 86400)
        raise next(errors)

    policy = retry(on=ConnectionError, backoff=ConstantBackoff(1), within=2.5, attempts=9, hooks=heard.append)
    with pytest.raises(ConnectionError) as caught:
        colour.run(in_form(colour, form, policy, work))
    assert colour.clock.waits == [1, 1]
    assert [event.elapsed for event in heard] == [0, 1, 2]
    assert "in 2.00 s" in caught.value.__notes__[0]


@forms
def test_time_sleep_zero_costs_75_us(colour: Any, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is to be waited for, nobody is asked to wait."""

    def never(*args: object) -> None:
        raise AssertionError("asked to wait")

    policy = retry(on=ConnectionError, backoff=AT_ONCE)
    script = Script(ConnectionError("1"), ConnectionError("2"), "here")
    for name in ("sleep", "wait", "announce"):
        monkeypatch.setattr(colour.clock, name, never)
    assert colour.run(in_form(colour, form, policy, script)) == "here"


# -- what is worth trying again --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503, 500, 408])
def test_retry_after_only_on_429_or_rejittered(colour: Any, status: int) -> None:
    """Seconds of any status that carries them: waited in full, with chance on top, within the cap."""
    headers = Message()
    headers["Retry-After"] = "30"
    error = HTTPError("http://x", status, "busy", headers, None)
    try:
        assert colour.run(lambda: colour.call(retry(on=transient), Script(error, error, "here"))) == "here"
    finally:
        error.close()
    first, second = colour.clock.waits
    assert 30 <= first <= 35
    assert 30 <= second <= 35


@pytest.mark.parametrize(
    ("value", "wait"), [("Sun, 09 Sep 2001 01:46:47 GMT", 7.0), ("Sunday, 09-Sep-01 01:46:47 GMT", 7.0)]
)
def test_retry_after_as_a_date(value: str, wait: float) -> None:
    """An HTTP-date, read by the wall clock."""
    headers = Message()
    headers["Retry-After"] = value
    error = HTTPError("http://x", 503, "busy", headers, None)
    with virtual_time() as clock:
        assert retry(on=transient, backoff=AT_ONCE).call(Script(error, "here")) == "here"
    error.close()
    assert clock.waits == [wait]


@pytest.mark.parametrize("value", ["tomorrow", "-1", "nan", "inf", "1e3", ""])
def test_retry_after_that_cannot_be_read_is_no_hint(value: str) -> None:
    headers = Message()
    headers["Retry-After"] = value
    error = HTTPError("http://x", 503, "busy", headers, None)
    with virtual_time() as clock:
        assert retry(on=transient, backoff=ConstantBackoff(2)).call(Script(error, "here")) == "here"
    error.close()
    assert clock.waits == [2]


def test_ten_thousand_clients_told_30_return_in_one_instant() -> None:
    """The hint is a floor: nobody comes back before it, and they come back apart, also after their first failure.

    With the jitter of the first delay alone, a tenth of a second, they came back in one: 10.6 % of them in the worst 100 ms
    where a client that obeyed to the letter had 10.7 %.
    """
    headers = Message()
    headers["Retry-After"] = "30"
    error = HTTPError("http://x", 503, "busy", headers, None)
    with virtual_time() as clock:
        policy = retry(on=transient)
        for _ in range(300):
            policy.call(Script(error, "here"))
    error.close()
    assert min(clock.waits) >= 30
    assert max(clock.waits) <= 35
    assert len(set(clock.waits)) == 300
    assert max(clock.waits) - min(clock.waits) > 4.5


def test_int_in_args_is_taken_for_a_status(colour: Any) -> None:
    """ECONNRESET is 104, and no HTTP status: it is tried again. An error that merely carries 503 is not."""
    reset = OSError(104, "Connection reset by peer")
    assert colour.run(lambda: colour.call(retry(on=transient), Script(reset, "here"))) == "here"
    with pytest.raises(ValueError, match="503"):
        colour.run(lambda: colour.call(retry(on=transient), Script(ValueError(503), "here")))


@pytest.mark.parametrize("bug", [TypeError, AttributeError, NameError, KeyError, AssertionError, NotImplementedError])
def test_retries_type_error_by_default(colour: Any, bug: type[Exception]) -> None:
    """A bug is not better the second time."""
    script = Script(bug("bug"))
    with pytest.raises(bug):
        colour.run(lambda: colour.call(retry(on=transient), script))
    assert colour.clock.waits == []


# -- what can be decorated -------------------------------------------------------------------------------------------


def test_generator_is_silently_not_retried() -> None:
    """Refused with advice, instead of guarding the one call that cannot fail; the loop form does it right."""

    def pages() -> Iterator[int]:
        yield 1

    async def apages() -> Any:
        yield 1

    for fn in (pages, apages, functools.partial(pages)):
        with pytest.raises(TypeError, match=r"`for attempt in policy: with attempt: \.\.\.`"):
            retry(on=OSError)(fn)

    failures = iter([OSError("1"), None, None])

    def safe_pages() -> Iterator[int]:
        for page in range(2):
            for attempt in retry(on=OSError, backoff=AT_ONCE):
                with attempt:
                    if error := next(failures):
                        raise error
                    found = page
            yield found

    assert list(safe_pages()) == [0, 1]


def test_methods_lose_what_they_are() -> None:
    """Names, docstrings and signatures stay; mocks and callables count as what they are."""

    class Client:
        @retry(on=OSError)
        def fetch(self, key: str, *, fresh: bool = False) -> str:
            """Fetch."""
            return key

        @retry(on=OSError)
        async def afetch(self, key: str) -> str:
            return key

    assert str(inspect.signature(Client.fetch)) == "(self, key: 'str', *, fresh: 'bool' = False) -> 'str'"
    assert Client.fetch.__doc__ == "Fetch."
    assert inspect.iscoroutinefunction(Client.afetch)
    assert inspect.iscoroutinefunction(retry(on=OSError)(AsyncMock()))
    assert not inspect.iscoroutinefunction(Client.fetch)


# -- threads, forks, whose timeout -----------------------------------------------------------------------------------


def test_sync_timeouts_by_threads() -> None:
    """No attempt runs in a thread of its own: none runs on after its timeout, and none beside the next."""
    here = threading.get_ident()
    seen: set[int] = set()
    before = threading.active_count()

    def work() -> None:
        seen.add(threading.get_ident())
        clock.advance(5)
        raise ConnectionError

    with virtual_time() as clock, pytest.raises(ConnectionError):
        retry(on=ConnectionError, attempt_timeout=1, backoff=AT_ONCE).call(work)
    assert seen == {here}
    assert threading.active_count() == before


def test_which_timeout_fired_inner(library: str) -> None:
    """The attempt's: tried again, and the deadline around it never noticed."""
    starts: list[float] = []

    async def scenario(sleep: Any) -> str:
        async def work() -> str:
            starts.append(clock.monotonic())
            await sleep(50 if len(starts) == 1 else 0)
            return "done"

        with deadline(10, name="outer"):
            return await retry(on=transient, attempt_timeout=2, backoff=ConstantBackoff(1)).acall(work)

    with virtual_time() as clock:
        assert run(library, clock, scenario) == "done"
    assert starts == [0, 3]


def test_which_timeout_fired_outer(library: str) -> None:
    """The outer deadline's: no attempt's timeout may claim it, and nothing is tried again."""
    starts: list[float] = []

    async def scenario(sleep: Any) -> None:
        async def work() -> None:
            starts.append(clock.monotonic())
            await sleep(50)

        with deadline(3, name="outer"):
            await retry(on=transient, attempt_timeout=5, attempts=None, backoff=AT_ONCE).acall(work)

    with virtual_time() as clock, pytest.raises(DeadlineExceededError) as caught:
        run(library, clock, scenario)
    assert caught.value.name == "outer"
    assert starts == [0]


def test_which_timeout_fired_the_bodys_own(library: str) -> None:
    """A `TimeoutError` that the body raises by itself stays the body's, under any number of limits."""
    mine = TimeoutError("mine")

    async def scenario(sleep: Any) -> None:
        async def work() -> None:
            await sleep(1)
            raise mine

        with deadline(10, name="outer"):
            await retry(on=ConnectionError, attempt_timeout=5, within=8).acall(work)

    with virtual_time() as clock, pytest.raises(TimeoutError) as caught:
        run(library, clock, scenario)
    assert caught.value is mine


def drawn_in_a_child(draw: Callable[[], float]) -> float:
    """What a real forked child draws."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, repr(draw()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return float(text)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="capability: os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_generator_copied_by_fork() -> None:
    """Every worker forked from one parent jitters alike, unless the generator begins anew in the child."""
    ours = SystemRng()
    ours.random()  # it exists before the fork
    assert drawn_in_a_child(ours.random) != ours.random()
    backoff = ExponentialBackoff(initial=1000, cap=1000)
    with swapped(World()):
        backoff.delay(1)
        assert drawn_in_a_child(lambda: backoff.delay(1)) != backoff.delay(1)
    naive = random.Random()  # the control: what a module-level generator does
    assert drawn_in_a_child(naive.random) == naive.random()


# -- one trace in every colour ---------------------------------------------------------------------------------------


OUTCOMES = st.sampled_from(["ok", "transient", "unsure", "permanent"])


def trace_of(name: str, steps: list[str], options: dict[str, Any], seed: int) -> list[tuple[float, str]]:
    """(time, event) of one call in one colour, on its own virtual time."""
    trace: list[tuple[float, str]] = []
    left = iter(steps)
    errors = {"transient": ConnectionRefusedError, "unsure": ConnectionResetError, "permanent": KeyError}

    def work() -> str:
        step = next(left, "ok")
        trace.append((clock.monotonic(), step))
        clock.advance(0.25)
        if step != "ok":
            raise errors[step](step)
        return "done"

    async def awork() -> str:
        return work()

    def hook(event: Any) -> None:
        trace.append((clock.monotonic(), f"{type(event).__name__} {event.attempt} {getattr(event, 'delay', '')}"))

    with virtual_time(seed=seed) as clock:
        policy = retry(on=transient, hooks=hook, name="n", **options)
        try:
            if name == "sync":
                policy.call(work)
            elif name == "asyncio":
                clock.run_async(policy.acall(awork))
            else:
                clock.run_trio(policy.acall, awork)
            trace.append((clock.monotonic(), "returned"))
        except Exception as error:
            trace.append((clock.monotonic(), f"{error!r} {getattr(error, '__notes__', None)}"))
        trace.extend((wait, "wait") for wait in clock.waits)
    return [(round(at, 6), what) for at, what in trace]


@given(
    st.lists(OUTCOMES, max_size=6),
    st.fixed_dictionaries(
        {},
        optional={
            "attempts": st.integers(1, 5),
            "within": st.sampled_from([0.3, 1.0, 3.0, 50.0]),
            "idempotent": st.booleans(),
            "wrap": st.booleans(),
            "backoff": st.sampled_from([ExponentialBackoff(), ConstantBackoff(0), SequenceBackoff([1, 0.5])]),
        },
    ),
    st.integers(0, 2**32),
)
def test_colours_differ(steps: list[str], options: dict[str, Any], seed: int) -> None:
    """One policy, one script, one seed: plain code, asyncio and trio do the same things at the same times."""
    wanted = trace_of("sync", steps, options, seed)
    assert trace_of("asyncio", steps, options, seed) == wanted
    assert trace_of("trio", steps, options, seed) == wanted
    assert not math.isnan(wanted[-1][0])
