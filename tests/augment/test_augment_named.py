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


def test_names_of_pipelines_and_strategies():
    assert augment.pipeline(f"idc:{ALL}") == augment.idc(ALL)
    assert augment.pipeline(ALL) == augment.dsa(ALL)
    assert augment.pipeline("none") == augment.pipeline("idc:none") == ()
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


def random_images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_cutmix_mixes_labels_by_area():
    # The images carry their own label, so the mean pixel says what was pasted.
    labels = jnp.eye(5)
    images = jnp.broadcast_to(labels[:, None, None, :], (5, 9, 8, 5))
    mix = jax.jit(lambda key: augment.cutmix(key, Batch(images, labels), 1.0))
    shares = []
    for seed in range(30):
        mixed = mix(jax.random.key(seed))
        np.testing.assert_allclose(
            mixed.images.mean(axis=(1, 2)), mixed.labels, atol=1e-6
        )
        np.testing.assert_allclose(mixed.labels.sum(axis=1), 1, atol=1e-6)
        shares.append(1 - float(mixed.labels.max(axis=1).min()))
    assert max(shares) > 0.3


def test_cutmix_never_touches_padding():
    """Padding is bright, and the other images carry their own label."""
    given = [0, 2, 3, 6]
    labels = np.zeros((8, 4), np.float32)
    labels[given] = np.eye(4)
    images = np.full((8, 9, 8, 4), 9.0, np.float32)
    images[given] = np.eye(4)[:, None, None, :]
    batch = Batch(jnp.asarray(images), jnp.asarray(labels))
    mix = jax.jit(lambda key: augment.cutmix(key, batch, 1.0))
    partners = np.zeros((4, 4), bool)
    for seed in range(40):
        mixed = mix(jax.random.key(seed))
        padding = np.setdiff1d(np.arange(8), given)
        np.testing.assert_array_equal(mixed.images[padding], 9)
        np.testing.assert_array_equal(mixed.labels[padding], 0)
        ours, found = np.asarray(mixed.images)[given], np.asarray(mixed.labels)[given]
        assert ours.max() <= 1  # nothing of the padding was pasted
        np.testing.assert_allclose(ours.mean((1, 2)), found, atol=1e-6)
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
        partners |= found > 0
    assert partners.all()  # everyone meets everyone, themselves included


def test_cutmix_mixes_rows_of_negative_targets():
    """Targets may all be negative; only a row of zeros is padding."""
    labels = jnp.array([[-1.0, -0.5], [-0.2, -1.0], [0.0, 0.0]])
    images = jnp.asarray(random_images(3, 8, 8, 1))
    mix = jax.jit(lambda key: augment.cutmix(key, Batch(images, labels), 1.0))
    mixed = [mix(jax.random.key(seed)).images for seed in range(10)]
    assert any((np.asarray(x[:2]) != images[:2]).any() for x in mixed)
    assert all((np.asarray(x[2]) == images[2]).all() for x in mixed)


def test_cutmix_of_a_batch_of_padding_changes_nothing():
    batch = Batch(jnp.asarray(random_images(4, 8, 8, 1)), jnp.zeros((4, 3)))
    for seed in range(5):
        mixed = augment.cutmix(jax.random.key(seed), batch, 1.0)
        np.testing.assert_array_equal(mixed.images, batch.images)
        assert not np.any(mixed.labels)
