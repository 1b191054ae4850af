"""Losses on soft labels, in which a row of zeros is padding."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdd.types import Batch, Network, Params, Scalar, Stats


def per_sample_cross_entropy(
    logits: Float[Array, "B K"], labels: Float[Array, "B K"]
) -> Float[Array, " B"]:
    """Cross-entropy of each row, [B]; exactly zero for a padding row."""
    return -jnp.sum(labels * jax.nn.log_softmax(logits), axis=-1)


def cross_entropy(
    logits: Float[Array, "B K"], labels: Float[Array, "B K"]
) -> Float[Array, ""]:
    """Mean cross-entropy, weighted by label mass; zero for a batch of padding.

    Dividing by the mass rather than by B gives padding no weight. The guard is a
    `where` on the denominator, because 0 * NaN would survive a zero weight.
    """
    mass = jnp.sum(labels)
    return jnp.sum(per_sample_cross_entropy(logits, labels)) / jnp.where(
        mass > 0, mass, 1
    )


def correct(logits: Float[Array, "B K"], labels: Float[Array, "B K"]) -> Array:
    """1 if the most probable class is the label's, else 0, also for padding, [B]."""
    hit = jnp.argmax(logits, -1) == jnp.argmax(labels, -1)
    return jnp.where(jnp.any(labels > 0, axis=-1), hit, False).astype(jnp.float32)


def mean_squared_error(
    outputs: Float[Array, "B K"], targets: Float[Array, "B K"]
) -> Float[Array, ""]:
    """Mean over rows of half the squared distance; rows of zeros are padding."""
    is_row = jnp.any(targets != 0, axis=-1)
    halves = jnp.sum((outputs - targets) ** 2, axis=-1) / 2
    return jnp.sum(jnp.where(is_row, halves, 0)) / jnp.maximum(jnp.sum(is_row), 1)


LOSSES = {"cross_entropy": cross_entropy, "mse": mean_squared_error}


def mean_loss(network: Network, train: bool = False, loss: str = "cross_entropy"):
    """The mean loss of a network: (params, batch, stats) -> [].

    Running statistics are an argument (the `context` of the primitives' losses), so
    that nothing traced is closed over. With `train`, batch norm uses the statistics of
    the batch; `train` has no effect on networks without batch norm.
    """

    of_outputs = LOSSES[loss]

    def value(params: Params, batch: Batch, stats: Stats) -> Scalar:
        outputs, _ = network.apply(params, stats, batch.images, train)
        return of_outputs(outputs.logits, batch.labels)

    return value
