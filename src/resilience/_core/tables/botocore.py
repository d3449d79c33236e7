"""botocore, on which boto3 stands, and aiobotocore with it: the services of AWS.

A service answers an error with a code; what HTTP status comes with it matters only where the code says nothing. A request
that was throttled was refused before any work was done (the codes are those of botocore's own ``retries/standard.py``).
The classes of a client (``client.exceptions.X``) are made at run time, and all are `ClientError`.

botocore tries again by itself, three to ten times, unless it is told ``Config(retries={"total_max_attempts": 1})``. What
its last request came to says nothing of those before it. A `ClientError` says how many there were; of another error the
traceback does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from resilience._core.rows import Always, By, Inside, LastOf, Rule, Table, passed, read
from resilience._core.tables.http import STATUS, by_status, hint
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

_THROTTLED = (
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "RequestThrottled"),
    *("TooManyRequestsException", "ProvisionedThroughputExceededException", "RequestLimitExceeded"),
    *("BandwidthLimitExceeded", "LimitExceededException", "SlowDown", "EC2ThrottledException"),
    *("PriorRequestNotComplete",),  # Route 53 is not done with the one before, and does not begin this one
    *("KMSThrottlingException", "KmsThrottled"),  # of Kinesis and SQS, whose keys are too busy
)
_CODE: Mapping[str, Verdict] = {
    **{code: Verdict.transient(throttled=True) for code in _THROTTLED},
    # Refused, because another request was at the same thing.
    "TransactionConflictException": Verdict.transient(),
    "ReplicatedWriteConflictException": Verdict.transient(),
    "OperationAborted": Verdict.transient(),
    # Refused, because what came was not what was sent, or whom the service asks did not answer it.
    "BadDigest": Verdict.transient(),
    "IDPCommunicationError": Verdict.transient(),
    # The same transaction, by its token, is still being carried out.
    "TransactionInProgressException": Verdict.unsure(),
    # The service gave up on the connection: on reading the request, or on writing the answer.
    "RequestTimeout": Verdict.unsure(),
    "RequestTimeoutException": Verdict.unsure(),
}
#: What DynamoDB says of one part of a transaction that it cancelled whole.
_BUSY = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}

#: S3 may say 200 and fail after that; botocore makes a 500 of it.
_BEGUN = 500
#: In the middle of an answer that is a stream of events: work has begun.
_EVENT = {
    **{code: Verdict.unsure(throttled=True) for code in ("ThrottlingException", "KMSThrottlingException", "SlowDown")},
    **{
        code: Verdict.unsure()
        for code in (
            *("InternalError", "InternalFailureException", "InternalServerException", "ServiceUnavailableException"),
            *("ModelStreamErrorException", "ModelTimeoutException"),
        )
    },
}

#: Who could not be asked for credentials, of those that answer by themselves a moment later.
_METADATA = {
    "container-role": Verdict.transient(reason="the container's metadata did not answer"),
    "iam-role": Verdict.transient(reason="the instance's metadata did not answer"),
}


def _status(error: Any) -> object:
    return read(error, "response.ResponseMetadata.HTTPStatusCode")


def _code(error: Any) -> str | None:
    code = read(error, "response.Error.Code")
    return code if isinstance(code, str) else None


def _refusal(error: Any) -> str | None:
    """The code, unless the work had begun."""
    return None if _status(error) == _BEGUN else _code(error)


def _provider(error: Any) -> str | None:
    provider = read(error, "kwargs.provider")
    return provider if isinstance(provider, str) else None


def _event(error: Any) -> str | None:
    """The code of an event, with a capital: some services write it without."""
    code = _code(error)
    return None if code is None else code[:1].upper() + code[1:]


def _checksum(error: Any) -> str | None:
    """Of an answer; any other of these errors is about what was asked for."""
    return "of the answer" if str(read(error, "kwargs.error_msg")).startswith("Expected checksum") else None


def _cancelled(error: Any) -> str | None:
    """Why a transaction was, if nothing stands against it another time."""
    reasons = read(error, "response.CancellationReasons")
    parts = cast("list[object]", reasons) if isinstance(reasons, list) else []
    codes = {read(part, "Code") for part in parts} - {"None"}
    if not codes or not codes <= _BUSY:
        return None
    return "conflict" if codes == {"TransactionConflict"} else "throttling"


def _headers(error: Any) -> Mapping[str, str] | None:
    """With ``x-amz-retry-after``, which is in milliseconds, under the name that others have for it."""
    headers = read(error, "response.ResponseMetadata.HTTPHeaders")
    if not isinstance(headers, Mapping):
        return None
    known = cast("Mapping[str, str]", headers)
    return {**known, "retry-after-ms": known["x-amz-retry-after"]} if "x-amz-retry-after" in known else known


def _hint(error: Any, wall: Callable[[], float]) -> float | None:
    return hint(_headers(error), wall)


def _others(error: Any) -> bool | None:
    """Whether there was a request before the last one."""
    retries = read(error, "response.ResponseMetadata.RetryAttempts")
    numbers = [*_attempts(error), *([retries + 1] if isinstance(retries, int) else ())]
    return max(numbers) > 1 if numbers else None


def _attempts(error: BaseException) -> Iterator[int]:
    """Of every call that the error came through: one may be asking for the credentials of another, at its second try."""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        sending = frame.f_globals.get("__name__") in {"botocore.endpoint", "aiobotocore.endpoint"}
        if sending and frame.f_code.co_name == "_send_request":
            yield int(frame.f_locals.get("attempts", 2))  # what is not there may have been more than one
        trace = trace.tb_next


def _used(error: Any) -> bool | None:
    """The same of credentials, which may be asked for where no request is being sent yet, and again at every try."""
    others = _others(error)
    return False if others is None and passed(error, "botocore.", "aiobotocore.") else others


_RULES: tuple[Rule, ...] = (
    # No answer. What botocore was told is in `kwargs`; its `__context__` may be that of the caller. The names alone prove
    # nothing: aiobotocore has these two also for a connection that broke, or went silent, after the request.
    Inside("botocore.exceptions.EndpointConnectionError", ("kwargs.error",),
           otherwise=Verdict.unsure(reason="the connection did not come about, or broke")),
    Inside("botocore.exceptions.ConnectTimeoutError", ("kwargs.error",),
           otherwise=Verdict.unsure(reason="connecting took too long, or the answer did")),
    Inside("botocore.exceptions.ProxyConnectionError", ("kwargs.error",),
           otherwise=Verdict.unsure(reason="the proxy failed")),
    Inside("botocore.exceptions.SSLError", ("kwargs.error",), otherwise=Verdict.permanent("TLS refused")),
    Always("botocore.exceptions.ReadTimeoutError", Verdict.unsure(reason="no answer in time")),
    Always("botocore.exceptions.ConnectionClosedError", Verdict.unsure(reason="closed before the answer was there")),
    Inside("botocore.exceptions.HTTPClientError", ("kwargs.error",)),
    # A part of one.
    Always("botocore.exceptions.ResponseStreamingError", Verdict.unsure(reason="the answer broke off")),
    Always("botocore.exceptions.IncompleteReadError", Verdict.unsure(reason="the answer broke off")),
    # Nobody looks whether an answer is as long as it says, unless it is a stream: what broke off cannot be read.
    Always("botocore.parsers.ResponseParserError", Verdict.unsure(reason="the answer broke off, or is none")),
    Always("botocore.exceptions.ChecksumError", Verdict.unsure(reason="the answer was damaged")),
    By("botocore.exceptions.FlexibleChecksumError", "checksum", _checksum, {"of the answer": Verdict.unsure()}),
    By("botocore.exceptions.EventStreamError", "event", _event, _EVENT, otherwise=Verdict.permanent()),
    # An answer.
    By("botocore.exceptions.ClientError", "code", _refusal, _CODE, hint=_hint),
    By("botocore.exceptions.ClientError", "cancelled for", _cancelled,
       {"conflict": Verdict.transient(), "throttling": Verdict.transient(throttled=True)}, hint=_hint),
    # 509 is BandwidthLimitExceeded, where the answer has no code.
    by_status("botocore.exceptions.ClientError", _status, _headers, {**STATUS, 509: Verdict.unsure(throttled=True)}),
    # Nobody was asked: credentials come first.
    Always("botocore.exceptions.NoCredentialsError", Verdict.permanent("no credentials")),
)  # fmt: skip

_CREDENTIALS = By("botocore.exceptions.CredentialRetrievalError", "credentials from", _provider, _METADATA,
                  otherwise=Verdict.permanent())  # fmt: skip

TABLE = Table(
    "botocore",
    (*(LastOf((rule,), _others) for rule in _RULES), LastOf((_CREDENTIALS,), _used)),
    source="https://docs.aws.amazon.com/general/latest/gr/api-retries.html",
)
