"""CutMix: labels by area, how often it mixes, and padding that stays padding."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import augment
from jaxdd.types import Batch


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


def test_cutmix_of_a_batch_of_padding_changes_nothing():
    batch = Batch(jnp.asarray(random_images(4, 8, 8, 1)), jnp.zeros((4, 3)))
    for seed in range(5):
        mixed = augment.cutmix(jax.random.key(seed), batch, 1.0)
        np.testing.assert_array_equal(mixed.images, batch.images)
        assert not np.any(mixed.labels)
