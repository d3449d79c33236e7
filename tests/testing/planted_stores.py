"""Stores with one mistake each, as people make them: what a contract is worth is how many of them it finds."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any, Self

from attrs import evolve

from resilience._core.records import Record, Versioned
from resilience.errors import GuardRefusedError, StoreError, VersionConflictError
from resilience.stores import ABSENT, ANY, VACANT, Beat, Expected, Guard, MemoryStore, Seen
from resilience.stores.memory import _Shelf as Shelf
from resilience.testing import VirtualClock
from resilience.typing import Clock


class Sound(MemoryStore):
    """No mistake: a store in memory that can have a second instance."""

    shared: tuple[str, ...] = ("_shelf", "_lock", "_waiting", "_incarnation")

    def twin(self) -> Self:
        twin = type(self)(self._clock)
        for name in self.shared:
            setattr(twin, name, getattr(self, name))
        return twin

    def reopened(self) -> Self:
        self.close()
        return self.twin()

    def found(self, key: str) -> Versioned[bytes] | None:
        """What is there, in truth."""
        return MemoryStore.load(self, key)


class Planted(Sound):
    """One mistake; `aim` is the clause that must find it, `machines` are those that find it as well."""

    aim = ""
    machines: tuple[str, ...] = ()


class IgnoresExpected(Planted):
    aim, machines = "the_right_revision_writes_once", ("data_machine", "lease_machine")

    def compare_and_set(self, key: str, value: bytes, *, expected: Expected, **options: Any) -> Versioned[bytes]:
        return super().compare_and_set(key, value, expected=ANY, **options)


class IgnoresBeatsOfSeen(Planted):
    aim, machines = "what_was_not_seen_conflicts", ("data_machine", "lease_machine")

    def compare_and_set(self, key: str, value: bytes, *, expected: Expected, **options: Any) -> Versioned[bytes]:
        wanted = expected.revision if isinstance(expected, Seen) else expected
        return super().compare_and_set(key, value, expected=wanted, **options)


class RestartsRevisionsAfterRemoval(Planted):
    aim, machines = "revisions_rise_through_removal", ("data_machine",)

    class Forgetful(Shelf):
        def floor(self) -> int:
            return 0

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._shelf = self.Forgetful()


class NumbersRevisionsPerInstance(Planted):
    aim, machines = "revisions_rise_across_instances", ("data_machine", "lease_machine")
    count = 0

    def compare_and_set(self, key: str, value: bytes, **options: Any) -> Versioned[bytes]:
        written = super().compare_and_set(key, value, **options)
        self.count += 1
        record = self._shelf.get(key)
        assert record is not None
        self._shelf.put(key, record._replace(revision=self.count))
        return evolve(written, revision=self.count)


class TakesAbsentForVacant(Planted):
    aim = "absent_conflicts_with_any_record"

    def compare_and_set(self, key: str, value: bytes, *, expected: Expected, **options: Any) -> Versioned[bytes]:
        return super().compare_and_set(key, value, expected=VACANT if expected is ABSENT else expected, **options)


class TakesAnyForAbsent(Planted):
    aim, machines = "any_always_writes", ("data_machine", "lease_machine")

    def compare_and_set(self, key: str, value: bytes, *, expected: Expected, **options: Any) -> Versioned[bytes]:
        return super().compare_and_set(key, value, expected=ABSENT if expected is ANY else expected, **options)


class BorrowsItsValues(Planted):
    aim, machines = "a_value_is_kept_not_borrowed", ("data_machine", "lease_machine")

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.borrowed: dict[str, Any] = {}

    def compare_and_set(self, key: str, value: Any, **options: Any) -> Versioned[bytes]:
        written = super().compare_and_set(key, value, **options)
        self.borrowed[key] = value
        return written

    def load(self, key: str) -> Versioned[bytes] | None:
        there = super().load(key)
        return there and evolve(there, value=bytes(self.borrowed.get(key, there.value)))


class LendsItsValues(Planted):
    aim, machines = "a_value_shown_is_bytes", ("data_machine", "lease_machine")

    def load(self, key: str) -> Versioned[bytes] | None:
        there = super().load(key)
        return there and evolve(there, value=bytearray(there.value))  # type: ignore[arg-type]


class TakesEmptyForMissing(Planted):
    aim, machines = "an_empty_value_is_a_value", ("data_machine",)

    def load(self, key: str) -> Versioned[bytes] | None:
        there = super().load(key)
        return there if there and there.value else None


class EndsValuesAtNul(Planted):
    aim, machines = "bytes_come_back_exactly", ("data_machine",)

    def compare_and_set(self, key: str, value: Any, **options: Any) -> Versioned[bytes]:
        ended = bytes(value).split(b"\0")[0] if isinstance(value, (bytes, bytearray)) else value
        return super().compare_and_set(key, ended, **options)


class WritesOverTheLimit(Planted):
    aim = "a_value_over_the_limit_is_refused"

    def compare_and_set(self, key: str, value: Any, **options: Any) -> Versioned[bytes]:
        if isinstance(value, bytes) and len(value) > 1 << 20:
            super().compare_and_set(key, value[: 1 << 20], expected=ANY)
        return super().compare_and_set(key, value, **options)


class RemovesWhateverIsThere(Planted):
    aim, machines = "removing_judges_what_is_expected", ("data_machine",)

    def remove(self, key: str, *, expected: Expected, guard: Guard | None = None) -> bool:
        return super().remove(key, expected=ANY, guard=guard)


class ExpiresATickLate(Planted):
    aim, machines = "expiry_is_exactly_at_the_edge", ("lease_machine",)

    class Late(Shelf):
        def put(self, key: str, record: Record) -> None:
            late = 1 / 64 if record.ttl is not None and record.beats == 0 else 0.0
            super().put(key, record._replace(expires_boottime=record.expires_boottime + late))

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._shelf = self.Late()


class HidesTheExpired(Planted):
    aim, machines = "what_has_expired_is_still_shown", ("lease_machine",)

    def load(self, key: str) -> Versioned[bytes] | None:
        there = super().load(key)
        return None if there and there.expired else there


class KeepsTheTtl(Planted):
    aim = "writing_without_a_ttl_removes_it"

    def compare_and_set(self, key: Any, value: bytes, *, ttl: Any = None, **options: Any) -> Versioned[bytes]:
        there = self._shelf.get(key) if isinstance(key, str) else None
        return super().compare_and_set(key, value, ttl=there.ttl if ttl is None and there else ttl, **options)


class Beating(Planted):
    """What the mistakes of beats share: `mistake` may change a lease after its beat."""

    def extend(self, beats: Iterable[Beat]) -> frozenset[str]:
        several = list(beats)
        before = {beat.key: self._shelf.get(beat.key) for beat in several}
        lost = super().extend(several)
        changed = {beat.key for beat in several if self.mistaken(beat, before[beat.key], beat.key in lost)}
        return lost - changed

    def mistaken(self, beat: Beat, before: Record | None, lost: bool) -> bool:
        raise NotImplementedError

    def now(self) -> float:
        return (self._clock or VirtualClock()).boottime()


class RevivesTheExpired(Beating):
    aim, machines = "a_beat_never_revives", ("lease_machine",)

    def mistaken(self, beat: Beat, before: Record | None, lost: bool) -> bool:
        revives = lost and before is not None and before.ttl is not None and before.revision == beat.token
        if revives and before is not None:
            at = self.now() + beat.ttl
            self._shelf.put(beat.key, before._replace(beats=before.beats + 1, ttl=beat.ttl, expires_boottime=at))
        return revives


class Shortens(Beating):
    aim, machines = "a_beat_never_shortens", ("lease_machine",)

    def mistaken(self, beat: Beat, before: Record | None, lost: bool) -> bool:
        there = self._shelf.get(beat.key)
        if not lost and there is not None:
            self._shelf.put(beat.key, there._replace(expires_boottime=self.now() + beat.ttl))
        return False


class BeatsRaiseTheRevision(Beating):
    aim, machines = "a_beat_counts_and_leaves_the_rest", ("lease_machine",)

    def mistaken(self, beat: Beat, before: Record | None, lost: bool) -> bool:
        there = self._shelf.get(beat.key)
        if not lost and there is not None:
            self._shelf.put(beat.key, there._replace(revision=there.revision + 1))
        return False


class BeatsForgetTheName(Beating):
    aim, machines = "a_beat_counts_and_leaves_the_rest", ("lease_machine",)

    def mistaken(self, beat: Beat, before: Record | None, lost: bool) -> bool:
        there = self._shelf.get(beat.key)
        if not lost and there is not None:
            self._shelf.put(beat.key, there._replace(write_id=None))
        return False


class BeatsForAnyToken(Planted):
    aim, machines = "a_beat_with_another_token_is_lost", ("lease_machine",)

    def extend(self, beats: Iterable[Beat]) -> frozenset[str]:
        there = [(beat, self._shelf.get(beat.key)) for beat in beats]
        return super().extend(
            [Beat(beat.key, record.revision if record else beat.token, beat.ttl) for beat, record in there]
        )


class BeatsGiveAllForLost(Planted):
    aim, machines = "many_beats_say_which_were_lost", ("lease_machine",)

    def extend(self, beats: Iterable[Beat]) -> frozenset[str]:
        several = list(beats)
        lost = super().extend(several)
        return frozenset(beat.key for beat in several) if lost else lost


class CountsOneBeatOfAKey(Planted):
    aim = "two_beats_of_one_lease_both_count"

    def extend(self, beats: Iterable[Beat]) -> frozenset[str]:
        return super().extend({beat.key: beat for beat in beats}.values())


class BeatsBeforeItJudges(Planted):
    aim = "a_bad_beat_is_refused"

    def extend(self, beats: Iterable[Beat]) -> frozenset[str]:
        return frozenset().union(*[super(BeatsBeforeItJudges, self).extend([beat]) for beat in beats])


class SplitsItsBrain(Planted):
    aim, machines = "only_one_instance_takes_a_lease", ("data_machine", "lease_machine")
    shared = ("_incarnation",)


class IgnoresGuards(Planted):
    aim, machines = "a_zombie_is_refused", ("lease_machine",)

    def compare_and_set(self, key: str, value: bytes, *, guard: Any = None, **options: Any) -> Versioned[bytes]:
        return super().compare_and_set(key, value, **options)


class IgnoresGuardsOfRemovals(Planted):
    aim, machines = "another_token_is_refused", ("lease_machine",)

    def remove(self, key: str, *, expected: Expected, guard: Guard | None = None) -> bool:
        return super().remove(key, expected=expected)


class JudgesGuardsLast(Planted):
    aim, machines = "a_guard_is_judged_before_what_is_expected", ("lease_machine",)

    def compare_and_set(self, key: str, value: bytes, *, expected: Expected, **options: Any) -> Versioned[bytes]:
        there = self.found(key)
        if expected is ABSENT and there is not None:
            raise VersionConflictError(key, expected, there)
        return super().compare_and_set(key, value, expected=expected, **options)


class JudgesGuardsByTheTokenAlone(Planted):
    aim, machines = "the_token_of_an_expired_lease_is_refused", ("lease_machine",)

    def compare_and_set(self, key: str, value: bytes, *, guard: Any = None, **options: Any) -> Versioned[bytes]:
        lease = self._shelf.get(guard.key) if isinstance(guard, Guard) else None
        unguarded = lease is not None and lease.revision == guard.token
        return super().compare_and_set(key, value, guard=None if unguarded else guard, **options)


class JudgesGuardsByWhatItLastSaw(Planted):
    """As a cache does, or a snapshot that is older than the takeover: what this instance itself wrote counts as true."""

    aim, machines = "a_zombie_whose_lease_was_taken_early_is_refused", ("lease_machine",)

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.copies: dict[str, tuple[int, float]] = {}

    def compare_and_set(
        self, key: str, value: bytes, *, guard: Any = None, ttl: Any = None, **options: Any
    ) -> Versioned[bytes]:
        now = (self._clock or VirtualClock()).monotonic()
        if isinstance(guard, Guard) and guard.key in self.copies:
            revision, until = self.copies[guard.key]
            guard = None if guard.token == revision and now < until else guard
        written = super().compare_and_set(key, value, guard=guard, ttl=ttl, **options)
        self.copies[key] = (written.revision, now + (written.ttl or 1e9))
        return written


class TakesTheExpiredForHeld(Planted):
    aim, machines = "a_vacancy_guard_holds_while_nobody_does", ("lease_machine",)

    def compare_and_set(self, key: str, value: bytes, *, guard: Any = None, **options: Any) -> Versioned[bytes]:
        if isinstance(guard, Guard) and guard.token is VACANT and self.found(guard.key) is not None:
            raise GuardRefusedError(key, guard, self.found(guard.key))
        return super().compare_and_set(key, value, guard=guard, **options)


class ScansByLength(Planted):
    aim = "scan_is_in_the_order_of_code_points"

    def scan(self, prefix: str = "", **options: Any) -> list[tuple[str, Versioned[bytes]]]:
        return sorted(super().scan(prefix, **options), key=lambda row: (len(row[0].encode()), row[0].lower()))


class ScansInUtf16(Planted):
    aim = "scan_is_in_the_order_of_code_points"

    def scan(self, prefix: str = "", **options: Any) -> list[tuple[str, Versioned[bytes]]]:
        return sorted(super().scan(prefix, **options), key=lambda row: row[0].encode("utf-16-be"))


class SkipsARecordBetweenPages(Planted):
    aim, machines = "pages_cover_everything_once", ("data_machine",)

    def scan(self, prefix: str = "", *, after: str = "", limit: int = 1000, **options: Any) -> list[Any]:
        page = super().scan(prefix, after=after, limit=limit, **options)
        return page[1:] if after and len(page) == limit else page


class CountsTheLimitBeforeItSkips(Planted):
    aim = "scan_tells_the_expired_apart"

    def scan(self, prefix: str = "", *, limit: int = 1000, expired: bool = False, **options: Any) -> list[Any]:
        both = [*super().scan(prefix, expired=False, **options), *super().scan(prefix, expired=True, **options)]
        return [row for row in sorted(both)[:limit] if row[1].expired is expired]


class TakesPrefixesForPatterns(Planted):
    aim, machines = "scan_takes_a_prefix_as_it_is", ("data_machine",)

    def scan(self, prefix: str = "", *, limit: int = 1000, **options: Any) -> list[Any]:
        if not isinstance(prefix, str):
            return super().scan(prefix, limit=limit, **options)
        pattern = "".join({"%": ".*", "_": "."}.get(letter, re.escape(letter)) for letter in prefix)
        rows = super().scan("", **options)
        return [row for row in rows if re.match(pattern, row[0], re.DOTALL)][:limit]


class FoldsKeys(Planted):
    aim, machines = "keys_that_hurt_are_distinct", ("data_machine",)

    def compare_and_set(self, key: str, value: bytes, **options: Any) -> Versioned[bytes]:
        return super().compare_and_set(key.lower(), value, **options)

    def load(self, key: str) -> Versioned[bytes] | None:
        return super().load(key.lower())


class SaysNothingInConflicts(Planted):
    aim, machines = "a_conflict_says_what_is_there", ("data_machine", "lease_machine")

    def compare_and_set(self, key: str, value: bytes, *, expected: Expected, **options: Any) -> Versioned[bytes]:
        try:
            return super().compare_and_set(key, value, expected=expected, **options)
        except VersionConflictError:
            raise VersionConflictError(key, expected, None) from None


class WritesBeforeItConflicts(Planted):
    aim, machines = "absent_conflicts_with_any_record", ("data_machine", "lease_machine")

    def compare_and_set(self, key: str, value: bytes, *, expected: Expected, **options: Any) -> Versioned[bytes]:
        try:
            return super().compare_and_set(key, value, expected=expected, **options)
        except VersionConflictError:
            super().compare_and_set(key, value, expected=ANY)
            raise


class ForgetsWhoWrote(Planted):
    aim, machines = "a_write_id_is_kept_and_replaced", ("data_machine", "lease_machine")

    def compare_and_set(self, key: str, value: bytes, *, write_id: Any = None, **options: Any) -> Versioned[bytes]:
        return super().compare_and_set(key, value, **options)


class TakesAnyNumberForATtl(Planted):
    aim = "a_bad_ttl_is_refused"

    def compare_and_set(self, key: str, value: bytes, *, ttl: Any = None, **options: Any) -> Versioned[bytes]:
        return super().compare_and_set(key, value, ttl=ttl if ttl != 0 else None, **options)


class LoadsManyOneByOne(Planted):
    aim = "load_many_is_of_one_moment"

    def load_many(self, keys: Iterable[str]) -> dict[str, Versioned[bytes] | None]:
        found = {}
        for key in keys:
            found[key] = self.load(key)
            time.sleep(0.001)
        return found


class ChecksAndThenSets(Planted):
    aim = "of_several_writers_one_wins"

    def compare_and_set(self, key: str, value: bytes, *, expected: Expected, **options: Any) -> Versioned[bytes]:
        there = self.found(key)
        if isinstance(expected, int) and there is not None and there.revision == expected:
            time.sleep(0.002)
            expected = ANY
        return super().compare_and_set(key, value, expected=expected, **options)


class JudgesTheGuardAndThenWrites(Planted):
    aim = "nothing_is_written_under_a_guard_after_a_takeover"

    def compare_and_set(self, key: str, value: bytes, *, guard: Any = None, **options: Any) -> Versioned[bytes]:
        lease = self.found(guard.key) if isinstance(guard, Guard) else None
        if lease is not None and lease.revision == guard.token and not lease.expired:
            time.sleep(0.005)
            guard = None
        return super().compare_and_set(key, value, guard=guard, **options)


class RaisesWhenItsTimeIsOver(Planted):
    aim = "wait_ends_at_the_timeout"

    def wait(self, key: str, *, after: int, timeout: Any) -> None:
        super().wait(key, after=after, timeout=timeout)
        if self.found(key) is None:
            raise TimeoutError("nothing came")


class SleepsThroughNews(Planted):
    aim = "wait_returns_at_once_for_what_is_newer"

    def wait(self, key: str, *, after: int, timeout: Any) -> None:
        there = self.found(key)
        super().wait(key, after=there.revision if there else ABSENT, timeout=timeout)


class ClosesOnce(Planted):
    aim = "closing_twice_is_once"

    def close(self) -> None:
        if self._closed:
            raise StoreError("store", "it is closed")
        super().close()


class AnswersWhenClosed(Planted):
    aim = "a_closed_store_is_refused"

    def _ready(self) -> None:
        """Always."""


class HasManyNames(Planted):
    aim = "instances_are_of_one_incarnation"
    shared = ("_shelf", "_lock", "_waiting")


class SaysItSurvivesAlmostAll(Planted):
    aim = "a_store_describes_itself"

    def describe(self) -> Any:
        return evolve(super().describe(), survives_reboot=True)


class BeginsPastTheDeadline(Planted):
    aim = "a_verb_is_not_begun_past_the_deadline"

    def _begin(self) -> None:
        self._ready()


class PingsByWriting(Planted):
    aim = "ping_answers"

    def ping(self) -> None:
        self.compare_and_set("\0ping", b"", expected=ANY)


class ForgetsOnReopening(Planted):
    aim = "records_are_there_after_reopening"

    def reopened(self) -> Self:
        self.close()
        return type(self)(self._clock)


def every(kind: type[Planted] = Planted) -> list[type[Planted]]:
    """All of them."""
    found = []
    for each in kind.__subclasses__():
        found += [each] if each.aim else []
        found += every(each)
    return found
