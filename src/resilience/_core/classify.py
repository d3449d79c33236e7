"""Which failures are worth trying again: classifiers, composed of members that are asked in order.

A classifier answers a `Verdict`, or None for "not mine". `transient` is the classifier that knows libraries: it finds
the library by the module names in ``type(exc).__mro__`` and loads that library's table on the first such error, so it
imports no driver and keeps no registry. Users compose: ``transient | MyError``, ``transient - ThatError``,
``(OSError, my_predicate)``.

A class or a predicate says only *whether* to try again. What it cannot know, whether the work may already have been
applied and how long the server asks for, is looked up in the same tables; where they know nothing either, the answer
is "unsure".
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias, cast

from attrs import evolve, frozen

from resilience._core.functions import is_async
from resilience._core.verdict import Verdict, VerdictKind
from resilience.errors import ConfigError
from resilience.typing import On


__all__ = ["Classifier", "Judge", "Tables", "judge_of", "members_of", "name_of"]

#: A decided question: every exception gets a verdict.
Judge: TypeAlias = Callable[[Exception], Verdict]

#: One library's rows: the exception and the wall clock (for a hint given as a date), to a verdict or None.
Table: TypeAlias = Callable[[Exception, Callable[[], float]], "Verdict | None"]

PERMANENT = Verdict.permanent("no rule admits it")
UNSURE = Verdict.unsure(reason="admitted by the policy")

#: Classes that a policy remembers; some programs make exception classes at run time.
_MOST_KNOWN = 256

#: Which table knows the exceptions of a top-level module; of `builtins`, only those classes that mean something.
_TABLE_OF_MODULE = {
    "asyncio": "stdlib",
    "concurrent": "stdlib",
    "http": "stdlib",
    "socket": "stdlib",
    "sqlite3": "stdlib",
    "ssl": "stdlib",
    "subprocess": "stdlib",
    "urllib": "stdlib",
    "builtins.OSError": "stdlib",
}


@frozen
class Tables:
    """The knowledge about libraries, as one classifier.

    Args:
        wall: Unix seconds now, for servers that say "not before this date" without saying what time they have.
    """

    wall: Callable[[], float]

    def __call__(self, error: BaseException) -> Verdict | None:
        """The verdict of the first table that knows this exception; None if none does."""
        if not isinstance(error, Exception):
            return None
        for table in _tables_of(type(error)):
            verdict = table(error, self.wall)
            if verdict is not None:
                return verdict
        return None


@frozen
class Classifier:
    """Members asked in order, minus exclusions. Immutable: `|` and `-` make new ones; safe to share.

    >>> from resilience import transient
    >>> class Busy(Exception): ...
    >>> (transient | Busy)(Busy()).kind
    <VerdictKind.UNSURE: 'unsure'>
    >>> (transient - ConnectionResetError)(ConnectionResetError()) is None
    True
    """

    tables: Tables
    members: tuple[On, ...]
    without: tuple[On, ...] = ()

    def __call__(self, error: BaseException, /) -> Verdict | None:
        """The verdict on `error`: None means that nothing here knows it, which for a retry is as good as permanent."""
        group = _as_group(error)
        if group is not None and not any(
            isinstance(member, type) and isinstance(error, member) for member in self.members
        ):
            return _of_group(group, self)
        if any(_admits(member, error) for member in self.without):
            return None
        refused: Verdict | None = None
        admitted = False
        for member in self.members:
            answer = _ask(member, error)
            if isinstance(answer, Verdict):
                if answer.kind is not VerdictKind.PERMANENT:
                    return answer
                refused = refused or answer
            elif answer:
                admitted = True
        return _refined(error, self.tables) if admitted else refused

    def __or__(self, other: On) -> Classifier:
        """This, or else `other`: an exception class, a predicate, a classifier, or a tuple of these."""
        # What was taken away stays away from this part only: `transient - OSError | ConnectionRefusedError` names the latter.
        mine: tuple[On, ...] = (self,) if self.without else self.members
        return Classifier(self.tables, (*mine, *members_of(other)))

    def __sub__(self, other: On) -> Classifier:
        """This, but not what `other` admits: that is answered None."""
        return evolve(self, without=(*self.without, *members_of(other)))

    def __str__(self) -> str:
        """As it was composed: ``transient | Busy - Late``."""
        admitted = " | ".join(f"({part})" if " - " in part else part for part in map(name_of, self.members))
        return " - ".join([admitted, *map(name_of, self.without)])


def judge_of(on: On, tables: Tables, known: dict[type, Verdict]) -> Judge:
    """One function that decides for every exception, from what a policy was given as `on`; checked here.

    Where classes are all that was given, and no table knows more of an exception than its class, the verdict is also
    put into `known`, to be looked up there the next time.
    """
    members = members_of(on)
    whole = members[0] if len(members) == 1 and isinstance(members[0], Classifier) else Classifier(tables, members)
    classes_alone = all(isinstance(member, type) for member in members)

    def judge(error: Exception) -> Verdict:
        verdict = whole(error) or PERMANENT
        kind = type(error)
        if classes_alone and len(known) < _MOST_KNOWN and not (_tables_of(kind) or issubclass(kind, ExceptionGroup)):
            known[kind] = verdict
        return verdict

    return judge


def name_of(member: On) -> str:
    """A member of `on` as people write it."""
    if isinstance(member, (Classifier, Tables)):
        return str(member) if isinstance(member, Classifier) else "transient"
    return str(getattr(member, "__qualname__", None) or repr(member))


def members_of(on: Any, option: str = "on") -> tuple[On, ...]:
    """What was given as `on`, as a flat tuple of members; `ConfigError` for what cannot be one."""
    if isinstance(on, tuple):
        several = cast("Iterable[Any]", on)
        return tuple(member for part in several for member in members_of(part, option))
    if isinstance(on, type) and issubclass(on, BaseException):
        if issubclass(on, Exception):
            return (on,)
        # A cancelled task or an interrupted program must end, not try again.
        raise ConfigError(option, on, "a subclass of Exception: only those are ever tried again")
    if isinstance(on, type) or not callable(on) or is_async(on):
        raise ConfigError(option, on, "an exception class, a predicate or classifier (not async), or a tuple of these")
    return (cast("On", on),)


def _ask(member: On, error: BaseException) -> Verdict | bool | None:
    if isinstance(member, type):
        return isinstance(error, member)
    answer: object = cast("Callable[[BaseException], object]", member)(error)
    if answer is None or isinstance(answer, (bool, Verdict)):
        return answer
    raise TypeError(f"{name_of(member)} answered {answer!r}; a Verdict, True, False or None was expected")


def _as_group(error: BaseException) -> BaseExceptionGroup[BaseException] | None:
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error)
    return None


def _admits(member: On, error: BaseException) -> bool:
    answer = _ask(member, error)
    return answer.kind is not VerdictKind.PERMANENT if isinstance(answer, Verdict) else bool(answer)


def _refined(error: BaseException, tables: Tables) -> Verdict:
    """What is known of an error that was admitted by its class alone."""
    group = _as_group(error)
    known = tables(error) if group is None else _of_group(group, tables)
    return UNSURE if known is None or known.kind is VerdictKind.PERMANENT else known


def _of_group(group: BaseExceptionGroup[BaseException], ask: Classifier | Tables) -> Verdict | None:
    """Transient only if every leaf is, unsure if one is; the longest hint counts."""
    verdicts = [ask(leaf) for leaf in _leaves(group)]
    known = [verdict for verdict in verdicts if verdict is not None and verdict.kind is not VerdictKind.PERMANENT]
    if len(known) < len(verdicts):
        return Verdict.permanent("a group with a leaf that is not worth trying again")
    after = max((verdict.after for verdict in known if verdict.after is not None), default=None)
    throttled = any(verdict.throttled for verdict in known)
    unsure = any(verdict.kind is VerdictKind.UNSURE for verdict in known)
    kind = VerdictKind.UNSURE if unsure else VerdictKind.TRANSIENT
    return Verdict(kind, after, throttled, f"every leaf of the group is {kind} or better")


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            yield from _leaves(cast("BaseExceptionGroup[BaseException]", inner))
        else:
            yield inner


def _load_tables(kind: type[BaseException]) -> tuple[Table, ...]:
    """The tables that may know exceptions of this class, nearest base first; loaded here, on the first such error."""
    names: dict[str, None] = {}
    for base in kind.__mro__:
        top = base.__module__.partition(".")[0]
        name = _TABLE_OF_MODULE.get(top) or _TABLE_OF_MODULE.get(f"{base.__module__}.{base.__qualname__}")
        if name is not None:
            names[name] = None
    return tuple(importlib.import_module(f"resilience._core.tables.{name}").verdict for name in names)


#: `_load_tables`, remembered. (The cast is for mypy, which takes a class's `__hash__` for that of its instances.)
_tables_of = cast("Callable[[type[BaseException]], tuple[Table, ...]]", lru_cache(maxsize=1024)(_load_tables))
