"""Ten processes, one file: the second act of `make demo`.

Ten child processes count on one SQLite store, each update a read, 1 ms of thinking, and a compare-and-set; then they do
it again as it is usually done, read and write. Then two writers change one document at the same time, and both changes
are kept. What came of it is read from the store.

    python examples/many_writers.py [--json FILE]

Exits with 0 if nothing was lost by the updates.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from rich import box
from rich.console import Console
from rich.table import Table

from resilience import OptimisticLock, deadline, merge_mappings, open_store
from resilience.stores import ABSENT, ANY


WRITERS = 10
UPDATES = 10
THINKING = 0.001


@frozen
class Result:
    """What came of ten writers.

    Args:
        how: How they wrote.
        counted: What the counter says at the end.
        lost: Updates that are not in it.
        seconds: How long it took.
    """

    how: str
    counted: int
    lost: int
    seconds: float


def one_more(value: int) -> int:
    """What each of them does to the counter."""
    time.sleep(THINKING)
    return value + 1


def count(url: str, how: str) -> None:
    """One writer: the work of a child process."""
    with open_store(url) as store, deadline(60.0):
        counter = OptimisticLock(store, how, default=int)
        for _ in range(UPDATES):
            if how == "update":
                counter.update(one_more)
            else:
                counter.write(one_more(counter.read().value), expected=ANY)


def ten_count(url: str, how: str) -> Result:
    """Ten of them at once, and what the counter says afterwards."""
    command = [sys.executable, __file__, "--writer", url, how]
    began = time.monotonic()
    writers = [subprocess.Popen(command) for _ in range(WRITERS)]  # noqa: S603  # this very file
    failed = sum(writer.wait() != 0 for writer in writers)
    if failed:
        raise SystemExit(f"many_writers: {failed} writers failed")
    with open_store(url) as store:
        counted: int = OptimisticLock(store, how, default=int).read().value
    return Result(how, counted, WRITERS * UPDATES - counted, round(time.monotonic() - began, 2))


def two_edit(url: str) -> dict[str, Any]:
    """Two writers of one document: the second one began before the first one was ready."""
    with open_store(url) as store:
        order: OptimisticLock[dict[str, Any]] = OptimisticLock(store, "order")
        order.write({"item": "tea", "status": "new", "notes": {}}, expected=ABSENT)
        with order.edit(on_conflict=merge_mappings) as mine:
            mine["notes"]["packer"] = "fragile"
            with order.edit() as theirs:
                theirs["status"] = "paid"
        return order.read().value


def table_of(results: list[Result], *, plain: bool) -> Table:
    """Both ways beside one another."""
    table = Table(box=None if plain else box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    table.add_column("ten processes", no_wrap=True)
    for heading in ("updates", "counted", "lost", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        lost = f"[{'red' if result.lost else 'green'}]{result.lost}[/]"
        table.add_row(result.how, str(WRITERS * UPDATES), str(result.counted), lost, f"{result.seconds:.2f}")
    return table


def main() -> int:
    """Run the act; 0 if no update was lost."""
    parser = argparse.ArgumentParser(description="Ten processes, one file.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, as JSON")
    parser.add_argument("--writer", nargs=2, metavar=("URL", "HOW"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.writer:
        count(*options.writer)
        return 0

    console = Console(highlight=False)
    console.print(f"\n[bold]{WRITERS} processes[/] count to {WRITERS * UPDATES} on one SQLite store, all at once")
    with tempfile.TemporaryDirectory() as place:
        url = f"sqlite:///{Path(place, 'writers.db')}"
        with console.status("[dim]counting[/]"):
            results = [ten_count(url, how) for how in ("update", "read and write")]
        document = two_edit(url)
    console.print(table_of(results, plain=not console.is_terminal))
    console.print("\n[bold]2 writers[/] changed one document at the same time, one its status, one its notes:")
    console.print(f"  {json.dumps(document)}", soft_wrap=True)
    if options.json:
        figures = {"counters": [asdict(result) for result in results], "document": document}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(results[0].lost != 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
