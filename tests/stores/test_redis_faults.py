"""The Redis stores where things fail: servers that hang, die or babble, words that are lost on the way, and cancellations."""

# mypy: disable-error-code="no-untyped-call"
# redis-py has types for a part of itself only.

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from tests.servers.http import free_port
from tests.servers.proxy import Fault, Proxy, proxying
from tests.servers.redis import RedisServer, answering, redis_server
from tests.stores.redis_stores import Colour, client

from resilience import AsyncOptimisticLock, OptimisticLock, Verdict, deadline, transient
from resilience.errors import DeadlineExceededError, OutcomeUnknownError, StoreError, StoreUnavailableError
from resilience.stores import ABSENT, ANY, Beat
from resilience.stores.redis import AsyncRedisStore, RedisStore
from resilience.testing.proxy import ProxyFault as Befalls


#: Seconds after which a verb has to be over, and what the machine may add.
LIMIT = 0.3
SLACK = 0.25


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def paused(server: RedisServer) -> Iterator[RedisServer]:
    """The same; it is paused by the test, and goes on after it."""
    yield server
    server.resume()


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with proxying(server.port) as proxy:
        yield proxy


@pytest.fixture(params=["sync", "asyncio"])
def colour(request: pytest.FixtureRequest) -> Colour:
    return Colour(request.param)


WRITES: dict[str, Callable[[Any], Any]] = {
    "write": lambda store: store.compare_and_set("key", b"new", expected=ANY),
    "large write": lambda store: store.compare_and_set("key", b"x" * 30_000_000, expected=ANY),
    "remove": lambda store: store.remove("key", expected=ANY),
    "extend": lambda store: store.extend([Beat("key", 1, 30)]),
}
READS: dict[str, Callable[[Any], Any]] = {
    "load": lambda store: store.load("key"),
    "load_many": lambda store: store.load_many(["key", "other"]),
    "scan": lambda store: store.scan(),
    "describe": lambda store: store.describe(),
}
VERBS = {**WRITES, **READS}


def kind_of(verb: str) -> type[StoreError]:
    """What a lost answer means."""
    return OutcomeUnknownError if verb in WRITES else StoreUnavailableError


async def recovers(store: Any) -> None:
    """The store is usable again, once the server is: nothing late is taken for an answer."""
    end = time.monotonic() + 10
    while True:
        try:
            assert await store.load("none") is None
            return
        except StoreUnavailableError:
            assert time.monotonic() < end


# -- nobody there ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["write", "load", "describe"])
def test_where_nobody_listens_nothing_was_applied(colour: Colour, verb: str) -> None:
    async def scenario() -> None:
        async with colour.store(f"redis://127.0.0.1:{free_port()}") as store:
            with pytest.raises(StoreUnavailableError, match="cannot be reached") as caught:
                await VERBS[verb](store)
            assert caught.value.__cause__ is not None
            assert transient(caught.value) is not None
            with pytest.raises(StoreUnavailableError):
                await store.wait("key", after=ABSENT, timeout=10)

    colour.run(scenario)


def test_a_server_killed_between_two_verbs_was_asked_nothing(tmp_path: Any, colour: Colour) -> None:
    async def scenario(server: RedisServer) -> None:
        async with colour.store(server.url) as store:
            await store.compare_and_set("key", b"old", expected=ABSENT)
            server.kill()
            await colour.turn()
            for verb in ("write", "load"):
                with pytest.raises(StoreUnavailableError):
                    await VERBS[verb](store)
            server.start()
            await store.compare_and_set("key", b"new", expected=ABSENT)

    with redis_server(tmp_path) as server:
        colour.run(lambda: scenario(server))


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that answers nobody who wants to connect: its queue is full, and nobody accepts."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(4):
            peer = held.enter_context(socket.socket())
            peer.setblocking(False)
            peer.connect_ex(("127.0.0.1", port))
        yield port


def resolves_to(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Have each host resolve to these."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_host_whose_addresses_all_swallow_ends_no_verb_late(
    monkeypatch: pytest.MonkeyPatch, colour: Colour, black_hole: int, scheme: str
) -> None:
    async def scenario() -> None:
        async with colour.store(f"{scheme}://many.example", timeout=LIMIT) as store:
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="cannot be reached"):
                await store.load("key")
            assert LIMIT - 0.01 < time.monotonic() - began < LIMIT + SLACK

    resolves_to(monkeypatch, *[black_hole] * 4)
    colour.run(scenario)


def test_an_address_that_swallows_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch, server: RedisServer, black_hole: int
) -> None:
    resolves_to(monkeypatch, black_hole, black_hole, server.port)
    with RedisStore("redis://many.example", timeout=LIMIT) as store:
        began = time.monotonic()
        assert store.load("key") is None
        assert time.monotonic() - began < LIMIT + SLACK


@pytest.mark.parametrize("first", ["nothing", "black hole"])
def test_a_tls_server_that_says_nothing_ends_no_verb_late(
    monkeypatch: pytest.MonkeyPatch, colour: Colour, black_hole: int, first: str
) -> None:
    async def scenario() -> None:
        async with colour.store("rediss://many.example", timeout=LIMIT) as store:
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="cannot be reached"):
                await store.load("key")
            assert LIMIT - 0.01 < time.monotonic() - began < LIMIT + SLACK

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        resolves_to(monkeypatch, *([black_hole] if first == "black hole" else []), port)
        colour.run(scenario)


# -- a server that hangs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("limit", ["timeout", "deadline"])
def test_a_verb_on_a_stopped_server_ends_in_time(paused: RedisServer, colour: Colour, verb: str, limit: str) -> None:
    options = {"timeout": LIMIT} if limit == "timeout" else {}

    async def scenario() -> None:
        async with colour.store(paused.url, max_value_bytes=1 << 25, **options) as store:
            await store.ping()
            paused.pause()
            began = time.monotonic()
            # An event loop ends the work of the block itself, at the same moment.
            either = (kind_of(verb), DeadlineExceededError) if colour.name == "asyncio" else kind_of(verb)
            with pytest.raises(either if limit == "deadline" else kind_of(verb)):
                with deadline(LIMIT) if limit == "deadline" else contextlib.nullcontext():
                    await VERBS[verb](store)
            assert LIMIT - 0.01 < time.monotonic() - began < LIMIT + SLACK
            paused.resume()
            await recovers(store)

    colour.run(scenario)


@pytest.mark.parametrize("verb", ["write", "load"])
def test_connecting_to_a_stopped_server_ends_in_time_and_sends_nothing(
    paused: RedisServer, colour: Colour, verb: str
) -> None:
    async def scenario() -> None:
        async with colour.store(paused.url, timeout=LIMIT) as store:
            paused.pause()
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="cannot be reached"):
                await VERBS[verb](store)
            assert time.monotonic() - began < LIMIT + SLACK
            paused.resume()
            await recovers(store)
            assert await store.load("key") is None

    colour.run(scenario)


def test_a_wait_that_a_server_stops_answering_ends_in_time(paused: RedisServer, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(paused.url, timeout=0.1) as store:
            await store.ping()
            paused.pause()
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                await store.wait("key", after=ABSENT, timeout=10)
            assert time.monotonic() - began < 1

    colour.run(scenario)


def test_nothing_is_started_after_the_deadline(server: RedisServer, colour: Colour) -> None:
    async def scenario() -> None:
        async with colour.store(server.url) as store:
            await store.ping()
            with pytest.raises(DeadlineExceededError), deadline(0.01):
                time.sleep(0.02)
                await store.compare_and_set("key", b"", expected=ABSENT)
            assert await store.load("key") is None

    colour.run(scenario)


# -- words that are lost on the way --------------------------------------------------------------------------------------

LOSSES = [Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.HANG_UP, Fault.STALL_REPLY, Fault.CUT_REPLY]


@pytest.mark.parametrize("fault", LOSSES)
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "large write"])
def test_a_lost_answer_leaves_a_doubt_about_writes_only(proxy: Proxy, colour: Colour, verb: str, fault: Fault) -> None:
    namespace = uuid.uuid4().hex

    async def scenario() -> None:
        async with colour.store(f"redis://127.0.0.1:{proxy.port}", namespace=namespace, timeout=0.2) as store:
            await VERBS[verb](store)  # so that the server knows the script
            await store.remove("key", expected=ANY)
            old = await store.compare_and_set("key", b"old", expected=ABSENT)
            proxy.arm(fault, request=b"EVALSHA")
            with pytest.raises(kind_of(verb)) as caught:
                await VERBS[verb](store)
            assert proxy.strikes == 1
            assert type(caught.value) is kind_of(verb)
            assert caught.value.__cause__ is not None
            verdict = transient(caught.value)
            assert verdict is not None
            assert verdict.kind == (Verdict.unsure() if verb in WRITES else Verdict.transient()).kind
            # The connection of which nobody knows what it may yet bring is not used again.
            await recovers(store)
            there = await store.load("key")
            if verb in {"write", "remove"} and fault is not Fault.LOSE_REQUEST:
                assert (there and there.value) == (b"new" if verb == "write" else None)
            else:
                assert there == old

    colour.run(scenario)


@pytest.mark.parametrize(
    "befalls", [Befalls.BLACKHOLE, Befalls.HALF_OPEN, Befalls.trickle(100), Befalls.delay(0, 2)], ids=str
)
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "large write"])
def test_a_network_that_swallows_or_trickles_ends_no_verb_late(
    proxy: Proxy, colour: Colour, verb: str, befalls: Befalls
) -> None:
    async def scenario() -> None:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with colour.store(url, timeout=LIMIT) as store:
            await store.compare_and_set("key", b"x" * 1000, expected=ABSENT)
            with proxy.during(befalls):
                began = time.monotonic()
                with pytest.raises(kind_of(verb)):
                    await VERBS[verb](store)
                assert LIMIT - 0.01 < time.monotonic() - began < LIMIT + SLACK
            await recovers(store)

    colour.run(scenario)


@pytest.mark.parametrize("verb", ["write", "load"])
def test_an_answer_that_comes_byte_by_byte_ends_no_verb_late(colour: Colour, verb: str) -> None:
    def trickle(_words: list[str]) -> Iterator[bytes]:
        yield b"*1\r\n$1000\r\n"
        for _ in range(20):
            time.sleep(0.05)
            yield b"x"

    async def scenario(port: int) -> None:
        async with colour.store(f"redis://127.0.0.1:{port}", timeout=LIMIT) as store:
            began = time.monotonic()
            with pytest.raises(kind_of(verb)):
                await VERBS[verb](store)
            assert LIMIT - 0.01 < time.monotonic() - began < LIMIT + SLACK

    with answering(trickle) as port:
        colour.run(lambda: scenario(port))


@pytest.mark.parametrize("fault", LOSSES)
def test_an_update_whose_answer_is_lost_changes_the_value_once(proxy: Proxy, colour: Colour, fault: Fault) -> None:
    url, namespace = f"redis://127.0.0.1:{proxy.port}", f"{fault}-{colour.name}"

    if colour.name == "sync":
        with RedisStore(url, namespace=namespace, timeout=0.2) as store:
            lock = OptimisticLock(store, "count", default=lambda: 0)
            lock.update(lambda now: now + 1)
            proxy.arm(fault, request=b"revision")
            assert lock.update(lambda now: now + 1).value == 2
            assert proxy.strikes == 1
            assert lock.read().value == 2
    else:

        async def scenario() -> None:
            async with AsyncRedisStore(url, namespace=namespace, timeout=0.2) as store:
                lock = AsyncOptimisticLock(store, "count", default=lambda: 0)
                await lock.update(lambda now: now + 1)
                proxy.arm(fault, request=b"revision")
                assert (await lock.update(lambda now: now + 1)).value == 2
                assert proxy.strikes == 1
                assert (await lock.read()).value == 2

        asyncio.run(scenario())


@pytest.mark.parametrize("said", [b"what?\r\n", b"$nonsense\r\n", b"*1\r\n$1", b""])
@pytest.mark.parametrize("verb", ["write", "load"])
def test_an_answer_that_is_none_leaves_the_same_doubt(colour: Colour, verb: str, said: bytes) -> None:
    async def scenario(port: int) -> None:
        async with colour.store(f"redis://127.0.0.1:{port}", timeout=0.1) as store:
            with pytest.raises(kind_of(verb)):
                await VERBS[verb](store)

    with answering(lambda words: said) as port:
        colour.run(lambda: scenario(port))


# -- work that is interrupted --------------------------------------------------------------------------------------------


class CancelledAt:
    """An awaitable that lets its task be cancelled where it waits for the `n`-th time."""

    def __init__(self, work: Any, n: int) -> None:
        self.work = work
        self.n = n
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self.work.__await__()
        throw: BaseException | None = None
        while True:
            try:
                future = steps.send(None) if throw is None else steps.throw(throw)
            except StopIteration as end:
                return end.value
            self.waits += 1
            if self.waits == self.n:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            throw = None
            try:
                yield future
            except BaseException as error:
                throw = error


@pytest.mark.parametrize("warm", [True, False], ids=["on a connection", "with connecting"])
def test_a_verb_cancelled_at_any_await_mixes_no_answers(server: RedisServer, warm: bool) -> None:
    async def attempt(n: int) -> bool:
        """Whether there was an n-th await."""
        async with AsyncRedisStore(server.url, namespace=f"cancelled-{warm}-{n}") as store:
            store.blocking().compare_and_set("other", b"other", expected=ANY)
            if warm:
                await store.ping()
            work = CancelledAt(store.compare_and_set("key", b"mine", expected=ABSENT), n)

            async def write() -> None:
                await work

            writing = asyncio.create_task(write())
            with contextlib.suppress(asyncio.CancelledError):
                await writing
            there = await store.load("other")
            assert there is not None
            assert there.value == b"other"
            mine = await store.load("key")
            assert mine is None or mine.value == b"mine"
            assert await store.remove("key", expected=ANY) is (mine is not None)
            assert writing.cancelled() is (work.waits >= n)
            return work.waits >= n

    async def scenario() -> int:
        n = 1
        while await attempt(n):
            n += 1
        return n

    assert asyncio.run(scenario()) > (1 if warm else 3)


def test_a_task_cancelled_while_the_server_hangs_takes_nobody_elses_answer(paused: RedisServer) -> None:
    async def scenario() -> None:
        async with AsyncRedisStore(paused.url, namespace="hanging") as store:
            await store.compare_and_set("key", b"1", expected=ANY)
            paused.pause()
            writing = asyncio.create_task(store.compare_and_set("key", b"2", expected=ANY))
            waiting = asyncio.create_task(store.wait("key", after=ABSENT, timeout=10))
            await asyncio.sleep(0.05)
            for task in (writing, waiting):
                task.cancel()
            await asyncio.wait({writing, waiting})
            assert writing.cancelled()
            assert waiting.cancelled()
            paused.resume()
            assert await store.load("none") is None
            assert await store.scan("none") == []

    asyncio.run(scenario())


def test_ctrl_c_in_a_verb_leaves_the_store_usable(paused: RedisServer) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with RedisStore(paused.url, namespace="interrupted") as store:
        store.compare_and_set("key", b"1", expected=ANY)
        paused.pause()
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            with pytest.raises(KeyboardInterrupt):
                store.compare_and_set("key", b"2", expected=ANY)
        finally:
            signal.signal(signal.SIGALRM, before)
        paused.resume()
        assert store.load("none") is None
        assert store.scan("none") == []


def test_a_hundred_cancelled_tasks_leave_no_connection_behind(server: RedisServer) -> None:
    async def scenario() -> None:
        async with AsyncRedisStore(server.url) as store:
            tasks = [asyncio.create_task(store.compare_and_set("key", b"", expected=ANY)) for _ in range(100)]
            for turn, task in enumerate(tasks):
                if turn % 10 == 0:
                    await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait(tasks)
            await store.ping()

    asyncio.run(scenario())
    with client(server) as admin:
        end = time.monotonic() + 5
        while admin.info("clients")["connected_clients"] > 1:
            assert time.monotonic() < end
            time.sleep(0.01)
