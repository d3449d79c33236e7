"""What children do: one function each, run by ``python -m tests.processes.work <function> <arguments as JSON>``."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
from typing import Any

from tests.processes.children import Place

from resilience import OptimisticLock
from resilience._core.turns import take_turn, turn_key
from resilience._io.drive import drive
from resilience.errors import GuardRefusedError, StoreError
from resilience.stores import ANY, VACANT, Guard


def say(words: object) -> None:
    print(json.dumps(words), flush=True)


def hear() -> Any:
    return json.loads(sys.stdin.readline())


def counter(store: Any, key: str) -> OptimisticLock[int]:
    return OptimisticLock(store, key, default=lambda: 0)


def add(place: Place, key: str, times: int, how: str) -> None:
    """Count up so many times: by updates, or by reading and then writing over whatever there is."""
    with place.open() as store:
        count = counter(store, key)
        store.load(key)
        say("ready")
        hear()
        for _ in range(times):
            if how == "update":
                count.update(lambda value: value + 1)
            else:
                count.write(count.read().value + 1, expected=ANY)
        say("done")


def add_for_ever(place: Place, key: str) -> None:
    """Count up until killed, and say the revision of each update when it is acknowledged."""
    with place.open() as store:
        count = counter(store, key)
        say("ready")
        while True:
            say(count.update(lambda value: value + 1).revision)


def hold_turn(place: Place, key: str) -> None:
    """Take the turn at a key, and do nothing with it."""
    with place.open() as store:
        drive(take_turn(turn_key(key), "holder", 2.0), store)
        say("mine")
        hear()


def hold_leases(place: Place, ttl: float) -> None:
    """For each key heard: take a lease on it, and when told to, write what it guards, with the guard or without."""
    with place.open() as store:
        say("ready")
        while True:
            key, guarded = hear()
            token = store.compare_and_set(f"lease/{key}", b"", expected=VACANT, ttl=ttl).revision
            say(token)
            hear()
            guard = Guard(f"lease/{key}", token) if guarded else None
            try:
                store.compare_and_set(f"guarded/{key}", b"stale", expected=ANY, guard=guard)
            except GuardRefusedError as error:
                say(error.current is not None and error.current.revision)
            else:
                say("written")


def write_while_leased(place: Place, ttl: float) -> None:
    """For each key heard: take a lease on it, and write what it guards for as long as that is not refused."""
    with place.open() as store:
        say("ready")
        while True:
            key = hear()
            token = store.compare_and_set(f"lease/{key}", b"", expected=VACANT, ttl=ttl).revision
            say(token)
            guard = Guard(f"lease/{key}", token)
            written = 0
            try:
                while True:
                    store.compare_and_set(f"guarded/{key}", b"stale", expected=ANY, guard=guard)
                    written += 1
            except GuardRefusedError:
                say(written)


def write_lease(place: Place, key: str, ttl: float) -> None:
    """Write a lease; then say what is seen of it whenever asked."""
    with place.open() as store:
        store.compare_and_set(key, b"", expected=VACANT, ttl=ttl)
        _watch(store, key)


def watch_lease(place: Place, key: str) -> None:
    """Say what is seen of a lease whenever asked."""
    with place.open() as store:
        _watch(store, key)


def _watch(store: Any, key: str) -> None:
    say("ready")
    while True:
        hear()
        seen = store.load(key)
        say([seen.expired, seen.expires_in])


def fork(place: Place, key: str, how: str, times: int) -> None:
    """Use a store, fork, go on on both sides; the forked one ends as interpreters end, and the parent goes on."""
    with place.open() as store:
        count = counter(store, key)
        count.update(lambda value: value + 1)

        def go_on(several: int) -> None:
            for _ in range(several):
                count.update(lambda value: value + 1)

        if how == "multiprocessing":
            context: Any = multiprocessing.get_context("fork")
            process = context.Process(target=go_on, args=(times,))
            process.start()
            go_on(20)
            process.join()
            code = process.exitcode
        else:
            pid = os.fork()
            if pid == 0:
                go_on(times)
                sys.exit(0)  # every object that was inherited is finalised
            go_on(20)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        go_on(20)
        say([code, count.read().value])


def fork_memory() -> None:
    """What the child of a fork is told by a store in memory, and whether the parent can go on."""
    store = Place("memory", "", "").open()
    written = store.compare_and_set("key", b"mine", expected=VACANT)
    pid = os.fork()
    if pid == 0:
        try:
            store.load("key")
        except StoreError as error:
            say(str(error))
        os._exit(0)
    os.waitpid(pid, 0)
    say(store.load("key") == written)


def _die_with_parent() -> None:
    """Even where that is killed before it can clean up, and this one stands still."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    _die_with_parent()
    name, given = sys.argv[1:]
    globals()[name](*(Place(**arg) if isinstance(arg, dict) else arg for arg in json.loads(given)))
