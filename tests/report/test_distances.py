"""Distances of a set from the data under networks that are given."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.data.real import sample_class
from jaxdd.report.distances import feature_distances
from jaxdd.types import Learner
from tests.helpers import smooth_network, toy_inputs, toy_start

NETWORK = smooth_network()
LEARNERS = jax.vmap(lambda key: Learner(*NETWORK.init(key)))(
    jax.random.split(jax.random.key(0), 2)
)


def test_what_is_nearer_measures_less_and_the_mean_is_over_classes_and_networks():
    real = toy_inputs((6, 6, 6)).real
    measure = jax.jit(feature_distances(NETWORK, LEARNERS, batch_real=6))
    key, start = jax.random.key(1), toy_start(toy_inputs((6, 6, 6)), ipc=6, kind="real")
    same, noise = (
        {name: float(x) for name, x in measure(key, made, real).items()}
        for made in (start, start._replace(images=3 + start.images))
    )
    assert same["means"] < 1e-8
    assert same["mmd"] < 1e-5
    assert same["cf"] < 1e-2
    assert all(noise[name] > 10 * max(same[name], 1e-6) for name in same)

    moved = start.images + 1
    total = 0.0
    for i in range(2):
        learner = jax.tree.map(lambda x, i=i: x[i], LEARNERS)
        for k in range(3):
            batch = sample_class(key, real, jnp.int32(k), 6)
            sides = [
                NETWORK.apply(learner.params, {}, x, False)[0].features[-1].mean(0)
                for x in (moved[k], batch.images)
            ]
            total += float(jnp.sum((sides[0] - sides[1]) ** 2)) / 6
    measured = measure(key, start._replace(images=moved), real)["means"]
    np.testing.assert_allclose(measured, total, rtol=1e-4)


def test_padding_does_not_count():
    inputs = toy_inputs((6, 6, 6))
    start = toy_start(inputs, ipc=2, kind="real")
    padded = start._replace(
        images=jnp.concatenate([start.images, 9 + start.images], axis=1),
        labels=jnp.concatenate([start.labels, 0 * start.labels], axis=1),
    )
    measure = jax.jit(feature_distances(NETWORK, LEARNERS, batch_real=6))
    given, expected = (
        measure(jax.random.key(1), made, inputs.real) for made in (padded, start)
    )
    for name in expected:
        np.testing.assert_allclose(given[name], expected[name], rtol=1e-4, atol=1e-6)
