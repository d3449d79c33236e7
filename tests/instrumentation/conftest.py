"""A retried call that tells everything there is to tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from resilience import ConstantBackoff, deadline, retry
from resilience.errors import DeadlineExceededError
from resilience.instrumentation import observe
from resilience.testing import Script, virtual_time


@pytest.fixture
def everything() -> Iterator[Callable[[], None]]:
    """One call recovers, one gives up, one is not worth trying again, one deadline is exceeded."""
    policy = retry(on=ConnectionError, attempts=2, backoff=ConstantBackoff(0.5), name="fetch")

    def happen() -> None:
        with virtual_time() as clock:
            policy.call(Script(ConnectionError("one"), "answer"))
            with pytest.raises(ConnectionError):
                policy.call(Script(*[ConnectionError("two")] * 2))
            with pytest.raises(KeyError):
                policy.call(Script(KeyError("bug")))
            with deadline(2.0, name="page") as d, pytest.raises(DeadlineExceededError):
                clock.advance(3.0)
                d.check()

    yield happen
    observe()
