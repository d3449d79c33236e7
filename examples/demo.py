"""One bad day, three clients: `make demo`.

Starts `unreliable_server.py` as a child process and fetches one order from it three times: with the decorated
function of `fetch_order.py`, with the same request undecorated, and with the same request under tenacity's defaults.
Each client has its own path, so each meets the same day. What the clients did is read from the server at the end, not
taken from their own word.

    python examples/demo.py [--deadline SECONDS] [--json FILE]

Exits with 0 if the decorated client got its order, else with 1 and the reason.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import tenacity
from attrs import asdict, frozen
from fetch_order import fetch_order
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resilience import deadline
from resilience.errors import ConfigError
from resilience.instrumentation import DeadlineExceeded, Event, GaveUp, RetryScheduled, observe


SERVER = Path(__file__).with_name("unreliable_server.py")
SOCKET_TIMEOUT = 1.0

#: Where the demo itself ends the client that does not know when to stop.
MOST_SECONDS = 8.0
MOST_REQUESTS = 20_000

GOT_ORDER = "got the order"
DAY = """\
  request 1    the connection is reset
  request 2    nothing is answered for 30 s
  request 3    503 Service Unavailable
  request 4    429 Too Many Requests, Retry-After: 1, until that second is up
  after that   200 and the order"""


@frozen
class Result:
    """One client's day.

    Args:
        client: What the table calls it.
        got_order: Whether it ended with the order.
        outcome: How it ended, for people.
        requests: How many the server received.
        against_retry_after: How many of them came in the second for which the server had asked to be left alone.
        seconds: How long the client took.
    """

    client: str
    got_order: bool
    outcome: str
    requests: int
    against_retry_after: int
    seconds: float


class SafetyStop(BaseException):
    """The demo ends a client: not an `Exception`, which tenacity's defaults would try again."""


class Moving:
    """Text that is worked out anew each time the terminal is redrawn."""

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text

    def __rich__(self) -> str:
        return f"[dim]{self._text()}[/]"


class Narrator:
    """Tells what the decorated client lives through, as it happens: it hears the events of every policy.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = self._next_at = time.monotonic()
        self._attempt = 1

    def __call__(self, event: Event) -> None:
        """Tell one event; that a deadline ended an attempt is told by the attempt's own."""
        if isinstance(event, DeadlineExceeded):
            return
        attempt = event.attempt
        if isinstance(event, RetryScheduled):
            self._attempt, self._next_at = attempt + 1, time.monotonic() + event.delay
            then = f"next in {event.delay:.2f} s" if event.delay >= 0.01 else "next at once"
            if event.verdict.after is not None:
                then += f" (Retry-After {event.verdict.after:g} s)"
            self.line(attempt, "yellow", what_happened(event.error), then)
        elif isinstance(event, GaveUp):
            self.line(attempt, "red", what_happened(event.error), f"gave up: {event.detail}")
        else:
            self.line(attempt, "green", "200 OK")

    def line(self, attempt: int, colour: str, what: str, then: str = "") -> None:
        """One attempt on one line: when it ended, how, and what comes next."""
        passed = f"{time.monotonic() - self._began:.2f} s"
        ended = f"{what:<23}  {then}" if then else what
        self._console.print(f"  [dim]{passed}[/]  attempt {attempt}  [{colour}]{escape(ended)}[/]", soft_wrap=True)

    def now(self) -> str:
        """What is going on between two events."""
        left = self._next_at - time.monotonic()
        if left > 0:
            return f"attempt {self._attempt} in {left:.1f} s"
        return f"attempt {self._attempt}: no answer for {-left:.1f} s"


def what_happened(error: BaseException | None) -> str:
    """A failed attempt in a few words."""
    if isinstance(error, HTTPError):
        return f"{error.code} {error.reason}"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return type(error).__name__


def request_order(url: str) -> Any:
    """What `fetch_order` does, for clients without a deadline to take a timeout from."""
    with urllib.request.urlopen(url, timeout=SOCKET_TIMEOUT) as answer:
        return json.load(answer)


def decorated(console: Console, url: str, limit: deadline) -> str:
    """Fetch with our decorator, under one deadline; how it ended."""
    narrator = Narrator(console)
    # The log's line for each retry would say on stderr what the narrator says here.
    logging.getLogger("resilience").propagate = False
    logging.getLogger("resilience").addHandler(logging.NullHandler())
    observe(narrator)
    try:
        with console.status(Moving(narrator.now)), limit:
            order = fetch_order(url)
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        observe()
    console.print(f"  {GOT_ORDER}: {escape(json.dumps(order))}", soft_wrap=True)
    return GOT_ORDER


def undecorated(console: Console, url: str) -> str:
    """Fetch as it is; how it ended."""
    narrator = Narrator(console)
    try:
        request_order(url)
    except OSError as error:
        narrator.line(1, "red", f"{type(error).__name__}: {error}")
        return type(error).__name__
    return GOT_ORDER


def by_tenacity(console: Console, url: str) -> str:
    """Fetch under `@tenacity.retry` as it comes; how it ended."""
    began, requests = time.monotonic(), 0

    @tenacity.retry
    def fetch() -> Any:
        nonlocal requests
        if time.monotonic() - began >= MOST_SECONDS or requests >= MOST_REQUESTS:
            raise SafetyStop
        requests += 1
        return request_order(url)

    outcome = GOT_ORDER
    try:
        with console.status(Moving(lambda: f"{requests} requests sent")):
            fetch()
    except SafetyStop:
        outcome = "stopped by the demo"
    took = time.monotonic() - began
    console.print(f"  [dim]{took:.2f} s[/]  attempt {requests}  {outcome}")
    return outcome


@contextmanager
def server_on_a_bad_day() -> Generator[str]:
    """A server in a process of its own, gone when the block ends; gives its URL."""
    command = [sys.executable, str(SERVER)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603  # our own file
        assert process.stdin is not None  # noqa: S101  # for the type checker, as the next line
        assert process.stdout is not None  # noqa: S101
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise SystemExit(f"demo: {SERVER.name} did not start")
            yield url
        finally:
            process.stdin.close()  # that is how it is asked to end
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def counts(url: str, client: str) -> tuple[int, int]:
    """Requests of this client as the server counted them: all, and those against Retry-After."""
    with urllib.request.urlopen(f"{url}/counts", timeout=5) as answer:
        seen = json.load(answer).get(client, {})
    return seen.get("requests", 0), seen.get("against_retry_after", 0)


def run(console: Console, limit: deadline) -> list[Result]:
    """All three clients, one after the other; only the first if that one fails."""
    results: list[Result] = []

    def drive(client: str, path: str, fetch: Callable[[str], str]) -> bool:
        began = time.monotonic()
        outcome = fetch(f"{url}/orders/{path}")
        took = time.monotonic() - began
        results.append(Result(client, outcome == GOT_ORDER, outcome, *counts(url, path), round(took, 3)))
        return outcome == GOT_ORDER

    with server_on_a_bad_day() as url:
        console.print(f"A server on a bad day, in a process of its own: {url}", soft_wrap=True)
        console.print(f"Each client gets:\n{DAY}\n", soft_wrap=True)

        console.print(f"[bold]1. resilience[/]: up to 6 attempts of 1 s, all of it within deadline({limit.seconds:g})")
        if not drive("resilience", "resilience", lambda url: decorated(console, url, limit)):
            return results

        console.print("\n[bold]2. undecorated[/]: the same request, once")
        drive("undecorated", "undecorated", lambda url: undecorated(console, url))

        console.print("\n[bold]3. tenacity's defaults[/]: the same request under a bare @tenacity.retry")
        console.print(
            f"  The request has a socket timeout of {SOCKET_TIMEOUT:g} s, or it would hang at the stall.\n"
            f"  Nothing limits the attempts; the demo would, at {MOST_SECONDS:g} s or {MOST_REQUESTS:,} requests.",
            soft_wrap=True,
        )
        drive("tenacity's defaults", "tenacity", lambda url: by_tenacity(console, url))
    return results


def table_of(results: list[Result], *, plain: bool) -> Table:
    """The days beside one another."""
    # Within 80 columns, whatever the figures: an outcome cut off would be no outcome.
    table = Table(box=None if plain else box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    table.add_column("client", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for heading in ("requests\nsent", "against\nRetry-After", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        outcome = f"[{'green' if result.got_order else 'red'}]{escape(result.outcome)}[/]"
        against = f"[{'red' if result.against_retry_after else 'green'}]{result.against_retry_after}[/]"
        table.add_row(result.client, outcome, str(result.requests), against, f"{result.seconds:.2f}")
    return table


def main() -> int:
    """Run the demo; 0 if the decorated client got its order."""
    parser = argparse.ArgumentParser(description="One bad day, three clients.")
    parser.add_argument("--deadline", type=float, default=10.0, metavar="SECONDS", help="for the decorated client (10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the final table there, as JSON")
    options = parser.parse_args()
    try:
        limit = deadline(options.deadline)
    except ConfigError as error:
        parser.error(f"--deadline: {error}")
    os.environ["no_proxy"] = "127.0.0.1"  # urllib would take these requests to a proxy set for the outside

    console = Console(highlight=False)
    results = run(console, limit)
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    ours = results[0]
    if not ours.got_order:
        print(f"demo: the decorated client failed: {ours.outcome}", file=sys.stderr)
        return 1
    console.print("\n[bold]As the server counted it[/]")
    console.print(table_of([results[1], results[2], ours], plain=not console.is_terminal))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
