"""How often work is done when a request, or its answer, is lost: counted at the server, for each client library.

A client is one entry of data: how it is opened before a port, and how its fateful request is known among the bytes that go
by. `counted` sets the connection up through the proxy, arms the fault, lets a policy do the work, closes the client, and
asks the server how often the work was done.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from attrs import define, field, frozen
from tests.servers.proxy import Fault, Proxy, proxying

from resilience import ConstantBackoff, retry, transient
from resilience.instrumentation import Event, GaveUp, GiveUpReason, RetryScheduled


T = TypeVar("T")

#: Seconds that a client waits for an answer: where one comes, or an end of the connection; and where none does.
LONG, SHORT = 10.0, 0.3

#: How often the work is done: with ``idempotent=False``, and with the default.
TIMES: Mapping[Fault, tuple[int, int]] = {
    Fault.REFUSE: (1, 1),
    Fault.LOSE_REQUEST: (0, 1),
    Fault.LOSE_REPLY: (1, 2),
    Fault.HANG_UP: (1, 2),
    Fault.CUT_REPLY: (1, 2),
    Fault.STALL_REPLY: (1, 2),
    Fault.GO_AWAY: (1, 1),
}


class Service(Protocol):
    """A real server, and its own state by which the work is counted."""

    @property
    def port(self) -> int:
        """Where it listens."""
        ...

    def executions(self) -> int:
        """How often the work was done so far."""
        ...


class Setting(NamedTuple):
    """What a client is opened for.

    Args:
        port: Where it finds its server.
        own_retries: Whether its own retries are left as they are by default, and not switched off.
        patience: Seconds that it waits for an answer.
    """

    port: int
    own_retries: bool
    patience: float


#: The work: what must not be done twice, through one client.
Work: TypeAlias = Callable[[], Any]

#: How often the work of a client was done: by its name, what the policy said of the work, and the fault.
Counts: TypeAlias = dict[tuple[str, bool, Fault], int]


@frozen
class Client:
    """A client library, as this matrix drives it.

    Args:
        name: What the table calls it.
        service: The fixture that is its server.
        opened: Makes its work, for the length of a block; a generator function, sync or async.
        request: Bytes by which its fateful request is known.
        reply: Bytes by which the answer to it is known.
        pause: Seconds between two attempts: more for a client that itself waits before it connects again.
        others: What differs from `TIMES`, with the reason at its place.
        own: How often the work is done where one answer is lost and the client's own retries are left on; None for a client
            without any.
        own_refused: The same where all connections after that one are refused.
    """

    name: str
    service: str
    opened: Callable[[Setting], Any]
    request: bytes = b""
    reply: bytes = b""
    pause: float = 0.01
    others: Mapping[Fault, tuple[int, int]] = field(factory=dict)
    own: int | None = None
    own_refused: int = 1

    @property
    def asynchronous(self) -> bool:
        """Whether its work is awaited."""
        return inspect.isasyncgenfunction(self.opened)

    def times(self, fault: Fault, *, idempotent: bool) -> int:
        """How often the work is done, as the documentation says."""
        return self.others.get(fault, TIMES[fault])[idempotent]


class Seen(NamedTuple):
    """What came of one call.

    Args:
        executions: How often the work was done, by the server's own count.
        error: What the caller got; None for success.
        reason: Why no more was tried; None for success.
        retries: How often the policy tried again.
        strikes: How often the fault struck.
    """

    executions: int
    error: Exception | None
    reason: GiveUpReason | None
    retries: int
    strikes: int


def counted(
    client: Client,
    service: Service,
    *,
    idempotent: bool,
    expected: int | None,
    meeting: Callable[[Proxy], object] | None = None,
    own_retries: bool = False,
    patience: float = LONG,
) -> Seen:
    """Let one call meet trouble, and count.

    Args:
        client: Who makes it.
        service: Whom it is made to.
        idempotent: What the policy says of the work.
        expected: The count is waited for; it may be another one. None for whichever it is.
        meeting: What the proxy does, once a connection has been made through it and used; None to refuse the first one.
        own_retries: Whether the client's own retries are left as they are by default.
        patience: Seconds that the client waits for an answer.
    """
    heard: list[Event] = []
    errors: list[Exception] = []
    before = 0
    with proxying(service.port, listening=meeting is not None) as proxy:

        def hear(event: Event) -> None:
            heard.append(event)
            if isinstance(event, RetryScheduled):
                proxy.open()

        policy = retry(
            on=transient,
            attempts=4,
            backoff=ConstantBackoff(client.pause),
            idempotent=idempotent,
            hooks=hear,
            name=client.name,
        )

        async def course() -> None:
            nonlocal before
            async with _entered(client.opened(Setting(proxy.port, own_retries, patience))) as work:
                if meeting is not None:
                    await _done(work())
                    await _done(meeting(proxy))
                before = service.executions()
                try:
                    await (policy.acall(work) if client.asynchronous else _plain(policy.call, work))
                except Exception as error:
                    errors.append(error)

        _run(course, client)
        strikes = proxy.strikes
    return Seen(
        executions=_settled(lambda: service.executions() - before, expected),
        error=errors[0] if errors else None,
        reason=next((event.reason for event in heard if isinstance(event, GaveUp)), None),
        retries=sum(isinstance(event, RetryScheduled) for event in heard),
        strikes=strikes,
    )


def meeting(
    client: Client, fault: Fault, *, times: int = 1, then_refuse: bool = False
) -> Callable[[Proxy], None] | None:
    """What the proxy does to the next request of this client."""
    if fault is Fault.REFUSE:
        return None
    return lambda proxy: proxy.arm(
        fault, request=client.request, reply=client.reply, times=times, then_refuse=then_refuse
    )


def _settled(count: Callable[[], int], expected: int | None) -> int:
    """The count, when it has come to what is expected (or has not for a while), and has stayed there."""
    end = time.monotonic() + 2
    while expected not in {None, count()} and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.02)
    return count()


def _run(course: Callable[[], Coroutine[Any, Any, None]], client: Client) -> None:
    if client.asynchronous:
        asyncio.run(course())
        return
    with contextlib.suppress(StopIteration):
        course().send(None)
        raise AssertionError("plain code cannot suspend")


async def _plain(call: Callable[..., Any], work: Work) -> None:
    call(work)


async def _done(found: Any) -> None:
    if isinstance(found, Awaitable):
        await found


@contextlib.asynccontextmanager
async def _entered(generator: Any) -> AsyncIterator[Work]:
    """The block of a generator function of either colour."""
    once: Any = lambda: generator  # noqa: E731
    if inspect.isasyncgen(generator):
        async with contextlib.asynccontextmanager(once)() as work:
            yield work
    else:
        with contextlib.contextmanager(once)() as work:
            yield work


@define
class Held(Generic[T]):
    """A connection that is made when it is first needed, and anew after a failure: what a program does around a driver.

    Args:
        connect: Makes it; may be a coroutine function.
        close: Ends it, whatever state it is in; the same.
        gone: Whether it is known to have been lost.
    """

    connect: Callable[[], Any]
    close: Callable[[Any], Any]
    gone: Callable[[Any], bool] = lambda _connection: False
    connection: T | None = None

    @contextlib.contextmanager
    def use(self) -> Iterator[T]:
        """The connection, for one piece of work."""
        if self.connection is None or self.gone(self.connection):
            self.connection = self.connect()
        try:
            yield self.connection
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Be done with it."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                self.close(connection)

    @contextlib.asynccontextmanager
    async def ause(self) -> AsyncIterator[T]:
        """The same, awaited."""
        if self.connection is None or self.gone(self.connection):
            self.connection = await self.connect()
        try:
            yield self.connection
        except BaseException:
            await self.adrop()
            raise

    async def adrop(self) -> None:
        """The same, awaited."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await _done(self.close(connection))
