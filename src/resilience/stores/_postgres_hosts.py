"""Where a PostgreSQL server is: the hosts of a connection string, their addresses, and which of them lets us in.

libpq would find all that out by itself, but not in a given time: it resolves names holding the interpreter's lock, so
that no thread and no event loop goes on meanwhile; and the first host that does not answer would be the last.

What nobody can limit is a resolver that does not answer: a thread waits for it as long as it takes (a task does not, for
it waits in a thread), and what came too late is not tried.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Sequence
from typing import Any

from resilience._io import world
from resilience.errors import ConfigError
from resilience.stores import _postgres_wire as wire


__all__ = ["connect", "named", "targets"]

#: The kernel asks after a peer that has not been heard of for 15 s: the connection that listens asks nothing itself.
_UNLESS_GIVEN = {
    "fallback_application_name": "resilience",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}


def targets(dsn: Any) -> list[wire.Params]:
    """Where to try in turn: connection parameters for each of the hosts in it."""
    params = {**_UNLESS_GIVEN, **wire.parameters(dsn)}
    lists = {name: str(params[name]).split(",") for name in ("host", "hostaddr", "port") if name in params}
    count = max(map(len, lists.values()), default=1)
    if any(len(some) not in {1, count} for some in lists.values()):
        raise ConfigError("dsn", "what is not shown here", "a connection string with as many ports as hosts, or one")
    return [params | {name: some[n % len(some)] for name, some in lists.items()} for n in range(count)]


def named(kind: str, dsn: Any, schema: str) -> str:
    """How a store is called: where it is, and nothing that is secret."""
    params = wire.parameters(dsn)
    where = params.get("host", params.get("hostaddr", "")), params.get("port", ""), params.get("dbname", "")
    return f"{kind}(postgresql://{where[0]}:{where[1]}/{where[2]}, schema={schema!r})"


def connect(hosts: Sequence[wire.Params], seconds: float) -> wire.Line:
    """Connect to the first that lets us in, in this thread; each has its share of the time that is left.

    Raises:
        DriverError: The last one says no.
        TimeoutError: The last one says nothing.
    """
    return _first([functools.partial(_by_name, params) for params in hosts], seconds)


def _by_name(params: wire.Params, seconds: float) -> wire.Line:
    end = world.current.monotonic() + seconds
    attempts = [functools.partial(_by_address, one) for one in _resolved(params)]
    left = end - world.current.monotonic()
    if left <= 0:
        raise TimeoutError(f"host {params.get('host')!r} was not resolved within {max(seconds, 0.0):.3g} s")
    return _first(attempts, left)


def _by_address(params: wire.Params, seconds: float) -> wire.Line:
    return wire.by_thread(wire.open_line(params), seconds)


def _first(attempts: Sequence[Callable[[float], wire.Line]], seconds: float) -> wire.Line:
    end = world.current.monotonic() + seconds
    *others, last = attempts
    for n, attempt in enumerate(others):
        try:
            return attempt((end - world.current.monotonic()) / (len(attempts) - n))
        except (wire.DriverError, TimeoutError):
            pass
    return last(end - world.current.monotonic())


def _resolved(params: wire.Params) -> list[wire.Params]:
    """The same for each address of the host; its name stays, for certificates bear it."""
    host = params.get("host", "")
    if "hostaddr" in params or not host or host.startswith(("/", "@")):
        return [params]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise wire.CannotConnect(f"failed to resolve host {host!r}: {error}") from error
    return [{**params, "hostaddr": address} for address in dict.fromkeys(str(one[4][0]) for one in found)]
