"""The standard library's exceptions: the operating system's error numbers, DNS, TLS, `http.client`, `urllib`, `sqlite3`.

"Transient" is claimed only where the work provably had no effect: refused, not resolved, not begun for want of a
resource. A connection that broke, or a wait that ran out, is "unsure". Bugs (`TypeError`, `KeyError`, …) are not
in this table: nobody knows them, so nobody tries them again.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any

from resilience._core.tables.http import status_verdict
from resilience._core.verdict import Verdict


__all__ = ["ERRNO_TRANSIENT", "ERRNO_UNSURE", "verdict"]


def _numbers(*names: str) -> frozenset[int]:
    """The error numbers of these names; a platform lacks some of them."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


#: The call was refused before it had any effect: nobody there, no local port free, a resource used up or busy.
ERRNO_TRANSIENT = _numbers(
    *("ECONNREFUSED", "EADDRNOTAVAIL", "EINTR", "EBUSY", "ETXTBSY", "EDEADLK", "ENOLCK", "EMFILE", "ENFILE"),
)
#: The connection broke, went silent or got stuck: what was sent may have been done.
ERRNO_UNSURE = _numbers(
    *("ECONNRESET", "ECONNABORTED", "EPIPE", "ESHUTDOWN", "ETIMEDOUT"),
    *("EAGAIN", "EWOULDBLOCK", "ENOBUFS", "ENOMEM"),  # in the middle of an exchange, as well as before it
    *("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "ESTALE"),
)
#: `sqlite_errorcode`, primary part: the statement was refused whole (sqlite.org/rescode.html).
SQLITE_TRANSIENT = {5: "SQLITE_BUSY", 6: "SQLITE_LOCKED", 7: "SQLITE_NOMEM", 15: "SQLITE_PROTOCOL", 17: "SQLITE_SCHEMA"}

#: By class name within its module; the class may be a base of the error's own.
BY_CLASS: Mapping[str, Verdict] = {
    "http.client.RemoteDisconnected": Verdict.unsure(reason="closed without an answer"),
    "http.client.IncompleteRead": Verdict.unsure(reason="the answer broke off"),
    "http.client.BadStatusLine": Verdict.unsure(reason="the answer was no HTTP"),
    "urllib.error.ContentTooShortError": Verdict.unsure(reason="the answer broke off"),
    "asyncio.exceptions.IncompleteReadError": Verdict.unsure(reason="the answer broke off"),
    "ssl.SSLCertVerificationError": Verdict.permanent("certificate not trusted"),
    "ssl.SSLEOFError": Verdict.unsure(reason="closed in the middle of TLS"),
    "ssl.SSLZeroReturnError": Verdict.unsure(reason="closed in the middle of TLS"),
    "ssl.SSLSyscallError": Verdict.unsure(reason="broke in the middle of TLS"),
    "ssl.SSLError": Verdict.permanent("TLS refused"),
    "subprocess.TimeoutExpired": Verdict.unsure(reason="ran out of time"),
    "concurrent.futures.process.BrokenProcessPool": Verdict.unsure(reason="the worker died"),
}


def verdict(error: Exception, wall: Callable[[], float]) -> Verdict | None:
    """The verdict on an exception of the standard library, or None."""
    for base in type(error).__mro__:
        found = BY_CLASS.get(f"{base.__module__}.{base.__qualname__}")
        if found is not None:
            return found
        rule = _BY_FACTS.get(f"{base.__module__}.{base.__qualname__}")
        if rule is not None:
            return rule(error, wall)
    return None


def _of_http_error(error: Any, wall: Callable[[], float]) -> Verdict:
    return status_verdict(error.code, error.headers, wall)


def _of_url_error(error: Any, wall: Callable[[], float]) -> Verdict | None:
    reason = error.reason
    return verdict(reason, wall) if isinstance(reason, Exception) else Verdict.permanent(f"urllib: {reason}")


def _of_dns(error: Any, _: Callable[[], float]) -> Verdict:
    # EAI_AGAIN and EAI_FAIL by number: -3 and -4 on Linux, 2 and 4 on macOS, 11002 and 11003 on Windows.
    if error.errno in {-3, -4, 2, 4, 11002, 11003}:
        return Verdict.transient(reason="DNS did not answer")
    return Verdict.permanent("unknown host")


def _of_sqlite(error: Any, _: Callable[[], float]) -> Verdict | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    name = SQLITE_TRANSIENT.get(code & 0xFF)
    return Verdict.permanent(f"sqlite {code}") if name is None else Verdict.transient(reason=name)


def _of_os_error(error: Any, _: Callable[[], float]) -> Verdict | None:
    number = error.errno
    if number is not None and not isinstance(number, int):
        return None  # somebody's own arguments, in the place where a number stands
    if number in ERRNO_TRANSIENT:
        return Verdict.transient(reason=errno.errorcode[number])
    if number in ERRNO_UNSURE:
        return Verdict.unsure(reason=errno.errorcode[number])
    # Raised without a number, as tests and libraries do: the class still says what it is.
    if number is None:
        if isinstance(error, ConnectionRefusedError):
            return Verdict.transient(reason="refused")
        if isinstance(error, (ConnectionError, TimeoutError)):
            return Verdict.unsure(reason="timed out" if isinstance(error, TimeoutError) else "connection broke")
        return None
    return Verdict.permanent(errno.errorcode.get(number, f"errno {number}"))


_BY_FACTS: Mapping[str, Callable[[Any, Callable[[], float]], Verdict | None]] = {
    "urllib.error.HTTPError": _of_http_error,
    "urllib.error.URLError": _of_url_error,
    "socket.gaierror": _of_dns,
    "sqlite3.Error": _of_sqlite,
    "builtins.OSError": _of_os_error,
}
