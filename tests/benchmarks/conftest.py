"""Fixtures of the benchmark tests."""

import jax
import pytest

from benchmarks import timing


@pytest.fixture(autouse=True, scope="package")
def quick_programs():
    """Compile in half the time: nothing here is about speed."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    """The peak of the run is not needed either."""
    monkeypatch.setattr(timing, "GEMM_SIZES", (64,))
