"""What checks and people see of an exploration: a state, and the way to it as a schedule that can be read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

from attrs import NOTHING, fields, frozen

from resilience._core.records import Versioned
from resilience._core.steps import GiveBack, Step
from resilience.testing._modelled import Reply
from resilience.testing._moves import Faults, Move
from resilience.testing._states import Client, Point, State


__all__ = ["ClientView", "View", "Violation", "told"]


@frozen
class ClientView:
    """One client, as a check sees it.

    Args:
        name: Its name.
        state: "ready" to go on, "waiting" in a `Wait` step, or how it ended: "returned", "raised", "crashed".
        step: What it asks for next; None if it has returned or raised.
        value: What it returned.
        error: What it raised.
        history: Every step that it asked for, with what came of it: a value, or the exception that was raised.
    """

    name: str
    state: Literal["ready", "waiting", "returned", "raised", "crashed"]
    step: Step[Any] | None
    value: Any
    error: BaseException | None
    history: tuple[tuple[Step[Any], Any], ...]


@frozen(eq=False)
class View:
    """One state of a scenario, for checks. What is seen of it is not to be changed.

    Args:
        faults: What has befallen the clients so far, by its count.
        rests: How often everybody had to wait until time passed; each lease that ran out by that counts as well.
    """

    faults: Faults
    rests: int
    _state: State
    _names: Sequence[str]

    @property
    def records(self) -> dict[str, Versioned[bytes]]:
        """What is in the store, in the order of the keys; also what has expired."""
        return self._state.content.seen

    @property
    def clients(self) -> list[ClientView]:
        """The clients, in their order."""
        return [_viewed(name, client) for name, client in zip(self._names, self._state.clients, strict=True)]

    def value(self, key: str) -> bytes | None:
        """The value under a key; None if there is none, or it has expired."""
        there = self.records.get(key)
        return None if there is None or there.expired else there.value


@frozen(eq=False)
class Violation:
    """Something that must not happen, and how it does.

    Args:
        what: What is wrong.
        schedule: A shortest way to it: a line for each thing that happens, in order.
        view: The state in which it is wrong.
    """

    what: str
    schedule: tuple[str, ...]
    view: View

    def __str__(self) -> str:
        lines = [f"{place:>3}  {line}" for place, line in enumerate(self.schedule, 1)]
        kept = [f"     {key!r}: {_said(record)}" for key, record in self.view.records.items()]
        ends = [f"     {client.name} {_ending(client)}" for client in self.view.clients]
        return "\n".join([self.what, *lines, "then:", *kept, *ends])


def told(names: Sequence[str], way: Iterable[tuple[State, Move, State]]) -> tuple[str, ...]:
    """A schedule: a line for each move, with the states before and after it."""
    width = max(map(len, names))
    return tuple(_line(names, width, *happening) for happening in way)


def _line(names: Sequence[str], width: int, before: State, move: Move, after: State) -> str:
    if move.kind == "rest":
        return f"{'':<{width}}  everybody waits; time passes"
    if move.kind == "expires":
        return f"{'':<{width}}  {move.key!r} runs out"
    if move.kind == "arrives":
        who, verb = before.late[move.who]
        effect = "is carried out" if after.content is not before.content else "is refused"
        return f"{names[who]:<{width}}  (late) {_asked(verb)} {effect}"
    name = f"{names[move.who]:<{width}}"
    client = before.clients[move.who]
    if move.kind == "crashes":
        return f"{name}  dies before {_asked(client.point.step)}"
    reply = _told_at(client.point, after.clients[move.who].point)
    line = f"{name}  {_asked(client.point.step)} → {_said(reply.error or reply.value)}"
    if move.kind in {"step", "wakes"}:
        return line
    if after.content is not before.content:
        return f"{line}, but it is carried out"
    return f"{line}, and it is still under way" if len(after.late) > len(before.late) else line


def _told_at(point: Point, later: Point) -> Reply:
    """What came of the step at a point, seen from a later one: a pause may have been passed by in between."""
    while later.before is not point:
        later = cast("Point", later.before)
    return later.reply


def _asked(step: Any) -> str:
    """A step, without what it leaves out."""
    if isinstance(step, GiveBack):
        return f"GiveBack({_asked(cast('Any', step).verb)})"
    given = [
        f"{part.name}={getattr(step, part.name)!r}"
        for part in fields(cast("Any", type(step)))
        if part.default is NOTHING or getattr(step, part.name) != part.default
    ]
    return f"{type(step).__name__}({', '.join(given)})"


def _said(reply: Any) -> str:
    """What came of a step."""
    if isinstance(reply, BaseException):
        return f"{type(reply).__name__}: {reply}" if str(reply) else type(reply).__name__
    kind = cast("type[object]", type(reply))
    if kind is Versioned:
        return f"revision {reply.revision}{', expired' if reply.expired else ''}: {reply.value!r}"
    if kind is list:
        return f"[{', '.join(f'{key!r}: {_said(there)}' for key, there in reply)}]"
    return repr(reply)


def _ending(client: ClientView) -> str:
    if client.state == "returned":
        return f"returned {_said(client.value)}"
    if client.state == "raised":
        return f"raised {_said(client.error)}"
    return "is dead" if client.state == "crashed" else f"is {client.state}"


def _viewed(name: str, client: Client) -> ClientView:
    point = client.point
    history = tuple(
        (cast("Step[Any]", at.step), to.reply.error or to.reply.value) for at, to in itertools.pairwise(point.path)
    )
    return ClientView(name, client.condition, point.step, point.value, point.error, history)
