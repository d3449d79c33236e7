"""Ring `deadline.interrupting`'s alarm at every point where the interpreter may deliver a signal; print how many there are.

Run by `test_interrupting`, in a process of its own. Ends with 1, and names the points, if anything is not as it was.
"""

from __future__ import annotations

import dis
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

from resilience import _interrupting as module
from resilience import deadline
from resilience._io.ambient import UNBOUNDED, enter_scope, scope_now
from resilience._io.clock import SystemClock
from resilience._io.world import World, swapped
from resilience.errors import DeadlineExceededError


CODES: tuple[CodeType, ...] = (
    module.Interrupting.__enter__.__code__,
    module.Interrupting.__exit__.__code__,
    module._Alarm.__init__.__code__,
    module._Alarm.leave.__code__,
    module._Alarm._wind.__code__,
)


def foreign(number: int, frame: FrameType | None) -> None:
    """The handler that was there before."""


def openings(code: CodeType) -> Iterator[int]:
    """Where the interpreter looks for signals: on entering a function, and after each call it makes."""
    before = ""
    for instruction in dis.get_instructions(code):
        if before.startswith(("RESUME", "CALL", "JUMP_BACKWARD")):
            yield instruction.offset
        before = instruction.opname


class Ahead(SystemClock):
    """The machine's clock, but for the seconds that it is made late by."""

    late = 0.0

    def monotonic(self) -> float:  # type: ignore[override]  # the base has the C function itself
        return time.monotonic() + self.late


def ring_at(code: CodeType, offset: int, clock: Ahead) -> Callable[[FrameType, str, Any], Any]:
    """A trace function: at this instruction the time is up and, if anybody listens, the signal arrives."""

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code is not code:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti == offset:
            sys.settrace(None)
            clock.late = 10.0
            if signal.getsignal(signal.SIGALRM) is not foreign:
                signal.raise_signal(signal.SIGALRM)
        return trace

    return trace


def left_as_it_was(code: CodeType, offset: int) -> bool:
    """Enter and leave a block, with the alarm at this instruction."""
    signal.signal(signal.SIGALRM, foreign)
    timed = deadline.interrupting(5)
    clock = Ahead()
    with swapped(World(clock=clock)):
        try:
            sys.settrace(ring_at(code, offset, clock))
            try:
                with timed:
                    pass
            finally:
                sys.settrace(None)
        except DeadlineExceededError:
            pass
        state = (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL), scope_now())
    signal.setitimer(signal.ITIMER_REAL, 0)
    enter_scope(UNBOUNDED)
    return state == (foreign, (0.0, 0.0), UNBOUNDED)


def main() -> int:
    """Every opening of every function that enters or leaves."""
    points = [(code, offset) for code in CODES for offset in openings(code)]
    wrong = [f"{code.co_name}+{offset}" for code, offset in points if not left_as_it_was(code, offset)]
    print(" ".join(wrong) or len(points))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
