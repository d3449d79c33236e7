"""Revisions, expiry on two clocks, and what a caller sees of a record."""

from __future__ import annotations

import copy
import pickle

import pytest

from resilience._core.records import ABSENT, ANY, VACANT, Now, Record, Seen, next_revision
from resilience.stores import Versioned


NOW = Now(wall=1000.0, boottime=50.0, boot="one")


def later(seconds: float, *, wall: float = 0.0) -> Now:
    """So many seconds later; `wall` is by how much somebody set the wall clock meanwhile."""
    return Now(NOW.wall + seconds + wall, NOW.boottime + seconds, NOW.boot)


@pytest.mark.parametrize(
    ("previous", "wall", "expected"),
    [
        pytest.param(0, 1.5, 1_500_000, id="the wall clock, in µs"),
        pytest.param(1_500_000, 1.5, 1_500_001, id="twice in one µs"),
        pytest.param(2_000_000, 1.5, 2_000_001, id="the clock was set back"),
        pytest.param(1_000_000, 1.5, 1_500_000, id="the clock is ahead of the count"),
        pytest.param(0, 0.0, 1, id="never 0, which is ABSENT"),
    ],
)
def test_a_revision_grows_with_the_count_and_with_the_clock(previous: int, wall: float, expected: int) -> None:
    assert next_revision(previous, wall) == expected


def test_a_record_expires_exactly_at_its_time() -> None:
    record = Record.written(b"x", 0, 2.0, None, NOW)
    assert not record.has_expired(later(1.999))
    assert record.has_expired(later(2.0))
    assert record.seen(later(0.5)).expires_in == 1.5
    assert record.seen(later(3)).expires_in == 0.0


@pytest.mark.parametrize("jump", [-3600.0, 3600.0], ids=["back", "forward"])
def test_within_one_boot_the_wall_clock_is_not_asked(jump: float) -> None:
    record = Record.written(b"x", 0, 2.0, None, NOW)
    assert not record.has_expired(later(1.0, wall=jump))
    assert record.has_expired(later(2.0, wall=jump))


def test_in_another_boot_the_wall_clock_decides() -> None:
    """The boot clock began again near 0: judged by it, the record would be immortal."""
    record = Record.written(b"x", 0, 2.0, None, NOW)
    assert not record.has_expired(Now(NOW.wall + 1, 3.0, "two"))
    assert record.has_expired(Now(NOW.wall + 2, 3.0, "two"))


def test_what_has_no_time_to_live_never_expires() -> None:
    record = Record.written(b"x", 0, None, None, NOW)
    assert record.left(later(1e9)) is None
    assert not record.has_expired(later(1e9))
    assert record.seen(later(1e9)) == Versioned(b"x", 1_000_000_000)


def test_a_renewal_puts_off_and_never_shortens() -> None:
    record = Record.written(b"x", 0, 10.0, "w", NOW)
    shorter = record.renewed(1.0, later(2))
    assert (shorter.beats, shorter.ttl, shorter.left(later(2)), shorter.revision) == (1, 1.0, 8.0, record.revision)
    longer = shorter.renewed(20.0, later(3))
    assert (longer.beats, longer.ttl, longer.left(later(3)), longer.write_id) == (2, 20.0, 20.0, "w")


def test_the_marks_are_what_they_say() -> None:
    assert ABSENT == 0
    assert [str(mark) for mark in (ABSENT, VACANT, ANY)] == ["ABSENT", "VACANT", "ANY"]
    assert [repr(mark) for mark in (ABSENT, VACANT, ANY)] == ["ABSENT", "VACANT", "ANY"]
    assert str(Seen(7, 2)) == "revision 7 after 2 beats"


@pytest.mark.parametrize("mark", [ABSENT, VACANT, ANY], ids=str)
def test_a_mark_stays_itself_when_it_travels(mark: object) -> None:
    assert pickle.loads(pickle.dumps(mark)) is mark
    assert copy.deepcopy(mark) is mark
