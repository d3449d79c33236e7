"""An interrupting deadline, for the main thread of a POSIX process: a timer signal whose handler raises.

What it can do: end Python code, and system calls that a signal interrupts. What it cannot: other threads, Windows, C
code that does not come back to the interpreter, and code that catches `TimeoutError` and goes on. It borrows SIGALRM
and the process's one real-time timer, and gives both back as they were, the rest of a former timer included.
"""

from __future__ import annotations

import functools
import math
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from resilience._core import checks
from resilience._core.functions import METHOD_WRAPPERS, checked, is_async, name_of_function
from resilience._io import aio, world
from resilience._io.ambient import Scope, enter_scope, leave_scope, scope_now
from resilience._io.clock import SystemClock
from resilience._moment import Deadline
from resilience.errors import DeadlineExceededError
from resilience.typing import Seconds


if TYPE_CHECKING:
    from contextvars import Token
    from types import FrameType, TracebackType

__all__ = ["Interrupting"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

#: Seconds: what "now" means to the timer, whose own resolution is about that.
_TICK = 1e-4


class Interrupting:
    """A deadline that interrupts synchronous code: made by `deadline.interrupting`, for ``with`` or as a decorator.

    Args:
        seconds: The timeout in seconds, or a `timedelta`; above 0.
        name: Which deadline, for people; None for no name (of a decorated function: its name).

    Raises:
        ConfigError: A timeout that is not above 0.
        RuntimeError: Entered outside the main thread, in a task, or where there is no such timer (Windows).
    """

    __slots__ = ("_alarms", "name", "seconds")

    seconds: float
    name: str | None

    def __init__(self, seconds: Seconds, *, name: str | None = None) -> None:
        self.seconds = checks.seconds("seconds", seconds)
        self.name = None if name is None else checks.text("name", name)
        self._alarms: list[_Alarm] = []  # a stack, of the main thread alone

    def __enter__(self) -> Deadline:
        # An alarm that rings while its block is being entered or left is given back by itself, and found here.
        self._alarms = [alarm for alarm in self._alarms if alarm.held]
        alarm = _Alarm(self.seconds, self.name)
        self._alarms.append(alarm)
        return Deadline(alarm.scope)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        alarm = self._alarms.pop()
        alarm.leave()
        if alarm.rang:  # told here: an observer's lock may be held by the very code that the signal interrupted
            alarm.scope.tell_overrun()

    @overload
    def __call__(self, fn: classmethod[T, P, R], /) -> classmethod[T, P, R]: ...
    @overload
    def __call__(self, fn: staticmethod[P, R], /) -> staticmethod[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]: ...
    def __call__(self, fn: Any, /) -> Any:
        """Decorate a function of synchronous code."""
        if isinstance(fn, METHOD_WRAPPERS):
            return type(fn)(self(fn.__func__))
        if is_async(checked(fn, "deadline.interrupting")):
            raise TypeError(
                f"{name_of_function(fn)} is a coroutine function: a plain deadline cancels it, without signals"
            )
        timed = Interrupting(self.seconds, name=self.name or name_of_function(fn))

        @functools.wraps(fn)
        def call_interrupted(*args: Any, **kwargs: Any) -> Any:
            with timed:
                return fn(*args, **kwargs)

        return call_interrupted


class _Alarm:
    """One block's hold on the process's real-time timer."""

    __slots__ = ("_former_due", "_former_every", "_token", "former", "held", "rang", "scope")

    _token: Token[Scope]

    def __init__(self, seconds: float, name: str | None) -> None:
        if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
            raise RuntimeError("deadline.interrupting works in the main thread of a POSIX process: use deadline() here")
        if aio.current_task() is not None:
            raise RuntimeError(
                "deadline.interrupting would tear the event loop: use deadline(), which cancels the task"
            )
        if not isinstance(world.current.clock, SystemClock):
            raise RuntimeError("deadline.interrupting runs on the machine's own timer, which virtual time cannot move")  # noqa: TRY004  # not a wrong type, a wrong time
        outer, now = scope_now(), world.current.monotonic()
        outer.check()
        at = now + seconds
        self.scope = outer.tighter(at, seconds, name) if at < outer.at else outer
        # Every fact before the handler, and the handler before the timer: the alarm may come after any of these lines.
        self.held = True
        self.rang = False
        left, self._former_every = signal.getitimer(signal.ITIMER_REAL)
        self._former_due = now + left if left else math.inf
        self.former = signal.getsignal(signal.SIGALRM)
        self._token = enter_scope(self.scope)
        signal.signal(signal.SIGALRM, self._ring)
        try:
            self._wind(now)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Give everything back, unless the alarm has done so already."""
        if not self.held:
            return
        self.held = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        with suppress(ValueError):  # rung inside another context, which has the Scope to itself
            leave_scope(self._token)
        # None where the former handler was not set from Python: it cannot be named, so the default takes its place.
        signal.signal(signal.SIGALRM, signal.SIG_DFL if self.former is None else self.former)
        if self._former_due != math.inf:
            left = self._former_due - world.current.monotonic()
            signal.setitimer(signal.ITIMER_REAL, max(left, _TICK), self._former_every)

    def _wind(self, now: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, max(min(self.scope.at, self._former_due) - now, _TICK))

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if not self.held:
            return  # too late: the block is being left
        now = world.current.monotonic()
        if now < self.scope.at - _TICK:
            # Not for us: the former timer's turn, or a signal that somebody sent.
            if now >= self._former_due - _TICK:
                self._former_due = now + self._former_every if self._former_every else math.inf
            self._wind(now)
            if callable(self.former):
                self.former(number, frame)
            return
        # Give back before raising: the error may come out of any bytecode, also out of the `with` statement's own exit.
        alarm: object = self
        while isinstance(alarm, _Alarm) and alarm.scope is self.scope:
            alarm.leave()  # also those around it that wait for the same moment: one moment, one cut
            alarm = getattr(alarm.former, "__self__", None)
        self.rang = True
        raise DeadlineExceededError(self.scope.limit, self.scope.name)
