"""The page that shows the counts has those that the other tests here count."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.idempotency.database_clients import NO_SQL, SQL
from tests.idempotency.http_clients import HTTP, HTTP_RETRYING, SDKS
from tests.idempotency.matrix import TIMES
from tests.idempotency.rpc_clients import BROKERS, RPC, RPC_RETRYING
from tests.servers.proxy import Fault


PAGE = (Path(__file__).parents[2] / "docs/how-to/retry-what-is-not-idempotent.md").read_text(encoding="utf-8")
#: What the page calls them.
FAULTS = {
    "refused": (Fault.REFUSE,),
    "request lost": (Fault.LOSE_REQUEST,),
    "answer lost": (Fault.LOSE_REPLY, Fault.HANG_UP, Fault.CUT_REPLY),
    "no answer": (Fault.STALL_REPLY,),
    "gone": (Fault.GO_AWAY,),
}
FAMILIES = {"HTTP": HTTP, "SDKs": SDKS, "databases": (*NO_SQL, *SQL), "brokers": BROKERS, "remote calls": RPC}
CLIENTS = [client for family in FAMILIES.values() for client in family]
RETRYING = [*HTTP_RETRYING, *RPC_RETRYING]


def table(heading: str) -> list[list[str]]:
    """The rows of the first table of a section, as text; the first one is its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [rows[0], *rows[2:]]


def plain(name: str) -> str:
    """A client without its colour."""
    return name.removesuffix(", async")


def test_the_matrix() -> None:
    """Each cell is what `TIMES` says of each of its faults."""
    head, *rows = table("What we counted")
    assert {fault for name in head[1:] for fault in FAULTS[name]} == set(Fault)
    for idempotent, *cells in rows:
        for name, cell in zip(head[1:], cells, strict=True):
            for fault in FAULTS[name]:
                assert int(cell) == TIMES[fault][idempotent == "`True`"], (name, idempotent)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_client_is_named(family: str) -> None:
    """The page leaves out nobody, and adds nobody."""
    line = next(line for line in PAGE.splitlines() if line.startswith(f"- {family}: "))
    named = re.sub(r" \([^)]*\)", "", line.removeprefix(f"- {family}: ")).split(", ")
    counted = {re.sub(r" with .*|, COMMIT", "", plain(client.name)) for client in FAMILIES[family]}
    assert sorted(named) == sorted(counted)


def test_every_exception_is_told() -> None:
    """Two cells differ; the page says which."""
    others = {(plain(client.name), fault): times for client in CLIENTS for fault, times in client.others.items()}
    assert others == {("botocore", Fault.CUT_REPLY): (1, 1), ("pika", Fault.GO_AWAY): (1, 2)}


def test_own_retries() -> None:
    """Each client that tries again by itself, or might be thought to, with how often it did the work."""
    _, *rows = table("Switch the client's own retries off")
    told = {name: int(done) for name, done, _ in rows}
    assert told == {plain(client.name): client.own for client in (*CLIENTS, *RETRYING) if client.own is not None}
    assert [client.name for client in (*CLIENTS, *RETRYING) if client.own_refused != 1] == ["grpc, a retryPolicy"]
