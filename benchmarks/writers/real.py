"""The writers as ten processes on a real store: ``python -m writers.real URL POLICY SECONDS`` is one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from resilience import open_store
from resilience._io.drive import drive
from resilience.stores import ANY
from writers.figures import Figures, Update
from writers.policies import COUNTER, Gave, Policy, updating


WRITERS = 10
THINKING = 0.002


def write(url: str, policy: Policy, seconds: float) -> list[Update]:
    """Update for so long; what became of each."""
    updates = []
    with open_store(url) as store:
        store.load(COUNTER.key)
        print("ready", flush=True)
        sys.stdin.readline()
        end = time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            tries = 0

            def change(value: int) -> int:
                nonlocal tries
                tries += 1
                time.sleep(THINKING)
                return value + 1

            through = True
            try:
                drive(updating(policy, change, os.urandom(8).hex()), store)
            except Gave:
                through = False
            updates.append(Update(tries, time.monotonic() - began, through))
    return updates


def contend(url: str, policy: Policy, seconds: float, environment: dict[str, str]) -> Figures:
    """Ten processes on an empty counter."""
    with open_store(url) as store:
        store.remove(COUNTER.key, expected=ANY)
        argv = [sys.executable, "-m", "writers.real", url, policy, str(seconds)]
        writers = [
            subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            for _ in range(WRITERS)
        ]
        by_writer: list[Sequence[Update]] = []
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            out, _ = writer.communicate(timeout=seconds + 60)
            by_writer.append([Update(*update) for update in json.loads(out)])
        there = store.load(COUNTER.key)
    counted = 0 if there is None else COUNTER.codec.decode(there.value)
    done = [sum(update.done for update in updates) for updates in by_writer]
    return Figures.of([update for updates in by_writer for update in updates], done, counted)


if __name__ == "__main__":
    outcome = write(sys.argv[1], Policy(sys.argv[2]), float(sys.argv[3]))
    print(json.dumps([(update.tries, update.took, update.done) for update in outcome]))
