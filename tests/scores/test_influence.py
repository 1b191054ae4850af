"""Self-influence against dense inverses in float64, and what it is there to find."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.data.real import real_data, take
from jaxdd.errors import UserError
from jaxdd.primitives.losses import mean_loss
from jaxdd.scores.ensemble import train_probes
from jaxdd.scores.influence import influence_scores
from jaxdd.training.fit import Training
from jaxdd.types import Batch, Learner
from tests.helpers import (
    flat,
    smooth_network,
    tiny_network,
    to64,
    toy_arrays,
    toy_batch,
    toy_real,
)
from tests.scores.test_curvature import NETWORK, SMALL, dense_fishers

KEY = jax.random.key(0)


def stacked(network, count):
    return Learner(*jax.jit(jax.vmap(network.init))(jax.random.split(KEY, count)))


def dense_scores(network, learner, data, damping, used=None):
    """One linear system per sample, with the whole matrix."""
    fishers = dense_fishers(network, learner, data)
    mass = np.any(np.asarray(data.labels) > 0, axis=1)
    used = np.arange(len(mass)) if used is None else used
    fisher = fishers[used].sum(0) / mass[used].sum()
    shift = damping * np.linalg.eigvalsh(fisher)[-1]
    gradient = jax.jit(jax.grad(mean_loss(network)))
    scores = []
    for i in range(len(mass)):
        single = Batch(data.images[i : i + 1], data.labels[i : i + 1])
        g = flat(gradient(learner.params, single, learner.stats))
        scores.append(g @ np.linalg.solve(fisher + shift * np.eye(len(g)), g))
    return np.array(scores)


@pytest.mark.parametrize(
    ("name", "chunk"), [("smooth", 3), ("smooth", 64), ("convnet_bn", 64)]
)
def test_full_rank_is_the_dense_inverse(x64, name, chunk):
    network = NETWORK if name == "smooth" else tiny_network(name, SMALL)
    learners, data = (
        to64(stacked(network, 2)),
        to64(toy_batch(11, shape=SMALL, padding=2)),
    )
    expected = np.mean(
        [
            dense_scores(network, jax.tree.map(lambda x: x[e], learners), data, 0.05)
            for e in range(2)
        ],
        axis=0,
    )
    scores = influence_scores(network, damping=0.05, rank=30, chunk=chunk)
    found = jax.jit(scores)(KEY, learners, data)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not np.any(found[-2:])
    assert np.std(expected[:-2]) > 0.1 * np.mean(expected[:-2]) > 0


def test_the_curvature_may_come_from_some_of_the_samples(x64):
    learners, data = to64(stacked(NETWORK, 1)), to64(toy_batch(12, shape=SMALL))
    learner = jax.tree.map(lambda x: x[0], learners)
    scores = influence_scores(NETWORK, damping=0.05, rank=30, samples=4)
    expected = dense_scores(NETWORK, learner, data, 0.05, used=np.array([0, 3, 6, 9]))
    found = jax.jit(scores)(KEY, learners, data)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_low_rank_errs_upwards_within_its_bound(x64):
    learners, data = to64(stacked(NETWORK, 1)), to64(toy_batch(40, shape=SMALL))
    learner = jax.tree.map(lambda x: x[0], learners)
    exact = dense_scores(NETWORK, learner, data, 0.1)
    spectrum = np.linalg.eigvalsh(dense_fishers(NETWORK, learner, data).mean(0))[::-1]
    for rank in (2, 8):
        scores = influence_scores(NETWORK, damping=0.1, rank=rank)
        ratio = jax.jit(scores)(KEY, learners, data) / exact
        bound = 1 + spectrum[rank] / (0.1 * spectrum[0])
        # Eigenpairs found by a sketch are not quite the best ones.
        assert np.min(ratio) > 0.95
        assert np.max(ratio) < 1.05 * bound


def test_wrong_labels_stand_out():
    """What Koh & Liang use it for; the others are samples of the same two classes."""
    images, labels = toy_arrays((40, 40), SMALL)
    wrong = np.arange(0, len(labels), 16)
    labels[wrong] = 1 - labels[wrong]
    real = real_data(images, labels, 2)
    network = smooth_network(16, classes=2)
    probes = train_probes(network, Training(20, 0.05, batch_size=16), len(labels))
    learners = jax.jit(probes)(jax.random.split(KEY, 2), real)
    scores = influence_scores(network, take, damping=0.1)
    found = np.asarray(jax.jit(scores)(KEY, learners, real))
    assert set(np.argsort(found)[-len(wrong) :]) == set(wrong)


def test_the_key_only_draws_the_sketch():
    real, learners = toy_real((6, 5, 4), SMALL), stacked(NETWORK, 2)
    scores = jax.jit(influence_scores(NETWORK, take, rank=16))
    a, b = scores(KEY, learners, real), scores(KEY, learners, real)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(scores(jax.random.key(1), learners, real), a, rtol=0.05)


def test_a_network_without_curvature_gives_no_nan():
    """Logits so far apart that every probability is 0 or 1."""
    learners = jax.tree.map(lambda x: 1e4 * x, stacked(NETWORK, 1))
    real = toy_real((3, 3, 3), SMALL)
    first = jax.tree.map(lambda x: x[0], learners)
    images = take(real, jnp.arange(9)).images
    best = NETWORK.apply(first.params, first.stats, images, False)[0].logits
    right = real._replace(labels=jnp.argmax(best, -1).astype(jnp.int32))
    found = jax.jit(influence_scores(NETWORK, take, rank=4))(KEY, learners, right)
    np.testing.assert_array_equal(found, np.zeros(9))


@pytest.mark.parametrize("name", ["damping", "rank", "samples"])
def test_what_is_not_positive_is_the_users_error(name):
    with pytest.raises(UserError, match=f"{name}.*positive, not 0"):
        influence_scores(NETWORK, **{name: 0.0 if name == "damping" else 0})
