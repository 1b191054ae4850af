"""Fixtures of the experiment tests."""

from pathlib import Path

import pytest

from jaxdd import report
from jaxdd.data.problem import DataFlags, Problem, open_problem
from jaxdd.distillation import run as distill
from jaxdd.progress import listening
from tests.experiments.helpers import NoProbes, small


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
    """No test may read or write the user's own cache."""
    monkeypatch.setenv("JAXDD_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def speaking():
    """Runs report on standard error, as in a program."""
    with listening(report.bar):
        yield


@pytest.fixture(scope="module")
def no_probes():
    """Runs do not train the networks that measure difficulty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill, "Probes", NoProbes)
        yield


@pytest.fixture(scope="package")
def problem() -> Problem:
    """The bundled digits; tests must not change them."""
    return open_problem(DataFlags(), 0.1, 0)


@pytest.fixture(scope="package")
def finished(tmp_path_factory) -> Path:
    """The workdir of a finished small run; tests must not change it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    distill.run(small(folder))
    return folder


@pytest.fixture
def path(finished) -> Path:
    """The set that it made."""
    return finished / "distilled.npz"
