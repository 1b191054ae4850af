"""What the documentation shows has to run."""

import re
from pathlib import Path

import jax
import nbformat
import pytest
from nbclient import NotebookClient

import jaxdd

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_the_readme_example_runs_and_is_short():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert blocks, "the README shows no Python"
    example = blocks[0]
    lines = [x for x in example.splitlines() if x.strip() and "import" not in x]
    assert len(lines) <= 15
    namespace: dict = {}
    exec(compile(example, "README.md", "exec"), namespace)
    assert namespace["synthetic"].images.shape == (10, 1, 8, 8, 1)


def test_every_public_name_exists_and_is_documented():
    for name in jaxdd.__all__:
        assert getattr(jaxdd, name).__doc__, f"jaxdd.{name} has no docstring"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_run_from_top_to_bottom(path, monkeypatch):
    # As the other tests: the programs of the last time.
    cache = str(jax.config.jax_compilation_cache_dir)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", cache)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3


def test_notebooks_are_stored_without_outputs():
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), f"clear the outputs of {path.name}"
