"""What kind of callable this is, asked once, when it is decorated."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from resilience.errors import ConfigError


__all__ = ["METHOD_WRAPPERS", "checked", "is_async", "name_of_function"]


def checked(fn: Any, what: str) -> Any:
    """`fn`, if its calls can be told apart into attempts; `TypeError` with advice for a generator function.

    A generator function returns before its body runs: wrapping the call would guard nothing, and running the body
    again would yield its first items twice.
    """
    if not callable(fn):
        raise ConfigError(f"what {what} decorates", fn, "a function or another callable")
    for target in _targets(fn):
        if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
            raise TypeError(
                f"{what} cannot decorate the generator function {name_of_function(fn)}: its body runs after the call has "
                "returned. Decorate the function that fetches one item or one page, or loop inside the generator: "
                "`for attempt in policy: with attempt: ...`"
            )
    return fn


#: What wraps a function in a class: decorated from outside, it is the function within that is decorated.
METHOD_WRAPPERS: Any = (classmethod, staticmethod)


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling `fn` gives a coroutine: also for a partial, and for an object whose ``__call__`` is `async`."""
    return any(inspect.iscoroutinefunction(target) for target in _targets(fn))


def name_of_function(fn: Any) -> str:
    """The name people know `fn` by."""
    while isinstance(fn, functools.partial):
        fn = fn.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    return str(name).replace("<locals>.", "")


def _targets(fn: Any) -> tuple[Any, ...]:
    while isinstance(fn, functools.partial):
        fn = fn.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return (fn,) if inspect.isroutine(fn) or isinstance(fn, type) else (fn, type(fn).__call__)
