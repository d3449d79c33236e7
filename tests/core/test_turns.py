"""Turns: one at a time, in the order of arrival, whatever happens to whom; every schedule of a few waiters is followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resilience._core.records import ABSENT, ANY, VACANT, Guard, Versioned
from resilience._core.steps import Extend, GiveBack, Load, Remove, Scan, Steps, Swap, Wait
from resilience._core.turns import TICKET_TTL, Turn, leave_turn, take_turn, turn_key
from resilience._io.drive import drive
from resilience.errors import GuardRefusedError, OutcomeUnknownError, StoreUnavailableError, VersionConflictError
from resilience.stores import MemoryStore
from resilience.testing import virtual_time
from resilience.testing._states import bury
from resilience.testing.interleavings import ClientView, Faults, Interleavings, View


KEY = turn_key("k")
WORK = "work"


def holder(name: str) -> Callable[[], Steps[int]]:
    """One who takes a turn, writes twice in it without any compare-and-set, and leaves it."""

    def steps() -> Steps[int]:
        turn = yield from take_turn(KEY, name, 2.0)
        try:
            for _ in range(2):
                there: Versioned[bytes] = yield Load(WORK)
                yield Swap(WORK, there.value + name.encode(), ANY, None, turn.guard)
        finally:
            yield from leave_turn(turn)
        return turn.token

    return steps


def passer(name: str) -> Callable[[], Steps[int]]:
    """One who takes a turn and leaves it."""

    def steps() -> Steps[int]:
        turn = yield from take_turn(KEY, name, 2.0)
        yield from leave_turn(turn)
        return turn.token

    return steps


def ours(client: ClientView, key: str) -> int | None:
    """At which revision a client knows its own record under a key to be, the first time it learns that."""
    for step, reply in client.history:
        if isinstance(step, Swap) and step.key == key:
            there = reply.current if isinstance(reply, VersionConflictError) else reply
            if isinstance(there, Versioned) and there.write_id == client.name:
                return there.revision
    return None


def one_at_a_time(view: View) -> str | None:
    """Nobody's two writes have somebody else's between them, no write is undone, and no token is given out twice."""
    log = view.value(WORK)
    if log is not None:
        for name in set(log.decode()):
            if name * log.decode().count(name) not in log.decode():
                return f"{name}'s turn was not his alone: {log!r}"
        for client in view.clients:
            done = sum(
                isinstance(step, Swap) and step.key == WORK and isinstance(r, Versioned) for step, r in client.history
            )
            if log.decode().count(client.name) < done:
                return f"a write of {client.name} is lost: {log!r}"
    tokens = [token for client in view.clients if (token := ours(client, KEY)) is not None]
    return None if len(set(tokens)) == len(tokens) else f"one token for two: {tokens}"


def in_order(view: View) -> str | None:
    """Whoever had his ticket first has his turn first, unless he is dead."""
    line = [(ours(client, f"{KEY}\0{client.name}"), ours(client, KEY), client) for client in view.clients]
    for ticket, token, client in line:
        for other_ticket, other_token, other in line:
            if (
                ticket is None
                or other_ticket is None
                or ticket >= other_ticket
                or client.state in {"crashed", "raised"}
            ):
                continue
            if other_token is not None and (token is None or token > other_token):
                return f"{other.name} was served before {client.name}"
    return None


def both(view: View) -> str | None:
    """Order and safety."""
    return one_at_a_time(view) or in_order(view)


def all_served(view: View) -> str | None:
    """Everybody who lives had his turn; and where nothing went wrong, nobody had to wait for time to pass."""
    for client in view.clients:
        if client.state == "raised" and not isinstance(client.error, (OutcomeUnknownError, GuardRefusedError)):
            return f"{client.name} raised {client.error!r}"
    if view.faults == Faults():
        left = [key for key in view.records if key.startswith(KEY)]
        if left or view.rests or any(client.state != "returned" for client in view.clients):
            return f"nothing went wrong, yet {view.rests} rests, {left} left"
    return None


def explored(
    makers: Callable[[str], Callable[[], Steps[Any]]], names: str, faults: Faults, check: Any, **more: Any
) -> None:
    """Every schedule, with what was seen as the message."""
    found = Interleavings(
        {name: makers(name) for name in names},
        records={WORK: b""},
        faults=faults,
        invariant=check,
        at_end=all_served,
        **more,
    ).explore()
    print(names, faults, found)
    found.assert_none()


ONE_FAULT = [
    Faults(),
    Faults(crashes=1),
    Faults(lost_requests=1),
    Faults(lost_replies=1),
    Faults(wakes=2),
]


@pytest.mark.parametrize("faults", [*ONE_FAULT, Faults(crashes=1, lost_replies=1), Faults(lost_replies=2)], ids=repr)
def test_two_have_their_turns_one_after_the_other_in_the_order_of_their_tickets(faults: Faults) -> None:
    """Whatever answer is lost, and whoever dies: each turn is one's alone, first come, first served, nobody waits for ever."""
    explored(holder, "ab", faults, both)


def test_three_pass_in_the_order_of_their_tickets() -> None:
    """The third as well."""
    explored(passer, "abc", Faults(), both)


def dies_in_line() -> Steps[None]:
    """One who dies with a ticket."""
    yield Swap(f"{KEY}\0x", b"", VACANT, TICKET_TTL, None, "x")


def dies_in_turn() -> Steps[None]:
    """One who dies in his turn."""
    yield from take_turn(KEY, "x", 2.0)


@pytest.mark.parametrize("death", [dies_in_line, dies_in_turn])
def test_two_get_past_a_third_who_dies(death: Callable[[], Steps[None]]) -> None:
    """Once his lease has run out, in their order, and time need not pass for longer than that takes."""

    def briefly(view: View) -> bool:
        return view.rests <= 4 and all(client.state == "returned" for client in view.clients)

    found = Interleavings(
        {"a": passer("a"), "b": passer("b"), "dead": death}, records={WORK: b""}, invariant=both, at_end=briefly
    ).explore()
    print(found)
    found.assert_none()


@pytest.mark.parametrize(
    "faults",
    [
        Faults(late_requests=1),
        Faults(expiries=1),
        Faults(expiries=1, crashes=1),
        Faults(interrupts=1),
        Faults(stops=1),
        Faults(unavailable=1),
    ],
    ids=repr,
)
def test_a_turn_is_safe_where_the_order_is_not(faults: Faults) -> None:
    """A ticket or a turn that ran out too soon, a request that comes too late, an interrupt: still one at a time, to an end."""
    explored(lambda name: tolerant(holder(name)), "ab", faults, one_at_a_time)


def tolerant(steps: Callable[[], Steps[Any]]) -> Callable[[], Steps[Any]]:
    """The same, where it may end by what befell it."""

    def caught() -> Steps[Any]:
        try:
            return (yield from steps())
        except Exception as error:
            return repr(error)
        except KeyboardInterrupt:
            return "interrupted"

    return caught


def test_two_leases_that_run_out_harm_nobody_else() -> None:
    """Of two who only pass."""
    explored(passer, "ab", Faults(expiries=2), one_at_a_time)


def test_turns_are_safe_where_the_wall_clock_was_set_back() -> None:
    """Then tickets say nothing about who came first, but a turn is still one's alone, and everybody gets his."""
    explored(holder, "ab", Faults(lost_replies=1), one_at_a_time, clock_stands=True)


def test_leaving_has_no_effect_on_the_turn_of_another() -> None:
    """Who was stopped in his turn, and leaves it late, leaves only his own."""

    def refused_at_most_as_often_as_a_lease_ran_out(view: View) -> bool:
        refused = sum(isinstance(client.error, GuardRefusedError) for client in view.clients)
        return refused <= view.faults.expiries

    found = Interleavings(
        {name: holder(name) for name in "ab"},
        records={WORK: b""},
        faults=Faults(expiries=1),
        at_end=refused_at_most_as_often_as_a_lease_ran_out,
    ).explore()
    found.assert_none()


def test_whoever_is_interrupted_in_line_leaves_no_ticket_behind() -> None:
    """Also where that happens before he knows that he has one; a request still under way is another matter."""

    def no_tickets(view: View) -> bool:
        return not any(key.startswith(f"{KEY}\0") for key in view.records)

    one = tolerant(passer("a"))
    Interleavings([one], faults=Faults(stops=1), at_end=no_tickets).explore().assert_none()
    late = Interleavings([one], faults=Faults(interrupts=1), at_end=no_tickets).explore(most_violations=9)
    assert late.violations
    assert all("(late)" in violation.schedule[-1] for violation in late.violations)


# -- without an explorer -----------------------------------------------------------------------------------------------


def test_a_turn_is_a_record_whose_revision_guards() -> None:
    with MemoryStore() as store:
        turn = drive(take_turn(KEY, "a", 2.0), store)
        assert turn == Turn(KEY, store.load(KEY).revision)  # type: ignore[union-attr]
        assert turn.guard == Guard(KEY, turn.token)
        assert [key for key, _ in store.scan()] == [KEY], "the ticket is given up"
        drive(leave_turn(turn), store)
        assert store.scan() == []
        drive(leave_turn(turn), store)  # again: no effect


def test_a_turn_that_nobody_leaves_ends_by_itself() -> None:
    with virtual_time() as clock, MemoryStore() as store:
        drive(take_turn(KEY, "a", 5.0), store)
        drive(take_turn(KEY, "b", 5.0), store)
        assert clock.monotonic() == pytest.approx(5.0)


def test_a_waiter_is_passed_over_once_its_ticket_has_expired() -> None:
    with virtual_time() as clock, MemoryStore() as store:
        store.compare_and_set(f"{KEY}\0a", b"", expected=ABSENT, ttl=TICKET_TTL)
        drive(take_turn(KEY, "b", 5.0), store)
        assert clock.monotonic() == pytest.approx(TICKET_TTL)


def test_a_turn_without_an_end_is_waited_for_all_the_same() -> None:
    """Nobody writes such a one, but somebody's own program may."""
    with virtual_time(), MemoryStore() as store:
        store.compare_and_set(KEY, b"", expected=ABSENT)
        waiting = take_turn(KEY, "b", 5.0)
        step: Any = next(waiting)
        for _ in range(4):
            reply: Any = None
            try:
                reply = step.on(store)
            except VersionConflictError as conflict:
                step = waiting.throw(conflict)
            else:
                step = waiting.send(reply)
        assert step == Wait(KEY, store.load(KEY).revision, TICKET_TTL / 3)  # type: ignore[union-attr]
        with pytest.raises(StoreUnavailableError):
            give_up(waiting, StoreUnavailableError("x", "y"), store)
        assert [key for key, _ in store.scan()] == [KEY]


def give_up(steps: Steps[Any], error: BaseException, store: MemoryStore) -> None:
    """Throw an error into it, and carry out what it still gives back."""
    step: Any = steps.throw(error)
    while True:
        assert isinstance(step, GiveBack)
        step = steps.send(step.verb.on(store))


def play(steps: Steps[Any], *replies: Any) -> Any:
    """Play replies to a protocol; the step it asks for at last, or what it returned."""
    try:
        step = next(steps)
        for reply in replies:
            step = steps.throw(reply) if isinstance(reply, BaseException) else steps.send(reply)
    except StopIteration as end:
        return end.value
    finally:
        bury(steps)
    return step


LOST = OutcomeUnknownError("store", "the answer was lost")


def test_a_ticket_that_was_lost_is_drawn_again_behind_those_who_wait() -> None:
    """The tickets of the dead are swept on the way; one of them renewed, or an answer lost, is no matter."""
    expired = Versioned(b"", 3, 1, 2.0, 0.0, True, "d")
    step = play(
        take_turn(KEY, "a", 2.0),
        Versioned(b"", 5, 0, 2.0, 2.0, False, "a"),
        [(f"{KEY}\0b", Versioned(b"", 4, 0, 2.0, 2.0, False, "b"))],
        None,
        frozenset({f"{KEY}\0a"}),
        [(f"{KEY}\0d", expired), (f"{KEY}\0e", expired), (f"{KEY}\0f", expired)],
        VersionConflictError(f"{KEY}\0d", ANY),
        LOST,
        True,
    )
    assert step == Swap(f"{KEY}\0a", b"", step.expected, TICKET_TTL, None, "a")


def test_a_ticket_that_was_lost_at_the_head_of_the_line_is_found_out() -> None:
    step = play(
        take_turn(KEY, "a", 2.0),
        Versioned(b"", 5, 0, 2.0, 2.0, False, "a"),
        [],
        VersionConflictError(KEY, ANY, Versioned(b"", 4, 0, 2.0, 1.0, False, "b")),
        frozenset({f"{KEY}\0a"}),
    )
    assert isinstance(step, Extend)


def test_a_lost_answer_in_line_is_nobodys_affair() -> None:
    """The change was not sent yet: there is no doubt about it."""
    step = play(
        take_turn(KEY, "a", 2.0),
        LOST,
        None,
        VersionConflictError(f"{KEY}\0a", ANY),
        VersionConflictError(f"{KEY}\0a", ANY, Versioned(b"", 5, 0, 2.0, 2.0, False, "a")),
        [(f"{KEY}\0b", Versioned(b"", 4, 0, 2.0, 2.0, False, "b"))],
        None,
        LOST,
        [],
        LOST,
        LOST,
        None,
    )
    assert step == Swap(KEY, b"", step.expected, 2.0, None, "a")


def test_everybody_watches_only_the_one_before() -> None:
    tickets = [
        (f"{KEY}\0{name}", Versioned(b"", revision)) for name, revision in [("a", 9), ("b", 4), ("c", 7), ("d", 8)]
    ]
    step = play(take_turn(KEY, "d", 2.0), Versioned(b"", 8), tickets)
    assert step == Wait(f"{KEY}\0c", 7, TICKET_TTL / 3)
    assert isinstance(play(take_turn(KEY, "b", 2.0), Versioned(b"", 4), tickets), Swap)
    assert isinstance(play(take_turn(KEY, "b", 2.0), Versioned(b"", 4)), Scan)


def test_giving_back_is_a_courtesy() -> None:
    """It never fails: the TTL does it too."""
    assert play(leave_turn(Turn(KEY, 3))) == GiveBack(Remove(KEY, 3))
    assert play(leave_turn(Turn(KEY, 3)), LOST) is None


@pytest.mark.parametrize("step", ["turn", "ticket"])
def test_whoever_is_cut_off_while_he_takes_a_turn_gives_it_back(step: str) -> None:
    """At the answer to the turn, or at giving up the ticket after it: else all others wait until it runs out."""

    class Cutting(MemoryStore):
        def _run(self, verb: Any) -> Any:
            reply = super()._run(verb)
            taken = isinstance(verb, Swap) and verb.key == KEY
            left = isinstance(verb, Remove) and verb.key.startswith(f"{KEY}\0")
            if taken if step == "turn" else left and not self.cut:
                self.cut = True
                raise KeyboardInterrupt
            return reply

        cut = False

    store = Cutting()
    with pytest.raises(KeyboardInterrupt):
        drive(take_turn(KEY, "me", 60.0), store)
    assert store.load(KEY) is None


@pytest.mark.parametrize("which", ["ticket", "turn"])
def test_answers_that_go_on_being_lost_end_the_waiting(which: str) -> None:
    """Certainly nothing was done of what the turn is for."""

    class Losing(MemoryStore):
        sent = 0

        def _run(self, verb: Any) -> Any:
            if isinstance(verb, Swap) and (verb.key == KEY) is (which == "turn"):
                self.sent += 1
                raise OutcomeUnknownError("a store", "the answer was lost")
            return super()._run(verb)

    store = Losing()
    with virtual_time(), pytest.raises(StoreUnavailableError, match="10 answers to writes of"):
        drive(take_turn(KEY, "me", 60.0), store)
    assert store.sent == 10


def test_a_turn_that_cannot_be_given_back_runs_out() -> None:
    class Gone(MemoryStore):
        def _run(self, verb: Any) -> Any:
            if isinstance(verb, Load):
                raise StoreUnavailableError("a store", "gone")
            reply = super()._run(verb)
            if isinstance(verb, Swap) and verb.key == KEY:
                raise KeyboardInterrupt
            return reply

    with pytest.raises(KeyboardInterrupt):
        drive(take_turn(KEY, "me", 60.0), Gone())
