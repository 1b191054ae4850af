"""Losses on soft labels: values, and padding that leaves no trace."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.primitives.losses import (
    at_temperature,
    correct,
    cross_entropy,
    mean_loss,
    per_sample_cross_entropy,
    tempered,
)
from jaxdd.types import Batch
from tests.helpers import linear_network, new_learner, toy_batch

LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)


class TestFormulas(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_soft_and_hard_labels(self):
        p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
        soft, hard = toy_batch(5).labels, jnp.eye(3)[jnp.array([0, 2, 1, 1, 0])]
        for labels in (soft, hard):
            expected = -(labels * np.log(p)).sum(1)
            values = self.variant(per_sample_cross_entropy)(LOGITS, labels)
            np.testing.assert_allclose(values, expected, rtol=1e-5)
            value = self.variant(cross_entropy)(LOGITS, labels)
            np.testing.assert_allclose(value, expected.mean(), rtol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_correct_compares_the_most_probable_classes(self):
        logits = jnp.array([[0.0, 2, 1], [3, 2, 1], [0, 0, 9], [9, 0, 0]])
        labels = jnp.array([[0.1, 0.8, 0.1], [0, 0, 1], [0, 0, 1], [0, 0, 0]])
        assert self.variant(correct)(logits, labels).tolist() == [1, 0, 1, 0]


def test_padding_rows_change_neither_the_loss_nor_its_gradient():
    labels = toy_batch(5).labels
    padded = jnp.concatenate([labels, jnp.zeros((4, 3))])
    logits = jnp.concatenate([LOGITS, 100 * jnp.ones((4, 3))])
    both = jax.jit(jax.value_and_grad(cross_entropy))
    value, gradient = both(LOGITS, labels)
    padded_value, padded_gradient = both(logits, padded)
    np.testing.assert_allclose(padded_value, value, rtol=1e-6)
    np.testing.assert_allclose(padded_gradient[:5], gradient, rtol=1e-6)
    assert not np.any(padded_gradient[5:])
    assert not np.any(per_sample_cross_entropy(logits, padded)[5:])


def test_padding_mass_and_networks():
    both = jax.value_and_grad(cross_entropy, argnums=(0, 1))
    value, (by_logits, by_labels) = jax.jit(both)(LOGITS, jnp.zeros((5, 3)))
    assert value == 0
    assert not np.any(by_logits)
    chex.assert_tree_all_finite(by_labels)
    labels = jnp.array([[1.0, 0, 0], [0, 0.5, 0]])
    values = per_sample_cross_entropy(LOGITS[:2], labels)
    value = cross_entropy(LOGITS[:2], labels)
    np.testing.assert_allclose(value, values.sum() / 1.5, rtol=1e-6)
    network, batch = linear_network(64), toy_batch(4)
    params, stats, _ = new_learner(network)
    logits = np.asarray(batch.images).reshape(4, 64) @ np.asarray(params["kernel"])
    value = mean_loss(network)(params, batch, stats)
    expected = cross_entropy(jnp.asarray(logits), batch.labels)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    empty = Batch(batch.images, jnp.zeros((4, 3)))
    assert mean_loss(network)(params, empty, stats) == 0


def test_a_temperature_softens_predictions_and_labels():
    logits, teacher = jax.random.normal(jax.random.key(3), (2, 4, 5))
    labels = jax.nn.softmax(teacher)
    loss = at_temperature("kl", 4.0)
    p, q = jax.nn.softmax(teacher / 4), jax.nn.softmax(logits / 4)
    expected = jnp.mean(jnp.sum(p * (jnp.log(p) - jnp.log(q)), axis=-1))
    np.testing.assert_allclose(loss(logits, labels), expected, rtol=1e-4)
    np.testing.assert_allclose(loss(teacher, labels), 0, atol=1e-6)
    # Padding has no weight, and hard labels stay hard.
    padded = jnp.concatenate([labels, jnp.zeros((2, 5))])
    more = jnp.concatenate([logits, jnp.ones((2, 5))])
    np.testing.assert_allclose(loss(more, padded), expected, rtol=1e-4)
    hard = jnp.eye(5)[:4]
    np.testing.assert_array_equal(tempered(hard, 20.0), hard)
    slopes = [
        jax.grad(at_temperature(name, 4.0))(logits, labels)
        for name in ("kl", "cross_entropy")
    ]
    np.testing.assert_allclose(*slopes, atol=1e-6)
