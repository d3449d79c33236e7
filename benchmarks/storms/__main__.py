"""Run the storms: ``python -m storms``."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import asdict

from storms import plots
from storms.formulas import FORMULAS
from storms.jobs import Done, Job, do_all
from storms.report import Cell, Figures
from storms.scenarios import CLIENTS


#: Where the page is that shows them.
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "storms"

WITHIN = (0.0, 1.0)
#: The formulas of the large herd.
MAIN = ("none", "full", "equal", "decorrelated V2", "added, then capped")
FAILING = (1.0, 0.2, 0.01)
PROCESSES = (None, 100, 10, 1)
#: Attempts of a call, and what it costs to refuse a request, in units of serving it.
OVERLOADS = ((4, 0.2), (4, 0.3), (4, 0.5), (10, 0.2))
HOWS = ("a number of seconds", "a moment")


# -- which jobs there are ----------------------------------------------------------------------------------------------


def herd_job(formula: str, clients: int, within: float) -> Job:
    """The herd under one formula."""
    return Job.of("herd", formula=formula, clients=clients, within=within)


def load_job(failing: float, process: int | None, clients: int) -> Job:
    """Steady traffic at one rate of failures."""
    return Job.of("load", failing=failing, clients=clients, process=process)


def recovery_job(attempts: int, refusing: float, process: int | None, clients: int) -> Job:
    """A server with little to spare."""
    return Job.of("recovery", clients=clients, process=process, attempts=attempts, refusing=refusing)


def told_job(client: str, how: str, clients: int) -> Job:
    """Clients that are told when to come back, within one second."""
    return Job.of("told", client=client, how=how, clients=clients, within=1.0)


def all_jobs(clients: int, large: int) -> list[Job]:
    """Every one, the large ones first: they take longest."""
    return [
        *(load_job(1.0, process, large) for process in (None, 100) if large),
        *(herd_job(formula, large, 1.0) for formula in MAIN if large),
        *(recovery_job(*kind, process, clients) for kind in OVERLOADS for process in (None, 100)),
        *(herd_job(formula, clients, within) for within in WITHIN for formula in FORMULAS),
        *(load_job(failing, process, clients) for failing in FAILING for process in PROCESSES),
        *(told_job(client, how, clients) for how in HOWS for client in CLIENTS),
    ]


# -- what they say -----------------------------------------------------------------------------------------------------


def herd_figures(done: Mapping[Job, Done], clients: int, within: float, names: Iterable[str] = FORMULAS) -> Figures:
    """One row for each formula."""
    rows: list[list[Cell]] = []
    for name in names:
        it = done[herd_job(name, clients, within)].result
        rows.append([name, FORMULAS[name].who, it.requests, it.peak, it.peak_back, it.median, it.p99])
    begin = f"begin within {within:g} s" if within else "begin in one instant"
    columns = {"jitter": "", "who has it": "", "requests per client": ".1f", "peak": ".1%", "peak, server back": ".1%",
               "median, s": ".1f", "p99, s": ".1f"}  # fmt: skip
    return Figures(f"Herd: {clients:,} clients {begin}", columns, rows)


def load_figures(done: Mapping[Job, Done], clients: int, processes: Iterable[int | None]) -> Figures:
    """One row for each size of process, three columns for each rate of failures."""
    failing = [share for share in FAILING if load_job(share, None, clients) in done]
    columns = {"clients to a process": "", "promise": ".2f"}
    for share in failing:
        at = f"{share:.0%} fail".replace("%", " %")
        columns |= {f"{at}: requests per call": ".2f", f"{at}: calls that fail": ".1%"}
    rows: list[list[Cell]] = []
    for process in processes:
        found = [done[load_job(share, process, clients)].result for share in failing]
        row: list[Cell] = ["no budget" if process is None else str(process), found[0].bound]
        for it in found:
            row += [it.requests, it.failed]
        rows.append(row)
    return Figures(f"Budget: {clients:,} clients, steady traffic for 60 s", columns, rows)


def recovery_figures(done: Mapping[Job, Done], clients: int) -> Figures:
    """One row for each kind of overload, with and without budget."""
    rows: list[list[Cell]] = []
    for attempts, refusing in OVERLOADS:
        for process in (None, 100):
            it = done[recovery_job(attempts, refusing, process, clients)].result
            seconds = "never" if it.seconds is None else f"{it.seconds:.1f}"
            budget = "no" if process is None else "yes"
            rows.append([str(attempts), f"{refusing:.0%}".replace("%", " %"), budget, seconds, it.requests, it.failed])
    columns = {"attempts": "", "cost of refusing": "", "budget": "", "s until 99 % succeed": "", "most load": ".1f",
               "calls that fail": ".2%"}  # fmt: skip
    return Figures(f"Recovery: {clients:,} clients, capacity 1.5 × the normal load", columns, rows)


def told_figures(done: Mapping[Job, Done], clients: int) -> Figures:
    """One row for each kind of client."""
    rows: list[list[Cell]] = [
        [client, *(done[told_job(client, how, clients)].result.peak for how in HOWS)] for client in CLIENTS
    ]
    columns = {"adds to what it was told": "", **{f"told {how}: peak": ".1%" for how in HOWS}}
    return Figures(f"Retry-After: {clients:,} clients are told within 1 s to come back in 30 s", columns, rows)


def all_figures(done: Mapping[Job, Done], clients: int, large: int) -> list[Figures]:
    """Every table."""
    return [
        *(herd_figures(done, clients, within) for within in WITHIN),
        *([herd_figures(done, large, 1.0, MAIN)] if large else []),
        load_figures(done, clients, PROCESSES),
        *([load_figures(done, large, (None, 100))] if large else []),
        recovery_figures(done, clients),
        told_figures(done, clients),
    ]


def plot_all(done: Mapping[Job, Done], clients: int, out: Path) -> None:
    """Every picture, of the smaller crowd."""
    herds = {name: done[herd_job(name, clients, 1.0)].result for name in FORMULAS}
    plots.plot_herd(out / "herd.svg", herds)
    plots.plot_recovery(out / "recovery.svg", herds)
    loads = {(size, share): done[load_job(share, size, clients)].result for size in PROCESSES for share in FAILING}
    plots.plot_load(out / "budget.svg", loads)
    kinds = [(*kind, process) for kind in ((4, 0.2), (4, 0.5), (10, 0.2)) for process in (None, 100)]
    plots.plot_overload(out / "overload.svg", {kind: done[recovery_job(*kind, clients)].result for kind in kinds})
    tolds = {(how, client): done[told_job(client, how, clients)].result for how in HOWS for client in CLIENTS}
    plots.plot_told(out / "retry-after.svg", tolds)


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m storms", description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000, help="of every scenario (%(default)s)")
    parser.add_argument("--large", type=int, default=100_000, help="of two scenarios once more; 0: not (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=PAGE, help="the directory for storms.json and the plots (%(default)s)"
    )
    parser.add_argument("--workers", type=int, default=2, help="simulations at a time (%(default)s)")
    options = parser.parse_args()
    start = time.perf_counter()
    done = do_all(all_jobs(options.clients, options.large), options.workers)
    figures = all_figures(done, options.clients, options.large)
    for table in figures:
        print(f"\n{table.title}\n", *table.markdown(), sep="\n")
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(table) for table in figures], indent=1, ensure_ascii=False)
    (options.out / "storms.json").write_text(text + "\n", encoding="utf-8")
    plot_all(done, options.clients, options.out)
    longest = max(done, key=lambda job: done[job].seconds)
    largest = max(done, key=lambda job: done[job].mebibytes)
    print(f"\n{len(done)} simulations in {time.perf_counter() - start:.0f} s, {options.workers} at a time")
    print(f"longest: {done[longest].seconds:.0f} s, {longest}")
    print(f"largest: {done[largest].mebibytes:.0f} MiB, {largest}")


if __name__ == "__main__":
    main()
