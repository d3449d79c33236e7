"""The error tree: every exception this library raises of its own, before any of the code that raises it.

    ResilienceError
    ├─ DeadlineExceededError(TimeoutError)   the time budget is spent
    ├─ RetriesExhaustedError                 only from a policy with ``wrap=True``
    └─ ConfigError(ValueError)               a value no policy can work with, refused when it is built

Each subclasses the builtin that a caller already catches, carries its facts as attributes, survives pickling
(notes included), and never stands in for an exception of the caller's: a retried call that gives up raises the
caller's own last exception, with a note.
"""

from __future__ import annotations

import sys
from typing import Any


__all__ = ["ConfigError", "DeadlineExceededError", "ResilienceError", "RetriesExhaustedError", "exit_code"]


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


class ConfigError(ResilienceError, ValueError):
    """A value no policy can work with: refused when the policy is built, before any work is done.

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
