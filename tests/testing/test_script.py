"""Scripts and flaky functions: failures come exactly as written."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from resilience import ConstantBackoff, retry
from resilience.testing import Script, ScriptedCall, VirtualClock, flaky, virtual_time


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return VirtualClock().run_async(coroutine)


def test_steps_are_played_in_order() -> None:
    """An exception, or its class, is raised; anything else is returned, None included."""
    gone = ConnectionError("gone")
    script = Script(gone, TimeoutError, None, 3, ValueError)
    with pytest.raises(ConnectionError) as raised:
        script()
    assert raised.value is gone
    with pytest.raises(TimeoutError):
        script()
    assert script() is None
    assert script.left == (3, ValueError)
    assert script() == 3
    with pytest.raises(ValueError):
        script()
    assert not script.left


def test_a_class_that_is_no_exception_is_a_value() -> None:
    """Only exceptions are raised."""
    assert Script(int)() is int


def test_what_must_end_can_be_played_too() -> None:
    """Interrupts are exceptions like any other, to a script."""
    with pytest.raises(KeyboardInterrupt):
        Script(KeyboardInterrupt)()


def test_one_call_too_many_fails_the_test() -> None:
    """A script that is over says so, and does not count the call."""
    script = Script(1)
    script()
    with pytest.raises(AssertionError, match=r"^a script of 1 steps was called once more$"):
        script()
    assert len(script.calls) == 1


def test_steps_left_over_fail_the_block() -> None:
    """As a context manager a script fails the test that did not play it to its end; another error is not hidden."""
    with pytest.raises(AssertionError, match=r"^2 of 3 steps were never played: \(2, 3\)$"), Script(1, 2, 3) as script:
        script()
    with Script(1) as script:
        script()
    with pytest.raises(KeyError), Script(1):
        raise KeyError


def test_calls_are_recorded_with_their_moment() -> None:
    """When, and with which arguments: in seconds of the clock in force, failures included."""
    with virtual_time() as clock:
        script = Script(ConnectionError, "here")
        assert retry(on=ConnectionError, backoff=ConstantBackoff(2.5)).call(script, 1, key="k") == "here"
    assert script.calls == [ScriptedCall(0.0, (1,), {"key": "k"}), ScriptedCall(2.5, (1,), {"key": "k"})]
    assert clock.waits == [2.5]


def test_acall_plays_the_same_script() -> None:
    """The coroutine form and the plain one take turns at one script."""
    script = Script(1, ConnectionError, 3)

    async def scenario() -> None:
        assert await script.acall("a", x=1) == 1
        with pytest.raises(ConnectionError):
            await script.acall()
        assert script() == 3

    run(scenario())
    assert [(call.args, call.kwargs) for call in script.calls] == [(("a",), {"x": 1}), ((), {}), ((), {})]


def test_flaky_fails_first_and_then_works_for_good() -> None:
    """Each error takes the place of one call; None lets one through; then the function works."""
    calls: list[int] = []

    def work(value: int) -> int:
        """Says its name."""
        calls.append(value)
        return value

    shaky = flaky(work, ConnectionError("gone"), None, TimeoutError)
    with pytest.raises(ConnectionError, match=r"^gone$"):
        shaky(1)
    assert shaky(2) == 2
    with pytest.raises(TimeoutError):
        shaky(3)
    assert [shaky(4), shaky(value=5)] == [4, 5]
    assert calls == [2, 4, 5]
    assert (shaky.__name__, shaky.__doc__) == ("work", "Says its name.")


def test_flaky_coroutine_functions_stay_coroutine_functions() -> None:
    """The failure comes when it is awaited, as a real one would."""

    async def work(value: int) -> int:
        return value

    shaky = flaky(work, ConnectionError("gone"))

    async def scenario() -> int:
        pending = shaky(1)
        with pytest.raises(ConnectionError):
            await pending
        return await shaky(2)

    assert run(scenario()) == 2


def test_flaky_under_retry_in_both_colours() -> None:
    """A retried flaky function works, sync and async."""

    async def work() -> str:
        return "done"

    policy = retry(on=ConnectionError)
    with virtual_time() as clock:
        assert policy(flaky(str.upper, ConnectionError))("a") == "A"
        assert clock.run_async(policy.acall(flaky(work, ConnectionError, ConnectionError))) == "done"
    assert len(clock.waits) == 3
