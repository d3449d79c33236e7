"""Fifty callers against an API with a rate limit: ours, other libraries, and the SDK's own retries.

The server is a process of ours (`llm_server`): 50 requests a second, 10 at once, and 429 with ``Retry-After: 1`` above
that; once more with refused requests counted. The client is the real `openai` SDK. Each caller makes four calls, one after the other, and all begin at once: 200
calls, which cannot take less than 3.8 s. Waits and requests are real, so the figures differ from run to run.

    python benchmarks/llm.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import backoff
import openai
import stamina
import stamina.instrumentation
import tenacity
from attrs import frozen
from llm_server import BURST, RATE
from storms.report import Figures

from resilience import RetryBudget, retry, transient


CALLERS, CALLS = 50, 4

#: Seconds after which a run is ended: tenacity's default knows no end of its own.
LIMIT = 30.0

RULES = {"lenient": "refused requests do not count", "strict": "refused requests count"}

LIMITED = openai.RateLimitError

Ask: TypeAlias = "Callable[[], Awaitable[object]]"
"""Makes one call."""


@frozen
class Contender:
    """One way to go on after a refusal.

    Args:
        name: How the table calls it.
        around: Makes of a call one that is tried again; once for each run.
        sdk_retries: What the SDK itself may do.
    """

    name: str
    around: Callable[[Ask], Ask] = lambda ask: ask
    sdk_retries: int = 0


PATIENT = retry(on=transient, attempts=None, within=60)


def _with_budget(ask: Ask) -> Ask:
    return PATIENT.replace(budget=RetryBudget())(ask)


def _as_the_how_to_has_it(ask: Ask) -> Ask:
    # docs/how-to/call-an-llm-api.md
    budget = RetryBudget(ratio=0.2, at_least=10, window=60.0)
    return retry(on=transient, attempts=8, within=120.0, attempt_timeout=60.0, max_hint=60.0, budget=budget)(ask)


CONTENDERS = (
    Contender("ours, `attempts=None, within=60`", PATIENT),
    Contender("ours, the same, a budget of 10 %", _with_budget),
    Contender("ours, as our how-to has it: 8 attempts, a budget of 20 %", _as_the_how_to_has_it),
    Contender("ours, as it comes: 4 attempts", retry(on=transient)),
    Contender("the SDK, as it comes: 2 retries", sdk_retries=2),
    Contender("the SDK, `max_retries=10`", sdk_retries=10),
    Contender("tenacity, as it comes: at once, for ever", tenacity.retry),
    Contender(
        "tenacity, `wait_exponential_jitter()`, 10 attempts",
        tenacity.retry(wait=tenacity.wait_exponential_jitter(), stop=tenacity.stop_after_attempt(10)),
    ),
    Contender(
        "tenacity, as OpenAI's guide has it: 6 attempts",
        tenacity.retry(wait=tenacity.wait_random_exponential(min=1, max=60), stop=tenacity.stop_after_attempt(6)),
    ),
    Contender("stamina, as it comes: 10 attempts, 45 s", stamina.retry(on=LIMITED)),
    Contender("backoff, `expo`, for ever", backoff.on_exception(backoff.expo, LIMITED)),
)


@frozen
class Run:
    """What one run came to.

    Args:
        seconds: Until the last call had ended.
        requests: What the server saw.
        failed: How many calls had no answer.
        slowest: Seconds that 99 % of the answered calls did not exceed.
    """

    seconds: float
    requests: int
    failed: int
    slowest: float


async def run(contender: Contender, url: str, rule: str) -> Run:
    """Let the callers call, under a new limit by this rule."""
    _tell(url, f"/{rule}")
    took: list[float] = []
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="made-up", max_retries=contender.sdk_retries) as client:

        async def complete() -> object:
            return await client.chat.completions.create(
                model="made-up", messages=[{"role": "user", "content": "Well?"}]
            )

        ask = contender.around(complete)

        async def caller() -> None:
            for _ in range(CALLS):
                begun = time.perf_counter()
                try:
                    await ask()
                except (LIMITED, tenacity.RetryError):
                    continue
                took.append(time.perf_counter() - begun)

        start = time.perf_counter()
        try:
            async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
                for _ in range(CALLERS):
                    group.create_task(caller())
        except TimeoutError:
            pass
        seconds = time.perf_counter() - start
    seen = _tell(url, "/stats")
    slowest = sorted(took)[int(0.99 * len(took))] if took else float("nan")
    return Run(seconds, seen["served"] + seen["refused"], CALLERS * CALLS - len(took), slowest)


def _tell(url: str, path: str) -> Mapping[str, Any]:
    with urllib.request.urlopen(url + path) as answer:
        said: Mapping[str, Any] = json.load(answer)
    return said


@contextmanager
def serving() -> Iterator[str]:
    """The server's address, while its process runs."""
    program = [sys.executable, str(Path(__file__).with_name("llm_server.py"))]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        # Its standard input is closed here, and with it the server.


def figures(rule: str, runs: Mapping[Contender, list[Run]]) -> Figures:
    """The medians, one row for each contender."""
    columns = {"tries again": "", "seconds": ".1f", "requests": ".0f", "failed calls": ".0f", "p99 of a call, s": ".1f"}
    rows = [
        [
            contender.name,
            *(statistics.median(getattr(run, name) for run in found) for name in attrs.fields_dict(Run)),
        ]
        for contender, found in runs.items()
    ]
    least = (CALLERS * CALLS - BURST) / RATE
    return Figures(
        f"{CALLERS * CALLS} calls by {CALLERS} callers, at least {least:.1f} s; {RULES[rule]}", columns, rows
    )


def main() -> None:
    """Run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="of which the medians are shown (%(default)s)")
    parser.add_argument("--only", default="", help="the contenders whose names hold this")
    options = parser.parse_args()
    os.environ["NO_PROXY"] = "127.0.0.1"
    logging.disable(logging.CRITICAL)
    stamina.instrumentation.set_on_retry_hooks([])
    start = time.perf_counter()
    chosen = [contender for contender in CONTENDERS if options.only in contender.name]
    with serving() as url:
        for rule in RULES:
            runs: dict[Contender, list[Run]] = {contender: [] for contender in chosen}
            for _ in range(options.rounds):
                for contender, found in runs.items():
                    found.append(asyncio.run(run(contender, url, rule)))
            table = figures(rule, runs)
            print(f"\n{table.title}\n", *table.markdown(), sep="\n", flush=True)
    print(f"\n{options.rounds} rounds in {time.perf_counter() - start:.0f} s; the figures are medians")


if __name__ == "__main__":
    main()
