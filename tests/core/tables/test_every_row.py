"""No row without its proof, no proof without its row."""

from __future__ import annotations

from collections import Counter

from tests.core.tables.proving import Proof, all_tables


def test_every_row_is_proven(complete: Proof) -> None:
    """Each row was met by an error of the real library; what was proven is in a table."""
    proven = complete.by_server | set(complete.by_constructor)
    rows = {str(row) for table in all_tables().values() for row in table.rows}
    assert sorted(rows - proven) == []
    assert sorted(proven - rows) == []


def test_no_two_rows_have_one_name() -> None:
    """A row can be found by its name."""
    names = Counter(str(row) for table in all_tables().values() for row in table.rows)
    assert [name for name, number in names.items() if number > 1] == []
