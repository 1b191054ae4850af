"""Scores of a sample from one forward pass.

Every score takes (network, learner, batch) and returns [B], larger for harder samples
and zero for padding rows. Networks are applied as in evaluation.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdd.primitives.losses import per_sample_cross_entropy, present
from jaxdd.primitives.trees import aligned
from jaxdd.types import Array, Batch, Learner, Network, Outputs

BatchScore = Callable[[Network, Learner, Batch], Array]


def score_of_outputs(score: Callable[[Outputs, Array], Array]) -> BatchScore:
    """The score of a batch from a score of the network's outputs.

    Args:
        score: (outputs, labels [B, K]) -> [B].
    """

    def compute(network: Network, learner: Learner, batch: Batch) -> Array:
        outputs, _ = network.apply(learner.params, learner.stats, batch.images, False)
        return jnp.where(present(batch.labels), score(outputs, batch.labels), 0)

    compute.__name__, compute.__doc__ = score.__name__, score.__doc__
    return compute


def _error(outputs: Outputs, labels: Array) -> Array:
    return jnp.linalg.norm(jax.nn.softmax(outputs.logits) - labels, axis=-1)


@score_of_outputs
def el2n(outputs: Outputs, labels: Array) -> Array:
    """|p - y|, meant early in training (Paul et al., NeurIPS 2021)."""
    return _error(outputs, labels)


@score_of_outputs
def grand(outputs: Outputs, labels: Array) -> Array:
    """The gradient norm of the classifier only, |p - y| sqrt(1 + |h|^2).

    Paul et al., NeurIPS 2021, define GraNd by all parameters, which is `grad_norm`.
    """
    squares = jnp.sum(outputs.features[-1] ** 2, axis=-1)
    return _error(outputs, labels) * jnp.sqrt(1 + squares)


@score_of_outputs
def loss(outputs: Outputs, labels: Array) -> Array:
    """The cross-entropy, in nats."""
    return per_sample_cross_entropy(outputs.logits, labels)


@score_of_outputs
def error_probability(outputs: Outputs, labels: Array) -> Array:
    """1 - p(y), in [0, 1].

    Swayamdipta et al., EMNLP 2020, call the average of p(y) a sample's confidence.
    """
    # The mass of the other classes, so that 1 - 0.99999999 does not round to zero.
    return jnp.sum(jax.nn.softmax(outputs.logits) * (1 - labels), axis=-1)


@score_of_outputs
def entropy(outputs: Outputs, labels: Array) -> Array:
    """The prediction's entropy, in nats.

    High where the network is undecided, right or wrong: like `fisher.fisher_traces`,
    it ignores the label.
    """
    log_p = jax.nn.log_softmax(outputs.logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


@score_of_outputs
def margin(outputs: Outputs, labels: Array) -> Array:
    """The largest wrong probability minus that of the right class, in [-1, 1]."""
    p = jax.nn.softmax(outputs.logits)
    own_class = jnp.argmax(labels, -1, keepdims=True)
    is_own = aligned(jnp.arange(p.shape[-1]), own_class) == own_class
    own = jnp.sum(jnp.where(is_own, p, 0), axis=-1)
    other = jnp.max(jnp.where(is_own, 0, p), axis=-1)
    return other - own
