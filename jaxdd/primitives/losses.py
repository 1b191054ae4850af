"""Losses on soft labels, in which a row of zeros is padding."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdd.errors import UserError, choose
from jaxdd.types import Batch, Network, Params, Scalar, Stats


def check_labels(labels: Array, shape: tuple[int, ...] | None = None) -> None:
    """Refuse labels that are class indices, or for other outputs.

    Args:
        labels: floats [B, K].
        shape: of the outputs that they are compared with.

    Raises:
        UserError: they are something else.
    """
    is_float = jnp.issubdtype(labels.dtype, jnp.floating)
    if not is_float or labels.ndim < 2 or shape not in (None, labels.shape):
        beside = "" if shape is None else f" for outputs {list(shape)}"
        raise UserError(
            f"labels must be floats [B, K], a row for each sample{beside}, not "
            f"{labels.dtype} {list(labels.shape)}: jax.nn.one_hot(indices, K) makes "
            "them of class indices"
        )


def per_sample_cross_entropy(
    logits: Float[Array, "B K"], labels: Float[Array, "B K"]
) -> Float[Array, " B"]:
    """Cross-entropy of each row, [B]; exactly zero for a padding row.

    Raises:
        UserError: labels are no [B, K], such as class indices.
    """
    check_labels(labels, logits.shape)
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
    """Mean over rows of half the squared distance (FRePo, Zhou et al. 2022).

    Raises:
        UserError: targets are no [B, K], such as class indices.
    """
    check_labels(targets, outputs.shape)
    squares = 0.5 * jnp.sum(jnp.square(outputs - targets), axis=-1)
    return _mean_over_rows(squares, targets)


def kl_divergence(
    logits: Float[Array, "B K"], labels: Float[Array, "B K"]
) -> Float[Array, ""]:
    """Mean over rows of the Kullback-Leibler divergence of predictions from labels.

    0 where a network predicts the labels. Its gradient is that of the cross-entropy.
    """
    entropy = -jnp.sum(jax.scipy.special.xlogy(labels, labels), axis=-1)
    values = per_sample_cross_entropy(logits, labels) - entropy
    return _mean_over_rows(values, labels)


def _mean_over_rows(values: Array, labels: Array) -> Array:
    """The mean of values [B] over the rows that are no padding."""
    is_sample = jax.lax.stop_gradient(present(labels))
    total = jnp.sum(jnp.where(is_sample, values, 0))
    return total / jnp.maximum(jnp.sum(is_sample), 1)


def _rows(labels: Array) -> Array:
    """The number of rows that are no padding, in the dtype of the labels."""
    return jnp.sum(present(labels)).astype(labels.dtype)


def present(labels: Array) -> Array:
    """Whether labels [..., K] belong to a sample rather than to padding, [...] bool.

    A row of zeros is padding. Those of probabilities sum to their mass, targets may be
    negative.

    Example:
        >>> present(jnp.array([[0.0, 1.0], [0.0, 0.0], [-0.5, 0.0]])).tolist()
        [True, False, True]
    """
    return jnp.any(labels != 0, axis=-1)


# Losses of a training by name. All but the first weigh every row alike.
LOSSES = {
    "cross_entropy": cross_entropy,
    "row_cross_entropy": row_cross_entropy,
    "mse": squared_error,
    "kl": kl_divergence,
}


def tempered(labels: Float[Array, "B K"], temperature: float) -> Float[Array, "B K"]:
    """Labels at a temperature: softmax(z / T), where they are mass * softmax(z).

    A probability of 0 stays 0, and so do the labels of a class.

    Example:
        >>> labels = tempered(jnp.array([[0.8, 0.2], [1.0, 0.0]]), 2.0)
        >>> (100 * labels).round().astype(int).tolist()
        [[67, 33], [100, 0]]
    """
    powers = labels ** (1 / temperature)
    total = jnp.sum(powers, axis=-1, keepdims=True)
    mass = jnp.sum(labels, axis=-1, keepdims=True)
    return powers * mass / jnp.where(total > 0, total, 1)


def at_temperature(name: str, temperature: float) -> Callable[[Array, Array], Array]:
    """A loss of predictions and labels that are both softened by a temperature.

    Without the factor T^2 of Hinton et al. (2015), as in RDED's official code.

    Args:
        name: in `LOSSES`, of those on probabilities.
        temperature: T; 1 for the loss as it is.

    Raises:
        UserError: there is no such loss.
    """
    of_batch = choose("loss", name, LOSSES)
    if temperature == 1:
        return of_batch
    return lambda logits, labels: of_batch(
        logits / temperature, tempered(labels, temperature)
    )


def correct(logits: Float[Array, "B K"], labels: Float[Array, "B K"]) -> Array:
    """1 if the most probable class is the label's, else 0, also for padding, [B]."""
    hit = jnp.argmax(logits, -1) == jnp.argmax(labels, -1)
    return (present(labels) & hit).astype(jnp.float32)


def share(hits: Array, axis: int | None = None) -> Array:
    """The share of ones among zeros and ones, at most 1.

    A compiled mean multiplies by the rounded inverse of the number, so that the mean of
    ones alone may exceed one.

    Example:
        >>> float(share(jnp.ones(24)))
        1.0
    """
    return jnp.minimum(jnp.mean(hits, axis=axis), 1)


def mean_loss(
    network: Network,
    train: bool = False,
    loss: str = "cross_entropy",
    temperature: float = 1.0,
):
    """The mean loss of a network: (params, batch, stats) -> [].

    Running statistics are an argument (the `context` of the primitives' losses), so
    that nothing traced is closed over. With `train`, batch norm uses the statistics of
    the batch; `train` has no effect on networks without batch norm. `loss` is a name in
    `LOSSES`, at a `temperature` as in `at_temperature`. What a batch weighs is in the
    attribute `weight` of the result, see `primitives.gradients`.
    """
    of_batch = at_temperature(loss, temperature)

    def mean(params: Params, batch: Batch, stats: Stats) -> Scalar:
        outputs, _ = network.apply(params, stats, batch.images, train)
        return of_batch(outputs.logits, batch.labels)

    mean.weight = jnp.sum if loss == "cross_entropy" else _rows  # type: ignore[attr-defined]
    return mean
