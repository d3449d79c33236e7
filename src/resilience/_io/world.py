"""The World: clock, chance and observers, as one immutable value.

The ambient of the process (those of a task, the Scope and the retries around, are in `ambient`). It is read only after a failure, or
when something waits or a deadline is entered, never on the path of a call that succeeds. Tests swap it whole; nothing
else ever does. It is one value for the whole process, not a context variable, because background threads must see the
same time as the code that started them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from resilience._io.clock import SystemClock
from resilience.typing import Clock, Hook, Rng


if TYPE_CHECKING:
    from random import Random

__all__ = ["SystemRng", "World", "current", "observing", "swapped"]


class SystemRng:
    """A generator of this process's own: apart from the global one of `random`, and seeded anew after a fork.

    Without that, every worker forked from one parent would draw the same jitter and come back in step with the others.
    """

    def __init__(self) -> None:
        self._generator: Random | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def random(self) -> float:
        """A number drawn evenly from [0, 1); safe for threads."""
        generator = self._generator
        if generator is None:
            from random import Random  # noqa: PLC0415  # needs OpenSSL's hashes: only code that waits should pay

            generator = self._generator = Random()  # noqa: S311  # jitter is no secret
        return generator.random()

    def _forget(self) -> None:
        self._generator = None


@frozen(eq=False, repr=False)
class World:
    """What the library takes from outside itself.

    Args:
        clock: Where all time comes from.
        rng: Where all jitter comes from.
        observers: Hooks that are told every event of every policy, after the policy's own.
    """

    clock: Clock = field(factory=SystemClock)
    rng: Rng = field(factory=SystemRng)
    observers: tuple[Hook, ...] = ()
    monotonic: Callable[[], float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        # The clock's method, bound once: it is what everything asks for, and on hot paths.
        object.__setattr__(self, "monotonic", self.clock.monotonic)


#: The World as it is now. Read it through the module (`world.current`), for tests swap it.
current = World()


@contextmanager
def swapped(world: World) -> Generator[World]:
    """Put another World in place for the length of the block, in every thread. For tests."""
    global current  # noqa: PLW0603  # the one ambient of the process; see the module's theory
    before, current = current, world
    try:
        yield world
    finally:
        # What was observed from inside the block on stays observed.
        current = before if current.observers == world.observers else evolve(before, observers=current.observers)


def observing(*observers: Hook) -> None:
    """Replace the observers; the rest of the World stays."""
    global current  # noqa: PLW0603
    current = evolve(current, observers=observers)
