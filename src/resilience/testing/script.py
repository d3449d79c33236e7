"""Failures that come as written: a callable that plays a script, and a wrapper that lets a function fail first."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, cast

from attrs import frozen

from resilience._core.functions import is_async
from resilience._io import world


if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Script", "ScriptedCall", "flaky"]

P = ParamSpec("P")
R = TypeVar("R")


@frozen
class ScriptedCall:
    """One call that a `Script` received.

    Args:
        at: The monotonic moment, in seconds of the clock then in force.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
    """

    at: float
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Script:
    """A callable that does what is written, one step a call: raises an exception, returns anything else.

    Call it with any arguments, or await its `acall`; both play the same script. As a context manager it fails the test
    if steps are left over. Not for threads.

    Args:
        steps: An exception, or an exception class, is raised; any other value is returned.

    Raises:
        AssertionError: One call too many; or, on leaving the block, one too few.

    >>> from resilience.testing import Script
    >>> script = Script(ConnectionError("gone"), 3)
    >>> try:
    ...     script(1)
    ... except ConnectionError as error:
    ...     print(error)
    gone
    >>> script(2)
    3
    >>> [call.args for call in script.calls]
    [(1,), (2,)]
    """

    calls: list[ScriptedCall]
    """The calls so far."""

    def __init__(self, *steps: object) -> None:
        self.calls = []
        self._steps = steps

    @property
    def left(self) -> tuple[object, ...]:
        """The steps that no call has played yet."""
        return self._steps[len(self.calls) :]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Play the next step."""
        if not self.left:
            raise AssertionError(f"a script of {len(self._steps)} steps was called once more")
        step = cast("Any", self.left[0])
        self.calls.append(ScriptedCall(world.current.monotonic(), args, kwargs))
        if isinstance(step, BaseException) or (isinstance(step, type) and issubclass(step, BaseException)):
            raise step
        return cast("Any", step)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Play the next step, as a coroutine function."""
        return self(*args, **kwargs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None and self.left:
            raise AssertionError(f"{len(self.left)} of {len(self._steps)} steps were never played: {self.left!r}")


def flaky(fn: Callable[P, R], *errors: BaseException | type[BaseException] | None) -> Callable[P, R]:
    """`fn`, whose first calls fail: each error is raised in place of one call; None lets one through.

    Args:
        fn: A function, or a coroutine function.
        errors: For the first call, the second, and so on; after the last one `fn` works for good.

    >>> from resilience.testing import flaky
    >>> shaky = flaky(str.upper, ConnectionError("gone"))
    >>> try:
    ...     shaky("a")
    ... except ConnectionError:
    ...     shaky("a")
    'A'
    """
    left = iter(errors)

    def fail() -> None:
        error = next(left, None)
        if error is not None:
            raise error

    if is_async(fn):

        @functools.wraps(fn)
        async def acall(*args: P.args, **kwargs: P.kwargs) -> Any:
            fail()
            return await cast("Any", fn)(*args, **kwargs)

        return cast("Callable[P, R]", acall)

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        fail()
        return fn(*args, **kwargs)

    return call
