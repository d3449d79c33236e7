"""The verdict on a store: clause by clause, with nothing left out."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Any, Literal

from attrs import field, frozen

from resilience._io.clock import SystemClock
from resilience.testing.contracts.catalogue import CLAUSES
from resilience.testing.contracts.clauses import Clause, Subject, unmet
from resilience.typing import AsyncStore, Clock, Store


__all__ = ["Report", "Verdict", "asked", "check_async_store", "check_store", "checked_gaps", "judge", "report_on"]


@frozen
class Verdict:
    """What came of one clause.

    Args:
        kind: How it ended; a "gap" failed, as it was declared to.
        reason: Why, where it did not pass.
        error: What was raised, where it failed.
    """

    kind: Literal["passed", "failed", "not run", "gap"]
    reason: str = ""
    error: Exception | None = None


def checked_gaps(gaps: Mapping[str, str]) -> Mapping[str, str]:
    """Known gaps, each of a clause that there is, and with a reason."""
    for name, reason in gaps.items():
        if name not in CLAUSES:
            raise TypeError(f"known_gaps names {name!r}, and there is no such clause")
        if not str(reason).strip():
            raise TypeError(f"known_gaps must say why the store does not keep {name!r}, not {reason!r}")
    return gaps


def asked(*, is_async: bool) -> list[str]:
    """The clauses that concern stores of this colour."""
    return [name for name, clause in CLAUSES.items() if is_async or "async" not in clause.needs]


def judge(clause: Clause, subject: Subject, gaps: Mapping[str, str]) -> Verdict:
    """Put one clause to a store."""
    missing = unmet(clause, subject)
    if missing is not None:
        return Verdict("not run", missing)
    gap = gaps.get(clause.name)
    try:
        clause.check(subject)
    except Exception as error:  # whatever a store raises is its verdict
        if gap is not None:
            return Verdict("gap", gap)
        error.add_note(f"The store breaks the clause {clause.name}: {clause.says}")
        return Verdict("failed", f"{type(error).__name__}: {error}", error)
    if gap is None:
        return Verdict("passed")
    kept = AssertionError(f"{clause.name} is a known gap ({gap}), and the store keeps it: remove it from known_gaps")
    return Verdict("failed", str(kept), kept)


@frozen
class Report:
    """What a store keeps of its contract, and what not.

    Args:
        store: Which one.
        passed: The clauses that it keeps.
        failed: Those that it breaks, each with how.
        gaps: Those that it breaks and was declared to, each with why.
        not_run: Those that could not be put to it, each with why.
        evidence: Of those that failed, what was asked of the store and what came.
        seconds: How long it took.
    """

    store: str
    passed: tuple[str, ...]
    failed: Mapping[str, str]
    gaps: Mapping[str, str]
    not_run: Mapping[str, str]
    evidence: Mapping[str, str] = field(eq=False)
    seconds: float = field(eq=False)

    @property
    def ok(self) -> bool:
        """Whether no clause failed but those declared as known gaps."""
        return not self.failed

    def __str__(self) -> str:
        counts = f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.gaps)} known gaps, {len(self.not_run)} not run"
        lines = [f"{self.store}: {counts}, in {self.seconds:.1f} s"]
        lines += [f"  passed   {name}" for name in self.passed]
        for word, some in (("gap", self.gaps), ("not run", self.not_run), ("FAILED", self.failed)):
            for name, reason in some.items():
                lines += [f"  {word:<8} {name}: {reason}", *self.evidence.get(name, "").splitlines()]
        return "\n".join(lines)


def report_on(name: str, subject: Subject, gaps: Mapping[str, str]) -> Report:
    """Put every clause to a store."""
    clock = SystemClock()
    start = clock.monotonic()
    verdicts = {name: judge(CLAUSES[name], subject, checked_gaps(gaps)) for name in asked(is_async=subject.is_async)}

    def reasons(kind: str) -> dict[str, str]:
        return {clause: verdict.reason for clause, verdict in verdicts.items() if verdict.kind == kind}

    passed, seconds = tuple(reasons("passed")), clock.monotonic() - start
    evidence = {clause: _evidence(verdict.error) for clause, verdict in verdicts.items() if verdict.error is not None}
    return Report(name, passed, reasons("failed"), reasons("gap"), reasons("not run"), evidence, seconds)


def _evidence(error: Exception) -> str:
    """What the error has been told on its way."""
    return textwrap.indent("\n".join(getattr(error, "__notes__", ())), " " * 11)


def check_store(
    make: Callable[[Clock], Store],
    *,
    another: Callable[[Any], Store] | None = None,
    reopen: Callable[[Any], Store] | None = None,
    clock_is_ours: bool = True,
    waits_are_real: bool = False,
    max_value_bytes: int | None = 1 << 20,
    max_examples: int = 100,
    known_gaps: Mapping[str, str] | None = None,
) -> Report:
    """Put the whole contract to a store, without pytest: ``print(check_store(make))``.

    Args:
        make: Makes a new, empty store that reads time from the clock it is given.
        another: Makes a second instance over the data of a store that `make` made; None if there can be none.
        reopen: Closes such a store and opens it again; None if that cannot be.
        clock_is_ours: Whether the store does read time from that clock.
        waits_are_real: Whether, though it does, it waits for a server or another process, and so by real time.
        max_value_bytes: The limit of its values; None if there is none.
        max_examples: How many programs each of the state machines tries.
        known_gaps: The clauses that the store does not keep, each with the reason.

    Returns:
        What came of each clause; nothing is raised for a clause that failed.

    Raises:
        TypeError: A known gap that is no clause, or has no reason.

    >>> from resilience.stores import MemoryStore
    >>> from resilience.testing import check_store
    >>> report = check_store(MemoryStore, max_examples=20)
    >>> report.failed
    {}
    """
    subject = Subject(make, another, reopen, clock_is_ours, waits_are_real, False, max_value_bytes, max_examples)
    return report_on(_named(make), subject, known_gaps or {})


def check_async_store(
    make: Callable[[Clock], AsyncStore],
    *,
    another: Callable[[Any], AsyncStore] | None = None,
    reopen: Callable[[Any], Any] | None = None,
    clock_is_ours: bool = True,
    waits_are_real: bool = False,
    max_value_bytes: int | None = 1 << 20,
    max_examples: int = 100,
    known_gaps: Mapping[str, str] | None = None,
) -> Report:
    """As `check_store`, of an async store. What makes it may be a coroutine function; it is called on an event loop.

    This function is not async: each store has an event loop of its own, on virtual time where the store's is.
    """
    subject = Subject(make, another, reopen, clock_is_ours, waits_are_real, True, max_value_bytes, max_examples)
    return report_on(_named(make), subject, known_gaps or {})


def _named(make: Callable[..., object]) -> str:
    return str(getattr(make, "__qualname__", repr(make)))
