"""DC's evaluation augmentation, against slow NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

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
    """Legacy nearest resize, centred on a square zero canvas, centre cut out."""
    side, channels = x.shape[0], x.shape[2]
    canvas_side = max(height, width, side)
    canvas = np.zeros((canvas_side, canvas_side, channels), np.float64)
    top, left = int((canvas_side - height) / 2), int((canvas_side - width) / 2)
    for i in range(height):
        for j in range(width):
            pixel = x[int(i * side / height), int(j * side / width)]
            canvas[top + i, left + j] = pixel
    start = int((canvas_side - side) / 2)
    return canvas[start : start + side, start : start + side]


@pytest.mark.parametrize("side", [12, 28])
def test_scale_is_a_legacy_nearest_resize_on_a_square_canvas(side):
    """The larger side decides for both: per axis, 5 % of images lie off by a pixel."""
    x = np.random.default_rng(0).normal(size=(side, side, 2)).astype(np.float32)
    scale = jax.jit(dc._scale)
    for seed in range(60):
        key = jax.random.key(seed)
        factors = np.asarray(jax.random.uniform(key, (2,), minval=0.8, maxval=1.2))
        height, width = (int(f * np.float32(side)) for f in factors)
        found = scale(key, jnp.asarray(x), jnp.asarray(FILL))
        np.testing.assert_allclose(found, resized(x, height, width), atol=1e-6)


def between_pixels(angle, side, start):
    """[side, side] bool: whether rounding decides which pixel is the nearest."""
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    centre = (int(side * (abs(cos) + abs(sin)) + 0.5) - 1) / 2
    found = np.zeros((side, side), bool)
    for i in range(side):
        for j in range(side):
            y, x = i + start - centre, j + start - centre
            at = np.array([cos * y + sin * x, cos * x - sin * y]) + (side - 1) / 2
            ties = np.abs(at % 1 - 0.5) < 1e-4
            edges = np.minimum(np.abs(at), np.abs(at - side + 1)) < 1e-4
            found[i, j] = (ties | edges).any()
    return found


@pytest.mark.parametrize("side", [28, 13])
def test_rotation_is_scipys_with_nearest_pixels(side):
    """As the original calls it: the canvas grows, and its middle is cut out."""
    x = np.random.default_rng(0).normal(size=(side, side, 1)).astype(np.float32)
    turn = jax.jit(dc._turn)
    for angle in range(-45, 45, 5):
        whole = scipy.ndimage.rotate(x[..., 0], angle, order=0, cval=0.25)
        start = int((len(whole) - side) / 2)
        expected = whole[start : start + side, start : start + side]
        found = turn(jnp.float32(angle), x, jnp.array([0.25]))[..., 0]
        compared = ~between_pixels(angle, side, start) | (angle == 0)
        assert compared.mean() > 0.9, angle
        np.testing.assert_array_equal(found[compared], expected[compared])


def test_rotation_draws_whole_degrees_of_either_sign():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(9, 9, 1)), jnp.float32)
    fill = jnp.array([0.25])
    turn, rotate = jax.jit(dc._turn), jax.jit(dc._rotate)
    every = [turn(jnp.float32(a), x, fill) for a in range(-45, 45)]
    for seed in range(10):
        found = rotate(jax.random.key(seed), x, fill)
        assert any(np.array_equal(found, turned) for turned in every)
    np.testing.assert_array_equal(every[45], x)  # no angle


def test_noise_is_added_and_as_small_as_published():
    x = jnp.zeros((40, 40, 3))
    found = dc._noise(jax.random.key(0), x, jnp.zeros(3))
    np.testing.assert_allclose(np.std(found), 0.001, rtol=0.05)
    assert abs(np.mean(found)) < 1e-4


def image_augmentation(name):
    """What a named augmentation does to images; labels stay."""
    augment = training(name)

    def images_only(key, images):
        batch = augment(key, Batch(images, jnp.eye(len(images))))
        np.testing.assert_array_equal(batch.labels, jnp.eye(len(images)))
        return batch.images

    return images_only


def test_a_network_with_batch_norm_gets_crop_or_noise():
    """Half of the images each: noise leaves all but a thousandth of an image."""
    x = jnp.asarray(image())
    found = image_augmentation("dc:crop_noise")(jax.random.key(0), jnp.stack([x] * 200))
    change = np.abs(np.asarray(found) - x).max((1, 2, 3))
    noisy = (change > 0) & (change < 0.01)
    assert 70 < noisy.sum() < 130
    shifted = shifts(image())
    fill = x.mean((0, 1))
    cropped = np.asarray(found)[~noisy]
    # The canvas has the mean colour of the batch, `shifts` another: compare inside.
    same = [np.isclose(shifted, one, atol=1e-5) | np.isclose(one, fill, atol=1e-5)
            for one in cropped]  # fmt: skip
    assert all(s.all((1, 2, 3)).any() for s in same)


def test_images_get_different_operations_and_padding_changes_nothing():
    images = jnp.asarray(np.stack([image()] * 30))
    labels = jnp.eye(30)
    batch = lambda x: Batch(x, labels[: len(x)])
    augment = jax.jit(lambda key, x: training("dc")(key, batch(x)).images)
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
    with pytest.raises(UserError, match=r"'dc:crop_twist'.*'twist'.*crop, scale"):
        training("dc:crop_twist")
