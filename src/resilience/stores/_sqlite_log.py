"""The write-ahead log of one database: when it is long enough to be copied into the database.

Nobody is told how long it is. A store knows what it wrote itself, which is all where it is the only one; the size of the
file tells of everybody's writes, also of those who are gone, but it does not shrink when the log is begun anew: to write
over a file that is there costs half of what it costs to make it longer. So the file keeps the length of one log, is cut to
that where it has grown beyond, and is looked at for what is beyond.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final


__all__ = ["KEPT", "PAGE", "Log"]

PAGE: Final = 4096

#: Bytes of a log that is copied: twice what SQLite would wait for, because each time two waits for the disk stop all writers.
_LONG: Final = 2000 * PAGE

#: Bytes of the file that stay where a log is begun anew: a little more than what one store alone comes to, for cutting costs.
KEPT: Final = _LONG + _LONG // 8


class Log:
    """How much more is written before the log is copied. Safe for threads: a race costs one more or one less of it.

    Args:
        path: Of the database.
    """

    __slots__ = ("_beyond", "_path", "left")

    def __init__(self, path: str) -> None:
        self._path = Path(f"{path}-wal")
        #: Bytes that may be written before; 0 or less where it is time.
        self.left = _LONG
        #: The size of the file at which others' writes are too many.
        self._beyond = KEPT + _LONG

    def look(self) -> None:
        """See what others have written."""
        size = self._size()
        self._beyond = min(self._beyond, max(size, KEPT) + _LONG)
        if size >= self._beyond:
            self.left = 0

    def copied(self) -> None:
        """It was copied, as far as that can be done: for a long reader it goes on growing, and is not tried all the time."""
        self.left = _LONG
        self._beyond = max(self._size(), KEPT) + _LONG

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0  # nothing is written yet
