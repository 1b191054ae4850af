"""Every score against a formula in NumPy, and what averages and ranks do."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from absl.testing import parameterized

from jaxdd.data.real import real_data, take
from jaxdd.errors import UserError
from jaxdd.primitives.losses import mean_loss
from jaxdd.scores.ensemble import ensemble_scores, measure, train_probes
from jaxdd.scores.forgetting import forgetting_scores
from jaxdd.scores.influence import influence_scores
from jaxdd.scores.ranks import percentile, rank_correlation
from jaxdd.scores.table import SCORES, Effort
from jaxdd.training.fit import Training
from jaxdd.types import Batch, Learner
from tests.helpers import (
    linear_network,
    new_learner,
    smooth_network,
    toy_batch,
    toy_real,
)

NETWORK = smooth_network()
AT_NETWORKS = [name for name, score in SCORES.items() if score.needs == "networks"]


def hard(batch):
    """The same images with one-hot labels (padding stays)."""
    present = np.any(batch.labels > 0, axis=1, keepdims=True)
    one_hot = np.eye(3)[np.argmax(batch.labels, 1)] * present
    return batch._replace(labels=jnp.asarray(one_hot, jnp.float32))


def numpy_gradient_norms(learner, batch, only_head=False):
    """A loop over samples with `jax.grad`."""
    gradient = jax.jit(jax.grad(mean_loss(NETWORK)))
    norms = []
    for i in range(len(batch.labels)):
        single = Batch(batch.images[i : i + 1], batch.labels[i : i + 1])
        tree = gradient(learner.params, single, learner.stats)
        leaves = jax.tree.leaves(tree["head"] if only_head else tree)
        norms.append(np.sqrt(sum(np.sum(np.square(g, dtype=float)) for g in leaves)))
    return np.array(norms)


def numpy_scores(name, learner, batch):
    outputs, _ = NETWORK.apply(learner.params, learner.stats, batch.images, False)
    logits, labels = np.asarray(outputs.logits, float), np.asarray(batch.labels)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    classes = labels.argmax(1)
    if name == "grad_norm":
        return numpy_gradient_norms(learner, batch)
    if name == "grand":
        return numpy_gradient_norms(learner, batch, only_head=True)
    if name == "el2n":
        return np.sqrt(((p - labels) ** 2).sum(1))
    if name == "loss":
        return -np.log([row[k] for row, k in zip(p, classes, strict=True)])
    if name == "error_probability":
        return np.array([1 - row[k] for row, k in zip(p, classes, strict=True)])
    if name == "empirical_fisher":
        return numpy_gradient_norms(learner, batch) ** 2
    if name == "fisher":
        total = np.zeros(len(p))
        for k in range(3):  # as if every sample had the label k
            label = jnp.broadcast_to(jnp.eye(3)[k], batch.labels.shape)
            norms = numpy_gradient_norms(learner, batch._replace(labels=label))
            total += p[:, k] * norms**2
        return total
    if name == "entropy":
        return -(p * np.log(p)).sum(1)
    if name == "margin":
        wrong = [max(np.delete(row, k)) for row, k in zip(p, classes, strict=True)]
        return np.array(wrong) - p[np.arange(len(p)), classes]
    raise AssertionError(f"no independent formula for the score {name}")


class TestScores(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*AT_NETWORKS)
    def test_a_score_equals_its_formula_and_is_zero_of_padding(self, name):
        learner, batch = new_learner(NETWORK), hard(toy_batch(7, padding=2))
        score = self.variant(lambda m, b: SCORES[name].compute(NETWORK, m, b))
        scores = score(learner, batch)
        present = jax.tree.map(lambda x: x[:5], batch)
        expected = numpy_scores(name, learner, present)
        chex.assert_shape(scores, (7,))
        np.testing.assert_allclose(scores[:5], expected, rtol=1e-4, atol=1e-6)
        assert np.std(expected) > 1e-3
        assert not np.any(scores[5:])


@pytest.mark.parametrize("name", AT_NETWORKS)
def test_larger_means_harder(name):
    """A confident network: right samples are easy, wrong or undecided ones hard."""
    network = linear_network(3)
    params = {"kernel": 4 * jnp.eye(3), "bias": jnp.zeros(3)}
    easy, wrong, undecided = np.eye(3)[0], np.eye(3)[1], np.full(3, 0.5)
    images = jnp.asarray([easy, wrong, undecided], jnp.float32).reshape(3, 3, 1, 1)
    labels = jnp.tile(jnp.array([1.0, 0, 0]), (3, 1))
    score = jax.jit(lambda m, b: SCORES[name].compute(network, m, b))
    scores = score(Learner(params, {}), Batch(images, labels))
    assert scores[0] < scores[2]
    if name not in ("entropy", "fisher"):  # which do not know the label
        assert scores[0] < scores[1]


def learners(count):
    return jax.tree.map(
        lambda *leaves: jnp.stack(leaves),
        *[new_learner(NETWORK, seed) for seed in range(count)],
    )


@pytest.mark.parametrize("name", ["grad_norm", "el2n"])
def test_an_ensemble_averages_and_chunks_do_not_matter(name):
    data = hard(toy_batch(9))
    expected = np.mean(
        [numpy_scores(name, new_learner(NETWORK, s), data) for s in range(3)], axis=0
    )
    for chunk in (4, 64):
        scores = jax.jit(ensemble_scores(NETWORK, name, chunk=chunk))(learners(3), data)
        np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_scores_of_real_data_are_in_the_order_of_the_data():
    real = toy_real((4, 3, 2))
    scores = jax.jit(ensemble_scores(NETWORK, "el2n", fetch=take, chunk=4))
    everything = take(real, jnp.arange(9))
    expected = numpy_scores("el2n", new_learner(NETWORK), everything)
    np.testing.assert_allclose(scores(learners(1), real), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hardness", "unknown score 'hardness'.*el2n.*influence.*forgetting"),
        ("influence", "the score influence needs a whole dataset"),
        ("forgetting", "the score forgetting needs a training run of its own"),
    ],
)
def test_a_score_that_a_batch_cannot_have_is_the_users_error(name, message):
    with pytest.raises(UserError, match=message):
        ensemble_scores(NETWORK, name)


def test_any_score_is_measured_by_its_name():
    """The same bits as its own function gives; probes are made only if needed."""
    real, key = toy_real((4, 3, 2)), jax.random.key(3)
    effort = Effort(networks=2, forgetting_epochs=3, damping=0.2, rank=4)
    calls = []

    def probes():
        calls.append(1)
        return learners(2)

    influence = influence_scores(NETWORK, take, damping=0.2, rank=4)
    forgetting = forgetting_scores(NETWORK, Training(3, 0.01, momentum=0.9))
    expected = {
        "el2n": jax.jit(ensemble_scores(NETWORK, "el2n", take))(learners(2), real),
        "influence": jax.jit(influence)(key, learners(2), real),
        "forgetting": jax.jit(forgetting)(jax.random.split(key, 2), real),
    }
    for name, scores in expected.items():
        actual = measure(name, NETWORK, key, probes, real, effort)
        np.testing.assert_array_equal(actual, scores)
    assert len(calls) == 2


def test_probes_are_trained_on_as_many_samples_as_asked_for():
    """Image i is the unit vector i, so that row i of the kernel moves if it is seen."""
    count = 12
    images = np.eye(count, dtype=np.float32).reshape(count, count, 1, 1)
    real = real_data(images, np.arange(count) % 3, 3)
    network = linear_network(count)
    keys = jax.random.split(jax.random.key(0), 3)
    training = Training(epochs=2, learning_rate=0.1, batch_size=4)
    for samples in (5, 100):
        probes = jax.jit(train_probes(network, training, samples))(keys, real)
        chex.assert_shape(probes.params["kernel"], (3, count, 3))
        seen = []
        for key, kernel in zip(keys, probes.params["kernel"], strict=True):
            start, _ = network.init(jax.random.split(key, 3)[0])
            moved = np.abs(kernel - start["kernel"]).max(1) > 1e-4
            seen.append(tuple(np.flatnonzero(moved)))
        assert all(len(rows) == min(samples, count) for rows in seen)
        assert len(set(seen)) > 1 or samples > count


def test_rank_correlation_is_spearmans_also_with_ties():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.integers(0, 5, 50).astype(float)
    c = np.round(a + rng.normal(size=50), 0)
    scores = {
        name: jnp.asarray(x, jnp.float32)
        for name, x in {"a": a, "b": b, "c": c}.items()
    }
    expected, _ = scipy.stats.spearmanr(np.stack([a, b, c], 1))
    actual = rank_correlation(scores)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert abs(expected[0, 2]) > 0.3


def test_percentile_counts_ties_half():
    population = jnp.array([3.0, 1.0, 2.0, 2.0, 5.0])
    for value in (0.0, 1.0, 2.0, 2.5, 5.0, 6.0):
        expected = scipy.stats.percentileofscore(population, value, kind="mean")
        actual = percentile(jnp.float32(value), population)
        np.testing.assert_allclose(actual, expected, atol=1e-4)
