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
from resilience.typing import Hook


__all__ = ["DeadlineExceeded", "Event", "GaveUp", "GiveUpReason", "Recovered", "RetryScheduled", "observe"]


def observe(*observers: Hook) -> None:
    """Let these callables hear every event of every policy, in place of those set before; none of them: nobody does.

    Call it once, where the program starts. It is for the whole process; forked children inherit it.

    >>> from resilience.instrumentation import observe
    >>> heard = []
    >>> observe(heard.append)
    >>> observe()
    """
    observing(*checks.hooks(observers))
