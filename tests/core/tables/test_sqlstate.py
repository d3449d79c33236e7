"""What an SQLSTATE says, for any class that carries one; each driver's own test has it from a real server."""

from __future__ import annotations

import pytest
from tests.core.tables.proving import NOW
from tests.servers.postgres import CODES

from resilience._core.rows import Table
from resilience._core.tables import Tables
from resilience._core.tables.sqlstate import SQLSTATE, by_sqlstate


class Said(Exception):
    """An error of a client that calls things by other names."""

    def __init__(self, code: object, text: object = "said") -> None:
        super().__init__(code)
        self.pgcode = code
        self.text = text


RULE = by_sqlstate("of.no.matter", sqlstate="pgcode", message="text")


def judged(code: object, text: object = "said") -> tuple[str, str, bool] | None:
    finding = RULE.find(Said(code, text), Tables(lambda: NOW), 0)
    if finding is None:
        return None
    assert finding.verdict is not None
    return str(finding.by).removeprefix("of.no.matter, "), str(finding.verdict.kind), finding.verdict.throttled


@pytest.mark.parametrize("code", [code for code in CODES if "," not in code])
def test_code(code: str) -> None:
    """Each has the row, the kind and the word on too much work that the real errors are tested for."""
    _, row, kind, throttled = CODES[code]
    named = "any other SQLSTATE" if row == "any other" else f"SQLSTATE {row}"
    assert judged(code) == (named, kind, throttled)


def test_every_row_has_a_code() -> None:
    """Nothing is in the table that the tests of the drivers do not cause."""
    assert {row for _, row, _, _ in CODES.values()} == {*SQLSTATE, "any other"}
    assert len(Table("", (RULE,)).rows) == len(SQLSTATE) + 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("canceling statement due to statement timeout", "transient"),
        ("query execution canceled due to statement timeout", "transient"),
        ("canceling statement due to user request", "permanent"),
        ("canceling statement due to statement timeout of somebody else's", "permanent"),
        ("storniere Anfrage wegen Zeitüberschreitung der Anfrage", "permanent"),
        (None, "permanent"),
        (7, "permanent"),
    ],
)
def test_cancelled_or_too_slow(text: object, kind: str) -> None:
    """One code for both; only the English message tells, and without it somebody may have cancelled."""
    found = judged("57014", text)
    assert found is not None
    assert found[1] == kind


@pytest.mark.parametrize("code", [None, "", 40001, 0, b"40001", ["40001"]], ids=repr)
def test_no_code_is_nothing_to_judge_by(code: object) -> None:
    """Without an SQLSTATE the next rule is asked."""
    assert judged(code) is None


@pytest.mark.parametrize(
    ("code", "kind"), [("08", "unsure"), ("4000", "permanent"), ("40001 ", "permanent"), ("x", "permanent")]
)
def test_strange_codes_are_taken_by_their_class_or_not_at_all(code: str, kind: str) -> None:
    """Nothing that is not exactly the code of a refusal proves that nothing was done."""
    found = judged(code)
    assert found is not None
    assert found[1] == kind
