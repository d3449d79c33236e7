"""The Deadline: the moment by which the work around us must end, as that work sees it, and how it crosses borders.

A thread is given it with the context (`bind`), a server by headers, a child process by its environment. Tasks inherit
it by themselves.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from attrs import frozen

from resilience._core.functions import is_async, name_of_function
from resilience._io.ambient import Scope, enter_scope, scope_now
from resilience.typing import Seconds


__all__ = ["Deadline", "current_deadline"]

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

    def timeout(self, cap: Seconds | None = None) -> float | None:
        """Seconds that one I/O call may take now, for its ``timeout=``.

        The time until the deadline or until the earliest stop, and no more than `cap`. Never 0 or less, which sockets
        take for "do not block": where nothing is left, it raises as `check` does.

        Args:
            cap: Seconds, above 0; None for no cap.

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
        context.run(enter_scope, self._scope)

        @functools.wraps(fn)
        def bound(*args: P.args, **kwargs: P.kwargs) -> R:
            # A context can be entered once at a time; a copy costs nothing and lets the calls overlap.
            return context.copy().run(fn, *args, **kwargs)

        return bound

    def headers(self) -> dict[str, str]:
        """The HTTP headers that carry what is left now: ``request-timeout-ms``, and ``grpc-timeout`` in gRPC's grammar.

        Read back by `deadline.from_headers`.
        """
        from resilience._core.deadline import headers_for  # noqa: PLC0415  # for those who cross a border

        return headers_for(self.remaining)

    def env(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """An environment for a child process, with ``RESILIENCE_DEADLINE`` in it; read back by `deadline.from_env`.

        Args:
            environ: What to add it to; None for this process's own environment.
        """
        from resilience._core.deadline import ENVIRON  # noqa: PLC0415
        from resilience._io.host import boot_moment  # noqa: PLC0415

        child = dict(os.environ if environ is None else environ)
        child.pop(ENVIRON, None)
        if self.at != math.inf:
            child[ENVIRON] = str(boot_moment().after(self.remaining))
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
    scope = scope_now()
    return None if scope.at == math.inf and not scope.stops else Deadline(scope)
