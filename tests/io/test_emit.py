"""Events out: hooks, observers, and one line of logging."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from resilience import Verdict
from resilience._core.events import Recovered, RetryScheduled
from resilience._io import emit
from resilience._io.world import observing


def scheduled(attempts: int | None = 4, error: Exception | None = None) -> RetryScheduled:
    return RetryScheduled(
        name="n", attempt=1, attempts=attempts, delay=0.12345, elapsed=0.0, verdict=Verdict.unsure(), error=error
    )


def test_hooks_first_then_observers_and_a_broken_one_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def broken(event: object) -> None:
        heard.append("broken")
        raise ZeroDivisionError

    observing(lambda event: heard.append("observer"))
    try:
        emit.emit((lambda event: heard.append("hook"), broken), Recovered(name="n", attempt=2, elapsed=0.0))
    finally:
        observing()
    assert heard == ["hook", "broken", "observer"]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("resilience", "ERROR")
    assert "broken" in record.getMessage()


def test_a_hook_that_interrupts_the_program_is_let_through() -> None:
    def interrupt(event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        emit.emit((interrupt,), Recovered(name="n", attempt=2, elapsed=0.0))


def test_who_hears(caplog: pytest.LogCaptureFixture) -> None:
    assert emit.is_heard(())
    with caplog.at_level(logging.ERROR, logger="resilience"):
        assert not emit.is_heard(())
        assert emit.is_heard((print,))
        observing(print)
        try:
            assert emit.is_heard(())
        finally:
            observing()


@pytest.mark.parametrize(
    ("event", "may_be_applied", "said"),
    [
        (scheduled(), False, "n: attempt 1 of 4 failed (result refused); next in 0.123 s"),
        (scheduled(None), False, "n: attempt 1 failed (result refused); next in 0.123 s"),
        (
            scheduled(error=OSError("gone")),
            True,
            "n: attempt 1 of 4 failed (OSError: gone); next in 0.123 s; it may already have been applied",
        ),
    ],
)
def test_one_line_a_retry(event: Any, may_be_applied: bool, said: str, caplog: pytest.LogCaptureFixture) -> None:
    emit.log_retry(event, may_be_applied=may_be_applied)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", said)]
    caplog.clear()
    with caplog.at_level(logging.ERROR, logger="resilience"):
        emit.log_retry(event, may_be_applied=may_be_applied)
    assert caplog.records == []


def test_an_error_that_cannot_say_what_it_is_is_named_by_its_class(caplog: pytest.LogCaptureFixture) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    emit.log_retry(scheduled(error=Mute()), may_be_applied=False)
    assert "Mute (its message cannot be read)" in caplog.text


def test_warn(caplog: pytest.LogCaptureFixture) -> None:
    emit._cached.clear()
    emit.warn("%s is odd", "it")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", "it is odd")]


def test_a_log_that_cannot_be_loaded_is_heard_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no file descriptor left, `logging` cannot be read: nobody hears, and nothing is raised."""
    monkeypatch.setattr(emit, "_cached", [])
    monkeypatch.setitem(sys.modules, "logging", None)
    assert emit.is_heard(()) is False
    assert emit.is_heard((str,)) is True
