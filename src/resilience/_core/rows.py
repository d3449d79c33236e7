"""What a library's table is made of: rules for classes of exceptions, and the rows that these come down to.

A table is data. Each rule is for one class, named with its dots (its subclasses are meant too), and is of one of three kinds:

    Always    every exception of the class means the same
    By        a fact that the exception carries decides: an error number, an SQLSTATE, an HTTP status
    Inside    the exception wraps another one, which is judged in its place

A fourth one is about a rule: `LastOf`, for libraries that make several requests for one call, of which the error tells the last.

The rules of the nearest class in ``type(error).__mro__`` are asked first; one that has nothing to say lets the next be
asked. Every answer names its row, so that `transient.explain` can show it, the documentation print it, and a test prove it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, cast

from attrs import evolve, field, frozen

from resilience._core.finding import Finding
from resilience._core.verdict import Verdict, VerdictKind


__all__ = ["Always", "By", "Inside", "Judging", "LastOf", "Row", "Rule", "Table", "local", "passed", "read"]

#: A fact of an exception: a path to it, as `read` reads it ("response.status_code"), or a function that finds it.
Fact: TypeAlias = "str | Callable[[Any], object]"


@frozen
class Row:
    """One line of a table: which exceptions, and the verdict on them.

    Args:
        error: The class, with its dots.
        when: Which of its exceptions, for people; empty for all of them.
        verdict: What they mean; without the hint of a server, which each exception has its own of.
    """

    error: str
    when: str
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.error}, {self.when}" if self.when else self.error


class Judging(Protocol):
    """What a rule may ask while it judges."""

    @property
    def wall(self) -> Callable[[], float]:
        """Unix seconds now, for a hint that is a date."""
        ...

    def find(self, error: BaseException, depth: int = 0, /) -> Finding | None:
        """What the tables know of another exception, `depth` wrappings further in; None for nothing."""
        ...


class Rule(Protocol):
    """What a table says of one class."""

    @property
    def error(self) -> str:
        """The class, with its dots."""
        ...

    @property
    def rows(self) -> tuple[Row, ...]:
        """Everything it can answer."""
        ...

    def find(self, error: Any, judging: Judging, depth: int, /) -> Finding | None:
        """What it says of this exception of its class; None if nothing."""
        ...


@frozen
class Table:
    """What is known of one library's exceptions.

    Args:
        library: Its name, for people.
        rules: In the order in which those of one class are asked.
        source: Where the library says what its exceptions mean.
    """

    library: str
    rules: tuple[Rule, ...]
    source: str = ""
    by_class: Mapping[str, tuple[Rule, ...]] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        of: dict[str, tuple[Rule, ...]] = {}
        for rule in self.rules:
            of[rule.error] = (*of.get(rule.error, ()), rule)
        object.__setattr__(self, "by_class", of)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row, in order."""
        return tuple(row for rule in self.rules for row in rule.rows)


@frozen
class Always:
    """Every exception of this class means the same."""

    error: str
    verdict: Verdict
    rows: tuple[Row, ...] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "rows", (Row(self.error, "", self.verdict),))

    def find(self, error: Any, _judging: Judging, _depth: int, /) -> Finding:
        """The one row."""
        return Finding(error, self.verdict, self.rows[0])


@frozen
class By:
    """A fact that the exception carries decides.

    Args:
        error: The class, with its dots.
        called: What the fact is called ("errno", "SQLSTATE"); with its value it names the row.
        fact: The path to it, or a function that finds it; where it is None or not there, the rule has nothing to say.
        verdicts: By the fact's value. A key that ends in ``*`` is for every text that begins so; the longest such counts.
        otherwise: For any other value; None to have nothing to say of it.
        hint: Seconds that the exception says the other side asked for; None for a library that never does.
    """

    error: str
    called: str
    fact: Fact
    verdicts: Mapping[Any, Verdict]
    otherwise: Verdict | None = None
    hint: Callable[[Any, Callable[[], float]], float | None] | None = None
    _row_of: Mapping[Any, Row] = field(init=False, repr=False)
    _beginnings: tuple[str, ...] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        row_of = {value: self._row(value, verdict) for value, verdict in self.verdicts.items()}
        beginnings = [key for key in self.verdicts if isinstance(key, str) and key.endswith("*")]
        object.__setattr__(self, "_row_of", row_of)
        object.__setattr__(self, "_beginnings", tuple(sorted(beginnings, key=len, reverse=True)))

    @property
    def rows(self) -> tuple[Row, ...]:
        """One for each value; the last one for any other."""
        rows = tuple(self._row_of.values())
        return rows if self.otherwise is None else (*rows, Row(self.error, self._any_other, self.otherwise))

    def find(self, error: Any, judging: Judging, _depth: int, /) -> Finding | None:
        """The row of the fact's value."""
        value = read(error, self.fact)
        if value is None:
            return None
        row = self._row_of.get(value) or self._row_of_beginning(value)
        if row is None:
            if self.otherwise is None:
                return None
            row = Row(self.error, self._any_other, self._said(value, self.otherwise))
        after = None if row.verdict.kind is VerdictKind.PERMANENT else self._hint(error, judging.wall)
        return Finding(error, row.verdict if after is None else evolve(row.verdict, after=after), row)

    @property
    def _any_other(self) -> str:
        return f"any other {self.called.rstrip(':')}"

    def _hint(self, error: Any, wall: Callable[[], float]) -> float | None:
        try:
            return None if self.hint is None else self.hint(error, wall)
        except Exception:  # headers that are none must not take the verdict with them
            return None

    def _row_of_beginning(self, value: object) -> Row | None:
        if not isinstance(value, str):
            return None
        key = next((key for key in self._beginnings if value.startswith(key[:-1])), None)
        return None if key is None else Row(self.error, f"{self.called} {key}", self._said(value, self.verdicts[key]))

    def _row(self, value: object, verdict: Verdict) -> Row:
        return Row(self.error, f"{self.called} {value}", self._said(value, verdict))

    def _said(self, value: object, verdict: Verdict) -> Verdict:
        return verdict if verdict.reason else evolve(verdict, reason=f"{self.called} {value!s:.200}")


@frozen
class Inside:
    """The exception wraps another one, which is judged in its place.

    Args:
        error: The class, with its dots.
        where: The paths to the other one, the first that leads to an exception counts.
        unsent: Whether this class is only raised before anything was sent: then what would be unsure is transient.
        otherwise: Where nothing is wrapped, or nobody knows it; None to have nothing to say.
    """

    error: str
    where: tuple[str, ...] = ("__cause__", "__context__")
    unsent: bool = False
    otherwise: Verdict | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """What it wraps, and what it means where that says nothing."""
        inner = Row(self.error, f"by its {' or '.join(self.where)}", Verdict.unsure(reason="judged by what it wraps"))
        return (inner,) if self.otherwise is None else (inner, Row(self.error, "nothing known inside", self.otherwise))

    def find(self, error: Any, judging: Judging, depth: int, /) -> Finding | None:
        """What is known of the other one, taken over."""
        inner = next(
            (found for found in (read(error, path) for path in self.where) if isinstance(found, Exception)), None
        )
        finding = None if inner is None else judging.find(inner, depth + 1)
        if finding is not None and finding.verdict is not None:
            verdict = finding.verdict
            if self.unsent and verdict.kind is VerdictKind.UNSURE:
                verdict = evolve(verdict, kind=VerdictKind.TRANSIENT)
            return Finding(error, verdict, self.rows[0], (finding,))
        return None if self.otherwise is None else Finding(error, self.otherwise, self.rows[1])


@frozen
class LastOf:
    """Rules about one request, where the library may have made others before it, for the same call.

    It follows redirects, or tries again by itself. What the last request came to says nothing of those before it: a POST
    may have been done, and answered with a redirect to a server that refuses connections. Then nothing is certain, and what
    would be transient is unsure.

    Args:
        rules: What the error says of the last request; all of one class, asked in order.
        others: Whether one before it may have been done; None where nobody knows, for the error has lost its traceback:
            what is not known is no proof. (Of an error inside another one, that one's own traceback tells.)
        when: Where that is so, for people: it has a row of its own. Empty to say so in the reason only.
    """

    rules: tuple[Rule, ...]
    others: Callable[[Any], bool | None]
    when: str = ""
    rows: tuple[Row, ...] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        rows = tuple(row for rule in self.rules for row in rule.rows)
        object.__setattr__(self, "rows", (*rows, Row(self.error, self.when, _DOUBT)) if self.when else rows)

    @property
    def error(self) -> str:
        """The class, with its dots."""
        return self.rules[0].error

    def find(self, error: Any, judging: Judging, depth: int, /) -> Finding | None:
        """What the first rule says that says anything, or a little less."""
        found = (rule.find(error, judging, depth) for rule in self.rules)
        finding = next((finding for finding in found if finding is not None), None)
        verdict = None if finding is None else finding.verdict
        if finding is None or verdict is None or verdict.kind is not VerdictKind.TRANSIENT:
            return finding
        others = self.others(error)
        doubt = _DOUBT.reason if others else _UNSEEN
        if others is False or (others is None and depth > 0):
            return finding
        if self.when:
            verdict = evolve(verdict, kind=VerdictKind.UNSURE, reason=doubt)
            return finding._replace(verdict=verdict, by=self.rows[-1])
        verdict = evolve(verdict, kind=VerdictKind.UNSURE, reason=f"{verdict.reason}; but {doubt}")
        return finding._replace(verdict=verdict)


_DOUBT = Verdict.unsure(reason="an earlier request of the same call may have been done")
_UNSEEN = "its traceback does not show that there was no earlier request of the same call"


def read(error: object, fact: Fact) -> object:
    """A fact of an exception; None where it has none: another version of the library may call it something else.

    A path leads through attributes, keys of mappings, and places in tuples: "response.status_code", "args.0".
    """
    if not isinstance(fact, str):
        return fact(error)
    found: Any = error
    for name in fact.split("."):
        if isinstance(found, Mapping):
            found = cast("Mapping[object, Any]", found).get(name)
        elif name.isdigit() and isinstance(found, tuple):
            found = dict(enumerate(cast("tuple[object, ...]", found))).get(int(name))
        else:
            found = getattr(cast("object", found), name, None)
    return found


def local(error: BaseException, module: str, function: str, name: str) -> object:
    """What a variable of a function held when the error passed through it; None if it did not, or has no traceback."""
    found: object = None
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == function and frame.f_globals.get("__name__") == module:
            found = frame.f_locals.get(name)
        trace = trace.tb_next
    return found


def passed(error: BaseException, *modules: str) -> bool:
    """Whether the error came through code of one of these modules, as its traceback has it.

    A traceback is lost where an error is pickled, or raised again by hand. Then what it would have shown is not known, and
    what is not known is no proof.
    """
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__")
        if isinstance(name, str) and name.startswith(modules):
            return True
        trace = trace.tb_next
    return False
