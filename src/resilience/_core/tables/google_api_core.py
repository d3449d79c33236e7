"""google-api-core, on which Google's clients stand: by what came back, which is a call of gRPC or an answer by HTTP.

One class is for both (`ServiceUnavailable` is 503 and `UNAVAILABLE`), so the answer is asked before the class. A call is
judged as in the table of gRPC, with its words and its pushback; an answer by its status, with its Retry-After. Either may
carry a google.rpc.RetryInfo. What failed in the end of a long operation came without an answer of its own: the class's
status of gRPC says what, and 429 there is not "refused before any work".

Generated clients try again by themselves, by default, what their service's configuration says: mostly `UNAVAILABLE`, for
minutes. When their time is up they raise `RetryError`, of which only the last failure is known: the ones before it were
worth trying again, and may have been applied, so it is unsure whatever the last one was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from resilience._core.rows import Always, By, Table, read
from resilience._core.tables import grpc, http
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

_ERROR = "google.api_core.exceptions.GoogleAPICallError"
_OTHER = Verdict.permanent()


def _http(error: Any) -> int | None:
    status = http.status_of(read(error, "response.status_code"))
    if status is None and _grpc(error) is None:
        # Made of a status, or by hand.
        return http.status_of(read(error, "code"))
    return status


def _grpc(error: Any) -> str | None:
    status = grpc.status_of(read(error, "response"))
    if status is None:
        name = read(error, "grpc_status_code.name")
        return name if isinstance(name, str) else None
    return status


def _hint(error: Any, wall: Callable[[], float]) -> float | None:
    response = read(error, "response")
    seconds = (grpc.hint(response), http.hint(cast("Any", read(response, "headers")), wall), *_retry_info(error))
    return max((each for each in seconds if each is not None), default=None)


def _retry_info(error: Any) -> Iterable[float | None]:
    """The delays of each google.rpc.RetryInfo: JSON by HTTP, a message by gRPC where grpcio-status is there to read it."""
    details = read(error, "details")
    for detail in cast("list[object]", details) if isinstance(details, list) else ():
        if isinstance(detail, Mapping):
            delay = cast("Mapping[str, object]", detail).get("retryDelay")
            if isinstance(delay, str):
                yield http.hint({"retry-after": delay.removesuffix("s")}, float)
        else:
            seconds, nanos = read(detail, "retry_delay.seconds"), read(detail, "retry_delay.nanos")
            if isinstance(seconds, int) and isinstance(nanos, int):
                yield max(0.0, seconds + nanos / 1e9)


TABLE = Table(
    "google-api-core",
    (
        By(_ERROR, "HTTP", _http, http.STATUS, otherwise=_OTHER, hint=_hint),
        By(_ERROR, "gRPC", _grpc, grpc.STATUS, otherwise=_OTHER, hint=_hint),
        Always("google.api_core.exceptions.TransferStalledError", Verdict.unsure(reason="the upload stalled")),
        Always("google.api_core.exceptions.RetryError", Verdict.unsure(reason="its own retries ran out of time")),
    ),
    source="https://googleapis.dev/python/google-api-core/latest/exceptions.html",
)
