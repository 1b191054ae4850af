"""Unrolled training against a Python loop: values, hyper-gradients, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.losses import cross_entropy
from jaxdd.primitives import student_step, unroll
from jaxdd.types import Batch
from tests.helpers import assert_close, temporary_bytes, to64, toy_batch

STEPS = 4
HIDDEN = 8


def loss(params, batch, key):
    """The loss on a minibatch that the key chooses."""
    start = jax.random.key_data(key)[-1] % 3  # cheaper to compile than a real draw
    images, labels = (jax.lax.dynamic_slice_in_dim(x, start, 3) for x in batch)
    hidden = jnp.tanh(images.reshape(3, -1) @ params["a"])
    return cross_entropy(hidden @ params["b"], labels)


def problem(hidden=HIDDEN):
    rng = np.random.default_rng(0)
    params = {
        "a": jnp.asarray(rng.normal(size=(4, hidden)), jnp.float32),
        "b": jnp.asarray(rng.normal(size=(hidden, 3)), jnp.float32),
    }
    return params, toy_batch(5, shape=(2, 2, 1))


def naive_unroll(params, batch, step_size, keys):
    """Plain SGD in a Python loop, differentiated as it stands."""
    norms = []
    for i in range(keys.shape[0]):
        gradient = jax.grad(loss)(params, batch, keys[i])
        squares = [jnp.sum(g**2) for g in jax.tree.leaves(gradient)]
        norms.append(jnp.sqrt(sum(squares)))
        params = jax.tree.map(lambda p, g: p - step_size * g, params, gradient)
    return params, jnp.stack(norms)


def probe(end, norms, of_norms):
    """A curved scalar of the result, in which every step's norm has its own weight."""
    value = sum(jnp.sum(jnp.sin(2 * x)) for x in jax.tree.leaves(end))
    return value + of_norms * (jnp.arange(1.0, 1 + len(norms)) @ norms**2)


@pytest.mark.usefixtures("quick_compile")
def test_equals_sgd_in_a_python_loop(x64):
    params, batch = to64(problem())
    keys = jax.random.split(jax.random.key(1), STEPS)
    ours = jax.jit(unroll, static_argnums=0)
    result = ours(student_step(loss), params, batch, jnp.float64(0.5), keys)
    expected = jax.jit(naive_unroll)(params, batch, 0.5, keys)
    assert_close(result, expected, 1e-10, 1e-12)
    assert not np.allclose(result[0]["a"], params["a"], atol=1e-2)


@pytest.mark.usefixtures("quick_compile")
@pytest.mark.parametrize("of_norms", [0.0, 1.0])
def test_hyper_gradients_equal_those_of_the_naive_loop(x64, of_norms):
    """W.r.t. parameters, images, labels and step size, in float64."""
    params, batch = to64(problem())
    keys = jax.random.split(jax.random.key(1), STEPS)
    step = student_step(loss, differentiable_norm=of_norms > 0)
    arguments = params, batch, jnp.float64(0.5)

    def hyper_gradient(run):
        value = lambda *args: probe(*run(*args, keys), of_norms)
        return jax.jit(jax.grad(value, argnums=(0, 1, 2)))(*arguments)

    actual = hyper_gradient(lambda *args: unroll(step, *args))
    expected = hyper_gradient(naive_unroll)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(expected))
    assert all(np.any(g) for g in jax.tree.leaves(expected))
    assert_close(actual, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.usefixtures("quick_compile")
def test_the_norm_is_a_constant_unless_asked_for(x64):
    params, batch = to64(problem())
    key = jax.random.key(1)

    def gradient(differentiable):
        step = student_step(loss, differentiable)
        norm = lambda p: step(p, batch, jnp.float64(0.5), key)[1]
        return jax.jit(jax.grad(norm))(params)["a"]

    assert not np.any(gradient(False))
    assert np.any(gradient(True))


def test_memory_grows_by_about_one_parameter_copy_per_step():
    params, batch = problem(hidden=4096)
    copy = sum(x.size for x in jax.tree.leaves(params)) * 4

    def needed(steps, run):
        keys = jax.random.split(jax.random.key(1), steps)

        def value(images):
            end, _ = run(params, Batch(images, batch.labels), jnp.float32(0.1), keys)
            return sum(jnp.sum(x**2) for x in jax.tree.leaves(end))

        return temporary_bytes(jax.grad(value), batch.images)

    def copies_per_step(run):
        return (needed(12, run) - needed(4, run)) / 8 / copy

    def plain(params, batch, step_size, keys):
        def body(carry, key):
            gradient = jax.grad(loss)(carry, batch, key)
            new = jax.tree.map(lambda p, g: p - step_size * g, carry, gradient)
            return new, jnp.zeros(())

        return jax.lax.scan(body, params, keys)

    ours = student_step(loss)
    assert copies_per_step(lambda *args: unroll(ours, *args)) < 1.25
    assert copies_per_step(plain) > 1.5  # the check can fail
