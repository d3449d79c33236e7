"""The standard library's exceptions: the operating system's error numbers, DNS, TLS, `http.client`, `urllib`, `sqlite3`.

"Transient" is claimed only where the work provably had no effect: refused, not resolved, not begun for want of a
resource. A connection that broke, or a wait that ran out, is "unsure". Bugs (`TypeError`, `KeyError`, …) are not
in this table: nobody knows them, so nobody tries them again.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

from resilience._core.rows import Always, By, Inside, LastOf, Rule, Table, local, passed
from resilience._core.tables.http import by_status
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

#: The call was refused before it had any effect: nobody there, no local port free, a resource used up or busy.
ERRNO_TRANSIENT = (
    "ECONNREFUSED",
    "EADDRNOTAVAIL",
    "EINTR",
    "EBUSY",
    "ETXTBSY",
    "EDEADLK",
    "ENOLCK",
    "EMFILE",
    "ENFILE",
)
#: The connection broke, went silent or got stuck: what was sent may have been done.
ERRNO_UNSURE = (
    *("ECONNRESET", "ECONNABORTED", "EPIPE", "ESHUTDOWN", "ETIMEDOUT"),
    *("EAGAIN", "ENOBUFS", "ENOMEM"),  # in the middle of an exchange, as well as before it
    *("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "ESTALE"),
)
#: By name, for names read better and a platform may lack some of the numbers.
_ERRNO: Mapping[str, Verdict] = {
    **{name: Verdict.transient() for name in ERRNO_TRANSIENT if hasattr(errno, name)},
    **{name: Verdict.unsure() for name in ERRNO_UNSURE if hasattr(errno, name)},
}
#: `EAGAIN` has two names; on Windows some numbers have a second one that begins with WSA.
_NAME_OF = {**errno.errorcode, **{getattr(errno, name): name for name in _ERRNO}}

#: `sqlite_errorcode`, primary part: the statement was refused whole (sqlite.org/rescode.html).
_SQLITE: Mapping[str, Verdict] = {
    name: Verdict.transient(reason=name)
    for name in ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_NOMEM", "SQLITE_PROTOCOL", "SQLITE_SCHEMA")
}
_SQLITE_NAME_OF = {5: "SQLITE_BUSY", 6: "SQLITE_LOCKED", 7: "SQLITE_NOMEM", 15: "SQLITE_PROTOCOL", 17: "SQLITE_SCHEMA"}

_BROKE_OFF = Verdict.unsure(reason="the answer broke off")


def _errno(error: Any) -> str | None:
    number = error.errno
    return _NAME_OF.get(number, str(number)) if isinstance(number, int) else None


def _numberless(error: Any) -> str | None:
    """Raised without a number, as tests and libraries do: the class still says what it is."""
    return "none" if error.errno is None else None


#: What asyncio, anyio and trio say where none of several addresses could be reached; they set no number then.
_NOT_CONNECTED = ("Multiple exceptions", "All connection attempts failed", "all attempts to connect")


def _connecting(error: Any) -> str | None:
    return "no address reached" if error.errno is None and str(error).startswith(_NOT_CONNECTED) else None


def _dns(error: Any) -> str:
    # EAI_AGAIN and EAI_FAIL by number: -3 and -4 on Linux, 2 and 4 on macOS, 11002 and 11003 on Windows.
    return "EAI_AGAIN or EAI_FAIL" if error.errno in {-3, -4, 2, 4, 11002, 11003} else "other"


def _sqlite(error: Any) -> str | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else _SQLITE_NAME_OF.get(code & 0xFF, str(code))


def _redirected(error: Any) -> bool | None:
    """Whether urllib had an answer already, and was on its way to where that one pointed."""
    if not passed(error, "urllib.request"):
        return None
    return local(error, "urllib.request", "http_error_302", "newurl") is not None


def _words(error: Any) -> str | None:
    return error.reason if isinstance(error.reason, str) else None


_NUMBERED = By("builtins.OSError", "errno", _errno, _ERRNO, otherwise=Verdict.permanent())


def _without_number(error: str, verdict: Verdict) -> Rule:
    return By(error, "errno", _numberless, {"none": verdict})


TABLE = Table(
    "the standard library",
    (
        # The operating system.
        _without_number("builtins.ConnectionRefusedError", Verdict.transient(reason="refused")),
        _without_number("builtins.ConnectionError", Verdict.unsure(reason="connection broke")),
        _without_number("builtins.TimeoutError", Verdict.unsure(reason="timed out")),
        By("builtins.OSError", "connecting:", _connecting, {"no address reached": Verdict.transient()}),
        _NUMBERED,
        By("socket.gaierror", "DNS:", _dns, {"EAI_AGAIN or EAI_FAIL": Verdict.transient(reason="DNS did not answer")},
           otherwise=Verdict.permanent("unknown host")),
        # TLS.
        Always("ssl.SSLCertVerificationError", Verdict.permanent("certificate not trusted")),
        Always("ssl.SSLEOFError", Verdict.unsure(reason="closed in the middle of TLS")),
        Always("ssl.SSLZeroReturnError", Verdict.unsure(reason="closed in the middle of TLS")),
        Always("ssl.SSLSyscallError", Verdict.unsure(reason="broke in the middle of TLS")),
        Always("ssl.SSLError", Verdict.permanent("TLS refused")),
        # HTTP.
        Always("http.client.RemoteDisconnected", Verdict.unsure(reason="closed without an answer")),
        Always("http.client.IncompleteRead", _BROKE_OFF),
        Always("http.client.BadStatusLine", Verdict.unsure(reason="the answer was no HTTP")),
        LastOf((by_status("urllib.error.HTTPError", "code", "headers"),), _redirected),
        Always("urllib.error.ContentTooShortError", _BROKE_OFF),
        LastOf((Inside("urllib.error.URLError", ("reason",)),), _redirected),
        By("urllib.error.URLError", "reason:", _words, {}, otherwise=Verdict.permanent()),
        # The rest.
        Always("asyncio.exceptions.IncompleteReadError", _BROKE_OFF),
        By("sqlite3.Error", "sqlite_errorcode", _sqlite, _SQLITE, otherwise=Verdict.permanent()),
        Always("subprocess.TimeoutExpired", Verdict.unsure(reason="ran out of time")),
        Always("concurrent.futures.process.BrokenProcessPool", Verdict.unsure(reason="the worker died")),
    ),
)  # fmt: skip
