"""Clauses about a store's life: waiting, closing, and what it says of itself."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

from resilience._core.description import Description, Fault
from resilience._core.records import ABSENT, Beat
from resilience._core.steps import Pause, Remove, Steps, Swap, Wait
from resilience._io.ambient import scoped
from resilience.errors import DeadlineExceededError, StoreError
from resilience.testing.contracts.bench import Bench, Handle, clause


__all__: list[str] = []

_BAD = (ValueError, TypeError)
#: Seconds: sooner than any timeout here, later than any machine that works is slow.
_SOON = 4.0
_FLAGS = ("linearizable", "durable", "survives_crash", "survives_reboot", "shared", "guards", "batch_extend", "wakes")


def _waited(bench: Bench, key: str, after: int, timeout: float) -> float:
    """How long a wait took."""
    start = bench.watch.monotonic()
    bench.store.wait(key, after, timeout)
    return bench.watch.monotonic() - start


@clause()
def wait_returns_at_once_for_what_is_newer(bench: Bench) -> None:
    """`wait` returns at once where the record is not at the revision that the caller knows."""
    old = bench.store.put("key")
    new = bench.store.put("key")
    for key, after in (("key", old.revision), ("key", ABSENT), ("nothing", new.revision)):
        passed = _waited(bench, key, after, 30.0)
        bench.require(
            passed < _SOON, f"wait for what is newer than {after} must return at once, not after {passed:g} s"
        )


@clause()
def wait_ends_at_the_timeout(bench: Bench) -> None:
    """`wait` for what does not change returns None when its timeout has passed; at once for a timeout of 0."""
    there = bench.store.put("key")
    bench.expect(bench.store.wait("key", there.revision, 0), None, "wait with a timeout of 0")
    timeout = 0.1
    for key, after in (("key", there.revision), ("nothing", ABSENT)):
        passed = _waited(bench, key, after, timeout)
        bench.require(passed >= timeout * 0.9, f"wait must last for its timeout of {timeout:g} s, not {passed:g} s")
        bench.require(passed < timeout + 5.0, f"wait must end at its timeout of {timeout:g} s, not after {passed:g} s")


@clause()
def a_bad_wait_is_refused(bench: Bench) -> None:
    """A timeout below 0 or NaN, and a key that cannot be, are refused."""
    bad: tuple[tuple[Any, Any], ...] = (("key", -1), ("key", float("nan")), ("key", "1"), ("", 0), (None, 0))
    for key, timeout in bad:
        bench.refused(_BAD, f"wait({key!r}, {timeout!r})", bench.store.wait, key, 0, timeout)


@clause(real_time=True)
def wait_is_woken_by_a_change(bench: Bench) -> None:
    """Where `describe` says that it wakes, `wait` returns soon after another instance writes or removes; else at its timeout."""
    wakes = bench.store.describe().wakes
    other = bench.another_or_the_same()
    timeout = _SOON * 1.25 if wakes else 0.2
    there, gone = bench.store.put("there").revision, bench.store.put("gone").revision

    def waiting(key: str, after: int) -> Steps[float]:
        start = bench.clock.monotonic()
        yield Wait(key, after, timeout)
        return bench.clock.monotonic() - start

    def change(step: Swap | Remove) -> Steps[None]:
        yield Pause(0.1)
        yield step

    for key, after, step in (
        ("new", ABSENT, Swap("new", b"", ABSENT)),
        ("there", there, Swap("there", b"", there)),
        ("gone", gone, Remove("gone", gone)),
    ):
        passed, failed = bench.race((bench.store, waiting(key, after)), (other, change(step)))
        bench.expect(failed, None, f"what came of {step}")
        bench.require(isinstance(passed, float), f"wait must return, and not raise {passed!r}")
        bench.require(passed < _SOON, f"wait must end soon after {step}, not after {passed:g} s")


@clause()
def a_verb_is_not_begun_past_the_deadline(bench: Bench) -> None:
    """Where the deadline around has passed, every verb raises `DeadlineExceededError`, and nothing is written."""
    store: Handle = bench.store
    there, lease = store.put("key"), store.put("lease", ttl=bench.long)
    for call in (
        lambda: store.load("key"),
        lambda: store.load_many(["key"]),
        lambda: store.put("key"),
        lambda: store.put("new"),
        lambda: store.extend(Beat("lease", lease.revision, bench.long)),
        lambda: store.remove("key"),
        store.scan,
        lambda: store.wait("key", there.revision, 0.05),
        store.ping,
    ):
        with scoped(bench.watch.monotonic()):
            bench.refused(DeadlineExceededError, "a verb past the deadline", call)
    bench.expect(store.load("new"), None, "a record that was written past the deadline")
    bench.shows(store, "key", "past the deadline", revision=there.revision)
    bench.shows(store, "lease", "past the deadline", revision=lease.revision, beats=0)


@clause()
def ping_answers(bench: Bench) -> None:
    """`ping` of a store that is there returns None, and leaves no record behind."""
    bench.expect(bench.store.ping(), None, "ping")
    bench.expect(bench.store.scan(), [], "scan after ping")


@clause()
def closing_twice_is_once(bench: Bench) -> None:
    """A store may be closed more than once."""
    bench.store.put("key")
    for _ in range(3):
        bench.expect(bench.store.close(), None, "close")


@clause()
def a_closed_store_is_refused(bench: Bench) -> None:
    """Every verb of a store that was closed raises `StoreError`."""
    store: Handle = bench.store
    there = store.put("key")
    store.close()
    for call in (
        lambda: store.load("key"),
        lambda: store.load_many(["key"]),
        lambda: store.put("key"),
        store.extend,
        lambda: store.remove("key"),
        store.scan,
        lambda: store.wait("key", there.revision, 0.05),
        store.ping,
    ):
        bench.refused(StoreError, "use of a closed store", call)


@clause()
def a_with_block_closes(bench: Bench) -> None:
    """A store is a context manager: entering gives the store itself, leaving closes it, and errors pass."""
    entered = bench.store.__enter__()
    bench.require(entered is bench.store.inner, "entering a store must give the store itself")
    bench.store.put("key")
    bench.require(not bench.store.__exit__(None, None, None), "leaving a store must let errors pass")
    bench.refused(StoreError, "use of a store after its with block", bench.store.load, "key")


@clause("another")
def closing_one_leaves_the_other(bench: Bench) -> None:
    """Closing one instance leaves another instance over the same data as it was."""
    other = bench.another()
    written = bench.store.put("key")
    bench.store.close()
    bench.expect(other.load("key"), written, "a record after the instance that wrote it was closed")
    bench.require(
        other.put("key").revision > written.revision, "the other instance must still write, above the old revision"
    )


@clause()
def a_store_describes_itself(bench: Bench) -> None:
    """`describe` is a `Description` of the right types, agrees with itself, and is the same when asked again."""
    said = bench.store.describe()
    bench.require(isinstance(said, Description), f"describe() must be a Description, not {said!r}")
    for name in ("store", "incarnation"):
        bench.require(isinstance(getattr(said, name), str) and getattr(said, name) != "", f"{name} must be text")
    clocks = get_args(get_type_hints(Description)["clock"])
    bench.require(said.clock in clocks, f"clock must be one of {clocks}, not {said.clock!r}")
    for flag in _FLAGS:
        bench.require(isinstance(getattr(said, flag), bool), f"{flag} must be True or False")
    bench.require(said.survives_crash or not said.survives_reboot, "what survives a reboot survives a crash")
    faults = {fault for some in said.revisions_survive for fault in some}
    bench.require(faults <= set(Fault), f"revisions_survive must be made of Fault, not {faults}")
    for some in said.revisions_survive:
        for fault in some:
            bench.require(
                frozenset({fault}) in said.revisions_survive, f"what survives {set(some)} survives {fault} alone"
            )
    bench.store.put("key")
    bench.expect(bench.store.describe(), said, "describe() after a write")


@clause("another")
def instances_are_of_one_incarnation(bench: Bench) -> None:
    """Every instance over the same data has the same incarnation: tokens of one are good with the other."""
    bench.expect(
        bench.another().describe().incarnation,
        bench.store.describe().incarnation,
        "the incarnation of a second instance",
    )


@clause("async")
def the_blocking_twin_has_the_same_records(bench: Bench) -> None:
    """`blocking()` is a blocking store over the same records, of the same incarnation."""
    written = bench.store.put("key")
    incarnation = bench.store.describe().incarnation
    twin = bench.hands.call(bench.store.inner.blocking)
    bench.expect(twin.load("key"), written, "load of the blocking twin")
    bench.expect(twin.describe().incarnation, incarnation, "the incarnation of the blocking twin")
    written = twin.compare_and_set("key", b"twin", expected=written.revision)
    bench.expect(bench.store.load("key"), written, "what the blocking twin wrote")
