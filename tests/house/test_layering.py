"""The house: README.md lists every folder, and imports go one way along that list.

The list is the block under "## The house". A line at the margin names a tree; an
indented one names folders (with a slash) and files of it, then says what they hold.
Whatever is on a line may import from the lines above it, in its own tree.
"""

import ast
import functools
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TREES = ("jaxdd", "experiments", "benchmarks")
# Packages that only these files (or folders) of the library may import.
RESERVED = {
    "absl": ["jaxdd/storage/checkpoints.py"],
    "flax": ["jaxdd/nets/"],
    "orbax": ["jaxdd/storage/checkpoints.py"],
    "matplotlib": ["jaxdd/report/"],
    "rich": ["jaxdd/progress.py", "jaxdd/report/"],
    "argparse": [],
    "tqdm": [],
    "pytest": [],
}
# Packages that take seconds to import, or are not there, and that few runs need.
RARELY_NEEDED = (
    "array_record", "pyarrow", "sklearn", "tensorboardX", "tensorflow_datasets",
)  # fmt: skip
# Files that write to standard error: the last words of a run that a signal ends, and
# the bar that a caller asks for.
SPEAKERS = ("jaxdd/storage/signals.py", "jaxdd/report/progress.py")


class Import(NamedTuple):
    """One import of a file."""

    module: str
    name: str | None  # imported from the module; None for the module itself
    in_function: bool
    line: int

    @property
    def package(self) -> str:
        return self.module.split(".")[0]


def imports_of(source: str) -> list[Import]:
    """All imports of a file, those in functions included."""
    tree = ast.parse(source)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, functions)
        for inner in ast.walk(node)
    }
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            pairs = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this project"
            assert node.module is not None
            pairs = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        imports += [Import(*pair, id(node) in hidden, node.lineno) for pair in pairs]
    return imports


class House:
    """Files, what they import, and the list that they are in.

    Args:
        files: sources by path.
        text: a README with the list.
    """

    def __init__(self, files: Mapping[str, str], text: str):
        self.files = files
        self.imports = {path: imports_of(source) for path, source in files.items()}
        self.list = listed(text)

    def target(self, imported: Import) -> str | None:
        """The file that an import reads, None for other packages."""
        for module in (f"{imported.module}.{imported.name}", imported.module):
            base = module.replace(".", "/")
            for path in (f"{base}.py", f"{base}/__init__.py"):
                if path in self.files:
                    return path
        assert imported.package not in TREES, f"{imported} is no file"
        return None

    def arrows(self, tree: str) -> Iterator[tuple[str, str]]:
        """(file, file that it imports) within a tree."""
        for path, imports in self.imports.items():
            for imported in imports:
                if imported.package == tree and path.startswith(f"{tree}/"):
                    target = self.target(imported)
                    assert target is not None
                    yield path, target

    def places(self, tree: str) -> dict[str, int]:
        """The line of every folder and file of a tree."""
        return {name: i for i, line in enumerate(self.list[tree]) for name in line}

    def upward(self, tree: str) -> list[str]:
        """Arrows to what is not above in the list."""
        places = self.places(tree)
        faults = set()
        for path, target in self.arrows(tree):
            here, there = room(path), room(target)
            # A tree's own __init__ is not in the list; `circle` looks at it.
            if None in (here, there) or here == there:
                continue
            if not places[there] < places[here]:
                faults.add(f"{path} imports {target}")
        return sorted(faults)

    def circle(self) -> list[str]:
        """Files that import each other in a ring; empty where there is none."""
        graph: dict[str, list[str]] = {path: [] for path in self.files}
        for tree in TREES:
            for path, target in self.arrows(tree):
                graph[path].append(target)
        finished: set[str] = set()

        def ring(path: str, way: list[str]) -> list[str]:
            if path in way:
                return [*way[way.index(path) :], path]
            if path in finished:
                return []
            for target in graph[path]:
                if files := ring(target, [*way, path]):
                    return files
            finished.add(path)
            return []

        return next((files for path in graph if (files := ring(path, []))), [])

    @functools.cached_property
    def with_torch(self) -> set[str]:
        """Files that cannot be imported without PyTorch."""
        needing: set[str] = set()
        while True:
            more = {
                path
                for path, imports in self.imports.items()
                if path not in needing
                and any(
                    not x.in_function
                    and (x.package == "torch" or self.target(x) in needing)
                    for x in imports
                )
            }
            if not more:
                return needing
            needing |= more

    def hidden(self) -> list[str]:
        """Imports in functions that belong to the top of their file."""
        faults = []
        for path, imports in self.imports.items():
            for x in imports:
                torch = path.startswith("benchmarks/") and (
                    x.package == "torch" or self.target(x) in self.with_torch
                )
                if x.in_function and not torch and x.package not in RARELY_NEEDED:
                    faults.append(f"{path}:{x.line} imports {x.module} in a function")
        return faults


def room(path: str) -> str | None:
    """The folder (with a slash) or file of a tree; None for the tree's own file."""
    _, first, *rest = path.split("/")
    if rest:
        return f"{first}/"
    return None if first == "__init__.py" else first.removesuffix(".py")


def listed(text: str) -> dict[str, list[list[str]]]:
    """{tree: names line by line}, from the block under "## The house"."""
    _, section = text.split("\n## The house\n")
    block = section.split("```")[1]
    trees: dict[str, list[list[str]]] = {}
    for line in block.splitlines():
        names = line.strip().split("  ")[0].split()
        if names and line[0] != " ":
            (tree,) = names
            lines = trees.setdefault(tree.removesuffix("/"), [])
        elif names:
            lines.append(names)
    return trees


@functools.cache
def house() -> House:
    paths = [path for tree in TREES for path in ROOT.glob(f"{tree}/**/*.py")]
    files = {p.relative_to(ROOT).as_posix(): p.read_text() for p in sorted(paths)}
    return House(files, (ROOT / "README.md").read_text())


@pytest.mark.parametrize("tree", TREES)
def test_the_list_is_the_tree(tree):
    there = {room(path) for path in house().files if path.startswith(f"{tree}/")}
    names = Counter(name for line in house().list[tree] for name in line)
    assert names == Counter(there - {None})


@pytest.mark.parametrize("tree", TREES)
def test_imports_go_up_the_list(tree):
    assert house().upward(tree) == []


def test_no_files_import_each_other():
    assert house().circle() == []


def test_imports_are_at_the_top_of_a_file():
    assert house().hidden() == []


def test_only_the_reference_needs_pytorch():
    needing = house().with_torch
    assert "benchmarks/reference/network.py" in needing
    assert [x for x in needing if not x.startswith("benchmarks/reference/")] == []


@pytest.mark.parametrize("tree", TREES)
def test_a_tree_imports_only_from_those_above_it(tree):
    below = {*TREES[TREES.index(tree) + 1 :], "tests"}
    for path, imports in house().imports.items():
        if path.startswith(f"{tree}/"):
            assert not below & {x.package for x in imports}, path


def test_reserved_packages_stay_where_they_belong():
    for path, imports in house().imports.items():
        for x in imports:
            places = RESERVED.get(x.package)
            if path.startswith("jaxdd/") and places is not None:
                assert path.startswith(tuple(places)), f"{path} imports {x.module}"
                assert "absl.flags" not in (x.module, f"{x.module}.{x.name}")


def test_the_library_never_prints():
    for path, source in house().files.items():
        if not path.startswith("jaxdd/"):
            continue
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Call):
                continue
            called, where = ast.unparse(node.func), f"{path}:{node.lineno}"
            to_stderr = "file=sys.stderr" in [ast.unparse(k) for k in node.keywords]
            if path in SPEAKERS and called == "print" and to_stderr:
                continue
            assert called not in ("print", "jax.debug.print", "breakpoint"), where
            assert not called.startswith(("sys.stdout", "sys.stderr")), where


# --- The checks find what they look for ---------------------------------------------

LIST = """
## The house

```
jaxdd/          the library
  types           its vocabulary
  data/           what is read
experiments/    programs
  distill pad     one job each
benchmarks/     time
  reference/      PyTorch
  steps           one step
```
"""


def test_the_list_is_read_line_by_line():
    assert listed(LIST) == {
        "jaxdd": [["types"], ["data/"]],
        "experiments": [["distill", "pad"]],
        "benchmarks": [["reference/"], ["steps"]],
    }


@pytest.mark.parametrize(
    ("importer", "imported", "finding"),
    [
        ("jaxdd/data/a.py", "from jaxdd import types", None),
        ("jaxdd/types.py", "from jaxdd.data.a import x", "upward"),
        ("jaxdd/types.py", "def f():\n    from jaxdd.data import a", "upward hidden"),
        ("jaxdd/data/b.py", "from jaxdd.data import a, c", None),
        ("jaxdd/data/a.py", "from jaxdd.data.c import x", "circle"),
        ("jaxdd/__init__.py", "from jaxdd.data import a", None),
        ("jaxdd/data/b.py", "class A:\n    def f(self):\n        import os", "hidden"),
        ("jaxdd/data/b.py", "def f():\n    import sklearn.datasets", None),
        ("jaxdd/data/b.py", "def f():\n    import torch", "hidden"),
        ("experiments/pad.py", "import experiments.distill", "upward"),
        ("experiments/pad.py", "from jaxdd.data.a import x", None),
        ("benchmarks/steps.py", "def f():\n    import torch", None),
        (
            "benchmarks/steps.py",
            "def f():\n    from benchmarks.reference import t",
            None,
        ),
        ("benchmarks/steps.py", "from benchmarks.reference import t", "torch"),
    ],
)
def test_what_breaks_the_rules_is_found(importer, imported, finding):
    names = (
        "jaxdd/__init__", "jaxdd/types", "jaxdd/data/__init__", "jaxdd/data/a",
        "jaxdd/data/b", "experiments/distill", "experiments/pad",
        "benchmarks/reference/__init__", "benchmarks/steps",
    )  # fmt: skip
    files = {f"{name}.py": "" for name in names}
    files["benchmarks/reference/t.py"] = "import torch"
    files["jaxdd/data/c.py"] = "from jaxdd.data import a"
    house = House(files | {importer: textwrap.dedent(imported)}, LIST)
    findings = {
        "upward": any(house.upward(tree) for tree in TREES),
        "circle": bool(house.circle()),
        "hidden": bool(house.hidden()),
        "torch": importer in house.with_torch,
    }
    assert [name for name, is_there in findings.items() if is_there] == (
        finding.split() if finding else []
    )
