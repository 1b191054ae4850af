"""Files, modules and names in them that texts mention are there."""

import ast
import functools
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = ("jaxdd", "experiments", "benchmarks", "tests", "docs", "notebooks")
_TREE = "|".join(TREES)
FILE = re.compile(rf"(?<![\w./-])(?:{_TREE})/[\w/-]*(?:\.(?:py|md|ipynb|npz|png))?")
# In backticks, or behind `python -m`.
MODULE = re.compile(rf"(?:`|python -m )((?:{_TREE})(?:\.\w+)+)")
# Files of these names are made up by tests.
MADE_UP = ("tests/house/test_paths.py", "tests/house/test_layering.py")


def texts():
    """{path: text} of all that people read, Python files included."""
    paths = [ROOT / name for name in ("README.md", "Makefile", "setup.cfg")]
    for tree in TREES:
        paths += [*ROOT.glob(f"{tree}/**/*.py"), *ROOT.glob(f"{tree}/**/*.md")]
    texts = {x.relative_to(ROOT).as_posix(): x.read_text() for x in paths}
    for path in ROOT.glob("notebooks/*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
        texts[path.relative_to(ROOT).as_posix()] = text
    return {path: text for path, text in texts.items() if path not in MADE_UP}


def lacking_files(text):
    """The files and folders that a text names and that are not there."""
    return sorted({x for x in FILE.findall(text) if not (ROOT / x).exists()})


def lacking_modules(text):
    """The modules, and names in them, that a text names and that are not there."""
    dotted = {x for x in MODULE.findall(text) if "NAME" not in x}
    return sorted(x for x in dotted if not is_there(x.split(".")))


def is_there(parts):
    """Whether a module exists; of names in it the first is looked for."""
    for count in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:count])
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.exists():
                return count == len(parts) or parts[count] in names_in(file)
    return False


@functools.cache
def names_in(file):
    """What a module defines or imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {x.asname or x.name for x in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


@pytest.mark.parametrize("find", [lacking_files, lacking_modules])
def test_what_is_named_is_there(find):
    lacking = {path: find(text) for path, text in texts().items()}
    assert {path: names for path, names in lacking.items() if names} == {}


def test_what_is_lacking_is_found():
    text = (
        "`jaxdd/policy.py`, `jaxdd/devices/policy.py`, `jaxdd/nets/`, jaxdd/plans/, "
        "`jaxdd.devices.policy.choices`, `jaxdd.devices.policy.absent`, "
        "`jaxdd.policy`, python -m experiments.plan and python -m experiments.distill."
    )
    assert lacking_files(text) == ["jaxdd/plans/", "jaxdd/policy.py"]
    assert lacking_modules(text) == [
        "experiments.plan",
        "jaxdd.devices.policy.absent",
        "jaxdd.policy",
    ]
