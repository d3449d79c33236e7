"""A stay inside a Scope: publish it to everything called from the block, and arm a timer where one can cancel."""

from __future__ import annotations

from contextvars import Token
from typing import TYPE_CHECKING, Self

from resilience._io import aio
from resilience._io.ambient import Scope, enter_scope, leave_scope


if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Stay", "last_real_error"]


class Stay:
    """One block's time inside `scope`; enter it once.

    After the block, `overran` says whether this stay's own timer cut it short: the cancellation is then swallowed, and
    whoever made the stay raises ``scope.error()`` in its place, from `take_cause`.

    Args:
        scope: What the block lives in.
        left: Seconds until its deadline, for the timer; None for no timer, where the deadline is that of an outer stay.
    """

    __slots__ = ("_cause", "_left", "_timer", "_token", "overran", "scope")

    _token: Token[Scope]
    _timer: aio.Timer | None

    def __init__(self, scope: Scope, left: float | None) -> None:
        self.scope = scope
        self.overran = False
        self._cause: Exception | None = None
        self._left = left

    def __enter__(self) -> Self:
        left = self._left
        self._timer = None if left is None else aio.arm(left)
        self._token = enter_scope(self.scope)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        # The timer first: whatever else goes wrong, it must not cancel a task that is no longer in the block.
        timer, self._timer = self._timer, None
        self.overran = timer is not None and timer.disarm(kind, error, tb)
        try:
            leave_scope(self._token)
        except ValueError:
            raise RuntimeError("a deadline must be left in the task or thread that entered it") from None
        if self.overran:
            self._cause = last_real_error(error)
        return self.overran

    def take_cause(self) -> Exception | None:
        """The last real error before the block was cut short, if any: given away, not kept.

        Its traceback leads to the frame that holds this stay; kept here, the two would be a cycle.
        """
        cause, self._cause = self._cause, None
        return cause


def last_real_error(cut: BaseException | None) -> Exception | None:
    """What the cancelled work was recovering from: a retry leaves its last error as the cancellation's context."""
    seen = 0
    while cut is not None and seen < 100:  # contexts can be made to run in a circle  # noqa: PLR2004
        if isinstance(cut, Exception):
            return cut
        cut = cut.__context__
        seen += 1
    return None
