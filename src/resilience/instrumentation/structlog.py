"""Events to structlog: one log line each, with flat fields. Needs the extra ``structlog``."""

from __future__ import annotations

from typing import Any, cast

import structlog

from resilience._core.events import Event, GaveUp, Recovered
from resilience._core.fields import fields_of, name_of_event
from resilience._core.giveup import GiveUpReason
from resilience.typing import Hook


__all__ = ["logs"]

_NOT_A_LIMIT = frozenset({GiveUpReason.PERMANENT, GiveUpReason.SHIELDED})


def logs(logger: Any = None) -> Hook:
    """An observer that logs every event by structlog, as ``resilience.retry_scheduled`` and so on.

    What asks for nobody's attention is told at INFO: a recovery, a failure that was never worth trying again, a call that the
    retry around it tries again. The rest is told at WARNING. The stdlib logger
    ``resilience`` still tells each retry: set its level to ERROR to hear it once.

    Args:
        logger: A structlog logger; None for ``structlog.get_logger("resilience")``, configured as the program has it.

    >>> from resilience.instrumentation import observe
    >>> from resilience.instrumentation.structlog import logs
    >>> observe(logs())
    >>> observe()
    """
    log = structlog.get_logger("resilience") if logger is None else logger

    def tell(event: Event) -> None:
        quiet = isinstance(event, Recovered) or (isinstance(event, GaveUp) and event.reason in _NOT_A_LIMIT)
        # structlog calls the text of a line "event" and often keeps the logger's name in "name".
        fields = cast("dict[str, Any]", fields_of(event))
        fields["policy"] = fields.pop("name", "")
        (log.info if quiet else log.warning)(f"resilience.{name_of_event(event)}", **fields)

    return tell
