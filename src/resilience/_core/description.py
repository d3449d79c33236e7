"""What a store promises, and what it may lose: said by the store itself, so that code can ask and refuse."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from itertools import combinations
from typing import Literal, TypeAlias, get_args

from attrs import frozen

from resilience.errors import ConfigError


__all__ = ["Description", "Fault", "Trait", "every_fault", "faults_but"]


class Fault(StrEnum):
    """What can befall a store as a whole."""

    EMPTIED = "emptied"
    """It came back with nothing: no persistence, or somebody removed it."""
    RESTORED = "restored"
    """It was put back to an older backup."""
    REBOOTED = "rebooted"
    """Its machine was started again: the boot clock begins near 0."""
    CLOCK_SET_BACK = "clock set back"
    """Its wall clock now says an earlier time than before."""


#: What `require=` may ask for, by the names of `Description`'s fields.
Trait: TypeAlias = Literal[
    "batch_extend", "durable", "guards", "linearizable", "shared", "survives_crash", "survives_reboot", "wakes"
]


@frozen(kw_only=True)
class Description:
    """What one store promises.

    Args:
        store: Which one, for people: its class and where it is, without passwords.
        clock: Whose clock judges expiry: the "server"'s, this "host"'s, or this "process"'s.
        incarnation: A random name for this life of the store: tokens of another one mean nothing here.
        linearizable: Each verb takes effect at one moment between its call and its return, as all clients see it.
        durable: An acknowledged write without a TTL is on the disk.
        survives_crash: Acknowledged writes survive the end, also by kill -9, of every client process.
        survives_reboot: Acknowledged writes without a TTL survive a power cut of the machine that keeps them.
        shared: Clients on other machines see the same store.
        guards: Writes can be guarded by a lease.
        batch_extend: A thousand renewals are one round trip.
        wakes: `wait` is woken by a write, rather than looking again and again.
        revisions_survive: The faults, alone and together, after which revisions still never repeat.
    """

    store: str
    clock: Literal["server", "host", "process"]
    incarnation: str
    linearizable: bool = True
    durable: bool
    survives_crash: bool
    survives_reboot: bool
    shared: bool
    guards: bool = True
    batch_extend: bool = True
    wakes: bool
    revisions_survive: frozenset[frozenset[Fault]]

    def require(self, traits: Collection[Trait]) -> None:
        """Refuse a store that is too weak for its use.

        Raises:
            ConfigError: It lacks one of the traits, or there is no such trait.
        """
        known = get_args(Trait)
        for trait in traits:
            if trait not in known:
                raise ConfigError("require", trait, f"one of {', '.join(known)}")
        lacking = [trait for trait in traits if not getattr(self, trait)]
        if lacking:
            raise ConfigError("store", self.store, f"one that is {', '.join(lacking)}")


def every_fault() -> frozenset[frozenset[Fault]]:
    """Each fault alone, and each two of them together."""
    return frozenset(frozenset(some) for size in (1, 2) for some in combinations(Fault, size))


def faults_but(*pairs: tuple[Fault, Fault]) -> frozenset[frozenset[Fault]]:
    """Every fault, alone and in pairs, but for these pairs."""
    return every_fault() - {frozenset(pair) for pair in pairs}
