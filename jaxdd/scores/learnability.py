"""Learnability: what is not learned yet and can be."""

import jax
import jax.numpy as jnp

from jaxdd.data.real import take
from jaxdd.devices import policy
from jaxdd.training.fit import Training, make_ensemble, make_fit
from jaxdd.types import Array, Key, Learner, Network, RealData

# Samples per forward pass.
CHUNK = 100
# The least probability of a class, so that losses are finite.
TINY = 1e-12


def mean_probabilities(network: Network, learners: Learner, real: RealData) -> Array:
    """Mean probabilities [M, K] of all samples under an ensemble, not only in play.

    Args:
        network: the architecture.
        learners: [E, ...].
        real: the samples.
    """

    def add(total: Array, learner: Learner) -> tuple[Array, None]:
        def of_chunk(index: Array) -> Array:
            images = take(real, index).images
            outputs, _ = network.apply(learner.params, learner.stats, images, False)
            return jax.nn.softmax(outputs.logits)

        count = real.labels.shape[0]
        return total + policy.map_chunks(of_chunk, count, CHUNK), None

    shape = real.labels.shape[0], real.table.shape[0]
    zeros = jnp.zeros(shape, real.scale.dtype)
    summed, _ = jax.lax.scan(add, zeros, learners)
    return summed / jax.tree.leaves(learners)[0].shape[0]


def learnability(now: Array, reference: Array, labels: Array) -> Array:
    """The loss now minus the loss under a reference, in nats, [M].

    Large where a sample is not learned yet and can be: noise, which is hard under the
    reference too, scores low. Mindermann et al., "Prioritized Training on Points that
    are Learnable, Worth Learning, and Not Yet Learnt", ICML 2022, eq. (3); here the
    losses are those of the mean probabilities of two ensembles (ours).

    Args:
        now: [M, K] probabilities, of networks that have not learned everything.
        reference: [M, K], of networks trained on all data.
        labels: [M] int.

    Example:
        >>> labels = jnp.array([0, 0])
        >>> now = jnp.array([[0.5, 0.5], [0.5, 0.5]])
        >>> reference = jnp.array([[1.0, 0.0], [0.25, 0.75]])
        >>> [round(float(x), 2) for x in learnability(now, reference, labels)]
        [0.69, -0.69]
    """

    def loss(probabilities: Array) -> Array:
        own = jax.nn.one_hot(labels, probabilities.shape[-1], dtype=bool)
        return -jnp.log(jnp.sum(jnp.where(own, probabilities, 0), axis=-1) + TINY)

    return loss(now) - loss(reference)


def make_references(
    network: Network, training: Training, microbatch: int | None = None
):
    """Build the reference: an ensemble of networks trained on all data.

    Args:
        network: the architecture.
        training: of each network, without an augmentation.
        microbatch: samples per chunk of its gradients.

    Returns:
        (keys [E], real) -> mean probabilities [M, K]. Pure, not jitted.

    Example:
        >>> references = make_references(network, jaxdd.Training(1))
        >>> references(jax.random.split(key, 2), real).shape
        (12, 3)
    """
    fit = make_fit(network, training, fetch=take, microbatch=microbatch)
    ensemble = make_ensemble(network, fit)
    return lambda keys, real: mean_probabilities(network, ensemble(keys, real), real)


def learnability_scores(network: Network, training: Training):
    """Build the score of a dataset: how much easier its samples are after training.

    Args:
        network: the architecture.
        training: of the references on all data.

    Returns:
        (key, learners [E, ...], real) -> [M], see `learnability`; the learners are the
        networks now, and E references are trained. Pure, not jitted.

    Example:
        >>> learners = jax.tree.map(lambda x: x[None], learner)
        >>> scores = learnability_scores(network, jaxdd.Training(1))
        >>> scores(key, learners, real).shape
        (12,)
    """
    references = make_references(network, training)

    def scores(key: Key, learners: Learner, real: RealData) -> Array:
        keys = jax.random.split(key, jax.tree.leaves(learners)[0].shape[0])
        now = mean_probabilities(network, learners, real)
        return learnability(now, references(keys, real), real.labels)

    return scores
