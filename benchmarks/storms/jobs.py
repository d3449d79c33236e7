"""Simulations as values, done in processes of their own; not in `__main__`, which such a process cannot import."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from attrs import frozen

from storms.scenarios import SCENARIOS


@frozen
class Job:
    """One simulation.

    Args:
        scenario: A name in `SCENARIOS`.
        given: Its arguments.
    """

    scenario: str
    given: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, scenario: str, **given: Any) -> Job:
        """Such a job."""
        return cls(scenario, tuple(given.items()))

    def __str__(self) -> str:
        return f"{self.scenario}({', '.join(f'{name}={value}' for name, value in self.given)})"


@frozen
class Done:
    """What a job gave, and what it took: seconds, and the most mebibytes that its process held."""

    result: Any
    seconds: float
    mebibytes: float


def do(job: Job) -> Done:
    """Do a job, in a process of its own."""
    start = time.perf_counter()
    result = SCENARIOS[job.scenario](**dict(job.given))
    return Done(result, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def do_all(jobs: Iterable[Job], workers: int) -> dict[Job, Done]:
    """Do them all, in a new process each: the memory of one is not the next one's."""
    jobs = list(jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        return dict(zip(jobs, pool.map(do, jobs), strict=True))
