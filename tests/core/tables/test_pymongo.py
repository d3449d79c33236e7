"""pymongo, row by row: real clients, sync and asyncio, against a stand-in that answers with the server's own documents."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import dns.message
import dns.rcode
import dns.resolver
import pymongo
import pymongo.errors
import pytest
from bson.errors import InvalidDocument
from pymongo import AsyncMongoClient, InsertOne, MongoClient, WriteConcern
from tests.core.tables.proving import Proof
from tests.servers.http import free_port, untrusted
from tests.servers.mongo import OK, Answer, Standing, failure, mongo_server

from resilience._core.tables.pymongo import _CODE


#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.1
NO_CRYPT = "it needs pymongocrypt, which is not installed"

SELECTION = "pymongo.errors.ServerSelectionTimeoutError, servers:"
RAISED = "pymongo.errors.ConnectionFailure, raised"
CONNECTING = "pymongo.errors.ConnectionFailure, by its __cause__"
LABEL = "pymongo.errors.PyMongoError, label"
CODE = "pymongo.errors.OperationFailure, code"
ANY_OTHER = "pymongo.errors.OperationFailure, any other code"
WRITTEN = {**OK, "n": 1}

#: One operation on a collection, by a client of one colour: its error.
Ask: TypeAlias = Callable[..., Exception]


def raised(work: Callable[..., object], *args: Any, **options: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        work(*args, **options)
    return caught.value


def once(**options: Any) -> dict[str, Any]:
    """How to make a client that does not try again by itself."""
    return {"retryWrites": False, "retryReads": False, "serverSelectionTimeoutMS": 5000, **options}


def ask(url: str, method: str, *args: Any, linger: float = 0, **options: Any) -> Exception:
    """After the error it lingers: a client that is closed while its monitor connects leaves that socket open."""
    with MongoClient[dict[str, Any]](url, **once(**options)) as client:
        error = raised(getattr(client.db.things, method), *args)
        time.sleep(linger)
        return error


async def aask(url: str, method: str, *args: Any, linger: float = 0, **options: Any) -> Exception:
    async with AsyncMongoClient[dict[str, Any]](url, **once(**options)) as client:
        with pytest.raises(Exception) as caught:
            await getattr(client.db.things, method)(*args)
        await asyncio.sleep(linger)
        return caught.value


@pytest.fixture(params=["sync", "asyncio"])
def error_of(request: pytest.FixtureRequest) -> Ask:
    """The error of an operation, by a client of that colour."""
    return ask if request.param == "sync" else lambda *args, **options: asyncio.run(aask(*args, **options))


def says(*answers: dict[str, Any] | None) -> Answer:
    """Answer the first command with the first one, and so on; the last one answers all that follow. None hangs up."""
    left = list(answers)
    return lambda _command: left.pop(0) if len(left) > 1 else left[0]


# Connecting.


def test_refused(proof: Proof, error_of: Ask) -> None:
    """Nobody listens: the monitor finds it out, and the operation waits for a server in vain."""
    url = f"mongodb://127.0.0.1:{free_port()}/?directConnection=true"
    error = error_of(url, "insert_one", {}, serverSelectionTimeoutMS=50, linger=SOON)
    assert error.timeout  # type: ignore[attr-defined]
    proof.server(error, f"{SELECTION} none in time", "transient")


def test_a_certificate_that_is_not_trusted(proof: Proof, error_of: Ask) -> None:
    """The driver says that no server came in time; why, it says in words."""
    with mongo_server(says(OK), ssl_context=untrusted()) as server:
        error = error_of(server.url, "insert_one", {}, tls=True, serverSelectionTimeoutMS=50, linger=SOON)
    proof.server(error, f"{SELECTION} none trusted", "permanent")


def test_no_primary(proof: Proof, error_of: Ask) -> None:
    with mongo_server(says(OK), isWritablePrimary=False, secondary=True) as server:
        url = f"mongodb://127.0.0.1:{server.port}/?replicaSet=one"
        error = error_of(url, "insert_one", {}, serverSelectionTimeoutMS=50, linger=SOON)
    proof.server(error, f"{SELECTION} none in time", "transient")


def test_refused_where_the_monitor_is_connected(proof: Proof, error_of: Ask) -> None:
    """The pool makes its own connections. The driver calls that an overload; no server has said so."""
    with mongo_server(says(OK), connections=1) as server:
        error = error_of(server.url, "insert_one", {})
    assert error.has_error_label("SystemOverloadedError")  # type: ignore[attr-defined]
    proof.server(error, CONNECTING, "transient")


def test_hung_up_before_the_command(proof: Proof, error_of: Ask) -> None:
    with mongo_server(says(OK), hello=None) as server:
        error = error_of(server.url, "insert_one", {})
        assert server.commands == []
    proof.server(error, "pymongo.errors.ConnectionFailure, nothing known inside", "transient")


def test_not_authenticated(proof: Proof, error_of: Ask) -> None:
    with mongo_server(says(failure(18, "Authentication failed."))) as server:
        error = error_of(server.url, "insert_one", {}, username="me", password="wrong", authMechanism="SCRAM-SHA-256")
    proof.server(error, ANY_OTHER, "permanent")


def test_the_pool_is_empty(proof: Proof) -> None:
    """Two operations, one connection: the second one waits in vain."""
    entered, leave = threading.Event(), threading.Event()

    def slowly(_command: dict[str, Any]) -> dict[str, Any]:
        entered.set()
        leave.wait(10)
        return WRITTEN

    with (
        mongo_server(slowly) as server,
        MongoClient[dict[str, Any]](server.url, **once(maxPoolSize=1, waitQueueTimeoutMS=50)) as client,
    ):
        first = threading.Thread(target=client.db.things.insert_one, args=({},))
        first.start()
        assert entered.wait(5)
        error = raised(client.db.things.insert_one, {})
        leave.set()
        first.join()
    assert isinstance(error, pymongo.errors.WaitQueueTimeoutError)
    proof.server(error, f"{RAISED} before sending", "transient")


def test_the_pool_is_empty_in_asyncio(proof: Proof) -> None:
    leave = threading.Event()

    def slowly(_command: dict[str, Any]) -> dict[str, Any]:
        leave.wait(10)
        return WRITTEN

    async def error(url: str) -> Exception:
        async with AsyncMongoClient[dict[str, Any]](url, **once(maxPoolSize=1, waitQueueTimeoutMS=50)) as client:
            first = asyncio.create_task(client.db.things.insert_one({}))
            await asyncio.sleep(SOON)
            with pytest.raises(pymongo.errors.WaitQueueTimeoutError) as caught:
                await client.db.things.insert_one({})
            leave.set()
            await first
            return caught.value

    with mongo_server(slowly) as server:
        proof.server(asyncio.run(error(server.url)), f"{RAISED} before sending", "transient")


# DNS, for a URL that begins with mongodb+srv.


@contextlib.contextmanager
def nameserver(monkeypatch: pytest.MonkeyPatch, rcode: dns.rcode.Rcode | None) -> Iterator[None]:
    """The one that this process asks; None stays silent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))

        def answer() -> None:
            while (asked := listener.recvfrom(4096))[0]:
                if rcode is not None:
                    reply = dns.message.make_response(dns.message.from_wire(asked[0]))
                    reply.set_rcode(rcode)
                    listener.sendto(reply.to_wire(), asked[1])

        answering = threading.Thread(target=answer)
        answering.start()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = listener.getsockname()[1]
        monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
        try:
            yield
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"", listener.getsockname())
            answering.join(5)


@pytest.mark.parametrize(("rcode", "row", "kind"), [
    (None, "said: The resolution lifetime expired*", "transient"),
    (dns.rcode.SERVFAIL, "said: All nameservers failed*", "transient"),
    (dns.rcode.NXDOMAIN, "any other said", "permanent"),
])  # fmt: skip
def test_dns(proof: Proof, monkeypatch: pytest.MonkeyPatch, rcode: dns.rcode.Rcode | None, row: str, kind: str) -> None:
    with nameserver(monkeypatch, rcode):
        error = raised(MongoClient, "mongodb+srv://db.company.test/", connectTimeoutMS=200)
    proof.server(error, f"pymongo.errors.ConfigurationError, {row}", kind)


# A connection that breaks.


def test_hung_up(proof: Proof, error_of: Ask) -> None:
    with mongo_server(says(None)) as server:
        error = error_of(server.url, "insert_one", {})
    assert type(error) is pymongo.errors.AutoReconnect
    proof.server(error, f"{RAISED} after that", "unsure")


def test_no_answer_in_time(proof: Proof, error_of: Ask) -> None:
    leave = threading.Event()

    def slowly(_command: dict[str, Any]) -> None:
        leave.wait(10)

    with mongo_server(slowly) as server:
        error = error_of(server.url, "insert_one", {}, socketTimeoutMS=50)
        leave.set()
    assert isinstance(error, pymongo.errors.NetworkTimeout)
    proof.server(error, f"{RAISED} after that", "unsure")


def test_no_mongodb_at_all(proof: Proof, error_of: Ask) -> None:
    with mongo_server(lambda _command: b"what? " * 10) as server:
        proof.server(error_of(server.url, "insert_one", {}), "pymongo.errors.ProtocolError", "unsure")


def test_a_client_that_tries_again_by_itself_hides_what_it_sent(proof: Proof, error_of: Ask) -> None:
    """The last try was refused by the server; the one before it was sent, and broke."""
    labels = ["RetryableError", "SystemOverloadedError"]
    with mongo_server(says(None, failure(462, errorLabels=labels, baseBackoffMS=1))) as server:
        error = error_of(server.url, "insert_one", {}, retryWrites=True, maxAdaptiveRetries=1)
        assert len(server.commands) > 1
    proof.server(error, f"{LABEL} RetryableError, in part", "unsure", throttled=True, after=0.001)


def test_a_client_that_tries_again_by_itself_and_cannot_connect(proof: Proof, error_of: Ask) -> None:
    with mongo_server(says(None), connections=2) as server:
        error = error_of(server.url, "insert_one", {}, retryWrites=True, serverSelectionTimeoutMS=300, linger=SOON)
        assert len(server.commands) == 1
    proof.server(error, f"{RAISED} after that", "unsure")


# No primary.


@pytest.mark.parametrize(("code", "errmsg", "begun"), [
    (10107, "not primary", False),
    (13435, "not primary and secondaryOk=false", False),
    (13436, "node is recovering", False),
    (10107, "Not primary while inserting into db.things", True),
    (11600, "interrupted at shutdown", True),
    (11602, "operation was interrupted", True),
    (189, "Demoted from primary while removing from db.things", True),
    (91, "The server is in quiesce mode and will shut down", True),
    (10058, "not primary", False),
])  # fmt: skip
def test_not_primary(proof: Proof, error_of: Ask, code: int, errmsg: str, begun: bool) -> None:
    """By its words: what a server says at the door, it says of a command that it has not begun."""
    with mongo_server(says(failure(code, errmsg))) as server:
        error = error_of(server.url, "insert_one", {})
    assert isinstance(error, pymongo.errors.NotPrimaryError)
    row = "pymongo.errors.NotPrimaryError, refused"
    if begun:
        proof.server(error, f"{row} perhaps in part", "unsure")
    else:
        proof.server(error, f"{row} whole", "transient")


def test_not_primary_after_a_try(proof: Proof, error_of: Ask) -> None:
    with mongo_server(says(None, failure(10107, "not primary", errorLabels=["RetryableWriteError"]))) as server:
        error = error_of(server.url, "insert_one", {}, retryWrites=True)
        assert len(server.commands) == 2
    proof.server(error, "pymongo.errors.NotPrimaryError, refused perhaps in part", "unsure")


# Codes and labels.


@pytest.mark.parametrize("code", [code for code in _CODE if code not in {91, 189, 10107, 11600, 11602, 13435, 13436}])
def test_code(proof: Proof, code: int) -> None:
    with mongo_server(says(failure(code))) as server:
        error = ask(server.url, "insert_one", {})
    proof.server(error, f"{CODE} {code}", str(_CODE[code].kind), throttled=_CODE[code].throttled)


@pytest.mark.parametrize("code", [91, 189, 10107, 11600, 11602, 13435, 13436])
def test_code_of_a_document(proof: Proof, error_of: Ask, code: int) -> None:
    """Of a whole command the driver makes a `NotPrimaryError`, of a document a `WriteError`."""
    with mongo_server(says({**OK, "n": 0, "writeErrors": [{"index": 0, "code": code, "errmsg": "no"}]})) as server:
        error = error_of(server.url, "insert_one", {})
    assert isinstance(error, pymongo.errors.WriteError)
    proof.server(error, f"{CODE} {code}", "unsure")


@pytest.mark.parametrize("code", [112, 134, 462])
def test_code_after_a_part(proof: Proof, error_of: Ask, code: int) -> None:
    """The first document was a command of its own, and is there."""
    with mongo_server(says(WRITTEN, failure(code)), maxWriteBatchSize=1) as server:
        error = error_of(server.url, "insert_many", [{}, {}])
        assert len(server.commands) == 2
    proof.server(error, f"{CODE} {code}, in part", "unsure", throttled=code == 462)


@pytest.mark.parametrize("code", [2, 13, 26, 59, 251, 11601])
def test_what_no_second_try_makes_better(proof: Proof, error_of: Ask, code: int) -> None:
    with mongo_server(says(failure(code))) as server:
        proof.server(error_of(server.url, "insert_one", {}), ANY_OTHER, "permanent")


def test_duplicate(proof: Proof, error_of: Ask) -> None:
    duplicate = {**OK, "n": 0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "E11000 duplicate key error"}]}
    with mongo_server(says(duplicate)) as server:
        proof.server(error_of(server.url, "insert_one", {}), "pymongo.errors.DuplicateKeyError", "permanent")


@pytest.mark.parametrize(("labels", "row", "kind", "throttled"), [
    (["SystemOverloadedError", "RetryableError"], "RetryableError", "transient", True),
    (["RetryableWriteError", "NoWritesPerformed"], "NoWritesPerformed and RetryableWriteError", "transient", False),
    (["SystemOverloadedError", "NoWritesPerformed"], "NoWritesPerformed and SystemOverloadedError", "transient", True),
    (["SystemOverloadedError"], "SystemOverloadedError", "unsure", True),
    (["TransientTransactionError"], "TransientTransactionError", "transient", False),
    (["UnknownTransactionCommitResult", "TransientTransactionError"], "UnknownTransactionCommitResult", "unsure", False),
])  # fmt: skip
def test_label(proof: Proof, labels: list[str], row: str, kind: str, throttled: bool) -> None:
    """Whatever the code."""
    for code in (1, 112, 50, 10107):
        with mongo_server(says(failure(code, errorLabels=labels))) as server:
            proof.server(ask(server.url, "insert_one", {}), f"{LABEL} {row}", kind, throttled=throttled)


def test_labels_that_decide_nothing(proof: Proof, error_of: Ask) -> None:
    """That nothing was written makes a bad command no better; that the driver would try again does not prove it."""
    with mongo_server(says(failure(2, errorLabels=["NoWritesPerformed"]))) as server:
        proof.server(error_of(server.url, "insert_one", {}), ANY_OTHER, "permanent")
    with mongo_server(says(failure(358, errorLabels=["RetryableWriteError"]))) as server:
        error = error_of(server.url, "insert_one", {})
        proof.server(error, "pymongo.errors.OperationFailure, label RetryableWriteError", "unsure")
    with mongo_server(says(failure(262, errorLabels=["RetryableWriteError"]))) as server:
        proof.server(error_of(server.url, "insert_one", {}), f"{CODE} 262", "unsure")


@pytest.mark.parametrize("other", ["RetryableWriteError", "SystemOverloadedError"])
def test_nothing_written_after_a_part(proof: Proof, error_of: Ask, other: str) -> None:
    refused = failure(189, errorLabels=["NoWritesPerformed", other])
    with mongo_server(says(WRITTEN, refused), maxWriteBatchSize=1) as server:
        error = error_of(server.url, "insert_many", [{}, {}])
    overloaded = other == "SystemOverloadedError"
    proof.server(error, f"{LABEL} NoWritesPerformed and {other}, in part", "unsure", throttled=overloaded)


@pytest.mark.parametrize(("more", "after"), [
    ({"baseBackoffMS": 1500}, 1.5),
    ({"baseBackoffMS": -1}, None),
    ({"baseBackoffMS": "soon"}, None),
    ({"errmsg": "Error=16500, RetryAfterMs=34, Details='Response status code: 429'"}, 0.034),
    ({"errmsg": "Error=16500, RetryAfterMs=, Details=none"}, None),
    ({"errmsg": "Error=16500, RetryAfterMs=" + "9" * 400}, 1e15),
], ids=str)  # fmt: skip
def test_how_long_to_wait(proof: Proof, more: dict[str, Any], after: float | None) -> None:
    with mongo_server(says({**failure(16500), **more})) as server:
        error = ask(server.url, "insert_one", {})
    proof.server(error, f"{CODE} 16500", "unsure", throttled=True, after=after)


# Other answers.


def test_its_time_ran_out(proof: Proof, error_of: Ask) -> None:
    """On the server, in the middle of it; or there is not enough left to begin with."""
    row = "pymongo.errors.ExecutionTimeout, raised"
    with mongo_server(says(failure(50, "operation exceeded time limit"))) as server:
        proof.server(error_of(server.url, "find_one", {}), f"{row} after that", "unsure")
    with mongo_server(says(WRITTEN)) as server, MongoClient[dict[str, Any]](server.url, **once()) as client:
        client.db.things.insert_one({})
        error = raised(late, client)
    proof.server(error, f"{row} before sending", "transient")


def late(client: MongoClient[dict[str, Any]]) -> None:
    """An operation with less time left than a round trip takes."""
    with pymongo.timeout(0.000001):
        client.db.things.insert_one({})


def test_the_cursor_is_gone(proof: Proof) -> None:
    first = {**OK, "cursor": {"id": 7, "ns": "db.things", "firstBatch": [{}]}}
    with mongo_server(says(first, failure(43, "cursor id 7 not found"))) as server:
        with MongoClient[dict[str, Any]](server.url, **once()) as client:
            proof.server(raised(list, client.db.things.find()), "pymongo.errors.CursorNotFound", "unsure")


@pytest.mark.parametrize(("concern", "row", "kind"), [
    ({"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}, "any other code", "unsure"),
    ({"code": 91, "errmsg": "shutting down"}, "any other code", "unsure"),
    ({"code": 79, "errmsg": "No write concern mode named 'x'"}, "code 79", "permanent"),
    ({"code": 100, "errmsg": "Not enough data-bearing nodes"}, "code 100", "permanent"),
], ids=str)  # fmt: skip
def test_written_but_not_as_asked(proof: Proof, error_of: Ask, concern: dict[str, Any], row: str, kind: str) -> None:
    """The document is there."""
    with mongo_server(says({**WRITTEN, "writeConcernError": concern})) as server:
        error = error_of(server.url, "insert_one", {})
    proof.server(error, f"pymongo.errors.WriteConcernError, {row}", kind)


# Bulk writes.


@pytest.mark.parametrize(("codes", "row", "kind"), [
    ([112], "worth another try", "unsure"),
    ([11602, 91], "worth another try", "unsure"),
    ([112, 11000], "others", "permanent"),
    ([11000], "others", "permanent"),
], ids=str)  # fmt: skip
def test_bulk(proof: Proof, error_of: Ask, codes: list[int], row: str, kind: str) -> None:
    """Of several failures the worst counts; never is it transient, for the others are there."""
    failures = [{"index": number, "code": code, "errmsg": "no"} for number, code in enumerate(codes)]
    with mongo_server(says({**WRITTEN, "writeErrors": failures})) as server:
        error = error_of(server.url, "insert_many", [{}, {}, {}])
    proof.server(error, f"pymongo.errors.BulkWriteError, failures: {row}", kind)


def test_bulk_that_was_not_written_as_asked(proof: Proof, error_of: Ask) -> None:
    concern = {"code": 64, "errmsg": "waiting for replication timed out"}
    with mongo_server(says({**WRITTEN, "writeConcernError": concern})) as server:
        error = error_of(server.url, "insert_many", [{}])
    proof.server(error, "pymongo.errors.BulkWriteError, failures: worth another try", "unsure")


def bulk_write(url: str, **options: Any) -> Exception:
    with MongoClient[dict[str, Any]](url, **once(**options)) as client:
        return raised(client.bulk_write, [InsertOne(namespace="db.things", document={}) for _ in range(2)])


async def abulk_write(url: str, **options: Any) -> Exception:
    async with AsyncMongoClient[dict[str, Any]](url, **once(**options)) as client:
        with pytest.raises(Exception) as caught:
            await client.bulk_write([InsertOne(namespace="db.things", document={}) for _ in range(2)])
        return caught.value


@pytest.fixture(params=["sync", "asyncio"])
def bulk_error_of(request: pytest.FixtureRequest) -> Ask:
    return (
        bulk_write if request.param == "sync" else lambda *args, **options: asyncio.run(abulk_write(*args, **options))
    )


def bulk_answer(*failures: dict[str, Any]) -> dict[str, Any]:
    results = {"id": 0, "ns": "admin.$cmd.bulkWrite", "firstBatch": [{"ok": 0.0, "n": 0, **each} for each in failures]}
    counts = {"nInserted": 0, "nMatched": 0, "nModified": 0, "nUpserted": 0, "nDeleted": 0}
    return {**OK, **counts, "nErrors": len(failures), "cursor": results}


def test_bulk_of_a_client(proof: Proof, bulk_error_of: Ask) -> None:
    row = "pymongo.errors.ClientBulkWriteException, failures:"
    with mongo_server(says(bulk_answer({"idx": 0, "code": 112, "errmsg": "no"}))) as server:
        proof.server(bulk_error_of(server.url), f"{row} worth another try", "unsure")
    with mongo_server(says(bulk_answer({"idx": 0, "code": 11000, "errmsg": "no"}))) as server:
        proof.server(bulk_error_of(server.url), f"{row} others", "permanent")


def test_bulk_of_a_client_that_failed_as_a_whole(proof: Proof, bulk_error_of: Ask) -> None:
    """The error inside counts, if nothing was done before it."""
    row = "pymongo.errors.ClientBulkWriteException,"
    for code, kind in ((112, "transient"), (262, "unsure"), (2, "permanent")):
        with mongo_server(says(failure(code))) as server:
            proof.server(bulk_error_of(server.url), f"{row} by its error", kind)
    with mongo_server(says({**bulk_answer(), "nInserted": 1}, failure(112)), maxWriteBatchSize=1) as server:
        proof.server(bulk_error_of(server.url), f"{row} failures: worth another try", "unsure")
        assert len(server.commands) == 2
    # The try before it broke.
    with mongo_server(says(None, failure(112))) as server:
        proof.server(bulk_error_of(server.url, retryWrites=True), f"{row} failures: worth another try", "unsure")
        assert len(server.commands) == 2


# Transactions.


def test_a_transaction(proof: Proof) -> None:
    """Until it is committed nothing is done; whether it was, nobody knows if the answer got lost."""

    def breaking(name: str) -> Answer:
        return lambda command: None if name in command else WRITTEN

    def transfer(server: Standing) -> Exception:
        with MongoClient[dict[str, Any]](server.url, **once()) as client, client.start_session() as session:
            session.start_transaction(write_concern=WriteConcern("majority"))
            with pytest.raises(Exception) as caught:
                client.db.things.insert_one({}, session=session)
                session.commit_transaction()
            return caught.value

    with mongo_server(breaking("insert")) as server:
        proof.server(transfer(server), f"{LABEL} TransientTransactionError", "transient")
    with mongo_server(breaking("commitTransaction")) as server:
        proof.server(transfer(server), f"{LABEL} UnknownTransactionCommitResult", "unsure")


def test_a_transaction_in_asyncio(proof: Proof) -> None:
    async def transfer(url: str) -> Exception:
        async with AsyncMongoClient[dict[str, Any]](url, **once()) as client, client.start_session() as session:
            await session.start_transaction()
            with pytest.raises(Exception) as caught:
                await client.db.things.insert_one({}, session=session)
            return caught.value

    with mongo_server(says(None)) as server:
        proof.server(asyncio.run(transfer(server.url)), f"{LABEL} TransientTransactionError", "transient")


# What is not raised here, and what is not known.


@pytest.mark.parametrize(
    "cause", [pymongo.errors.AutoReconnect("no"), TimeoutError("KMS"), ConnectionRefusedError()], ids=repr
)
def test_encryption(proof: Proof, cause: Exception) -> None:
    """Without a key; what was written, if anything was, is written."""
    error = pymongo.errors.EncryptionError(cause)
    proof.constructor(error, "pymongo.errors.EncryptionError, because of a connection", "unsure", because=NO_CRYPT)


def test_encryption_of_what_cannot_be_encrypted(proof: Proof) -> None:
    proof.unknown(pymongo.errors.EncryptionError(pymongo.errors.OperationFailure("no", 112)))
    proof.unknown(pymongo.errors.EncryptedCollectionError(ValueError("no"), {}))


def test_misuse_is_not_known(proof: Proof, error_of: Ask) -> None:
    with mongo_server(says(WRITTEN), maxBsonObjectSize=1000) as server:
        closed = MongoClient[dict[str, Any]](server.url, **once())
        closed.close()
        proof.unknown(raised(closed.db.things.insert_one, {}))
        proof.unknown(error_of(server.url, "insert_one", {"it": object()}))
        too_large = error_of(server.url, "insert_one", {"it": "x" * 20_000})
        assert isinstance(too_large, InvalidDocument)
        proof.unknown(too_large)


def test_misconfigured(proof: Proof) -> None:
    error = raised(MongoClient, "mongodb://127.0.0.1,127.0.0.2/?directConnection=true")
    proof.server(error, "pymongo.errors.ConfigurationError, any other said", "permanent")


def test_errors_of_another_kind(proof: Proof) -> None:
    """Without a traceback, without codes, with details of another type: nothing is claimed that is not proven."""
    errors = pymongo.errors
    proof.server(
        errors.AutoReconnect("127.0.0.1:27017: [Errno 111] Connection refused"), f"{RAISED} after that", "unsure"
    )
    proof.server(errors.WaitQueueTimeoutError(), f"{RAISED} after that", "unsure")
    proof.server(
        errors.NotPrimaryError("not primary", ["not primary"]),
        "pymongo.errors.NotPrimaryError, refused perhaps in part",
        "unsure",
    )
    proof.server(errors.BulkWriteError({}), "pymongo.errors.BulkWriteError, failures: others", "permanent")
    proof.server(
        errors.BulkWriteError({"writeErrors": ["no"]}), "pymongo.errors.BulkWriteError, failures: others", "permanent"
    )
    for code, row, kind in ((112, "worth another try", "unsure"), (2, "others", "permanent")):
        whole = errors.ClientBulkWriteException({"error": {"code": code}}, verbose=False)
        proof.server(whole, f"pymongo.errors.ClientBulkWriteException, failures: {row}", kind)
    proof.unknown(errors.OperationFailure("no"))
    proof.unknown(errors.PyMongoError("no"))
    proof.server(errors.OperationFailure("no", 2, {"errorLabels": "RetryableError"}), ANY_OTHER, "permanent")


def test_a_class_of_ones_own(proof: Proof) -> None:
    """The nearest class that is known counts."""

    class Mine(pymongo.errors.NetworkTimeout):
        pass

    proof.server(Mine("no"), f"{RAISED} after that", "unsure")


def test_a_traceback_that_was_cleared_proves_nothing(proof: Proof, error_of: Ask) -> None:
    """`unittest` clears the frames of what it caught; a pickle has none: what is not known is no proof."""
    with mongo_server(says(failure(112))) as server:
        error = error_of(server.url, "insert_one", {})
    proof.server(pickle.loads(pickle.dumps(error)), f"{CODE} 112, in part", "unsure")
    traceback.clear_frames(error.__traceback__)
    proof.server(error, f"{CODE} 112, in part", "unsure")
