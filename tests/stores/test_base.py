"""What a store of one's own must bring to the base of ours."""

from __future__ import annotations

import asyncio

import pytest

from resilience.stores.kit import AsyncStoreBase, StoreBase


def test_a_store_that_brings_nothing_says_what_it_lacks() -> None:
    store = StoreBase("MyStore()")
    with pytest.raises(NotImplementedError):
        store.load("k")
    with pytest.raises(NotImplementedError):
        store.describe()
    store.close()


def test_an_async_store_that_brings_nothing_says_what_it_lacks() -> None:
    async def main() -> None:
        async with AsyncStoreBase("MyStore()") as store:
            with pytest.raises(NotImplementedError):
                await store.load("k")
            with pytest.raises(NotImplementedError):
                await store.describe()

    asyncio.run(main())
