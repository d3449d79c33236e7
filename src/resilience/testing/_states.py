"""A state of an exploration, of which the clients are nothing but their histories.

A client is a deterministic generator, so where it stands is known from the replies that it was given: two schedules that
leave the same records behind, and have told every client the same, lead on to the same things, and one of them need be
followed. So there is one point for each history of a client, and what a client says to a reply is found out once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, Literal, NamedTuple

from attrs import frozen

from resilience._core.steps import Call, Step, Steps, Verb, Wait
from resilience.testing._modelled import NOTHING, Content, Reply


__all__ = ["Client", "Histories", "Interrupted", "Point", "State", "WaveringError", "bury"]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or a cancellation, as an exploration throws it into a client."""


@frozen(eq=False)
class Point:
    """Where a client stands. There is one object for each history of each client.

    Args:
        who: The client's number.
        before: Where it stood before; None at its start.
        reply: What it was told there.
        step: What it asks for next; None if it has ended.
        value: What it returned.
        error: What it raised instead.
        after: Where each reply leads, as far as it is known.
    """

    who: int
    before: Point | None
    reply: Reply
    step: Step[Any] | None
    value: Any
    error: BaseException | None
    after: dict[Reply, Point]

    @property
    def path(self) -> list[Point]:
        """From its start to here."""
        path: list[Point] = [self]
        while path[-1].before is not None:
            path.append(path[-1].before)
        return path[::-1]


class WaveringError(RuntimeError):
    """A client that says one thing today and another tomorrow, or that nothing can end, cannot be explored."""


class Histories:
    """What every client says to every history of replies.

    Args:
        names: Of the clients, for people.
        makers: Each makes the steps of one client, anew for every replay.
    """

    def __init__(self, names: Sequence[str], makers: Sequence[Callable[[], Steps[Any]]]) -> None:
        self._names = names
        self._makers = makers

    def start(self, who: int) -> Point:
        """A client's first point."""
        return self._replayed(who, None, NOTHING)

    def after(self, point: Point, reply: Reply) -> Point:
        """Where a reply leads."""
        known = point.after.get(reply)
        if known is None:
            known = point.after[reply] = self._replayed(point.who, point, reply)
        return known

    def _replayed(self, who: int, before: Point | None, reply: Reply) -> Point:
        steps = self._makers[who]()
        if not hasattr(steps, "throw"):  # not every caller is typed
            raise TypeError(f"{self._names[who]} is no protocol: its function must yield steps, and made {steps!r}")
        try:
            for point in [] if before is None else before.path:
                step, _, _ = _answer(steps, point.reply)
                if step != point.step:
                    raise self._wavering(who, point.step, step)
            step, value, error = _answer(steps, reply)
            if not isinstance(step, (Step, NoneType)):
                raise TypeError(f"{self._names[who]} must yield steps, such as Load(key); it yielded {step!r}")
            return Point(who, before, reply, step, value, error, {})
        finally:
            bury(steps)

    def _wavering(self, who: int, once: object, again: object) -> WaveringError:
        return WaveringError(
            f"{self._names[who]} is not deterministic: told the same, it asked for {once!r} once and for {again!r} "
            "another time; pass in what is random, and share nothing between runs"
        )


def _answer(steps: Steps[Any], reply: Reply) -> tuple[Step[Any] | None, Any, BaseException | None]:
    """Tell a client what came of its step: the next one; or None, and what it returned or raised."""
    try:
        return _next_step(steps, reply), None, None
    except StopIteration as end:
        return None, end.value, None
    except (Exception, Interrupted) as error:
        return None, None, error.with_traceback(None)


def _next_step(steps: Steps[Any], reply: Reply) -> Step[Any]:
    """Go on to the next step that others can see or hinder; calls of the client's own functions are neither."""
    if reply.error is not None:
        step = steps.throw(copy.copy(reply.error))
    else:
        step = steps.send(reply.value.copy() if type(reply.value) in {list, dict} else reply.value)
    while isinstance(step, Call):
        try:
            value = step.fn(*step.args)
        except Exception as error:
            step = steps.throw(error)
        else:
            step = steps.send(value)
    return step


def bury(steps: Steps[Any]) -> None:
    """End a generator that is no longer needed, also one that goes on asking in its ``finally``."""
    for _ in range(100):
        try:
            steps.throw(GeneratorExit)
        except BaseException:  # it is at its end, whichever way it took
            return
    raise WaveringError("a client cannot be ended: whatever is thrown into it, it goes on asking for steps")


class Client(NamedTuple):
    """One client in one state.

    Args:
        point: Where it stands.
        crashed: Whether it is dead.
        stopped: Whether its deadline is over: it may only give back what it holds.
        woken: Whether so much time has passed that its wait is over.
    """

    point: Point
    crashed: bool = False
    stopped: bool = False
    woken: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.crashed or self.point.step is None

    @property
    def condition(self) -> Literal["ready", "waiting", "returned", "raised", "crashed"]:
        """How it is, in a word."""
        if self.crashed:
            return "crashed"
        if self.point.step is None:
            return "returned" if self.point.error is None else "raised"
        return "waiting" if isinstance(self.point.step, Wait) else "ready"

    def after_a_while(self, key: str | None) -> Client:
        """The same, with its wait over, if it waits for this key; None for any."""
        step = self.point.step
        return self._replace(woken=True) if isinstance(step, Wait) and key in {None, step.key} else self


class State(NamedTuple):
    """All that decides what may happen next.

    Args:
        content: What the store keeps.
        clients: In their order.
        late: Requests that are still under way, and whose they were.
        left: How many faults of each kind may still happen.
        rests: How often everybody had to wait for time to pass.
        outline: What was there when they last did.
    """

    content: Content
    clients: tuple[Client, ...]
    late: tuple[tuple[int, Verb[Any]], ...]
    left: tuple[int, ...]
    rests: int
    outline: tuple[tuple[str, int, bool], ...] | None

    @property
    def has_ended(self) -> bool:
        """Whether every client has."""
        return all(client.has_ended for client in self.clients)
