"""Clauses: the promises of a store, each with a name, so that a report can say which one is broken.

A clause is one small program against the store under proof; it raises an `AssertionError` where the store does not keep
its word. Some need more than a store: a second instance over the same data, a store that can be opened again, one whose
time is the contract's. What a store does not have, the clauses that need it say; they are never left out in silence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen

from resilience.typing import Clock


__all__ = ["CLAUSES", "Clause", "Need", "Subject", "checked_lacks", "register", "unmet"]

#: What a clause may need beyond a store; "async" clauses are of no concern to blocking stores.
Need: TypeAlias = Literal["another", "reopen", "clock", "limit", "async"]

#: What each of them is, for people.
_NEEDS: Final[Mapping[str, str]] = {
    "another": "a second instance over the same data: define another(store)",
    "reopen": "a store that can be closed and opened again: define reopen(store)",
    "clock": "a store that reads time from the clock it is given (clock_is_ours)",
    "limit": "a limit of the size of values (max_value_bytes)",
}


@frozen
class Subject:
    """The store to be proven: how it is made, and what is known of it.

    Args:
        make: Makes a new, empty store on a clock.
        another: Makes a second instance over the same data; None if there can be none.
        reopen: Closes a store and opens it again; None if that cannot be.
        clock_is_ours: Whether it reads time from the clock it is given.
        waits_are_real: Whether, though it does, it waits for a server or another process, and so by real time.
        is_async: Whether it is an `AsyncStore`.
        max_value_bytes: The limit of its values; None if there is none.
        max_examples: How many programs each state machine tries.
        lacks: Why it has not what some clauses need, by what they need.
    """

    make: Callable[[Clock], Any]
    another: Callable[[Any], Any] | None = None
    reopen: Callable[[Any], Any] | None = None
    clock_is_ours: bool = True
    waits_are_real: bool = False
    is_async: bool = False
    max_value_bytes: int | None = 1 << 20
    max_examples: int = 100
    lacks: Mapping[str, str] = field(factory=dict[str, str])


@frozen
class Clause:
    """One promise.

    Args:
        name: What it is called in reports, tests and `known_gaps`.
        says: The promise, in a sentence.
        needs: What it needs beyond a store.
        check: Raises `AssertionError` if the promise is broken.
    """

    name: str
    says: str
    needs: tuple[Need, ...]
    check: Callable[[Subject], None]


#: Every clause, by its name; filled as the modules that hold them are imported, and never changed afterwards.
CLAUSES: Final[dict[str, Clause]] = {}


def register(check: Callable[..., object], needs: tuple[Need, ...], run: Callable[[Subject], None]) -> None:
    """Add a clause; its name and its sentence are those of the function `check`."""
    name = check.__name__
    CLAUSES[name] = Clause(name, inspect.cleandoc(str(check.__doc__)), needs, run)


def checked_lacks(lacks: Mapping[str, str]) -> Mapping[str, str]:
    """What a store has not, each of a kind that there is."""
    for need in lacks:
        if need not in _NEEDS:
            raise TypeError(f"lacks names {need!r}, which no clause needs: one of {', '.join(_NEEDS)}")
    return lacks


def unmet(clause: Clause, subject: Subject) -> str | None:
    """Why the clause cannot be put to this store; None if it can."""
    lacking = {
        "another": subject.another is None,
        "reopen": subject.reopen is None,
        "clock": not subject.clock_is_ours,
        "limit": subject.max_value_bytes is None,
    }
    for need in clause.needs:
        if lacking.get(need, False):
            return subject.lacks.get(need) or f"it needs {_NEEDS[need]}"
    return None
