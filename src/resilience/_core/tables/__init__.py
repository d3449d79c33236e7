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
    "aio_pika": "pika",
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

#: What wraps what may go round in a circle.
_DEEPEST = 10


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
            return of_group(group, lambda leaf: self.find(leaf, depth + 1))
        for rule in rules_of(type(error)) if isinstance(error, Exception) else ():
            try:
                finding = rule.find(error, self, depth)
            except Exception as broken:
                from resilience._core.rows import Row  # noqa: PLC0415  # rows are loaded with the first table

                cannot = Verdict.permanent(f"what it says of itself cannot be read: {type(broken).__name__}")
                return Finding(error, cannot, Row(rule.error, "unreadable", cannot))
            if finding is not None:
                return finding
        return None


def as_group(error: BaseException) -> BaseExceptionGroup[BaseException] | None:
    """The exception as a group; None if it is none."""
    return cast("BaseExceptionGroup[BaseException]", error) if isinstance(error, BaseExceptionGroup) else None


def of_group(group: BaseExceptionGroup[BaseException], find: Callable[[BaseException], Finding | None]) -> Finding:
    """Transient only if every leaf is, unsure if one is; the longest hint counts."""
    parts = tuple(find(leaf) or Finding(leaf, None, None) for leaf in _leaves(group))
    known = [
        part.verdict for part in parts if part.verdict is not None and part.verdict.kind is not VerdictKind.PERMANENT
    ]
    if len(known) < len(parts) or not parts:  # Python makes no empty group, but a subclass may
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
    while waiting:
        error = waiting.pop()
        inner = as_group(error)
        if inner is None:
            leaves.append(error)
        else:
            waiting.extend(reversed(inner.exceptions))
    return leaves


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
