"""The vocabulary as types: what users may bring of their own, and the aliases that signatures are written in.

Protocols, not base classes: anything of the right shape will do, and nothing need be inherited. What each word
means is in the glossary; here is what each thing must be able to do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, TypeVar, runtime_checkable


if TYPE_CHECKING:
    from types import TracebackType

    from resilience._core.description import Description
    from resilience._core.events import Event
    from resilience._core.records import Beat, Expected, Guard, Versioned
    from resilience._core.verdict import Verdict

__all__ = ["AsyncStore", "Backoff", "Clock", "Codec", "Hook", "Joinable", "On", "Rng", "Seconds", "Stop", "Store"]

T = TypeVar("T")

#: A length of time: seconds as a number, or a `timedelta`.
Seconds: TypeAlias = float | timedelta

#: What a policy tries again on: an exception class, a predicate, a classifier, or a tuple of these (any of them).
On: TypeAlias = "type[Exception] | Callable[[Exception], Verdict | bool | None] | tuple[On, ...]"

#: What a user passes to be told: it receives frozen events, its return value is ignored, its errors are logged.
Hook: TypeAlias = "Callable[[Event], object]"


@runtime_checkable
class Backoff(Protocol):
    """The rule that says how long to wait between attempts."""

    def delay(self, attempt: int, /) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) has failed: finite and not negative.

        Called from any thread or task: it keeps no state from one call to the next.
        """
        ...


class Rng(Protocol):
    """A source of chance; `random.Random` is one."""

    def random(self) -> float:
        """A number drawn evenly from [0, 1)."""
        ...


class Joinable(Protocol):
    """A background thread, as its starter sees it."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for `timeout` seconds."""
        ...

    def is_alive(self) -> bool:
        """Whether it still runs."""
        ...


class Clock(Protocol):
    """Time, passed in: the only way this library reads a clock, sleeps, waits, or starts a thread."""

    def monotonic(self) -> float:
        """Seconds from an origin that means nothing; never goes back. For durations and deadlines."""
        ...

    def boottime(self) -> float:
        """Seconds since this machine booted, its sleep included: comparable between processes."""
        ...

    def boot(self) -> str:
        """Which boot, of which machine, in which time namespace: only where this is the same can two `boottime` be compared."""
        ...

    def wall(self) -> float:
        """Unix seconds, for stamps people read and for revisions; may jump, so never for a duration."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Block this thread."""
        ...

    def wait(self, event: threading.Event, timeout: float | None = None, /) -> bool:
        """Block until the event is set or `timeout` seconds have passed; whether it is set."""
        ...

    def spawn(self, fn: Callable[[], None], /, *, name: str) -> Joinable:
        """Start a daemon thread."""
        ...

    def announce(self, seconds: float, /) -> None:
        """Told of each wait that async code is about to make by its event loop's own time."""
        ...


class Stop(Protocol):
    """Something live that may end the work before its deadline: a lease that can be lost, a shutdown."""

    @property
    def at(self) -> float:
        """The monotonic moment at which, as known now, work must have ended; `math.inf` if unknown. May move."""
        ...

    def error(self) -> Exception | None:
        """What to raise in work that has been stopped; None while it may go on."""
        ...

    def watch(self, wake: Callable[[], object], /) -> Callable[[], None]:
        """Call `wake` once, from any thread, when the work is stopped (at once if it is); returns how to undo this."""
        ...


class Codec(Protocol[T]):
    """How a value becomes the bytes that a store keeps, and comes back."""

    def encode(self, value: T, /) -> bytes:
        """The bytes; `ConfigError` for what would not come back as it was."""
        ...

    def decode(self, data: bytes, /) -> T:
        """The value: a new one each time."""
        ...


class Store(Protocol):
    """Small values under keys, each with a revision: a few verbs, every one of them atomic and one round trip.

    Safe for threads. `resilience.stores` has those that come with the library; `resilience.testing.StoreContract` says
    whether another one keeps these promises.

    No verb is begun past the deadline around it (`DeadlineExceededError`), nor when a stop has ended the work. Every verb
    may raise `StoreUnavailableError` (certainly not applied); those that write, `OutcomeUnknownError`
    (perhaps applied).
    """

    def load(self, key: str) -> Versioned[bytes] | None:
        """The record under `key`, also if it has expired; None if there is none."""
        ...

    def load_many(self, keys: Iterable[str]) -> dict[str, Versioned[bytes] | None]:
        """The records under each of `keys`, as they were at one moment."""
        ...

    def compare_and_set(
        self,
        key: str,
        value: bytes,
        *,
        expected: Expected,
        ttl: Seconds | None = None,
        guard: Guard | None = None,
        write_id: str | None = None,
    ) -> Versioned[bytes]:
        """Write `value`, if the record is as expected and the guard holds; what is there now.

        Args:
            key: Text of 1 to 1024 bytes in UTF-8.
            value: Bytes; a store has a limit, 1 MiB by default.
            expected: A revision; `ABSENT` (no record), `VACANT` (none, or an expired one), `Seen` (exactly as it was
                seen, its beats included) or `ANY`.
            ttl: Seconds, above 0, after which the record has expired by the store's clock; None for never.
            guard: A lease that must be held, or vacant, at the moment of the write; None for no condition.
            write_id: A random name for this write, kept in the record: whoever lost the answer can recognise his own.

        Raises:
            VersionConflictError: The record is not as expected; the error says what is there.
            GuardRefusedError: The guard does not hold; it is judged before `expected`.
        """
        ...

    def extend(self, beats: Iterable[Beat]) -> frozenset[str]:
        """Put off the expiry of leases that are unexpired and still have their token; the keys of those lost."""
        ...

    def remove(self, key: str, *, expected: Expected, guard: Guard | None = None) -> bool:
        """Remove the record, if it is as expected and the guard holds; False if there is none. Revisions go on.

        Raises:
            VersionConflictError: There is a record, and it is not as expected.
            GuardRefusedError: The guard does not hold.
        """
        ...

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int = 1000, expired: bool = False
    ) -> list[tuple[str, Versioned[bytes]]]:
        """One page of records in the order of their keys' code points.

        Args:
            prefix: What their keys begin with.
            after: The last key of the page before.
            limit: Records in a page, at most 10 000.
            expired: Those that have expired, instead of those that have not.
        """
        ...

    def wait(self, key: str, *, after: int, timeout: Seconds) -> None:
        """Return when the record may no longer be at revision `after`, or when `timeout` seconds have passed.

        Args:
            key: Which record.
            after: The revision that the caller knows; `ABSENT` (0) waits for a record to appear.
            timeout: Seconds, 0 or more; the wait ends earlier where a deadline or a stop ends the work.
        """
        ...

    def ping(self) -> None:
        """Raise `StoreUnavailableError` if the store does not answer."""
        ...

    def describe(self) -> Description:
        """What this store promises, and what it may lose."""
        ...

    def close(self) -> None:
        """Give back what is open; the store is of no use afterwards. May be called again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...


class AsyncStore(Protocol):
    """A `Store` for asyncio (and, where it says so, trio): the same verbs, to be awaited. Safe for tasks."""

    async def load(self, key: str) -> Versioned[bytes] | None:
        """As `Store.load`."""
        ...

    async def load_many(self, keys: Iterable[str]) -> dict[str, Versioned[bytes] | None]:
        """As `Store.load_many`."""
        ...

    async def compare_and_set(
        self,
        key: str,
        value: bytes,
        *,
        expected: Expected,
        ttl: Seconds | None = None,
        guard: Guard | None = None,
        write_id: str | None = None,
    ) -> Versioned[bytes]:
        """As `Store.compare_and_set`."""
        ...

    async def extend(self, beats: Iterable[Beat]) -> frozenset[str]:
        """As `Store.extend`."""
        ...

    async def remove(self, key: str, *, expected: Expected, guard: Guard | None = None) -> bool:
        """As `Store.remove`."""
        ...

    async def scan(
        self, prefix: str = "", *, after: str = "", limit: int = 1000, expired: bool = False
    ) -> list[tuple[str, Versioned[bytes]]]:
        """As `Store.scan`."""
        ...

    async def wait(self, key: str, *, after: int, timeout: Seconds) -> None:
        """As `Store.wait`."""
        ...

    async def ping(self) -> None:
        """As `Store.ping`."""
        ...

    async def describe(self) -> Description:
        """As `Store.describe`."""
        ...

    async def aclose(self) -> None:
        """As `Store.close`."""
        ...

    def blocking(self) -> Store:
        """A blocking store over the same records, for threads such as a heartbeat's; closed with this one."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...
