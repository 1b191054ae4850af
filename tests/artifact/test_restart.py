"""A start from a set that was made before shows what the set shows."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from jaxdd.artifact.restart import initial_from, same_preprocessing
from jaxdd.data import Preprocess, fit_zca
from tests.artifact.sets import PIXELS, make

OTHER = Preprocess("affine", np.full(1, 0.3, np.float32), np.full(1, 0.7, np.float32))


def test_with_the_same_preprocessing_not_a_bit_changes():
    made = make(step_size=0.25, factor=2)
    for preprocess in (None, made.preprocess, make().preprocess):
        start = initial_from(made, preprocess)
        np.testing.assert_array_equal(start.images, made.images)
        assert start.images.shape == (3, 4, 8, 8, 1)  # as stored, no tiles
        assert float(start.step_size) == 0.25
    assert float(initial_from(make()).step_size) == 0


@pytest.mark.parametrize("own_zca", [False, True])
@pytest.mark.parametrize("space", ["input", "pixels"])
def test_with_another_preprocessing_the_pictures_are_the_same(own_zca, space):
    """Also where a set has left the range of pixels."""
    made = make(own_zca)
    pixels = (PIXELS / 255).astype(np.float32) * 1.5 - 0.25
    images = pixels if space == "pixels" else made.preprocess.apply(pixels)
    made = dataclasses.replace(made, images=images, space=space)
    whitening = fit_zca(PIXELS[::-1].reshape(-1, 8, 8, 1), eps=0.3)
    for preprocess in (OTHER, whitening, made.preprocess):
        start = initial_from(made, preprocess)
        shown = preprocess.invert(np.asarray(start.images))
        np.testing.assert_allclose(shown, pixels, atol=1e-4)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_labels_are_taken_where_they_are_learned(soft, learned):
    made = make(soft=soft)
    start = initial_from(made, learned_labels=learned)
    assert start.labels.dtype == np.float32
    found = jax.nn.softmax(start.labels) if learned else start.labels
    expected = made.labels if learned else make(soft=False).labels
    np.testing.assert_allclose(found, expected, atol=1e-6)
    chex.assert_tree_all_finite(start.labels)


def test_preprocessing_is_the_same_up_to_rounding():
    whole = make().preprocess
    near = Preprocess("affine", whole.mean * (1 + 1e-7), whole.std)
    assert same_preprocessing(whole, near)
    assert not same_preprocessing(whole, OTHER)
    assert not same_preprocessing(whole, make(zca=True).preprocess)
    wide = Preprocess("affine", np.tile(whole.mean, 3), np.tile(whole.std, 3))
    assert not same_preprocessing(whole, wide)
