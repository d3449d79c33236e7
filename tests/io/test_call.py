"""One retried call: what it reads, decides, tells and notes, whoever attempts and waits."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from resilience import ConstantBackoff, RetryBudget, current_deadline, deadline, retry
from resilience._io.ambient import stopping
from resilience._io.call import Plan
from resilience.errors import DeadlineExceededError, RetriesExhaustedError
from resilience.instrumentation import GaveUp, Recovered, RetryScheduled
from resilience.testing import Script, virtual_time


def plan(**options: Any) -> Plan:
    return retry(on=OSError, **options)._plan


def test_a_plan_is_plain_where_nothing_need_be_known_before_a_failure() -> None:
    assert plan().plain
    assert plan(attempts=None, wrap=True, idempotent=False, hooks=print).plain
    for options in ({"within": 5}, {"attempt_timeout": 5}, {"budget": RetryBudget()}, {"retry_result": bool}):
        assert not plan(**options).plain


def test_the_first_attempt_has_the_smaller_of_its_limits() -> None:
    assert plan().first_limit is None
    assert plan(within=5).first_limit == 5
    assert plan(within=5, attempt_timeout=9).first_limit == 5
    assert plan(within=9, attempt_timeout=5).first_limit == 5


def play(script: Any, **options: Any) -> Any:
    return retry(**{"on": ConnectionError, "backoff": ConstantBackoff(1), "name": "n", **options}).call(script)


@pytest.mark.parametrize(
    ("options", "around", "reason"),
    [
        ({"attempts": 2}, None, "attempts"),
        ({"on": KeyError}, None, "permanent"),
        ({"idempotent": False}, None, "unsure"),
        ({"within": 1.5}, None, "within"),
        ({}, 1.5, "deadline"),
        ({"within": 1.5}, 9, "within"),
        ({"within": 9}, 1.5, "deadline"),
        ({"budget": RetryBudget(0, at_least=1)}, None, "budget"),
        ({"on": lambda error: 1 / 0}, None, "policy"),
    ],
    ids=str,
)
@pytest.mark.parametrize("wrap", [False, True])
def test_the_reason_is_told_and_noted(options: dict[str, Any], around: float | None, reason: str, wrap: bool) -> None:
    heard: list[Any] = []
    if "budget" in options:
        options = {"budget": RetryBudget(0, at_least=1)}
    wraps = wrap and reason not in {"permanent", "unsure", "policy"}
    with virtual_time(), deadline(around, name="d"):
        with pytest.raises(RetriesExhaustedError if wraps else ConnectionError) as caught:
            play(Script(*[ConnectionError("down")] * 4), hooks=heard.append, wrap=wrap, **options)
    assert isinstance(heard[-1], GaveUp)
    assert heard[-1].reason == reason
    error = caught.value.__cause__ if isinstance(caught.value, RetriesExhaustedError) else caught.value
    assert heard[-1].error is error
    if isinstance(caught.value, RetriesExhaustedError):
        assert caught.value.reason == reason
    assert (heard[-1].detail in getattr(error, "__notes__", [""])[0]) is (reason != "permanent")


@pytest.mark.parametrize("limits", [{}, {"within": 99}, {"retry_result": lambda value: value is None}], ids=str)
def test_decorated_the_first_failure_makes_the_call(limits: dict[str, Any]) -> None:
    """In the decorated form there is no call until something fails."""
    heard: list[Any] = []
    for steps, kind in (
        ([1], None),
        ([ConnectionError(), 1], None),
        ([KeyError()], KeyError),
        ([ConnectionError()] * 4, ConnectionError),
    ):
        for wrap in (False, True):
            fn = retry(on=ConnectionError, backoff=ConstantBackoff(0), wrap=wrap, hooks=heard.append, **limits)(
                Script(*steps)
            )
            with virtual_time():
                if kind is None:
                    assert fn() == 1
                else:
                    with pytest.raises(RetriesExhaustedError if wrap and kind is ConnectionError else kind):
                        fn()
    wrapped = retry(on=ConnectionError, attempts=1, wrap=True, **limits)(Script(ConnectionError()))
    with virtual_time(), pytest.raises(RetriesExhaustedError):
        wrapped()


@pytest.mark.parametrize("wrap", [False, True])
def test_decorated_a_refused_result_is_a_failure(wrap: bool) -> None:
    for attempts in (1, 3):
        options: dict[str, Any] = {
            "on": (),
            "retry_result": lambda value: value is None,
            "attempts": attempts,
            "wrap": wrap,
        }
        with virtual_time():
            fn = retry(**options)(Script(*[None] * attempts))
            if wrap:
                with pytest.raises(RetriesExhaustedError):
                    fn()
            else:
                assert fn() is None
            with stopping(Off()), pytest.raises(RetriesExhaustedError, match="stop"):
                retry(**{**options, "attempts": 2})(Script(None))()


def test_attempt_timeout_against_what_is_left_of_within() -> None:
    """Each later attempt lives in the tighter of the two, or in the deadline around the call."""
    seen: list[float] = []

    def work() -> None:
        found = current_deadline()
        assert found is not None
        seen.append(found.remaining)
        clock.advance(2)
        raise ConnectionError

    with virtual_time() as clock, pytest.raises(ConnectionError):
        retry(on=ConnectionError, within=6.5, attempt_timeout=3, backoff=ConstantBackoff(0))(work)()
    assert seen == [3, 3, 2.5, 0.5]
    seen.clear()
    with virtual_time() as clock, deadline(3), pytest.raises(ConnectionError):
        retry(on=ConnectionError, attempt_timeout=2, backoff=ConstantBackoff(0))(work)()
    assert seen == [2, 1]


def test_events_in_order_with_their_figures() -> None:
    heard: list[Any] = []
    with virtual_time() as clock:
        play(Script(ConnectionError("1"), ConnectionError("2"), "here"), hooks=heard.append)
        assert clock.monotonic() == 2
    assert [(type(event), event.attempt, event.elapsed) for event in heard] == [
        (RetryScheduled, 1, 0.0),
        (RetryScheduled, 2, 1.0),
        (Recovered, 3, 2.0),
    ]
    assert [str(event.error) for event in heard[:2]] == ["1", "2"]


def test_elapsed_counts_from_the_start_where_the_clock_is_read_there() -> None:
    heard: list[Any] = []

    def work() -> None:
        clock.advance(3)
        raise ConnectionError

    for options, elapsed in (({}, 0.0), ({"within": 99}, 3.0)):
        with virtual_time() as clock, pytest.raises(ConnectionError):
            play(work, attempts=1, hooks=heard.append, **options)
        assert heard[-1].elapsed == elapsed


def test_nothing_is_told_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="resilience"), virtual_time():
        for options in ({}, {"within": 99}, {"budget": RetryBudget()}):
            assert play(Script(ConnectionError(), "here"), **options) == "here"
            with pytest.raises(ConnectionError):
                play(Script(*[ConnectionError()] * 2), attempts=2, **options)
    assert caplog.records == []


def test_may_be_applied_is_said_once_a_call_and_of_unsure_failures_alone(caplog: pytest.LogCaptureFixture) -> None:
    with virtual_time():
        play(Script(ConnectionRefusedError(), ConnectionResetError(), ConnectionResetError(), 1))
        play(Script(None, 1), on=(), retry_result=lambda value: value is None)
    assert ["applied" in record.getMessage() for record in caplog.records] == [False, True, False, False]


class Off:
    """A stop that has gone off by the time it is asked again."""

    at = 1e9
    asked = 0

    def error(self) -> Exception | None:
        return PermissionError("lost")

    def watch(self, wake: Any, /) -> Any:
        wake()
        return lambda: None


def test_an_overslept_wait_ends_it_under_either_limit() -> None:
    for options, around, named in (({"within": 5}, None, "within=5 s"), ({}, 5, "the deadline 'd' of 5 s")):
        with virtual_time() as clock, deadline(around, name="d"), pytest.raises(ConnectionError) as caught:
            play(Script(ConnectionError()), hooks=lambda event: clock.advance(50), **options)
        assert f"{named} ran out during the wait" in caught.value.__notes__[0]


def test_the_error_comes_out_once_more_without_a_longer_traceback() -> None:
    """Raised again after the wait, it does not name the library's frames twice."""

    def depth(error: BaseException) -> int:
        tb, count = error.__traceback__, 0
        while tb is not None:
            count += "resilience/_" in tb.tb_frame.f_code.co_filename
            tb = tb.tb_next
        return count

    def work() -> None:
        raise ConnectionError

    for failures in (1, 2):
        calls: list[int] = []

        def turn(event: Any) -> None:
            calls.append(1)
            if len(calls) == failures:
                clock.advance(50)

        decorated = retry(on=ConnectionError, backoff=ConstantBackoff(1), hooks=turn)(work)
        with virtual_time() as clock, deadline(9), pytest.raises(ConnectionError) as caught:
            decorated()
        assert len(calls) == failures + 1
        assert depth(caught.value) <= 2


def test_a_stop_is_named() -> None:
    with virtual_time(), stopping(Off()), pytest.raises(ConnectionError) as caught:
        play(Script(ConnectionError()))
    assert "stopped by PermissionError: lost" in caught.value.__notes__[0]


def test_an_overrun_that_is_not_admitted_names_its_limit() -> None:
    """The deadline's own error, where `on` does not admit it: the limit that is spent is named, not the rule."""

    def work() -> None:
        clock.advance(9)
        raise DeadlineExceededError(5, "n")

    for options, around, named in (({"within": 5}, None, "within=5 s is spent"), ({}, 5, "of 5 s is spent")):
        with virtual_time() as clock, deadline(around), pytest.raises(DeadlineExceededError) as caught:
            play(work, **options)
        assert named in caught.value.__notes__[0]


def test_the_cause_of_an_overrun_is_the_real_error_before_it() -> None:
    real = ConnectionError("real")
    late = [DeadlineExceededError(1, str(n)) for n in range(3)]
    with virtual_time(), pytest.raises(DeadlineExceededError) as caught:
        play(Script(real, *late), on=(ConnectionError, TimeoutError), within=99)
    assert caught.value is late[-1]
    assert [error.__cause__ for error in late] == [real, real, real]
    own = DeadlineExceededError(1)
    own.__cause__ = KeyError("its own")
    with virtual_time(), pytest.raises(DeadlineExceededError):
        play(Script(real, own), on=(ConnectionError, TimeoutError), within=99, attempts=2)
    assert isinstance(own.__cause__, KeyError)


def test_notes_of_other_calls_and_of_the_caller_stay() -> None:
    error = ConnectionError("the one")
    error.add_note("the caller's")
    with virtual_time():
        for name in ("a", "b", "a"):
            with pytest.raises(ConnectionError):
                play(Script(error, error), attempts=2, name=name)
    assert [note.partition(":")[0] for note in error.__notes__] == ["the caller's", "a", "b"]


def test_notes_that_are_no_strings_do_no_harm() -> None:
    """`__notes__` is the caller's to set; what is odd in it must not replace the error that is on its way."""
    error = ConnectionError("odd")
    error.__notes__ = [None, 3]  # type: ignore[list-item]
    with virtual_time(), pytest.raises(ConnectionError):
        play(Script(error, error), attempts=2)
    frozen = ConnectionError("frozen")
    frozen.__notes__ = ("a tuple",)  # type: ignore[assignment]
    with virtual_time(), pytest.raises(ConnectionError):
        play(Script(frozen, frozen), attempts=2)


def test_an_error_that_takes_no_attributes_comes_out_all_the_same() -> None:
    """What is left on it for a retry around is a help, not a condition."""

    class Closed(ConnectionResetError):
        def __setattr__(self, name: str, value: object) -> None:
            raise TypeError("closed")

    policy = retry(on=ConnectionError, attempts=2, backoff=ConstantBackoff(0))
    with pytest.raises(Closed):
        policy.call(Script(Closed(), Closed()))
