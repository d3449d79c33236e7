"""pymongo."""

from __future__ import annotations

from resilience._core.rows import Table


__all__ = ["TABLE"]

TABLE = Table("pymongo", ())
