"""The MCP SDK's client, row by row: against real servers that die, hang and refuse, over stdio, HTTP and SSE.

What comes out of the client is mostly a group of a group of one error; what each test looks at is said of the whole.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import anyio
import httpx2
import mcp.shared.exceptions
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from tests.core.tables.proving import Proof
from tests.servers.http import cut_off, hang_up, says, says_raw, serving
from tests.servers.process import Server, answers

from resilience import ConstantBackoff, RetryPolicy, transient
from resilience._core.tables import load
from resilience._core.verdict import Verdict


#: Over HTTP the SDK leaves what it reads of an answer unread to its end, which trio says when the garbage is collected.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http(x|core)2.:ResourceWarning")

#: Where the loop makes no difference, and a server costs time.
UNDER_ASYNCIO = pytest.mark.parametrize("error_of", ["asyncio"], indirect=True)

PROGRAM = Path(__file__).parents[2] / "servers" / "mcp_server.py"
#: Where in its arguments a server has its port.
PORT = 4
ROW = "mcp.shared.exceptions.MCPError"
#: Long enough for an answer on loopback, short enough to wait for none.
SOON = 0.1
POLICY = RetryPolicy(on=transient, attempts=3, backoff=ConstantBackoff(0))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The client logs what it met; only its errors are of interest here."""
    caplog.set_level(logging.CRITICAL, logger="mcp")


@pytest.fixture(params=["asyncio", "trio"])
def error_of(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[object]]], Exception]:
    """The error of some work under that loop."""

    def error(work: Callable[[], Awaitable[object]]) -> Exception:
        with pytest.raises(Exception) as caught:
            anyio.run(work, backend=request.param)
        assert not isinstance(caught.value, (Warning, AssertionError))
        return caught.value

    return error


ErrorOf = Callable[[Callable[[], Awaitable[object]]], Exception]


@pytest.fixture(scope="module")
def nowhere() -> Iterator[TextIO]:
    """Where the servers' own words go."""
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        yield nothing


@contextlib.contextmanager
def http_server(log: Path, *arguments: str, transport: str = "streamable-http") -> Iterator[Server]:
    """A real server of the SDK over HTTP. It chooses its port, and has the same when it is started again."""

    def port() -> int:
        said = re.search(r"^port (\d+)$", log.read_text(), re.MULTILINE)
        assert said is not None
        return int(said[1])

    argv = [sys.executable, "-P", str(PROGRAM), transport, "0", *arguments]
    server = Server(argv, lambda: answers(port()), log)
    server.argv[PORT] = str(port())
    try:
        yield server
    finally:
        server.kill()


def url_of(server: Server, path: str = "mcp") -> str:
    return f"http://127.0.0.1:{server.argv[PORT]}/{path}"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one that lives as long as these tests."""
    with http_server(tmp_path_factory.mktemp("mcp") / "log") as server:
        yield url_of(server)


def calling(
    server: Any, tool: str, *, made: Callable[[], Any] | None = None, mode: Any = "auto", **arguments: Any
) -> Any:
    """One call of one client, made for it; what `made` gives is the client's way to the server."""

    async def call() -> object:
        async with Client(server if made is None else made(), mode=mode, read_timeout_seconds=20) as client:
            return await client.call_tool(tool, arguments)

    return call


def refusing(url: str, code: int, message: str) -> Callable[[], Awaitable[object]]:
    return calling(url, "refuse", code=code, message=message)  # type: ignore[no-any-return]


def program(nowhere: TextIO, *argv: str) -> Callable[[], Any]:
    """The way to a server that is run as a program: the real one, or another."""
    command, *arguments = argv or (sys.executable, "-P", str(PROGRAM), "stdio")
    return lambda: stdio_client(StdioServerParameters(command=command, args=arguments), errlog=nowhere)


def the_leaf(error: BaseException) -> BaseException:
    """The one error in all the groups."""
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


def proven(proof: Proof, error: Exception, row: str, kind: str, **more: Any) -> None:
    """The leaf proves the row, and the group around it means the same."""
    verdict = proof.server(the_leaf(error), row, kind, **more)
    whole = judged(proof, error)
    assert (whole.kind, whole.after, whole.throttled) == (verdict.kind, verdict.after, verdict.throttled)


def judged(proof: Proof, error: BaseException) -> Verdict:
    verdict = proof.tables(error)
    assert verdict is not None
    return verdict


# A server that is a program.


@pytest.mark.parametrize(("error_of", "mode"), [("asyncio", "auto"), ("trio", "legacy")], indirect=["error_of"])
def test_killed_in_the_middle_of_a_call(proof: Proof, error_of: ErrorOf, nowhere: TextIO, mode: Any) -> None:
    """kill -9: the tool may have done its work. The client is at its end, and says the same of every other call."""
    first: list[Exception] = []

    async def call() -> None:
        async with Client(program(nowhere)(), mode=mode) as client:
            try:
                await client.call_tool("die")
            except MCPError as error:
                first.append(error)
            await client.call_tool("say", {"words": "x"})

    row = f"{ROW}, error -32000: Connection closed*"
    error = error_of(call)
    assert isinstance(error, ExceptionGroup)
    proven(proof, error, row, "unsure")
    proof.server(first[0], row, "unsure")


def test_ended_before_it_said_anything(proof: Proof, error_of: ErrorOf, nowhere: TextIO) -> None:
    """It cannot be told from one that was killed later. What is no JSON-RPC is passed over."""
    for code in ("raise SystemExit(3)", "print('hello')"):
        error = error_of(calling(None, "say", made=program(nowhere, sys.executable, "-c", code)))
        proven(proof, error, f"{ROW}, error -32000: Connection closed*", "unsure")


def test_no_such_program(proof: Proof, error_of: ErrorOf, nowhere: TextIO, tmp_path: Path) -> None:
    """The standard library's own error."""
    error = error_of(calling(None, "say", made=program(nowhere, str(tmp_path / "nothing"))))
    assert isinstance(error, FileNotFoundError)
    assert judged(proof, error).kind == "permanent"


# One that is asked over HTTP.


def test_refused(proof: Proof, error_of: ErrorOf) -> None:
    """httpx2's own error, in a group: nothing was sent."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        error = error_of(calling(f"http://127.0.0.1:{bound.getsockname()[1]}/mcp", "say"))
    assert isinstance(error, ExceptionGroup)
    assert isinstance(the_leaf(error), httpx2.ConnectError)
    assert judged(proof, error).kind == "transient"


@UNDER_ASYNCIO
def test_dies_before_it_answers(proof: Proof, error_of: ErrorOf, tmp_path: Path) -> None:
    """httpx2's own error: the tool may have done its work."""
    with http_server(tmp_path / "log") as server:
        error = error_of(calling(url_of(server), "die"))
    assert isinstance(the_leaf(error), (httpx2.RemoteProtocolError, httpx2.ReadError))
    assert judged(proof, error).kind == "unsure"


@pytest.mark.parametrize("error_of", ["trio"], indirect=True)
def test_dies_in_the_middle_of_its_answer(proof: Proof, error_of: ErrorOf, tmp_path: Path) -> None:
    """A server of before 2026 begins to answer at once."""
    with http_server(tmp_path / "log") as server:
        error = error_of(calling(url_of(server), "die", mode="legacy"))
    proven(proof, error, f"{ROW}, error -32000: SSE stream*", "unsure")


@pytest.mark.parametrize(
    "how", [hang_up, says_raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")]
)
def test_the_answer_breaks_off(proof: Proof, error_of: ErrorOf, how: Any) -> None:
    """Before it began, or in the middle."""
    with serving(how) as server:
        error = error_of(calling(server.url, "say"))
    assert isinstance(the_leaf(error), httpx2.RemoteProtocolError)
    assert judged(proof, error).kind == "unsure"


@pytest.mark.parametrize(("backend", "cancelled"), [("asyncio", "CancelledError"), ("trio", "Cancelled")])
def test_a_lost_connection_looks_like_a_cancellation(
    proof: Proof, tmp_path: Path, backend: str, cancelled: str
) -> None:
    """Inside the client the call is cancelled, which no retry tries again; what it was comes out of the client."""
    seen: list[BaseException] = []

    async def call() -> None:
        async with Client(url_of(server)) as client:
            await client.call_tool("say", {"words": "x"})
            server.kill()

            @POLICY
            async def again() -> None:
                try:
                    await client.call_tool("say", {"words": "y"})
                except BaseException as error:
                    seen.append(error)
                    raise

            await again()

    with http_server(tmp_path / "log") as server, pytest.raises(ExceptionGroup) as caught:
        anyio.run(call, backend=backend)
    assert [type(error).__name__ for error in seen] == [cancelled]
    assert not isinstance(seen[0], Exception)
    assert transient(seen[0]) is None
    assert isinstance(the_leaf(caught.value), httpx2.ConnectError)
    assert judged(proof, caught.value).kind == "transient"


def test_so_the_retry_belongs_around_the_client(tmp_path: Path) -> None:
    """There it makes a new one, which finds the server again."""
    attempts = [0]

    @POLICY
    async def call() -> object:
        attempts[0] += 1
        if attempts[0] == 2:
            server.start()
        async with Client(url_of(server)) as client:
            if attempts[0] == 1:
                server.kill()
            return (await client.call_tool("say", {"words": "x"})).structured_content

    with http_server(tmp_path / "log") as server:
        assert anyio.run(call) == {"result": "x"}
    assert attempts == [2]


def test_no_answer_in_time(proof: Proof, error_of: ErrorOf, told: str) -> None:
    """The client's read timeout; without one it waits for ever."""

    async def call() -> None:
        async with Client(told) as client:
            await client.session.call_tool("hang", {}, read_timeout_seconds=SOON)

    proven(proof, error_of(call), f"{ROW}, error -32001: Request *", "unsure")


@UNDER_ASYNCIO
@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
def test_the_client_keeps_an_http_status_to_itself(proof: Proof, error_of: ErrorOf, status: int) -> None:
    """401 or 503, it is "internal error", and no hint."""
    with serving(says(status, retry_after="7")) as server:
        error = error_of(calling(server.url, "say"))
    proven(proof, error, f"{ROW}, error -32603: *", "unsure")


def test_not_found(proof: Proof, error_of: ErrorOf) -> None:
    """The one status with a code of its own."""
    with serving(says(404)) as server:
        proven(proof, error_of(calling(server.url, "say")), f"{ROW}, any other error", "permanent")


@UNDER_ASYNCIO
@pytest.mark.parametrize(
    ("status", "kind", "throttled", "after"),
    [(401, "permanent", False, None), (429, "transient", True, 7.0), (503, "unsure", True, 7.0)],
)
def test_a_hook_lets_it_out(
    proof: Proof, error_of: ErrorOf, status: int, kind: str, throttled: bool, after: float | None
) -> None:
    """Then the status is judged, and the hint heard."""

    async def say(response: httpx2.Response) -> None:
        if response.status_code in {401, 403, 429} or response.is_server_error:
            response.raise_for_status()

    async def call() -> None:
        async with httpx2.AsyncClient(event_hooks={"response": [say]}) as http:
            async with Client(streamable_http_client(server.url, http_client=http)) as client:
                await client.call_tool("say", {"words": "x"})

    with serving(says(status, retry_after="7")) as server:
        verdict = judged(proof, error_of(call))
    assert (verdict.kind, verdict.throttled, verdict.after) == (kind, throttled, after)


@UNDER_ASYNCIO
@pytest.mark.parametrize(
    "answer",
    [
        cut_off,  # without a type
        says(202),
        says(200, b"hello"),
        says(200, {"no": "JSON-RPC"}),
        says(301, location="http://example.invalid/"),
    ],
    ids=["no type", "accepted", "text", "other JSON", "redirect"],
)
def test_no_mcp_there(proof: Proof, error_of: ErrorOf, answer: Any) -> None:
    """It would answer so again."""
    with serving(answer) as server:
        proven(proof, error_of(calling(server.url, "say")), f"{ROW}, any other error", "permanent")


# Sessions.


@UNDER_ASYNCIO
def test_a_server_that_was_restarted_does_not_know_the_session(proof: Proof, error_of: ErrorOf, tmp_path: Path) -> None:
    """It refused; a new client has a new session."""

    async def call() -> None:
        async with Client(url_of(server), mode="legacy") as client:
            server.kill()
            server.start()
            await client.call_tool("say", {"words": "x"})

    with http_server(tmp_path / "log") as server:
        proven(proof, error_of(call), f"{ROW}, error -32600: Session not found*", "transient")


def test_a_server_that_says_so_with_the_status_alone(proof: Proof, error_of: ErrorOf) -> None:
    """404 for a session, by the specification."""
    info = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
    began = says(200, {"jsonrpc": "2.0", "id": 1, "result": info}, mcp_session_id="a")
    with serving(began, says(404)) as server:
        error = error_of(calling(server.url, "say", mode="legacy"))
    proven(proof, error, f"{ROW}, error -32600: Session terminated*", "transient")


@pytest.mark.parametrize(
    ("code", "message", "row"),
    [
        (-32600, "Not Found: Session has been terminated", "error -32600: Not Found: Session *"),
        (-32600, "Not Found: Invalid or expired session ID", "error -32600: Not Found: Invalid or expired session*"),
        (-32001, "Session not found", "error -32001: Session not found*"),
    ],
)
def test_other_words_for_it(proof: Proof, error_of: ErrorOf, told: str, code: int, message: str, row: str) -> None:
    """Of the Python SDK's server, when the session ends under the request; of the TypeScript SDK's."""
    proven(proof, error_of(refusing(told, code, message)), f"{ROW}, {row}", "transient")


@UNDER_ASYNCIO
def test_too_many_sessions(proof: Proof, error_of: ErrorOf, tmp_path: Path) -> None:
    """The second one is refused before it begins."""

    async def call() -> None:
        async with Client(url_of(server), mode="legacy"), Client(url_of(server), mode="legacy"):
            pass

    with http_server(tmp_path / "log", "1") as server:
        row = f"{ROW}, error -32603: Too many open sessions*"
        proven(proof, error_of(call), row, "transient", throttled=True)


# What the server says.


@UNDER_ASYNCIO
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32700, "Parse error"),
        (-32602, "Invalid request parameters"),
        (-32601, "Method not found"),
        (-32600, "Invalid request"),
        (-32042, "URL elicitation required"),
        (-32020, "Header mismatch"),
        (-32002, "Resource not found"),
        (-32001, "of the server's own"),
        (-32000, "Bad Request: No valid session ID provided"),
        (429, "Too many"),
        (7, ""),
    ],
)
def test_an_error_of_the_servers(proof: Proof, error_of: ErrorOf, told: str, code: int, message: str) -> None:
    """Bad input, not found, or a number that means something to that server alone."""
    verdict_row = f"{ROW}, any other error"
    proven(proof, error_of(refusing(told, code, message)), verdict_row, "permanent")


@UNDER_ASYNCIO
def test_not_there(proof: Proof, error_of: ErrorOf, told: str) -> None:
    """A resource, a prompt."""

    async def resource() -> None:
        async with Client(told) as client:
            await client.read_resource("told://nothing")

    async def prompt() -> None:
        async with Client(told, mode="legacy") as client:
            await client.get_prompt("nothing")

    proven(proof, error_of(resource), f"{ROW}, any other error", "permanent")
    proven(proof, error_of(prompt), f"{ROW}, error 0: Unknown *", "permanent")


@pytest.mark.parametrize(
    ("error_of", "mode", "row"),
    [("asyncio", "auto", "error -32603: *"), ("trio", "legacy", "error 0: *")],
    indirect=["error_of"],
)
def test_the_server_has_a_bug(proof: Proof, error_of: ErrorOf, told: str, mode: Any, row: str) -> None:
    """Or something behind it failed: as with HTTP's 500."""

    async def prompt() -> None:
        async with Client(told, mode=mode) as client:
            await client.get_prompt("broken")

    proven(proof, error_of(prompt), f"{ROW}, {row}", "unsure")


def test_a_tool_that_fails_raises_nothing(told: str) -> None:
    """Its result says so; there is nothing to judge."""
    result = anyio.run(calling(told, "fail", words="x"))
    assert result.is_error


@pytest.mark.parametrize(("error_of", "transport"), [("asyncio", "stdio"), ("trio", "http")], indirect=["error_of"])
def test_a_subscription_that_broke_off(
    proof: Proof, error_of: ErrorOf, told: str, nowhere: TextIO, tmp_path: Path, transport: str
) -> None:
    """Its server was killed."""

    async def listen(server: Any, kill: Callable[[Client], Awaitable[object]]) -> None:
        async with Client(server) as client, client.listen(tools_list_changed=True) as subscription:
            with contextlib.suppress(MCPError):
                await kill(client)
            async for _event in subscription:
                pass

    async def by_program() -> None:
        await listen(program(nowhere)(), lambda client: client.call_tool("die"))

    async def by_http() -> None:
        async def kill(_client: Client) -> None:
            server.kill()

        with http_server(tmp_path / "log") as server:
            await listen(url_of(server), kill)

    error = error_of(by_program if transport == "stdio" else by_http)
    assert isinstance(the_leaf(error), SubscriptionLost)
    proven(proof, error, "mcp.client.subscriptions.SubscriptionLost", "unsure")


# SSE, the transport of before.


@UNDER_ASYNCIO
def test_over_sse(proof: Proof, error_of: ErrorOf, tmp_path: Path) -> None:
    """Its errors are the same."""

    def by_sse(url: str) -> Callable[[], Any]:
        return lambda: sse_client(url)

    with http_server(tmp_path / "log", transport="sse") as server:
        url = url_of(server, "sse")
        error = error_of(calling(None, "die", made=by_sse(url), mode="legacy"))
        proven(proof, error, f"{ROW}, error -32000: Connection closed*", "unsure")
    error = error_of(calling(None, "say", made=by_sse(url), mode="legacy"))
    assert isinstance(the_leaf(error), httpx2.ConnectError)
    assert judged(proof, error).kind == "transient"
    with serving(says(503, retry_after="7")) as refusing_server:
        error = error_of(calling(None, "say", made=by_sse(refusing_server.url), mode="legacy"))
    verdict = judged(proof, error)
    assert (verdict.kind, verdict.throttled, verdict.after) == ("unsure", True, 7.0)


# Version 1 of the SDK, and what is strange.


def in_version_1(code: object, message: object) -> Exception:
    """As it was called, with the error where it still is."""

    class Data:
        pass

    data = Data()
    data.code, data.message = code, message  # type: ignore[attr-defined]
    cls = type("McpError", (Exception,), {"__module__": mcp.shared.exceptions.__name__, "error": data})
    made = cls(message)
    assert isinstance(made, Exception)
    return made


@pytest.mark.parametrize("row", [row for row in load("mcp").rows if ".McpError" in row.error], ids=str)
def test_version_1(proof: Proof, row: Any) -> None:
    """Other codes for the same, and the same codes."""
    if row.when == "any other error":
        error = in_version_1(-32602, "Invalid request parameters")
    else:
        code, _, message = row.when.removeprefix("error ").removesuffix("*").partition(": ")
        error = in_version_1(int(code), message)
    verdict = row.verdict
    because = "version 1 of the SDK is not installed"
    proof.constructor(error, str(row), str(verdict.kind), throttled=verdict.throttled, because=because)


@pytest.mark.parametrize(("code", "kind"), [(408, "unsure"), (32600, "transient")])
def test_what_version_1_says_itself(proof: Proof, code: int, kind: str) -> None:
    """Its own sentences, whole."""
    said = {
        408: "Timed out while waiting for response to ClientRequest. Waited 5.0 seconds.",
        32600: "Session terminated",
    }
    assert judged(proof, in_version_1(code, said[code])).kind == kind


def test_strange_facts(proof: Proof) -> None:
    """No error, no number, no words: nobody knows it. A class of one's own means what its base does."""

    class Own(MCPError):
        pass

    for code, message in ((None, "x"), ("-32000", "Connection closed"), (-32000, None)):
        proof.unknown(in_version_1(code, message))
    bare = in_version_1(0, "")
    bare.error = None  # type: ignore[attr-defined]
    proof.unknown(bare)
    assert judged(proof, Own(-32000, "Connection closed")).kind == "unsure"


def test_mistakes_are_not_known(proof: Proof, told: str) -> None:
    """To listen where the protocol is too old for it, or with a client that is closed."""

    async def too_old() -> None:
        async with Client(told, mode="legacy") as client, client.listen(tools_list_changed=True):
            pass

    async def closed() -> None:
        async with Client(told) as client:
            pass
        await client.call_tool("say", {"words": "x"})

    for work in (too_old, closed):
        with pytest.raises(Exception) as caught:
            anyio.run(work)
        leaf = the_leaf(caught.value)
        assert isinstance(leaf, RuntimeError)
        proof.unknown(leaf)
