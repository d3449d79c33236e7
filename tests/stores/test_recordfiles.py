"""The files of a record: names that fit everywhere, and contents of which nothing can be changed unseen."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from resilience._core.records import Now, Record
from resilience.errors import ConfigError, CorruptStateError, StateError, UnknownFormatError
from resilience.stores._recordfiles import (
    SLOT,
    beat_of,
    could_be_under,
    dump_record,
    escaped,
    is_cut,
    key_of,
    name_of,
    parse_record,
    renewed_by,
    sealed,
    unsealed,
)


NOW = Now(1e9, 5.0, "boot;ns")
PLAIN = Record.written(b"value", 41, None, None, NOW)
LEASE = Record.written(b"holder", 41, 30.0, "w-1", NOW)

#: Every key that a store takes: text of 1 to 1024 bytes in UTF-8.
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1024).filter(
    lambda key: len(key.encode()) <= 1024
)

#: What Windows takes for a device, whatever the ending.
RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    "conin$",
    "conout$",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
}

#: What has hurt somebody somewhere.
BAD_KEYS = [
    "/", "//", "/etc/passwd", "a/b", "a/../../b", "..", ".", "...", "../..", "\\", "..\\..", "c:\\x", "C:", "a:b", "\0", "\0ping", "\0turn\0k\0t",
    "a\0b", "\n", "\r\n", "\t", " ", "a ", "a.", " a", "-rf", "~", "~root", "%", "%2e", "%2E", "%2e%2e%2f", "%00", "$HOME", "`x`", "*", "?", "a|b",
    '"', "'", "<", ">", "A", "a", "É", "é", "e\u0301", "\u212b", "\u00c5", "ß", "ẞ", "ı", "İ", "ſ", "K", "\u202e", "\ufeff", "\uffff", "𝔸", "😀",
    "con", "CON", "prn", "aux", "nul", "com1", "lpt9", "com¹", "conin$", "con.txt", "nul.record", "lock", "floor", "store.json", ".unpublished-1", "x.record",
    "x.beats", "k-x", "k-x.record", "a" * 120, "a" * 121, "A" * 40, "A" * 41, "a" * 1024, "a" * 1023 + "b", "b" + "a" * 1023, "/" * 1024, "\0" * 1024,
    "é" * 512, "😀" * 256, "../" * 341, "a" * 48 + "~" + "0" * 64, f"{'a' * 48}~{hashlib.sha256(b'a' * 1024).hexdigest()}",
]  # fmt: skip


def everywhere(name: str) -> None:
    """The name is one that every file system takes, and takes for another than any other name."""
    assert re.fullmatch(r"k-[a-z0-9_.%~-]+", name)
    assert name.partition(".")[0] not in RESERVED
    assert "/" not in name
    assert len(f"{name}.record") <= 143


@pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
def test_a_key_that_hurts_has_a_name_that_does_not(key: str) -> None:
    everywhere(name_of(key))
    assert key_of(name_of(key)) == (None if is_cut(name_of(key)) else key)


def test_no_two_of_them_have_one_name() -> None:
    assert len(set(BAD_KEYS)) == len(BAD_KEYS) == len({name_of(key) for key in BAD_KEYS})


@given(KEYS, KEYS)
def test_every_key_has_a_name_of_its_own_that_fits_everywhere(one: str, other: str) -> None:
    assume(one != other)
    everywhere(name_of(one))
    assert name_of(one) != name_of(other)
    assert key_of(name_of(one)) == (None if is_cut(name_of(one)) else one)


@given(st.text())
@example("k-%")
@example("k-%4")
@example("k-%c3")
@example("k-%41%")
@example("k-%C3%A9")
@example("k-")
@example("k-a b")
@example("é")
def test_the_name_of_no_key_is_of_no_key(name: str) -> None:
    """A copy that somebody made, an editor's backup."""
    key = key_of(name)
    assert key is None or name_of(key) == name


def test_short_keys_are_readable_and_long_ones_begin_so() -> None:
    assert name_of("profile-7.v2_x") == "k-profile-7.v2_x"
    assert name_of("task:42") == "k-task%3a42"
    assert name_of("a" * 200).startswith("k-aaaa")


@given(KEYS, KEYS)
@example("a" * 300, "a" * 60)
@example("a" * 300, "a" * 20)
@example("a" * 300, "b")
def test_a_name_can_be_under_a_prefix_if_the_key_is(key: str, prefix: str) -> None:
    name = name_of(key)
    for begin in (prefix, key[: len(prefix)], key, ""):
        if key.startswith(begin):
            assert could_be_under(name, escaped(begin))
        elif not is_cut(name):
            assert not could_be_under(name, escaped(begin))


@pytest.mark.parametrize(
    "record", [PLAIN, LEASE, PLAIN._replace(value=b""), PLAIN._replace(value=bytes(range(256)) * 5)]
)
@pytest.mark.parametrize("key", ["k", "\0é\n" * 100])
def test_a_record_comes_back_as_it_was(record: Record, key: str) -> None:
    assert parse_record(dump_record(key, record), "file") == (key, record)


def test_its_file_can_be_read_by_people() -> None:
    line, value, seal, end = dump_record("task:42", LEASE).split(b"\n")
    assert json.loads(line)["key"] == "task:42"
    assert json.loads(line)["revision"] == LEASE.revision
    assert (value, end) == (b"holder", b"")
    assert seal == b"sha256:" + hashlib.sha256(line + b"\n" + value).hexdigest().encode()


@pytest.mark.parametrize("size", [100 * 1024, 100 * 1024 + 1])
@pytest.mark.parametrize("kind", ["the same again", "at random"])
def test_only_what_is_long_and_becomes_shorter_is_compressed(size: int, kind: str) -> None:
    value = bytes(size) if kind == "the same again" else os.urandom(size)
    record = PLAIN._replace(value=value)
    data = dump_record("k", record)
    assert parse_record(data, "file") == ("k", record)
    compressed = json.loads(data.partition(b"\n")[0])["gzip"]
    assert compressed is (kind == "the same again" and size > 100 * 1024)
    assert (len(data) < size) is compressed


class TestDamage:
    """Every way to change one byte, to cut, and to add."""

    data = dump_record("key", LEASE)

    def test_every_single_byte_in_every_way(self) -> None:
        for at in range(len(self.data)):
            for byte in range(256):
                changed = self.data[:at] + bytes([byte]) + self.data[at + 1 :]
                if byte != self.data[at]:
                    with pytest.raises(CorruptStateError, match=r"file: its checksum is wrong"):
                        unsealed(changed, "file")

    def test_every_truncation(self) -> None:
        for size in range(len(self.data)):
            for damaged in (
                self.data[:size],
                self.data[len(self.data) - size :],
                self.data[:size].ljust(len(self.data), b"\0"),
            ):
                with pytest.raises(CorruptStateError):
                    parse_record(damaged, "file")

    def test_every_extension_by_a_byte_at_every_place(self) -> None:
        for at in range(len(self.data) + 1):
            for byte in (b"\0", b"\n", b" ", b"0", self.data[at : at + 1]):
                if byte:
                    with pytest.raises(CorruptStateError):
                        parse_record(self.data[:at] + byte + self.data[at:], "file")

    def test_two_of_them_in_one_file(self) -> None:
        with pytest.raises(CorruptStateError):
            parse_record(self.data + self.data, "file")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]\nvalue",
        b"not json\nvalue",
        b"{}\nvalue",
        dump_record("k", LEASE).rpartition(b"\nsha256:")[0].replace(b'"v":1', b'"v":2'),
        dump_record("k", LEASE).rpartition(b"\nsha256:")[0].replace(b"resilience.record", b"somebody.record"),
        dump_record("k", LEASE).rpartition(b"\nsha256:")[0].replace(b'"write_id"', b'"other_id"'),
        dump_record("k", LEASE).rpartition(b"\nsha256:")[0].replace(b'"gzip":false', b'"gzip":true'),
    ],
)
def test_what_is_whole_but_of_another_version_is_not_guessed_at(body: bytes) -> None:
    with pytest.raises(UnknownFormatError, match="file: not a record in version 1"):
        parse_record(sealed(body), "file")


def test_zlib_is_told_to_write_no_time_stamp() -> None:
    """The same record is the same file."""
    record = PLAIN._replace(value=bytes(200_000))
    assert dump_record("k", record) == dump_record("k", record)
    assert zlib.decompress(dump_record("k", record).partition(b"\n")[2][:-73], 31) == bytes(200_000)


class TestBeats:
    @staticmethod
    def written(records: list[Record]) -> bytes:
        data = b""
        for record in records:
            slot, at = beat_of(record)
            assert len(slot) == SLOT
            data = data[:at].ljust(at, b"\0") + slot + data[at + SLOT :]
        return data

    @staticmethod
    def beaten(count: int) -> list[Record]:
        records = [LEASE]
        for number in range(count):
            records.append(records[-1].renewed(30.0, NOW._replace(boottime=6.0 + number, wall=1e9 + 1 + number)))
        return records[1:]

    @pytest.mark.parametrize("count", [1, 2, 3, 4])
    def test_the_last_one_counts(self, count: int) -> None:
        assert renewed_by(LEASE, self.written(self.beaten(count))) == self.beaten(count)[-1]

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_one_that_is_torn_leaves_the_one_before_it(self, count: int) -> None:
        beats = self.beaten(count)
        before = self.written(beats[:-1])
        slot, at = beat_of(beats[-1])
        for size in range(SLOT):
            torn = before[:at].ljust(at, b"\0") + slot[:size] + before[at + size :]
            assert renewed_by(LEASE, torn) in ([LEASE, *beats][-2], beats[-1])
            if b"}" not in slot[:size]:
                assert renewed_by(LEASE, torn) == [LEASE, *beats][-2]

    def test_no_single_changed_byte_counts(self) -> None:
        (beat,) = self.beaten(1)
        data = self.written([beat])
        for at in range(SLOT, 2 * SLOT):
            for byte in {0, 32, data[at] ^ 1, data[at] ^ 32} - {data[at]}:
                assert renewed_by(LEASE, data[:at] + bytes([byte]) + data[at + 1 :]) == LEASE

    def test_those_of_another_revision_do_not_count(self) -> None:
        data = self.written(self.beaten(2))
        other = LEASE._replace(revision=LEASE.revision + 1)
        assert renewed_by(other, data) == other

    def test_a_clock_whose_boot_does_not_fit(self) -> None:
        with pytest.raises(ConfigError, match=r"clock\.boot"):
            beat_of(LEASE._replace(boot="x" * SLOT))


def test_every_error_of_a_file_is_one_of_state() -> None:
    assert issubclass(CorruptStateError, StateError)
    assert issubclass(UnknownFormatError, StateError)
