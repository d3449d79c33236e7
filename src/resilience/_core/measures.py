"""What is counted: each metric by its name, unit and labels, and what each event adds to which.

The names and labels are a promise, for dashboards and alerts outlive programs. They follow OpenTelemetry's rules: dots
between words, units by their UCUM names; Prometheus is given the same with underscores and its own suffixes. Labels are
few and bounded: the name of a policy, a word from an enum, the class of an error; never a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from resilience._core.events import DeadlineExceeded, Event, GaveUp, Recovered, RetryScheduled


__all__ = ["METRICS", "Instrument", "Measure", "Metric", "error_type", "measured"]

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ATTEMPTS = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0)


class Instrument(StrEnum):
    """The two ways to count."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One thing that is counted.

    Args:
        name: With dots.
        instrument: A counter or a histogram.
        unit: By UCUM: ``"s"``, or a word in braces for things that are counted.
        labels: What it is told apart by.
        help: What it counts, in a sentence.
        buckets: Of a histogram, the upper bounds.
    """

    name: str
    instrument: Instrument
    unit: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


class Measure(NamedTuple):
    """What one event adds to one metric; `labels` are the values, in the order of the metric's own."""

    metric: Metric
    value: float
    labels: tuple[str, ...]


RETRIES = Metric(
    "resilience.retries",
    Instrument.COUNTER,
    "{retry}",
    ("name", "verdict", "throttled", "error_type", "depth"),
    "Attempts that failed and that another one follows.",
)
RETRY_DELAY = Metric(
    "resilience.retry.delay",
    Instrument.HISTOGRAM,
    "s",
    ("name",),
    "Seconds between a failed attempt and the next one, as decided.",
    _SECONDS,
)
GIVE_UPS = Metric(
    "resilience.give_ups",
    Instrument.COUNTER,
    "{call}",
    ("name", "reason", "error_type", "depth"),
    "Calls that ended in failure, by the limit that ended them.",
)
RECOVERIES = Metric(
    "resilience.recoveries",
    Instrument.COUNTER,
    "{call}",
    ("name",),
    "Calls that succeeded after at least one failed attempt.",
)
CALL_ATTEMPTS = Metric(
    "resilience.call.attempts",
    Instrument.HISTOGRAM,
    "{attempt}",
    ("name", "outcome"),
    "Attempts of a call that was tried again.",
    _ATTEMPTS,
)
CALL_DURATION = Metric(
    "resilience.call.duration",
    Instrument.HISTOGRAM,
    "s",
    ("name", "outcome"),
    "Seconds of a call that was tried again; of a plain policy's call, from its first failure on.",
    _SECONDS,
)
DEADLINES_EXCEEDED = Metric(
    "resilience.deadlines_exceeded",
    Instrument.COUNTER,
    "{error}",
    ("name",),
    "DeadlineExceededError raised, by the name of the deadline.",
)

METRICS = (RETRIES, RETRY_DELAY, GIVE_UPS, RECOVERIES, CALL_ATTEMPTS, CALL_DURATION, DEADLINES_EXCEEDED)


def measured(event: Event) -> Iterator[Measure]:
    """What `event` adds to the metrics."""
    if isinstance(event, RetryScheduled):
        verdict, throttled = str(event.verdict.kind), str(event.verdict.throttled).lower()
        labels = (event.name, verdict, throttled, error_type(event.error), str(event.depth))
        yield Measure(RETRIES, 1, labels)
        yield Measure(RETRY_DELAY, event.delay, (event.name,))
    elif isinstance(event, GaveUp):
        yield Measure(GIVE_UPS, 1, (event.name, str(event.reason), error_type(event.error), str(event.depth)))
        yield from _of_call(event, "gave_up")
    elif isinstance(event, Recovered):
        yield Measure(RECOVERIES, 1, (event.name,))
        yield from _of_call(event, "recovered")
    elif isinstance(event, DeadlineExceeded):  # pyright: ignore[reportUnnecessaryIsInstance]  # a later version's event counts nothing
        yield Measure(DEADLINES_EXCEEDED, 1, (event.name or "",))


def error_type(error: BaseException | None) -> str:
    """The class of an error with its module, as OpenTelemetry names it; "result" for a result that was refused."""
    if error is None:
        return "result"
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _of_call(event: GaveUp | Recovered, outcome: str) -> Iterator[Measure]:
    if event.attempt == 1:
        return  # a 404, say: of a call that was not tried again nothing is known, often not even when it began
    yield Measure(CALL_ATTEMPTS, event.attempt, (event.name, outcome))
    yield Measure(CALL_DURATION, event.elapsed, (event.name, outcome))
