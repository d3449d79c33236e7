"""A deadline on the wire: what is written into headers and environments, and how it is read back.

Over the network a deadline travels as the time that is *left*, because two machines share no clock; what the message
spends on its way is lost, and that errs to the generous side. Two headers say it: ``grpc-timeout`` in gRPC's grammar
(digits, at most eight, and a unit; see gRPC over HTTP/2), and ``request-timeout-ms``, plain milliseconds, for everyone
else. To a child process it travels as a *moment* on the machine's boot clock, with the boot and the time namespace in
which that clock runs, so that the time the child takes to start counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

from attrs import evolve, frozen

from resilience.errors import ConfigError


__all__ = ["ENVIRON", "BootMoment", "Headers", "headers_for", "limit_in"]

GRPC = "grpc-timeout"
PLAIN = "request-timeout-ms"
#: The environment variable that a child process finds its deadline in.
ENVIRON = "RESILIENCE_DEADLINE"

#: What a framework gives as headers: a mapping, or pairs; text or bytes; in any case of letters.
Headers: TypeAlias = (
    Mapping[str, str] | Mapping[bytes, bytes] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]
)

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_GRPC_DIGITS = 8
_PLAIN_DIGITS = 16
_LONGEST_MOMENT = 32


def headers_for(left: float) -> dict[str, str]:
    """The headers that say that `left` seconds are left: whole milliseconds, rounded down; none if there is no limit."""
    if left == math.inf:
        return {}
    milliseconds = int(min(max(0.0, left) * 1000, 10**_PLAIN_DIGITS - 1))
    fits = milliseconds < 10**_GRPC_DIGITS
    grpc = f"{milliseconds}m" if fits else f"{min(milliseconds // 1000, 10**_GRPC_DIGITS - 1)}S"
    return {PLAIN: str(milliseconds), GRPC: grpc}


def limit_in(headers: Headers) -> float | None:
    """The seconds that a request's headers leave; None if they do not say. Said twice, the smaller one counts.

    Raises:
        ConfigError: A value that is not of its header's grammar; it names header and value.
    """
    pairs = cast("Iterable[tuple[object, object]]", headers.items() if isinstance(headers, Mapping) else headers)
    try:
        said = [(_text(name).lower(), value) for name, value in pairs]
    except (TypeError, ValueError):
        raise ConfigError("headers", cast("object", headers), "a mapping, or pairs, of names and values") from None
    return min((_limit(name, _text(value)) for name, value in said if name in {GRPC, PLAIN}), default=None)


def _limit(name: str, value: str) -> float:
    if name == PLAIN:
        if 0 < len(value) <= _PLAIN_DIGITS and value.isascii() and value.isdigit():
            return int(value) / 1000
        raise ConfigError(f"header {PLAIN}", value, f"whole milliseconds, of at most {_PLAIN_DIGITS} digits")
    digits, unit = value[:-1], _UNITS.get(value[-1:])
    if unit is not None and 0 < len(digits) <= _GRPC_DIGITS and digits.isascii() and digits.isdigit():
        return int(digits) * unit
    raise ConfigError(f"header {GRPC}", value, f"at most {_GRPC_DIGITS} digits and one of H, M, S, m, u, n")


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


@frozen
class BootMoment:
    """A moment on a machine's boot clock.

    Args:
        at: Seconds since boot.
        boot: Which boot; empty where the platform does not say.
        namespace: Which time namespace; empty where there are none.
    """

    at: float
    boot: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.at:.6f};{self.boot};{self.namespace}"

    @classmethod
    def parse(cls, text: str) -> BootMoment:
        """Read what `str` wrote; `ConfigError` for anything else."""
        at, _, rest = text.partition(";")
        boot, separator, namespace = rest.partition(";")
        if separator and len(at) <= _LONGEST_MOMENT and at.isascii() and at.replace(".", "", 1).isdigit():
            return cls(float(at), boot, namespace)
        raise ConfigError(
            f"environment variable {ENVIRON}", text, "seconds;boot;namespace, as a parent process wrote it"
        )

    def after(self, seconds: float) -> BootMoment:
        """The moment `seconds` later, on the same clock."""
        return evolve(self, at=self.at + seconds)

    def left(self, now: BootMoment) -> float | None:
        """Seconds from `now` until this moment, 0 if it has passed; None if the two are not on the same clock."""
        if (self.boot, self.namespace) != (now.boot, now.namespace):
            return None
        return max(0.0, self.at - now.at)
