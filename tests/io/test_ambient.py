"""The Scope: one fixed deadline and the live stops, and the three questions asked of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from resilience import deadline
from resilience._io.ambient import LEAST_TIMEOUT, UNBOUNDED, Scope, enter_scope, leave_scope, scope_now, stopping
from resilience.errors import DeadlineExceededError
from resilience.testing import virtual_time


class Lamp:
    """A stop that goes off by hand."""

    def __init__(self, at: float = math.inf) -> None:
        self.at = at
        self.ended: Exception | None = None

    def error(self) -> Exception | None:
        return self.ended

    def watch(self, wake: Callable[[], object], /) -> Callable[[], None]:
        raise NotImplementedError


def test_nothing_limits_where_nobody_asked() -> None:
    assert scope_now() is UNBOUNDED
    UNBOUNDED.check()
    assert (UNBOUNDED.remaining, UNBOUNDED.timeout(), UNBOUNDED.timeout(3)) == (math.inf, None, 3)


def test_a_scope_is_in_force_until_it_is_left() -> None:
    scope = Scope(5.0, 5.0, "n", ())
    token = enter_scope(scope)
    try:
        assert scope_now() is scope
    finally:
        leave_scope(token)
    assert scope_now() is UNBOUNDED


@pytest.mark.parametrize(
    ("limit", "name", "text"),
    [
        (2.0, "n", "the deadline 'n' of 2 s"),
        (None, "n", "the deadline 'n'"),
        (2.5, None, "the deadline of 2.5 s"),
        (None, None, "the deadline"),
    ],
)
def test_it_says_what_it_is(limit: float | None, name: str | None, text: str) -> None:
    scope = Scope(5.0, limit, name, ())
    assert str(scope) == text
    error = scope.error()
    assert (error.limit, error.name) == (limit, name)


def test_the_deadline_answers_all_three_questions() -> None:
    with virtual_time() as clock:
        scope = Scope(5.0, 5.0, None, ())
        scope.check()
        assert (scope.remaining, scope.timeout(), scope.timeout(2)) == (5, 5, 2)
        clock.advance(5)
        assert scope.remaining == 0
        for ask in (scope.check, scope.timeout):
            with pytest.raises(DeadlineExceededError):
                ask()


def test_a_stop_is_asked_each_time() -> None:
    lamp, other = Lamp(3.0), Lamp()
    with virtual_time() as clock:
        scope = Scope(5.0, 5.0, None, (lamp, other))
        assert (scope.remaining, scope.timeout()) == (5, 3)
        lamp.at = 4.0
        assert scope.timeout() == 4
        clock.advance(4.5)
        assert scope.timeout() == LEAST_TIMEOUT
        scope.check()
        lost = PermissionError("lost")
        other.ended = lost
        for ask in (scope.check, scope.timeout):
            with pytest.raises(PermissionError) as caught:
                ask()
            assert caught.value is lost


def test_stopping_adds_to_what_is_there() -> None:
    one, two = Lamp(), Lamp()
    with stopping(one) as same:
        assert same is one
        with stopping(two):
            assert scope_now().stops == (one, two)
        assert scope_now().stops == (one,)
    with pytest.raises(ZeroDivisionError), stopping(one):
        raise ZeroDivisionError
    assert scope_now() is UNBOUNDED


def test_a_stop_leaves_the_deadline_around_it_as_it_was() -> None:
    """What enforces the deadline still does: a looser one inside the stop's block needs no timer of its own."""

    class Idle:
        at = math.inf

        def error(self) -> None:
            return None

        def watch(self, wake: Callable[[], object], /) -> Callable[[], None]:
            return lambda: None

    async def scenario() -> None:
        with deadline(2):
            around = scope_now()
            with stopping(Idle()):
                inside = scope_now()
                assert (inside.at, inside.limit, inside.task) == (around.at, around.limit, around.task)
                assert inside.task is asyncio.current_task()
            assert scope_now() is around

    with virtual_time() as clock:
        clock.run_async(scenario())
