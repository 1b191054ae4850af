"""Per-sample gradient norms against a loop, optax's version, and a memory budget."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.primitives import per_sample_gradient_norms
from jaxdd.primitives.losses import mean_loss
from jaxdd.types import Batch
from tests.helpers import (
    new_learner,
    smooth_network,
    temporary_bytes,
    tiny_network,
    to64,
    toy_batch,
)

NETWORK = smooth_network()
LOSS = mean_loss(NETWORK)


def norm_of_one(loss, params, image, label):
    gradient = jax.grad(loss)(params, Batch(image[None], label[None]), {})
    return jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient)))


def all_at_once(loss):
    """The obvious version, with [B, P] in memory."""

    def norms(params, batch):
        one = lambda x, y: norm_of_one(loss, params, x, y)
        return jax.vmap(one)(batch.images, batch.labels)

    return norms


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_equals_a_loop_over_samples(chunk):
    params, batch = new_learner(NETWORK).params, toy_batch(7)
    norms = jax.jit(per_sample_gradient_norms(LOSS, chunk))(params, batch, {})
    gradient = jax.jit(jax.grad(LOSS))
    for i in range(7):
        single = Batch(batch.images[i : i + 1], batch.labels[i : i + 1])
        leaves = jax.tree.leaves(gradient(params, single, {}))
        expected = np.linalg.norm(np.concatenate([np.ravel(g) for g in leaves]))
        np.testing.assert_allclose(norms[i], expected, rtol=1e-5)


def test_padding_has_norm_zero_and_a_finite_zero_gradient():
    params, batch = new_learner(NETWORK).params, toy_batch(5, padding=2)
    norms = per_sample_gradient_norms(LOSS, 2)

    @jax.jit
    def both(images):
        value = lambda x: norms(params, Batch(x, batch.labels), {})
        values, pull = jax.vjp(value, images)
        return values, pull(jnp.ones(5))[0]

    values, gradient = both(batch.images)
    assert np.all(values[:3] > 0)
    assert not np.any(values[3:])
    assert np.any(gradient[:3])
    assert not np.any(gradient[3:])


def test_gradient_with_respect_to_the_images_equals_the_obvious_one(x64):
    params, batch = to64(new_learner(NETWORK).params), to64(toy_batch(5))
    weights = jnp.linspace(-1, 2, 5)
    ours = per_sample_gradient_norms(LOSS, 2)
    obvious = all_at_once(LOSS)
    actual = jax.grad(lambda x: weights @ ours(params, Batch(x, batch.labels), {}))
    expected = jax.grad(lambda x: weights @ obvious(params, Batch(x, batch.labels)))
    np.testing.assert_allclose(
        jax.jit(actual)(batch.images), jax.jit(expected)(batch.images), 1e-8, 1e-10
    )


@pytest.mark.parametrize("differentiated", [False, True])
@pytest.mark.usefixtures("optimised")
def test_memory_does_not_grow_to_one_gradient_per_sample(differentiated):
    classes, size = 100, 256
    network = tiny_network(classes=classes, width=16)
    loss = mean_loss(network)
    params, batch = new_learner(network).params, toy_batch(size, classes)
    count = sum(x.size for x in jax.tree.leaves(params))
    every_gradient = size * count * 4

    def bytes_of(norms):
        value = lambda images: jnp.sum(norms(params, Batch(images, batch.labels)))
        return temporary_bytes(
            jax.grad(value) if differentiated else value, batch.images
        )

    ours = per_sample_gradient_norms(loss)
    assert bytes_of(lambda p, b: ours(p, b, {})) < 0.2 * every_gradient
    if differentiated:  # the check can fail: the obvious version does
        assert bytes_of(all_at_once(loss)) > 0.8 * every_gradient
