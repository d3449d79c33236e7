"""Observers: who hears the events of every policy."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from resilience import ConstantBackoff, instrumentation, retry
from resilience._io import world
from resilience.errors import ConfigError
from resilience.instrumentation import GaveUp, Recovered, RetryScheduled, observe, otel, prometheus, structlog
from resilience.testing import Script, virtual_time


@pytest.fixture(autouse=True)
def nobody_listens_afterwards() -> Iterator[None]:
    yield
    observe()


def test_all_is_sorted_and_there() -> None:
    assert instrumentation.__all__ == sorted(instrumentation.__all__)
    for name in instrumentation.__all__:
        assert hasattr(instrumentation, name)


def test_observers_hear_every_policy_and_are_replaced_as_a_whole(colour: Any) -> None:
    first: list[Any] = []
    second: list[Any] = []
    observe(first.append, first.append)
    try:
        for name in ("a", "b"):
            policy = retry(on=OSError, name=name, backoff=ConstantBackoff(0))
            colour.run(lambda policy=policy: colour.call(policy, Script(OSError(), 1)))
        assert [(type(event), event.name) for event in first] == [
            (kind, name) for name in "ab" for kind in (RetryScheduled, Recovered) for _ in "12"
        ]
        observe(second.append)
        with pytest.raises(OSError):
            colour.run(lambda: colour.call(retry(on=OSError, attempts=1), Script(OSError())))
    finally:
        observe()
    assert len(first) == 8
    assert [type(event) for event in second] == [GaveUp]


def test_observers_set_before_virtual_time_are_heard_inside_it() -> None:
    heard: list[Any] = []
    observe(heard.append)
    with virtual_time():
        retry(on=OSError).call(Script(OSError(), 1))
    assert len(heard) == 2


def test_an_observer_that_raises_is_logged_and_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: object) -> None:
        raise ZeroDivisionError

    observe(broken)
    with virtual_time():
        assert retry(on=OSError).call(Script(OSError(), 1)) == 1
    assert sum("a hook failed" in record.getMessage() for record in caplog.records) == 2


def test_an_observer_that_cannot_be_one_is_refused() -> None:
    async def never_awaited(event: object) -> None: ...

    for wrong in (never_awaited, None, 3):
        with pytest.raises(ConfigError, match="hooks"):
            observe(wrong)  # type: ignore[arg-type]


def test_what_is_observed_from_inside_virtual_time_on_stays_observed() -> None:
    heard: list[object] = []
    try:
        with virtual_time():
            observe(heard.append)
        assert world.current.observers == (heard.append,)
    finally:
        observe()


def test_what_happens_inside_a_listener_is_told_to_nobody() -> None:
    """An observer that makes a failing retried call of its own is not told of it: that would never end."""
    heard: list[object] = []

    def report(event: object) -> None:
        heard.append(event)
        with pytest.raises(ConnectionError):
            retry(on=ConnectionError, attempts=3, backoff=ConstantBackoff(0)).call(
                Script(*[ConnectionError("down")] * 3)
            )

    observe(report)
    try:
        with pytest.raises(OSError, match="busy"):
            retry(on=OSError, attempts=2, backoff=ConstantBackoff(0)).call(Script(*[OSError("busy")] * 2))
    finally:
        observe()
    assert [type(event).__name__ for event in heard] == ["RetryScheduled", "GaveUp"]


def test_a_log_handler_that_retries_does_not_recurse() -> None:
    """A handler that ships lines by retried calls, while the collector is down: the line that began it comes back unharmed."""

    class Shipping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with pytest.raises(ConnectionError):
                retry(on=ConnectionError, attempts=2, backoff=ConstantBackoff(0)).call(
                    Script(*[ConnectionError("x")] * 2)
                )

    logger, handler = logging.getLogger("resilience"), Shipping()
    logger.addHandler(handler)
    try:
        assert retry(on=OSError, backoff=ConstantBackoff(0)).call(Script(OSError("busy"), "text")) == "text"
    finally:
        logger.removeHandler(handler)


def test_an_event_that_cannot_be_loaded_hides_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no file descriptor left the module of the events cannot be read: the caller's own error comes out."""
    monkeypatch.setitem(sys.modules, "resilience._core.events", None)
    with pytest.raises(ConnectionError, match="mine"):
        retry(on=ConnectionError, attempts=2, backoff=ConstantBackoff(0)).call(Script(*[ConnectionError("mine")] * 2))


@pytest.mark.parametrize("factory", [structlog.logs, prometheus.metrics, otel.metrics, otel.span_events], ids=str)
def test_a_maker_of_observers_is_no_observer(factory: Any) -> None:
    """`observe(logs)` without parentheses would hear everything and tell nobody."""
    with pytest.raises(ConfigError, match="with parentheses"):
        observe(factory)
