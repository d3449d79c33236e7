"""The proxy as the matrix of lost requests needs it: the faults that end an exchange, each by its name.

The proxy itself is `resilience.testing.FaultProxy`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from enum import StrEnum

from resilience.testing import proxy as public


class Fault(StrEnum):
    """What happens to an exchange."""

    REFUSE = "refuse"
    LOSE_REQUEST = "lose_request"
    LOSE_REPLY = "lose_reply"
    HANG_UP = "hang_up"
    CUT_REPLY = "cut_reply"
    """The answer comes through but for its last byte and what follows."""
    STALL_REPLY = "stall_reply"
    GO_AWAY = "go_away"

    @property
    def public(self) -> public.ProxyFault:
        """What users know it as."""
        if self is Fault.CUT_REPLY:
            return public.ProxyFault.cut_reply(-1)
        found: public.ProxyFault = getattr(public.ProxyFault, self.name)
        return found


class Proxy(public.FaultProxy):
    """A proxy before a server of this machine."""

    def __init__(self, target: int, *, listening: bool = True) -> None:
        super().__init__("127.0.0.1", target, listening=listening)

    def arm(
        self,
        fault: Fault | public.ProxyFault,
        *,
        request: bytes = b"",
        reply: bytes = b"",
        times: int = 1,
        then_refuse: bool = False,
    ) -> None:
        plain = fault.public if isinstance(fault, Fault) else fault
        super().arm(plain, request=request, reply=reply, times=times, then_refuse=then_refuse)


@contextlib.contextmanager
def proxying(target: int, *, listening: bool = True) -> Generator[Proxy]:
    """A proxy before the server on this port, for the length of the block."""
    with Proxy(target, listening=listening) as proxy:
        yield proxy
