"""Unrolled training against a Python loop: values, hyper-gradients, memory."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.primitives import student_step, unroll
from jaxdd.primitives.losses import cross_entropy
from jaxdd.types import Batch
from tests.helpers import assert_close, temporary_bytes, to64, toy_batch

STEPS = 4
HIDDEN = 8
STATS = {"gain": jnp.float32(0.7)}


def loss(params, batch, stats):
    hidden = jnp.tanh(batch.images.reshape(len(batch.images), -1) @ params["a"])
    return cross_entropy(stats["gain"] * hidden @ params["b"], batch.labels)


loss.weight = jnp.sum  # a mean by the mass of labels


def prepare(batch, context):
    """A minibatch, and an augmentation that is curved in the image."""
    key, indices, weights = context
    # Random, but cheaper to compile than a real draw.
    turn = jax.random.key_data(key)[-1] % 7
    images = jnp.sin(batch.images[indices] + turn)
    return Batch(images, batch.labels[indices] * weights[:, None])


def problem(hidden=HIDDEN, size=5):
    rng = np.random.default_rng(0)
    params = {
        "a": jnp.asarray(rng.normal(size=(4, hidden)), jnp.float32),
        "b": jnp.asarray(rng.normal(size=(hidden, 3)), jnp.float32),
    }
    return params, toy_batch(size, shape=(2, 2, 1))


def contexts(steps=STEPS, size=5):
    """Minibatches of three, of which every second has one row of weight zero."""
    keys = jax.random.split(jax.random.key(1), steps)
    indices = np.random.default_rng(1).integers(0, size, (steps, 3))
    weights = np.ones((steps, 3), np.float32)
    weights[1::2, 2] = 0
    return keys, jnp.asarray(indices), jnp.asarray(weights)


def naive_unroll(params, batch, step_size, truncated=False):
    """Plain SGD in a Python loop, differentiated as it stands."""
    norms = []
    for i in range(STEPS):
        context = jax.tree.map(lambda x: x[i], contexts())
        at = jax.lax.stop_gradient(params) if truncated else params
        gradient = jax.grad(loss)(at, prepare(batch, context), STATS)
        squares = [jnp.sum(g**2) for g in jax.tree.leaves(gradient)]
        norms.append(jnp.sqrt(sum(squares)))
        params = jax.tree.map(lambda p, g: p - step_size * g, params, gradient)
    return params, jnp.stack(norms)


def our_unroll(params, batch, step_size, **options):
    step = student_step(loss, prepare, **options)
    return unroll(step, params, batch, step_size, STATS, contexts())


def probe(end, norms, of_norms):
    """A curved scalar of the result, in which every step's norm has its own weight."""
    value = sum(jnp.sum(jnp.sin(2 * x)) for x in jax.tree.leaves(end))
    return value + of_norms * (jnp.arange(1.0, 1 + len(norms)) @ norms**2)


def hyper_gradient(run, of_norms):
    """W.r.t. parameters, batch and step size, in float64."""
    value = lambda *args: probe(*run(*args), of_norms)
    arguments = *to64(problem()), jnp.float64(0.5)
    return jax.jit(jax.grad(value, argnums=(0, 1, 2)))(*arguments)


@pytest.mark.parametrize("microbatch", [None, 2])
def test_equals_sgd_in_a_python_loop(x64, microbatch):
    params, batch = to64(problem())
    run = functools.partial(our_unroll, microbatch=microbatch)
    result = jax.jit(run)(params, batch, jnp.float64(0.5))
    expected = jax.jit(naive_unroll)(params, batch, 0.5)
    assert_close(result, expected, 1e-10, 1e-12)
    assert not np.allclose(result[0]["a"], params["a"], atol=1e-2)
    assert np.ptp(result[1]) > 1e-2


def test_without_preparation_every_step_sees_the_whole_batch(x64):
    params, batch = to64(problem())
    step = student_step(loss)
    run = lambda p, b: unroll(step, p, b, jnp.float64(0.5), STATS, jnp.arange(2))
    end, norms = jax.jit(run)(params, batch)
    gradient = jax.jit(jax.grad(loss))
    for _ in norms:
        slope = gradient(params, batch, STATS)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, slope)
    assert_close(end, params, 1e-10, 1e-12)


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("of_norms", [0.0, 1.0])
@pytest.mark.parametrize("microbatch", [None, 2])
def test_hyper_gradients_equal_those_of_the_naive_loop(
    x64, of_norms, truncated, microbatch
):
    """Truncated: of a loop that holds the parameters of each gradient fixed."""
    options = {"truncated": truncated, "microbatch": microbatch}
    ours = functools.partial(our_unroll, differentiable_norm=of_norms > 0, **options)
    actual = hyper_gradient(ours, of_norms)
    naive = functools.partial(naive_unroll, truncated=truncated)
    expected = hyper_gradient(naive, of_norms)
    chex.assert_tree_all_finite(expected)
    assert all(np.any(g) for g in jax.tree.leaves(expected))
    assert_close(actual, expected, rtol=1e-8, atol=1e-10)


def test_the_norm_is_a_constant_unless_asked_for(x64):
    params, batch = to64(problem())
    context = jax.tree.map(lambda x: x[0], contexts())

    def gradient(differentiable):
        step = student_step(loss, prepare, differentiable_norm=differentiable)
        norm = lambda p: step(p, batch, jnp.float64(0.5), STATS, context)[1]
        return jax.jit(jax.grad(norm))(params)["a"]

    assert not np.any(gradient(False))
    assert np.any(gradient(True))


def test_a_vanishing_norm_has_a_finite_derivative():
    """At the zero network with uniform labels there is nothing to learn."""
    params, batch = problem()
    zero = jax.tree.map(jnp.zeros_like, params)
    flat = batch._replace(labels=jnp.full((5, 3), 1 / 3))
    step = student_step(loss, differentiable_norm=True)
    norm = lambda p: step(p, flat, jnp.float32(0.5), STATS, ())[1]
    gradient = jax.jit(jax.grad(norm))(zero)
    chex.assert_tree_all_finite(gradient)


SIZE = 7168  # images that take as much memory as the parameters


def bytes_of(steps, run):
    params, batch = problem(hidden=4096, size=SIZE)
    given = contexts(steps, SIZE)

    def value(images):
        data = Batch(images, batch.labels)
        end, norms = run(params, data, jnp.float32(0.1), STATS, given)
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(end)) + jnp.sum(norms)

    return temporary_bytes(jax.grad(value), batch.images)


def copies_per_step(run):
    params, _ = problem(hidden=4096)
    copy = sum(x.nbytes for x in jax.tree.leaves(params))
    return (bytes_of(12, run) - bytes_of(4, run)) / 8 / copy


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"truncated": True},
        pytest.param(
            {"differentiable_norm": True, "microbatch": 2}, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
@pytest.mark.usefixtures("optimised")
def test_memory_grows_by_one_parameter_copy_per_step(options):
    """Also with minibatches and an augmentation, and not by the set of images."""
    step = student_step(loss, prepare, **options)
    assert copies_per_step(lambda *args: unroll(step, *args)) <= 1.1


@pytest.mark.usefixtures("optimised")
def test_the_plain_formula_needs_more_memory():
    """So that the check above can fail."""

    def plain(params, batch, step_size, stats, given):
        def body(carry, context):
            gradient = jax.grad(loss)(carry, prepare(batch, context), stats)
            new = jax.tree.map(lambda p, g: p - step_size * g, carry, gradient)
            return new, jnp.zeros(())

        return jax.lax.scan(body, params, given)

    assert copies_per_step(plain) > 1.5


@pytest.mark.parametrize(("truncated", "products"), [(False, 13), (True, 10)])
def test_the_backward_pass_computes_no_gradient(truncated, products, optimised):
    """Two affine layers: 8 f - 3 f1 products, under TESLA 6 f - 2 f1.

    See `benchmarks.parts.flops`; the gradient would take two more, of the weights.
    """

    def squares(params, batch, stats):
        hidden = jnp.tanh(batch.images @ params["a"])
        return jnp.mean(jnp.square(jnp.tanh(hidden @ params["b"]) - batch.labels))

    keys = jax.random.split(jax.random.key(0), 4)
    params = {
        "a": jax.random.normal(keys[0], (48, 40)),
        "b": jax.random.normal(keys[1], (40, 24)),
    }
    images = jax.random.normal(keys[2], (32, 48))
    batch = Batch(images, jax.random.normal(keys[3], (32, 24)))
    step = student_step(squares, truncated=truncated)

    def backward(params, batch, step_size, u):
        run = lambda p, b, s: step(p, b, s, (), ())[0]
        return jax.vjp(run, params, batch, step_size)[1](u)

    rate = jnp.float32(0.1)
    text = jax.jit(backward).lower(params, batch, rate, params).compile().as_text()
    assert len(re.findall(r" dot\(", text)) == products
