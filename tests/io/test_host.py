"""Which boot of which machine, and in which time namespace."""

from __future__ import annotations

import os
from typing import Any

import pytest

from resilience._io.clock import SystemClock
from resilience._io.host import boot_moment, host_now
from resilience.testing import virtual_time


BOOT: Any = SystemClock.boot


def test_two_moments_of_one_process_are_on_one_clock() -> None:
    first, second = boot_moment(), boot_moment()
    assert first.left(second) is not None
    assert second.at >= first.at


def test_it_is_read_from_the_worlds_clock() -> None:
    with virtual_time() as clock:
        clock.advance(5)
        assert boot_moment().at == 5


def test_a_machine_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not Linux, or no /proc: a parent and its child still share one boot."""

    def nothing(*args: object, **kwargs: object) -> str:
        raise FileNotFoundError

    BOOT.cache_clear()
    monkeypatch.setattr("builtins.open", nothing)
    monkeypatch.setattr(os, "readlink", nothing)
    moment = boot_moment()
    monkeypatch.undo()
    BOOT.cache_clear()
    assert (moment.boot, moment.namespace) == ("", "")


def test_a_child_asks_again_which_boot_it_is_in() -> None:
    """It may have been made in another time namespace than its parent runs in."""
    BOOT()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(BOOT.cache_info().currsize).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert os.read(reader, 9) == b"0"
    os.close(reader)


def test_the_clocks_of_a_store_are_those_it_is_given() -> None:
    with virtual_time() as clock:
        clock.advance(2)
        clock.reboot()
        clock.advance(1)
        assert host_now(None) == host_now(clock) == (clock.wall(), 1.0, "virtual boot 2")
