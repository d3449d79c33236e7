"""Whose turn it is: exclusive turns in the order of arrival, over nothing but the verbs of a store.

Whoever waits for a turn leaves a **ticket**, a record with a TTL; its revision says when he came. The one whose ticket is
the first takes the **turn**, one record with a TTL of its own, and gives up his ticket; everybody else watches only the
ticket before his own, so a turn that ends wakes one. A waiter that dies is out of the way when its ticket expires, a holder
that dies when its turn does. Two who both think that they are the first (a ticket was late to appear) meet at the turn's
compare-and-set, and one of them waits on: the order is fairness, the turn is safety.
"""

from __future__ import annotations

from attrs import frozen

from resilience._core.records import ANY, VACANT, Beat, Expected, Guard, Seen, Versioned
from resilience._core.steps import MOST_IN_A_PAGE, Extend, GiveBack, Load, Pause, Remove, Scan, Steps, Swap, Wait
from resilience.errors import OutcomeUnknownError, StoreUnavailableError, VersionConflictError


__all__ = ["TURN", "Turn", "leave_turn", "take_turn", "turn_key"]

#: Where turns are kept: before every key that people choose.
TURN = "\0turn\0"

#: Seconds; a waiter shows every third of it that he is still there.
TICKET_TTL = 2.0

#: Seconds that are waited at most before a step whose answer was lost is taken again.
_LOST_PAUSE = 0.02
#: How often such a step is taken.
_RESENDS = 10


def turn_key(key: str) -> str:
    """The key of the turns at another key."""
    # With its length in front: else the line at one key would be part of that at another one which goes on with a NUL.
    return f"{TURN}{len(key)}\0{key}"


@frozen
class Turn:
    """A turn that was taken.

    Args:
        key: Where.
        token: Its fencing token.
    """

    key: str
    token: int

    @property
    def guard(self) -> Guard:
        """The condition that this turn is not over."""
        return Guard(self.key, self.token)


def take_turn(key: str, name: str, ttl: float) -> Steps[Turn]:
    """Wait in the line at `key` until it is our turn.

    Args:
        key: Where the turns are kept.
        name: A random name for this waiter.
        ttl: Seconds that the turn lasts unless it is left before.
    """
    line = f"{key}\0"
    ticket = f"{line}{name}"
    try:
        return (yield from _lined_up(key, line, ticket, name, ttl))
    except BaseException:
        # Whoever is cut off between taking the turn and knowing it must not leave it to run out.
        yield from _forgotten(key, name)
        raise


def _lined_up(key: str, line: str, ticket: str, name: str, ttl: float) -> Steps[Turn]:
    """The turn, for one who holds a ticket until he has it."""
    mine: int | None = None
    try:
        mine = yield from _claimed(ticket, name)
        while True:
            tickets: list[tuple[str, Versioned[bytes]]] = yield Scan(line, limit=MOST_IN_A_PAGE)
            ahead = max(
                ((seen.revision, other) for other, seen in tickets if (seen.revision, other) < (mine, ticket)),
                default=None,
            )
            if ahead is None:
                turn: Turn | None = yield from _headed(key, name, ttl, Beat(ticket, mine, TICKET_TTL))
                if turn is not None:
                    return turn
            else:
                yield Wait(ahead[1], ahead[0], TICKET_TTL / 3)
            kept = yield from _kept(Beat(ticket, mine, TICKET_TTL))
            if not kept:  # stopped for longer than its TTL: back to the end of the line
                yield from _swept(line)
                mine = None
                mine = yield from _claimed(ticket, name)
    finally:
        # Who was interrupted before he knew the revision of his ticket: nobody else writes there.
        yield from _gone(ticket, ANY if mine is None else mine)


def leave_turn(turn: Turn) -> Steps[None]:
    """Let the next one have his turn; of no effect where it is over already."""
    yield from _gone(turn.key, turn.token)


def _claimed(ticket: str, name: str) -> Steps[int]:
    """The revision of our ticket; one whose answer was lost is ours by its name."""
    for _ in range(_RESENDS):
        try:
            # Not `ABSENT`: who was stopped for too long finds his old ticket, expired.
            written: Versioned[bytes] = yield Swap(ticket, b"", VACANT, TICKET_TTL, None, name)
        except VersionConflictError as conflict:
            if conflict.current is not None:
                return conflict.current.revision
        except OutcomeUnknownError:
            yield Pause(_LOST_PAUSE)
        else:
            return written.revision
    raise _unheard(ticket)


def _headed(key: str, name: str, ttl: float, beat: Beat) -> Steps[Turn | None]:
    """The turn, for the first in line, once whoever has it leaves it; None if our ticket was lost meanwhile."""
    lost = 0
    while lost < _RESENDS:
        there: Versioned[bytes] | None = None
        try:
            there = yield Swap(key, b"", VACANT, ttl, None, name)
        except VersionConflictError as conflict:
            there = conflict.current
        except OutcomeUnknownError:
            lost += 1
        if there is not None and there.write_id == name:  # also where the answer to taking it was lost
            return Turn(key, there.revision)
        kept = yield from _kept(beat)
        if not kept:
            return None
        if there is None:
            yield Pause(_LOST_PAUSE)
        else:
            left = TICKET_TTL if there.expires_in is None else there.expires_in
            yield Wait(key, there.revision, min(left, TICKET_TTL / 3))
    raise _unheard(key)


def _unheard(key: str) -> StoreUnavailableError:
    """What to raise when answers go on being lost: of what the turn is for, nothing was done."""
    return StoreUnavailableError("turns", f"{_RESENDS} answers to writes of {key!r} were lost")


def _forgotten(key: str, name: str) -> Steps[None]:
    """Give back a turn that is ours without our knowing."""
    try:
        there: Versioned[bytes] | None = yield GiveBack(Load(key))
        if there is not None and there.write_id == name:
            yield GiveBack(Remove(key, there.revision))
    except Exception:  # noqa: S110  # a courtesy: the TTL does it too
        pass


def _kept(beat: Beat) -> Steps[bool]:
    """Show that we are still in line; whether we are, as far as is known: after a lost answer, the next time tells."""
    try:
        lost: frozenset[str] = yield Extend((beat,))
    except OutcomeUnknownError:
        return True
    return not lost


def _gone(key: str, expected: Expected) -> Steps[None]:
    """Remove a record that is ours; if it is not, or if nobody answers, then it is not ours to remove, or will expire."""
    try:
        yield GiveBack(Remove(key, expected))
    except Exception:  # noqa: S110  # giving back is a courtesy: the TTL does it too
        pass


def _swept(line: str) -> Steps[None]:
    """Remove the tickets of those who died in line."""
    dead: list[tuple[str, Versioned[bytes]]] = yield Scan(line, "", 100, True)
    for ticket, seen in dead:
        try:
            yield Remove(ticket, Seen(seen.revision, seen.beats))
        except (VersionConflictError, OutcomeUnknownError):
            pass
