"""DATABASES: each client posts one charge, and the proxy loses it, or the answer to it."""

from __future__ import annotations

import pytest

from tests.idempotency.checking import check_executions, check_warning, each, each_fault, either_way
from tests.idempotency.database_clients import DATABASES
from tests.idempotency.matrix import Client, Counts, Service
from tests.servers.proxy import Fault


@either_way
@each_fault
@each(DATABASES)
def test_executions(
    client: Client, fault: Fault, idempotent: bool, service: Service, counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    """Once at most where the policy says ``idempotent=False``, once exactly where nothing was sent; twice by default."""
    check_executions(client, fault, idempotent, service, counts, caplog)


@each(DATABASES)
def test_the_doubt_is_said_once(client: Client, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """Two retries in doubt, one warning."""
    check_warning(client, service, caplog)
