"""Optimistic locking at its two doors: nobody's change is lost, in either colour."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
import trio

from resilience import AsyncOptimisticLock, OptimisticLock, deadline, merge_mappings
from resilience.errors import (
    ConfigError,
    CorruptStateError,
    DeadlineExceededError,
    OutcomeUnknownError,
    StorageFullError,
    StoreError,
    StoreUnavailableError,
    VersionConflictError,
)
from resilience.stores import ABSENT, ANY, Bytes, Json, MemoryStore, ThreadedStore, Versioned
from resilience.testing import virtual_time
from resilience.typing import Store


class Door(Protocol):
    """Either lock, as these tests use it: as a blocking one."""

    def read(self) -> Versioned[Any]: ...
    def write(self, value: Any, *, expected: Any) -> Versioned[Any]: ...
    def update(self, change: Any, **options: Any) -> Versioned[Any]: ...
    def editing(self, body: Callable[[Any], object], **options: Any) -> None: ...


class FromAsync:
    """An async lock, each of whose methods is run in a loop of its own."""

    def __init__(
        self, lock: AsyncOptimisticLock[Any], run: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]
    ) -> None:
        self._lock, self._run = lock, run

    def read(self) -> Any:
        return self._run(self._lock.read)

    def write(self, value: Any, *, expected: Any) -> Any:
        return self._run(lambda: self._lock.write(value, expected=expected))

    def update(self, change: Any, **options: Any) -> Any:
        return self._run(lambda: self._lock.update(change, **options))

    def editing(self, body: Callable[[Any], object], **options: Any) -> None:
        async def main() -> None:
            async with self._lock.edit(**options) as document:
                body(document)

        self._run(main)


class Blocking(OptimisticLock[Any]):
    """The blocking lock, with an edit that takes its block as a function: the other colour's cannot be entered from here."""

    def editing(self, body: Callable[[Any], object], **options: Any) -> None:
        with self.edit(**options) as document:
            body(document)


def door(colour: str, store: Store, key: str = "k", *args: Any, **options: Any) -> Door:
    """A lock of a colour."""
    if colour == "sync":
        blocking: Any = Blocking(store, key, *args, **options)
        return blocking  # type: ignore[no-any-return]
    lock: AsyncOptimisticLock[Any] = AsyncOptimisticLock(ThreadedStore(store), key, *args, **options)
    return FromAsync(lock, (lambda main: asyncio.run(main())) if colour == "asyncio" else trio.run)


colours = pytest.mark.parametrize("colour", ["sync", "asyncio", "trio"])


@colours
def test_a_value_is_written_if_nobody_wrote_since_it_was_read(colour: str) -> None:
    store = MemoryStore()
    lock = door(colour, store, default=dict)
    read = lock.read()
    assert (read.value, read.revision) == ({}, ABSENT)
    written = lock.write({"a": 1}, expected=read.revision)
    assert lock.read() == written
    with pytest.raises(VersionConflictError) as caught:
        lock.write({"a": 2}, expected=read.revision)
    assert (caught.value.mine, caught.value.theirs, caught.value.revision) == ({"a": 2}, {"a": 1}, written.revision)
    assert lock.write({"a": 3}, expected=ANY).value == {"a": 3}


@colours
def test_a_vacant_key_without_a_default_is_a_key_error(colour: str) -> None:
    lock = door(colour, MemoryStore())
    with pytest.raises(KeyError, match="k"):
        lock.read()
    assert lock.write([1], expected=ABSENT).value == [1]


@colours
def test_an_expired_value_counts_as_absent(colour: str) -> None:
    store = MemoryStore()
    with virtual_time() as clock:
        lock = door(colour, store, default=lambda: "none", ttl=5)
        lock.write("mine", expected=ABSENT)
        clock.advance(5)
        assert lock.read() == Versioned("none", ABSENT)
        with pytest.raises(VersionConflictError):
            lock.write("again", expected=store.load("k").revision + 1)  # type: ignore[union-attr]
        written = lock.write("again", expected=ABSENT)
        assert (written.value, written.ttl) == ("again", 5.0)


@colours
def test_an_update_starts_from_what_is_there(colour: str) -> None:
    store = MemoryStore()
    lock = door(colour, store, default=int)
    assert [lock.update(lambda n: n + 1).value for _ in range(3)] == [1, 2, 3]
    assert store.load("k").value == b"3"  # type: ignore[union-attr]


@colours
def test_a_conflict_is_tried_again_from_what_they_wrote(colour: str) -> None:
    store = MemoryStore()
    lock = door(colour, store, default=list)
    seen = []

    def change(value: list[int]) -> list[int]:
        seen.append(list(value))
        if len(seen) == 1:
            store.compare_and_set("k", b"[7]", expected=ANY)
        value.append(1)  # its own copy, each time
        return value

    assert lock.update(change).value == [7, 1]
    assert seen == [[], [7]]


@colours
@pytest.mark.parametrize("twice", [False, True], ids=["one conflict", "two conflicts"])
def test_a_conflict_is_merged(colour: str, twice: bool) -> None:
    store = MemoryStore()
    lock = door(colour, store, default=dict)
    lock.write({"a": 0, "b": 0}, expected=ABSENT)

    def merge(base: Any, mine: Any, theirs: Any) -> Any:
        merged = merge_mappings(base, mine, theirs)
        if twice and theirs["b"] == 1:
            store.compare_and_set("k", b'{"a":0,"b":2}', expected=ANY)
        return merged

    def change(value: dict[str, int]) -> dict[str, int]:
        store.compare_and_set("k", b'{"a":0,"b":1}', expected=ANY)
        return {**value, "a": 1}

    assert lock.update(change, on_conflict=merge).value == {"a": 1, "b": 2 if twice else 1}


@colours
def test_a_merge_that_cannot_be_says_all_it_knows(colour: str) -> None:
    store = MemoryStore()
    lock = door(colour, store, default=dict)

    def change(value: dict[str, int]) -> dict[str, int]:
        store.compare_and_set("k", b'{"a":2}', expected=ANY)
        return {"a": 1}

    with pytest.raises(
        VersionConflictError, match=r"conflict on 'k': expected ABSENT, found .*both sides changed a"
    ) as caught:
        lock.update(change, on_conflict=merge_mappings)
    error = caught.value
    assert (error.key, error.base, error.mine, error.theirs, error.paths) == ("k", {}, {"a": 1}, {"a": 2}, (("a",),))
    assert error.current == store.load("k")


@colours
def test_a_conflict_raises_where_that_is_asked_for(colour: str) -> None:
    store = MemoryStore()
    lock = door(colour, store, default=int)

    def change(value: int) -> int:
        store.compare_and_set("k", b"7", expected=ANY)
        return value + 1

    with pytest.raises(VersionConflictError) as caught:
        lock.update(change, on_conflict="raise")
    assert (caught.value.base, caught.value.mine, caught.value.theirs) == (0, 1, 7)


@colours
def test_the_last_write_wins_where_that_is_asked_for(colour: str) -> None:
    store = MemoryStore()
    calls = []

    def change(value: int) -> int:
        calls.append(value)
        store.compare_and_set("k", b"7", expected=ANY)
        return value + 1

    assert door(colour, store, default=int).update(change, on_conflict="last_write_wins").value == 1
    assert calls == [0]


@colours
def test_a_change_that_forgets_to_return_loses_nothing(colour: str) -> None:
    store = MemoryStore()
    lock = door(colour, store, default=dict)
    lock.write({"a": 1}, expected=ABSENT)
    with pytest.raises(TypeError, match=r"returned None instead of the new value: .*edit\(\)"):
        lock.update(lambda value: value.update(b=2))
    assert lock.read().value == {"a": 1}


@colours
def test_nothing_may_become_of_nothing(colour: str) -> None:
    assert door(colour, MemoryStore(), default=lambda: None).update(lambda value: value).value is None


@colours
def test_a_change_that_raises_writes_nothing_and_leaves_nothing(colour: str) -> None:
    store = MemoryStore()
    with pytest.raises(ZeroDivisionError):
        door(colour, store, default=int).update(lambda n: n // 0)
    assert store.scan() == []


@pytest.mark.parametrize("colour", ["sync", "asyncio"])
def test_a_change_that_never_agrees_is_ended_by_the_deadline(colour: str) -> None:
    """Somebody writes whenever it looks."""
    store = MemoryStore()

    def change(value: int) -> int:
        store.compare_and_set("k", b"7", expected=ANY)
        clock.advance(0.5)
        return value + 1

    with virtual_time() as clock, deadline(1.2):
        if colour == "sync":
            with pytest.raises(DeadlineExceededError) as caught:
                OptimisticLock(store, "k", default=int).update(change)
            assert isinstance(caught.value.__cause__, VersionConflictError)
        else:
            lock = AsyncOptimisticLock(ThreadedStore(store), "k", default=int)
            with pytest.raises(DeadlineExceededError):
                clock.run_async(lock.update(change))
    assert store.load("k").value == b"7"  # type: ignore[union-attr]


@colours
def test_an_edit_is_written_when_its_block_ends(colour: str) -> None:
    lock = door(colour, MemoryStore(), default=dict)
    lock.editing(lambda document: document.update(a=[1]))
    revision = lock.read().revision
    seen: list[Any] = []
    lock.editing(seen.append)
    assert seen == [{"a": [1]}]
    assert lock.read().revision == revision  # nothing was changed, nothing is written

    def fail(document: dict[str, Any]) -> None:
        document["a"] = [2]
        raise LookupError

    with pytest.raises(LookupError):
        lock.editing(fail)
    assert lock.read().value == {"a": [1]}


@colours
def test_an_edit_cannot_be_made_again_so_a_conflict_raises_or_merges(colour: str) -> None:
    store = MemoryStore()
    lock = door(colour, store, default=dict)

    def edit(document: dict[str, int]) -> None:
        document["mine"] = 1
        store.compare_and_set("k", b'{"theirs":1}', expected=ANY)

    with pytest.raises(VersionConflictError) as caught:
        lock.editing(edit)
    assert (caught.value.base, caught.value.mine, caught.value.theirs) == ({}, {"mine": 1}, {"theirs": 1})
    lock.editing(edit, on_conflict=merge_mappings)
    assert lock.read().value == {"mine": 1, "theirs": 1}
    with pytest.raises(ConfigError, match="cannot run again"):
        lock.editing(edit, on_conflict="retry")


@colours
def test_a_value_that_is_no_json_is_refused_and_nothing_is_lost(colour: str) -> None:
    store = MemoryStore()
    lock = door(colour, store, default=dict)
    lock.write({"a": 1}, expected=ABSENT)
    with pytest.raises(ConfigError, match="value must be JSON"):
        lock.update(lambda value: {**value, "b": {1, 2}})
    assert lock.read().value == {"a": 1}


class Lossy(MemoryStore):
    """Does what it is asked; then says what the test wants it to say, once for each verb that is named."""

    def __init__(self, **says: BaseException) -> None:
        super().__init__()
        self.says = says

    def _run(self, verb: Any) -> Any:
        reply = super()._run(verb)
        error = self.says.pop(type(verb).__name__, None) if not getattr(verb, "key", "").startswith("\0") else None
        if error is not None:
            raise error
        return reply


LOST = OutcomeUnknownError("a store", "the answer was lost")


@colours
@pytest.mark.parametrize(
    "worse",
    [StoreError("a store", "no right to read"), CorruptStateError("k", "damaged"), StorageFullError("k", "no room")],
    ids=lambda error: type(error).__name__,
)
def test_a_doubt_is_not_hidden_by_what_went_wrong_afterwards(colour: str, worse: Exception) -> None:
    """The change is stored: whoever reads "nothing was written" would do it again."""
    store = Lossy()
    lock = door(colour, store, default=int)
    lock.write(1, expected=ABSENT)
    store.says = {"Swap": LOST, "Load": worse}
    with pytest.raises(OutcomeUnknownError) as caught:
        lock.update(lambda n: n + 1)
    assert caught.value.__cause__ is worse
    assert lock.read().value == 2


@colours
def test_a_write_whose_answer_is_lost_is_looked_up(colour: str) -> None:
    store = Lossy()
    lock = door(colour, store, default=int)
    store.says = {"Swap": LOST}
    written = lock.write(1, expected=ABSENT)
    assert (written.value, written.revision) == (1, lock.read().revision)
    store.says = {"Swap": LOST, "Load": StoreUnavailableError("a store", "gone")}
    with pytest.raises(OutcomeUnknownError):
        lock.write(2, expected=ANY)


def test_a_write_that_was_lost_on_its_way_is_not_taken_for_done() -> None:
    class Losing(MemoryStore):
        def _run(self, verb: Any) -> Any:
            if type(verb).__name__ == "Swap":
                raise LOST
            return super()._run(verb)

    with pytest.raises(OutcomeUnknownError):
        OptimisticLock(Losing(), "k", default=int).write(1, expected=ABSENT)


@colours
def test_absent_is_the_revision_0_however_it_was_kept_meanwhile(colour: str) -> None:
    store = MemoryStore()
    with virtual_time() as clock:
        lock = door(colour, store, default=int, ttl=1)
        lock.write(1, expected=ABSENT)
        clock.advance(1)
        revision = json.loads(json.dumps(lock.read().revision))
        assert lock.write(2, expected=revision).value == 2


def test_a_task_cut_off_in_the_middle_of_a_write_is_told_that_it_may_be_applied() -> None:
    """By the cause of the deadline's error: the timer cancels the task, whatever it waits for."""

    class Slow(MemoryStore):
        def _run(self, verb: Any) -> Any:
            reply = super()._run(verb)
            if type(verb).__name__ == "Swap":
                done.set()
                go_on.wait(5)
            return reply

    async def main() -> None:
        lock = AsyncOptimisticLock(ThreadedStore(store), "k", default=int)
        with pytest.raises(DeadlineExceededError) as caught:
            async with deadline(0.05):
                await lock.update(lambda n: n + 1)
        go_on.set()
        assert isinstance(caught.value.__cause__, OutcomeUnknownError)
        assert "perhaps applied" in str(caught.value.__cause__)

    done, go_on, store = threading.Event(), threading.Event(), Slow()
    asyncio.run(main())
    assert done.is_set()
    assert store.load("k") is not None


@colours
def test_a_value_that_the_codec_cannot_read_is_named(colour: str) -> None:
    store = MemoryStore()
    store.compare_and_set("k", b"{no json", expected=ABSENT)
    lock = door(colour, store, default=int)
    with pytest.raises(CorruptStateError, match=r"the value of 'k': Json\(\) cannot read it: "):
        lock.read()
    with pytest.raises(CorruptStateError):
        lock.update(lambda n: n + 1)


@pytest.mark.parametrize(
    ("kind", "store", "says"),
    [
        (OptimisticLock, "sqlite:///x.db", r"a store: open_store\(url\) opens one"),
        (OptimisticLock, MemoryStore, "a store"),
        (OptimisticLock, ThreadedStore(MemoryStore()), "a blocking store"),
        (AsyncOptimisticLock, MemoryStore(), "an async store"),
        (AsyncOptimisticLock, None, "a store"),
    ],
    ids=["text", "class", "async", "blocking", "nothing"],
)
def test_what_is_no_store_of_that_colour_is_refused_at_once(kind: Any, store: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        kind(store, "k")


def test_a_codec_is_an_object() -> None:
    codec: Any = Json
    with pytest.raises(ConfigError, match=r"codec must be an object with encode and decode, such as Json\(\)"):
        OptimisticLock(MemoryStore(), "k", codec)


def test_a_merge_may_be_any_callable() -> None:
    @dataclass
    class Sum:  # dataclasses are not hashable
        def __call__(self, base: int, mine: int, theirs: int) -> int:
            return mine + theirs - base

    store = MemoryStore()

    def change(n: int) -> int:
        store.compare_and_set("k", b"10", expected=ANY)
        return n + 1

    assert OptimisticLock(store, "k", default=int).update(change, on_conflict=Sum()).value == 11


def test_an_async_merge_is_for_the_async_lock() -> None:
    async def merge(base: int, mine: int, theirs: int) -> int:
        return mine

    with pytest.raises(TypeError, match="AsyncOptimisticLock awaits it"):
        OptimisticLock(MemoryStore(), "k", default=int).update(lambda n: n, on_conflict=merge)  # type: ignore[arg-type]


def test_bytes_are_kept_as_they_are() -> None:
    lock = OptimisticLock(MemoryStore(), "k", Bytes(), default=bytes)
    assert lock.update(lambda data: data + b"\0").value == b"\0"


def test_an_async_change_and_an_async_merge_are_awaited() -> None:
    async def main() -> None:
        store = MemoryStore()
        lock = AsyncOptimisticLock(ThreadedStore(store), "k", default=int)

        async def change(value: int) -> int:
            await asyncio.sleep(0)
            store.compare_and_set("k", b"10", expected=ANY)
            return value + 1

        async def merge(base: int, mine: int, theirs: int) -> int:
            await asyncio.sleep(0)
            return theirs + mine - base

        assert (await lock.update(change, on_conflict=merge)).value == 11  # type: ignore[arg-type]

    asyncio.run(main())


def test_a_coroutine_function_is_for_the_async_lock() -> None:
    async def change(value: int) -> int:
        return value

    with pytest.raises(TypeError, match="AsyncOptimisticLock awaits it"):
        OptimisticLock(MemoryStore(), "k", default=int).update(change)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [OptimisticLock, AsyncOptimisticLock])
@pytest.mark.parametrize(
    ("key", "options", "says"),
    [
        ("", {}, "key must be text"),
        ("k" * 961, {}, "at most 960 bytes"),
        ("\0turn\0k", {}, "kept for turns"),
        ("k", {"default": 0}, "a function that makes"),
        ("k", {"ttl": 0}, "ttl must be"),
    ],
    ids=["empty", "long", "reserved", "default", "ttl"],
)
def test_a_lock_that_cannot_be_is_refused_when_it_is_made(kind: Any, key: str, options: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        kind(MemoryStore(), key, **options)


def test_what_to_do_about_conflicts_is_one_of_four() -> None:
    nonsense: Any = "merge"
    with pytest.raises(ConfigError, match="on_conflict must be"):
        OptimisticLock(MemoryStore(), "k", default=int).update(lambda n: n, on_conflict=nonsense)


def test_a_lock_says_where_it_is() -> None:
    lock = OptimisticLock[int](MemoryStore(), "seats", default=int)
    assert (repr(lock), lock.key) == ("<OptimisticLock 'seats'>", "seats")


def test_a_damaged_value_is_not_overwritten() -> None:
    """What a store cannot vouch for is nobody's to change."""

    class Damaged(MemoryStore):
        def _run(self, verb: Any) -> Any:
            raise CorruptStateError("k", "its checksum is wrong")

    with pytest.raises(CorruptStateError):
        OptimisticLock(Damaged(), "k", default=int).update(lambda n: n + 1)


def test_ten_threads_lose_nothing() -> None:
    lock = OptimisticLock(MemoryStore(), "k", default=int)
    threads = [threading.Thread(target=lambda: [lock.update(lambda n: n + 1) for _ in range(30)]) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lock.read().value == 300


def test_nothing_is_left_for_the_collector() -> None:
    store = MemoryStore()
    lock = OptimisticLock(store, "k", default=int)

    def fight(value: int) -> int:
        store.compare_and_set("k", b"7", expected=ANY)
        return value + 1

    def failing() -> None:
        for change, how in ((fight, "raise"), (fight, "last_write_wins"), (lambda n: n // 0, "retry")):
            try:
                lock.update(change, on_conflict=how)  # type: ignore[arg-type]
            except (VersionConflictError, ZeroDivisionError):
                pass

    failing()
    gc.collect()
    failing()
    assert gc.collect() == 0


@pytest.mark.parametrize("told", [False, True], ids=["nothing", "something"])
def test_an_interrupt_in_the_middle_of_a_write_is_told_what_it_left_unless_it_knows_better(told: bool) -> None:
    cut = KeyboardInterrupt()
    cut.__context__ = LookupError("theirs") if told else None
    store = Lossy(Swap=cut)
    with pytest.raises(KeyboardInterrupt) as caught:
        OptimisticLock(store, "k", default=int).update(lambda n: n + 1)
    assert isinstance(caught.value.__context__, LookupError if told else OutcomeUnknownError)
