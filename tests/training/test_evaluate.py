"""Evaluation: one program for all networks, and what it measures."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.synthetic.initial import initial_set
from jaxdd.synthetic.sets import flatten
from jaxdd.training.evaluate import CHUNK, accuracy, make_evaluate, random_subsets
from jaxdd.training.evaluate import repeat as repeated
from jaxdd.training.fit import Training, make_fit
from jaxdd.types import Batch, Learner
from tests.helpers import counted, new_learner, smooth_network, toy_arrays, toy_real

TRAINING = Training(epochs=20, learning_rate=0.1, momentum=0.9, batch_size=4)
CROP = augment.training("crop")


@pytest.fixture(scope="module")
def problem():
    """(compiled evaluation, its traces, keys, real data, held-out data)."""
    network, traces = counted(smooth_network())
    evaluate = make_evaluate(network, TRAINING, CROP)
    keys = jax.random.split(jax.random.key(0), 3)
    return evaluate, traces, keys, toy_real(), toy_real(seed=1)


def test_flatten_goes_class_by_class():
    real = toy_real()
    synthetic = initial_set(jax.random.key(0), "real", real, 2)
    batch = flatten(synthetic)
    chex.assert_shape(batch.images, (6, 8, 8, 1))
    assert np.array_equal(batch.images[2:4], synthetic.images[1])
    assert np.argmax(batch.labels, -1).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("counts", [(2, 2, 2), (CHUNK, 20, 17)])
def test_accuracy_counts_every_sample_once(counts):
    """Also when the last chunk is not full."""
    network, real = smooth_network(), toy_real(counts)
    learner = new_learner(network)
    outputs, _ = network.apply(learner.params, learner.stats, real.images, False)
    hits = np.argmax(outputs.logits, -1) == np.asarray(real.labels)
    value = jax.jit(lambda m, r: accuracy(network, m, r))(learner, real)
    np.testing.assert_allclose(value, 100 * hits.mean(), rtol=1e-5)
    assert 0 < hits.mean() < 1


def test_accuracy_preprocesses_raw_images():
    network = smooth_network()
    images, labels = toy_arrays()
    real = toy_real()
    raw = real._replace(
        images=jnp.asarray((images - 1) / 2),
        scale=jnp.array([2.0]),
        shift=jnp.array([1.0]),
    )
    learner = new_learner(network)
    measure = jax.jit(lambda data: accuracy(network, learner, data))
    assert measure(raw) == measure(real)
    assert len(labels) == 36


def test_random_subsets_are_distinct_images_of_the_right_classes():
    real = toy_real()
    subsets = random_subsets(jax.random.split(jax.random.key(0), 4), real, 8)
    chex.assert_shape(subsets.images, (4, 24, 8, 8, 1))
    for images, labels in zip(*map(np.asarray, subsets), strict=True):
        found = (images[:, None] == np.asarray(real.images)[None]).all((2, 3, 4))
        found = found.argmax(1)
        assert len(set(found)) == 24
        assert np.array_equal(np.asarray(real.labels)[found], labels.argmax(1))
    assert not np.array_equal(subsets.images[0, :8], subsets.images[1, :8])


def test_one_compilation_serves_distilled_and_random_sets(problem):
    evaluate, traces, keys, real, held_out = problem
    distilled = flatten(initial_set(jax.random.key(1), "real", real, 2))
    results = evaluate(keys, repeated(distilled, 3), held_out)
    chex.assert_shape(results, (3,))
    before = len(traces)
    assert before > 0
    for seed in range(3):
        subset_keys = jax.random.split(jax.random.key(seed), 3)
        evaluate(keys, random_subsets(subset_keys, real, 2), held_out)
    assert len(traces) == before


def test_the_number_of_networks_does_not_change_a_result(problem):
    evaluate, traces, keys, real, held_out = problem
    sets = random_subsets(keys, real, 2)
    together = evaluate(keys, sets, held_out)
    before = len(traces)
    for i in range(3):
        one = jax.tree.map(lambda x, i=i: x[i : i + 1], sets)
        assert evaluate(keys[i : i + 1], one, held_out)[0] == together[i]
    # One program whatever the number of networks: a second one is not traced per
    # network.
    assert len(traces) - before <= before
    assert len(set(together.tolist())) > 1


def test_the_last_epoch_of_a_fresh_network_is_measured(problem):
    """Network e against training and measuring it by hand."""
    evaluate, _, keys, real, held_out = problem
    sets = random_subsets(keys, real, 2)
    network = smooth_network()
    fit = make_fit(network, TRAINING, CROP)
    key_init, key_fit = jax.random.split(keys[1])
    data = Batch(sets.images[1], sets.labels[1])
    learner, _ = jax.jit(fit)(key_fit, Learner(*network.init(key_init)), data)
    by_hand = jax.jit(lambda m: accuracy(network, m, held_out))(learner)
    np.testing.assert_allclose(evaluate(keys, sets, held_out)[1], by_hand, rtol=1e-5)
    assert by_hand > 50  # chance is 33
