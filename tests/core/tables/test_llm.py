"""The SDKs of OpenAI and Anthropic, row by row: real clients, sync and async, against an endpoint that answers as their APIs do."""

from __future__ import annotations

import asyncio
import gc
import importlib
import ssl
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from tests.core.tables.proving import NOW, Proof
from tests.servers.http import Answer, cut_off, free_port, hang_up, reset, says, serving, stall, untrusted
from tests.servers.llm import (
    ANTHROPIC_BEGINS,
    OPENAI_BEGINS,
    anthropic_error,
    event,
    openai_error,
    streams,
)

from resilience._core.tables import load
from resilience._core.tables.http import STATUS


SDKS = ("openai", "anthropic")
CLIENTS = {"openai": ("OpenAI", "AsyncOpenAI"), "anthropic": ("Anthropic", "AsyncAnthropic")}
BEGINS = {"openai": OPENAI_BEGINS, "anthropic": ANTHROPIC_BEGINS}
#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.05
#: One for all clients that speak no TLS: to load the certificates that are trusted takes longer than a test.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
BY_CAUSE = "by its __cause__"
#: For the SDK's own next try, which waits no longer than it is told.
AT_ONCE = {"retry_after_ms": "1"}

Ask = Callable[..., Any]

#: They leave their generators to the garbage collector when a request fails, and trio says so.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(http|openai|anthropic):ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    """OpenAI's SDK leaves a generator behind that fails if it is collected while somebody imports httpx."""
    yield
    gc.collect()


@pytest.fixture(params=SDKS)
def sdk(request: pytest.FixtureRequest) -> Any:
    """The SDK."""
    return importlib.import_module(request.param)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def ask(request: pytest.FixtureRequest, sdk: Any) -> Ask:
    """One question by a client of that colour: its answer, or the parts of it, or its error as it is raised."""
    return asking(sdk, request.param)


def asking(sdk: Any, colour: str = "sync", headers: dict[str, Any] | None = None) -> Ask:
    name = sdk.__name__
    sync, asynchronous = (getattr(sdk, client) for client in CLIENTS[name])

    def question(client: Any, stream: bool) -> Any:
        said = {"role": "user", "content": "x"}
        asked: dict[str, Any] = {"model": "none", "messages": [said], "stream": stream, "extra_headers": headers or {}}
        if name == "openai":
            return client.chat.completions.create(**asked)
        return client.messages.create(max_tokens=1, **asked)

    def options(url: str, more: dict[str, Any]) -> dict[str, Any]:
        return {"api_key": "none", "base_url": url, "max_retries": 0, "timeout": 5.0, **more}

    def with_sync(url: str, *, stream: bool = False, verify: ssl.SSLContext = NO_TLS, **more: Any) -> Any:
        http = sdk.DefaultHttpxClient(verify=verify, trust_env=False)
        with sync(http_client=http, **options(url, more)) as client:
            answer = question(client, stream)
            if not stream:
                return answer
            with answer:
                return list(answer)

    async def with_async(url: str, stream: bool, verify: ssl.SSLContext, more: dict[str, Any]) -> Any:
        http = sdk.DefaultAsyncHttpxClient(verify=verify, trust_env=False)
        async with asynchronous(http_client=http, **options(url, more)) as client:
            answer = await question(client, stream)
            if not stream:
                return answer
            async with answer:
                return [part async for part in answer]

    def with_asyncio(url: str, *, stream: bool = False, verify: ssl.SSLContext = NO_TLS, **more: Any) -> Any:
        return asyncio.run(with_async(url, stream, verify, more))

    def with_trio(url: str, *, stream: bool = False, verify: ssl.SSLContext = NO_TLS, **more: Any) -> Any:
        return trio.run(with_async, url, stream, verify, more)

    return {"sync": with_sync, "asyncio": with_asyncio, "trio": with_trio}[colour]


def raised(work: Callable[..., object], *args: Any, **options: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        work(*args, **options)
    return caught.value


def answered(sdk: Any, answer: Answer, **options: Any) -> Exception:
    """The error of one question that is answered so."""
    with serving(answer) as server:
        return raised(asking(sdk), server.url, **options)


def body_of(sdk: Any, **said: Any) -> dict[str, Any]:
    return openai_error(**said) if sdk.__name__ == "openai" else anthropic_error()


def test_the_endpoint_is_good_enough(sdk: Any, ask: Ask) -> None:
    """A stream that ends well is read to its end."""
    last = [b"data: [DONE]\n\n"] if sdk.__name__ == "openai" else []
    with serving(streams(BEGINS[sdk.__name__], *last)) as server:
        assert len(ask(server.url, stream=True)) == 1


# Refused.

CLASSES = {
    "openai": {400: "BadRequestError", 401: "AuthenticationError", 403: "PermissionDeniedError", 404: "NotFoundError",
               409: "ConflictError", 422: "UnprocessableEntityError", 429: "RateLimitError"},
    "anthropic": {400: "BadRequestError", 401: "AuthenticationError", 402: "PaymentRequiredError",
                  403: "PermissionDeniedError", 404: "NotFoundError", 408: "RequestTimeoutError", 409: "ConflictError",
                  413: "ContentTooLargeError", 422: "UnprocessableEntityError", 429: "RateLimitError",
                  501: "HTTPNotImplementedError", 503: "ServiceUnavailableError", 504: "GatewayTimeoutError",
                  529: "OverloadedError"},
}  # fmt: skip
IN_DOUBT = (409, 520, 521, 522, 523, 524)
HOPELESS = (400, 401, 402, 403, 404, 405, 413, 418, 422, 501, 505)


@pytest.mark.parametrize("status", [*STATUS, *IN_DOUBT, *HOPELESS])
def test_statuses(proof: Proof, sdk: Any, status: int) -> None:
    """By the status, with the server's hint, whatever the class."""
    error = answered(sdk, says(status, body_of(sdk), retry_after="7"))
    usual = "InternalServerError" if status >= 500 else "APIStatusError"
    assert type(error).__name__ == CLASSES[sdk.__name__].get(status, usual)
    prefix = f"{sdk.__name__}.APIStatusError, "
    known = STATUS.get(status)
    if status in IN_DOUBT:
        proof.server(error, f"{prefix}HTTP {status}", "unsure", after=7.0)
    elif known is None:
        proof.server(error, f"{prefix}any other HTTP", "permanent")
    else:
        proof.server(error, f"{prefix}HTTP {status}", known.kind, throttled=known.throttled, after=7.0)


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({}, None),
        ({"retry_after": "20"}, 20.0),
        ({"retry_after": "20", "retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:30 GMT"}, 30.0),
        ({"retry_after": "86400"}, 86_400.0),
        ({"retry_after": "soon"}, None),
    ],
    ids=["none", "seconds", "milliseconds", "date", "a day", "unreadable"],
)
def test_too_fast(proof: Proof, sdk: Any, ask: Ask, headers: dict[str, str], after: float | None) -> None:
    """A rate limit is refused before any work; the server says how long it lasts."""
    assert NOW == 1445412480.0
    with serving(says(429, body_of(sdk, code="rate_limit_exceeded", type="tokens"), **headers)) as server:
        error = raised(ask, server.url)
    proof.server(error, f"{sdk.__name__}.APIStatusError, HTTP 429", "transient", throttled=True, after=after)


@pytest.mark.parametrize(
    "body", [b"", b"<html>Too many</html>", b"null", b"[]", b'"text"', b'{"error": "text"}', b'{"error": null}']
)
def test_a_refusal_without_words(proof: Proof, sdk: Any, body: bytes) -> None:
    """From something in between, that answers as it likes."""
    error = answered(sdk, says(429, body, retry_after="1"))
    proof.server(error, f"{sdk.__name__}.APIStatusError, HTTP 429", "transient", throttled=True, after=1.0)


SPENT = (
    *("insufficient_quota", "credit_balance_exhausted", "organization_usage_limit_exceeded"),
    *("organization_spend_limit_exceeded", "project_spend_limit_exceeded"),
    *("billing_hard_limit_reached", "billing_not_active"),
)


@pytest.mark.parametrize("code", SPENT)
def test_openai_without_money(proof: Proof, code: str) -> None:
    """The same status as a rate limit, and often the same hint; nothing but money helps."""
    openai = importlib.import_module("openai")
    body = openai_error(code=code, type="insufficient_quota")
    error = answered(openai, says(429, body, retry_after="1"))
    assert type(error).__name__ == "RateLimitError"
    proof.server(error, f"openai.APIStatusError, error {code}", "permanent")


@pytest.mark.parametrize("said", [{"type": "insufficient_quota"}, {"type": "insufficient_quota", "code": "new_one"}])
def test_openai_without_money_by_the_type(proof: Proof, said: dict[str, str]) -> None:
    """Where the code is missing, or none that was known when this was written."""
    error = answered(importlib.import_module("openai"), says(429, openai_error(**said)))
    proof.server(error, "openai.APIStatusError, error insufficient_quota", "permanent")


def test_without_money_in_every_colour(proof: Proof, sdk: Any, ask: Ask) -> None:
    """The server's "true" does not help either: the SDKs would obey it."""
    body, row = openai_error(code="insufficient_quota"), "error insufficient_quota"
    if sdk.__name__ == "anthropic":
        body, row = (
            anthropic_error("rate_limit_error", "enforced_spend_limit_reached"),
            "error_code enforced_spend_limit_reached",
        )
    with serving(says(429, body, x_should_retry="true")) as server:
        error = raised(ask, server.url)
    proof.server(error, f"{sdk.__name__}.APIStatusError, {row}", "permanent")


@pytest.mark.parametrize("status", [429, 413])
def test_openai_larger_than_the_limit(proof: Proof, status: int) -> None:
    """One request that is over the limit of a minute will always be."""
    message = "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 36278."
    body = openai_error(message=message, type="tokens", code="rate_limit_exceeded")
    error = answered(importlib.import_module("openai"), says(status, body, retry_after="1"))
    proof.server(error, "openai.APIStatusError, saying Request too large for *", "permanent")


@pytest.mark.parametrize(
    ("status", "error_code", "kind"),
    [
        (429, "contract_spend_limit_reached", "permanent"),
        (429, "enforced_spend_limit_reached", "permanent"),
        (409, "plugin_name_taken", "permanent"),
        (409, "skill_name_taken", "permanent"),
        (503, "cmek_context_unavailable", "transient"),
        (400, "external_key_validation_timed_out", "transient"),
    ],
)
def test_anthropic_error_codes(proof: Proof, status: int, error_code: str, kind: str) -> None:
    """Where they say more than the status; the SDK has a class for each."""
    error = answered(importlib.import_module("anthropic"), says(status, anthropic_error(error_code=error_code)))
    assert type(error).__mro__[1].__module__ == "anthropic"
    proof.server(error, f"anthropic.APIStatusError, error_code {error_code}", kind)


@pytest.mark.parametrize(
    ("status", "error_code", "row", "kind", "throttled"),
    [
        (429, "ramp_limit_exceeded", "HTTP 429", "transient", True),
        (409, "concurrent_membership_change", "HTTP 409", "unsure", False),
        (503, "registration_pending", "HTTP 503", "unsure", True),
        (529, "compaction_unavailable", "HTTP 529", "unsure", True),
        (402, "linked_organization_spend_limit_reached", "any other HTTP", "permanent", False),
        (400, "storage_quota_exceeded", "any other HTTP", "permanent", False),
        (429, "none_that_is_known", "HTTP 429", "transient", True),
    ],
)
def test_anthropic_error_codes_that_say_no_more(
    proof: Proof, status: int, error_code: str, row: str, kind: str, *, throttled: bool
) -> None:
    """The status is right."""
    error = answered(importlib.import_module("anthropic"), says(status, anthropic_error(error_code=error_code)))
    proof.server(error, f"anthropic.APIStatusError, {row}", kind, throttled=throttled)


def test_hopeless_requests(proof: Proof, sdk: Any, ask: Ask) -> None:
    """Too long for the model; Anthropic says so, and that there is no credit left, in words alone."""
    openai = openai_error(code="context_length_exceeded", type="invalid_request_error")
    body = openai if sdk.__name__ == "openai" else anthropic_error("invalid_request_error")
    with serving(says(400, body)) as server:
        error = raised(ask, server.url)
    proof.server(error, f"{sdk.__name__}.APIStatusError, any other HTTP", "permanent")


def test_only_the_beginning_of_the_words_counts(proof: Proof) -> None:
    """What a user wrote and the server repeats decides nothing."""
    body = openai_error(message="You said: Request too large for insufficient_quota", code="rate_limit_exceeded")
    error = answered(importlib.import_module("openai"), says(429, body))
    proof.server(error, "openai.APIStatusError, HTTP 429", "transient", throttled=True)


# The header that the SDKs obey.


@pytest.mark.parametrize("status", [400, 408, 409, 429, 500, 503, 529])
def test_should_retry_false(proof: Proof, sdk: Any, status: int) -> None:
    """The server knows best, whatever the status and the hint."""
    error = answered(sdk, says(status, body_of(sdk), x_should_retry="false", retry_after="1"))
    proof.server(error, f"{sdk.__name__}.APIStatusError, x-should-retry false", "permanent")


@pytest.mark.parametrize("status", [400, 404, 418, 501])
def test_should_retry_true(proof: Proof, sdk: Any, ask: Ask, status: int) -> None:
    """It does not say that nothing was done."""
    with serving(says(status, body_of(sdk), x_should_retry="true", retry_after="2")) as server:
        error = raised(ask, server.url)
    proof.server(error, f"{sdk.__name__}.APIStatusError, x-should-retry true", "unsure", after=2.0)


@pytest.mark.parametrize(
    ("status", "kind", "throttled"), [(429, "transient", True), (503, "unsure", True), (500, "unsure", False)]
)
def test_should_retry_true_of_what_is_tried_again_anyway(
    proof: Proof, sdk: Any, status: int, kind: str, *, throttled: bool
) -> None:
    """The status says more."""
    error = answered(sdk, says(status, body_of(sdk), x_should_retry="true"))
    proof.server(error, f"{sdk.__name__}.APIStatusError, HTTP {status}", kind, throttled=throttled)


@pytest.mark.parametrize("said", ["", "maybe", "True", "1"])
def test_should_retry_in_other_words(proof: Proof, sdk: Any, said: str) -> None:
    """Only the two words that the SDKs know."""
    error = answered(sdk, says(404, body_of(sdk), x_should_retry=said))
    proof.server(error, f"{sdk.__name__}.APIStatusError, any other HTTP", "permanent")


# Tries of their own.


def test_refused_at_a_later_try(proof: Proof, sdk: Any, ask: Ask) -> None:
    """The first try may have been done; the hint is that of the second."""
    with serving(says(500, body_of(sdk), **AT_ONCE), says(429, body_of(sdk), retry_after="7")) as server:
        error = raised(ask, server.url, max_retries=1)
        assert len(server.requests) == 2
    proof.server(error, f"{sdk.__name__}.APIStatusError, at a later try", "unsure", throttled=True, after=7.0)


def test_not_connected_at_a_later_try(proof: Proof, sdk: Any, ask: Ask) -> None:
    """The same."""
    with serving(says(500, body_of(sdk), **AT_ONCE), says(307, location=f"http://127.0.0.1:{free_port()}/")) as server:
        error = raised(ask, server.url, max_retries=1)
        assert len(server.requests) == 2
    proof.server(error, f"{sdk.__name__}.APIConnectionError, at a later try", "unsure")


def test_hopeless_at_a_later_try(proof: Proof, sdk: Any) -> None:
    """What is useless stays so."""
    with serving(says(500, body_of(sdk), **AT_ONCE), says(401, body_of(sdk))) as server:
        error = raised(asking(sdk), server.url, max_retries=1)
    proof.server(error, f"{sdk.__name__}.APIStatusError, any other HTTP", "permanent")


def test_refused_after_a_redirect(proof: Proof, sdk: Any) -> None:
    """They follow redirects: the POST may have been done before the server said "see there"."""
    with serving(says(303, location="/there"), says(429, body_of(sdk))) as server:
        error = raised(asking(sdk), server.url)
    proof.server(error, f"{sdk.__name__}.APIStatusError, at a later try", "unsure", throttled=True)
    with serving(says(303, location=f"http://127.0.0.1:{free_port()}/")) as server:
        error = raised(asking(sdk), server.url)
    proof.server(error, f"{sdk.__name__}.APIConnectionError, {BY_CAUSE}", "unsure")


def test_without_the_number_of_the_try(proof: Proof, sdk: Any) -> None:
    """A caller may leave the header out: then nothing is known of an earlier try."""
    with serving(says(429, body_of(sdk))) as server:
        error = raised(asking(sdk, headers={"x-stainless-retry-count": sdk.Omit()}), server.url)
        assert b"retry-count" not in server.requests[0]
    proof.server(error, f"{sdk.__name__}.APIStatusError, HTTP 429", "transient", throttled=True)


# Not connected, or cut.


def test_refused(proof: Proof, sdk: Any, ask: Ask) -> None:
    """Nobody listens."""
    error = raised(ask, f"http://127.0.0.1:{free_port()}/")
    assert type(error).__name__ == "APIConnectionError"
    proof.server(error, f"{sdk.__name__}.APIConnectionError, {BY_CAUSE}", "transient")


def test_not_trusted(proof: Proof, sdk: Any, ask: Ask) -> None:
    """A certificate that nobody signed."""
    with serving(says(200), ssl_context=untrusted()) as server:
        error = raised(ask, f"https://127.0.0.1:{server.port}/", verify=ssl.create_default_context())
    proof.server(error, f"{sdk.__name__}.APIConnectionError, {BY_CAUSE}", "permanent")


def test_connecting_takes_too_long(proof: Proof, sdk: Any, ask: Ask) -> None:
    """A server that says nothing to TLS: the request was not sent."""
    timeout = sdk.Timeout(5, connect=SOON)
    with serving(stall) as server:
        error = raised(ask, f"https://127.0.0.1:{server.port}/", timeout=timeout)
    assert type(error).__name__ == "APITimeoutError"
    proof.server(error, f"{sdk.__name__}.APIConnectionError, {BY_CAUSE}", "transient")


def test_no_answer_in_time(proof: Proof, sdk: Any, ask: Ask) -> None:
    """The request was sent."""
    with serving(stall) as server:
        error = raised(ask, server.url, timeout=sdk.Timeout(5, read=SOON))
    assert server.requests
    assert type(error).__name__ == "APITimeoutError"
    proof.server(error, f"{sdk.__name__}.APIConnectionError, {BY_CAUSE}", "unsure")


@pytest.mark.parametrize("answer", [hang_up, cut_off, reset], ids=["hung up", "cut off", "reset"])
def test_no_whole_answer(proof: Proof, sdk: Any, ask: Ask, answer: Answer) -> None:
    """Closed without an answer, or in the middle of it; or reset."""
    with serving(answer) as server:
        error = raised(ask, server.url)
    assert server.requests
    proof.server(error, f"{sdk.__name__}.APIConnectionError, {BY_CAUSE}", "unsure")


def test_a_request_that_is_no_http(proof: Proof, sdk: Any) -> None:
    """A "connection error" that is a mistake of ours."""
    with serving(says(200)) as server:
        error = raised(asking(sdk, headers={"x": "a\nb"}), server.url)
    assert type(error).__name__ == "APIConnectionError"
    proof.server(error, f"{sdk.__name__}.APIConnectionError, {BY_CAUSE}", "permanent")


def test_without_a_cause(proof: Proof, sdk: Any) -> None:
    """As a middleware or a test may raise it."""
    request = SimpleNamespace(headers={})
    because = "the SDK gives it a cause wherever a server is the reason"
    row = f"{sdk.__name__}.APIConnectionError, cause none"
    proof.constructor(sdk.APIConnectionError(request=request), row, "unsure", because=because)
    proof.constructor(sdk.APITimeoutError(request=request), row, "unsure", because=because)

    class Mine(sdk.APITimeoutError):  # type: ignore[misc]
        """A subclass is meant too."""

    proof.constructor(Mine(request), row, "unsure", because=because)


def test_a_bug_inside_is_no_broken_connection(proof: Proof) -> None:
    """Anthropic's SDK calls whatever its client raises a broken connection."""
    anthropic = importlib.import_module("anthropic")

    client_class: Any = anthropic.DefaultHttpxClient

    class Broken(client_class):  # type: ignore[misc]
        def send(self, *_: Any, **__: Any) -> Any:
            raise TypeError("a bug")

    http = Broken(verify=NO_TLS)
    with anthropic.Anthropic(api_key="none", max_retries=0, http_client=http) as client:
        error = raised(client.models.list)
    assert type(error).__name__ == "APIConnectionError"
    proof.unknown(error)


# Streams.


def in_stream(sdk: Any, error: dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
    """An answer that begins well, and then is an error."""
    name = sdk.__name__
    return streams(BEGINS[name], event(error, "error" if name == "anthropic" else None), headers=headers)


def test_a_stream_that_is_cut(proof: Proof, sdk: Any, ask: Ask) -> None:
    """OpenAI's SDK wraps it as any other, Anthropic's leaves it to httpx."""
    with serving(streams(BEGINS[sdk.__name__], then=hang_up)) as server:
        error = raised(ask, server.url, stream=True)
    rows = {"openai": f"openai.APIConnectionError, {BY_CAUSE}", "anthropic": f"httpx2.RemoteProtocolError, {BY_CAUSE}"}
    proof.server(error, rows[sdk.__name__], "unsure")


def test_a_stream_that_stalls(proof: Proof, sdk: Any, ask: Ask) -> None:
    """The same. The beginning must have come before the time is up."""
    with serving(streams(BEGINS[sdk.__name__], then=stall)) as server:
        error = raised(ask, server.url, stream=True, timeout=sdk.Timeout(5, read=4 * SOON))
    rows = {"openai": f"openai.APIConnectionError, {BY_CAUSE}", "anthropic": "httpx2.ReadTimeout"}
    proof.server(error, rows[sdk.__name__], "unsure")


@pytest.mark.parametrize("code", [*SPENT, "server_error", "rate_limit_exceeded", "slow_down", "server_is_overloaded"])
def test_openai_errors_in_a_stream(proof: Proof, code: str) -> None:
    """The status was 200; part of the work was done."""
    openai = importlib.import_module("openai")
    error = answered(openai, in_stream(openai, openai_error(code=code, type="any")), stream=True)
    assert type(error) is openai.APIError
    kind = "permanent" if code in SPENT else "unsure"
    throttled = code in {"rate_limit_exceeded", "slow_down", "server_is_overloaded"}
    proof.server(error, f"openai.APIError, error {code}", kind, throttled=throttled)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("server_error", None), ("service_unavailable_error", None), ("service_unavailable_error", "none_that_is_known")],
)
def test_openai_errors_in_a_stream_by_the_type(proof: Proof, kind: str, code: str | None) -> None:
    """Where the code says nothing."""
    openai = importlib.import_module("openai")
    error = answered(openai, in_stream(openai, openai_error(type=kind, code=code)), stream=True)
    proof.server(error, f"openai.APIError, error {kind}", "unsure", throttled=kind != "server_error")


def test_openai_larger_than_the_limit_in_a_stream(proof: Proof) -> None:
    """The words are the same, and so they mean."""
    openai = importlib.import_module("openai")
    body = openai_error(message="Request too large for gpt-5 on tokens per min", type="tokens", code="none_of_these")
    error = answered(openai, in_stream(openai, body), stream=True)
    proof.server(error, "openai.APIError, saying Request too large for *", "permanent")


@pytest.mark.parametrize("code", [*STATUS, *IN_DOUBT, 400, "429", "404"], ids=ascii)
def test_openai_statuses_in_a_stream(proof: Proof, code: object) -> None:
    """Gateways put the status of the server behind them in the stream; nothing is certain of what had begun."""
    openai = importlib.import_module("openai")
    error = answered(openai, in_stream(openai, openai_error(code=code)), stream=True)
    known = STATUS.get(int(str(code)))
    if int(str(code)) in IN_DOUBT:
        proof.server(error, f"openai.APIError, code {code}", "unsure")
    elif known is None:
        proof.server(error, "openai.APIError, any other code", "permanent")
    else:
        proof.server(error, f"openai.APIError, code {code}", "unsure", throttled=known.throttled)


@pytest.mark.parametrize(
    "said", [{}, {"code": "context_length_exceeded"}, {"code": [1]}, {"type": {"a": 1}}, {"message": 5}], ids=str
)
def test_openai_errors_in_a_stream_that_nobody_knows(proof: Proof, said: dict[str, Any]) -> None:
    """Not tried again."""
    openai = importlib.import_module("openai")
    error = answered(openai, in_stream(openai, openai_error(**said)), stream=True)
    assert type(error) is openai.APIError
    proof.unknown(error)


@pytest.mark.parametrize(
    ("kind", "row", "verdict", "throttled"),
    [
        ("overloaded_error", "in a stream: overloaded_error", "unsure", True),
        ("rate_limit_error", "in a stream: rate_limit_error", "unsure", True),
        ("api_error", "in a stream: api_error", "unsure", False),
        ("timeout_error", "in a stream: timeout_error", "unsure", False),
        ("invalid_request_error", "any other in a stream", "permanent", False),
        ("billing_error", "any other in a stream", "permanent", False),
        ("authentication_error", "any other in a stream", "permanent", False),
    ],
)
def test_anthropic_errors_in_a_stream(proof: Proof, kind: str, row: str, verdict: str, *, throttled: bool) -> None:
    """The status was 200; part of the work was done. The answer's own headers were for the answer."""
    anthropic = importlib.import_module("anthropic")
    error = answered(anthropic, in_stream(anthropic, anthropic_error(kind), {"x-should-retry": "false"}), stream=True)
    assert isinstance(error, anthropic.APIStatusError)
    assert error.status_code == 200
    proof.server(error, f"anthropic.APIStatusError, {row}", verdict, throttled=throttled)


def test_an_overload_in_a_stream_in_every_colour(proof: Proof, sdk: Any, ask: Ask) -> None:
    """The same error by any client."""
    body, row = openai_error(code="server_is_overloaded"), "openai.APIError, error server_is_overloaded"
    if sdk.__name__ == "anthropic":
        body, row = anthropic_error("overloaded_error"), "anthropic.APIStatusError, in a stream: overloaded_error"
    with serving(in_stream(sdk, body)) as server:
        error = raised(ask, server.url, stream=True)
    proof.server(error, row, "unsure", throttled=True)


def test_a_stream_of_anthropic_that_ends_in_no_json(proof: Proof) -> None:
    """The status was good, and what followed cannot be read."""
    anthropic = importlib.import_module("anthropic")
    error = answered(anthropic, streams(ANTHROPIC_BEGINS, b"event: error\ndata: oh\n\n"), stream=True)
    proof.server(error, "anthropic.APIStatusError, any other HTTP", "permanent")


# What else they raise.


def test_an_answer_of_another_shape(proof: Proof, sdk: Any) -> None:
    """It is the answer, only not one that was promised."""
    error = answered(sdk, says(200, {"code": 503, "type": "server_error"}), _strict_response_validation=True)
    assert type(error).__name__ == "APIResponseValidationError"
    proof.server(error, f"{sdk.__name__}.APIResponseValidationError", "permanent")


def test_a_middleware_that_asks_for_another_try(proof: Proof) -> None:
    """What it saw, nobody knows."""
    anthropic = importlib.import_module("anthropic")

    def again(request: Any, call_next: Callable[[Any], Any]) -> Any:
        answer = call_next(request)
        raise anthropic.RetryableError(f"not {answer.status_code}")

    with serving(says(200, {})) as server:
        error = raised(asking(anthropic), server.url, middleware=[again])
    proof.server(error, "anthropic.RetryableError", "unsure")


def test_bugs_and_what_the_model_says_are_unknown(proof: Proof, sdk: Any) -> None:
    """No try again helps."""
    proof.unknown(raised(asking(sdk, headers={"x": 5}), "http://127.0.0.1:9/"))
    if sdk.__name__ == "openai":
        proof.unknown(sdk.ContentFilterFinishReasonError())
        proof.unknown(sdk.OpenAIError("said"))
    else:
        proof.unknown(sdk.AnthropicError("said"))
        proof.unknown(sdk.CredentialsError("said"))


@pytest.mark.parametrize(
    "facts",
    [
        {"response": None},
        {"response": SimpleNamespace()},
        {"response": SimpleNamespace(status_code=None, headers=None)},
        {"response": SimpleNamespace(status_code="what", headers={"x-should-retry": "true"})},
    ],
    ids=["none", "empty", "no status", "no number"],
)
def test_a_strange_response(proof: Proof, sdk: Any, facts: dict[str, Any]) -> None:
    """Other versions, and mocks: without a status, nobody knows."""
    error = sdk.APIStatusError.__new__(sdk.APIStatusError, "said")
    error.__dict__.update(facts)
    proof.unknown(error)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"body": 5, "request": None},
        {"body": {"error": 5, 1: 2}, "request": SimpleNamespace(headers=None)},
        {"body": {"code": None, "type": 5, "details": "x"}, "request": SimpleNamespace(headers={})},
        {"body": [1], "request": SimpleNamespace(headers=5)},
    ],
    ids=["none", "a number", "error a number", "details text", "a list"],
)
def test_strange_words(proof: Proof, sdk: Any, facts: dict[str, Any]) -> None:
    """Whatever stands where the body should be, the status still decides; without a request nobody knows which it was."""
    error = sdk.APIStatusError.__new__(sdk.APIStatusError, "said")
    response = SimpleNamespace(status_code=429, headers={"retry-after": "3"}, history=[])
    error.__dict__.update(response=response, **facts)
    because = "no answer is read so by the SDK"
    row, kind = ("at a later try", "unsure") if facts.get("request") is None else ("HTTP 429", "transient")
    prefix = f"{sdk.__name__}.APIStatusError, "
    proof.constructor(error, prefix + row, kind, throttled=True, after=3.0, because=because)
    del response.history
    proof.constructor(error, f"{prefix}at a later try", "unsure", throttled=True, after=3.0, because=because)


def test_the_table_is_of_these_two() -> None:
    """Nothing else is in it."""
    assert {row.error.partition(".")[0] for row in load("llm").rows} == set(SDKS)
