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
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from attrs import frozen

from resilience._core import checks
from resilience._core import deadline as wire
from resilience._core.functions import checked, is_async, name_of_function
from resilience._interrupting import Interrupting
from resilience._io import emit, host, world
from resilience._io.ambient import SCOPE, UNBOUNDED, Scope
from resilience._io.stay import Stay
from resilience.errors import ConfigError
from resilience.typing import Seconds


if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Deadline", "current_deadline", "deadline"]

P = ParamSpec("P")
R = TypeVar("R")


@frozen(repr=False)
class Deadline:
    """The moment by which the work around us must end, as the work sees it; made by entering a `deadline`.

    Where an outer deadline is earlier, this is the outer one's moment, under its name. Safe to read from any thread or
    task.

    """

    _scope: Scope

    @property
    def at(self) -> float:
        """The moment, in seconds on the monotonic clock; `math.inf` where only a stop may end the work."""
        return self._scope.at

    @property
    def limit(self) -> float | None:
        """The timeout it was made from, in seconds; None if only the moment was given."""
        return self._scope.limit

    @property
    def name(self) -> str | None:
        """Which deadline; None if it has no name."""
        return self._scope.name

    @property
    def remaining(self) -> float:
        """Seconds until the moment, never below 0."""
        return self._scope.remaining

    @property
    def expired(self) -> bool:
        """Whether the moment has passed."""
        return self._scope.remaining == 0

    def check(self) -> None:
        """Raise if the work may not go on.

        Raises:
            DeadlineExceededError: The moment has passed.
            Exception: A stop ended the work: a lease that was lost raises its own error.
        """
        self._scope.check()

    def timeout(self, cap: float | None = None) -> float | None:
        """Seconds that one I/O call may take now, for its ``timeout=``.

        The time until the deadline or until the earliest stop, and no more than `cap`. Never 0 or less, which sockets
        take for "do not block": where nothing is left, it raises as `check` does.

        Args:
            cap: Seconds; None for no cap.

        Returns:
            Seconds; None if nothing limits the call.
        """
        return self._scope.timeout(cap)

    def bind(self, fn: Callable[P, R], /) -> Callable[P, R]:
        """`fn`, carrying this deadline and the current context into a plain thread or pool.

        Threads start with an empty context; tasks, and `asyncio.to_thread`, inherit theirs. The result may be called
        any number of times, also at once from many threads.

        Raises:
            TypeError: `fn` is a coroutine function: it runs in the context of the task that awaits it.

        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from resilience import current_deadline, deadline
        >>> with ThreadPoolExecutor() as pool, deadline(2.0, name="report") as d:
        ...     found = pool.submit(d.bind(current_deadline)).result()
        >>> found.name
        'report'
        """
        if is_async(fn):
            raise TypeError(f"{name_of_function(fn)} is a coroutine function: tasks inherit the deadline by themselves")
        context = copy_context()
        context.run(SCOPE.set, self._scope)

        @functools.wraps(fn)
        def bound(*args: P.args, **kwargs: P.kwargs) -> R:
            # A context can be entered once at a time; a copy costs nothing and lets the calls overlap.
            return context.copy().run(fn, *args, **kwargs)

        return bound

    def headers(self) -> dict[str, str]:
        """The HTTP headers that carry what is left now: ``request-timeout-ms``, and ``grpc-timeout`` in gRPC's grammar.

        Read back by `deadline.from_headers`.
        """
        return wire.headers_for(self.remaining)

    def env(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """An environment for a child process, with ``RESILIENCE_DEADLINE`` in it; read back by `deadline.from_env`.

        Args:
            environ: What to add it to; None for this process's own environment.
        """
        child = dict(os.environ if environ is None else environ)
        child.pop(wire.ENVIRON, None)
        if self.at != math.inf:
            now = host.boot_moment()
            child[wire.ENVIRON] = str(wire.BootMoment(now.at + self.remaining, now.boot, now.namespace))
        return child

    def __repr__(self) -> str:
        return f"<Deadline {self.name or ''} {self.remaining:.3f} s left>".replace("  ", " ")


def current_deadline() -> Deadline | None:
    """The deadline around this call; None where there is neither a deadline nor a stop.

    >>> from resilience import current_deadline, deadline
    >>> current_deadline() is None
    True
    >>> with deadline(2.0):
    ...     current_deadline().limit
    2.0
    """
    scope = SCOPE.get()
    return None if scope is UNBOUNDED else Deadline(scope)


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
        object.__setattr__(self, "seconds", limit)
        object.__setattr__(self, "until", moment)
        object.__setattr__(self, "name", checks.optional_text("name")(name))

    # -- a block -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Deadline:
        outer, now = SCOPE.get(), world.current.monotonic()
        scope = self._scope(outer, now, self.name)
        entry = _Entry(self)
        entered = scope._replace(entry=entry)
        entry.stay = Stay(entered, outer)
        entry.stay.__enter__()
        return Deadline(entered)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        scope = SCOPE.get()
        entry = scope.entry
        if not isinstance(entry, _Entry) or entry.by is not self or entry.stay is None:
            raise RuntimeError("deadlines must be left in the context and in the order in which they were entered")
        stay, entry.stay = entry.stay, None
        if stay.__exit__(kind, error, tb):
            raise scope.error() from stay.cause

    async def __aenter__(self) -> Deadline:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, tb)

    # -- a decorator -------------------------------------------------------------------------------------------------

    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]:
        """Decorate `fn`: each call gets a deadline of its own.

        Raises:
            TypeError: `fn` is a generator function, whose body runs after the call.
        """
        name = self.name or name_of_function(checked(fn, "deadline"))
        if is_async(fn):
            return cast("Callable[P, R]", self._decorated_async(name, cast("Callable[P, Awaitable[Any]]", fn)))

        @functools.wraps(fn)
        def call_in_time(*args: P.args, **kwargs: P.kwargs) -> R:
            outer = SCOPE.get()
            scope = self._scope(outer, world.current.monotonic(), name)
            if scope is outer:
                return fn(*args, **kwargs)
            token = SCOPE.set(scope)
            try:
                return fn(*args, **kwargs)
            finally:
                SCOPE.reset(token)

        return call_in_time

    def _decorated_async(self, name: str, fn: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        @functools.wraps(fn)
        async def call_in_time(*args: P.args, **kwargs: P.kwargs) -> R:
            outer = SCOPE.get()
            scope = self._scope(outer, world.current.monotonic(), name)
            if scope is outer:
                return await fn(*args, **kwargs)
            with Stay(scope, outer) as stay:
                return await fn(*args, **kwargs)
            raise scope.error() from stay.cause  # reached only if the stay's timer cut the call short

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
        scope = Scope(at, self.seconds, name, outer.stops) if at < outer.at else outer
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
        return Interrupting(seconds, name=name)

    @classmethod
    def from_headers(cls, headers: wire.Headers, /, *, at_most: Seconds | None, name: str | None = None) -> deadline:
        """The deadline that a request brought, as of now, when it arrives.

        Args:
            headers: The request's headers: a mapping or pairs, of text or bytes. ``request-timeout-ms`` and
                ``grpc-timeout`` are read.
            at_most: Seconds; the limit for requests that ask for more, or for none. None to trust them all.
            name: Which deadline, for people.

        Raises:
            ConfigError: A malformed value (answer it with a 400): it names the header.
        """
        asked = wire.limit_in(headers)
        return cls._bounded(asked, at_most, name)

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
        text = (os.environ if environ is None else environ).get(wire.ENVIRON)
        if text is None:
            return cls._bounded(None, at_most, name)
        left = wire.BootMoment.parse(text).left(host.boot_moment())
        if left is None:
            emit.warn("%s=%s is a moment of another boot or time namespace; it is not used", wire.ENVIRON, text)
        return cls._bounded(left, at_most, name)

    @classmethod
    def _bounded(cls, asked: float | None, at_most: Seconds | None, name: str | None) -> deadline:
        cap = math.inf if at_most is None else checks.seconds("at_most", at_most)
        left = min(math.inf if asked is None else asked, cap)
        return cls(name=name) if left == math.inf else cls(until=world.current.monotonic() + left, name=name)
