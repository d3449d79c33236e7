"""What kind of callable it is: asked once, right for partials and for objects with a `__call__`."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from resilience._core.functions import checked, is_async, may_return_coroutine, name_of_function
from resilience.errors import ConfigError


def plain() -> int:
    return 1


async def coroutine() -> int:
    return 1


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Plain:
    def __call__(self) -> int:
        return 1

    def method(self) -> int:
        return 1

    async def amethod(self) -> int:
        return 1

    def items(self) -> Iterator[int]:
        yield 1


class Async:
    async def __call__(self) -> int:
        return 1


class Generating:
    def __call__(self) -> Iterator[int]:
        yield 1


def ids(fns: list[Any]) -> list[str]:
    return [f"{number} {type(fn).__name__} {name_of_function(fn)}" for number, fn in enumerate(fns)]


SYNC = [plain, Plain(), Plain().method, len, "".upper, functools.partial(plain), functools.partial(Plain())]
ASYNC = [
    coroutine,
    Async(),
    Plain().amethod,
    functools.partial(coroutine),
    functools.partial(functools.partial(coroutine), 1),
    functools.partial(Async()),
    functools.wraps(plain)(coroutine),
]
GENERATING = [
    generator,
    async_generator,
    Generating(),
    Plain().items,
    functools.partial(generator),
    functools.partial(async_generator),
    functools.partial(Generating()),
]


@pytest.mark.parametrize("fn", SYNC, ids=ids(SYNC))
def test_sync_callables(fn: Callable[..., Any]) -> None:
    """Functions, methods, builtins, objects with a `__call__`, and partials of these are called as they are."""
    assert checked(fn, "retry") is fn
    assert not is_async(fn)


@pytest.mark.parametrize("fn", ASYNC, ids=ids(ASYNC))
def test_async_callables(fn: Callable[..., Any]) -> None:
    """What gives a coroutine is seen through partials and through `__call__`."""
    assert checked(fn, "retry") is fn
    assert is_async(fn)


@pytest.mark.parametrize("fn", GENERATING, ids=ids(GENERATING))
def test_generators_are_refused_with_advice(fn: Callable[..., Any]) -> None:
    """A generator's body runs after the call: a `TypeError` names it and says what to do in its place."""
    with pytest.raises(
        TypeError, match=r"^retry cannot decorate the generator function .*for attempt in policy"
    ) as raised:
        checked(fn, "retry")
    assert name_of_function(fn) in str(raised.value)
    with pytest.raises(TypeError, match=r"^deadline cannot decorate"):
        checked(fn, "deadline")


@pytest.mark.parametrize("value", [None, 3, "fn", [plain]])
def test_what_cannot_be_called_is_refused(value: Any) -> None:
    """Decorating a value is a `ConfigError` that says what it was."""
    with pytest.raises(ConfigError, match=r"^what retry decorates must be a function or another callable; got "):
        checked(value, "retry")


def test_names_are_those_people_know() -> None:
    """Qualified, without `<locals>`, through partials, and by the class for an object."""

    def inner() -> None: ...

    assert name_of_function(plain) == "plain"
    assert name_of_function(Plain().method) == "Plain.method"
    assert name_of_function(inner) == "test_names_are_those_people_know.inner"
    assert name_of_function(functools.partial(functools.partial(plain))) == "plain"
    assert name_of_function(Plain()) == "Plain"
    assert name_of_function(len) == "len"


@pytest.mark.parametrize("kind", [Plain, int])
def test_a_class_is_not_decorated(kind: type) -> None:
    """A class that became a function would fail at the next isinstance, far from here."""
    with pytest.raises(TypeError, match="decorate its methods"):
        checked(kind, "retry")


def test_what_may_give_back_a_coroutine_is_watched() -> None:
    """A lambda, and a plain wrapper around a coroutine function, may; other plain functions are not suspected."""

    async def fetch() -> None: ...

    @functools.wraps(fetch)
    def traced() -> Any:
        return None

    assert [may_return_coroutine(fn) for fn in (lambda: None, traced, plain, len)] == [True, True, False, False]
