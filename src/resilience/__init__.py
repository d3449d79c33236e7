"""Work that must survive failure: retry, deadlines, and what follows from them.

The map of the house. A floor uses only the floors below it (import-linter keeps it so):

    roof     __init__           this front door; each name is loaded on its first use
             testing            the kit: virtual time, scripts of failures
    ring 1   _optimistic                             optimistic locking: read, change, compare-and-set
             _retry _attempt _backoff _transient     retry: the policy, its loop form, the waits, what is worth it
             _deadline _moment _interrupting         deadline: a time budget that everything called can see
             instrumentation                         events, and who is told: structlog, Prometheus, OpenTelemetry
    stores   memory file sqlite redis postgres etcd  small values under keys, with revisions; _threaded for async code
    _io      ambient stay       the Scope: the deadline and the stops around us; the retries around; a block's time
             world clock emit   time, chance, and events out
             call attempts budget                    one retried call; its attempts and waits; the shared budget
             aio waiting        asyncio and trio, told apart in one place; waits that end where the work must
             drive disk host    the two hands of a protocol; the file-system protocol; this machine's clocks
    _core    retrying giveup backoff budget deadline config functions checks
             classify explaining finding rows tables verdict    what is worth trying again: one table a library, made of rows
             events fields measures                     what is told, as records, as flat fields, as metrics
             records steps deciding description         what a store keeps, is asked, answers, and promises
             updating turns merging codecs              optimistic updates, whose turn it is, merges, values as bytes
             the decisions: values in, values out, nothing read and nothing waited for
    ground   errors typing      what is raised; what a user may bring

Start at `retry` and `deadline`; both work on functions, methods and coroutine functions, under asyncio and trio. Then at
`open_store` and `OptimisticLock`, for what several processes change.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from resilience import errors as errors
    from resilience import instrumentation as instrumentation
    from resilience import stores as stores
    from resilience import typing as typing
    from resilience._attempt import Attempt as Attempt
    from resilience._backoff import ConstantBackoff as ConstantBackoff
    from resilience._backoff import ExponentialBackoff as ExponentialBackoff
    from resilience._backoff import SequenceBackoff as SequenceBackoff
    from resilience._core.backoff import Jitter as Jitter
    from resilience._core.merging import merge_appends as merge_appends
    from resilience._core.merging import merge_counters as merge_counters
    from resilience._core.merging import merge_mappings as merge_mappings
    from resilience._core.merging import merge_sets as merge_sets
    from resilience._core.records import Versioned as Versioned
    from resilience._core.verdict import Verdict as Verdict
    from resilience._core.verdict import VerdictKind as VerdictKind
    from resilience._deadline import deadline as deadline
    from resilience._io.budget import RetryBudget as RetryBudget
    from resilience._moment import Deadline as Deadline
    from resilience._moment import current_deadline as current_deadline
    from resilience._optimistic import AsyncOptimisticLock as AsyncOptimisticLock
    from resilience._optimistic import OptimisticLock as OptimisticLock
    from resilience._retry import RetryPolicy as RetryPolicy
    from resilience._retry import retry as retry
    from resilience._transient import transient as transient
    from resilience._version import __version__ as __version__
    from resilience.stores._opening import aopen_store as aopen_store
    from resilience.stores._opening import open_store as open_store

__all__ = [
    "AsyncOptimisticLock",
    "Attempt",
    "ConstantBackoff",
    "Deadline",
    "ExponentialBackoff",
    "Jitter",
    "OptimisticLock",
    "RetryBudget",
    "RetryPolicy",
    "SequenceBackoff",
    "Verdict",
    "VerdictKind",
    "Versioned",
    "aopen_store",
    "current_deadline",
    "deadline",
    "errors",
    "instrumentation",
    "merge_appends",
    "merge_counters",
    "merge_mappings",
    "merge_sets",
    "open_store",
    "retry",
    "stores",
    "transient",
    "typing",
]

#: Where each name lives; a module lives in itself.
_HOME = {
    "AsyncOptimisticLock": "_optimistic",
    "Attempt": "_attempt",
    "ConstantBackoff": "_backoff",
    "Deadline": "_moment",
    "ExponentialBackoff": "_backoff",
    "Jitter": "_core.backoff",
    "OptimisticLock": "_optimistic",
    "RetryBudget": "_io.budget",
    "RetryPolicy": "_retry",
    "SequenceBackoff": "_backoff",
    "Verdict": "_core.verdict",
    "VerdictKind": "_core.verdict",
    "Versioned": "_core.records",
    "__version__": "_version",
    "aopen_store": "stores._opening",
    "current_deadline": "_moment",
    "deadline": "_deadline",
    "errors": "errors",
    "instrumentation": "instrumentation",
    "merge_appends": "_core.merging",
    "merge_counters": "_core.merging",
    "merge_mappings": "_core.merging",
    "merge_sets": "_core.merging",
    "open_store": "stores._opening",
    "retry": "_retry",
    "stores": "stores",
    "transient": "_transient",
    "typing": "typing",
}


if not TYPE_CHECKING:  # or every misspelt name would be of type Any

    def __getattr__(name: str) -> Any:
        home = _HOME.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(f"{__name__}.{home}")
        value = module if home == name else getattr(module, name)
        globals()[name] = value  # found without this detour from now on
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
