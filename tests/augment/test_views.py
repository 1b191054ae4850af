"""Views of images: where they lie, what they show, and that they are differentiable."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.augment.views import RATIOS, View, Views, seen
from tests.helpers import refused


def draws(views, step=0, count=2000):
    keys = jax.random.split(jax.random.key(0), count)
    draw = jax.jit(jax.vmap(lambda key: views.draw(key, jnp.int32(step))))
    return jax.tree.map(np.asarray, draw(keys))


def test_boxes_lie_in_the_image_with_areas_and_ratios_as_asked():
    views = draws(Views(area=0.25, roll=3))
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
    views = Views(area=0.1, schedule="cosine", horizon=100)
    whole = draws(views, step=0, count=20).box
    np.testing.assert_allclose(whole, np.tile([0, 0, 1, 1], (20, 1)), atol=1e-6)
    least = [draws(views, step).box[:, 2:].prod(axis=1).min() for step in (50, 100)]
    np.testing.assert_allclose(least, [0.55, 0.1], atol=0.01)
    with refused("--view_horizon=3 is where a cosine ends"):
        Views(horizon=3)


def test_a_view_is_cut_then_mirrored_then_rolled():
    rows, columns = jnp.meshgrid(jnp.arange(8.0), jnp.arange(8.0), indexing="ij")
    image = jnp.stack([rows, columns], axis=-1)[None]
    box = jnp.array([0.5, 0.25, 0.5, 0.5])
    view = View(box, jnp.array(True), jnp.array([2, 0]))
    part = np.roll(np.asarray(seen(view, image))[0], -2, axis=0)
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
    def value(images):
        return jnp.sum(jnp.sin(seen(view, images)) ** 3)

    step = 1e-5
    change = value(images + step * along) - value(images - step * along)
    by_gradient = jnp.sum(jax.jit(jax.grad(value))(images) * along)
    np.testing.assert_allclose(by_gradient, change / (2 * step), rtol=1e-7)
