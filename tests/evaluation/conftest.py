"""Fixtures of the referee's tests."""

import pytest

from jaxdd.artifact import file as artifacts
from tests.evaluation.tables import DATA, HARD, SOFT, judged


@pytest.fixture(scope="package")
def both():
    """The table of a set with hard labels and of the same with soft ones."""
    return judged({"dm": HARD, "tesla": SOFT})


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """--artifact of two sets, whose data are found."""
    monkeypatch.setattr("jaxdd.evaluation.reopening.open_dataset", lambda flags: DATA)
    names = {"dm": HARD, "tesla": SOFT}
    for name, artifact in names.items():
        (tmp_path / name).mkdir()
        artifacts.save(artifact, tmp_path / name / "distilled.npz")
    return ",".join(str(tmp_path / name / "distilled.npz") for name in names)
