"""What state machines over a store share: each verb on either of two instances, compared with the plain model's answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from typing_extensions import override

from resilience._core.records import ABSENT, ANY, VACANT, Beat, Expected, Guard, Seen, Versioned
from resilience.errors import GuardRefusedError, VersionConflictError
from resilience.testing.contracts.bench import TICK, Bench, Handle
from resilience.testing.contracts.clauses import Subject
from resilience.testing.contracts.model import Model


__all__ = ["LONG", "StoreMachine", "instances"]

#: Which of two instances does it.
instances: st.SearchStrategy[int] = st.sampled_from([0, 1])

#: Seconds, where time is real: a lease lasts for as good as ever, or is over before the next step.
LONG: Final = 600.0
BLINK: Final = TICK


class StoreMachine(RuleBasedStateMachine):
    """A bench, the model, and each verb with its comparison; the rules are its subclasses'."""

    subject: ClassVar[Subject]
    reached: ClassVar[Counter[str]]
    all_keys: ClassVar[tuple[str, ...]]
    goals: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.bench: Bench = Bench(self.subject)
        self.bench.__enter__()
        try:
            self.stores: list[Handle] = [self.bench.store, self.bench.another_or_the_same()]
        except BaseException:
            self.bench.__exit__(None, None, None)
            raise
        self.model: Model = Model()
        self.turn: int = 0

    @override
    def teardown(self) -> None:
        self.bench.__exit__(None, None, None)

    # -- each verb, compared -----------------------------------------------------------------------------------------

    def put(
        self, who: int, key: str, value: bytes, expected: Expected, ttl: float | None = None, guard: Guard | None = None,
        write_id: str | None = None,
    ) -> bool:  # fmt: skip
        """Write; whether it was written."""
        store, given = self.stores[who], bytearray(value)
        lasting = self._lasting(ttl)
        answer = self._judged(
            lambda: store.put(key, given, expected, ttl=lasting, guard=guard, write_id=write_id), key, expected, guard
        )
        given[:] = b"changed"
        if isinstance(answer, Exception):
            return False
        last = self.model.last(key)
        self.bench.require(answer.revision > last, f"a revision of {key!r} must be above {last}, not {answer.revision}")
        self.model.write(key, value, answer.revision, lasting, write_id)
        self._same(key, answer)
        self._settle(ttl)
        return True

    def remove(self, who: int, key: str, expected: Expected, guard: Guard | None = None) -> bool:
        """Remove; whether it was removed."""
        there = key in self.model.rows
        answer = self._judged(lambda: self.stores[who].remove(key, expected, guard), key, expected, guard, removal=True)
        if isinstance(answer, Exception):
            return False
        self.bench.expect(answer, there, f"remove of {key!r}")
        self.model.rows.pop(key, None)
        return there

    def extend(self, who: int, *beats: Beat) -> int:
        """Renew; how many were renewed."""
        lasting = [Beat(beat.key, beat.token, self._lasting(beat.ttl) or 0.0) for beat in beats]
        lost = self.stores[who].extend(*lasting)
        renewed = [self.model.beat(beat) for beat in lasting]
        wanted = frozenset(beat.key for beat, kept in zip(lasting, renewed, strict=True) if not kept)
        self.bench.expect(lost, wanted, "the leases that were lost")
        for beat in beats:
            self._settle(beat.ttl)
        return sum(renewed)

    @rule(who=instances)
    def loads_many(self, who: int) -> None:
        """Every key, and one that is not there."""
        found = self.stores[who].load_many([*self.all_keys, "missing"])
        self.bench.expect(set(found), {*self.all_keys, "missing"}, "the keys of load_many")
        for key, record in found.items():
            self._same(key, record)

    @invariant()
    def shows_what_the_model_has(self) -> None:
        """After every step, by the instances in turn."""
        self.turn += 1
        for key in self.all_keys:
            self._same(key, self.stores[self.turn % 2].load(key))

    def scan(self, who: int, prefix: str, after: str, limit: int, *, expired: bool) -> None:
        """One page."""
        page = self.stores[who].scan(prefix, after=after, limit=limit, expired=expired)
        wanted = self.model.page(prefix, after, limit, expired=expired)
        self.bench.expect([key for key, _ in page], wanted, "the keys of the page")
        for key, record in page:
            self._same(key, record)

    def _judged(
        self, call: Callable[[], Any], key: str, expected: Expected, guard: Guard | None, *, removal: bool = False
    ) -> Any:
        """The answer; or the refusal, if the model refuses as well."""
        try:
            answer: Any = call()
        except (GuardRefusedError, VersionConflictError) as error:
            answer = error
        there = key in self.model.rows
        if not self.model.guarded(guard):
            self.bench.expect(type(answer).__name__, "GuardRefusedError", f"{guard} does not hold")
        elif not self.model.as_expected(key, expected) and (there or not removal):
            self.bench.expect(type(answer).__name__, "VersionConflictError", f"{key!r} is not as expected ({expected})")
            self._same(key, answer.current)
        elif isinstance(answer, Exception):
            raise AssertionError(f"{key!r} is as expected ({expected}), but {self.bench.trail[-1]}")
        return answer

    def _same(self, key: str, found: Versioned[bytes] | None) -> None:
        """The record must be what the model has."""
        row = self.model.rows.get(key)
        if row is None or found is None:
            self.bench.expect(found, row, f"the record under {key!r}")
            return
        left = None if row.until is None else max(0.0, row.until - self.model.now)
        wanted: tuple[Any, ...] = (row.value, row.revision, row.beats, row.ttl, row.write_id)
        came: tuple[Any, ...] = (found.value, found.revision, found.beats, found.ttl, found.write_id)
        self.bench.expect(came, wanted, f"value, revision, beats, ttl and write_id under {key!r}")
        self.bench.expect(type(found.value), bytes, f"the type of the value under {key!r}")
        if self.bench.virtual is not None:
            self.bench.expect((found.expired, found.expires_in), (left == 0.0, left), f"expiry of {key!r}")
        elif left is None or not 0 < left <= BLINK:  # of what expires within milliseconds, either may be shown
            self.bench.expect(
                (found.expired, found.expires_in is None), (left == 0.0, left is None), f"expiry of {key!r}"
            )

    # -- time: the contract's own, or real; then a lease lasts for long, or is over before the next step ----------------

    def _lasting(self, ttl: float | None) -> float | None:
        if ttl is None or self.bench.virtual is not None:
            return ttl
        return BLINK if ttl < 1 else LONG

    def _settle(self, ttl: float | None) -> None:
        if self.bench.virtual is None and self._lasting(ttl) == BLINK:
            self.bench.clock.sleep(BLINK * 1.1)
            self.model.now += BLINK

    # -- what rules choose from --------------------------------------------------------------------------------------

    def expected(self, how: str, key: str, pick: int) -> Expected:
        """What somebody may expect of a key."""
        row, revision = self.model.rows.get(key), self.model.revision(key)
        stale = [token for token in self.model.tokens.get(key, []) if token != revision] or [1]
        choices: dict[str, Expected] = {
            "right": revision,
            "any": ANY,
            "vacant": VACANT,
            "absent": ABSENT,
            "stale": stale[-1 - pick % len(stale)],
            "future": self.model.last(key) + 1 + pick,
            "seen": Seen(revision or 1, row.beats if row else 0),
            "unseen": Seen(revision or 1, (row.beats if row else 0) + 1 + pick),
        }
        return choices[how]

    def token(self, key: str, pick: int) -> int:
        """A token that this key has had: mostly the last."""
        past = self.model.tokens.get(key) or [1]
        return past[-1] if pick > 1 else past[-1 - pick % len(past)]

    def reach(self, what: str, times: int | bool = True) -> None:
        """Count that a program came to this."""
        type(self).reached[what] += int(times)
