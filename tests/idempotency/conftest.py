"""The real servers of the matrix, and the matrix as it was counted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
from tests.idempotency import services
from tests.idempotency.counting import counting_server
from tests.idempotency.matrix import Client, Counts, Service
from tests.servers.nats import nats_server as a_nats_server
from tests.servers.postgres import postgres_server as a_postgres_server
from tests.servers.proxy import Fault
from tests.servers.rabbitmq import Broker
from tests.servers.redis import redis_server as a_redis_server


COUNTS = pytest.StashKey[Counts]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COUNTS] = {}


@pytest.fixture
def counts(request: pytest.FixtureRequest) -> Counts:
    """Where a test leaves what it counted."""
    return request.config.stash[COUNTS]


@pytest.fixture
def service(request: pytest.FixtureRequest, client: Client) -> Service:
    """The server of the client of this test."""
    found: Service = request.getfixturevalue(client.service)
    return found


@pytest.fixture(scope="module")
def http_server() -> Iterator[Service]:
    with counting_server() as server:
        yield server


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with a_redis_server(tmp_path_factory.mktemp("redis")) as server, services.counting_redis(server.port) as service:
        yield service


@pytest.fixture(scope="module")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with a_postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        with services.counting_postgres(server.port) as service:
            yield service


@pytest.fixture(scope="module")
def mongo_server() -> Iterator[Service]:
    with services.counting_mongo() as service:
        yield service


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with a_nats_server(tmp_path_factory.mktemp("nats")) as server, services.counting_nats(server.port) as service:
        yield service


@pytest.fixture(scope="module")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with contextlib.closing(Broker(tmp_path_factory.mktemp("rabbitmq"), {})) as broker:
        with services.counting_rabbitmq(broker.port) as service:
            yield service


@pytest.fixture(scope="module")
def websocket_server() -> Iterator[Service]:
    with services.counting_websockets() as service:
        yield service


@pytest.fixture(scope="module")
def grpc_server() -> Iterator[Service]:
    with services.counting_grpc() as service:
        yield service


@pytest.fixture(scope="module")
def mcp_server() -> Iterator[Service]:
    with services.counting_mcp() as service:
        yield service


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The matrix: how often each client's work was done."""
    counts = config.stash[COUNTS]
    if not counts or not (config.option.verbose > 0 or os.environ.get("CI")):
        return
    terminalreporter.section("how often the work was done: client, idempotent, fault")
    width = max(len(name) for name, _, _ in counts)
    terminalreporter.write_line(" ".join(["client".ljust(width), "idempotent", *Fault]))
    for name, idempotent in dict.fromkeys((name, idempotent) for name, idempotent, _ in counts):
        cells = [str(counts.get((name, idempotent, fault), "")).ljust(len(fault)) for fault in Fault]
        terminalreporter.write_line(" ".join([name.ljust(width), str(idempotent).ljust(10), *cells]).rstrip())
