"""The contract of a store as a test class: three lines for whoever has a store to prove.

    class TestMine(StoreContract):
        def make_store(self, clock):
            return MyStore(clock=clock)

Each clause is one test. The clauses stand once, for both colours; what a store cannot be asked is skipped by its name,
what it is known not to keep is declared with a reason, and nothing can be left out or replaced in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from resilience.testing.contracts.catalogue import CLAUSES
from resilience.testing.contracts.clauses import Subject, checked_lacks
from resilience.testing.contracts.report import Report, asked, checked_gaps, judge, report_on
from resilience.typing import Clock


__all__ = ["AsyncStoreContract", "StoreContract"]


def _tests() -> dict[str, Any]:
    def made(name: str) -> Any:
        def test(self: _Contract) -> None:
            self._prove(name)  # pyright: ignore[reportPrivateUsage]

        test.__name__, test.__qualname__, test.__doc__ = (
            f"test_{name}",
            f"StoreContract.test_{name}",
            CLAUSES[name].says,
        )
        return test

    return {f"test_{name}": made(name) for name in CLAUSES}


#: The tests themselves, by which one that was replaced is told.
_TESTS = _tests()


class _Contract:
    """What both colours share: every clause as a test."""

    clock: Clock
    """The clock that `make_store` was given last."""

    clock_is_ours: ClassVar[bool] = True
    """Whether the store reads time from the clock it is given. If False, what concerns time is tested with short real waits."""
    waits_are_real: ClassVar[bool] = False
    """Whether, though it does, it waits for a server or another process, and so by real time."""
    max_value_bytes: ClassVar[int | None] = 1 << 20
    """The limit of a value, which is tested; None if there is none."""
    max_examples: ClassVar[int] = 100
    """How many programs each of the two state machines tries; with a tenth of it they find little."""
    known_gaps: ClassVar[Mapping[str, str]] = {}
    """The clauses that the store does not keep, by name, each with the reason. One that it does keep fails."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """Why there is no "another", "reopen", "clock" or "limit": shown for each clause that is therefore not run."""

    _is_async: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in (f"test_{clause}" for clause in asked(is_async=cls._is_async)):
            test = _TESTS[name]
            if _Contract in cls.__bases__:
                setattr(cls, name, test)
            elif getattr(cls, name, None) is not test:
                raise TypeError(
                    f"{cls.__name__} replaces {name}, a clause of the contract: a clause that the store does not keep "
                    f"is declared: known_gaps = {{{name.removeprefix('test_')!r}: 'why'}}"
                )
        checked_gaps(cls.known_gaps)
        checked_lacks(cls.lacks)

    def make_store(self, clock: Clock) -> Any:
        """A new, empty store. It reads time from `clock` only; if it has a time of its own, say so by `clock_is_ours`."""
        raise NotImplementedError(
            f"{type(self).__name__} must define make_store(self, clock), which returns a new, empty store"
        )

    def another(self, store: Any) -> Any:
        """A second instance over the same data as `store`, on ``self.clock``; not defined where there can be none."""
        raise NotImplementedError

    def reopen(self, store: Any) -> Any:
        """Close `store` and open it again, on ``self.clock``; not defined where that cannot be."""
        raise NotImplementedError

    @classmethod
    def report(cls) -> Report:
        """Put every clause to the store, without pytest."""
        return report_on(cls.__name__, cls().subject(), cls.known_gaps)

    def subject(self) -> Subject:
        """What is proven, and what is known of it."""

        def make(clock: Clock) -> Any:
            self.clock = clock
            return self.make_store(clock)

        kind = type(self)
        return Subject(
            make,
            None if kind.another is _Contract.another else self.another,
            None if kind.reopen is _Contract.reopen else self.reopen,
            self.clock_is_ours,
            self.waits_are_real,
            self._is_async,
            self.max_value_bytes,
            self.max_examples,
            self.lacks,
        )

    def _prove(self, name: str) -> None:
        import pytest  # noqa: PLC0415  # it is what runs this

        verdict = judge(CLAUSES[name], self.subject(), self.known_gaps)
        if verdict.error is not None:
            raise verdict.error
        if verdict.kind == "not run":
            pytest.skip(f"not run: {name}: {verdict.reason}")
        if verdict.kind == "gap":
            pytest.xfail(verdict.reason)


class StoreContract(_Contract):
    """The contract of a `resilience.typing.Store`, as a test class to subclass.

    Two more methods unlock what cannot be tested with one instance, such as a zombie writer: ``another(self, store)``, a
    second instance over the same data, and ``reopen(self, store)``. Everything made is closed by the contract.

    >>> from resilience.stores import MemoryStore
    >>> from resilience.testing import StoreContract
    >>> class TestMine(StoreContract):
    ...     max_examples = 20
    ...     def make_store(self, clock):
    ...         return MemoryStore(clock)
    >>> TestMine.report().ok
    True
    """


class AsyncStoreContract(_Contract):
    """The contract of a `resilience.typing.AsyncStore`: the same clauses, carried out on an event loop.

    ``make_store``, ``another`` and ``reopen`` are called on that loop, and may be coroutine functions. A store that reads
    the contract's clock has an event loop on virtual time. The tests are plain functions, and need no async plugin.
    """

    _is_async = True
