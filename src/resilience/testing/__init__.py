"""The kit that proves this library, for proving yours: time that does not pass, failures that come as written.

    with virtual_time() as clock:          # every wait of the library is over at once, and recorded
        fetch()
    assert clock.waits == [...]

`Script` fails as written; `flaky` makes a working function fail first. `VirtualClock` runs whole asyncio and trio
programs without waiting.
"""

from __future__ import annotations

from resilience.testing.clock import VirtualClock, VirtualDeadlock, virtual_time
from resilience.testing.script import Script, ScriptedCall, flaky


__all__ = ["Script", "ScriptedCall", "VirtualClock", "VirtualDeadlock", "flaky", "virtual_time"]
