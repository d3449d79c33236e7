"""This library's own errors, as its own stores raise them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests.core.tables.proving import Proof
from tests.servers.http import free_port
from tests.servers.proxy import Fault, proxying
from tests.servers.redis import redis_server

from resilience import transient
from resilience.errors import DeadlineExceededError, ResilienceError
from resilience.stores import ABSENT, ANY, Guard, MemoryStore, RedisStore, SQLiteStore


def error_of(fn: object, *args: object, **kwargs: object) -> ResilienceError:
    """What the call raises."""
    with pytest.raises(ResilienceError) as caught:
        fn(*args, **kwargs)  # type: ignore[operator]
    return caught.value


def test_a_store_that_cannot_be_reached(proof: Proof) -> None:
    with RedisStore(f"redis://127.0.0.1:{free_port()}") as store:
        error = error_of(store.compare_and_set, "k", b"", expected=ANY)
    proof.server(error, "resilience.errors.StoreUnavailableError", "transient")


def test_a_lost_answer(proof: Proof, tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, proxying(server.port) as proxy:
        with RedisStore(f"redis://127.0.0.1:{proxy.port}") as store:
            store.ping()
            proxy.arm(Fault.LOSE_REPLY)
            error = error_of(store.compare_and_set, "k", b"", expected=ANY)
    proof.server(error, "resilience.errors.OutcomeUnknownError", "unsure")


def test_a_conflict_and_a_refused_guard(proof: Proof) -> None:
    store = MemoryStore()
    conflict = error_of(store.compare_and_set, "k", b"", expected=7)
    proof.server(conflict, "resilience.errors.VersionConflictError", "transient")
    refused = error_of(store.compare_and_set, "k", b"", expected=ABSENT, guard=Guard("lease", 7))
    proof.server(refused, "resilience.errors.LeaseError", "permanent")


def test_a_damaged_record(proof: Proof, tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "x.db") as store:
        store.compare_and_set("k", b"right", expected=ABSENT)
        other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
        other.execute("UPDATE records SET value = CAST('wrong' AS BLOB)")
        other.close()
        error = error_of(store.load, "k")
    proof.server(error, "resilience.errors.StateError", "permanent")


def test_a_deadline_is_judged_as_the_timeout_it_is() -> None:
    ours, plain = transient(DeadlineExceededError(1.0)), transient(TimeoutError())
    assert ours == plain
    assert ours is not None
