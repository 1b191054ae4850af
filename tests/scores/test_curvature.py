"""The Fisher matrix against dense Jacobians in float64, on networks small enough."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxdd.devices import policy
from jaxdd.scores.fisher import fisher_product, fisher_traces, top_eigenpairs
from jaxdd.training.fit import rows
from jaxdd.types import Learner
from tests.helpers import (
    new_learner,
    smooth_network,
    temporary_bytes,
    tiny_network,
    to64,
    toy_batch,
)

SMALL = (4, 4, 1)
NETWORK = smooth_network(features=16, hidden=4)


def dense_fishers(network, learner, batch):
    """[B, P, P]: J^T (diag p - p p^T) J of every sample; zero for padding."""
    flat, unravel = ravel_pytree(learner.params)

    def logits(flat):
        return network.apply(unravel(flat), learner.stats, batch.images, False)[
            0
        ].logits

    p = np.asarray(jax.nn.softmax(logits(flat)))
    jacobians = np.asarray(jax.jit(jax.jacrev(logits))(flat))  # [B, K, P]
    middle = np.stack([np.diag(row) - np.outer(row, row) for row in p])
    present = np.any(np.asarray(batch.labels) > 0, axis=1)
    fishers = np.einsum("bkp,bkl,blq->bpq", jacobians, middle, jacobians)
    return fishers * present[:, None, None]


def problem64(network=NETWORK, size=11, padding=2):
    # Not `new_learner`, which would keep what is in float64 for other tests.
    learner = Learner(*network.init(jax.random.key(0)))
    return to64(learner), to64(toy_batch(size, shape=SMALL, padding=padding))


@pytest.mark.parametrize("name", ["smooth", "convnet", "convnet_bn"])
def test_traces_are_those_of_the_dense_matrices(x64, name):
    network = NETWORK if name == "smooth" else tiny_network(name, SMALL)
    learner, batch = problem64(network)
    traces = jax.jit(lambda m, b: fisher_traces(network, m, b))(learner, batch)
    fishers = dense_fishers(network, learner, batch)
    expected = np.trace(fishers, axis1=1, axis2=2)
    np.testing.assert_allclose(traces, expected, rtol=1e-9)
    assert not np.any(traces[-2:])
    assert np.all(traces[:-2] > 0)


@pytest.mark.usefixtures("optimised")
def test_traces_need_no_memory_per_sample_and_parameter():
    network = tiny_network(width=32)
    learner = new_learner(network)
    trace = lambda m, b: fisher_traces(network, m, b)
    small, large = (temporary_bytes(trace, learner, toy_batch(n)) for n in (64, 512))
    parameters = sum(x.size for x in jax.tree.leaves(learner.params))
    assert large - small < 4 * 448 * parameters / 10


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_products_are_those_of_the_dense_mean(x64, chunk, device):
    """Of the samples asked for; those of padding neither add nor count."""
    learner, data = problem64()
    indices = jnp.array([0, 2, 3, 5, 8, 9, 10])  # the last two are padding
    flat, _ = ravel_pytree(learner.params)
    vectors = jax.random.normal(jax.random.key(0), (3, flat.size), flat.dtype)

    def product(learner, data, vectors):
        return fisher_product(NETWORK, learner, data, indices, rows, chunk)(vectors)

    mean = dense_fishers(NETWORK, learner, data)[indices].sum(0) / 5
    with policy.using(policy.TABLE[device]):
        found = jax.jit(product)(learner, data, vectors)
    np.testing.assert_allclose(found, vectors @ mean, rtol=1e-9, atol=1e-12)


def test_the_mean_over_nothing_is_zero():
    learner, data = new_learner(NETWORK), toy_batch(4, shape=SMALL, padding=4)
    flat, _ = ravel_pytree(learner.params)
    product = fisher_product(NETWORK, learner, data, jnp.arange(4), rows, 2)
    assert not np.any(product(jnp.ones((2, flat.size))))


@pytest.mark.parametrize("rank", [3, 6, 12])
def test_the_top_eigenpairs_of_a_matrix_of_rank_six(x64, rank):
    size = 10
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    spectrum = np.array([9, 3, 1, 1e-4, 1e-4, 1e-5, 0, 0, 0, 0])
    matrix = (basis * spectrum) @ basis.T
    found = top_eigenpairs(
        jax.random.key(0), lambda v: v @ matrix, size, rank, jnp.float64
    )
    values, vectors = (np.asarray(x) for x in found)
    count = min(rank, size)
    np.testing.assert_allclose(values[::-1], spectrum[:count], rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(count), atol=1e-9)
    np.testing.assert_allclose(
        np.abs(vectors[-3:][::-1] @ basis[:, :3]), np.eye(3), atol=1e-3
    )
    assert np.all(values >= 0)
