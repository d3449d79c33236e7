"""The loop form: `for attempt in policy: with attempt: ...`, in each colour."""

from __future__ import annotations

import asyncio
import gc
import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest

from resilience import (
    Attempt,
    ConstantBackoff,
    RetryBudget,
    RetryPolicy,
    current_deadline,
    deadline,
    retry,
    transient,
)
from resilience._io.ambient import stopping
from resilience.errors import DeadlineExceededError, RetriesExhaustedError
from resilience.instrumentation import GaveUp, Recovered, RetryScheduled
from resilience.testing import Script, virtual_time


LIMITS: list[dict[str, Any]] = [{}, {"within": 50.0}, {"attempt_timeout": 5.0}, {"budget": RetryBudget(at_least=999)}]
limited = pytest.mark.parametrize("limits", LIMITS, ids=lambda limits: next(iter(limits), "plain"))


class Rounds:
    """`for` in plain code, `async for` in the others, as one."""

    def __init__(self, colour: Any, policy: RetryPolicy) -> None:
        self.plain = iter(policy) if colour.name == "sync" else None
        self.loop = aiter(policy)

    def __aiter__(self) -> Rounds:
        return self

    async def __anext__(self) -> Attempt:
        if self.plain is None:
            return await anext(self.loop)
        try:
            return next(self.plain)
        except StopIteration:
            raise StopAsyncIteration from None


async def looped(colour: Any, policy: RetryPolicy, work: Callable[..., Any]) -> list[Any]:
    """Run `work` in the loop form: what it returned, in a list, which a loop that never got there leaves empty."""
    found: list[Any] = []
    async for attempt in Rounds(colour, policy):
        with attempt:
            value = work(attempt)
            found.append(await value if inspect.isawaitable(value) else value)
    return found


@limited
def test_goes_on_until_the_block_succeeds(colour: Any, limits: dict[str, Any]) -> None:
    numbers: list[int] = []
    script = Script(ConnectionError("1"), ConnectionError("2"), "here")

    def work(attempt: Attempt) -> Any:
        numbers.append(attempt.number)
        return script()

    policy = retry(on=ConnectionError, backoff=ConstantBackoff(1.5), **limits)
    assert colour.run(lambda: looped(colour, policy, work)) == ["here"]
    assert numbers == [1, 2, 3]
    assert colour.clock.waits == [1.5, 1.5]


@limited
def test_a_first_success_ends_the_loop(colour: Any, limits: dict[str, Any]) -> None:
    assert colour.run(lambda: looped(colour, retry(on=OSError, **limits), lambda attempt: attempt.number)) == [1]


@limited
@pytest.mark.parametrize("wrap", [False, True])
def test_last_error_goes_out(colour: Any, limits: dict[str, Any], wrap: bool) -> None:
    errors = [ConnectionError(str(n)) for n in range(3)]
    script = Script(*errors)
    policy = retry(on=ConnectionError, attempts=3, wrap=wrap, name="n", **limits)
    with pytest.raises(RetriesExhaustedError if wrap else ConnectionError) as caught:
        colour.run(lambda: looped(colour, policy, lambda _: script()))
    last = caught.value.__cause__ if wrap else caught.value
    assert last is errors[-1]
    assert last.__context__ is None
    assert last.__notes__[0].startswith("n: gave up after 3 attempts")


@limited
def test_permanent_errors_go_out_at_once(colour: Any, limits: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        colour.run(lambda: looped(colour, retry(on=OSError, wrap=True, **limits), lambda _: dict[str, int]()["k"]))
    assert colour.clock.waits == []


@limited
def test_only_an_exception_is_tried_again(colour: Any, limits: dict[str, Any]) -> None:
    script = Script(ConnectionError("1"), KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        colour.run(lambda: looped(colour, retry(on=Exception, **limits), lambda _: script()))
    assert current_deadline() is None


def test_return_leaves_the_loop(colour: Any) -> None:
    async def scenario() -> Any:
        async for attempt in Rounds(colour, retry(on=OSError)):
            with attempt:
                return attempt.number
        raise AssertionError

    assert colour.run(scenario) == 1


def test_a_round_that_never_enters_its_block_is_refused() -> None:
    """Such a loop would never end."""
    for policy in (retry(on=OSError), retry(on=OSError, within=3)):
        with pytest.raises(RuntimeError, match="with attempt:"):
            for _ in policy:
                pass


def test_a_later_round_that_never_enters_its_block_is_refused() -> None:
    with virtual_time(), pytest.raises(RuntimeError, match="with attempt:"):
        for attempt in retry(on=OSError):
            if attempt.number == 1:
                with attempt:
                    raise OSError("1")


def test_a_result_predicate_has_nothing_to_judge(colour: Any) -> None:
    policy = retry(on=OSError, retry_result=lambda value: value is None)
    with pytest.raises(TypeError, match=r"call\(\) or"):
        colour.run(lambda: looped(colour, policy, lambda _: None))


def test_each_loop_is_a_fresh_one() -> None:
    policy = retry(on=OSError)
    assert iter(policy) is not iter(policy)
    loop = iter(policy)
    assert iter(loop) is loop
    aloop = aiter(policy)
    assert aiter(aloop) is aloop


def test_remaining_is_what_every_limit_around_leaves(colour: Any) -> None:
    seen: list[float | None] = []

    def work(attempt: Attempt) -> None:
        seen.append(attempt.remaining)
        if attempt.number < 3:
            raise ConnectionError

    policy = retry(on=ConnectionError, backoff=ConstantBackoff(1))
    colour.run(lambda: looped(colour, policy, work))
    assert seen == [None] * 3

    async def limited() -> None:
        seen.clear()
        with deadline(4):
            await looped(colour, policy.replace(attempt_timeout=3), work)

    colour.run(limited)
    assert seen == pytest.approx([3.0, 3.0, 2.0])


def test_events(colour: Any) -> None:
    heard: list[Any] = []
    policy = retry(on=ConnectionError, attempts=2, hooks=heard.append)
    script = Script(ConnectionError("1"), "here", ConnectionError("2"), ConnectionError("3"))
    colour.run(lambda: looped(colour, policy, lambda _: script()))
    with pytest.raises(ConnectionError):
        colour.run(lambda: looped(colour, policy, lambda _: script()))
    assert [type(event) for event in heard] == [RetryScheduled, Recovered, RetryScheduled, GaveUp]
    assert {event.name for event in heard} == {"retry"}


# -- limits in tasks -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["asyncio", "trio"])
def tasks(request: pytest.FixtureRequest) -> Any:
    """The colours with tasks."""
    return request.param


def run(name: str, clock: Any, scenario: Callable[[], Any]) -> Any:
    return clock.run_async(scenario()) if name == "asyncio" else clock.run_trio(scenario)


def sleep(name: str, seconds: float) -> Any:
    if name == "asyncio":
        return asyncio.sleep(seconds)
    import trio

    return trio.sleep(seconds)


def test_an_attempt_that_overruns_is_a_failure_like_any_other(tasks: str) -> None:
    async def scenario() -> list[int]:
        numbers = []
        async for attempt in retry(on=transient, attempt_timeout=2, backoff=ConstantBackoff(1)):
            with attempt:
                numbers.append(attempt.number)
                await sleep(tasks, 1 if attempt.number == 3 else 100)
        return numbers

    with virtual_time() as clock:
        assert run(tasks, clock, scenario) == [1, 2, 3]
        assert clock.monotonic() == pytest.approx(2 + 1 + 2 + 1 + 1)


@pytest.mark.parametrize("wrap", [False, True])
def test_the_last_attempt_that_overruns_goes_out(tasks: str, wrap: bool) -> None:
    async def scenario() -> None:
        async for attempt in retry(on=transient, attempts=2, attempt_timeout=2, wrap=wrap, name="n"):
            with attempt:
                await sleep(tasks, 100)

    with virtual_time() as clock, pytest.raises(RetriesExhaustedError if wrap else DeadlineExceededError) as caught:
        run(tasks, clock, scenario)
    if not wrap:
        assert isinstance(caught.value, DeadlineExceededError)
        assert (caught.value.limit, caught.value.name) == (2.0, "n: attempt_timeout")
        assert "all 2 attempts used" in caught.value.__notes__[0]


def test_wrapped_overrun_keeps_its_error_as_the_cause(tasks: str) -> None:
    """As the other forms do: the cause of `RetriesExhaustedError` is the last exception, here the deadline's."""

    async def slow() -> None:
        await sleep(tasks, 100)

    policy = retry(on=transient, attempts=2, attempt_timeout=2, wrap=True)

    async def loop() -> None:
        async for attempt in policy:
            with attempt:
                await slow()

    causes = []
    for form in (lambda: policy.acall(slow), loop):
        with virtual_time() as clock, pytest.raises(RetriesExhaustedError) as caught:
            run(tasks, clock, form)
        causes.append(type(caught.value.__cause__))
    assert causes == [DeadlineExceededError, DeadlineExceededError]


def test_an_overrun_names_the_last_real_error_as_its_cause(tasks: str) -> None:
    """As the other forms do: what the attempt before it failed with."""
    real = ConnectionError("real")

    async def work(number: int) -> None:
        if number == 1:
            raise real
        await sleep(tasks, 100)

    policy = retry(on=transient, within=5, backoff=ConstantBackoff(1))
    numbers = iter([1, 2])

    async def loop() -> None:
        async for attempt in policy:
            with attempt:
                await work(attempt.number)

    causes = []
    for form in (lambda: policy.acall(lambda: work(next(numbers))), loop):
        with virtual_time() as clock, pytest.raises(DeadlineExceededError) as caught:
            run(tasks, clock, form)
        causes.append(caught.value.__cause__)
    assert causes == [real, real]


def test_cancelled_in_the_wait_it_ends_at_once_and_keeps_nothing() -> None:
    async def work() -> None:
        with deadline(100):
            async for attempt in retry(on=ConnectionError, backoff=ConstantBackoff(50)):
                with attempt:
                    raise ConnectionError("real")

    async def scenario() -> BaseException | None:
        task = asyncio.ensure_future(work())
        await asyncio.sleep(1)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            return error.__context__
        return None

    with virtual_time() as clock:
        assert str(clock.run_async(scenario())) == "real"
        assert clock.monotonic() == 1


def test_overslept_wait_ends_the_loop_with_the_last_error(colour: Any) -> None:
    """The machine slept through the deadline: no attempt is started past it."""
    numbers: list[int] = []

    def work(attempt: Attempt) -> None:
        numbers.append(attempt.number)
        raise ConnectionError("real")

    async def scenario() -> None:
        colour.clock.advance(0)
        policy = retry(on=ConnectionError, within=10, backoff=ConstantBackoff(3), hooks=oversleep)
        await looped(colour, policy, work)

    def oversleep(event: Any) -> None:
        if isinstance(event, RetryScheduled):
            colour.clock.advance(20)  # between the decision and the end of the wait

    with pytest.raises(ConnectionError) as caught:
        colour.run(scenario)
    assert numbers == [1]
    assert "within=10 s ran out during the wait" in caught.value.__notes__[0]


@pytest.mark.parametrize("limits", [{}, {"within": 50.0}], ids=["plain", "within"])
def test_an_interrupt_in_the_wait_leaves_nothing_behind(limits: dict[str, Any]) -> None:
    """KeyboardInterrupt in the wait of the loop form: no frame is kept alive by the loop's own state."""

    class Held:
        """Something in a frame of the caller's."""

    def interrupt(seconds: float, /) -> None:
        raise KeyboardInterrupt

    def count() -> int:
        return sum(isinstance(thing, Held) for thing in gc.get_objects())

    with virtual_time() as clock:
        clock.sleep = interrupt  # type: ignore[method-assign]
        policy = retry(on=ConnectionError, backoff=ConstantBackoff(5), **limits)

        def waits() -> None:
            held = Held()
            with deadline(100):
                for attempt in policy:
                    with attempt:
                        raise ConnectionError(str(type(held)))

        gc.collect()
        gc.disable()
        try:
            try:
                waits()
            except KeyboardInterrupt:
                pass
            assert count() == 0
        finally:
            gc.enable()


def test_a_round_has_one_block() -> None:
    """Twice in a round, the first block's failure would be lost: it is refused instead."""
    with pytest.raises(RuntimeError, match="once in each round"):
        for attempt in retry(on=OSError):
            with attempt:
                raise OSError("lost")
            with attempt:
                pass


def test_a_plain_for_that_blocks_an_event_loop_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        for attempt in retry(on=OSError, name="n"):
            with attempt:
                if attempt.number == 1:
                    raise OSError("x")

    with virtual_time() as clock:
        clock.run_async(scenario())
    assert [record.message for record in caplog.records if "async for" in record.message] != []


def test_a_stop_that_cannot_be_watched_says_so_and_keeps_nothing() -> None:
    """An error of the waiting itself comes out of the loop, and lets go of the last real one."""

    class Broken:
        at = math.inf

        def error(self) -> None:
            return None

        def watch(self, wake: Callable[[], object], /) -> Callable[[], None]:
            raise ValueError("not watchable")

    policy = retry(on=OSError, backoff=ConstantBackoff(1))
    with virtual_time(), stopping(Broken()), pytest.raises(ValueError, match="not watchable"):
        for attempt in policy:
            with attempt:
                raise OSError("x")
