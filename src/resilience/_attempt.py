"""The block form of retry: ``for attempt in policy: with attempt: ...``.

One object is the iterator, the context manager, and what the block sees of its attempt, because making three would
cost more than the work of the happy path. It belongs to one loop; the state of the retried call is a `Call` as in the
other forms.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

from resilience._io import aio, emit, world
from resilience._io.ambient import scope_now
from resilience._io.attempts import apause, begin, pause
from resilience._io.call import Call, Plan
from resilience._io.stay import Stay, covered


if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Attempt"]

_NAMELESS = "retry"
_NEVER_ENTERED = "the loop's body must hold its work in `with attempt:`, once in each round"


class Attempt:
    """One attempt of a retried block, numbered from 1; made by looping over a policy.

    Leaving the block cleanly ends the loop; an exception worth trying again is swallowed and the loop goes on; any
    other goes out as it is. For one loop only, not shared between threads or tasks.

    >>> from resilience import ConstantBackoff, retry
    >>> for attempt in retry(on=OSError, backoff=ConstantBackoff(0)):
    ...     with attempt:
    ...         if attempt.number < 3:
    ...             raise OSError("not yet")
    >>> attempt.number
    3
    """

    __slots__ = ("_call", "_failed", "_inside", "_plan", "_stay", "_untroubled", "number")

    number: int
    _call: Call | None

    def __init__(self, plan: Plan) -> None:
        self.number = 0
        self._plan = plan
        self._failed: bool | None = None  # of the round just gone: None as long as its block was not entered
        self._untroubled = plan.plain  # no failure yet, nor any limit: there is no call to speak of
        if not plan.plain:
            self._call = None

    @property
    def remaining(self) -> float | None:
        """Seconds this attempt may still take, under every limit around it, never below 0; None for no limit."""
        left = scope_now().remaining
        return None if left == math.inf else left

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Self:
        if self.number:
            return self._again()
        self.number = 1
        return self

    def _again(self) -> Self:
        call = self._going_on()
        if call is None:
            raise StopIteration
        if call.delay and aio.current_task() is not None:
            emit.warn("%s: a plain `for` blocks the event loop for %.3g s: use `async for`", call.name, call.delay)
        try:
            begins = pause(call)
        except BaseException as cut:
            call.cut_off(cut)
            raise
        if not begins:
            raise call.cut_short()
        self._failed = None
        self.number += 1
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Self:
        if self.number:
            call = self._going_on()
            if call is None:
                raise StopAsyncIteration
            try:
                begins = await apause(call)
            except BaseException as cut:
                call.cut_off(cut)
                raise
            if not begins:
                raise call.cut_short()
        self._failed = None
        self.number += 1
        return self

    def __enter__(self) -> Self:
        if self._failed is not None:
            raise RuntimeError(_NEVER_ENTERED)
        self._failed = False
        return self if self._untroubled else self._begin()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        if kind is None and self._untroubled:
            return False
        return self._leave(kind, error, tb)

    def _begin(self) -> Self:
        plan, call = self._plan, self._call
        if call is None:
            if plan.refuses is not None:
                raise TypeError("retry_result judges a returned value, and a block has none: use call() or decorate")
            self._call = call = begin(plan, self._plan.name or _NAMELESS)
        scope = call.scope_of_attempt() if plan.first_limit is not None else None
        if scope is None and plan.first_limit is not None and not covered(call.outer):
            scope = call.outer
        self._inside = call.enter_attempt()
        self._stay = None if scope is None else Stay(scope, call.outer)
        if self._stay is not None:
            self._stay.__enter__()
        return self

    def _going_on(self) -> Call | None:
        """The call, if the round just gone failed and another follows; None if the loop is over."""
        if self._failed is None:
            raise RuntimeError(_NEVER_ENTERED)
        return self._call if self._failed else None

    def _leave(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        call = None if self._untroubled else self._call
        stay = None if call is None else self._stay
        if call is not None and self._inside is not None:
            self._inside.leave()
            self._inside = None
        if stay is not None:
            self._stay = None
            if stay.__exit__(kind, error, tb):
                return self._overran(stay)
        if isinstance(error, Exception):
            if call is None:
                self._call = call = Call(
                    self._plan, self._plan.name or _NAMELESS, world.current.monotonic(), scope_now()
                )
                call.late = True
                self._stay = None
                self._untroubled = False
            self._failed = call.failed(error)
            if not self._failed and call.wraps:
                raise call.exhausted() from error
            return self._failed
        if call is not None:
            if error is None:
                call.succeeded(None)
            else:
                call.cut_off(error)
            call.held = None
        return False

    def _overran(self, stay: Stay) -> bool:
        """The attempt's own timer ended it: a failure like any other."""
        call = self._call
        error = stay.scope.error()
        error.__cause__ = stay.take_cause()
        try:
            if call is not None and call.failed(error):
                self._failed = True
                return True
            if call is not None and call.wraps:
                raise call.exhausted() from error
            raise error
        finally:
            del error  # it is going out, and its traceback names this frame
