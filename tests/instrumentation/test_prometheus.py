"""Prometheus: the exposition that a scraper reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from resilience._core.measures import METRICS
from resilience.instrumentation import observe
from resilience.instrumentation.prometheus import metrics


def samples(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What is exposed, by name and labels."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_what_a_scraper_reads(everything: Callable[[], None]) -> None:
    registry = CollectorRegistry()
    observe(metrics(registry))
    everything()
    found = samples(registry)
    error = ("error_type", "ConnectionError")
    retries = (("depth", "0"), error, ("name", "fetch"), ("throttled", "false"), ("verdict", "unsure"))
    assert found["resilience_retries_total", retries] == 2
    assert found["resilience_retry_delay_seconds_count", (("name", "fetch"),)] == 2
    assert found["resilience_retry_delay_seconds_sum", (("name", "fetch"),)] == 1.0
    assert found["resilience_retry_delay_seconds_bucket", (("le", "0.5"), ("name", "fetch"))] == 2
    assert found["resilience_retry_delay_seconds_bucket", (("le", "0.25"), ("name", "fetch"))] == 0
    gave_up = (("depth", "0"), error, ("name", "fetch"), ("reason", "attempts"))
    assert found["resilience_give_ups_total", gave_up] == 1
    assert found["resilience_recoveries_total", (("name", "fetch"),)] == 1
    assert found["resilience_call_attempts_sum", (("name", "fetch"), ("outcome", "gave_up"))] == 2
    assert found["resilience_call_duration_seconds_sum", (("name", "fetch"), ("outcome", "recovered"))] == 0.5
    assert found["resilience_deadlines_exceeded_total", (("name", "page"),)] == 1


def test_every_metric_is_there_from_the_start() -> None:
    """A dashboard made before the first failure finds its metrics."""
    registry = CollectorRegistry()
    metrics(registry)
    text = generate_latest(registry).decode()
    for metric in METRICS:
        assert f"# HELP {metric.name.replace('.', '_')}" in text
        assert metric.help in text


def test_twice_in_one_registry_is_refused() -> None:
    registry = CollectorRegistry()
    metrics(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        metrics(registry)
