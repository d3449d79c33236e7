"""The store in a SQLite database: the one to use where all processes are on one machine and nothing else should run.

Each verb is one transaction, in which nobody else's code runs: a process that is stopped in the middle of a transaction
stops every other writer. `decide` says what happens in it; the few verbs that keep leases going have one statement each.
What has a TTL is committed without waiting for the disk: it survives the end of every process, and a power cut would have
ended the lease anyway. What has none is on the disk before the verb returns.

A lock that another has is waited for here, not in SQLite, whose waits are unfair and know no deadline.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import override

from resilience._core import checks
from resilience._core.description import Description, Fault, faults_but
from resilience._core.steps import Load, Verb, Wait
from resilience._io import waiting, world
from resilience._io.ambient import UNBOUNDED, scope_now
from resilience.errors import ConfigError, StoreUnavailableError
from resilience.stores._base import LARGEST_VALUE, StoreBase, is_newer, looks
from resilience.stores._mounts import network_file_system
from resilience.stores._sqlite_errors import BusyError, is_busy, translated
from resilience.stores._sqlite_links import LOOK_EVERY, Link, Links
from resilience.stores._sqlite_verbs import Verbs
from resilience.typing import Clock, Seconds


__all__ = ["SQLiteStore"]

R = TypeVar("R")


class SQLiteStore(StoreBase):
    """A `resilience.typing.Store` in a SQLite database, for the processes of one machine. Safe for threads and forks.

    Acknowledged writes survive the end of every process; those without a TTL survive a power cut too. After a power cut
    *and* a wall clock set back, the token of a lease that was lost may come again.

    The file is made if there is none, for its owner alone (0600), as are missing folders (0700). Never copy, replace or
    read it while it is in use, except through SQLite: ``sqlite3 x.db '.backup copy.db'`` makes a copy.

    Args:
        path: Of the database, on a disk of this machine.
        clock: Where its time comes from; None for the World's clock.
        max_value_bytes: The limit of a value.
        busy_timeout: Seconds to wait for a lock that another has, or until the deadline around if that is earlier.

    Raises:
        ConfigError: The path is no file's, or on a network file system.
        UnknownFormatError: The file is another version's, or something else's.
        CorruptStateError: The file is not a database.
        StoreUnavailableError: It cannot be opened.

    >>> import tempfile
    >>> from resilience.stores import ABSENT, SQLiteStore
    >>> with tempfile.TemporaryDirectory() as folder, SQLiteStore(f"{folder}/bridge.db") as store:
    ...     written = store.compare_and_set("greeting", b"hello", expected=ABSENT)
    ...     store.load("greeting").value
    b'hello'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock | None = None,
        max_value_bytes: int = LARGEST_VALUE,
        busy_timeout: Seconds = 5.0,
    ) -> None:
        self._path = _checked(path)
        super().__init__(f"SQLiteStore({self._path!r})", max_value_bytes)
        self._patience = checks.seconds("busy_timeout", busy_timeout)
        self._links = Links(self._name, self._path)
        self._take, self._give = self._links.take, self._links.give
        self._by_step = Verbs(self._links, self._path, clock).by_step()
        try:
            self.ping()
        except BaseException:
            self.close()
            raise

    @override
    def _run(self, verb: Verb[R]) -> R:
        hand: Callable[[Link, Any], R] = self._by_step[type(verb)]
        return self._carry_out(hand, verb)

    def _carry_out(self, hand: Callable[[Link, Any], R], verb: Any, *, patient: bool = True) -> R:
        """Have it done on a connection, and whatever goes wrong undone."""
        if self._closed:
            self._ready()
        scope = scope_now()
        if scope is not UNBOUNDED:
            scope.check()
        link = None
        try:
            taken = self._take()
            # Also where a test's clock has gone back to its beginning.
            link = taken if 0 < taken.look_at - world.current.monotonic() <= LOOK_EVERY else self._links.current(taken)
            reply = hand(link, verb)
        except sqlite3.Error as error:
            committing = link is not None and link.committing
            self._end(link)
            if not (patient and is_busy(error)):
                raise translated(self._name, error, committing) from error
        except BaseException:
            self._end(link)
            raise
        else:
            self._give(link)
            return reply
        return self._patiently(hand, verb)

    def _end(self, link: Link | None) -> None:
        if link is not None:
            try:
                link.undo()
            except sqlite3.Error:
                self._links.discard(link)
            else:
                self._give(link)

    def _patiently(self, hand: Callable[[Link, Any], R], verb: Any) -> R:
        """Try again until the lock is free, with the pauses between two looks of a `wait`."""
        for delay in looks(min(self._patience, scope_now().remaining)):
            waiting.linger(delay)
            try:
                return self._carry_out(hand, verb, patient=False)
            except BusyError:
                continue
        scope_now().check()
        raise StoreUnavailableError(self._name, f"others have kept it locked for {self._patience:g} s")

    @override
    def _wait(self, verb: Wait) -> None:
        seen: object = None
        for delay in looks(verb.timeout):
            signs = self._carry_out(Verbs.signs, verb)
            if signs != seen:
                seen = signs
                if is_newer(self._run(Load(verb.key)), verb.after):
                    return
            waiting.linger(delay)

    @override
    def _close(self) -> None:
        self._links.close()

    @override
    def describe(self) -> Description:
        """What this store promises, and what it may lose."""
        return Description(
            store=self._name,
            clock="host",
            incarnation=self._carry_out(Verbs.incarnation, None),
            durable=True,
            survives_crash=True,
            survives_reboot=True,
            shared=False,
            wakes=False,
            revisions_survive=faults_but((Fault.EMPTIED, Fault.CLOCK_SET_BACK), (Fault.RESTORED, Fault.CLOCK_SET_BACK)),
        )


def _checked(path: str | os.PathLike[str]) -> str:
    given: object = path  # not every caller is typed
    plain: object = os.fspath(path) if isinstance(given, (str, os.PathLike)) else given
    if not isinstance(plain, str) or plain in {"", ":memory:"} or "\0" in plain:
        raise ConfigError("path", path, "the path of a file (MemoryStore keeps records in memory)")
    absolute = str(Path(plain).absolute())
    network = network_file_system(absolute)
    if network is not None:
        raise ConfigError("path", path, f"on a disk of this machine, not on a network file system ({network})")
    return absolute
