"""The kit that proves this library, for proving yours: time that does not pass, failures that come as written.

    with virtual_time() as clock:          # every wait of the library is over at once, and recorded
        fetch()
    assert clock.waits == [...]

`Script` fails as written; `flaky` makes a working function fail first. `VirtualClock` runs whole asyncio and trio
programs without waiting. `FaultProxy` is a network that loses things; `History` writes down what clients did, and
`check_linearizable` judges it; `Interleavings` runs a protocol through every order of its steps. `StoreContract` proves a store, with three lines; it and `strategies` need hypothesis, which
``pip install 'resilience-primitives[testing]'`` brings, and nothing else here does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from resilience.testing import strategies as strategies
    from resilience.testing.clock import VirtualClock as VirtualClock
    from resilience.testing.clock import VirtualDeadlock as VirtualDeadlock
    from resilience.testing.clock import virtual_time as virtual_time
    from resilience.testing.contracts import AsyncStoreContract as AsyncStoreContract
    from resilience.testing.contracts import Report as Report
    from resilience.testing.contracts import StoreContract as StoreContract
    from resilience.testing.contracts import check_async_store as check_async_store
    from resilience.testing.contracts import check_store as check_store
    from resilience.testing.history import History as History
    from resilience.testing.history import Operation as Operation
    from resilience.testing.interleavings import ClientView as ClientView
    from resilience.testing.interleavings import Explored as Explored
    from resilience.testing.interleavings import Faults as Faults
    from resilience.testing.interleavings import Interleavings as Interleavings
    from resilience.testing.interleavings import Interrupted as Interrupted
    from resilience.testing.interleavings import View as View
    from resilience.testing.interleavings import Violation as Violation
    from resilience.testing.interleavings import WaveringError as WaveringError
    from resilience.testing.linearizable import Linearizability as Linearizability
    from resilience.testing.linearizable import check_linearizable as check_linearizable
    from resilience.testing.models import CasRegister as CasRegister
    from resilience.testing.models import Model as Model
    from resilience.testing.models import VersionedRegister as VersionedRegister
    from resilience.testing.proxy import FaultProxy as FaultProxy
    from resilience.testing.proxy import ProxyFault as ProxyFault
    from resilience.testing.script import Script as Script
    from resilience.testing.script import ScriptedCall as ScriptedCall
    from resilience.testing.script import flaky as flaky
    from resilience.testing.versions import check_increments as check_increments
    from resilience.testing.versions import check_versions as check_versions
    from resilience.testing.versions import version_violations as version_violations

__all__ = [
    "AsyncStoreContract",
    "CasRegister",
    "ClientView",
    "Explored",
    "FaultProxy",
    "Faults",
    "History",
    "Interleavings",
    "Interrupted",
    "Linearizability",
    "Model",
    "Operation",
    "ProxyFault",
    "Report",
    "Script",
    "ScriptedCall",
    "StoreContract",
    "VersionedRegister",
    "View",
    "Violation",
    "VirtualClock",
    "VirtualDeadlock",
    "WaveringError",
    "check_async_store",
    "check_increments",
    "check_linearizable",
    "check_store",
    "check_versions",
    "flaky",
    "strategies",
    "version_violations",
    "virtual_time",
]

#: Where each name lives; a module lives in itself.
_HOME = {
    "AsyncStoreContract": "contracts",
    "CasRegister": "models",
    "ClientView": "interleavings",
    "Explored": "interleavings",
    "FaultProxy": "proxy",
    "Faults": "interleavings",
    "History": "history",
    "Interleavings": "interleavings",
    "Interrupted": "interleavings",
    "Linearizability": "linearizable",
    "Model": "models",
    "Operation": "history",
    "ProxyFault": "proxy",
    "Report": "contracts",
    "Script": "script",
    "ScriptedCall": "script",
    "StoreContract": "contracts",
    "VersionedRegister": "models",
    "View": "interleavings",
    "Violation": "interleavings",
    "VirtualClock": "clock",
    "VirtualDeadlock": "clock",
    "WaveringError": "interleavings",
    "check_async_store": "contracts",
    "check_increments": "versions",
    "check_linearizable": "linearizable",
    "check_store": "contracts",
    "check_versions": "versions",
    "flaky": "script",
    "strategies": "strategies",
    "version_violations": "versions",
    "virtual_time": "clock",
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
