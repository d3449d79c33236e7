"""Merges: what becomes of two changes made to one value at the same time.

Each takes three values: the `base` that both changes started from, `mine`, and `theirs`, which is stored already. It
returns what is to be stored instead, or raises `VersionConflictError` if the two cannot both be kept. They are pure, and
may run more than once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias, TypeVar, cast

from resilience._core.records import ANY
from resilience.errors import VersionConflictError


__all__ = ["merge_appends", "merge_counters", "merge_mappings", "merge_sets"]

N = TypeVar("N", int, float)
E = TypeVar("E")

#: The way to a value inside nested mappings.
Path: TypeAlias = tuple[str, ...]


def merge_mappings(base: Any, mine: Any, theirs: Any) -> Any:
    """Keep both sides' changes to a JSON-like mapping, key by key, however deep.

    A key that only one side added, changed or removed is as that side left it. What both sides did alike is done once.

    Args:
        base: The mapping that both started from; None if there was none.
        mine: As the caller would have it.
        theirs: As it is stored now.

    Raises:
        VersionConflictError: Both sides changed one key differently; its ``paths`` name every such place.

    >>> from resilience import merge_mappings
    >>> merge_mappings({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 1, "c": 3})
    {'a': 2, 'b': 1, 'c': 3}
    """
    clashes: list[Path] = []
    merged = _merged(base, mine, theirs, (), clashes)
    if clashes:
        raise VersionConflictError("", ANY, None, base, mine, theirs, tuple(clashes))
    return merged


def merge_counters(base: N, mine: N, theirs: N) -> N:
    """Add what I added to what they have.

    >>> from resilience import merge_counters
    >>> merge_counters(10, 11, 15)
    16
    """
    return theirs + mine - base


def merge_sets(base: AbstractSet[E], mine: AbstractSet[E], theirs: AbstractSet[E]) -> set[E]:
    """Add what either side added, remove what either side removed.

    >>> from resilience import merge_sets
    >>> sorted(merge_sets({1, 2}, {1, 2, 3}, {2}))
    [2, 3]
    """
    return (set(theirs) | (set(mine) - set(base))) - (set(base) - set(mine))


def merge_appends(base: Sequence[E], mine: Sequence[E], theirs: Sequence[E]) -> list[E]:
    """Put what I appended behind what they appended.

    Raises:
        VersionConflictError: One side did something else than append.

    >>> from resilience import merge_appends
    >>> merge_appends([1], [1, 2], [1, 3])
    [1, 3, 2]
    """
    length = len(base)
    if list(mine[:length]) != list(base) or list(theirs[:length]) != list(base):
        raise VersionConflictError("", ANY, None, base, mine, theirs)
    return [*theirs, *mine[length:]]


_NONE: Any = object()


def _merged(base: Any, mine: Any, theirs: Any, path: Path, clashes: list[Path]) -> Any:
    """One value of the three mappings; `_NONE` stands for a key that is not there."""
    if _same(mine, base):
        return theirs
    if _same(theirs, base) or _same(mine, theirs):
        return mine
    if not isinstance(mine, Mapping) or not isinstance(theirs, Mapping):
        clashes.append(path)
        return theirs
    mine, theirs = cast("Mapping[str, Any]", mine), cast("Mapping[str, Any]", theirs)
    start: Mapping[str, Any] = cast("Mapping[str, Any]", base) if isinstance(base, Mapping) else {}
    merged = {
        key: _merged(start.get(key, _NONE), mine.get(key, _NONE), theirs.get(key, _NONE), (*path, key), clashes)
        for key in dict.fromkeys([*theirs, *mine])
    }
    return {key: value for key, value in merged.items() if value is not _NONE}


def _same(one: Any, other: Any) -> bool:
    """Equal, all the way down, and of one type: Python's True equals 1, and a document must not change by that."""
    if one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        mine, theirs = cast("Mapping[str, Any]", one), cast("Mapping[str, Any]", other)
        return mine.keys() == theirs.keys() and all(_same(mine[key], theirs[key]) for key in mine)
    if isinstance(one, list) and isinstance(other, list):
        many, others = cast("Any", one), cast("Any", other)
        return len(many) == len(others) and all(map(_same, many, others))
    if isinstance(one, (int, float)) or isinstance(other, (int, float)):
        return type(cast("Any", one)) is type(cast("Any", other)) and bool(one == other)
    return bool(one == other)
