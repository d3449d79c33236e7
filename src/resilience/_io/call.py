"""One retried call: where the brain's answers meet the clock, the Scope, the budget and the listeners.

A `Call` has no colour. The twins in `attempts` attempt and wait; all that is read, decided, told or noted on an error
happens here, once.

It keeps no exception, so that a failed call leaves no cycle (exception → traceback → frame → call → exception) and no
frame alive. The one exemption is `held`: where a deadline or a stop may cut the next wait or attempt short, the last
real error is kept until then, to be named as the cause; the twins let go of it whichever way they end. (A loop that is
left by `break` between two attempts lets go of it when its own object goes.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from attrs import field, frozen

from resilience._core.giveup import GiveUp, GiveUpReason
from resilience._core.retrying import DOUBTFUL, Course, Rules, Until, text_of
from resilience._core.verdict import VerdictKind
from resilience._io import emit, world
from resilience._io.ambient import (
    ALONE,
    UNBOUNDED,
    Mark,
    Retries,
    Scope,
    depth_of,
    enter_retries,
    leave_retries,
    retries_now,
)
from resilience._io.budget import RetryBudget
from resilience.errors import DeadlineExceededError, RetriesExhaustedError
from resilience.typing import Hook


__all__ = ["Call", "Inside", "Plan"]

#: Failures that are final in themselves: no limit ended the call, so there is nothing for `wrap=True` to report.
#: Of these, a shielded one is for the retry around to judge, as it is.
_FINAL = frozenset({GiveUpReason.PERMANENT, GiveUpReason.UNSURE, GiveUpReason.SHIELDED, GiveUpReason.POLICY})


@frozen(eq=False, repr=False)
class Plan:
    """What a policy comes down to, worked out once.

    Args:
        name: The policy's name; None for that of what is retried.
        rules: What the brain needs.
        within: Seconds for all attempts and waits; None for no limit.
        attempt_timeout: Seconds for one attempt; None for no limit.
        budget: The retry budget; None for none.
        refuses: Whether a returned value counts as a failure; None if none does.
        shield_inner: Whether the retries inside an attempt try once.
        wrap: Whether to raise `RetriesExhaustedError` in place of the caller's own.
        hooks: Who is told.
        clocked: Whether the clock must be read before the first attempt.
        plain: Whether nothing need be known before the first failure: a call that succeeds then costs one `try`.
        first_limit: Seconds that the first attempt has, before what is around the call is asked; None for no limit.
        first_limit_name: Which of the two limits that is.
    """

    name: str | None
    rules: Rules
    within: float | None
    attempt_timeout: float | None
    budget: RetryBudget | None
    refuses: Callable[[Any], bool] | None
    shield_inner: bool
    wrap: bool
    hooks: tuple[Hook, ...]
    clocked: bool = field(init=False)
    plain: bool = field(init=False)
    first_limit: float | None = field(init=False)
    first_limit_name: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        limits = [limit for limit in (self.within, self.attempt_timeout) if limit is not None]
        object.__setattr__(self, "first_limit", min(limits, default=None))
        object.__setattr__(self, "first_limit_name", "within" if self.first_limit == self.within else "attempt_timeout")
        clocked = bool(limits) or self.budget is not None or self.refuses is not None
        object.__setattr__(self, "clocked", clocked)
        object.__setattr__(self, "plain", not (clocked or self.shield_inner))


class Call(Course):
    """A course that lives in the world: one retried call.

    Made after the first failure; by the forms that make one before their first attempt, with `attempts.begin`.

    Args:
        plan: What its policy comes down to.
        name: Who is retried, for people.
        started: The monotonic moment it began; of one whose policy is not clocked, at which its first attempt failed.
        outer: The Scope around it.
    """

    # What is seldom set has its default here and not in the constructor, which runs after every first failure.
    held: Exception | None = None
    """The last real error, while a deadline or a stop may cut the next wait or attempt short."""
    limited: bool = False
    """Whether one may."""
    late: bool = False
    """Whether its clock was first read after its first failure: when it began nobody knows."""
    delay: float | None = None
    """Seconds to wait before the next attempt; None before the first."""
    retries: Retries = ALONE
    """The retries around it."""
    _until: Until | None = None
    _told_unsure: bool = False
    _ending: GiveUp

    def __init__(self, plan: Plan, name: str, started: float, outer: Scope) -> None:
        super().__init__(plan.rules)
        self.plan = plan
        self.name = name
        self.started = started
        self.outer = outer
        self._heard = heard = emit.is_heard(plan.hooks)
        retries = retries_now()
        if retries is not ALONE:
            self.retries = retries
            shield = retries[1]
            if shield:
                self.shield = shield[0]
        if outer is not UNBOUNDED or plan.first_limit is not None:
            self._until = self._earliest_limit()
            self.limited = self._until is not None or bool(outer.stops) or plan.attempt_timeout is not None
        self._alone = not (heard or self.limited or plan.budget)

    @classmethod
    def after_first(cls, plan: Plan, name: str, started: float, outer: Scope, error: Exception) -> Call | None:
        """The call whose first attempt has just raised `error`, if another attempt follows; None to let it out."""
        call = cls(plan, name, started, outer)
        if not plan.clocked:
            call.late = True
        if call.failed(error):
            return call
        if call.wraps:
            raise call.exhausted() from error
        return None

    @classmethod
    def after_value(cls, plan: Plan, name: str, started: float, outer: Scope, value: object) -> Call | None:
        """The call whose first attempt has just returned `value`, if another attempt follows; None to return it."""
        call = cls(plan, name, started, outer)
        return None if call.succeeded(value) else call

    @property
    def speaks(self) -> bool:
        """Whether an attempt of it may have something to say to the retries inside it."""
        return self._heard or self.plan.shield_inner

    @property
    def wraps(self) -> bool:
        """Whether, having given up, it raises `exhausted` in place of the caller's own error."""
        return self.plan.wrap and self._ending.reason not in _FINAL

    def enter_attempt(self) -> Inside | None:
        """Let those inside the next attempt see what it says; None where it says nothing. To be left with the attempt."""
        again, shields = self._heard and self.attempt > 1, self.plan.shield_inner  # the depth is for those who listen
        if not (again or shields):
            return None
        (around, shield), mark = self.retries, [self.name]
        return Inside(mark, ((*around, mark) if again else around, mark if shields else shield))

    def failed(self, error: Exception | None) -> bool:
        """The attempt raised `error`, or returned what is refused (None): whether another attempt follows."""
        if self._alone:
            decision = self.after_failure(error, self.started, None, None)
        else:
            self._name_cause(error)
            spend = None if self.plan.budget is None else self.plan.budget.spend
            decision = self.after_failure(error, world.current.monotonic(), self._until, spend)
        if isinstance(decision, GiveUp):
            self._give_up(decision, error)
            return False
        self.delay = decision
        if not self._alone:
            self._tell(self._tell_schedule, error, decision)
            self.held = error if self.limited else None
        return True

    def succeeded(self, value: object) -> bool:
        """The attempt returned `value`: whether that is what the call returns (else another attempt follows)."""
        refuses = self.plan.refuses
        if refuses is not None and refuses(value):
            if self.failed(None):
                return False
            if self.wraps:
                raise self.exhausted()
        elif self._heard and self.attempt > 1:
            self._tell(self._tell_recovery)
        return True

    def exhausted(self) -> RetriesExhaustedError:
        """What a policy with ``wrap=True`` raises from the last error."""
        return RetriesExhaustedError(self.name, self.attempt, self._elapsed(), self._ending.reason.value)

    def scope_of_attempt(self) -> Scope | None:
        """The Scope of the next attempt of a policy with limits; None where it is the one around the call."""
        plan, outer = self.plan, self.outer
        within, timeout = plan.within, plan.attempt_timeout
        if timeout is None or (within is not None and self.started + within <= world.current.monotonic() + timeout):
            limit, at, which = within, self.started + (within or 0.0), "within"
        else:
            limit, at, which = timeout, world.current.monotonic() + timeout, "attempt_timeout"
        return outer.tighter(at, limit, f"{self.name}: {which}") if at < outer.at else None

    def may_begin(self) -> bool:
        """Whether, after a wait, the next attempt may begin: no stop has ended the work, no deadline has passed."""
        until = self._until
        if until is not None and world.current.monotonic() >= until.moment:  # the machine overslept
            self._ending = GiveUp(until.reason, f"{until.limit} ran out during the wait")
            return False
        for stop in self.outer.stops:
            ended = stop.error()
            if ended is not None:
                self._ending = GiveUp(GiveUpReason.STOP, f"stopped by {text_of(ended)}")
                return False
        return True

    def cut_short(self) -> Exception:
        """What to raise when no attempt may begin after a wait: the error that the last attempt ended with."""
        error, self.held = self.held, None
        self.attempt = max(1, self.attempt - 1)  # the next one was never begun
        self._give_up(self._ending, error)
        if error is None or self.wraps:
            exhausted = self.exhausted()
            exhausted.__cause__ = error
            return exhausted
        tb = error.__traceback__
        if tb is not None and str(tb.tb_frame.f_globals.get("__name__")).startswith("resilience."):
            return error.with_traceback(tb.tb_next)  # raised again from the very frame that this entry names
        return error

    def cut_off(self, cut: BaseException) -> None:
        """The call is being left by `cut`, which may be no error of its own: a cancellation, an interrupt.

        Then that is told, and the last real error left as its context, for the deadline that may have done it.
        """
        if not isinstance(cut, Exception):
            if cut.__context__ is None:
                cut.__context__ = self.held
            if self._heard and self.attempt > 1:
                ending = GiveUp(GiveUpReason.CANCELLED, f"cut off by {text_of(cut)}")
                self._tell(self._tell_end, ending, cut, self._elapsed())
        self.held = None

    def _elapsed(self) -> float:
        return world.current.monotonic() - self.started

    def _earliest_limit(self) -> Until | None:
        outer, within = self.outer, self.plan.within
        if within is not None and self.started + within < outer.at:
            return Until(self.started + within, GiveUpReason.WITHIN, f"within={within:g} s")
        return None if outer.at == math.inf else Until(outer.at, GiveUpReason.DEADLINE, outer)

    def _name_cause(self, error: Exception | None) -> None:
        """An attempt that ran out of time says what the attempt before it failed with, if that was a real error."""
        held, self.held = self.held, None
        if isinstance(error, DeadlineExceededError) and error.__cause__ is None and held is not None:
            # Not the deadline error before this one, which named the one before it: the chain would never end.
            error.__cause__ = held.__cause__ if isinstance(held, DeadlineExceededError) else held

    # The events are imported where they are made: a program whose calls all succeed never loads them. Where they cannot be
    # loaded, for want of a file descriptor, nothing is told: the caller's own error must come out.

    def _tell(self, how: Callable[..., None], *facts: object) -> None:
        with suppress(Exception):
            how(*facts)

    def _tell_recovery(self) -> None:
        from resilience._core.events import Recovered  # noqa: PLC0415

        emit.emit(
            self.plan.hooks,
            Recovered(name=self.name, attempt=self.attempt, elapsed=self._elapsed(), depth=depth_of(self.retries)),
        )

    def _tell_schedule(self, error: Exception | None, delay: float) -> None:
        if not self._heard:
            return
        from resilience._core.events import RetryScheduled  # noqa: PLC0415

        attempts = self.rules.attempts
        event = RetryScheduled(
            name=self.name,
            attempt=self.attempt - 1,
            attempts=None if attempts == math.inf else int(attempts),
            delay=delay,
            elapsed=self._elapsed(),
            verdict=self.verdict,
            error=error,
            depth=depth_of(self.retries),
        )
        unsure = error is not None and self.verdict.kind is VerdictKind.UNSURE
        emit.log_retry(event, may_be_applied=unsure and not self._told_unsure)
        self._told_unsure |= unsure
        emit.emit(self.plan.hooks, event)

    def _give_up(self, ending: GiveUp, error: Exception | None) -> None:
        self._ending = ending
        elapsed = self._elapsed()
        if error is not None and (self.attempt > 1 or ending.reason is not GiveUpReason.PERMANENT):
            since = " from the first failure" if self.late else ""
            _note(error, self.note(self.name, elapsed, since, ending), f"{self.name}: gave up after ")
        if self.doubtful and error is not None and self.attempt > 1:
            try:
                setattr(error, DOUBTFUL, True)
            except Exception:  # noqa: S110  # an error that takes no attributes: then only the log has said so
                pass
        if self._heard:
            self._tell(self._tell_end, ending, error, elapsed)

    def _tell_end(self, ending: GiveUp, error: BaseException | None, elapsed: float) -> None:
        from resilience._core.events import GaveUp  # noqa: PLC0415

        event = GaveUp(
            name=self.name,
            attempt=self.attempt,
            elapsed=elapsed,
            reason=ending.reason,
            detail=ending.detail,
            error=error,
            depth=depth_of(self.retries),
        )
        emit.emit(self.plan.hooks, event)


class Inside:
    """An attempt that says something to those inside it; entered when made, and left once."""

    __slots__ = ("_mark", "_token")

    def __init__(self, mark: Mark, retries: Retries) -> None:
        self._mark = mark
        self._token = enter_retries(retries)

    def leave(self) -> None:
        """The attempt is over: those started in it are on their own."""
        self._mark.clear()
        with suppress(ValueError):  # a loop around a `yield`, closed in another context: the mark has ended it there
            leave_retries(self._token)


def _note(error: Exception, note: str, start: str) -> None:
    """Put the note on the error, in place of one of ours from an earlier call: some programs raise one object for ever."""
    notes: object = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        for index, other in enumerate(cast("list[object]", notes)):
            if isinstance(other, str) and other.startswith(start):
                notes[index] = note
                return
    try:
        error.add_note(note)
    except TypeError:  # notes that are no list: the error must come out all the same
        return
