"""Events as flat fields, for logs and traces."""

from __future__ import annotations

from typing import Any

import pytest

from resilience import Verdict
from resilience._core.events import DeadlineExceeded, Event, GaveUp, Recovered, RetryScheduled
from resilience._core.fields import fields_of, name_of_event
from resilience._core.giveup import GiveUpReason


def scheduled(**other: Any) -> RetryScheduled:
    facts: dict[str, Any] = {"name": "n", "attempt": 1, "attempts": 4, "delay": 0.5, "elapsed": 0.25}
    facts |= {"verdict": Verdict.unsure(7.0, throttled=True, reason="HTTP 503"), "error": OSError("a\nforged line")}
    return RetryScheduled(**{**facts, **other})


@pytest.mark.parametrize(
    ("event", "name", "fields"),
    [
        (
            scheduled(),
            "retry_scheduled",
            {"name": "n", "depth": 0, "attempt": 1, "attempts": 4, "delay": 0.5, "elapsed": 0.25, "verdict": "unsure"}
            | {"reason": "HTTP 503", "throttled": True, "asked_for": 7.0, "error_type": "OSError"}
            | {"error": "OSError: a\\nforged line"},
        ),
        (
            scheduled(attempts=None, error=None, verdict=Verdict.transient(), depth=2),
            "retry_scheduled",
            {"name": "n", "depth": 2, "attempt": 1, "delay": 0.5, "elapsed": 0.25, "verdict": "transient"}
            | {"throttled": False, "error_type": "result", "error": "result refused"},
        ),
        (
            GaveUp(name="n", attempt=4, elapsed=2.0, reason=GiveUpReason.BUDGET, detail="spent", error=OSError("x")),
            "gave_up",
            {"name": "n", "depth": 0, "attempt": 4, "elapsed": 2.0, "reason": "budget", "detail": "spent"}
            | {"error_type": "OSError", "error": "OSError: x"},
        ),
        (
            Recovered(name="n", attempt=2, elapsed=0.5),
            "recovered",
            {"name": "n", "depth": 0, "attempt": 2, "elapsed": 0.5},
        ),
        (DeadlineExceeded(name="n", limit=2.0), "deadline_exceeded", {"name": "n", "depth": 0, "limit": 2.0}),
        (DeadlineExceeded(name=None, limit=None), "deadline_exceeded", {"depth": 0}),
    ],
    ids=["scheduled", "bare", "gave up", "recovered", "exceeded", "nameless"],
)
def test_fields(event: Event, name: str, fields: dict[str, Any]) -> None:
    """Plain values under stable keys; what is None is left out; no line can be forged."""
    assert name_of_event(event) == name
    assert fields_of(event) == fields
