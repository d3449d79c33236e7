"""The hands of retry: attempts and waits, in each colour, under every limit."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resilience import ConstantBackoff, RetryBudget, current_deadline, deadline, retry
from resilience._io.ambient import UNBOUNDED, scope_now, stopping
from resilience.errors import DeadlineExceededError, RetriesExhaustedError
from resilience.testing import Script, virtual_time


LIMITS: list[dict[str, Any]] = [
    {},
    {"within": 60.0},
    {"attempt_timeout": 20.0},
    {"budget": RetryBudget(at_least=10**6)},
    {"retry_result": lambda value: value is None},
    {
        "within": 60.0,
        "attempt_timeout": 20.0,
        "budget": RetryBudget(at_least=10**6),
        "retry_result": lambda value: value is None,
    },
]
limited = pytest.mark.parametrize("limits", LIMITS, ids=lambda limits: " ".join(limits) or "plain")


class Lamp:
    """A stop that goes off by itself when it is watched for the nth time."""

    at = 1e9

    def __init__(self, nth: int) -> None:
        self.left = nth
        self.watchers: list[Callable[[], object]] = []

    def error(self) -> Exception | None:
        return None if self.left > 0 else PermissionError("lost")

    def watch(self, wake: Callable[[], object], /) -> Callable[[], None]:
        self.watchers.append(wake)
        self.left -= 1
        if not self.left:
            wake()
        return lambda: self.watchers.remove(wake)


def play(colour: Any, options: dict[str, Any], script: Callable[..., Any], around: Any = None) -> Any:
    """Decorated, in this colour."""

    async def scenario() -> Any:
        call = retry(**{"on": ConnectionError, "backoff": ConstantBackoff(1), **options})(colour.fn(lambda: script()))
        if around is None:
            value = call()
            return await value if inspect.isawaitable(value) else value
        with around:
            value = call()
            return await value if inspect.isawaitable(value) else value

    return colour.run(scenario)


@limited
@pytest.mark.parametrize("failures", range(4))
def test_success_after_any_number_of_failures(colour: Any, limits: dict[str, Any], failures: int) -> None:
    assert play(colour, limits, Script(*[ConnectionError("down")] * failures, "here")) == "here"
    assert colour.clock.waits == [1] * failures
    assert scope_now() is UNBOUNDED


@limited
@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("steps", [["k"], ["c", "k"], ["c"] * 4], ids=" ".join)
def test_failure(colour: Any, limits: dict[str, Any], steps: list[str], wrap: bool) -> None:
    errors = [KeyError("k") if step == "k" else ConnectionError("c") for step in steps]
    wraps = wrap and steps[-1] == "c"
    with pytest.raises(RetriesExhaustedError if wraps else type(errors[-1])) as caught:
        play(colour, {**limits, "wrap": wrap}, Script(*errors))
    assert (caught.value.__cause__ if wraps else caught.value) is errors[-1]
    assert errors[-1].__context__ is None
    assert scope_now() is UNBOUNDED


@limited
@pytest.mark.parametrize("failures", range(3))
def test_called_as_decorated(colour: Any, limits: dict[str, Any], failures: int) -> None:
    """`call` and `acall` do what the decorator does."""
    policy = retry(on=ConnectionError, backoff=ConstantBackoff(1), **limits)
    script = Script(*[ConnectionError("down")] * failures, "here")
    assert colour.run(lambda: colour.call(policy, script)) == "here"
    assert colour.clock.waits == [1] * failures
    with pytest.raises(KeyError):
        colour.run(lambda: colour.call(policy, Script(KeyError("k"))))


@limited
def test_what_is_no_exception_ends_it_at_once(colour: Any, limits: dict[str, Any]) -> None:
    for steps in ([KeyboardInterrupt()], [ConnectionError(), KeyboardInterrupt()]):
        with pytest.raises(KeyboardInterrupt):
            play(colour, {**limits, "on": Exception}, Script(*steps))
    assert scope_now() is UNBOUNDED


@pytest.mark.parametrize("failures", range(4))
def test_refused_results(colour: Any, failures: int) -> None:
    options = {"on": (), "retry_result": lambda value: value is None}
    assert play(colour, options, Script(*[None] * failures, "here")) == "here"
    colour.clock.waits.clear()
    assert play(colour, options, Script(*[None] * 4)) is None
    with pytest.raises(RetriesExhaustedError):
        play(colour, {**options, "wrap": True}, Script(*[None] * 4))
    with pytest.raises(RetriesExhaustedError):
        play(colour, {**options, "wrap": True, "attempts": 1}, Script(None))


@limited
def test_each_attempt_sees_its_limit(colour: Any, limits: dict[str, Any]) -> None:
    seen: list[float | None] = []
    script = Script(ConnectionError(), ConnectionError(), "here")

    def work() -> Any:
        found = current_deadline()
        seen.append(found.remaining if found else None)
        return script()

    play(colour, limits, work)
    if "attempt_timeout" in limits:
        assert seen == [20, 20, 20]
    else:
        assert seen == ([60, 59, 58] if "within" in limits else [None] * 3)


@limited
def test_an_outer_deadline_that_is_tighter_stays(colour: Any, limits: dict[str, Any]) -> None:
    seen: list[Any] = []
    script = Script(ConnectionError(), "here")

    def work() -> Any:
        found = current_deadline()
        assert found is not None
        seen.append((found.name, found.remaining))
        return script()

    play(colour, limits, work, deadline(10, name="outer"))
    assert seen == [("outer", 10), ("outer", 9)]


@pytest.mark.parametrize("nth", [1, 2, 3])
@limited
def test_a_stop_ends_the_wait(colour: Any, limits: dict[str, Any], nth: int) -> None:
    errors = [ConnectionError(str(n)) for n in range(4)]
    lamp = Lamp(nth)
    with pytest.raises(ConnectionError) as caught:
        play(colour, limits, Script(*errors), stopping(lamp))
    assert caught.value is errors[nth - 1]
    assert "stopped by PermissionError: lost" in caught.value.__notes__[0]
    assert colour.clock.monotonic() == nth - 1
    assert lamp.watchers == []


def test_a_stop_ends_the_wait_after_a_refused_result(colour: Any) -> None:
    """There is no error to raise again: what comes out says so."""
    with pytest.raises(RetriesExhaustedError, match="stop"):
        play(colour, {"on": (), "retry_result": lambda value: value is None}, Script(None), stopping(Lamp(1)))


def test_a_stop_ends_the_wait_wrapped(colour: Any) -> None:
    error = ConnectionError("last")
    with pytest.raises(RetriesExhaustedError, match="stop") as caught:
        play(colour, {"wrap": True}, Script(error), stopping(Lamp(1)))
    assert caught.value.__cause__ is error


def test_a_stop_is_asked_where_nothing_is_waited_for(colour: Any) -> None:
    """Also between two attempts with no wait: nothing is started after a stop."""
    lamp = Lamp(1)
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        lamp.left = 0
        raise ConnectionError

    with pytest.raises(ConnectionError):
        play(colour, {"backoff": ConstantBackoff(0)}, work, stopping(lamp))
    assert calls == [1]


@pytest.mark.parametrize("interrupted", [False, True])
def test_plain_waits_undo_their_watch(interrupted: bool) -> None:
    lamp = Lamp(100)

    def broken(event: threading.Event, timeout: float | None = None, /) -> bool:
        raise KeyboardInterrupt

    with virtual_time() as clock, stopping(lamp):
        if interrupted:
            clock.wait = broken  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt if interrupted else ConnectionError):
            retry(on=ConnectionError).call(Script(*[ConnectionError()] * 4))
    assert lamp.watchers == []


def test_cut_attempts_are_failures_in_a_task(colour: Any) -> None:
    if colour.name == "sync":
        return
    starts: list[float] = []

    def work() -> Any:
        starts.append(colour.clock.monotonic())
        return colour.sleep(100 if len(starts) < 3 else 0)

    assert play(colour, {"on": TimeoutError, "attempt_timeout": 2}, work) is None
    assert starts == [0, 3, 6]
    starts.clear()
    with pytest.raises(DeadlineExceededError):
        play(colour, {"on": ConnectionError, "attempt_timeout": 2}, work)
    assert len(starts) == 1
