"""The vocabulary as types: what has the right shape will do."""

from __future__ import annotations

import random

from resilience import ConstantBackoff, ExponentialBackoff, SequenceBackoff, retry, typing
from resilience._io.clock import SystemClock
from resilience._io.world import SystemRng
from resilience.testing import Script, VirtualClock, virtual_time


def test_all_is_sorted_and_there() -> None:
    assert typing.__all__ == sorted(typing.__all__)
    for name in typing.__all__:
        assert hasattr(typing, name)


def test_backoff_is_known_by_its_shape() -> None:
    for backoff in (ConstantBackoff(1), ExponentialBackoff(), SequenceBackoff([1])):
        assert isinstance(backoff, typing.Backoff)
    assert not isinstance(object(), typing.Backoff)


def test_a_backoff_of_ones_own_inherits_nothing() -> None:
    class Growing:
        def delay(self, attempt: int, /) -> float:
            return attempt * 10.0

    with virtual_time() as clock:
        assert retry(on=OSError, backoff=Growing()).call(Script(OSError(), OSError(), 1)) == 1
    assert clock.waits == [10.0, 20.0]


def test_our_own_have_the_shape_they_ask_for() -> None:
    """Every method of a protocol, on every one of its implementations."""
    for protocol, implementations in {
        typing.Clock: (SystemClock(), VirtualClock()),
        typing.Rng: (SystemRng(), random.Random(1)),
    }.items():
        wanted = [name for name in vars(protocol) if not name.startswith("_")]
        assert wanted
        for one in implementations:
            assert [name for name in wanted if not callable(getattr(one, name, None))] == []
