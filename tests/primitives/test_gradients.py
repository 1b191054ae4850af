"""Batch gradients and their derivative rule against `jax.grad` and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.fields import override
from jaxdd.learners.context import Context
from jaxdd.methods.build import objective_of
from jaxdd.methods.recipes import METHODS
from jaxdd.primitives import batch_gradient, inner_gradient
from jaxdd.primitives.gradients import pad_batch
from jaxdd.primitives.losses import LOSSES, cross_entropy, mean_loss
from jaxdd.types import Batch
from tests.helpers import (
    assert_close,
    new_learner,
    smooth_network,
    tiny_network,
    to64,
    toy_batch,
    toy_inputs,
    toy_start,
)

FEATURES = 8


def smooth_loss(params, batch, context):
    """A network with curvature in everything; the context is a scalar in it."""
    flat = batch.images.reshape(batch.images.shape[0], -1)
    hidden = jnp.tanh(flat @ params["a"] + params["b"])
    return cross_entropy(hidden @ params["c"] * context, batch.labels)


smooth_loss.weight = jnp.sum  # a mean by the mass of labels


def smooth_problem(size=5, padding=0):
    rng = np.random.default_rng(0)
    params = {
        "a": jnp.asarray(rng.normal(size=(4, FEATURES))),
        "b": jnp.asarray(rng.normal(size=FEATURES)),
        "c": jnp.asarray(rng.normal(size=(FEATURES, 3))),
    }
    return to64(params), to64(toy_batch(size, shape=(2, 2, 1), padding=padding))


def uneven_mass(batch):
    """Labels whose mass differs from row to row."""
    return batch._replace(
        labels=batch.labels * jnp.linspace(0.2, 2, len(batch.labels))[:, None]
    )


naive_gradient = jax.jit(jax.grad(smooth_loss))


@pytest.mark.parametrize("microbatch", [None, 1, 3, 50])
def test_chunks_give_the_gradient_of_the_whole_batch(x64, microbatch):
    ours = jax.jit(batch_gradient(smooth_loss, microbatch))
    for padding in (0, 2, 7):
        params, batch = smooth_problem(7, padding)
        batch = uneven_mass(batch)
        expected = naive_gradient(params, batch, 1.5)
        assert_close(ours(params, batch, 1.5), expected, rtol=1e-10, atol=1e-12)
        assert all(np.any(g) for g in jax.tree.leaves(expected)) == (padding < 7)


def test_padding_rows_do_not_change_the_gradient(x64):
    params, batch = smooth_problem(5)
    padded = pad_batch(batch, 8)
    assert padded.images.shape[0] == 8
    assert pad_batch(batch, 5) is batch
    for microbatch in (None, 3):
        gradient = jax.jit(batch_gradient(smooth_loss, microbatch))
        assert_close(
            gradient(params, padded, 1.5), gradient(params, batch, 1.5), 1e-10, 1e-12
        )


def mean_over_rows(params, batch, context):
    """A mean over rows, whatever is in them, as optax's losses are taken."""
    flat = batch.images.reshape(batch.images.shape[0], -1)
    outputs = jnp.tanh(flat @ params["a"] + params["b"]) @ params["c"] * context
    return jnp.mean(jnp.square(outputs - batch.labels))


@pytest.mark.parametrize("microbatch", [1, 2, 3, 4, 6])
def test_an_ordinary_mean_may_be_cut_into_chunks(x64, microbatch):
    """Rows of zeros are rows: none is added where the loss gives them a weight."""
    params, batch = smooth_problem(7, padding=1)
    batch = uneven_mass(batch)
    whole = jax.jit(jax.grad(mean_over_rows))(params, batch, 1.5)
    parts = jax.jit(batch_gradient(mean_over_rows, microbatch))(params, batch, 1.5)
    assert_close(parts, whole, rtol=1e-12, atol=1e-14)
    by_chunks = derivatives(inner_gradient(mean_over_rows, microbatch))(params, batch)
    by_whole = derivatives(jax.grad(mean_over_rows))(params, batch)
    assert_close(by_chunks, by_whole, rtol=1e-11, atol=1e-13)


def probe(gradient):
    """A scalar of a gradient with other curvature than the loss."""
    return sum(jnp.sum(jnp.sin(3 * g) + g**2) for g in jax.tree.leaves(gradient))


def derivatives(of):
    value = lambda params, batch: probe(of(params, batch, 1.5))
    return jax.jit(jax.grad(value, argnums=(0, 1)))


naive_derivatives = derivatives(jax.grad(smooth_loss))


@pytest.mark.parametrize("microbatch", [None, 1, 2, 3])
def test_derivatives_equal_reverse_over_reverse(x64, microbatch):
    """W.r.t. parameters, images and labels (of rows that are not padding)."""
    gradient = inner_gradient(smooth_loss, microbatch)
    first, second = jax.jit(gradient), derivatives(gradient)
    for padding in (0, 2):
        params, batch = smooth_problem(5, padding)
        batch = uneven_mass(batch)
        expected = naive_gradient(params, batch, 1.5)
        assert_close(first(params, batch, 1.5), expected, 1e-10, 1e-12)
        actual, expected = (
            (by_params, by_batch.images, by_batch.labels[: 5 - padding])
            for by_params, by_batch in (
                second(params, batch),
                naive_derivatives(params, batch),
            )
        )
        assert all(np.any(g) for g in jax.tree.leaves(expected))
        assert_close(actual, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_a_network_may_be_cut_into_chunks(x64, name):
    """With its derivative w.r.t. images and labels of any mass; padding has no part."""
    network = smooth_network(4)
    loss, learner = mean_loss(network, loss=name), to64(new_learner(network))
    _, batch = smooth_problem(5, padding=2)
    batch = uneven_mass(batch._replace(labels=batch.labels * 0.9 + 0.05 * (
        batch.labels.sum(1, keepdims=True))))  # fmt: skip

    def both(microbatch):
        gradient = inner_gradient(loss, microbatch)
        slope = lambda batch: probe(gradient(learner.params, batch, learner.stats))
        by_batch = jax.jit(jax.grad(slope))(batch)
        first = batch_gradient(loss, microbatch)(learner.params, batch, learner.stats)
        return first, by_batch.images, by_batch.labels[:3]

    assert_close(both(2), both(None), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("loop", ["map", "scan"])
def test_a_typed_key_as_context_inside_a_loop(x64, loop):
    params, batch = smooth_problem(5)

    def noisy(params, batch, key):
        noise = jax.random.uniform(key, batch.images.shape)
        return smooth_loss(params, batch._replace(images=batch.images + noise), 1.0)

    def total(of, batch, keys):
        if loop == "map":
            return jnp.sum(jax.lax.map(lambda k: probe(of(params, batch, k)), keys))
        add = lambda carry, k: (carry + probe(of(params, batch, k)), None)
        return jax.lax.scan(add, jnp.zeros(()), keys)[0]

    keys = jax.random.split(jax.random.key(1), 3)
    ours = jax.jit(jax.grad(lambda b: total(inner_gradient(noisy), b, keys)))(batch)
    naive = jax.jit(jax.grad(lambda b: total(jax.grad(noisy), b, keys)))(batch)
    assert_close(ours, naive, rtol=1e-9, atol=1e-11)


def test_running_statistics_as_context_inside_a_loop(x64):
    network = tiny_network("convnet_bn")
    learners = [to64(new_learner(network, seed)) for seed in range(2)]
    learners = jax.tree.map(lambda *x: jnp.stack(x), *learners)
    learners = learners._replace(stats=jax.tree.map(lambda x: x + 0.1, learners.stats))
    batch = to64(toy_batch(3))
    loss = mean_loss(network)

    def total(of, images):
        one = lambda m: probe(of(m.params, Batch(images, batch.labels), m.stats))
        return jnp.sum(jax.lax.map(one, learners))

    ours = jax.jit(jax.grad(lambda x: total(inner_gradient(loss), x)))(batch.images)
    naive = jax.jit(jax.grad(lambda x: total(jax.grad(loss), x)))(batch.images)
    np.testing.assert_allclose(ours, naive, rtol=1e-8, atol=1e-10)


def test_the_context_is_a_constant_without_gradient(x64):
    params, batch = smooth_problem(5)
    ours = inner_gradient(smooth_loss)
    by_context = jax.jit(jax.grad(lambda c: probe(ours(params, batch, c))))(1.5)
    assert by_context == 0


def test_hyper_gradient_of_dsa_equals_finite_differences(x64):
    """The whole chain: ConvNet, Siamese augmentation, distance, sum over classes.

    With all operations and in one piece it is compared with PyTorch's.
    """
    microbatch, strategy = 2, "rotate"
    network = tiny_network()
    recipe = override(METHODS["dsa"], {"batch_real": 6, "augmentation": strategy})
    objective = objective_of(network, recipe, Context(microbatch))
    inputs = to64(toy_inputs())
    start = to64(toy_start(inputs, ipc=3, kind="real"))
    learner = to64(new_learner(network))
    key, step = jax.random.key(5), jnp.int32(0)

    @jax.jit
    @jax.value_and_grad
    def value_and_gradient(images):
        synthetic = start._replace(images=images)
        return objective(key, synthetic, learner, inputs, step)[0]

    _, gradient = value_and_gradient(start.images)
    assert np.mean(np.asarray(gradient) != 0) > 0.5
    size = 1e-5
    pixels = [(0, 0, 3, 4, 0), (0, 2, 1, 1, 0), (1, 1, 4, 3, 0), (2, 0, 6, 2, 0)]
    for pixel in pixels:
        shift = jnp.zeros_like(start.images).at[pixel].set(size)
        up, _ = value_and_gradient(start.images + shift)
        down, _ = value_and_gradient(start.images - shift)
        difference = (up - down) / (2 * size)
        np.testing.assert_allclose(gradient[pixel], difference, rtol=1e-5, atol=1e-8)
