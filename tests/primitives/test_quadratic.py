"""Quadratics of which only products are known."""

import jax
import numpy as np
import pytest

from jaxdd.primitives.quadratic import by_conjugate_gradients


@pytest.mark.parametrize(("size", "rank", "scale"), [(200, 4, 2.5e-4), (50, 1, 1.0)])
@pytest.mark.parametrize("steps", [5, 20, 200])
def test_steps_beyond_the_rank_are_not_taken(size, rank, scale, steps):
    """H = c (1 + J'J) has rank + 1 eigenvalues, and is solved after as many steps."""
    key_j, key_b = jax.random.split(jax.random.key(0))
    jacobian = jax.random.normal(key_j, (rank, size))
    right = scale * jacobian.T @ jax.random.normal(key_b, (rank,))
    multiply = lambda x: scale * (x + jacobian.T @ (jacobian @ x))
    solved = jax.jit(lambda b: by_conjugate_gradients(steps)(multiply, b))(right)
    dense = scale * (np.eye(size) + np.float64(jacobian).T @ np.float64(jacobian))
    expected = np.linalg.solve(dense, np.float64(right))
    error = np.linalg.norm(solved - expected) / np.linalg.norm(expected)
    assert error < 1e-3
