"""The checker against all permutations; what it finds in histories of stores with planted bugs; how it says so."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest
from attrs import evolve
from typing_extensions import override

from resilience._core.records import ABSENT, ANY, VACANT, Seen, Versioned
from resilience._core.steps import Load, Remove, Swap, Verb
from resilience.errors import ConfigError, GuardRefusedError, OutcomeUnknownError, VersionConflictError
from resilience.stores import MemoryStore
from resilience.testing import VirtualClock, virtual_time
from resilience.testing.history import History, Operation
from resilience.testing.linearizable import Linearizability, check_linearizable
from resilience.testing.models import CasRegister, Model, VersionedRegister
from resilience.testing.versions import check_increments, check_versions, version_violations


# -- against all permutations -----------------------------------------------------------------------------------------


def in_every_order(operations: Sequence[Operation], model: Model, state: Any) -> bool:
    """The definition: try every order, with every choice of pending operations; nothing is remembered or skipped."""
    if all(operation.pending for operation in operations):
        return True
    for operation in operations:
        if any(other.returned is not None and other.returned < operation.called for other in operations):
            continue
        after = model.step(state, operation)
        rest = [other for other in operations if other is not operation]
        if after is not None and in_every_order(rest, model, after):
            return True
    return False


def some_history(
    rng: random.Random,
    lost: float,
    ask: Callable[[], tuple[str, Any]],
    answer: Callable[[str, Any], Any],
) -> list[Operation]:
    """A history that is linearizable: each operation takes effect at a random moment between its call and its return."""
    moment, clients, count = 0, 3, rng.randint(3, 6)
    operations: list[Operation] = []
    under_way: dict[int, tuple[Operation, bool]] = {}
    while len(operations) < count or under_way:
        client = rng.randrange(clients)
        moment += 1
        if client not in under_way:
            if len(operations) < count:
                op, arg = ask()
                operations.append(Operation(client, op, "key", arg, moment))
                under_way[client] = operations[-1], False
            continue
        operation, done = under_way[client]
        if rng.random() < lost:
            del under_way[client]  # nobody will ever know
        elif done:
            operation.returned = moment
            del under_way[client]
        else:
            operation.result = answer(operation.op, operation.arg)
            if isinstance(operation.result, VersionConflictError):
                operation.error, operation.result = VersionConflictError, operation.result.current
            under_way[client] = operation, True
    return operations


def cas_history(rng: random.Random) -> tuple[Model, list[Operation]]:
    value = [0]

    def ask() -> tuple[str, Any]:
        op = rng.choice(["read", "read", "write", "cas"])
        new = rng.randrange(2)
        return op, None if op == "read" else new if op == "write" else (rng.randrange(2), new)

    def answer(op: str, arg: Any) -> Any:
        if op == "read":
            return value[0]
        done = op == "write" or value[0] == arg[0]
        if done:
            value[0] = arg if op == "write" else arg[1]
        return done if op == "write" or done or rng.random() < 0.5 else VersionConflictError("key", 0)

    operations = some_history(rng, 0.15, ask, answer)
    if rng.random() < 0.6:
        for operation in rng.sample(operations, k=rng.randint(1, 2)):
            if not operation.pending and operation.op != "write":
                operation.error = None
                operation.result = rng.randrange(2) if operation.op == "read" else not operation.result
    return CasRegister(initial=0), operations


def store_history(rng: random.Random, *, lost: float = 0.15, again: float = 0.0) -> tuple[Model, list[Operation]]:
    """Of a store, whose answers are lost, and whose clients may send the same once more."""
    clock = VirtualClock()
    store = MemoryStore(clock)
    revisions: list[int] = [ABSENT]
    asked: list[tuple[str, Any]] = []
    alike = rng.random() < again

    def ask() -> tuple[str, Any]:
        expected: Any = rng.choice([*revisions[-2:], revisions[-1], ANY, VACANT, ABSENT, Seen(revisions[-1] or 1, 0)])
        op = rng.choice(["load", "load", "swap", "swap", "swap", "remove"])
        if op == "swap" and asked and rng.random() < again:
            return rng.choice(asked)
        if op == "load":
            return op, Load("key")
        if op == "remove":
            return op, Remove("key", expected)
        value = b"0" if alike else rng.choice([b"0", b"1"])
        write_id, ttl = rng.choice([None, None, "a", "b"]), rng.choice([None, None, 1.0])
        asked.append((op, Swap("key", value, expected, None if alike else ttl, None, None if alike else write_id)))
        return asked[-1]

    def answer(op: str, arg: Verb[Any]) -> Any:
        if rng.random() < 0.2:
            clock.advance(2)
        try:
            reply = arg.on(store)
        except VersionConflictError as conflict:
            return conflict
        if isinstance(reply, Versioned):
            revisions.append(reply.revision)
        return reply

    operations = some_history(rng, lost, ask, answer)
    if rng.random() < 0.5:
        corrupt(rng, operations, revisions)
    return VersionedRegister(), operations


def lost_history(rng: random.Random) -> tuple[Model, list[Operation]]:
    return store_history(rng, lost=0.3, again=0.6)


def corrupt(rng: random.Random, operations: list[Operation], revisions: list[int]) -> None:
    told = [operation for operation in operations if not operation.pending]
    for operation in rng.sample(told, k=min(len(told), rng.randint(1, 2))):
        if isinstance(operation.result, bool):
            operation.result = not operation.result
        elif operation.result is None:
            operation.result = Versioned(b"0", rng.choice(revisions) or 1)
        else:
            change = rng.choice(["value", "revision", "revision", "expired", "write_id", "gone"])
            if change == "gone" and not (isinstance(operation.arg, Swap) and operation.error is None):
                operation.result = None
            else:
                other = {
                    "value": b"1",
                    "revision": operation.result.revision + rng.choice([-1, 1]),
                    "expired": True,
                    "write_id": "a",
                }
                operation.result = evolve(operation.result, **{change: other.get(change)} if change != "gone" else {})


@pytest.mark.parametrize(
    ("histories", "count"),
    [(cas_history, 4000), (store_history, 4000), (lost_history, 8000)],
    ids=["cas", "store", "answers lost"],
)
def test_it_agrees_with_trying_every_order(histories: Any, count: int) -> None:
    rng = random.Random(1)
    seen: Counter[tuple[bool, bool]] = Counter()
    for _ in range(count):
        model, operations = histories(rng)
        right = in_every_order(operations, model, model.initial)
        found = check_linearizable(operations, model)
        assert found.ok is right, "\n".join([str(found), *map(repr, operations)])
        seen[right, any(operation.pending for operation in operations)] += 1
    # Right and wrong ones, with operations of unknown outcome and without.
    assert all(seen[right, pending] > count / 50 for right in (True, False) for pending in (True, False)), seen


def test_no_right_history_of_a_store_is_accused_without_a_search() -> None:
    rng = random.Random(2)
    accused = 0
    for _ in range(3000):
        model, operations = store_history(rng)
        if version_violations(operations):
            accused += 1
            assert not in_every_order(operations, model, model.initial), version_violations(operations)
    assert accused > 300


def test_the_same_write_sent_twice_was_done_by_the_earlier_one_where_the_later_came_too_late() -> None:
    again = Swap("key", b"b", 5, None, None, "b")
    first, second = Versioned(b"a", 5), Versioned(b"b", 6, write_id="b")
    operations = [
        Operation("c", "compare_and_set", "key", Swap("key", b"a", ABSENT), 0, 1, first),
        Operation("c", "compare_and_set", "key", again, 2),
        Operation("late", "load", "key", Load("key"), 3, 10, second),
        Operation("d", "compare_and_set", "key", Swap("key", b"c", 6), 4, 5, Versioned(b"c", 7)),
        Operation("c", "compare_and_set", "key", again, 6),
    ]
    assert in_every_order(operations, VersionedRegister(), VersionedRegister().initial)
    assert check_linearizable(operations, VersionedRegister())


def test_a_write_that_was_lost_for_good_is_not_needed_and_one_that_was_seen_is_known() -> None:
    history = History()
    store = history.wrap(Losing(MemoryStore(), before=False), client="Ada")
    with pytest.raises(OutcomeUnknownError):
        store.compare_and_set("key", b"1", expected=ABSENT, write_id="ada")
    assert check_linearizable(history, VersionedRegister())
    _, (unseen,) = VersionedRegister().prepared(history.operations)
    assert unseen.pending
    seen = store.load("key")
    assert check_linearizable(history, VersionedRegister())
    _, (written, _) = VersionedRegister().prepared(history.operations)
    assert (written.result, written.pending) == (seen, False)


# -- stores with bugs -------------------------------------------------------------------------------------------------


class Losing(MemoryStore):
    """Loses the answers to writes, before they are done or after."""

    def __init__(self, _: object = None, *, before: bool) -> None:
        super().__init__()
        self.before = before

    @override
    def _run(self, verb: Verb[Any]) -> Any:
        if isinstance(verb, Swap):
            if not self.before:
                super()._run(verb)
            raise OutcomeUnknownError("store", "the answer was lost")
        return super()._run(verb)


class Planted(MemoryStore):
    """A store with one bug, or none."""

    bug = ""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(VirtualClock())
        self.rng = rng
        self.past: list[Versioned[bytes] | None] = [None]
        self.late: list[Swap] = []

    @override
    def _run(self, verb: Verb[Any]) -> Any:
        now = super()._run
        strikes = self.rng.random() < 0.1
        if self.bug == "stale read" and strikes and isinstance(verb, Load):
            return self.past[-8:][0]
        if self.bug == "lost update" and strikes and isinstance(verb, Swap):
            verb = evolve(verb, expected=ANY)
        if self.bug == "phantom" and strikes and isinstance(verb, Load):
            there = now(verb)
            return there and evolve(there, value=b"phantom")
        if self.bug == "write applied again" and self.late:
            now(self.late.pop())
        before = now(Load("key"))
        reply = now(verb)
        if isinstance(verb, (Swap, Remove)):
            self.past.append(before)
        if self.bug == "write applied again" and strikes and isinstance(verb, Swap):
            self.late.append(evolve(verb, expected=ANY))
        if self.bug == "revision repeated" and isinstance(verb, Remove):
            self._shelf._floor = 0
        if self.bug == "write forgotten" and strikes and isinstance(verb, Swap):
            self._shelf.drop("key", self._shelf._records["key"])
        return reply


def client(history: History, store: Planted, name: int, rng: random.Random, count: int) -> Generator[None]:
    """Does some operations; wherever it yields, others may go on."""
    revision: int = ABSENT
    for number in range(count):
        op = rng.choice(["load", "swap", "swap", "swap", "remove"])
        verb: Verb[Any] = Load("key") if op == "load" else Remove("key", revision)
        if op == "swap":
            verb = Swap("key", str(number).encode(), revision, None, None, f"{name}-{number}")
        yield
        try:
            with history.recording(name, op, {"key": verb}) as (operation,):
                yield
                fate = rng.random()
                if fate < 0.01:
                    raise OutcomeUnknownError("store", "lost on the way there")
                operation.result = verb.on(store)
                yield
                if fate > 0.99:
                    raise OutcomeUnknownError("store", "lost on the way back")
            revision = operation.result.revision if isinstance(operation.result, Versioned) else ABSENT
        except VersionConflictError as conflict:
            revision = conflict.revision
        except OutcomeUnknownError:
            pass


def history_of(bug: str, seed: int, clients: int = 5, count: int = 60) -> History:
    rng = random.Random(seed)
    history, store = History(), Planted(rng)
    store.bug = bug
    running = [client(history, store, name, rng, count) for name in range(clients)]
    while running:
        one = rng.choice(running)
        if next(one, True):
            running.remove(one)
    return history


def test_histories_of_a_store_without_bugs_are_accepted() -> None:
    for seed in range(20):
        history = history_of("", seed)
        found = check_linearizable(history, VersionedRegister())
        assert found, found
        check_versions(history)


@pytest.mark.parametrize(
    "bug", ["stale read", "lost update", "phantom", "write applied again", "revision repeated", "write forgotten"]
)
def test_a_planted_bug_is_found(bug: str) -> None:
    without_a_search = 0
    for seed in range(5):
        history = history_of(bug, seed)
        found = check_linearizable(history, VersionedRegister())
        assert found.ok is False
        assert 0 < len(found.stuck) <= 5
        without_a_search += bool(version_violations(history))
    assert without_a_search >= 3


# -- registers --------------------------------------------------------------------------------------------------------


def written(*lines: tuple[Any, ...]) -> list[Operation]:
    """Operations from lines (client, op, arg, called, returned, result)."""
    return [Operation(client, op, "x", arg, called, *rest) for client, op, arg, called, *rest in lines]


def test_the_failure_says_what_cannot_come_next_and_where_it_stands() -> None:
    operations = written(
        ("Ada", "write", 1, 0, 1, None),
        ("Bob", "read", None, 2, 6, 0),
        ("Cleo", "read", None, 3, 5, 7),
        ("Dan", "write", 2, 4, None),
    )
    found = check_linearizable(operations, CasRegister(initial=0))
    assert (found.ok, found.key, found.explained, found.stuck) == (False, "x", 1, (operations[2], operations[1]))
    assert (
        str(found)
        == repr(found)
        == (
            "not linearizable at key 'x': after 1 operations there is value 1, and none of these can come next:\n"
            "  Cleo: read('x') -> 7  [3, 5]\n"
            "  Bob: read('x') -> 0  [2, 6]"
        )
    )
    assert not found


def test_at_most_five_operations_are_shown() -> None:
    many = [(name, "read", None, name, 100 + name, "phantom") for name in range(9)]
    assert len(check_linearizable(written(*many), CasRegister()).stuck) == 5


def test_a_write_of_unknown_outcome_may_be_done_late_or_never() -> None:
    lost = ("Ada", "write", 1, 0, None)
    for seen in ([0, 0], [0, 1], [1, 1]):
        reads = [("Bob", "read", None, 2 + 2 * at, 3 + 2 * at, value) for at, value in enumerate(seen)]
        assert check_linearizable(written(lost, *reads), CasRegister(initial=0))
    back = [("Bob", "read", None, 2, 3, 1), ("Bob", "read", None, 4, 5, 0)]
    assert not check_linearizable(written(lost, *back), CasRegister(initial=0))


@pytest.mark.parametrize(
    ("op", "arg", "possible"),
    [("cas", (0, 1), True), ("write", 1, True), ("read", None, True)],
)
def test_an_operation_that_was_refused_changes_nothing(op: str, arg: Any, possible: bool) -> None:
    (refused,) = written(("Ada", op, arg, 0, 1, None))
    refused.error = GuardRefusedError
    (read,) = written(("Bob", "read", None, 2, 3, 0))
    assert check_linearizable([refused, read], CasRegister(initial=0)).ok is possible
    read.result = 1
    assert not check_linearizable([refused, read], CasRegister(initial=0))


def test_a_conflict_says_that_the_value_was_another() -> None:
    (conflict,) = written(("Ada", "cas", (0, 1), 0, 1, None))
    conflict.error = VersionConflictError
    assert not check_linearizable([conflict], CasRegister(initial=0))
    assert check_linearizable([conflict], CasRegister(initial=2))


def test_each_key_is_an_object_of_its_own_unless_all_are_one() -> None:
    history = History()
    history.run("Ada", "write", "x", 1, lambda: None)
    history.run("Ada", "read", "y", None, lambda: None)
    assert check_linearizable(history, CasRegister()).operations == 2
    found = check_linearizable(history, CasRegister(), per_key=False)
    assert str(found).startswith("not linearizable: after 1 operations")


def test_nothing_at_all_is_linearizable() -> None:
    assert str(check_linearizable(History(), CasRegister())) == "linearizable: 0 operations"


class Counting(Model):
    """A counter that is only ever incremented, and says its new value: the least that a model can be."""

    initial = 0

    @override
    def step(self, state: int, operation: Operation) -> int | None:
        return state + 1 if operation.pending or operation.result == state + 1 else None


def test_a_model_of_ones_own_needs_only_its_steps() -> None:
    counted = [
        ("Ada", "increment", None, 0, 9, 2),
        ("Bob", "increment", None, 1, 8, 1),
        ("Cleo", "increment", None, 2, None),
    ]
    assert check_linearizable(written(*counted), Counting())
    twice = [*counted, ("Dan", "increment", None, 10, 11, 5)]
    assert str(check_linearizable(written(*twice), Counting())).startswith(
        "not linearizable at key 'x': after 2 operations there is 2"
    )
    with pytest.raises(NotImplementedError):
        Model().step(0, *written(counted[0]))


# -- undecided --------------------------------------------------------------------------------------------------------


def too_hard() -> list[Operation]:
    """Forty writes at once, and then a value that none of them wrote."""
    writes = [(name, "write", name, name, 100 + name, None) for name in range(40)]
    return written(*writes, ("last", "read", None, 200, 201, -1))


def test_an_undecided_check_is_neither_true_nor_false() -> None:
    with virtual_time():  # the limit is one of real time
        found = check_linearizable(too_hard(), CasRegister(), time_limit=0.05)
    assert found.ok is None
    with pytest.raises(TimeoutError, match="undecided at key 'x': 41 operations were too many for the time limit"):
        bool(found)


@pytest.mark.parametrize("count", [1, 99], ids=["a short one", "a long one"])
def test_one_undecided_key_does_not_hide_that_another_is_wrong(count: int) -> None:
    wrong = written(*[("Ada", "read", None, 2 * at, 2 * at + 1, "phantom") for at in range(count)])
    for operation in wrong:
        operation.key = "y"
    found = check_linearizable([*too_hard(), *wrong], CasRegister(), time_limit=0.1)
    assert (found.ok, found.key) == (False, "y")


def test_many_short_keys_leave_a_long_one_its_time() -> None:
    long = history_of("", 1, clients=6, count=300).operations
    short = [Operation("Ada", "load", number, Load("key"), 0, 1) for number in range(1000)]
    assert check_linearizable([*long, *short], VersionedRegister(), time_limit=5)


def test_a_short_history_is_decided_however_late_it_is() -> None:
    assert check_linearizable(history_of("", 1, clients=2, count=5), VersionedRegister(), time_limit=1e-9)


def test_a_time_limit_is_above_zero() -> None:
    with pytest.raises(ConfigError, match="time_limit"):
        check_linearizable([], CasRegister(), time_limit=0)


def test_the_outcome_stays_as_it_is() -> None:
    with pytest.raises(AttributeError):
        Linearizability(True, 0).ok = False  # type: ignore[misc]


# -- without a search -------------------------------------------------------------------------------------------------


def swapped(
    revision: int, expected: Any = ANY, value: bytes = b"v", write_id: str | None = None
) -> tuple[str, Any, Any]:
    return (
        "compare_and_set",
        Swap("x", value, expected, None, None, write_id),
        Versioned(value, revision, write_id=write_id),
    )


def loaded(revision: int | None, value: bytes = b"v") -> tuple[str, Any, Any]:
    return "load", Load("x"), None if revision is None else Versioned(value, revision)


def perishable(revision: int) -> tuple[str, Any, Any]:
    return "compare_and_set", Swap("x", b"v", ANY, 1.0), Versioned(b"v", revision, ttl=1.0, expires_in=1.0)


def removed(done: bool, expected: Any = ANY) -> tuple[str, Any, Any]:
    return "remove", Remove("x", expected), done


def one_by_one(*operations: tuple[str, Any, Any]) -> list[Operation]:
    return [Operation("c", op, "x", arg, 2 * at, 2 * at + 1, result) for at, (op, arg, result) in enumerate(operations)]


@pytest.mark.parametrize(
    ("operations", "violation"),
    [
        ([swapped(1), swapped(2), loaded(1)], "back from revision 2"),
        ([swapped(2), swapped(1)], "not above revision 2"),
        ([swapped(1), swapped(1)], "revision 1 was given twice"),
        ([swapped(1), loaded(1, b"w")], "not what was written"),
        ([loaded(1), swapped(1)], "not what was written"),
        ([swapped(1), loaded(2)], "nobody wrote what was found"),
        ([swapped(1), swapped(2), swapped(3, expected=1)], "revision 2 was overwritten unseen"),
        ([swapped(1), loaded(None)], "gone, and nobody removed it"),
        ([swapped(1), removed(False)], "gone, and nobody removed it"),
        ([("compare_and_set", Swap("x", b"v", ANY), Versioned(b"w", 1))], "not what was to be written"),
    ],
)
def test_a_violation_is_found_without_a_search(operations: list[tuple[str, Any, Any]], violation: str) -> None:
    history = one_by_one(*operations)
    assert any(one.startswith(violation) for one in version_violations(history))
    assert not check_linearizable(history, VersionedRegister())


@pytest.mark.parametrize(
    "operations",
    [
        [
            swapped(1),
            swapped(2, expected=1),
            loaded(2),
            removed(True),
            loaded(None),
            removed(False),
            swapped(3, ABSENT),
        ],
        [removed(False), loaded(None), swapped(5, VACANT), loaded(5)],
    ],
)
def test_what_stores_may_do_violates_nothing(operations: list[tuple[str, Any, Any]]) -> None:
    assert version_violations(one_by_one(*operations)) == []
    assert check_linearizable(one_by_one(*operations), VersionedRegister())


@pytest.mark.parametrize(
    ("verb", "there"),
    [
        (Swap("x", b"w", ANY), Versioned(b"v", 1)),
        (Swap("x", b"w", 1), Versioned(b"v", 1)),
        (Swap("x", b"w", Seen(1, 0)), Versioned(b"v", 1)),
        (Swap("x", b"w", VACANT), None),
        (Swap("x", b"w", VACANT), Versioned(b"v", 1, expired=True)),
        (Swap("x", b"w", ABSENT), None),
        (Remove("x", 1), None),
        (Remove("x", ANY), Versioned(b"v", 1)),
    ],
)
def test_a_conflict_where_there_is_none_is_a_bug(verb: Any, there: Versioned[bytes] | None) -> None:
    conflict = Operation("c", "op", "x", verb, 10, 11, there, VersionConflictError)
    before = (
        one_by_one() if there is None else one_by_one(("op", Swap("x", b"v", ANY, 1.0), evolve(there, expired=False)))
    )
    assert not check_linearizable([*before, conflict], VersionedRegister())
    conflict.arg = evolve(verb, expected=7)
    possible = there is not None or not isinstance(verb, Remove)
    assert check_linearizable([*before, conflict], VersionedRegister()).ok is possible


@pytest.mark.parametrize(
    ("operations", "right"),
    [
        ([swapped(1), swapped(2, VACANT)], False),
        ([perishable(1), swapped(2, VACANT)], True),
        ([perishable(1), swapped(2, ABSENT)], False),
        ([swapped(1), ("load", Load("x"), Versioned(b"v", 1, expired=True))], False),
        ([perishable(1), ("load", Load("x"), Versioned(b"v", 1, expired=True))], True),
        ([swapped(1), swapped(2, Seen(1, 5))], True),
        ([swapped(1), swapped(3, Seen(2, 0))], False),
        ([swapped(1), removed(True, 2)], False),
        ([swapped(1), removed(True, 1), swapped(2, VACANT)], True),
        ([swapped(1), removed(True, 1), swapped(1, VACANT)], False),
        ([removed(True)], False),
        ([removed(True, ABSENT)], False),
        ([swapped(7, 6)], False),
    ],
)
def test_a_record_is_vacant_only_where_there_is_none_or_it_may_have_expired(
    operations: list[tuple[str, Any, Any]], right: bool
) -> None:
    assert check_linearizable(one_by_one(*operations), VersionedRegister()).ok is right
    assert right is False or version_violations(one_by_one(*operations)) == []


def test_what_was_found_of_a_lost_write_was_written_by_it_if_it_was_sent_before() -> None:
    lost = Operation("c", "compare_and_set", "x", Swap("x", b"v", ANY), 0)
    (found,) = one_by_one(loaded(1))
    found.called, found.returned = 5, 6
    assert version_violations([lost, found]) == []
    lost.called = 7
    assert len(version_violations([found, lost])) == 1


def test_a_removal_of_unknown_outcome_explains_that_a_record_is_gone() -> None:
    operations = one_by_one(swapped(1), removed(True), loaded(None))
    operations[1].returned, operations[1].result = None, None
    assert version_violations(operations) == []


def test_the_failure_counts_all_violations_and_shows_five() -> None:
    history = one_by_one(swapped(9), *[loaded(1)] * 7)
    with pytest.raises(AssertionError) as failure:
        check_versions(history)
    first, *lines = str(failure.value).splitlines()
    assert first == "14 violations of what revisions promise:"
    assert len(lines) == 5


def test_operations_that_are_not_of_a_store_have_no_revisions() -> None:
    check_versions(written(("Ada", "write", 1, 0, 1, None)))


@pytest.mark.parametrize(("final", "right"), [(2, False), (3, True), (4, True), (7, True), (8, False)])
def test_increments_are_counted_once_and_unknown_ones_at_most_once(final: int, right: bool) -> None:
    history = History()
    history.run("Ada", "increment", "seats", 2, lambda: None)
    history.run("Ada", "increment", "seats", None, lambda: None)
    history.run("Ada", "read", "seats", None, lambda: None)
    history.run("Ada", "increment", "other", 100, lambda: None)

    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(OutcomeUnknownError):
        history.run("Bob", "increment", "seats", 4, lambda: fail(OutcomeUnknownError("store", "lost")))
    with pytest.raises(VersionConflictError):
        history.run("Bob", "increment", "seats", 50, lambda: fail(VersionConflictError("seats", 0)))
    if right:
        check_increments(history, start=0, final=final, key="seats")
    else:
        with pytest.raises(
            AssertionError, match=f"from 0 to {final} are {final}, but 3 were acknowledged and 4 are unknown"
        ):
            check_increments(history, start=0, final=final, key="seats")
    with pytest.raises(AssertionError):
        check_increments(history, start=0, final=final)
