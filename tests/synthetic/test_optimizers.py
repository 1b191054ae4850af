"""Image updates one class after another, against the loop that really does them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.errors import UserError
from jaxdd.synthetic.optimizer import (
    OPTIMIZERS,
    SGD,
    clip_by_running_norm,
    make_optimizer,
    scheduled,
    sequential_sgd,
)
from jaxdd.types import Synthetic

RATE, ROUNDS, N, PIXELS = 0.3, 6, 2, 4


def gradient_of(classes, k, images, turn):
    """Of class k's loss: a function of its own images, which changes in every round."""
    rng = np.random.default_rng([k, turn])
    a, b = rng.normal(size=(2, N, PIXELS))
    return a * np.sin(images[k]) + b


def official_loop(images, momentum):
    """IDC: one optimiser for the whole tensor steps after every single class.

    What class k is at the beginning of each of its turns, [ROUNDS, K, n, P]. Its
    gradient w.r.t. the others is zero, but their momentum moves them all the same.
    """
    images, classes = images.copy(), len(images)
    buffer, seen = np.zeros_like(images), np.zeros((ROUNDS, *images.shape))
    for turn in range(ROUNDS):
        for k in range(classes):
            seen[turn, k] = images[k]
            gradient = np.zeros_like(images)
            gradient[k] = gradient_of(classes, k, images, turn)
            buffer = momentum * buffer + gradient
            images = images - RATE * buffer
    return seen


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("classes", [1, 2, 3, 10])
def test_a_round_of_classes_is_one_closed_step(x64, classes, momentum):
    """Every class, at each of its own turns, is where the official loop has it."""
    images = np.random.default_rng(0).normal(size=(classes, N, PIXELS))
    expected = official_loop(images, momentum)
    optimizer = sequential_sgd(RATE, momentum)
    found = jnp.asarray(images)
    state = optimizer.init(found)
    for turn in range(ROUNDS):
        np.testing.assert_allclose(found, expected[turn], rtol=1e-12, atol=1e-13)
        gradient = np.stack(
            [gradient_of(classes, k, np.asarray(found), turn) for k in range(classes)]
        )
        updates, state = optimizer.update(jnp.asarray(gradient), state)
        found = found + updates
    moved = np.abs(expected[-1] - expected[0]).max()
    assert moved > 0.1  # else equality would say little


@pytest.mark.parametrize("steps", ["joint", "sequential"])
def test_the_order_decides_how_images_step(steps):
    """Only images: labels and step size have one optimiser step per update."""
    codes = Synthetic(jnp.zeros((3, N, 2, 2, 1)), jnp.zeros((3, N, 3)), jnp.float32(1))
    optimizer = make_optimizer(
        SGD(order=steps).make(RATE), SGD().make(2.0), SGD().make(0.5)
    )
    ones = jax.tree.map(jnp.ones_like, codes)
    updates, _ = optimizer.update(ones, optimizer.init(codes), codes)
    travelled = 1 if steps == "joint" else 1 + 0.5 + 0.25
    np.testing.assert_allclose(updates.images, -RATE * travelled, rtol=1e-6)
    np.testing.assert_allclose(updates.labels, -2.0, rtol=1e-6)
    np.testing.assert_allclose(updates.step_size, -0.5, rtol=1e-6)


def test_a_shut_gate_holds_the_momentum_of_sequential_steps():
    codes = Synthetic(jnp.ones((3, 1, 2, 2, 1)), jnp.ones((3, 1, 3)), jnp.float32(0))
    optimizer = make_optimizer(SGD(order="sequential").make(5e-3), gate=1.0)
    begun = optimizer.update(codes, optimizer.init(codes), codes, value=0.5)[1]
    updates, after = optimizer.update(codes, begun, codes, value=1.5)
    assert not any(np.any(x) for x in jax.tree.leaves(updates))
    again = [
        optimizer.update(codes, state, codes, value=0.5)[0].images
        for state in (begun, after)
    ]
    assert np.array_equal(*again)
    assert np.any(again[0])


def test_unknown_image_steps_are_the_users_error():
    with pytest.raises(UserError, match="must be one of joint, sequential, not 'diag"):
        SGD(order="diagonal")


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_every_optimizer_follows_a_schedule(kind):
    """The updates of a cosine are those of a constant rate, times the cosine."""
    images, gradient = jnp.ones((2, 3)), jnp.array([[1.0, -2, 3], [-1, 2, -3]])
    updates = {}
    for schedule in ("constant", "cosine"):
        optimizer = kind().make(scheduled(schedule, 0.1, horizon=4))
        state, seen = optimizer.init(images), []
        for _ in range(6):
            update, state = optimizer.update(gradient, state, images)
            seen.append(float(jnp.abs(update).mean()))
        updates[schedule] = np.array(seen)
    ratios = updates["cosine"] / updates["constant"]
    np.testing.assert_allclose(ratios[[0, 2, 4, 5]], [1, 0.55, 0.1, 0.1], rtol=1e-5)


@pytest.mark.parametrize("kind", ["joint", "sequential"])
def test_sgd_one_class_after_another_follows_a_schedule(kind):
    sgd, images = SGD(order=kind), jnp.ones((2, 3))
    both = [sgd.make(rate) for rate in (0.1, lambda count: 0.1)]
    constant, scheduled = (o.update(images, o.init(images))[0] for o in both)
    np.testing.assert_allclose(scheduled, constant, rtol=1e-6)


def test_a_gradient_far_above_the_others_is_scaled_down():
    """r = 3 n' leaves 2 n', whatever the leaves, and r enters n' before."""
    clip = clip_by_running_norm(2.0)
    tree = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}
    first, state = clip.update(tree, clip.init(tree))
    np.testing.assert_array_equal(first["a"], tree["a"])  # the mean is its own norm
    times = lambda factor: jax.tree.map(lambda x: factor * x, tree)
    kept, state = clip.update(times(2), state)
    np.testing.assert_allclose(kept["b"], 8.0, rtol=1e-6)  # 10 is below 2 * 5.5
    assert float(state.mean) == pytest.approx(5.5)
    clipped, state = clip.update(times(20), state)
    mean = 0.9 * 5.5 + 0.1 * 100
    norm = jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(clipped)))
    assert float(norm) == pytest.approx(2 * mean, rel=1e-5)
    nothing, _ = clip.update(times(0), state)
    assert float(nothing["b"][0, 0]) == 0
