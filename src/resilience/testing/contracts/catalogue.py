"""All clauses, in the order in which they are told."""

from __future__ import annotations

import importlib

from resilience.testing.contracts.clauses import CLAUSES


__all__ = ["CLAUSES"]

#: The modules that bring them.
_PARTS = (
    "keeping", "writing", "expiring", "beating", "guarding", "taking", "listing", "living", "racing", "machines",
)  # fmt: skip

for _part in _PARTS:
    importlib.import_module(f"resilience.testing.contracts.{_part}")
