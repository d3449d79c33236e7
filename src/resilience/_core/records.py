"""Records: what a store keeps under a key, what a caller sees of it, and what may be expected of it.

A **revision** is an integer per key that grows with every write and is never used twice, not even after the key was
removed: `max(previous + 1, the store's wall time in µs)`. Either half alone would fail somewhere: a count starts again
where a store was emptied, a clock can be set back. Together they fail only where both happen, and a store declares
that. The revision at which somebody's lease began is therefore his fencing token.

**Expiry** is judged by the store's own clock. Within one boot of one machine that is the boot clock, which nobody sets;
what was written in another boot is judged by the wall clock, since nothing else is common to the two. A record that has
expired is still there, and shown as expired, until somebody replaces it.

**Beats** count how often a record's expiry was put off. That leaves the revision alone, so that a heartbeat never makes
somebody's compare-and-set fail.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from attrs import frozen


__all__ = [
    "ABSENT",
    "ANY",
    "VACANT",
    "Beat",
    "Expected",
    "Guard",
    "Now",
    "Record",
    "Seen",
    "Versioned",
    "next_revision",
]

T = TypeVar("T")


class _Absent(IntEnum):
    """The revision of what is not there."""

    ABSENT = 0

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name


class _State(Enum):
    """What may be expected of a record without having seen it."""

    VACANT = "no record, or an expired one"
    ANY = "whatever there is"

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name


#: No record, not even an expired one: the revision that comes before all others.
ABSENT: Final = _Absent.ABSENT
#: No record, or one that has expired.
VACANT: Final = _State.VACANT
#: Whatever there is, or is not.
ANY: Final = _State.ANY


@frozen
class Seen:
    """The record exactly as the caller saw it, its beats included: nobody wrote, and nobody put its expiry off.

    Whether it may be taken (it has expired, or its holder is proven dead) is the caller's to judge.

    Args:
        revision: As in the `Versioned` that was seen.
        beats: As in the `Versioned` that was seen.
    """

    revision: int
    beats: int

    def __str__(self) -> str:
        return f"revision {self.revision} after {self.beats} beats"


#: What a write expects to find: a revision (`ABSENT` is one), `VACANT`, `ANY`, or what was `Seen`.
Expected: TypeAlias = int | Literal[_State.VACANT, _State.ANY] | Seen


@frozen
class Guard:
    """A condition on another key, a lease, judged in the same step as the write.

    Args:
        key: The lease's key.
        token: The fencing token: the write is done only while the lease is unexpired and still at this revision. Or
            `VACANT`: only while nobody holds it.
    """

    key: str
    token: int | Literal[_State.VACANT]


@frozen
class Beat:
    """A renewal: the expiry of one lease, put off.

    Args:
        key: The lease's key.
        token: Its fencing token; another's lease is not renewed, nor one that has expired.
        ttl: Seconds from now; never shortens what is left.
    """

    key: str
    token: int
    ttl: float


@frozen
class Versioned(Generic[T]):
    """A value as it was when it was read, and what is known about it.

    Args:
        value: The value.
        revision: Which writing of this key it is; `ABSENT` (0) where an optimistic lock shows its default.
        beats: How often its expiry was put off since it was written.
        ttl: Seconds for which it was written, or last renewed; None if it does not expire.
        expires_in: Seconds that were left when it was read, 0.0 if none; None if it does not expire.
        expired: Whether it has expired; it stays until it is replaced.
        write_id: The random name that its writer gave to the write; None if none was given.
    """

    value: T
    revision: int
    beats: int = 0
    ttl: float | None = None
    expires_in: float | None = None
    expired: bool = False
    write_id: str | None = None


class Now(NamedTuple):
    """This moment, on the clocks of a store that lives on one machine.

    Args:
        wall: Unix seconds.
        boottime: Seconds since this machine booted.
        boot: Which boot, in which time namespace: two boot times of different ones cannot be compared.
    """

    wall: float
    boottime: float
    boot: str


class Record(NamedTuple):
    """What a store on one machine keeps under a key.

    Args:
        value: The bytes.
        revision: Which writing of this key it is.
        beats: How often its expiry was put off.
        ttl: Seconds for which it was written or last renewed; None if it does not expire.
        expires_boottime: When it expires, on the boot clock; 0 if it does not.
        expires_wall: When it expires, in Unix seconds; 0 if it does not.
        boot: The boot whose clock that is; empty if it does not expire.
        write_id: The name of the write; None if it has none.
    """

    value: bytes
    revision: int
    beats: int
    ttl: float | None
    expires_boottime: float
    expires_wall: float
    boot: str
    write_id: str | None

    @classmethod
    def written(cls, value: bytes, previous: int, ttl: float | None, write_id: str | None, now: Now) -> Record:
        """A new writing, after revision `previous` of the same key (or after the floor, where there is none)."""
        revision = next_revision(previous, now.wall)
        if ttl is None:
            return cls(value, revision, 0, None, 0.0, 0.0, "", write_id)
        return cls(value, revision, 0, ttl, now.boottime + ttl, now.wall + ttl, now.boot, write_id)

    def renewed(self, ttl: float, now: Now) -> Record:
        """The same, with its expiry put off until `ttl` from now, unless it is later already."""
        longest = max(ttl, self.left(now) or 0.0)
        return self._replace(
            beats=self.beats + 1,
            ttl=ttl,
            expires_boottime=now.boottime + longest,
            expires_wall=now.wall + longest,
            boot=now.boot,
        )

    def left(self, now: Now) -> float | None:
        """Seconds until it expires, 0 or less if it has; None if it does not expire."""
        if self.ttl is None:
            return None
        return self.expires_boottime - now.boottime if self.boot == now.boot else self.expires_wall - now.wall

    def has_expired(self, now: Now) -> bool:
        """Whether its time is over."""
        return self.ttl is not None and (self.left(now) or 0.0) <= 0

    def seen(self, now: Now) -> Versioned[bytes]:
        """What a caller sees of it."""
        left = self.left(now)
        if left is None:
            return Versioned(self.value, self.revision, self.beats, None, None, False, self.write_id)
        return Versioned(self.value, self.revision, self.beats, self.ttl, max(left, 0.0), left <= 0, self.write_id)


def next_revision(previous: int, wall: float) -> int:
    """The revision of a write at Unix second `wall`, after revision `previous`."""
    return max(previous + 1, int(wall * 1_000_000))
