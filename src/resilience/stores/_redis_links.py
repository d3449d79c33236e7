"""One connection to a Redis server: the only place that knows the driver (redis-py, 5.0 or later).

The driver's clients try again by themselves and take one timeout for all their life; against a hung server that outlasts
any lease. So a store keeps **connections of its own**: nothing is tried again, and each command brings its own timeout. A
connection on which anything but a whole answer was read (a timeout, a cancellation, Ctrl-C) is dropped: what it might yet
bring would be taken for the answer to something else.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

from resilience._io import aio, world
from resilience.errors import ConfigError
from resilience.stores._redis_bounds import bounded
from resilience.stores._redis_talk import Broken, Words


try:
    import redis as _redis
    import redis.asyncio.connection as _redis_asyncio
    import redis.asyncio.retry as _redis_asyncio_retry
    import redis.backoff as _redis_backoff
    import redis.retry as _redis_retry
except ImportError as missing:
    raise ImportError(
        "RedisStore and AsyncRedisStore need redis-py 5.0 or later: pip install resilience-primitives[redis]"
    ) from missing

__all__ = ["AsyncLink", "Link", "aconnector", "connector", "place"]

R = TypeVar("R")

# The driver has types for a part of itself only.
_driver = cast("Any", _redis)
_asyncio = cast("Any", _redis_asyncio)

#: Seconds in which a message has come whole, once it has begun to come.
_A_MESSAGE = 1.0

#: What is an answer of the server, though the driver raises it; some of these end the connection.
_ANSWERS = (
    _driver.ResponseError, _driver.BusyLoadingError, _driver.AuthenticationError, _driver.exceptions.AuthorizationError,
)  # fmt: skip


def connector(url: str) -> Callable[[], Any]:
    """What makes connections to a URL: redis://, rediss:// or unix://.

    Raises:
        ConfigError: The URL, or one of its options, cannot be.
    """
    retry = cast("Any", _redis_retry).Retry(cast("Any", _redis_backoff).NoBackoff(), 0)
    return _connector(url, _driver.connection, retry, bounded)


def aconnector(url: str) -> Callable[[], Any]:
    """The same for asyncio."""
    retry = cast("Any", _redis_asyncio_retry).Retry(cast("Any", _redis_backoff).NoBackoff(), 0)
    return _connector(url, _asyncio, retry, lambda kind: kind)


def place(url: str) -> str:
    """Where that is, without user, password and options."""
    options = _options(url, _driver.connection)
    database = options.get("db", 0)
    if "path" in options:
        return f"unix://{options['path']}?db={database}"
    scheme = url.partition(":")[0]
    return f"{scheme}://{options.get('host', 'localhost')}:{options.get('port', 6379)}/{database}"


def _connector(url: str, module: Any, retry: Any, adapted: Callable[[Any], Any]) -> Callable[[], Any]:
    options: dict[str, Any] = {
        **_options(url, module),
        # RESP 2, in which whoever listens no more can go on with other commands. No decoding: values are bytes.
        "protocol": 2,
        "decode_responses": False,
        "encoding": "utf-8",
        "retry": retry,
        "retry_on_timeout": False,
        "retry_on_error": [],
        "health_check_interval": 0,
        "socket_timeout": None,
        "socket_connect_timeout": None,
    }
    make = adapted(options.pop("connection_class", module.Connection))
    try:
        make(**options)
    except (TypeError, ValueError, _driver.RedisError) as error:
        raise ConfigError("url", _without_secrets(url), f"one whose options the driver knows ({error})") from error
    return lambda: make(**options)


def _options(url: Any, module: Any) -> dict[str, Any]:
    try:
        return dict(module.parse_url(url))
    except (AttributeError, TypeError, ValueError):  # not its cause: a password with a slash is called a port there
        expected = (
            "a redis://, rediss:// or unix:// URL, its password percent-encoded and its options of the right type"
        )
        raise ConfigError("url", _without_secrets(url), expected) from None


def _without_secrets(url: Any) -> object:
    """A URL that cannot be read may hold a password anywhere before its host."""
    if not isinstance(url, str):
        return url
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"


class Link:
    """One connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._sock: Any = None

    def open(self, seconds: float) -> None:
        """Connect, and introduce oneself."""
        self._connection.ends = world.current.monotonic() + seconds
        try:
            self._connection.connect()
        except Exception as error:
            raise Broken(sent=False) from error
        self._sock = self._connection._sock  # noqa: SLF001  # the driver takes no timeout for one command

    def ask(self, words: Words, seconds: float) -> Any:
        """Send a command and read its answer, which may be an error."""
        self._sock.ends = world.current.monotonic() + seconds
        try:
            self._connection.send_command(*words)
            return self._connection.read_response()
        except _ANSWERS as answer:
            return answer.with_traceback(None)
        except Exception as error:
            raise Broken(sent=True) from error

    def hear(self, seconds: float) -> Any:
        """What the server says unasked; None if it says nothing in so many seconds."""
        self._sock.ends = None
        try:
            if not self._connection.can_read(seconds):
                return None
            self._sock.ends = world.current.monotonic() + _A_MESSAGE
            return self._connection.read_response()
        except Exception as error:
            raise Broken(sent=True) from error

    def fresh(self) -> bool:
        """Whether it can be used again: open, and nothing has come that nobody asked for."""
        self._sock.ends = None
        try:
            return self._sock.fileno() >= 0 and not self._connection.can_read(0)
        except Exception:
            return False

    def cut(self) -> None:
        """Have whoever reads from it, in another thread, find that it has ended."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """Close it."""
        self._connection.disconnect()


class AsyncLink:
    """One connection of asyncio's."""

    def __init__(self, connection: Any, loop: Any) -> None:
        self._connection = connection
        self._loop = loop
        self._reader: Any = None
        self._transport: Any = None

    async def open(self, seconds: float) -> None:
        """Connect, and introduce oneself."""
        try:
            await _within(seconds, self._connection.connect())
        except Exception as error:
            raise Broken(sent=False) from error
        # By the driver alone nobody can see that a connection has ended, nor end it where the server takes nothing any more.
        self._reader, self._transport = self._connection._reader, self._connection._writer.transport  # noqa: SLF001

    async def ask(self, words: Words, seconds: float) -> Any:
        """Send a command and read its answer, which may be an error."""
        try:
            return await _within(seconds, self._exchange(words))
        except _ANSWERS as answer:
            return answer.with_traceback(None)
        except Exception as error:
            raise Broken(sent=True) from error

    async def hear(self, seconds: float) -> Any:
        """What the server says unasked; None if it says nothing in so many seconds, and then it is closed."""
        try:
            return await _within(seconds, self._connection.read_response())
        except TimeoutError:
            return None
        except Exception as error:
            raise Broken(sent=True) from error

    def fresh(self) -> bool:
        """Whether it can be used again."""
        return not self._transport.is_closing() and not self._reader.at_eof()

    def cut(self) -> None:
        """Have whoever reads from it find that it has ended; from any thread."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._transport.abort)

    def disown(self) -> None:
        """In a child that was forked: whatever closes it from now on closes nothing of the parent's.

        To close it would take its socket out of the selector that the parent still uses. Another socket under the same
        number is not in there, and nothing has to keep this one from being collected.
        """
        with suppress(OSError), socket.socket() as nothing:
            os.dup2(nothing.fileno(), self._transport.get_extra_info("socket").fileno(), inheritable=False)

    async def drop(self) -> None:
        """Close it, also where the server takes nothing any more."""
        with suppress(RuntimeError):  # the loop is closed, and with it all that ran on it
            await self._connection.disconnect(nowait=True)
            self._transport.abort()

    async def _exchange(self, words: Words) -> Any:
        await self._connection.send_command(*words)
        return await self._connection.read_response()


async def _within(seconds: float, work: Awaitable[R]) -> R:
    """Wait for it, but no longer than that; it is cancelled then."""
    timer = aio.arm(aio.current_task(), seconds)
    try:
        value = await work
    except BaseException as error:
        if timer.disarm(type(error), error, error.__traceback__):
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        raise
    timer.disarm(None, None, None)
    return value
