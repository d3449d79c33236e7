"""What a table is made of: the three kinds of rule, and facts that are not what the table expects."""

from __future__ import annotations

from typing import Any

import pytest

from resilience._core.finding import Finding
from resilience._core.rows import Always, By, Inside, LastOf, Row, Table, local, passed, read
from resilience._core.tables import Tables
from resilience._core.verdict import Verdict


TABLES = Tables(lambda: 0.0)
SURE, UNSURE, NO = Verdict.transient(reason="sure"), Verdict.unsure(), Verdict.permanent()


class Coded(Exception):
    """A library's own, with a code."""

    def __init__(self, code: Any = None) -> None:
        self.code = code


def found(rule: Any, error: BaseException) -> tuple[str, str, str] | None:
    """The row, the kind and the reason of what a rule says."""
    finding: Finding | None = rule.find(error, TABLES, 0)
    if finding is None or finding.verdict is None:
        return None
    return str(finding.by), str(finding.verdict.kind), finding.verdict.reason


def test_always() -> None:
    rule = Always("x.Coded", SURE)
    assert found(rule, Coded()) == ("x.Coded", "transient", "sure")
    assert rule.rows == (Row("x.Coded", "", SURE),)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1, ("x.Coded, code 1", "transient", "sure")),
        ("57P01", ("x.Coded, code 57P01", "unsure", "code 57P01")),
        ("57P99", ("x.Coded, code 57P*", "transient", "sure")),
        ("57014", ("x.Coded, code 57*", "unsure", "code 57014")),
        ("99", ("x.Coded, any other code", "permanent", "code 99")),
        (None, None),
    ],
)
def test_by(code: object, expected: tuple[str, str, str] | None) -> None:
    """The whole value first, then the longest beginning, then any other; a fact that is not there says nothing."""
    verdicts = {1: SURE, "57P01": UNSURE, "57*": UNSURE, "57P*": SURE}
    rule = By("x.Coded", "code", "code", verdicts, otherwise=NO)
    assert found(rule, Coded(code)) == expected


def test_by_without_otherwise_leaves_the_rest_to_others() -> None:
    rule = By("x.Coded", "code", lambda error: error.code, {1: SURE})
    assert found(rule, Coded(2)) is None
    assert [str(row) for row in rule.rows] == ["x.Coded, code 1"]


def test_a_hint_goes_on_the_verdict_and_not_on_the_row() -> None:
    """Each exception has its own; a permanent verdict has none, and nobody is asked for it."""
    rule = By("x.Coded", "code", "code", {1: SURE, 2: NO}, hint=lambda error, wall: error.code * 3.0 + wall())
    finding = rule.find(Coded(1), TABLES, 0)
    assert finding is not None
    assert finding.verdict == Verdict.transient(3.0, reason="sure")
    assert isinstance(finding.by, Row)
    assert finding.by.verdict.after is None
    hopeless = rule.find(Coded(2), TABLES, 0)
    assert hopeless is not None
    assert hopeless.verdict == Verdict.permanent("code 2")


@pytest.mark.parametrize(
    ("cause", "unsent", "expected"),
    [
        (ConnectionRefusedError(), False, ("by its __cause__ or __context__", "transient", "refused")),
        (ConnectionResetError(), False, ("by its __cause__ or __context__", "unsure", "connection broke")),
        (ConnectionResetError(), True, ("by its __cause__ or __context__", "transient", "connection broke")),
        (FileNotFoundError(2, "x"), True, ("by its __cause__ or __context__", "permanent", "errno ENOENT")),
        (ValueError(), False, ("nothing known inside", "unsure", "")),
        (None, True, ("nothing known inside", "unsure", "")),
        (KeyboardInterrupt(), False, ("nothing known inside", "unsure", "")),
    ],
    ids=repr,
)
def test_inside(cause: BaseException | None, unsent: bool, expected: tuple[str, str, str]) -> None:
    """What is wrapped is judged; before anything was sent, what would be unsure is transient."""
    error = Coded()
    error.__cause__ = cause
    row, kind, reason = expected
    assert found(Inside("x.Coded", unsent=unsent, otherwise=UNSURE), error) == (f"x.Coded, {row}", kind, reason)


def test_inside_without_otherwise_has_nothing_to_say() -> None:
    rule = Inside("x.Coded", ("code",))
    assert found(rule, Coded("text")) is None
    assert [row.when for row in rule.rows] == ["by its code"]


def test_a_table_keeps_the_order_of_its_rules() -> None:
    first, second, third = Always("x.A", SURE), Always("x.B", NO), By("x.A", "code", "code", {1: UNSURE})
    table = Table("x", (first, second, third))
    assert table.by_class == {"x.A": (first, third), "x.B": (second,)}
    assert [str(row) for row in table.rows] == ["x.A", "x.B", "x.A, code 1"]


def test_facts_are_read_along_a_path() -> None:
    """A path that breaks off leads to None: another version of the library may have moved it."""
    assert read(Coded(7), "code") == 7
    assert read(Coded(7), "code.real") == 7
    assert read(Coded(7), "response.status_code") is None
    assert read(Coded(7), lambda error: error.code + 1) == 8


def test_facts_are_read_through_mappings_and_tuples() -> None:
    error = Exception("a", {"b": ("c",)})
    paths = ("args.0", "args.1.b.0", "args.1.b.1", "args.1.x", "args.7", "args.x", "nothing", "nothing.0")
    assert [read(error, path) for path in paths] == ["a", "c", None, None, None, None, None, None]


def test_a_hint_that_cannot_be_read_does_not_take_the_verdict_with_it() -> None:
    rule = By("x.Coded", "code", "code", {1: SURE}, hint=lambda error, wall: 1 / 0)
    assert found(rule, Coded(1)) == ("x.Coded, code 1", "transient", "sure")


@pytest.mark.parametrize(("depth", "kind"), [(0, "unsure"), (1, "transient")])
def test_what_nobody_knows_is_no_proof(depth: int, kind: str) -> None:
    """Without its traceback an error proves nothing; inside another one, that one's traceback tells."""
    finding = LastOf((Always("x.Coded", SURE),), lambda _: None).find(Coded(), TABLES, depth)
    assert finding is not None
    assert finding.verdict is not None
    assert finding.verdict.kind == kind


@pytest.mark.parametrize(
    ("verdict", "others", "kind"),
    [(SURE, False, "transient"), (SURE, True, "unsure"), (UNSURE, True, "unsure"), (NO, True, "permanent")],
)
def test_the_last_of_several_requests_proves_nothing_of_those_before(verdict: Verdict, others: bool, kind: str) -> None:
    """A redirect, or a retry of the library's own: what would be transient is unsure, and says why."""
    rule = LastOf((Always("x.Coded", verdict),), lambda _: others)
    assert (rule.error, rule.rows) == ("x.Coded", (Row("x.Coded", "", verdict),))
    seen = found(rule, Coded())
    assert seen is not None
    assert seen[1] == kind
    assert ("an earlier request" in seen[2]) is (verdict is SURE and others)


def test_the_last_of_several_requests_may_have_a_row_of_its_own() -> None:
    rule = LastOf((By("x.Coded", "code", "code", {1: SURE}), Always("x.Coded", NO)), lambda _: True, "after another")
    assert [str(row) for row in rule.rows] == ["x.Coded, code 1", "x.Coded", "x.Coded, after another"]
    doubt = "an earlier request of the same call may have been done"
    assert found(rule, Coded(1)) == ("x.Coded, after another", "unsure", doubt)
    assert found(rule, Coded(2)) == ("x.Coded", "permanent", "")


def test_the_last_of_nothing_is_nothing() -> None:
    assert LastOf((Inside("x.Coded"),), lambda _: True).find(Coded(), TABLES, 0) is None


def passes_through(value: str) -> None:
    here = f"{value}!"
    raise Coded(here)


def test_a_local_variable_is_read_from_the_traceback() -> None:
    """Of the innermost frame of that function; None for an error that did not pass through it, or was never raised."""
    with pytest.raises(Coded) as raised:
        passes_through("a")
    assert local(raised.value, __name__, "passes_through", "here") == "a!"
    assert local(raised.value, __name__, "passes_through", "elsewhere") is None
    assert local(raised.value, __name__, "some_other", "here") is None
    assert local(raised.value, "other.module", "passes_through", "here") is None
    assert local(Coded(), __name__, "passes_through", "here") is None
    assert passed(raised.value, __name__)
    assert not passed(raised.value, "other.module")
    assert not passed(Coded(), __name__)
