"""Adaptive GSAM against loops in NumPy, alone and as the experts are trained."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd.augment import on_images
from jaxdd.errors import UserError
from jaxdd.primitives.losses import mean_loss
from jaxdd.training.fit import Training, make_epochs
from jaxdd.training.gsam import gsam
from tests.helpers import (
    assert_close,
    new_learner,
    smooth_network,
    tiny_network,
    to64,
    toy_batch,
)

RHO, ALPHA, RATE = 0.3, 0.7, 0.02

rng = np.random.default_rng(0)
MATRIX, GOAL = rng.normal(size=(6, 4)), rng.normal(size=6)
START = {"weight": rng.normal(size=4), "bias": rng.normal(size=6)}


def loss(params):
    """Curved, so that the gradients before and after the perturbation differ."""
    return jnp.sum((MATRIX @ params["weight"] + params["bias"] - GOAL) ** 4) / 4


def numpy_gradient(params):
    cubes = (MATRIX @ params["weight"] + params["bias"] - GOAL) ** 3
    return {"weight": MATRIX.T @ cubes, "bias": cubes}


def norm(tree):
    return np.sqrt(sum(np.sum(np.square(x)) for x in tree.values()))


def numpy_gsam(params, gradient_at, rho, alpha, adaptive=True):
    """The direction of one step, as the official code computes it, tensor by tensor."""
    g = gradient_at(params)
    if adaptive:
        length = norm({k: np.abs(params[k]) * g[k] for k in g})
        e = {k: rho * params[k] * params[k] * g[k] / (length + 1e-12) for k in g}
    else:
        e = {k: rho * g[k] / (norm(g) + 1e-12) for k in g}
    gp = gradient_at({k: params[k] + e[k] for k in g})
    inner = sum(np.sum(g[k] * gp[k]) for k in g)
    cosine = inner / (norm(g) * norm(gp) + 1e-12)
    direction = {}
    for k in g:
        vertical = g[k] - cosine * norm(g) * gp[k] / (norm(gp) + 1e-12)
        direction[k] = gp[k] - alpha * vertical
    return direction


def descend(steps, rho=RHO, alpha=ALPHA, adaptive=True):
    """Our optimiser and the loop in NumPy, with plain SGD behind both."""
    optimizer = optax.chain(gsam(rho, alpha, adaptive), optax.sgd(RATE))
    ours, theirs = jax.tree.map(jnp.asarray, START), START
    state = optimizer.init(ours)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(
            jax.grad(loss)(params), state, params, grad_fn=jax.grad(loss)
        )
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        ours, state = step(ours, state)
        by = numpy_gsam(theirs, numpy_gradient, rho, alpha, adaptive)
        theirs = {k: theirs[k] - RATE * by[k] for k in theirs}
    return ours, theirs


@pytest.mark.parametrize("adaptive", [True, False])
def test_several_steps_equal_a_slow_loop(x64, adaptive):
    ours, theirs = descend(5, adaptive=adaptive)
    assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    # What is compared is far from SGD, from SAM and from the other kind.
    others = [{"rho": 0.0, "alpha": 0.0}, {"alpha": 0.0}, {"adaptive": not adaptive}]
    for options in others:
        _, other = descend(5, **{"adaptive": adaptive, **options})
        assert np.abs(other["weight"] - theirs["weight"]).max() > 1e-3


def direction(params, rho=RHO, alpha=ALPHA, adaptive=True, gradient=None):
    """What our transformation makes of a gradient, and where it was asked for more."""
    asked = []

    def grad_fn(moved):
        asked.append(moved)
        return jax.grad(loss)(moved)

    transformation = gsam(rho, alpha, adaptive)
    given = jax.grad(loss)(params) if gradient is None else gradient
    found, _ = transformation.update(
        given, transformation.init(params), params, grad_fn=grad_fn
    )
    assert len(asked) == 1
    return found, asked[0]


def test_without_a_perturbation_it_is_the_gradient(x64):
    start = jax.tree.map(jnp.asarray, START)
    found, moved = direction(start, rho=0.0)
    chex.assert_trees_all_equal(moved, start)
    assert_close(found, jax.grad(loss)(start), rtol=1e-9)
    start = {**jax.tree.map(jnp.asarray, START), "bias": jnp.zeros(6)}
    _, moved = direction(start)
    assert not np.any(moved["bias"])


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_vanishing_gradient_stays_finite(adaptive):
    start = jax.tree.map(jnp.float32, START)
    zero = jax.tree.map(jnp.zeros_like, start)
    found, _ = direction(start, adaptive=adaptive, gradient=zero)
    chex.assert_tree_all_finite(found)


TRAINING = Training(
    epochs=3,
    learning_rate=0.2,
    momentum=0.5,
    weight_decay=0.05,
    batch_size=8,
    gsam_rho=0.5,
    gsam_alpha=0.6,
)


def trained(network, training, data, augment=None, **options):
    run = make_epochs(network, training, augment, **options)
    start = new_learner(network)
    state = run.init(to64(start) if data.images.dtype == jnp.float64 else start)
    epoch = jax.jit(run.epoch)
    for index in range(training.epochs):
        state = epoch(jax.random.key(0), state, data, jnp.int32(index))
    return state.learner


@pytest.mark.parametrize("microbatch", [None, 3])
def test_training_equals_a_slow_loop(x64, microbatch):
    """One batch per epoch; weight decay and momentum act behind GSAM."""
    network, data = smooth_network(), to64(toy_batch(6))
    learner = trained(network, TRAINING, data, microbatch=microbatch)
    params = to64(new_learner(network).params)
    leaves, structure = jax.tree.flatten(params)
    current = {i: np.asarray(x) for i, x in enumerate(leaves)}
    gradient = jax.jit(jax.grad(mean_loss(network)))

    def gradient_at(named):
        tree = jax.tree.unflatten(structure, list(named.values()))
        return dict(
            enumerate(map(np.asarray, jax.tree.leaves(gradient(tree, data, {}))))
        )

    velocity = dict.fromkeys(current, 0.0)
    for _ in range(TRAINING.epochs):
        by = numpy_gsam(current, gradient_at, TRAINING.gsam_rho, TRAINING.gsam_alpha)
        for i in current:
            decayed = by[i] + TRAINING.weight_decay * current[i]
            velocity[i] = TRAINING.momentum * velocity[i] + decayed
            current[i] = current[i] - TRAINING.learning_rate * velocity[i]
    expected = jax.tree.unflatten(structure, list(current.values()))
    assert_close(learner.params, expected, rtol=1e-9, atol=1e-11)
    plain = trained(network, dataclasses.replace(TRAINING, gsam_rho=0.0), data)
    assert np.abs(plain.params["head"]["kernel"] - expected["head"]["kernel"]).max() > (
        1e-3
    )


def test_both_passes_see_the_same_augmented_images(x64):
    """With no perturbation worth the name GSAM is SGD, if the draws are shared."""
    network, data = smooth_network(), to64(toy_batch(10))
    noise = on_images(lambda key, x: x + jax.random.normal(key, x.shape))
    tiny = dataclasses.replace(TRAINING, gsam_rho=1e-9)
    plain = dataclasses.replace(TRAINING, gsam_rho=0.0)
    ours, sgd = (trained(network, t, data, noise).params for t in (tiny, plain))
    assert_close(ours, sgd, rtol=1e-6, atol=1e-8)


def test_the_second_pass_leaves_batch_statistics_alone():
    network, data = tiny_network("convnet_bn"), toy_batch(6)
    training = dataclasses.replace(TRAINING, epochs=1)
    start = new_learner(network)
    learner = trained(network, training, data)
    _, once = network.apply(start.params, start.stats, data.images, True)
    assert_close(learner.stats, once, rtol=1e-4)


@pytest.mark.parametrize("numbers", [(-0.1, 0.0), (0.1, -0.2)])
def test_negative_numbers_are_the_users_error(numbers):
    with pytest.raises(UserError, match="must not be negative"):
        gsam(*numbers)
    rho, alpha = numbers
    training = Training(1, gsam_rho=rho, gsam_alpha=alpha)
    with pytest.raises(UserError, match="must not be negative"):
        make_epochs(smooth_network(), training)
