"""SQLAlchemy: what the driver said decides, whichever driver it is.

Of a driver that no table knows, all that is known is whether SQLAlchemy threw the connection away. Its own errors are
few: the pool, a transaction that has failed before, a row that somebody else changed first. What asyncpg raises that
is no error of the database (`OSError`, `TimeoutError`) comes as it is.

SQLAlchemy tries no statement again. A pool with `pool_pre_ping` makes a new connection for one that it finds dead.
"""

from __future__ import annotations

from resilience._core.rows import Always, By, Inside, Table
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

#: What the pool says when its `checkout` listeners have found every connection dead.
_DEAD = "This connection is closed"
_BROKE = Verdict.unsure(reason="the connection broke")
_FAILED = Verdict.permanent("the transaction has failed already: only the whole of it can be tried again")


def _dead(error: object) -> str | None:
    return "dead" if str(error) == _DEAD else None


TABLE = Table(
    "SQLAlchemy",
    (
        Inside("sqlalchemy.exc.DBAPIError", ("orig",)),
        By("sqlalchemy.exc.DBAPIError", "connection_invalidated", "connection_invalidated", {True: _BROKE}),
        # What is no error of the driver, in a statement.
        Inside("sqlalchemy.exc.StatementError", ("orig",)),
        # asyncpg is no DB-API: these classes stand in for it, one more wrapping.
        Inside("sqlalchemy.dialects.postgresql.asyncpg.AsyncAdapt_asyncpg_dbapi.Error", ("orig", "__cause__")),
        Always("sqlalchemy.exc.TimeoutError", Verdict.transient(reason="no connection of the pool came free")),
        By(
            "sqlalchemy.exc.InvalidRequestError",
            "the pool found every connection",
            _dead,
            {"dead": Verdict.transient()},
        ),
        Always("sqlalchemy.exc.PendingRollbackError", _FAILED),
        # The flush has rolled its transaction back.
        Always("sqlalchemy.orm.exc.StaleDataError", Verdict.transient(reason="somebody else changed the row first")),
    ),
    source="https://docs.sqlalchemy.org/en/21/errors.html",
)
