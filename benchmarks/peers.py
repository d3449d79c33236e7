"""The other libraries, each set to do what our policies here do: four attempts, no wait in between.

Versions are pinned by the `bench` dependency group. `test_retry.test_all_do_the_same_work` checks that each of them
really makes four attempts and then fails, and that it hands the value through when all is well.
"""

from __future__ import annotations

import asyncio
import importlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from work import Boom


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

ATTEMPTS = 4


def _module(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a peer deprecates on import is not our affair
        return importlib.import_module(name)


tenacity = _module("tenacity")
stamina = _module("stamina")
backoff = _module("backoff")
hyx_retry = _module("hyx.retry")
hyx_timeout = _module("hyx.timeout")
redress = _module("redress")
pyresilience = _module("pyresilience")
MaxDurationExceeded: type[Exception] = _module("hyx.timeout.exceptions").MaxDurationExceeded

# Nobody listens to ours either. Without this it would look for structlog and prometheus on its first retry.
_module("stamina.instrumentation").set_on_retry_hooks([])


def tenacity_options(wait: float = 0.0) -> dict[str, Any]:
    """The arguments of `tenacity.retry` and `tenacity.Retrying`."""
    return {
        "stop": tenacity.stop_after_attempt(ATTEMPTS),
        "wait": tenacity.wait_fixed(wait) if wait else tenacity.wait_none(),
        "retry": tenacity.retry_if_exception_type(Boom),
        "reraise": True,
    }


def stamina_options(wait: float = 0.0) -> dict[str, Any]:
    """The arguments of `stamina.retry` and `stamina.retry_context`."""
    waits = {"wait_initial": wait, "wait_max": wait, "wait_jitter": 0}
    return {"on": Boom, "attempts": ATTEMPTS, "timeout": None, **waits}


def backoff_options(wait: float = 0.0) -> dict[str, Any]:
    """The arguments of `backoff.on_exception`."""
    return {"interval": wait, "jitter": None, "max_tries": ATTEMPTS, "logger": None}


def redress_options(wait: float = 0.0) -> dict[str, Any]:
    """The arguments of `redress.retry`."""
    return {"strategy": lambda _: wait, "max_attempts": ATTEMPTS, "max_unknown_attempts": None}


def pyresilience_options(wait: float = 0.0) -> dict[str, Any]:
    """The arguments of `pyresilience.resilient`."""
    config = pyresilience.RetryConfig(max_attempts=ATTEMPTS, delay=wait, jitter=False, retry_on=(Boom,))
    return {"retry": config}


def retry(wait: float = 0.0) -> dict[str, Decorator]:
    """Each peer's decorator, for functions and coroutine functions."""
    return {
        "tenacity": tenacity.retry(**tenacity_options(wait)),
        "stamina": stamina.retry(**stamina_options(wait)),
        "backoff": backoff.on_exception(backoff.constant, Boom, **backoff_options(wait)),
        "redress": redress.retry(**redress_options(wait)),
        "pyresilience": pyresilience.resilient(**pyresilience_options(wait)),
    }


def aretry(wait: float = 0.0) -> dict[str, Decorator]:
    """`retry`, and the peer that has coroutine functions only."""
    return {**retry(wait), "hyx": hyx_retry.retry(on=Boom, attempts=ATTEMPTS - 1, backoff=wait)}


def within(seconds: float) -> dict[str, Decorator]:
    """Retry under a limit on the whole. None of these cuts an attempt short, or shows its limit to nested calls."""
    stop = tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_after_delay(seconds)
    total = {"max_time": seconds}
    return {
        "tenacity stop_after_delay": tenacity.retry(**{**tenacity_options(), "stop": stop}),
        "stamina timeout": stamina.retry(**{**stamina_options(), "timeout": seconds}),
        "backoff max_time": backoff.on_exception(backoff.constant, Boom, **backoff_options(), **total),
        "redress deadline_s": redress.retry(**redress_options(), deadline_s=seconds),
    }


def attempt_timeout(seconds: float) -> dict[str, Decorator]:
    """Retry under a limit on each attempt. In synchronous code these run it in another thread."""
    limit = pyresilience.TimeoutConfig(seconds=seconds)
    return {
        "redress attempt_timeout_s": redress.retry(**redress_options(), attempt_timeout_s=seconds),
        "pyresilience timeout": pyresilience.resilient(**pyresilience_options(), timeout=limit),
    }


def budget() -> dict[str, Decorator]:
    """Retry under a shared limit on retries. These count retries alone, not their share of the calls."""
    shared = redress.Budget(max_retries=3, window_s=10.0)
    bucket = pyresilience.RetryBudgetConfig(max_retries=3, refill_rate=0.3)
    return {
        "redress budget": redress.retry(**redress_options(), budget=shared),
        "pyresilience budget": pyresilience.resilient(**pyresilience_options(), retry_budget=bucket),
    }


def _no_sleep(_seconds: float) -> None:
    pass


async def _no_asleep(_seconds: float) -> None:
    pass


@contextmanager
def no_sleep() -> Iterator[None]:
    """Waiting costs nothing in this block: `time.sleep(0)` takes 75 µs, and `asyncio.sleep(0)` a turn of the loop.

    The peers call them for a wait of zero seconds. It would be most of what is measured, and none of it theirs.
    """
    with patch.object(time, "sleep", _no_sleep), patch.object(asyncio, "sleep", _no_asleep):
        yield
