"""Views of images: where they lie, what they show, and that they are differentiable."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.augment.views import RATIOS, View, Views, seen
from tests.helpers import refused

VIEWS = Views(area=0.25, roll=3, schedule="cosine", horizon=100)


@functools.cache
def draws():
    """2000 views at the start, in the middle and at the end of a run."""
    keys = jax.random.split(jax.random.key(0), 2000)
    each = jax.vmap(jax.vmap(VIEWS.draw, (0, None)), (None, 0))
    return jax.tree.map(np.asarray, jax.jit(each)(keys, jnp.array([0, 50, 100])))


def test_boxes_lie_in_the_image_with_areas_and_ratios_as_asked():
    views = jax.tree.map(lambda x: x[-1], draws())
    place, sides = views.box[:, :2], views.box[:, 2:]
    assert place.min() >= 0
    assert np.all(place + sides <= 1 + 1e-6)
    area, ratio = sides.prod(axis=1), sides[:, 1] / sides[:, 0]
    assert 0.25 - 1e-6 <= area.min() < 0.26
    assert np.mean(area) == pytest.approx(0.625, abs=0.02)
    assert RATIOS[0] - 1e-5 <= ratio.min() < 0.76
    assert 1.32 < ratio.max() <= RATIOS[1] + 1e-5
    assert 0.45 < views.mirrored.mean() < 0.55
    assert set(np.unique(views.shift)) == {0, 1, 2, 3}
    assert len(np.unique(views.shift, axis=0)) == 16


def test_an_order_of_views_begins_with_whole_images():
    whole, middle, _ = draws().box
    np.testing.assert_allclose(whole, np.tile([0, 0, 1, 1], (2000, 1)), atol=1e-6)
    assert middle[:, 2:].prod(axis=1).min() == pytest.approx(0.625, abs=0.01)
    with refused("Views: horizon=3 is where a cosine ends"):
        Views(horizon=3)


def test_a_view_is_cut_then_mirrored_then_rolled():
    rows, columns = np.meshgrid(np.arange(8.0), np.arange(8.0), indexing="ij")
    image = jnp.asarray(np.stack([rows, columns], axis=-1)[None], jnp.float32)
    box = jnp.array([0.5, 0.25, 0.5, 0.5])
    view = View(box, jnp.array(True), jnp.array([2, 0]))
    part = np.roll(np.asarray(jax.jit(seen)(view, image))[0], -2, axis=0)
    # Inside the box a pixel i covers [i, i + 1] and has the value i.
    np.testing.assert_allclose(part[:-1, 0, 0], 3.75 + np.arange(7) / 2, atol=1e-5)
    np.testing.assert_allclose(part[0, :, 1], 5.25 - np.arange(8) / 2, atol=1e-5)


def test_the_gradient_of_a_view_is_that_of_finite_differences(x64):
    """Of a curved function of a part that is cut, mirrored and rolled."""
    rng = np.random.default_rng(0)
    images, along = (jnp.asarray(rng.normal(size=(2, 6, 5, 1))) for _ in range(2))
    box = jnp.array([0.13, 0.21, 0.4, 0.55])
    view = View(box, jnp.array(True), jnp.array([1, 3]))

    @jax.jit
    @jax.value_and_grad
    def value(images):
        return jnp.sum(jnp.sin(seen(view, images)) ** 3)

    step = 1e-5
    change = value(images + step * along)[0] - value(images - step * along)[0]
    by_gradient = np.sum(np.asarray(value(images)[1]) * along)
    np.testing.assert_allclose(by_gradient, change / (2 * step), rtol=1e-7)
