"""The metrics: names that are a promise, labels that are few, and what each event adds."""

from __future__ import annotations

import re
from typing import Any

import pytest

from resilience import Verdict
from resilience._core.events import DeadlineExceeded, Event, GaveUp, Recovered, RetryScheduled
from resilience._core.giveup import GiveUpReason
from resilience._core.measures import METRICS, Instrument, error_type, measured


class Busy(Exception):
    """A user's own."""


SCHEDULED = RetryScheduled(
    name="billing",
    attempt=1,
    attempts=4,
    delay=0.5,
    elapsed=0.25,
    verdict=Verdict.transient(throttled=True),
    error=Busy(),
    depth=1,
)
GAVE_UP = GaveUp(name="billing", attempt=4, elapsed=2.5, reason=GiveUpReason.WITHIN, detail="spent", error=OSError())
BUSY = f"{__name__}.Busy"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            SCHEDULED,
            [
                ("resilience.retries", 1, {"name": "billing", "verdict": "transient", "throttled": "true"}
                 | {"error_type": BUSY, "depth": "1"}),
                ("resilience.retry.delay", 0.5, {"name": "billing"}),
            ],
        ),
        (
            GAVE_UP,
            [
                ("resilience.give_ups", 1, {"name": "billing", "reason": "within", "error_type": "OSError", "depth": "0"}),
                ("resilience.call.attempts", 4, {"name": "billing", "outcome": "gave_up"}),
                ("resilience.call.duration", 2.5, {"name": "billing", "outcome": "gave_up"}),
            ],
        ),
        (
            Recovered(name="billing", attempt=2, elapsed=0.5),
            [
                ("resilience.recoveries", 1, {"name": "billing"}),
                ("resilience.call.attempts", 2, {"name": "billing", "outcome": "recovered"}),
                ("resilience.call.duration", 0.5, {"name": "billing", "outcome": "recovered"}),
            ],
        ),
        (DeadlineExceeded(name=None, limit=2.0), [("resilience.deadlines_exceeded", 1, {"name": ""})]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_each_event_adds(event: Event, expected: list[Any]) -> None:
    measures = [
        (metric.name, value, dict(zip(metric.labels, labels, strict=True))) for metric, value, labels in measured(event)
    ]
    assert measures == expected


def test_a_call_that_was_not_tried_again_has_no_duration() -> None:
    """A 404 would drag every quantile to 0: of such a call nothing is known, often not even when it began."""
    once = GaveUp(name="n", attempt=1, elapsed=0.0, reason=GiveUpReason.PERMANENT, detail="d", error=OSError())
    assert [metric.name for metric, _, _ in measured(once)] == ["resilience.give_ups"]


def test_an_event_that_no_metric_knows_adds_nothing() -> None:
    """A later version of the library may tell more."""
    assert list(measured("something new")) == []  # type: ignore[arg-type]


def test_names_are_a_promise() -> None:
    """Dashboards read these: a changed name breaks them."""
    assert [(metric.name, metric.instrument, metric.unit, metric.labels) for metric in METRICS] == [
        ("resilience.retries", "counter", "{retry}", ("name", "verdict", "throttled", "error_type", "depth")),
        ("resilience.retry.delay", "histogram", "s", ("name",)),
        ("resilience.give_ups", "counter", "{call}", ("name", "reason", "error_type", "depth")),
        ("resilience.recoveries", "counter", "{call}", ("name",)),
        ("resilience.call.attempts", "histogram", "{attempt}", ("name", "outcome")),
        ("resilience.call.duration", "histogram", "s", ("name", "outcome")),
        ("resilience.deadlines_exceeded", "counter", "{error}", ("name",)),
    ]


def test_metrics_are_well_formed() -> None:
    """Names as OpenTelemetry wants them; every histogram has its bounds, in order."""
    for metric in METRICS:
        assert re.fullmatch(r"[a-z]+([._][a-z]+)*", metric.name)
        assert metric.help.endswith(".")
        assert bool(metric.buckets) is (metric.instrument is Instrument.HISTOGRAM)
        assert list(metric.buckets) == sorted(set(metric.buckets))


@pytest.mark.parametrize(
    ("error", "name"), [(None, "result"), (OSError(), "OSError"), (TimeoutError(), "TimeoutError"), (Busy(), BUSY)]
)
def test_an_errors_type_is_its_class_with_its_module(error: Exception | None, name: str) -> None:
    assert error_type(error) == name
