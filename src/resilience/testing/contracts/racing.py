"""Clauses about several at once: in threads, or in tasks, each verb still takes effect at one moment.

These look for a race; they find one that is wide, and prove nothing about one that is not.
"""

from __future__ import annotations

from typing import Any

from resilience._core.codecs import Json
from resilience._core.records import ABSENT, ANY, VACANT, Guard, Seen, Versioned
from resilience._core.steps import Load, LoadMany, Pause, Steps, Swap
from resilience._core.updating import Document, update
from resilience.errors import GuardRefusedError, VersionConflictError
from resilience.testing.contracts.bench import Bench, Handle, clause


__all__: list[str] = []

_ROUNDS = 8
_WRITERS = 4


def _writers(bench: Bench) -> list[Handle]:
    """Several instances, or one that is used by several."""
    other = bench.another_or_the_same()
    return [bench.store, other] * (_WRITERS // 2)


def _won(bench: Bench, outcomes: list[Any], losing: type[Exception]) -> list[Any]:
    """Those that succeeded; the others must have failed by `losing`."""
    for outcome in outcomes:
        fine = isinstance(outcome, losing) or not isinstance(outcome, BaseException)
        bench.require(fine, f"of several at once each must succeed or raise {losing.__name__}, not {outcome!r}")
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def _one(step: Any) -> Steps[Any]:
    return (yield step)


@clause(real_time=True)
def of_several_writers_one_wins(bench: Bench) -> None:
    """Of several that expect the same revision, or vacancy, at once, exactly one writes; the others conflict with his write."""
    revision: int = ABSENT
    for number in range(_ROUNDS):
        expected = VACANT if number == 0 else revision
        jobs = [(store, _one(Swap("key", b"%d" % at, expected))) for at, store in enumerate(_writers(bench))]
        outcomes = bench.race(*jobs)
        won = _won(bench, outcomes, VersionConflictError)
        bench.expect(len(won), 1, f"how many of {len(jobs)} writers that expect {expected} win")
        there = bench.shows(bench.store, "key", "what the winner wrote", value=won[0].value, revision=won[0].revision)
        shown = {error.revision for error in outcomes if isinstance(error, VersionConflictError)}
        bench.expect(shown, {there.revision}, "the revision that the losers were shown")
        revision = there.revision


@clause(real_time=True)
def updates_at_once_are_all_kept(bench: Bench) -> None:
    """Of several that add 1 again and again through optimistic updates, no update is lost and none is done twice."""
    document: Document[Any] = Document("count", Json(), lambda: 0, None)
    each = 5

    def adding(writer: int) -> Steps[None]:
        for number in range(each):
            yield from update(document, lambda count: count + 1, "retry", f"writer {writer} update {number}")

    _won(bench, bench.race(*((store, adding(at)) for at, store in enumerate(_writers(bench)))), VersionConflictError)
    count = str(_WRITERS * each).encode()
    bench.shows(bench.store, "count", f"after {_WRITERS} writers with {each} updates each", value=count)


@clause(real_time=True)
def load_many_is_of_one_moment(bench: Bench) -> None:
    """`load_many` never shows a later write without the earlier one of the same writer."""
    first, second = "1 first", "2 second"
    rounds = 20

    def writing() -> Steps[None]:
        for number in range(1, rounds + 1):
            yield Swap(first, b"%d" % number, ANY)
            yield Swap(second, b"%d" % number, ANY)

    def reading(keys: tuple[str, str]) -> Steps[list[tuple[int, int]]]:
        seen: list[tuple[int, int]] = []
        for _ in range(rounds):
            found: dict[str, Versioned[bytes] | None] = yield LoadMany(keys)
            one, two = (int(record.value) if record is not None else 0 for record in (found[first], found[second]))
            seen.append((one, two))
        return seen

    other = bench.another_or_the_same()
    jobs = ((bench.store, writing()), (other, reading((first, second))), (other, reading((second, first))))
    for outcome in _won(bench, bench.race(*jobs), VersionConflictError)[1:]:
        torn = [pair for pair in outcome if not 0 <= pair[0] - pair[1] <= 1]
        bench.require(not torn, f"load_many must show (n, n) or (n + 1, n) of two keys written in turn, not {torn[:3]}")


@clause(real_time=True)
def nothing_is_written_under_a_guard_after_a_takeover(bench: Bench) -> None:
    """A guarded write and a takeover at once: the write comes before the takeover, or is refused, never afterwards."""
    other = bench.another_or_the_same()

    def taking(lease: Versioned[bytes], late: float) -> Steps[Versioned[bytes] | None]:
        yield Pause(late)
        yield Swap("lease", b"B", Seen(lease.revision, lease.beats), bench.long)
        seen: Versioned[bytes] | None = yield Load("document")
        return seen

    for number in range(_ROUNDS):
        lease = bench.store.put("lease", b"A", ANY, ttl=bench.long)
        guard = Guard("lease", lease.revision)
        holder = (bench.store, _one(Swap("document", b"A", ANY, None, guard)))
        wrote, seen = bench.race(holder, (other, taking(lease, 0.002 * (number % 3))))
        _won(bench, [wrote], GuardRefusedError)
        _won(bench, [seen], VersionConflictError)
        bench.expect(bench.store.load("document"), seen, "what was written under the old lease after the takeover")
