"""The second act of the demo, as its readers run it: real processes on a real file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


MANY_WRITERS = Path(__file__).parents[2] / "examples" / "many_writers.py"
ENVIRON = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "TTY_COMPATIBLE"}}


def test_ten_processes_lose_nothing_and_a_document_is_merged(tmp_path: Path) -> None:
    """The control arm stands beside it: who reads and writes loses updates."""
    done = subprocess.run(
        [sys.executable, str(MANY_WRITERS), "--json", str(tmp_path / "figures.json")],
        capture_output=True, text=True, env={**ENVIRON, "PYTHONWARNINGS": "error"}, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    figures = json.loads((tmp_path / "figures.json").read_text())
    ours, usual = figures["counters"]
    assert (ours["counted"], ours["lost"]) == (100, 0)
    assert usual["lost"] > 0
    assert figures["document"] == {"item": "tea", "status": "paid", "notes": {"packer": "fragile"}}
