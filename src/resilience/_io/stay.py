"""A stay inside a Scope: publish it to everything called from the block, and arm a timer where one can cancel."""

from __future__ import annotations

import math
import sys
from contextvars import Token
from typing import TYPE_CHECKING, Self

from resilience._io import aio, world
from resilience._io.ambient import Scope, enter_scope, leave_scope, new_scope


if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Stay", "covered", "last_real_error"]

#: Contexts can be made to run in a circle.
_DEEPEST = 100


class Stay:
    """One block's time inside `scope`; enter it once.

    A timer is armed where the block runs in a task and no timer of that same task ends it as early or earlier. (The
    timer of the task that this one inherited its Scope from cancels that one, not this.)

    After the block, `overran` says whether this stay's own timer cut it short: the cancellation is then swallowed, and
    whoever made the stay raises ``scope.error()`` in its place, from `take_cause`.

    Args:
        scope: What the block lives in; `outer` itself, where that is the tighter one.
        outer: What is around the block.
        left: Seconds until the scope's deadline, where the caller has just made the scope for this block and this task.
    """

    __slots__ = ("_before", "_cause", "_left", "_outer", "_token", "overran", "scope", "timer")

    _token: Token[Scope]
    # Set where there is a timer, and where it cut the block short: nowhere else are they asked for.
    _before: BaseException | None
    _cause: Exception | None
    timer: aio.Timer | None

    def __init__(self, scope: Scope, outer: Scope, left: float | None = None) -> None:
        self.scope = scope
        self.overran = False
        self._outer = outer
        self._left = left

    def __enter__(self) -> Self:
        scope, outer = self.scope, self._outer
        task = aio.current_task() if self._left is None else scope.task
        if task is None or scope.at == math.inf or (outer.task is task and outer.at <= scope.at):
            self.timer = None
        else:
            left = self._left
            self.timer = aio.arm(task, scope.at - world.current.monotonic() if left is None else left)
            self._before = sys.exception()
        if scope.task is not task:
            scope = new_scope(Scope, (scope.at, scope.limit, scope.name, scope.stops, scope.entry, task))
        self._token = enter_scope(scope)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        try:
            timer, self.timer = self.timer, None
            if timer is not None:
                if timer.disarm(kind, error, tb):
                    self.overran = True
                    self._cause = last_real_error(error, self._before)
                self._before = None
        finally:
            # Also where trio raises what is left of a group: a Scope that outlives its block would end innocent work.
            try:
                leave_scope(self._token)
            except ValueError:
                raise RuntimeError("a deadline must be left in the task or thread that entered it") from None
        return self.overran

    def take_cause(self) -> Exception | None:
        """The last real error before the block was cut short, if any: given away, not kept.

        Its traceback leads to the frame that holds this stay; kept here, the two would be a cycle.
        """
        cause, self._cause = self._cause, None
        return cause


def covered(outer: Scope) -> bool:
    """Whether a block that is no tighter than `outer` needs no stay of its own: a timer of this very task ends it."""
    return outer.at == math.inf or outer.task is aio.current_task()


def last_real_error(cut: BaseException | None, before: BaseException | None = None) -> Exception | None:
    """What the cancelled work was recovering from: a retry leaves its last error as the cancellation's context.

    Args:
        cut: What left the block.
        before: What was being handled when the block began: older than the block, so no cause of its end.
    """
    seen = 0
    while cut is not None and cut is not before and seen < _DEEPEST:
        if isinstance(cut, Exception):
            return cut
        cut = cut.__context__
        seen += 1
    return None
