"""Our losses and gradients are the PyTorch reference's, by its committed numbers."""

import re

import numpy as np
import pytest

from benchmarks import reference
from benchmarks.reference import expected
from jaxdd.errors import UserError

STORED = expected.stored()


# TESLA's formula has a test of its own beside its objective; MTT and IDC are there with
# minibatches.
LATER = ("tesla", "mtt", "idc")


def named(names):
    marked = [
        pytest.param(x, marks=pytest.mark.slow) if x in LATER else x for x in names
    ]
    return pytest.mark.parametrize("name", marked)


@named(expected.NAMES)
def test_ours_is_the_reference_in_float64(name):
    assert expected.gap(expected.ours(name), STORED[name]) < expected.TOLERANCE


def test_every_method_of_the_reference_is_stored():
    assert set(expected.METHODS) >= set(reference.METHODS)
    assert STORED.keys() == {*expected.NAMES, "draws", "source"}
    assert expected.FILE.stat().st_size < 300_000


@named(expected.METHODS)
def test_the_random_numbers_are_those_of_the_stored_file(name):
    np.testing.assert_allclose(
        expected.drawn(name), STORED["draws"][name], rtol=0, atol=1e-12
    )


def test_a_change_or_a_drift_is_seen():
    numbers = STORED["dm"]
    for field, x in numbers.items():
        moved = {**numbers, field: x * (1 + 1e-9)}
        assert expected.gap(moved, numbers) > expected.TOLERANCE, field
        assert not expected.gap({**numbers, field: x * np.nan}, numbers) < 1, field
    with pytest.raises(UserError, match="were expected"):
        expected.gap({}, numbers)
    assert expected.source_digest() == STORED["source"]["digest"].item(), (
        "benchmarks/reference was changed: run `make reference` for new numbers"
    )


def test_without_pytorch_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "installed", lambda: False)
    path = tmp_path / "numbers.npz"
    with pytest.raises(UserError, match=re.escape("`make reference`")):
        expected.run(expected.Config(str(path)))
    assert not list(tmp_path.iterdir())
