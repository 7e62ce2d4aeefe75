"""Sphinx: the site of the docs, from the pages of this repository and the docstrings of the library (`make docs`).

The source directory is the root of the repository, so that links from page to page and to files are what they are in a
checkout. README.md is the front page.
"""

import re
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Any, get_origin

project = "robxfer"
author = "the robxfer authors"
release = version = installed("robxfer")
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/**/*.md", "docs/reference/*.rst", "examples/*.md"]
exclude_patterns = [".*", "out", "build"]
extensions = ["myst_parser", "sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]

nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!robxfer_).*"), ("py:.*", r"robxfer_.*\.(_\w+|[A-Z]|Annotated)")]
"""Names of other projects, whose inventories are not fetched, private names, and type variables."""
suppress_warnings = ["ref.python"]
"""`bytes` and `type` in a signature are Python's, though fields have these names too."""

myst_heading_anchors = 4
apidoc_modules = [
    {"path": "../robxfer_core", "destination": "docs/reference", "module_first": True}  # a page for each package
]
autodoc_default_options = {"ignore-module-all": True, "exclude-members": "model_config"}
autodoc_preserve_defaults = True
toc_object_entries = False  # thousands of entries, copied for every page: over half of the time of a build
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "robxfer"
html_additional_pages = {"index": "index.html"}
templates_path = ["_templates"]

ROOT_PAGES = sorted(page.stem for page in Path(__file__).parents[1].glob("*.md") if page.stem != root_doc)
CONTENTS = {
    "README": f"""
```{{toctree}}
:hidden:
:caption: Studies

docs/spec
docs/job-kinds
docs/experiments
docs/which-eps
docs/paper
examples/README
docs/results/README
```

```{{toctree}}
:hidden:
:caption: Operation

docs/operations
docs/access
docs/settings
docs/compatibility
```

```{{toctree}}
:hidden:
:caption: Development

docs/architecture
docs/reference/modules
{chr(10).join(ROOT_PAGES)}
```
""",
    "docs/results/README": """
```{toctree}
:hidden:
:glob:

*/README
```
""",
}
"""Tables of contents, which readers of the same pages in a checkout do not need."""
LITERAL = re.compile(r"(``.*?``|(?<!`)`[^`]+`(?!`))")


def add_contents(app: Any, docname: str, source: list[str]) -> None:
    source[0] += CONTENTS.get(docname, "")


def as_restructured_text(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: make that a literal, and let no other character be markup."""
    for index, line in enumerate(lines):
        parts = LITERAL.split(line)
        parts[::2] = [re.sub(r"([*|]|_\b)", r"\\\1", text) for text in parts[::2]]
        parts[1::2] = [f"``{code.strip('`')}``" for code in parts[1::2]]
        lines[index] = "".join(parts)
    if what in ("attribute", "property", "data"):
        lines.insert(0, "")  # or napoleon takes what stands before a colon for a type


def without_aliases(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out aliases of annotated types: their patterns would be read as markup, and say little."""
    return True if get_origin(obj) is Annotated else None


def setup(app: Any) -> None:
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", without_aliases)
