"""redis (redis-py), sync and asyncio: the same classes in both.

Redis answers a command that it does not carry out with an error whose first word is a code: such a refusal is transient
where it will pass. redis-py gives some codes a class, the others are a plain `ResponseError`.

The client tries again by itself: ten times, unless it was made with ``retry=Retry(NoBackoff(), 0)``. So neither a
refused connection nor a refused command proves that nothing was done: a try before it may have been sent. The error
does not say so, but its traceback does. Taken for transient is only what came out of the pool (`get_connection`), which
is before any try, and what was refused in the first try. A cluster client's tries are not seen: it is always in doubt,
and so is a pipeline without a transaction, whose other commands were carried out.
"""

from __future__ import annotations

from typing import Any

from resilience._core.rows import Always, By, Inside, Rule, Table, passed
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

#: Where the client's own frames are, sync and asyncio.
_POOL = {"redis.connection", "redis.asyncio.connection"}
_RETRY = {"redis.retry", "redis.asyncio.retry"}
_CLUSTER = {"redis.cluster", "redis.asyncio.cluster"}
#: Of a pipeline whose other commands were carried out all the same.
_PIPELINE = {"_execute_pipeline", "raise_first_error"}
#: What `Retry` counts before it passes it on, unless told otherwise.
_COUNTED = ("ConnectionError", "TimeoutError")

#: Refused before anything was done (the server's `processCommand`), by the first word of the answer.
_REFUSALS = {
    "BUSY": Verdict.transient(throttled=True, reason="a script keeps the server busy"),
    "MISCONF": Verdict.transient(reason="it cannot write to its disk"),
    "NOREPLICAS": Verdict.transient(reason="not enough replicas"),
    "UNBLOCKED": Verdict.transient(reason="it stopped waiting before there was anything"),
}
#: The same, where the client makes a `ConnectionError` of it.
_CONNECTION_REFUSALS = {
    "max number of clients reached": Verdict.transient(throttled=True, reason="too many clients"),
    "The previous master is now a slave": Verdict.transient(reason="failing over"),
}
_BEFORE = "before sending"
_AFTER = "after that"


def _when(error: Any) -> str:
    """Whether it came before the command was sent, in the first try of it, or nobody knows how late."""
    names = {base.__name__ for base in type(error).__mro__ if base.__module__ == "redis.exceptions"}
    first = int(not names.isdisjoint(_COUNTED))
    if not passed(error, "redis."):
        return "in doubt"
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        module, name = frame.f_globals.get("__name__"), frame.f_code.co_name
        if module in _CLUSTER or name in _PIPELINE:
            return "in doubt"
        if module in _POOL and name == "get_connection":
            return _BEFORE
        if module in _RETRY and name == "call_with_retry" and frame.f_locals.get("failures", 2) > first:
            return "in doubt"
        trace = trace.tb_next
    return "first"


def _sent(error: Any) -> str:
    return _BEFORE if _when(error) == _BEFORE else _AFTER


def _sent_unless_wrapped(error: Any) -> str | None:
    """As `_sent`; None for an error of connecting itself: what the operating system said is inside it.

    Unless that was no file: a unix socket is not there while its server is not.
    """
    text = _text(error)
    wraps = " connecting to " in text if isinstance(text, str) else isinstance(text, Exception)
    socket = isinstance(text, str) and text.startswith("Error 2 connecting to /")
    sent = _sent(error)
    return None if wraps and not socket and sent == _BEFORE else sent


def _whole(error: Any) -> str:
    return "in part" if _when(error) == "in doubt" else "whole"


def _text(error: Any) -> object:
    return error.args[0] if error.args else None


def _refusal(error: Any) -> str | None:
    """What a `ConnectionError` says that was an answer of the server."""
    text = _text(error)
    if not isinstance(text, str) or text not in _CONNECTION_REFUSALS:
        return None
    return text if _whole(error) == "whole" else f"{text}, in part"


def _code(error: Any) -> str | None:
    """The first word of what the server answered; a pipeline puts its own words before it."""
    code = getattr(error, "status_code", None)
    if not isinstance(code, str):
        text = _text(error)
        if not isinstance(text, str):
            return None
        code = text.rpartition(" of pipeline caused error: ")[2].lstrip("('\"").partition(" ")[0]
    return f"{code}, in part" if code in _REFUSALS and _whole(error) == "in part" else code


def _cluster(error: Any) -> str:
    """A cluster client asks the other node by itself, and raises this when it has done so too often."""
    return "a cluster client" if _when(error) == "in doubt" else "a client of one server"


def _because(error: Any) -> str | None:
    """Why EXEC did nothing at all: the server gives the code of the refusal; a bad command it gives none."""
    text = _text(error)
    if not isinstance(text, str):
        return None
    code = text.removeprefix("Transaction discarded because of: ").partition(" ")[0]
    return f"{code}, in part" if _whole(error) == "in part" else code


def _watching(error: Any) -> str:
    text = _text(error)
    return "changed" if isinstance(text, str) and text.startswith("Watched variable changed") else "other"


def _in_doubt(verdict: Verdict) -> Verdict:
    return Verdict.unsure(throttled=verdict.throttled, reason=f"{verdict.reason}; but what was sent before may be done")


def _refused(error: str, verdict: Verdict) -> Rule:
    return By(error, "refused", _whole, {"whole": verdict, "in part": _in_doubt(verdict)})


_LOADING = Verdict.transient(reason="it is starting")
_READ_ONLY = Verdict.transient(reason="a replica: failing over, perhaps")
_NO_MEMORY = Verdict.transient(throttled=True, reason="its memory is full")
_NO_LINK = Verdict.transient(reason="the replica has lost its master")
_NO_MASTER = Verdict.transient(reason="no sentinel knows a master")
_NO_REPLICA = Verdict.transient(reason="no sentinel knows a replica")
#: What the server may find only when it is to EXEC what it has queued.
_ABORTED = {
    "LOADING": _LOADING,
    "MASTERDOWN": _NO_LINK,
    "OOM": _NO_MEMORY,
    "READONLY": _READ_ONLY,
    **{code: _REFUSALS[code] for code in ("BUSY", "MISCONF", "NOREPLICAS")},
}

TABLE = Table(
    "redis",
    (
        # The connection.
        By("redis.exceptions.ConnectionError", "refused:", _refusal, {
            **_CONNECTION_REFUSALS,
            **{f"{said}, in part": _in_doubt(verdict) for said, verdict in _CONNECTION_REFUSALS.items()},
        }),
        By("redis.exceptions.ConnectionError", "raised", _sent_unless_wrapped, {
            _BEFORE: Verdict.transient(reason="no connection of the pool, or none that is ready"),
            _AFTER: Verdict.unsure(reason="the connection broke"),
        }),
        Inside("redis.exceptions.ConnectionError", unsent=True),
        By("redis.exceptions.TimeoutError", "raised", _sent, {
            _BEFORE: Verdict.transient(reason="connecting took too long"),
            _AFTER: Verdict.unsure(reason="no answer in time"),
        }),
        _refused("redis.exceptions.MaxConnectionsError", Verdict.transient(reason="no connection of the pool is free")),
        _refused("redis.exceptions.BusyLoadingError", _LOADING),
        _refused("redis.exceptions.ExternalAuthProviderError", Verdict.transient(reason="its LDAP does not answer")),
        Always("redis.exceptions.AuthenticationError", Verdict.permanent("not authenticated")),
        Always("redis.exceptions.AuthorizationError", Verdict.permanent("not allowed")),
        Always("redis.exceptions.InvalidResponse", Verdict.unsure(reason="the answer was no Redis")),
        # Sentinel.
        _refused("redis.sentinel.MasterNotFoundError", _NO_MASTER),
        _refused("redis.asyncio.sentinel.MasterNotFoundError", _NO_MASTER),
        Always("redis.sentinel.SlaveNotFoundError", _NO_REPLICA),  # a replica is only read from
        Always("redis.asyncio.sentinel.SlaveNotFoundError", _NO_REPLICA),
        # What the server answers.
        _refused("redis.exceptions.ReadOnlyError", _READ_ONLY),
        _refused("redis.exceptions.OutOfMemoryError", _NO_MEMORY),
        _refused("redis.exceptions.TryAgainError", Verdict.transient(reason="its slot is being moved")),
        _refused("redis.exceptions.ClusterDownError", Verdict.transient(reason="the cluster is down")),
        _refused("redis.exceptions.MasterDownError", _NO_LINK),
        By("redis.exceptions.AskError", "asked by", _cluster, {
            "a cluster client": Verdict.unsure(reason="the slots are being moved"),
            "a client of one server": Verdict.permanent("another node has it"),
        }),
        By("redis.exceptions.ExecAbortError", "because of", _because, {
            **_ABORTED,
            **{f"{code}, in part": _in_doubt(verdict) for code, verdict in _ABORTED.items()},
        }, otherwise=Verdict.permanent("a command of the transaction is wrong")),
        By("redis.exceptions.ResponseError", "answer", _code, {
            **_REFUSALS,
            **{f"{code}, in part": _in_doubt(verdict) for code, verdict in _REFUSALS.items()},
            "IOERR": Verdict.unsure(reason="the other server of a MIGRATE did not answer"),
        }, otherwise=Verdict.permanent()),
        # The client.
        By("redis.exceptions.WatchError", "watched:", _watching, {
            "changed": Verdict.transient(reason="what was watched has changed"),
            "other": Verdict.unsure(reason="the connection broke in the transaction"),
        }),
        By("redis.exceptions.LockError", "lock:", _text, {
            "Unable to acquire lock within the time specified": Verdict.transient(reason="somebody else has the lock"),
        }, otherwise=Verdict.permanent()),
        # The cluster client.
        Always("redis.exceptions.ClusterError", Verdict.unsure(reason="the slots are being moved")),
        Always("redis.exceptions.SlotNotCoveredError", Verdict.unsure(reason="no node has the slot")),
        Inside("redis.exceptions.RedisClusterException", ("__cause__",)),
        By("redis.exceptions.RedisClusterException", "said:", _text, {
            "All slots are not covered*": Verdict.unsure(reason="no node has some of the slots"),
        }),
        # Several databases (`redis.multidb`).
        Always("redis.multidb.exception.InitialHealthCheckFailedError", Verdict.transient(reason="too few databases are up")),
        Always("redis.multidb.exception.TemporaryUnavailableException", Verdict.unsure(reason="no database is up")),
        Always("redis.multidb.exception.NoValidDatabaseException", Verdict.unsure(reason="no database is up")),
    ),
    source="https://redis.readthedocs.io/en/stable/exceptions.html",
)  # fmt: skip
