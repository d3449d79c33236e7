"""Retries inside retries: how deep, and `shield_inner`, which keeps them from multiplying; in all three colours."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.conftest import Colour

from resilience import ConstantBackoff, RetryBudget, RetryPolicy, current_deadline, deadline, retry, transient
from resilience.errors import RetriesExhaustedError
from resilience.instrumentation import GaveUp, GiveUpReason, Recovered, RetryScheduled
from resilience.testing import Script, virtual_time


AT_ONCE = ConstantBackoff(0)


class Counter:
    """Work that always fails, and counts."""

    def __init__(self, error: type[Exception] = ConnectionResetError) -> None:
        self.calls = 0
        self.error = error

    def __call__(self) -> None:
        self.calls += 1
        raise self.error("gone")


def nested(colour: Colour, work: Any, outer: RetryPolicy, inner: RetryPolicy, *, decorated: bool = False) -> Any:
    """`work` under `inner` under `outer`, to be awaited; the outer one by its decorator, or by its call."""

    async def both() -> Any:
        if decorated:
            found = outer(inner(colour.fn(work)))()
            return found if colour.name == "sync" else await found
        if colour.name == "sync":
            return outer.call(inner(work))
        return await outer.acall(inner(colour.fn(work)))

    return both


def policies(**options: Any) -> tuple[RetryPolicy, RetryPolicy, list[Any]]:
    """An outer one of 3 attempts, an inner one of 4, and what both tell."""
    heard: list[Any] = []
    outer = retry(on=ConnectionError, attempts=3, backoff=AT_ONCE, name="outer", hooks=heard.append, **options)
    inner = retry(on=ConnectionError, attempts=4, backoff=AT_ONCE, name="inner", hooks=heard.append)
    return outer, inner, heard


def test_without_a_shield_attempts_multiply(colour: Colour) -> None:
    """3 × 4 = 12; the inner one's events say when it is inside a retry that is itself trying again."""
    outer, inner, heard = policies()
    work = Counter()
    with pytest.raises(ConnectionResetError):
        colour.run(nested(colour, work, outer, inner))
    assert work.calls == 12
    depths = [event.depth for event in heard if event.name == "inner" and isinstance(event, GaveUp)]
    assert depths == [0, 1, 1]
    assert {event.depth for event in heard if event.name == "outer"} == {0}


def test_a_shield_leaves_trying_again_to_the_outer_one(colour: Colour) -> None:
    """3 requests; the inner one gives up at once, says why, and its error comes out as it is."""
    outer, inner, heard = policies(shield_inner=True)
    work = Counter()
    with pytest.raises(ConnectionResetError) as raised:
        colour.run(nested(colour, work, outer, inner))
    assert work.calls == 3
    assert raised.value.__notes__[0].startswith("inner: gave up after 1 attempt")
    assert "shielded by the retry 'outer' around it" in raised.value.__notes__[0]
    ends = [event.reason for event in heard if isinstance(event, GaveUp)]
    assert ends == [GiveUpReason.SHIELDED] * 3 + [GiveUpReason.ATTEMPTS]
    assert not [event for event in heard if isinstance(event, RetryScheduled) and event.name == "inner"]


def test_the_shield_ends_with_the_call(colour: Colour) -> None:
    """After the outer call, and beside it, the inner policy retries again."""
    outer, inner, _ = policies(shield_inner=True)

    async def scenario() -> None:
        await colour.call(outer, lambda: "fine")
        work = Counter()
        with pytest.raises(ConnectionResetError):
            await colour.call(inner, work)
        assert work.calls == 4

    colour.run(scenario)


@pytest.mark.parametrize("decorated", [True, False], ids=["decorated", "called"])
@pytest.mark.parametrize(
    "options", [{}, {"within": 60.0}, {"attempt_timeout": 5.0}, {"budget": RetryBudget(1.0)}], ids=str
)
def test_a_shield_beside_other_limits(colour: Colour, options: dict[str, Any], decorated: bool) -> None:
    """Whatever else the outer policy has, every attempt of it is shielded, and the deadline is seen inside."""
    outer, inner, _ = policies(shield_inner=True, **options)
    work = Counter()
    seen: list[float | None] = []

    def look() -> None:
        d = current_deadline()
        seen.append(None if d is None else d.limit)
        work()

    with pytest.raises(ConnectionResetError):
        colour.run(nested(colour, look, outer, inner, decorated=decorated))
    assert work.calls == 3
    limit = options.get("within") or options.get("attempt_timeout")
    assert seen == [limit] * 3


@pytest.mark.parametrize("decorated", [True, False], ids=["decorated", "called"])
def test_a_shield_under_a_deadline_that_is_tighter(colour: Colour, decorated: bool) -> None:
    """The attempt has no limit of its own to publish; the shield is there all the same."""
    outer, inner, _ = policies(shield_inner=True, within=60.0)
    work = Counter()

    async def scenario() -> None:
        both = nested(colour, work, outer, inner, decorated=decorated)
        with deadline(5.0, name="page"):
            await both()

    with pytest.raises(ConnectionResetError):
        colour.run(scenario)
    assert work.calls == 3


def test_a_shield_in_a_task_that_inherited_a_tighter_deadline() -> None:
    """The deadline's timer is another task's: this one gets its own, and the shield with it."""
    outer, inner, _ = policies(shield_inner=True, within=60.0)
    work = Counter()

    async def parent() -> None:
        async with deadline(5.0):
            await asyncio.create_task(nested(Colour("asyncio", clock), work, outer, inner, decorated=True)())

    with virtual_time() as clock, pytest.raises(ConnectionResetError):
        clock.run_async(parent())
    assert work.calls == 3


def test_a_shield_in_the_loop_form(colour: Colour) -> None:
    """The block's retries try once, in the first attempt and in later ones."""
    outer, inner, heard = policies(shield_inner=True)
    work = Counter()

    async def scenario() -> None:
        if colour.name == "sync":
            for attempt in outer:
                with attempt:
                    inner.call(work)
        else:
            async for attempt in outer:
                with attempt:
                    await inner.acall(colour.fn(work))

    with pytest.raises(ConnectionResetError):
        colour.run(scenario)
    assert work.calls == 3
    assert [event.depth for event in heard if event.name == "inner"] == [0, 1, 1]


def test_depth_in_the_loop_form(colour: Colour) -> None:
    """A plain loop publishes nothing but the depth, from its second attempt on."""
    outer, inner, heard = policies()
    work = Counter()

    async def scenario() -> None:
        if colour.name == "sync":
            for attempt in outer:
                with attempt:
                    inner.call(work)
        else:
            async for attempt in outer:
                with attempt:
                    await inner.acall(colour.fn(work))

    with pytest.raises(ConnectionResetError):
        colour.run(scenario)
    assert work.calls == 12
    assert [event.depth for event in heard if event.name == "inner" and isinstance(event, GaveUp)] == [0, 1, 1]


def test_depth_counts_every_retry_around() -> None:
    """Three deep, each in its second attempt: the innermost one is two deep."""
    heard: list[Any] = []
    policy = retry(on=OSError, attempts=2, backoff=AT_ONCE, hooks=heard.append)
    calls = 0

    def work() -> str:
        nonlocal calls
        calls += 1
        if calls < 8:
            raise OSError("gone")
        return "here"

    inner, middle, outer = policy.replace(name="inner"), policy.replace(name="middle"), policy.replace(name="outer")
    assert outer.call(middle(inner(work))) == "here"
    assert [event.depth for event in heard if isinstance(event, Recovered)] == [2, 1, 0]


def test_a_shield_within_a_shield_names_the_nearest(colour: Colour) -> None:
    """The middle one is shielded by the outer one and tries once; the innermost is told who is nearest."""
    outer, inner, _ = policies(shield_inner=True)
    middle = outer.replace(name="middle")
    work = Counter()
    with pytest.raises(ConnectionResetError) as raised:
        colour.run(nested(colour, middle(inner(colour.fn(work))), outer, retry(on=KeyError)))
    assert work.calls == 3
    assert "shielded by the retry 'middle' around it" in raised.value.__notes__[0]


def test_what_is_worth_trying_again_is_for_the_outer_one_to_say(colour: Colour) -> None:
    """The inner one admits it, the outer one does not: it comes out at once."""
    outer, inner, _ = policies(shield_inner=True)
    work = Counter(KeyError)  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        colour.run(nested(colour, work, outer, inner.replace(on=KeyError)))
    assert work.calls == 1


def test_a_shielded_policy_does_not_wrap(colour: Colour) -> None:
    """`wrap=True` inside a shield would hide from the outer one what it must judge."""
    outer, inner, _ = policies(shield_inner=True)
    work = Counter()
    with pytest.raises(RetriesExhaustedError) as raised:
        colour.run(nested(colour, work, outer.replace(wrap=True), inner.replace(wrap=True)))
    assert work.calls == 3
    assert raised.value.name == "outer"
    assert isinstance(raised.value.__cause__, ConnectionResetError)


def test_a_refused_result_inside_a_shield_is_asked_for_again(colour: Colour) -> None:
    """The outer one would see a success: polling goes on, and is no storm."""
    outer, inner, heard = policies(shield_inner=True)
    refusing = inner.replace(retry_result=lambda value: value != "done")
    work = Script("queued", "running", "done")
    assert colour.run(nested(colour, work, outer, refusing)) == "done"
    assert [type(event) for event in heard] == [RetryScheduled, RetryScheduled, Recovered]


def test_a_task_that_outlives_the_attempt_is_on_its_own() -> None:
    """A worker first started inside a shielded attempt retries once that is over; its events are no deeper for it."""
    outer, inner, heard = policies(shield_inner=True)
    late = Counter()

    async def start() -> str:
        tasks.append(asyncio.create_task(worker()))
        if len(tasks) == 1:
            raise ConnectionResetError("once")
        return "started"

    async def worker() -> None:
        await asyncio.sleep(60)
        with pytest.raises(ConnectionResetError):
            await inner.acall(Colour("asyncio", clock).fn(late))

    async def program() -> None:
        assert await outer.acall(start) == "started"
        await asyncio.gather(*tasks)

    tasks: list[Any] = []
    with virtual_time() as clock:
        clock.run_async(program())
    assert late.calls == 8
    assert {event.depth for event in heard if event.name == "inner"} == {0}


def test_a_deadline_from_outside_carries_the_shield_into_a_thread() -> None:
    """`bind` takes the deadline that it is called on, and what the retries here say."""
    outer, inner, _ = policies(shield_inner=True)
    work = Counter()
    with virtual_time() as clock, deadline(60.0) as d, ThreadPoolExecutor(1) as pool, clock.hold():

        def attempt() -> None:
            pool.submit(d.bind(inner.call), work).result()

        with pytest.raises(ConnectionResetError):
            outer.call(attempt)
    assert work.calls == 3


@pytest.mark.parametrize("shield", [True, False])
def test_a_loop_around_a_yield_may_be_closed_elsewhere(shield: bool) -> None:
    """An async generator that retries, left by its consumer and closed by another task: no error, and no shield left."""
    policy = retry(on=OSError, backoff=AT_ONCE, shield_inner=shield)
    work = Counter()

    async def items() -> Any:
        failed = False
        async for attempt in policy:
            with attempt:
                if not failed:
                    failed = True
                    raise OSError("once")
                yield "item"

    async def consume() -> None:
        generator = items()
        assert await generator.__anext__() == "item"
        await asyncio.create_task(generator.aclose())
        with pytest.raises(ConnectionResetError):
            await retry(on=OSError, backoff=AT_ONCE).acall(Colour("asyncio", clock).fn(work))

    with virtual_time() as clock:
        clock.run_async(consume())
    assert work.calls == 4


def test_a_permanent_failure_is_told_as_such_inside_a_shield() -> None:
    """The shield is no reason for what would not have been tried again anyway."""
    outer, inner, heard = policies(shield_inner=True)
    with pytest.raises(KeyError):
        outer.call(inner(Script(KeyError("bug"))))
    assert [event.reason for event in heard] == [GiveUpReason.PERMANENT, GiveUpReason.PERMANENT]


def test_a_shield_reaches_tasks_and_bound_threads() -> None:
    """Tasks inherit it with the context, threads by `bind`; a detached block is outside of it."""
    outer, inner, _ = policies(shield_inner=True)

    async def attempt() -> None:
        work, bound, apart = Counter(), Counter(), Counter()
        afn = Colour("asyncio", clock).fn(work)
        with pytest.raises(ConnectionResetError):
            await asyncio.create_task(inner.acall(afn))
        with deadline(60.0) as d, ThreadPoolExecutor(1) as pool, pytest.raises(ConnectionResetError):
            pool.submit(d.bind(inner.call), bound).result()
        with deadline.detached(), pytest.raises(ConnectionResetError):
            inner.call(apart)
        assert (work.calls, bound.calls, apart.calls) == (1, 1, 4)

    with virtual_time() as clock:
        clock.run_async(outer.acall(attempt))


def test_a_shield_does_not_leak_between_concurrent_calls() -> None:
    """Two tasks, one under a shield: the other one's retries go on."""
    outer, inner, _ = policies(shield_inner=True)
    inside, beside = Counter(), Counter()

    async def both() -> None:
        colour = Colour("asyncio", clock)
        await asyncio.gather(
            outer.acall(inner(colour.fn(inside))), inner.acall(colour.fn(beside)), return_exceptions=True
        )

    with virtual_time() as clock:
        clock.run_async(both())
    assert (inside.calls, beside.calls) == (3, 4)


def test_the_option_is_said_checked_and_configured() -> None:
    """As any other: in the description, from a mapping, refused if it is no flag."""
    policy = RetryPolicy(on=transient, shield_inner=True)
    assert policy.describe().endswith("in place of the retries inside it")
    assert RetryPolicy.from_config({"shieldInner": True}, on=transient) == policy
    assert policy != policy.replace(shield_inner=False)
    with pytest.raises(ValueError, match="shield_inner"):
        RetryPolicy(on=transient, shield_inner=1)  # type: ignore[arg-type]


def test_what_may_have_been_applied_inside_is_known_outside(colour: Colour) -> None:
    """The inner retry was reset and then refused; the outer one sees the refusal, and must not do the work a second time."""
    inner = retry(on=transient, attempts=2, backoff=AT_ONCE)
    outer = retry(on=transient, attempts=3, backoff=AT_ONCE, idempotent=False)
    work = Script(ConnectionResetError("may be applied"), ConnectionRefusedError("not"), "a second time")
    with pytest.raises(ConnectionRefusedError) as raised:
        colour.run(nested(colour, work, outer, inner))
    assert len(work.calls) == 2
    assert "an earlier attempt, of a retry inside, may have been applied" in raised.value.__notes__[-1]


def test_refusals_inside_are_tried_again_outside(colour: Colour) -> None:
    """Control: where every attempt inside was certainly not applied, the outer retry goes on."""
    inner = retry(on=transient, attempts=2, backoff=AT_ONCE)
    outer = retry(on=transient, attempts=3, backoff=AT_ONCE, idempotent=False)
    work = Script(*[ConnectionRefusedError("not")] * 3, "done")
    assert colour.run(nested(colour, work, outer, inner)) == "done"
