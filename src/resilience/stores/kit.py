"""What a store of your own, or a protocol over one, may be made of: the base of ours, steps and who carries them out, decisions.

`resilience.typing.Store` needs nothing of this; ``docs/how-to/write-a-store.md`` shows how it is used.
"""

from __future__ import annotations

from resilience._core.deciding import Shelf, decide
from resilience._core.description import every_fault, faults_but
from resilience._core.records import Now, Record, next_revision
from resilience._core.steps import (
    Call,
    Extend,
    GiveBack,
    Load,
    LoadMany,
    Pause,
    Remove,
    Scan,
    Step,
    Steps,
    Swap,
    Verb,
    Wait,
)
from resilience._io.drive import adrive, drive
from resilience._io.host import host_now
from resilience.stores._base import AsyncStoreBase, StoreBase, is_newer, looks


__all__ = [
    "AsyncStoreBase",
    "Call",
    "Extend",
    "GiveBack",
    "Load",
    "LoadMany",
    "Now",
    "Pause",
    "Record",
    "Remove",
    "Scan",
    "Shelf",
    "Step",
    "Steps",
    "StoreBase",
    "Swap",
    "Verb",
    "Wait",
    "adrive",
    "decide",
    "drive",
    "every_fault",
    "faults_but",
    "host_now",
    "is_newer",
    "looks",
    "next_revision",
]
