"""The four storms. Each is a function of plain values, so that it can run in a process of its own; so is what it gives.

All clients are alike. A request takes no time, and is served or refused at once.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
from array import array
from collections.abc import Callable, Sequence
from email.message import Message
from random import Random
from typing import Any, NoReturn
from urllib.error import HTTPError

from attrs import define, frozen

from resilience import ExponentialBackoff, Jitter, RetryBudget, RetryPolicy, transient
from resilience.testing import VirtualClock
from resilience.typing import Backoff
from storms.crowd import SLOT, Moments, all_of, by_slot, most_in_a_window, quantile, simulate, slot_of
from storms.formulas import BASE, CAP, FORMULAS


#: Seconds between two calls of one client, on average, where clients make many.
PERIOD = 10.0

#: What each process of clients may retry.
RATIO, AT_LEAST, WINDOW = 0.1, 3, 10.0


def down() -> NoReturn:
    """What a client sees of a server that is not there."""
    raise ConnectionRefusedError


# -- the herd ----------------------------------------------------------------------------------------------------------

#: Seconds that the server of a herd is away, and from when on the herd's peak counts.
OUTAGE, LATER = 30.0, 5.0


@frozen
class Herd:
    """What a herd did.

    Args:
        requests: Per client.
        peak: The largest share of the clients in any `SLOT`, from `LATER` on.
        peak_back: The same, from the moment that the server is back.
        median: Seconds from that moment until half of the clients had their answer.
        p99: The same for all but one in a hundred.
        load: The share of the clients that asked in each slot.
        waited: The hundred quantiles of the seconds until the answer.
    """

    requests: float
    peak: float
    peak_back: float
    median: float
    p99: float
    load: list[float]
    waited: list[float]


def herd(formula: str, clients: int, within: float, seed: int = 1) -> Herd:
    """All clients begin within so many seconds, find the server down, and try until it is back.

    Args:
        formula: Of the waits.
        clients: How many.
        within: Seconds, over which the beginnings are spread evenly at random; 0 for all in one instant.
        seed: Of all chance.
    """
    chance = Random(seed)
    asked: Moments = array("d")
    waited: Moments = array("d")
    rule = FORMULAS[formula]

    async def main(clock: VirtualClock) -> None:
        async def ask() -> None:
            now = clock.monotonic()
            asked.append(now)
            if now < OUTAGE:
                down()

        async def client(policy: RetryPolicy, start: float) -> None:
            if start:
                await asyncio.sleep(start)
            await policy.acall(ask)
            waited.append(clock.monotonic() - OUTAGE)

        shared = RetryPolicy(on=transient, attempts=None, backoff=rule.make(chance))
        starts = [within * chance.random() for _ in range(clients)]
        await all_of(
            client(shared.replace(backoff=rule.make(chance)) if rule.remembers else shared, start) for start in starts
        )

    simulate(main, seed)
    return Herd(
        requests=len(asked) / clients,
        peak=most_in_a_window(asked, LATER) / clients,
        peak_back=most_in_a_window(asked, OUTAGE) / clients,
        median=quantile(waited, 0.5),
        p99=quantile(waited, 0.99),
        load=[count / clients for count in by_slot(asked, OUTAGE + CAP + 1)],
        waited=[quantile(waited, share / 100) for share in range(1, 101)],
    )


# -- steady traffic ----------------------------------------------------------------------------------------------------


@define
class Traffic:
    """Clients that call every `PERIOD`, a tenth more or less, from a random moment on, in processes that share a budget.

    A client whose call lasts longer than that makes its next one at once.

    Args:
        clients: How many.
        process: How many of them share a budget; None for no budget.
        attempts: Of each call.
        until: Seconds, after which no call begins.
        seed: Of all chance.
        calls: When each call began, in the order of their ends.
        succeeded: Whether it had its answer in the end.
        asked: When each request was made.
    """

    clients: int
    process: int | None
    attempts: int
    until: float
    seed: int
    calls: Moments
    succeeded: list[bool]
    asked: Moments

    @classmethod
    def of(
        cls,
        server: Callable[[float], None],
        *,
        clients: int,
        process: int | None,
        until: float,
        attempts: int = 4,
        seed: int = 1,
    ) -> Traffic:
        """The traffic that this server saw; it is given the moment of each request, and raises to refuse it."""
        traffic = cls(clients, process, attempts, until, seed, array("d"), [], array("d"))
        simulate(lambda clock: traffic.flow(server, clock), seed)
        return traffic

    async def flow(self, server: Callable[[float], None], clock: VirtualClock) -> None:
        """Let all clients run."""
        chance = Random(self.seed)

        async def ask() -> None:
            now = clock.monotonic()
            self.asked.append(now)
            server(now)

        async def client(policy: RetryPolicy) -> None:
            due = PERIOD * chance.random()
            while due < self.until:
                await asyncio.sleep(due - clock.monotonic())
                begun = clock.monotonic()
                try:
                    await policy.acall(ask)
                    served = True
                except ConnectionRefusedError:
                    served = False
                self.calls.append(begun)
                self.succeeded.append(served)
                due = max(clock.monotonic(), due + PERIOD * chance.uniform(0.9, 1.1))

        policy = RetryPolicy(on=transient, attempts=self.attempts, backoff=ExponentialBackoff(BASE, CAP))
        size = self.process or self.clients
        policies = [policy if self.process is None else policy.replace(budget=_budget()) for _ in range(self.processes)]
        await all_of(client(policies[number // size]) for number in range(self.clients))

    @property
    def processes(self) -> int:
        """How many there are."""
        return math.ceil(self.clients / (self.process or self.clients))


def _budget() -> RetryBudget:
    return RetryBudget(RATIO, at_least=AT_LEAST, window=WINDOW)


# -- what retries add to a load -----------------------------------------------------------------------------------------


@frozen
class Load:
    """What steady traffic came to.

    Args:
        requests: Per call.
        bound: What the budgets promise at the most: the ratio, and `at_least` in each window of each process.
        failed: The share of the calls that failed in the end.
    """

    requests: float
    bound: float | None
    failed: float


def load(failing: float, clients: int, process: int | None, until: float = 60.0, seed: int = 1) -> Load:
    """Steady traffic to a server that refuses this share of the requests, whichever they are."""
    chance = Random(seed + 1)

    def server(_now: float) -> None:
        if chance.random() < failing:
            down()

    traffic = Traffic.of(server, clients=clients, process=process, until=until, seed=seed)
    calls = len(traffic.calls)
    # One window more than fit into the time: none of them need begin at its start.
    floor = AT_LEAST * traffic.processes * (math.ceil(until / WINDOW) + 1) / calls
    return Load(
        requests=len(traffic.asked) / calls,
        bound=None if process is None else 1 + RATIO + floor,
        failed=traffic.succeeded.count(False) / calls,
    )


# -- recovery with little to spare ---------------------------------------------------------------------------------------

#: Seconds: when the server goes, when it is back, until when the calls are judged, and when the last of them begins.
#: The traffic outlasts the judgement: the last calls must not be served because no others come after them.
GONE, BACK, END, LAST = 10.0, 20.0, 80.0, 100.0

#: What the server can do in a slot, in units of the calls that come in one.
CAPACITY = 1.5


@define
class Limited:
    """A server that serves so many requests in each slot and refuses the rest; refusing takes from the next slot.

    Args:
        capacity: Requests in a slot.
        refusing: What it costs to refuse one, in units of serving one. The server that is away refuses for nothing.
        served: When it did.
    """

    capacity: float
    refusing: float
    served: Moments
    slot: int = -1
    left: float = 0.0
    refused: int = 0

    def __call__(self, now: float) -> None:
        """Serve, or refuse."""
        slot = slot_of(now)
        if slot != self.slot:
            spent = self.refusing * self.refused if slot == self.slot + 1 else 0.0
            self.slot, self.left, self.refused = slot, self.capacity - spent, 0
        if GONE <= now < BACK:
            down()
        if self.left < 1:
            self.refused += 1
            down()
        self.left -= 1
        self.served.append(now)


@frozen
class Recovery:
    """How a server with little to spare came back.

    Args:
        seconds: From the end of the outage until 99 % of the calls succeed for good; None if that never came.
        requests: Per slot, in units of the calls that come in one: the most after the outage.
        failed: The share of the calls begun after the outage that failed.
        load: Requests in each slot, in those units.
        served: How many of them were served.
    """

    seconds: float | None
    requests: float
    failed: float
    load: list[float]
    served: list[float]


def recovery(clients: int, process: int | None, attempts: int, refusing: float, seed: int = 1) -> Recovery:
    """Steady traffic, an outage, and a server that can do half as much again as it must."""
    normal = clients * SLOT / PERIOD
    server = Limited(CAPACITY * normal, refusing, array("d"))
    traffic = Traffic.of(server, clients=clients, process=process, until=LAST, attempts=attempts, seed=seed)
    load = [count / normal for count in by_slot(traffic.asked, END)]
    after = [ok for begun, ok in zip(traffic.calls, traffic.succeeded, strict=True) if BACK <= begun < END]
    return Recovery(
        seconds=well_again(traffic.calls, traffic.succeeded),
        requests=max(load[round(BACK / SLOT) :]),
        failed=after.count(False) / len(after),
        load=load,
        served=[count / normal for count in by_slot(server.served, END)],
    )


def well_again(calls: Sequence[float], succeeded: Sequence[bool]) -> float | None:
    """Seconds after `BACK` from which on 99 % of the calls that begin in any second succeed, in steps of a slot."""
    begun = by_slot(calls, END)
    good = by_slot((moment for moment, ok in zip(calls, succeeded, strict=True) if ok), END)
    back, second = round(BACK / SLOT), round(1 / SLOT)
    latest_bad = None
    for slot in range(back, len(begun) - second + 1):
        if sum(good[slot : slot + second]) < 0.99 * sum(begun[slot : slot + second]):
            latest_bad = slot
    if latest_bad is None:
        return 0.0
    well = latest_bad + 1
    return None if well > len(begun) - second else (well - back) * SLOT


# -- told when to come back ----------------------------------------------------------------------------------------------

#: Seconds that the server asks for.
ASKED = 30


@frozen
class Lent:
    """Full jitter that does not know of hints: what it adds to one is the wait that it would have made without."""

    def delay(self, attempt: int, /) -> float:
        """Seconds."""
        return ExponentialBackoff(BASE, CAP).delay(attempt)


#: What the client adds to what the server asks for: that is for its backoff to say.
CLIENTS: dict[str, Backoff] = {
    "nothing": ExponentialBackoff(BASE, CAP, jitter=Jitter.NONE),
    "the jitter of the attempt": Lent(),
    "ours, equal jitter": ExponentialBackoff(BASE, CAP, jitter=Jitter.EQUAL),
    "ours, full jitter": ExponentialBackoff(BASE, CAP),
}


@frozen
class Told:
    """How the clients came back.

    Args:
        peak: The largest share of them in any `SLOT`.
        load: The share of them in each slot from the moment on that the first one was told.
    """

    peak: float
    load: list[float]


def told(client: str, how: str, clients: int, within: float, seed: int = 1) -> Told:
    """All clients ask within so many seconds, and are told to come back: in `ASKED` seconds, or at a moment."""
    chance = Random(seed)
    asked: Moments = array("d")

    async def main(clock: VirtualClock) -> None:
        moment = email.utils.formatdate(clock.wall() + ASKED, usegmt=True)

        async def ask() -> None:
            now = clock.monotonic()
            if now > ASKED - 1e-3:  # a date less a date is rounded, and nobody shall be sent away for that
                asked.append(now)
                return
            headers = Message()
            headers["Retry-After"] = moment if how == "a moment" else str(ASKED)
            raise HTTPError("http://server/", 503, "Service Unavailable", headers, None)

        async def call(start: float) -> None:
            if start:
                await asyncio.sleep(start)
            await policy.acall(ask)

        policy = RetryPolicy(on=transient, attempts=None, backoff=CLIENTS[client])
        starts = [within * chance.random() for _ in range(clients)]
        await all_of(call(start) for start in starts)

    simulate(main, seed)
    return Told(
        peak=most_in_a_window(asked) / clients,
        load=[count / clients for count in by_slot((moment - ASKED for moment in asked), CAP + 3)],
    )


SCENARIOS: dict[str, Callable[..., Any]] = {"herd": herd, "load": load, "recovery": recovery, "told": told}
