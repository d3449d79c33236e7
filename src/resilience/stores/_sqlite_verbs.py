"""The verbs of a SQLite store, each done on one connection and in one transaction.

The shared brain decides, over the table; the verbs that make a lease, keep it and end it try a statement of their own
first. Here it also stands which commits wait for the disk, and how the log is copied into the database.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from resilience._core.deciding import decide
from resilience._core.records import ABSENT, Now, Versioned
from resilience._core.steps import Extend, Load, LoadMany, Remove, Scan, Swap, Verb
from resilience._io.host import host_now
from resilience.stores._sqlite_links import Link, Links
from resilience.stores._sqlite_log import PAGE
from resilience.stores._sqlite_table import LastingError, Table, claim, renew, unclaim
from resilience.typing import Clock


__all__ = ["Verbs"]

R = TypeVar("R")


class Verbs:
    """What is done on a connection. Raises SQLite's own errors; whoever calls undoes what was begun.

    Args:
        links: The connections of the store.
        path: Of the database, for errors.
        clock: Where its time comes from; None for the World's clock.
    """

    def __init__(self, links: Links, path: str, clock: Clock | None) -> None:
        self._links = links
        self._log = links.log
        self._path = path
        self._clock = clock

    def by_step(self) -> dict[type, Callable[[Link, Any], Any]]:
        """What carries out each step."""
        return {
            Load: self.read,
            Scan: self.read,
            LoadMany: self.read_many,
            Swap: self.swap,
            Remove: self.remove,
            Extend: self.extend,
        }

    def read(self, link: Link, verb: Verb[R]) -> R:
        """What is there: one statement, which sees one moment, unless a transaction was begun."""
        now = host_now(self._clock)
        return decide(verb, Table(link.execute, now, self._path), now)

    def read_many(self, link: Link, verb: LoadMany) -> dict[str, Versioned[bytes] | None]:
        """Several records, as one moment has them."""
        link.execute("BEGIN")
        reply = self.read(link, verb)
        link.execute("COMMIT")
        return reply

    def swap(self, link: Link, verb: Swap) -> Versioned[bytes]:
        """Compare and set; a new lease in one statement."""
        if verb.ttl is None:
            return self._write(link, verb, durable=True)
        if verb.expected == ABSENT and verb.guard is None and self._log.left > 0:
            if link.durable:
                link.wait_for_disk(False)
            link.committing = True
            written = claim(link.quick, verb, verb.ttl, host_now(self._clock))
            link.committing = False
            if written is not None:
                self._wrote(link, 1, len(verb.value))
                return written
        return self._write_lightly(link, verb)

    def remove(self, link: Link, verb: Remove) -> bool:
        """Remove; a lease in one statement."""
        if isinstance(verb.expected, int) and verb.guard is None and self._log.left > 0:
            if link.durable:
                link.wait_for_disk(False)
            link.committing = True
            removed = unclaim(link.quick, verb.key, verb.expected)
            link.committing = False
            if removed:
                self._wrote(link, 2, 0)
                return True
        return self._write_lightly(link, verb)

    def _write_lightly(self, link: Link, verb: Verb[R]) -> R:
        """Without waiting for the disk, unless what lasts is to end."""
        try:
            return self._write(link, verb, durable=False)
        except LastingError:
            link.undo()
            return self._write(link, verb, durable=True)

    def _write(self, link: Link, verb: Verb[R], *, durable: bool) -> R:
        """What the shared brain decides, in one transaction."""
        now = self._begin(link, durable)
        reply = decide(verb, Table(link.execute, now, self._path, durable), now)
        link.commit()
        self._wrote(link, 2, len(verb.value) if isinstance(verb, Swap) else 0)
        return reply

    def extend(self, link: Link, verb: Extend) -> frozenset[str]:
        """Renew; those that were lost."""
        now = self._begin(link, durable=False)
        lost = renew(link.execute, link.execute_many, verb, now, self._path)
        link.commit()
        self._wrote(link, 1, 128 * len(verb.beats))
        return lost

    def _begin(self, link: Link, durable: bool) -> Now:
        """Begin to write; the moment at which nobody else can any more."""
        if link.durable is not durable:
            link.wait_for_disk(durable)
        link.quick("BEGIN IMMEDIATE")
        if self._log.left <= 0:
            self._tidy()
            link.execute("ROLLBACK")  # so that the next write finds all of the log copied, and starts it anew
            link.execute("BEGIN IMMEDIATE")
        return host_now(self._clock)

    def _wrote(self, link: Link, pages: int, size: int) -> None:
        link.wrote += 1
        self._log.left -= pages * PAGE + size

    def _tidy(self) -> None:
        """Copy the log into the database, while the caller's transaction keeps all writers away.

        SQLite would do it beside them, and before 3.51.3 that can lose what was committed: a writer that starts the log
        anew in the middle of a second copying is overlooked by it.
        """
        with contextlib.suppress(sqlite3.Error):  # what is not copied now is still safe in the log
            other = self._links.take(holding=True)
            try:
                other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            finally:
                self._links.give(other)
        self._log.copied()

    @staticmethod
    def signs(link: Link, _: object) -> object:
        """What changes with every write: as SQLite tells of others', and as the connection counts its own."""
        return link, link.execute("PRAGMA data_version").fetchone()[0], link.wrote

    @staticmethod
    def incarnation(link: Link, _: object) -> str:
        """The random name of this life of the store."""
        return str(link.execute("SELECT incarnation FROM store").fetchone()[0])
