"""Fixtures of the benchmark tests."""

import pytest

from benchmarks.parts import timing
from jaxdd import report
from jaxdd.progress import listening


@pytest.fixture(autouse=True)
def speaking():
    """Benchmarks report on standard error, as in a program."""
    with listening(report.bar):
        yield


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    """The peak of the run is not needed here."""
    monkeypatch.setattr(timing, "GEMM_SIZES", (64,))
