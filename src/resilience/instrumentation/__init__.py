"""Who is told what: the events, and the observers that hear those of every policy.

By default one line of stdlib logging, at WARNING on the logger ``resilience``, tells each scheduled retry. A policy's
own ``hooks=`` hear its own events; observers hear all. Nothing is computed when nobody listens, and a listener that
raises is logged and does no other harm.
"""

from __future__ import annotations

from resilience._core import checks
from resilience._core.events import DeadlineExceeded, Event, GaveUp, Recovered, RetryScheduled
from resilience._core.giveup import GiveUpReason
from resilience._io.world import observing
from resilience.errors import ConfigError
from resilience.typing import Hook


__all__ = ["DeadlineExceeded", "Event", "GaveUp", "GiveUpReason", "Recovered", "RetryScheduled", "observe"]


#: They make observers, and take one argument as an observer does: passed by themselves they would hear all and tell nobody.
_FACTORIES = frozenset({"logs", "metrics", "span_events"})


def observe(*observers: Hook) -> None:
    """Let these callables hear every event of every policy, in place of those set before; none of them: nobody does.

    Call it once, where the program starts. It is for the whole process; forked children inherit it.

    >>> from resilience.instrumentation import observe
    >>> heard = []
    >>> observe(heard.append)
    >>> observe()
    """
    for observer in observers:
        if str(getattr(observer, "__module__", "")).startswith(f"{__name__}."):
            name = getattr(observer, "__name__", "")
            if name in _FACTORIES:
                raise ConfigError("an observer", observer, f"what it makes: {name}(), with parentheses")
    observing(*checks.hooks(observers))
