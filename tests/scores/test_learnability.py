"""Learnability: the loss now minus the loss of networks trained on all data."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.data.real import real_data, take
from jaxdd.scores.learnability import learnability, learnability_scores
from jaxdd.training.fit import Training, make_fit
from jaxdd.types import Learner
from tests.helpers import smooth_network, toy_arrays, toy_real

NETWORK = smooth_network()


def test_it_is_a_difference_of_losses_of_mean_probabilities():
    training, real = Training(2, 0.05, batch_size=12), toy_real()
    keys = jax.random.split(jax.random.key(1), 2)
    learners = jax.vmap(lambda key: Learner(*NETWORK.init(key)))(keys)
    score = jax.jit(learnability_scores(NETWORK, training))
    given = score(jax.random.key(2), learners, real)

    batch = take(real, jnp.arange(36))
    fit = jax.jit(make_fit(NETWORK, training, fetch=take))
    references = []
    for key in jax.random.split(jax.random.key(2), 2):
        key_init, key_fit = jax.random.split(key)
        references.append(fit(key_fit, Learner(*NETWORK.init(key_init)), real)[0])
    losses, now = [], [jax.tree.map(lambda x, i=i: x[i], learners) for i in range(2)]
    for group in (now, references):
        outputs = [NETWORK.apply(m.params, {}, batch.images, False)[0] for m in group]
        p = np.mean([jax.nn.softmax(x.logits) for x in outputs], axis=0)
        losses.append(-np.log(p[np.arange(36), np.asarray(real.labels)]))
    np.testing.assert_allclose(given, losses[0] - losses[1], rtol=1e-4, atol=1e-5)


def test_a_wrong_label_is_hard_and_not_learnable():
    images, labels = toy_arrays((30, 30, 30))
    wrong = labels.copy()
    wrong[:4] = (labels[:4] + 1) % 3
    real = real_data(images, wrong, 3)
    learners = jax.vmap(lambda key: Learner(*NETWORK.init(key)))(
        jax.random.split(jax.random.key(1), 2)
    )
    score = jax.jit(learnability_scores(NETWORK, Training(10, 0.1, batch_size=16)))
    given = np.asarray(score(jax.random.key(2), learners, real))
    assert given[:4].max() < np.median(given[4:])


def test_zero_probabilities_are_finite():
    labels = jnp.array([0])
    sure, wrong = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])
    assert np.isfinite(learnability(wrong, sure, labels)).all()
    assert float(learnability(wrong, sure, labels)[0]) > 20
