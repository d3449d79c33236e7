"""docker, row by row: the real SDK against a server that answers as the daemon does."""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.client import DockerClient
from docker.errors import APIError, BuildError, ContainerError, DockerException, ImageNotFound, NotFound
from tests.core.tables.proving import Proof
from tests.servers.http import Answer, Misbehaving, free_port, hang_up, says, serving, stall

from resilience._core.rows import local, read


#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.05
HTTP = "requests.exceptions.HTTPError"
REFUSED = "requests.exceptions.ConnectionError, by its args.0"
VERSION = "docker.errors.DockerException, by its __cause__"
#: So that the client does not ask for it.
KNOWN = "1.44"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither proxies nor credentials of whoever runs the tests."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@contextlib.contextmanager
def client_of(address: str, version: str | None = KNOWN, timeout: float = 5) -> Iterator[Any]:
    new: Any = DockerClient
    client = new(base_url=address, version=version, timeout=timeout)
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def daemon(*answers: Answer, **options: Any) -> Iterator[tuple[Any, Misbehaving]]:
    with serving(*answers) as server, client_of(f"tcp://127.0.0.1:{server.port}", **options) as client:
        yield client, server


def failed(work: Callable[[Any], object], *answers: Answer, **options: Any) -> Any:
    with daemon(*answers, **options) as (client, _), pytest.raises(Exception) as caught:
        work(client)
    return caught.value


def failed_at(address: str, version: str | None = KNOWN, timeout: float = 5) -> Any:
    """The error of a client that only wants to know whether somebody is there."""
    with pytest.raises(Exception) as caught, client_of(address, version, timeout) as client:
        client.ping()
    if address.startswith("unix:"):
        # The SDK leaves a socket open that it could not connect; it is found where that was tried.
        inner: Any = read(caught.value.__cause__ or caught.value, "args.0.args.1")
        left_open: Any = local(inner, "docker.transport.unixconn", "connect", "sock")
        left_open.close()
    return caught.value


def start(client: Any) -> None:
    client.api.start("c0ffee")


def message(text: str) -> dict[str, Any]:
    return {"message": text}


# ------------------------------------------------------------------------------------------------- no daemon there


def test_nobody_listens(proof: Proof) -> None:
    proof.server(failed_at(f"tcp://127.0.0.1:{free_port()}"), REFUSED, "transient")


def test_the_socket_is_not_there(proof: Proof, tmp_path: Path) -> None:
    """As while the daemon is restarted."""
    error = failed_at(f"unix://{tmp_path}/docker.sock")
    assert isinstance(error, requests.ConnectionError)
    proof.server(error, REFUSED, "transient")


def test_nobody_listens_behind_the_socket(proof: Proof, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(f"{tmp_path}/docker.sock")
        proof.server(failed_at(f"unix://{tmp_path}/docker.sock"), REFUSED, "transient")


def test_the_daemon_dies_in_the_middle(proof: Proof) -> None:
    proof.server(failed(start, hang_up), REFUSED, "unsure")


def test_no_answer_in_time(proof: Proof) -> None:
    proof.server(failed(start, stall, timeout=SOON), "requests.exceptions.Timeout", "unsure")


# ------------------------------------------------------------------------------------- asking for the version first


def test_no_socket_to_ask_for_the_version(proof: Proof, tmp_path: Path) -> None:
    error = failed_at(f"unix://{tmp_path}/docker.sock", version=None)
    assert type(error) is DockerException
    assert str(error).startswith("Error while fetching server API version: ")
    proof.server(error, VERSION, "transient")


@pytest.mark.parametrize(
    ("answer", "kind", "throttled"),
    [
        (hang_up, "transient", False),
        (stall, "transient", False),
        (says(500, message("starting")), "transient", False),
        (says(503, message("starting")), "transient", True),
        (says(403, message("not you")), "permanent", False),
    ],
    ids=["hang up", "stall", "500", "503", "403"],
)
def test_no_version(proof: Proof, answer: Answer, kind: str, throttled: bool) -> None:
    """Whatever became of the question: it was a question, and nothing else was sent yet."""
    with serving(answer) as server:
        error = failed_at(f"tcp://127.0.0.1:{server.port}", version=None, timeout=SOON if answer is stall else 5)
        assert [request.split()[:2] for request in server.requests] == [[b"GET", b"/version"]]
    proof.server(error, VERSION, kind, throttled=throttled)


@pytest.mark.parametrize("answer", [says(200, b"no json"), says(200, {"no": "version"})], ids=["no JSON", "no version"])
def test_this_is_no_daemon(proof: Proof, answer: Answer) -> None:
    with serving(answer) as server:
        error = failed_at(f"tcp://127.0.0.1:{server.port}", version=None)
    assert type(error) is DockerException
    proof.unknown(error)


# --------------------------------------------------------------------------------------------- the daemon's answer


@pytest.mark.parametrize(
    ("status", "kind", "throttled"),
    [
        (400, "permanent", False),
        (403, "permanent", False),
        (409, "permanent", False),
        (429, "transient", True),
        (500, "unsure", False),
        (503, "unsure", True),
    ],
)
def test_status(proof: Proof, status: int, kind: str, throttled: bool) -> None:
    """A conflict is with what is there, and stays; what a 500 is, the daemon does not say."""
    error = failed(start, says(status, message("said the daemon"), retry_after="7"))
    assert type(error) is APIError
    row = "any other HTTP" if kind == "permanent" else f"HTTP {status}"
    proof.server(error, f"{HTTP}, {row}", kind, throttled=throttled, after=None if kind == "permanent" else 7.0)


@pytest.mark.parametrize(
    ("said", "kind"), [("No such container: c0ffee", NotFound), ("No such image: tea:latest", ImageNotFound)]
)
def test_not_found(proof: Proof, said: str, kind: type[APIError]) -> None:
    error = failed(start, says(404, message(said)))
    assert type(error) is kind
    proof.server(error, f"{HTTP}, any other HTTP", "permanent")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_the_registry_has_too_many_requests(proof: Proof, status: int) -> None:
    """A status for it came late; before, it was a 500 like any other."""
    said = "toomanyrequests: You have reached your pull rate limit."
    error = failed(lambda client: client.images.pull("tea", tag="latest"), says(status, message(said)))
    proof.server(error, "docker.errors.APIError, daemon: toomanyrequests: *", "unsure", throttled=True)


@pytest.mark.parametrize(
    ("said", "row"),
    [
        ("This node is not a swarm manager. Use ...", "this node is *"),
        ("This node is not part of a swarm", "this node is *"),
        ("this node is already part of a swarm", "this node is *"),
        ("Swarm is encrypted and needs to be unlocked before it can be used.", "swarm is encrypted *"),
        ("Swarm certificates have expired. To replace them, ...", "swarm certificates have expired*"),
    ],
)
def test_no_swarm(proof: Proof, said: str, row: str) -> None:
    """A 503 that does not pass."""
    error = failed(lambda client: client.nodes.list(), says(503, message(said)))
    proof.server(error, f"docker.errors.APIError, daemon: {row}", "permanent")


def test_the_command_in_the_container_failed(proof: Proof) -> None:
    """Its own affair: the daemon did what it was told."""
    made = {"Id": "c0ffee", "Warnings": []}
    seen = {"Id": "c0ffee", "Config": {"Tty": True}, "HostConfig": {"LogConfig": {"Type": "none"}}}
    answers = (
        says(201, made),
        says(200, seen),
        says(204),
        says(200, {"StatusCode": 1}),
        says(200, b"no"),
        says(200, seen),
    )
    error = failed(lambda client: client.containers.run("tea", "false"), *answers)
    assert type(error) is ContainerError
    proof.server(error, "docker.errors.ContainerError", "permanent")


def test_the_build_failed(proof: Proof) -> None:
    def build(client: Any) -> None:
        client.images.build(fileobj=io.BytesIO(b"FROM scratch\nRUN false\n"))

    error = failed(build, says(200, {"error": "the command returned a non-zero code: 1"}))
    assert type(error) is BuildError
    proof.server(error, "docker.errors.BuildError", "permanent")


# -------------------------------------------------------------------------------------- never again; strange facts


def test_wrong_arguments(proof: Proof) -> None:
    with pytest.raises(DockerException) as caught, client_of("tcp://127.0.0.1:1", version="1.1"):
        pass
    proof.unknown(caught.value)


@pytest.mark.parametrize("explanation", [None, 5, {"text": "This node is"}, ""])
def test_an_explanation_that_is_no_text(proof: Proof, explanation: Any) -> None:
    new: Any = APIError
    proof.unknown(new("said", explanation=explanation))


def test_what_the_caller_was_busy_with_is_not_what_failed(proof: Proof) -> None:
    """An error that came up while another was handled has that one for its context."""
    try:
        raise ConnectionRefusedError
    except ConnectionRefusedError:
        error = failed(lambda client: client.images.load(b""), says(200, {"errorDetail": {"message": "no tar"}}))
    assert error.__context__ is not None
    proof.unknown(error)
