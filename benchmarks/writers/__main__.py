"""Run the writers: ``python -m writers``, and tables of what became of them."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.servers.postgres import postgres_server
from tests.servers.redis import redis_server

from resilience.stores import PostgresStore
from writers.figures import Figures
from writers.policies import Policy
from writers.real import contend
from writers.simulated import simulate


#: Seconds of a round trip, and whether waits are woken: an embedded store, one on the next machine, a slow one.
DISTANCES = ((0.00003, False), (0.0002, True), (0.0005, True))


@contextmanager
def urls(wanted: list[str]) -> Iterator[dict[str, str]]:
    """A new, empty store of each kind, and its URL."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = {"SQLite": f"sqlite:///{place / 'writers.db'}", "files": f"file://{place / 'writers'}"}
        if "Redis" in wanted:
            opened["Redis"] = stack.enter_context(redis_server(place)).url
        if "PostgreSQL" in wanted:
            server = stack.enter_context(postgres_server(place, synchronous_commit="on", fsync="on"))
            with PostgresStore(server.dsn) as store:
                store.create_schema()
            opened["PostgreSQL"] = server.dsn
        yield {name: opened[name] for name in wanted}


def row_of(rounds: list[Figures]) -> list[str]:
    """The median of the rounds, and their range."""

    def of(figure: Callable[[Figures], float], form: str) -> str:
        values = [figure(each) for each in rounds]
        middle, low, high = statistics.median(values), min(values), max(values)
        shown = format(middle, form)
        return shown if low == high else f"{shown} ({low:{form}}–{high:{form}})"

    return [
        of(lambda each: each.success * 100, ".1f"),
        of(lambda each: each.tries, ".0f"),
        of(lambda each: each.mean_tries, ".2f"),
        of(lambda each: each.p50 * 1000, ".1f"),
        of(lambda each: each.p99 * 1000, ".0f"),
        of(lambda each: each.share, ".2f"),
        of(lambda each: each.done, ".0f"),
        "yes" if all(each.exact for each in rounds) else "NO",
    ]


def table(title: str) -> Table:
    """An empty one."""
    heads = ("success %", "most tries", "mean", "p50 ms", "p99 ms", "least ÷ most", "updates", "exact")
    made = Table(title=title, title_justify="left")
    for head in ("", "policy", *heads):
        made.add_column(head)
    return made


def main() -> None:
    """Simulate; then contend for the real stores, in interleaved rounds."""
    parser = argparse.ArgumentParser(prog="python -m writers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--stores", nargs="*", default=["SQLite", "files", "Redis", "PostgreSQL"])
    options = parser.parse_args()
    console = Console(width=160)
    virtual = table("Ten writers, 50 updates each, 2 ms of thinking, in virtual time (five seeds)")
    for round_trip, wakes in DISTANCES:
        for policy in Policy:
            rounds = [simulate(policy, round_trip, wakes=wakes, seed=seed) for seed in range(options.rounds)]
            virtual.add_row(f"{round_trip * 1e6:.0f} µs", policy, *row_of(rounds))
    console.print(virtual)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with urls(options.stores) as places:
        rounds_of: dict[tuple[str, Policy], list[Figures]] = {}
        for _ in range(options.rounds):
            for name, url in places.items():
                for policy in Policy:
                    rounds_of.setdefault((name, policy), []).append(contend(url, policy, options.seconds, environment))
    real = table(
        f"Ten processes for {options.seconds:g} s, 2 ms of thinking: median (range) of {options.rounds} rounds"
    )
    for (name, policy), rounds in rounds_of.items():
        real.add_row(name, policy, *row_of(rounds))
    console.print(real)


if __name__ == "__main__":
    main()
