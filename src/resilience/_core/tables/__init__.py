"""What is known of each library's exceptions: one table a library, loaded on the first exception of it.

Each file has one `Table`, called ``TABLE``. It names classes and attributes, and never imports the library: the exception
is there, so the library is. A library is recognised by the module names in ``type(error).__mro__``; nothing is registered.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from attrs import frozen

from resilience._core.finding import Finding
from resilience._core.verdict import Verdict, VerdictKind


if TYPE_CHECKING:
    from resilience._core.rows import Rule, Table

__all__ = ["TABLE_OF_MODULE", "Tables", "as_group", "load", "of_group", "rules_of"]

#: Which table knows the exceptions of a module, by its first two names or its first; or of one class, by its whole name.
#: Of `builtins` only those classes that mean something: nobody knows a bug, so nobody tries it again.
TABLE_OF_MODULE = {
    "aiohttp": "aiohttp",
    "aiormq": "pika",
    "anthropic": "llm",
    "anyio": "anyio",
    "asyncio": "stdlib",
    "asyncpg": "asyncpg",
    "botocore": "botocore",
    "builtins.ConnectionError": "stdlib",
    "builtins.ConnectionRefusedError": "stdlib",
    "builtins.OSError": "stdlib",
    "builtins.TimeoutError": "stdlib",
    "concurrent": "stdlib",
    "docker": "docker",
    "google.api_core": "google_api_core",
    "grpc": "grpc",
    "http": "stdlib",
    "httpcore": "httpx",
    "httpcore2": "httpx",
    "httpx": "httpx",
    "httpx2": "httpx",
    "mcp": "mcp",
    "nats": "nats",
    "openai": "llm",
    "pika": "pika",
    "psycopg": "psycopg",
    "psycopg_pool": "psycopg",
    "pymongo": "pymongo",
    "redis": "redis",
    "requests": "requests",
    "resilience": "resilience",
    "socket": "stdlib",
    "sqlalchemy": "sqlalchemy",
    "sqlite3": "stdlib",
    "ssl": "stdlib",
    "subprocess": "stdlib",
    "subprocess.CalledProcessError": "git",
    "urllib": "stdlib",
    "urllib3": "urllib3",
    "websockets": "websockets",
}

#: What wraps what may go round in a circle. A group inside is worth five, for each of its leaves is followed.
_DEEPEST = 10
#: Leaves of a group that are judged; beyond that nobody waits for the answer.
_MOST_LEAVES = 1_000


@frozen
class Tables:
    """The knowledge about libraries, as one classifier.

    Args:
        wall: Unix seconds now, for servers that say "not before this date" without saying what time they have.
    """

    wall: Callable[[], float]

    def __call__(self, error: BaseException) -> Verdict | None:
        """The verdict of the nearest rule that knows this exception; None if none does."""
        finding = self.find(error)
        return None if finding is None else finding.verdict

    def find(self, error: BaseException, depth: int = 0, /) -> Finding | None:
        """The same with the row that decided. An exception that breaks the rule that reads it is not worth trying again."""
        if depth > _DEEPEST:
            return None
        group = as_group(error)
        if group is not None:
            return of_group(group, lambda leaf: self.find(leaf, depth + _DEEPEST // 2))
        try:
            findings = (rule.find(error, self, depth) for rule in _rules_for(error))
            return next((finding for finding in findings if finding is not None), None)
        except Exception as broken:  # also that of a table that cannot be loaded, for want of a file descriptor
            cannot = Verdict.permanent(f"what it says of itself cannot be read: {type(broken).__name__}")
            return Finding(error, cannot, "a row that could not read it")


def as_group(error: BaseException) -> BaseExceptionGroup[BaseException] | None:
    """The exception as a group; None if it is none."""
    return cast("BaseExceptionGroup[BaseException]", error) if isinstance(error, BaseExceptionGroup) else None


def of_group(group: BaseExceptionGroup[BaseException], find: Callable[[BaseException], Finding | None]) -> Finding:
    """Transient only if every leaf is, unsure if one is; the longest hint counts."""
    parts = tuple(find(leaf) or Finding(leaf, None, None) for leaf in _leaves(group))
    known = [
        part.verdict for part in parts if part.verdict is not None and part.verdict.kind is not VerdictKind.PERMANENT
    ]
    if len(known) < len(parts) or not 0 < len(parts) <= _MOST_LEAVES:  # Python makes no empty group, but a subclass may
        hopeless = Verdict.permanent("a group with a leaf that is not worth trying again")
        return Finding(group, hopeless, "the leaves of the group", parts)
    after = max((verdict.after for verdict in known if verdict.after is not None), default=None)
    throttled = any(verdict.throttled for verdict in known)
    unsure = any(verdict.kind is VerdictKind.UNSURE for verdict in known)
    kind = VerdictKind.UNSURE if unsure else VerdictKind.TRANSIENT
    verdict = Verdict(kind, after, throttled, f"every leaf of the group is {kind} or better")
    return Finding(group, verdict, "the leaves of the group", parts)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Every leaf once, in order, however deep: the groups still to open are a list, not Python's own stack."""
    leaves: list[BaseException] = []
    waiting: list[BaseException] = [group]
    seen: set[int] = set()  # by identity: one exception may be in many groups, and a group in another one twice
    while waiting and len(leaves) <= _MOST_LEAVES:
        error = waiting.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        inner = as_group(error)
        if inner is None:
            leaves.append(error)
        else:
            waiting.extend(reversed(inner.exceptions))
    return leaves


def _rules_for(error: BaseException) -> tuple[Rule, ...]:
    return rules_of(type(error)) if isinstance(error, Exception) else ()


def load(name: str) -> Table:
    """The table in the file of this name."""
    return cast("Table", importlib.import_module(f"resilience._core.tables.{name}").TABLE)


def _load_rules(kind: type[BaseException]) -> tuple[Rule, ...]:
    """What the tables say of exceptions of this class, nearest base first; loaded here, on the first such error."""
    rules: list[Rule] = []
    for base in kind.__mro__:
        name = _table_of(base)
        if name is not None:
            rules.extend(load(name).by_class.get(f"{base.__module__}.{base.__qualname__}", ()))
    return tuple(rules)


def _table_of(base: type) -> str | None:
    module = str(base.__module__)
    names = module.split(".")
    keys = (f"{module}.{base.__qualname__}", ".".join(names[:2]), names[0])
    return next((TABLE_OF_MODULE[key] for key in keys if key in TABLE_OF_MODULE), None)


#: `_load_rules`, remembered. (The cast is for mypy, which takes a class's `__hash__` for that of its instances.)
rules_of = cast("Callable[[type[BaseException]], tuple[Rule, ...]]", lru_cache(maxsize=1024)(_load_rules))
