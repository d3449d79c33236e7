"""Pitfalls of classification, of hints, of nesting and of storms, each as a test by its name."""

from __future__ import annotations

import asyncio
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3
from tests.conftest import Colour
from tests.servers.http import free_port, says, serving

from resilience import ConstantBackoff, RetryBudget, retry, transient
from resilience.instrumentation import RetryScheduled
from resilience.testing import Script, virtual_time


AT_ONCE = ConstantBackoff(0)


class Down:
    """A server that is down, and counts who knocks; safe for threads."""

    def __init__(self) -> None:
        self.requests = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.requests += 1
        raise ConnectionRefusedError("down")

    async def acall(self) -> None:
        self()


# -- nesting -----------------------------------------------------------------------------------------------------------


def test_nested_retries_multiply(colour: Colour) -> None:
    """nanobot #2760: 12 requests where 4 were meant. The depth is visible, and a shield on the outer one leaves 4."""
    depths: list[int] = []

    def hear(event: Any) -> None:
        if isinstance(event, RetryScheduled) and event.name == "inner":
            depths.append(event.depth)

    def requests_made(shield: bool) -> int:
        down = Down()
        inner = retry(on=transient, attempts=3, backoff=AT_ONCE, name="inner", hooks=hear)
        outer = retry(on=transient, attempts=4, backoff=AT_ONCE, name="outer", shield_inner=shield)

        async def scenario() -> None:
            with pytest.raises(ConnectionRefusedError):
                await colour.call(outer, inner(colour.fn(down)))

        colour.run(scenario)
        return down.requests

    assert requests_made(shield=False) == 12
    assert depths == [0, 0, 1, 1, 1, 1, 1, 1]
    depths.clear()
    assert requests_made(shield=True) == 4
    assert depths == []


# -- hints -------------------------------------------------------------------------------------------------------------


def by_urllib(url: str) -> object:
    with urllib.request.urlopen(url, timeout=5) as response:
        return response.read()


def by_urllib3(url: str) -> object:
    # urllib3 raises for a status only where its own retries are used up.
    with urllib3.PoolManager(
        retries=urllib3.Retry(0, status_forcelist=[429, 503], respect_retry_after_header=False)
    ) as pool:
        return pool.request("GET", url).data


def by_requests(url: str) -> object:
    with requests.get(url, timeout=5) as response:
        response.raise_for_status()
        return response.content


def by_httpx(url: str) -> object:
    return httpx.get(url, timeout=5).raise_for_status().content


def by_aiohttp(url: str) -> object:
    async def get() -> bytes:
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as response:
            return await response.read()

    return asyncio.run(get())


@pytest.mark.parametrize("get", [by_urllib, by_requests, by_httpx, by_aiohttp], ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_only_on_429_or_days_dropped(get: Callable[[str], object], status: int, form: str) -> None:
    """redress reads it only on 429, retryhttp drops the days: here from each client, each status and each form, two days whole."""
    two_days = 2 * 86_400.0
    with virtual_time() as clock:
        value = f"{two_days:.0f}" if form == "seconds" else formatdate(clock.wall() + two_days, usegmt=True)
        with clock.hold(), serving(says(status, retry_after=value)) as server, pytest.raises(Exception) as raised:
            get(server.url)
        verdict = transient(raised.value)
        getattr(raised.value, "close", str)()  # urllib's error is the response, and holds the connection
    assert verdict is not None
    assert verdict.after == two_days


def test_a_hint_becomes_a_wait_of_at_least_that_long() -> None:
    """From a real client's real error to the wait: the hint, and chance on top, within the cap."""
    with serving(says(503, retry_after="30")) as server, pytest.raises(httpx.HTTPStatusError) as raised:
        by_httpx(server.url)
    with virtual_time() as clock:
        assert retry(on=transient).call(Script(raised.value, "served")) == "served"
    assert 30.0 <= clock.waits[0] <= 35.0


# -- classification ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("get", [by_urllib, by_urllib3, by_requests, by_httpx, by_aiohttp], ids=lambda fn: fn.__name__)
def test_an_error_number_is_taken_for_a_status_through_a_client(get: Callable[[str], object]) -> None:
    """redress: ECONNREFUSED is 111, and 111 is "no such status". Through each client it is what it is: refused."""
    with pytest.raises(Exception) as raised:
        get(f"http://127.0.0.1:{free_port()}/")
    verdict = transient(raised.value)
    assert verdict is not None
    assert verdict.kind == "transient", transient.explain(raised.value)


@pytest.mark.parametrize("get", [by_urllib, by_urllib3, by_requests, by_httpx, by_aiohttp], ids=lambda fn: fn.__name__)
def test_a_malformed_address_is_tried_again(get: Callable[[str], object]) -> None:
    """A bug is no better the next time, whatever base class the client gives it."""
    with pytest.raises(Exception) as raised:
        get("http://[::1/")
    verdict = transient(raised.value)
    assert verdict is None or verdict.kind == "permanent", transient.explain(raised.value)


# -- storms ------------------------------------------------------------------------------------------------------------

CALLS = 500


@pytest.mark.parametrize("shared", [True, False], ids=["with a budget", "control: without"])
@pytest.mark.parametrize("by", ["threads", "tasks"])
def test_retries_storm_a_server_that_is_down(by: str, shared: bool) -> None:
    """Four times the load in an outage; with a budget at most a tenth more, or 3 in 10 s if that is more."""
    down = Down()
    budget = RetryBudget(ratio=0.1, at_least=3) if shared else None
    policy = retry(on=transient, budget=budget, backoff=AT_ONCE)

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(policy.acall(down.acall) for _ in range(CALLS)), return_exceptions=True)

    with virtual_time() as clock:
        if by == "tasks":
            ends = clock.run_async(all_at_once())
        else:
            with ThreadPoolExecutor(8) as pool, clock.hold():
                ends = [future.exception() for future in [pool.submit(policy.call, down) for _ in range(CALLS)]]
    assert {type(end) for end in ends} == {ConnectionRefusedError}
    if shared:
        assert CALLS < down.requests <= CALLS * 1.1
    else:
        assert down.requests == CALLS * 4
