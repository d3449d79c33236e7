"""Clauses about what is kept: a value comes back as it was given, under its key and no other."""

from __future__ import annotations

from typing import Any

from resilience._core.records import ABSENT, ANY, Versioned
from resilience._core.steps import LONGEST_KEY
from resilience.testing.contracts.bench import Bench, clause
from resilience.testing.strategies import HURTING_KEYS


__all__: list[str] = []

#: What a store may raise for an argument that cannot be: `ConfigError` is a `ValueError`.
_BAD = (ValueError, TypeError)

_NO_KEYS: tuple[Any, ...] = (
    "",
    "k" * 10_000,
    "\u00e9" * (LONGEST_KEY // 2 + 1),
    "half \ud83d a pair",
    b"bytes",
    None,
    7,
)


@clause()
def what_was_never_written_is_none(bench: Bench) -> None:
    """`load` of a key that was never written is None."""
    bench.expect(bench.store.load("nothing"), None, "a key that was never written")


@clause()
def written_is_answered_and_read_the_same(bench: Bench) -> None:
    """`compare_and_set` answers with the record as `load` shows it afterwards."""
    answer = bench.store.put("key", b"value", ABSENT, write_id="name")
    bench.require(isinstance(answer, Versioned), "compare_and_set must answer with a Versioned")
    bench.expect((answer.value, answer.write_id), (b"value", "name"), "what compare_and_set answers")
    bench.expect(bench.store.load("key"), answer, "load after compare_and_set")


@clause()
def bytes_come_back_exactly(bench: Bench) -> None:
    """Any bytes come back as they were: NULs, line ends, what is no UTF-8, what looks compressed."""
    for value in (
        b"\0",
        b"a\0b\0",
        bytes(range(256)),
        b"\xff\xfe",
        b"\r\n\n",
        b"\x1f\x8b\x08",
        b'{"a":1}',
        b"123",
        b"1e3",
    ):
        bench.expect(bench.store.put("key", value).value, value, "the value that compare_and_set answers")
        bench.shows(bench.store, "key", "a value read back", value=value)


@clause()
def an_empty_value_is_a_value(bench: Bench) -> None:
    """A record with no bytes is a record: it is shown, it conflicts, it can be removed."""
    written = bench.store.put("key", b"", ABSENT)
    bench.shows(bench.store, "key", "an empty value", value=b"", revision=written.revision)
    bench.expect(bench.store.load_many(["key"]), {"key": bench.store.load("key")}, "load_many of an empty value")
    bench.expect([key for key, _ in bench.store.scan()], ["key"], "scan over an empty value")
    bench.expect(bench.store.remove("key", written.revision), True, "remove of an empty value")


@clause()
def a_mebibyte_comes_back(bench: Bench) -> None:
    """A value of 1 MiB (or of the store's limit, if that is less) comes back."""
    size = min(1 << 20, bench.subject.max_value_bytes or 1 << 20)
    value = (bytes(range(256)) * (size // 256 + 1))[:size]
    bench.store.put("key", value)
    bench.require(
        bench.shows(bench.store, "key", "a large value").value == value, "a large value must come back as it was"
    )


@clause("limit")
def a_value_over_the_limit_is_refused(bench: Bench) -> None:
    """A value of one byte more than the limit is refused, and what was there is still there."""
    before = bench.store.put("key", b"before")
    large = b"x" * ((bench.subject.max_value_bytes or 0) + 1)
    bench.refused(_BAD, "a value over the limit", bench.store.put, "key", large)
    bench.expect(bench.store.load("key"), before, "after a value that was refused")


@clause()
def a_value_is_kept_not_borrowed(bench: Bench) -> None:
    """What the caller does to its buffer after a write changes nothing that is stored."""
    for buffer in (bytearray(b"before"), memoryview(bytearray(b"before"))):
        bench.store.put("key", buffer)
        buffer[:6] = b"after!"
        bench.shows(bench.store, "key", "after the caller changed its buffer", value=b"before")


@clause()
def a_value_shown_is_bytes(bench: Bench) -> None:
    """Every value that is shown is `bytes`, which nobody can change."""
    answers = [bench.store.put("key", bytearray(b"value"))]
    answers += [bench.shows(bench.store, "key", "a value read back"), dict(bench.store.scan())["key"]]
    for answer in answers:
        bench.expect(type(answer.value), bytes, "the type of a value")


@clause()
def a_value_must_be_bytes(bench: Bench) -> None:
    """What is not bytes is refused, and nothing is written."""
    bad: tuple[Any, ...] = ("text", None, 7, ["list"])
    for value in bad:
        bench.refused(_BAD, f"the value {value!r}", bench.store.put, "key", value)
    bench.expect(bench.store.load("key"), None, "after values that were refused")


@clause()
def keys_that_hurt_are_distinct(bench: Bench) -> None:
    """Keys with slashes, dots, NULs, quotes, of either case or normal form, 1024 bytes long: each has its own record."""
    written = {key: bench.store.put(key, str(at).encode(), ABSENT) for at, key in enumerate(HURTING_KEYS)}
    for key, record in written.items():
        bench.expect(bench.store.load(key), record, "a key among others like it")
    bench.expect(bench.store.load_many(HURTING_KEYS), written, "load_many of keys that hurt")
    bench.expect(dict(bench.store.scan()), written, "scan over keys that hurt")
    for key, record in written.items():
        bench.expect(bench.store.remove(key, record.revision), True, "remove of a key among others like it")
        bench.expect(bench.store.load(key), None, "a key that was removed")
    bench.expect(bench.store.scan(), [], "scan after all keys were removed")


@clause()
def keys_that_begin_alike_are_distinct(bench: Bench) -> None:
    """A key that begins with another key is another key."""
    written = {
        key: bench.store.put(key, key.encode(), ABSENT) for key in ("k" * size for size in (1, 2, 255, 1023, 1024))
    }
    bench.expect(bench.store.load_many(written), written, "keys that begin with each other")
    bench.store.remove("k")
    bench.expect(bench.store.load("kk"), written["kk"], "after a key that it begins with was removed")


@clause()
def a_bad_key_is_refused(bench: Bench) -> None:
    """A key that is empty, over 1024 bytes, half a surrogate pair, or no text is refused by every verb that takes one."""
    store = bench.store
    for key in _NO_KEYS:
        bench.refused(_BAD, "a bad key", store.load, key)
        bench.refused(_BAD, "a bad key", store.put, key)
        bench.refused(_BAD, "a bad key", store.remove, key, ANY)
        bench.refused(_BAD, "a bad key", store.load_many, ["good", key])
    bench.expect(store.scan(), [], "after keys that were refused")


@clause()
def load_many_answers_for_every_key(bench: Bench) -> None:
    """`load_many` has an entry for each key that was asked for: None for what is missing, one for a key asked twice."""
    a, b = bench.store.put("a"), bench.store.put("b", ttl=bench.short)
    bench.expire()
    found = bench.store.load_many(["b", "missing", "a", "b"])
    bench.expect(set(found), {"a", "b", "missing"}, "the keys of load_many")
    bench.expect((found["a"], found["missing"]), (a, None), "what load_many shows of a record, and of none")
    expired = found["b"]
    bench.expect(
        expired and (expired.revision, expired.expired), (b.revision, True), "what load_many shows of an expired one"
    )
    bench.expect(bench.store.load_many([]), {}, "load_many of no keys")


@clause("another")
def a_second_instance_sees_every_write(bench: Bench) -> None:
    """What one instance writes or removes, another instance over the same data sees at once."""
    other = bench.another()
    for one, two in ((bench.store, other), (other, bench.store)):
        written = one.put("key", b"value", write_id="name")
        bench.expect(two.load("key"), written, "a record that another instance wrote")
        bench.expect(two.scan(), [("key", written)], "a record that another instance wrote")
        one.remove("key", written.revision)
        bench.expect(two.load("key"), None, "a record that another instance removed")


@clause("reopen")
def records_are_there_after_reopening(bench: Bench) -> None:
    """What was written is there after the store was closed and opened again, and what was removed is not."""
    written = bench.store.put("key", b"value", write_id="name")
    lease = bench.store.put("lease", b"held", ttl=bench.long)
    bench.store.put("gone")
    bench.store.remove("gone")
    store = bench.reopened()
    bench.expect(store.load("key"), written, "a record after reopening")
    bench.shows(store, "lease", "a lease after reopening", revision=lease.revision, ttl=bench.long, expired=False)
    bench.expect(store.load("gone"), None, "a removed record after reopening")
