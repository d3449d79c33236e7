"""What was found out about one exception: the verdict, and what it rests on. Rows make findings, classifiers pass them on."""

from __future__ import annotations

from typing import NamedTuple

from resilience._core.verdict import Verdict


__all__ = ["Finding"]


class Finding(NamedTuple):
    """What was found out about one exception.

    Args:
        error: The exception.
        verdict: What it means; None if nobody knows it.
        by: The `Row` that says so, or the member of a policy's ``on`` that admitted it; None if nobody did.
        parts: The same of what was judged in its place: what it wraps, or the leaves of a group.
    """

    error: BaseException
    verdict: Verdict | None
    by: object
    parts: tuple[Finding, ...] = ()
