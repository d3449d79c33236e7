"""What a value must be, checked once, where it enters: each check returns the value made plain, or raises `ConfigError`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, cast

from resilience._core.functions import is_async
from resilience.errors import ConfigError
from resilience.typing import Backoff, Hook


__all__ = [
    "at_least_one",
    "attempts",
    "backoff",
    "count",
    "flag",
    "hooks",
    "number",
    "predicate",
    "seconds",
    "share",
    "text",
]


def number(option: str, value: Any, expected: str) -> float:
    """A finite real number, as a float; a bool is not one."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            plain = float(value)
        except OverflowError:
            plain = math.inf
        if math.isfinite(plain):
            return plain
    raise ConfigError(option, value, expected)


#: Seconds, thirty years: as long as operating systems can be trusted to wait.
LONGEST = 1e9


def seconds(option: str, value: Any, *, zero: bool = False, longest: float = LONGEST) -> float:
    """A length of time, as seconds: a number or a `timedelta`, above 0 (or not below it, with `zero`), not absurd."""
    expected = f"a finite number of seconds (or a timedelta) {'of at least' if zero else 'above'} 0"
    plain = value.total_seconds() if isinstance(value, timedelta) else number(option, value, expected)
    if plain < 0 or (plain == 0 and not zero):
        raise ConfigError(option, value, expected)
    if plain > longest:
        raise ConfigError(option, value, f"at most {longest:g} s")
    return plain


def at_least_one(option: str, value: Any, expected: str = "a whole number of at least 1") -> int:
    """A whole number from 1 up; a bool is not one."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ConfigError(option, value, expected)


def count(option: str, value: Any) -> int:
    """A whole number from 0 up; a bool is not one."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ConfigError(option, value, "a whole number of at least 0")


def share(option: str, value: Any) -> float:
    """A number from 0 to 1."""
    plain = number(option, value, expected := "a number from 0 to 1")
    if 0 <= plain <= 1:
        return plain
    raise ConfigError(option, value, expected)


def attempts(value: int | None) -> int | None:
    """How many tries; None for no limit."""
    return (
        None if value is None else at_least_one("attempts", value, "a whole number of at least 1, or None for no limit")
    )


def flag(option: str, value: Any) -> bool:
    """True or False, and nothing that merely looks like it."""
    if isinstance(value, bool):
        return value
    raise ConfigError(option, value, "True or False")


def text(option: str, value: Any) -> str:
    """A string that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise ConfigError(option, value, "a non-empty string")


def predicate(option: str, value: Any) -> Callable[[Any], bool] | None:
    """A predicate on one value; None where there is none."""
    if value is None or (callable(value) and not is_async(value)):
        return cast("Callable[[Any], bool] | None", value)
    raise ConfigError(option, value, "a predicate (not async) on the returned value, or None")


def backoff(value: Backoff) -> Backoff:
    """An object with a method ``delay(attempt)``."""
    if isinstance(value, type) or not callable(getattr(value, "delay", None)):
        raise ConfigError("backoff", value, "an object with a method delay(attempt), such as ConstantBackoff(1.0)")
    return value


def hooks(value: Hook | Iterable[Hook]) -> tuple[Hook, ...]:
    """Callables that take an event: one, or several."""
    # Not every caller is typed.
    several: tuple[Any, ...] = (value,) if callable(value) or not isinstance(value, Iterable) else tuple(value)
    if all(callable(hook) and not is_async(hook) for hook in several):
        return several
    raise ConfigError("hooks", value, "a callable (not async) that takes an event, or several of them")
