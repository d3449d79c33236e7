"""The same in pictures. The same figures give the same bytes; the background is opaque, for light pages and dark ones."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from storms.crowd import SLOT
from storms.scenarios import BACK, GONE, OUTAGE, Herd, Load, Recovery, Told


STYLE: Any = {
    "svg.hashsalt": "storms",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
}

# Okabe and Ito's colours, told apart by most eyes.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b8a800", "#000000",
)  # fmt: skip
COLOURS = (BLACK, YELLOW, BLUE, SKY, ORANGE, GREEN, PURPLE, RED)


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches, written to `path` at the end."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(width, height))
        yield drawn
        text = io.StringIO()
        drawn.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        # A tenth of a point is enough, and half the size.
        short = re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", text.getvalue())
        path.write_text(short, encoding="utf-8")


def stairs(axes: Any, values: Sequence[float], length: float, colour: str, start: float = 0.0, **more: Any) -> None:
    """One value for each slot of this length."""
    edges = [start + length * number for number in range(len(values) + 1)]
    axes.stairs([round(value, 5) for value in values], edges, color=colour, **more)


def plot_herd(path: Path, herds: Mapping[str, Herd]) -> None:
    """What the server meets, one panel for each formula."""
    with figure(path, 8, 7.5) as drawn:
        panels = drawn.subplots(4, 2, sharex=True, sharey=True)
        for axes, (name, herd) in zip(panels.T.flat, herds.items(), strict=True):
            stairs(axes, herd.load, SLOT, BLUE, fill=True)
            axes.axvline(OUTAGE, color=RED, linewidth=1)
            axes.set_title(f"{name}: {herd.requests:.1f} requests per client", loc="left")
            axes.set_ylim(0, 0.12)
            axes.set_xlim(0, OUTAGE + 6)
            axes.set_yticks((0, 0.05, 0.1), ("0 %", "5 %", "10 %"))
        for axes in panels[-1]:
            axes.set_xlabel("seconds; the server is back at the red line")
        drawn.supylabel("share of the clients that ask in each 100 ms", fontsize=9)


def plot_recovery(path: Path, herds: Mapping[str, Herd]) -> None:
    """How soon after the outage the clients have their answer."""
    with figure(path, 8, 4) as drawn:
        axes: Any = drawn.subplots()
        for colour, (name, herd) in zip(COLOURS, herds.items(), strict=True):
            waits = [round(seconds, 4) for seconds in herd.waited]
            axes.plot(waits, range(1, 101), color=colour, label=name, linewidth=2.4 if name == "full" else 1.2)
        axes.set_xlabel("seconds since the server is back")
        axes.set_ylabel("clients that have their answer")
        axes.yaxis.set_major_formatter(PercentFormatter(100, decimals=0, symbol=" %"))
        axes.set_xlim(0, 6)
        axes.set_ylim(0, 101)
        axes.legend(frameon=False)


def plot_load(path: Path, loads: Mapping[tuple[int | None, float], Load]) -> None:
    """Requests per call, with and without a budget."""
    rates = sorted({failing for _, failing in loads})
    sizes = list(dict.fromkeys(process for process, _ in loads))
    with figure(path, 8, 3.5) as drawn:
        axes: Any = drawn.subplots()
        for number, (size, colour) in enumerate(zip(sizes, (RED, BLUE, SKY, ORANGE), strict=True)):
            label = "no budget" if size is None else f"budget, {size} client{'s' if size > 1 else ''} to a process"
            places = [position + 0.2 * (number - 1.5) for position in range(len(rates))]
            heights = [round(loads[size, failing].requests, 4) for failing in rates]
            axes.bar(places, heights, 0.18, color=colour, label=label)
            for place, height in zip(places, heights, strict=True):
                axes.annotate(f"{height:.2f}", (place, height), ha="center", va="bottom", fontsize=8)
        axes.set_xticks(range(len(rates)), [f"{failing:.0%} of requests fail".replace("%", " %") for failing in rates])
        axes.set_ylabel("requests per call")
        axes.set_ylim(0, 4.4)
        axes.legend(frameon=False, loc="upper left")


def plot_overload(path: Path, recoveries: Mapping[tuple[int, float, int | None], Recovery]) -> None:
    """Asked and served over time: above without a budget, below with one."""
    kinds = list(dict.fromkeys((attempts, refusing) for attempts, refusing, _ in recoveries))
    wide = 5  # slots to one step of the picture
    with figure(path, 9, 4.5) as drawn:
        panels = drawn.subplots(2, len(kinds), sharex=True, sharey="row", squeeze=False)
        for (attempts, refusing, process), recovery in recoveries.items():
            axes = panels[0 if process is None else 1][kinds.index((attempts, refusing))]
            for values, colour, label in ((recovery.load, RED, "asked"), (recovery.served, BLUE, "served")):
                steps = [sum(values[at : at + wide]) / wide for at in range(0, len(values), wide)]
                stairs(axes, steps, wide * SLOT, colour, label=label, linewidth=1.2)
            axes.axvspan(GONE, BACK, color="#eeeeee", zorder=0)
            if process is None:
                axes.set_title(f"{attempts} attempts, refusing costs {refusing:.0%}".replace("%", " %"), loc="left")
        for row in panels:
            row[0].set_ylim(0, 1.02 * max(axes.dataLim.y1 for axes in row))
        panels[0][-1].legend(frameon=False, loc="center right")
        panels[0][0].set_ylabel("no budget")
        panels[1][0].set_ylabel("budget")
        drawn.supylabel("requests, in units of the normal load", fontsize=9)
        drawn.supxlabel("seconds; the server is away in the grey part", fontsize=9)


def plot_told(path: Path, tolds: Mapping[tuple[str, str], Told]) -> None:
    """When clients come back that were told to."""
    hows = list(dict.fromkeys(how for how, _ in tolds))
    clients = list(dict.fromkeys(client for _, client in tolds))
    with figure(path, 8, 3.5) as drawn:
        panels = drawn.subplots(1, len(hows), sharey=True, squeeze=False)[0]
        for (how, client), told in tolds.items():
            axes = panels[hows.index(how)]
            colour = (BLACK, BLUE, ORANGE, GREEN)[clients.index(client)]
            # An empty slot has no logarithm: it lies below the axis.
            stairs(axes, [max(value, 1e-5) for value in told.load], SLOT, colour, label=client, linewidth=1.4)
            axes.set_title(f"told {how}", loc="left")
            axes.set_yscale("log")
            axes.set_ylim(0.001, 1.5)
            axes.set_xlim(-0.1, 6.5)
            axes.set_xlabel("seconds after the first one was told to be back")
            axes.set_yticks((0.001, 0.01, 0.1, 1), ("0.1 %", "1 %", "10 %", "100 %"))
        panels[0].set_ylabel("share of the clients in each 100 ms")
        panels[-1].legend(frameon=False)
