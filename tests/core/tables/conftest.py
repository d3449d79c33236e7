"""Every row of every table is proven: by an error that a real client got from a real server, or else says why not."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from tests.core.tables.proving import NOW, Proof, all_tables

from resilience._core.tables import Tables


HERE = Path(__file__).parent
ALL_ROWS = "test_every_row.py"
PROOF = pytest.StashKey[Proof]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[PROOF] = Proof(Tables(lambda: NOW))


@pytest.fixture
def proof(request: pytest.FixtureRequest) -> Proof:
    """Where a test says which row it proves."""
    return request.config.stash[PROOF]


@pytest.fixture
def complete(request: pytest.FixtureRequest) -> Proof:
    """The proofs, after every other test of the tables has run; skipped where not all of them did."""
    ran = {Path(item.path).name for item in request.session.items}
    left_out = {path.name for path in HERE.glob("test_*.py")} - ran
    if left_out or request.config.option.keyword or request.session.testsfailed:
        pytest.skip("not all tests of the tables were run and passed")
    if not os.environ.get("RESILIENCE_REQUIRE_SERVERS"):
        pytest.skip("the servers may not all be here: RESILIENCE_REQUIRE_SERVERS is not set")
    return request.config.stash[PROOF]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The test of all rows comes last."""
    items.sort(key=lambda item: Path(item.path).name == ALL_ROWS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The rows of each table, and how they were proven."""
    proof = config.stash[PROOF]
    if not proof.by_server or not (config.option.verbose > 0 or os.environ.get("CI")):
        return
    terminalreporter.section("rows of the tables: by a real client and server, by a constructor, and why")
    for name, table in all_tables().items():
        rows = {str(row) for row in table.rows}
        by_hand = Counter(because for row, because in proof.by_constructor.items() if row in rows - proof.by_server)
        why = "; ".join(f"{number} × {because}" for because, number in by_hand.most_common())
        terminalreporter.write_line(
            f"{name}: {len(rows)} rows, {len(rows & proof.by_server)} real, {by_hand.total()} made: {why}"
        )
