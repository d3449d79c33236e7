"""The brain of retry: which limit ends a call, in which order they are asked, and what the note says of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

import pytest

from resilience._backoff import ConstantBackoff, ExponentialBackoff, SequenceBackoff
from resilience._core.backoff import Jitter
from resilience._core.giveup import GiveUp, GiveUpReason
from resilience._core.retrying import Course, Rules, Until, text_of
from resilience._core.verdict import Verdict
from resilience.errors import DeadlineExceededError
from resilience.testing import virtual_time
from resilience.typing import Backoff


SECOND = ConstantBackoff(1.0)
ERROR = ConnectionError("gone")


class Spending:
    """A budget of so many retries, which counts how often it was asked."""

    def __init__(self, left: int) -> None:
        self.left, self.asked = left, 0

    def __call__(self, now: float) -> bool:
        self.asked += 1
        self.left -= 1
        return self.left >= 0


def course(
    verdict: Verdict | Callable[[Exception], Verdict] = Verdict.transient(),
    *,
    attempts: float = 4,
    backoff: Backoff = SECOND,
    idempotent: bool = True,
    max_hint: float = 60.0,
) -> Course:
    judge = (lambda _: verdict) if isinstance(verdict, Verdict) else verdict
    return Course(
        Rules(judge=judge, attempts=attempts, backoff=backoff, idempotent=idempotent, max_hint=max_hint, known={})
    )


def fail(
    on_course: Course,
    error: Exception | None = ERROR,
    *,
    now: float = 100.0,
    until: Until | None = None,
    spend: Callable[[float], bool] | None = None,
) -> float | GiveUp:
    return on_course.after_failure(error, now, until, spend)


def reason_of(decision: float | GiveUp) -> GiveUpReason | None:
    return decision.reason if isinstance(decision, GiveUp) else None


def until(moment: float, reason: GiveUpReason = GiveUpReason.WITHIN) -> Until:
    return Until(moment, reason, f"{reason}=5 s")


# -- each limit ------------------------------------------------------------------------------------------------------


def test_a_transient_failure_waits_for_the_backoff() -> None:
    """Worth it and within every limit: the backoff's delay, and the next attempt."""
    on = course(backoff=SequenceBackoff([1, 5, 30]))
    assert [fail(on) for _ in range(3)] == [1.0, 5.0, 30.0]
    assert on.attempt == 4


def test_permanent() -> None:
    """Not worth trying again, whatever is left."""
    decision = fail(course(Verdict.permanent("bad key")))
    assert decision == GiveUp(GiveUpReason.PERMANENT, "not worth trying again (bad key)")


@pytest.mark.parametrize(("idempotent", "reason"), [(True, None), (False, GiveUpReason.UNSURE)])
def test_unsure(*, idempotent: bool, reason: GiveUpReason | None) -> None:
    """What may have been applied is tried again only where doing it twice is safe."""
    assert reason_of(fail(course(Verdict.unsure(), idempotent=idempotent))) is reason


def test_transient_is_tried_again_also_when_not_idempotent() -> None:
    """What provably preceded any effect may always be tried again."""
    assert fail(course(idempotent=False)) == 1.0


@pytest.mark.parametrize("attempts", [1, 2, 7])
def test_attempts(attempts: int) -> None:
    """After the last attempt there is no other, and the detail says how many there were."""
    on = course(attempts=attempts)
    for _ in range(attempts - 1):
        assert fail(on) == 1.0
    decision = fail(on)
    assert isinstance(decision, GiveUp)
    assert decision.reason is GiveUpReason.ATTEMPTS
    assert decision.detail == ("its only attempt is used" if attempts == 1 else f"all {attempts} attempts used")


@pytest.mark.parametrize("reason", [GiveUpReason.WITHIN, GiveUpReason.DEADLINE])
def test_a_wait_that_does_not_fit_is_not_begun(reason: GiveUpReason) -> None:
    """There is no sleeping only to give up: a wait that would end at the moment, or after it, ends the call now."""
    assert fail(course(), now=100.0, until=until(101.5, reason)) == 1.0
    for moment in (101.0, 100.5, 100.0, 90.0):
        decision = fail(course(), now=100.0, until=until(moment, reason))
        assert reason_of(decision) is reason
        assert f"{reason}=5 s" in str(decision)


def test_an_overrun_is_the_limits_doing() -> None:
    """A deadline error after the moment is that limit's, also where the classifier calls it permanent or unsure."""
    for verdict in (Verdict.permanent("x"), Verdict.unsure()):
        for idempotent in (True, False):
            error = DeadlineExceededError(5.0)
            decision = fail(course(verdict, idempotent=idempotent), error, now=105.0, until=until(105.0))
            assert reason_of(decision) is GiveUpReason.WITHIN
    early = fail(course(Verdict.permanent("x")), DeadlineExceededError(1.0), now=101.0, until=until(105.0))
    assert reason_of(early) is GiveUpReason.PERMANENT
    other = fail(course(Verdict.permanent("x")), ValueError(), now=105.0, until=until(105.0))
    assert reason_of(other) is GiveUpReason.PERMANENT


def test_budget() -> None:
    """When the shared budget is spent, the call fails at once."""
    spending = Spending(2)
    on = course(attempts=10)
    assert [reason_of(fail(on, spend=spending)) for _ in range(3)] == [None, None, GiveUpReason.BUDGET]


def test_a_refused_result_is_tried_again_like_an_unsure_failure() -> None:
    """None in place of an error is a result that was refused."""
    on = course(Verdict.permanent("never asked"), attempts=2)
    assert fail(on, None) == 1.0
    assert reason_of(fail(on, None)) is GiveUpReason.ATTEMPTS
    assert on.note("fetch", 1.00, "", GiveUp(GiveUpReason.ATTEMPTS, "over")).endswith("earlier: result refused")


# -- the order of the questions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "limit", "reason"),
    [
        (course(Verdict.permanent("x"), attempts=1), None, GiveUpReason.PERMANENT),
        (course(Verdict.unsure(), idempotent=False, attempts=1), None, GiveUpReason.UNSURE),
        (course(attempts=1), until(0.0), GiveUpReason.ATTEMPTS),
        (course(Verdict.transient(61.0)), until(0.0), GiveUpReason.HINT),
        (course(Verdict.transient(61.0), attempts=1), None, GiveUpReason.ATTEMPTS),
        (course(), until(100.5), GiveUpReason.WITHIN),
        (course(Verdict.transient(30.0)), until(120.0), GiveUpReason.WITHIN),
        (course(backoff=ConstantBackoff(0), attempts=math.inf), until(100.0005), GiveUpReason.WITHIN),
    ],
    ids=[
        "permanent",
        "unsure",
        "attempts",
        "hint",
        "attempts before hint",
        "within",
        "hint does not fit",
        "no spinning",
    ],
)
def test_a_call_that_cannot_go_on_takes_nothing_from_the_budget(
    on: Course, limit: Until | None, reason: GiveUpReason
) -> None:
    """The budget is asked last: every other limit ends the call without spending what others share."""
    spending = Spending(5)
    assert reason_of(fail(on, until=limit, spend=spending)) is reason
    assert spending.asked == 0


def test_used_up_attempts_draw_no_delay() -> None:
    """The backoff is not asked for a wait that will not be."""

    class Counting:
        asked = 0

        def delay(self, attempt: int, /) -> float:
            self.asked += 1
            return 0.0

    counting = Counting()
    on = course(attempts=2, backoff=counting)
    fail(on)
    fail(on)
    assert counting.asked == 1


# -- the server's hint --------------------------------------------------------------------------------------------------


def test_ten_thousand_clients_told_the_same_do_not_return_in_one_instant() -> None:
    """A hint is a floor with the jitter on top: nobody comes before it, and they come spread over the jitter."""
    with virtual_time(seed=3):
        waits = [fail(course(Verdict.transient(30.0), backoff=ExponentialBackoff(5, 5))) for _ in range(10_000)]
    numbers = sorted(wait for wait in waits if not isinstance(wait, GiveUp))
    assert len(numbers) == 10_000
    assert 30.0 <= numbers[0] < numbers[-1] < 35.0
    busiest = max(sum(int((wait - 30) * 10) == tenth for wait in numbers) for tenth in range(50))
    assert busiest < 300  # of 10 000 in the fullest tenth of a second; 200 is an even spread


@pytest.mark.parametrize(
    ("backoff", "hint", "wait"),
    [
        (ConstantBackoff(1.0), 30.0, 30.0),
        (ConstantBackoff(40.0), 30.0, 40.0),  # never sooner than the policy's own wait
        (ConstantBackoff(0.0), 0.0, 0.0),
        (ConstantBackoff(2.0), 0.0, 2.0),
        (ConstantBackoff(2.0), 60.0, 60.0),
    ],
)
def test_the_longer_of_hint_and_delay_is_waited(backoff: Backoff, hint: float, wait: float) -> None:
    """Without jitter the wait is the hint, or the delay where that is longer."""
    assert fail(course(Verdict.unsure(hint), backoff=backoff)) == wait


class Plain:
    """A user's own backoff: nothing but a delay."""

    def delay(self, attempt: int, /) -> float:
        return 2.0


class ScatterIsData(Plain):
    """Another one, whose `scatter` is no method of ours."""

    scatter = 0.5


class ScatterIsNegative(Plain):
    """Another one, that would come back sooner."""

    def scatter(self, attempt: int, hint: float) -> float:
        return -3.0


class ScatterRaises(Plain):
    def scatter(self, attempt: int, hint: float) -> float:
        raise RuntimeError("broken")


class ScatterIsNotFinite(Plain):
    def scatter(self, attempt: int, hint: float) -> float:
        return float("nan")


def test_a_backoff_of_the_users_own_is_jitter_on_top() -> None:
    """What says nothing of chance lends its delay."""
    assert fail(course(Verdict.transient(30.0), backoff=Plain())) == 32.0


@pytest.mark.parametrize(
    "backoff",
    [ScatterIsData(), ScatterIsNegative(), ScatterRaises(), ScatterIsNotFinite()],
    ids=lambda b: type(b).__name__,
)
def test_the_hint_stays_a_floor_under_any_backoff(backoff: Backoff) -> None:
    """Whatever else a user's backoff has: at least the hint is waited, or the policy says that it failed itself."""
    decision = fail(course(Verdict.transient(30.0), backoff=backoff))
    assert reason_of(decision) is GiveUpReason.POLICY if isinstance(decision, GiveUp) else decision >= 30.0


def test_equal_jitter_keeps_its_half_out_of_the_hint() -> None:
    """Only the part that is left to chance comes on top."""
    with virtual_time():
        wait = fail(course(Verdict.transient(30.0), backoff=ConstantBackoff(4.0, Jitter.EQUAL)))
    assert not isinstance(wait, GiveUp)
    assert 30.0 < wait < 32.0


@pytest.mark.parametrize("asked", [60.5, 1e12, 1e15])
def test_a_hint_above_max_hint_is_not_waited_for(asked: float) -> None:
    """A server that asks for more than the policy allows is given up at once, and the detail says both."""
    decision = fail(course(Verdict.transient(asked)))
    assert isinstance(decision, GiveUp)
    assert decision.reason is GiveUpReason.HINT
    assert f"{asked:g}" in decision.detail
    assert "max_hint=60" in decision.detail
    assert fail(course(Verdict.transient(60.0))) == 60.0


def test_the_last_attempt_hears_no_hint() -> None:
    """When the attempts are used up, that is what ended the call."""
    assert reason_of(fail(course(Verdict.transient(1e12), attempts=1))) is GiveUpReason.ATTEMPTS


# -- no limit -------------------------------------------------------------------------------------------------------------


def test_an_unlimited_policy_does_not_spin() -> None:
    """Without a limit of attempts and without a delay there is still a wait, of a millisecond."""
    on = course(attempts=math.inf, backoff=ConstantBackoff(0))
    assert [fail(on) for _ in range(3)] == [0.001] * 3
    assert fail(course(backoff=ConstantBackoff(0))) == 0.0


# -- a broken policy ------------------------------------------------------------------------------------------------------


class Returning:
    """A backoff that returns this."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def delay(self, attempt: int, /) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.mark.parametrize(
    "value",
    [math.nan, -1.0, -1e-9, math.inf, -math.inf, "1", None, [], 1j, RuntimeError("broken"), AttributeError()],
    ids=repr,
)
def test_a_broken_backoff_ends_the_call_under_its_own_name(value: Any) -> None:
    """What no clock can wait, or an error of the backoff's own: POLICY, so that the caller's own error comes out."""
    spending = Spending(5)
    decision = fail(course(backoff=Returning(value)), spend=spending)
    assert isinstance(decision, GiveUp)
    assert decision.reason is GiveUpReason.POLICY
    assert "the policy itself failed with" in decision.detail
    assert spending.asked == 0


@pytest.mark.parametrize(
    "value", [Decimal("0.5"), Fraction(1, 2), Decimal("NaN"), 10**400, True], ids=lambda v: repr(v)[:20]
)
@pytest.mark.parametrize("limit", [None, until(200.0)], ids=["no limit", "limit"])
def test_numbers_of_other_kinds_are_waited_or_refused(value: Any, limit: Until | None) -> None:
    """A delay that is no float is made one, or is the policy's failure; it must not fail later, in the sleep."""
    decision = fail(course(backoff=Returning(value)), until=limit)
    if isinstance(decision, GiveUp):
        assert decision.reason in {GiveUpReason.POLICY, GiveUpReason.WITHIN}
    else:
        assert isinstance(decision, (int, float))


def test_a_broken_classifier_ends_the_call_under_its_own_name() -> None:
    """A classifier that raises hides nothing."""

    def broken(error: Exception) -> Verdict:
        raise KeyError("status")

    decision = fail(course(broken))
    assert decision == GiveUp(GiveUpReason.POLICY, "the policy itself failed with KeyError: 'status'")


def test_an_interrupt_in_the_classifier_goes_through() -> None:
    """Only an `Exception` is a broken policy."""

    def interrupted(error: Exception) -> Verdict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail(course(interrupted))


# -- what is said -----------------------------------------------------------------------------------------------------------


OVER = GiveUp(GiveUpReason.ATTEMPTS, "all used")


def test_the_note_of_a_first_attempt() -> None:
    """One attempt has no past."""
    assert course().note("fetch", 0.00, "", OVER) == "fetch: gave up after 1 attempt in 0.00 s: all used"


def test_the_note_tells_the_earlier_errors_in_order() -> None:
    """What ended the attempts before, oldest first, as text."""
    on = course()
    fail(on, ValueError("a"))
    fail(on, KeyError("b"))
    expected = "fetch: gave up after 3 attempts in 2.50 s: all used; earlier: ValueError: a | KeyError: 'b'"
    assert on.note("fetch", 2.50, "", OVER) == expected


@pytest.mark.parametrize("failures", [5, 6, 100, 10_000])
def test_the_past_is_bounded_and_what_is_forgotten_is_counted(failures: int) -> None:
    """The first five different errors are shown, the rest is a number; nothing grows with the attempts."""
    on = course(attempts=math.inf)
    for number in range(1, failures + 1):
        fail(on, ValueError(f"e{number}"))
    shown = " | ".join(f"ValueError: e{number}" for number in range(1, 6))
    more = f" | and {failures - 5} more" if failures > 5 else ""
    assert on.note("fetch", 0.00, "", OVER).endswith(
        f"after {failures + 1} attempts in 0.00 s: all used; earlier: {shown}{more}"
    )


def test_the_same_error_again_is_only_counted() -> None:
    """A thousand times the same text is one text and a number; another in between begins anew."""
    on = course(attempts=math.inf)
    for text in ["a"] * 1_000 + ["b", "b", "a"]:
        fail(on, ValueError(text))
    expected = "all used; earlier: 1000 × ValueError: a | 2 × ValueError: b | ValueError: a"
    assert on.note("fetch", 1.00, "", OVER) == f"fetch: gave up after 1004 attempts in 1.00 s: {expected}"


class Unspeakable(Exception):
    """An error whose message cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


NO_TEXT: object = 3


class Wordless(Exception):
    """An error whose message is no text."""

    def __str__(self) -> str:
        return cast("str", NO_TEXT)


@pytest.mark.parametrize("error", [Unspeakable(), Wordless()])
def test_an_error_that_cannot_say_what_it_is_is_named_by_its_class(error: Exception) -> None:
    """A broken `__str__` does not end the call that is being saved."""
    assert text_of(error) == f"{type(error).__name__} (its message cannot be read)"
    assert fail(course(), error) == 1.0


def test_texts_are_short() -> None:
    """A page of HTML in a message does not become a page in the log."""
    text = text_of(ValueError("x" * 10_000))
    assert (len(text), text[-1]) == (200, "…")
    exact = "x" * (200 - len("ValueError: "))
    assert text_of(ValueError(exact)) == f"ValueError: {exact}"


def test_texts_are_one_line() -> None:
    """An error is shown on one line: a message of several would forge lines of the log."""
    text = text_of(ValueError("a\nERROR forged\r\nb\x1b[31m"))
    assert len(text.splitlines()) == 1
    assert "\n" not in text
