"""Distances between two gradients (pytrees of the same structure).

Source: Zhao, Mopuri, Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021,
eq. (10), the alternatives of its official code, and those of IDC.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdd.primitives.trees import apply_mask, global_norm, safe_sqrt, total, vdot
from jaxdd.types import Array, Params, Scalar

# The official code adds this to the product of the norms.
EPSILON = 1e-6

# (real, synthetic, 0/1 mask or None) -> []; masked entries do not count.
Distance = Callable[..., Scalar]


def rowwise_cosine(real: Params, synthetic: Params, mask: Params = None) -> Scalar:
    """Sum over tensors and output units of 1 - cosine (DC's "ours").

    The rows of a kernel [..., out] are its output units; tensors of rank 1 (biases,
    norm parameters) do not count, as in the official code. A row where one side is
    zero contributes 1. If that is the synthetic side, the gradient w.r.t. it is -1e6
    times the real row, because only `EPSILON` is left in the denominator (also as in
    the official code); if it is the real side, the gradient is zero. A masked row
    contributes 0.

    Example:
        >>> g = {"kernel": jnp.eye(3), "bias": jnp.ones(3)}
        >>> round(float(rowwise_cosine(g, jax.tree.map(lambda x: -x, g))), 3)
        6.0
    """

    def tensor(g: Array, h: Array, m: Array) -> Array:
        if g.ndim < 2:
            return jnp.zeros((), g.dtype)
        m = jnp.broadcast_to(m, g.shape).reshape(-1, g.shape[-1])
        g, h = g.reshape(-1, g.shape[-1]) * m, h.reshape(-1, h.shape[-1]) * m
        dot = jnp.sum(g * h, axis=0)
        norms = safe_sqrt(jnp.sum(g * g, axis=0)) * safe_sqrt(jnp.sum(h * h, axis=0))
        return jnp.sum(jnp.any(m > 0, axis=0) * (1 - dot / (norms + EPSILON)))

    if mask is None:
        mask = jax.tree.map(lambda x: jnp.ones((), x.dtype), real)
    return total(jax.tree.map(tensor, real, synthetic, mask))


def squared_error(real: Params, synthetic: Params, mask: Params = None) -> Scalar:
    """Sum of squared differences over all parameters (DC's "mse")."""
    difference = jax.tree.map(jnp.subtract, synthetic, real)
    if mask is not None:
        difference = apply_mask(mask, difference)
    return vdot(difference, difference)


def global_cosine(real: Params, synthetic: Params, mask: Params = None) -> Scalar:
    """1 - cosine of the two gradients as one flat vector each (DC's "cos")."""
    if mask is not None:
        real, synthetic = apply_mask(mask, real), apply_mask(mask, synthetic)
    norms = global_norm(real) * global_norm(synthetic)
    return 1 - vdot(real, synthetic) / (norms + EPSILON)


def _absolute(x: Array) -> Array:
    """|x| with the derivative 0 at 0, whereas that of `jnp.abs` is 1."""
    return x * jax.lax.stop_gradient(jnp.sign(x))


def absolute_error(real: Params, synthetic: Params, mask: Params = None) -> Scalar:
    """Sum of absolute differences over all parameters (IDC's "l1")."""
    difference = jax.tree.map(jnp.subtract, synthetic, real)
    if mask is not None:
        difference = apply_mask(mask, difference)
    return total(jax.tree.map(_absolute, difference))


def mean_absolute_error(real: Params, synthetic: Params, mask: Params = None) -> Scalar:
    """Mean absolute difference of each output unit, summed over units and tensors.

    IDC's "l1_mean". A unit is a row of a kernel as in `rowwise_cosine`, or an entry of
    a tensor of rank 1; the mean is taken over its unmasked entries.
    """

    def tensor(g: Array, h: Array, m: Array) -> Array:
        m = jnp.broadcast_to(m, g.shape).reshape(-1, g.shape[-1])
        sums = jnp.sum(_absolute(g - h).reshape(m.shape) * m, axis=0)
        return jnp.sum(sums / jnp.maximum(jnp.sum(m, axis=0), 1))

    if mask is None:
        mask = jax.tree.map(lambda x: jnp.ones((), x.dtype), real)
    return total(jax.tree.map(tensor, real, synthetic, mask))


DISTANCES: dict[str, Distance] = {
    "ours": rowwise_cosine,
    "mse": squared_error,
    "cos": global_cosine,
    "l1": absolute_error,
    "l1_mean": mean_absolute_error,
}
