"""The pages agree with the code: every name is documented, every default is the real one, every link leads somewhere."""

from __future__ import annotations

import asyncio
import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
import runpy
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from attrs import has

import resilience
from resilience import (
    Attempt,
    Deadline,
    RetryBudget,
    RetryPolicy,
    Verdict,
    deadline,
    errors,
    instrumentation,
    stores,
    testing,
    typing,
)
from resilience import _interrupting as interrupting
from resilience._core import budget as windows
from resilience._core import retrying
from resilience._core.fields import fields_of, name_of_event
from resilience._core.measures import METRICS
from resilience._core.tables import http
from resilience._io import ambient
from resilience.instrumentation import (
    DeadlineExceeded,
    Event,
    GaveUp,
    GiveUpReason,
    Recovered,
    RetryScheduled,
    otel,
    prometheus,
    structlog,
)
from resilience.stores import kit
from resilience.testing import _loop, clock


ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md"), *DOCS.glob("*/*.md")])
TO_TYPE = [page for page in PAGES if page.parent.name in {"tutorial", "how-to"} or page.parent in {ROOT, DOCS}]
#: Pages with real sockets, threads and child processes, which virtual time does not move.
IN_REAL_TIME = {DOCS / "tutorial" / "2-deadline.md"}
#: Seconds that a page lets its reader wait, in all.
PATIENCE = 2.0

NAMES = sorted(
    (module.__name__, name)
    for module in (resilience, errors, instrumentation, structlog, prometheus, otel, stores, kit, testing, typing)
    for name in module.__all__
)
MODULES = sorted(module.name for module in pkgutil.walk_packages(resilience.__path__, "resilience."))

# -- reading Markdown ----------------------------------------------------------------------------------------------------


def prose(page: Path) -> str:
    """The page without its code blocks and comments."""
    text = re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"^(`{3,}).*?^\1[ \t]*$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The fragments that headings give a page, spelt as GitHub spells them."""
    headings = re.findall(r"^#{1,6} (.*)$", prose(page), flags=re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", heading).strip().lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def links(page: Path) -> list[str]:
    """Where the links of a page lead, the web left out."""
    targets = re.findall(r"\[[^]]*]\(([^)\s]+)[^)]*\)", re.sub(r"`[^`\n]*`", "", prose(page)))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def rows(page: Path, heading: str) -> dict[str, str]:
    """The first two cells of each row of the tables under a heading, as text."""
    section = prose(page).split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:3] for line in section.splitlines() if line.startswith("| ")]
    return {first.strip().strip("`"): second.strip().strip("`") for first, second in cells[1:]}


def api_sections() -> dict[tuple[str, str], str]:
    """What `api.md` says of each name: by module and name."""
    found: dict[tuple[str, str], str] = {}
    for part in re.split(r"^## ", (REFERENCE / "api.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        module = part.split("\n", 1)[0].strip()
        for section in re.split(r"^### ", part, flags=re.MULTILINE)[1:]:
            heading, body = section.split("\n", 1)
            found |= {(module, name): body for name in re.findall(r"`([^`]+)`", heading)}
    return found


API = api_sections()


#: A directive of the example runner, or a block that is run; what is hidden is neither.
PIECE = re.compile(
    r"^<!--- skip: (?P<skip>next|start|end)(?: if\((?P<unless>[^\n]+), reason=[^\n]*\))? -->$"
    r"|^```(?P<language>python|pycon)\n(?P<code>.*?)^```$",
    flags=re.DOTALL | re.MULTILINE,
)


def visible(page: Path) -> list[str]:
    """What a reader of the page would type, in order; without what this machine cannot run."""
    text = re.sub(r"<!--- invisible-code-block.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    typed: list[str] = []
    skipping = ""
    for piece in PIECE.finditer(text):
        if piece["skip"]:
            asked = piece["skip"] != "end" and eval(piece["unless"], {"importlib": importlib, "signal": signal})
            skipping = piece["skip"] if asked else ""
        elif skipping:
            skipping = "" if skipping == "next" else skipping
        elif piece["language"] == "python":
            typed.append(piece["code"])
        else:
            typed += [example.source for example in doctest.DocTestParser().get_examples(piece["code"])]
    return typed


# -- reading the code ----------------------------------------------------------------------------------------------------


#: The parts of the kit that prove things: their defaults are in the signatures of the API page.
PROVING = {"contracts", "history", "interleavings", "linearizable", "models", "proxy", "versions"}
#: Records of facts: a default says that nothing is known.
FACTS = (stores.Versioned, stores.Description)
#: Public classes that only the library makes objects of.
MADE_BY_US = {Attempt, Deadline}


def parameters(value: Any) -> dict[str, inspect.Parameter]:
    """What a caller may pass, by name; nothing for what callers do not call."""
    if isinstance(value, type):
        if "__init__" not in vars(value) or value in MADE_BY_US or getattr(value, "_is_protocol", False):
            return {}
        value = vars(value)["__init__"]
    elif not callable(value) or not inspect.isroutine(value):
        return {}
    found = inspect.signature(value).parameters
    return {name: parameter for name, parameter in found.items() if name not in {"self", "cls"}}


def members(value: Any) -> list[str]:
    """What a class offers beyond its builtin bases: methods, properties, and attributes that it declares."""
    if not isinstance(value, type):
        return []
    ours = [base for base in value.__mro__ if base.__module__.startswith("resilience")]
    names = {name for base in ours for name in (*vars(base), *inspect.get_annotations(base))}
    return sorted(name for name in names if not name.startswith(("_", "test_")))


def shown(default: Any) -> str:
    """A default as the page shows it: a value with all defaults of its own as the call that makes it."""
    if has(type(default)) and default == type(default)():
        return f"{type(default).__name__}()"
    return str(default) if isinstance(default, str) and default else repr(default)


def defaults_of(value: Any) -> dict[str, str]:
    """Every argument that may be left out, and its default."""
    given = {name: parameter.default for name, parameter in parameters(value).items()}
    return {name: shown(default) for name, default in given.items() if default is not inspect.Parameter.empty}


def named(what: str, value: Any) -> dict[str, str]:
    """The same, as the page names them."""
    return {f"{what}({name})": default for name, default in defaults_of(value).items()}


def all_defaults() -> dict[str, str]:
    """Every default of the public functions, classes and their methods."""
    found: dict[str, str] = {}
    for module, name in NAMES:
        value = getattr(importlib.import_module(module), name)
        if module == kit.__name__ or testing._HOME.get(name) in PROVING or value in FACTS:
            continue  # told where they stand, in api.md
        if name == "retry" or inspect.ismodule(value) or getattr(value, "_is_protocol", False):
            continue  # `retry` is RetryPolicy; a protocol's defaults are for whoever implements it
        found |= named(name, value)
        if hasattr(value, "compare_and_set"):
            continue  # a store's verbs are those of the protocol, whose defaults are in stores.md
        if isinstance(value, type) and value is not Verdict:  # the constructors of a verdict repeat its own defaults
            for member in members(value):
                found |= named(f"{name}.{member}", getattr(value, member, None))
    return found


#: What the page calls each fixed number, and where the code has it.
FIXED = {
    "least delay, in seconds, of a policy with attempts=None": retrying.LEAST_WAIT_UNLIMITED,
    "earlier errors that a note shows": retrying.REMEMBERED,
    "characters of each of them": retrying.LONGEST_TEXT,
    "slots of a retry budget's window": windows.SLOTS,
    "least timeout, in seconds, where a stop's moment has come but the stop has not ended the work": ambient.LEAST_TIMEOUT,
    "largest Retry-After, in seconds, that is kept as it is": http.LONGEST,
    "least time, in seconds, that deadline.interrupting winds its timer to": interrupting._TICK,
    "wall clock at moment 0 of a VirtualClock, in Unix seconds": clock.EPOCH,
    "real seconds that a virtual event loop waits for real work before it says VirtualDeadlock": _loop._LAST_CALL,
}

#: What Prometheus adds to the name of a metric.
SUFFIX = {("counter", False): "_total", ("histogram", True): "_seconds", ("histogram", False): ""}

# -- the promises --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_every_public_name_is_documented(module: str, name: str) -> None:
    """The API page has each name under its module, with each argument and each public member."""
    assert (module, name) in API, f"{name} has no heading under {module} in api.md"
    value = getattr(importlib.import_module(module), name)
    if inspect.ismodule(value):
        return
    told = re.sub(r"^```python.*?^```", "", API[module, name], flags=re.DOTALL | re.MULTILINE)
    code = " ".join(span for _, span in re.findall(r"(`+)(.+?)\1", told, flags=re.DOTALL))
    words = set(re.findall(r"\w+", code))
    assert set() == {*parameters(value), *members(value)} - words


def test_the_api_page_has_no_name_that_does_not_exist() -> None:
    """A name that was renamed or removed does not live on in the page."""
    assert sorted(API) == NAMES


def test_every_default_is_the_one_in_the_code() -> None:
    """The page of defaults lists every default, and no other, with the value that the code has."""
    assert all_defaults() == rows(REFERENCE / "defaults.md", "Arguments")


def test_every_fixed_number_is_the_one_in_the_code() -> None:
    """The same for the numbers that no argument sets."""
    told = {what.replace("`", ""): value for what, value in rows(REFERENCE / "defaults.md", "Fixed numbers").items()}
    assert {what: f"{value:g}" for what, value in FIXED.items()} == told


def test_the_signatures_shown_are_those_of_the_code() -> None:
    """The defaults inside the signatures of the API page are the real ones, too."""
    for value, name in ((RetryPolicy, "RetryPolicy"), (RetryBudget, "RetryBudget"), (deadline, "deadline")):
        signature = re.split(r"^```", API["resilience", name], flags=re.MULTILINE)[1]
        assert defaults_of(value) == dict(re.findall(r"(\w+)=([\w.]+(?:\(\))?|\(\))", signature))


def test_the_error_tree_shown_is_the_real_one() -> None:
    """`errors.md` draws each error of the library once, below its base, with the builtin that it also is."""
    tree = re.findall(
        r"^[├└]─ (\w+)(?: \((\w+)\))?$", (REFERENCE / "errors.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    real = [
        (value.__name__, "".join(base.__name__ for base in value.__bases__ if base is not errors.ResilienceError))
        for value in errors.ResilienceError.__subclasses__()
        if value.__module__ == errors.__name__
    ]
    assert sorted(tree) == sorted(real)


def test_every_reason_to_give_up_is_explained() -> None:
    """`errors.md` lists each value of `GiveUpReason`, and no other."""
    assert [reason.value for reason in GiveUpReason] == list(rows(REFERENCE / "errors.md", "Why a call gave up"))


def test_every_metric_is_the_one_in_the_code() -> None:
    """The page of metrics has each with its names, kind, unit, labels and meaning, in the code's own order."""
    section = (REFERENCE / "metrics-and-events.md").read_text(encoding="utf-8").split("## Metrics")[1]
    told = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in section.splitlines()
        if line.startswith("| `resilience.")
    ]
    real = [
        [
            f"`{metric.name}`",
            f"`{metric.name.replace('.', '_')}{SUFFIX[metric.instrument.value, metric.unit == 's']}`",
            metric.instrument.value,
            f"`{metric.unit}`",
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.help,
        ]
        for metric in METRICS
    ]
    assert told == real


@pytest.mark.parametrize(
    "event",
    [
        RetryScheduled(
            name="n", attempt=1, attempts=2, delay=0, elapsed=0, verdict=Verdict.unsure(1, reason="r"), error=None
        ),
        GaveUp(name="n", attempt=1, elapsed=0, reason=GiveUpReason.STOP, detail="d", error=None),
        Recovered(name="n", attempt=2, elapsed=0),
        DeadlineExceeded(name="n", limit=1),
    ],
    ids=lambda event: type(event).__name__,
)
def test_every_field_of_an_event_is_the_one_in_the_code(event: Event) -> None:
    """The page of events has each flat field of each event, and no other."""
    told = rows(REFERENCE / "metrics-and-events.md", "Events")[type(event).__name__]
    assert re.findall(r"\w+", told) == [name_of_event(event), *fields_of(event)]


def test_the_page_of_the_tables_is_current() -> None:
    """It is written from the code."""
    write = runpy.run_path(str(ROOT / "tools" / "write_classification.py"))["page"]
    assert (REFERENCE / "classification.md").read_text(encoding="utf-8") == write(), "run tools/write_classification.py"


@pytest.mark.parametrize("page", TO_TYPE, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_is_all_that_a_reader_needs(
    page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever types only what is visible meets no unknown name and no error, and waits no longer than `PATIENCE`.

    What the lines print is compared where the examples run with their hidden parts.
    """
    monkeypatch.chdir(tmp_path)  # a reader who keeps something keeps it where he is
    names: dict[str, Any] = {"__name__": page.stem}
    time = nullcontext(None) if page in IN_REAL_TIME else testing.virtual_time()
    with time as clock:
        if clock is not None:
            monkeypatch.setattr(asyncio, "run", clock.run_async)
        try:
            for source in visible(page):
                exec(compile(source, str(page), "exec"), names)
        finally:
            instrumentation.observe()
        assert clock is None or clock.monotonic() <= PATIENCE


def test_the_visible_examples_are_found() -> None:
    """The test above types something on each page."""
    assert [page.name for page in TO_TYPE if not visible(page)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Each link to a file names one that is there, and each fragment a heading of it."""
    broken: list[str] = []
    for target in links(page):
        name, _, fragment = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        if not other.exists() or (fragment and fragment not in anchors(other)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("name", ["resilience", *MODULES])
def test_the_examples_in_docstrings_run(name: str) -> None:
    """Every example in a docstring of the source does what it shows."""
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0


def test_there_are_examples_in_docstrings() -> None:
    """The test above looks at something: each of these has an example of its own."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    shown_by = {
        example.name.rpartition(".")[2]
        for name in MODULES
        for example in finder.find(importlib.import_module(name))
        if example.examples
    }
    wanted = {
        "RetryPolicy",
        "Attempt",
        "RetryBudget",
        "deadline",
        "current_deadline",
        "virtual_time",
        "Script",
        "flaky",
    }
    assert set() == wanted - shown_by
