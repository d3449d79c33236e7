"""The examples in the documentation are tests: each ``python`` and ``pycon`` block of README.md and docs/ is run.

One namespace for a page, so that an example may go on where the one before it ended. What a reader need not see stands
in ``<!--- invisible-code-block: python ... --->``. A block in any other language is text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sybil import Document, Region, Sybil
from sybil.evaluators.doctest import DocTestEvaluator
from sybil.parsers.abstract.doctest import DocTestStringParser
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser


if TYPE_CHECKING:
    from collections.abc import Iterable


class PyconParser:
    """Finds the doctests in ``pycon`` blocks, which Sybil takes for plain text."""

    def __init__(self) -> None:
        self._blocks = CodeBlockParser("pycon", evaluator=lambda _: None)
        self._doctests = DocTestStringParser(DocTestEvaluator())

    def __call__(self, document: Document) -> Iterable[Region]:
        """Each example of the page, where it stands."""
        for block in self._blocks(document):
            for example in self._doctests(block.parsed, document.path):
                example.adjust(block, block.parsed)
                yield example


# `Path.match` counts from the right, and its `**` is one folder: hence one pattern for each depth.
pytest_collect_file = Sybil(
    parsers=[SkipParser(), PythonCodeBlockParser(), PyconParser()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    # A page that swaps the World keeps what undoes it in an ExitStack of this name: also when a block fails.
    teardown=lambda names: names["kept"].close() if "kept" in names else None,
).pytest()
