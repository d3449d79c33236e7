"""What may happen next in a state of an exploration: each client's step, what may befall it, and the passing of time.

Two moves that do not touch each other need not be followed in both orders. A client that dies stays where it stands, so
its death is put off until nobody else can go on. A pause is over at once where nothing can befall it.

Where nobody can go on, time passes: every wait is over. Where that changes nothing, the leases run out that
nobody has renewed in the meantime: those of the dead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar, cast

from attrs import Attribute, asdict, field, fields, frozen

from resilience._core import checks
from resilience._core.steps import Extend, GiveBack, Pause, Remove, Swap, Verb, Wait
from resilience.errors import DeadlineExceededError, OutcomeUnknownError, StoreUnavailableError
from resilience.testing._modelled import NOTHING, Content, Model, Reply, fails
from resilience.testing._states import Client, Histories, Interrupted, State


__all__ = ["Faults", "Move", "Moves"]

T = TypeVar("T")

_UNAVAILABLE: Final = fails(StoreUnavailableError("the explored store", "it does not answer"))
_UNKNOWN: Final = fails(OutcomeUnknownError("the explored store", "the answer was lost"))
_OVERRUN: Final = fails(DeadlineExceededError())
_INTERRUPTED: Final = fails(Interrupted())

_WRITES: Final = (Swap, Extend, Remove)


def _counted(_: Any, attribute: Attribute[int], value: Any) -> None:
    checks.count(attribute.name, value)


@frozen(kw_only=True, repr=False)
class Faults:
    """What may befall the clients of a scenario, and how often at most in one run.

    Args:
        crashes: A client dies where it stands; nothing of it is cleaned up.
        unavailable: A step is not carried out: `StoreUnavailableError`.
        lost_requests: A write is never carried out: `OutcomeUnknownError`.
        lost_replies: A write is carried out: `OutcomeUnknownError`.
        late_requests: `OutcomeUnknownError`, and the write is carried out at any later moment.
        stops: A client's deadline is over: `DeadlineExceededError` at this step and every later one, but for those that
            give something back.
        interrupts: Ctrl-C or a cancellation, as `Interrupted`; a write that was under way is carried out now, later, or
            never.
        wakes: A wait ends though nothing has changed.
        expiries: A lease runs out while others are at work.

    Raises:
        ConfigError: Not a count.
    """

    crashes: int = field(default=0, validator=_counted)
    unavailable: int = field(default=0, validator=_counted)
    lost_requests: int = field(default=0, validator=_counted)
    lost_replies: int = field(default=0, validator=_counted)
    late_requests: int = field(default=0, validator=_counted)
    stops: int = field(default=0, validator=_counted)
    interrupts: int = field(default=0, validator=_counted)
    wakes: int = field(default=0, validator=_counted)
    expiries: int = field(default=0, validator=_counted)

    def __repr__(self) -> str:
        return f"Faults({', '.join(f'{name}={most}' for name, most in asdict(self).items() if most)})"

    @property
    def budget(self) -> tuple[int, ...]:
        """The counts, in their order."""
        return tuple(asdict(self).values())

    def spent(self, left: tuple[int, ...]) -> Faults:
        """What has happened, where so much is left."""
        return Faults(**{name: most - kept for (name, most), kept in zip(asdict(self).items(), left, strict=True)})


_PLACE: Final[Mapping[str, int]] = {kind.name: place for place, kind in enumerate(fields(Faults))}


class Move(NamedTuple):
    """One thing that may happen.

    Args:
        kind: "step", the fault that befalls a step, "arrives", "expires" or "rest".
        who: The client's number, or that of the late request.
        key: The lease that runs out.
    """

    kind: str
    who: int = 0
    key: str = ""


class Moves:
    """What may happen in each state, and where it leads.

    Args:
        model: The store.
        histories: The clients.
        faults: What may befall them.
    """

    def __init__(self, model: Model, histories: Histories, faults: Faults) -> None:
        self._model = model
        self._histories = histories
        self._pauses = faults.stops > 0 or faults.interrupts > 0

    def of(self, state: State) -> Iterator[tuple[Move, State]]:
        """Every move, and the state it leads to; none where all have ended, or wait for ever."""
        able = 0
        for who, client in enumerate(state.clients):
            if client.has_ended:
                continue
            able += self._is_able(state, client)
            yield from self._steps(state, who, client)
        if able <= state.left[_PLACE["crashes"]]:
            yield from self._crashes(state)
        for place, (_, verb) in enumerate(state.late):
            _, content = self._model.apply(state.content, verb)
            late = state.late[:place] + state.late[place + 1 :]
            yield Move("arrives", place), state._replace(content=content, late=late)
        if able:
            yield from self._expiries(state)
        else:
            yield from self._rests(state)

    def is_stuck(self, state: State) -> bool:
        """Whether somebody waits, and nothing that is bound to happen will ever end that."""
        unended = [client for client in state.clients if not client.has_ended]
        able = any(self._is_able(state, client) for client in unended)
        return bool(unended) and not able and not state.late and next(self._rests(state), None) is None

    def start(self, who: int) -> Client:
        """A client before its first step."""
        return self._at_next(Client(self._histories.start(who)))

    # -- what a client does, and what may befall it ------------------------------------------------------------------

    def _steps(self, state: State, who: int, client: Client) -> Iterator[tuple[Move, State]]:
        step = client.point.step
        if client.stopped and not isinstance(step, GiveBack):
            yield Move("stops", who), self._told(state, who, _OVERRUN)
            return
        verb = step.verb if isinstance(step, GiveBack) else step
        content = state.content
        if isinstance(verb, Wait):
            if self._is_able(state, client):
                yield Move("step", who), self._told(state, who, NOTHING)
            else:
                yield from self._befalls(state, "wakes", who, NOTHING)
        elif isinstance(verb, Pause):
            yield Move("step", who), self._told(state, who, NOTHING)
        else:
            reply, content = self._model.apply(content, cast("Verb[Any]", verb))
            yield Move("step", who), self._told(state._replace(content=content), who, reply)
        yield from self._failures(state, who, verb, content, gives_back=isinstance(step, GiveBack))

    def _failures(
        self, state: State, who: int, verb: Any, content: Content, *, gives_back: bool
    ) -> Iterator[tuple[Move, State]]:
        done = state._replace(content=content)
        if isinstance(verb, Verb):
            yield from self._befalls(state, "unavailable", who, _UNAVAILABLE)
        if isinstance(verb, _WRITES):
            later = state._replace(late=(*state.late, (who, verb)))
            yield from self._befalls(state, "lost_requests", who, _UNKNOWN)
            yield from self._befalls(done, "lost_replies", who, _UNKNOWN)
            yield from self._befalls(later, "late_requests", who, _UNKNOWN)
            # A request under way may arrive at once, or never: neither is a move of its own.
            yield from self._befalls(later, "interrupts", who, _INTERRUPTED)
        else:
            yield from self._befalls(state, "interrupts", who, _INTERRUPTED)
        if not gives_back:
            yield from self._befalls(state, "stops", who, _OVERRUN)

    def _befalls(self, state: State, kind: str, who: int, reply: Reply) -> Iterator[tuple[Move, State]]:
        """A fault at a client's step, as long as such may happen."""
        left = _spent(state.left, kind)
        if left is not None:
            yield Move(kind, who), self._told(state._replace(left=left), who, reply)

    def _crashes(self, state: State) -> Iterator[tuple[Move, State]]:
        left = _spent(state.left, "crashes")
        for who, client in enumerate(state.clients):
            if left is not None and not client.has_ended:
                dead = _replaced(state.clients, who, client._replace(crashed=True))
                yield Move("crashes", who), state._replace(left=left, clients=dead)

    def _told(self, state: State, who: int, reply: Reply) -> State:
        """The same, with one client told what came of its step."""
        client = state.clients[who]
        point = self._histories.after(client.point, reply)
        after = self._at_next(Client(point, stopped=client.stopped or reply is _OVERRUN))
        return state._replace(clients=_replaced(state.clients, who, after))

    def _at_next(self, client: Client) -> Client:
        while isinstance(client.point.step, Pause) and not self._pauses:
            client = client._replace(point=self._histories.after(client.point, NOTHING))
        return client

    def _is_able(self, state: State, client: Client) -> bool:
        """Whether it can go on by itself."""
        step = client.point.step
        if client.woken or client.stopped or not isinstance(step, Wait):
            return True
        record = state.content.records.get(step.key)
        return (0 if record is None else record.revision) != step.after

    # -- time --------------------------------------------------------------------------------------------------------

    def _expiries(self, state: State) -> Iterator[tuple[Move, State]]:
        left = _spent(state.left, "expiries")
        if left is not None:
            yield from self._ends(state._replace(left=left), state.content.live)

    def _rests(self, state: State) -> Iterator[tuple[Move, State]]:
        waiting = any(not client.has_ended for client in state.clients)
        rested = state._replace(rests=state.rests + 1)
        if waiting and state.outline != (outline := state.content.outline):
            content = self._model.age(state.content)
            clients = tuple(client.after_a_while(None) for client in state.clients)
            yield Move("rest"), rested._replace(content=content, clients=clients, outline=outline)
        elif waiting:
            yield from self._ends(rested, state.content.old)

    def _ends(self, state: State, keys: frozenset[str]) -> Iterator[tuple[Move, State]]:
        for key in sorted(keys):
            clients = tuple(client.after_a_while(key) for client in state.clients)
            content = self._model.expire(state.content, key)
            yield Move("expires", key=key), state._replace(content=content, clients=clients)


def _spent(left: tuple[int, ...], kind: str) -> tuple[int, ...] | None:
    """What is left after one more fault of a kind; None if it may not happen any more."""
    place = _PLACE[kind]
    return _replaced(left, place, left[place] - 1) if left[place] > 0 else None


def _replaced(items: tuple[T, ...], place: int, item: T) -> tuple[T, ...]:
    return (*items[:place], item, *items[place + 1 :])
