"""The error tree: facts as attributes, builtins as bases, and nothing lost on the way to another process."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import multiprocessing
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from resilience.errors import (
    ConfigError,
    CorruptStateError,
    DeadlineExceededError,
    GuardRefusedError,
    OutcomeUnknownError,
    ResilienceError,
    RetriesExhaustedError,
    StoreUnavailableError,
    VersionConflictError,
    exit_code,
)
from resilience.stores import ANY, VACANT, Guard, Versioned


def made() -> list[ResilienceError]:
    return [
        ResilienceError("plain", 2),
        DeadlineExceededError(),
        DeadlineExceededError(2.0),
        DeadlineExceededError(2.5, "report"),
        DeadlineExceededError(None, "report"),
        RetriesExhaustedError("fetch", 4, 1.25, "attempts"),
        ConfigError("attempts", 0, "at least 1"),
        VersionConflictError("k", 7),
        VersionConflictError("k", VACANT, Versioned(b"theirs", 8), {}, {"a": 1}, {"a": 2}, (("a",),)),
        VersionConflictError("", ANY),
        GuardRefusedError("k", Guard("lease", 7)),
        GuardRefusedError("k", Guard("lease", VACANT), Versioned(b"", 8, ttl=1.0, expires_in=0.0, expired=True)),
        CorruptStateError("x.db", "its checksum is wrong"),
        OutcomeUnknownError("a store", "the answer was lost"),
        StoreUnavailableError("a store", "nobody answers"),
    ]


ERRORS = pytest.mark.parametrize("error", made(), ids=lambda error: f"{type(error).__name__}: {error}")


def facts_of(error: BaseException) -> Any:
    return type(error), str(error), error.args, {key: value for key, value in vars(error).items() if key != "__notes__"}


@ERRORS
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_facts_and_notes(error: ResilienceError, protocol: int) -> None:
    """Type, text, attributes and notes are the same on the other side, in every pickle protocol."""
    error = copy.copy(error)
    error.add_note("fetch: gave up")
    error.add_note("on Tuesday")
    back = pickle.loads(pickle.dumps(error, protocol))
    assert facts_of(back) == facts_of(error)
    assert back.__notes__ == ["fetch: gave up", "on Tuesday"]
    assert pickle.loads(pickle.dumps(back, protocol)).__notes__ == back.__notes__


@ERRORS
def test_copies_are_equal_and_apart(error: ResilienceError) -> None:
    """A copy has the same facts, and notes of its own only when deep."""
    error = copy.copy(error)
    error.add_note("one")
    for twin in (copy.copy(error), copy.deepcopy(error)):
        assert twin is not error
        assert facts_of(twin) == facts_of(error)
        assert twin.__notes__ == ["one"]


@pytest.mark.parametrize("value", [lambda: 1, object, sys, (item for item in "x")], ids=repr)
def test_a_config_error_travels_whatever_the_value_was(value: object) -> None:
    """What was wrong may be a thing that cannot be pickled; the error about it must reach the parent process."""
    error = ConfigError("hooks", value, "a callable")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is ConfigError
    assert (back.option, back.expected) == ("hooks", "a callable")


@ERRORS
def test_errors_cross_a_context_manager(error: ResilienceError) -> None:
    """Raised through `@contextmanager` the same object comes out."""

    @contextlib.contextmanager
    def block() -> Iterator[None]:
        yield

    with pytest.raises(type(error)) as raised, block():
        raise error
    assert raised.value is error


def _raise_there(limit: float) -> None:
    error = DeadlineExceededError(limit, "there")
    error.add_note("of the child")
    raise error


def test_errors_cross_a_process_pool() -> None:
    """A real pool's worker raises, and the parent receives the facts and the notes."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        error = pool.submit(_raise_there, 2.0).exception()
    assert isinstance(error, DeadlineExceededError)
    assert (error.limit, error.name, error.__notes__) == (2.0, "there", ["of the child"])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DeadlineExceededError(), "deadline exceeded"),
        (DeadlineExceededError(2.0), "deadline of 2 s exceeded"),
        (DeadlineExceededError(0.25, "report"), "deadline 'report' of 0.25 s exceeded"),
        (DeadlineExceededError(name="report"), "deadline 'report' exceeded"),
        (RetriesExhaustedError("fetch", 1, 0.5, "within"), "fetch: gave up after 1 attempt in 0.50 s: within"),
        (RetriesExhaustedError("fetch", 4, 2.0, "attempts"), "fetch: gave up after 4 attempts in 2.00 s: attempts"),
        (ConfigError("attempts", 0, "at least 1"), "attempts must be at least 1; got 0"),
    ],
    ids=str,
)
def test_messages(error: ResilienceError, text: str) -> None:
    """A message says the facts in one line."""
    assert str(error) == text


@pytest.mark.parametrize("limit", [None, 2, 2.0])
@pytest.mark.parametrize("name", [None, "report"])
def test_a_deadline_error_has_no_error_number(limit: float | None, name: str | None) -> None:
    """An `OSError` of two arguments takes the first for its errno; this one never does, also after its travels."""
    error = DeadlineExceededError(limit, name)
    for each in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (each.errno, each.strerror, each.filename) == (None, None, None)


def test_builtins_that_callers_already_catch() -> None:
    """Each is caught by the builtin that its meaning has."""
    assert issubclass(DeadlineExceededError, (TimeoutError, OSError))
    assert issubclass(ConfigError, ValueError)
    assert not issubclass(RetriesExhaustedError, (OSError, ValueError))
    for error in made():
        assert isinstance(error, ResilienceError)


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Broken(), "<Broken whose repr raised RuntimeError>"),
        ("x" * 200, "'" + "x" * 118 + "…"),
        ("x" * 118, "'" + "x" * 118 + "'"),
        (10**5000, "<int whose repr raised ValueError>"),
    ],
    ids=["broken repr", "long", "just fits", "huge integer"],
)
def test_the_value_at_fault_is_shown_short(value: object, shown: str) -> None:
    """A value is never long in an error, and never the reason of another one; it is kept as an attribute."""
    error = ConfigError("x", value, "small")
    assert str(error) == f"x must be small; got {shown}"
    assert error.value is value


# -- exit codes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (KeyboardInterrupt(), 130),
        (SystemExit(), 0),
        (SystemExit(None), 0),
        (SystemExit(0), 0),
        (SystemExit(7), 7),
        (SystemExit("bad usage"), 1),
        (ConnectionRefusedError(), 3),
        (ConnectionResetError(104, "reset"), 3),
        (TimeoutError(), 3),
        (OSError(110, "timed out"), 3),
        (DeadlineExceededError(2.0), 3),
        (ConfigError("a", 1, "b"), 1),
        (RetriesExhaustedError("f", 4, 1.0, "attempts"), 1),
        (FileNotFoundError(2, "missing"), 1),
        (ValueError(), 1),
        (asyncio.CancelledError(), 1),
        (subprocess.TimeoutExpired("sleep", 2.0), 124),
        (subprocess.CalledProcessError(2, "false"), 1),
        (subprocess.CalledProcessError(0, "true"), 1),
        (subprocess.CalledProcessError(-9, "killed"), 137),
        (subprocess.CalledProcessError(-15, "ended"), 143),
        (subprocess.SubprocessError(), 1),
    ],
    ids=lambda value: repr(value)[:60] if not isinstance(value, int) else str(value),
)
def test_exit_codes(error: BaseException | None, code: int) -> None:
    """The status a command ends with, row by row."""
    assert exit_code(error) == code


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_exit_code_of_a_child_that_was_really_killed(number: signal.Signals) -> None:
    """128 + n, as a shell says it, for a real child ended by a real signal."""
    work = f"import os; os.kill(os.getpid(), {int(number)})"
    with pytest.raises(subprocess.CalledProcessError) as raised:
        subprocess.run([sys.executable, "-S", "-c", work], check=True)
    assert exit_code(raised.value) == 128 + number


def test_exit_code_of_a_child_that_really_ran_out_of_time() -> None:
    """124, as coreutils' `timeout` says it."""
    with pytest.raises(subprocess.TimeoutExpired) as raised:
        subprocess.run([sys.executable, "-S", "-c", "import time; time.sleep(30)"], check=True, timeout=0.05)
    assert exit_code(raised.value) == 124


def test_exit_code_needs_no_subprocess(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the module was never imported no error can be of it, and asking does not import it."""
    monkeypatch.delitem(sys.modules, "subprocess")
    assert exit_code(ConnectionError()) == 3
    assert exit_code(ValueError()) == 1
    assert "subprocess" not in sys.modules
