"""The index of the tables: what is loaded when, and exceptions that are not as a table expects them."""

from __future__ import annotations

import subprocess
import sys
import types
from typing import Any

import pytest
from tests.core.tables.proving import all_tables

from resilience import transient
from resilience._core.tables import TABLE_OF_MODULE, Tables, load, rules_of


TABLES = Tables(lambda: 0.0)

LAZY = """
import sys
import resilience

def loaded():
    return sorted(name.rpartition(".")[2] for name in sys.modules if name.startswith("resilience._core.tables."))

assert loaded() == [], loaded()
try:
    resilience.retry(on=resilience.transient, attempts=1).call(open, "/no/such/file")
except FileNotFoundError:
    pass
print(*loaded())
before = set(sys.modules)
assert resilience.transient(ValueError()) is None
assert resilience.transient(ConnectionResetError()).kind == "unsure"
assert set(sys.modules) == before
third_party = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
print(*sorted(name for name in third_party if not name.startswith("_")))
"""


ALL = """
import sys
from resilience._core.tables import TABLE_OF_MODULE, load

for name in set(TABLE_OF_MODULE.values()):
    load(name)
known = {module.partition(".")[0] for module in TABLE_OF_MODULE} - sys.stdlib_module_names - {"resilience"}
print(*sorted(known & {name.partition(".")[0] for name in sys.modules}))
"""


def test_after_a_failure_of_the_standard_library_nothing_else_is_loaded() -> None:
    """One table, and no module of a third party but the library's own dependencies."""
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tables, third_party = done.stdout.splitlines()
    assert tables.split() == ["http", "stdlib"]
    assert set(third_party.split()) <= {"attr", "attrs", "resilience", "sitecustomize", "typing_extensions"}


def test_no_table_imports_the_library_it_knows() -> None:
    """All of them loaded, still no third party is."""
    done = subprocess.run([sys.executable, "-c", ALL], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_table_has_rows_and_a_name() -> None:
    for name, table in all_tables().items():
        assert table.rows, name
        assert table.library
        for row in table.rows:
            assert row.verdict.after is None


@pytest.mark.parametrize("module", sorted(TABLE_OF_MODULE))
def test_every_entry_of_the_index_leads_to_rules_of_that_module(module: str) -> None:
    """Nothing is in the index in vain."""
    classes = load(TABLE_OF_MODULE[module]).by_class
    assert any(name == module or name.startswith(f"{module}.") for name in classes)


def made(module: str, name: str = "Error", bases: tuple[type, ...] = (Exception,), **members: Any) -> Any:
    """A class as another version of a library might have it."""
    return types.new_class(name, bases, {}, lambda body: body.update({"__module__": module, **members}))


@pytest.mark.parametrize("module", ["redis.exceptions", "httpx", "grpc", "a.b.c", "", "google", "googleapis.x"])
def test_a_class_that_no_row_names_is_unknown(module: str) -> None:
    """Another major version may have other classes: unknown, never guessed."""
    assert TABLES.find(made(module, "NoSuchErrorAtAll")()) is None


def test_a_class_whose_module_is_no_text_breaks_nothing() -> None:
    kind = made("x")
    kind.__module__ = 5
    assert TABLES.find(kind()) is None


def test_an_error_that_breaks_the_rule_is_explained() -> None:
    """A property that raises: not worth trying again, and it says why."""

    def broken(_: object) -> object:
        raise LookupError("gone")

    error = made("httpx", "HTTPStatusError", response=property(broken))()
    finding = TABLES.find(error)
    assert finding is not None
    assert finding.verdict is not None
    assert finding.verdict.kind == "permanent"
    assert finding.verdict.reason == "what it says of itself cannot be read: LookupError"
    assert finding.by == "a row that could not read it"
    assert "cannot be read" in str(transient.explain(error))


def test_causes_that_go_round_in_a_circle_are_bounded() -> None:
    """A wraps B wraps A: after ten wrappings nothing is known, and what the class itself says counts."""
    kind = made("httpx", "ConnectError")
    first, second = kind("first"), kind("second")
    first.__cause__, second.__cause__ = second, first
    finding = TABLES.find(first)
    assert finding is not None
    assert finding.verdict is not None
    assert finding.verdict.kind == "unsure"


def test_groups_that_hold_one_another_many_times_are_bounded() -> None:
    """Each leaf is judged once, however many ways lead to it."""
    error: ExceptionGroup[Exception] = ExceptionGroup("innermost", [ConnectionRefusedError()])
    for _ in range(40):
        error = ExceptionGroup("twice", [error, error])
    verdict = transient(error)
    assert verdict is not None
    assert verdict.kind == "transient"


def test_leaves_that_lead_back_to_their_group_are_bounded() -> None:
    kind = made("httpx", "ConnectError")
    leaves = [kind(str(number)) for number in range(12)]
    group = ExceptionGroup("round", leaves)
    for leaf in leaves:
        leaf.__cause__ = group
    assert TABLES.find(leaves[0]) is not None


def test_a_group_of_too_many_leaves_is_not_worth_the_time() -> None:
    verdict = transient(ExceptionGroup("many", [ConnectionRefusedError() for _ in range(1_001)]))
    assert verdict is not None
    assert verdict.kind == "permanent"


def test_a_group_of_groups_a_thousand_deep_is_judged() -> None:
    """Leaves are found without Python's own stack."""
    error: Exception = ConnectionRefusedError()
    for _ in range(1_000):
        error = ExceptionGroup("deeper", [error])
    verdict = transient(error)
    assert verdict is not None
    assert verdict.kind == "transient"


def test_a_group_without_leaves_is_not_worth_trying_again() -> None:
    """Python refuses to make one; a subclass may say that it has none."""

    class Empty(ExceptionGroup[Exception]):
        exceptions = ()

    verdict = transient(Empty("none", [ConnectionRefusedError()]))
    assert verdict is not None
    assert verdict.kind == "permanent"


def test_rules_are_found_once_for_each_class() -> None:
    class Mine(ConnectionResetError):
        pass

    assert rules_of(Mine) is rules_of(Mine)
    assert rules_of(ValueError) == ()
