"""`transient`: the classifier that knows the libraries people use. Its rows are in `_core/tables`, its rules in `_core.classify`."""

from __future__ import annotations

from resilience._core.classify import Classifier
from resilience._core.tables import Tables
from resilience._io import world


__all__ = ["transient"]


def _wall() -> float:
    return world.current.clock.wall()


#: The knowledge about libraries, with the World's wall clock for hints that are dates.
TABLES: Tables = Tables(_wall)

transient: Classifier = Classifier(TABLES, (TABLES,))
