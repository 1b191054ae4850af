"""DC's evaluation augmentation, against slow NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.augment import dc, training
from jaxdd.errors import UserError
from jaxdd.types import Batch

SHAPE = (12, 12, 2)
FILL = np.array([0.25, -0.5], np.float32)


def image():
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def shifts(x):
    """Every crop that padding by 4 and an offset in 0..7 can give."""
    padded = np.broadcast_to(FILL, (20, 20, 2)).copy()
    padded[4:16, 4:16] = x
    return np.stack(
        [padded[i : i + 12, j : j + 12] for i in range(8) for j in range(8)]
    )


def test_crop_gives_each_of_the_64_official_offsets():
    x = image()
    keys = jax.random.split(jax.random.key(0), 600)
    found = np.asarray(
        jax.vmap(lambda k: dc._crop(k, jnp.asarray(x), jnp.asarray(FILL)))(keys)
    )
    same = np.abs(found[:, None] - shifts(x)[None]).max((2, 3, 4)) < 1e-6
    assert same.any(1).all()
    assert same.any(0).all()


def resized(x, height, width):
    """Legacy nearest resize, centred on a zero canvas, centre cut out."""
    small = np.stack(
        [
            [x[int(i * 12 / height), int(j * 12 / width)] for j in range(width)]
            for i in range(height)
        ]
    )
    canvas = np.zeros((max(12, height), max(12, width), 2), np.float32)
    top, left = (canvas.shape[0] - height) // 2, (canvas.shape[1] - width) // 2
    canvas[top : top + height, left : left + width] = small
    top, left = (canvas.shape[0] - 12) // 2, (canvas.shape[1] - 12) // 2
    return canvas[top : top + 12, left : left + 12]


def test_scale_is_a_legacy_nearest_resize_by_its_two_factors():
    x = image()
    for seed in range(20):
        key = jax.random.key(seed)
        factors = np.asarray(jax.random.uniform(key, (2,), minval=0.8, maxval=1.2))
        height, width = (int(f * np.float32(12)) for f in factors)
        found = np.asarray(dc._scale(key, jnp.asarray(x), jnp.asarray(FILL)))
        np.testing.assert_allclose(found, resized(x, height, width), atol=1e-6)


def test_rotation_keeps_the_centre_and_fills_the_corners():
    x = np.zeros((13, 13, 1), np.float32)
    x[5:8, 5:8] = 1  # looks the same around the centre at any angle
    fill = jnp.array([0.25])
    for seed in range(20):
        found = np.asarray(dc._rotate(jax.random.key(seed), jnp.asarray(x), fill))
        assert found[6, 6, 0] == 1
        angle = int(jax.random.randint(jax.random.key(seed), (), -45, 45))
        if abs(angle) > 20:
            np.testing.assert_allclose(found[0, 0, 0], 0.25)
        if angle == 0:
            np.testing.assert_array_equal(found, x)


def image_augmentation(name):
    """What a named augmentation does to images; labels stay."""
    augment = training(name)

    def images_only(key, images):
        batch = augment(key, Batch(images, jnp.eye(len(images))))
        np.testing.assert_array_equal(batch.labels, jnp.eye(len(images)))
        return batch.images

    return images_only


def test_images_get_different_operations_and_padding_changes_nothing():
    images = jnp.asarray(np.stack([image()] * 30))
    augment = image_augmentation("dc")
    key = jax.random.key(1)
    found = augment(key, images)
    assert found.shape == images.shape
    assert len(np.unique(np.asarray(found).sum((1, 2, 3)).round(4))) > 20
    np.testing.assert_allclose(found[:5], augment(key, images[:5]), atol=1e-5)


def test_names_of_training_augmentations():
    images = jnp.ones((2, 8, 8, 1))
    found = image_augmentation("none")(jax.random.key(0), images)
    np.testing.assert_array_equal(found, images)
    with pytest.raises(UserError, match="'twist'"):
        training("twist")
