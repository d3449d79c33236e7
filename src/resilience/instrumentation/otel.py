"""Events to OpenTelemetry: the metrics of `_core.measures`, and events on the current span. Needs the extra ``otel``."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.metrics import Counter, Histogram, Meter, MeterProvider, get_meter, get_meter_provider

from resilience._core.events import Event
from resilience._core.fields import fields_of, name_of_event
from resilience._core.measures import METRICS, Instrument, Metric, measured
from resilience._version import __version__
from resilience.typing import Hook


__all__ = ["metrics", "span_events"]

#: The attributes that OpenTelemetry has names of its own for; the others get our prefix.
_SEMANTIC = {"error_type": "error.type"}


def metrics(meter_provider: MeterProvider | None = None) -> Hook:
    """An observer that counts every event; the names are in the reference, under "Metrics and events".

    Args:
        meter_provider: Who makes the meter; None for the program's own.

    >>> from resilience.instrumentation import observe
    >>> from resilience.instrumentation.otel import metrics, span_events
    >>> observe(metrics(), span_events())
    >>> observe()
    """
    provider = get_meter_provider() if meter_provider is None else meter_provider
    meter = get_meter("resilience", __version__, provider)
    instruments = {metric: _instrument(metric, meter) for metric in METRICS}
    keys = {metric: tuple(map(_attribute, metric.labels)) for metric in METRICS}

    def count(event: Event) -> None:
        for metric, value, labels in measured(event):
            instrument, attributes = instruments[metric], dict(zip(keys[metric], labels, strict=True))
            if isinstance(instrument, Histogram):
                instrument.record(value, attributes)
            else:
                instrument.add(value, attributes)

    return count


def span_events() -> Hook:
    """An observer that adds every event to the span around the call, if that is recorded.

    A call that gave up is not marked as an error there: whether it is one is for the code around it to say.
    """

    def tell(event: Event) -> None:
        span = trace.get_current_span()
        if not span.is_recording():
            return
        attributes = {_attribute(key): value for key, value in fields_of(event).items()}
        span.add_event(f"resilience.{name_of_event(event)}", attributes)

    return tell


def _attribute(label: str) -> str:
    return _SEMANTIC.get(label, f"resilience.{label}")


def _instrument(metric: Metric, meter: Meter) -> Counter | Histogram:
    if metric.instrument is Instrument.COUNTER:
        return meter.create_counter(metric.name, metric.unit, metric.help)
    return meter.create_histogram(
        metric.name, metric.unit, metric.help, explicit_bucket_boundaries_advisory=metric.buckets
    )
