"""The storms of benchmarks/storms: the formulas are those of the libraries they are named after, and the laws hold."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import backoff
import pytest
import stamina._core
import tenacity

from resilience.testing import virtual_time


ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "why-full-jitter-with-a-budget.md"

with pytest.MonkeyPatch.context() as patched:
    patched.syspath_prepend(str(ROOT / "benchmarks"))
    from storms import crowd, scenarios
    from storms.formulas import BASE, CAP, FORMULAS
    from storms.report import Figures


CLIENTS = 200
ATTEMPTS = 20

Peer = Callable[[int], float]
"""The wait after attempt n, as another library has it; it draws from the module `random`."""

# -- the formulas ------------------------------------------------------------------------------------------------------


def of_tenacity(wait: Any) -> Peer:
    state = tenacity.RetryCallState(retry_object=tenacity.Retrying(), fn=None, args=(), kwargs={})

    def delay(attempt: int) -> float:
        state.attempt_number = attempt
        seconds: float = wait(state)
        return seconds

    return delay


def of_backoff(generator: Any, jitter: Any = None) -> Peer:
    waits = generator
    next(waits)  # the first one is not a wait

    def delay(_attempt: int) -> float:
        seconds: float = next(waits)
        return seconds if jitter is None else jitter(seconds)

    return delay


def of_stamina() -> Peer:
    return lambda attempt: stamina._core._compute_backoff(attempt, CAP, BASE, 2, 1.0)


def of_redress(name: str, base: float) -> Peer:
    strategies = pytest.importorskip("redress.strategies", reason="redress is of the bench group")
    strategy = getattr(strategies, name)(base_s=base, max_s=CAP)
    last: list[float | None] = [None]

    def delay(attempt: int) -> float:
        last[0] = strategy(attempt, None, last[0])
        assert last[0] is not None
        return last[0]

    return delay


def of_hyx() -> Peer:
    backoffs = pytest.importorskip("hyx.retry.backoffs", reason="hyx is of the bench group")
    waits = backoffs.softexp(median_delay_secs=BASE, max_delay_secs=CAP)
    return lambda _attempt: next(waits)


EXPONENTIAL = {"multiplier": BASE, "max": CAP}


@pytest.mark.parametrize(
    ("formula", "peer"),
    [
        pytest.param("none", lambda: of_tenacity(tenacity.wait_exponential(**EXPONENTIAL)), id="tenacity-none"),
        pytest.param("none", lambda: of_backoff(backoff.expo(2, BASE, CAP)), id="backoff-none"),
        pytest.param("fixed 1 s", lambda: of_tenacity(tenacity.wait_fixed(1)), id="tenacity-fixed"),
        pytest.param("full", lambda: of_tenacity(tenacity.wait_random_exponential(**EXPONENTIAL)), id="tenacity-full"),
        pytest.param("full", lambda: of_backoff(backoff.expo(2, BASE, CAP), backoff.full_jitter), id="backoff-full"),
        # It begins one doubling later.
        pytest.param("equal", lambda: of_redress("equal_jitter", BASE / 2), id="redress-equal"),
        pytest.param("decorrelated", lambda: of_redress("decorrelated_jitter", BASE), id="redress-decorrelated"),
        pytest.param("decorrelated V2", of_hyx, id="hyx-decorrelated-V2"),
        pytest.param("added, then capped", of_stamina, id="stamina-added"),
        pytest.param(
            "added, then capped",
            lambda: of_tenacity(tenacity.wait_exponential_jitter(**EXPONENTIAL, jitter=1)),
            id="tenacity-added",
        ),
    ],
)
def test_each_formula_is_the_one_it_is_named_after(formula: str, peer: Callable[[], Peer]) -> None:
    for seed in range(50):
        theirs = peer()
        random.seed(seed)
        expected = [theirs(attempt) for attempt in range(1, ATTEMPTS)]
        with virtual_time(seed=seed):  # ours draw from the World, which is then seeded alike
            ours = FORMULAS[formula].make(Random(seed))
            assert [ours.delay(attempt) for attempt in range(1, ATTEMPTS)] == pytest.approx(expected, rel=1e-12)


def test_plus_minus_is_a_fifth_of_what_the_cap_left() -> None:
    # gRPC's C core cannot be asked for a wait. This is what gRFC A6 says of it.
    waits = [FORMULAS["±20 %"].make(Random(seed)).delay(50) for seed in range(2_000)]
    assert 0.8 * CAP <= min(waits) < 0.81 * CAP
    assert 1.19 * CAP < max(waits) <= 1.2 * CAP


@pytest.mark.parametrize("name", [name for name, formula in FORMULAS.items() if formula.remembers])
def test_what_remembers_begins_anew_with_each_call(name: str) -> None:
    used, fresh = FORMULAS[name].make(Random(1)), FORMULAS[name].make(Random(2))
    for attempt in range(1, ATTEMPTS):
        used.delay(attempt)
    used.chance = Random(2)  # type: ignore[attr-defined]
    assert [used.delay(attempt) for attempt in (1, 2, 3)] == [fresh.delay(attempt) for attempt in (1, 2, 3)]


# -- what is counted ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_the_window_slides(seed: int) -> None:
    chance = Random(seed)
    moments = sorted(round(chance.uniform(0, 3), 2) for _ in range(60))
    most = max(
        (sum(first <= moment and moment - first < 0.1 for moment in moments) for first in moments if first >= 1),
        default=0,
    )
    assert crowd.most_in_a_window(moments, start=1.0) == most


def test_slots_hold_every_moment_once() -> None:
    moments = [0.0, 0.05, 0.1, 0.3, 0.1 * 3, 0.30000000004, 0.99]
    assert crowd.by_slot(moments, 1.0) == [2, 1, 0, 3, 0, 0, 0, 0, 0, 1]


def test_quantiles_are_values() -> None:
    assert [crowd.quantile([3.0, 1.0, 2.0, 4.0], share) for share in (0.0, 0.5, 0.51, 1.0)] == [1.0, 2.0, 3.0, 4.0]


def test_well_again_is_after_the_last_bad_second() -> None:
    calls = [0.05 + 0.1 * number for number in range(round(scenarios.LAST * 10))]
    assert scenarios.well_again(calls, [True] * len(calls)) == 0.0
    assert scenarios.well_again(calls, [False] * len(calls)) is None
    back = scenarios.BACK
    assert scenarios.well_again(calls, [not back + 2 <= moment < back + 3 for moment in calls]) == pytest.approx(3.0)


# -- the laws ------------------------------------------------------------------------------------------------------------


def test_without_a_budget_an_outage_takes_every_attempt() -> None:
    assert scenarios.load(1.0, CLIENTS, None).requests == 4.0


@pytest.mark.parametrize("process", [10, 100])
@pytest.mark.parametrize("failing", [0.01, 0.2, 1.0])
def test_a_budget_keeps_its_promise(failing: float, process: int) -> None:
    it = scenarios.load(failing, CLIENTS, process)
    assert it.bound is not None
    assert 1 < it.requests <= it.bound


def test_a_budget_costs_nothing_while_few_requests_fail() -> None:
    free, bound = scenarios.load(0.01, CLIENTS, None), scenarios.load(0.01, CLIENTS, 100)
    assert free.requests > 1
    assert (bound.requests, bound.failed) == (free.requests, free.failed)


def test_without_jitter_the_herd_stays_one() -> None:
    it = scenarios.herd("none", CLIENTS, 0.0)
    assert it.peak == it.peak_back == 1.0
    # 0.1 s, doubled up to 5 s: the twelfth attempt is at 31.3 s.
    assert it.requests == 12
    assert it.median == it.p99 == pytest.approx(1.3)


@pytest.mark.parametrize("name", sorted(FORMULAS.keys() - {"none", "fixed 1 s"}))
def test_every_jitter_scatters_the_herd(name: str) -> None:
    assert scenarios.herd(name, CLIENTS, 0.0).peak < 0.2


def test_full_jitter_recovers_soonest_and_asks_most() -> None:
    herds = {name: scenarios.herd(name, CLIENTS, 0.0) for name in ("full", "equal", "added, then capped")}
    assert [*herds] == sorted(herds, key=lambda name: herds[name].median)
    assert [*herds] == sorted(herds, key=lambda name: -herds[name].requests)


# In a smaller crowd chance alone makes more calls in a second than the server can serve.
@pytest.mark.parametrize(("clients", "attempts", "refusing"), [(2_000, 4, 0.5), (1_000, 10, 0.2)])
def test_retries_keep_a_server_down_and_a_budget_does_not(clients: int, attempts: int, refusing: float) -> None:
    held, free = (scenarios.recovery(clients, process, attempts, refusing) for process in (None, 100))
    assert held.seconds is None
    assert held.failed > 0.9
    assert free.seconds is not None
    assert free.seconds < 1
    assert free.failed < 0.01


def test_four_attempts_do_not_where_refusing_is_cheap() -> None:
    it = scenarios.recovery(1_000, None, 4, 0.2)
    assert it.seconds is not None
    assert it.seconds < 5
    assert it.failed < 0.01


@pytest.mark.parametrize("how", ["a number of seconds", "a moment"])
def test_nobody_comes_back_before_it_was_told_to(how: str) -> None:
    for client in scenarios.CLIENTS:
        it = scenarios.told(client, how, CLIENTS, 1.0)
        assert sum(it.load) == pytest.approx(1.0)  # the slots begin at that moment


def test_chance_on_top_of_a_moment_scatters() -> None:
    peaks = {client: scenarios.told(client, "a moment", CLIENTS, 1.0).peak for client in scenarios.CLIENTS}
    # The jitter of a first attempt is a tenth of a second, and so is a slot.
    assert peaks["nothing"] == peaks["the jitter of the attempt"] == 1.0
    assert peaks["ours, full jitter"] < peaks["ours, equal jitter"] < 0.1


def test_the_same_seed_gives_the_same_figures() -> None:
    for formula in FORMULAS:
        assert scenarios.herd(formula, 20, 1.0) == scenarios.herd(formula, 20, 1.0)
    one, other = (scenarios.herd("full", 20, 1.0, seed=seed) for seed in (1, 2))
    assert one != other


# -- the page ------------------------------------------------------------------------------------------------------------


def test_the_page_shows_the_figures_that_were_simulated() -> None:
    tables = [Figures(**table) for table in json.loads((PAGE.parent / "storms" / "storms.json").read_text("utf-8"))]
    page = PAGE.read_text(encoding="utf-8")
    shown = [page.find("\n".join(table.markdown())) for table in tables]
    assert -1 not in shown
    assert all(before < after for before, after in pairwise(shown))
