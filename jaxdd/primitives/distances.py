"""Distances between two gradients (pytrees of the same structure).

Source: Zhao, Mopuri, Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021,
eq. (10), and the alternatives of its official code.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdd.trees import global_norm, safe_sqrt, vdot
from jaxdd.types import Array, Params, Scalar

# The official code adds this to the product of the norms.
EPSILON = 1e-6

Distance = Callable[[Params, Params], Scalar]


def rowwise_cosine(real: Params, synthetic: Params) -> Scalar:
    """Sum over tensors and output units of 1 - cosine (DC's "ours").

    The rows of a kernel [..., out] are its output units; tensors of rank 1 (biases,
    norm parameters) count for nothing, as in the official code. A row of zeros
    contributes 1 and no gradient.

    Example:
        >>> g = {"kernel": jnp.eye(3), "bias": jnp.ones(3)}
        >>> round(float(rowwise_cosine(g, jax.tree.map(lambda x: -x, g))), 3)
        6.0
    """

    def tensor(g: Array, h: Array) -> Array:
        if g.ndim < 2:
            return jnp.zeros((), g.dtype)
        g, h = g.reshape(-1, g.shape[-1]), h.reshape(-1, h.shape[-1])
        dot = jnp.sum(g * h, axis=0)
        norms = safe_sqrt(jnp.sum(g * g, axis=0)) * safe_sqrt(jnp.sum(h * h, axis=0))
        return jnp.sum(1 - dot / (norms + EPSILON))

    parts = jax.tree.leaves(jax.tree.map(tensor, real, synthetic))
    return sum(parts, start=jnp.zeros(()))


def squared_error(real: Params, synthetic: Params) -> Scalar:
    """Sum of squared differences over all parameters (DC's "mse")."""
    difference = jax.tree.map(jnp.subtract, synthetic, real)
    return vdot(difference, difference)


def global_cosine(real: Params, synthetic: Params) -> Scalar:
    """1 - cosine of the two gradients as one flat vector each (DC's "cos")."""
    norms = global_norm(real) * global_norm(synthetic)
    return 1 - vdot(real, synthetic) / (norms + EPSILON)


DISTANCES: dict[str, Distance] = {
    "ours": rowwise_cosine,
    "mse": squared_error,
    "cos": global_cosine,
}
