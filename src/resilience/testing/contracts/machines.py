"""State machines: whole programs of verbs on two instances, each answer compared with the plain model's.

Two of them, one for data and one for leases, over few keys and few durations: a program finds the odd case only if it
keeps coming back to the same record. The named clauses are what catches a mistake for certain; these look for what
nobody thought of. A run that never came to what it is there for (a renewal that succeeded, a zombie that was refused)
has proven nothing, and says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from resilience._core.records import ANY, VACANT, Beat, Guard
from resilience.testing.contracts.bench import TICK, Bench
from resilience.testing.contracts.clauses import Subject, register
from resilience.testing.contracts.machine import LONG, StoreMachine, instances
from resilience.testing.strategies import durations, keys, values


__all__ = ["DataMachine", "LeaseMachine", "run_machine"]

#: A store may be slow, and a rule may have nothing to do.
_SUPPRESSED = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)

#: How often a run may start again that did not come to everything.
_BATCHES = 10

_expectations = st.sampled_from(["right", "right", "any", "vacant", "absent", "stale", "future", "seen", "unseen"])
_picks = st.integers(0, 3)
#: Seconds, exact in binary; few, so that expiries meet, and longer than the waits, so that most leases are held.
_ttls = st.sampled_from([0.5, 1.0, 1.5, 2.0, 8.0])
_waits = st.sampled_from([1 / 16, 0.5, 1.0, 1.5])
_data_keys = st.sampled_from(["a", "A", "a%"])  # which a folded case, or a pattern, takes for one another
_values = st.sampled_from([b"", b"x", b"y\0"])
_names = st.sampled_from([None, "one", "two"])


class DataMachine(StoreMachine):
    """Values, expectations, revisions, scans; nothing expires."""

    all_keys: ClassVar[tuple[str, ...]] = ("a", "A", "a%")
    goals: ClassVar[tuple[str, ...]] = (
        "a write by its revision",
        "a conflict",
        "a write after a removal",
        "a removal",
        "a second page",
    )

    @rule(who=instances, key=_data_keys, value=_values, how=_expectations, pick=_picks, name=_names)
    def writes(self, who: int, key: str, value: bytes, how: str, pick: int, name: str | None) -> None:
        """Expecting this or that."""
        there, before = key in self.model.rows, self.model.last(key)
        wrote = self.put(who, key, value, self.expected(how, key, pick), write_id=name)
        self.reach("a write by its revision", wrote and there and how == "right")
        self.reach("a conflict", not wrote)
        self.reach("a write after a removal", wrote and not there and before > 0)

    @rule(who=instances, key=_data_keys, how=_expectations, pick=_picks)
    def removes(self, who: int, key: str, how: str, pick: int) -> None:
        """Expecting this or that."""
        self.remove(who, key, self.expected(how, key, pick))

    @precondition(lambda self: len(self.model.rows) > 1)
    @rule(who=instances, how=st.sampled_from(["right", "any", "seen"]), pick=_picks)
    def removes_what_is_there(self, who: int, how: str, pick: int) -> None:
        """Expecting what is so."""
        keys = sorted(self.model.rows)
        key = keys[pick % len(keys)]
        self.reach("a removal", self.remove(who, key, self.expected(how, key, pick)))

    @rule(
        who=instances,
        prefix=st.sampled_from(["", "a", "a%", "_"]),
        after=st.sampled_from(["", "A", "a"]),
        limit=st.integers(1, 3),
    )
    def scans(self, who: int, prefix: str, after: str, limit: int) -> None:
        """A page, from anywhere."""
        self.scan(who, prefix, after, limit, expired=False)
        self.reach("a second page", after != "" and bool(self.model.page(prefix, after, limit, expired=False)))


_lease_keys = st.sampled_from(["lease", "other"])
_takings = st.sampled_from(["vacant", "vacant", "vacant", "right", "seen", "unseen", "absent"])
_guards = st.sampled_from(["token", "token", "vacant"])


class LeaseMachine(StoreMachine):
    """Leases that are taken, renewed, taken over and given back, and writes that they guard, while time passes."""

    all_keys: ClassVar[tuple[str, ...]] = ("lease", "other", "document")
    goals: ClassVar[tuple[str, ...]] = (
        "a lease taken", "a lease taken over", "a renewal", "a renewal lost", "a guarded write",
        "a zombie refused", "a write while vacant", "a lease given back",
    )  # fmt: skip

    @rule(who=instances, key=_lease_keys, ttl=_ttls, how=_takings)
    def takes(self, who: int, key: str, ttl: float, how: str) -> None:
        """A lease that is vacant, or seems to be."""
        took = self.put(who, key, b"%d" % who, self.expected(how, key, 0), ttl, write_id=f"holder {who}")
        self.reach("a lease taken", took)

    @precondition(lambda self: bool(self.over() or (self.bench.virtual and self.edges())))
    @rule(who=instances, ttl=_ttls, how=st.sampled_from(["vacant", "seen", "unseen"]), pick=_picks)
    def takes_over(self, who: int, ttl: float, how: str, pick: int) -> None:
        """A lease that has expired; if none has, as soon as one does."""
        if not self.over():
            self._pass(self.edges()[0] - self.model.now)
        key = self.over()[pick % len(self.over())]
        took = self.put(who, key, b"%d" % who, self.expected(how, key, pick), ttl, write_id=f"heir {who}")
        self.reach("a lease taken over", took)

    @precondition(lambda self: bool(self.held()))
    @rule(who=instances, ttl=_ttls, pick=_picks)
    def renews(self, who: int, ttl: float, pick: int) -> None:
        """A lease that is held."""
        key = self.held()[pick % len(self.held())]
        self.reach("a renewal", self.extend(who, Beat(key, self.model.last(key), ttl)))

    @rule(who=instances, key=_lease_keys, ttl=_ttls, pick=_picks)
    def beats(self, who: int, key: str, ttl: float, pick: int) -> None:
        """For a lease that is held, or was."""
        renewed = self.extend(who, Beat(key, self.token(key, pick), ttl))
        self.reach("a renewal lost", not renewed)

    @rule(who=instances, ttl=_ttls, one=_picks, two=_picks)
    def beats_both(self, who: int, ttl: float, one: int, two: int) -> None:
        """Several at once, of which one is no lease."""
        beats = [Beat("lease", self.token("lease", one), ttl), Beat("other", self.token("other", two), ttl)]
        self.extend(who, *beats, Beat("document", self.token("document", 3), ttl))

    @precondition(lambda self: bool(self.held()))
    @rule(who=instances, how=st.sampled_from(["any", "right", "absent"]), pick=_picks)
    def writes_as_holder(self, who: int, how: str, pick: int) -> None:
        """Under a lease that is held."""
        key = self.held()[pick % len(self.held())]
        guard = Guard(key, self.model.revision(key))
        self.reach(
            "a guarded write", self.put(who, "document", b"held", self.expected(how, "document", pick), guard=guard)
        )

    @precondition(lambda self: bool(self.stale()))
    @rule(who=instances, how=st.sampled_from(["any", "right", "absent"]), pick=_picks)
    def writes_as_zombie(self, who: int, how: str, pick: int) -> None:
        """Under a lease that was held once; through either instance, for one of them may remember that it was."""
        key, token = self.stale()[-1 - pick % len(self.stale())]
        for instance in (who, 1 - who):
            expected = self.expected(how, "document", pick)
            wrote = self.put(instance, "document", b"zombie", expected, guard=Guard(key, token))
            self.reach("a zombie refused", not wrote)

    @precondition(lambda self: bool(self.model.tokens))
    @rule(who=instances, key=_lease_keys, pick=_picks)
    def writes_if_vacant(self, who: int, key: str, pick: int) -> None:
        """While nobody has the lease; mostly one that has expired."""
        guard = Guard(self.over()[pick % len(self.over())] if self.over() else key, VACANT)
        wrote = self.put(who, "document", b"vacant", self.expected("any", "document", pick), guard=guard)
        self.reach("a write while vacant", wrote)

    @rule(
        who=instances, key=_lease_keys, what=st.sampled_from(["lease", "other", "document"]), kind=_guards, pick=_picks
    )
    def removes_guarded(self, who: int, key: str, what: str, kind: str, pick: int) -> None:
        """Under whatever lease."""
        self.remove(who, what, ANY, Guard(key, VACANT if kind == "vacant" else self.token(key, pick)))

    @rule(who=instances, key=_lease_keys, ttl=_ttls, pick=_picks)
    def rewrites_guarded_by_itself(self, who: int, key: str, ttl: float, pick: int) -> None:
        """The lease itself, under its own token."""
        self.put(who, key, b"self", ANY, ttl, Guard(key, self.token(key, pick)))

    @rule(who=instances, key=_lease_keys, pick=_picks)
    def gives_back(self, who: int, key: str, pick: int) -> None:
        """By a token that is the lease's, or was."""
        self.reach("a lease given back", self.remove(who, key, self.token(key, pick)))

    @rule(who=instances, limit=st.integers(1, 3), expired=st.booleans())
    def scans(self, who: int, limit: int, expired: bool) -> None:
        """A page, from anywhere."""
        self.scan(who, "", "", limit, expired=expired)

    @precondition(lambda self: self.bench.virtual is not None)
    @rule(seconds=_waits)
    def time_passes(self, seconds: float) -> None:
        """A while."""
        self._pass(seconds)

    @precondition(lambda self: self.bench.virtual is not None and self.edges())
    @rule(before=st.booleans(), pick=_picks)
    def time_comes_to_an_edge(self, before: bool, pick: int) -> None:
        """To the moment at which something expires, or one tick before."""
        edges = self.edges()
        self._pass(max(0.0, edges[pick % len(edges)] - self.model.now - before * TICK))

    def held(self) -> list[str]:
        """The leases that are held."""
        return [key for key in ("lease", "other") if not self.model.vacant(key)]

    def over(self) -> list[str]:
        """The leases that have expired."""
        return [key for key in ("lease", "other") if self.model.expired(key)]

    def stale(self) -> list[tuple[str, int]]:
        """Leases with tokens that once were theirs: those of holders who do not know it yet."""
        tokens = [(key, token) for key in ("lease", "other") for token in self.model.tokens.get(key, [])]
        return [(key, token) for key, token in tokens if self.model.vacant(key) or self.model.revision(key) != token]

    def edges(self) -> list[float]:
        """When something will expire."""
        return sorted(
            {row.until for row in self.model.rows.values() if row.until is not None and row.until > self.model.now}
        )

    def _pass(self, seconds: float) -> None:
        self.bench.advance(seconds)
        self.model.now += seconds
        self.bench.trail.append(f"{seconds:g} s pass: {self.model.now:g} s")


def _settings(subject: Subject) -> settings:
    return settings(
        max_examples=subject.max_examples,
        stateful_step_count=40,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=_SUPPRESSED,
    )


def run_machine(machine: type[DataMachine | LeaseMachine], subject: Subject) -> Counter[str]:
    """Try many programs; what they came to."""
    reached = Counter[str]()
    bound: Any = type(machine.__name__, (machine,), {"subject": subject, "reached": reached})
    # Where nothing is left to chance, every batch would be the same programs.
    derandomized = settings.default is not None and settings.default.derandomize
    sown: Callable[[int], Callable[[Any], Any]] = seed if derandomized else lambda _: lambda test: test
    never: list[str] = []
    for batch in range(_BATCHES):
        run_state_machine_as_test(sown(batch)(bound), settings=_settings(subject))
        never = [goal for goal in machine.goals if not reached[goal]]
        if not never:
            return reached
    programs = f"{_BATCHES} times {subject.max_examples} programs"
    raise AssertionError(f"{programs} never came to {', '.join(never)}: nothing is proven of it; raise max_examples")


def data_machine(subject: Subject) -> None:
    """Programs of writes, removals and scans by two instances are answered as by a dictionary."""
    run_machine(DataMachine, subject)


def lease_machine(subject: Subject) -> None:
    """Programs of leases, beats and guarded writes by two instances, to the edge of each expiry, are answered as by a dictionary."""
    run_machine(LeaseMachine, subject)


def anything_comes_back(subject: Subject) -> None:
    """Any key and any value, with any TTL, come back as they were, and go."""
    with Bench(subject) as bench:

        @_settings(subject)
        @given(keys(), values(), st.none() | durations())
        def comes_back(key: str, value: bytes, ttl: float | None) -> None:
            lasting = ttl if ttl is None or bench.virtual is not None else LONG
            written = bench.store.put(key, value, ttl=lasting)
            bench.expect((written.value, written.ttl), (value, lasting), "value and ttl as they were written")
            bench.shows(bench.store, key, "value and ttl", value=value, revision=written.revision, ttl=lasting)
            bench.expect([found for found, _ in bench.store.scan(key, limit=1)], [key], "scan under the key itself")
            bench.expect(bench.store.remove(key, written.revision), True, "remove")

        comes_back()


register(data_machine, (), data_machine)
register(lease_machine, (), lease_machine)
register(anything_comes_back, (), anything_comes_back)
