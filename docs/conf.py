"""How the site is built: ``sphinx-build -n -W docs docs/_build``. Every page can also be read without it."""

from __future__ import annotations

from importlib.metadata import version as installed_version


project = "resilience"
author = "The resilience authors"
project_copyright = "The resilience authors"
release = version = installed_version("resilience-primitives")

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True

# Links to headings are written as GitHub resolves them: `defaults.md#retry`.
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"resilience {release}"
