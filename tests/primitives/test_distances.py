"""Distances of gradients against slow loops and their defining identities."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from jaxdd.primitives import DISTANCES, rowwise_cosine
from tests.helpers import flat

# As the official code: added to the product of the norms.
EPSILON = 1e-6
SHAPES = {
    "conv": {"kernel": (3, 3, 2, 4), "bias": (4,)},
    "norm": {"scale": (4,), "bias": (4,)},
    "head": {"kernel": (6, 3), "bias": (3,)},
}
ROWS = 4 + 3  # output units of the two kernels


def random_tree(seed):
    rng = np.random.default_rng(seed)
    is_shape = lambda x: isinstance(x, tuple)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        SHAPES,
        is_leaf=is_shape,
    )


def slow_ours(real, synthetic):
    total = 0.0
    leaves = zip(jax.tree.leaves(real), jax.tree.leaves(synthetic), strict=True)
    for g, h in leaves:
        if np.ndim(g) == 1:
            continue
        for unit in range(g.shape[-1]):
            a = np.asarray(g, float)[..., unit].ravel()
            b = np.asarray(h, float)[..., unit].ravel()
            norms = np.linalg.norm(a) * np.linalg.norm(b)
            total += 1 - sum(a * b) / (norms + EPSILON)
    return total


def slow_mse(real, synthetic):
    pairs = zip(flat(real), flat(synthetic), strict=True)
    return sum((h - g) ** 2 for g, h in pairs)


def slow_cos(real, synthetic):
    a, b = flat(real), flat(synthetic)
    return 1 - sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b) + EPSILON)


def slow_l1(real, synthetic):
    return sum(abs(h - g) for g, h in zip(flat(real), flat(synthetic), strict=True))


def slow_l1_mean(real, synthetic, mask=None):
    """Unit by unit: the mean over the entries that the mask keeps of it."""
    total = 0.0
    masks = jax.tree.map(jnp.ones_like, real) if mask is None else mask
    for g, h, m in zip(*map(jax.tree.leaves, (real, synthetic, masks)), strict=True):
        for unit in range(g.shape[-1]):
            kept = np.asarray(m)[..., unit].ravel() > 0
            a = np.asarray(g, float)[..., unit].ravel()[kept]
            b = np.asarray(h, float)[..., unit].ravel()[kept]
            total += np.mean(np.abs(a - b)) if kept.any() else 0.0
    return total


SLOW = {
    "ours": slow_ours,
    "mse": slow_mse,
    "cos": slow_cos,
    "l1": slow_l1,
    "l1_mean": slow_l1_mean,
}


class TestValues(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*DISTANCES)
    def test_value_equals_a_slow_loop(self, name):
        real, synthetic = random_tree(0), random_tree(1)
        value = self.variant(DISTANCES[name])(real, synthetic)
        np.testing.assert_allclose(value, SLOW[name](real, synthetic), rtol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*DISTANCES)
    def test_masked_entries_count_for_nothing(self, name):
        """As in the slow loop over trees in which they are zero on both sides."""
        real, synthetic, mask = random_tree(0), random_tree(1), random_mask()
        distance = self.variant(DISTANCES[name])
        value = distance(real, synthetic, mask)
        if name == "l1_mean":  # its units are divided by what is kept of them
            expected = slow_l1_mean(real, synthetic, mask)
        else:
            expected = SLOW[name](zeroed(real, mask), zeroed(synthetic, mask))
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        other = jax.tree.map(lambda x, m: jnp.where(m > 0, x, 7), synthetic, mask)
        np.testing.assert_allclose(distance(real, other, mask), value, rtol=1e-5)
        ones = jax.tree.map(jnp.ones_like, mask)
        plain = distance(real, synthetic)
        np.testing.assert_allclose(distance(real, synthetic, ones), plain, rtol=1e-6)


def test_epsilon_is_added_to_the_product_of_the_norms():
    tiny = jax.tree.map(lambda x: 1e-4 * x, random_tree(0))
    other = jax.tree.map(lambda x: 1e-4 * x, random_tree(1))
    for name in ("ours", "cos"):
        value, expected = DISTANCES[name](tiny, other), SLOW[name](tiny, other)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        large = SLOW[name](random_tree(0), random_tree(1))
        assert abs(expected - large) > 1e-3 * large  # here epsilon matters


@pytest.mark.parametrize("which", ["real", "synthetic", "both"])
def test_a_row_of_zeros_contributes_one_and_a_real_row_pulls_by_a_million(which):
    """1 - <g, h> / (|g| |h| + 1e-6) at h = 0, where |h| has the derivative 0."""
    real, synthetic = random_tree(0), random_tree(1)
    before = rowwise_cosine(real, synthetic)

    def without_row(tree):
        kernel = tree["head"]["kernel"].at[:, 1].set(0)
        return {**tree, "head": {**tree["head"], "kernel": kernel}}

    a, b = real["head"]["kernel"][:, 1], synthetic["head"]["kernel"][:, 1]
    cosine = a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b))
    if which != "synthetic":
        real = without_row(real)
    if which != "real":
        synthetic = without_row(synthetic)
    both = jax.jit(jax.value_and_grad(rowwise_cosine, argnums=1))
    value, gradient = both(real, synthetic)
    np.testing.assert_allclose(value, before + cosine, rtol=1e-5)
    chex.assert_tree_all_finite(gradient)
    row = gradient["head"]["kernel"][:, 1]
    expected = -1e6 * real["head"]["kernel"][:, 1] if which == "synthetic" else 0 * row
    np.testing.assert_allclose(row, expected, rtol=1e-5)


def random_mask(seed=3):
    rng = np.random.default_rng(seed)
    keep = lambda x: jnp.asarray(rng.random(x.shape) < 0.6, x.dtype)
    return jax.tree.map(keep, random_tree(0))


def zeroed(tree, mask):
    return jax.tree.map(lambda x, m: jnp.where(m > 0, x, 0), tree, mask)


def test_a_row_that_the_mask_drops_counts_zero():
    """And not 1, as a row of zeros that is matched."""
    real, synthetic = random_tree(0), random_tree(1)
    mask = jax.tree.map(jnp.ones_like, real)
    mask["head"]["kernel"] = mask["head"]["kernel"].at[:, 1].set(0)
    a, b = (np.asarray(t["head"]["kernel"], float)[:, 1] for t in (real, synthetic))
    row = 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    both = jax.jit(jax.value_and_grad(rowwise_cosine, argnums=1))
    value, gradient = both(real, synthetic, mask)
    np.testing.assert_allclose(value, slow_ours(real, synthetic) - row, rtol=1e-5)
    chex.assert_tree_all_finite(gradient)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_mask_of_scalars_drops_whole_tensors(name):
    """The masks by path have one number per tensor."""
    real, synthetic = random_tree(0), random_tree(1)
    scalars = jax.tree.map(lambda x: jnp.float32(x.shape[-1] == 4), real)
    whole = jax.tree.map(lambda x, m: jnp.full_like(x, m), real, scalars)
    one, other = (DISTANCES[name](real, synthetic, m) for m in (scalars, whole))
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert one < DISTANCES[name](real, synthetic) or name == "cos"


@pytest.mark.parametrize("name", DISTANCES)
def test_a_mask_that_drops_everything_is_finite(name):
    real, synthetic = random_tree(0), random_tree(1)
    nothing = jax.tree.map(jnp.zeros_like, real)
    both = jax.jit(jax.value_and_grad(DISTANCES[name], argnums=1))
    value, gradient = both(real, synthetic, nothing)
    assert float(value) == (1 if name == "cos" else 0)
    assert not np.any(flat(gradient))
