"""Many processes change one value: nothing is lost, whoever is killed on the way."""

from __future__ import annotations

import contextlib
import random
import time

import pytest
from tests.processes.children import Child, Place, children
from tests.processes.work import counter

from resilience import deadline
from resilience.errors import DeadlineExceededError, OutcomeUnknownError, StoreUnavailableError
from resilience.stores import ANY, Guard, Seen


PROCESSES, TIMES = 10, 100


@pytest.mark.parametrize("how", ["update", "overwrite"])
def test_ten_processes_lose_nothing_by_updates_and_something_without(
    place: Place, how: str, figures: list[str]
) -> None:
    with children(PROCESSES, "add", place, "count", TIMES, how) as several:
        started = time.monotonic()
        for child in several:
            child.say()
        assert [child.hear() for child in several] == ["done"] * PROCESSES
        took = time.monotonic() - started
        assert [child.end() for child in several] == [0] * PROCESSES
    with place.open() as store:
        total = counter(store, "count").read().value
    figures.append(f"{place.kind} {how}: {total} of 1000 in {took:.2f} s, {1000 / took:.0f}/s")
    if how == "update":
        assert total == PROCESSES * TIMES
    else:
        assert total < PROCESSES * TIMES


def test_what_was_acknowledged_outlives_ten_kills_and_the_others_go_on(place: Place, figures: list[str]) -> None:
    chance = random.Random(7)
    acknowledged: list[list[int]] = []
    longest = 0.0
    with children(6, "add_for_ever", place, "count") as several, contextlib.ExitStack() as later:
        heard: dict[Child, list[int]] = {child: [] for child in several}
        for kills in (4, 3, 3):
            end = time.monotonic() + chance.uniform(0.02, 0.1)
            while time.monotonic() < end:
                for child in heard:
                    heard[child] += child.said()
                time.sleep(0.002)
            victims = chance.sample(list(heard), kills)
            for victim in victims:
                victim.kill()
            killed = time.monotonic()
            acknowledged += [heard.pop(victim) + victim.rest() for victim in victims]
            for child in heard:  # they go on, after the turn of one that was killed if need be
                heard[child] += [*child.said(), child.hear()]
            longest = max(longest, time.monotonic() - killed)
            successors = [later.enter_context(Child("add_for_ever", place, "count")) for _ in victims]
            for successor in successors:
                assert successor.hear() == "ready"
                heard[successor] = []
        for child, said in heard.items():
            child.kill()
            acknowledged.append(said + child.rest())
    with place.open() as store:
        total = counter(store, "count").read().value
        newest = store.load("count").revision
    revisions = [revision for said in acknowledged for revision in said]
    in_flight = len(acknowledged)  # one of each process
    figures.append(f"{place.kind}: 10 kills, {len(revisions)} acknowledged, {total} done, a pause of {longest:.2f} s")
    assert len(revisions) <= total <= len(revisions) + in_flight
    assert all(said == sorted(said) for said in acknowledged)
    assert len(set(revisions)) == len(revisions)
    assert max(revisions) <= newest


def test_the_turn_of_one_that_was_killed_passes_on(place: Place) -> None:
    with Child("hold_turn", place, "count") as holder:
        assert holder.hear() == "mine"
        holder.kill()
    with place.open() as store:
        started = time.monotonic()
        assert counter(store, "count").update(lambda value: value + 1).value == 1
        assert time.monotonic() - started < 6  # the turn's 2 s, and a wait for it


def test_a_stopped_holder_of_a_lease_writes_nothing_after_it_was_taken_over(place: Place) -> None:
    assert _stale_writes(place, rounds=20, guarded=True) == 0


def test_without_a_guard_a_stopped_holder_writes_over_its_successor(place: Place) -> None:
    assert _stale_writes(place, rounds=3, guarded=False) == 3


def _stale_writes(place: Place, *, rounds: int, guarded: bool) -> int:
    """How often one that was stopped beyond its lease has written over what its successor wrote."""
    stale = 0
    with place.open() as store, Child("hold_leases", place, 0.2) as holder:
        assert holder.hear() == "ready"
        for turn in range(rounds):
            lease, guarded_key = f"lease/{turn}", f"guarded/{turn}"
            holder.say([str(turn), guarded])
            token = holder.hear()
            holder.stop()
            while not (seen := store.load(lease)).expired:
                time.sleep(seen.expires_in)
            assert seen.revision == token
            mine = store.compare_and_set(lease, b"", expected=Seen(seen.revision, seen.beats), ttl=30).revision
            assert mine > token
            store.compare_and_set(guarded_key, b"fresh", expected=ANY, guard=Guard(lease, mine))
            holder.say()
            holder.go_on()
            answer = holder.hear()
            assert answer == (mine if guarded else "written")
            stale += store.load(guarded_key).value == b"stale"
    return stale


def test_a_holder_stopped_at_any_moment_writes_nothing_after_it_was_taken_over(
    place: Place, figures: list[str]
) -> None:
    """Within a verb as well: one that has the store's own lock is in the way until it goes on, and is refused then."""
    chance = random.Random(7)
    rounds, written, in_the_way = 20, 0, 0

    def take_over(turn: int) -> None:
        with deadline(0.2):
            seen = store.load(f"lease/{turn}")
            while not seen.expired:
                time.sleep(seen.expires_in)
                seen = store.load(f"lease/{turn}")
            expected = Seen(seen.revision, seen.beats)
            mine = store.compare_and_set(f"lease/{turn}", b"", expected=expected, ttl=30).revision
            store.compare_and_set(f"guarded/{turn}", b"fresh", expected=ANY, guard=Guard(f"lease/{turn}", mine))

    with place.open() as store, Child("write_while_leased", place, 0.1) as holder:
        assert holder.hear() == "ready"
        for turn in range(rounds):
            holder.say(str(turn))
            holder.hear()
            time.sleep(chance.uniform(0, 0.09))
            holder.stop()
            while True:
                try:
                    take_over(turn)
                    break
                except (DeadlineExceededError, StoreUnavailableError, OutcomeUnknownError):
                    in_the_way += 1
                    holder.go_on()
                    time.sleep(0.001)
                    holder.stop()
            holder.go_on()
            written += holder.hear()
            assert store.load(f"guarded/{turn}").value == b"fresh"
    figures.append(f"{place.kind}: {rounds} stops, {written} writes, {in_the_way} times in the way")
    assert written > 0
