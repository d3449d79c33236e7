"""The floors: the smallest honest decorator one would write by hand for each single thing.

Every figure the benchmarks print is a ratio to one of these. They were written before the library was tuned
and are not touched when it is: each keeps the signature (`functools.wraps`, `*args, **kwargs`), does its one
thing right, and nothing else. What they leave out is the point: no classification, no backoff, no notes,
no events, no names.
"""

from __future__ import annotations

import asyncio
import functools
import math
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any


Errors = tuple[type[Exception], ...] | type[Exception]

#: The moment by which the work must end, as a bare float: what an ambient deadline costs at the least.
MOMENT: ContextVar[float] = ContextVar("moment", default=math.inf)


def retry(on: Errors, attempts: int = 4) -> Callable[..., Any]:
    """Try again, at once, up to `attempts` times: one `try` when all is well."""

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return fn(*args, **kwargs)
            except on:
                if attempts < 2:
                    raise
            attempt = 1
            while True:
                attempt += 1
                try:
                    return fn(*args, **kwargs)
                except on:
                    if attempt >= attempts:
                        raise

        return call

    return decorate


def aretry(on: Errors, attempts: int = 4) -> Callable[..., Any]:
    """`retry` for coroutine functions."""

    def decorate(fn: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        @functools.wraps(fn)
        async def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return await fn(*args, **kwargs)
            except on:
                if attempts < 2:
                    raise
            attempt = 1
            while True:
                attempt += 1
                try:
                    return await fn(*args, **kwargs)
                except on:
                    if attempt >= attempts:
                        raise

        return call

    return decorate


def within(on: Errors, seconds: float, attempts: int = 4) -> Callable[..., Any]:
    """Retry under one total budget that nested calls can read; nested, the earlier moment counts."""

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            now = time.monotonic()
            moment = min(now + seconds, MOMENT.get())
            if moment <= now:
                raise TimeoutError
            token = MOMENT.set(moment)
            try:
                attempt = 0
                while True:
                    attempt += 1
                    try:
                        return fn(*args, **kwargs)
                    except on:
                        if attempt >= attempts or time.monotonic() >= moment:
                            raise
            finally:
                MOMENT.reset(token)

        return call

    return decorate


def awithin(on: Errors, seconds: float, attempts: int = 4) -> Callable[..., Any]:
    """`within` for coroutine functions: the timer ends the attempt that overruns."""

    def decorate(fn: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        @functools.wraps(fn)
        async def call(*args: Any, **kwargs: Any) -> Any:
            async with asyncio.timeout(seconds):
                attempt = 0
                while True:
                    attempt += 1
                    try:
                        return await fn(*args, **kwargs)
                    except on:
                        if attempt >= attempts:
                            raise

        return call

    return decorate


def attempt_timeout(on: Errors, seconds: float, attempts: int = 4) -> Callable[..., Any]:
    """Retry where each attempt has its own budget that nested calls can read."""

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            attempt = 0
            while True:
                attempt += 1
                now = time.monotonic()
                moment = min(now + seconds, MOMENT.get())
                if moment <= now:
                    raise TimeoutError
                token = MOMENT.set(moment)
                try:
                    return fn(*args, **kwargs)
                except on:
                    if attempt >= attempts:
                        raise
                finally:
                    MOMENT.reset(token)

        return call

    return decorate


def aattempt_timeout(on: Errors, seconds: float, attempts: int = 4) -> Callable[..., Any]:
    """`attempt_timeout` for coroutine functions: the timer ends the attempt that overruns."""

    def decorate(fn: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        @functools.wraps(fn)
        async def call(*args: Any, **kwargs: Any) -> Any:
            attempt = 0
            while True:
                attempt += 1
                try:
                    async with asyncio.timeout(seconds):
                        return await fn(*args, **kwargs)
                except on:
                    if attempt >= attempts:
                        raise

        return call

    return decorate


class Window:
    """Calls and retries of the last `window` seconds, in ten slots, shared by threads."""

    def __init__(self, ratio: float, at_least: int, window: float) -> None:
        self.ratio, self.at_least, self.per_second = ratio, at_least, 10 / window
        self.lock = threading.Lock()
        self.slot = 0
        self.calls = [0] * 10
        self.retries = [0] * 10

    def roll(self, slot: int) -> None:
        for passed in range(self.slot + 1, min(slot, self.slot + 10) + 1):
            self.calls[passed % 10] = self.retries[passed % 10] = 0
        self.slot = slot

    def spend(self) -> bool:
        with self.lock:
            slot = int(time.monotonic() * self.per_second)
            if slot != self.slot:
                self.roll(slot)
            if sum(self.retries) + 1 > max(self.at_least, self.ratio * sum(self.calls)):
                return False
            self.retries[slot % 10] += 1
            return True


def budget(on: Errors, window: Window, attempts: int = 4) -> Callable[..., Any]:
    """Retry only while retries stay a small share of the calls: count each call under a lock."""

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            with window.lock:
                slot = int(time.monotonic() * window.per_second)
                if slot != window.slot:
                    window.roll(slot)
                window.calls[slot % 10] += 1
            attempt = 0
            while True:
                attempt += 1
                try:
                    return fn(*args, **kwargs)
                except on:
                    if attempt >= attempts or not window.spend():
                        raise

        return call

    return decorate


def abudget(on: Errors, window: Window, attempts: int = 4) -> Callable[..., Any]:
    """`budget` for coroutine functions."""

    def decorate(fn: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        @functools.wraps(fn)
        async def call(*args: Any, **kwargs: Any) -> Any:
            with window.lock:
                slot = int(time.monotonic() * window.per_second)
                if slot != window.slot:
                    window.roll(slot)
                window.calls[slot % 10] += 1
            attempt = 0
            while True:
                attempt += 1
                try:
                    return await fn(*args, **kwargs)
                except on:
                    if attempt >= attempts or not window.spend():
                        raise

        return call

    return decorate


#: Whether a retry around this call tries again in its place: not empty for as long as its attempts last, for tasks that
#: outlive them have the context still.
SHIELDED: ContextVar[list[bool]] = ContextVar("shielded")


def shield(on: Errors, attempts: int = 4) -> Callable[..., Any]:
    """Retry that lets nested retries try once: they look, after a failure, whether one around them is trying again."""

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            outer, live = SHIELDED.get(None), [True]
            token = SHIELDED.set(live)
            try:
                attempt = 0
                while True:
                    attempt += 1
                    try:
                        return fn(*args, **kwargs)
                    except on:
                        if attempt >= attempts or outer:
                            raise
            finally:
                SHIELDED.reset(token)
                live.clear()

        return call

    return decorate


def ashield(on: Errors, attempts: int = 4) -> Callable[..., Any]:
    """`shield` for coroutine functions."""

    def decorate(fn: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        @functools.wraps(fn)
        async def call(*args: Any, **kwargs: Any) -> Any:
            outer, live = SHIELDED.get(None), [True]
            token = SHIELDED.set(live)
            try:
                attempt = 0
                while True:
                    attempt += 1
                    try:
                        return await fn(*args, **kwargs)
                    except on:
                        if attempt >= attempts or outer:
                            raise
            finally:
                SHIELDED.reset(token)
                live.clear()

        return call

    return decorate
