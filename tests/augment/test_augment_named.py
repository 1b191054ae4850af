"""Augmentations of a network's training by name."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.types import Batch
from tests.helpers import refused

ALL = "color_crop_cutout_flip_scale_rotate"
IMAGES = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
BATCH = Batch(jnp.asarray(IMAGES), jnp.eye(6))


def test_a_name_of_idc_is_its_pipeline_and_others_are_dsas():
    assert augment.pipeline(f"idc:{ALL}") == augment.idc(ALL)
    assert augment.pipeline(ALL) == augment.dsa(ALL)
    assert augment.pipeline("none") == augment.pipeline("idc:none") == ()


def test_idcs_evaluation_has_no_cutout_and_never_mirrors_digits():
    for name in ("cifar10", "fashion_mnist"):
        assert augment.idc_strategy(name) == "color_crop_flip_scale_rotate"
    for name in ("mnist", "svhn_cropped", "digits"):
        assert augment.idc_strategy(name) == "color_crop_scale_rotate"


@pytest.mark.parametrize("name", ["crop", "idc:color_crop"])
def test_without_cutmix_every_image_is_augmented_and_labels_stay(name):
    key = jax.random.key(0)
    found = augment.training(name)(key, BATCH)
    expected = augment.per_image(augment.pipeline(name))(key, BATCH.images)
    np.testing.assert_array_equal(found.images, expected)
    np.testing.assert_array_equal(found.labels, BATCH.labels)
    changed = np.any(found.images != BATCH.images, axis=(1, 2, 3))
    assert changed.sum() >= 4  # an image may draw a shift of nothing


def mixed_share(name, batches=200):
    """How many batches got other labels."""
    change = augment.training(name)
    one = lambda key: jnp.any(change(key, BATCH).labels != BATCH.labels)
    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), batches)).mean()


def test_the_number_behind_cutmix_is_its_probability():
    always = mixed_share("none+cutmix=1")
    assert always > 0.8  # small boxes may be empty
    assert 0.4 * always < mixed_share("none+cutmix=0.5") < 0.6 * always
    assert mixed_share("none+cutmix=0") == 0


@pytest.mark.parametrize("name", ["idc:color_crop+cutmix=0.5", "dc+cutmix=1"])
def test_images_are_augmented_before_they_are_mixed(name):
    change = jax.jit(augment.training(name))
    labels = [change(jax.random.key(seed), BATCH).labels for seed in range(20)]
    for seed, found in enumerate(labels):
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
        images = change(jax.random.key(seed), BATCH).images
        chex.assert_tree_all_finite(images)
        assert np.any(images != BATCH.images)
    unmixed = sum(bool(np.array_equal(x, BATCH.labels)) for x in labels)
    assert (unmixed < 20) if "=1" in name else (0 < unmixed < 20)


@pytest.mark.parametrize("share", ["", "half", "1.5", "-0.1", "nan", "0.5+cutmix=0.5"])
def test_a_probability_that_is_none_is_the_users_error(share):
    name = f"crop+cutmix={share}"
    with refused(r"probability of CutMix in \[0, 1\]", repr(name), repr(share)):
        augment.training(name)
