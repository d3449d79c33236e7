"""A stay inside a Scope: publish it to everything called from the block, and arm a timer where one can cancel."""

from __future__ import annotations

from contextvars import Token
from typing import TYPE_CHECKING

from resilience._io import aio, world
from resilience._io.ambient import SCOPE, Scope


if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Stay", "last_real_error"]


class Stay:
    """One block's time inside `scope`; enter it once.

    After the block, `overran` says whether this stay's own timer cut it short (the cancellation is then swallowed, and
    whoever made the stay raises ``scope.error()`` in its place), and `cause` is the last real error before that.

    Args:
        scope: What the block lives in.
        outer: What is around it: only a tighter deadline costs a timer.
    """

    __slots__ = ("_outer", "_timer", "_token", "cause", "overran", "scope")

    def __init__(self, scope: Scope, outer: Scope) -> None:
        self.scope = scope
        self.overran = False
        self.cause: Exception | None = None
        self._outer = outer
        self._timer: aio.Timer | None = None
        self._token: Token[Scope] | None = None

    def __enter__(self) -> Stay:
        scope = self.scope
        if scope.at < self._outer.at:
            self._timer = aio.arm(scope.at - world.current.monotonic())
        self._token = SCOPE.set(scope)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        token, timer = self._token, self._timer
        if token is not None:
            SCOPE.reset(token)
        if timer is None:
            return False
        self._timer = None
        self.overran = timer.disarm(kind, error, tb)
        if self.overran:
            self.cause = last_real_error(error)
        return self.overran


def last_real_error(cut: BaseException | None) -> Exception | None:
    """What the cancelled work was recovering from: a retry leaves its last error as the cancellation's context."""
    seen = 0
    while cut is not None and seen < 100:  # contexts can be made to run in a circle  # noqa: PLR2004
        if isinstance(cut, Exception):
            return cut
        cut = cut.__context__
        seen += 1
    return None
