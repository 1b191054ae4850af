"""Kernel ridge regression: kernels, the ridge, and a solve that is checked."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxdd.types import Array, Scalar

# Relative residual above which a solve counts as failed (ours): that of a solve in
# float32 stays far below it as long as the factorisation means anything.
LARGEST_RESIDUAL = 1e-2


class Solved(NamedTuple):
    """The solution of a linear system, and how well it solves it."""

    solution: Array  # [N, K]
    # |A Z - Y| / |Y|, without a gradient; infinite where the solve failed.
    residual: Scalar


def gram(a: Array, b: Array, /) -> Array:
    """Inner products of the rows of two sets of features.

    At the highest precision, whatever that of the networks is: the ridge of a kernel is
    near the resolution of float32.

    Args:
        a: [A, F].
        b: [B, F].

    Returns:
        [A, B].

    Example:
        >>> gram(jnp.eye(2), jnp.ones((1, 2))).tolist()
        [[1.0], [1.0]]
    """
    return jnp.matmul(a, b.T, precision=lax.Precision.HIGHEST)


def relative_ridge(kernel: Array, share: float, rows: Array) -> Scalar:
    """The ridge as a share of the mean diagonal entry of a kernel.

    Args:
        kernel: [N, N]; rows of padding are zero.
        share: lambda of FRePo, 1e-6 in its official code.
        rows: [] the number of rows that are no padding.

    Example:
        >>> float(relative_ridge(4 * jnp.eye(2), 0.5, jnp.float32(2)))
        2.0
    """
    return share * jnp.trace(kernel) / jnp.maximum(rows, 1)


def solve_ridge(kernel: Array, ridge: Scalar, targets: Array) -> Solved:
    """Solve (kernel + ridge I) Z = targets by Cholesky.

    A row of padding, which is zero in the kernel and in the targets, is zero in the
    solution and changes no other row.

    Args:
        kernel: [N, N], symmetric and positive semidefinite.
        ridge: [], positive.
        targets: [N, K].

    Returns:
        The solution [N, K], which can be differentiated, and the relative residual. It
        is infinite where it exceeds `LARGEST_RESIDUAL` or is no number.

    Example:
        >>> solved = solve_ridge(jnp.eye(2), jnp.float32(1), jnp.eye(2))
        >>> solved.solution.round(6).tolist(), bool(solved.residual < 1e-6)
        ([[0.5, 0.0], [0.0, 0.5]], True)
    """
    system = kernel + ridge * jnp.eye(kernel.shape[0], dtype=kernel.dtype)
    solution = jax.scipy.linalg.solve(system, targets, assume_a="pos")
    missed = gram(system, solution.T) - targets
    scale = jnp.linalg.norm(targets)
    residual = jnp.linalg.norm(missed) / jnp.where(scale > 0, scale, 1)
    sound = residual <= LARGEST_RESIDUAL  # False for no number
    checked = jnp.where(sound, lax.stop_gradient(residual), jnp.inf)
    return Solved(solution, lax.stop_gradient(checked))
