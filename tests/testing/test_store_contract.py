"""The contract of a store is worth what it finds: each planted mistake is found by the clause that is there for it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import Phase, given, settings
from tests.testing.planted_stores import (
    FoldsKeys,
    ForgetsWhoWrote,
    IgnoresGuards,
    Planted,
    Sound,
    every,
)

from resilience._core.description import Description
from resilience._core.steps import Call, Wait
from resilience._io.clock import SystemClock
from resilience.stores import ANY, MemoryStore, ThreadedStore
from resilience.testing import AsyncStoreContract, StoreContract, check_async_store, check_store
from resilience.testing.contracts.bench import Bench
from resilience.testing.contracts.catalogue import CLAUSES
from resilience.testing.contracts.clauses import Subject
from resilience.testing.contracts.hands import Direct
from resilience.testing.contracts.machines import DataMachine, run_machine
from resilience.testing.contracts.report import Verdict, judge, report_on
from resilience.testing.strategies import HURTING_KEYS, durations, keys, values
from resilience.typing import Clock


MACHINES = ("data_machine", "lease_machine")


def subject(kind: type[Sound], is_async: bool = False, **more: Any) -> Subject:
    """A planted store as its owner would bring it."""
    if not is_async:
        return Subject(kind, lambda store: store.twin(), lambda store: store.reopened(), **more)

    async def reopened(store: Any) -> ThreadedStore:
        return ThreadedStore(store.blocking().reopened())

    return Subject(
        lambda clock: ThreadedStore(kind(clock)),
        lambda store: ThreadedStore(store.blocking().twin()),
        reopened,
        is_async=True,
        **more,
    )


@pytest.fixture
def quickly() -> Iterator[None]:
    """The same programs each time, and no search for a shorter one."""
    before = settings.default
    settings.register_profile("quickly", derandomize=True, phases=[Phase.explicit, Phase.generate])
    settings.load_profile("quickly")
    yield
    settings.register_profile("before", before)
    settings.load_profile("before")


# -- what it finds -------------------------------------------------------------------------------------------------------


#: `ThreadedStore` waits by itself.
OF_WAITING = [bug for bug in every() if bug.aim.startswith("wait")]


@pytest.mark.parametrize(
    ("bug", "is_async"),
    [
        pytest.param(bug, is_async, id=f"{bug.__name__}-{'async' if is_async else 'sync'}")
        for bug in every()
        for is_async in (False, True)
        if not (is_async and bug in OF_WAITING)
    ],
)
def test_a_planted_mistake_is_found_by_the_clause_that_is_there_for_it(bug: type[Planted], is_async: bool) -> None:
    verdict = judge(CLAUSES[bug.aim], subject(bug, is_async), {})
    assert verdict.kind == "failed", f"{bug.aim} accepts a store that {bug.__name__}"
    assert isinstance(verdict.error, Exception)
    notes = "\n".join(verdict.error.__notes__)
    assert re.search(r"The last \d+ calls:\n  \S", notes)  # what was asked, and what came
    assert f"breaks the clause {bug.aim}: {CLAUSES[bug.aim].says}" in notes


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("bug", "machine"),
    [(bug, machine) for bug in every() for machine in bug.machines],
    ids=lambda param: getattr(param, "__name__", param),
)
def test_a_planted_mistake_is_found_by_the_machines_that_can(bug: type[Planted], machine: str) -> None:
    assert judge(CLAUSES[machine], subject(bug, max_examples=200), {}).kind == "failed"


def test_a_failure_stands_alone() -> None:
    text = judge(CLAUSES[ForgetsWhoWrote.aim], subject(ForgetsWhoWrote), {}).reason
    assert re.search(
        r"expected 'one', found None, by store\.compare_and_set\('key', .*write_id='one'\) -> Versioned", text
    )


def test_every_mistake_has_a_clause_that_there_is() -> None:
    assert {bug.aim for bug in every()} <= set(CLAUSES)
    assert len(every()) >= 40


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("ours", [True, False], ids=["contract's clock", "own clock"])
def test_a_store_without_a_mistake_keeps_every_clause(ours: bool, is_async: bool) -> None:
    class OnItsOwn(Sound):
        def __init__(self, clock: Clock | None = None) -> None:
            super().__init__(clock if ours else None)

    sound = subject(OnItsOwn, is_async, clock_is_ours=ours, max_examples=30)
    found = report_on("Sound", sound, {})
    assert found.failed == {}
    assert set(found.not_run) == {name for name, clause in CLAUSES.items() if "clock" in clause.needs and not ours}


@pytest.mark.parametrize("wakes", [True, False])
def test_who_says_that_it_wakes_must_wake(wakes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sleeps(Sound):
        def _wait(self, verb: Wait) -> None:
            SystemClock().sleep(verb.timeout)

        def describe(self) -> Description:
            return evolve(super().describe(), wakes=wakes)

    monkeypatch.setattr("resilience.testing.contracts.living._SOON", 0.3)
    assert judge(CLAUSES["wait_is_woken_by_a_change"], subject(Sleeps), {}).kind == ("failed" if wakes else "passed")


# -- what it says --------------------------------------------------------------------------------------------------------


def test_a_report_names_every_clause_once() -> None:
    report = check_store(
        IgnoresGuards,
        another=lambda store: store.twin(),
        max_examples=20,
        known_gaps={"a_zombie_is_refused": "it has no guards", "ping_answers": "it never did"},
    )
    assert not report.ok
    assert report.gaps == {"a_zombie_is_refused": "it has no guards"}
    assert report.failed["ping_answers"].endswith(
        "ping_answers is a known gap (it never did), and the store keeps it: remove it from known_gaps"
    )
    assert "the_token_of_an_expired_lease_is_refused" in report.failed
    assert report.not_run["records_are_there_after_reopening"].endswith("define reopen(store)")
    everything = [*report.passed, *report.failed, *report.gaps, *report.not_run]
    assert sorted(everything) == sorted(name for name, clause in CLAUSES.items() if "async" not in clause.needs)
    shown = str(report)
    assert shown.startswith(
        f"IgnoresGuards: {len(report.passed)} passed, {len(report.failed)} failed, 1 known gaps, 3 not run, in "
    )
    assert all(f" {name}" in shown for name in everything)
    assert "  FAILED   lease_machine: " in shown
    assert "           The last " in shown  # and what was asked


def test_a_report_of_an_async_store_has_its_clauses_too() -> None:
    report = check_async_store(lambda clock: ThreadedStore(MemoryStore(clock)), max_value_bytes=None, max_examples=20)
    assert report.ok
    assert "the_blocking_twin_has_the_same_records" in report.passed
    assert (
        report.not_run["a_value_over_the_limit_is_refused"]
        == "it needs a limit of the size of values (max_value_bytes)"
    )


def test_a_known_gap_needs_a_clause_and_a_reason() -> None:
    with pytest.raises(TypeError, match=r"known_gaps names 'flies', and there is no such clause"):
        check_store(MemoryStore, known_gaps={"flies": "it has no wings"})
    with pytest.raises(TypeError, match=r"must say why the store does not keep 'ping_answers', not ' '"):
        check_store(MemoryStore, known_gaps={"ping_answers": " "})


def test_a_machine_that_never_came_to_it_says_so(quickly: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resilience.testing.contracts.machines._BATCHES", 1)
    with pytest.raises(
        AssertionError, match=r"1 times 1 programs never came to .*: nothing is proven of it; raise max_examples"
    ):
        run_machine(DataMachine, subject(Sound, max_examples=1))


def test_a_second_instance_that_cannot_be_made_is_an_error_of_the_machine() -> None:
    def another(store: Any) -> Any:
        raise OSError("no second instance")

    verdict = judge(CLAUSES["data_machine"], Subject(MemoryStore, another), {})
    assert isinstance(verdict.error, OSError)


def test_a_machine_in_real_time_finds_mistakes_too(quickly: None) -> None:
    lasting = Subject(lambda clock: IgnoresGuards(), lambda store: store.twin(), clock_is_ours=False, max_examples=20)
    assert judge(CLAUSES["lease_machine"], lasting, {}).kind == "failed"


def test_a_store_that_raises_what_nobody_expects_fails_by_it() -> None:
    class Raises(MemoryStore):
        def load(self, key: str) -> Any:
            raise OSError("disk on fire")

    verdict = judge(CLAUSES["a_bad_key_is_refused"], Subject(Raises), {})
    assert verdict.reason == (
        "AssertionError: a bad key: expected ValueError or TypeError, but store.load('') raised OSError: disk on fire"
    )
    assert isinstance(judge(CLAUSES["ping_answers"], Subject(lambda clock: dict[str, Any]()["no"]), {}).error, KeyError)


def test_what_is_stuck_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from resilience.testing.contracts import hands

    monkeypatch.setattr(hands, "STUCK", 0.05)
    free = threading.Event()

    def stuck() -> Any:
        yield Call(free.wait)

    (outcome,) = Direct().race([(None, stuck())])
    free.set()
    assert isinstance(outcome, TimeoutError)


def test_judging_before_any_call_says_that_there_was_none() -> None:
    with Bench(Subject(MemoryStore)) as bench, pytest.raises(AssertionError, match="found otherwise by no call"):
        bench.require(False, "it must be so")


def test_a_large_value_is_shown_short() -> None:
    with Bench(Subject(MemoryStore)) as bench:
        bench.store.put("key", b"x" * 1000, ANY)
    assert len(bench.trail[0]) < 500


# -- how it is used ------------------------------------------------------------------------------------------------------


class Mine(StoreContract):
    max_examples = 20

    def make_store(self, clock: Clock) -> Any:
        return Sound(clock)


def test_a_clause_is_one_test_and_passes() -> None:
    names = {name.removeprefix("test_") for name in dir(Mine) if name.startswith("test_")}
    assert names == {name for name, clause in CLAUSES.items() if "async" not in clause.needs}
    assert {name for name in dir(AsyncStoreContract) if name.startswith("test_")} == {
        f"test_{name}" for name in CLAUSES
    }
    Mine().test_ping_answers()  # type: ignore[attr-defined]
    assert Mine.test_ping_answers.__doc__ == CLAUSES["ping_answers"].says  # type: ignore[attr-defined]


def test_a_clause_that_cannot_be_run_is_skipped_by_its_name() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"not run: a_zombie_is_refused: .*define another\(store\)"):
        Mine().test_a_zombie_is_refused()  # type: ignore[attr-defined]

    class Alone(Mine):
        lacks = {"another": "there is only one"}

    with pytest.raises(pytest.skip.Exception, match=r"not run: a_zombie_is_refused: there is only one"):
        Alone().test_a_zombie_is_refused()  # type: ignore[attr-defined]


def test_a_second_instance_is_made_on_the_same_clock() -> None:
    class WithTwo(Mine):
        def another(self, store: Sound) -> Sound:
            assert store._clock is self.clock
            return store.twin()

        def reopen(self, store: Sound) -> Sound:
            return store.reopened()

    for clause in ("a_zombie_is_refused", "records_are_there_after_reopening"):
        getattr(WithTwo(), f"test_{clause}")()


def test_a_known_gap_is_an_expected_failure_until_it_passes() -> None:
    class Folding(StoreContract):
        known_gaps = {FoldsKeys.aim: "MS-DOS", "ping_answers": "MS-DOS"}

        def make_store(self, clock: Clock) -> Any:
            return FoldsKeys(clock)

    with pytest.raises(pytest.xfail.Exception, match="MS-DOS"):
        Folding().test_keys_that_hurt_are_distinct()  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="remove it from known_gaps"):
        Folding().test_ping_answers()  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["replaced", "removed", "mixed in"])
def test_a_clause_cannot_be_replaced_in_silence(how: str) -> None:
    class Mixin:
        def test_ping_answers(self) -> None:
            """Much easier."""

    bases: tuple[type, ...] = (Mixin, StoreContract) if how == "mixed in" else (StoreContract,)
    bodies: dict[str, dict[str, Any]] = {
        "replaced": {"test_ping_answers": Mixin.test_ping_answers},
        "removed": {"test_ping_answers": None},
        "mixed in": {},
    }
    with pytest.raises(
        TypeError, match=r"Mine replaces test_ping_answers, .* is declared: known_gaps = \{'ping_answers': 'why'\}"
    ):
        type("Mine", bases, bodies[how])


def test_a_known_gap_of_no_clause_fails_with_the_class() -> None:
    with pytest.raises(TypeError, match="no such clause"):
        type("Mine", (StoreContract,), {"known_gaps": {"flies": "no wings"}})


def test_what_is_lacking_is_something_that_clauses_need() -> None:
    with pytest.raises(
        TypeError, match="lacks names 'anoter', which no clause needs: one of another, reopen, clock, limit"
    ):
        type("Mine", (StoreContract,), {"lacks": {"anoter": "there is only one"}})


@pytest.mark.parametrize("kind", [StoreContract, AsyncStoreContract])
def test_a_contract_without_a_store_says_what_to_define(kind: Any) -> None:
    mine: Any = type("Mine", (kind,), {"max_examples": 1})
    report = mine.report()
    assert not report.passed
    assert set(report.failed.values()) == {
        "NotImplementedError: Mine must define make_store(self, clock), which returns a new, empty store"
    }


def test_what_is_optional_is_not_defined_by_itself() -> None:
    for method in (Mine().another, Mine().reopen):
        with pytest.raises(NotImplementedError):
            method(None)


def test_pytest_collects_the_subclass_and_not_what_was_imported(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent("""
            from resilience.stores import MemoryStore
            from resilience.testing import AsyncStoreContract, Report, StoreContract, check_store

            class TestMine(StoreContract):
                max_examples = 20

                def make_store(self, clock):
                    return MemoryStore(clock)
        """)
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    needing = [clause for clause in CLAUSES.values() if {"another", "reopen"} & set(clause.needs)]
    blocking = [clause for clause in CLAUSES.values() if "async" not in clause.needs]
    assert f"{len(blocking) - len(needing)} passed, {len(needing)} skipped" in run.stdout, run.stdout


def test_without_hypothesis_the_rest_works_and_these_say_what_to_install() -> None:
    program = """
        import sys
        sys.modules["hypothesis"] = None
        import resilience.testing as kit
        kit.VirtualClock, kit.Script, kit.virtual_time
        for name in ("StoreContract", "AsyncStoreContract", "check_store", "check_async_store", "Report", "strategies"):
            try:
                getattr(kit, name)
            except ImportError as error:
                print(error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=True
    )
    sentence = "the contracts and strategies of resilience.testing need hypothesis: pip install 'resilience-primitives[testing]'"
    assert run.stdout.splitlines() == [sentence] * 6


def test_strategies_by_themselves_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "resilience.testing._hypothesis")
    with pytest.raises(ImportError, match="need hypothesis"):
        importlib.import_module("resilience.testing._hypothesis")


def test_the_kit_loads_its_names_one_by_one() -> None:
    import resilience.testing as kit

    assert set(kit.__all__) <= set(dir(kit))
    assert all(hasattr(kit, name) for name in kit.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'StorContract'"):
        kit.StorContract  # type: ignore[attr-defined]
    program = "import resilience.testing, sys; print('hypothesis' in sys.modules, 'asyncio' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "False False\n"


# -- strategies ----------------------------------------------------------------------------------------------------------


def test_keys_that_hurt_are_keys_and_all_different() -> None:
    assert len(set(HURTING_KEYS)) == len(HURTING_KEYS)
    assert all(1 <= len(key.encode()) <= 1024 for key in HURTING_KEYS)


@given(keys(), values(largest=8), durations(longest=4.0))
def test_strategies_keep_their_bounds(key: str, value: bytes, seconds: float) -> None:
    assert 1 <= len(key.encode()) <= 1024
    assert len(value) <= 8
    assert 0 < seconds <= 4.0
    assert (seconds * 16).is_integer()


def test_a_verdict_is_plain_data() -> None:
    assert Verdict("passed") == Verdict("passed", "", None)
