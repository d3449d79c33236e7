"""OpenTelemetry: metrics as the SDK exports them, and events on the span around the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilience._core.measures import METRICS
from resilience.instrumentation import observe
from resilience.instrumentation.otel import metrics, span_events


def test_metrics_as_the_sdk_exports_them(everything: Callable[[], None]) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    observe(metrics(provider))
    everything()
    data = reader.get_metrics_data()
    assert data is not None
    found: dict[str, Any] = {
        metric.name: metric for part in data.resource_metrics[0].scope_metrics for metric in part.metrics
    }
    assert set(found) == {metric.name for metric in METRICS}
    for metric in METRICS:
        assert (found[metric.name].unit, found[metric.name].description) == (metric.unit, metric.help)
    (retries,) = found["resilience.retries"].data.data_points
    assert retries.value == 2
    assert dict(retries.attributes) == {
        "resilience.name": "fetch",
        "resilience.verdict": "unsure",
        "resilience.throttled": "false",
        "error.type": "ConnectionError",
        "resilience.depth": "0",
    }
    (delays,) = found["resilience.retry.delay"].data.data_points
    assert (delays.sum, delays.count, tuple(delays.explicit_bounds)) == (1.0, 2, METRICS[1].buckets)
    provider.shutdown()


def test_the_programs_own_provider_is_the_default(everything: Callable[[], None]) -> None:
    """Without an SDK the API does nothing, and nothing fails."""
    observe(metrics(), span_events())
    everything()


def test_events_on_the_span_around_the_call(everything: Callable[[], None]) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    observe(span_events())
    with provider.get_tracer("test").start_as_current_span("order"):
        everything()
    everything()  # with no span around it
    (span,) = exporter.get_finished_spans()
    assert [event.name for event in span.events] == [
        "resilience.retry_scheduled",
        "resilience.recovered",
        "resilience.retry_scheduled",
        "resilience.gave_up",
        "resilience.gave_up",
        "resilience.deadline_exceeded",
    ]
    first = dict(span.events[0].attributes or {})
    assert first["error.type"] == "ConnectionError"
    assert (first["resilience.name"], first["resilience.delay"], first["resilience.attempt"]) == ("fetch", 0.5, 1)
    assert span.status.is_unset
    provider.shutdown()
