"""The events: frozen records whose fields keep their names."""

from __future__ import annotations

import pickle
from typing import Any

import attrs
import pytest

from resilience._core.events import DeadlineExceeded, Event, GaveUp, Recovered, RetryScheduled
from resilience._core.giveup import GiveUpReason
from resilience._core.verdict import Verdict


SCHEDULED = RetryScheduled(
    name="billing", attempt=1, attempts=None, delay=0.5, elapsed=0.0, verdict=Verdict.transient(), error=None
)
GAVE_UP = GaveUp(name="billing", attempt=4, elapsed=2.5, reason=GiveUpReason.WITHIN, detail="spent", error=None)
RECOVERED = Recovered(name="billing", attempt=2, elapsed=0.5)
EXCEEDED = DeadlineExceeded(name="billing: within", limit=2.0)


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (SCHEDULED, ["name", "attempt", "attempts", "delay", "elapsed", "verdict", "error", "depth"]),
        (GAVE_UP, ["name", "attempt", "elapsed", "reason", "detail", "error", "depth"]),
        (RECOVERED, ["name", "attempt", "elapsed", "depth"]),
        (EXCEEDED, ["name", "limit", "depth"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_field_names_are_stable(event: Any, fields: list[str]) -> None:
    """What hooks and dashboards read keeps its name and its order."""
    assert [field.name for field in attrs.fields(type(event))] == fields


@pytest.mark.parametrize("event", [SCHEDULED, GAVE_UP, RECOVERED, EXCEEDED], ids=lambda event: type(event).__name__)
def test_events_are_frozen_values(event: Any) -> None:
    """No hook can change what the next one hears; records compare and travel."""
    with pytest.raises(AttributeError):
        event.name = "other"
    assert pickle.loads(pickle.dumps(event)) == event
    assert isinstance(event, Event)
    make: Any = type(event)
    with pytest.raises(TypeError):
        make("billing", 1)
