"""Safe norms, named leaves, masks by path."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.primitives.trees import (
    apply_mask,
    from_named_leaves,
    global_norm,
    named_leaves,
    safe_sqrt,
    select,
    vdot,
)

TREE = {
    "block0": {"conv": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}},
    "head": {"kernel": jnp.full((3, 2), 2.0), "bias": jnp.zeros(2)},
}
PATHS = ["block0/conv/bias", "block0/conv/kernel", "head/bias", "head/kernel"]


class TestNormAndProduct(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_they_equal_those_of_the_flat_vectors(self):
        flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(TREE)])
        norm, product = self.variant(global_norm)(TREE), self.variant(vdot)
        np.testing.assert_allclose(norm, np.linalg.norm(flat), rtol=1e-6)
        twice = jax.tree.map(lambda x: 2 * x, TREE)
        np.testing.assert_allclose(product(TREE, twice), 2 * flat @ flat, rtol=1e-6)


def test_norms_have_gradient_zero_at_zero_and_the_unit_vector_elsewhere():
    zero = jax.tree.map(jnp.zeros_like, TREE)
    chex.assert_trees_all_equal(jax.grad(global_norm)(zero), zero)
    assert float(global_norm(jax.grad(global_norm)(TREE))) == pytest.approx(1)
    assert jax.grad(safe_sqrt)(jnp.zeros(())) == 0
    assert jax.grad(safe_sqrt)(jnp.float32(4)) == 0.25
    assert safe_sqrt(jnp.zeros(())) == 0
    assert jnp.isnan(safe_sqrt(jnp.array(jnp.nan)))
    assert jnp.isnan(global_norm({"a": jnp.array([1.0, jnp.nan])}))


def test_selected_and_masked_trees():
    a = {"x": jnp.ones(3), "key": jax.random.key(1)}
    b = {"x": jnp.zeros(3), "key": jax.random.key(2)}
    for predicate, expected in ((True, a), (False, b)):
        chosen = select(jnp.bool_(predicate), a, b)
        bits = lambda tree: {**tree, "key": jax.random.key_data(tree["key"])}
        chex.assert_trees_all_equal(bits(chosen), bits(expected))
    zeros = jax.tree.map(lambda x: jnp.float32(0), TREE)
    ones = jax.tree.map(lambda x: jnp.float32(1), TREE)
    masked = apply_mask({**zeros, "head": ones["head"]}, TREE)
    assert not np.any(masked["block0"]["conv"]["kernel"])
    assert np.array_equal(masked["head"]["kernel"], TREE["head"]["kernel"])


def test_named_leaves_round_trip_and_missing_ones_are_named():
    named = named_leaves(TREE)
    assert list(named) == PATHS
    back = from_named_leaves(TREE, dict(reversed(named.items())))
    chex.assert_trees_all_equal(back, TREE)
    named = named_leaves(TREE)
    del named["head/bias"]
    with pytest.raises(KeyError, match="head/bias"):
        from_named_leaves(TREE, named)
