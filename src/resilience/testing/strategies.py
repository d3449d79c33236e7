"""Hypothesis strategies for what stores are given: keys that hurt, values, and durations that floats hold exactly.

@given(keys(), values())
def test_mine(key, value): ...
"""

from __future__ import annotations

from typing import Final

from resilience._core.steps import LONGEST_KEY
from resilience.testing._hypothesis import st


__all__ = ["HURTING_KEYS", "durations", "keys", "values"]

#: Keys that some store, file system or query language takes for something else than text: all different, each like any other.
HURTING_KEYS: Final = (
    "a", "A", "a ", " a", "a/b", "a//b", "a/", "/", "//", ".", "..", "...", "./a", "../a", "../../etc/passwd", "a.", "~",
    "CON", "nul.txt", "a\\b", "C:\\a", "a:b", "{a}b", "{b}b",
    "\0", "a\0", "a\0b", "\x01", "\n", "a\n", "a\r\n", "\t", "\x7f", "\x85",
    "%", "a%", "_", "a_", "*", "a*", "?", "[a]", "a[", "^a", "$", "#", "'", '"', "';--", "`a`", "${a}", "%s", "%00", "+", "&", "=",
    "\u00e4", "a\u0308", "\u00df", "ss", "\u0130", "i", "I", "\u0131", "\u200d", "\ufeffa", "\u202ea", "\ufb00", "ff", "\u2126", "\u03a9",
    "\x80", "\xff", "\u0100", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0001f600", "\U0010ffff",
    "0", "00", "-1", "None", "null", "true",
    "k" * 255, "k" * 256, "k" * LONGEST_KEY, "\u00e9" * (LONGEST_KEY // 2), "\U0001f600" * (LONGEST_KEY // 4), "/" * LONGEST_KEY,
)  # fmt: skip


def keys() -> st.SearchStrategy[str]:
    """Keys of 1 to 1024 bytes in UTF-8: those that are known to hurt, and any other text.

    >>> from resilience.testing import strategies
    >>> strategies.keys().example()  # doctest: +SKIP
    '../../etc/passwd'
    """
    text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
    return st.sampled_from(HURTING_KEYS) | text


def values(largest: int = 64) -> st.SearchStrategy[bytes]:
    """Values of any bytes; the empty one and NULs are likely.

    Args:
        largest: Bytes.
    """
    return st.sampled_from([b"", b"\0", b"x"]) | st.binary(max_size=largest)


def durations(longest: float = 64.0) -> st.SearchStrategy[float]:
    """Seconds above 0, in sixteenths: exact in binary and in microseconds, so that an expiry can be met to the tick.

    Args:
        longest: Seconds.
    """
    return st.integers(1, int(longest * 16)).map(lambda sixteenths: sixteenths / 16)
