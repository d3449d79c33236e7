"""An event as a name and flat fields, for logs and traces: plain values, no exception, no line break.

The keys are a promise, as the names of the metrics are. Lengths of time are in seconds.
"""

from __future__ import annotations

from typing import TypeAlias

from resilience._core.events import Event, GaveUp, Recovered, RetryScheduled
from resilience._core.measures import error_type
from resilience._core.retrying import one_line, text_of


__all__ = ["Fields", "fields_of", "name_of_event"]

Fields: TypeAlias = dict[str, str | bool | int | float]

_NAME_OF: dict[type, str] = {RetryScheduled: "retry_scheduled", GaveUp: "gave_up", Recovered: "recovered"}


def name_of_event(event: Event) -> str:
    """What kind of event it is, in snake_case."""
    return _NAME_OF.get(type(event), "deadline_exceeded")


def fields_of(event: Event) -> Fields:
    """What it says. A field that would be None is left out."""
    told: dict[str, str | bool | int | float | None] = {"name": event.name, "depth": event.depth}
    if isinstance(event, RetryScheduled):
        verdict = event.verdict
        told |= {"attempt": event.attempt, "attempts": event.attempts, "delay": event.delay, "elapsed": event.elapsed}
        told |= {"verdict": str(verdict.kind), "reason": one_line(verdict.reason) or None}
        told |= {"throttled": verdict.throttled, "asked_for": verdict.after, **_of_error(event.error)}
    elif isinstance(event, GaveUp):
        told |= {"attempt": event.attempt, "elapsed": event.elapsed, "reason": str(event.reason)}
        told |= {"detail": event.detail, **_of_error(event.error)}
    elif isinstance(event, Recovered):
        told |= {"attempt": event.attempt, "elapsed": event.elapsed}
    else:
        told |= {"limit": event.limit}
    return {key: value for key, value in told.items() if value is not None}


def _of_error(error: BaseException | None) -> dict[str, str]:
    return {"error_type": error_type(error), "error": "result refused" if error is None else text_of(error)}
