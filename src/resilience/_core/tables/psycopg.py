"""psycopg 3 and psycopg_pool, sync and asyncio: the same classes in both.

An error that the server sent is judged by its SQLSTATE. libpq gives none for a connection that was not made, or broke.
psycopg says which of the two it is (`pgconn`, or its first words); what was wrong is only in the message. That is in
the language of the server (`lc_messages`): where it is not English, somebody who is not let in looks like a server that
could not be reached. He tries in vain, but "nothing was sent" is true of both.

psycopg tries every address that it is given, and no statement twice. Its pool connects in the background, and goes on
trying for minutes: what it cannot connect for is not in its `PoolTimeout`.
"""

from __future__ import annotations

import re
from typing import Any

from resilience._core.rows import Always, By, Table
from resilience._core.tables.sqlstate import by_sqlstate
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

#: What is said while connecting. The first that is found counts: of several hosts, the one that will never let us in.
_CONNECTING = {
    "not let in": (
        r"authentication failed",
        r"no password supplied",
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        r'(?:role|database) ".*" does not exist',
        r"not permitted to log in|not currently accepting connections",
        r"[Pp]ermission denied",
        r"configuration parameter|invalid value for parameter|unsupported startup parameter",
    ),
    "TLS refused": (
        r"certificate verify failed|does not match host name",
        r"root certificate file|could not (?:load|read) .*(?:certificate|key)",
        r"does not support (?:SSL|GSSAPI encryption)",
    ),
    # But for EAI_AGAIN and EAI_FAIL, on Linux, macOS and Windows: DNS did not answer. libpq has only the words.
    "unknown host": (
        r"failed to resolve host .*\[Errno (?!(?:-3|-4|2|4|11002|11003)\])",
        r"could not translate host name .* (?:not known|[Nn]o address associated with hostname)",
    ),
    "too many connections": (
        r"too many clients already",
        r"connection slots are reserved",
        r"too many connections for",
    ),
}
_CONNECTING_WORDS = {what: re.compile("|".join(words)) for what, words in _CONNECTING.items()}
#: How psycopg itself begins.
_NOT_CONNECTED = ("failed to resolve host ", "connection failed: ", "connection is bad: ")
_COULD_NOT = "could not connect"
_BROKE = "the connection broke"

_SAYS = {
    f"{_COULD_NOT}, not let in": Verdict.permanent("not let in"),
    f"{_COULD_NOT}, TLS refused": Verdict.permanent("TLS refused, or the certificate not trusted"),
    f"{_COULD_NOT}, unknown host": Verdict.permanent("unknown host"),
    f"{_COULD_NOT}, too many connections": Verdict.transient(throttled=True, reason="too many connections"),
    _COULD_NOT: Verdict.transient(reason=_COULD_NOT),
    _BROKE: Verdict.unsure(reason=_BROKE),
}


def _says(error: Any) -> str | None:
    if getattr(error, "sqlstate", None) is not None:
        return None
    text = str(error)
    if getattr(error, "pgconn", None) is None and not text.startswith(_NOT_CONNECTED):
        return _BROKE
    what = next((what for what, words in _CONNECTING_WORDS.items() if words.search(text)), None)
    return _COULD_NOT if what is None else f"{_COULD_NOT}, {what}"


TABLE = Table(
    "psycopg",
    (
        by_sqlstate("psycopg.Error", message="diag.message_primary"),
        By("psycopg.OperationalError", "no SQLSTATE:", _says, _SAYS),
        Always("psycopg.errors.ConnectionTimeout", Verdict.transient(reason="connecting took too long")),
        Always("psycopg.errors.CancellationTimeout", Verdict.unsure(reason="cancelling took too long")),
        Always("psycopg.errors.PipelineAborted", Verdict.permanent("a statement before it in the pipeline failed")),
        Always("psycopg_pool.PoolTimeout", Verdict.transient(reason="no connection of the pool came free")),
        Always("psycopg_pool.TooManyRequests", Verdict.transient(reason="too many wait for a connection of the pool")),
        Always("psycopg_pool.PoolClosed", Verdict.permanent("the pool is closed")),
    ),
    source="https://www.psycopg.org/psycopg3/docs/api/errors.html",
)
