"""The explorer: it sees every schedule, each fault does what it says, and protocols that are wrong are found out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from resilience._core.records import ABSENT, ANY, VACANT, Beat, Guard, Versioned
from resilience._core.steps import Call, Extend, GiveBack, Load, LoadMany, Pause, Remove, Scan, Steps, Swap, Wait
from resilience._core.turns import Turn, leave_turn, take_turn, turn_key
from resilience.errors import (
    ConfigError,
    DeadlineExceededError,
    GuardRefusedError,
    OutcomeUnknownError,
    ResilienceError,
    StoreUnavailableError,
    VersionConflictError,
)
from resilience.testing._modelled import Model
from resilience.testing._moves import Moves
from resilience.testing._states import Histories, State
from resilience.testing.interleavings import Explored, Faults, Interleavings, Interrupted, View, WaveringError


KEY = "k"
TURN = turn_key(KEY)

Maker = Callable[[], Steps[Any]]


def increment() -> Steps[None]:
    """Read, add one, overwrite."""
    there = yield Load(KEY)
    yield Pause(1.0)  # over at once, and no event of its own
    yield Swap(KEY, b"%d" % (int(there.value) + 1), ANY)


# -- what it sees ------------------------------------------------------------------------------------------------------


def test_a_lost_update_is_found_and_shown_by_the_shortest_schedule() -> None:
    found = Interleavings(
        {"one": increment, "other": increment}, records={KEY: b"0"}, at_end=lambda view: view.value(KEY) == b"2"
    ).explore()
    assert not found
    with pytest.raises(AssertionError) as caught:
        found.assert_none()
    assert str(caught.value).endswith(
        """1 wrong

at the end it does not hold
  1  one    Load(key='k') → revision 1: b'0'
  2  other  Load(key='k') → revision 1: b'0'
  3  one    Swap(key='k', value=b'1', expected=ANY) → revision 2: b'1'
  4  other  Swap(key='k', value=b'1', expected=ANY) → revision 3: b'1'
then:
     'k': revision 3: b'1'
     one returned None
     other returned None"""
    )


@pytest.mark.parametrize(("clients", "steps", "runs"), [(1, 3, 1), (2, 1, 2), (2, 3, 20), (3, 2, 90), (3, 4, 34650)])
def test_every_schedule_is_followed(clients: int, steps: int, runs: int) -> None:
    """As many as there are ways to shuffle the steps, but for far fewer states."""

    def walk(name: str) -> Maker:
        def walking() -> Steps[None]:
            for _ in range(steps):
                yield Load(name)

        return walking

    assert runs == math.factorial(clients * steps) // math.factorial(steps) ** clients
    found = Interleavings([walk(str(number)) for number in range(clients)]).explore()
    assert found
    assert (found.runs, found.states) == (runs, (steps + 1) ** clients)
    assert str(found).endswith("nothing wrong")
    assert found.seconds >= 0


def test_different_histories_are_different_states() -> None:
    """The order of two writes is seen by who wrote them, not by what is left."""

    def writer() -> Steps[Any]:
        there = yield Swap(KEY, b"", ANY)
        return there.revision

    ends: list[Any] = []
    found = Interleavings([writer, writer], at_end=lambda view: ends.append([c.value for c in view.clients])).explore()
    assert sorted(ends) == [[1, 2], [2, 1]]
    assert found.complete


def outcomes(faults: Faults, maker: Maker, **more: Any) -> set[Any]:
    """How one client may end, with what is then in the store."""
    seen: set[Any] = set()

    def note(view: View) -> None:
        client = view.clients[0]
        ended = type(client.error) if client.error else client.value
        seen.add((client.state, ended, view.value(KEY)))

    Interleavings([maker], faults=faults, at_end=note, **more).explore().assert_none()
    return seen


def one_write() -> Steps[str]:
    """A client of a single step."""
    yield Swap(KEY, b"new", ANY)
    return "done"


DONE = ("returned", "done", b"new")


@pytest.mark.parametrize(
    ("faults", "more"),
    [
        (Faults(), set()),
        (Faults(crashes=1), {("crashed", None, None)}),
        (Faults(unavailable=1), {("raised", StoreUnavailableError, None)}),
        (Faults(lost_requests=1), {("raised", OutcomeUnknownError, None)}),
        (Faults(lost_replies=1), {("raised", OutcomeUnknownError, b"new")}),
        (Faults(late_requests=1), {("raised", OutcomeUnknownError, None), ("raised", OutcomeUnknownError, b"new")}),
        (Faults(stops=1), {("raised", DeadlineExceededError, None)}),
        (Faults(interrupts=1), {("raised", Interrupted, None), ("raised", Interrupted, b"new")}),
        (Faults(wakes=1, expiries=1), set()),
    ],
    ids=repr,
)
def test_each_fault_does_what_it_says(faults: Faults, more: set[Any]) -> None:
    assert outcomes(faults, one_write) == {DONE, *more}


def test_a_read_is_not_lost_but_refused() -> None:
    def reads() -> Steps[str]:
        yield Load(KEY)
        yield LoadMany([KEY])
        yield Scan()
        return "done"

    everything = Faults(lost_requests=1, lost_replies=1, late_requests=1)
    assert outcomes(everything, reads) == {("returned", "done", None)}
    assert outcomes(Faults(unavailable=1), reads) == {
        ("returned", "done", None),
        ("raised", StoreUnavailableError, None),
    }


def test_a_deadline_that_is_over_stays_over_but_what_is_held_is_given_back() -> None:
    def stubborn() -> Steps[Any]:
        told: list[str] = []
        for step in (Pause(1.0), Load(KEY), GiveBack(Swap(KEY, b"given back", ANY)), Wait(KEY, ABSENT, 1.0)):
            try:
                yield step
            except DeadlineExceededError:
                told.append(type(step).__name__)
        return tuple(told)

    assert {told for _, told, _ in outcomes(Faults(stops=1), stubborn)} == {
        (),
        ("Pause", "Load", "Wait"),
        ("Load", "Wait"),
        ("Wait",),
    }


def test_calls_are_made_at_once_and_their_errors_are_the_clients() -> None:
    def calls() -> Steps[Any]:
        number = yield Call(int, ("7",))
        try:
            yield Call(int, ("seven",))
        except ValueError:
            number += 1
        yield Pause(1.0)
        return (yield Call(str, (number,)))

    assert outcomes(Faults(crashes=1), calls) == {("returned", "8", None)}, "with nothing to see, all is over at once"


def test_what_a_client_does_to_a_reply_is_its_own_affair() -> None:
    """Lists and mappings are given anew to each."""

    def spoils() -> Steps[Any]:
        page = yield Scan()
        many = yield LoadMany([KEY])
        seen = len(page), len(many)
        page.clear()
        many.clear()
        yield Load(KEY)
        return seen

    found = Interleavings(
        [spoils] * 2, records={KEY: b""}, at_end=lambda view: view.clients[1].value == (1, 1)
    ).explore()
    assert found


def test_pages_and_revisions_are_those_of_the_reference() -> None:
    def reads() -> Steps[Any]:
        first = yield Scan("b", limit=1)
        second = yield Scan("b", after=first[-1][0])
        removed = yield Remove("b1", 2)
        again = yield Swap("b1", b"", ABSENT)
        return [key for key, _ in first + second], removed, again.revision

    def check(view: View) -> bool:
        return bool(view.clients[0].value == (["b1", "b2"], True, 4))

    assert Interleavings([reads], records={"a": b"", "b1": b"", "b2": b""}, at_end=check).explore()


def test_where_the_clock_stands_each_key_counts_alone() -> None:
    def writes() -> Steps[Any]:
        first = yield Swap("a", b"", ANY)
        second = yield Swap("b", b"", ANY)
        return first.revision, second.revision

    assert Interleavings([writes], at_end=lambda view: view.clients[0].value == (1, 2)).explore()
    assert Interleavings([writes], at_end=lambda view: view.clients[0].value == (1, 1), clock_stands=True).explore()


# -- waiting and time --------------------------------------------------------------------------------------------------


def lease(ttl: float | None = 1.0) -> Steps[None]:
    """One who takes a lease and is never heard of again."""
    yield Swap("lease", b"", VACANT, ttl)


def takes_over() -> Steps[str]:
    """One who waits until the lease is free."""
    while True:
        try:
            yield Swap("lease", b"mine", VACANT, 1.0)
        except VersionConflictError as conflict:
            yield Wait("lease", conflict.revision, 1.0)
        else:
            return "mine"


def test_a_lease_runs_out_where_everybody_waits() -> None:
    def waited(view: View) -> bool:
        first = view.clients[0].value is None and view.rests <= 2
        return first and view.clients[1].value == "mine"

    found = Interleavings([lease, takes_over], at_end=waited)
    assert found.explore()
    with pytest.raises(AssertionError, match=r"everybody waits; time passes\n(.*\n)*.*'lease' runs out"):
        Interleavings([lease, takes_over], at_end=lambda view: view.rests == 0).explore().assert_none()


def test_a_lease_without_an_end_is_a_deadlock() -> None:
    found = Interleavings([lambda: lease(None), takes_over]).explore()
    assert found.violations[0].what == "deadlock: nobody who has not ended will ever go on"
    assert "client 2 is waiting" in str(found.violations[0])
    assert found.violations[0].view.clients[1].step == Wait("lease", 1, 1.0)


def test_the_lease_of_one_who_renews_it_lives() -> None:
    """He waits for somebody dead, and looks again and again; his own lease is not taken from him."""

    def renews() -> Steps[str]:
        mine = yield Swap("mine", b"", VACANT, 1.0)
        while True:
            try:
                yield Swap("lease", b"mine", VACANT, 1.0)
            except VersionConflictError as conflict:
                yield Wait("lease", conflict.revision, 1.0)
                lost = yield Extend((Beat("mine", mine.revision, 1.0),))
                assert not lost, "his lease ran out"
            else:
                return "done"

    assert Interleavings([lease, renews]).explore()
    hurried = Interleavings([lease, renews], faults=Faults(expiries=1)).explore()
    assert hurried.violations[0].what.startswith("client 2 failed: his lease ran out")


def test_a_wait_ends_when_the_record_changes_or_by_a_fault_or_not_at_all() -> None:
    def waits() -> Steps[str]:
        yield Wait(KEY, ABSENT, 1.0)
        there = yield Load(KEY)
        return "early" if there is None else "woken"

    def ends(faults: Faults) -> set[Any]:
        seen: set[Any] = set()
        Interleavings(
            [waits, one_write], faults=faults, at_end=lambda view: seen.add(view.clients[0].value)
        ).explore().assert_none()
        return seen

    assert ends(Faults()) == {"woken"}
    assert ends(Faults(wakes=1)) == {"woken", "early"}
    assert ends(Faults(crashes=1)) == {"woken", "early", None}, "time passes where the writer is dead"


def test_two_who_wait_for_each_other_are_a_deadlock() -> None:
    def waits(mine: str, other: str) -> Maker:
        def steps() -> Steps[None]:
            while (yield Load(other)) is None:
                yield Wait(other, ABSENT, 1.0)
            yield Swap(mine, b"", ANY)

        return steps

    found = Interleavings({"a": waits("a", "b"), "b": waits("b", "a")}, faults=Faults(crashes=1, wakes=1)).explore()
    assert found.violations[0].what.startswith("deadlock")


# -- what it says ------------------------------------------------------------------------------------------------------


def test_every_kind_of_event_can_be_read_in_a_schedule() -> None:
    """The late request, the lost one, the dead client, the lease that ran out, and what each was told."""

    def busy() -> Steps[Any]:
        try:
            yield Swap(KEY, b"late", ANY)
        except OutcomeUnknownError:
            pass
        try:
            yield Swap("lease", b"", VACANT, 1.0)
        except Interrupted:
            pass
        yield LoadMany(["lease"])
        yield Scan()
        try:
            yield GiveBack(Remove("lease", 9))
        except ResilienceError:
            pass
        yield Load("nothing")

    def never(view: View) -> bool:
        spent = view.faults
        enough = spent.late_requests and spent.interrupts and spent.expiries and spent.crashes
        return not (enough and view.value(KEY) == b"late" and "lease" in view.records)

    faults = Faults(late_requests=1, interrupts=1, expiries=1, crashes=1)
    found = Interleavings([busy], faults=faults, at_end=never).explore()
    text = str(found.violations[0])
    for piece in [
        "client 1  Swap(key='k', value=b'late', expected=ANY) → OutcomeUnknownError: the explored store: the answer was",
        "lost, and it is still under way",
        "client 1  (late) Swap(key='k', value=b'late', expected=ANY) is carried out",
        "client 1  Swap(key='lease', value=b'', expected=VACANT, ttl=1.0) → Interrupted, and it is still under way",
        "client 1  (late) Swap(key='lease', value=b'', expected=VACANT, ttl=1.0) is carried out",
        "'lease' runs out",
        "client 1  dies before LoadMany(keys=('lease',))",
        ", expired: b''",
        "client 1 is dead",
    ]:
        assert piece in text

    def raised(view: View) -> bool:
        return view.clients[0].state != "raised"

    found = Interleavings([busy], faults=Faults(late_requests=1, unavailable=1), at_end=raised).explore(
        most_violations=2
    )
    assert "raised StoreUnavailableError: the explored store: it does not answer" in str(found.violations[0])

    def creates() -> Steps[None]:
        try:
            yield Swap(KEY, b"", ABSENT)
        except OutcomeUnknownError:
            yield Swap(KEY, b"", ANY)
        yield Scan()

    found = Interleavings(
        [creates], faults=Faults(late_requests=1), at_end=lambda view: not view.faults.late_requests
    ).explore()
    text = str(found.violations[0])
    assert "Scan() → ['k': revision " in text
    refused = Interleavings([creates], faults=Faults(late_requests=1), invariant=late_is_refused).explore()
    assert "(late) Swap(key='k', value=b'', expected=ABSENT) is refused" in str(refused.violations[0])


def late_is_refused(view: View) -> bool:
    """False where it has been: the create was late, nothing is under way, and the other write is the first."""
    there = view.records.get(KEY)
    under_way = view._state.late
    return not (
        view.faults.late_requests
        and not under_way
        and there is not None
        and there.revision == 1
        and len(view.clients[0].history) == 2
    )


def test_a_check_sees_clients_by_name_with_all_that_they_were_told() -> None:
    def reads() -> Steps[Any]:
        there = yield Load(KEY)
        try:
            yield Swap(KEY, b"", ABSENT)
        except VersionConflictError:
            pass
        return there.revision

    seen: list[View] = []
    Interleavings({"reader": reads}, records={KEY: b"v"}, invariant=seen.append).explore()  # type: ignore[arg-type]
    first, last = seen[0].clients[0], seen[-1].clients[0]
    assert (first.name, first.state, first.step, first.history) == ("reader", "ready", Load(KEY), ())
    assert (last.state, last.step, last.value, last.error) == ("returned", None, 1, None)
    (load, loaded), (swap, refused) = last.history
    assert (load, loaded) == (Load(KEY), Versioned(b"v", 1))
    assert isinstance(swap, Swap)
    assert isinstance(refused, VersionConflictError)
    assert seen[-1].value("another") is None
    assert seen[-1].faults == Faults()


def fails(*text: str) -> Any:
    """A check that fails as an assertion does."""

    def check(_: View) -> None:
        raise AssertionError(*text)

    return check


@pytest.mark.parametrize(
    ("check", "what"),
    [
        pytest.param(lambda view: True, None, id="true"),
        pytest.param(lambda view: None, None, id="nothing"),
        pytest.param(lambda view: False, "the invariant does not hold", id="false"),
        pytest.param(lambda view: "it is bad", "it is bad", id="text"),
        pytest.param(fails("it is worse"), "it is worse", id="assertion"),
        pytest.param(fails(), "the invariant does not hold", id="bare assertion"),
    ],
)
def test_a_check_may_return_raise_or_say_what_is_wrong(check: Any, what: str | None) -> None:
    found = Interleavings([one_write], invariant=check).explore()
    assert [violation.what for violation in found.violations] == ([what] if what else [])


def test_several_violations_are_found_if_wanted() -> None:
    """By what is wrong; behind one, no further one is looked for."""

    def check(view: View) -> str | None:
        return {b"1": "one", b"2": "two"}.get(view.value(KEY) or b"")

    def writes(value: bytes) -> Maker:
        def steps() -> Steps[None]:
            yield Swap(KEY, value, ANY)

        return steps

    both = Interleavings([writes(b"1"), writes(b"2")], invariant=check)
    assert [violation.what for violation in both.explore().violations] == ["one"]
    found = both.explore(most_violations=9)
    assert [violation.what for violation in found.violations] == ["one", "two"]
    assert not found
    assert not found.complete
    assert str(found).endswith("2 wrong")


def test_a_limit_that_was_reached_is_no_proof() -> None:
    found = Interleavings([increment, increment], records={KEY: b"0"}).explore(most_states=5)
    assert not found.complete
    with pytest.raises(RuntimeError, match="undecided"):
        bool(found)
    with pytest.raises(AssertionError, match="undecided"):
        found.assert_none()
    states = Interleavings([increment, increment], records={KEY: b"0"}).explore().states
    assert Interleavings([increment, increment], records={KEY: b"0"}).explore(most_states=states)
    assert not Interleavings([increment, increment], records={KEY: b"0"}).explore(most_states=states - 1).complete


def test_a_client_that_wavers_is_found_out() -> None:
    calls: list[int] = []

    def wavers() -> Steps[None]:
        calls.append(1)
        yield Load(str(len(calls)))
        yield Load(KEY)

    with pytest.raises(WaveringError, match=r"it's name is not deterministic: .*once.*another time"):
        Interleavings({"it's name": wavers}).explore()

    def gives_up() -> Steps[None]:
        calls.append(1)
        if len(calls) % 2:
            yield Load(KEY)
            yield Load(KEY)

    calls.clear()
    with pytest.raises(WaveringError):
        Interleavings([gives_up]).explore()


def test_a_real_interrupt_ends_the_exploration() -> None:
    def stopped() -> Steps[None]:
        yield Load(KEY)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interleavings([stopped]).explore()


def test_a_client_that_never_lets_go_can_be_explored() -> None:
    """It is left behind at many points, and asks for more in answer to its end."""

    def clings() -> Steps[None]:
        try:
            yield Load(KEY)
        finally:
            for _ in range(3):
                try:
                    yield Load(KEY)
                except BaseException:
                    pass

    assert Interleavings([clings, one_write], faults=Faults(crashes=1)).explore()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_that_cannot_be_ended_is_found_out() -> None:
    def immortal() -> Steps[None]:
        while True:
            try:
                yield Load(KEY)
            except BaseException:
                pass

    with pytest.raises(WaveringError, match="cannot be ended"):
        Interleavings([immortal]).explore()


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="clients must be at least one"):
        Interleavings([])
    with pytest.raises(ConfigError, match="crashes must be a whole number of at least 0; got -1"):
        Faults(crashes=-1)
    with pytest.raises(ConfigError, match="most_states"):
        Interleavings([one_write]).explore(0)
    with pytest.raises(ConfigError, match="most_violations"):
        Interleavings([one_write]).explore(most_violations=0)
    assert repr(Faults(crashes=1, wakes=2)) == "Faults(crashes=1, wakes=2)"


# -- planted bugs: each is found, and in the same scenario nothing is wrong without it ---------------------------------


def counting(name: str, bug: str) -> Maker:
    """A careful increment, with one thing wrong."""

    def steps() -> Steps[None]:
        there = yield Load(KEY)
        doubted: int | None = None
        for again in range(4):
            expected: Any = ANY if bug == "overwrites" else there.revision
            write_id = f"{name}{again}" if bug == "a new name for each try" else name
            guard = None if bug == "does not ask whose turn it is" else Guard(TURN, VACANT)
            try:
                yield Swap(KEY, b"%d" % (int(there.value) + 1), expected, None, guard, write_id)
                return
            except VersionConflictError as conflict:
                if bug == "takes a conflict for success":
                    return
                there = conflict.current
            except OutcomeUnknownError:
                doubted = there.revision
                there = yield Load(KEY)
            if bug == "tries again without a look":
                continue
            if there.write_id == write_id:
                return
            sure = bug in {"takes a change for not applied", "a new name for each try"}
            if doubted not in {None, there.revision} and not sure:
                raise OutcomeUnknownError("store", "somebody wrote since")
        raise OutcomeUnknownError("store", "too many tries")

    return steps


def creating(name: str, bug: str) -> Maker:
    """A careful creation."""

    def steps() -> Steps[None]:
        for _ in range(2):
            try:
                yield Swap(KEY, b"1", ABSENT, None, None, name)
                return
            except OutcomeUnknownError:
                there = yield Load(KEY)
                if there is not None and there.write_id == name:
                    return
                if bug != "creates again what has come and gone":
                    raise

    return steps


def consuming(_name: str, _bug: str) -> Maker:
    """One who takes away what was created."""

    def steps() -> Steps[bool]:
        there = yield Load(KEY)
        return bool(there is not None and (yield Remove(KEY, there.revision)))

    return steps


def in_turn(name: str, bug: str) -> Maker:
    """An increment by whoever has the turn, without any compare-and-set."""

    def steps() -> Steps[int]:
        turn = yield from take_turn(TURN, name, 2.0)
        try:
            there = yield Load(KEY)
            if bug == "asks before the write whether the turn is over":
                held = yield Load(TURN)
                if held is None or held.expired or held.revision != turn.token:
                    raise GuardRefusedError(KEY, turn.guard, held)
            guard = turn.guard if bug in {"", "ends whatever turn there is", "does not ask whose turn it is"} else None
            yield Swap(KEY, b"%d" % (int(there.value) + 1), ANY, None, guard, name)
        finally:
            if bug == "ends whatever turn there is":
                yield Remove(TURN, ANY)
            else:
                yield from leave_turn(turn)
        return turn.token

    return steps


def lined_up(name: str, bug: str) -> Maker:
    """Taking a turn, in short."""

    def steps() -> Steps[tuple[int, int]]:
        ticket = f"{TURN}\0{name}"
        mine: int = (yield Swap(ticket, b"", VACANT, 2.0, None, name)).revision
        while True:
            tickets = yield Scan(f"{TURN}\0")
            ahead = [(seen.revision, key) for key, seen in tickets if seen.revision < mine]
            if ahead and bug != "pays no heed to who was first":
                yield Wait(max(ahead)[1], max(ahead)[0], 0.5)
            else:
                try:
                    ttl = None if bug == "a turn without an end" else 2.0
                    taken = yield Swap(TURN, b"", VACANT, ttl, None, name)
                    break
                except VersionConflictError as conflict:
                    yield Wait(TURN, conflict.revision, 0.5)
            yield Extend((Beat(ticket, mine, 2.0),))
        if bug != "keeps the ticket":
            yield Remove(ticket, mine)
        yield from leave_turn(Turn(TURN, taken.revision))
        return mine, taken.revision

    return steps


def counted(view: View) -> str | None:
    """What was acknowledged is counted, nothing twice."""
    known = sum(client.state == "returned" for client in view.clients)
    final = int(view.value(KEY) or b"0")
    return None if known <= final <= len(view.clients) else f"{known} acknowledged, {final} counted"


def created_once(view: View) -> bool:
    """It is there, or was taken away."""
    return (view.value(KEY) is not None) + bool(view.clients[1].value) <= 1


def refused_only_where_a_turn_ran_out(view: View) -> bool:
    """One lease that runs out costs one client his write."""
    return sum(isinstance(client.error, GuardRefusedError) for client in view.clients) <= view.faults.expiries


def served_in_order(view: View) -> bool:
    """By ticket."""
    served = sorted(client.value for client in view.clients if client.state == "returned")
    return served == sorted(served, key=lambda each: each[1])


def at_once(view: View) -> bool:
    """Without waiting for time to pass."""
    return view.rests == 0


LOST, LATE, EXPIRY = Faults(lost_replies=1), Faults(late_requests=1), Faults(expiries=1)

BUGS: list[tuple[str, list[Any], Faults, Any]] = [
    ("overwrites", [counting] * 2, Faults(), counted),
    ("takes a conflict for success", [counting] * 2, Faults(), counted),
    ("tries again without a look", [counting], LOST, counted),
    ("takes a change for not applied", [counting] * 2, LOST, counted),
    ("a new name for each try", [counting], LATE, counted),
    ("creates again what has come and gone", [creating, consuming], LOST, created_once),
    ("creates again what has come and gone", [creating, consuming], LATE, created_once),
    ("does not ask whose turn it is", [counting, in_turn], Faults(), counted),
    ("is not guarded by the turn", [in_turn] * 2, EXPIRY, counted),
    ("asks before the write whether the turn is over", [in_turn] * 2, EXPIRY, counted),
    ("ends whatever turn there is", [in_turn] * 2, EXPIRY, refused_only_where_a_turn_ran_out),
    ("a turn without an end", [lined_up] * 2, Faults(crashes=1), None),
    ("keeps the ticket", [lined_up] * 2, Faults(), at_once),
    ("pays no heed to who was first", [lined_up] * 2, Faults(), served_in_order),
]


def scenario(bug: str, makers: list[Any], faults: Faults, check: Any) -> Explored:
    """All of it."""
    records = {} if creating in makers else {KEY: b"0"}
    clients = {name: maker(name, bug) for name, maker in zip("ab", makers, strict=False)}
    return Interleavings(clients, records=records, faults=faults, at_end=check).explore()


@pytest.mark.parametrize(
    ("bug", "makers", "faults", "check"), BUGS, ids=[f"{bug}-{faults}" for bug, _, faults, _ in BUGS]
)
def test_a_planted_bug_is_found(bug: str, makers: list[Any], faults: Faults, check: Any) -> None:
    found = scenario(bug, makers, faults, check)
    right = scenario("", makers, faults, check)
    print(f"{bug}, {faults}: found after {found.states} states; without it {right}")
    assert len(found.violations) == 1
    right.assert_none()


# -- the explorer itself -----------------------------------------------------------------------------------------------


def ends_one_by_one(state: State, moves: Moves, ends: list[State]) -> None:
    """Follow every schedule by itself, to its end."""
    if state.has_ended and not state.late:
        ends.append(state)
    for _, after in moves.of(state):
        ends_one_by_one(after, moves, ends)


@pytest.mark.parametrize(
    "faults",
    [Faults(), Faults(crashes=1), Faults(late_requests=1), Faults(lost_replies=1, stops=1), Faults(interrupts=1)],
    ids=repr,
)
def test_what_is_followed_as_one_leads_to_the_same_ends(faults: Faults) -> None:
    """As many runs, and the same ends, as when each schedule is followed by itself."""
    makers = [counting("a", ""), counting("b", "")]
    found = Interleavings(makers, records={KEY: b"0"}, faults=faults).explore()
    model = Model(ticks=True)
    moves = Moves(model, Histories(["a", "b"], makers), faults)
    start = State(model.start({KEY: b"0"}), (moves.start(0), moves.start(1)), (), faults.budget, 0, None)
    ends: list[State] = []
    ends_one_by_one(start, moves, ends)
    assert len(ends) == found.runs
    reached: set[Any] = set()
    Interleavings(
        makers, records={KEY: b"0"}, faults=faults, at_end=lambda view: reached.add(summary(view._state))
    ).explore().assert_none()
    assert reached >= {summary(end) for end in ends}


def summary(state: State) -> object:
    """How it ended."""
    told = tuple((client.condition, type(client.point.error).__name__) for client in state.clients)
    return tuple(state.content.records.items()), told


def test_a_client_that_yields_nothing_is_not_taken_for_one_that_did_well() -> None:
    """Whoever forgets to yield would see a green light that means nothing."""

    def forgot() -> None:
        """No `yield` in it."""

    client: Any = forgot
    with pytest.raises(TypeError, match="client 1 is no protocol"):
        Interleavings([client]).explore()


def test_a_client_that_yields_no_step_is_told_so() -> None:
    def wrong() -> Any:
        yield "load"

    with pytest.raises(TypeError, match="must yield steps, such as Load"):
        Interleavings([wrong]).explore()
