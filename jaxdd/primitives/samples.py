"""Distances between two samples of vectors, whose rows have weights.

A weight of two counts like a row that is there twice, a weight of zero like a row that
is not there; only the row must not hold infinite values.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdd.primitives.trees import safe_sqrt
from jaxdd.types import Scalar

# Bandwidths of the Gaussian kernel, as factors of the mean squared distance (M3D).
BANDWIDTHS = tuple(2.0**q for q in range(-2, 3))
# Under the roots of a characteristic function, whose slope at zero is infinite (ours).
EPSILON = 1e-12
# Products of long vectors whose differences matter are not rounded to bfloat16.
HIGHEST = jax.lax.Precision.HIGHEST

Rows = Float[Array, "n F"]
Weights = Float[Array, " n"]
# Of the second sample.
Others, OtherWeights = Float[Array, "m F"], Float[Array, " m"]
# (rows [N, F], weights [N]) -> [N, N], the kernel between all pairs of rows.
Kernel = Callable[[Rows, Weights], Float[Array, "N N"]]


def shares(weights: Weights) -> Weights:
    """Weights that sum to one; all zero where there is no mass."""
    mass = jnp.sum(weights)
    return weights / jnp.where(mass > 0, mass, 1)


def unit_rows(x: Rows) -> Rows:
    """Rows divided by their L2 norm; a row of zeros stays, and gets no gradient.

    Example:
        >>> unit_rows(jnp.array([[3.0, 4.0], [0.0, 0.0]])).round(1).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    norm = safe_sqrt(jnp.sum(x**2, axis=-1, keepdims=True))
    return x / jnp.where(norm > 0, norm, 1)


def _products(x: Rows) -> Array:
    return jnp.matmul(x, x.T, precision=HIGHEST)


def _centred(x: Rows, weights: Weights) -> Rows:
    return x - jax.lax.stop_gradient(shares(weights) @ x)[None]


def linear(x: Rows, weights: Weights) -> Array:
    """The inner products of all pairs, after a shift by the mean.

    A shift changes no discrepancy, and without it large means would cost digits.
    """
    return _products(_centred(x, weights))


def polynomial(x: Rows, weights: Weights) -> Array:
    """The squares of one plus the inner products of all pairs."""
    del weights
    return (_products(x) + 1) ** 2


def gaussian(x: Rows, weights: Weights) -> Array:
    """The sum of five Gaussians, whose bandwidths follow from the rows (M3D's code).

    exp(-d / (b * 2^q)) for q from -2 to 2, where d is the squared distance of a pair
    and b the mean of d over all pairs of different rows. There is no gradient through
    the bandwidth.

    Example:
        >>> kernel = gaussian(jnp.array([[0.0], [1.0], [1.0]]), jnp.ones(3))
        >>> kernel.diagonal().tolist()
        [5.0, 5.0, 5.0]
    """
    distances = squared_distances(x, weights)
    counted = weights[:, None] * weights[None]
    mass = jnp.sum(weights)
    # N^2 - N ordered pairs of N different rows; soft labels may sum to less than one.
    pairs = mass**2 - mass
    pairs = jnp.where(pairs > 0, pairs, mass**2)
    spread = jnp.sum(counted * distances) / jnp.where(pairs > 0, pairs, 1)
    spread = jax.lax.stop_gradient(jnp.where(spread > 0, spread, 1))
    return sum(
        (jnp.exp(-distances / (spread * factor)) for factor in BANDWIDTHS),
        start=jnp.zeros_like(distances),
    )


def squared_distances(x: Rows, weights: Weights) -> Array:
    """|x_i - x_j|^2 of all pairs of rows, [N, N], never negative.

    The rows are first shifted by their mean, because the differences of large squares
    would lose digits.
    """
    x = _centred(x, weights)
    products = _products(x)
    squares = jnp.sum(x**2, axis=-1)
    off_diagonal = ~jnp.eye(x.shape[0], dtype=bool)
    distances = squares[:, None] + squares[None] - 2 * products
    return jnp.where(off_diagonal, jnp.maximum(distances, 0), 0)


KERNELS: dict[str, Kernel] = {
    "gaussian": gaussian,
    "linear": linear,
    "polynomial": polynomial,
}


def squared_mmd(
    kernel: Kernel,
    x: Rows,
    y: Others,
    x_weights: Weights,
    y_weights: OtherWeights,
) -> Scalar:
    """The squared maximum mean discrepancy, mean K_xx - 2 mean K_xy + mean K_yy.

    The biased estimate, with the diagonals, as in M3D: Zhang et al., "M3D: Dataset
    Condensation by Minimizing Maximum Mean Discrepancy", AAAI 2024. With the linear
    kernel it is the squared distance of the means.

    Args:
        kernel: one of `KERNELS`, a function of all rows together.
        x, y: the samples, [n, F] and [m, F].
        x_weights, y_weights: [n] and [m], not negative.

    Example:
        >>> x, y = jnp.array([[0.0], [2.0]]), jnp.array([[4.0]])
        >>> float(squared_mmd(linear, x, y, jnp.ones(2), jnp.ones(1)))
        9.0
    """
    rows = jnp.concatenate([x, y])
    pairs = kernel(rows, jnp.concatenate([x_weights, y_weights]))
    signed = jnp.concatenate([shares(x_weights), -shares(y_weights)])
    return jnp.sum(signed[:, None] * signed[None] * pairs)


def characteristic_distance(
    frequencies: Float[Array, "M F"],
    x: Rows,
    y: Others,
    x_weights: Weights,
    y_weights: OtherWeights,
    amplitude: float = 0.5,
    phase: float = 0.5,
) -> Scalar:
    """How far the characteristic functions of two samples are apart.

    The mean over frequencies t of sqrt(amplitude * (A_x - A_y)^2 + phase * P), where
    phi(t) = mean exp(i t.x) has the modulus A, and P = 2 (A_x A_y - Re phi_x phi_y*)
    says how much the angles differ. With both weights 1 the radicand is
    |phi_x - phi_y|^2, whose mean over normal frequencies is the squared MMD of the
    kernel exp(-|a - b|^2 / 2). Wang et al., "Dataset Distillation with Neural
    Characteristic Function" (NCFM), CVPR 2025, official code; here both parts are
    computed from differences and roots have a finite slope (ours).

    Args:
        frequencies: [M, F].
        x, y: the samples, [n, F] and [m, F].
        x_weights, y_weights: [n] and [m], not negative.
        amplitude, phase: the weights of both parts.

    Example:
        >>> t, x, one = jnp.array([[1.0]]), jnp.zeros((1, 1)), jnp.ones(1)
        >>> opposite = characteristic_distance(t, x, x + jnp.pi, one, one, 1.0, 1.0)
        >>> round(float(opposite), 5)
        2.0
    """

    def parts(rows: Array, weights: Array) -> tuple[Array, Array, Array]:
        angles = jnp.matmul(rows, frequencies.T, precision=HIGHEST)  # [n, M]
        share = shares(weights)
        real, imaginary = share @ jnp.cos(angles), share @ jnp.sin(angles)
        return real, imaginary, jnp.sqrt(real**2 + imaginary**2 + EPSILON)

    real_x, imaginary_x, modulus_x = parts(x, x_weights)
    real_y, imaginary_y, modulus_y = parts(y, y_weights)
    by_modulus = (modulus_x - modulus_y) ** 2
    whole = (real_x - real_y) ** 2 + (imaginary_x - imaginary_y) ** 2
    by_angle = jnp.maximum(whole - by_modulus, 0)
    return jnp.mean(jnp.sqrt(amplitude * by_modulus + phase * by_angle + EPSILON))


def attention(maps: Float[Array, "B H W C"], power: int) -> Float[Array, "B P"]:
    """Where a block of a network looks: |activation|^power, summed over channels.

    One vector of length 1 per image, over the places of the map, so that the scale of
    an image's activations does not matter. Sajedi, Khaki et al., "DataDAM: Efficient
    Dataset Distillation with Attention Matching", ICCV 2023, eq. (2).

    Example:
        >>> attention(jnp.ones((1, 2, 2, 3)), 4).tolist()
        [[0.5, 0.5, 0.5, 0.5]]
    """
    summed = jnp.sum(jnp.abs(maps) ** power, axis=-1)
    return unit_rows(summed.reshape(summed.shape[0], -1))
