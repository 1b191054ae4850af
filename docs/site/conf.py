"""Sphinx: the pages of docs/, the notebooks and the API, built without a network.

The source folder is the repository, so that links between its Markdown pages mean in
the site what they mean there. `make docs` runs the notebooks; the tests do not.
"""

import importlib
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

from docutils import nodes
from docutils.statemachine import StringList
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

import jaxdd  # noqa: E402

# On a page `**flags` says more than a hundred keywords with all their types.
for function in (getattr(jaxdd, name) for name in jaxdd.__all__):
    if inspect.isfunction(function):
        vars(function).pop("__signature__", None)

project = "jaxdd"
author = "the authors of jaxdd"
copyright = "Apache 2.0"
version = release = jaxdd.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
root_doc = (HERE / "index").relative_to(ROOT).as_posix()
include_patterns = [
    "README.md",
    "docs/*.md",
    "docs/site/**.md",
    "notebooks/*.ipynb",
    "benchmarks/README.md",
    "results/README.md",
]
# Folders without pages, which Sphinx would search otherwise.
exclude_patterns = [".*", "build", "runs", "tests", "jaxdd", "experiments"]
# Fields of several classes have the same name, and lists of fields refer to each.
suppress_warnings = ["ref.python"]

# --- Pages ----------------------------------------------------------------------------

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # those of GitHub
nb_execution_mode = "off"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

html_theme = "furo"
html_title = "jaxdd"
html_math_renderer = "mathml"  # MathJax would come from the network
templates_path = ["templates"]
html_additional_pages = {"index": "moved.html"}
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["wide.css"]

# --- API ------------------------------------------------------------------------------

default_role = "code"  # docstrings write `names` as Markdown does
add_module_names = False
python_use_unqualified_type_names = True
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False


class Api(SphinxDirective):
    """`.. api:: module` with names below it: each is documented as what it is."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        lines: list[str] = []
        for name in " ".join(self.content).split():
            lines += [*_directive(module, name), ""]
        node = nodes.container()
        source = f"{self.env.docname}.api"
        self.state.nested_parse(StringList(lines, source), 0, node)
        return node.children


def _directive(module: ModuleType, name: str) -> list[str]:
    """The lines that document a class, a function or a table of names."""
    item, path = getattr(module, name), f"{module.__name__}.{name}"
    if inspect.isclass(item):
        return [f".. autoclass:: {path}", "   :members:"]
    if callable(item):
        return [f".. autofunction:: {path}"]
    names = ", ".join(f"`{entry}`" for entry in item)
    return [f".. py:data:: {path}", "", f"   {names}"]


def _plain(app, kind, name, item, options, lines: list[str]) -> None:
    """Formulas such as |w| and *_match are no markup; doctests stay as they are."""
    in_example = False
    for i, line in enumerate(lines):
        in_example = bool(line.strip()) and (in_example or ">>>" in line)
        if not in_example:
            parts = line.split("`")
            parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
            lines[i] = "`".join(parts)


def _skipped(app, kind, name, item, skip: bool, options) -> bool | None:
    """Fields of named tuples: the list of attributes says what they are."""
    return True if str(item.__doc__).startswith("Alias for field") else None


def _inline_math(writer, node) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block_math(writer, node) -> None:
    writer.body.append(f"<p>{convert(node.astext(), display='block')}</p>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """What this site adds to Sphinx."""
    app.add_directive("api", Api)
    app.connect("autodoc-process-docstring", _plain, priority=100)  # before napoleon
    app.connect("autodoc-skip-member", _skipped)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
