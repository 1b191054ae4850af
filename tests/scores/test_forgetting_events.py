"""Forgetting: events counted by hand, and one program for any key."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.data.real import real_data
from jaxdd.scores.forgetting import forgetting_scores
from jaxdd.training.fit import Training
from jaxdd.types import Network, Outputs
from tests.helpers import smooth_network, toy_real

NETWORK = smooth_network()

# Which sample is right after which epoch, for two kinds of network.
RIGHT = np.array(
    [
        # always, learnt twice and lost twice, never, lost once, learnt at last
        [[1, 1, 0, 0, 0], [1, 0, 0, 1, 0], [1, 1, 0, 1, 0], [1, 0, 0, 0, 1]],
        [[1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]],
    ]
)
FORGOTTEN = np.array([[0, 2, 4, 1, 0], [0, 0, 1, 0, 1]])


def scripted_network():
    """Right and wrong by the table; the epoch is counted in the running statistics."""

    def init(key):
        kind = jax.random.key_data(key)[-1] % 2
        return {"w": jnp.zeros(3), "kind": kind.astype(jnp.float32)}, {"epoch": 0.0}

    def apply(params, stats, images, train):
        index = images[:, 0, 0, 0].astype(int)
        kind, epoch = params["kind"].astype(int), jnp.int32(stats["epoch"]) - 1
        right = jnp.asarray(RIGHT)[kind, epoch, index]
        logits = jax.nn.one_hot(jnp.where(right, 1, 2), 3)  # all are of class 1
        if train:
            logits = jnp.zeros_like(logits) + params["w"]
        return Outputs(logits, (logits,)), {"epoch": stats["epoch"] + 1.0 * train}

    return Network(init, apply)


@pytest.mark.parametrize("chunk", [2, 256])
def test_forgetting_counts_changes_from_right_to_wrong(chunk):
    network = scripted_network()
    images = np.zeros((5, 1, 1, 1), np.float32)
    images[:, 0, 0, 0] = np.arange(5)
    real = real_data(images, np.ones(5, int), 3)
    scores = jax.jit(forgetting_scores(network, Training(epochs=4), chunk))
    keys = jax.random.split(jax.random.key(0), 5)
    kinds = [int(network.init(jax.random.split(key)[0])[0]["kind"]) for key in keys]
    assert set(kinds) == {0, 1}
    expected = FORGOTTEN[kinds].mean(0)
    np.testing.assert_allclose(scores(keys, real), expected, rtol=1e-6)


def test_forgetting_of_a_trained_network_is_one_program():
    of_keys = forgetting_scores(NETWORK, Training(epochs=5, batch_size=8))
    scores = jax.jit(chex.assert_max_traces(of_keys, n=1))
    real, keys = toy_real((6, 5, 4)), jax.random.split(jax.random.key(0), 2)
    values = scores(keys, real)
    scores(jax.random.split(jax.random.key(1), 2), real)
    chex.assert_shape(values, (15,))
    assert np.all((values >= 0) & (values <= 5))
