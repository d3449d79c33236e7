"""Why a call gives up: a word for each limit, and a sentence for people."""

from __future__ import annotations

import pickle

from resilience._core.giveup import GiveUp, GiveUpReason


def test_reasons_are_their_plain_strings() -> None:
    """Every limit has a word of its own, equal to its plain string: dashboards count by it."""
    words = [
        "permanent",
        "unsure",
        "attempts",
        "within",
        "deadline",
        "shielded",
        "hint",
        "budget",
        "stop",
        "cancelled",
        "policy",
    ]
    assert [str(reason) for reason in GiveUpReason] == words
    assert list(GiveUpReason) == words


def test_giving_up_is_a_value() -> None:
    """Reason and detail, compared by what they say, picklable, never mistaken for a number of seconds."""
    ending = GiveUp(GiveUpReason.BUDGET, "the retry budget is spent")
    assert (ending.reason, ending.detail) == (GiveUpReason.BUDGET, "the retry budget is spent")
    assert pickle.loads(pickle.dumps(ending)) == ending
    assert ending != GiveUp(GiveUpReason.STOP, "the retry budget is spent")
    assert not isinstance(ending, (int, float))
