"""The store in memory, as far as the contract does not say it already."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType

import pytest
from tests.stores.befalling import revisions_go_on

from resilience import deadline
from resilience._core.description import Fault
from resilience._core.records import Record
from resilience._io.ambient import stopping
from resilience.errors import ConfigError, DeadlineExceededError, StoreError
from resilience.stores import ABSENT, ANY, MemoryStore
from resilience.stores.memory import _Shelf
from resilience.testing import VirtualClock, virtual_time
from resilience.typing import Store


def test_it_runs_on_the_worlds_clock() -> None:
    store = MemoryStore()
    with virtual_time() as clock:
        store.compare_and_set("k", b"v", expected=ABSENT, ttl=5)
        clock.advance(5)
        there = store.load("k")
        assert there is not None
        assert there.expired


def test_revisions_go_on_whatever_befalls_it() -> None:
    """A process that ends takes its memory with it: emptied is all that can befall it."""

    def emptied(store: Store, clock: VirtualClock) -> Store:
        store.close()
        return MemoryStore(clock)

    def rebooted(store: Store, clock: VirtualClock) -> Store:
        clock.reboot()
        return emptied(store, clock)

    outcome = revisions_go_on(MemoryStore, {Fault.EMPTIED: emptied, Fault.REBOOTED: rebooted})
    lost = {faults for faults, goes_on in outcome.items() if not goes_on}
    assert lost == {
        frozenset({Fault.EMPTIED, Fault.CLOCK_SET_BACK}),
        frozenset({Fault.REBOOTED, Fault.CLOCK_SET_BACK}),
    }


def test_a_forked_child_is_told_that_it_has_a_copy() -> None:
    store = MemoryStore()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store.load("k")
        except StoreError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert b"before a fork" in os.read(reader, 1000)
    os.close(reader)
    assert store.load("k") is None


def test_a_wait_ends_with_the_write_the_removal_and_the_closing() -> None:
    store = MemoryStore()
    for act in (
        lambda: store.compare_and_set("k", b"v", expected=ANY),
        lambda: store.remove("k", expected=ANY),
        store.close,
    ):
        there = store.load("k")
        after = 0 if there is None else there.revision
        waiter = threading.Thread(target=store.wait, args=["k"], kwargs={"after": after, "timeout": 30})
        waiter.start()
        while not store._waiting:
            time.sleep(0.001)
        act()
        waiter.join(5)
        assert not waiter.is_alive()
    assert not store._waiting


def test_two_may_wait_for_one_key() -> None:
    store = MemoryStore()
    waiters = [threading.Thread(target=store.wait, args=["k"], kwargs={"after": 0, "timeout": 30}) for _ in range(2)]
    for waiter in waiters:
        waiter.start()
    while len(store._waiting.get("k", ())) < 2:
        time.sleep(0.001)
    store.compare_and_set("other", b"", expected=ABSENT)
    store.compare_and_set("k", b"", expected=ABSENT)
    for waiter in waiters:
        waiter.join(5)
        assert not waiter.is_alive()


def test_a_wait_ends_at_the_deadline_and_on_a_stop() -> None:
    class Stop:
        at = 1e12
        ended: Exception | None = None

        def error(self) -> Exception | None:
            return self.ended

        def watch(self, wake: Callable[[], object]) -> Callable[[], None]:
            self.ended = LookupError("stopped")
            wake()
            return lambda: None

    store = MemoryStore()
    with virtual_time() as clock:
        with pytest.raises(DeadlineExceededError), deadline(1.0):
            store.wait("k", after=0, timeout=30)
        assert clock.monotonic() == 1.0
        with pytest.raises(LookupError), stopping(Stop()):
            store.wait("k", after=0, timeout=30)
        assert clock.monotonic() == 1.0


@pytest.mark.parametrize("verb", ["put", "drop"])
def test_an_interrupt_tears_nothing_wherever_it_comes(verb: str) -> None:
    """At every instruction of a change: afterwards a scan shows what `get` shows, and goes on after the next change."""

    class Interrupt:
        def __init__(self, code: CodeType, left: int) -> None:
            self.code, self.left = code, left

        def __call__(self, frame: FrameType, event: str, arg: object) -> Interrupt | None:
            if frame.f_code is not self.code:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt
            return self

    def consistent(shelf: _Shelf) -> bool:
        return list(shelf.under("", "")) == [(key, there) for key in "abc" if (there := shelf.get(key))]

    record = Record(b"", 7, 0, None, 0.0, 0.0, "boot", None)
    change = {"put": _Shelf.put, "drop": _Shelf.drop}[verb]
    never = 1000
    for count in [never, *range(never)]:  # never at first: 3.12 tells of instructions only from the second time on
        shelf = _Shelf()
        for key in "ac" if verb == "put" else "abc":
            shelf.put(key, record)
        assert consistent(shelf)
        before = sys.gettrace()
        try:
            sys.settrace(Interrupt(change.__code__, count))
            change(shelf, "b", record)
        except KeyboardInterrupt:
            pass
        else:
            if count != never:
                break
        finally:
            sys.settrace(before)
        assert consistent(shelf)
        assert shelf.get("b") or shelf.floor() == (7 if verb == "drop" else 0)
        shelf.put("b", record)
        assert consistent(shelf)
        shelf.drop("b", record)
        assert consistent(shelf)
    assert count > 10


def test_its_values_have_a_limit_that_can_be_set() -> None:
    store = MemoryStore(max_value_bytes=3)
    store.compare_and_set("k", b"123", expected=ABSENT)
    with pytest.raises(ConfigError, match=r"at most 3 bytes .*got '4 bytes'"):
        store.compare_and_set("k", b"1234", expected=ANY)
    with pytest.raises(ConfigError, match="max_value_bytes"):
        MemoryStore(max_value_bytes=0)


def test_it_says_whether_it_is_closed() -> None:
    store = MemoryStore()
    assert repr(store) == "<MemoryStore()>"
    store.close()
    store.close()
    assert repr(store) == "<MemoryStore() (closed)>"
    with pytest.raises(StoreError, match="it is closed"), store:
        pytest.fail("a closed store was entered")
    with pytest.raises(StoreError, match="it is closed"):
        store.ping()


def test_a_copy_in_another_process_is_refused_here_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the child of a fork sees, seen from here."""
    store = MemoryStore()
    monkeypatch.setattr(store, "_pid", -1)
    with pytest.raises(StoreError, match="before a fork"):
        store.load("k")
