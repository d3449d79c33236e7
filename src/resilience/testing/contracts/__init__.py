"""Contracts: what the makers of a part prove it with, whoever they are.

    class TestMine(StoreContract):
        def make_store(self, clock):
            return MyStore(clock=clock)

`check_store` does the same without pytest, and returns a report.
"""

from __future__ import annotations

from resilience.testing.contracts.report import Report, check_async_store, check_store
from resilience.testing.contracts.store import AsyncStoreContract, StoreContract


__all__ = ["AsyncStoreContract", "Report", "StoreContract", "check_async_store", "check_store"]
