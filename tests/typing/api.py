"""Every public form, with the exact type that a user's checker sees: read by mypy and pyright, never run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar, assert_type

from resilience import Deadline, RetryPolicy, current_deadline, deadline, retry, transient
from resilience.testing import VirtualClock, flaky, virtual_time


T = TypeVar("T")
policy = RetryPolicy(on=(OSError, transient))


@retry(on=transient)
def function(order: int, *, label: str = "") -> str: ...


@retry(on=transient)
async def coroutine(order: int, *, label: str = "") -> str: ...


@retry(on=transient)
def generic(value: T) -> list[T]: ...


@deadline(2.0)
def timed(order: int) -> str: ...


@deadline(2.0)
async def atimed(order: int) -> str: ...


@deadline.interrupting(2.0)
def interrupted(order: int) -> str: ...


class Service:
    @retry(on=transient)
    def method(self, order: int) -> str: ...

    @retry(on=transient)
    async def amethod(self, order: int) -> str: ...

    @classmethod
    @retry(on=transient)
    def inside_classmethod(cls, order: int) -> str: ...

    @retry(on=transient)
    @classmethod
    def outside_classmethod(cls, order: int) -> str: ...

    @retry(on=transient)
    @staticmethod
    def outside_staticmethod(order: int) -> str: ...

    def __call__(self, order: int) -> str: ...


def plain(order: int, *, label: str = "") -> str: ...


async def aplain(order: int, *, label: str = "") -> str: ...


service = Service()

# decorator × function, method, classmethod, staticmethod, callable, partial
assert_type(function(1, label="a"), str)
assert_type(generic(1), list[int])
assert_type(service.method(1), str)
assert_type(Service.inside_classmethod(1), str)
assert_type(Service.outside_classmethod(1), str)
assert_type(Service.outside_staticmethod(1), str)
assert_type(policy(service)(1), str)
assert_type(policy(functools.partial(plain, label="a"))(1), str)
assert_type(timed(1), str)
assert_type(interrupted(1), str)

# a wrong argument is an error at the call, as if the function were not decorated
function("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
service.method("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
function(1, lable="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
policy.call(plain, "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# call
assert_type(policy.call(plain, 1, label="a"), str)
assert_type(policy.call(service.method, 1), str)

# `on` has no default, and nothing is positional
retry()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
retry(plain)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]


def loops() -> None:
    for attempt in policy:
        with attempt:
            assert_type(attempt.number, int)
            assert_type(attempt.remaining, float | None)


async def asynchronous() -> None:  # asyncio and trio look the same to a type checker
    assert_type(await coroutine(1), str)
    assert_type(await service.amethod(1), str)
    assert_type(await atimed(1), str)
    assert_type(await policy.acall(aplain, 1, label="a"), str)
    assert_type(await policy.acall(service.amethod, 1), str)
    await coroutine("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async for attempt in policy:
        with attempt:
            assert_type(attempt.number, int)
    async with deadline(2.0) as d:
        assert_type(d, Deadline)
        assert_type(d.timeout(cap=1.0), float | None)


def deadlines() -> None:
    with deadline(2.0) as d:
        assert_type(d, Deadline)
        assert_type(d.bind(plain)(1, label="a"), str)
        assert_type(d.headers(), dict[str, str])
    assert_type(current_deadline(), Deadline | None)


def values(config: dict[str, object]) -> None:
    assert_type(policy.replace(attempts=2), RetryPolicy)
    assert_type(RetryPolicy.from_config(config, on=OSError), RetryPolicy)
    assert_type(policy.describe(), str)
    policy.replace(atempts=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def kit() -> None:
    with virtual_time() as clock:
        assert_type(clock, VirtualClock)
        assert_type(clock.run_async(aplain(1)), str)
        assert_type(clock.run_trio(aplain, 1), str)
    assert_type(flaky(plain, OSError())(1), str)
    names: Callable[[str], str] = flaky(str.upper)
    assert_type(names("a"), str)
