"""Events to Prometheus: the metrics of `_core.measures`, by ``prometheus_client``. Needs the extra ``prometheus``."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from resilience._core.events import Event
from resilience._core.measures import METRICS, Instrument, Metric, measured
from resilience.typing import Hook


__all__ = ["metrics"]


def metrics(registry: CollectorRegistry | None = None) -> Hook:
    """An observer that counts every event; the names are in the reference, under "Metrics and events".

    Args:
        registry: Where the metrics are registered; None for prometheus_client's own. Call it once for each.

    Raises:
        ValueError: They are registered there already.

    >>> from prometheus_client import CollectorRegistry
    >>> from resilience.instrumentation import observe
    >>> from resilience.instrumentation.prometheus import metrics
    >>> observe(metrics(CollectorRegistry()))
    >>> observe()
    """
    where = REGISTRY if registry is None else registry
    collectors = {metric: _collector(metric, where) for metric in METRICS}

    def count(event: Event) -> None:
        for metric, value, labels in measured(event):
            collector = collectors[metric].labels(*labels)
            if isinstance(collector, Counter):
                collector.inc(value)
            else:
                collector.observe(value)

    return count


def _collector(metric: Metric, registry: CollectorRegistry) -> Counter | Histogram:
    name = metric.name.replace(".", "_")
    if metric.instrument is Instrument.COUNTER:
        return Counter(name, metric.help, metric.labels, registry=registry)
    unit = "seconds" if metric.unit == "s" else ""
    return Histogram(name, metric.help, metric.labels, unit=unit, buckets=metric.buckets, registry=registry)
