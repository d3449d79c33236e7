"""botocore, row by row: real clients of several services against a server that answers as they do, or misbehaves."""

from __future__ import annotations

import contextlib
import errno
import pickle
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session
import pytest
import urllib3
from botocore.utils import ContainerMetadataFetcher
from tests.core.tables.proving import Proof
from tests.servers.http import (
    Answer,
    babble,
    cut_off,
    free_port,
    hang_up,
    reset,
    says,
    says_raw,
    serving,
    stall,
    untrusted,
)

from resilience._core.tables.botocore import TABLE
from resilience._core.tables.http import STATUS


#: botocore has no types.
Config: Any = botocore.config.Config
Session: Any = botocore.session.Session
ClientError: Any = botocore.exceptions.ClientError
ConnectTimeoutError: Any = botocore.exceptions.ConnectTimeoutError
CredentialRetrievalError: Any = botocore.exceptions.CredentialRetrievalError
EndpointConnectionError: Any = botocore.exceptions.EndpointConnectionError
EventStreamError: Any = botocore.exceptions.EventStreamError
HTTPClientError: Any = botocore.exceptions.HTTPClientError
NoCredentialsError: Any = botocore.exceptions.NoCredentialsError
ProxyConnectionError: Any = botocore.exceptions.ProxyConnectionError
SSLError: Any = botocore.exceptions.SSLError

#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.1
MODULE = "botocore.exceptions"
KNOWN_INSIDE = "what is inside a real one is known"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of whoever runs the tests, and nobody to ask for credentials."""
    for name in (
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def session() -> Any:
    """With keys; the models of the services are loaded once."""
    session = Session()
    session.set_credentials("key", "secret")
    return session


def client(session: Any, service: str, url: str, attempts: int = 1, mode: str = "standard", **options: Any) -> Any:
    config = {
        "connect_timeout": 5,
        "read_timeout": 5,
        "retries": {"total_max_attempts": attempts, "mode": mode},
        **options,
    }
    return session.create_client(service, region_name="eu-west-1", endpoint_url=url, config=Config(**config))


def put(dynamodb: Any) -> None:
    dynamodb.put_item(TableName="tea", Item={"name": {"S": "green"}})


def delete(s3: Any) -> None:
    s3.delete_object(Bucket="bucket", Key="tea")


def download(s3: Any) -> None:
    with contextlib.closing(s3.get_object(Bucket="bucket", Key="tea")["Body"]) as body:
        body.read()


#: What each service is asked for here.
WORK: dict[str, Callable[[Any], None]] = {"dynamodb": put, "s3": delete}


def failed(session: Any, service: str, url: str, work: Callable[[Any], object] | None = None, **options: Any) -> Any:
    with pytest.raises(Exception) as caught, contextlib.closing(client(session, service, url, **options)) as made:
        (work or WORK[service])(made)
    return caught.value


def answered(session: Any, service: str, *answers: Answer, work: Any = None, **options: Any) -> Any:
    with serving(*answers) as server:
        return failed(session, service, server.url, work, **options)


def refuses(code: str, status: int = 400, body: dict[str, Any] | None = None, **headers: str) -> Answer:
    """As the services do that speak JSON."""
    return says(status, {"__type": f"com.amazonaws.v1#{code}", "message": "said", **(body or {})}, **headers)


def refuses_in_xml(code: str, status: int, **headers: str) -> Answer:
    return says(status, f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode(), **headers)


# ------------------------------------------------------------------------------------------------------- no answer


def test_refused(proof: Proof, session: Any) -> None:
    error = failed(session, "dynamodb", f"http://127.0.0.1:{free_port()}")
    proof.server(error, f"{MODULE}.EndpointConnectionError, by its kwargs.error", "transient")


def test_refused_while_something_else_was_handled(proof: Proof, session: Any) -> None:
    """botocore raises it a second time, so its context becomes that of the caller."""
    try:
        raise KeyError
    except KeyError as other:
        error = failed(session, "dynamodb", f"http://127.0.0.1:{free_port()}")
        assert error.__context__ is other
    proof.server(error, f"{MODULE}.EndpointConnectionError, by its kwargs.error", "transient")


def test_refused_in_another_process(proof: Proof, session: Any) -> None:
    """The traceback stayed there, and with it how many tries there were."""
    error = pickle.loads(pickle.dumps(failed(session, "dynamodb", f"http://127.0.0.1:{free_port()}")))
    proof.server(error, f"{MODULE}.EndpointConnectionError, by its kwargs.error", "unsure")


def failed_on_sending(session: Any, error: Exception) -> Any:
    """What becomes of an error that an HTTP client makes, if it is not botocore's own."""

    def fail(**_: Any) -> None:
        raise error

    def work(dynamodb: Any) -> None:
        dynamodb.meta.events.register("before-send", fail)
        put(dynamodb)

    seen = failed(session, "dynamodb", "http://127.0.0.1:1", work)
    assert seen is error
    return seen


def test_broken_for_another_http_client(proof: Proof, session: Any) -> None:
    """As aiobotocore makes them, on aiohttp: not all of these precede the request."""
    for kind, inner, expected in (
        (EndpointConnectionError, ConnectionResetError(errno.ECONNRESET, "reset"), "unsure"),
        (EndpointConnectionError, ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "transient"),
        (ConnectTimeoutError, TimeoutError(), "unsure"),
    ):
        error = kind(endpoint_url="http://nobody.invalid", error=inner)
        verdict = proof.tables(failed_on_sending(session, error))
        assert verdict is not None
        assert verdict.kind == expected


def test_name_not_known(proof: Proof, session: Any) -> None:
    """No such host: no better the next time. (Without a network, DNS itself does not answer.)"""
    error = failed(session, "dynamodb", "http://nobody.invalid")
    kind = "transient" if error.kwargs["error"].__cause__.errno == socket.EAI_AGAIN else "permanent"
    proof.server(error, f"{MODULE}.EndpointConnectionError, by its kwargs.error", kind)


def test_connecting_takes_too_long(proof: Proof, session: Any) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
    ):
        error = failed(session, "dynamodb", f"http://127.0.0.1:{full.getsockname()[1]}", connect_timeout=SOON)
    proof.server(error, f"{MODULE}.ConnectTimeoutError, by its kwargs.error", "transient")


def test_certificate_not_trusted(proof: Proof, session: Any) -> None:
    with serving(says(200), ssl_context=untrusted()) as server:
        error = failed(session, "dynamodb", f"https://localhost:{server.port}")
    proof.server(error, f"{MODULE}.SSLError, by its kwargs.error", "permanent")


def test_no_proxy(proof: Proof, session: Any) -> None:
    proxies = {"http": f"http://127.0.0.1:{free_port()}"}
    error = failed(session, "dynamodb", "http://nobody.invalid", proxies=proxies)
    proof.server(error, f"{MODULE}.ProxyConnectionError, by its kwargs.error", "transient")


def test_the_proxy_hangs_up_with_the_request_in_hand(proof: Proof, session: Any) -> None:
    with serving(hang_up) as server:
        error = failed(session, "dynamodb", "http://nobody.invalid", proxies={"http": server.url})
    assert len(server.requests) == 1
    proof.server(error, f"{MODULE}.ProxyConnectionError, by its kwargs.error", "unsure")


@pytest.mark.parametrize("inside", [None, "text", ValueError()])
def test_with_nothing_known_inside(proof: Proof, inside: Any) -> None:
    for kind in (EndpointConnectionError, ConnectTimeoutError):
        row = f"{MODULE}.{kind.__name__}, nothing known inside"
        error = kind(endpoint_url="http://nobody.invalid", error=inside)
        proof.constructor(error, row, "unsure", because=KNOWN_INSIDE)
    tls = SSLError(endpoint_url="https://nobody.invalid", error=inside)
    proof.constructor(tls, f"{MODULE}.SSLError, nothing known inside", "permanent", because=KNOWN_INSIDE)
    proxy = ProxyConnectionError(proxy_url="http://nobody.invalid", error=inside)
    proof.constructor(proxy, f"{MODULE}.ProxyConnectionError, nothing known inside", "unsure", because=KNOWN_INSIDE)


def test_no_answer_in_time(proof: Proof, session: Any) -> None:
    error = answered(session, "dynamodb", stall, read_timeout=SOON)
    proof.server(error, f"{MODULE}.ReadTimeoutError", "unsure")


@pytest.mark.parametrize("answer", [hang_up, reset, babble], ids=["hang up", "reset", "babble"])
def test_broken(proof: Proof, session: Any, answer: Answer) -> None:
    proof.server(answered(session, "s3", answer), f"{MODULE}.ConnectionClosedError", "unsure")


def test_what_botocore_has_no_class_for(proof: Proof, session: Any) -> None:
    """The last resort of its HTTP client: bugs come this way too."""
    pool: Any = urllib3.HTTPConnectionPool("127.0.0.1")
    known = failed_on_sending(session, HTTPClientError(error=urllib3.exceptions.EmptyPoolError(pool, "full")))
    because = "botocore has a class of its own for all that is known here"
    proof.constructor(known, f"{MODULE}.HTTPClientError, by its kwargs.error", "transient", because=because)
    proof.unknown(HTTPClientError(error=TypeError("a bug")))


# ------------------------------------------------------------------------------------------------ a part of an answer


def test_silence_within_the_answer(proof: Proof, session: Any) -> None:
    def half(peer: socket.socket) -> None:
        cut_off(peer)
        stall(peer)

    error = answered(session, "s3", half, work=download, read_timeout=SOON)
    proof.server(error, f"{MODULE}.ReadTimeoutError", "unsure")


def test_too_short(proof: Proof, session: Any) -> None:
    """Read in one piece, or in several; or not read by the caller at all, but taken for the whole."""

    def in_pieces(s3: Any) -> None:
        with contextlib.closing(s3.get_object(Bucket="bucket", Key="tea")["Body"]) as body:
            list(body.iter_chunks(4))

    proof.server(answered(session, "s3", cut_off, work=download), f"{MODULE}.ResponseStreamingError", "unsure")
    proof.server(answered(session, "s3", cut_off, work=in_pieces), f"{MODULE}.IncompleteReadError", "unsure")
    error = answered(session, "sts", says(200, b"<GetCallerIdent"), work=lambda sts: sts.get_caller_identity())
    proof.server(error, "botocore.parsers.ResponseParserError", "unsure")


def test_chunks_end_too_soon(proof: Proof, session: Any) -> None:
    answer = says_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ngr")
    error = answered(session, "s3", answer, work=download)
    proof.server(error, f"{MODULE}.ResponseStreamingError", "unsure")


def test_damaged(proof: Proof, session: Any) -> None:
    """What S3 sends with the answer to check it by; and DynamoDB, whose check only botocore's older retries make."""
    error = answered(session, "s3", says(200, b"green", x_amz_checksum_crc32="AAAAAA=="), work=download)
    proof.server(error, f"{MODULE}.FlexibleChecksumError, checksum of the answer", "unsure")
    error = answered(session, "dynamodb", says(200, {}, x_amz_crc32="1"), mode="legacy")
    proof.server(error, f"{MODULE}.ChecksumError", "unsure")


def test_no_such_checksum(proof: Proof, session: Any) -> None:
    def work(s3: Any) -> None:
        s3.put_object(Bucket="bucket", Key="tea", Body=b"green", ChecksumAlgorithm="NONE")

    error = failed(session, "s3", "http://127.0.0.1:1", work)
    assert type(error).__name__ == "FlexibleChecksumError"
    proof.unknown(error)


def events(*headers: dict[str, str]) -> Answer:
    """An answer that is a stream of events, each with these headers and nothing else."""
    messages = b""
    for event in headers:
        head = b"".join(
            struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
            for name, value in event.items()
        )
        message = struct.pack("!II", len(head) + 18, len(head))
        message += struct.pack("!I", zlib.crc32(message)) + head + b"{}"
        messages += message + struct.pack("!I", zlib.crc32(message))
    return says_raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n\r\n" + messages)


def ask(bedrock: Any) -> None:
    with contextlib.closing(bedrock.invoke_model_with_response_stream(modelId="tea", body=b"{}")["body"]) as answer:
        list(answer)


@pytest.mark.parametrize(
    ("code", "row", "kind", "throttled"),
    [
        ("throttlingException", "event ThrottlingException", "unsure", True),
        ("KMSThrottlingException", "event KMSThrottlingException", "unsure", True),
        ("SlowDown", "event SlowDown", "unsure", True),
        ("InternalError", "event InternalError", "unsure", False),
        ("InternalFailureException", "event InternalFailureException", "unsure", False),
        ("internalServerException", "event InternalServerException", "unsure", False),
        ("serviceUnavailableException", "event ServiceUnavailableException", "unsure", False),
        ("modelStreamErrorException", "event ModelStreamErrorException", "unsure", False),
        ("modelTimeoutException", "event ModelTimeoutException", "unsure", False),
        ("validationException", "any other event", "permanent", False),
    ],
)
def test_a_stream_that_ends_with_an_error(
    proof: Proof, session: Any, code: str, row: str, kind: str, throttled: bool
) -> None:
    """Work has begun, whatever the service says of it now: throttled in the middle is not refused."""
    modelled = code[0].islower()
    said = {":message-type": "exception", ":exception-type": code}
    if not modelled:
        said = {":message-type": "error", ":error-code": code}
    error = answered(session, "bedrock-runtime", events(said), work=ask)
    assert isinstance(error, EventStreamError)
    proof.server(error, f"{MODULE}.EventStreamError, {row}", kind, throttled=throttled)


# --------------------------------------------------------------------------------------------------------- an answer

CODES = sorted(row.when.removeprefix("code ") for row in TABLE.rows if row.when.startswith("code "))
IN_XML = {"SlowDown": 503, "RequestTimeout": 400, "BadDigest": 400, "OperationAborted": 409}
NOT_APPLIED = {"BadDigest", "IDPCommunicationError", "OperationAborted"}
NOT_APPLIED |= {"ReplicatedWriteConflictException", "TransactionConflictException"}
IN_DOUBT = {"RequestTimeout", "RequestTimeoutException", "TransactionInProgressException"}


@pytest.mark.parametrize("code", CODES)
def test_code(proof: Proof, session: Any, code: str) -> None:
    """Whatever the status, which is 400 for most."""
    answer = refuses_in_xml(code, IN_XML[code]) if code in IN_XML else refuses(code)
    error = answered(session, "s3" if code in IN_XML else "dynamodb", answer)
    kind = "unsure" if code in IN_DOUBT else "transient"
    throttled = code not in IN_DOUBT | NOT_APPLIED
    proof.server(error, f"{MODULE}.ClientError, code {code}", kind, throttled=throttled)


def test_the_throttling_codes_are_those_of_botocore(proof: Proof) -> None:
    """A code that comes with a new version is seen here."""
    from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

    theirs = {*ThrottledRetryableChecker._THROTTLED_ERROR_CODES, *TransientRetryableChecker._TRANSIENT_ERROR_CODES}
    assert theirs - set(CODES) == set()


def test_classes_made_at_run_time_are_known(proof: Proof, session: Any) -> None:
    error = answered(session, "dynamodb", refuses("ProvisionedThroughputExceededException"))
    assert type(error).__module__ == "botocore.errorfactory"
    row = f"{MODULE}.ClientError, code ProvisionedThroughputExceededException"
    proof.server(error, row, "transient", throttled=True)


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"x_amz_retry_after": "1500"}, 1.5),
        ({"retry_after": "7"}, 7.0),
        ({"x_amz_retry_after": "250", "retry_after": "7"}, 0.25),
        ({"x_amz_retry_after": "-1", "retry_after": "7"}, 7.0),
        ({"x_amz_retry_after": "soon"}, None),
        ({}, None),
    ],
    ids=["milliseconds", "seconds", "both", "one that cannot be read", "none that can be read", "none"],
)
def test_hint(proof: Proof, session: Any, headers: dict[str, Any], after: float | None) -> None:
    """Of a code, of a status, and of a transaction."""
    error = answered(session, "dynamodb", refuses("ThrottlingException", **headers))
    proof.server(error, f"{MODULE}.ClientError, code ThrottlingException", "transient", throttled=True, after=after)
    error = answered(session, "s3", says(503, **headers))
    proof.server(error, f"{MODULE}.ClientError, HTTP 503", "unsure", throttled=True, after=after)
    error = answered(session, "dynamodb", cancels("TransactionConflict", **headers), work=transact)
    proof.server(error, f"{MODULE}.ClientError, cancelled for conflict", "transient", after=after)


@pytest.mark.parametrize("status", [*STATUS, 509, 404])
def test_status(proof: Proof, session: Any, status: int) -> None:
    """An answer without a code, or with one that nobody knows."""
    verdict = STATUS.get(status)
    kind, throttled = ("unsure", True) if verdict is None else (str(verdict.kind), verdict.throttled)
    row = f"HTTP {status}"
    if status == 404:
        row, kind, throttled = "any other HTTP", "permanent", False
    for answer in (says(status), refuses_in_xml("NoIdea", status)):
        proof.server(answered(session, "s3", answer), f"{MODULE}.ClientError, {row}", kind, throttled=throttled)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ExpiredTokenException", 400),
        ("RequestExpired", 400),
        ("RequestTimeTooSkewed", 403),  # botocore does not set its clock by the server's
        ("AccessDeniedException", 400),
        ("UnrecognizedClientException", 400),
        ("ResourceNotFoundException", 400),
        ("ConditionalCheckFailedException", 400),
        ("ServiceQuotaExceededException", 402),
        ("ValidationException", 400),
    ],
)
def test_refused_for_good(proof: Proof, session: Any, code: str, status: int) -> None:
    error = answered(session, "dynamodb", refuses(code, status, x_amz_retry_after="1500"))
    proof.server(error, f"{MODULE}.ClientError, any other HTTP", "permanent")


def test_200_and_then_an_error(proof: Proof, session: Any) -> None:
    """S3 began to copy: of whatever happens then, botocore makes a 500."""

    def copy(s3: Any) -> None:
        s3.copy_object(Bucket="bucket", Key="tea", CopySource="bucket/other")

    for code in ("InternalError", "SlowDown"):
        error = answered(session, "s3", refuses_in_xml(code, 200), work=copy)
        assert error.response["Error"]["Code"] == code
        proof.server(error, f"{MODULE}.ClientError, HTTP 500", "unsure")


def transact(dynamodb: Any) -> None:
    dynamodb.transact_write_items(TransactItems=[{"Put": {"TableName": "tea", "Item": {"name": {"S": "green"}}}}])


def cancels(*codes: str, **headers: Any) -> Answer:
    reasons = {"CancellationReasons": [{"Code": code} for code in codes]}
    return refuses("TransactionCanceledException", body=reasons, **headers)


@pytest.mark.parametrize(
    ("codes", "row", "kind", "throttled"),
    [
        (("None", "TransactionConflict"), "cancelled for conflict", "transient", False),
        (("ThrottlingError", "None"), "cancelled for throttling", "transient", True),
        (("ProvisionedThroughputExceeded", "TransactionConflict"), "cancelled for throttling", "transient", True),
        (("TransactionConflict", "ConditionalCheckFailed"), "any other HTTP", "permanent", False),
        (("None",), "any other HTTP", "permanent", False),
        ((), "any other HTTP", "permanent", False),
    ],
)
def test_a_transaction_is_cancelled_whole(
    proof: Proof, session: Any, codes: tuple[str, ...], row: str, kind: str, throttled: bool
) -> None:
    error = answered(session, "dynamodb", cancels(*codes), work=transact)
    assert type(error).__name__ == "TransactionCanceledException"
    proof.server(error, f"{MODULE}.ClientError, {row}", kind, throttled=throttled)


# ----------------------------------------------------------------------------------------------- the last of several


@contextlib.contextmanager
def serving_once() -> Iterator[str]:
    """One request, no answer, and nobody there any more."""

    def accept() -> None:
        peer, _ = listener.accept()
        listener.close()
        with peer:
            peer.recv(65_536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(5)


@pytest.mark.parametrize("mode", ["standard", "legacy", "adaptive"])
def test_refused_after_a_request_without_an_answer(proof: Proof, session: Any, mode: str) -> None:
    """The first try may have been done."""
    with serving_once() as url:
        error = failed(session, "dynamodb", url, attempts=2, mode=mode)
    verdict = proof.server(error, f"{MODULE}.EndpointConnectionError, by its kwargs.error", "unsure")
    assert verdict.reason == "errno ECONNREFUSED; but an earlier request of the same call may have been done"


def test_throttled_after_a_request_without_an_answer(proof: Proof, session: Any) -> None:
    error = answered(session, "dynamodb", hang_up, refuses("ThrottlingException"), attempts=2)
    assert error.response["ResponseMetadata"]["RetryAttempts"] == 1
    proof.server(error, f"{MODULE}.ClientError, code ThrottlingException", "unsure", throttled=True)
    copied = pickle.loads(pickle.dumps(error))
    proof.server(copied, f"{MODULE}.ClientError, code ThrottlingException", "unsure", throttled=True)


def test_a_refusal_for_good_stays_one(proof: Proof, session: Any) -> None:
    error = answered(session, "dynamodb", hang_up, refuses("ValidationException"), attempts=2)
    proof.server(error, f"{MODULE}.ClientError, any other HTTP", "permanent")


# -------------------------------------------------------------------------------------------------------- credentials


def test_no_credentials(proof: Proof) -> None:
    error = failed(Session(), "dynamodb", "http://127.0.0.1:1")
    assert type(error) is NoCredentialsError
    proof.server(error, f"{MODULE}.NoCredentialsError", "permanent")


def test_the_container_has_no_credentials_to_give(proof: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0)
    with serving(says(500)) as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/credentials")
        error = failed(Session(), "dynamodb", "http://127.0.0.1:1")
    assert len(server.requests) == ContainerMetadataFetcher.RETRY_ATTEMPTS
    proof.server(error, f"{MODULE}.CredentialRetrievalError, credentials from container-role", "transient")


def test_the_instance_has_no_more_credentials_to_give(proof: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had some, which have expired since."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    soon = datetime.now(UTC) + timedelta(seconds=30)
    given = {"AccessKeyId": "key", "SecretAccessKey": "secret", "Token": "token", "Code": "Success"}
    given["Expiration"] = soon.strftime("%Y-%m-%dT%H:%M:%SZ")
    with serving(says(200, b"token"), says(200, b"role"), says(200, given), says(500)) as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{server.url}/")
        session = Session()
        session.get_credentials()._time_fetcher = lambda: soon + timedelta(hours=1)
        error = failed(session, "dynamodb", "http://127.0.0.1:1")
    proof.server(error, f"{MODULE}.CredentialRetrievalError, credentials from iam-role", "transient")


@pytest.mark.parametrize("answers", [(), (hang_up,)], ids=["at the first try", "at the second"])
def test_no_credentials_to_sign_with(proof: Proof, session: Any, answers: tuple[Answer, ...]) -> None:
    """Each try is signed anew; the one before it was sent."""
    left = list(answers)

    def sign(**_: Any) -> None:
        if not left:
            raise CredentialRetrievalError(provider="iam-role", error_msg="said")
        left.pop()

    def work(dynamodb: Any) -> None:
        dynamodb.meta.events.register("before-sign", sign)
        put(dynamodb)

    with serving(*answers or (hang_up,)) as server:
        error = failed(session, "dynamodb", server.url, work, attempts=2)
    assert len(server.requests) == len(answers)
    kind = "unsure" if answers else "transient"
    proof.server(error, f"{MODULE}.CredentialRetrievalError, credentials from iam-role", kind)
    lost = error.with_traceback(None)
    proof.server(lost, f"{MODULE}.CredentialRetrievalError, credentials from iam-role", "unsure")


def test_another_service_refuses_while_a_second_try_is_signed(proof: Proof, session: Any) -> None:
    """As the one does that gives the credentials: its own request was the first, and the first of the other was sent."""
    tries: list[None] = []

    def sign(**_: Any) -> None:
        tries.append(None)
        if len(tries) > 1:
            put(client(session, "dynamodb", url))

    def work(s3: Any) -> None:
        s3.meta.events.register("before-sign", sign)
        delete(s3)

    with serving(hang_up) as server, serving(refuses("ThrottlingException")) as other:
        for url in (other.url, f"http://127.0.0.1:{free_port()}"):
            tries.clear()
            error = failed(session, "s3", server.url, work, attempts=2)
            verdict = proof.tables(error)
            assert verdict is not None
            assert verdict.kind == "unsure"
            assert "an earlier request" in verdict.reason


def test_the_program_for_credentials_failed(proof: Proof, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\ncredential_process = false\n")
    error = failed(Session(), "dynamodb", "http://127.0.0.1:1")
    assert type(error) is CredentialRetrievalError
    proof.server(error, f"{MODULE}.CredentialRetrievalError, any other credentials from", "permanent")


# -------------------------------------------------------------------------------------- never again; strange facts


def test_wrong_arguments(proof: Proof, session: Any) -> None:
    error = failed(session, "dynamodb", "http://127.0.0.1:1", lambda dynamodb: dynamodb.put_item(Table="tea"))
    proof.unknown(error)


@pytest.mark.parametrize(
    "response",
    [
        None,
        "text",
        {},
        {"Error": None},
        {"Error": {"Code": 503}, "ResponseMetadata": None},
        {"Error": {"Code": ["SlowDown"]}, "CancellationReasons": "many"},
        {"ResponseMetadata": {"HTTPStatusCode": None, "HTTPHeaders": [], "RetryAttempts": "1"}},
    ],
)
def test_a_response_that_is_none(proof: Proof, response: Any) -> None:
    error = ClientError({}, "PutItem")
    error.response = response
    proof.unknown(error)


def test_a_code_alone_is_enough(proof: Proof) -> None:
    """As stubs make them; how many tries there were is not known."""
    verdict = proof.tables(ClientError({"Error": {"Code": "SlowDown"}}, "PutObject"))
    assert verdict is not None
    assert (verdict.kind, verdict.throttled, verdict.after) == ("unsure", True, None)


def test_a_status_in_words(proof: Proof) -> None:
    metadata: Any = {"HTTPStatusCode": "503", "HTTPHeaders": None}
    verdict = proof.tables(ClientError({"ResponseMetadata": metadata}, "PutObject"))
    assert verdict is not None
    assert (verdict.kind, verdict.throttled, verdict.after) == ("unsure", True, None)


def test_an_event_without_a_code(proof: Proof) -> None:
    proof.unknown(EventStreamError({"Error": {}}, "InvokeModel"))


def test_credentials_from_nobody(proof: Proof) -> None:
    error = CredentialRetrievalError(provider="somebody", error_msg="said")
    error.kwargs = {"provider": None}
    proof.unknown(error)
