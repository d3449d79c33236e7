"""PostgreSQL: how often a charge is written whose request, or whose answer, is lost."""

from __future__ import annotations

import pytest
from tests.idempotency.checking import check_executions, check_idle, check_warning, each, each_fault, either_way
from tests.idempotency.database_clients import SQL
from tests.idempotency.matrix import Client, Counts, Service
from tests.servers.proxy import Fault


@either_way
@each_fault
@each(SQL)
def test_executions(
    client: Client, fault: Fault, idempotent: bool, service: Service, counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    """At most once with ``idempotent=False``, exactly once where nothing was sent; the default does it twice."""
    check_executions(client, fault, idempotent, service, counts, caplog)


@either_way
@each(SQL)
def test_a_connection_closed_while_idle(client: Client, idempotent: bool, service: Service) -> None:
    """At most once here too, and by default once exactly."""
    check_idle(client, service, idempotent)


@each(SQL)
def test_the_doubt_is_said_once(client: Client, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """Two retries in doubt, one warning."""
    check_warning(client, service, caplog)
