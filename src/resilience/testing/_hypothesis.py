"""Hypothesis, which only a part of the kit needs, and whoever has not got it is told what to install."""

from __future__ import annotations


try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "the contracts and strategies of resilience.testing need hypothesis: pip install 'resilience-primitives[testing]'"
    ) from error

__all__ = ["st"]
