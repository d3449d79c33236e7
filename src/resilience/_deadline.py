"""deadline: a time budget that every nested call, wait and child process sees.

`deadline` is a frozen description, reusable and shareable; entering it, or calling what it decorates, makes a fresh
`Deadline`, which is the moment itself. Nested, the earlier moment counts, and entering a looser one costs no timer.

What it can promise depends on what runs inside. In a task of asyncio or trio a timer cancels the work. In plain
synchronous code nothing is interrupted: nothing is *started* past the deadline, no wait goes beyond it, and what does
I/O takes its timeout from it; work that returns late has still succeeded. `deadline.interrupting` is the exception,
with the limits that signals have.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from attrs import field, frozen

from resilience._core import checks
from resilience._core.functions import METHOD_WRAPPERS, checked, is_async, name_of_function
from resilience._io import emit, world
from resilience._io.ambient import (
    ALONE,
    UNBOUNDED,
    Scope,
    enter_retries,
    enter_scope,
    leave_retries,
    leave_scope,
    new_scope,
    scope_now,
)
from resilience._io.stay import Stay, covered
from resilience._moment import Deadline
from resilience.errors import ConfigError
from resilience.typing import Seconds


if TYPE_CHECKING:
    from types import TracebackType

    from resilience._core.deadline import Headers
    from resilience._interrupting import Interrupting

__all__ = ["deadline"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class _Entry:
    """One block's hold on the Scope: what `deadline`, which many blocks may share, finds again on leaving."""

    __slots__ = ("by", "stay")

    def __init__(self, by: deadline) -> None:
        self.by = by
        self.stay: Stay | None = None


@frozen(init=False)
class deadline:  # noqa: N801  # read as a verb: `with deadline(2.0):`
    """A time budget: for ``with`` and ``async with``, and as a decorator of functions and coroutine functions.

    A frozen description: reusable, shareable between threads and tasks. Entering it gives the `Deadline`, the moment.
    In a task the work is cancelled when the moment comes, and the block raises; in plain synchronous code nothing is
    interrupted (see the module, and "What a timeout cannot do" in the docs).

    Args:
        seconds: The timeout in seconds, or a `timedelta`; None for no limit of its own.
        until: The moment instead: a `Deadline`, or seconds on the monotonic clock.
        name: Which deadline, for errors and notes; None for no name (of a decorated function: its name).

    Raises:
        ConfigError: A negative or non-finite timeout; both a timeout and a moment.
        DeadlineExceededError: On entering, if the moment has passed already: nothing is started past it. On leaving,
            if the timer cut the block short; a `TimeoutError` of the block's own comes out as it is.

    >>> from resilience import deadline
    >>> with deadline(2.0) as d:
    ...     0 < d.timeout(cap=1.0) <= 1.0
    True
    """

    seconds: float | None
    until: float | None
    name: str | None
    _stays: set[Stay] = field(init=False, eq=False, repr=False)

    def __init__(
        self, seconds: Seconds | None = None, /, *, until: Deadline | float | None = None, name: str | None = None
    ) -> None:
        if seconds is not None and until is not None:
            raise ConfigError("until", until, "left out where a timeout is given")
        if callable(seconds):
            raise TypeError("write it with parentheses and the seconds: @deadline(2.0)")
        if isinstance(until, Deadline):
            name = name or until.name
        moment = until.at if isinstance(until, Deadline) else until
        limit = None if seconds is None else checks.seconds("seconds", seconds, zero=True)
        if moment is not None and moment != math.inf:
            moment = checks.number("until", moment, "a Deadline, or a finite number of seconds on the monotonic clock")
        object.__setattr__(self, "_stays", set())
        object.__setattr__(self, "seconds", limit)
        object.__setattr__(self, "until", moment)
        object.__setattr__(self, "name", None if name is None else checks.text("name", name))

    # -- a block -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Deadline:
        outer, now = scope_now(), world.current.monotonic()
        scope = self._scope(outer, now, self.name)
        entry = _Entry(self)
        entered = new_scope(Scope, (scope.at, scope.limit, scope.name, scope.stops, entry, scope.task))
        entry.stay = Stay(entered, outer)
        entry.stay.__enter__()
        self._stays.add(entry.stay)
        return Deadline(entered)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        scope = scope_now()
        entry = scope.entry
        if not isinstance(entry, _Entry) or entry.by is not self or entry.stay is None:
            if len(self._stays) == 1:  # its timer must not cancel a task that is no longer in the block
                timer = self._stays.pop().timer
                if timer is not None:
                    timer.disarm(kind, error, tb)
            raise RuntimeError("deadlines must be left in the context and in the order in which they were entered")
        stay, entry.stay = entry.stay, None
        self._stays.discard(stay)
        if stay.__exit__(kind, error, tb):
            raise scope.error() from stay.take_cause()

    async def __aenter__(self) -> Deadline:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, tb)

    # -- a decorator -------------------------------------------------------------------------------------------------

    @overload
    def __call__(self, fn: classmethod[T, P, R], /) -> classmethod[T, P, R]: ...
    @overload
    def __call__(self, fn: staticmethod[P, R], /) -> staticmethod[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]: ...
    def __call__(self, fn: Any, /) -> Any:
        """Decorate `fn`: each call gets a deadline of its own.

        Raises:
            TypeError: `fn` is a generator function, whose body runs after the call.
        """
        if isinstance(fn, METHOD_WRAPPERS):
            return type(fn)(self(fn.__func__))
        name = self.name or name_of_function(checked(fn, "deadline"))
        return (self._decorated_async if is_async(fn) else self._decorated)(name, fn)

    def _decorated(self, name: str, fn: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(fn)
        def call_in_time(*args: P.args, **kwargs: P.kwargs) -> R:
            outer = scope_now()
            scope = self._scope(outer, world.current.monotonic(), name)
            if scope is outer:
                return fn(*args, **kwargs)
            token = enter_scope(scope)
            try:
                return fn(*args, **kwargs)
            finally:
                leave_scope(token)

        return call_in_time

    def _decorated_async(self, name: str, fn: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        @functools.wraps(fn)
        async def call_in_time(*args: P.args, **kwargs: P.kwargs) -> R:
            outer = scope_now()
            scope = self._scope(outer, world.current.monotonic(), name)
            if scope is outer and covered(outer):
                return await fn(*args, **kwargs)
            with Stay(scope, outer) as stay:
                return await fn(*args, **kwargs)
            raise scope.error() from stay.take_cause()  # reached only if the stay's timer cut the call short

        return call_in_time

    def _scope(self, outer: Scope, now: float, name: str | None) -> Scope:
        """The Scope inside: `outer` itself where that is the tighter one. Raises where the moment has passed."""
        at = outer.at
        if self.seconds is not None:
            at = now + self.seconds
        elif self.until is not None:
            at = self.until
        if outer.stops:
            outer.check()
        scope = outer.tighter(at, self.seconds, name) if at < outer.at else outer
        if scope.at <= now:
            raise scope.error()
        return scope

    # -- other ways to make one --------------------------------------------------------------------------------------

    @staticmethod
    def interrupting(seconds: Seconds, /, *, name: str | None = None) -> Interrupting:
        """A deadline that interrupts synchronous code in the main thread, by a POSIX timer signal.

        For what cannot be given a timeout. It raises `DeadlineExceededError` wherever the code then is, so the code
        must bear being cut anywhere. Its limits: see `Interrupting`.
        """
        from resilience._interrupting import Interrupting  # noqa: PLC0415  # it brings in `signal`, for the few who need it

        return Interrupting(seconds, name=name)

    @staticmethod
    @contextmanager
    def detached() -> Generator[None]:
        """A block without the deadline, the stops and the retries around it: for starting a task that must outlive them.

        A task inherits what is around the code that starts it: a worker first started while a request is served would
        have that request's deadline for ever.

        >>> from resilience import current_deadline, deadline
        >>> with deadline(2.0), deadline.detached():
        ...     current_deadline() is None
        True
        """
        token, retries = enter_scope(UNBOUNDED), enter_retries(ALONE)
        try:
            yield
        finally:
            leave_retries(retries)
            leave_scope(token)

    @classmethod
    def from_headers(cls, headers: Headers, /, *, at_most: Seconds | None, name: str | None = None) -> deadline:
        """The deadline that a request brought, as of now, when it arrives.

        Args:
            headers: The request's headers: a mapping or pairs, of text or bytes. ``request-timeout-ms`` and
                ``grpc-timeout`` are read.
            at_most: Seconds; the limit for requests that ask for more, or for none. None to trust them all.
            name: Which deadline, for people.

        Raises:
            ConfigError: A malformed value (answer it with a 400): it names the header.
        """
        from resilience._core.deadline import limit_in  # noqa: PLC0415  # for those who cross a border

        return cls._bounded(limit_in(headers), at_most, name)

    @classmethod
    def from_env(
        cls, *, at_most: Seconds | None = None, name: str | None = None, environ: Mapping[str, str] | None = None
    ) -> deadline:
        """The deadline that the parent process left in ``RESILIENCE_DEADLINE`` (see `Deadline.env`).

        A moment of another boot, or of another time namespace, says nothing here: it is reported by a warning, and
        `at_most` alone counts.

        Args:
            at_most: Seconds; the limit where the parent set a later one, or none. None for no limit.
            name: Which deadline, for people.
            environ: Where to look; None for this process's own environment.

        Raises:
            ConfigError: A malformed value.
        """
        from resilience._core.deadline import ENVIRON, BootMoment  # noqa: PLC0415
        from resilience._io.host import boot_moment  # noqa: PLC0415

        text = (os.environ if environ is None else environ).get(ENVIRON)
        if not text:
            return cls._bounded(None, at_most, name)
        left = BootMoment.parse(text).left(boot_moment())
        if left is None:
            emit.warn("%s=%s is a moment of another boot or time namespace; it is not used", ENVIRON, text)
        return cls._bounded(left, at_most, name)

    @classmethod
    def _bounded(cls, asked: float | None, at_most: Seconds | None, name: str | None) -> deadline:
        cap = math.inf if at_most is None else checks.seconds("at_most", at_most)
        left = min(math.inf if asked is None else asked, cap)
        return cls(name=name) if left == math.inf else cls(until=world.current.monotonic() + left, name=name)
