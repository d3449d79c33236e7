"""This moment, as one machine's clocks tell it: to a child process, and to the stores that live on this machine."""

from __future__ import annotations

from resilience._core.deadline import BootMoment
from resilience._core.records import Now
from resilience._io import world
from resilience.typing import Clock


__all__ = ["boot_moment", "host_now"]


def boot_moment() -> BootMoment:
    """Now, on this machine's boot clock."""
    clock = world.current.clock
    boot, _, namespace = clock.boot().partition(";")
    return BootMoment(clock.boottime(), boot, namespace)


def host_now(clock: Clock | None) -> Now:
    """Now, on all clocks of this machine; None for the World's."""
    clock = clock or world.current.clock
    return Now(clock.wall(), clock.boottime(), clock.boot())
