"""anyio: its streams, worker processes, tasks and futures; the same under asyncio and trio.

A stream does not know what its bytes meant, so one that ends or breaks is unsure. `ConnectionFailed` is raised by
`as_connectable` alone; `connect_tcp` raises an `OSError` of the standard library. A resource that was closed or is
busy here (`ClosedResourceError`, `BusyResourceError`) is a mistake of this program: nobody knows it, so nobody tries
it again. What comes out of a task group is an exception group, judged by its leaves. Nothing here is tried again by
anyio itself.

anyio imports lazily: until somebody has asked it for a class by its public name, the class says that it is of the
module where it was written. So each is known by both names.
"""

from __future__ import annotations

from resilience._core.rows import Always, Inside, Rule, Table
from resilience._core.verdict import Verdict


__all__ = ["MODULES", "TABLE"]

MODULES = ("anyio", "anyio._core._exceptions")


def _known(module: str) -> tuple[Rule, ...]:
    return (
        # Where there were several addresses, or one, the connection's own error is a level further in.
        Inside(f"{module}.ConnectionFailed", ("__cause__.__cause__", "__cause__"), unsent=True,
               otherwise=Verdict.transient(reason="could not connect")),
        Always(f"{module}.BrokenResourceError", Verdict.unsure(reason="the connection broke")),
        Always(f"{module}.EndOfStream", Verdict.unsure(reason="closed by the other end")),
        Always(f"{module}.IncompleteRead", Verdict.unsure(reason="the answer broke off")),
        Always(f"{module}.WouldBlock", Verdict.transient(reason="busy")),
        Always(f"{module}.BrokenWorkerProcess", Verdict.unsure(reason="the worker died")),
        Inside(f"{module}.TaskFailed", ("__cause__",)),
        Inside(f"{module}.FutureFailed", ("__cause__",)),
    )  # fmt: skip


TABLE = Table(
    "anyio",
    tuple(rule for module in MODULES for rule in _known(module)),
    source="https://anyio.readthedocs.io/en/stable/api.html#exceptions",
)
