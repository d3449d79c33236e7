"""What an import costs: fresh interpreters, side by side."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from compare import ROUNDS, Cell, Table


if TYPE_CHECKING:
    from conftest import Bench

AT_MOST = 1.6

FLOOR = "import attrs"
OURS = "from resilience import retry, transient, deadline"

STATEMENTS = (
    FLOOR,
    OURS,
    "import resilience",
    "import asyncio",
    "import tenacity",
    "import stamina",
    "import backoff",
    "import hyx.retry",
    "import redress",
    "import pyresilience",
)

PROGRAM = """
import sys, time
before = len(sys.modules)
start = time.perf_counter_ns()
{statement}
print(time.perf_counter_ns() - start, len(sys.modules) - before, 'asyncio' in sys.modules)
"""


def environment(bytecode: Path) -> dict[str, str]:
    """An environment in which every interpreter finds all bytecode: no one is charged for compiling its source."""
    mine = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**mine, "PYTHONPYCACHEPREFIX": str(bytecode)}


def run(statement: str, env: Mapping[str, str]) -> tuple[float, int, bool]:
    """Nanoseconds, modules loaded, and whether asyncio is one of them, in an interpreter of its own."""
    command = [sys.executable, "-P", "-c", PROGRAM.format(statement=statement)]
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=env)
    took, modules, loaded = done.stdout.split()
    return float(took), int(modules), loaded == "True"


def test_import(bench: Bench, tmp_path: Path) -> None:
    """The front door costs little more than the one thing it stands on, and loads no event loop."""
    env = environment(tmp_path)
    facts = {statement: run(statement, env)[1:] for statement in STATEMENTS}  # and all is compiled

    def slot(statement: str) -> Callable[[], float]:
        return lambda: run(statement, env)[0]

    slots = {statement: slot(statement) for statement in STATEMENTS}
    times = bench.interleave(slots, rounds=max(1, ROUNDS // 2))
    rows: list[list[Cell]] = []
    misses = []
    for statement in STATEMENTS:
        ratio = statistics.median(map(float.__truediv__, times[statement], times[FLOOR]))
        modules, asyncio = facts[statement]
        target = verdict = None
        if statement == OURS:
            target = f"≤ {AT_MOST:g}, no asyncio"
            verdict = "ok" if ratio <= AT_MOST and not asyncio else "MISS"
            if verdict == "MISS":
                misses.append(f"import: ours is {ratio:.2f} × {FLOOR}, asyncio loaded: {asyncio}; target {target}")
        milliseconds = statistics.median(times[statement]) / 1e6
        rows.append([statement, milliseconds, ratio, modules, asyncio, target, verdict])
    columns = {
        "statement": "",
        "ms": ".1f",
        "× import attrs": ".2f",
        "modules": "d",
        "loads asyncio": "",
        "target": "",
        "verdict": "",
    }
    bench.keep(Table("import, a fresh process each time", columns, rows, misses))
