"""A place for a store of each kind that several processes can share."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.processes.children import Place
from tests.servers.postgres import postgres_server
from tests.servers.redis import redis_server


_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> list[str]:
    """What was measured: said at the end, to those who ask for more than dots."""
    return pytestconfig.stash.setdefault(_FIGURES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was measured."""
    figures = config.stash.get(_FIGURES, [])
    if figures and (config.option.verbose > 0 or os.environ.get("CI")):
        terminalreporter.section("stores under many processes")
        for line in figures:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server.dsn


def _on_disk(kind: str, directory: Path) -> Place:
    return Place(kind, str(directory / kind), "")


@pytest.fixture(params=["sqlite", "file", "redis", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Each kind in turn, empty."""
    if request.param in {"sqlite", "file"}:
        return _on_disk(request.param, tmp_path)
    name = f"test_{secrets.token_hex(8)}"
    if request.param == "redis":
        return Place("redis", request.getfixturevalue("redis_url"), name)
    place = Place("postgres", request.getfixturevalue("postgres_dsn"), name)
    with place.open() as store:
        store.create_schema()
    return place


@pytest.fixture(params=["sqlite", "file"])
def disk_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Those whose clock is this machine's."""
    return _on_disk(request.param, tmp_path)
