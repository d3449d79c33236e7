"""Processes of the test's own, which it talks to, stops, lets go on, and kills; none outlives it.

A child runs one function of `tests.processes.work`. Both sides say lines of JSON: the child on its standard output, the
parent on the child's standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Self

from attrs import asdict, frozen
from tests.servers.process import missing


ROOT = Path(__file__).parents[2]
#: Seconds that a child may take to say the next thing.
PATIENCE = 30.0


@frozen
class Place:
    """A store, as a process opens it.

    Args:
        kind: Which store.
        where: Its path, URL or DSN; nothing in memory.
        name: What keeps it apart from others on the same server.
    """

    kind: str
    where: str
    name: str

    def open(self) -> Any:
        """The store itself."""
        # Each by itself: none needs what another does.
        if self.kind == "memory":
            from resilience.stores.memory import MemoryStore

            return MemoryStore()
        if self.kind == "sqlite":
            from resilience.stores.sqlite import SQLiteStore

            return SQLiteStore(self.where)
        if self.kind == "file":
            from resilience.stores.file import FileStore

            return FileStore(self.where)
        if self.kind == "redis":
            from resilience.stores.redis import RedisStore

            return RedisStore(self.where, namespace=self.name)
        from resilience.stores.postgres import PostgresStore

        return PostgresStore(self.where, schema=self.name)


class Child:
    """One process, reaped when its block ends.

    Args:
        work: The name of a function of `tests.processes.work`.
        args: What it is called with: anything that JSON can say, or a `Place`.
        before: What to put before the interpreter in the command line.
    """

    def __init__(self, work: str, *args: Any, before: Sequence[str] = ()) -> None:
        plain = [asdict(arg) if isinstance(arg, Place) else arg for arg in args]
        interpreter = [sys.executable, "-W", "error", "-m", "tests.processes.work", work, json.dumps(plain)]
        self._process = subprocess.Popen(
            [*before, *interpreter], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._heard = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def say(self, words: object = True) -> None:
        """Tell it something."""
        self._in.write(json.dumps(words).encode() + b"\n")
        self._in.flush()

    def hear(self, patience: float = PATIENCE) -> Any:
        """The next thing that it says.

        Raises:
            EOFError: It will say no more.
            TimeoutError: It did not say anything in time.
        """
        end = time.monotonic() + patience
        while b"\n" not in self._heard:
            if not select.select([self._out], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"process {self.pid} said nothing for {patience:g} s")
            more = os.read(self._out.fileno(), 65_536)
            if not more:
                raise EOFError(f"process {self.pid} has ended, with {self._process.wait(PATIENCE)}")
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)

    def rest(self) -> list[Any]:
        """All that it has said, and will say before it ends."""
        said = []
        with contextlib.suppress(EOFError):
            while True:
                said.append(self.hear())
        return said

    def said(self) -> list[Any]:
        """All that it has said by now."""
        said = []
        while self._heard or select.select([self._out], [], [], 0)[0]:
            said.append(self.hear())
        return said

    def stop(self) -> None:
        """SIGSTOP; it stands still when this returns."""
        self._signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, to all that it started as well; it is gone when this returns."""
        self._signal(signal.SIGKILL)
        self._process.wait(PATIENCE)

    def end(self) -> int:
        """Wait for its end; how it ended."""
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        """Kill it if it lives, and reap it."""
        self.kill()
        with contextlib.suppress(BrokenPipeError):
            self._in.close()
        self._out.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)


@contextlib.contextmanager
def children(count: int, work: str, *args: Any) -> Generator[list[Child]]:
    """Several of the same, when each has said that it is ready."""
    with contextlib.ExitStack() as stack:
        several = [stack.enter_context(Child(work, *args)) for _ in range(count)]
        for child in several:
            assert child.hear() == "ready"
        yield several


def in_another_time(seconds: int) -> list[str]:
    """What to put before a command so that its boot clock is so many seconds ahead; skips where that cannot be."""
    for how in ((), ("--user", "--map-root-user")):
        before = ["unshare", *how, "--time", "--boottime", str(seconds), "--fork", "--kill-child", "--"]
        with contextlib.suppress(OSError):
            tried = subprocess.run([*before, "true"], check=False, capture_output=True, timeout=PATIENCE)
            if tried.returncode == 0:
                return before
    missing("capability: time namespaces")
    raise AssertionError
