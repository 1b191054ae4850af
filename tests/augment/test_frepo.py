"""FRePo's augmentations: their ranges, against slow loops where there are others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.augment.frepo import OPS
from tests.helpers import refused

IMAGE = np.random.default_rng(0).normal(size=(8, 12, 3)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(0), 200)


def applied(name, image=IMAGE):
    """An operation with many draws, [200, ...]."""
    op = OPS[name]
    one = lambda key: op.apply(op.draw(key, image.shape), jnp.asarray(image))
    return np.asarray(jax.jit(jax.vmap(one))(KEYS))


def test_a_quarter_along_each_side_is_cut_out():
    ones = np.ones_like(IMAGE)
    cut = applied("cutout", ones)[..., 0] == 0
    assert np.all(cut.sum(axis=(1, 2)) == 2 * 3)
    assert np.all(cut.any(axis=0))  # every pixel of some image


def test_colours_change_by_a_quarter():
    brightness, saturation, contrast = OPS["color"].draw(KEYS[0], IMAGE.shape)
    assert 0.25 <= brightness <= 0.75
    assert 0.375 <= saturation <= 0.625
    assert 0.25 <= contrast <= 0.75
    grey = np.full_like(IMAGE, 2.0)
    moved = applied("color", grey).mean(axis=(1, 2, 3)) - 2
    assert -0.25 <= moved.min() < -0.2
    assert 0.2 < moved.max() <= 0.25


def test_the_zoom_is_the_same_along_both_sides():
    draw = jax.vmap(lambda key: OPS["crop"].draw(key, IMAGE.shape))(KEYS)
    assert 0.8 <= draw.min() < 0.82
    assert 1.22 < draw.max() <= 1.25
    np.testing.assert_array_equal(draw[:, 0], draw[:, 1])


def test_one_operation_of_the_strategy_is_applied():
    """A batch is either shifted or cut, never both and never left alone."""
    change = jax.jit(augment.per_image(augment.pipeline("frepo:flip_cutout")))
    images = jnp.broadcast_to(jnp.asarray(IMAGE), (4, *IMAGE.shape)) + 10
    cut = 0
    for seed in range(12):
        found = change(jax.random.key(seed), images)
        zeros = np.asarray(jnp.sum(found == 0, axis=(1, 2, 3)))
        assert set(zeros) == {18} or set(zeros) == {0}
        cut += bool(zeros[0])
    assert 0 < cut < 12


def test_strategies_by_dataset():
    whole = "crop_rotate_translate_cutout"
    for name in ("mnist", "fashion_mnist"):
        assert augment.frepo_strategy(name) == f"color_{whole}"
        assert augment.frepo_strategy(name, colour=False) == whole
    assert augment.frepo_strategy("digits") == whole
    assert augment.frepo_strategy("cifar10") == f"flip_color_{whole}"
    assert augment.frepo_strategy("svhn_cropped") == f"color_{whole}"


@pytest.mark.parametrize("name", ["frepo:scale", "translate"])
def test_operations_of_the_other_kind_are_refused(name):
    with refused("unknown operation", "join some of"):
        augment.pipeline(name)
