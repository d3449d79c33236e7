"""The brain of retry: what to do after a failure. No clock is read here, nothing is slept, nothing is said.

    attempt fails ─→ worth it? ─→ repeatable? ─→ shielded? ─→ attempts left? ─→ delay ─→ does it fit? ─→ budget? ─→ Wait
                     no: PERMANENT  no: UNSURE   SHIELDED     no: ATTEMPTS     HINT     no: DEADLINE   no: BUDGET

The first "no" is a `GiveUp` that names the limit. The order matters: a call that could not go on anyway takes nothing
from a budget that others share, and a wait that does not fit is never begun: there is no sleeping past a deadline, and
no sleeping only to give up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from attrs import field, frozen

from resilience._core import checks
from resilience._core.classify import Judge
from resilience._core.giveup import GiveUp, GiveUpReason
from resilience._core.verdict import Verdict, VerdictKind
from resilience.errors import DeadlineExceededError
from resilience.typing import Backoff


__all__ = ["DOUBTFUL", "Course", "Rules", "Until", "one_line", "text_of"]

#: What an unlimited policy waits at the least, in seconds: `attempts=None` with no delay must not spin.
LEAST_WAIT_UNLIMITED = 0.001

#: How many different errors the note shows; an unlimited policy may see millions.
REMEMBERED = 5

#: Characters of one of them.
LONGEST_TEXT = 200

REFUSED_RESULT = Verdict.unsure(reason="result refused by retry_result")

# An enum's member costs several times a global's look-up, and these are asked for after every failure.
_PERMANENT, _TRANSIENT, _UNSURE = VerdictKind.PERMANENT, VerdictKind.TRANSIENT, VerdictKind.UNSURE
_INSIDE = Verdict.unsure(reason="an earlier attempt, of a retry inside, may have been applied")

#: Set on the error that a call gives up with, if an attempt before the last may have been applied.
DOUBTFUL = "_resilience_doubtful"


class Until(NamedTuple):
    """The moment that the next attempt must begin before, and which limit that is (told by its `str`)."""

    moment: float
    reason: GiveUpReason
    limit: object


# No comparison and no repr, which attrs would spend import time on.
@frozen(eq=False, repr=False)
class Rules:
    """The part of a policy that decides.

    Args:
        judge: What is worth trying again.
        attempts: How many tries in all; `math.inf` for no limit.
        backoff: How long to wait.
        idempotent: Whether what may have been applied may be tried again.
        max_hint: Seconds; a server that asks for more is not waited for.
        known: The verdicts that depend on the error's class alone; `judge` fills it (see `classify.judge_of`).
    """

    judge: Judge
    attempts: float
    backoff: Backoff
    idempotent: bool
    max_hint: float
    known: dict[type, Verdict]
    used_up: GiveUp = field(init=False)
    least_wait: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.known[type(None)] = REFUSED_RESULT
        used = "its only attempt is used" if self.attempts == 1 else f"all {self.attempts} attempts used"
        object.__setattr__(self, "used_up", GiveUp(GiveUpReason.ATTEMPTS, used))
        object.__setattr__(self, "least_wait", LEAST_WAIT_UNLIMITED if self.attempts == math.inf else 0.0)


class Course:
    """One call on its way through its attempts: the state lives here, and dies with the call.

    It holds no exception and no traceback, so that nothing it sees can be kept alive by it; the earlier errors are kept
    as text.

    Args:
        rules: What decides.
    """

    # Defaults of the class: what a call does not need it does not set.
    attempt: int = 1
    """The attempt under way, or about to begin; from 1."""
    verdict: Verdict
    """On the last failure."""
    doubtful: bool = False
    """Whether one of its attempts may have been applied: a retry around this one sees only the last."""
    shield: str | None = None
    """The retry around that tries again in this one's place; None if there is none. It cannot see a refused result."""
    # What the attempts failed with: the last text and how often in a row, and before it what is said already.
    _last: str = ""
    _times: int = 0
    _said: str = ""
    _parts: int = 0

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def after_failure(
        self, error: Exception | None, now: float, until: Until | None, spend: Callable[[float], bool] | None
    ) -> float | GiveUp:
        """What to do now that attempt number `self.attempt` has failed: wait so many seconds, or give up.

        Where it says to wait, `self.attempt` is already the next one.

        Args:
            error: What it raised; None if it returned what ``retry_result`` refuses.
            now: The monotonic moment.
            until: What the next attempt must begin before; None for no limit.
            spend: Takes one retry from the budget and says whether there was one; None for no budget.
        """
        rules, attempt = self.rules, self.attempt
        try:
            self.verdict = verdict = rules.known.get(type(error)) or rules.judge(error)  # type: ignore[arg-type]  # None is known
            kind = verdict.kind
            if kind is _UNSURE:
                self.doubtful = True
            elif kind is _TRANSIENT and not rules.idempotent and getattr(error, DOUBTFUL, False):
                self.verdict = verdict = _INSIDE
                kind = _UNSURE
            if kind is _PERMANENT or not (rules.idempotent or kind is _TRANSIENT):
                return _final(verdict, error, now, until)
            if self.shield is not None and error is not None:
                return GiveUp(GiveUpReason.SHIELDED, f"shielded by the retry {self.shield!r} around it")
            if attempt >= rules.attempts:
                return rules.used_up
            delay = rules.backoff.delay(attempt)
            if type(delay) is not float or not 0 <= delay < math.inf:
                delay = checks.seconds(f"{type(rules.backoff).__name__}.delay({attempt})", delay, zero=True)
            if verdict.after is not None:
                if verdict.after > rules.max_hint:
                    asked = f"the server asked for {verdict.after:g} s, more than max_hint={rules.max_hint:g}"
                    return GiveUp(GiveUpReason.HINT, asked)
                delay = _on_top(verdict.after, rules.backoff, attempt, delay)
        except Exception as broken:  # the user's classifier or backoff: the caller's own error must still come out
            return GiveUp(GiveUpReason.POLICY, f"the policy itself failed with {text_of(broken)}")
        if delay < rules.least_wait:  # noqa: PLR1730  # `max` is a call
            delay = rules.least_wait
        if until is not None and now + delay >= until.moment:
            left = until.moment - now
            fits_not = f"a wait of {delay:.2f} s does not fit into the {left:.2f} s left of {until.limit}"
            return GiveUp(until.reason, fits_not if left > 0 else f"{until.limit} is spent")
        if spend is not None and not spend(now):
            return GiveUp(GiveUpReason.BUDGET, "the retry budget is spent")
        self.attempt = attempt + 1
        text = "result refused" if error is None else _text(error)
        if text == self._last:
            self._times += 1
        else:
            self._turn(text)
        return delay

    def note(self, name: str, elapsed: float, since: str, ending: GiveUp) -> str:
        """What the exception that goes out says of its past.

        Args:
            name: Who was retried.
            elapsed: Seconds it took.
            since: From when these count, where that is not the start of the call; for one attempt they then say nothing.
            ending: Why it is over.
        """
        attempt = self.attempt
        if attempt == 1:
            took = "" if since else f" in {elapsed:.2f} s"
            return f"{name}: gave up after 1 attempt{took}: {ending.detail}"
        self._turn("")
        earlier = self._said
        if self._parts > REMEMBERED:
            earlier = f"{earlier} | and {self._parts - REMEMBERED} more"
        return (
            f"{name}: gave up after {attempt} attempts in {elapsed:.2f} s{since}: {ending.detail}; earlier: {earlier}"
        )

    def _turn(self, text: str) -> None:
        """Another error than the last one: say that one, with its count, unless enough has been said."""
        if self._times:
            self._parts += 1
            if self._parts <= REMEMBERED:
                last = self._last if self._last.isprintable() else _escaped(self._last)
                if self._times > 1:
                    last = f"{self._times} × {last}"
                self._said = f"{self._said} | {last}" if self._said else last
        self._last = text
        self._times = 1


def _final(verdict: Verdict, error: Exception | None, now: float, until: Until | None) -> GiveUp:
    """The end of a failure that must not be tried again, whatever the limits say."""
    if until is not None and now >= until.moment and isinstance(error, DeadlineExceededError):
        return GiveUp(until.reason, f"{until.limit} is spent")
    if verdict.kind is _PERMANENT:
        return GiveUp(GiveUpReason.PERMANENT, f"not worth trying again ({one_line(verdict.reason)})")
    return GiveUp(GiveUpReason.UNSURE, f"it may already have been applied ({one_line(verdict.reason)})")


def _on_top(hint: float, backoff: Backoff, attempt: int, delay: float) -> float:
    """The server's hint is a floor, with chance on top: clients told the same number must not return as one.

    How much chance is for the backoff to say; one that has nothing to say of it lends its delay.
    """
    scatter = getattr(backoff, "scatter", None)
    if not callable(scatter):
        return hint + delay
    what = f"{type(backoff).__name__}.scatter({attempt}, {hint:g})"
    return max(delay, hint + checks.seconds(what, scatter(attempt, hint), zero=True))


def text_of(error: BaseException) -> str:
    """An error on one line; what cannot say what it is, is named by its class."""
    return one_line(_text(error))


def one_line(text: str) -> str:
    """A text of somebody else's, cut short and without line breaks."""
    text = text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
    return text if text.isprintable() else _escaped(text)


def _text(error: BaseException) -> str:
    try:
        said = str(error)
        text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    except Exception:  # a broken __str__ must not end the call that is being saved
        return f"{type(error).__name__} (its message cannot be read)"
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _escaped(text: str) -> str:
    """Without line breaks and control characters: a server's words must not forge a line of the log."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
