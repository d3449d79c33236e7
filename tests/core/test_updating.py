"""The optimistic update: no change is lost and none applied twice; every schedule of a few writers is followed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from resilience import deadline
from resilience._core import updating
from resilience._core.codecs import Json
from resilience._core.merging import merge_appends, merge_mappings
from resilience._core.records import ABSENT, ANY, Guard, Versioned
from resilience._core.steps import Call, GiveBack, Load, LoadMany, Pause, Remove, Steps, Swap, Verb
from resilience._core.turns import turn_key
from resilience._core.updating import Document, finish_edit, read, update, write
from resilience._io.drive import drive
from resilience.errors import (
    DeadlineExceededError,
    GuardRefusedError,
    OutcomeUnknownError,
    StoreUnavailableError,
    VersionConflictError,
)
from resilience.stores import MemoryStore
from resilience.testing import virtual_time
from resilience.testing.interleavings import ClientView, Faults, Interleavings, View


KEY = "k"
TURN = turn_key(KEY)
LIST: Document[Any] = Document(KEY, Json(), list, None)
DICT: Document[Any] = Document(KEY, Json(), dict, None)
LOST = OutcomeUnknownError("store", "the answer was lost")
AWAY = StoreUnavailableError("store", "it does not answer")


def appending(name: str, on_conflict: Any = "retry") -> Callable[[], Steps[Any]]:
    """A writer who appends his name."""
    return lambda: update(LIST, lambda names: [*names, name], on_conflict, name)


def editing(name: str, on_conflict: Any) -> Callable[[], Steps[Any]]:
    """A writer who appends his name in an edit."""

    def steps() -> Steps[Any]:
        there = yield Load(KEY)
        return (yield from finish_edit(LIST, there, [*LIST.value_of(there), name], on_conflict, name))

    return steps


def in_doubt(client: ClientView) -> bool:
    """Whether the answer to a write of the document was ever lost."""
    return any(
        isinstance(step, Swap) and step.key == KEY and reply is not None and isinstance(reply, OutcomeUnknownError)
        for step, reply in client.history
    )


def kept(view: View) -> str | None:
    """What was acknowledged is there once; what failed for good is not; a doubt is about a write that was sent."""
    names = Json().decode(view.value(KEY) or b"[]")
    for client in view.clients:
        times, error = names.count(client.name), client.error
        if times > 1:
            return f"{client.name} was applied {times} times"
        if client.state == "returned" and (not times or client.name not in client.value.value):
            return f"{client.name} was acknowledged, and is lost"
        if isinstance(error, OutcomeUnknownError) and not in_doubt(client):
            return f"{client.name} raised {error!r}, but no write of it was in doubt"
        if isinstance(error, (StoreUnavailableError, VersionConflictError)) and times:
            return f"{client.name} raised {error!r}, but was applied"
        if isinstance(error, DeadlineExceededError) and times and not isinstance(error.__cause__, OutcomeUnknownError):
            return f"{client.name} raised {error!r} and hid that it was applied"
        if isinstance(error, TypeError):
            return f"{client.name} raised {error!r}"
    return None


def explored(clients: dict[str, Callable[[], Steps[Any]]], faults: Faults, **more: Any) -> None:
    """Every schedule; what was seen is printed."""
    found = Interleavings(clients, **{"faults": faults, "records": {KEY: b"[]"}, "invariant": kept, **more}).explore()
    print(*clients, faults, found)
    found.assert_none()


def nobody_waits_in_vain(view: View) -> str | None:
    """Whoever lives is done; where nothing befell anybody, nobody had to wait for time to pass, and no lease is left."""
    if any(client.state == "raised" for client in view.clients):
        return "somebody failed"
    if view.faults == Faults() and (view.rests or len(view.records) > 1):
        return f"{view.rests} rests, {list(view.records)} left"
    return None


COMMON = [
    Faults(),
    Faults(crashes=1),
    Faults(unavailable=1),
    Faults(lost_requests=1),
    Faults(lost_replies=1),
    Faults(late_requests=1),
    Faults(stops=1),
    Faults(interrupts=1),
]
PAIRS = [
    Faults(lost_replies=2),
    Faults(late_requests=2),
    Faults(late_requests=1, unavailable=1),
    Faults(lost_replies=1, stops=1),
    Faults(crashes=1, late_requests=1),
]


SIDE_BY_SIDE = [
    *[("ab", faults) for faults in [*COMMON, *PAIRS]],
    *[("abc", faults) for faults in [*COMMON, Faults(crashes=1, lost_replies=1)]],
]


@pytest.mark.parametrize(("names", "faults"), SIDE_BY_SIDE, ids=repr)
def test_side_by_side_no_change_is_lost_and_none_applied_twice(names: str, faults: Faults) -> None:
    """Two and three writers, who never need a turn."""
    explored({name: appending(name) for name in names}, faults)


@pytest.mark.parametrize("faults", [*COMMON, Faults(wakes=1), Faults(expiries=1)], ids=repr)
def test_with_turns_no_change_is_lost_and_none_applied_twice(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two who both line up at once: what is lost or late may be a ticket or a turn as well."""
    monkeypatch.setattr(updating, "OPTIMISTIC_TRIES", 0)
    explored({name: appending(name) for name in "ab"}, faults)


@pytest.mark.parametrize("faults", [Faults(), Faults(crashes=1), Faults(wakes=1)], ids=repr)
def test_nobody_waits_in_vain(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the one before dies, in line or in his turn."""
    monkeypatch.setattr(updating, "OPTIMISTIC_TRIES", 0)
    explored({name: appending(name) for name in "ab"}, faults, at_end=nobody_waits_in_vain)


@pytest.mark.parametrize("rules", [["retry"] * 3, ["retry", "retry", "raise"], [merge_appends] * 3], ids=str)
def test_those_who_line_up_and_those_who_do_not_are_safe_from_each_other(
    rules: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three, of whom one tries once and then lines up, while others try."""
    monkeypatch.setattr(updating, "OPTIMISTIC_TRIES", 1)
    explored({name: appending(name, rule) for name, rule in zip("abc", rules, strict=True)}, Faults())


@pytest.mark.parametrize("faults", [Faults(), Faults(lost_replies=1), Faults(late_requests=1)], ids=repr)
@pytest.mark.parametrize("rule", ["raise", merge_appends], ids=["raise", "merge"])
def test_an_edit_is_kept_or_refused(rule: Any, faults: Faults) -> None:
    """Its block cannot run again: what was made of an old value is merged, or not written."""
    explored({"a": editing("a", rule), "b": editing("b", rule), "c": appending("c")}, faults)


@pytest.mark.parametrize("faults", [Faults(), Faults(late_requests=1), Faults(lost_replies=1)], ids=repr)
def test_the_last_write_wins_once(faults: Faults) -> None:
    """One of the values that were to be written is there, and every acknowledged one was there for a while."""

    def one_of_them(view: View) -> bool:
        return Json().decode(view.value(KEY) or b"[]") in [[], ["a"], ["b"], ["a", "b"], ["b", "a"]]

    clients = {name: appending(name, "last_write_wins") for name in "ab"}
    explored(clients, faults, invariant=one_of_them)


@pytest.mark.parametrize("faults", [Faults(lost_replies=1), Faults(late_requests=1)], ids=repr)
def test_a_create_whose_answer_was_lost_is_not_made_again(faults: Faults) -> None:
    """It may have come and gone."""

    def consume() -> Steps[int]:
        taken = 0
        for _ in range(2):
            there = yield Load(KEY)
            if there is not None:
                try:
                    taken += yield Remove(KEY, there.revision)
                except (VersionConflictError, OutcomeUnknownError):
                    pass
        return taken

    def once(view: View) -> bool:
        client = view.clients[1]
        return (view.value(KEY) is not None) + (client.value or 0) <= 1

    explored({"a": appending("a"), "consumer": consume}, faults, records={}, invariant=None, at_end=once)


# -- without an explorer -----------------------------------------------------------------------------------------------


def a_rival(store: MemoryStore, value: Any) -> None:
    """Somebody who asks for nothing."""
    store.compare_and_set(KEY, Json().encode(value), expected=ANY)


def disturbed(store: MemoryStore, times: int, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A change during whose first runs somebody else writes."""
    runs: list[int] = []

    def changing(value: Any) -> Any:
        runs.append(1)
        if len(runs) <= times:
            a_rival(store, {"rival": len(runs)})
        return change(value)

    return changing


def test_reading_shows_the_default_where_there_is_nothing() -> None:
    brief: Document[Any] = Document(KEY, Json(), dict, 1.0)
    with virtual_time() as clock, MemoryStore() as store:
        assert drive(read(brief), store) == Versioned({}, ABSENT)
        drive(write(brief, {"a": 1}, ABSENT, "w"), store)
        assert drive(read(brief), store).value == {"a": 1}
        clock.advance(1.0)
        assert drive(read(brief), store) == Versioned({}, ABSENT)
        drive(write(brief, {"b": 1}, ABSENT, "w"), store)  # as it was read
        assert drive(update(brief, lambda v: {**v, "c": 1}, "retry", "x"), store).value == {"b": 1, "c": 1}


def test_a_write_from_an_old_revision_is_a_conflict_in_the_callers_values() -> None:
    with MemoryStore() as store:
        old = drive(write(DICT, {"a": 1}, ABSENT, "w"), store)
        a_rival(store, {"a": 2})
        with pytest.raises(VersionConflictError) as caught:
            drive(write(DICT, {"a": 3}, old.revision, "w"), store)
        assert (caught.value.base, caught.value.mine, caught.value.theirs) == (None, {"a": 3}, {"a": 2})
        store.remove(KEY, expected=ANY)
        with pytest.raises(VersionConflictError) as caught:
            drive(write(DICT, {"a": 3}, old.revision, "w"), store)
        assert caught.value.theirs is None
        assert drive(write(DICT, {"a": 4}, ANY, "w"), store).value == {"a": 4}


@pytest.mark.parametrize("times", [0, 1, 3, 4, 9])
def test_a_change_is_made_again_of_what_is_there_until_it_is_kept(times: int) -> None:
    with virtual_time() as clock, MemoryStore() as store:
        change = disturbed(store, times, lambda value: {**value, "mine": True})
        done = drive(update(DICT, change, "retry", "me"), store)
        expected = {"rival": times, "mine": True} if times else {"mine": True}
        assert done.value == drive(read(DICT), store).value == expected
        assert done.write_id == "me"
        assert len(clock.waits) == min(times, 3)
        assert [key for key, _ in store.scan()] == [KEY], "no turn, no ticket is left"


def test_a_conflict_is_raised_merged_or_overruled_as_asked() -> None:
    with virtual_time(), MemoryStore() as store:
        a_rival(store, {"a": 1})
        with pytest.raises(VersionConflictError) as caught:
            drive(update(DICT, disturbed(store, 1, lambda v: {**v, "mine": 1}), "raise", "x"), store)
        assert (caught.value.base, caught.value.mine) == ({"a": 1}, {"a": 1, "mine": 1})
        assert caught.value.theirs == {"rival": 1}
        merged = drive(update(DICT, disturbed(store, 1, lambda v: {**v, "mine": 2}), merge_mappings, "y"), store)
        assert merged.value == {"rival": 1, "mine": 2}
        won = drive(update(DICT, disturbed(store, 6, lambda v: {"mine": 3}), "last_write_wins", "z"), store)
        assert won.value == {"mine": 3}


def test_a_clash_in_a_merge_says_where_and_between_what() -> None:
    with virtual_time(), MemoryStore() as store:
        first = drive(write(DICT, {"rival": 0}, ABSENT, "w"), store)
        with pytest.raises(VersionConflictError) as caught:
            drive(update(DICT, disturbed(store, 1, lambda _: {"rival": "mine"}), merge_mappings, "x"), store)
        clash = caught.value
        assert (clash.key, clash.expected, clash.paths) == (KEY, first.revision, (("rival",),))
        assert (clash.base, clash.mine, clash.theirs) == ({"rival": 0}, {"rival": "mine"}, {"rival": 1})
        assert clash.current == store.load(KEY)


@pytest.mark.parametrize("rule", ["retry", merge_mappings], ids=["change", "merge"])
def test_a_function_that_forgets_to_return_is_found_out(rule: Any) -> None:
    def forgetful(*_: Any) -> None: ...

    with virtual_time(), MemoryStore() as store:
        a_rival(store, {"a": 1})
        with pytest.raises(TypeError, match=r"forgetful.* returned None instead of the new value"):
            if rule == "retry":
                drive(update(DICT, forgetful, "retry", "x"), store)
            else:
                drive(update(DICT, disturbed(store, 1, dict), forgetful, "x"), store)


def test_none_may_follow_none() -> None:
    nothing: Document[Any] = Document(KEY, Json(), lambda: None, None)
    with MemoryStore() as store:
        assert drive(update(nothing, lambda value: value, "retry", "x"), store).value is None


def test_an_edit_that_changed_nothing_writes_nothing() -> None:
    with MemoryStore() as store:
        a_rival(store, {"a": 1})
        there = store.load(KEY)
        assert drive(finish_edit(DICT, there, {"a": 1}, "raise", "x"), store).revision == there.revision  # type: ignore[union-attr]
        assert store.load(KEY) == there


def test_an_edit_cannot_be_made_again() -> None:
    with MemoryStore() as store:
        a_rival(store, {"a": 1})
        there = store.load(KEY)
        a_rival(store, {"a": 2})
        with pytest.raises(VersionConflictError):
            drive(finish_edit(DICT, there, {"a": 1, "b": 1}, "retry", "x"), store)
        assert drive(finish_edit(DICT, there, {"a": 1, "b": 1}, merge_mappings, "x"), store).value == {"a": 2, "b": 1}


def test_while_somebody_has_a_turn_nothing_is_made_before_ours() -> None:
    """What he writes would make it void; and his turn is waited for, however long it lasts."""
    with virtual_time() as clock, MemoryStore() as store:
        store.compare_and_set(TURN, b"", expected=ABSENT, ttl=5.0)
        made: list[float] = []

        def change(value: Any) -> Any:
            made.append(clock.monotonic())
            return {"mine": 1}

        drive(update(DICT, change, "retry", "x"), store)
        assert made == [pytest.approx(5.0)]


def test_a_change_that_raises_in_our_turn_leaves_it() -> None:
    with virtual_time(), MemoryStore() as store:

        def give_in(value: Any) -> Any:
            if value.get("rival") == 5:
                raise ValueError("no more")
            return value

        with pytest.raises(ValueError, match="no more"):
            drive(update(DICT, disturbed(store, 5, give_in), "retry", "x"), store)
        assert [key for key, _ in store.scan()] == [KEY]


def test_a_turn_too_short_for_the_change_is_doubled() -> None:
    """Up to what it takes."""
    with virtual_time() as clock, MemoryStore() as store:
        store.compare_and_set(TURN, b"", expected=ABSENT, ttl=1.0)
        ttls: list[float | None] = []

        def slow(value: Any) -> Any:
            ttls.append(store.load(TURN).ttl)  # type: ignore[union-attr]
            a_rival(store, {"rival": len(ttls)})
            clock.advance(3.0 if len(ttls) == 1 else 0.0)
            return {**value, "mine": 1} if len(ttls) < 3 else {"mine": 1}

        with pytest.raises(VersionConflictError):
            drive(update(DICT, slow, "raise", "x"), store)
        ttls.clear()
        store.compare_and_set(TURN, b"", expected=ANY, ttl=1.0)

        def slower(value: Any) -> Any:
            ttls.append(store.load(TURN).ttl)  # type: ignore[union-attr]
            clock.advance(3.0)
            a_rival(store, {"rival": 1}) if len(ttls) == 1 else None
            return {**value, "mine": 1}

        assert drive(update(DICT, slower, "retry", "y"), store).value["mine"] == 1
        assert ttls == [2.0, 4.0]


def test_a_deadline_says_what_the_last_conflict_was() -> None:
    with virtual_time() as clock, MemoryStore() as store:

        def slow(value: Any) -> Any:
            clock.advance(0.4)
            a_rival(store, {"rival": 1})
            return value

        with pytest.raises(DeadlineExceededError) as caught, deadline(1.0):
            drive(update(DICT, slow, "retry", "x"), store)
        assert isinstance(caught.value.__cause__, VersionConflictError)


def play(steps: Steps[Any], *replies: Any) -> Any:
    """Play replies to a protocol to its end, giving back what it holds; what it returned."""
    told = list(replies)
    try:
        step = next(steps)
        while True:
            if isinstance(step, Call):
                step = steps.send(step.fn(*step.args))
            elif isinstance(step, (Pause, GiveBack)) and not (told and isinstance(told[0], DeadlineExceededError)):
                step = steps.send(None)
            else:
                reply = told.pop(0)
                step = steps.throw(reply) if isinstance(reply, BaseException) else steps.send(reply)
    except StopIteration as end:
        assert not told
        return end.value


def at(revision: int, value: bytes = b"[]", write_id: str | None = None) -> Versioned[bytes]:
    """A record."""
    return Versioned(value, revision, write_id=write_id)


def fresh(there: Versioned[bytes] | None) -> dict[str, Versioned[bytes] | None]:
    """What an update begins with, where nobody has a turn."""
    return {KEY: there, TURN: None}


def me() -> Steps[Any]:
    """An update that is called me."""
    return update(LIST, lambda names: [*names, "me"], "retry", "me")


def test_a_write_whose_answer_was_lost_is_known_by_its_name() -> None:
    mine = at(5, b'["me"]', "me")
    assert play(me(), fresh(at(4)), LOST, mine).revision == 5
    assert play(me(), fresh(at(4)), LOST, at(4), VersionConflictError(KEY, 4, mine)).revision == 5, "it came late"
    assert play(me(), fresh(at(4)), LOST, at(4), mine).revision == 5, "it was sent again"


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([fresh(at(4)), LOST, at(9)], id="somebody wrote"),
        pytest.param([fresh(at(4)), LOST, None], id="somebody removed it"),
        pytest.param([fresh(None), LOST, None], id="it may have come and gone"),
        pytest.param(
            [fresh(at(4)), LOST, at(4), VersionConflictError(KEY, 4, at(9))], id="somebody wrote before we did again"
        ),
        pytest.param([fresh(at(4)), LOST, at(4), LOST, at(4), LOST, at(4), LOST, at(4)], id="nothing is ever heard"),
    ],
)
def test_what_nobody_can_know_is_said(replies: list[Any]) -> None:
    with pytest.raises(OutcomeUnknownError):
        play(me(), *replies)


def test_a_doubt_outlives_an_outage_and_a_deadline() -> None:
    with pytest.raises(OutcomeUnknownError) as unknown:
        play(me(), fresh(at(4)), LOST, AWAY)
    assert unknown.value.__cause__ is AWAY
    with pytest.raises(DeadlineExceededError) as over:
        play(me(), fresh(at(4)), LOST, DeadlineExceededError())
    assert isinstance(over.value.__cause__, OutcomeUnknownError)
    with pytest.raises(StoreUnavailableError):
        play(me(), fresh(at(4)), AWAY)
    named = DeadlineExceededError()
    named.__cause__ = ValueError("its own")
    with pytest.raises(DeadlineExceededError) as own:
        play(me(), fresh(at(4)), named)
    assert isinstance(own.value.__cause__, ValueError)


def test_a_doubt_is_settled_in_our_turn_too() -> None:
    """The first answer was lost, then somebody took a turn: whether we wrote is seen there."""
    mine = at(5, b'["me"]', "me")
    ticket, turn = at(7, b"", "me"), at(8, b"", "me")
    refused = GuardRefusedError(KEY, Guard(TURN, 1), None)
    assert play(me(), fresh(at(4)), LOST, at(4), refused, ticket, [], turn, mine).revision == 5
    with pytest.raises(OutcomeUnknownError):
        play(me(), fresh(at(4)), LOST, at(4), refused, ticket, [], turn, at(6))


def test_what_raises_on_conflict_does_so_in_our_turn_too() -> None:
    """The holder of the turn wrote: that is the conflict."""
    refused = GuardRefusedError(KEY, Guard(TURN, 1), None)
    strict = update(LIST, lambda names: [*names, "me"], "raise", "me")
    with pytest.raises(VersionConflictError) as caught:
        play(strict, fresh(at(4)), refused, at(7, b""), [], at(8, b"", "me"), at(6, b'["x"]'))
    assert (caught.value.expected, caught.value.base, caught.value.mine, caught.value.theirs) == (4, [], ["me"], ["x"])


def test_an_update_begins_with_one_look_at_the_record_and_the_turn() -> None:
    steps = me()
    assert next(steps) == LoadMany((KEY, TURN))
    steps.close()


class Staged(MemoryStore):
    """A store of which some verbs, by their number, do something else first, or fail instead."""

    def __init__(self, stage: dict[int, Callable[[], object]]) -> None:
        super().__init__()
        self._stage = stage
        self._count = 0

    def _run(self, verb: Verb[Any]) -> Any:
        if not isinstance(verb, Swap) or verb.expected is not ANY:  # the rival's
            self._count += 1
            self._stage.get(self._count, bool)()
        return super()._run(verb)


def failing(error: type[Exception], *args: str) -> Callable[[], object]:
    """It fails."""

    def fail() -> object:
        raise error(*args)

    return fail


lost = failing(OutcomeUnknownError, "store", "the answer was lost")
away = failing(StoreUnavailableError, "store", "it does not answer")
over = failing(DeadlineExceededError)


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        pytest.param({2: lost}, OutcomeUnknownError, id="doubt"),
        pytest.param({2: lost, 3: away}, OutcomeUnknownError, id="doubt and outage"),
        pytest.param({2: lost, 3: over}, DeadlineExceededError, id="doubt and deadline"),
        pytest.param({}, VersionConflictError, id="conflict"),
        pytest.param({4: over}, DeadlineExceededError, id="conflicts and deadline"),
        pytest.param({7: over}, DeadlineExceededError, id="deadline in line"),
        pytest.param({1: away}, StoreUnavailableError, id="outage"),
    ],
)
def test_an_update_that_fails_leaves_no_garbage(stage: dict[int, Callable[[], object]], error: type[Exception]) -> None:
    """No reference cycle: memory is given back at once, not when the collector comes by."""
    with virtual_time(), Staged(stage) as store:
        rule: Any = "raise" if error is VersionConflictError else "retry"
        steps = update(DICT, disturbed(store, 9, lambda value: value), rule, "me")
        gc.collect()
        gc.disable()
        try:
            try:
                drive(steps, store)
            except error:
                pass
            else:
                pytest.fail("it did not fail")
            del steps
            assert gc.collect() == 0
        finally:
            gc.enable()
