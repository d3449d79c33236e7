"""Which boot of which machine, and in which time namespace."""

from __future__ import annotations

import os

import pytest

from resilience._io.host import boot_moment
from resilience.testing import virtual_time


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

    monkeypatch.setattr("builtins.open", nothing)
    monkeypatch.setattr(os, "readlink", nothing)
    moment = boot_moment()
    monkeypatch.undo()
    assert (moment.boot, moment.namespace) == ("", "")
