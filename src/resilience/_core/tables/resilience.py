"""This library's own errors: what its stores and locks say.

`DeadlineExceededError` is not here: it is judged as the `TimeoutError` that it is.
"""

from __future__ import annotations

from resilience._core.rows import Always, Table
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

TABLE = Table(
    "resilience",
    (
        Always("resilience.errors.StoreUnavailableError", Verdict.transient(reason="the store cannot be reached")),
        Always("resilience.errors.OutcomeUnknownError", Verdict.unsure(reason="the answer to a write was lost")),
        # Of use where what is tried again reads anew.
        Always("resilience.errors.VersionConflictError", Verdict.transient(reason="somebody wrote in between")),
        Always("resilience.errors.LeaseError", Verdict.permanent("not, or no longer, the holder")),
        Always("resilience.errors.StateError", Verdict.permanent("not a matter of time")),
    ),
    source="resilience/errors.py",
)
