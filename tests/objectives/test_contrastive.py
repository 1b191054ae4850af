"""DCC's objective: against a slow loop, its warm-up, its derivatives."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.data.real import sample_class, take
from jaxdd.fields import override
from jaxdd.methods.build import objective_of
from jaxdd.methods.recipes import METHODS
from jaxdd.objectives import contrastive_match
from jaxdd.objectives.gradient import GradientMatching
from jaxdd.primitives import DISTANCES
from jaxdd.primitives.losses import cross_entropy
from jaxdd.types import Inputs, Learner
from tests.helpers import (
    assert_close,
    new_learner,
    smooth_network,
    tiny_network,
    to64,
    toy_inputs,
    toy_start,
)

KEY = jax.random.key(0)
PLAIN = augment.siamese(())


def samples(real, size):
    """The target of a match: `size` samples of a class."""
    return lambda key, k: sample_class(key, real, k, size)


def gradient_of(network, params, images, labels):
    """The gradient of the mean loss, as it stands in a textbook."""

    def loss(p):
        return cross_entropy(network.apply(p, {}, images, False)[0].logits, labels)

    return jax.grad(loss)(params)


@pytest.mark.parametrize("distance", ["ours", "mse"])
def test_is_one_distance_between_class_averaged_gradients(x64, distance):
    """Every class has 8 samples and all are drawn, so that the draw does not matter."""
    network = smooth_network()
    inputs = to64(toy_inputs(counts=(8, 8, 8)))
    start, learner = to64(toy_start(inputs)), to64(new_learner(network))
    match = contrastive_match(network, DISTANCES[distance], PLAIN)
    value, evidence = jax.jit(
        lambda s: match(KEY, s, samples(inputs.real, 8), learner)
    )(start)
    real = inputs.real
    parts = []
    for k in range(3):
        own = take(real, real.table[k, :8])
        parts.append(gradient_of(network, learner.params, *own))
    target = jax.tree.map(lambda *g: sum(g) / 3, *parts)
    images = start.images.reshape(6, 8, 8, 1)
    made = gradient_of(network, learner.params, images, start.labels.reshape(6, 3))
    np.testing.assert_allclose(value, DISTANCES[distance](target, made), rtol=1e-9)
    assert_close(evidence.mean_gradient(), made, 1e-9, 1e-12)


def test_the_hyper_gradient_equals_finite_differences(x64):
    network = smooth_network()
    inputs = to64(toy_inputs())
    start, learner = to64(toy_start(inputs)), to64(new_learner(network))
    siamese = augment.siamese(augment.dsa("color_crop_rotate"))
    match = contrastive_match(network, DISTANCES["ours"], siamese)

    @jax.jit
    def value(images):
        made, target = start._replace(images=images), samples(inputs.real, 5)
        return match(KEY, made, target, learner)[0]

    direction = jax.random.normal(jax.random.key(1), start.images.shape)
    exact = jnp.vdot(jax.grad(value)(start.images), direction)
    eps = 1e-5
    ahead = value(start.images + eps * direction)
    behind = value(start.images - eps * direction)
    np.testing.assert_allclose((ahead - behind) / (2 * eps), exact, rtol=1e-6)


def test_the_warm_up_is_class_wise():
    """Six matches per network: two networks, and the first four matches of each."""
    flags = {
        "matches": 6, "warmup_networks": 2, "warmup_matches": 4, "batch_real": 4
    }  # fmt: skip
    recipe = override(METHODS["dcc"], flags)
    network, inputs = tiny_network(), toy_inputs()
    learner, start = new_learner(network), toy_start(inputs)

    def values(chosen, steps):
        objective = jax.jit(objective_of(network, chosen))
        at = lambda step: objective(KEY, start, learner, inputs, jnp.int32(step))[0]
        return np.array([at(step) for step in steps])

    steps = [0, 3, 4, 11, 12, 16]
    by_class = dataclasses.replace(recipe, objective=GradientMatching(batch_real=4))
    contrastive = values(override(recipe, {"warmup_networks": 0}), steps)
    class_wise = values(by_class, steps)
    assert np.all(np.abs(contrastive - class_wise) > 1e-3 * np.abs(contrastive))
    found = values(recipe, steps)
    warm = np.array([True, True, False, False, False, False])
    np.testing.assert_allclose(found, np.where(warm, class_wise, contrastive), 1e-5)
    # With six of them the last match of the second network is in its warm-up too.
    whole = values(override(recipe, {"warmup_matches": 6}), [11])
    np.testing.assert_allclose(whole, class_wise[3], 1e-5)


def test_a_class_without_samples_has_a_finite_gradient():
    network, inputs = tiny_network(), toy_inputs()
    counts = inputs.real.counts.at[1].set(0)
    real = inputs.real._replace(counts=counts)
    match = contrastive_match(network, DISTANCES["ours"], PLAIN)
    learner: Learner = new_learner(network)
    start = toy_start(inputs)
    value, gradient = jax.jit(
        jax.value_and_grad(
            lambda x: match(KEY, start._replace(images=x), samples(real, 4), learner)[0]
        )
    )(start.images)
    chex.assert_tree_all_finite((value, gradient))
    assert isinstance(inputs, Inputs)
