"""What all tests share: a cache of compiled programs, float64, quick compilation."""

import os
from pathlib import Path

import jax
import pytest

CACHE = Path(__file__).parents[1] / ".pytest_cache" / "xla"


def pytest_configure():
    cache = os.environ.get("JAXDD_TEST_CACHE", str(CACHE))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


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
