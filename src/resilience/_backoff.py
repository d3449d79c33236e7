"""The backoffs: values that say how long to wait after attempt n, with chance drawn from the World.

Frozen, comparable, picklable, shareable by threads and tasks: what a call has seen is kept in the call. (One mutable
backoff shared by concurrent calls waits 12.8 s where 0.8 was configured; a peer shipped that.) Anything with a
``delay(attempt)`` will do in their place. The arithmetic is in `_core.backoff`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import field, frozen

from resilience._core import checks
from resilience._core.backoff import Jitter, ceiling
from resilience._io import world
from resilience.errors import ConfigError
from resilience.typing import Seconds


__all__ = ["ConstantBackoff", "ExponentialBackoff", "SequenceBackoff", "with_backoff"]


_NONE = Jitter.NONE


def _initial(value: Seconds) -> float:
    return checks.seconds("initial", value, zero=True)


def _cap(value: Seconds) -> float:
    return checks.seconds("cap", value, zero=True)


def _factor(value: float) -> float:
    growth = checks.number("factor", value, expected := "a finite number of at least 1")
    if growth < 1:
        raise ConfigError("factor", value, expected)
    return growth


def _wait(value: Seconds) -> float:
    return checks.seconds("delay", value, zero=True)


def _waits(value: Iterable[Seconds]) -> tuple[float, ...]:
    try:
        waits = tuple(value)
    except TypeError:
        raise ConfigError("delays", value, "a sequence of delays in seconds") from None
    if not waits:
        raise ConfigError("delays", value, "at least one delay")
    return tuple(map(_wait, waits))


def _jitter(value: Jitter | str) -> Jitter:
    return Jitter.of(value)


def _named(jitter: Jitter) -> str:
    return "no jitter" if jitter is _NONE else f"{jitter} jitter"


def _draw(jitter: Jitter, whole: float) -> float:
    least = jitter.least(whole)
    return least + (whole - least) * world.current.rng.random()


def _scatter(jitter: Jitter, whole: float) -> float:
    return (whole - jitter.least(whole)) * world.current.rng.random()


@frozen
class ExponentialBackoff:
    """Longer after each failure, by a factor, up to a cap; of what that gives, chance takes its part.

    Safe for threads and tasks. No attempt number is too large for it.

    Args:
        initial: Seconds (or a `timedelta`) after the first failure, before jitter.
        cap: Seconds that no wait exceeds; the jitter is applied to what the cap left.
        factor: What each wait is multiplied by to give the next; at least 1.
        jitter: Which part is left to chance: a `Jitter`, or its name.

    Raises:
        ConfigError: A value outside these bounds, or ``initial > cap``.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015).

    >>> from resilience import ExponentialBackoff, Jitter
    >>> steady = ExponentialBackoff(initial=0.1, cap=5.0, jitter=Jitter.NONE)
    >>> [steady.delay(attempt) for attempt in (1, 2, 3, 1_000_000)]
    [0.1, 0.2, 0.4, 5.0]
    """

    initial: float = field(default=0.1, converter=_initial)
    cap: float = field(default=5.0, converter=_cap)
    factor: float = field(default=2.0, converter=_factor)
    jitter: Jitter = field(default=Jitter.FULL, converter=_jitter)

    def __attrs_post_init__(self) -> None:
        if self.initial > self.cap:
            raise ConfigError("initial", self.initial, f"at most the cap of {self.cap:g} s")

    def delay(self, attempt: int, /) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) has failed."""
        whole = ceiling(self.initial, self.cap, self.factor, attempt)
        return whole if self.jitter is _NONE else _draw(self.jitter, whole)

    def least(self, attempt: int, /) -> float:
        """The part of that delay which chance does not touch."""
        return self.jitter.least(ceiling(self.initial, self.cap, self.factor, attempt))

    def most(self, attempt: int, /) -> float:
        """The longest that delay can be."""
        return ceiling(self.initial, self.cap, self.factor, attempt)

    def scatter(self, attempt: int, hint: float, /) -> float:
        """Seconds of chance on top of a server's `hint`: that of a delay as long as the hint, within the cap.

        What chance has of the first delays, a tenth of a second, would not keep those apart who were told the same moment.
        """
        return _scatter(self.jitter, max(self.most(attempt), min(hint, self.cap)))

    def __str__(self) -> str:
        return f"{self.initial:g} s × {self.factor:g} up to {self.cap:g} s, {_named(self.jitter)}"


@frozen
class ConstantBackoff:
    """The same wait after every failure. Safe for threads and tasks.

    Args:
        every: Seconds (or a `timedelta`); 0 tries again at once.
        jitter: Which part is left to chance; none, unless asked for.

    Raises:
        ConfigError: A negative or non-finite wait.

    >>> from resilience import ConstantBackoff
    >>> ConstantBackoff(2.0).delay(7)
    2.0
    """

    every: float = field(converter=_wait)
    jitter: Jitter = field(default=Jitter.NONE, converter=_jitter)

    def delay(self, attempt: int, /) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) has failed."""
        return self.every if self.jitter is _NONE else _draw(self.jitter, self.every)

    def least(self, attempt: int, /) -> float:
        """The part of that delay which chance does not touch."""
        return self.jitter.least(self.every)

    def most(self, attempt: int, /) -> float:
        """The longest that delay can be."""
        return self.every

    def scatter(self, attempt: int, hint: float, /) -> float:
        """Seconds of chance on top of a server's `hint`: that of any delay."""
        return _scatter(self.jitter, self.every)

    def __str__(self) -> str:
        return f"{self.every:g} s, {_named(self.jitter)}"


@frozen
class SequenceBackoff:
    """These waits, one after the other; the last one stays. Safe for threads and tasks.

    Args:
        delays: Seconds (or `timedelta` each); at least one.
        jitter: Which part is left to chance; none, unless asked for.

    Raises:
        ConfigError: No delay at all, or a negative or non-finite one.

    >>> from resilience import SequenceBackoff
    >>> patient = SequenceBackoff([1, 5, 30])
    >>> [patient.delay(attempt) for attempt in (1, 2, 3, 4)]
    [1.0, 5.0, 30.0, 30.0]
    """

    delays: tuple[float, ...] = field(converter=_waits)
    jitter: Jitter = field(default=Jitter.NONE, converter=_jitter)

    def delay(self, attempt: int, /) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) has failed."""
        return self.most(attempt) if self.jitter is _NONE else _draw(self.jitter, self.most(attempt))

    def least(self, attempt: int, /) -> float:
        """The part of that delay which chance does not touch."""
        return self.jitter.least(self.most(attempt))

    def most(self, attempt: int, /) -> float:
        """The longest that delay can be."""
        return self.delays[min(attempt, len(self.delays)) - 1]

    def scatter(self, attempt: int, hint: float, /) -> float:
        """Seconds of chance on top of a server's `hint`: that of a delay as long as the hint, within the longest."""
        return _scatter(self.jitter, max(self.most(attempt), min(hint, max(self.delays))))

    def __str__(self) -> str:
        return f"{', '.join(f'{delay:g}' for delay in self.delays)} s, {_named(self.jitter)}"


def with_backoff(options: dict[str, Any]) -> dict[str, Any]:
    """A configuration's settings of a backoff, made into one."""
    parts = {key: options.pop(key) for key in ("initial", "cap", "factor", "jitter", "delays") if key in options}
    if "delays" in parts:
        mixed = parts.keys() - {"delays", "jitter"}
        if mixed:
            raise ConfigError("delays", parts["delays"], f"without {', '.join(sorted(mixed))}: a sequence says it all")
        options["backoff"] = SequenceBackoff(**parts)
    elif parts:
        options["backoff"] = ExponentialBackoff(**parts)
    return options
