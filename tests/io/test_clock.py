"""The machine's time."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path

import pytest

from resilience._io import clock as module
from resilience._io.clock import SystemClock


def test_it_reads_the_machines_clocks() -> None:
    clock = SystemClock()
    assert 0 <= clock.monotonic() - time.monotonic() + 1 <= 1
    assert abs(clock.wall() - time.time()) < 5
    assert clock.boottime() >= 0
    assert clock.monotonic is time.monotonic  # no frame of ours around it


def test_it_waits() -> None:
    clock, event = SystemClock(), threading.Event()
    began = time.monotonic()
    clock.sleep(0.01)
    assert not clock.wait(event, 0.01)
    assert time.monotonic() - began >= 0.02
    event.set()
    assert clock.wait(event)
    clock.announce(30)
    assert time.monotonic() - began < 5


def test_it_starts_daemon_threads() -> None:
    done = threading.Event()
    thread = SystemClock().spawn(done.set, name="beat")
    thread.join(5)
    assert done.is_set()
    assert (thread.name, thread.daemon, thread.is_alive()) == ("beat", True, False)


def test_without_a_boot_clock_the_monotonic_one_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    spec = importlib.util.spec_from_file_location("clock_elsewhere", Path(str(module.__file__)))
    assert spec is not None
    assert spec.loader is not None
    elsewhere = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(elsewhere)
    assert elsewhere.SystemClock.boottime is time.monotonic
