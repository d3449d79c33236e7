"""requests: most of its errors are urllib3's in other clothes, and are judged by those.

requests does not try again by itself, but follows redirects, unless it is told ``allow_redirects=False``. After one, the
request that failed is not the one that was asked for: that one was answered, and may have been done.
"""

from __future__ import annotations

from typing import Any

from resilience._core.rows import Always, Inside, LastOf, Rule, Table, local, passed, read
from resilience._core.tables.http import by_status
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]


def _redirected(error: Any) -> bool | None:
    """Whether it was on the way to somewhere else; an error without a response tells by its traceback only."""
    history = read(error, "response.history")
    if history is None and not passed(error, "requests.sessions", "requests.adapters"):
        return None
    return bool(history or local(error, "requests.sessions", "resolve_redirects", "hist"))


_RULES: tuple[Rule, ...] = (
    Inside("requests.exceptions.ConnectTimeout", ("args.0",),
           otherwise=Verdict.transient(reason="connecting took too long")),
    Inside("requests.exceptions.SSLError", ("args.0",), otherwise=Verdict.permanent("TLS refused")),
    Inside("requests.exceptions.ConnectionError", ("args.0",), otherwise=Verdict.unsure(reason="the connection broke")),
    Inside("requests.exceptions.RetryError", ("args.0",)),
    Always("requests.exceptions.Timeout", Verdict.unsure(reason="no answer in time")),
    Always("requests.exceptions.ChunkedEncodingError", Verdict.unsure(reason="the answer broke off")),
    Always("requests.exceptions.ContentDecodingError", Verdict.permanent("the answer cannot be decoded")),
    Always("requests.exceptions.TooManyRedirects", Verdict.permanent("too many redirects")),
    by_status("requests.exceptions.HTTPError"),
)  # fmt: skip

TABLE = Table(
    "requests",
    tuple(LastOf((rule,), _redirected) for rule in _RULES),
    source="https://requests.readthedocs.io/en/latest/api/#exceptions",
)
