"""Minimising a strictly convex quadratic of which only products are known."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

# (H as a function of a tree, b) -> a tree x that comes close to H x = b.
Minimize: TypeAlias = Callable[[Callable[[Any], Any], Any], Any]


def by_conjugate_gradients(steps: int) -> Minimize:
    """Conjugate gradients from 0: the best x of the first Krylov spaces.

    They end before where the residual is one of rounding alone. Going on would divide
    such residuals by each other, until both are 0 and x is no number.

    Args:
        steps: products with H, at most.

    Example:
        >>> double = lambda x: 2 * x
        >>> by_conjugate_gradients(1)(double, jnp.array([2.0, 4.0])).tolist()
        [1.0, 2.0]
    """

    def minimize(multiply, b):
        rounding = max(float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(b))
        x, _ = jax.scipy.sparse.linalg.cg(multiply, b, tol=rounding, maxiter=steps)
        return x

    return minimize


def by_adam(steps: int, rate: float) -> Minimize:
    """Adam from 0 on x H x / 2 - b x.

    Args:
        steps: updates, with one product each.
        rate: the learning rate of Adam.

    Example:
        >>> half = by_adam(200, rate=0.1)(lambda x: 2 * x, jnp.array([1.0]))
        >>> round(float(half[0]), 2)
        0.5
    """
    optimizer = optax.adam(rate)

    def minimize(multiply, b):
        def one(_, carry):
            x, state = carry
            gradient = jax.tree.map(jnp.subtract, multiply(x), b)
            updates, state = optimizer.update(gradient, state)
            return optax.apply_updates(x, updates), state

        zeros = jax.tree.map(jnp.zeros_like, b)
        return jax.lax.fori_loop(0, steps, one, (zeros, optimizer.init(zeros)))[0]

    return minimize
