"""What can befall bytes on their way between a client and a server, as values.

A connection is an ordered stream: once bytes of it are lost, nothing that comes after them can arrive. So a fault that
swallows bytes either ends the connection, or leaves it dead in that direction, for good. A fault that ends nothing and
loses nothing (a delay, a trickle, a partition that heals) only holds bytes back, and they arrive in order.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import ClassVar

from attrs import frozen

from resilience._core import checks
from resilience.errors import ConfigError
from resilience.typing import Seconds


__all__ = ["Act", "ProxyFault"]


class Act(Enum):
    """What happens to what one side says."""

    PASS = "it goes through"  # noqa: S105
    DROP = "it is swallowed, and so is all that follows it"
    HOLD = "it is held back until the client asks again"
    RESET = "it is swallowed, and the connection reset"
    CLOSE = "it is swallowed, and the connection closed in good order"
    CUT = "a part goes through, then the connection is closed in good order"
    LAST = "it goes through, then the connection is closed in good order and nobody listens any more"
    PAUSE = "it stays where it is"


@frozen(repr=False)
class ProxyFault:
    """What befalls an exchange, or all of them. One of the constants below, or made by `delay`, `trickle`, `cut_reply`.

    ``REFUSE``: nobody listens; connections that are open stay.
    ``RESET``: connections are reset, and new ones as soon as they are made.
    ``BLACKHOLE``: nothing passes either way and nobody is told; what was said arrives when it is over, new connections too.
    ``HALF_OPEN``: the server has gone, and the client is not told: it may send, and nothing ever answers.
    ``LOSE_REQUEST``: what the client sends is swallowed, the connection reset.
    ``LOSE_REPLY``: the server has done the work; its answer is swallowed, the connection reset.
    ``DROP_REQUEST``: what the client sends is swallowed from here on; the connection stays open, and silent.
    ``DROP_REPLY``: the server has done the work; what it says is swallowed from here on; the connection stays open.
    ``HANG_UP``: like ``LOSE_REPLY``, but the connection is closed in good order.
    ``STALL_REPLY``: the answer is held back until the client, tired of waiting, sends another request, if ever.
    ``GO_AWAY``: the answer comes through, then the connection is closed in good order, and nobody listens any more.

    Args:
        name: For people.
        request: What happens to what the client says.
        reply: What happens to what the server says.
        first: How much of an answer that is cut goes through; negative for all but so many bytes of it.
        request_delay: Seconds by which each request is late.
        reply_delay: Seconds by which each answer is late.
        rate: Bytes per second, in each direction.
    """

    name: str
    request: Act = Act.PASS
    reply: Act = Act.PASS
    first: int = 0
    request_delay: float = 0.0
    reply_delay: float = 0.0
    rate: float = math.inf

    REFUSE: ClassVar[ProxyFault]
    RESET: ClassVar[ProxyFault]
    BLACKHOLE: ClassVar[ProxyFault]
    HALF_OPEN: ClassVar[ProxyFault]
    LOSE_REQUEST: ClassVar[ProxyFault]
    LOSE_REPLY: ClassVar[ProxyFault]
    DROP_REQUEST: ClassVar[ProxyFault]
    DROP_REPLY: ClassVar[ProxyFault]
    HANG_UP: ClassVar[ProxyFault]
    STALL_REPLY: ClassVar[ProxyFault]
    GO_AWAY: ClassVar[ProxyFault]

    @classmethod
    def delay(cls, request: Seconds = 0.0, reply: Seconds = 0.0) -> ProxyFault:
        """Every request and every answer is late by so many seconds.

        Raises:
            ConfigError: A delay that is negative or infinite; or there is none at all.
        """
        late = [checks.seconds(name, value, zero=True) for name, value in (("request", request), ("reply", reply))]
        if not any(late):
            raise ConfigError("delay", (request, reply), "above 0 seconds in one direction at least")
        return cls(f"delay({late[0]:g}, {late[1]:g})", request_delay=late[0], reply_delay=late[1])

    @classmethod
    def trickle(cls, rate: float) -> ProxyFault:
        """Only so many bytes per second pass, in each direction of each connection.

        Raises:
            ConfigError: A rate that is not above 0 and finite.
        """
        expected = "a number of bytes per second, above 0 and finite"
        plain = checks.number("rate", rate, expected)
        if plain <= 0:
            raise ConfigError("rate", rate, expected)
        return cls(f"trickle({plain:g})", rate=plain)

    @classmethod
    def cut_reply(cls, first: int = -1) -> ProxyFault:
        """The answer breaks off after its first so many bytes, then the connection is closed in good order.

        Args:
            first: Bytes that come through; negative as in a slice: -1 for all but the last one.
        """
        if type(first) is not int:
            raise ConfigError("first", first, "a whole number of bytes")
        return cls(f"cut_reply({first})", reply=Act.CUT, first=first)

    @property
    def only_slows(self) -> bool:
        """Whether all bytes go through, sooner or later."""
        return self.request is Act.PASS and self.reply is Act.PASS

    @property
    def strikes_at_once(self) -> bool:
        """Whether a connection need not be used to be struck."""
        return self.request is not Act.PASS and self.reply is not Act.PASS

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"ProxyFault.{self.name}"


ProxyFault.REFUSE = ProxyFault("REFUSE")
ProxyFault.RESET = ProxyFault("RESET", Act.RESET, Act.RESET)
ProxyFault.BLACKHOLE = ProxyFault("BLACKHOLE", Act.PAUSE, Act.PAUSE)
ProxyFault.HALF_OPEN = ProxyFault("HALF_OPEN", Act.DROP, Act.DROP)
ProxyFault.LOSE_REQUEST = ProxyFault("LOSE_REQUEST", Act.RESET)
ProxyFault.LOSE_REPLY = ProxyFault("LOSE_REPLY", Act.PASS, Act.RESET)
ProxyFault.DROP_REQUEST = ProxyFault("DROP_REQUEST", Act.DROP)
ProxyFault.DROP_REPLY = ProxyFault("DROP_REPLY", Act.PASS, Act.DROP)
ProxyFault.HANG_UP = ProxyFault("HANG_UP", Act.PASS, Act.CLOSE)
ProxyFault.STALL_REPLY = ProxyFault("STALL_REPLY", Act.PASS, Act.HOLD)
ProxyFault.GO_AWAY = ProxyFault("GO_AWAY", Act.PASS, Act.LAST)
