"""Norms against NumPy formulas, running statistics, initial values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.errors import UserError
from jaxdd.nets import make_network
from jaxdd.nets.layers import ACTIVATIONS, EPSILON, Norm, standardize

X = np.random.default_rng(0).normal(2.0, 3.0, (3, 5, 4, 8)).astype(np.float32)
SCALE = np.linspace(0.5, 2, 8, dtype=np.float32)
BIAS = np.linspace(-1, 1, 8, dtype=np.float32)


def normalised(x, axes):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


def apply_norm(kind, scale=SCALE, bias=BIAS):
    params = {"params": {"scale": scale, "bias": bias}}
    return Norm(kind).apply(params, jnp.asarray(X), True)


def test_norms_over_groups_and_elements():
    expected = normalised(X, (1, 2)) * SCALE + BIAS
    np.testing.assert_allclose(apply_norm("instance"), expected, atol=1e-5)
    groups = X.reshape(3, 5, 4, 4, 2)
    expected = normalised(groups, (1, 2, 4)).reshape(X.shape) * SCALE + BIAS
    np.testing.assert_allclose(apply_norm("group"), expected, atol=1e-5)
    scale = np.random.default_rng(1).normal(size=X.shape[1:]).astype(np.float32)
    expected = normalised(X, (1, 2, 3)) * scale + 1
    actual = apply_norm("layer", scale, np.ones_like(scale))
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    shapes = jax.eval_shape(
        lambda x: Norm("layer").init(jax.random.key(0), x, True), jnp.asarray(X)
    )
    assert shapes["params"]["scale"].shape == X.shape[1:]


@pytest.mark.parametrize("axes", [(1, 2), (1, 2, 3)])
def test_derivatives_of_a_standardisation_up_to_the_third(axes, x64):
    """Its own rule against automatic derivatives of the definition."""

    def defined(x):
        centred = x - x.mean(axes, keepdims=True)
        variance = jnp.square(centred).mean(axes, keepdims=True)
        return centred / jnp.sqrt(variance + EPSILON)

    rng = np.random.default_rng(1)
    x, weights, u, v = (jnp.asarray(rng.normal(size=X.shape)) for _ in range(4))

    def derivatives(function):
        value = lambda x: jnp.sum(weights * function(x) ** 3)
        first = jax.grad(value)
        second = lambda x: jax.jvp(first, (x,), (u,))[1]
        third = jax.grad(lambda x: jnp.vdot(second(x), v))
        return first(x), second(x), third(x)

    ours = derivatives(lambda x: standardize(x, axes))
    for found, expected in zip(ours, derivatives(defined), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_unknown_norm_is_refused():
    with pytest.raises(UserError, match="norm='spectral' is not one of instance"):
        Norm("spectral").init(jax.random.key(0), jnp.asarray(X), True)


def test_batch_norm_in_training():
    stats = {"statistics": {"mean": jnp.full(8, 5.0), "variance": jnp.full(8, 7.0)}}
    y, new = Norm("batch").apply(
        {"params": {"scale": SCALE, "bias": BIAS}, "batch_stats": stats},
        jnp.asarray(X),
        True,
        mutable=["batch_stats"],
    )
    expected = normalised(X, (0, 1, 2)) * SCALE + BIAS
    np.testing.assert_allclose(y, expected, atol=1e-5)
    new = new["batch_stats"]["statistics"]
    unbiased = X.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(new["mean"], 4.5 + 0.1 * X.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(new["variance"], 6.3 + 0.1 * unbiased, rtol=1e-5)


def test_batch_norm_in_evaluation_sees_one_image_at_a_time():
    network = make_network("convnet_bn", (8, 8, 1), 3, width=8, depth=2)
    params, stats = network.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (6, 8, 8, 1))
    _, stats = network.apply(params, stats, images, True)
    whole, same = network.apply(params, stats, images, False)
    jax.tree.map(np.testing.assert_array_equal, stats, same)
    order = jnp.array([4, 1, 5])
    part, _ = network.apply(params, stats, images[order], False)
    np.testing.assert_allclose(part.logits, whole.logits[order], atol=1e-5)


def test_running_statistics_keep_their_dtype():
    network = make_network("convnet_bn", (8, 8, 1), 3, width=8, depth=1)
    params, stats = network.init(jax.random.key(0))
    with jax.enable_x64(True):
        images = jnp.ones((2, 8, 8, 1), jnp.float64)
        _, new = network.apply(params, stats, images, True)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(new))


def test_activations():
    x = jnp.array([-2.0, 0.0, 3.0])
    sigmoid = 1 / (1 + np.exp(-np.asarray(x)))
    expected = {
        "relu": np.array([0, 0, 3]),
        "leaky_relu": np.array([-0.02, 0, 3]),
        "sigmoid": sigmoid,
        "swish": x * sigmoid,
        "softplus": np.array([0, np.log(2) / 60, 3]),
    }
    assert set(ACTIVATIONS) == set(expected)
    for name, function in ACTIVATIONS.items():
        np.testing.assert_allclose(function(x), expected[name], rtol=1e-6, atol=1e-9)


def test_initial_values_are_uniform_within_the_bounds_of_pytorch():
    network = make_network("convnet", (32, 32, 3), 10)
    params, stats = network.init(jax.random.key(0))
    assert stats == {}
    fan_ins = {"block0": 27, "block1": 1152, "block2": 1152, "head": 2048}
    for name, fan_in in fan_ins.items():
        layer = params["head"] if name == "head" else params[name]["conv"]
        for leaf in layer.values():
            values = np.asarray(leaf).ravel() * np.sqrt(fan_in)
            assert np.abs(values).max() <= 1 + 1e-6
            assert np.abs(values).max() > 0.85  # the head's bias has ten values only
        kernel = np.asarray(layer["kernel"]).ravel() * np.sqrt(fan_in)
        assert abs(kernel.mean()) < 0.03
        assert abs(kernel.std() - 3**-0.5) < 0.02
    for block in ("block0", "block1", "block2"):
        np.testing.assert_array_equal(params[block]["norm"]["scale"], 1)
        np.testing.assert_array_equal(params[block]["norm"]["bias"], 0)


def test_initial_values_differ_but_for_statistics():
    network = make_network("convnet", (8, 8, 1), 10, width=8)
    one, _ = network.init(jax.random.key(0))
    two, _ = network.init(jax.random.key(1))
    kernels = [p[f"block{i}"]["conv"]["kernel"] for p in (one, two) for i in (1, 2)]
    assert len({float(kernel.sum()) for kernel in kernels}) == 4
    again, _ = network.init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    network = make_network("convnet_bn", (8, 8, 1), 10, width=8, depth=1)
    _, stats = network.init(jax.random.key(0))
    statistics = stats["block0"]["norm"]["statistics"]
    np.testing.assert_array_equal(statistics["mean"], 0)
    np.testing.assert_array_equal(statistics["variance"], 1)
