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

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from attrs import evolve, frozen

from resilience._core.finding import Finding
from resilience._core.functions import is_async
from resilience._core.tables import Tables, as_group, of_group, rules_of
from resilience._core.verdict import Verdict, VerdictKind
from resilience.errors import ConfigError
from resilience.typing import On


if TYPE_CHECKING:
    from resilience._core.explaining import Explanation

__all__ = ["Classifier", "Judge", "judge_of", "members_of", "name_of"]

#: A decided question: every exception gets a verdict.
Judge: TypeAlias = Callable[[Exception], Verdict]

PERMANENT = Verdict.permanent("no rule admits it")
UNSURE = Verdict.unsure(reason="admitted by the policy")

#: Classes that a policy remembers; some programs make exception classes at run time.
_MOST_KNOWN = 256


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

    def __call__(self, error: BaseException | None, /) -> Verdict | None:
        """The verdict on `error` (of None, such as a cause that is not there: None): None means that nothing here knows it, which for a retry is as good as permanent."""
        return None if error is None else self.find(error).verdict

    def explain(self, error: BaseException, /) -> Explanation:
        """Which row of which table decides about `error`, or which member of this, and why; print it.

        >>> from resilience import transient
        >>> print(transient.explain(ConnectionRefusedError("nobody there")))
        transient: refused
          ConnectionRefusedError: nobody there
          by the row: builtins.ConnectionRefusedError, errno none
        """
        # Imported here: it is for people who ask.
        from resilience._core.explaining import explained  # noqa: PLC0415

        return explained(error, self.find)

    def find(self, error: BaseException) -> Finding:
        """The verdict, with what decided."""
        for member in self.without:
            if _admits(member, error):
                return Finding(error, None, f"left out by - {name_of(member)}")
        group = as_group(error)
        if group is not None and not any(
            isinstance(member, type) and isinstance(error, member) for member in self.members
        ):
            return of_group(group, self.find)
        refused: Finding | None = None
        admitted: On | None = None
        for member in self.members:
            finding = _ask(member, error)
            if finding is None:
                continue
            if finding.verdict is None:
                admitted = admitted or member
            elif finding.verdict.kind is not VerdictKind.PERMANENT or not isinstance(member, (Tables, Classifier)):
                return finding  # also a user's own "permanent": it knows better than a table
            else:
                refused = refused or finding
        if admitted is not None:
            return self._refined(error, admitted)
        return refused or Finding(error, None, None)

    def _refined(self, error: BaseException, member: On) -> Finding:
        """What is known of an error that was admitted by its class, or by a predicate, alone."""
        known = self.tables.find(error)
        if known is None or known.verdict is None or known.verdict.kind is VerdictKind.PERMANENT:
            return Finding(error, UNSURE, member)
        return known._replace(by=member, parts=(known,))

    def __or__(self, other: On) -> Classifier:
        """This, or else `other`: an exception class, a predicate, a classifier, or a tuple of these."""
        # What was taken away stays away from this part only: `transient - OSError | ConnectionRefusedError` names the latter.
        mine: tuple[On, ...] = (self,) if self.without else self.members
        return Classifier(self.tables, (*mine, *members_of(other)))

    def __ror__(self, other: On) -> Classifier:
        """`other`, or else this: ``Busy | transient``."""
        return Classifier(self.tables, (*members_of(other), self))

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
        if classes_alone and len(known) < _MOST_KNOWN and not (rules_of(kind) or issubclass(kind, ExceptionGroup)):
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


def _ask(member: On, error: BaseException) -> Finding | None:
    """What one member says; without a verdict where it admits the error and says no more."""
    if isinstance(member, type):
        return Finding(error, None, member) if isinstance(error, member) else None
    if isinstance(member, Classifier):
        finding = member.find(error)
        return None if finding.verdict is None else finding
    if isinstance(member, Tables):
        return member.find(error)
    answer: object = cast("Callable[[BaseException], object]", member)(error)
    if isinstance(answer, Verdict):
        return Finding(error, answer, member)
    if answer is None or isinstance(answer, bool):
        return Finding(error, None, member) if answer else None
    raise TypeError(f"{name_of(member)} answered {answer!r}; a Verdict, True, False or None was expected")


def _admits(member: On, error: BaseException) -> bool:
    finding = _ask(member, error)
    return finding is not None and (finding.verdict is None or finding.verdict.kind is not VerdictKind.PERMANENT)
