"""structlog: a line for each event, with flat fields, and at which level."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from structlog.testing import capture_logs

from resilience.instrumentation import observe
from resilience.instrumentation.structlog import logs


def test_each_event_is_one_line(everything: Callable[[], None]) -> None:
    with capture_logs() as lines:
        observe(logs())
        everything()
    told = [(line["event"], line["log_level"], line["policy"]) for line in lines]
    assert told == [
        ("resilience.retry_scheduled", "warning", "fetch"),
        ("resilience.recovered", "info", "fetch"),
        ("resilience.retry_scheduled", "warning", "fetch"),
        ("resilience.gave_up", "warning", "fetch"),
        ("resilience.gave_up", "info", "fetch"),
        ("resilience.deadline_exceeded", "warning", "page"),
    ]
    assert [line["reason"] for line in lines if line["event"] == "resilience.gave_up"] == ["attempts", "permanent"]
    assert lines[0]["error"] == "ConnectionError: one"
    assert lines[0]["delay"] == 0.5


def test_a_logger_of_the_users_own(everything: Callable[[], None]) -> None:
    """What it is bound to goes on every line."""
    with capture_logs() as lines:
        observe(logs(structlog.get_logger().bind(service="shop")))
        everything()
    assert {line["service"] for line in lines} == {"shop"}
