"""The brain of retry: what to do after a failure. No clock is read here, nothing is slept, nothing is said.

    attempt fails ─→ is it worth it? ─→ may it be repeated? ─→ attempts left? ─→ delay ─→ does it fit? ─→ budget? ─→ Wait
                       no: PERMANENT      no: UNSURE             no: ATTEMPTS    HINT    no: DEADLINE   no: BUDGET

The first "no" is a `GiveUp` that names the limit. The order matters: a call that could not go on anyway takes nothing
from a budget that others share, and a wait that does not fit is never begun: there is no sleeping past a deadline, and
no sleeping only to give up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from attrs import frozen

from resilience._core.classify import Judge
from resilience._core.events import GiveUpReason
from resilience._core.verdict import Verdict, VerdictKind
from resilience.errors import ConfigError, DeadlineExceededError
from resilience.typing import Backoff


__all__ = ["Course", "GiveUp", "Rules", "Until", "text_of"]

#: What an unlimited policy waits at the least, in seconds: `attempts=None` with no delay must not spin.
LEAST_WAIT_UNLIMITED = 0.001

#: How many of the earlier errors the note shows; an unlimited policy may see millions.
REMEMBERED = 5

#: Characters of one of them.
LONGEST_TEXT = 200

REFUSED_RESULT = Verdict.unsure(reason="result refused by retry_result")


@frozen
class GiveUp:
    """Try no more."""

    reason: GiveUpReason
    detail: str


class Until(NamedTuple):
    """The moment that the next attempt must begin before, and which limit that is (told by its `str`)."""

    moment: float
    reason: GiveUpReason
    limit: object


@frozen
class Rules:
    """The part of a policy that decides.

    Args:
        judge: What is worth trying again.
        attempts: How many tries in all; `math.inf` for no limit.
        backoff: How long to wait.
        idempotent: Whether what may have been applied may be tried again.
        max_hint: Seconds; a server that asks for more is not waited for.
    """

    judge: Judge
    attempts: float
    backoff: Backoff
    idempotent: bool
    max_hint: float


class Course:
    """One call on its way through its attempts: the state lives here, and dies with the call.

    It holds no exception and no traceback, so that nothing it sees can be kept alive by it; the earlier errors are kept
    as text.

    Args:
        rules: What decides.
    """

    __slots__ = ("attempt", "earlier", "rules", "verdict")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.attempt = 1
        self.earlier: list[str] = []
        self.verdict = REFUSED_RESULT

    def after_failure(
        self, error: Exception | None, now: float, until: Until | None, spend: Callable[[float], bool] | None
    ) -> float | GiveUp:
        """What to do now that attempt number `self.attempt` has failed: wait so many seconds and go on, or give up.

        Args:
            error: What it raised; None if it returned what ``retry_result`` refuses.
            now: The monotonic moment.
            until: What the next attempt must begin before; None for no limit.
            spend: Takes one retry from the budget and says whether there was one; None for no budget.
        """
        rules, attempt = self.rules, self.attempt
        try:
            self.verdict = verdict = REFUSED_RESULT if error is None else rules.judge(error)
            if verdict.kind is not VerdictKind.TRANSIENT and (final := self._final(verdict, error, now, until)):
                return final
            if attempt >= rules.attempts:
                return GiveUp(GiveUpReason.ATTEMPTS, f"all {attempt} attempts used")
            delay = rules.backoff.delay(attempt)
            if not 0 <= delay < math.inf:
                expected = "finite and not negative"
                raise ConfigError(f"{type(rules.backoff).__name__}.delay({attempt})", delay, expected)
        except Exception as broken:  # the user's classifier or backoff: the caller's own error must still come out
            return GiveUp(GiveUpReason.POLICY, f"the policy itself failed with {text_of(broken)}")
        if verdict.after is not None:
            if verdict.after > rules.max_hint:
                asked = f"the server asked for {verdict.after:g} s, more than max_hint={rules.max_hint:g}"
                return GiveUp(GiveUpReason.HINT, asked)
            delay = self._on_top(verdict.after, delay)
        if delay < LEAST_WAIT_UNLIMITED and rules.attempts == math.inf:
            delay = LEAST_WAIT_UNLIMITED
        if until is not None and now + delay >= until.moment:
            left = max(0.0, until.moment - now)
            return GiveUp(until.reason, f"a wait of {delay:.2f} s does not fit into the {left:.2f} s left of {until.limit}")
        if spend is not None and not spend(now):
            return GiveUp(GiveUpReason.BUDGET, "the retry budget is spent")
        return delay

    def goes_on(self, error: Exception | None) -> None:
        """Begin the next attempt: remember what ended this one, as text, and not for ever."""
        self.attempt += 1
        earlier = self.earlier
        earlier.append("result refused" if error is None else text_of(error))
        if len(earlier) > REMEMBERED:
            del earlier[0]

    def note(self, name: str, elapsed: float, ending: GiveUp) -> str:
        """What the exception that goes out says of its past."""
        tries = "1 attempt" if self.attempt == 1 else f"{self.attempt} attempts"
        said = f"{name}: gave up after {tries} in {elapsed:.2f} s: {ending.detail}"
        if not self.earlier:
            return said
        forgotten = self.attempt - 1 - len(self.earlier)
        more = f"{forgotten} not shown | " if forgotten else ""
        return f"{said}; earlier: {more}{' | '.join(self.earlier)}"

    def _final(self, verdict: Verdict, error: Exception | None, now: float, until: Until | None) -> GiveUp | None:
        """The end of a failure that is not certainly harmless, if it is one."""
        if until is not None and now >= until.moment and isinstance(error, DeadlineExceededError):
            return GiveUp(until.reason, f"{until.limit} is spent")
        if verdict.kind is VerdictKind.PERMANENT:
            return GiveUp(GiveUpReason.PERMANENT, f"not worth trying again ({verdict.reason})")
        if self.rules.idempotent:
            return None
        return GiveUp(GiveUpReason.UNSURE, f"it may already have been applied ({verdict.reason})")

    def _on_top(self, hint: float, delay: float) -> float:
        """The server's hint is a floor, with the jitter on top: clients told the same number must not return as one."""
        least = getattr(self.rules.backoff, "least", None)
        chance = delay if least is None else delay - least(self.attempt)
        return max(delay, hint + chance)


def text_of(error: BaseException) -> str:
    """An error on one line; what cannot say what it is, is named by its class."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # a broken __str__ must not end the call that is being saved
        return f"{type(error).__name__} (its message cannot be read)"
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
