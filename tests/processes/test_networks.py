"""A store behind a network that loses things: what was acknowledged is done, once, and what was not is no riddle."""

from __future__ import annotations

import re

import pytest
from attrs import evolve
from tests.processes.children import Place
from tests.processes.work import counter

from resilience import deadline
from resilience.errors import DeadlineExceededError, OutcomeUnknownError, StoreUnavailableError
from resilience.testing.proxy import FaultProxy, ProxyFault


FAULTS = [
    ProxyFault.RESET,
    ProxyFault.LOSE_REQUEST,
    ProxyFault.LOSE_REPLY,
    ProxyFault.HANG_UP,
    ProxyFault.cut_reply(3),
    ProxyFault.delay(0.002, 0.002),
    ProxyFault.trickle(100_000),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("place", ["redis", "postgres"], indirect=True)
def test_an_update_over_a_bad_network_is_done_once_or_its_failure_says_what_is_not_known(
    place: Place, fault: ProxyFault, figures: list[str]
) -> None:
    port = int(re.search(r"127\.0\.0\.1:(\d+)", place.where)[1])  # type: ignore[index]
    acknowledged, unknown, unavailable = 0, 0, 0
    with FaultProxy("127.0.0.1", port) as proxy:
        behind = evolve(place, where=place.where.replace(str(port), str(proxy.port)))
        with behind.open() as store, deadline(20):
            count = counter(store, "count")
            count.update(lambda value: value + 1)
            with proxy.during(fault, chance=0.2):
                for _ in range(60):
                    try:
                        count.update(lambda value: value + 1)
                        acknowledged += 1
                    except OutcomeUnknownError:
                        unknown += 1
                    except StoreUnavailableError:
                        unavailable += 1
                assert proxy.strikes > 0
            last = count.update(lambda value: value + 1).value
    figures.append(f"{place.kind} {fault}: {acknowledged} done, {unknown} unknown, {unavailable} not done")
    assert acknowledged <= last - 2 <= acknowledged + unknown
    assert acknowledged > 0


@pytest.mark.parametrize(
    "fault",
    [
        ProxyFault.BLACKHOLE,
        ProxyFault.HALF_OPEN,
        ProxyFault.DROP_REQUEST,
        ProxyFault.DROP_REPLY,
        ProxyFault.STALL_REPLY,
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["redis", "postgres"], indirect=True)
def test_silence_ends_with_the_deadline_and_the_store_is_usable_afterwards(place: Place, fault: ProxyFault) -> None:
    port = int(re.search(r"127\.0\.0\.1:(\d+)", place.where)[1])  # type: ignore[index]
    with FaultProxy("127.0.0.1", port) as proxy:
        behind = evolve(place, where=place.where.replace(str(port), str(proxy.port)))
        with behind.open() as store:
            count = counter(store, "count")
            count.update(lambda value: value + 1)
            with proxy.during(fault):
                with pytest.raises((DeadlineExceededError, StoreUnavailableError, OutcomeUnknownError)):
                    with deadline(0.1):
                        count.update(lambda value: value + 1)
            done = count.update(lambda value: value + 1).value
            assert done in {2, 3}
