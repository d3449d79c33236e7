"""Which boot of which machine this process runs in, and in which time namespace: what makes two boot clocks one."""

from __future__ import annotations

import os

from resilience._core.deadline import BootMoment
from resilience._io import world


__all__ = ["boot_moment"]


def boot_moment() -> BootMoment:
    """Now, on this machine's boot clock."""
    return BootMoment(world.current.clock.boottime(), _boot(), _time_namespace())


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:  # not Linux, or no /proc: a parent and its child still share one boot
        return ""


def _time_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/time")
    except OSError:  # a kernel before 5.6, or not Linux
        return ""
