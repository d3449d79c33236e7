"""google-api-core row by row: its wrapped channels against a real gRPC server, its reading of a real answer by HTTP."""

# mypy: disable-error-code="no-untyped-call, attr-defined"

from __future__ import annotations

import asyncio
import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
import requests
from tests.core.tables.proving import NOW, Proof
from tests.servers.grpc import (
    STREAM,
    UNARY,
    Certificate,
    aborts,
    accepting,
    channel,
    reset_stream,
    says_http2,
    serving,
    serving_dns,
)
from tests.servers.http import free_port, says, stall
from tests.servers.http import serving as serving_http

from resilience._core.tables import Tables
from resilience._core.tables.grpc import STATUS
from resilience._core.tables.http import STATUS as HTTP_STATUS
from resilience._core.verdict import Verdict, VerdictKind


with warnings.catch_warnings():
    # It asks for grpcio-status, which reads details that the table does without.
    warnings.simplefilter("ignore", ImportWarning)
    from google.api_core import exceptions, grpc_helpers, grpc_helpers_async, retry
    from google.api_core.resumable_transfer import ResumableUploadConfig, upload
    from google.rpc import error_details_pb2

# It asks again at each error of gRPC.
pytestmark = pytest.mark.filterwarnings("ignore:Please install grpcio-status:ImportWarning")

ERROR = "google.api_core.exceptions.GoogleAPICallError"


def call(target: str, method: str = UNARY, options: Any = (), credentials: Any = None, **how: Any) -> Any:
    """One call through google-api-core, on a channel of its own."""
    with channel(target, options, credentials) as to:
        if method == STREAM:
            return list(grpc_helpers.wrap_errors(to.unary_stream(method))(b"x", timeout=5))
        return grpc_helpers.wrap_errors(to.unary_unary(method, **how))(b"x", timeout=5)


async def acall(target: str, method: str = UNARY, options: Any = (), credentials: Any = None, **how: Any) -> Any:
    async with channel(target, options, credentials, grpc.aio) as to:
        if method == STREAM:
            stream = await grpc_helpers_async.wrap_errors(to.unary_stream(method))(b"x", timeout=5)
            return [answer async for answer in stream]
        return await grpc_helpers_async.wrap_errors(to.unary_unary(method, **how))(b"x", timeout=5)


@pytest.fixture(params=["sync", "asyncio"])
def raised(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """The error of one call by a client of that colour."""

    def by(*args: Any, **options: Any) -> Any:
        with pytest.raises(exceptions.GoogleAPICallError) as caught:
            if request.param == "sync":
                call(*args, **options)
            else:
                asyncio.run(acall(*args, **options))
        return caught.value

    return by


def of_http(status: int, body: dict[str, Any] | None = None, **headers: str) -> Any:
    """The error that google-api-core makes of a real answer."""
    with serving_http(says(status, body or {}, **headers)) as server, requests.get(server.url, timeout=5) as response:
        return exceptions.from_http_response(response)


# -- by gRPC ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK], ids=str)
@pytest.mark.parametrize("method", [UNARY, STREAM])
def test_status_of_grpc(proof: Proof, raised: Callable[..., Any], method: str, status: grpc.StatusCode) -> None:
    """Whatever class of its own it makes of a status, the verdict is that of gRPC's own error inside."""
    with serving(aborts(status)) as (target, _):
        error = raised(target, method)
    assert error.grpc_status_code is status
    expected = STATUS.get(status.name, Verdict.permanent())
    row = f"{ERROR}, gRPC {status.name}" if status.name in STATUS else f"{ERROR}, any other gRPC"
    proof.server(error, row, expected.kind, throttled=expected.throttled)
    inside = proof.tables(error.__cause__)
    assert inside is not None
    assert (inside.kind, inside.throttled) == (expected.kind, expected.throttled)


def echo(request: bytes, _context: Any) -> bytes:
    return request


def bug(*_: object) -> Any:
    raise ValueError("bug")


@contextlib.contextmanager
def refused() -> Iterator[dict[str, Any]]:
    yield {"target": f"127.0.0.1:{free_port()}"}


@contextlib.contextmanager
def no_name_server() -> Iterator[dict[str, Any]]:
    yield {"target": f"dns://127.0.0.1:{free_port()}/no-such-host.example:80"}


@contextlib.contextmanager
def unknown_host() -> Iterator[dict[str, Any]]:
    with serving_dns(3) as port:
        yield {"target": f"dns://127.0.0.1:{port}/no-such-host.example:80"}


@contextlib.contextmanager
def refused_unread() -> Iterator[dict[str, Any]]:
    with accepting(says_http2(reset_stream(7))) as target:
        yield {"target": target}


@contextlib.contextmanager
def not_trusted() -> Iterator[dict[str, Any]]:
    with serving(echo, Certificate().credentials) as (target, _):
        yield {"target": target, "credentials": grpc.ssl_channel_credentials(Certificate().pem)}


@contextlib.contextmanager
def too_large() -> Iterator[dict[str, Any]]:
    with serving(lambda *_: b"x" * 200) as (target, _):
        yield {"target": target, "options": (("grpc.max_receive_message_length", 100),)}


@contextlib.contextmanager
def told_not_to() -> Iterator[dict[str, Any]]:
    with serving(aborts(grpc.StatusCode.UNAVAILABLE, grpc_retry_pushback_ms="-1")) as (target, _):
        yield {"target": target}


@pytest.mark.parametrize(
    ("situation", "what"),
    [
        (refused, "UNAVAILABLE, not connected"),
        (no_name_server, "UNAVAILABLE, DNS did not answer"),
        (unknown_host, "UNAVAILABLE, unknown host"),
        (refused_unread, "UNAVAILABLE, refused unread"),
        (not_trusted, "UNAVAILABLE, TLS refused"),
        (too_large, "RESOURCE_EXHAUSTED, too large"),
        (told_not_to, "told not to try again"),
    ],
)
def test_words_of_grpc(proof: Proof, raised: Callable[..., Any], situation: Any, what: str) -> None:
    """What gRPC's words tell is still known in its wrapping."""
    with situation() as how:
        error = raised(**how)
    proof.server(error, f"{ERROR}, gRPC {what}", STATUS[what].kind)


def test_bugs_of_this_side(proof: Proof) -> None:
    """Only the threaded client gives them a status of gRPC."""
    with serving(echo) as (target, _), channel(target) as to:
        with pytest.raises(exceptions.GoogleAPICallError) as unreadable:
            call(target, response_deserializer=bug)
        with pytest.raises(exceptions.GoogleAPICallError) as broken_off:
            list(grpc_helpers.wrap_errors(to.stream_stream(STREAM))(iter(bug, None)))
    proof.server(unreadable.value, f"{ERROR}, gRPC INTERNAL, cannot be serialized", "permanent")
    proof.server(broken_off.value, f"{ERROR}, gRPC UNKNOWN, the caller's own exception", "permanent")


def test_pushback(proof: Proof, raised: Callable[..., Any]) -> None:
    """What the server asked for in gRPC's metadata."""
    with serving(aborts(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc_retry_pushback_ms="2500")) as (target, _):
        error = raised(target)
    proof.server(error, f"{ERROR}, gRPC RESOURCE_EXHAUSTED", "unsure", throttled=True, after=2.5)


# -- by HTTP ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [*HTTP_STATUS, 400, 401, 403, 404, 409, 412, 499, 501, 308, 304, 418, 511])
def test_status_of_http(proof: Proof, status: int) -> None:
    """The answer's status decides, also where the class has one of gRPC."""
    expected = HTTP_STATUS.get(status, Verdict.permanent())
    row = f"{ERROR}, HTTP {status}" if status in HTTP_STATUS else f"{ERROR}, any other HTTP"
    proof.server(of_http(status), row, expected.kind, throttled=expected.throttled)


def test_retry_after(proof: Proof) -> None:
    """In seconds, or a date by the server's own clock."""
    proof.server(of_http(429, retry_after="7"), f"{ERROR}, HTTP 429", "transient", throttled=True, after=7.0)
    dated = of_http(503, retry_after="Wed, 21 Oct 2015 07:28:30 GMT", date="Wed, 21 Oct 2015 07:28:20 GMT")
    proof.server(dated, f"{ERROR}, HTTP 503", "unsure", throttled=True, after=10.0)
    proof.server(of_http(403, retry_after="7"), f"{ERROR}, any other HTTP", "permanent")


@pytest.mark.parametrize(
    ("delay", "after"),
    [("34.5s", 34.5), ("0s", 0.0), ("10s", 10.0), ("3s", 7.0), ("soon", 7.0), (3, 7.0), (None, 7.0), ("-1s", 7.0)],
)
def test_retry_info_by_http(proof: Proof, delay: object, after: float) -> None:
    """Google's own way to say it, among the details of the error; of two the longer counts."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    other = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"}
    headers = {"retry_after": "7"} if after == 7.0 else {}
    error = of_http(429, {"error": {"message": "slowly", "details": [other, info]}}, **headers)
    proof.server(error, f"{ERROR}, HTTP 429", "transient", throttled=True, after=after)


# -- retries of its own ----------------------------------------------------------------------------------------------


def test_retries_that_ran_out(proof: Proof) -> None:
    """The last failure was a connection refused; of the ones before it nothing is known."""
    policy = retry.Retry(initial=0.01, maximum=0.01, timeout=0.02)
    with pytest.raises(exceptions.RetryError) as caught, refused() as how:
        policy(call)(**how)
    last = proof.tables(caught.value.cause)
    assert last is not None
    assert last.kind is VerdictKind.TRANSIENT
    proof.server(caught.value, "google.api_core.exceptions.RetryError", "unsure")


def test_upload_that_stalled(proof: Proof) -> None:
    """The session is there, and its first chunk is not taken in time."""
    with serving_http(lambda peer: start(peer), stall) as server, requests.Session() as session:
        start = says(200, x_goog_upload_status="active", x_goog_upload_url=server.url)
        config = ResumableUploadConfig(stall_minimum_rate=0, stall_timeout=0.0)
        patience = retry.StreamingRetry(initial=0.01, maximum=0.01, timeout=0.03)
        uploading = upload.ResumableUploadSession(server.url, config=config)
        with pytest.raises(exceptions.TransferStalledError) as caught:
            uploading.upload(io.BytesIO(b"x" * 10), transport=session, retry=patience, timeout=0.05)
    proof.server(caught.value, "google.api_core.exceptions.TransferStalledError", "unsure")


# -- without an answer, and strange facts ----------------------------------------------------------------------------


def judged(error: Exception) -> tuple[str, float | None] | None:
    verdict = Tables(lambda: NOW)(error)
    return None if verdict is None else (verdict.kind, verdict.after)


def test_the_end_of_an_operation() -> None:
    """An operation that failed has a status of gRPC, and no call: it has run, so 429 of its class is not a refusal."""
    assert judged(exceptions.from_grpc_status(8, "quota", response=object())) == ("unsure", None)
    assert judged(exceptions.from_grpc_status(14, "gone")) == ("unsure", None)
    assert judged(exceptions.from_grpc_status(5, "none")) == ("permanent", None)


def test_made_of_a_status() -> None:
    """`from_http_status` has no response; a status that has a class of gRPC is judged by that."""
    assert judged(exceptions.from_http_status(429, "slowly")) == ("transient", None)
    assert judged(exceptions.from_http_status(502, "gateway")) == ("unsure", None)
    assert judged(exceptions.from_http_status(503, "later")) == ("unsure", None)
    assert judged(exceptions.from_http_status(404, "none")) == ("permanent", None)


def test_retry_info_as_messages() -> None:
    """What grpcio-status would have unpacked."""
    info = error_details_pb2.RetryInfo()
    info.retry_delay.seconds, info.retry_delay.nanos = 3, 250_000_000
    others = [error_details_pb2.ErrorInfo(), object()]
    assert judged(exceptions.ServiceUnavailable("x", details=[*others, info])) == ("unsure", 3.25)
    info.retry_delay.seconds = -3
    assert judged(exceptions.ServiceUnavailable("x", details=[info])) == ("unsure", 0.0)
    assert judged(exceptions.ServiceUnavailable("x", details=others)) == ("unsure", None)


@pytest.mark.parametrize("details", [[], [None, 3, "text"], [{}], [{"retryDelay": 3}]])
def test_details_that_say_nothing(details: Any) -> None:
    assert judged(exceptions.ServiceUnavailable("x", details=details)) == ("unsure", None)


def test_what_is_not_known(proof: Proof) -> None:
    """No status, no verdict; nor for what is a mistake of the caller."""
    for error in (
        exceptions.GoogleAPICallError("x"),
        exceptions.GoogleAPIError("x"),
        exceptions.DuplicateCredentialArgs("x"),
        exceptions.UnseekableStreamError("x"),
        exceptions.UploadCancelledError("x"),
        exceptions.from_grpc_error(grpc.RpcError()),
    ):
        proof.unknown(error)


def test_subclasses_and_codes_of_other_kinds() -> None:
    """A service's own class; a status as text; one that is none."""

    class Own(exceptions.ServiceUnavailable):
        pass

    assert judged(Own("x")) == ("unsure", None)
    for code, expected in (
        ("503", ("unsure", None)),
        ("none", None),
        (True, None),
        (None, None),
        (404, ("permanent", None)),
    ):
        error: Any = exceptions.GoogleAPICallError("x")
        error.code = code
        assert judged(error) == expected
