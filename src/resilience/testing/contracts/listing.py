"""Clauses about scanning: every record under a prefix, once, in the order of code points, a page at a time."""

from __future__ import annotations

from typing import Any

from resilience._core.records import Beat
from resilience.testing.contracts.bench import Bench, clause
from resilience.testing.strategies import HURTING_KEYS


__all__: list[str] = []

_BAD = (ValueError, TypeError)

#: In the order of their code points, which is that of UTF-8, and neither that of UTF-16, nor of lengths, nor of any language.
_IN_ORDER = (
    "A",
    "Z",
    "a",
    "a\0",
    "a/",
    "aa",
    "aaa",
    "ab",
    "b",
    "z",
    "\u00e4",
    "\u0130",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
)

#: Prefixes that a query language, a shell or a path may take for more than text, each with a key that it must not match.
_LITERAL = {
    "%": "x%", "a%": "axb", "_": "x", "a_": "ab", "*": "x*", "a*": "ab", "?": "x", "[a]": "a", "[^a": "b", "\\": "x\\",
    "a.": "ab", "../": "./", "'": "x'", "{a}": "a", "\0": "x", "\xff": "\u0100", "a\U0010ffff": "b", "\U0010ffff": "\uffff",
}  # fmt: skip


def _keys(page: list[tuple[str, Any]]) -> list[str]:
    return [key for key, _ in page]


def _fill(bench: Bench, keys: Any) -> None:
    for key in keys:
        bench.store.put(key, key.encode())


@clause()
def scan_of_nothing_is_empty(bench: Bench) -> None:
    """`scan` of a store without records, or under a prefix that none has, is an empty list."""
    bench.expect(bench.store.scan(), [], "scan of an empty store")
    bench.store.put("key")
    bench.expect(bench.store.scan("kez"), [], "scan under a prefix that no key has")
    bench.expect(bench.store.scan("key2"), [], "scan under a prefix longer than the key")
    bench.expect(bench.store.scan(expired=True), [], "scan for expired records where there are none")


@clause()
def scan_shows_what_load_shows(bench: Bench) -> None:
    """`scan` shows each record as `load` does."""
    bench.store.put("plain", b"1", write_id="name")
    lease = bench.store.put("lease", b"2", ttl=bench.long)
    bench.store.extend(Beat("lease", lease.revision, bench.long))
    page = dict(bench.store.scan())
    bench.expect(page["plain"], bench.store.load("plain"), "a record as scan shows it")
    found = page["lease"]
    wanted = (b"2", lease.revision, 1, bench.long, False, None)
    shown = (found.value, found.revision, found.beats, found.ttl, found.expired, found.write_id)
    bench.expect(shown, wanted, "a lease as scan shows it")


@clause()
def scan_is_in_the_order_of_code_points(bench: Bench) -> None:
    """`scan` is ordered by code points, in whatever order the records were written."""
    _fill(
        bench, (*_IN_ORDER[::-2], *_IN_ORDER[::2]) if len(_IN_ORDER) % 2 == 0 else (*_IN_ORDER[1::2], *_IN_ORDER[::-2])
    )
    bench.expect(_keys(bench.store.scan()), list(_IN_ORDER), "the order of scan")
    _fill(bench, HURTING_KEYS)
    bench.expect(
        _keys(bench.store.scan()), sorted({*HURTING_KEYS, *_IN_ORDER}), "the order of scan over keys that hurt"
    )


@clause()
def scan_takes_a_prefix_as_it_is(bench: Bench) -> None:
    """A prefix is text and no pattern, whatever its characters mean elsewhere, and distinguishes case."""
    keys = sorted({*_LITERAL, *_LITERAL.values(), *(f"{prefix}more" for prefix in _LITERAL), *HURTING_KEYS})
    _fill(bench, keys)
    for prefix in (*_LITERAL, "", "a", "A", "a/", "k" * 256):
        bench.expect(
            _keys(bench.store.scan(prefix)),
            [key for key in keys if key.startswith(prefix)],
            f"scan under {prefix[:20]!r}",
        )


@clause()
def scan_goes_on_after_a_key(bench: Bench) -> None:
    """`scan` begins after the key that is given, be there such a record or not, be it within the prefix or not."""
    _fill(bench, ("a", "b/1", "b/2", "b/3", "c"))
    for prefix, after, wanted in (
        ("", "b/1", ["b/2", "b/3", "c"]),
        ("", "b/1\0", ["b/2", "b/3", "c"]),
        ("", "b", ["b/1", "b/2", "b/3", "c"]),
        ("", "c", []),
        ("b/", "a", ["b/1", "b/2", "b/3"]),
        ("b/", "b/2", ["b/3"]),
        ("b/", "b/9", []),
        ("b/", "c", []),
    ):
        bench.expect(_keys(bench.store.scan(prefix, after=after)), wanted, f"scan under {prefix!r} after {after!r}")


@clause()
def pages_cover_everything_once(bench: Bench) -> None:
    """Page after page, each with at most `limit` records, comes every record once, whatever the limit."""
    keys = [f"p/{number:02}" for number in range(23)]
    _fill(bench, [*keys, "o", "q"])
    for limit in (1, 2, 7, 22, 23, 24, 10_000):
        found: list[str] = []
        while page := _keys(bench.store.scan("p/", after=found[-1] if found else "", limit=limit)):
            bench.require(len(page) <= limit, f"a page must have at most {limit} records, not {len(page)}")
            found += page
            if len(page) < limit or len(found) > len(keys):
                break
        bench.expect(found, keys, f"all pages of {limit}")


@clause()
def scan_tells_the_expired_apart(bench: Bench) -> None:
    """`scan` has the records that have not expired, with ``expired=True`` those that have, each in full pages."""
    for key, ttl in zip("01234567", (bench.short, bench.long) * 3 + (None, None), strict=True):
        bench.store.put(key, ttl=ttl)
    bench.expire()
    bench.expect(_keys(bench.store.scan()), ["1", "3", "5", "6", "7"], "scan of what has not expired")
    page = bench.store.scan(expired=True)
    bench.expect(
        [(key, record.expired) for key, record in page], [(key, True) for key in "024"], "scan of what has expired"
    )
    bench.expect(_keys(bench.store.scan(limit=2)), ["1", "3"], "the first page of what has not expired")
    bench.expect(_keys(bench.store.scan(limit=2, expired=True)), ["0", "2"], "the first page of what has expired")
    bench.expect(_keys(bench.store.scan(after="2", limit=2, expired=True)), ["4"], "the last page of what has expired")


@clause()
def a_bad_page_is_refused(bench: Bench) -> None:
    """A limit below 1 or above 10 000, a prefix or an `after` that is no text or too long is refused."""
    bad: tuple[dict[str, Any], ...] = (
        {"limit": 0}, {"limit": -1}, {"limit": 10_001}, {"limit": 1.5}, {"after": None}, {"after": "k" * 2000}, {"prefix": b"k"},
    )  # fmt: skip
    for options in bad:
        prefix = options.get("prefix", "")
        rest = {name: value for name, value in options.items() if name != "prefix"}
        bench.refused(_BAD, f"scan with {options}", bench.store.scan, prefix, **rest)
