from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from resilience.errors import StoreError
from resilience.stores._pool import Pool


class Connection:
    def __init__(self) -> None:
        self.closed = False
        self.pid = os.getpid()

    def close(self) -> None:
        assert self.pid == os.getpid()
        self.closed = True


@pytest.fixture
def opened() -> list[Connection]:
    return []


@pytest.fixture
def pool(opened: list[Connection]) -> Pool[Connection]:
    def opening() -> Connection:
        opened.append(Connection())
        return opened[-1]

    return Pool("Pool()", opening, Connection.close, patience=0.1)


def in_child(work: Callable[[], object]) -> str:
    """What a forked child says of it: the answer, or the error."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            said = repr(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    assert os.waitpid(pid, 0)[1] == 0
    return said


def test_the_connection_last_given_back_is_taken_first(pool: Pool[Connection], opened: list[Connection]) -> None:
    first, second = pool.take(), pool.take()
    assert opened == [first, second]
    pool.give(first)
    pool.give(second)
    assert pool.take() is second
    assert pool.take() is first


def test_a_discarded_connection_is_closed_and_another_opened(pool: Pool[Connection]) -> None:
    first = pool.take()
    pool.discard(first)
    assert first.closed
    assert pool.take() is not first


def test_closing_closes_the_free_ones_now_and_the_lent_ones_when_they_come_back(pool: Pool[Connection]) -> None:
    lent, free = pool.take(), pool.take()
    pool.give(free)
    pool.close()
    assert (lent.closed, free.closed) == (False, True)
    pool.give(lent)
    assert lent.closed
    pool.close()


def test_a_connection_that_cannot_be_opened_is_not_counted() -> None:
    def opening() -> Connection:
        raise OSError("no")

    pool = Pool("Pool()", opening, Connection.close, patience=60)
    with pytest.raises(OSError, match="no"):
        pool.take()
    assert in_child(lambda: 1) == "1"  # at once: nothing is lent


def test_twenty_threads_never_share_one(pool: Pool[Connection], opened: list[Connection]) -> None:
    lent: set[Connection] = set()
    shared: list[Connection] = []

    def work() -> None:
        for _ in range(200):
            connection = pool.take()
            if connection in lent:
                shared.append(connection)
            lent.add(connection)
            lent.remove(connection)
            pool.give(connection)

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert shared == []
    assert len(opened) <= 20
    pool.close()
    assert all(connection.closed for connection in opened)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
class TestFork:
    def test_nothing_is_inherited_and_both_go_on(self, pool: Pool[Connection], opened: list[Connection]) -> None:
        pool.give(pool.take())

        def child() -> tuple[bool, bool, int]:
            connection = pool.take()
            pool.give(connection)
            return opened[0].closed, connection is opened[1], len(opened)

        assert in_child(child) == "(True, True, 2)"
        assert pool.take() is opened[1]

    def test_it_waits_for_what_is_lent_and_lends_nothing_meanwhile(self, opened: list[Connection]) -> None:
        def opening() -> Connection:
            opened.append(Connection())
            return opened[-1]

        pool = Pool("Pool()", opening, Connection.close, patience=30)
        lent, free = pool.take(), pool.take()
        pool.give(free)
        taken: list[tuple[Connection, bool]] = []

        def holder() -> None:
            time.sleep(0.05)
            other = pool.take(holding=True)  # for the sake of what it holds
            pool.give(other)
            threading.Thread(target=lambda: taken.append((pool.take(), lent.closed))).start()
            time.sleep(0.05)
            assert taken == []
            pool.give(lent)

        thread = threading.Thread(target=holder)
        thread.start()
        assert in_child(lambda: pool.take() in {lent, free}) == "False"
        thread.join(30)
        end = time.monotonic() + 30
        while not taken and time.monotonic() < end:
            time.sleep(0.01)
        assert (lent.closed, free.closed) == (True, True)
        assert taken[0][0] not in {lent, free}
        assert taken[0][1]

    def test_a_child_made_while_one_is_lent_cannot_use_the_pool(
        self, pool: Pool[Connection], opened: list[Connection]
    ) -> None:
        lent = pool.take()
        assert in_child(pool.take) == (
            "StoreError: Pool(): the process was forked in the middle of its work: a new process must open it"
        )

        def give_back() -> tuple[bool, int]:
            pool.give(lent)
            pool.close()
            return lent.closed, len(opened)

        assert in_child(give_back) == "(False, 1)"
        pool.give(lent)
        assert pool.take() is lent

    def test_what_was_inherited_is_neither_lent_nor_closed(self, pool: Pool[Connection]) -> None:
        """As in a child, step by step."""
        lent = pool.take()
        pool._before_fork()
        pool._in_child()
        with pytest.raises(StoreError, match="in the middle of its work"):
            pool.take()
        pool.give(lent)
        with pytest.raises(StoreError, match="in the middle of its work"):
            pool.take()
        pool.close()
        assert not lent.closed

    def test_a_connection_that_is_given_back_in_the_meantime_is_taken_after_the_fork(
        self, pool: Pool[Connection]
    ) -> None:
        pool._before_fork()
        taken: list[Connection] = []
        thread = threading.Thread(target=lambda: taken.append(pool.take()))
        thread.start()
        pool.give(back := Connection())
        pool._after_fork()
        thread.join(30)
        assert taken == [back]

    def test_a_pool_that_is_gone_is_not_asked(self, opened: list[Connection]) -> None:
        pool = Pool("Pool()", Connection, Connection.close, patience=60)
        pool.take()
        del pool
        gc.collect()
        assert in_child(lambda: 2) == "2"

    def test_a_closed_pool_is_closed_in_the_child(self, pool: Pool[Connection]) -> None:
        pool.close()

        def child() -> bool:
            connection = pool.take()
            pool.give(connection)
            return connection.closed

        assert in_child(child) == "True"
