"""Clauses about taking over: two instances, and a zombie that does not know that its lease is another's by now."""

from __future__ import annotations

from resilience._core.records import ABSENT, VACANT, Beat, Guard, Seen
from resilience.errors import VersionConflictError
from resilience.testing.contracts.bench import Bench, clause
from resilience.testing.contracts.holding import held, refuses


__all__: list[str] = []


@clause("another")
def a_zombie_is_refused(bench: Bench) -> None:
    """A's lease expires and B takes it over: A's guarded write and removal are refused, whoever judges them."""
    zombie, other = bench.store, bench.another()
    bench.store.put("document", b"before")
    old = held(bench, ttl=bench.short)
    zombie.put("document", b"held", guard=Guard("lease", old.revision))
    bench.expire()
    there = bench.shows(other, "lease", "the lease that A let expire", expired=True)
    new = other.put("lease", b"B", Seen(there.revision, there.beats), ttl=bench.long)
    bench.require(new.revision > old.revision, f"B's token must be above A's {old.revision}, not {new.revision}")
    written = other.put("document", b"B", guard=Guard("lease", new.revision))
    refuses(bench, Guard("lease", old.revision), "the guarded write of a zombie")
    bench.expect(zombie.load("document"), written, "what a zombie may not have changed")


@clause("another")
def a_zombie_whose_lease_was_taken_early_is_refused(bench: Bench) -> None:
    """A's lease is taken before it expires, for A was thought dead: A is refused at once, whatever A itself last saw."""
    zombie, other = bench.store, bench.another()
    old = held(bench)
    zombie.put("document", b"held", guard=Guard("lease", old.revision))
    other.put("lease", b"B", Seen(old.revision, old.beats), ttl=bench.long)
    refuses(bench, Guard("lease", old.revision), "the guarded write of a zombie whose lease was taken early")
    refuses(bench, Guard("lease", VACANT), "a write guarded by the vacancy of a lease that was taken")


@clause("another")
def a_zombie_cannot_renew_or_release(bench: Bench) -> None:
    """After a takeover the old holder's beat is lost, its removal by token conflicts, and the new lease stands."""
    zombie, other = bench.store, bench.another()
    old = held(bench, ttl=bench.short)
    bench.expire()
    new = other.put("lease", b"B", VACANT, ttl=bench.long)
    bench.expect(zombie.extend(Beat("lease", old.revision, bench.long)), frozenset({"lease"}), "the beat of a zombie")
    bench.refused(VersionConflictError, "the release of a zombie", zombie.remove, "lease", old.revision)
    bench.shows(other, "lease", "the lease of B", revision=new.revision, beats=0, value=b"B", expired=False)


@clause("another")
def a_renewed_lease_is_not_taken_over(bench: Bench) -> None:
    """B saw a lease, A renewed it, B's takeover by what was `Seen` conflicts."""
    other = bench.another()
    lease = held(bench)
    seen = bench.shows(other, "lease", "the lease that B saw")
    bench.store.extend(Beat("lease", lease.revision, bench.long))
    because, seen_before = "taking over a lease that was renewed", Seen(seen.revision, seen.beats)
    bench.refused(VersionConflictError, because, other.put, "lease", b"B", seen_before, ttl=bench.long)
    bench.expect(
        other.put("free", b"1", guard=Guard("lease", lease.revision)).value, b"1", "a write under the renewed lease"
    )


@clause("another")
def only_one_instance_takes_a_lease(bench: Bench) -> None:
    """What one instance took, another cannot take, neither by `VACANT` nor by `ABSENT`."""
    other = bench.another()
    held(bench)
    for expected in (VACANT, ABSENT):
        because = "taking a lease that another instance holds"
        bench.refused(VersionConflictError, because, other.put, "lease", b"B", expected, ttl=bench.long)


@clause("reopen")
def a_lease_is_held_through_reopening(bench: Bench) -> None:
    """A lease is still held, and its token still good, after the store was closed and opened again."""
    lease = held(bench)
    store = bench.reopened()
    bench.expect(store.put("document", b"1", guard=Guard("lease", lease.revision)).value, b"1", "a write under a lease")
    bench.expect(store.extend(Beat("lease", lease.revision, bench.long)), frozenset[str](), "a beat after reopening")
    bench.refused(VersionConflictError, "taking a lease held before reopening", store.put, "lease", b"B", VACANT)
