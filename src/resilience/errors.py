"""The error tree: every exception this library raises of its own, before any of the code that raises it.

    ResilienceError
    ├─ DeadlineExceededError(TimeoutError)   the time budget is spent
    ├─ RetriesExhaustedError                 only from a policy with ``wrap=True``
    ├─ VersionConflictError                  the record is not as the caller saw it: somebody wrote in between
    ├─ LeaseError
    │  └─ GuardRefusedError                  the lease that guards the write is not held as the guard says
    ├─ StateError                            what was kept cannot be read, or no more can be kept
    │  ├─ CorruptStateError                  its checksum says that it is not what was written
    │  ├─ UnknownFormatError                 written by another version
    │  └─ StorageFullError                   no room; certainly not applied
    ├─ StoreError                            a store cannot do what it was asked
    │  ├─ StoreUnavailableError(ConnectionError)   it cannot be reached; certainly not applied
    │  └─ OutcomeUnknownError                the answer was lost; perhaps applied
    └─ ConfigError(ValueError)               a value nothing can work with, refused where it enters

Each subclasses the builtin that a caller already catches, carries its facts as attributes, survives pickling
(notes included), and never stands in for an exception of the caller's: a retried call that gives up raises the
caller's own last exception, with a note.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from resilience._core.records import Expected, Guard, Versioned

__all__ = [
    "ConfigError",
    "CorruptStateError",
    "DeadlineExceededError",
    "GuardRefusedError",
    "LeaseError",
    "OutcomeUnknownError",
    "ResilienceError",
    "RetriesExhaustedError",
    "StateError",
    "StorageFullError",
    "StoreError",
    "StoreUnavailableError",
    "UnknownFormatError",
    "VersionConflictError",
    "exit_code",
]


class ResilienceError(Exception):
    """The root of the tree: catch it to catch everything this library raises of its own."""

    def _facts(self) -> tuple[Any, ...]:
        """What the constructor was given, in order: pickling calls it again with these."""
        return self.args

    def __reduce__(self) -> tuple[Any, ...]:
        # Not BaseException's: it passes `args`, which is the message. `__dict__` carries the notes across.
        return type(self), self._facts(), self.__dict__ or None


class DeadlineExceededError(ResilienceError, TimeoutError):
    """The time budget is spent.

    Also an `OSError`, as every `TimeoutError` is. Its ``__cause__`` is the last real error of the work that was
    cut short, where one is known.

    Args:
        limit: The timeout as it was given, in seconds; None where only the moment was given.
        name: Which deadline; None if it has no name.
    """

    limit: float | None
    name: str | None

    def __init__(self, limit: float | None = None, name: str | None = None) -> None:
        which = f"deadline {name!r}" if name else "deadline"
        super().__init__(f"{which} exceeded" if limit is None else f"{which} of {limit:g} s exceeded")
        self.limit = limit
        self.name = name

    def _facts(self) -> tuple[Any, ...]:
        return self.limit, self.name


class RetriesExhaustedError(ResilienceError):
    """A policy with ``wrap=True`` gave up; ``__cause__`` is the caller's own last exception.

    Args:
        name: The policy's name, or the retried function's.
        attempts: How many times the work was tried.
        elapsed: Seconds from the start of the call; of a plain policy's call (no ``within``, ``attempt_timeout``,
            ``budget`` or ``retry_result``), which reads no clock before it, from the first failure.
        reason: Which limit ended it: the value of a `resilience.instrumentation.GiveUpReason`.
    """

    name: str
    attempts: int
    elapsed: float
    reason: str

    def __init__(self, name: str, attempts: int, elapsed: float, reason: str) -> None:
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        super().__init__(f"{name}: gave up after {tries} in {elapsed:.2f} s: {reason}")
        self.name = name
        self.attempts = attempts
        self.elapsed = elapsed
        self.reason = reason

    def _facts(self) -> tuple[Any, ...]:
        return self.name, self.attempts, self.elapsed, self.reason


class VersionConflictError(ResilienceError):
    """The record is not as the caller saw it: somebody wrote in between. Nothing was written.

    Args:
        key: Which record; empty from a merge of values that are nowhere yet.
        expected: What the caller expected: a revision, or one of ``ABSENT``, ``VACANT``, ``Seen``.
        current: What is there now, so that no second read is needed; None if there is no record.
        base: From an optimistic update: the value that the change started from; None from a store.
        mine: The value that was to be written.
        theirs: The value that is there now.
        paths: From a merge: where both sides changed the same thing differently, as tuples of keys.
    """

    key: str
    expected: Expected
    current: Versioned[bytes] | None
    base: Any
    mine: Any
    theirs: Any
    paths: tuple[tuple[str, ...], ...]

    def __init__(
        self,
        key: str,
        expected: Expected,
        current: Versioned[bytes] | None = None,
        base: Any = None,
        mine: Any = None,
        theirs: Any = None,
        paths: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        there = "no record" if current is None else f"revision {current.revision}"
        where = f"conflict on {_shown(key)}: expected {_wanted(expected)}, found {there}; " if key else ""
        clash = f"both sides changed {', '.join('.'.join(path) or 'it' for path in paths)}" if paths else ""
        super().__init__(f"{where}{clash}".removesuffix("; ") or "two changes of one value")
        self.key = key
        self.expected = expected
        self.current = current
        self.base = base
        self.mine = mine
        self.theirs = theirs
        self.paths = paths

    @property
    def revision(self) -> int:
        """The revision that is there now; 0, which is ``ABSENT``, if there is no record."""
        return 0 if self.current is None else self.current.revision

    def _facts(self) -> tuple[Any, ...]:
        return self.key, self.expected, self.current, self.base, self.mine, self.theirs, self.paths


class LeaseError(ResilienceError):
    """Exclusive use was not had, or is no longer."""


class GuardRefusedError(LeaseError):
    """The lease that guards a write is not held as the guard says. Nothing was written.

    Args:
        key: The record that was to be written.
        guard: What was asked of the lease.
        current: The lease's record now; None if there is none.
    """

    key: str
    guard: Guard
    current: Versioned[bytes] | None

    def __init__(self, key: str, guard: Guard, current: Versioned[bytes] | None = None) -> None:
        if current is None:
            there = "there is no such record"
        else:
            there = f"it is at revision {current.revision}{', expired' if current.expired else ''}"
        asked = f"lease {_shown(guard.key)} {_wanted(guard.token)}"
        super().__init__(f"write to {_shown(key)} refused: guarded by {asked}, but {there}")
        self.key = key
        self.guard = guard
        self.current = current

    def _facts(self) -> tuple[Any, ...]:
        return self.key, self.guard, self.current


class StateError(ResilienceError):
    """What was kept cannot be read, or no more can be kept.

    Args:
        where: Which file, database or key.
        what: What is the matter, as the end of a sentence.
    """

    where: str
    what: str

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what

    def _facts(self) -> tuple[Any, ...]:
        return self.where, self.what


class CorruptStateError(StateError):
    """Its checksum says that it is not what was written. It is left as it is, for whoever looks into it."""


class UnknownFormatError(StateError):
    """It was written by another version of this library, or by something else. It is left as it is."""


class StorageFullError(StateError):
    """There is no room: nothing was written, and what was there is intact."""


class StoreError(ResilienceError):
    """A store cannot do what it was asked.

    Args:
        store: Which store, for people.
        what: What is the matter, as the end of a sentence.
    """

    store: str
    what: str

    def __init__(self, store: str, what: str) -> None:
        super().__init__(f"{store}: {what}")
        self.store = store
        self.what = what

    def _facts(self) -> tuple[Any, ...]:
        return self.store, self.what


class StoreUnavailableError(StoreError, ConnectionError):
    """The store cannot be reached, or does not answer a read: what was asked is certainly not applied.

    Worth trying again: `transient` says so.
    """


class OutcomeUnknownError(StoreError):
    """The answer to a write was lost: perhaps it is applied, perhaps not, perhaps it will be.

    Read the record again and compare its ``write_id``. `transient` says *unsure*.
    """


class ConfigError(ResilienceError, ValueError):
    """A value nothing can work with: refused where it enters, before any work is done.

    Args:
        option: The argument, key or header at fault.
        value: What was given.
        expected: What would have been right, as the end of a sentence.
    """

    option: str
    value: object
    expected: str

    def __init__(self, option: str, value: object, expected: str) -> None:
        super().__init__(f"{option} must be {expected}; got {_shown(value)}")
        self.option = option
        self.value = value
        self.expected = expected

    def _facts(self) -> tuple[Any, ...]:
        return self.option, self.value, self.expected

    def __reduce__(self) -> tuple[Any, ...]:
        import pickle  # noqa: PLC0415  # only to write

        try:
            pickle.dumps(self.value)
        except Exception:  # a lambda, a module, a socket: what was wrong with it still travels, as text
            shown = _Shown(_shown(self.value))
            return type(self), (self.option, shown, self.expected), {**self.__dict__, "value": shown}
        return super().__reduce__()


def exit_code(error: BaseException | None) -> int:
    """The exit status a command should end with after this error.

    Args:
        error: What ended the command; None if nothing did.

    Returns:
        0 for None; 130 for `KeyboardInterrupt`; the code of a `SystemExit`; 124 for `subprocess.TimeoutExpired` (as
        coreutils' ``timeout`` does); 128 + n for a child ended by signal n; 3 when a connection failed or an operation
        timed out (`ConnectionError`, `TimeoutError`, so also `DeadlineExceededError`); 1 for all else.
    """
    if error is None:
        return 0
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    # The module is there if such an error is: it is not imported to ask.
    subprocess: Any = sys.modules.get("subprocess")
    if subprocess is not None:
        if isinstance(error, subprocess.TimeoutExpired):
            return 124
        if isinstance(error, subprocess.CalledProcessError):
            status: int = getattr(error, "returncode", 1)
            return 128 - status if status < 0 else 1
    return 3 if isinstance(error, (ConnectionError, TimeoutError)) else 1


class _Shown(str):
    """The text of a value that could not travel: shown as it is, not quoted once more."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _shown(value: object, limit: int = 120) -> str:
    """A value as an error shows it: never long, and never itself the reason of a failure."""
    try:
        text = repr(value)
    except Exception as error:  # a broken __repr__ must not hide what was wrong with the value
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _wanted(expected: object) -> str:
    """What was expected of a record, as an error says it: a bare number is a revision."""
    return f"revision {expected}" if type(expected) is int else str(expected)
