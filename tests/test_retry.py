"""The policy: its three forms, its options and their bounds, and the value it is."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import inspect
import logging
import math
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from resilience import (
    Attempt,
    ConstantBackoff,
    ExponentialBackoff,
    RetryBudget,
    RetryPolicy,
    SequenceBackoff,
    Verdict,
    current_deadline,
    deadline,
    retry,
    transient,
)
from resilience.errors import ConfigError, DeadlineExceededError, RetriesExhaustedError
from resilience.instrumentation import GaveUp, Recovered, RetryScheduled, observe
from resilience.testing import Script, flaky, virtual_time


GONE = ConnectionError("gone")
AT_ONCE = ConstantBackoff(0)


def refused_result(value: object) -> bool:
    return value is None


def only_gone(error: Exception) -> bool:
    return str(error) == "gone"


# -- the forms -------------------------------------------------------------------------------------------------------


def test_retry_is_the_decorator_spelling_of_the_policy() -> None:
    assert retry is RetryPolicy


def test_call_and_acall_try_again_until_it_works(colour: Any) -> None:
    script = Script(ConnectionError("1"), ConnectionError("2"), "here")
    assert colour.run(lambda: colour.call(retry(on=ConnectionError), script, 1, 2)) == "here"
    assert [call.args for call in script.calls] == [(1, 2)] * 3
    assert len(colour.clock.waits) == 2


def test_decorator_keeps_what_the_function_is(colour: Any) -> None:
    script = Script(ConnectionError("1"), "here")

    def fetch(key: str, *, fresh: bool = False) -> Any:
        """Fetch it."""
        return script(key, fresh=fresh)

    wrapped = retry(on=ConnectionError)(colour.fn(fetch))
    assert wrapped.__name__ == "fetch"
    assert wrapped.__wrapped__ is not None  # type: ignore[attr-defined]
    assert inspect.iscoroutinefunction(wrapped) is (colour.name != "sync")

    async def scenario() -> Any:
        value = wrapped("k", fresh=True)
        return await value if inspect.isawaitable(value) else value

    assert colour.run(scenario) == "here"
    assert [(call.args, dict(call.kwargs)) for call in script.calls] == [(("k",), {"fresh": True})] * 2


def test_decorator_keeps_name_docstring_and_signature() -> None:
    @retry(on=OSError)
    def fetch(key: str, *, fresh: bool = False) -> str:
        """Fetch it."""
        return key

    assert (fetch.__doc__, fetch.__name__) == ("Fetch it.", "fetch")
    assert list(inspect.signature(fetch).parameters) == ["key", "fresh"]


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"within": 50.0},
        {"attempt_timeout": 5.0},
        {"budget": RetryBudget(at_least=99)},
        {"retry_result": refused_result},
    ],
    ids=lambda limits: next(iter(limits), "plain"),
)
@pytest.mark.parametrize("form", ["decorator", "call"])
def test_every_form_under_every_limit_plays_the_same_script(colour: Any, form: str, limits: dict[str, Any]) -> None:
    """What is asked for beyond a plain policy changes nothing in a call that stays inside."""
    policy = retry(on=ConnectionError, backoff=ConstantBackoff(1.5), **limits)
    script = Script(ConnectionError("1"), ConnectionError("2"), "here")

    async def scenario() -> Any:
        if form == "call":
            return await colour.call(policy, script)
        value = policy(colour.fn(lambda: script()))()
        return await value if inspect.isawaitable(value) else value

    assert colour.run(scenario) == "here"
    assert colour.clock.waits == [1.5, 1.5]
    assert [call.at for call in script.calls] == [0.0, 1.5, 3.0]


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize(
    "limits", [{}, {"within": 50.0}, {"budget": RetryBudget(at_least=99)}], ids=["plain", "within", "budget"]
)
def test_last_error_comes_out_by_itself_or_wrapped(colour: Any, limits: dict[str, Any], wrap: bool) -> None:
    errors = [ConnectionError(str(n)) for n in range(3)]
    policy = retry(on=ConnectionError, attempts=3, backoff=AT_ONCE, wrap=wrap, name="billing", **limits)
    with pytest.raises(RetriesExhaustedError if wrap else ConnectionError) as caught:
        colour.run(lambda: colour.call(policy, Script(*errors)))
    last = caught.value.__cause__ if wrap else caught.value
    assert last is errors[-1]
    assert last.__context__ is None
    (note,) = last.__notes__
    assert note.startswith("billing: gave up after 3 attempts in 0.00 s")
    assert note.endswith(": all 3 attempts used; earlier: ConnectionError: 0 | ConnectionError: 1")
    if wrap:
        error = caught.value
        assert isinstance(error, RetriesExhaustedError)
        assert (error.name, error.attempts, error.elapsed, error.reason) == ("billing", 3, 0.0, "attempts")
    else:
        assert last.__cause__ is None


@pytest.mark.parametrize("limits", [{}, {"within": 5.0}], ids=["plain", "within"])
def test_one_attempt_wrapped_or_not(colour: Any, limits: dict[str, Any]) -> None:
    policy = retry(on=ConnectionError, attempts=1, **limits)
    with pytest.raises(ConnectionError) as caught:
        colour.run(lambda: colour.call(policy, Script(ConnectionError("1"))))
    assert "gave up after 1 attempt" in caught.value.__notes__[0]
    with pytest.raises(RetriesExhaustedError, match="after 1 attempt"):
        colour.run(lambda: colour.call(policy.replace(wrap=True), Script(ConnectionError("1"))))


def test_wrap_leaves_alone_what_no_limit_ended(colour: Any) -> None:
    """A failure that is final in itself comes out as it is, without a note on the first attempt."""
    with pytest.raises(KeyError) as caught:
        colour.run(lambda: colour.call(retry(on=ConnectionError, wrap=True), Script(KeyError("k"))))
    assert not hasattr(caught.value, "__notes__")


def test_permanent_error_after_a_retry_carries_its_past(colour: Any) -> None:
    with pytest.raises(KeyError) as caught:
        colour.run(lambda: colour.call(retry(on=ConnectionError), Script(ConnectionError("1"), KeyError("k"))))
    assert "not worth trying again" in caught.value.__notes__[0]
    assert caught.value.__context__ is None


def test_the_one_object_raised_for_ever_carries_one_note(colour: Any) -> None:
    """Some programs raise one exception object again and again; its notes do not pile up."""
    error = ConnectionError("the one")
    error.add_note("the caller's own")
    for _ in range(3):
        with pytest.raises(ConnectionError):
            colour.run(lambda: colour.call(retry(on=ConnectionError, attempts=2, name="n"), Script(error, error)))
    assert len(error.__notes__) == 2
    assert error.__notes__[0] == "the caller's own"


# -- results that are none -------------------------------------------------------------------------------------------


def test_refused_result_is_tried_again(colour: Any) -> None:
    policy = retry(on=(), retry_result=refused_result, backoff=ConstantBackoff(2.0))
    assert colour.run(lambda: colour.call(policy, Script(None, None, "here"))) == "here"
    assert colour.clock.waits == [2.0, 2.0]


def test_last_refused_result_is_returned_as_it_is(colour: Any) -> None:
    heard: list[Any] = []
    policy = retry(on=(), retry_result=refused_result, attempts=2, hooks=heard.append)
    assert colour.run(lambda: colour.call(policy, Script(None, None))) is None
    assert [type(event) for event in heard] == [RetryScheduled, GaveUp]
    assert [event.error for event in heard] == [None, None]


def test_last_refused_result_is_wrapped_on_request(colour: Any) -> None:
    policy = retry(on=(), retry_result=refused_result, attempts=2, wrap=True)
    with pytest.raises(RetriesExhaustedError) as caught:
        colour.run(lambda: colour.call(policy, Script(None, None)))
    assert caught.value.__cause__ is None


def test_an_empty_on_admits_no_error(colour: Any) -> None:
    with pytest.raises(ConnectionError):
        colour.run(lambda: colour.call(retry(on=(), retry_result=refused_result), Script(ConnectionError("1"))))


def test_a_predicate_on_results_that_fails_lets_its_own_error_out(colour: Any) -> None:
    def broken(value: object) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        colour.run(lambda: colour.call(retry(on=OSError, retry_result=broken), Script("here")))


# -- options ---------------------------------------------------------------------------------------------------------


def test_without_a_limit_it_goes_on_and_never_spins(colour: Any) -> None:
    script = Script(*[ConnectionError("n")] * 50, "here")
    assert colour.run(lambda: colour.call(retry(on=ConnectionError, attempts=None, backoff=AT_ONCE), script)) == "here"
    assert colour.clock.waits == [0.001] * 50


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (ConnectionRefusedError("no"), 4),
        (ConnectionResetError("lost"), 1),
        (TimeoutError("late"), 1),
        (RuntimeError("?"), 1),
    ],
    ids=["refused", "reset", "timeout", "unknown"],
)
def test_not_idempotent_means_at_most_once(colour: Any, error: Exception, calls: int) -> None:
    """Only a failure that provably preceded any effect is tried again."""
    script = Script(*[error] * 4)
    with pytest.raises(type(error)) as caught:
        colour.run(lambda: colour.call(retry(on=Exception, idempotent=False, backoff=AT_ONCE), script))
    assert len(script.calls) == calls
    if calls == 1:
        assert "may already have been applied" in caught.value.__notes__[0]


def test_not_idempotent_holds_for_a_timed_out_attempt(colour: Any) -> None:
    """An attempt cut short by its timeout may have been applied."""
    calls = []

    def slow() -> Any:
        calls.append(1)
        if colour.name == "sync":
            raise TimeoutError
        return colour.sleep(100)

    with pytest.raises(TimeoutError):
        colour.run(lambda: colour.call(retry(on=transient, idempotent=False, attempt_timeout=1.0), slow))
    assert len(calls) == 1


def test_hint_above_max_hint_ends_it(colour: Any) -> None:
    def busy(error: Exception) -> Verdict:
        return Verdict.transient(after=61, throttled=True)

    with pytest.raises(RuntimeError) as caught:
        colour.run(lambda: colour.call(retry(on=busy), Script(RuntimeError("busy"))))
    assert "asked for 61 s, more than max_hint=60" in caught.value.__notes__[0]
    assert colour.clock.waits == []


@pytest.mark.parametrize("broken", ["on", "backoff", "nonsense"])
def test_a_policy_that_fails_itself_lets_the_callers_error_out(colour: Any, broken: str) -> None:
    class Backoff:
        def delay(self, attempt: int, /) -> float:
            return math.nan if broken == "nonsense" else 1 / 0

    def on(error: Exception) -> bool:
        return bool(1 / 0) if broken == "on" else True

    with pytest.raises(ConnectionError) as caught:
        colour.run(lambda: colour.call(retry(on=on, backoff=Backoff(), wrap=True), Script(ConnectionError("mine"))))
    assert "the policy itself failed with" in caught.value.__notes__[0]
    assert caught.value.__context__ is None


BAD: list[tuple[str, object]] = [
    *[("attempts", bad) for bad in (0, -1, 1.5, True, "4", math.nan)],
    *[
        (option, bad)
        for option in ("within", "attempt_timeout")
        for bad in (0, -1, math.nan, math.inf, "1", True, 10**400)
    ],
    *[("max_hint", bad) for bad in (-1, math.nan, None, "60", timedelta(-1))],
    *[(option, bad) for option in ("idempotent", "wrap") for bad in (None, 1, "yes")],
    *[("backoff", bad) for bad in (None, 1.0, ExponentialBackoff, object())],
    *[("budget", bad) for bad in (0.1, "shared", RetryBudget)],
    *[("retry_result", bad) for bad in (1, "x")],
    *[("name", bad) for bad in ("", 1, b"n")],
    *[("hooks", bad) for bad in (None, 1, "ab", [print, 1])],
    *[("on", bad) for bad in (None, "x", 1, int, [OSError], (OSError, None), (), BaseException, KeyboardInterrupt)],
    *[("on", bad) for bad in (SystemExit, GeneratorExit, asyncio.CancelledError, (OSError, asyncio.CancelledError))],
    *[("on", bad) for bad in (BaseExceptionGroup,)],
]


@pytest.mark.parametrize(("option", "bad"), BAD, ids=lambda value: repr(value)[:30])
def test_a_bad_value_is_refused_when_built_and_named(option: str, bad: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        retry(**{"on": OSError, option: bad})
    assert caught.value.option == option
    shown = caught.value.value
    assert repr(shown) in repr(bad)
    assert isinstance(caught.value, ValueError)


def test_trio_cancelled_is_refused() -> None:
    trio = pytest.importorskip("trio")
    with pytest.raises(ConfigError):
        retry(on=trio.Cancelled)


def test_an_unsure_result_makes_no_sense_where_work_is_done_once() -> None:
    with pytest.raises(ConfigError, match="retry_result"):
        retry(on=OSError, idempotent=False, retry_result=refused_result)


def test_without_on_or_without_parentheses_it_says_how() -> None:
    with pytest.raises(TypeError, match=r"needs `on`.*@retry\(on=transient\)"):
        retry(attempts=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="say what is worth"):

        @retry  # type: ignore[call-overload,misc,arg-type]
        def fetch() -> None: ...


def test_its_loops_are_attempts() -> None:
    policy = retry(on=OSError)
    assert type(iter(policy)) is type(aiter(policy)) is Attempt


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="tries"):
        retry(on=OSError, tries=3)  # type: ignore[call-arg]


def test_lengths_of_time_may_be_timedeltas() -> None:
    policy = retry(on=OSError, within=timedelta(minutes=1), attempt_timeout=timedelta(seconds=2), max_hint=timedelta(0))
    assert (policy.within, policy.attempt_timeout, policy.max_hint) == (60.0, 2.0, 0.0)


def test_call_refuses_a_coroutine_function() -> None:
    """Nothing would be awaited, and so nothing retried."""

    async def fetch() -> None: ...

    for policy in (retry(on=OSError), retry(on=OSError, within=5)):
        with pytest.raises(TypeError, match="acall"):
            policy.call(fetch)


def test_call_refuses_a_coroutine_function_before_judging_its_result() -> None:
    """A predicate on results would see the coroutine, and would drop it without awaiting it."""
    made: list[Any] = []

    async def work() -> None: ...

    def fetch() -> Any:
        made.append(work())
        return made[-1]

    try:
        with virtual_time(), pytest.raises(TypeError, match="acall"):
            retry(on=OSError, retry_result=lambda value: value is not None).call(fetch)
    finally:
        for coroutine in made:
            coroutine.close()


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigError, match="callable"):
        retry(on=OSError)(3)  # type: ignore[call-overload]


# -- the value -------------------------------------------------------------------------------------------------------


def test_equal_options_are_equal_policies_with_one_hash() -> None:
    one, two = (retry(on=(OSError, transient), within=5, backoff=SequenceBackoff([1, 5])) for _ in "12")
    assert one == two
    assert hash(one) == hash(two)
    assert one != two.replace(within=6)
    assert len({one, two, two.replace(attempts=2)}) == 2


def test_frozen() -> None:
    with pytest.raises(AttributeError):
        retry(on=OSError).attempts = 3  # type: ignore[misc]


def test_replace_makes_a_policy_with_other_options_and_checks_them() -> None:
    policy = retry(on=OSError, attempts=7, name="n")
    changed = policy.replace(attempts=2, within=3)
    assert (changed.on, changed.attempts, changed.within, changed.name) == (OSError, 2, 3.0, "n")
    assert policy.attempts == 7
    with pytest.raises(ConfigError, match="attempts"):
        policy.replace(attempts=0)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (
            retry(on=ConnectionError, attempts=3, within=10),
            "on ConnectionError, up to 3 attempts; waits of 0.1 s × 2 up to 5 s, full jitter; within 10 s",
        ),
        (
            retry(
                on=(), retry_result=refused_result, attempts=None, backoff=SequenceBackoff([1, 5]), attempt_timeout=2
            ),
            "on a refused result, any number of attempts; waits of 1, 5 s, no jitter; 2 s for each attempt",
        ),
        (
            retry(
                on=(transient - KeyError, OSError, only_gone), budget=RetryBudget(), idempotent=False, backoff=AT_ONCE
            ),
            (
                "on transient - KeyError | OSError | only_gone, up to 4 attempts; waits of 0 s, no jitter; as long as "
                "RetryBudget(ratio=0.1, at_least=3, window=10) lasts; never what may have been applied"
            ),
        ),
    ],
    ids=["within", "result", "budget"],
)
def test_describe_says_it_in_one_sentence(policy: RetryPolicy, said: str) -> None:
    assert policy.describe().replace("no jitter", "no jitter") == said


def test_pickle_carries_the_data_and_leaves_budget_and_hooks_behind() -> None:
    policy = retry(
        on=(transient, only_gone), attempts=2, retry_result=refused_result, backoff=SequenceBackoff([1]), name="n"
    )
    shared = policy.replace(budget=RetryBudget(), hooks=print)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(policy, protocol)) == policy
        assert pickle.loads(pickle.dumps(shared, protocol)) == policy
    again = pickle.loads(pickle.dumps(policy))
    with virtual_time():
        assert again.call(Script(ConnectionResetError(), "here")) == "here"


def test_pickle_names_what_cannot_be_imported() -> None:
    with pytest.raises(TypeError, match="<lambda>"):
        pickle.dumps(retry(on=lambda error: True))
    with pytest.raises(TypeError, match="<lambda>"):
        pickle.dumps(retry(on=OSError, retry_result=lambda value: True))

    def local(error: Exception) -> bool:
        return True

    with pytest.raises(TypeError, match="local"):
        pickle.dumps(retry(on=(OSError, local)))
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError), match="<lambda>"):
        pickle.dumps(retry(on=transient | (lambda error: True)))


def test_a_copy_of_a_value_is_the_value() -> None:
    policy = retry(on=OSError, budget=RetryBudget(), hooks=print)
    assert copy.copy(policy) is policy
    assert copy.deepcopy([policy])[0] is policy


def test_from_config_and_from_env() -> None:
    policy = RetryPolicy.from_config({"maxRetries": 3, "baseDelayMs": 200, "cap": 9, "within": 5}, on=OSError)
    assert policy == retry(on=OSError, attempts=4, backoff=ExponentialBackoff(initial=0.2, cap=9), within=5)
    environ = {"PAY_MAX_ATTEMPTS": "5", "PAY_WITHIN_MS": "1500", "PAY_DELAYS": "1,5", "OTHER": "x"}
    policy = RetryPolicy.from_env("PAY_", on=OSError, environ=environ)
    assert policy == retry(on=OSError, attempts=5, within=1.5, backoff=SequenceBackoff([1, 5]))


def test_from_env_reads_the_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAY_ATTEMPTS", "2")
    assert RetryPolicy.from_env("PAY_", on=OSError).attempts == 2


def test_from_config_names_the_nearest_key_in_the_callers_spelling() -> None:
    with pytest.raises(ConfigError, match="'maxAttempts'"):
        RetryPolicy.from_config({"maxAttemps": 3}, on=OSError)
    with pytest.raises(ConfigError, match="'PAY_MAX_ATTEMPTS'"):
        RetryPolicy.from_env("PAY_", on=OSError, environ={"PAY_MAX_ATTEMPS": "3"})
    with pytest.raises(ConfigError, match="prefix"):
        RetryPolicy.from_env("", on=OSError)


# -- what can be decorated -------------------------------------------------------------------------------------------


class Client:
    """One of each kind of method; every first call fails."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def _play(self, value: object) -> object:
        self.calls.append(value)
        if len(self.calls) < 2:
            raise ConnectionError("first")
        return value

    @retry(on=ConnectionError, backoff=AT_ONCE)
    def method(self, value: object) -> object:
        return self._play(value)

    @retry(on=ConnectionError, backoff=AT_ONCE)
    async def amethod(self, value: object) -> object:
        return self._play(value)


def make_class() -> type[Any]:
    seen: list[object] = []

    def play(*args: object) -> object:
        seen.append(args)
        if len(seen) % 2:
            raise ConnectionError("odd")
        return args

    policy = retry(on=ConnectionError, backoff=AT_ONCE)

    class Kinds:
        @classmethod
        @policy
        def inner_class(cls, value: int) -> object:
            return play(cls.__name__, value)

        @policy
        @classmethod
        def outer_class(cls, value: int) -> object:
            return play(cls.__name__, value)

        @staticmethod
        @policy
        def inner_static(value: int) -> object:
            return play(value)

        @policy
        @staticmethod
        def outer_static(value: int) -> object:
            return play(value)

        @policy
        @classmethod
        async def outer_class_async(cls, value: int) -> object:
            return play(cls.__name__, value)

    return Kinds


def test_methods() -> None:
    client = Client()
    assert client.method(3) == 3
    assert client.calls == [3, 3]
    client = Client()
    with virtual_time() as clock:
        assert clock.run_async(client.amethod(4)) == 4
    assert client.calls == [4, 4]


@pytest.mark.parametrize("on_instance", [True, False])
def test_classmethods_and_staticmethods_in_both_orders(on_instance: bool) -> None:
    kinds = make_class()
    target = kinds() if on_instance else kinds
    assert target.inner_class(1) == ("Kinds", 1)
    assert target.outer_class(2) == ("Kinds", 2)
    assert target.inner_static(3) == (3,)
    assert target.outer_static(4) == (4,)
    with virtual_time() as clock:
        assert clock.run_async(target.outer_class_async(5)) == ("Kinds", 5)


def test_callable_objects_partials_and_mocks(colour: Any) -> None:
    class Fetch:
        def __init__(self) -> None:
            self.script = Script(ConnectionError("1"), "here")

        def __call__(self, key: str) -> Any:
            return self.script(key)

    class AsyncFetch(Fetch):
        async def __call__(self, key: str) -> Any:
            return self.script(key)

    policy = retry(on=ConnectionError, backoff=AT_ONCE)
    asynchronous = colour.name != "sync"
    kind = AsyncFetch if asynchronous else Fetch
    mock = AsyncMock(side_effect=[ConnectionError("1"), "here"])
    targets: list[Callable[..., Any]] = [
        policy(kind()),
        policy(functools.partial(kind(), "k")),
        policy(functools.partial(functools.partial(kind()), "k")),
        policy(functools.partial(kind().__call__, key="k")),
    ]
    if asynchronous:
        targets.append(policy(cast("Callable[..., Any]", mock)))

    async def scenario() -> list[Any]:
        found = []
        for index, target in enumerate(targets):
            value = target("k") if index in {0, 4} else target()
            found.append(await value if asynchronous else value)
        return found

    assert colour.run(scenario) == ["here"] * len(targets)


def test_lambdas() -> None:
    script = Script(ConnectionError("1"), 3)
    assert retry(on=ConnectionError, backoff=AT_ONCE)(lambda value: script(value))(1) == 3


@pytest.mark.parametrize("kind", ["generator", "async generator", "object", "partial"])
def test_generators_are_refused_with_advice(kind: str) -> None:
    def pages() -> Any:
        yield 1

    async def apages() -> Any:
        yield 1

    class Pages:
        def __call__(self) -> Any:
            yield 1

    fn = {"generator": pages, "async generator": apages, "object": Pages(), "partial": functools.partial(pages)}[kind]
    with pytest.raises(TypeError, match="for attempt in policy"):
        retry(on=OSError)(fn)  # type: ignore[call-overload]


def test_the_name_is_the_functions_unless_given(colour: Any) -> None:
    heard: list[Any] = []

    def fetch() -> Any:
        raise ConnectionError

    for name in (None, "billing"):
        policy = retry(on=ConnectionError, attempts=2, hooks=heard.append, name=name)
        with pytest.raises(ConnectionError):
            colour.run(lambda policy=policy: colour.call(policy, fetch))
    own = "test_the_name_is_the_functions_unless_given.fetch"
    assert [event.name for event in heard] == [own, own, "billing", "billing"]


# -- who is told -----------------------------------------------------------------------------------------------------


def test_hooks_and_observers_hear_each_event_once(colour: Any) -> None:
    heard: list[tuple[str, Any]] = []
    observe(lambda event: heard.append(("observer", event)))
    try:
        hooks = [lambda event: heard.append(("one", event)), lambda event: heard.append(("two", event))]
        policy = retry(on=ConnectionError, hooks=hooks, backoff=ConstantBackoff(2))
        error = ConnectionError("1")
        colour.run(lambda: colour.call(policy, Script(error, "here")))
    finally:
        observe()
    assert [who for who, _ in heard] == ["one", "two", "observer"] * 2
    scheduled, recovered = heard[0][1], heard[3][1]
    assert isinstance(scheduled, RetryScheduled)
    assert (scheduled.attempt, scheduled.attempts, scheduled.delay, scheduled.elapsed) == (1, 4, 2.0, 0.0)
    assert scheduled.error is error
    assert scheduled.verdict.kind == "unsure"
    assert isinstance(recovered, Recovered)
    assert (recovered.attempt, recovered.elapsed) == (2, 2.0)


def test_events_of_an_unlimited_policy_say_so(colour: Any) -> None:
    heard: list[Any] = []
    policy = retry(on=ConnectionError, attempts=None, hooks=heard.append)
    colour.run(lambda: colour.call(policy, Script(ConnectionError("1"), "here")))
    assert heard[0].attempts is None


def test_a_first_success_tells_nothing(colour: Any, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []
    for limits in ({}, {"within": 5.0}):
        colour.run(lambda limits=limits: colour.call(retry(on=OSError, hooks=heard.append, **limits), Script("here")))
    assert heard == []
    assert caplog.records == []


def test_hooks_that_raise_are_logged_and_do_no_harm(colour: Any, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []

    def broken(event: object) -> None:
        raise ZeroDivisionError

    policy = retry(on=ConnectionError, attempts=2, hooks=[broken, heard.append])
    with pytest.raises(ConnectionError) as caught:
        colour.run(lambda: colour.call(policy, Script(ConnectionError("1"), ConnectionError("2"))))
    assert str(caught.value) == "2"
    assert caught.value.__context__ is None
    assert len(heard) == 2
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(failed) == 2
    assert "a hook failed" in failed[0].getMessage()
    assert failed[0].exc_info is not None


def test_one_warning_for_each_scheduled_retry(colour: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Name, attempt, delay, error; and once in a call, that it may already have been applied."""
    policy = retry(on=ConnectionError, name="billing", backoff=ConstantBackoff(0.25))
    errors = [
        ConnectionRefusedError("r"),
        ConnectionResetError("a"),
        ConnectionResetError("b"),
        ConnectionResetError("c"),
    ]
    with pytest.raises(ConnectionResetError):
        colour.run(lambda: colour.call(policy, Script(*errors)))
    assert [(record.name, record.levelname) for record in caplog.records] == [("resilience", "WARNING")] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "billing: attempt 1 of 4 failed (ConnectionRefusedError: r); next in 0.25 s",
        "billing: attempt 2 of 4 failed (ConnectionResetError: a); next in 0.25 s; it may already have been applied",
        "billing: attempt 3 of 4 failed (ConnectionResetError: b); next in 0.25 s",
    ]


def test_events_are_told_where_the_log_is_silent(colour: Any, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []
    with caplog.at_level(logging.ERROR, logger="resilience"):
        colour.run(lambda: colour.call(retry(on=OSError, hooks=heard.append), Script(OSError("1"), "here")))
        colour.run(lambda: colour.call(retry(on=OSError), Script(OSError("1"), "here")))
    assert len(heard) == 2
    assert caplog.records == []


# -- time ------------------------------------------------------------------------------------------------------------


def test_within_limits_attempts_and_waits_together(colour: Any) -> None:
    seen: list[float | None] = []

    def slow() -> None:
        here = current_deadline()
        seen.append(None if here is None else round(here.remaining, 6))
        colour.clock.advance(1)
        raise ConnectionError("slow")

    policy = retry(on=ConnectionError, within=5, attempts=None, backoff=ConstantBackoff(1))
    with pytest.raises(ConnectionError) as caught:
        colour.run(lambda: colour.call(policy, slow))
    assert seen == [5.0, 3.0, 1.0]
    assert colour.clock.monotonic() == 5
    assert "within=5 s" in caught.value.__notes__[0]


def test_attempt_timeout_limits_each_attempt(colour: Any) -> None:
    """In a task the attempt is cut; plain code is not interrupted, and a late success is a success."""
    starts: list[float] = []

    async def slow() -> str:
        starts.append(colour.clock.monotonic())
        await colour.sleep(10)
        return "late"

    policy = retry(on=transient, attempts=2, attempt_timeout=2, backoff=ConstantBackoff(1), name="slow")

    def plain() -> str:
        colour.clock.advance(10)
        return "late"

    if colour.name == "sync":
        assert policy.call(plain) == "late"
        return
    with pytest.raises(DeadlineExceededError) as caught:
        colour.run(lambda: colour.call(policy, slow))
    assert starts == [0.0, 3.0]
    assert (caught.value.limit, caught.value.name) == (2.0, "slow: attempt_timeout")
    assert "all 2 attempts used" in caught.value.__notes__[0]


def test_the_tighter_of_within_and_attempt_timeout_is_named() -> None:
    async def slow() -> None:
        await asyncio.sleep(100)

    with virtual_time() as clock:
        policy = retry(on=transient, within=3, attempt_timeout=2, attempts=None, backoff=ConstantBackoff(0.5))
        with pytest.raises(DeadlineExceededError) as caught:
            clock.run_async(policy.acall(slow))
    assert caught.value.limit == 3.0
    assert clock.monotonic() == pytest.approx(3.0)


def test_flaky_works_with_every_colour(colour: Any) -> None:
    def work() -> str:
        return "done"

    shaky = flaky(colour.fn(work), ConnectionError("1"))
    assert colour.run(lambda: colour.call(retry(on=ConnectionError), shaky)) == "done"


# -- what a cold reading found -----------------------------------------------------------------------------------------------


def test_a_plain_function_that_gives_back_a_coroutine_is_not_silently_untried() -> None:
    """A lambda or a wrapper around a coroutine function looks plain: what it returns tells, and it says what to do."""

    async def fetch() -> None: ...

    @functools.wraps(fetch)
    def traced() -> Any:
        return fetch()

    for fn in (traced, lambda: fetch()):
        with pytest.raises(TypeError, match="acall"):
            retry(on=OSError)(fn)()


@pytest.mark.parametrize("attempts", [4, 1_000])
def test_other_tasks_have_their_turn_between_attempts_without_delay(attempts: int) -> None:
    """A quick failure that is tried again at once does not keep the event loop for itself."""
    ticks = 0

    async def other() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def fail() -> None:
        raise OSError("x")

    async def scenario() -> None:
        task = asyncio.create_task(other())
        with pytest.raises(OSError, match="x"):
            await retry(on=OSError, attempts=attempts, backoff=ConstantBackoff(0)).acall(fail)
        task.cancel()

    asyncio.run(scenario())
    assert ticks >= attempts - 1


def test_a_call_that_is_cut_off_is_told_as_cancelled() -> None:
    """Hooks that heard of a retry hear of its end, also when the task is cancelled in the wait."""
    heard: list[Any] = []

    async def fail() -> None:
        raise OSError("x")

    async def scenario() -> None:
        task = asyncio.create_task(retry(on=OSError, hooks=heard.append, backoff=ConstantBackoff(5)).acall(fail))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with virtual_time() as clock:
        clock.run_async(scenario())
    assert [type(event).__name__ for event in heard] == ["RetryScheduled", "GaveUp"]
    assert heard[-1].reason == "cancelled"
    assert isinstance(heard[-1].error, asyncio.CancelledError)


@pytest.mark.parametrize(
    ("option", "nearest"), [("max_attempts", "attempts"), ("timeout", "within"), ("backof", "backoff")]
)
def test_an_unknown_option_names_the_nearest(option: str, nearest: str) -> None:
    with pytest.raises(TypeError, match=f"'{option}'; the nearest is '{nearest}'"):
        retry(on=OSError, **{option: 3})  # type: ignore[arg-type]


def test_a_budget_starts_empty_on_another_clock_and_comes_back() -> None:
    """Tests under virtual time neither see what others spent nor leave anything behind; real counts come back."""
    shared = RetryBudget(at_least=3)
    policy = retry(on=OSError, budget=shared, backoff=ConstantBackoff(0))

    def granted() -> int:
        count = 0
        for _ in range(5):
            with contextlib.suppress(OSError):
                count += policy.call(Script(OSError("x"), 1))
        return count

    found = []
    for _ in range(2):
        with virtual_time() as clock:
            clock.advance(1e6)
            found.append(granted())
    found.append(granted())
    with virtual_time():
        found.append(granted())
    found.append(granted())
    assert found == [3, 3, 3, 3, 0]


def test_the_signature_of_a_policy_is_that_of_its_call() -> None:
    """`help(retry)` shows the options; an instance, which is called with a function, does not."""
    assert "attempts" in inspect.signature(retry).parameters
    assert "attempts" not in inspect.signature(retry(on=OSError)).parameters


def test_a_cancellation_that_has_a_past_of_its_own_keeps_it() -> None:
    """The last real error is left as context only where there is none: nothing is overwritten."""

    async def fail() -> None:
        if not tried:
            tried.append(1)
            raise OSError("first")
        try:
            raise KeyError("its own")
        except KeyError:
            raise asyncio.CancelledError from None

    tried: list[int] = []
    with virtual_time() as clock, pytest.raises(asyncio.CancelledError) as raised:
        clock.run_async(retry(on=OSError).acall(fail))
    assert isinstance(raised.value.__context__, KeyError)


def test_a_first_attempt_under_an_inherited_deadline_and_a_later_one_without_a_limit_of_its_own() -> None:
    """A limit looser than what is around the call adds nothing to any attempt."""
    seen: list[float | None] = []

    def look() -> None:
        found = current_deadline()
        seen.append(found.limit if found else None)
        raise OSError("x")

    with virtual_time(), deadline(3), pytest.raises(OSError, match="x"):
        retry(on=OSError, within=50, attempts=2, backoff=ConstantBackoff(1)).call(look)
    assert seen == [3.0, 3.0]
