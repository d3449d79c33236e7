"""What kind of callable this is, asked once, when it is decorated."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar

from resilience.errors import ConfigError


__all__ = [
    "METHOD_WRAPPERS",
    "ConstructorSignature",
    "checked",
    "is_async",
    "may_return_coroutine",
    "name_of_function",
    "not_a_coroutine",
    "refusing_coroutines",
]


_ADVICE = {
    "retry": (
        "decorate the function that fetches one item or one page, or loop inside the generator: "
        "`for attempt in policy: with attempt: ...`"
    ),
    "deadline": "put `with deadline(...)` around the loop that reads it",
    "deadline.interrupting": "put `with deadline.interrupting(...)` around the loop that reads it",
}


def checked(fn: Any, what: str) -> Any:
    """`fn`, if its calls can be wrapped; `TypeError` with advice for what only looks like it."""
    if not callable(fn):
        raise ConfigError(f"what {what} decorates", fn, "a function or another callable")
    if isinstance(fn, type):
        raise TypeError(f"{what} would make a function of the class {name_of_function(fn)}: decorate its methods")
    for target in _targets(fn):
        if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
            # The call returns before the body runs: wrapping it would guard nothing, and running the body again would
            # yield its first items twice.
            raise TypeError(
                f"{what} cannot decorate the generator function {name_of_function(fn)}, whose body runs after the call: "
                f"{_ADVICE[what]}"
            )
    return fn


P = ParamSpec("P")
R = TypeVar("R")

#: What wraps a function in a class: decorated from outside, it is the function within that is decorated.
METHOD_WRAPPERS: Any = (classmethod, staticmethod)


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling `fn` gives a coroutine: also for a partial, and for an object whose ``__call__`` is `async`."""
    return any(inspect.iscoroutinefunction(target) for target in _targets(fn))


def may_return_coroutine(fn: Callable[..., Any]) -> bool:
    """Whether a plain function looks as if it gave back a coroutine: it wraps a coroutine function, or is a lambda."""
    inner = inspect.unwrap(fn)
    return getattr(fn, "__name__", "") == "<lambda>" or (inner is not fn and is_async(inner))


def not_a_coroutine(value: R, advice: str) -> R:
    """`value`, unless it is a coroutine: then nothing was awaited, and so nothing guarded."""
    if isinstance(value, CoroutineType):
        value.close()
        raise TypeError(f"the function returned a coroutine, so nothing was awaited: {advice}")
    return value


def refusing_coroutines(fn: Callable[P, R], advice: str) -> Callable[P, R]:
    """`fn`, whose result is looked at each time by `not_a_coroutine`."""

    @functools.wraps(fn)
    def call_checked(*args: P.args, **kwargs: P.kwargs) -> R:
        return not_a_coroutine(fn(*args, **kwargs), advice)

    return call_checked


class ConstructorSignature:
    """A class's ``__signature__``: of its `__init__`, where a `__new__` before it only gives advice.

    `help`, editors and documentation ask for it. An instance has none: called, it may take something else.
    """

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        return inspect.Signature(list(inspect.signature(vars(owner)["__init__"]).parameters.values())[1:])


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
