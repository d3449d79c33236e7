"""Clauses about writing: what was expected decides, what is there is said, and revisions only rise."""

from __future__ import annotations

from typing import Any

from resilience._core.records import ABSENT, ANY, VACANT, Seen, Versioned
from resilience.errors import VersionConflictError
from resilience.testing.contracts.bench import Bench, Handle, clause


__all__: list[str] = []

_BAD = (ValueError, TypeError)
#: A revision that no store has come to: the year 2255.
_FUTURE = 9_000_000_000_000_000


def _conflict(bench: Bench, expected: Any, because: str, there: Versioned[bytes] | None) -> VersionConflictError:
    """A write and a removal that expect this must conflict, and change nothing; of nothing there is nothing to remove."""
    store = bench.store
    error = bench.refused(VersionConflictError, because, store.put, "key", b"refused", expected)
    if there is None:
        bench.expect(store.remove("key", expected), False, f"{because}: remove of nothing")
    else:
        bench.refused(VersionConflictError, because, store.remove, "key", expected)
    bench.expect(store.load("key"), there, f"{because}: a refused write changes nothing")
    return error


def _expired(bench: Bench) -> Versioned[bytes]:
    """A record that has expired, as it is shown now."""
    bench.store.put("key", b"old", ttl=bench.short, write_id="old")
    bench.expire()
    return bench.shows(bench.store, "key", "a record whose time is over", expired=True)


@clause()
def absent_writes_where_nothing_is(bench: Bench) -> None:
    """`ABSENT` writes where there is no record, also after a removal."""
    bench.expect(bench.store.put("key", b"1", ABSENT).value, b"1", "expecting ABSENT of nothing")
    bench.store.remove("key")
    bench.expect(bench.store.put("key", b"2", ABSENT).value, b"2", "expecting ABSENT of what was removed")


@clause()
def absent_conflicts_with_any_record(bench: Bench) -> None:
    """`ABSENT` conflicts with a record that is there, and with one that has expired."""
    _conflict(bench, ABSENT, "expecting ABSENT of a live record", bench.store.put("key"))
    _conflict(bench, ABSENT, "expecting ABSENT of an expired record", _expired(bench))


@clause()
def the_right_revision_writes_once(bench: Bench) -> None:
    """The revision that is there writes, and is no longer there afterwards."""
    first = bench.store.put("key", b"1")
    second = bench.store.put("key", b"2", first.revision)
    bench.expect(second.value, b"2", "expecting the right revision")
    _conflict(bench, first.revision, "expecting a stale revision", second)


@clause()
def a_revision_not_yet_there_conflicts(bench: Bench) -> None:
    """A revision in the future conflicts with a record, and with none."""
    _conflict(bench, _FUTURE, "expecting a revision of nothing", None)
    there = bench.store.put("key")
    _conflict(bench, there.revision + 1, "expecting the next revision", there)
    _conflict(bench, _FUTURE, "expecting a future revision", there)


@clause()
def the_revision_of_what_was_removed_conflicts(bench: Bench) -> None:
    """After a removal the old revision conflicts, also when there is a new record."""
    old = bench.store.put("key", b"1")
    bench.store.remove("key", old.revision)
    _conflict(bench, old.revision, "expecting the revision of what was removed", None)
    _conflict(bench, old.revision, "expecting the revision of what was replaced", bench.store.put("key", b"2", ABSENT))


@clause()
def the_revision_of_what_expired_writes(bench: Bench) -> None:
    """A record that has expired can still be replaced by its revision: nobody wrote in between."""
    there = _expired(bench)
    bench.expect(
        bench.store.put("key", b"new", there.revision).value, b"new", "expecting the revision of an expired record"
    )


@clause()
def vacant_writes_over_nothing_and_the_expired(bench: Bench) -> None:
    """`VACANT` writes where there is no record, or one that has expired."""
    bench.expect(bench.store.put("fresh", b"1", VACANT).value, b"1", "expecting VACANT of nothing")
    there = _expired(bench)
    new = bench.store.put("key", b"new", VACANT)
    bench.require(new.revision > there.revision, "the revision of what replaces an expired record must be higher")
    bench.expect(
        (new.value, new.write_id, new.ttl, new.expired), (b"new", None, None, False), "what replaced an expired record"
    )


@clause()
def vacant_conflicts_with_a_live_record(bench: Bench) -> None:
    """`VACANT` conflicts with a record that has not expired, with a TTL or without."""
    _conflict(bench, VACANT, "expecting VACANT of a record that never expires", bench.store.put("key"))
    bench.store.put("lease", ttl=bench.long)
    bench.refused(VersionConflictError, "expecting VACANT of a live lease", bench.store.put, "lease", b"", VACANT)


@clause()
def any_always_writes(bench: Bench) -> None:
    """`ANY` writes over nothing, a live record and an expired one, and removes them."""
    store = bench.store
    for state in ("nothing", "a live record", "an expired record"):
        bench.expect(store.put("key", b"new", ANY).value, b"new", f"expecting ANY of {state}")
        if state == "a live record":
            _expired(bench)
    bench.expect(store.remove("key", ANY), True, "removing ANY")
    _expired(bench)
    bench.expect(store.remove("key", ANY), True, "removing ANY, an expired record")


@clause()
def what_was_seen_writes(bench: Bench) -> None:
    """`Seen` writes, if revision and beats are what they were, whether the record has expired or not."""
    live = bench.store.put("key", b"1")
    new = bench.store.put("key", b"2", Seen(live.revision, live.beats))
    bench.expect(new.value, b"2", "expecting what was Seen of a live record")
    there = _expired(bench)
    bench.expect(
        bench.store.put("key", b"3", Seen(there.revision, there.beats)).value, b"3", "expecting what was Seen expired"
    )


@clause()
def what_was_not_seen_conflicts(bench: Bench) -> None:
    """`Seen` conflicts with other beats, another revision, and with no record."""
    _conflict(bench, Seen(_FUTURE, 0), "expecting Seen of nothing", None)
    there = bench.store.put("key", ttl=bench.long)
    error = bench.refused(
        VersionConflictError, "expecting Seen with other beats", bench.store.put, "key", b"", Seen(there.revision, 1)
    )
    bench.expect(error.revision, there.revision, "the revision that the conflict says is there")
    later = bench.store.put("key", ttl=None)
    _conflict(bench, Seen(there.revision, there.beats), "expecting Seen of what was replaced", later)


@clause()
def a_conflict_says_what_is_there(bench: Bench) -> None:
    """A conflict carries key, what was expected, and the record that is there (None if none), so no load is needed."""
    store = bench.store
    nothing = bench.refused(VersionConflictError, "expecting a revision of nothing", store.put, "key", b"", _FUTURE)
    bench.expect(
        (nothing.key, nothing.expected, nothing.current), ("key", _FUTURE, None), "what a conflict with nothing says"
    )
    there = store.put("key", b"theirs", write_id="theirs")
    for call in (lambda: store.put("key", b"", ABSENT), lambda: store.remove("key", ABSENT)):
        error = bench.refused(VersionConflictError, "expecting ABSENT of a record", call)
        bench.expect((error.key, error.expected, error.current), ("key", ABSENT, there), "what a conflict says")


@clause()
def a_conflict_shows_what_has_expired(bench: Bench) -> None:
    """A conflict with an expired record shows it, and that it has expired."""
    there = _expired(bench)
    error = bench.refused(
        VersionConflictError, "expecting ABSENT of an expired record", bench.store.put, "key", b"", ABSENT
    )
    bench.expect(error.current, there, "what the conflict shows of an expired record")


@clause()
def a_bad_expectation_is_refused(bench: Bench) -> None:
    """What is no revision and none of the other expectations is refused, and nothing is written."""
    bad: tuple[Any, ...] = (-1, True, None, "1", 1.0)
    for expected in bad:
        bench.refused(_BAD, f"expecting {expected!r}", bench.store.put, "key", b"", expected)
        bench.refused(_BAD, f"expecting {expected!r}", bench.store.remove, "key", expected)
    bench.expect(bench.store.load("key"), None, "after expectations that were refused")


def _rises(bench: Bench, seen: list[int], store: Handle, because: str, value: bytes = b"") -> None:
    revision = store.put("key", value).revision
    bench.expect(type(revision), int, "the type of a revision")
    bench.require(
        revision > max(seen, default=0), f"{because}: a revision must be above {max(seen, default=0)}, not {revision}"
    )
    seen.append(revision)


@clause()
def revisions_rise_with_every_write(bench: Bench) -> None:
    """Each write of a key, also of the same value, has a revision above all before it; the first is above 0."""
    seen: list[int] = []
    for at in range(10):
        _rises(bench, seen, bench.store, "a write after another", bytes([at // 2]))


@clause()
def revisions_rise_through_removal(bench: Bench) -> None:
    """A key that was removed and is written again goes on above its old revisions."""
    seen: list[int] = []
    for _ in range(5):
        _rises(bench, seen, bench.store, "a write before a removal")
        _rises(bench, seen, bench.store, "a write before a removal")
        bench.store.remove("key")
        bench.store.put("other")
        bench.store.remove("other")
        _rises(bench, seen, bench.store, "a write after a removal")


@clause("clock")
def revisions_rise_when_the_wall_clock_is_set_back(bench: Bench) -> None:
    """A wall clock that is set back by an hour makes no revision repeat, also after a removal, and revives nothing."""
    assert bench.virtual is not None
    seen: list[int] = []
    _rises(bench, seen, bench.store, "a write")
    bench.virtual.jump_wall(-3600)
    _rises(bench, seen, bench.store, "a write after the wall clock was set back")
    bench.store.remove("key")
    bench.virtual.jump_wall(-3600)
    _rises(bench, seen, bench.store, "a write after a removal and a wall clock set back")


@clause("another")
def revisions_rise_across_instances(bench: Bench) -> None:
    """Two instances over the same data have one sequence of revisions, through a removal by either."""
    seen: list[int] = []
    other = bench.another()
    for one, two in ((bench.store, other), (other, bench.store)) * 2:
        _rises(bench, seen, one, "a write by one instance")
        _rises(bench, seen, two, "a write by the other instance")
        one.remove("key")
        _rises(bench, seen, two, "a write after the other instance removed")


@clause("reopen")
def revisions_rise_through_reopening(bench: Bench) -> None:
    """A store that was closed and opened again goes on above its old revisions, also for what was removed."""
    seen: list[int] = []
    for removed in (False, True):
        _rises(bench, seen, bench.store, "a write before reopening")
        if removed:
            bench.store.remove("key")
        _rises(bench, seen, bench.reopened(), "a write after reopening")


@clause()
def a_write_id_is_kept_and_replaced(bench: Bench) -> None:
    """The name of a write is shown with its record, is replaced by the next write, and is None where none was given."""
    for name in ("one", "x" * 64, None, "three"):
        bench.expect(bench.store.put("key", write_id=name).write_id, name, "the write_id that compare_and_set answers")
        bench.shows(bench.store, "key", "the name of the last write", write_id=name)


@clause()
def removing_says_whether_there_was_a_record(bench: Bench) -> None:
    """`remove` is True if there was a record and False if not, whatever was expected: it may be called again."""
    store = bench.store
    expectations: tuple[Any, ...] = (ANY, VACANT, ABSENT, _FUTURE, Seen(1, 0))
    for expected in expectations:
        bench.expect(store.remove("key", expected), False, "removing what was never there")
    there = store.put("key")
    bench.expect(store.remove("key", there.revision), True, "removing by the right revision")
    bench.expect(store.remove("key", there.revision), False, "removing again")
    bench.expect(store.load("key"), None, "after a removal")


@clause()
def removing_judges_what_is_expected(bench: Bench) -> None:
    """`remove` by a wrong revision or wrong beats conflicts, by `VACANT` only where the record has expired."""
    there = bench.store.put("key")
    for expected in (there.revision - 1, there.revision + 1, ABSENT, VACANT, Seen(there.revision, 1)):
        bench.refused(VersionConflictError, "removing what is not as expected", bench.store.remove, "key", expected)
        bench.expect(bench.store.load("key"), there, "after a removal that was refused")
    bench.expect(bench.store.remove("key", Seen(there.revision, 0)), True, "removing what was Seen")
    _expired(bench)
    bench.expect(bench.store.remove("key", VACANT), True, "removing an expired record by VACANT")
