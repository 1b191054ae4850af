"""Fixtures of the benchmark tests."""

import pytest

from benchmarks.parts import timing


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    """The peak of the run is not needed here."""
    monkeypatch.setattr(timing, "GEMM_SIZES", (64,))
