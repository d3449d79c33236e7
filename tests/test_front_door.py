"""The front door: complete, sorted, and free until a name is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType

import pytest

import resilience


def fresh(code: str) -> set[str]:
    """The modules that a fresh process has loaded after this code, beside those it starts with."""
    program = (
        f"import sys, json; before = set(sys.modules); {code}; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_all_is_sorted_and_everything_in_it_is_there() -> None:
    assert resilience.__all__ == sorted(resilience.__all__)
    assert len(set(resilience.__all__)) == len(resilience.__all__)
    for name in resilience.__all__:
        assert getattr(resilience, name) is getattr(resilience, name)
    for name in ("errors", "instrumentation", "typing"):
        assert isinstance(getattr(resilience, name), ModuleType)


def test_all_is_complete() -> None:
    """Every public name with a home is exported, and the other way round."""
    assert {name for name in resilience._HOME if not name.startswith("_")} == set(resilience.__all__)


def test_every_name_says_that_it_lives_here_or_in_its_home() -> None:
    for name in resilience.__all__:
        value = getattr(resilience, name)
        if isinstance(value, type):
            assert value.__module__.startswith("resilience")
            assert value.__name__ == name or name == "retry"


def test_dir_shows_what_is_there_before_it_is_loaded() -> None:
    assert set(resilience.__all__) <= set(dir(resilience))
    assert dir(resilience) == sorted(dir(resilience))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'resilience' has no attribute 'retri'"):
        resilience.retri  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        exec("from resilience import retri")


def test_version() -> None:
    from importlib.metadata import version

    assert resilience.__version__ == version("resilience-primitives")


def test_a_bare_import_loads_nothing() -> None:
    loaded = fresh("import resilience")
    assert {name for name in loaded if name.startswith("resilience")} == {"resilience"}
    assert not loaded & {"asyncio", "logging", "attr", "attrs", "trio", "random", "ssl", "socket"}


def test_retry_and_deadline_load_no_event_loop_and_no_driver() -> None:
    loaded = fresh("from resilience import retry, transient, deadline")
    assert not loaded & {"asyncio", "trio", "sqlite3", "ssl", "socket", "http", "urllib.request", "email", "hypothesis"}
    assert not {name for name in loaded if name.startswith("resilience.testing")}


def test_a_call_that_succeeds_loads_nothing_more() -> None:
    use = "from resilience import retry, deadline; f = retry(on=OSError)(abs); g = deadline(5)(abs); "
    assert fresh(use + "before = set(sys.modules); f(1); g(1)") == set()


def test_importing_everything_by_star_works() -> None:
    namespace: dict[str, object] = {}
    exec("from resilience import *", namespace)
    assert set(resilience.__all__) <= set(namespace)
