"""The optimistic update, as steps: read, change, compare-and-set; on a conflict, again from what is there now.

At most four tries are made like that, with a random wait in between. Under contention that alone starves somebody: with
2 ms of thinking, ten writers who try five times lose 40 to 60 % of their updates, and the unluckiest of those who never
give up waits for a second. So whoever has failed four times takes an exclusive **turn** (`turns`), which the
compare-and-set itself honours: optimistic writes are guarded by the vacancy of the turn, the write of the one whose turn
it is by his token. Whoever is refused for that reason lines up as well, at once: the line is where the progress is.

**A change is never applied twice.** All writes of one update bear one random name. When the answer to a write is lost,
the record is read again: a record with our name is our success; one at the revision that we expected means that the write
was not applied (or not yet: sent again, it expects the same revision, so at most one of the two is). Anything else means
that somebody wrote since, over our change or instead of it, and nobody can say which: that is `OutcomeUnknownError`. So
is a record that was not there and is not there now, for it may have come and gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeAlias, TypeVar, cast

from attrs import define, evolve, frozen

from resilience._core.functions import name_of_function
from resilience._core.records import ABSENT, VACANT, Expected, Guard, Versioned
from resilience._core.steps import Call, Load, LoadMany, Pause, Steps, Swap
from resilience._core.turns import Turn, leave_turn, take_turn, turn_key
from resilience.errors import (
    CorruptStateError,
    DeadlineExceededError,
    GuardRefusedError,
    OutcomeUnknownError,
    ResilienceError,
    VersionConflictError,
)
from resilience.typing import Codec


__all__ = ["Document", "Merge", "OnConflict", "finish_edit", "read", "update", "write"]

T = TypeVar("T")

Merge: TypeAlias = Callable[[T, T, T], T]
#: What an update does about a conflict.
OnConflict: TypeAlias = Literal["retry", "raise", "last_write_wins"] | Merge[T]

#: Tries before an exclusive turn; and the longest wait after the first of them, in seconds, doubled after each.
OPTIMISTIC_TRIES = 4
_FIRST_PAUSE = 0.004
#: Seconds; doubled for an update whose change takes longer.
_TURN_TTL = 2.0
#: How often a write whose answer was lost is sent again.
_RESENDS = 3


@frozen
class Document(Generic[T]):
    """One value in a store: where it is, and how it is read and written.

    Args:
        key: Its key.
        codec: Between the value and its bytes.
        default: What a vacant key counts as.
        ttl: Seconds after which a written value expires; None for never.
    """

    key: str
    codec: Codec[T]
    default: Callable[[], T]
    ttl: float | None

    def value_of(self, there: Versioned[bytes] | None) -> T:
        """The value of a record: a new one each time. An expired record counts as none."""
        return self.default() if there is None or there.expired else self._decoded(there)

    def seen(self, there: Versioned[bytes] | None) -> Versioned[T]:
        """A record, decoded; a vacant one is the default at revision `ABSENT`."""
        return Versioned(self.default(), ABSENT) if there is None or there.expired else self.written(there)

    def written(self, there: Versioned[bytes]) -> Versioned[T]:
        """A record of our own writing, decoded; also if its time was over before we looked."""
        return cast("Versioned[T]", evolve(cast("Any", there), value=self._decoded(there)))

    def _decoded(self, there: Versioned[bytes]) -> T:
        try:
            return self.codec.decode(there.value)
        except ValueError as error:
            raise CorruptStateError(f"the value of {self.key!r}", f"{self.codec} cannot read it: {error}") from error

    def conflict(
        self, facts: VersionConflictError, base: object, mine: object, paths: tuple[tuple[str, ...], ...] = ()
    ) -> VersionConflictError:
        """A store's conflict, with the values that a caller thinks in."""
        there = facts.current
        theirs = None if there is None or there.expired else self._decoded(there)
        return VersionConflictError(self.key, facts.expected, there, base, mine, theirs, paths)


def read(document: Document[T]) -> Steps[Versioned[T]]:
    """The value as it is now."""
    return document.seen((yield Load(document.key)))


def write(document: Document[T], value: T, expected: Expected, name: str) -> Steps[Versioned[T]]:
    """One compare-and-set, under a random name; a lost answer is looked up, and nothing is sent again.

    `ABSENT` includes a record that has expired, for that is how it was read.
    """
    wanted = VACANT if isinstance(expected, int) and expected == ABSENT else expected
    lost: OutcomeUnknownError | None = None
    there: Versioned[bytes] | None
    try:
        there = yield Swap(document.key, document.codec.encode(value), wanted, document.ttl, None, name)
    except VersionConflictError as conflict:
        raise document.conflict(conflict, None, value) from None
    except OutcomeUnknownError as unknown:
        lost = unknown.with_traceback(None)
        try:
            there = yield Load(document.key)
        except ResilienceError:
            there = None
    if lost is not None and (there is None or there.write_id != name):
        raise lost
    return document.written(cast("Versioned[bytes]", there))


def update(
    document: Document[T], change: Callable[[T], T], on_conflict: OnConflict[T], name: str
) -> Steps[Versioned[T]]:
    """Change the value, whatever it is by then.

    Args:
        document: What to change.
        change: From the value to the new one; may be called more than once.
        on_conflict: What to do when somebody else wrote in between.
        name: A random name for this update, which its writes bear.
    """
    draft = _Draft(document, change, _rule(on_conflict), name)
    turn = turn_key(document.key)
    found: dict[str, Versioned[bytes] | None] = yield LoadMany((document.key, turn))
    held = found[turn]
    if held is not None and not held.expired:  # it would be refused: no need to make anything of what will change
        return (yield from _settled(draft, _in_our_turn(draft)))
    return (yield from _settled(draft, _optimistically(draft, found[document.key])))


def finish_edit(
    document: Document[T], there: Versioned[bytes] | None, mine: T, on_conflict: OnConflict[T], name: str
) -> Steps[Versioned[T]]:
    """Write what was made of the record `there`. Its making cannot be repeated, so a conflict merges or raises."""
    data = document.codec.encode(mine)
    if there is not None and not there.expired and there.value == data:
        return document.seen(there)
    rule = _rule("raise" if on_conflict == "retry" else on_conflict)
    draft = _Draft(document, None, rule, name, _revision(there), document.value_of(there), mine, data)
    return (yield from _settled(draft, _optimistically(draft, there)))


def _rule(on_conflict: OnConflict[T]) -> Literal["retry", "raise"] | Merge[T]:
    """The last write wins by a merge that heeds nobody else."""
    if on_conflict == "last_write_wins":
        return lambda base, mine, theirs: mine  # noqa: ARG005
    return on_conflict


@define(eq=False)
class _Draft(Generic[T]):
    """What is to be written, and what it was made of; made again after each conflict.

    Args:
        document: What is changed.
        change: What makes it; None if it was made once, and cannot be made again.
        rule: What to do when somebody else wrote in between.
        name: What its writes bear.
        made_of: The revision that it was made of; None before it was made.
        base: The value that it was made of.
        mine: The value to be written, and `data`, its bytes.
        beaten: The last conflict.
        doubt: The lost answer to a write that may still be applied, and expects the revision `doubted`.
    """

    document: Document[T]
    change: Callable[[T], T] | None
    rule: Literal["retry", "raise"] | Merge[T]
    name: str
    made_of: int | None = None
    base: Any = None
    mine: Any = None
    data: bytes = b""
    beaten: VersionConflictError | None = None
    doubt: OutcomeUnknownError | None = None
    doubted: int = ABSENT

    def success(self, there: Versioned[bytes] | None) -> Versioned[T] | None:
        """Our own write, where this record is it; raises where nobody can know whether there was one."""
        if there is not None and there.write_id == self.name:
            return self.document.written(there)
        if self.doubt is not None and (self.doubted == ABSENT or _revision(there) != self.doubted):
            raise self.doubtful()
        return None

    def make(self, there: Versioned[bytes] | None) -> Steps[None]:
        """Make it of what is there now: by the change, or, once there is something to merge, by the merge."""
        document, revision = self.document, _revision(there)
        if self.made_of == revision:
            return
        theirs = document.value_of(there)
        if self.made_of is None or self.rule == "retry":
            maker: Any = self.change
            self.mine = yield Call(maker, (document.value_of(there),))
        elif self.rule == "raise":  # somebody had a turn, and wrote in it
            raise document.conflict(VersionConflictError(document.key, self.made_of, there), self.base, self.mine)
        else:
            maker = self.rule
            try:
                self.mine = yield Call(maker, (self.base, self.mine, document.value_of(there)))
            except VersionConflictError as clash:
                facts = VersionConflictError(document.key, self.made_of, there)
                raise document.conflict(facts, self.base, self.mine, clash.paths) from None
        if self.mine is None and theirs is not None:
            raise TypeError(
                f"{name_of_function(maker)} returned None instead of the new value: what changes its argument belongs "
                "into edit(), and None itself is stored by write()"
            )
        self.base, self.made_of, self.data = theirs, revision, document.codec.encode(cast("T", self.mine))

    def lost(self, conflict: VersionConflictError) -> Versioned[bytes] | None:
        """What to go on from after a conflict; raises where that is the caller's affair."""
        if self.rule == "raise":
            raise self.document.conflict(conflict, self.base, self.mine) from None
        self.beaten = conflict.with_traceback(None)
        return conflict.current

    def ending(self, error: Exception) -> Exception:
        """What to raise when the update ends in `error`: a doubt is never hidden, and the last conflict is the cause."""
        beaten, self.beaten = self.beaten, None
        if isinstance(error, DeadlineExceededError):
            cause: Exception | None = beaten if self.doubt is None else self.doubtful()
            error.__cause__ = error.__cause__ or cause
        elif self.doubt is not None:
            doubt = self.doubtful()
            if isinstance(error, ResilienceError):  # it says nothing of the write that is in doubt, or even denies it
                doubt.__cause__ = error
                return doubt
            error.add_note(f"an earlier write of this update may have been applied: {doubt}")
        return error

    def doubtful(self) -> OutcomeUnknownError:
        """The doubt, no longer kept: raised from a frame that holds this draft, it would be part of a cycle."""
        doubt, self.doubt = cast("OutcomeUnknownError", self.doubt), None
        return doubt


def _settled(draft: _Draft[T], way: Steps[Versioned[T]]) -> Steps[Versioned[T]]:
    """Go one of the two ways, and say all there is to say if it ends badly."""
    try:
        return (yield from way)
    except Exception as error:
        raise draft.ending(error)  # noqa: B904  # the same error, or one that names it


def _optimistically(draft: _Draft[T], there: Versioned[bytes] | None) -> Steps[Versioned[T]]:
    """A few tries beside everybody else; then, or when somebody has a turn, in ours."""
    guard = Guard(turn_key(draft.document.key), VACANT)
    for attempt in range(OPTIMISTIC_TRIES):
        if attempt > 0:
            yield Pause(_FIRST_PAUSE * 2 ** (attempt - 1))
        yield from draft.make(there)
        try:
            return (yield from _sent(draft, guard))
        except GuardRefusedError:
            break
        except VersionConflictError as conflict:
            there = draft.lost(conflict)
    return (yield from _in_our_turn(draft))


def _in_our_turn(draft: _Draft[T]) -> Steps[Versioned[T]]:
    """Alone, but for writers who do not ask whose turn it is."""
    document = draft.document
    ttl = _TURN_TTL
    while True:
        turn: Turn = yield from take_turn(turn_key(document.key), draft.name, ttl)
        done: Versioned[T] | None = None
        try:
            there: Versioned[bytes] | None = yield Load(document.key)
            while True:
                done = draft.success(there)
                if done is not None:
                    return done
                yield from draft.make(there)
                try:
                    done = yield from _sent(draft, turn.guard)
                except GuardRefusedError:
                    break
                except VersionConflictError as conflict:
                    there = draft.lost(conflict)
                else:
                    return done
        finally:
            yield from _left(turn, done)
        ttl *= 2  # making it took longer than the turn lasted


def _sent(draft: _Draft[T], guard: Guard) -> Steps[Versioned[T]]:
    """Send the draft; where the answer is lost, look what became of it, and send it again if it was nothing."""
    document, expected = draft.document, cast("int", draft.made_of)
    for resend in range(_RESENDS + 1):
        try:
            written: Versioned[bytes] = yield Swap(document.key, draft.data, expected, document.ttl, guard, draft.name)
            return document.written(written)
        except VersionConflictError as conflict:
            done = draft.success(conflict.current)
            if done is not None:
                return done
            raise
        except OutcomeUnknownError as unknown:
            draft.doubt, draft.doubted = unknown.with_traceback(None), expected
        except Exception:
            raise
        except BaseException as cut:  # a cancellation, an interrupt: nobody waits for the answer any more
            _tell(cut, f"cut off while a write to {document.key!r} was under way: perhaps applied")
            raise
        yield Pause(_FIRST_PAUSE * 2**resend)
        done = draft.success((yield Load(document.key)))
        if done is not None:
            return done
    raise draft.doubtful()


def _left(turn: Turn, done: Versioned[T] | None) -> Steps[None]:
    """Leave the turn; whoever is cut off meanwhile is told that his work was done."""
    try:
        yield from leave_turn(turn)
    except BaseException as cut:
        if done is not None:
            _tell(cut, f"cut off after the write was applied, at revision {done.revision}")
        raise


def _tell(cut: BaseException, what: str) -> None:
    """Leave on what cuts us off what a deadline is to name as its cause."""
    if cut.__context__ is None:
        cut.__context__ = OutcomeUnknownError("optimistic lock", what)


def _revision(there: Versioned[bytes] | None) -> int:
    return ABSENT if there is None else there.revision
