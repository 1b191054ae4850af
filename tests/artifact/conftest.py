"""The file of a small set."""

import pytest

from jaxdd.artifact import file as artifacts
from tests.artifact.sets import make


@pytest.fixture
def path(tmp_path):
    return artifacts.save(make(), tmp_path / "distilled.npz")
