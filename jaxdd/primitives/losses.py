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


def row_cross_entropy(
    logits: Float[Array, "B K"], labels: Float[Array, "B K"]
) -> Float[Array, ""]:
    """Mean over rows of the cross-entropy with labels of any mass, as they are.

    Feng, Vedantam, Kempe, ICLR 2024 (RaT-BPTT): learned labels are not normalised.
    """
    return _mean_over_rows(per_sample_cross_entropy(logits, labels), labels)


def squared_error(
    outputs: Float[Array, "B K"], targets: Float[Array, "B K"]
) -> Float[Array, ""]:
    """Mean over rows of half the squared distance (FRePo, Zhou et al. 2022)."""
    squares = 0.5 * jnp.sum(jnp.square(outputs - targets), axis=-1)
    return _mean_over_rows(squares, targets)


def _mean_over_rows(values: Array, labels: Array) -> Array:
    """The mean of values [B] over the rows that are no padding."""
    present = jax.lax.stop_gradient(jnp.any(labels != 0, axis=-1))
    total = jnp.sum(jnp.where(present, values, 0))
    return total / jnp.maximum(jnp.sum(present), 1)


# Losses of a training by name. The last two weigh every row alike.
LOSSES = {
    "cross_entropy": cross_entropy,
    "row_cross_entropy": row_cross_entropy,
    "mse": squared_error,
}


def correct(logits: Float[Array, "B K"], labels: Float[Array, "B K"]) -> Array:
    """1 if the most probable class is the label's, else 0, also for padding, [B]."""
    hit = jnp.argmax(logits, -1) == jnp.argmax(labels, -1)
    return jnp.where(jnp.any(labels > 0, axis=-1), hit, False).astype(jnp.float32)


def mean_loss(network: Network, train: bool = False, loss: str = "cross_entropy"):
    """The mean loss of a network: (params, batch, stats) -> [].

    Running statistics are an argument (the `context` of the primitives' losses), so
    that nothing traced is closed over. With `train`, batch norm uses the statistics of
    the batch; `train` has no effect on networks without batch norm. `loss` is a name in
    `LOSSES`.
    """
    of_batch = LOSSES[loss]

    def mean(params: Params, batch: Batch, stats: Stats) -> Scalar:
        outputs, _ = network.apply(params, stats, batch.images, train)
        return of_batch(outputs.logits, batch.labels)

    return mean
