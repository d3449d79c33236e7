"""Clients that try again by themselves, and are left to: how often a charge is made whose answer is lost.

No policy can hinder them. What a policy can do is not to trust their last error: that one says what became of the last
try, while one before it may have done the work.
"""

from __future__ import annotations

import pytest
from tests.idempotency.checking import check_own_retries, each
from tests.idempotency.database_clients import NO_SQL
from tests.idempotency.http_clients import HTTP, HTTP_RETRYING, SDKS
from tests.idempotency.matrix import Client, Service
from tests.idempotency.rpc_clients import BROKERS, RPC, RPC_RETRYING


# google-api-core says so of every error.
pytestmark = pytest.mark.filterwarnings("ignore:Please install grpcio-status:ImportWarning")

LEFT_ON = [
    client
    for client in (*HTTP, *HTTP_RETRYING, *SDKS, *NO_SQL, *BROKERS, *RPC, *RPC_RETRYING)
    if client.own is not None
]
#: Of a library in two colours one is enough where it waits for seconds.
SOON = [client for client in LEFT_ON if client.name not in {"anthropic, async", "openai, async", "redis, async"}]


@each(LEFT_ON)
def test_one_lost_answer(client: Client, service: Service) -> None:
    """The client's own retry does the work a second time, and nobody is told; ours does not come to it."""
    check_own_retries(client, service, then_refuse=False)


@each(SOON)
def test_a_lost_answer_and_then_nobody(client: Client, service: Service) -> None:
    """The last error is a refused connection: that this try did nothing is no proof, and the policy gives up in doubt."""
    check_own_retries(client, service, then_refuse=True)
