"""Networks of other JAX code."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxdd
from tests.helpers import refused


def test_a_network_is_made_of_two_functions():
    init = lambda key: jax.random.normal(key, (12, 2))
    network = jaxdd.as_network(init, lambda w, x: x.reshape(len(x), -1) @ w)
    params, stats = network.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (5, 2, 2, 3))
    batch = jaxdd.Batch(images, jax.nn.one_hot(jnp.arange(5) % 2, 2))
    outputs, _ = network.apply(params, stats, images, True)
    assert outputs.features == ()
    norms = jaxdd.per_sample_gradient_norms(jaxdd.mean_loss(network))
    error = jax.nn.softmax(outputs.logits) - batch.labels
    flat = images.reshape(5, -1)
    expected = jnp.linalg.norm(error, axis=1) * jnp.linalg.norm(flat, axis=1)
    assert np.allclose(norms(params, batch, stats), expected, rtol=1e-5)
    with_features = jaxdd.as_network(init, lambda w, x: (x[:, 0, 0, :2], [x[:, 0, 0]]))
    outputs, _ = with_features.apply(params, stats, images, False)
    assert outputs.features[-1].shape == (5, 3)
    with refused(r"has to give logits \[B, K\].*gives \(5, 2, 2, 3\)"):
        jaxdd.as_network(init, lambda w, x: x).apply(params, stats, images, False)
