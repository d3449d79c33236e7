"""What the clauses about leases begin with: a lease that is held, one that has expired, and a write that is refused."""

from __future__ import annotations

from resilience._core.records import ANY, VACANT, Expected, Guard, Versioned
from resilience.errors import GuardRefusedError
from resilience.testing.contracts.bench import Bench, Handle


__all__ = ["expired", "held", "refuses"]


def held(bench: Bench, key: str = "lease", *, ttl: float | None = None) -> Versioned[bytes]:
    """A lease that is held, for long."""
    return bench.store.put(key, b"holder", VACANT, ttl=ttl or bench.long, write_id="holder")


def expired(bench: Bench, key: str = "lease") -> Versioned[bytes]:
    """A lease that has expired, as it is shown now."""
    held(bench, key, ttl=bench.short)
    bench.expire()
    return bench.shows(bench.store, key, "a lease whose time is over", expired=True)


def refuses(
    bench: Bench,
    guard: Guard,
    because: str,
    *,
    store: Handle | None = None,
    key: str = "document",
    expected: Expected = ANY,
) -> None:
    """A write and a removal under this guard must be refused, say what the lease is like, and change nothing."""
    store = store or bench.store
    before, lease = store.load(key), store.load(guard.key)
    for call in (lambda: store.put(key, b"refused", expected, guard=guard), lambda: store.remove(key, expected, guard)):
        error = bench.refused(GuardRefusedError, because, call)
        bench.expect((error.key, error.guard), (key, guard), f"{because}: what the refusal is about")
        bench.expect(
            error.current and error.current.revision, lease and lease.revision, f"{because}: the lease it shows"
        )
        bench.expect(error.current and error.current.expired, lease and lease.expired, f"{because}: the lease it shows")
        after = store.load(key)
        bench.expect(
            after and (after.revision, after.value),
            before and (before.revision, before.value),
            f"{because}: a refusal changes nothing",
        )
