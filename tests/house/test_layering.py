"""The arrows go one way: each file imports only from files above it in this list."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("jaxdd/**/*.py"))

ORDER = [
    "errors",
    "storage/__init__",
    "storage/paths",
    "storage/records",
    "storage/arrays",
    "checks",
    "types",
    "devices",
    "hosts",
    "storage/files",
    "policy",
    "trees",
    "losses",
    "sets",
    "primitives/distances",
    "primitives/gradients",
    "primitives/per_sample",
    "primitives/unroll",
    "primitives/__init__",
    "augment/ops",
    "augment/pipelines",
    "augment/mixing",
    "augment/dc",
    "augment/named",
    "augment/__init__",
    "nets/conv",
    "nets/layers",
    "nets/initial",
    "nets/convnet",
    "nets/classic",
    "nets/vgg",
    "nets/resnet",
    "nets/registry",
    "nets/__init__",
    "windows",
    "gsam",
    "train",
    "decoders",
    "initial",
    "curvature",
    "difficulty",
    "theory/arguments",
    "theory/limit",
    "theory/simulation",
    "theory/__init__",
    "forgetting_events",
    "influence",
    "terms",
    "learners",
    "pools",
    "masks",
    "objectives/distribution",
    "objectives/gradient",
    "objectives/contrastive",
    "objectives/trajectory",
    "objectives/forgetting",
    "objectives/compose",
    "objectives/lifts",
    "objectives/__init__",
    "assembly",
    "settings",
    "optimizers",
    "methods",
    "segments",
    "published",
    "presets",
    "data/dataset",
    "data/cache",
    "data/splits",
    "data/pictures",
    "data/folder",
    "data/npz",
    "data/tfds_info",
    "data/tfds_paths",
    "data/tfds_reader",
    "data/readers",
    "data/preprocess",
    "data/__init__",
    "evaluate",
    "provenance",
    "checkpoints",
    "workdir",
    "artifact",
    "export",
    "restart",
    "signals",
    "experts/manifest",
    "experts/bank",
    "experts/training",
    "experts/__init__",
    "programs",
    "runs",
    "report/figures",
    "report/charts",
    "report/images",
    "report/__init__",
    "__init__",
]

# Packages that only these files (or folders) may import.
RESERVED = {
    "absl": ["jaxdd/checkpoints.py"],
    "flax": ["jaxdd/nets/"],
    "orbax": ["jaxdd/checkpoints.py"],
    "matplotlib": ["jaxdd/report/"],
    "argparse": [],
    "tqdm": [],
    "rich": [],
    "experiments": [],
    "tests": [],
    "pytest": [],
}


def path_of(name):
    return f"jaxdd/{name}.py"


@functools.cache
def tree_of(file):
    return ast.parse((ROOT / file).read_text())


def module_file(module):
    """The file of a module of jaxdd, or None if it is a name inside one."""
    base = module.replace(".", "/")
    for path in (f"{base}.py", f"{base}/__init__.py"):
        if path in FILES:
            return path
    return None


def imports(tree):
    """[(module, name or None)] of all imports, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this project"
            yield from ((node.module, alias.name) for alias in node.names)


def imported_files(tree):
    for module, name in imports(tree):
        if module.split(".")[0] != "jaxdd":
            continue
        found = module_file(f"{module}.{name}") if name else None
        found = found or module_file(module)
        assert found, f"{module}.{name} is no file of jaxdd"
        yield found


def test_every_file_is_in_the_list_once():
    assert sorted(path_of(name) for name in ORDER) == FILES


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_from_files_above_it(file):
    order = [path_of(name) for name in ORDER]
    assert file in order, f"{file} has no place in ORDER"
    above = set(order[: order.index(file)])
    below = set(imported_files(tree_of(file))) - above
    assert not below, f"{file} imports from below itself: {sorted(below)}"


@pytest.mark.parametrize("file", FILES)
def test_reserved_packages_stay_where_they_belong(file):
    for module, name in imports(tree_of(file)):
        allowed = RESERVED.get(module.split(".")[0])
        if allowed is not None:
            assert any(file.startswith(place) for place in allowed), (
                f"{file} imports {module}"
            )
            assert (module, name) != ("absl", "flags")
            assert module != "absl.flags"


@pytest.mark.parametrize("file", FILES)
def test_the_library_never_prints(file):
    """But for the last words of a run that is ended by a signal, on stderr."""
    for node in ast.walk(tree_of(file)):
        if not isinstance(node, ast.Call):
            continue
        called, where = ast.unparse(node.func), f"{file}:{node.lineno}"
        to_stderr = "file=sys.stderr" in [ast.unparse(k) for k in node.keywords]
        if file == "jaxdd/signals.py" and called == "print" and to_stderr:
            continue
        assert called not in ("print", "jax.debug.print", "breakpoint"), where
        assert not called.startswith(("sys.stdout", "sys.stderr")), where
