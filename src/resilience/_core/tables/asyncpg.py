"""asyncpg.

An error that the server sent is judged by its SQLSTATE. What the operating system says while connecting comes as it is
(`OSError`), and so does every timeout of the client (`TimeoutError`): the table of the standard library knows them.

When the server ends a session it says why and hangs up: asyncpg raises `ConnectionDoesNotExistError`, and what the
server said is its cause. Whoever uses the connection after that gets an `InterfaceError`, before anything is sent; the
end of ``async with connection.transaction()`` raises one too, in place of the first error.

asyncpg tries every address that it is given, with ``sslmode=prefer`` each of them twice. Outside of a transaction it
sends a statement whose plan is out of date a second time; the first one had been refused.
"""

from __future__ import annotations

from typing import Any

from resilience._core.rows import Always, By, Inside, Table
from resilience._core.tables.sqlstate import by_sqlstate
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

_BASE = "asyncpg.exceptions._base"
_BROKE = Verdict.unsure(reason="the connection broke")

#: How the checks before sending end: `_check_open`, `_check_state`, `_check_conn_validity`, that of the pool's proxy.
_GONE = ("connection is closed", "has been released back to the pool")
#: The server has said why it ends the session, and has not hung up yet: `_set_state`, before sending.
_ENDING = "another operation (2) is in progress"


def _gone(error: Any) -> str | None:
    """The connection was gone before. Where another error was on its way, this one hides what that one meant.

    Not so where a transaction's block ends: it was not committed, whatever happened in it.
    """
    text = str(error.args[0]) if error.args else ""
    if not text.endswith(_GONE):
        return None
    hides = error.__context__ is not None and not text.startswith("cannot call Transaction.__aexit__()")
    return "was gone, after another error" if hides else "was gone"


def _ending(error: Any) -> str | None:
    return "was ending" if str(error).endswith(_ENDING) else None


TABLE = Table(
    "asyncpg",
    (
        by_sqlstate(f"{_BASE}.PostgresError"),
        Inside("asyncpg.exceptions.ConnectionDoesNotExistError", ("__cause__",), otherwise=_BROKE),
        Always("asyncpg.exceptions.InvalidCachedStatementError", Verdict.transient(reason="its plan was out of date")),
        # The statement was carried out; it is the answer that could not be read.
        Always(f"{_BASE}.OutdatedSchemaCacheError", Verdict.unsure(reason="the types of its answer were out of date")),
        Always(f"{_BASE}.TargetServerAttributeNotMatched", Verdict.transient(reason="no server is of that kind now")),
        By(f"{_BASE}.InterfaceError", "the connection", _gone, {
            "was gone": Verdict.transient(),
            "was gone, after another error": Verdict.unsure(),
        }),
        By(f"{_BASE}.InternalClientError", "the connection", _ending, {"was ending": Verdict.transient()}),
    ),
    source="https://magicstack.github.io/asyncpg/current/api/index.html#exceptions",
)  # fmt: skip
