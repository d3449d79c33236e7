"""Write the page of the classification tables from the tables themselves; with ``--check``, only say whether it is current."""

import sys
from pathlib import Path

from resilience._core.rows import Row
from resilience._core.tables import TABLE_OF_MODULE, load


PAGE = Path(__file__).resolve().parent.parent / "docs/reference/classification.md"

HEAD = """# Classification

What [`transient`](api.md#transient) says of each exception, row by row. This page is written from the code by
`python tools/write_classification.py`; a test shows that it is current. *Transient*: worth trying again, and certainly not applied.
*Unsure*: worth trying again, but it may have been applied. *Permanent*: not worth it. Why one exception was judged as it was:
`transient.explain(error)`; how to change it: [classify errors](../how-to/classify-errors.md).

A row is for a class and its subclasses. The nearest class of an exception is asked first, and of one class the rows in this order.
A hint of the server, such as `Retry-After`, is read where the library keeps it. A table is loaded on the first exception of its
library. A group of exceptions is judged by its leaves.
"""


def page() -> str:
    """The whole page."""
    names = sorted(set(TABLE_OF_MODULE.values()), key=lambda name: (name != "stdlib", name))
    tables = {name: load(name) for name in names}
    total = sum(len(table.rows) for table in tables.values())
    parts = [HEAD, f"\n{len(tables)} tables, {total} rows.\n"]
    for name, table in tables.items():
        modules = ", ".join(f"`{module}`" for module, of in sorted(TABLE_OF_MODULE.items()) if of == name)
        source = f" Source: <{table.source}>." if table.source else ""
        parts.append(f"\n## {table.library}\n\nFor exceptions of {modules}.{source}\n\n")
        parts.append("| exception | which | verdict | reason |\n|---|---|---|---|\n")
        parts.extend(map(_line, table.rows))
    return "".join(parts)


def _line(row: Row) -> str:
    verdict = row.verdict
    kind = f"{verdict.kind}, throttled" if verdict.throttled else str(verdict.kind)
    if row.when.startswith("by its "):
        kind = "as what it wraps"
    reason = "" if verdict.reason == row.when else verdict.reason
    cells = [f"`{row.error}`", row.when or "all", kind, reason]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main() -> int:
    """Write, or compare."""
    text = page()
    if "--check" in sys.argv:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        print(
            "classification.md is current" if current else "classification.md is not: run tools/write_classification.py"
        )
        return 0 if current else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
