"""What a store promises, and what is asked of it."""

from __future__ import annotations

from typing import Any

import pytest

from resilience._core.description import every_fault, faults_but
from resilience.errors import ConfigError
from resilience.stores import Fault, MemoryStore


def test_a_store_too_weak_for_its_use_is_refused_by_what_it_lacks() -> None:
    description = MemoryStore().describe()
    description.require(["guards", "linearizable"])
    with pytest.raises(ConfigError, match="one that is durable, shared"):
        description.require(["guards", "durable", "shared"])


def test_a_trait_that_is_none_is_refused() -> None:
    nonsense: Any = ["durabel"]
    with pytest.raises(ConfigError, match="one of batch_extend, durable"):
        MemoryStore().describe().require(nonsense)


def test_faults_come_alone_and_in_pairs() -> None:
    assert len(every_fault()) == 4 + 6
    pair = (Fault.EMPTIED, Fault.CLOCK_SET_BACK)
    assert every_fault() - faults_but(pair) == {frozenset(pair)}
