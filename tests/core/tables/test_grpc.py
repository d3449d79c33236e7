"""gRPC row by row: real channels, sync and asyncio, against a real server in this process, and against broken ones."""

# mypy: disable-error-code="no-untyped-call, attr-defined"

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
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
from tests.servers.http import babble, free_port, hang_up, reset
from tests.servers.http import serving as serving_tcp

from resilience._core.tables import Tables
from resilience._core.tables.grpc import STATUS
from resilience._core.verdict import VerdictKind


#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.05
#: Every status that the table does not name.
OTHER = "grpc.RpcError, any other gRPC"
PERMANENT = {status.name for status in grpc.StatusCode} - {"OK", *STATUS}


def row(status: str) -> str:
    return f"grpc.RpcError, gRPC {status}"


def call(
    target: str,
    method: str = UNARY,
    request: bytes = b"x",
    options: tuple[tuple[str, Any], ...] = (),
    credentials: Any = None,
    serializer: Callable[..., Any] | None = None,
    deserializer: Callable[..., Any] | None = None,
    **asking: Any,
) -> Any:
    """One call on a channel of its own; its answers, or its error as it is raised."""
    with channel(target, options, credentials) as to:
        if method == STREAM:
            return list(to.unary_stream(method, serializer, deserializer)(request, **asking))
        return to.unary_unary(method, serializer, deserializer)(request, **asking)


async def acall(
    target: str,
    method: str = UNARY,
    request: bytes = b"x",
    options: tuple[tuple[str, Any], ...] = (),
    credentials: Any = None,
    serializer: Callable[..., Any] | None = None,
    deserializer: Callable[..., Any] | None = None,
    **asking: Any,
) -> Any:
    """The same by `grpc.aio`."""
    async with channel(target, options, credentials, grpc.aio) as to:
        if method == STREAM:
            return [answer async for answer in to.unary_stream(method, serializer, deserializer)(request, **asking)]
        return await to.unary_unary(method, serializer, deserializer)(request, **asking)


@pytest.fixture(params=["sync", "asyncio"])
def raised(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """The error of one call by a client of that colour."""

    def by(*args: Any, **options: Any) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            if request.param == "sync":
                call(*args, **options)
            else:
                asyncio.run(acall(*args, **options))
        return caught.value

    return by


def echo(request: bytes, _context: Any) -> bytes:
    return request


@contextlib.contextmanager
def waiting() -> Iterator[tuple[str, Any, threading.Event]]:
    """A server whose handler does not answer before the test is over; with an event for when it has begun."""
    begun, over = threading.Event(), threading.Event()

    def wait(request: bytes, _context: Any) -> bytes:
        begun.set()
        over.wait(10)
        return request

    with serving(wait) as (target, server):
        try:
            yield target, server, begun
        finally:
            over.set()


# -- statuses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK], ids=str)
@pytest.mark.parametrize("method", [UNARY, STREAM])
def test_status(proof: Proof, raised: Callable[..., Any], method: str, status: grpc.StatusCode) -> None:
    """What the server's handler says, in place of an answer and in the middle of a stream."""
    with serving(aborts(status)) as (target, _):
        error = raised(target, method)
    assert error.code() is status
    expected = STATUS.get(status.name)
    if expected is None:
        proof.server(error, OTHER, "permanent")
    else:
        proof.server(error, row(status.name), expected.kind, throttled=expected.throttled)


def test_what_is_permanent() -> None:
    """No status that says the call is wrong, unwelcome or over may slip into the table."""
    assert {
        "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION",
        "OUT_OF_RANGE", "UNIMPLEMENTED", "DATA_LOSS", "CANCELLED",
    } == PERMANENT  # fmt: skip


def test_no_status_says_that_nothing_was_done() -> None:
    """Only words of gRPC's own make a verdict transient: any status can come from a handler that has done its work."""
    plain = {name: verdict.kind for name, verdict in STATUS.items() if "," not in name}
    assert VerdictKind.TRANSIENT not in plain.values()


def test_unhandled_exception_of_the_server(proof: Proof, raised: Callable[..., Any]) -> None:
    """An exception in a handler is `UNKNOWN`, as 500 is in HTTP."""

    def fail(_request: bytes, _context: Any) -> bytes:
        raise KeyError("bug")

    with serving(fail) as (target, _):
        proof.server(raised(target), row("UNKNOWN"), "unsure")


def test_no_such_method(proof: Proof, raised: Callable[..., Any]) -> None:
    with serving(echo) as (target, _):
        proof.server(raised(target, "/test.Test/None"), OTHER, "permanent")


def test_deadline(proof: Proof, raised: Callable[..., Any]) -> None:
    """No answer in time; nor a connection, for one that waits for it: the words are the same, so nothing is sure."""
    with waiting() as (target, _, begun):
        answered_late = raised(target, timeout=SOON)
        assert begun.wait(5)
    proof.server(answered_late, row("DEADLINE_EXCEEDED"), "unsure")
    not_connected = raised(f"127.0.0.1:{free_port()}", timeout=SOON, wait_for_ready=True)
    proof.server(not_connected, row("DEADLINE_EXCEEDED"), "unsure")


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ((("grpc.max_send_message_length", 100),), 101),
        ((("grpc.max_receive_message_length", 100),), 101),
        ((), 5 * 1024 * 1024),
    ],
    ids=["sent", "received", "received by the server"],
)
def test_too_large(proof: Proof, raised: Callable[..., Any], options: Any, size: int) -> None:
    """A message above either side's limit has the status of a quota, and is too large the next time as well."""
    with serving(echo) as (target, _):
        error = raised(target, UNARY, b"x" * size, options)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    proof.server(error, row("RESOURCE_EXHAUSTED, too large"), "permanent")


def test_too_much_metadata(proof: Proof, raised: Callable[..., Any]) -> None:
    with serving(echo) as (target, _):
        error = raised(target, metadata=(("a", "x" * 70_000),))
    proof.server(error, row("RESOURCE_EXHAUSTED, too large"), "permanent")


# -- connections -----------------------------------------------------------------------------------------------------


def test_refused(proof: Proof, raised: Callable[..., Any]) -> None:
    """Nobody listens: nothing was sent."""
    proof.server(raised(f"127.0.0.1:{free_port()}"), row("UNAVAILABLE, not connected"), "transient")


@pytest.mark.parametrize("answer", [hang_up, reset, babble])
def test_no_server_of_grpc(proof: Proof, raised: Callable[..., Any], answer: Any) -> None:
    """It accepts, and does not get as far as HTTP/2: no call was sent."""
    with serving_tcp(answer) as server:
        proof.server(raised(f"127.0.0.1:{server.port}"), row("UNAVAILABLE, not connected"), "transient")


def test_every_backend_refuses(proof: Proof, raised: Callable[..., Any]) -> None:
    """Other words, by another policy of balancing load; and none, for no address at all."""
    balanced = (("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),)
    target = f"ipv4:127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    proof.server(raised(target, options=balanced), row("UNAVAILABLE, not connected"), "transient")
    proof.server(raised("ipv4:"), row("UNAVAILABLE, not connected"), "transient")


def test_no_socket_file(proof: Proof, raised: Callable[..., Any], tmp_path: Any) -> None:
    """The server of a Unix socket that has not started yet."""
    proof.server(raised(f"unix:{tmp_path}/none"), row("UNAVAILABLE, not connected"), "transient")


@pytest.mark.parametrize(
    ("code", "kind", "which"),
    [(3, "permanent", "unknown host"), (2, "transient", "DNS did not answer"), (5, "transient", "DNS did not answer")],
    ids=["NXDOMAIN", "SERVFAIL", "REFUSED"],
)
def test_dns(proof: Proof, raised: Callable[..., Any], code: int, kind: str, which: str) -> None:
    """A name that is not known will be no better the next time; a name server that fails may be."""
    with serving_dns(code) as port:
        error = raised(f"dns://127.0.0.1:{port}/no-such-host.example:80")
    proof.server(error, row(f"UNAVAILABLE, {which}"), kind)


def test_no_name_server(proof: Proof, raised: Callable[..., Any]) -> None:
    error = raised(f"dns://127.0.0.1:{free_port()}/no-such-host.example:80")
    proof.server(error, row("UNAVAILABLE, DNS did not answer"), "transient")


def test_target_that_is_none(proof: Proof, raised: Callable[..., Any]) -> None:
    """Not a name, but a mistake."""
    proof.server(raised("unknown://///x"), row("UNAVAILABLE, unknown host"), "permanent")


def test_tls(proof: Proof, raised: Callable[..., Any]) -> None:
    """A certificate that is not trusted, or is another's; and a server without TLS."""
    own, other, elsewhere = Certificate(), Certificate(), Certificate("elsewhere.example")
    with serving(echo, own.credentials) as (target, _):
        assert call(target, credentials=grpc.ssl_channel_credentials(own.pem)) == b"x"
        not_trusted = raised(target, credentials=grpc.ssl_channel_credentials(other.pem))
    with serving(echo, elsewhere.credentials) as (target, _):
        of_another = raised(target, credentials=grpc.ssl_channel_credentials(elsewhere.pem))
    with serving(echo) as (target, _):
        plain = raised(target, credentials=grpc.ssl_channel_credentials(own.pem))
    for error in (not_trusted, of_another, plain):
        proof.server(error, row("UNAVAILABLE, TLS refused"), "permanent")


@pytest.mark.parametrize("read", [1, 65_536], ids=["reset", "closed"])
def test_tls_broken_off(proof: Proof, raised: Callable[..., Any], read: int) -> None:
    """A connection that ends in the handshake says nothing about trust. What was not read makes the end a reset."""
    with accepting(lambda peer: peer.recv(read)) as target:
        error = raised(target, credentials=grpc.ssl_channel_credentials(Certificate().pem))
    proof.server(error, row("UNAVAILABLE, not connected"), "transient")


@pytest.mark.parametrize("method", [UNARY, STREAM])
def test_server_stopped_at_work(proof: Proof, raised: Callable[..., Any], method: str) -> None:
    """The handler has begun when its server goes away."""
    with waiting() as (target, server, begun):

        def stop() -> None:
            begun.wait(5)
            server.stop(0)

        stopping = threading.Thread(target=stop)
        stopping.start()
        error = raised(target, method)
        stopping.join()
    proof.server(error, row("UNAVAILABLE"), "unsure")


def test_connection_lost_at_work(proof: Proof, raised: Callable[..., Any]) -> None:
    """The request was sent, and the connection ends."""
    with accepting(says_http2(b"")) as target:
        error = raised(target)
    assert "Socket closed" in error.details()
    proof.server(error, row("UNAVAILABLE"), "unsure")


@pytest.mark.parametrize(
    ("code", "kind", "status", "throttled"),
    [
        (7, "transient", "UNAVAILABLE, refused unread", False),
        (2, "unsure", "INTERNAL", False),
        (11, "unsure", "RESOURCE_EXHAUSTED", True),
    ],
    ids=["REFUSED_STREAM", "INTERNAL_ERROR", "ENHANCE_YOUR_CALM"],
)
def test_stream_reset(
    proof: Proof, raised: Callable[..., Any], code: int, kind: str, status: str, throttled: bool
) -> None:
    """Codes of HTTP/2; of these only REFUSED_STREAM says that nothing was done (RFC 9113 §8.7)."""
    with accepting(says_http2(reset_stream(code))) as target:
        proof.server(raised(target), row(status), kind, throttled=throttled)


@pytest.mark.parametrize(("code", "kind"), [(17, "unsure"), (70, "unsure")])
def test_longer_numbers_are_other_codes(code: int, kind: str, raised: Callable[..., Any]) -> None:
    """Only 7 is REFUSED_STREAM."""
    with accepting(says_http2(reset_stream(code))) as target:
        verdict = Tables(lambda: NOW)(raised(target))
    assert verdict is not None
    assert verdict.kind == kind


# -- pushback --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "after"), [("1500", 1.5), ("0", 0.0), ("9999999999", 9_999_999.999)], ids=str)
@pytest.mark.parametrize("status", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_pushback(proof: Proof, raised: Callable[..., Any], status: str, value: str, after: float) -> None:
    """The server says when it wants to be asked again."""
    with serving(aborts(grpc.StatusCode[status], other="1", grpc_retry_pushback_ms=value)) as (target, _):
        error = raised(target)
    proof.server(error, row(status), "unsure", throttled=STATUS[status].throttled, after=after)


@pytest.mark.parametrize("value", ["-1", "soon", "", "nan"])
def test_pushback_that_forbids(proof: Proof, raised: Callable[..., Any], value: str) -> None:
    """Negative, or no number: the server does not want to be asked again (gRFC A6)."""
    with serving(aborts(grpc.StatusCode.UNAVAILABLE, grpc_retry_pushback_ms=value)) as (target, _):
        error = raised(target)
    proof.server(error, row("told not to try again"), "permanent")


def test_pushback_is_no_permission(proof: Proof, raised: Callable[..., Any]) -> None:
    """A hint changes nothing about a status that is permanent."""
    with serving(aborts(grpc.StatusCode.NOT_FOUND, grpc_retry_pushback_ms="10")) as (target, _):
        proof.server(raised(target), OTHER, "permanent")


# -- this side of the call -------------------------------------------------------------------------------------------


def bug(*_: object) -> Any:
    raise ValueError("bug")


def test_what_cannot_be_serialized(proof: Proof) -> None:
    """By the caller: a bug, with a status that servers have for theirs."""
    both: tuple[dict[str, Any], ...] = ({"serializer": bug}, {"deserializer": bug})
    with serving(echo) as (target, _):
        for broken in both:
            with pytest.raises(grpc.RpcError) as caught:
                call(target, **broken)
            proof.server(caught.value, row("INTERNAL, cannot be serialized"), "permanent")


def test_requests_that_break_off(proof: Proof) -> None:
    """The caller's own iterator of requests raises."""
    with serving(echo) as (target, _), channel(target) as to:
        with pytest.raises(grpc.RpcError) as caught:
            list(to.stream_stream(STREAM)(iter(bug, None)))
    proof.server(caught.value, row("UNKNOWN, the caller's own exception"), "permanent")


def test_channel_closed_at_work(proof: Proof) -> None:
    """Somebody on this side does not want the answer any more."""
    with waiting() as (target, _, begun):
        to = channel(target)

        def close() -> None:
            begun.wait(5)
            to.close()

        closing = threading.Thread(target=close)
        closing.start()
        with pytest.raises(grpc.RpcError) as caught:
            to.unary_unary(UNARY)(b"x")
        closing.join()
    assert caught.value.code() is grpc.StatusCode.CANCELLED
    proof.server(caught.value, OTHER, "permanent")


def test_call_that_has_not_ended(proof: Proof) -> None:
    """A stream is an exception from its beginning; asked for its status before its end, it would wait."""
    with waiting() as (target, _, begun), channel(target) as to:
        running = to.unary_stream(STREAM)(b"x")
        assert next(running) == b"first"
        assert begun.wait(5)
        assert isinstance(running, grpc.RpcError)
        proof.unknown(running)
        running.cancel()


def test_futures(proof: Proof) -> None:
    """A future that is not ready in time says nothing about the call; one that was cancelled is nobody's failure."""
    with waiting() as (target, _, begun), channel(target) as to:
        future = to.unary_unary(UNARY).future(b"x")
        with pytest.raises(grpc.FutureTimeoutError) as late:
            future.result(timeout=SOON)
        assert begun.wait(5)
        future.cancel()
        with pytest.raises(grpc.FutureCancelledError) as cancelled:
            future.result()
    proof.server(late.value, "grpc.FutureTimeoutError", "unsure")
    proof.unknown(cancelled.value)


def test_channel_that_is_not_ready(proof: Proof) -> None:
    with channel(f"127.0.0.1:{free_port()}") as to:
        ready = grpc.channel_ready_future(to)
        with pytest.raises(grpc.FutureTimeoutError) as late:
            ready.result(timeout=SOON)
        ready.cancel()
    proof.server(late.value, "grpc.FutureTimeoutError", "unsure")


# -- what words cannot tell ------------------------------------------------------------------------------------------


def test_words_passed_on_are_taken_for_own(raised: Callable[..., Any]) -> None:
    """The limit of reading words: once a release lets the two be told apart, the table should as well."""
    own = raised(f"127.0.0.1:{free_port()}")
    with serving(aborts(own.code(), own.details())) as (target, _):
        passed_on = raised(target)
    assert (passed_on.details(), passed_on.debug_error_string()) == (own.details(), own.debug_error_string())
    assert tuple(passed_on.trailing_metadata()) == tuple(own.trailing_metadata()) == ()


#: What other releases say, as it was seen: 1.60, 1.71 and 1.76.
SEEN = {
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: "
    "connect: Connection refused (111)": "transient",
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Ssl handshake failed: SSL_ERROR_SSL: "
    "error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED": "permanent",
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Peer name 127.0.0.1 is not in peer "
    "certificate": "permanent",
    "DNS resolution failed for x.example:80: C-ares status is not ARES_SUCCESS qtype=A name=x.example is_balancer=0: "
    "Could not contact DNS servers": "transient",
    "DNS resolution failed for x.example:80: C-ares status is not ARES_SUCCESS qtype=A name=x.example is_balancer=0: "
    "Domain name not found": "permanent",
    "Received RST_STREAM with error code 7": "transient",
    "Socket closed": "unsure",
}


@pytest.mark.parametrize("details", SEEN)
def test_words_of_other_releases(details: str, proof: Proof) -> None:
    verdict = proof.tables(grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, details=details))
    assert verdict is not None
    assert verdict.kind == SEEN[details]


@pytest.mark.parametrize(
    "details",
    [
        "upstream says: failed to connect to all addresses",
        "Failed to connect to the database",
        "no healthy upstream",
        "Stream removed (Socket closed)",
        "",
        None,
    ],
)
def test_other_words_are_not_believed(details: str | None, proof: Proof) -> None:
    """Only what begins as gRPC's own words is taken for them."""
    verdict = proof.tables(grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, details=details))
    assert verdict is not None
    assert verdict.kind is VerdictKind.UNSURE


# -- strange facts ---------------------------------------------------------------------------------------------------


def test_no_facts(proof: Proof) -> None:
    """A bare `RpcError`, as fakes raise it, says nothing; nor does one whose code is no status."""

    class Odd(grpc.RpcError):
        def code(self) -> Any:
            return 14

    class Text(grpc.RpcError):
        code = "UNAVAILABLE"

    for error in (grpc.RpcError(), grpc.RpcError("UNAVAILABLE"), Odd(), Text()):
        proof.unknown(error)


def test_subclasses_and_missing_methods(proof: Proof) -> None:
    """A class of somebody's own that knows its code only."""

    class Own(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

    verdict = proof.tables(Own())
    assert verdict is not None
    assert (verdict.kind, verdict.reason, verdict.after) == (VerdictKind.UNSURE, "gRPC UNAVAILABLE", None)
