"""The claims, checked for one client: the test modules say for which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from resilience.instrumentation import GiveUpReason
from tests.idempotency.matrix import LONG, SHORT, Client, Counts, Service, counted, meeting
from tests.servers.proxy import Fault


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
    noticed = fault not in client.others
    sure = fault is Fault.REFUSE or not noticed
    assert seen.retries == (noticed and (idempotent or sure))
    assert seen.reason is (None if idempotent or sure else GiveUpReason.UNSURE)
    assert (seen.error is None) is (idempotent or sure)
    assert warnings_in(log) == (idempotent and not sure)


def check_warning(client: Client, service: Service, log: pytest.LogCaptureFixture) -> None:
    """However often a call is tried again in doubt, it is said once."""
    seen = counted(
        client, service, idempotent=True, expected=3, meeting=meeting(client, Fault.LOSE_REPLY, times=2)
    )
    assert (seen.executions, seen.retries, seen.strikes) == (3, 2, 2)
    assert warnings_in(log) == 1


def warnings_in(log: pytest.LogCaptureFixture) -> int:
    """How often it is said that the work may be done twice."""
    said = [record.getMessage() for record in log.records if record.name == "resilience" and WARNING in record.getMessage()]
    log.clear()
    return len(said)
