"""`Result`: what a finished distillation gives, in Python and in a notebook."""

import base64
import dataclasses
import io
import re

import numpy as np
import pytest
from PIL import Image

import jaxdd
from jaxdd.distillation.result import Result
from tests.artifact.sets import make

SUMMARY = {
    "distilled": {"mean": 51.25, "std": 0.5, "n": 5},
    "random": {"mean": 44.0, "std": 3.25, "n": 10},
    "difficulty": {
        "start": {"grad_norm": 2.5, "percentile": 79.0},
        "end": {"grad_norm": None, "percentile": None},
    },
}


@pytest.fixture
def result():
    artifact = make(factor=2, formation="multi")
    return Result.of(artifact, [{"step": 0, "loss": 2.0}], SUMMARY)


def test_its_parts_are_those_of_the_run(result, tmp_path):
    decoded = result.artifact.synthetic()
    # Each stored image is seen whole and as its four tiles.
    assert result.images.shape == (3, 4 * (1 + 4), 8, 8, 1)
    np.testing.assert_array_equal(result.images, decoded.images)
    np.testing.assert_array_equal(result.labels, decoded.labels)
    assert result.displayable().shape == (3, 4, 8, 8, 1)
    assert result.accuracy == (51.25, 0.5, 5)
    assert result.random == jaxdd.Statistics(44.0, 3.25, 10)
    assert result.difficulty.start.percentile == 79.0
    assert result.difficulty.end.grad_norm is None
    assert result.metrics[0]["loss"] == 2.0
    loaded = jaxdd.load(result.save(tmp_path / "set.npz"))
    np.testing.assert_array_equal(loaded.images, result.artifact.images)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.accuracy = result.random


def test_its_text_and_its_page(result):
    assert repr(result) == (
        "Result(3 classes, 4 per class, 8x8x1: accuracy 51.25 ± 0.50 %, "
        "random 44.00 ± 3.25 %)"
    )
    page = result._repr_html_()
    data = re.search(r'src="data:image/png;base64,([^"]+)"', page)[1]
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.format == "PNG"
        assert min(image.size) > 100
    assert "<td>51.25 ± 0.50 %</td><td>5</td>" in page
    assert "<td>44.00 ± 3.25 %</td><td>10</td>" in page
    assert "79.0 at the start, not finite at the end" in page
