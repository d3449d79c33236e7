"""The operating system's disk, of which one call fails, or every call from one on; and what a test wants to know after it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from resilience._io.disk import STRAY, OsDisk
from resilience._io.flocks import Held


T = TypeVar("T")


class FailingDisk(OsDisk):
    """Fails in the calls of these numbers, from 0. What closes a file closes it, also where it fails.

    Args:
        fail: The numbers of the calls.
        code: The error number.
        only: The calls that count, by name; all if empty.
        short: Writes at most so many bytes at once.
    """

    def __init__(
        self, fail: Iterable[int] = (), code: int = errno.EIO, only: Sequence[str] = (), short: int | None = None
    ) -> None:
        self.fail = fail if isinstance(fail, range) else frozenset(fail)
        self.code = code
        self.only = only
        self.short = short
        self.calls: list[str] = []

    @property
    def failed(self) -> bool:
        return any(number in self.fail for number in range(len(self.calls)))

    def _step(self, name: str, fn: Callable[..., T], *args: Any, **options: Any) -> T:
        if self.only and name not in self.only:
            return fn(*args, **options)
        self.calls.append(name)
        fails = len(self.calls) - 1 in self.fail
        if fails and name != "close":
            raise self._error()
        result = fn(*args, **options)
        if fails:
            raise self._error()
        return result

    def _error(self) -> OSError:
        return OSError(self.code, os.strerror(self.code))

    def list(self, path: str) -> Sequence[str]:
        return self._step("list", super().list, path)

    def read(self, path: str) -> bytes:
        return self._step("read", super().read, path)

    def create(self, path: str) -> int:
        return self._step("create", super().create, path)

    def open(self, path: str) -> int:
        return self._step("open", super().open, path)

    def write(self, file: int, data: bytes, at: int) -> int:
        return self._step("write", super().write, file, data[: self.short], at)

    def sync(self, file: int) -> None:
        self._step("sync", super().sync, file)

    def close(self, file: int) -> None:
        self._step("close", super().close, file)

    def replace(self, source: str, target: str) -> None:
        self._step("replace", super().replace, source, target)

    def unlink(self, path: str) -> None:
        self._step("unlink", super().unlink, path)

    def make_dir(self, path: str) -> None:
        self._step("make_dir", super().make_dir, path)

    def sync_dir(self, path: str) -> None:
        self._step("sync_dir", super().sync_dir, path)

    def lock(self, path: str, *, shared: bool) -> Held | None:
        return self._step("lock", super().lock, path, shared=shared)


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


def strays(folder: Path) -> list[str]:
    """Files that were not published."""
    return [path.name for path in folder.iterdir() if path.name.startswith(STRAY)]
