"""Fixtures of the runs of a toy method."""

import pytest

from tests.toy_runs import every_compilation_cached, uninterrupted


@pytest.fixture(autouse=True, scope="package")
def cached():
    with every_compilation_cached():
        yield


@pytest.fixture(scope="package")
def expected(tmp_path_factory):
    """The outcome of SCHEDULE without interruption."""
    return uninterrupted(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def single_steps(monkeypatch):
    """A chunk of the compiled loop is one step, so that a run can end after any."""
    monkeypatch.setattr("jaxdd.running.resume.CHUNK_SECONDS", 0.0)
