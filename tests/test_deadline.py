"""`deadline` and `Deadline`: blocks, decorators, nesting, and every border they cross."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from resilience import ConstantBackoff, Deadline, current_deadline, deadline, retry
from resilience._io.ambient import UNBOUNDED, scope_now, stopping
from resilience.errors import ConfigError, DeadlineExceededError
from resilience.testing import VirtualClock, virtual_time


class Lamp:
    """A stop that goes off by hand."""

    def __init__(self, at: float = math.inf) -> None:
        self.at = at
        self.ended: Exception | None = None
        self.watchers: list[Callable[[], object]] = []

    def error(self) -> Exception | None:
        return self.ended

    def watch(self, wake: Callable[[], object], /) -> Callable[[], None]:
        self.watchers.append(wake)
        if self.ended is not None:
            wake()
        return lambda: self.watchers.remove(wake)

    def stop(self, error: Exception) -> None:
        self.ended = error
        for wake in list(self.watchers):
            wake()


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with virtual_time() as clock:
        yield clock


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest, clock: VirtualClock) -> Any:
    """Run a program that is given the library's own `sleep`, in each of the two."""

    def go(scenario: Callable[[Any], Any]) -> Any:
        if request.param == "asyncio":
            return clock.run_async(scenario(asyncio.sleep))
        return clock.run_trio(scenario, trio.sleep)

    return go


# -- the description -------------------------------------------------------------------------------------------------


def test_a_description_is_a_value() -> None:
    assert deadline(2.0, name="n") == deadline(timedelta(seconds=2), name="n")
    assert hash(deadline(2)) == hash(deadline(2.0))
    assert deadline(2) != deadline(3)
    with pytest.raises(AttributeError):
        deadline(2).seconds = 3  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(deadline(2, name="n"))) == deadline(2, name="n")
    assert repr(deadline(2)) == "deadline(seconds=2.0, until=None, name=None)"


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, -math.inf, "2", True, timedelta(-1), [1]])
def test_bad_timeouts_are_refused_and_named(bad: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        deadline(bad)
    assert caught.value.option == "seconds"


@pytest.mark.parametrize("bad", [math.nan, -math.inf, "2", True, timedelta(1)])
def test_bad_moments_are_refused_and_named(bad: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        deadline(until=bad)
    assert caught.value.option == "until"


def test_a_timeout_and_a_moment_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match="until"):
        deadline(2, until=3)
    with pytest.raises(ConfigError, match="name"):
        deadline(2, name="")


def test_without_parentheses_it_says_how() -> None:
    with pytest.raises(TypeError, match=r"@deadline\(2\.0\)"):

        @deadline  # type: ignore[arg-type]
        def work() -> None: ...


# -- plain code ------------------------------------------------------------------------------------------------------


def test_everything_called_from_the_block_sees_it(clock: VirtualClock) -> None:
    assert current_deadline() is None
    with deadline(2.0, name="report") as d:
        assert current_deadline() == Deadline(scope_now())
        clock.advance(0.5)
        assert (d.remaining, d.expired, d.at, d.limit, d.name) == (1.5, False, 2.0, 2.0, "report")
        assert repr(d) == "<Deadline report 1.500 s left>"
        d.check()
        clock.advance(5)
        assert (d.remaining, d.expired) == (0.0, True)
        with pytest.raises(DeadlineExceededError, match="'report' of 2 s"):
            d.check()
        with pytest.raises(DeadlineExceededError):
            d.timeout()
    assert current_deadline() is None


def test_an_unlimited_deadline_is_none(clock: VirtualClock) -> None:
    """`current_deadline` is None where there is neither a deadline nor a stop."""
    with deadline(None) as d:
        assert (d.remaining, d.limit, d.timeout(), d.timeout(3), d.headers()) == (math.inf, None, None, 3, {})
        assert "RESILIENCE_DEADLINE" not in d.env({"RESILIENCE_DEADLINE": "stale"})
        assert current_deadline() is None


def test_plain_code_is_not_interrupted_and_late_work_is_work(clock: VirtualClock) -> None:
    with deadline(1):
        clock.advance(9)
        late = "done"
    assert late == "done"

    @deadline(1)
    def work() -> str:
        clock.advance(9)
        return "done"

    assert work() == "done"


def test_what_has_passed_is_not_started(clock: VirtualClock) -> None:
    ran: list[int] = []

    @deadline(0, name="none")
    def work() -> None:
        ran.append(1)

    @deadline(0)
    async def awork() -> None:
        ran.append(1)

    with pytest.raises(DeadlineExceededError):
        work()
    with pytest.raises(DeadlineExceededError):
        clock.run_async(awork())
    for passed in (deadline(0), deadline(until=clock.monotonic()), deadline(until=-5)):
        with pytest.raises(DeadlineExceededError), passed:
            ran.append(1)
    with deadline(1):
        clock.advance(2)
        with pytest.raises(DeadlineExceededError, match="1 s"), deadline(100):
            ran.append(1)
        with pytest.raises(DeadlineExceededError), deadline(None):
            ran.append(1)
    assert ran == []
    assert scope_now() is UNBOUNDED


def test_timeout_is_for_one_call(clock: VirtualClock) -> None:
    with deadline(2) as d:
        assert (d.timeout(), d.timeout(cap=1), d.timeout(cap=9)) == (2, 1, 2)


@pytest.mark.parametrize("cap", [0, -1, math.nan, "1"])
def test_timeout_is_never_zero_or_less(clock: VirtualClock, cap: Any) -> None:
    """Sockets take 0 for "do not block", and refuse less: such a cap is refused here."""
    with deadline(2) as d, pytest.raises(ConfigError, match="cap"):
        d.timeout(cap=cap)


def test_decorated_functions_get_a_deadline_each_call(clock: VirtualClock) -> None:
    @deadline(2)
    def work(seconds: float) -> float | None:
        """Work."""
        clock.advance(seconds)
        found = current_deadline()
        assert found is not None
        assert found.name == "test_decorated_functions_get_a_deadline_each_call.work"
        return found.remaining

    assert (work(0.5), work(1), work(0)) == (1.5, 1, 2)
    assert (work.__name__, work.__doc__) == ("work", "Work.")
    with deadline(1, name="outer"):

        @deadline(2)
        def inner() -> str | None:
            found = current_deadline()
            return found.name if found else None

        assert inner() == "outer"
    with pytest.raises(ZeroDivisionError):
        deadline(2)(lambda: 1 / 0)()
    assert current_deadline() is None


def test_decorated_coroutine_functions(run: Any) -> None:
    seen: list[str | None] = []

    async def scenario(sleep: Any) -> None:
        @deadline(2, name="mine")
        async def work(seconds: float) -> str:
            found = current_deadline()
            seen.append(found.name if found else None)
            await sleep(seconds)
            return "done"

        assert await work(1) == "done"
        with pytest.raises(DeadlineExceededError) as caught:
            await work(3)
        assert (caught.value.limit, caught.value.name) == (2.0, "mine")
        with deadline(1, name="outer"):
            assert await work(0) == "done"

    run(scenario)
    assert seen == ["mine", "mine", "outer"]


def test_generators_cannot_be_decorated() -> None:
    def items() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="generator"):
        deadline(1)(items)


def test_methods_of_every_kind_can_be_decorated(clock: VirtualClock) -> None:
    class Kinds:
        @deadline(1)
        def method(self) -> bool:
            return current_deadline() is not None

        @staticmethod
        @deadline(1)
        def inner_static(value: int) -> bool:
            return current_deadline() is not None

        @classmethod
        @deadline(1)
        def inner_class(cls, value: int) -> bool:
            return current_deadline() is not None

        @deadline(1)
        @staticmethod
        def outer_static(value: int) -> bool:
            return current_deadline() is not None

    assert Kinds().method()
    assert Kinds().inner_static(1)
    assert Kinds().inner_class(1)
    assert Kinds.outer_static(1)
    assert Kinds().outer_static(1)  # a static method stays one, or a clear refusal when decorated


def test_until_takes_the_moment_of_another(clock: VirtualClock) -> None:
    with deadline(5, name="first") as first:
        pass
    clock.advance(1)
    with deadline(until=first) as again:
        assert (again.remaining, again.name, again.limit) == (4.0, "first", None)
        assert str(again._scope.error()) == "deadline 'first' exceeded"
    with deadline(until=first, name="own") as again:
        assert again.name == "own"
    with deadline(until=3.5) as again:
        assert again.remaining == 2.5
        assert str(again._scope) == "the deadline"
    with deadline(until=math.inf) as again:
        assert again.remaining == math.inf
    assert repr(again).startswith("<Deadline inf")


def test_leaving_out_of_order_is_an_error(clock: VirtualClock) -> None:
    outer, inner = deadline(5), deadline(3)
    outer.__enter__()
    inner.__enter__()
    with pytest.raises(RuntimeError, match="order"):
        outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    outer.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="order"):
        outer.__exit__(None, None, None)
    assert scope_now() is UNBOUNDED


def test_one_description_may_be_nested_in_itself(clock: VirtualClock) -> None:
    again = deadline(5)
    with again:
        clock.advance(1)
        with again as inner:
            assert inner.remaining == 4.0
        with again as inner:
            assert inner.remaining == 4.0
    assert scope_now() is UNBOUNDED


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 20)), min_size=1, max_size=6))
def test_nesting_takes_the_earlier_and_remaining_never_rises(steps: list[tuple[int, int]]) -> None:
    """The least of all that enclose a block; what remains only ever falls, and never below 0."""
    with virtual_time() as clock, ExitStack() as stack:
        moments: list[float] = []
        last = math.inf
        for seconds, pause in steps:
            moments.append(clock.monotonic() + seconds)
            try:
                d = stack.enter_context(deadline(seconds))
            except DeadlineExceededError:
                assert min(moments) <= clock.monotonic()
                break
            assert d.at == min(moments)
            assert 0 <= d.remaining <= last
            last = d.remaining
            clock.advance(pause)
            assert 0 <= d.remaining <= last
            last = d.remaining
    assert scope_now() is UNBOUNDED


def test_the_interrupting_kind_is_made_here() -> None:
    timed = deadline.interrupting(timedelta(seconds=2), name="n")
    assert (timed.seconds, timed.name) == (2.0, "n")


# -- tasks: whose timeout fired --------------------------------------------------------------------------------------


def test_block_in_a_task_is_cut_at_the_moment(run: Any, clock: VirtualClock) -> None:
    async def scenario(sleep: Any) -> None:
        for enter in (deadline(2, name="n"), deadline(until=clock.monotonic() + 4, name="n")):
            with pytest.raises(DeadlineExceededError):
                async with enter:
                    await sleep(50)
        with pytest.raises(DeadlineExceededError) as caught, deadline(3, name="plain with"):
            await sleep(50)
        assert caught.value.name == "plain with"
        assert caught.value.__cause__ is None

    run(scenario)
    assert clock.monotonic() == pytest.approx(7)


def test_inner_deadline_fired(run: Any, clock: VirtualClock) -> None:
    """The inner one ends the inner block only; the outer block goes on."""

    async def scenario(sleep: Any) -> None:
        with deadline(5, name="outer"):
            with pytest.raises(DeadlineExceededError) as caught:
                with deadline(2, name="inner"):
                    await sleep(50)
            assert caught.value.name == "inner"
            await sleep(2)

    run(scenario)
    assert clock.monotonic() == 4


def test_outer_deadline_fired(run: Any, clock: VirtualClock) -> None:
    """No inner block may take the outer one's end for its own."""
    seen: list[str] = []

    async def scenario(sleep: Any) -> None:
        try:
            with deadline(2, name="outer"):
                try:
                    with deadline(5, name="inner"):
                        await sleep(50)
                except TimeoutError:
                    seen.append("inner")
        except DeadlineExceededError as error:
            seen.append(str(error.name))

    run(scenario)
    assert seen == ["outer"]


def test_timeout_error_of_the_body_is_the_bodys(run: Any) -> None:
    mine = TimeoutError("mine")

    async def scenario(sleep: Any) -> None:
        with deadline(2):
            await sleep(1)
            raise mine

    with pytest.raises(TimeoutError) as caught:
        run(scenario)
    assert caught.value is mine


def test_equal_moments_are_the_outer_ones(run: Any) -> None:
    async def scenario(sleep: Any) -> None:
        with deadline(2, name="outer"), deadline(until=2.0, name="inner"):
            await sleep(50)

    with pytest.raises(DeadlineExceededError) as caught:
        run(scenario)
    assert caught.value.name == "outer"


def test_both_due_at_once_it_ends_once(run: Any, clock: VirtualClock) -> None:
    """A busy loop oversleeps both: one error comes out, and nothing stays cancelled."""

    async def scenario(sleep: Any) -> str:
        try:
            with deadline(5, name="outer"), deadline(2, name="inner"):
                clock.advance(10)
                await sleep(50)
        except DeadlineExceededError as error:
            found = error.name
        await sleep(1)
        return str(found)

    assert run(scenario) in {"outer", "inner"}


def test_looser_deadline_arms_no_timer(clock: VirtualClock) -> None:
    async def scenario() -> list[int]:
        loop = asyncio.get_running_loop()
        counts = []

        def timers() -> int:
            return sum(not handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]

        counts.append(timers())
        with deadline(5):
            counts.append(timers())
            with deadline(9), deadline(5), deadline(None), deadline(until=7.0):
                counts.append(timers())
            with deadline(3):
                counts.append(timers())
            counts.append(timers())
        counts.append(timers())
        return counts

    assert clock.run_async(scenario()) == [0, 1, 1, 2, 1, 0]


def test_counts_of_cancellations_are_balanced_afterwards(clock: VirtualClock) -> None:
    async def scenario() -> list[int]:
        task = asyncio.current_task()
        assert task is not None
        counts = []
        for seconds in (1.0, 100.0):
            try:
                with deadline(seconds):
                    await asyncio.sleep(5)
            except DeadlineExceededError:
                pass
            counts.append(task.cancelling())
        with deadline(1):
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                pass  # the body's own decision: the block then ends well
        counts.append(task.cancelling())
        await asyncio.sleep(1)
        return counts

    assert clock.run_async(scenario()) == [0, 0, 0]


def test_cancelled_from_outside_at_the_same_time_the_outside_wins(clock: VirtualClock) -> None:
    """In either order, within one tick of the loop."""

    async def work() -> None:
        with deadline(2):
            await asyncio.sleep(50)

    async def scenario(first: bool) -> bool:
        loop = asyncio.get_running_loop()
        if first:
            task = asyncio.ensure_future(work())
            loop.call_at(loop.time() + 2, lambda: task.cancel())
        else:
            task = asyncio.ensure_future(work())
            await asyncio.sleep(0)
            loop.call_at(loop.time() + 2, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled()

    assert clock.run_async(scenario(True))
    assert clock.run_async(scenario(False))


def test_trio_cancelled_from_outside_at_the_same_time_the_outside_wins(clock: VirtualClock) -> None:
    async def scenario() -> tuple[bool, bool]:
        ours = False
        with trio.move_on_after(2) as outside:
            try:
                with deadline(2):
                    await trio.sleep(50)
            except DeadlineExceededError:
                ours = True
        return ours, outside.cancelled_caught

    assert clock.run_trio(scenario) == (False, True)


def test_task_group_inside(clock: VirtualClock) -> None:
    """Every child is ended, and one deadline error comes out."""
    ended: list[int] = []

    async def child(n: int) -> None:
        try:
            await asyncio.sleep(50)
        finally:
            ended.append(n)

    async def scenario() -> int:
        with pytest.raises(DeadlineExceededError):
            async with deadline(2), asyncio.TaskGroup() as group:
                group.create_task(child(1))
                group.create_task(child(2))
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert clock.run_async(scenario()) == 0
    assert sorted(ended) == [1, 2]


def test_error_of_a_child_comes_out_of_the_group(clock: VirtualClock) -> None:
    async def child() -> None:
        await asyncio.sleep(1)
        raise KeyError("child")

    async def scenario() -> None:
        async with deadline(2), asyncio.TaskGroup() as group:
            group.create_task(child())

    with pytest.raises(ExceptionGroup) as caught:
        clock.run_async(scenario())
    assert caught.group_contains(KeyError)


def test_trio_nursery_inside(clock: VirtualClock) -> None:
    ended: list[int] = []

    async def child(n: int) -> None:
        try:
            await trio.sleep(50)
        finally:
            ended.append(n)

    async def scenario() -> None:
        with pytest.raises(DeadlineExceededError):
            async with deadline(2), trio.open_nursery() as nursery:
                nursery.start_soon(child, 1)
                nursery.start_soon(child, 2)

    clock.run_trio(scenario)
    assert sorted(ended) == [1, 2]


def test_trio_error_of_a_child_comes_out_of_the_nursery(clock: VirtualClock) -> None:
    async def child() -> None:
        await trio.sleep(1)
        raise KeyError("child")

    async def scenario() -> None:
        async with deadline(2), trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(trio.sleep, 50)

    with pytest.raises(ExceptionGroup) as caught:
        clock.run_trio(scenario)
    assert caught.group_contains(KeyError)


# -- the cause -------------------------------------------------------------------------------------------------------


def test_cancelled_in_an_attempt_the_cause_is_the_last_real_error(run: Any) -> None:
    real = ConnectionError("real")

    async def scenario(sleep: Any) -> None:
        calls: list[int] = []

        @retry(on=ConnectionError, backoff=ConstantBackoff(1))
        async def work() -> None:
            calls.append(1)
            if len(calls) == 1:
                raise real
            await sleep(50)

        with deadline(5):
            await work()

    with pytest.raises(DeadlineExceededError) as caught:
        run(scenario)
    assert caught.value.__cause__ is real


def test_cancelled_in_the_wait_the_cause_is_the_last_real_error(run: Any, clock: VirtualClock) -> None:
    """The wait fitted, but the loop was busy for longer than both it and the deadline."""
    real = ConnectionError("real")

    async def scenario(sleep: Any) -> None:
        @retry(on=ConnectionError, backoff=ConstantBackoff(1), hooks=lambda event: clock.advance(9))
        async def work() -> None:
            raise real

        with deadline(5):
            await work()

    with pytest.raises((DeadlineExceededError, ConnectionError)) as caught:
        run(scenario)
    found = caught.value
    assert found is real or found.__cause__ is real


def test_chain_of_causes_does_not_grow(run: Any) -> None:
    """A thousand attempts that overrun: the last names the last real error, and not the one before it."""
    real = ConnectionError("real")
    calls: list[int] = []

    async def scenario(sleep: Any) -> None:
        async def work() -> None:
            calls.append(1)
            if len(calls) == 1:
                raise real
            await sleep(50)

        policy = retry(on=(ConnectionError, TimeoutError), attempts=None, attempt_timeout=1, within=300)
        await policy.replace(backoff=ConstantBackoff(0.1)).acall(work)

    with pytest.raises(DeadlineExceededError) as caught:
        run(scenario)
    assert len(calls) > 250
    chain: list[BaseException] = []
    error: BaseException | None = caught.value
    while error is not None and len(chain) < 50:
        chain.append(error)
        error = error.__cause__ or error.__context__
    assert chain[-1] is real
    assert len(chain) <= 3


# -- crossing --------------------------------------------------------------------------------------------------------


def test_bind_carries_it_into_threads(clock: VirtualClock) -> None:
    def look() -> float | None:
        found = current_deadline()
        return found.at if found else None

    with ThreadPoolExecutor(2) as pool, deadline(5) as d:
        assert pool.submit(look).result() is None
        assert pool.submit(d.bind(look)).result() == 5.0


def test_one_bound_function_runs_at_once_in_many_threads(clock: VirtualClock) -> None:
    barrier = threading.Barrier(6, timeout=10)

    def look(key: int) -> tuple[int, float | None]:
        barrier.wait()
        found = current_deadline()
        return key, found.limit if found else None

    with deadline(5) as d:
        bound = d.bind(look)
    assert bound.__name__ == "look"
    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(bound, range(6))) == [(key, 5.0) for key in range(6)]
    assert current_deadline() is None


def test_bind_refuses_coroutine_functions() -> None:
    async def work() -> None: ...

    with deadline(5) as d, pytest.raises(TypeError, match="inherit"):
        d.bind(work)
    with deadline(5) as d, pytest.raises(TypeError, match="inherit"):
        d.bind(functools.partial(work))


def test_tasks_and_to_thread_inherit_it(clock: VirtualClock) -> None:
    def look() -> float | None:
        found = current_deadline()
        return found.limit if found else None

    async def alook() -> float | None:
        return look()

    async def scenario() -> list[float | None]:
        with deadline(5):
            return [await asyncio.create_task(alook()), await asyncio.to_thread(look)]

    assert clock.run_async(scenario()) == [5.0, 5.0]

    async def tscenario() -> list[float | None]:
        found: list[float | None] = []

        async def child() -> None:
            found.append(look())

        with deadline(5):
            found.append(await trio.to_thread.run_sync(look))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child)
        return found

    assert clock.run_trio(tscenario) == [5.0, 5.0]


@given(st.floats(0.001, 1e7))
def test_headers_go_round_and_lose_less_than_a_second_in_a_thousand(seconds: float) -> None:
    """What is left arrives rounded down: to the millisecond, or to the second where gRPC has no room for more."""
    with virtual_time():
        with deadline(seconds) as d:
            headers = d.headers()
        if headers["request-timeout-ms"] == "0":
            return
        with deadline.from_headers(headers, at_most=None) as arrived:
            assert seconds - 1 <= arrived.remaining <= seconds
            if seconds < 99_999:
                assert seconds - 0.002 <= arrived.remaining


@pytest.mark.parametrize(
    ("headers", "at_most", "left"),
    [
        ({"Request-Timeout-Ms": "1500"}, 30, 1.5),
        ([(b"GRPC-Timeout", b"2S")], 30, 2.0),
        ({"grpc-timeout": "1H", "x": "y"}, 30, 30.0),
        ({}, 30, 30.0),
        ({}, None, math.inf),
        ({"grpc-timeout": "1H"}, timedelta(minutes=1), 60.0),
        ({"grpc-timeout": "2S", "request-timeout-ms": "900"}, None, 0.9),
    ],
)
def test_from_headers(clock: VirtualClock, headers: Any, at_most: Any, left: float) -> None:
    with deadline.from_headers(headers, at_most=at_most, name="request") as d:
        assert d.remaining == pytest.approx(left)


def test_a_request_whose_time_is_up_is_not_started(clock: VirtualClock) -> None:
    with pytest.raises(DeadlineExceededError), deadline.from_headers({"request-timeout-ms": "0"}, at_most=30):
        raise AssertionError


@pytest.mark.parametrize("at_most", [0, -1, math.nan, math.inf, "30"])
def test_bad_at_most_is_refused(at_most: Any) -> None:
    with pytest.raises(ConfigError, match="at_most"):
        deadline.from_headers({}, at_most=at_most)
    with pytest.raises(ConfigError, match="at_most"):
        deadline.from_env(at_most=at_most, environ={})


@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5", "1e3", " 5", "5 ", "9" * 17, "١"])
def test_malformed_headers_are_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigError, match="request-timeout-ms"):
        deadline.from_headers({"request-timeout-ms": value}, at_most=30)
    with pytest.raises(ConfigError, match="grpc-timeout"):
        deadline.from_headers({"grpc-timeout": value}, at_most=30)


@pytest.mark.parametrize(
    "value", ["soon", ";", "1", "1;b", "-1;b;n", "nan;b;n", "inf;b;n", "1e5;b;n", ".;b;n", "1.2.3;b;n"]
)
def test_a_malformed_environment_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigError, match="RESILIENCE_DEADLINE"):
        deadline.from_env(environ={"RESILIENCE_DEADLINE": value})


def test_from_env_goes_round(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER", "kept")
    with deadline(5) as d:
        child = d.env()
        assert child["OTHER"] == "kept"
        assert list(d.env({})) == ["RESILIENCE_DEADLINE"]
    clock.advance(1)
    assert "RESILIENCE_DEADLINE" not in os.environ
    for found in (deadline.from_env(environ=child), deadline.from_env(environ=child, at_most=50)):
        with found as inside:
            assert inside.remaining == pytest.approx(4)
    with deadline.from_env(environ=child, at_most=2) as inside:
        assert inside.remaining == 2
    monkeypatch.setenv("RESILIENCE_DEADLINE", child["RESILIENCE_DEADLINE"])
    with deadline.from_env(name="parent") as inside:
        assert (inside.remaining, inside.name) == (pytest.approx(4), "parent")


def test_without_one_in_the_environment_at_most_counts(clock: VirtualClock) -> None:
    with deadline.from_env(environ={}, at_most=3) as inside:
        assert inside.remaining == 3
    with deadline.from_env(environ={}) as inside:
        assert inside.remaining == math.inf


def test_a_moment_of_another_boot_says_nothing_here(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    environ = {"RESILIENCE_DEADLINE": "0.5;another-boot;time:[1]"}
    with deadline.from_env(environ=environ, at_most=3) as inside:
        assert inside.remaining == 3
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "resilience")
    assert "another boot" in record.getMessage()
    assert "0.5;another-boot" in record.getMessage()


CHILD = """
from resilience import deadline
with deadline.from_env() as d:
    print(d.remaining)
"""


def test_a_real_child_process_sees_what_is_left() -> None:
    """Its own start counts: the moment travels, not the length."""
    with deadline(30) as d:
        before = d.remaining
        done = subprocess.run([sys.executable, "-c", CHILD], env=d.env(), capture_output=True, text=True, check=True)
        after = d.remaining
    assert after <= float(done.stdout) <= before


# -- stops -----------------------------------------------------------------------------------------------------------


def test_check_raises_the_stops_own_error(clock: VirtualClock) -> None:
    lost = PermissionError("lease lost")
    stop = Lamp()
    with stopping(stop) as same, deadline(5) as d:
        assert same is stop
        d.check()
        stop.stop(lost)
        with pytest.raises(PermissionError) as caught:
            d.check()
        assert caught.value is lost
        with pytest.raises(PermissionError):
            d.timeout()
        with pytest.raises(PermissionError), deadline(1):
            raise AssertionError("nothing is started after a stop")


def test_a_stop_alone_is_something_to_see(clock: VirtualClock) -> None:
    with stopping(Lamp(at=3.0)):
        found = current_deadline()
        assert found is not None
        assert (found.remaining, found.timeout(), found.timeout(cap=1)) == (math.inf, 3.0, 1)


def test_timeout_is_the_smaller_of_deadline_and_stop_at_that_moment(clock: VirtualClock) -> None:
    stop = Lamp(at=3.0)
    with stopping(stop), deadline(5) as d:
        assert d.timeout() == 3.0
        assert d.remaining == 5.0
        stop.at = 4.0
        assert d.timeout() == 4.0
        stop.at = 9.0
        assert d.timeout() == 5.0
        stop.at = 1.0
        clock.advance(2)
        assert 0 < (d.timeout() or 0) <= 0.01  # its moment has come, but it has not ended the work


def test_a_stop_that_moves_later_keeps_the_work_alive(colour: Any) -> None:
    """What a lease says when a deadline is entered is not frozen into it: renewed, the work goes on."""
    stop = Lamp(at=1.0)
    calls: list[float] = []

    async def scenario() -> None:
        with stopping(stop), deadline(120) as d:

            def work() -> str:
                calls.append(colour.clock.monotonic())
                stop.at = colour.clock.monotonic() + 1.0
                d.check()
                if len(calls) < 10:
                    raise ConnectionError
                return "done"

            policy = retry(on=ConnectionError, attempts=20, backoff=ConstantBackoff(3))
            assert await colour.call(policy, work) == "done"

    colour.run(scenario)
    assert len(calls) == 10


def test_a_stop_ends_a_wait_of_plain_code_at_once() -> None:
    """A real thread goes off while the main thread waits."""
    stop = Lamp()
    real = ConnectionError("real")
    heard: list[Any] = []

    def work() -> None:
        raise real

    threading.Timer(0.05, stop.stop, [PermissionError("lost")]).start()
    began = time.monotonic()
    with pytest.raises(ConnectionError) as caught, stopping(stop):
        retry(on=ConnectionError, backoff=ConstantBackoff(30), hooks=heard.append).call(work)
    assert time.monotonic() - began < 5
    assert caught.value is real
    assert "stopped by PermissionError: lost" in real.__notes__[0]
    assert heard[-1].reason == "stop"
    assert stop.watchers == []


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_a_stop_ends_a_wait_in_a_task_at_once(library: str) -> None:
    """A real thread goes off while the event loop waits, on real time."""
    stop = Lamp()
    real = ConnectionError("real")
    heard: list[Any] = []

    async def work() -> None:
        raise real

    async def scenario() -> None:
        policy = retry(on=ConnectionError, backoff=ConstantBackoff(30), hooks=heard.append)
        with stopping(stop):
            await policy.acall(work)

    threading.Timer(0.05, stop.stop, [PermissionError("lost")]).start()
    began = time.monotonic()
    with pytest.raises(ConnectionError) as caught:
        asyncio.run(scenario()) if library == "asyncio" else trio.run(scenario)
    assert time.monotonic() - began < 5
    assert caught.value is real
    assert heard[-1].reason == "stop"
    assert stop.watchers == []


def test_does_it_fit_does_not_ask_the_stop(colour: Any) -> None:
    """A lease that will be renewed must not make a retry give up."""
    script: list[int] = []

    async def scenario() -> None:
        with stopping(Lamp(at=1.0)):
            await colour.call(retry(on=ConnectionError, backoff=ConstantBackoff(10)), work)

    def work() -> None:
        script.append(1)
        if len(script) < 3:
            raise ConnectionError

    colour.run(scenario)
    assert colour.clock.waits == [10, 10]


# -- deadlines that another task entered ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["with", "decorator", "attempt_timeout", "within", "acall", "loop"])
def test_a_deadline_inside_an_inherited_tighter_one_still_ends_the_work(form: str) -> None:
    """The timer of the task that a Scope came from cancels that task, not this one: here it takes a timer of its own."""

    async def hang() -> str:
        await asyncio.sleep(50)
        return "hung"

    async def child() -> str:
        if form == "with":
            with deadline(3):
                return await hang()
        if form == "loop":
            async for attempt in retry(on=KeyError, within=3):
                with attempt:
                    return await hang()
        if form == "decorator":
            return await deadline(3)(hang)()
        if form == "acall":
            return await retry(on=KeyError, within=3).acall(hang)
        return await retry(on=KeyError, **{form: 3})(hang)()  # type: ignore[arg-type]

    async def scenario() -> BaseException | str | None:
        with deadline(2, name="parent's"):
            task = asyncio.create_task(child())
        return (await asyncio.gather(task, return_exceptions=True))[0]

    with virtual_time() as clock:
        ended = clock.run_async(scenario())
        assert isinstance(ended, DeadlineExceededError)
        assert clock.monotonic() == 2


def test_a_deadline_entered_before_the_event_loop_ends_what_runs_in_it() -> None:
    """`with deadline(2): asyncio.run(...)` arms nothing; the first deadline inside the program does."""

    async def program() -> None:
        async with deadline(30):
            await asyncio.sleep(50)

    with virtual_time() as clock, deadline(2, name="whole"):
        with pytest.raises(DeadlineExceededError, match="whole"):
            clock.run_async(program())
        assert clock.monotonic() == 2


def test_what_trio_leaves_of_a_group_takes_no_scope_with_it() -> None:
    """A nursery whose child fails while the deadline cancels it: the error comes out, the deadline does not stay behind."""

    async def failing() -> None:
        try:
            await trio.sleep(50)
        finally:
            raise KeyError("clean-up")

    async def scenario() -> None:
        with pytest.raises(BaseExceptionGroup), deadline(1, name="leaky"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(failing)
                await trio.sleep(50)
        assert current_deadline() is None

    with virtual_time() as clock:
        clock.run_trio(scenario)


@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_a_library_that_another_thread_is_importing_is_not_there_yet(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sys.modules` holds half a module for as long as its import takes."""
    monkeypatch.setitem(sys.modules, name, type(sys)(name))
    with deadline(5) as d:
        assert d.remaining > 0


def test_a_block_left_in_another_task_cancels_nobody_later() -> None:
    """An async generator closed by another task: that is an error, and the timer does not strike the first task."""

    async def numbers() -> AsyncIterator[int]:
        with deadline(1):
            yield 1

    async def scenario() -> str:
        generator = numbers()
        await anext(generator)

        async def close() -> None:
            with pytest.raises(RuntimeError, match="left"):
                await generator.aclose()  # type: ignore[attr-defined]

        await asyncio.create_task(close(), context=contextvars.Context())
        await asyncio.sleep(5)
        return "unharmed"

    with virtual_time() as clock:
        assert clock.run_async(scenario()) == "unharmed"


def test_an_error_from_before_the_block_is_no_cause_of_its_end() -> None:
    """Entered while another error is being handled: that one is older than the block."""

    async def scenario() -> None:
        try:
            raise KeyError("older")
        except KeyError:
            with pytest.raises(DeadlineExceededError) as raised:
                async with deadline(1):
                    await asyncio.sleep(5)
        assert raised.value.__cause__ is None

    with virtual_time() as clock:
        clock.run_async(scenario())


def test_detached_work_outlives_the_deadline_around_its_start() -> None:
    """A worker started while a request is served does not have that request's deadline for ever."""

    async def worker() -> None:
        assert current_deadline() is None
        await asyncio.sleep(5)

    async def scenario() -> None:
        with deadline(1), deadline.detached():
            task = asyncio.create_task(worker())
        await task

    with virtual_time() as clock:
        clock.run_async(scenario())
        assert clock.monotonic() == 5


def test_an_empty_variable_is_no_deadline() -> None:
    """``RESILIENCE_DEADLINE=${UNSET}`` in a compose file sets none."""
    with deadline.from_env(environ={"RESILIENCE_DEADLINE": ""}):
        assert current_deadline() is None
