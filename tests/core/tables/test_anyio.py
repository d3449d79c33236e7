"""anyio, row by row: real sockets, processes and tasks, under asyncio and trio, by both names of each class."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_process
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from tests.core.tables.proving import Proof
from tests.servers.http import Answer, cut_off, hang_up, reset, says, serving

from resilience._core.tables import rules_of
from resilience._core.tables.anyio import MODULES


REQUEST = b"GET / HTTP/1.1\r\n\r\n"
NAMES = (
    *("BrokenResourceError", "BrokenWorkerProcess", "ConnectionFailed", "EndOfStream", "FutureFailed"),
    *("IncompleteRead", "TaskFailed", "WouldBlock"),
)


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What the classes say of where they are: anyio changes it when somebody first asks for one by its public name."""
    cast("Any", rules_of).cache_clear()
    for name in NAMES:
        monkeypatch.setattr(getattr(anyio, name), "__module__", request.param)
    yield request.param
    monkeypatch.undo()
    cast("Any", rules_of).cache_clear()


@pytest.fixture(params=["asyncio", "trio"])
def error_of(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[object]]], Exception]:
    """The error of some work under that loop."""

    def error(work: Callable[[], Awaitable[object]]) -> Exception:
        with pytest.raises(Exception) as caught:
            anyio.run(work, backend=request.param)
        assert not isinstance(caught.value, (Warning, AssertionError))
        return caught.value

    return error


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that nobody listens on, nor can meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


ErrorOf = Callable[[Callable[[], Awaitable[object]]], Exception]


def leaf_of(error: Exception) -> Exception:
    """The first leaf of a group, however deep."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def connecting(remote: Any) -> Callable[[], Awaitable[object]]:
    async def connect() -> object:
        async with await anyio.as_connectable(remote).connect():
            return None

    return connect


def asking(port: int, **options: Any) -> Callable[[], Awaitable[object]]:
    async def ask() -> object:
        async with await anyio.connect_tcp("127.0.0.1", port, **options) as stream:
            await stream.send(REQUEST)
            return await stream.receive()

    return ask


def test_refused(proof: Proof, module: str, error_of: ErrorOf, nobody: int, tmp_path: Path) -> None:
    """Nobody listens: nothing was sent. What the operating system said is two levels in, or one."""
    row = f"{module}.ConnectionFailed, by its __cause__.__cause__ or __cause__"
    assert proof.server(error_of(connecting(("127.0.0.1", nobody))), row, "transient").reason == "errno ECONNREFUSED"
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        proof.server(error_of(connecting(path)), row, "transient")
    proof.server(error_of(connecting(tmp_path / "nothing")), row, "permanent")


def test_refused_at_every_address(
    proof: Proof, module: str, error_of: ErrorOf, nobody: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with several: the errors come as a group."""

    async def two(*_arguments: object, **_options: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, nobody)) for host in ("127.0.0.1", "127.0.0.2")]

    monkeypatch.setattr("anyio._core._sockets.getaddrinfo", two)
    error = error_of(connecting(("two.invalid", nobody)))
    assert error.__cause__ is not None
    assert isinstance(error.__cause__.__cause__, ExceptionGroup)
    proof.server(error, f"{module}.ConnectionFailed, by its __cause__.__cause__ or __cause__", "transient")


def test_no_connection_for_reasons_that_nobody_says(proof: Proof, module: str) -> None:
    """Nothing was sent all the same."""
    row = f"{module}.ConnectionFailed, nothing known inside"
    because = "anyio always says what is inside"
    proof.constructor(anyio.ConnectionFailed("no"), row, "transient", because=because)


@pytest.mark.parametrize(("how", "name"), [(reset, "BrokenResourceError"), (hang_up, "EndOfStream")])
def test_no_answer(proof: Proof, module: str, error_of: ErrorOf, how: Answer, name: str) -> None:
    """The request was sent."""
    with serving(how) as server:
        proof.server(error_of(asking(server.port)), f"{module}.{name}", "unsure")


def test_broke_off(proof: Proof, module: str, error_of: ErrorOf) -> None:
    """Less than was to come."""

    async def ask() -> None:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await stream.send(REQUEST)
            await BufferedByteReceiveStream(stream).receive_exactly(1_000)

    with serving(cut_off) as server:
        proof.server(error_of(ask), f"{module}.IncompleteRead", "unsure")


def test_closed_in_the_handshake_of_tls(proof: Proof, module: str, error_of: ErrorOf) -> None:
    """The class says no more than for any other connection that broke."""
    context = ssl.create_default_context()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close() -> None:
            with listener.accept()[0] as peer:
                peer.recv(65_536)

        thread = threading.Thread(target=close)
        thread.start()
        error = error_of(asking(listener.getsockname()[1], ssl_context=context))
        thread.join(5)
    proof.server(error, f"{module}.BrokenResourceError", "unsure")


def test_busy(proof: Proof, module: str, error_of: ErrorOf) -> None:
    """Nothing was done, for it would have had to wait."""

    async def twice() -> None:
        lock = anyio.Semaphore(1)
        lock.acquire_nowait()
        lock.acquire_nowait()

    async def full() -> None:
        send, receive = anyio.create_memory_object_stream[int](0)
        with send, receive:
            send.send_nowait(1)

    for work in (twice, full):
        proof.server(error_of(work), f"{module}.WouldBlock", "transient")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# anyio leaves the pipes of a worker open that had died before it could be killed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_worker_died(proof: Proof, module: str, error_of: ErrorOf) -> None:
    """In the middle of the work."""

    async def work() -> None:
        await anyio.to_process.run_sync(die)

    proof.server(error_of(work), f"{module}.BrokenWorkerProcess", "unsure")
    gc.collect()


def test_a_task_that_failed(proof: Proof, module: str, error_of: ErrorOf, nobody: int) -> None:
    """As its own error; the task group adds that one, too."""

    async def refused() -> None:
        with contextlib.closing(socket.socket()) as client:
            client.connect(("127.0.0.1", nobody))

    async def work() -> None:
        async with anyio.create_task_group() as group:
            await group.start_soon(refused)

    error = error_of(work)
    verdict = proof.tables(error)
    assert verdict is not None
    assert verdict.kind == "transient"
    assert isinstance(error, ExceptionGroup)
    (failed,) = (leaf for leaf in error.exceptions if isinstance(leaf, anyio.TaskFailed))
    proof.server(failed, f"{module}.TaskFailed, by its __cause__", "transient")


def test_a_future_that_failed(proof: Proof, module: str, error_of: ErrorOf, nobody: int) -> None:
    """As the error that it was given."""

    async def work() -> object:
        future: anyio.Future[None] = anyio.Future()
        with pytest.raises(ConnectionRefusedError) as caught, contextlib.closing(socket.socket()) as client:
            client.connect(("127.0.0.1", nobody))
        future.exception = caught.value
        return future.return_value

    proof.server(error_of(work), f"{module}.FutureFailed, by its __cause__", "transient")


def test_a_task_that_was_cancelled_or_has_a_bug_is_not_known(proof: Proof, module: str, error_of: ErrorOf) -> None:
    """Neither is worth another try."""

    async def cancelled() -> None:
        async with anyio.create_task_group() as group:
            task = group.start_soon(anyio.sleep_forever)
            task.cancel()
            await task

    error = leaf_of(error_of(cancelled))
    assert isinstance(error, anyio.TaskCancelled)
    proof.unknown(error)
    failed = anyio.TaskFailed()
    failed.__cause__ = ValueError("a bug")
    proof.unknown(failed)


def test_mistakes_are_not_known(proof: Proof, module: str, error_of: ErrorOf) -> None:
    """What this side has closed, or reads twice at once."""

    async def closed() -> None:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            pass
        await stream.send(b"x")

    async def twice() -> None:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream, anyio.create_task_group() as group:
            group.start_soon(stream.receive)
            group.start_soon(stream.receive)

    with serving(says(200)) as server:
        proof.unknown(error_of(closed))
        busy = leaf_of(error_of(twice))
    assert isinstance(busy, anyio.BusyResourceError)
    proof.unknown(busy)
    proof.unknown(anyio.DelimiterNotFound(1))
    proof.unknown(anyio.NoEventLoopError())


def test_the_names_are_those_that_anyio_has() -> None:
    """One of the two, whatever was imported before."""
    assert {getattr(anyio, name).__module__ for name in NAMES} <= set(MODULES)
