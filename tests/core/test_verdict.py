"""The verdict: a value with three kinds, made by three constructors."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from resilience._core.verdict import Verdict, VerdictKind
from resilience.errors import ConfigError


def test_the_three_constructors() -> None:
    """Each says one kind; permanent has a reason and no hint."""
    assert Verdict.transient(2.0, throttled=True, reason="r") == Verdict(VerdictKind.TRANSIENT, 2.0, True, "r")
    assert Verdict.unsure(after=0) == Verdict(VerdictKind.UNSURE, 0, False, "")
    assert Verdict.permanent("bad key") == Verdict(VerdictKind.PERMANENT, None, False, "bad key")


@pytest.mark.parametrize("kind", VerdictKind)
def test_kinds_compare_equal_to_their_plain_strings(kind: VerdictKind) -> None:
    """A kind may be compared with, and logged as, its plain string."""
    assert kind == kind.value == str(kind)
    assert sorted(VerdictKind) == ["permanent", "transient", "unsure"]


@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, "30", True, 10**400], ids=lambda v: repr(v)[:20])
def test_a_hint_is_a_finite_length_of_time(value: Any) -> None:
    """A classifier cannot ask for a wait that no clock can make."""
    for make in (Verdict.transient, Verdict.unsure):
        with pytest.raises(ConfigError, match=r"^after must be a finite number of seconds"):
            make(value)


def test_a_verdict_is_a_value() -> None:
    """Frozen, hashable, picklable."""
    verdict = Verdict.unsure(1.5, reason="HTTP 503")
    assert pickle.loads(pickle.dumps(verdict)) == verdict
    assert hash(verdict) == hash(Verdict.unsure(1.5, reason="HTTP 503"))
    with pytest.raises(AttributeError):
        verdict.after = 2.0  # type: ignore[misc]


def test_a_verdict_by_its_plain_word_is_the_verdict() -> None:
    """`Verdict("permanent")` is permanent, not merely equal to it; a word that means nothing is refused."""
    assert Verdict("permanent").kind is VerdictKind.PERMANENT  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="kind"):
        Verdict("permanant")  # type: ignore[arg-type]
