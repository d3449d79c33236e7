"""The bench that a clause works on: a new store, its time, and a record of what was asked and what came.

On a store that reads the contract's clock, time stands still until a clause lets it pass, so that an expiry can be met
to the tick. A store with a time of its own (a server's) is proven with short real waits: there a clause may rely on it
that `short` is over after `expire`, and that `long` is not, and on nothing finer. Between the two are stores that read
the contract's clock for their records and yet wait for a server: their `wait` is measured by real time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from resilience._core.description import Description
from resilience._core.records import ANY, Beat, Expected, Guard, Versioned
from resilience._core.steps import Steps
from resilience._io import world
from resilience._io.clock import SystemClock
from resilience.testing.clock import VirtualClock
from resilience.testing.contracts.clauses import Need, Subject, register
from resilience.testing.contracts.hands import Direct, Hands, OnLoop
from resilience.typing import Clock, Seconds


if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["TICK", "Bench", "Handle", "clause", "shown"]

E = TypeVar("E", bound=BaseException)
Check = TypeVar("Check", bound="Callable[[Bench], None]")

#: The smallest step of time that a clause makes, in seconds: exact in binary, and in microseconds.
TICK = 1 / 64

#: How many calls a failure tells.
_TOLD = 12


def shown(value: object, limit: int = 160) -> str:
    """A value as a message shows it: a mebibyte is not."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class Handle:
    """An instance of the store under proof, with the verbs of a `resilience.typing.Store` whatever its colour.

    Args:
        store: The instance itself.
        name: What messages call it.
        hands: How it is reached.
        trail: Where it tells what was asked of it, and what came.
    """

    def __init__(self, store: Any, name: str, hands: Hands, trail: list[str]) -> None:
        self.inner = store
        self._name = name
        self._hands = hands
        self._trail = trail

    def _do(self, verb: str, *args: Any, **options: Any) -> Any:
        told = [shown(arg) for arg in args] + [f"{key}={shown(value)}" for key, value in options.items()]
        call = f"{self._name}.{verb}({', '.join(told)})"
        self._trail.append(call)
        at = len(self._trail) - 1
        try:
            answer = self._hands.verb(self.inner, verb, args, options)
        except BaseException as error:
            self._trail[at] = f"{call} raised {type(error).__name__}: {error}"
            raise
        self._trail[at] = f"{call} -> {shown(answer)}"
        return answer

    def load(self, key: str) -> Versioned[bytes] | None:
        """As of a store, and so are those below."""
        return cast("Versioned[bytes] | None", self._do("load", key))

    def load_many(self, keys: Iterable[str]) -> dict[str, Versioned[bytes] | None]:
        """Load several."""
        return cast("dict[str, Versioned[bytes] | None]", self._do("load_many", keys))

    def put(
        self,
        key: str,
        value: Any = b"value",
        expected: Expected = ANY,
        *,
        ttl: Seconds | None = None,
        guard: Guard | None = None,
        write_id: str | None = None,
    ) -> Versioned[bytes]:
        """Compare and set; what is not given is not passed on."""
        given = {"ttl": ttl, "guard": guard, "write_id": write_id}
        options = {name: option for name, option in given.items() if option is not None}
        return cast("Versioned[bytes]", self._do("compare_and_set", key, value, expected=expected, **options))

    def extend(self, *beats: Beat) -> frozenset[str]:
        """Renew."""
        return cast("frozenset[str]", self._do("extend", list(beats)))

    def remove(self, key: str, expected: Expected = ANY, guard: Guard | None = None) -> bool:
        """Remove; a guard that is not given is not passed on."""
        options = {} if guard is None else {"guard": guard}
        return cast("bool", self._do("remove", key, expected=expected, **options))

    def scan(self, prefix: str = "", **options: Any) -> list[tuple[str, Versioned[bytes]]]:
        """One page."""
        return cast("list[tuple[str, Versioned[bytes]]]", self._do("scan", prefix, **options))

    def wait(self, key: str, after: int, timeout: Seconds) -> object:
        """Wait for a change."""
        return self._do("wait", key, after=after, timeout=timeout)

    def ping(self) -> object:
        """Ask whether it is there."""
        return self._do("ping")

    def describe(self) -> Description:
        """What it says of itself."""
        return cast("Description", self._do("describe"))

    def close(self) -> object:
        """Close it."""
        return self._do("close")

    def __enter__(self) -> object:
        return self._do("__enter__")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> object:
        return self._do("__exit__", kind, error, tb)


class Bench:
    """A new store, ready to be proven; a context manager.

    Args:
        subject: The store to be proven.
        real_time: On the machine's own clock, even if the store would take the contract's.
    """

    def __init__(self, subject: Subject, *, real_time: bool = False) -> None:
        self.subject = subject
        self.virtual: VirtualClock | None = None if real_time or not subject.clock_is_ours else VirtualClock()
        self.clock: Clock = self.virtual or SystemClock()
        #: By which waits are measured.
        self.watch: Clock = SystemClock() if subject.waits_are_real else self.clock
        self.short: float = 0.05 if self.virtual is None else 8.0
        self.long: float = 600.0 if self.virtual is None else 64.0
        self.trail: list[str] = []
        self._instances = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        virtual = None if self.subject.waits_are_real else self.virtual
        chance = world.SystemRng() if virtual is None else random.Random(0)
        with self._stack as stack:
            other = world.World(clock=self.watch, rng=chance, observers=world.current.observers)
            stack.enter_context(world.swapped(other))
            loop_factory = None if virtual is None else virtual.loop_factory
            self.hands: Hands = OnLoop(loop_factory) if self.subject.is_async else Direct()
            stack.callback(self.hands.close)
            self.store: Handle = self._handle(self.hands.call(self.subject.make, self.clock))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is None:
            self._stack.close()
            return
        told = self.trail[-_TOLD:]
        error.add_note("\n  ".join([f"The last {len(told)} calls:", *told]))
        with suppress(Exception):  # a store that broke a promise may break this one too; what is told is the first
            self._stack.close()

    # -- instances ---------------------------------------------------------------------------------------------------

    def another(self) -> Handle:
        """A second instance over the same data."""
        assert self.subject.another is not None
        return self._handle(self.hands.call(self.subject.another, self.store.inner))

    def another_or_the_same(self) -> Handle:
        """A second instance, if there can be one."""
        return self.store if self.subject.another is None else self.another()

    def reopened(self) -> Handle:
        """The store, closed and opened again."""
        assert self.subject.reopen is not None
        self.store = self._handle(self.hands.call(self.subject.reopen, self.store.inner))
        return self.store

    def _handle(self, store: Any) -> Handle:
        self._instances += 1
        handle = Handle(store, "store" if self._instances == 1 else f"store{self._instances}", self.hands, self.trail)
        self._stack.callback(self.hands.verb, store, "close", (), {})
        return handle

    def race(self, *jobs: tuple[Handle, Steps[Any]]) -> list[Any]:
        """Carry out several jobs at once, in threads or tasks; what came of each. An error of no store's is raised."""
        outcomes = self.hands.race([(handle.inner, steps) for handle, steps in jobs])
        told = (f"job {at} of {len(jobs)} at once -> {shown(outcome)}" for at, outcome in enumerate(outcomes, 1))
        self.trail += told
        return outcomes

    # -- time --------------------------------------------------------------------------------------------------------

    def expire(self) -> None:
        """Let so much time pass that what was written for `short` has expired; `long` has not."""
        self.clock.sleep(self.short if self.virtual is not None else self.short * 1.1)

    def advance(self, seconds: float) -> None:
        """Let time pass, on the contract's own clock."""
        assert self.virtual is not None
        self.virtual.advance(seconds)

    # -- judging -----------------------------------------------------------------------------------------------------

    def expect(self, found: object, wanted: object, because: str) -> None:
        """The last answer, or what is made of it, must be `wanted`."""
        if found != wanted or isinstance(found, bool) is not isinstance(wanted, bool):
            raise AssertionError(f"{because}: expected {shown(wanted)}, found {shown(found)}, by {self._last()}")

    def require(self, truth: bool, says: str) -> None:
        """It must be true, after the last call."""
        if not truth:
            raise AssertionError(f"{says}; found otherwise by {self._last()}")

    def refused(
        self,
        kinds: type[E] | tuple[type[E], ...],
        because: str,
        call: Callable[..., object],
        *args: Any,
        **options: Any,
    ) -> E:
        """The call must raise one of these; the error."""
        wanted = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        try:
            call(*args, **options)
        except kinds as error:
            return error
        except Exception as error:
            raise AssertionError(f"{because}: expected {wanted}, but {self._last()}") from error
        raise AssertionError(f"{because}: expected {wanted}, but it was accepted: {self._last()}")

    def shows(self, handle: Handle, key: str, because: str, **fields: object) -> Versioned[bytes]:
        """There must be a record under the key, with these fields; the record."""
        found = handle.load(key)
        if found is None:
            raise AssertionError(f"{because}: expected a record under {shown(key)}, found none, by {self._last()}")
        for name, wanted in fields.items():
            self.expect(getattr(found, name), wanted, f"{because}: the {name} under {shown(key)}")
        return found

    def _last(self) -> str:
        return self.trail[-1] if self.trail else "no call"


def clause(*needs: Need, real_time: bool = False) -> Callable[[Check], Check]:
    """Make a clause of a function of a bench: its name is the function's, its promise the docstring's.

    Args:
        needs: What it needs beyond a store.
        real_time: It runs on the machine's own clock: something is under way beside it.
    """

    def made(check: Check) -> Check:
        def run(subject: Subject) -> None:
            with Bench(subject, real_time=real_time) as bench:
                check(bench)

        register(check, needs, run)
        return check

    return made
