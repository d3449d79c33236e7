"""Classification: members asked in order, composition, groups of exceptions, and what `on` may not admit."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sqlite3
from collections.abc import Callable
from email.message import Message
from typing import Any
from urllib.error import HTTPError

import pytest
import trio

from resilience._core.classify import Classifier, Judge, judge_of, members_of, name_of
from resilience._core.tables import Tables
from resilience._core.verdict import Verdict, VerdictKind
from resilience.errors import ConfigError, DeadlineExceededError


TABLES = Tables(lambda: 1e9)
transient = Classifier(TABLES, (TABLES,))

TRANSIENT, UNSURE, PERMANENT = VerdictKind.TRANSIENT, VerdictKind.UNSURE, VerdictKind.PERMANENT

REFUSED = ConnectionRefusedError(111, "refused")
RESET = ConnectionResetError(104, "reset")
MISSING = FileNotFoundError(2, "missing")


class Busy(Exception):
    """A user's own."""


class Late(Busy):
    """A kind of Busy."""


class OwnReset(ConnectionResetError):
    """A library's own, on top of a standard one."""


def judge(on: Any) -> Judge:
    return judge_of(on, TABLES, {})


def kind_of(verdict: Verdict | None) -> VerdictKind | None:
    return None if verdict is None else verdict.kind


# -- the tables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [TypeError("x"), KeyError("x"), ValueError("x"), AttributeError(), ZeroDivisionError()]
)
def test_bugs_are_nobodys(error: Exception) -> None:
    """A bug is not worth trying again: no table knows it, and a policy takes that for permanent."""
    assert transient(error) is None
    assert judge(transient)(error).kind is PERMANENT


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit(), asyncio.CancelledError()])
def test_what_must_end_is_nobodys(error: BaseException) -> None:
    """Interrupts and cancellations are no failures."""
    assert transient(error) is None


def test_the_standard_library_is_known() -> None:
    """The library is found by the module names of the class and its bases."""
    assert kind_of(transient(REFUSED)) is TRANSIENT
    assert kind_of(transient(RESET)) is UNSURE
    assert kind_of(transient(MISSING)) is PERMANENT
    assert kind_of(transient(OwnReset("reset"))) is UNSURE
    assert kind_of(transient(DeadlineExceededError(2.0))) is UNSURE
    assert transient(sqlite3.ProgrammingError("closed")) is None
    assert transient(Busy()) is None


# -- groups ----------------------------------------------------------------------------------------------------------


def group(*leaves: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("several", leaves)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (group(REFUSED), TRANSIENT),
        (group(REFUSED, REFUSED), TRANSIENT),
        (group(REFUSED, RESET), UNSURE),
        (group(RESET), UNSURE),
        (group(REFUSED, MISSING), PERMANENT),
        (group(REFUSED, Busy()), PERMANENT),
        (group(REFUSED, TypeError()), PERMANENT),
        (group(group(REFUSED), group(group(REFUSED))), TRANSIENT),
        (group(group(REFUSED), group(group(RESET))), UNSURE),
        (group(group(REFUSED, group(KeyError("x")))), PERMANENT),
        (BaseExceptionGroup("several", [REFUSED, KeyboardInterrupt()]), PERMANENT),
        (BaseExceptionGroup("several", [REFUSED, asyncio.CancelledError()]), PERMANENT),
    ],
    ids=repr,
)
def test_groups(error: BaseExceptionGroup[BaseException], kind: VerdictKind) -> None:
    """Transient only if every leaf is, however deep; unsure if one is; permanent if one is not worth it."""
    assert kind_of(transient(error)) is kind


def test_the_longest_hint_of_a_group_counts() -> None:
    """Of several servers' hints the longest one is the floor; one throttled leaf makes the group throttled."""

    def http(status: int, after: str) -> HTTPError:
        headers = Message()
        headers["Retry-After"] = after
        return HTTPError("http://example.org", status, "", headers, None)

    with http(429, "7") as first, http(503, "3") as second, http(502, "none") as third:
        verdict = transient(group(first, second, third))
        unhinted = transient(group(third))
    assert verdict is not None
    assert (verdict.kind, verdict.after, verdict.throttled) == (UNSURE, 7.0, True)
    assert unhinted is not None
    assert (unhinted.after, unhinted.throttled) == (None, False)


def test_a_composed_classifier_judges_the_leaves_too() -> None:
    """`transient | Busy` admits a group of both: the leaves are judged by what the user composed."""
    assert kind_of((transient | Busy)(group(REFUSED, Busy()))) is UNSURE


def test_an_exclusion_reaches_into_groups() -> None:
    """`transient - ConnectionResetError` does not try a group again that holds one."""
    assert kind_of((transient - ConnectionResetError)(group(REFUSED, RESET))) in {None, PERMANENT}


# -- composition -----------------------------------------------------------------------------------------------------


def test_or_admits_more() -> None:
    """A class, a predicate, a classifier, a tuple of these: whatever of them admits the error."""
    for more in (Busy, lambda error: isinstance(error, Busy), (KeyError, (Busy,)), transient | Busy):
        mine = transient | more
        assert kind_of(mine(Busy())) is UNSURE
        assert kind_of(mine(REFUSED)) is TRANSIENT
        assert mine(TypeError()) is None
    assert kind_of((transient | Busy)(Late())) is UNSURE


def test_or_leaves_the_original_alone() -> None:
    """Composing makes a new classifier."""
    before = transient.members
    assert (transient | Busy) is not transient
    assert transient.members == before
    assert transient(Busy()) is None


def test_minus_takes_away() -> None:
    """An excluded class, with its subclasses, is answered None; the rest stays as it was."""
    mine = transient - ConnectionResetError
    assert mine(RESET) is None
    assert mine(OwnReset()) is None
    assert kind_of(mine(REFUSED)) is TRANSIENT
    assert (transient - (ConnectionResetError, TimeoutError))(TimeoutError()) is None
    assert (transient - (lambda error: "reset" in str(error)))(RESET) is None
    assert kind_of(((transient | Busy) - Late)(Busy())) is UNSURE
    assert ((transient | Busy) - Late)(Late()) is None


def test_minus_a_classifier_takes_what_it_admits() -> None:
    """Excluding a classifier excludes what it would try again, not what it calls permanent."""
    mine = (transient | OSError) - transient
    assert mine(REFUSED) is None
    assert kind_of(mine(MISSING)) is UNSURE


def test_or_after_minus_admits_what_it_names() -> None:
    """`this | other` is this, or else the other: what was taken from this is admitted by the other."""
    assert kind_of(((transient - OSError) | ConnectionRefusedError)(REFUSED)) is TRANSIENT


def test_the_first_verdict_of_a_users_own_counts() -> None:
    """Members are asked in order; a verdict counts where it stands, permanent too: the user knows better than a table."""
    asked: list[str] = []

    def member(name: str, answer: Any) -> Callable[[Exception], Any]:
        def ask(error: Exception) -> Any:
            asked.append(name)
            return answer

        return ask

    no, good = Verdict.permanent("no"), Verdict.transient(2.0)
    assert judge((member("none", None), member("good", good), member("no", no)))(Busy()) is good
    assert asked == ["none", "good"]
    assert judge((member("no", no), member("good", good)))(Busy()) is no
    assert judge((member("no", no), transient))(RESET) is no
    assert judge((transient, member("no", no)))(RESET).kind is UNSURE


def test_a_permanent_verdict_of_the_tables_is_not_the_last_word() -> None:
    """What a table finds hopeless, a member after it may still admit; if none does, the table's reason is kept."""
    assert judge((transient, FileNotFoundError))(MISSING).kind is UNSURE
    assert judge(transient | (lambda _: Verdict.transient()))(MISSING).kind is TRANSIENT
    assert judge(transient)(MISSING).reason == "errno ENOENT"


def test_a_class_stands_before_a_classifier_too() -> None:
    """`Busy | transient` reads as it is composed."""
    composed: Any = Busy | transient  # type: ignore[operator]
    assert kind_of(composed(Busy())) is UNSURE
    assert kind_of(composed(REFUSED)) is TRANSIENT
    assert str(composed) == "Busy | transient"


def test_a_cause_that_is_not_there_is_nobodys() -> None:
    assert transient(None) is None


def test_a_group_may_be_taken_away() -> None:
    """A class behind `-` is compared with the group itself as well."""
    assert (transient - ExceptionGroup)(group(RESET)) is None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (True, UNSURE),
        (False, PERMANENT),
        (None, PERMANENT),
        (Verdict.transient(), TRANSIENT),
        (Verdict.unsure(), UNSURE),
        (Verdict.permanent("no"), PERMANENT),
    ],
)
def test_what_a_predicate_or_classifier_may_answer(answer: Any, kind: VerdictKind) -> None:
    """True and False say whether; None is "not mine"; a verdict is taken as it is."""
    assert judge(lambda _: answer)(Busy()).kind is kind
    assert judge((KeyError, lambda _: answer))(Busy()).kind is kind


@pytest.mark.parametrize(
    "answer", ["permanent", VerdictKind.PERMANENT, VerdictKind.TRANSIENT, "no", [1], 1.5], ids=repr
)
def test_nonsense_from_a_classifier_is_not_taken_for_yes(answer: Any) -> None:
    """A kind or a text in place of a verdict is a mistake: it must not try a permanent failure again."""
    try:
        verdict = judge(lambda _: answer)(Busy())
    except Exception:  # a policy then gives up and says that it failed itself
        return
    assert verdict.kind is PERMANENT


def test_a_coroutine_function_is_no_predicate() -> None:
    """The coroutine that it answers is always true, and would admit everything: refused when built."""

    async def worth_it(error: Exception) -> bool:
        return False

    for on in (worth_it, (OSError, worth_it)):
        with pytest.raises(ConfigError, match=r"\(not async\)"):
            judge(on)
    with pytest.raises(ConfigError, match=r"\(not async\)"):
        transient | worth_it  # type: ignore[operator]


def test_a_classifier_that_raises_raises() -> None:
    """Nothing is swallowed here: the brain of retry decides what a broken classifier means."""
    with pytest.raises(ZeroDivisionError):
        judge(lambda _: 1 / 0)(Busy())


@pytest.mark.parametrize(
    ("on", "error", "kind"),
    [
        (ConnectionError, REFUSED, TRANSIENT),
        (ConnectionError, RESET, UNSURE),
        (OSError, MISSING, UNSURE),  # the user says so; whether it was applied nobody knows
        (Busy, Late(), UNSURE),
        (Late, Busy(), PERMANENT),
        (OSError, Busy(), PERMANENT),
        (Exception, group(REFUSED), TRANSIENT),
        (Exception, group(Busy()), UNSURE),
        (ExceptionGroup, group(RESET), UNSURE),
        ((Busy, ConnectionError), REFUSED, TRANSIENT),
        ((Busy, transient), RESET, UNSURE),
        (transient, MISSING, PERMANENT),
        ((), Busy(), PERMANENT),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_class_says_whether_and_the_tables_say_the_rest(on: Any, error: Exception, kind: VerdictKind) -> None:
    """Admitted by its class, an error gets the table's verdict; where the tables know no more, it is unsure."""
    decide = judge(on)
    assert decide(error).kind is kind
    assert decide(error).kind is kind  # and the second time


def test_verdicts_that_hang_on_the_class_alone_are_remembered() -> None:
    """Where classes are all, and no table knows more, the answer is noted for the next time; else it is not."""
    known: dict[type, Verdict] = {}
    decide = judge_of((Busy, OSError), TABLES, known)
    for error in (Busy(), KeyError("x"), RESET, group(Busy())):
        decide(error)
    assert {kind: verdict.kind for kind, verdict in known.items()} == {Busy: UNSURE, KeyError: PERMANENT}


def test_classes_made_at_run_time_are_not_remembered_for_ever() -> None:
    """A program that makes exception classes as it runs does not fill the memory."""
    known: dict[type, Verdict] = {}
    decide = judge_of(Busy, TABLES, known)
    for number in range(1_000):
        assert decide(type(f"Busy{number}", (Busy,), {})()).kind is UNSURE
    assert len(known) <= 256


# -- what `on` may be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        asyncio.CancelledError,
        KeyboardInterrupt,
        SystemExit,
        GeneratorExit,
        BaseException,
        BaseExceptionGroup,
        trio.Cancelled,
    ],
    ids=lambda kind: kind.__name__,
)
def test_what_must_end_is_never_admitted(kind: type[BaseException]) -> None:
    """A class that would swallow a cancellation or an interrupt is refused, alone, in a tuple, and in a composition."""
    for make in (
        lambda: judge(kind),
        lambda: judge((OSError, (kind,))),
        lambda: transient | kind,
        lambda: transient | (OSError, kind),  # type: ignore[operator]
    ):
        with pytest.raises(
            ConfigError, match=r"^on must be a subclass of Exception: only those are ever tried again"
        ) as raised:
            make()
        assert raised.value.value is kind


def test_cancelled_of_a_pool_is_a_failure() -> None:
    """`concurrent.futures.CancelledError` is an `Exception` that reports a fact; only the task's own must end."""
    assert judge(concurrent.futures.CancelledError)(concurrent.futures.CancelledError()).kind is UNSURE


@pytest.mark.parametrize(
    "on", [None, 3, "OSError", [OSError], {OSError}, object(), int, object, OSError(), OSError | KeyError]
)
def test_what_is_no_member_is_refused(on: Any) -> None:
    """A list, an instance, a union type, a class that is no exception: a `ConfigError` that says what would do."""
    for given in (on, (OSError, on)):
        with pytest.raises(ConfigError, match=r"^on must be an exception class, a predicate or classifier"):
            judge(given)
    with pytest.raises(ConfigError):
        transient | on
    with pytest.raises(ConfigError, match=r"^without must be"):
        members_of(on, "without")


def test_members_are_flat() -> None:
    """Tuples in tuples come down to one."""
    assert members_of((OSError, (Busy, (transient,)), ())) == (OSError, Busy, transient)


def test_names_are_written_as_composed() -> None:
    """What a policy says of itself reads as it was written."""
    mine = (transient | Busy | print) - (Late, KeyError)
    assert str(mine) == "transient | Busy | print - Late - KeyError"
    assert name_of(mine) == str(mine)
    assert name_of(TABLES) == "transient"
    assert name_of(OSError) == "OSError"
    assert "Callable" in name_of(CallableObject())


class CallableObject:
    """A classifier as an object."""

    def __call__(self, error: Exception) -> bool:
        return True
