"""The recorder: an order without a clock, and no error taken for "it did not happen"."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest
from typing_extensions import override

from resilience import OptimisticLock
from resilience._core.steps import Load, Remove, Swap, Verb
from resilience.errors import (
    ConfigError,
    DeadlineExceededError,
    GuardRefusedError,
    OutcomeUnknownError,
    StorageFullError,
    StoreUnavailableError,
    VersionConflictError,
)
from resilience.stores import ABSENT, ANY, VACANT, Beat, Guard, MemoryStore, Seen, ThreadedStore
from resilience.testing.history import History, Operation
from resilience.testing.linearizable import check_linearizable
from resilience.testing.models import VersionedRegister
from resilience.testing.versions import check_versions


def failing(error: BaseException) -> Any:
    def fail() -> None:
        raise error

    return fail


def test_what_returned_before_another_was_called_has_the_lower_numbers() -> None:
    history = History()

    def inner() -> int:
        return history.run("Bob", "read", "x", None, lambda: 7)

    assert history.run("Ada", "read", "x", None, inner) == 7
    history.run("Ada", "read", "x", None, lambda: 8)
    assert [(one.client, one.called, one.returned, one.result) for one in history.operations] == [
        ("Ada", 0, 3, 7),
        ("Bob", 1, 2, 7),
        ("Ada", 4, 5, 8),
    ]


def test_threads_never_share_a_moment() -> None:
    history = History()

    def work() -> None:
        for _ in range(200):
            history.run("thread", "read", "x", None, lambda: None)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moments = [moment for one in history.operations for moment in (one.called, one.returned)]
    assert sorted(moments, key=int) == list(range(2000))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        OutcomeUnknownError("store", "lost"),
        DeadlineExceededError(1.0),
        TimeoutError(),
        ConnectionResetError(),
        RuntimeError("a bug"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_does_not_say_that_nothing_was_done_leaves_it_pending(error: BaseException) -> None:
    history = History()
    with pytest.raises(type(error)) as raised:
        history.run("Ada", "write", "x", 1, failing(error))
    assert raised.value is error
    (operation,) = history.operations
    assert operation.pending
    assert operation.error is None


@pytest.mark.parametrize(
    "error",
    [
        VersionConflictError("x", 1),
        GuardRefusedError("x", Guard("y", 1)),
        StoreUnavailableError("store", "refused"),
        StorageFullError("x", "full"),
        ConfigError("key", "", "longer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_definite_error_says_that_nothing_was_done(error: Exception) -> None:
    history = History()
    with pytest.raises(type(error)) as raised:
        history.run("Ada", "write", "x", 1, failing(error))
    assert raised.value is error
    (operation,) = history.operations
    assert (operation.pending, operation.error) == (False, type(error))


def test_which_errors_are_definite_is_the_callers_to_say() -> None:
    class RefusedError(Exception):
        pass

    history = History()
    for definite in ((), (RefusedError,)):
        with pytest.raises(RefusedError):
            history.run("Ada", "write", "x", 1, failing(RefusedError()), definite)
    assert [one.pending for one in history.operations] == [True, False]


def test_a_history_keeps_no_error_and_so_no_frame_alive() -> None:
    history = History()

    class Big:
        pass

    def fail() -> None:
        big = Big()
        alive.append(weakref.ref(big))
        raise VersionConflictError("x", 1)

    alive: list[weakref.ref[Big]] = []
    with pytest.raises(VersionConflictError) as raised:
        history.run("Ada", "write", "x", 1, fail)
    del raised
    gc.collect()
    assert alive[0]() is None


def test_async_operations_are_recorded_alike_and_a_cancelled_one_is_pending() -> None:
    history = History()

    async def never() -> None:
        await asyncio.sleep(60)

    async def answer() -> int:
        return 7

    async def refuse() -> None:
        raise VersionConflictError("x", 1)

    async def main() -> None:
        assert await history.arun("Ada", "read", "x", None, answer) == 7
        with pytest.raises(VersionConflictError):
            await history.arun("Ada", "write", "x", 1, refuse)
        task = asyncio.create_task(history.arun("Bob", "write", "x", 2, never))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    read, refused, cancelled = history.operations
    assert (read.result, refused.error, cancelled.pending) == (7, VersionConflictError, True)


@pytest.mark.parametrize(
    ("operation", "line"),
    [
        (Operation("Ada", "write", "x", 1, 0, 1), "Ada: write('x', 1) -> None  [0, 1]"),
        (Operation("Ada", "write", "x", 1, 0), "Ada: write('x', 1) -> unknown  [0, …]"),
        (Operation(3, "load", "x", Load("x"), 4, 5), "3: load('x') -> None  [4, 5]"),
        (
            Operation(3, "compare_and_set", "x", Swap("x", b"v" * 99, VACANT), 4),
            "3: compare_and_set('x', b'vvvvvvvvvvv...vvvvvvvvvvvvv', expected=VACANT) -> unknown  [4, …]",
        ),
        (Operation(3, "remove", "x", Remove("x", 7), 4, 5, True), "3: remove('x', expected=7) -> True  [4, 5]"),
        (
            Operation(3, "remove", "x", Remove("x", 7), 4, 5, None, GuardRefusedError),
            "3: remove('x', expected=7) -> GuardRefusedError  [4, 5]",
        ),
        (
            Operation(3, "remove", "x", Remove("x", 7), 4, 5, None, VersionConflictError),
            "3: remove('x', expected=7) -> VersionConflictError, found None  [4, 5]",
        ),
    ],
)
def test_an_operation_is_readable(operation: Operation, line: str) -> None:
    assert repr(operation) == line


# -- stores -----------------------------------------------------------------------------------------------------------


def test_a_wrapped_store_answers_as_it_did_and_what_changes_revisions_is_written_down() -> None:
    history = History()
    with history.wrap(MemoryStore(), client="Ada") as store:
        written = store.compare_and_set("x", b"1", expected=ABSENT, ttl=5.0, write_id="ada")
        assert store.load("x").value == b"1"  # type: ignore[union-attr]
        assert store.load_many(["x", "y"])["y"] is None
        with pytest.raises(VersionConflictError) as conflict:
            store.compare_and_set("x", b"2", expected=ABSENT)
        assert conflict.value.revision == written.revision
        assert store.extend([Beat("x", written.revision, 9.0)]) == frozenset()
        assert [key for key, _ in store.scan()] == ["x"]
        store.wait("x", after=ABSENT, timeout=5.0)
        store.ping()
        assert store.describe().store == "MemoryStore()"
        assert store.remove("x", expected=Seen(written.revision, 1))
        with pytest.raises(ConfigError):
            store.compare_and_set("x", 1, expected=ABSENT)  # type: ignore[arg-type]
        assert repr(store) == "<<MemoryStore()>, recorded>"
    assert [(one.op, one.key) for one in history.operations] == [
        ("compare_and_set", "x"),
        ("load", "x"),
        ("load", "x"),
        ("load", "y"),
        ("compare_and_set", "x"),
        ("remove", "x"),
    ]
    assert "-> VersionConflictError, found revision" in repr(history.operations[4])
    assert check_linearizable(history, VersionedRegister())
    check_versions(history)


def test_a_wrapped_async_store_is_an_async_store_and_so_is_its_blocking_twin_a_store() -> None:
    history = History()

    async def main() -> None:
        async with history.wrap(ThreadedStore(MemoryStore()), client="Ada") as store:
            written = await store.compare_and_set("x", b"1", expected=ABSENT)
            assert (await store.load_many(["x"]))["x"] == await store.load("x")
            await store.wait("x", after=ABSENT, timeout=5.0)
            await store.ping()
            assert (await store.describe()).store == "MemoryStore()"
            assert store.blocking().load("x") == written
            with pytest.raises(VersionConflictError):
                await store.remove("x", expected=written.revision + 1)

    asyncio.run(main())
    assert [one.op for one in history.operations] == [
        "compare_and_set",
        *["load"] * 3,
        "remove",
    ]
    assert check_linearizable(history, VersionedRegister())


def test_values_of_any_size_are_left_to_the_store_to_judge() -> None:
    history = History()
    store = history.wrap(MemoryStore(max_value_bytes=5_000_000), client="Ada")
    assert store.compare_and_set("x", bytes(4_000_000), expected=ANY).revision
    with pytest.raises(ConfigError, match="at most 5000000 bytes"):
        store.compare_and_set("x", bytes(5_000_001), expected=ANY)
    assert check_linearizable(history, VersionedRegister())


def test_an_optimistic_update_over_a_wrapped_store_is_written_down_verb_by_verb() -> None:
    history = History()
    lock = OptimisticLock(history.wrap(MemoryStore(), client="Ada"), "x", default=lambda: 0)
    assert lock.update(lambda n: n + 1).value == 1
    (written,) = [one for one in history.operations if one.key == "x" and one.op == "compare_and_set"]
    assert written.result.value == b"1"


def test_a_load_whose_answer_was_lost_changes_nothing() -> None:
    class Deaf(MemoryStore):
        @override
        def _run(self, verb: Verb[Any]) -> Any:
            raise TimeoutError

    history = History()
    with pytest.raises(TimeoutError):
        history.wrap(Deaf(), client="Ada").load_many(["x", "y"])
    assert [one.pending for one in history.operations] == [True, True]
    assert check_linearizable(history, VersionedRegister())
