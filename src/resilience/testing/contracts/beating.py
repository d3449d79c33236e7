"""Clauses about beats: they renew what is held, and nothing else."""

from __future__ import annotations

import math
from typing import Any

from resilience._core.records import Beat, Seen
from resilience.errors import VersionConflictError
from resilience.testing.contracts.bench import TICK, Bench, clause
from resilience.testing.contracts.holding import expired, held


__all__: list[str] = []

_BAD = (ValueError, TypeError)


def _lost(bench: Bench, beat: Beat, because: str) -> None:
    """The beat must be lost, and change nothing."""
    before = bench.store.load(beat.key)
    bench.expect(bench.store.extend(beat), frozenset({beat.key}), because)
    after = bench.store.load(beat.key)
    same = (before and (before.revision, before.beats, before.ttl, before.expired)) == (
        after and (after.revision, after.beats, after.ttl, after.expired)
    )
    bench.require(same, f"{because}: a beat that is lost changes nothing of {before}, not to {after}")


@clause()
def a_beat_renews(bench: Bench) -> None:
    """A beat puts the expiry off to its TTL from now."""
    lease = held(bench)
    longer = bench.long * 2
    bench.expect(bench.store.extend(Beat("lease", lease.revision, longer)), frozenset[str](), "a beat of the holder's")
    found = bench.shows(bench.store, "lease", "after a beat", ttl=longer, expired=False)
    left = found.expires_in or 0.0
    bench.require(bench.long < left <= longer, f"expires_in after a beat must be near {longer}, not {left}")


@clause("clock")
def a_beat_moves_the_edge(bench: Bench) -> None:
    """After a beat the lease expires exactly when the beat's TTL is over."""
    lease = held(bench, ttl=8.0)
    bench.advance(8.0 - TICK)
    bench.expect(
        bench.store.extend(Beat("lease", lease.revision, 8.0)), frozenset[str](), "a beat one tick before the expiry"
    )
    bench.advance(8.0 - TICK)
    bench.shows(bench.store, "lease", "one tick before the new expiry", expired=False, expires_in=TICK)
    bench.advance(TICK)
    bench.shows(bench.store, "lease", "at the moment of the new expiry", expired=True, expires_in=0.0)


@clause()
def a_beat_counts_and_leaves_the_rest(bench: Bench) -> None:
    """Beats are counted; revision, value and write_id stay. A write starts the count anew."""
    lease = held(bench)
    for count in (1, 2, 3):
        bench.store.extend(Beat("lease", lease.revision, bench.long))
        kept = {"revision": lease.revision, "value": b"holder", "write_id": "holder"}
        bench.shows(bench.store, "lease", f"after {count} beats", beats=count, **kept)
    bench.expect(bench.store.put("lease", ttl=bench.long).beats, 0, "the beats of a new write")


@clause()
def a_beat_never_shortens(bench: Bench) -> None:
    """A beat with a TTL shorter than what is left leaves what is left."""
    lease = held(bench)
    bench.expect(
        bench.store.extend(Beat("lease", lease.revision, bench.short)), frozenset[str](), "a beat with a shorter TTL"
    )
    bench.expire()
    bench.shows(bench.store, "lease", "after a beat with a shorter TTL", expired=False, beats=1, ttl=bench.short)


@clause()
def a_beat_never_revives(bench: Bench) -> None:
    """A beat for a lease that has expired is lost, and the lease stays expired."""
    lease = expired(bench)
    _lost(bench, Beat("lease", lease.revision, bench.long), "a beat for an expired lease")


@clause("clock")
def a_beat_at_the_edge_is_lost(bench: Bench) -> None:
    """A beat at the very moment of the expiry is too late."""
    lease = held(bench, ttl=8.0)
    bench.advance(8.0)
    _lost(bench, Beat("lease", lease.revision, 8.0), "a beat at the moment of the expiry")


@clause()
def a_beat_with_another_token_is_lost(bench: Bench) -> None:
    """A beat with a token that is not the lease's, an older or a higher one, is lost."""
    old = held(bench)
    bench.store.remove("lease", old.revision)
    lease = held(bench)
    for token in (old.revision, lease.revision + 1):
        _lost(bench, Beat("lease", token, bench.long), "a beat with another token")


@clause()
def a_beat_of_what_is_no_lease_is_lost(bench: Bench) -> None:
    """A beat is lost where there is no record, where it was removed, and where the record never expires."""
    _lost(bench, Beat("nothing", 1, bench.long), "a beat of what was never there")
    lease = held(bench)
    bench.store.remove("lease", lease.revision)
    _lost(bench, Beat("lease", lease.revision, bench.long), "a beat of what was removed")
    plain = bench.store.put("plain")
    _lost(bench, Beat("plain", plain.revision, bench.long), "a beat of a record that never expires")


@clause()
def many_beats_say_which_were_lost(bench: Bench) -> None:
    """One `extend` renews every lease that is held and names those that are lost, and only those."""
    gone = expired(bench, "gone")
    leases = {f"lease {number}": held(bench, f"lease {number}") for number in range(20)}
    stale = {"lease 3", "lease 17"}
    beats = [Beat(key, lease.revision - (key in stale), bench.long) for key, lease in leases.items()]
    beats += [Beat("gone", gone.revision, bench.long), Beat("nothing", 1, bench.long)]
    bench.expect(bench.store.extend(*beats), stale | {"gone", "nothing"}, "many beats at once")
    found = bench.store.load_many(leases)
    renewed = {key for key, lease in found.items() if lease is not None and lease.beats == 1}
    bench.expect(renewed, set(leases) - stale, "which leases were renewed")


@clause()
def no_beats_lose_nothing(bench: Bench) -> None:
    """`extend` of nothing is an empty `frozenset`, and so is that of one that was kept."""
    lease = held(bench)
    for beats in ((), (Beat("lease", lease.revision, bench.long),)):
        lost = bench.store.extend(*beats)
        bench.expect((lost, type(lost)), (frozenset[str](), frozenset), f"extend of {len(beats)} beats")


@clause()
def two_beats_of_one_lease_both_count(bench: Bench) -> None:
    """Two beats of one lease in one `extend` are judged one after the other: both count, the longer one lasts."""
    lease = held(bench)
    beats = (Beat("lease", lease.revision, bench.long * 2), Beat("lease", lease.revision, bench.long))
    bench.expect(bench.store.extend(*beats), frozenset[str](), "two beats of one lease")
    found = bench.shows(bench.store, "lease", "after two beats", beats=2, ttl=bench.long)
    bench.require(
        (found.expires_in or 0.0) > bench.long, f"the longer of two beats must last, not {found.expires_in} s"
    )
    mixed = (Beat("lease", lease.revision, bench.long), Beat("lease", lease.revision + 1, bench.long))
    bench.expect(bench.store.extend(*mixed), frozenset({"lease"}), "a right and a wrong beat of one lease")
    bench.shows(bench.store, "lease", "after a right and a wrong beat", beats=3)


@clause()
def a_bad_beat_is_refused(bench: Bench) -> None:
    """A beat with a TTL or key that cannot be is refused, and none of the others is carried out."""
    lease = held(bench)
    bad: tuple[Any, ...] = (0, -1, math.nan, math.inf, None)
    beats = [Beat("lease", lease.revision, ttl) for ttl in bad] + [Beat("", 1, 1.0)]
    good = Beat("lease", lease.revision, bench.long)
    for beat in beats:
        bench.refused(_BAD, f"{beat}", bench.store.extend, good, beat)
    bench.shows(bench.store, "lease", "after beats that were refused", beats=0)


@clause()
def beats_leave_a_revision_and_change_what_was_seen(bench: Bench) -> None:
    """After a beat a write by revision succeeds, and one by what was `Seen` before it conflicts."""
    lease = held(bench)
    bench.store.extend(Beat("lease", lease.revision, bench.long))
    seen = Seen(lease.revision, 0)
    because = "expecting what was Seen before a beat"
    conflict = bench.refused(VersionConflictError, because, bench.store.put, "lease", b"", seen)
    bench.expect(conflict.current and conflict.current.beats, 1, "the beats that the conflict shows")
    bench.refused(VersionConflictError, because, bench.store.remove, "lease", seen)
    written = bench.store.put("lease", b"1", lease.revision, ttl=bench.long)
    bench.store.extend(Beat("lease", written.revision, bench.long))
    bench.expect(
        bench.store.put("lease", b"2", Seen(written.revision, 1)).value, b"2", "expecting what was Seen after a beat"
    )
