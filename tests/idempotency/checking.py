"""The claims, checked for one client: the test modules say for which."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.idempotency.matrix import LONG, SHORT, Client, Counts, Service, counted, meeting
from tests.servers.proxy import Fault, Proxy

from resilience.instrumentation import GiveUpReason


#: What the log says of a retry that may do the work twice.
WARNING = "it may already have been applied"


def each(clients: Sequence[Client]) -> pytest.MarkDecorator:
    """The test, for each of these clients."""
    return pytest.mark.parametrize("client", clients, ids=[client.name.replace(", ", "-") for client in clients])


each_fault = pytest.mark.parametrize("fault", Fault)
either_way = pytest.mark.parametrize("idempotent", [False, True], ids=["not-idempotent", "idempotent"])


def check_executions(
    client: Client, fault: Fault, idempotent: bool, service: Service, counts: Counts, log: pytest.LogCaptureFixture
) -> None:
    """The work is done exactly as often as the documentation says, and the caller is told what is known of it."""
    expected = client.times(fault, idempotent=idempotent)
    seen = counted(
        client,
        service,
        idempotent=idempotent,
        expected=expected,
        meeting=meeting(client, fault),
        patience=SHORT if fault is Fault.STALL_REPLY else LONG,
    )
    counts[client.name, idempotent, fault] = seen.executions
    assert seen.strikes == (fault is not Fault.REFUSE)
    assert seen.executions == expected, f"{seen.error!r}"
    unsure = client.times(fault, idempotent=True) > client.times(fault, idempotent=False)
    retries = fault is Fault.REFUSE or (unsure and idempotent)
    reason = GiveUpReason.UNSURE if unsure and not idempotent else None
    assert (seen.retries, seen.reason) == (retries, reason), f"{seen.error!r}"
    assert (seen.error is None) is (reason is None)
    assert warnings_in(log) == (unsure and idempotent)


def check_idle(client: Client, service: Service, idempotent: bool) -> None:
    """A connection was closed while nothing was under way: a client that notices makes another one, a second try is sure to."""

    async def close(proxy: Proxy) -> None:
        proxy.hang_up()
        await asyncio.sleep(0.1)  # for the client's background to notice

    met = close if client.asynchronous else Proxy.hang_up
    seen = counted(client, service, idempotent=idempotent, expected=None, meeting=met)
    assert seen.executions == (seen.error is None)
    assert seen.reason is (None if seen.error is None else GiveUpReason.UNSURE)
    assert not (idempotent and seen.error)


def check_own_retries(client: Client, service: Service, then_refuse: bool) -> None:
    """What a client tries again by itself is done again; no policy adds to that."""
    expected = client.own_refused if then_refuse else client.own
    assert expected is not None
    seen = counted(
        client,
        service,
        idempotent=False,
        expected=expected,
        meeting=meeting(client, Fault.LOSE_REPLY, then_refuse=then_refuse),
        own_retries=True,
    )
    assert (seen.executions, seen.strikes) == (expected, 1), f"{seen.error!r}"
    assert seen.retries == (then_refuse and expected > 1)


def check_warning(client: Client, service: Service, log: pytest.LogCaptureFixture) -> None:
    """However often a call is tried again in doubt, it is said once."""
    seen = counted(client, service, idempotent=True, expected=3, meeting=meeting(client, Fault.LOSE_REPLY, times=2))
    assert (seen.executions, seen.retries, seen.strikes) == (3, 2, 2)
    assert warnings_in(log) == 1


def warnings_in(log: pytest.LogCaptureFixture) -> int:
    """How often it is said that the work may be done twice."""
    said = [
        record.getMessage() for record in log.records if record.name == "resilience" and WARNING in record.getMessage()
    ]
    log.clear()
    return len(said)
