"""Events out: to the policy's hooks, to the World's observers, and one line of stdlib logging a scheduled retry.

Nothing is computed when nobody listens. A hook that raises is logged and does no other harm: the caller's own
exception is what must come out.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resilience._core.retrying import text_of
from resilience._io import world
from resilience.typing import Hook


if TYPE_CHECKING:
    from logging import Logger

    from resilience._core.events import Event, RetryScheduled

__all__ = ["emit", "is_heard", "log_retry", "tell_overrun", "warn"]

_WARNING = 30


def is_heard(hooks: tuple[Hook, ...]) -> bool:
    """Whether anyone would hear what a call with these hooks tells: a hook, an observer, or the log."""
    if hooks or world.current.observers:
        return True
    try:
        return (_cached[0] if _cached else _logger()).isEnabledFor(_WARNING)
    except Exception:  # `logging` cannot be loaded, for want of a file descriptor: then nobody hears
        return False


def emit(hooks: tuple[Hook, ...], event: Event) -> None:
    """Tell the hooks, then the observers; what happens inside one of them is told to nobody."""
    with _telling() as alone:
        for listener in hooks + world.current.observers if alone else ():
            try:
                listener(event)
            except Exception:  # whatever a hook does, the retried call goes its way
                _logger().exception("a hook failed: %r", listener)


def log_retry(event: RetryScheduled, *, may_be_applied: bool) -> None:
    """One WARNING: who failed, how, and when it will be tried again."""
    logger = _logger()
    with _telling() as alone:
        if alone and logger.isEnabledFor(_WARNING):
            logger.warning(
                "%s: attempt %d%s failed (%s); next in %.3g s%s%s",
                event.name,
                event.attempt,
                "" if event.attempts is None else f" of {event.attempts}",
                "result refused" if event.error is None else text_of(event.error),
                event.delay,
                "" if event.verdict.after is None else f" (the server asked for {event.verdict.after:.3g} s)",
                "; it may already have been applied" if may_be_applied else "",
            )


def tell_overrun(limit: float | None, name: str | None, depth: int) -> None:
    """Tell the observers that a deadline has ended work."""
    from resilience._core.events import DeadlineExceeded  # noqa: PLC0415  # for those who observe

    emit((), DeadlineExceeded(name=name, limit=limit, depth=depth))


def warn(message: str, *args: object) -> None:
    """One WARNING of something that is not an event."""
    _logger().warning(message, *args)


@contextmanager
def _telling() -> Generator[bool]:
    """Whether this thread is not telling already.

    A listener that makes retried calls of its own, or whose lock is held when a finalizer or a signal handler makes one,
    must not be told of them from inside itself: that would never end.
    """
    if getattr(_inside, "telling", False):
        yield False
        return
    _inside.telling = True
    try:
        yield True
    finally:
        _inside.telling = False


_inside = threading.local()
_cached: list[Logger] = []


def _logger() -> Logger:
    # Imported on the first failure: `logging` costs more to import than the rest of retry.
    if not _cached:
        import logging  # noqa: PLC0415

        _cached.append(logging.getLogger("resilience"))
    return _cached[0]
