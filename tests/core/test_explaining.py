"""Why an exception was judged so: which row, which member, which leaf."""

from __future__ import annotations

import errno
import gc
import pickle
import weakref
from email.message import Message
from urllib.error import HTTPError, URLError

import pytest

from resilience import Verdict, transient
from resilience._core.explaining import Explanation


class Busy(Exception):
    """A user's own."""


def only_gone(error: BaseException) -> bool:
    return "gone" in str(error)


def polite(error: BaseException) -> Verdict | None:
    return Verdict.transient(2.0, throttled=True) if isinstance(error, Busy) else None


def test_a_row() -> None:
    found = transient.explain(ConnectionResetError(errno.ECONNRESET, "reset"))
    assert found == Explanation(
        "ConnectionResetError: [Errno 104] reset",
        Verdict.unsure(reason="errno ECONNRESET"),
        "builtins.OSError, errno ECONNRESET",
        None,
    )
    assert found.why == "errno ECONNRESET"
    assert pickle.loads(pickle.dumps(found)) == found


def test_what_is_wrapped() -> None:
    found = transient.explain(URLError(ConnectionRefusedError("nobody")))
    assert found.row == "urllib.error.URLError, by its reason"
    assert [part.row for part in found.parts] == ["builtins.ConnectionRefusedError, errno none"]
    assert str(found).splitlines() == [
        "unsure: refused; but its traceback does not show that there was no earlier request of the same call",
        "  URLError: <urlopen error nobody>",
        "  by the row: urllib.error.URLError, by its reason",
        "    transient: refused",
        "      ConnectionRefusedError: nobody",
        "      by the row: builtins.ConnectionRefusedError, errno none",
    ]


def test_a_hint_and_throttling_are_said() -> None:
    headers = Message()
    headers["Retry-After"] = "7"
    with HTTPError("http://x", 503, "busy", headers, None) as error:
        assert str(transient.explain(error)).splitlines()[0] == "unsure: HTTP 503; asked for 7 s; throttled"


def test_the_leaves_of_a_group() -> None:
    """Each leaf is explained; the one that nobody knows is why the group is permanent."""
    found = transient.explain(ExceptionGroup("two", [ConnectionRefusedError(), ExceptionGroup("one", [KeyError("k")])]))
    assert found.verdict == Verdict.permanent("a group with a leaf that is not worth trying again")
    assert (found.row, found.member) == (None, "the leaves of the group")
    assert [part.error for part in found.parts] == ["ConnectionRefusedError", "KeyError: 'k'"]
    assert "  by: the leaves of the group" in str(found).splitlines()


@pytest.mark.parametrize(
    ("on", "member", "why"),
    [
        (transient | Busy, "Busy", "admitted by the policy"),
        (transient | only_gone, "only_gone", "admitted by the policy"),
        (transient | polite, "polite", "no reason given"),
        ((transient | Busy) - Busy, "left out by - Busy", "left out by - Busy"),
        (transient, None, "no table and no member of the policy's `on` knows it: never tried again"),
    ],
    ids=str,
)
def test_a_member(on: object, member: str | None, why: str) -> None:
    """A class, a predicate, a classifier of the user's, an exclusion, nobody."""
    found = on.explain(Busy("gone"))  # type: ignore[attr-defined]
    assert (found.row, found.member, found.why) == (None, member, why)


def test_a_class_that_admits_what_a_table_knows_more_of() -> None:
    """The class says whether, the table says the rest: both are shown."""
    found = (transient - OSError | ConnectionError).explain(ConnectionRefusedError())
    assert found.verdict is not None
    assert found.verdict.kind == "transient"
    assert found.member == "ConnectionError"
    assert [part.row for part in found.parts] == ["builtins.ConnectionRefusedError, errno none"]


def test_a_broken_str_is_explained_too() -> None:
    class Mute(ConnectionResetError):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    assert transient.explain(Mute()).error == "Mute (its message cannot be read)"


def test_a_classifier_that_fails_is_explained() -> None:
    """A policy ends the call then; whoever asks why is told."""

    def broken(error: BaseException) -> bool:
        raise LookupError("no such code")

    found = (transient | broken).explain(Busy("x"))
    assert (found.verdict, found.member) == (None, "a classifier failed with LookupError: no such code")
    assert str(found).splitlines()[0] == "unknown: a classifier failed with LookupError: no such code"


def test_it_keeps_no_exception() -> None:
    """An explanation may be kept; the frames of the failure must not be kept with it."""

    class Held(ConnectionResetError):
        pass

    error = Held()
    gone = weakref.ref(error)
    found = transient.explain(error)
    del error
    gc.collect()
    assert gone() is None
    assert found.verdict is not None
