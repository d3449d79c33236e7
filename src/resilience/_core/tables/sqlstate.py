"""What an SQLSTATE says: shared by the tables of PostgreSQL's clients.

An error is the server's word that the statement was undone, and with it the transaction that it belonged to. That also
holds for the error that answers a COMMIT, or a statement with autocommit: once the commit is written, PostgreSQL sends
no error any more. (From just before that moment a session takes no interrupt; one that waits for a standby to confirm
sends a warning, or breaks the connection.) So an error is "not applied", unless it says that nobody knows. A connection
that breaks without an error is "unsure".

A transaction is tried again as a whole: the next statement in one that has failed gets 25P02, which is permanent.
What had been committed before stays: earlier statements with autocommit, the first half of a procedure that commits
halfway. So does what is no part of a transaction: numbers drawn from a sequence, what was done on a foreign server.

Sources: postgresql.org/docs/current/errcodes-appendix.html and mvcc-serialization-failure-handling.html;
CommitTransaction (xact.c), ProcessInterrupts and quickdie (postgres.c), SyncRepWaitForLSN (syncrep.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resilience._core.rows import By, Fact, read
from resilience._core.verdict import Verdict


__all__ = ["SQLSTATE", "by_sqlstate"]

#: A statement that took longer than its `statement_timeout`: the same code as for one that somebody cancelled, and only
#: the message tells them apart, in the language of the server.
TIMEOUT = "57014, statement timeout"

#: What each code means; every other is permanent.
SQLSTATE: Mapping[str, Verdict] = {
    # The server's trouble with another one, or a pooler's with the server; PgBouncer says 08P01 of nearly everything.
    "08*": Verdict.unsure(reason="a connection broke"),
    "08001": Verdict.transient(reason="a server behind the server could not be reached"),
    "08004": Verdict.transient(reason="a server behind the server refused the connection"),
    # Transactions against each other.
    "40000": Verdict.transient(reason="rolled back"),
    "40001": Verdict.transient(reason="rolled back: it cannot be made one after another with the others"),
    "40003": Verdict.unsure(reason="nobody knows whether the statement was completed"),
    "40P01": Verdict.transient(reason="rolled back: a deadlock"),
    "55006": Verdict.transient(reason="in use"),
    "55P03": Verdict.transient(reason="the lock was not to be had in time"),
    "72000": Verdict.transient(reason="the snapshot was too old"),
    # Took too long. Somebody who cancels a statement by hand does not want it back.
    TIMEOUT: Verdict.transient(reason="took longer than the server allows"),
    "57014": Verdict.permanent("somebody cancelled it"),
    "25P03": Verdict.transient(reason="rolled back: nothing was said in the transaction for too long"),
    "25P04": Verdict.transient(reason="rolled back: the transaction took too long"),
    "57P05": Verdict.transient(reason="nothing was said in the session for too long"),
    # Restarting and failing over. A standby that is not yet, or no longer, the primary only reads.
    "25006": Verdict.transient(reason="nothing can be written here now: a standby, or a transaction that only reads"),
    "57P01": Verdict.transient(reason="rolled back: an administrator ended the session, or the server"),
    "57P02": Verdict.unsure(reason="the server crashed"),
    "57P03": Verdict.transient(reason="starting up, shutting down, or recovering"),
    # Too little of something. What somebody must make room for, or allow, does not change by itself.
    "53000": Verdict.transient(throttled=True, reason="not enough resources"),
    "53100": Verdict.permanent("the server's disk is full"),
    "53200": Verdict.transient(throttled=True, reason="not enough memory"),
    "53300": Verdict.transient(throttled=True, reason="too many connections"),
    # Not worth another try.
    "22*": Verdict.permanent("the data is wrong"),
    "23*": Verdict.permanent("a constraint forbids it"),
    "25P02": Verdict.permanent("the transaction has failed already: only the whole of it can be tried again"),
    "28*": Verdict.permanent("not let in"),
    "3D000": Verdict.permanent("no such database"),
    "42*": Verdict.permanent("the statement is wrong, or not allowed"),
}  # fmt: skip


def by_sqlstate(error: str, sqlstate: Fact = "sqlstate", message: Fact = "message") -> By:
    """The rule for an error that carries an SQLSTATE; it has nothing to say of one without.

    Args:
        error: The class, with its dots.
        sqlstate: Where the code is.
        message: Where the server's message is, without its details.
    """

    def code(of: Any) -> str | None:
        value, said = read(of, sqlstate), read(of, message)
        if value == "57014" and isinstance(said, str) and said.endswith("statement timeout"):
            return TIMEOUT
        return value if isinstance(value, str) and value else None

    return By(error, "SQLSTATE", code, SQLSTATE, otherwise=Verdict.permanent())
