"""A real server of the test's own: started on a free loopback port, ended by its process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest


def program(name: str, *places: str) -> str:
    """Where a server's program is; without it the test is skipped by that name, or fails where servers are required."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *places]))
    if found is None:
        missing(f"{name} is not installed")
    return str(found)


def missing(what: str) -> None:
    """Skip, saying what is missing; fail where RESILIENCE_REQUIRE_SERVERS says that nothing may be."""
    if os.environ.get("RESILIENCE_REQUIRE_SERVERS"):
        pytest.fail(f"{what}, and RESILIENCE_REQUIRE_SERVERS is set")
    pytest.skip(what)


class Server:
    """One process, its children included, in a session of its own.

    Args:
        argv: What to run.
        ready: Whether it answers by now; asked until it does, for at most 60 s.
        log: Where its output goes.
        options: More for `subprocess.Popen`, such as ``user=``.
    """

    def __init__(self, argv: Sequence[str], ready: Callable[[], object], log: Path, **options: Any) -> None:
        self.argv = list(argv)
        self.ready = ready
        self.log = log
        self.options = options
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self.options
            )
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(Exception):
                if self.ready() is not False:
                    return
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise AssertionError(f"{self.argv[0]} did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def pause(self) -> None:
        """Stop it where it is (SIGSTOP): connections stay, nobody answers."""
        self._signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)  # until then it may still answer

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once (SIGKILL), and its children."""
        self._signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it as it wants to be ended."""
        self.resume()
        self._signal(how)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self.process.poll() is not None:
            return  # its number may be another's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def answers(port: int) -> bool:
    """Whether somebody accepts connections on this port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
