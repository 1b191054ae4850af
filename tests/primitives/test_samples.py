"""Distances between samples: their closed forms, weights and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.primitives.samples import (
    KERNELS,
    attention,
    characteristic_distance,
    gaussian,
    squared_mmd,
)

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def in_float64(x64):
    """Everything here is compared to many digits."""


def rows(count, features=5, seed=0, scale=1.0):
    drawn = np.random.default_rng(seed).normal(size=(count, features))
    return jnp.asarray(scale * drawn)


def mmd(name, x, y, x_weights=None, y_weights=None):
    ones = [jnp.ones(len(z)) if w is None else w
            for z, w in ((x, x_weights), (y, y_weights))]  # fmt: skip
    return squared_mmd(KERNELS[name], x, y, *ones)


def cf(x, y, x_weights=None, y_weights=None, frequencies=None, **parts):
    if frequencies is None:
        frequencies = jax.random.normal(KEY, (64, x.shape[1]), x.dtype)
    ones = [jnp.ones(len(z)) if w is None else w
            for z, w in ((x, x_weights), (y, y_weights))]  # fmt: skip
    return characteristic_distance(frequencies, x, y, *ones, **parts)


DISTANCES = {**{k: lambda *a, k=k: mmd(k, *a) for k in KERNELS}, "cf": cf}


def slow_m3d(x, y):
    """M3D's loss from its definition, pair by pair."""
    z = np.concatenate([x, y])
    count = len(z)
    d = np.array([[((a - b) ** 2).sum() for b in z] for a in z])
    spread = d.sum() / (count**2 - count)
    k = sum(np.exp(-d / (spread * 2.0**q)) for q in range(-2, 3))
    n = len(x)
    return k[:n, :n].mean() - 2 * k[:n, n:].mean() + k[n:, n:].mean()


def test_the_gaussian_kernel_is_that_of_m3d():
    x, y = rows(4), rows(7, seed=1) + 0.5
    np.testing.assert_allclose(mmd("gaussian", x, y), slow_m3d(x, y), rtol=1e-12)


def test_the_linear_kernel_compares_means():
    x, y = 100 + rows(4), 100 + rows(7, seed=1)
    means = jnp.sum((x.mean(0) - y.mean(0)) ** 2)
    np.testing.assert_allclose(mmd("linear", x, y), means, rtol=1e-10)


def test_the_polynomial_kernel_compares_two_moments():
    """(a.b + 1)^2 is the product of (a a^T, sqrt(2) a, 1) with the same of b."""
    x, y = rows(4), rows(7, seed=1)
    second = jnp.sum((x.T @ x / 4 - y.T @ y / 7) ** 2)
    first = jnp.sum((x.mean(0) - y.mean(0)) ** 2)
    np.testing.assert_allclose(mmd("polynomial", x, y), second + 2 * first, rtol=1e-10)


def test_two_normal_distributions_have_a_known_discrepancy():
    """Of one kernel exp(-d/s): normal features of the variance 1, a distance m apart.

    The expectation of exp(-(a - b)^2 / s) for a - b ~ N(m, 2) is
    sqrt(s / (s + 4)) exp(-m^2 / (s + 4)).
    """
    s, m = 3.0, 1.5
    kernel = lambda z, weights: jnp.exp(-((z - z.T) ** 2) / s)
    x, y = rows(1500, 1), rows(1500, 1, seed=1) + m
    value = squared_mmd(kernel, x, y, jnp.ones(1500), jnp.ones(1500))
    expected = 2 * np.sqrt(s / (s + 4)) * (1 - np.exp(-(m**2) / (s + 4)))
    np.testing.assert_allclose(value, expected, rtol=0.1)


@pytest.mark.parametrize("name", DISTANCES)
def test_samples_that_agree_are_not_apart(name):
    x = rows(6)
    order = np.random.default_rng(0).permutation(6)
    small = 1e-6 if name == "cf" else 1e-12  # under the root of each frequency
    assert abs(DISTANCES[name](x, x[order])) <= small * (1 + 1e-6)
    for seed in range(3):
        assert DISTANCES[name](x, rows(5, seed=seed + 1)) > 0.01


@pytest.mark.parametrize("name", DISTANCES)
def test_a_weight_of_two_is_a_row_that_is_there_twice(name):
    x, y = rows(3), rows(4, seed=1)
    weights, twice = jnp.array([1.0, 2, 0]), x[np.array([0, 1, 1])]
    given = DISTANCES[name](x, y, weights)
    np.testing.assert_allclose(given, DISTANCES[name](twice, y), rtol=1e-10)
    other_side = DISTANCES[name](y, x, None, weights)
    np.testing.assert_allclose(other_side, DISTANCES[name](y, twice), rtol=1e-10)
    # What a row without weight holds does not matter, and it gets no gradient.
    moved = x.at[2].set(1e3)
    np.testing.assert_allclose(DISTANCES[name](moved, y, weights), given, rtol=1e-9)
    assert not jax.grad(DISTANCES[name])(x, y, weights)[2].any()


@pytest.mark.parametrize("name", DISTANCES)
def test_the_gradient_is_that_of_finite_differences(name):
    x, y, weights = rows(3), rows(4, seed=1), jnp.array([1.0, 0.5, 2])
    one = lambda x: DISTANCES[name](x, y, weights)
    if name == "gaussian":  # whose bandwidth is a constant for the gradient
        constant = 2.0
        kernel = lambda z, w: jnp.exp(-jnp.sum((z[:, None] - z) ** 2, -1) / constant)
        one = lambda x: squared_mmd(kernel, x, y, weights, jnp.ones(4))
    gradient = jax.grad(one)(x)
    for seed in range(2):
        direction = rows(3, seed=seed + 5)
        ahead, behind = (one(x + e * direction) for e in (1e-6, -1e-6))
        along = jnp.vdot(gradient, direction)
        np.testing.assert_allclose((ahead - behind) / 2e-6, along, rtol=1e-6)


def test_the_bandwidth_has_no_gradient():
    """The gradient is that of the same kernel with the bandwidth as a number."""
    x, y = rows(3), rows(4, seed=1)
    z, weights = jnp.concatenate([x, y]), jnp.ones(7)
    d = jnp.sum((z[:, None] - z) ** 2, -1)
    spread = float(jnp.sum(d) / (7**2 - 7))

    def fixed(z, weights):
        d = jnp.sum((z[:, None] - z) ** 2, -1)
        return sum(jnp.exp(-d / (spread * 2.0**q)) for q in range(-2, 3))

    np.testing.assert_allclose(gaussian(z, weights), fixed(z, weights), rtol=1e-10)
    ours = jax.grad(lambda x: mmd("gaussian", x, y))(x)
    theirs = jax.grad(lambda x: squared_mmd(fixed, x, y, jnp.ones(3), jnp.ones(4)))(x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_equal_weights_measure_the_characteristic_functions():
    """With both weights 1 the root is |phi_x - phi_y|, in complex numbers."""
    x, y, t = rows(3), rows(4, seed=1), rows(50, seed=2)
    phi = [jnp.mean(jnp.exp(1j * z @ t.T), 0) for z in (x, y)]
    expected = jnp.mean(jnp.abs(phi[0] - phi[1]))
    given = cf(x, y, frequencies=t, amplitude=1.0, phase=1.0)
    np.testing.assert_allclose(given, expected, rtol=1e-8)
    only = cf(x, y, frequencies=t, amplitude=1.0, phase=0.0)
    moduli = jnp.mean(jnp.abs(jnp.abs(phi[0]) - jnp.abs(phi[1])))
    np.testing.assert_allclose(only, moduli, rtol=1e-6)


def test_the_squared_distance_is_a_discrepancy_in_the_mean():
    """Of the kernel exp(-d / 2), over normal frequencies."""
    x, y = rows(3, scale=0.5), rows(4, seed=1, scale=0.5)
    t = rows(20_000, seed=2)
    square = lambda one: cf(x, y, frequencies=one[None], amplitude=1.0, phase=1.0) ** 2
    sampled = jnp.mean(jax.lax.map(square, t))
    kernel = lambda z, w: jnp.exp(-jnp.sum((z[:, None] - z) ** 2, -1) / 2)
    exact = squared_mmd(kernel, x, y, jnp.ones(3), jnp.ones(4))
    np.testing.assert_allclose(sampled, exact, rtol=0.03)


@pytest.mark.parametrize("name", DISTANCES)
def test_the_gradient_is_finite_where_samples_coincide(name):
    x = jnp.concatenate([rows(2), rows(2)])
    gradient = jax.grad(DISTANCES[name])(x, x)
    assert np.isfinite(gradient).all()
    nothing = jax.grad(DISTANCES[name])(x, x, jnp.zeros(4))
    assert not nothing.any()


@pytest.mark.parametrize("power", [1, 4])
def test_attention_does_not_depend_on_the_scale(power):
    maps = jnp.abs(rows(2, 4 * 4 * 3)).reshape(2, 4, 4, 3)
    given = attention(maps, power)
    assert given.shape == (2, 16)
    scaled = maps * jnp.array([3.0, 0.1])[:, None, None, None]
    np.testing.assert_allclose(attention(scaled, power), given, rtol=1e-12)
    expected = np.asarray(maps[0], float) ** power
    expected = expected.sum(-1).ravel()
    np.testing.assert_allclose(given[0], expected / np.linalg.norm(expected))
    dead = jax.grad(lambda x: attention(x, power).sum())(jnp.zeros_like(maps))
    assert np.isfinite(dead).all()
