"""urllib3, on which requests, docker and botocore stand.

What is raised while connecting, or while waiting for a connection of the pool, precedes the request; once the request is
on its way, nothing is sure. A `ProxyError` is no proof of the first: it also comes when the proxy took the request and
then hung up. So it is judged by what is inside it.

urllib3 tries again by itself, three times, and follows redirects, unless it is told ``retries=False``. What its last
request came to says nothing of those before it: a POST may have been done, and answered with a redirect to a server that
refuses connections. The error does not tell of them, but the traceback still has the `Retry` with their history.
"""

from __future__ import annotations

import errno
from typing import Any

from resilience._core.rows import Always, By, Inside, LastOf, Rule, Table, local, read
from resilience._core.tables.http import by_status
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]


def _others(error: Any) -> bool | None:
    """Whether a request before the last one came further than to be refused a connection."""
    retries = local(error, "urllib3.connectionpool", "urlopen", "retries")
    if retries is None:
        return None
    return not all(_unsent(earlier.error) for earlier in getattr(retries, "history", ()))


def _unsent(error: object) -> bool:
    """urllib3's own distinction (`Retry._is_connection_error`), without a proxy; None stands for an answer."""
    return any(base.__name__ == "ConnectTimeoutError" for base in type(error).__mro__)


def _socket_file(error: Any) -> str | None:
    """A Unix socket that nobody has made yet: `connect` names no file in its error, and `open` does."""
    inner = read(error, "args.1")
    missing = isinstance(inner, FileNotFoundError) and inner.errno == errno.ENOENT and inner.filename is None
    return "not there" if missing else None


def _tunnel(error: Any) -> str | None:
    """What the proxy answered to CONNECT."""
    said, _, status = str(read(error, "original_error")).partition(": ")
    return status[:3] if said == "Tunnel connection failed" else None


def _status(error: Any) -> str | None:
    """The only place where it is: "too many 503 error responses"."""
    return next((word for word in str(error).split() if word.isdigit()), None)


#: What a proxy answers to CONNECT when it cannot reach the server now; nothing was sent to that one.
_PROXY = {status: Verdict.transient() for status in ("429", "502", "503", "504")}

_RULES: tuple[Rule, ...] = (
    # Before the request.
    Inside("urllib3.exceptions.NewConnectionError", unsent=True, otherwise=Verdict.transient(reason="could not connect")),
    Always("urllib3.exceptions.ConnectTimeoutError", Verdict.transient(reason="connecting took too long")),
    Always("urllib3.exceptions.EmptyPoolError", Verdict.transient(reason="no connection of the pool came free")),
    # Of too many pools, urllib3 1 and docker close the one not used for longest, and do not ask who just got it.
    Always("urllib3.exceptions.ClosedPoolError", Verdict.transient(reason="the pool was closed")),
    By("urllib3.exceptions.ProtocolError", "Unix socket", _socket_file, {"not there": Verdict.transient()}),
    By("urllib3.exceptions.ProxyError", "tunnel", _tunnel, _PROXY, otherwise=Verdict.permanent()),
    # Before it or after.
    Inside("urllib3.exceptions.ProxyError", ("original_error",), otherwise=Verdict.unsure(reason="the proxy failed")),
    Inside("urllib3.exceptions.SSLError", ("args.0",), otherwise=Verdict.permanent("TLS refused")),
    # After it.
    Always("urllib3.exceptions.ReadTimeoutError", Verdict.unsure(reason="no answer in time")),
    Inside("urllib3.exceptions.ProtocolError", ("args.1",), otherwise=Verdict.unsure(reason="the connection broke")),
    Always("urllib3.exceptions.DecodeError", Verdict.permanent("the answer cannot be decoded")),
    # The last of some.
    Inside("urllib3.exceptions.MaxRetryError", ("reason",)),
    by_status("urllib3.exceptions.ResponseError", _status),
)  # fmt: skip

TABLE = Table(
    "urllib3",
    tuple(LastOf((rule,), _others) for rule in _RULES),
    source="https://urllib3.readthedocs.io/en/stable/reference/urllib3.exceptions.html",
)
