"""Ten optimistic writers of one record, in virtual time: everybody gets through, soon, and in turn."""

from __future__ import annotations

from pathlib import Path

import pytest


with pytest.MonkeyPatch.context() as patched:
    patched.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from writers.policies import Policy
    from writers.simulated import simulate


@pytest.mark.parametrize(
    ("round_trip", "wakes"),
    [(0.00003, False), (0.0002, True), (0.0005, True)],
    ids=["embedded, looking", "near, woken", "far, woken"],
)
def test_ten_writers_all_get_through(round_trip: float, wakes: bool) -> None:
    """The figures that DESIGN asks for, beside those of the two usual policies, in the same world."""
    ours = simulate(Policy.OURS, round_trip, wakes=wakes)
    jitter = simulate(Policy.UNLIMITED, round_trip, wakes=wakes)
    assert ours.exact
    assert ours.success == 1.0
    assert ours.tries <= 6
    assert ours.p99 <= jitter.p99 / 4
    assert ours.share >= 0.4
    assert jitter.share < 0.1


@pytest.mark.parametrize("policy", [Policy.FIVE_AT_ONCE, Policy.FIVE_JITTERED], ids=str)
def test_five_optimistic_tries_lose_40_to_60_percent_of_updates(policy: Policy) -> None:
    """The control arm: what our own updates would do without turns."""
    usual = simulate(policy, 0.0002, wakes=True)
    assert usual.exact
    assert usual.success < 0.9
