"""Clauses about time: a record expires when it was told to, by the store's own clock, and is shown until it is replaced."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from resilience._core.records import ABSENT
from resilience.testing.contracts.bench import TICK, Bench, clause


__all__: list[str] = []

_BAD = (ValueError, TypeError)
_BAD_TTLS: tuple[Any, ...] = (0, 0.0, -1, -0.001, math.nan, math.inf, -math.inf, "1", True, timedelta(0))


@clause()
def a_ttl_is_shown(bench: Bench) -> None:
    """A record with a TTL shows it, and how much of it is left; it has not expired."""
    answer = bench.store.put("key", ttl=bench.long)
    for record in (answer, bench.shows(bench.store, "key", "a record with a TTL")):
        bench.expect((record.ttl, record.expired, record.beats), (bench.long, False, 0), "what a TTL shows")
        left = record.expires_in
        bench.require(
            left is not None and 0 < left <= bench.long, f"expires_in must be above 0 and at most the TTL, not {left}"
        )


@clause("clock")
def expires_in_counts_down(bench: Bench) -> None:
    """`expires_in` is the TTL less the time that has passed."""
    bench.expect(bench.store.put("key", ttl=8.0).expires_in, 8.0, "expires_in of a new record")
    for passed in (TICK, 1.0, 7.75):
        bench.advance(passed - (8.0 - (bench.shows(bench.store, "key", "a record").expires_in or 0.0)))
        bench.shows(bench.store, "key", f"after {passed} s", expires_in=8.0 - passed, expired=False, ttl=8.0)


@clause("clock")
def expiry_is_exactly_at_the_edge(bench: Bench) -> None:
    """One tick before its TTL is over a record has not expired; when it is over, it has."""
    bench.store.put("key", b"value", ttl=8.0)
    bench.advance(8.0 - TICK)
    bench.shows(bench.store, "key", "one tick before the expiry", expired=False, expires_in=TICK)
    bench.expect([key for key, _ in bench.store.scan()], ["key"], "scan one tick before the expiry")
    bench.advance(TICK)
    bench.shows(bench.store, "key", "at the moment of the expiry", expired=True, expires_in=0.0)
    bench.expect(bench.store.scan(), [], "scan at the moment of the expiry")


@clause()
def what_has_expired_is_still_shown(bench: Bench) -> None:
    """A record that has expired is shown, as expired, with nothing else changed, until somebody replaces it."""
    written = bench.store.put("key", b"value", ttl=bench.short, write_id="name")
    bench.expire()
    for _ in range(2):
        found = bench.shows(bench.store, "key", "an expired record", value=b"value", revision=written.revision)
        wanted = (bench.short, 0.0, True, 0, "name")
        bench.expect(
            (found.ttl, found.expires_in, found.expired, found.beats, found.write_id), wanted, "an expired record"
        )
        bench.expire()


@clause()
def without_a_ttl_nothing_expires(bench: Bench) -> None:
    """A record without a TTL has no `ttl`, no `expires_in`, and never expires."""
    written = bench.store.put("key")
    bench.expect((written.ttl, written.expires_in, written.expired), (None, None, False), "a record without a TTL")
    if bench.virtual is not None:
        bench.advance(1e8)
    bench.expect(bench.store.load("key"), written, "a record without a TTL, later")


@clause()
def writing_without_a_ttl_removes_it(bench: Bench) -> None:
    """A write without a TTL over a record that has one leaves none."""
    bench.store.put("key", ttl=bench.short)
    bench.store.put("key")
    bench.expire()
    bench.shows(bench.store, "key", "written again without a TTL", ttl=None, expires_in=None, expired=False)


@clause()
def writing_with_a_ttl_begins_it_anew(bench: Bench) -> None:
    """A write with a TTL over a record counts from now, be it longer or shorter than what was left."""
    bench.store.put("key", ttl=bench.short)
    bench.store.put("key", ttl=bench.long)
    bench.expire()
    bench.shows(bench.store, "key", "written again with a longer TTL", ttl=bench.long, expired=False)
    bench.store.put("key", ttl=bench.short)
    bench.expire()
    bench.shows(bench.store, "key", "written again with a shorter TTL", ttl=bench.short, expired=True)


@clause()
def a_ttl_may_be_a_timedelta(bench: Bench) -> None:
    """A TTL is seconds, or a `timedelta`."""
    bench.expect(bench.store.put("key", ttl=timedelta(minutes=2)).ttl, 120.0, "a TTL of two minutes")


@clause()
def a_bad_ttl_is_refused(bench: Bench) -> None:
    """A TTL of 0 or less, of NaN or infinity, or that is no number is refused, and nothing is written."""
    for ttl in _BAD_TTLS:
        bench.refused(_BAD, f"the TTL {ttl!r}", bench.store.put, "key", b"", ABSENT, ttl=ttl)
    bench.expect(bench.store.load("key"), None, "after TTLs that were refused")
