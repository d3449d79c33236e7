"""Clauses about guards: a condition on a lease, judged in the same step as the write, and before what is expected."""

from __future__ import annotations

from typing import Any

from resilience._core.records import ABSENT, ANY, VACANT, Beat, Guard, Seen
from resilience.errors import VersionConflictError
from resilience.testing.contracts.bench import TICK, Bench, clause
from resilience.testing.contracts.holding import expired, held, refuses


__all__: list[str] = []

_BAD = (ValueError, TypeError)


@clause()
def the_holder_writes_and_removes(bench: Bench) -> None:
    """With the token of a lease that is held, a guarded write and a guarded removal are carried out."""
    guard = Guard("lease", held(bench).revision)
    bench.expect(
        bench.store.put("document", b"1", ABSENT, guard=guard).value, b"1", "a write under a lease that is held"
    )
    bench.expect(bench.store.remove("document", guard=guard), True, "a removal under a lease that is held")
    bench.expect(bench.store.remove("document", guard=guard), False, "a removal of nothing under a lease that is held")


@clause()
def another_token_is_refused(bench: Bench) -> None:
    """A guard with a token that is not the lease's, an older or a higher one, is refused."""
    bench.store.put("document", b"before")
    old = held(bench)
    bench.store.remove("lease", old.revision)
    lease = held(bench)
    for token in (old.revision, lease.revision + 1):
        refuses(bench, Guard("lease", token), "a guard with another token")


@clause()
def the_token_of_an_expired_lease_is_refused(bench: Bench) -> None:
    """A guard whose lease has expired is refused, though nobody has taken it over."""
    bench.store.put("document", b"before")
    refuses(bench, Guard("lease", expired(bench).revision), "a guard whose lease has expired")


@clause("clock")
def a_guard_holds_until_the_edge(bench: Bench) -> None:
    """A guard holds one tick before its lease expires, and no longer at the moment when it does."""
    guard = Guard("lease", held(bench, ttl=8.0).revision)
    bench.advance(8.0 - TICK)
    bench.expect(bench.store.put("document", b"1", guard=guard).value, b"1", "a guard one tick before the expiry")
    bench.advance(TICK)
    refuses(bench, guard, "a guard at the moment of the expiry")


@clause()
def a_guard_without_a_lease_is_refused(bench: Bench) -> None:
    """A guard on a lease that was never there, or was removed, is refused."""
    refuses(bench, Guard("nothing", 1), "a guard on nothing")
    lease = held(bench)
    bench.store.remove("lease", lease.revision)
    refuses(bench, Guard("lease", lease.revision), "a guard on a lease that was given back")


@clause()
def a_renewed_lease_still_guards(bench: Bench) -> None:
    """Beats leave the token as it is: the guard holds after them."""
    lease = held(bench)
    bench.store.extend(Beat("lease", lease.revision, bench.long * 2))
    guarded = bench.store.put("document", b"1", guard=Guard("lease", lease.revision))
    bench.expect(guarded.value, b"1", "a write under a lease that was renewed")


@clause()
def a_record_that_never_expires_guards(bench: Bench) -> None:
    """A guard may be on a record without a TTL: it holds while the record is at that revision."""
    plain = bench.store.put("plain")
    guard = Guard("plain", plain.revision)
    bench.expect(bench.store.put("document", b"1", guard=guard).value, b"1", "a guard on a record without a TTL")
    bench.store.put("plain")
    refuses(bench, guard, "a guard on a record that was written again")


@clause()
def a_vacancy_guard_holds_while_nobody_does(bench: Bench) -> None:
    """`Guard(key, VACANT)` holds where there is no record, and where it has expired."""
    guard = Guard("lease", VACANT)
    bench.expect(bench.store.put("document", b"1", guard=guard).value, b"1", "a vacancy guard on nothing")
    expired(bench)
    bench.expect(bench.store.put("document", b"2", guard=guard).value, b"2", "a vacancy guard on an expired lease")
    bench.expect(bench.store.remove("document", guard=guard), True, "a vacancy guard on an expired lease")


@clause()
def a_vacancy_guard_is_refused_while_somebody_holds(bench: Bench) -> None:
    """`Guard(key, VACANT)` is refused while the lease is held, and holds again once it is given back."""
    bench.store.put("document", b"before")
    lease = held(bench)
    refuses(bench, Guard("lease", VACANT), "a vacancy guard on a lease that is held")
    bench.store.remove("lease", lease.revision)
    written = bench.store.put("document", b"1", guard=Guard("lease", VACANT))
    bench.expect(written.value, b"1", "a vacancy guard on a lease that was given back")


@clause()
def a_guard_is_judged_before_what_is_expected(bench: Bench) -> None:
    """Where neither the guard holds nor the record is as expected, the guard is what is refused, also for a removal."""
    there = bench.store.put("document", b"before")
    for expected in (ABSENT, there.revision + 1, VACANT, Seen(there.revision, 1)):
        refuses(bench, Guard("lease", 1), "a guard on nothing and a wrong expectation", expected=expected)
    refuses(bench, Guard("lease", 1), "a guard on nothing, of nothing", key="nothing")


@clause()
def a_guard_does_not_stand_in_for_what_is_expected(bench: Bench) -> None:
    """Where the guard holds and the record is not as expected, it is a conflict."""
    there = bench.store.put("document", b"before")
    guard = Guard("lease", held(bench).revision)
    for call in (
        lambda: bench.store.put("document", b"", ABSENT, guard=guard),
        lambda: bench.store.remove("document", ABSENT, guard),
    ):
        bench.refused(VersionConflictError, "a wrong expectation under a guard that holds", call)
    bench.expect(bench.store.load("document"), there, "after a conflict under a guard")


@clause()
def a_lease_may_guard_itself(bench: Bench) -> None:
    """A guard may be on the key that is written: it is judged as the record was before the write."""
    lease = held(bench)
    written = bench.store.put("lease", b"1", ANY, ttl=bench.long, guard=Guard("lease", lease.revision))
    refuses(bench, Guard("lease", lease.revision), "a guard on the record itself, written since", key="lease")
    bench.expect(
        bench.store.remove("lease", ANY, Guard("lease", written.revision)), True, "a removal that guards itself"
    )
    bench.expect(
        bench.store.put("lease", b"2", ANY, guard=Guard("lease", VACANT)).value, b"2", "a write if it is vacant"
    )


@clause()
def a_bad_guard_is_refused(bench: Bench) -> None:
    """A guard that is none, or whose key or token cannot be, is refused, and nothing is written."""
    bad: tuple[Any, ...] = (Guard("", 1), Guard("lease", 0), Guard("lease", -1), ("lease", 1), "lease", 7)
    for guard in bad:
        bench.refused(_BAD, f"the guard {guard!r}", bench.store.put, "document", b"", guard=guard)
    bench.expect(bench.store.load("document"), None, "after guards that were refused")
