"""requests, row by row: real sessions against a server that misbehaves."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from tests.core.tables.proving import Proof
from tests.servers.http import babble, cut_off, free_port, hang_up, reset, says, serving, stall, untrusted
from urllib3.util import Retry

from resilience._core.tables.http import STATUS


#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.05
CONNECTION = "requests.exceptions.ConnectionError, by its args.0"
TIMEOUT = "requests.exceptions.Timeout"
KNOWN_INSIDE = "what is inside a real one is known"


def failed(url: str, method: str = "POST", **options: Any) -> Any:
    """The error of one request, of its status, or of what is in it; requests itself tries nothing again."""
    retries = options.pop("max_retries", None)
    with requests.Session() as session:
        session.trust_env = False
        if retries is not None:
            session.mount("http://", HTTPAdapter(max_retries=retries))
        with pytest.raises(Exception) as caught:
            session.request(method, url, data=b"x", **options).raise_for_status()
    return caught.value


# ---------------------------------------------------------------------------------------------- before the request


def test_refused(proof: Proof) -> None:
    error = failed(f"http://127.0.0.1:{free_port()}/")
    proof.server(error, CONNECTION, "transient")


def test_name_not_known(proof: Proof) -> None:
    """No such host: no better the next time. (Without a network, DNS itself does not answer.)"""
    error = failed("http://nobody.invalid/")
    kind = "transient" if error.args[0].reason.__cause__.errno == socket.EAI_AGAIN else "permanent"
    proof.server(error, CONNECTION, kind)


def test_connecting_takes_too_long(proof: Proof) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
    ):
        error = failed(f"http://127.0.0.1:{full.getsockname()[1]}/", timeout=SOON)
    proof.server(error, "requests.exceptions.ConnectTimeout, by its args.0", "transient")


def test_certificate_not_trusted(proof: Proof) -> None:
    with serving(says(200), ssl_context=untrusted()) as server:
        error = failed(f"https://localhost:{server.port}/")
    proof.server(error, "requests.exceptions.SSLError, by its args.0", "permanent")


def test_no_proxy(proof: Proof) -> None:
    error = failed("http://nobody.invalid/", proxies={"http": f"http://127.0.0.1:{free_port()}"})
    assert isinstance(error, requests.exceptions.ProxyError)
    proof.server(error, CONNECTION, "transient")


def test_the_proxy_hangs_up_with_the_request_in_hand(proof: Proof) -> None:
    with serving(hang_up) as server:
        error = failed("http://nobody.invalid/", proxies={"http": server.url})
    assert isinstance(error, requests.exceptions.ProxyError)
    assert server.requests[0].startswith(b"POST http://nobody.invalid/ ")
    proof.server(error, CONNECTION, "unsure")


@pytest.mark.parametrize(
    ("name", "kind"), [("ConnectTimeout", "unsure"), ("ConnectionError", "unsure"), ("SSLError", "permanent")]
)
@pytest.mark.parametrize("inside", [(), ("text",), (ValueError(),), (None,)], ids=["nothing", "text", "bug", "None"])
def test_with_nothing_known_inside(proof: Proof, name: str, kind: str, inside: tuple[Any, ...]) -> None:
    """As tests of other people make them: the class says what it is, but not what came before it."""
    error = getattr(requests, name, requests.exceptions.SSLError)(*inside)
    proof.constructor(error, f"requests.exceptions.{name}, nothing known inside", kind, because=KNOWN_INSIDE)


# ----------------------------------------------------------------------------------------------- after the request


def test_no_answer_in_time(proof: Proof) -> None:
    with serving(stall) as server:
        error = failed(server.url, timeout=SOON)
    assert isinstance(error, requests.ReadTimeout)
    proof.server(error, TIMEOUT, "unsure")


@pytest.mark.parametrize("answer", [hang_up, reset, babble], ids=["hang up", "reset", "babble"])
def test_broken(proof: Proof, answer: Any) -> None:
    with serving(answer) as server:
        proof.server(failed(server.url), CONNECTION, "unsure")


def test_broken_within_the_answer(proof: Proof) -> None:
    with serving(cut_off) as server:
        proof.server(failed(server.url), "requests.exceptions.ChunkedEncodingError", "unsure")


def test_silence_within_the_answer(proof: Proof) -> None:
    """A `ConnectionError` too, with a timeout inside."""

    def half(peer: socket.socket) -> None:
        cut_off(peer)
        stall(peer)

    with serving(half) as server:
        error = failed(server.url, timeout=SOON)
    assert isinstance(error, requests.ConnectionError)
    proof.server(error, CONNECTION, "unsure")


def test_not_decoded(proof: Proof) -> None:
    with serving(says(200, b"not gzip", content_encoding="gzip")) as server:
        proof.server(failed(server.url), "requests.exceptions.ContentDecodingError", "permanent")


@pytest.mark.parametrize("status", [*STATUS, 404])
def test_status(proof: Proof, status: int) -> None:
    with serving(says(status, retry_after="7")) as server:
        error = failed(server.url)
    verdict = STATUS.get(status)
    if verdict is None:
        proof.server(error, "requests.exceptions.HTTPError, any other HTTP", "permanent")
    else:
        row = f"requests.exceptions.HTTPError, HTTP {status}"
        proof.server(error, row, str(verdict.kind), throttled=verdict.throttled, after=7.0)


def test_a_date_to_come_back_at(proof: Proof) -> None:
    date = "Wed, 21 Oct 2015 07:28:30 GMT"
    with serving(says(503, retry_after=date)) as server:
        error = failed(server.url)
    proof.server(error, "requests.exceptions.HTTPError, HTTP 503", "unsure", throttled=True, after=30.0)


@pytest.mark.parametrize(("status", "kind", "throttled"), [(503, "unsure", True), (429, "transient", True)])
def test_its_own_retries_used_up(proof: Proof, status: int, kind: str, throttled: bool) -> None:
    with serving(says(status)) as server:
        error = failed(server.url, "GET", max_retries=Retry(0, status_forcelist=[status]))
    proof.server(error, "requests.exceptions.RetryError, by its args.0", kind, throttled=throttled)


# ----------------------------------------------------------------------------------------------- the last of several


@pytest.mark.parametrize("status", [303, 307])
def test_refused_after_a_redirect(proof: Proof, status: int) -> None:
    """The POST was answered, and may have been done; what was refused is another request."""
    with serving(says(status, location=f"http://127.0.0.1:{free_port()}/")) as server:
        error = failed(server.url)
    assert error.request.url != server.url + "/"
    verdict = proof.server(error, CONNECTION, "unsure")
    assert "an earlier request of the same call may have been done" in verdict.reason


def test_throttled_after_a_redirect(proof: Proof) -> None:
    with serving(says(303, location="/elsewhere"), says(429, retry_after="7")) as server:
        error = failed(server.url)
    assert len(server.requests) == 2
    proof.server(error, "requests.exceptions.HTTPError, HTTP 429", "unsure", throttled=True, after=7.0)


def test_refused_after_a_redirect_that_was_not_followed(proof: Proof) -> None:
    """What comes next is a request of its own."""
    place = f"http://127.0.0.1:{free_port()}/"
    with serving(says(303, location=place)) as server, requests.Session() as session:
        session.trust_env = False
        response = session.post(server.url, allow_redirects=False)
        assert response.next is not None
        with pytest.raises(requests.ConnectionError) as caught:
            session.send(response.next)
    proof.server(caught.value, CONNECTION, "transient")


def test_refused_after_a_try_of_its_own(proof: Proof) -> None:
    """An adapter that tries again: the first request was sent, of the second nothing."""
    with serving(hang_up, says(429)) as server:
        error = failed(server.url, "GET", max_retries=Retry(1, status_forcelist=[429]))
    assert len(server.requests) == 2
    proof.server(error, "requests.exceptions.RetryError, by its args.0", "unsure", throttled=True)


def test_refused_every_time(proof: Proof) -> None:
    error = failed(f"http://127.0.0.1:{free_port()}/", max_retries=3)
    proof.server(error, CONNECTION, "transient")


# ------------------------------------------------------------------------------------- never again; strange facts


def test_too_many_redirects(proof: Proof) -> None:
    with serving(says(302, location="/again")) as server:
        proof.server(failed(server.url), "requests.exceptions.TooManyRedirects", "permanent")


@pytest.mark.parametrize("url", ["", "nobody", "http://", "gopher://nobody.invalid/", "http://[::1"])
def test_no_such_address(proof: Proof, url: str) -> None:
    proof.unknown(failed(url))


def test_no_json(proof: Proof) -> None:
    with serving(says(200, b"<html>")) as server, requests.Session() as session:
        response = session.get(server.url)
    with pytest.raises(requests.JSONDecodeError) as caught:
        response.json()
    proof.unknown(caught.value)


@pytest.mark.parametrize("response", [None, SimpleNamespace(), SimpleNamespace(status_code=None), "text"])
def test_no_status(proof: Proof, response: Any) -> None:
    proof.unknown(requests.HTTPError(response=response))


def test_a_status_in_words_and_headers_that_are_none(proof: Proof) -> None:
    response: Any = SimpleNamespace(status_code="503", headers=None, history=None, request=None)
    verdict = proof.tables(requests.HTTPError(response=response))
    assert verdict is not None
    assert (verdict.kind, verdict.throttled, verdict.after) == ("unsure", True, None)


def test_subclasses_are_meant_too(proof: Proof) -> None:
    class Mine(requests.ReadTimeout):
        pass

    verdict = proof.tables(Mine())
    assert verdict is not None
    assert verdict.kind == "unsure"
