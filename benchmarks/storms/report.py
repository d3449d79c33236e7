"""What came out, as tables for people and figures for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from attrs import frozen


Cell: TypeAlias = "str | float | None"


@frozen
class Figures:
    """One table.

    Args:
        title: What was simulated.
        columns: The heading of each column, and how its numbers are written: a format specification.
        rows: The cells, one to a column; None for "never", or for what a column does not say of a row.
    """

    title: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Cell]]

    def markdown(self) -> list[str]:
        """The table, without its title."""
        specs = list(self.columns.values())
        text = [[_text(cell, spec) for cell, spec in zip(row, specs, strict=True)] for row in self.rows]
        rule = ["---" if not spec else "---:" for spec in specs]
        return ["| " + " | ".join(row) + " |" for row in (list(self.columns), rule, *text)]


def _text(cell: Cell, spec: str) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    return f"{format(cell, spec)[:-1]} %" if spec.endswith("%") else format(cell, spec)
