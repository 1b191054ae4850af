"""What all tests share: a cache of compiled programs, float64, quick compilation."""

import os
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".pytest_cache" / "xla"


def pytest_configure():
    cache = os.environ.get("JAXDD_TEST_CACHE", str(CACHE))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


# Files of few but long tests: a process must not be left alone with them at the end.
LONG = (
    "tests/test_docs.py",
    "tests/test_cells.py",
    "tests/test_methods.py",
    "tests/experiments/",
)


def pytest_collection_modifyitems(items):
    """Long files first (with xdist's `--no-loadscope-reorder`)."""

    def place(item) -> int:
        path = item.path.relative_to(ROOT).as_posix()
        return min((i for i, x in enumerate(LONG) if path.startswith(x)), default=99)

    items.sort(key=place)


@pytest.fixture
def x64():
    """float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def quick_compile():
    """Compile with few optimisations, in half the time; not for time and memory."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
