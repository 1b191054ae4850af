"""Data as it is handed to functions: arrays, a dataset, a name."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.data import digits, from_arrays
from jaxdd.data.accepted import as_problem_data
from jaxdd.data.splits import with_test_split
from jaxdd.errors import UserError
from jaxdd.progress import listening
from tests.helpers import refused

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 6, 6, 1), dtype=np.uint8)
LABELS = np.arange(30) % 3


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray, lambda x: x.tolist()])
def test_of_images_and_labels_a_fifth_is_held_out(convert):
    images = (IMAGES / 255).astype(np.float32)
    events = []
    with listening(events.append):
        dataset, name = as_problem_data((convert(images), convert(LABELS)))
    assert name is None
    expected = with_test_split("arrays", images, LABELS, None)
    assert dataset.fingerprint == expected.fingerprint
    assert len(dataset.test_labels) == 6
    assert "a stratified fifth of its 30 images is held out" in events[0].text


def test_four_arrays_a_dataset_and_a_name():
    events = []
    with listening(events.append):
        dataset, _ = as_problem_data((IMAGES, LABELS, IMAGES[:4], LABELS[:4]))
    assert len(dataset.labels) == 30
    assert len(dataset.test_labels) == 4
    assert events == []
    dataset = digits()
    assert as_problem_data(dataset) == (dataset, None)
    assert as_problem_data("folder:/no/such") == (None, "folder:/no/such")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (None, "data cannot be a NoneType: give"),
        (IMAGES, "data cannot be a ndarray: give"),
        (Path("folder"), "give .images, labels."),
        ((IMAGES,), "data cannot be a tuple of 1: give"),
        ((IMAGES, LABELS, IMAGES), "data cannot be a tuple of 3: give"),
        ({"images": IMAGES}, "data cannot be a dict: give"),
        ((IMAGES, LABELS[:-1]), "30 images but labels of shape"),
        ((1, 2), "images cannot be a single value"),
        (([[1, 2], [3]], LABELS), "do not form one array"),
        ((IMAGES, None), "labels"),
        ((IMAGES, LABELS, None, LABELS), "test split"),
        (("digits", "digits"), "give"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_other_forms_are_refused_in_a_sentence(data, cause):
    with refused(cause):
        as_problem_data(data)


def test_a_damaged_dataset_is_refused():
    dataset = from_arrays(IMAGES, LABELS, IMAGES, LABELS)
    object.__setattr__(dataset, "labels", dataset.labels[:-1])
    with pytest.raises(UserError, match="30 images but labels of shape"):
        as_problem_data(dataset)
