"""Connections to PostgreSQL, over libpq as psycopg wraps it: `psycopg.pq`.

psycopg's own `Connection` has no timeout for one statement, waits seconds for a cancel on the way out, and counts the
seconds of a connection attempt in whole ones, from two. Hence one step lower: libpq never blocks here, and each time
that it would, what it waits for is handed up. So a timeout is where the waiting is, and there are two hands for that,
one for threads and one for the event loop. A connection on which anything went wrong is closed, never used again.

What would block in spite of that is the resolving of a host's name: that is done before (`_postgres_hosts`).
"""

from __future__ import annotations

import contextlib
import math
import select
import selectors
import socket
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, cast

from attrs import define, field

from resilience._io import world
from resilience.errors import ConfigError
from resilience.stores._postgres_verbs import Ask, Reply


try:
    import psycopg
    from psycopg import conninfo, errors, pq
except ImportError as error:
    raise ImportError(
        "the PostgreSQL stores need psycopg 3.2 or later: pip install resilience-primitives[postgres]"
    ) from error

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

__all__ = [
    "CannotConnect",
    "DriverError",
    "Idle",
    "Line",
    "Need",
    "Params",
    "ask_on",
    "by_loop",
    "by_thread",
    "can_wait_on",
    "hang_up",
    "hear_on",
    "is_ready",
    "open_line",
    "parameters",
    "reading",
]

R = TypeVar("R")

#: What the driver raises.
DriverError: TypeAlias = psycopg.Error
#: The same, of a connection that was not made.
CannotConnect = psycopg.OperationalError
#: What says where to connect, by the names of libpq.
Params: TypeAlias = dict[str, Any]
#: One connection.
Line: TypeAlias = "PGconn"

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
#: Of the time that a statement has, how much of it may pass in waiting for a lock: the server is to give up before we do,
#: for then it is known that nothing was done, and nothing of it stays behind.
_PATIENCE = 800


class Need(NamedTuple):
    """What has to be so before libpq goes on.

    Args:
        fd: The socket.
        events: `selectors.EVENT_READ`, `EVENT_WRITE` or both: either will do.
    """

    fd: int
    events: int


def parameters(dsn: Any) -> Params:
    """What is in a connection string or URL.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(dsn, str):
        try:
            return {**conninfo.conninfo_to_dict(dsn)}
        except psycopg.ProgrammingError:
            pass  # its words may hold the password
    raise ConfigError("dsn", "what is not shown here", "a PostgreSQL connection string or URL")


def open_line(params: Params) -> Generator[Need, None, Line]:
    """Connect to one host, whose address is known.

    Raises:
        DriverError: The server, or nobody, says no.
    """
    line = pq.PGconn.connect_start(conninfo.make_conninfo(**params).encode())
    try:
        while line.status != pq.ConnStatus.BAD:
            state = line.connect_poll()
            if state == pq.PollingStatus.OK:
                line.nonblocking = 1
                return line
            if state == pq.PollingStatus.FAILED:
                break
            yield Need(line.socket, _READ if state == pq.PollingStatus.READING else _WRITE)
        raise CannotConnect(f"connection failed: {line.error_message.decode(errors='replace')}")
    except BaseException:  # also that nobody goes on with it
        line.finish()
        raise


def ask_on(line: Line, ask: Ask, seconds: float) -> Generator[Need, None, Reply]:
    """Have one statement carried out.

    Args:
        line: Where.
        ask: The statement.
        seconds: How long it may take.

    Raises:
        DriverError: The connection broke.
    """
    if ask.script:
        line.send_query(ask.text)
    else:
        values, types = [*ask.values], [*ask.types]
        if ask.patient:
            values.insert(0, max(1, min(int(seconds * _PATIENCE), 0x7FFFFFFF)).to_bytes(4, "big"))
            types.insert(0, _INT4)
        line.send_query_params(ask.text, values, types, [1] * len(values), 1)
    while line.flush():
        yield Need(line.socket, _READ | _WRITE)
        line.consume_input()
    last: PGresult | None = None
    try:
        while True:
            while line.is_busy():
                yield Need(line.socket, _READ)
                line.consume_input()
            result = line.get_result()
            if result is None:
                break
            last = result
    except psycopg.Error:
        if last is None or last.status != pq.ExecStatus.FATAL_ERROR:
            raise
    return _reply(line, cast("PGresult", last))


_INT4 = 23


def _reply(line: Line, result: PGresult) -> Reply:
    if result.status in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
        columns = range(result.nfields)
        return Reply([tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)])
    sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE)
    severity = result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED)
    ended = severity in {b"FATAL", b"PANIC"} or line.status == pq.ConnStatus.BAD
    error = errors.error_from_result(result)
    return Reply([], error, sqlstate.decode() if sqlstate else None, ended)


def hear_on(line: Line) -> list[bytes]:
    """What notifications have come.

    Raises:
        DriverError: The connection broke.
    """
    line.consume_input()
    said: list[bytes] = []
    while (one := line.notifies()) is not None:
        said.append(one.extra)
    return said


def reading(line: Line) -> Need:
    """What is needed to hear something on it."""
    return Need(line.socket, _READ)


def hang_up(line: Line) -> None:
    """End a connection that another thread waits on: that one is told at once, and closes it."""
    with contextlib.suppress(DriverError, OSError):  # it has ended already
        peer = socket.socket(fileno=line.socket)
        try:
            peer.shutdown(socket.SHUT_RDWR)
        finally:
            peer.detach()


@define(eq=False)
class Idle:
    """Connections that nobody uses; the one that was used last comes first. Safe for threads."""

    _lines: list[Line] = field(factory=list[Any])
    _closed: bool = False

    def take(self) -> Line | None:
        """One that can be used, if there is one."""
        while True:
            try:
                line = self._lines.pop()
            except IndexError:
                return None
            # Nobody says anything on an idle connection but to end it.
            if not is_ready(reading(line), 0):
                return line
            line.finish()

    def give(self, line: Line, *, fine: bool) -> None:
        """Take it back; what is not fine, or comes when it is closed, is closed."""
        if fine and not self._closed and line.transaction_status == pq.TransactionStatus.IDLE:
            self._lines.append(line)
        else:
            line.finish()

    def close(self) -> None:
        """Close them all."""
        self._closed = True
        while self._lines:
            self._lines.pop().finish()


# -- the hands -------------------------------------------------------------------------------------------------------


def is_ready(need: Need, seconds: float | None) -> bool:
    """Wait in this thread until it is so, or for so long; None for ever."""
    return _wait_for(need, seconds)


def _by_poll(need: Need, seconds: float | None) -> bool:
    """A fifth of what a selector costs, which is made anew for each wait."""
    poll = select.poll()
    poll.register(need.fd, _POLLED[need.events])
    return bool(poll.poll(None if seconds is None else math.ceil(seconds * 1000)))


def _by_selector(need: Need, seconds: float | None) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(*need)
        return bool(selector.select(seconds))


_POLLED = {_READ: 1, _WRITE: 4, _READ | _WRITE: 5}  # POLLIN and POLLOUT, which Windows has not
_wait_for = _by_poll if hasattr(select, "poll") else _by_selector


def by_thread(steps: Generator[Need, None, R], seconds: float) -> R:
    """Go through with it in this thread.

    Raises:
        TimeoutError: It would have taken longer.
    """
    monotonic = world.current.monotonic
    end = monotonic() + seconds
    try:
        need = next(steps)
        while is_ready(need, max(0.0, end - monotonic())):
            need = next(steps)
    except StopIteration as done:
        value: R = done.value
        return value
    raise _late(seconds)


async def by_loop(loop: Any, steps: Generator[Need, None, R], seconds: float) -> R:
    """The same on an event loop of asyncio, which runs this task."""
    end = loop.time() + seconds
    try:
        need = next(steps)
        while await _is_ready_on(loop, need, max(0.0, end - loop.time())):
            need = next(steps)
    except StopIteration as done:
        value: R = done.value
        return value
    raise _late(seconds)


def _late(seconds: float) -> TimeoutError:
    return TimeoutError(f"no answer within {seconds:.3g} s")


def can_wait_on(loop: Any) -> bool:
    """Whether an event loop waits for sockets; that of Windows, a `ProactorEventLoop`, does not."""
    with socket.socket() as one:
        try:
            loop.add_reader(one, bool)
        except NotImplementedError:
            return False
        loop.remove_reader(one)
    return True


async def _is_ready_on(loop: Any, need: Need, seconds: float) -> bool:
    told = loop.create_future()

    def tell(ready: bool) -> None:
        if not told.done():
            told.set_result(ready)

    loop.add_reader(need.fd, tell, True)
    if need.events & _WRITE:
        loop.add_writer(need.fd, tell, True)
    timer = loop.call_later(seconds, tell, False)
    try:
        return bool(await told)
    finally:
        timer.cancel()
        loop.remove_reader(need.fd)
        loop.remove_writer(need.fd)
