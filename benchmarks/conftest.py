"""The `bench` fixture (one comparison = one benchmark), the tables at the end, and ``--report FILE``."""

from __future__ import annotations

import asyncio
import json
import logging
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from compare import ROUNDS, Interleaved, Table, Variant, calibrated, frozen_heap, table_of_times


if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

PACKAGES = (
    "resilience-primitives",
    "tenacity",
    "stamina",
    "backoff",
    "hyx",
    "redress",
    "pyresilience",
    "attrs",
    "trio",
)

TABLES = pytest.StashKey[dict[str, Table]]()


class Bench:
    """Carries out one comparison as one benchmark of pytest-benchmark, keeps its table, and fails if we miss a target."""

    def __init__(self, benchmark: BenchmarkFixture, name: str, tables: dict[str, Table]) -> None:
        self._benchmark: Any = benchmark  # its methods have no types
        self._name = name
        self._tables = tables

    def times(self, title: str, *variants: Variant, note: str = "") -> None:
        """Time the variants side by side. The first one is the bare call, the second one the floor."""
        slots = {variant.name: calibrated(variant.run) for variant in variants}
        times = self.interleave(slots)
        self.keep(table_of_times(title, times, variants, note))

    def interleave(self, slots: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
        """Rounds of these slots, each of which returns the nanoseconds of one call."""
        one = Interleaved(slots)
        with frozen_heap():
            self._benchmark.pedantic(one.round, rounds=rounds)
        return one.times

    def count(self, make: Callable[[], Table]) -> None:
        """A comparison that counts, and needs no rounds."""
        self.keep(self._benchmark.pedantic(make, rounds=1))

    def keep(self, table: Table) -> None:
        """Report the table; a target missed fails the benchmark."""
        self._benchmark.extra_info.update(table.as_json())
        self._tables[self._name] = table
        if table.misses and not self._benchmark.disabled:  # one round, as --benchmark-disable makes, judges nobody
            pytest.fail("\n".join(table.misses), pytrace=False)


@pytest.fixture
def bench(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Bench:
    """One comparison."""
    return Bench(benchmark, request.node.name, request.config.stash[TABLES])


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The event loop that a comparison's coroutines run in."""
    with asyncio.Runner() as running:
        yield running


@pytest.fixture(autouse=True, scope="session")
def _nobody_listens() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--report FILE``."""
    parser.addoption("--report", metavar="FILE", help="write the figures of the comparisons to FILE, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """An empty report."""
    config.stash[TABLES] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One table a comparison."""
    tables = config.stash[TABLES]
    if not tables:
        return
    python = f"{platform.python_implementation()} {platform.python_version()}"
    terminalreporter.section(f"side by side, {python}, {ROUNDS} rounds")
    for table in tables.values():
        terminalreporter.write_line("")
        terminalreporter.write_line(table.title, bold=True)
        if table.note:
            terminalreporter.write_line(f"({table.note})")
        for line in table.lines():
            terminalreporter.write_line(line, red=line.endswith("MISS"))
    target = config.getoption("report")
    if target:
        path = config.invocation_params.dir / target
        path.write_text(json.dumps(_report(tables), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _report(tables: dict[str, Table]) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.machine()}",
        "rounds": ROUNDS,
        "packages": {name: version(name) for name in PACKAGES},
        "comparisons": {name: table.as_json() for name, table in tables.items()},
    }
