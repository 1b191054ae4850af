"""Truncated back-propagation through training against plain loops, in float64."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd.primitives import inner_adam, inner_sgd, train, train_window, training_step
from jaxdd.primitives.optimizers import Trained
from jaxdd.primitives.trees import vdot
from jaxdd.types import Batch
from tests.helpers import assert_close, refused, temporary_bytes, to64, toy_batch
from tests.primitives.test_unroll import STATS, loss, problem

STEPS, START = 5, 3
KEY = jax.random.key(1)
OPTIMIZERS = {
    "adam": (inner_adam(0.05), optax.adam(0.05, eps_root=0.0)),
    "sgd": (
        inner_sgd(0.05),
        optax.chain(
            optax.add_decayed_weights(5e-4), optax.trace(0.9), optax.scale(-0.05)
        ),
    ),
}


def prepare(batch, context):
    """Three images, other ones in every step, with a curved augmentation."""
    key, count = context
    first = jax.random.randint(key, (), 0, 2) + count
    indices = (first + jnp.arange(3)) % batch.labels.shape[0]
    return Batch(jnp.sin(batch.images[indices] + count), batch.labels[indices])


def value(state, norms, of_norms=0.0):
    """A curved scalar of the end, moments included."""
    squares = sum(jnp.sum(jnp.sin(2 * x)) for x in jax.tree.leaves(state.params))
    moments = sum(jnp.sum(x) for x in jax.tree.leaves(state.moments))
    return squares + moments + of_norms * (jnp.arange(1.0, 1 + len(norms)) @ norms)


def plain(name, params, batch, of_norms=0.0):
    """Optax in a Python loop, differentiated as it stands."""
    optimizer = OPTIMIZERS[name][1]
    state, norms = optimizer.init(params), []
    for i in range(STEPS):
        at = prepare(batch, (KEY, jnp.int32(i)))
        gradient = jax.grad(loss)(params, at, STATS)
        norms.append(jnp.sqrt(vdot(gradient, gradient)))
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    found = state[0] if name == "adam" else state[1]
    moments = (found.mu, found.nu) if name == "adam" else (found.trace,)
    return value(Trained(params, moments), jnp.stack(norms), of_norms)


def ours(name, params, batch, of_norms=0.0, microbatch=None):
    optimizer = OPTIMIZERS[name][0]
    step = training_step(
        loss,
        optimizer,
        prepare,
        microbatch=microbatch,
        differentiable_norm=of_norms > 0,
    )
    state = optimizer.begin(params)
    end, norms = train_window(step, state, batch, STATS, KEY, jnp.int32(0), STEPS)
    return value(end, norms, of_norms)


@pytest.mark.parametrize(
    ("name", "of_norms", "microbatch"),
    [("adam", 1.0, 2), ("sgd", 0.0, None)],
)
def test_the_rule_equals_plain_differentiation(x64, name, of_norms, microbatch):
    arguments = to64(problem())
    run = functools.partial(ours, name, of_norms=of_norms, microbatch=microbatch)
    naive = functools.partial(plain, name, of_norms=of_norms)
    with_both = lambda f: jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(*arguments)
    actual, expected = with_both(run), with_both(naive)
    assert all(np.any(g) for g in jax.tree.leaves(expected))
    assert_close(actual, expected, rtol=1e-8, atol=1e-10)


def test_one_step_of_sgd_has_the_closed_form(x64):
    """d L(theta - a g)/dX = -a d<g, u>/dX, with u the gradient of L at the end."""
    params, batch = to64(problem())
    optimizer, rate = inner_sgd(0.5, momentum=0.0, decay=0.0), 0.5
    step = training_step(loss, optimizer)
    outer = lambda params: loss(params, to64(toy_batch(4, shape=(2, 2, 1))), STATS)

    def by_rule(images):
        data = batch._replace(images=images)
        state = optimizer.begin(params)
        return outer(step(state, data, STATS, (), jnp.int32(0), None)[0].params)

    def closed_form(images):
        of = lambda images: jax.grad(loss)(params, batch._replace(images=images), STATS)
        end = jax.tree.map(lambda p, g: p - rate * g, params, of(images))
        u = jax.grad(outer)(end)
        return jax.grad(lambda images: -rate * vdot(of(images), u))(images)

    expected = jax.jit(closed_form)(batch.images)
    assert np.abs(expected).max() > 1e-4
    actual = jax.jit(jax.grad(by_rule))(batch.images)
    assert_close(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def adam_step():
    return training_step(loss, inner_adam(0.05), prepare)


def after_warm_up(step, params, batch, start, length=None, steps=STEPS):
    state = inner_adam(0.05).begin(params)
    warm = train(step, state, batch, STATS, KEY, start)
    window = train_window(step, warm, batch, STATS, KEY, start, steps, length)
    return warm, window


def test_a_window_starts_at_the_recorded_state(x64, adam_step):
    """Value and gradient of a warmed-up window are those of the window alone."""
    params, batch = to64(problem())

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def whole(images, start):
        data = batch._replace(images=images)
        warm, window = after_warm_up(adam_step, params, data, start)
        return value(*window), warm

    @jax.jit
    @jax.value_and_grad
    def alone(images, warm):
        data = batch._replace(images=images)
        start = jnp.int32(START)
        window = train_window(adam_step, warm, data, STATS, KEY, start, STEPS)
        return value(*window)

    (number, warm), gradient = whole(batch.images, jnp.int32(START))
    expected = alone(batch.images, warm)
    assert_close((number, gradient), expected, rtol=1e-12, atol=1e-12)
    assert not np.allclose(warm.params["a"], params["a"], atol=1e-2)
    other = whole(batch.images, jnp.int32(START + 1))
    assert not np.allclose(other[1], gradient)


def test_images_of_the_warm_up_alone_get_no_gradient():
    """Truncation: of the images of step k only those of the window count."""
    params, batch = problem(size=8)

    def of_step(batch, context):
        return jax.tree.map(lambda x: x[context[1]][None], batch)

    optimizer = inner_adam(0.05)
    step = training_step(loss, optimizer, of_step)

    @jax.jit
    @jax.grad
    def gradient(images):
        data = batch._replace(images=images)
        start, state = jnp.int32(START), optimizer.begin(params)
        warm = train(step, state, data, STATS, (), start)
        return value(*train_window(step, warm, data, STATS, (), start, 2))

    norms = jnp.linalg.norm(gradient(batch.images).reshape(8, -1), axis=1)
    assert (norms > 0).tolist() == [False] * START + [True] * 2 + [False] * 3


def test_a_shorter_window_is_that_of_its_length(x64, adam_step):
    """Inactive steps pass state and cotangents through."""
    params, batch = to64(problem())

    @functools.partial(jax.jit, static_argnums=1)
    def run(length, steps):
        def of(images):
            data = batch._replace(images=images)
            start = jnp.int32(1)
            _, window = after_warm_up(adam_step, params, data, start, length, steps)
            return value(*window), window[1]

        return jax.value_and_grad(of, has_aux=True)(batch.images)

    (number, norms), gradient = run(jnp.int32(2), 4)
    (expected, two), by_two = run(None, 2)
    assert_close((number, gradient), (expected, by_two), rtol=1e-12, atol=1e-14)
    assert norms.tolist() == [*two.tolist(), 0.0, 0.0]


def test_entries_without_a_gradient_have_a_finite_derivative():
    """Adam divides by the root of a second moment, which is zero for dead entries."""
    params, batch = problem()
    dead = jax.tree.map(jnp.zeros_like, params)  # no gradient reaches "a"

    def of(images):
        optimizer = inner_adam(0.05)
        step = training_step(loss, optimizer)
        data = batch._replace(images=images)
        state = optimizer.begin(dead)
        return value(*train_window(step, state, data, STATS, (), jnp.int32(0), 2))

    chex.assert_tree_all_finite(jax.jit(jax.grad(of))(batch.images))


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize(
    ("optimizer", "copies"),
    [(inner_adam, 3), pytest.param(inner_sgd, 2, marks=pytest.mark.slow)],
)
def test_memory_grows_by_the_state_per_step(optimizer, copies):
    """Three parameter copies with Adam, two with SGD, whatever the horizon."""
    params, batch = problem(hidden=4096, size=8)
    chosen = optimizer(0.1)
    step = training_step(loss, chosen, prepare)

    def of(images, steps, start):
        data = batch._replace(images=images)
        state = chosen.begin(params)
        warm = train(step, state, data, STATS, KEY, start)
        end, _ = train_window(step, warm, data, STATS, KEY, start, steps)
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(end.params))

    def needed(steps):
        run = lambda images, start: jax.grad(of)(images, steps, start)
        return temporary_bytes(run, batch.images, jnp.int32(7))

    copy = sum(x.nbytes for x in jax.tree.leaves(params))
    assert (needed(12) - needed(4)) / 8 / copy <= copies + 0.1


def test_an_optimiser_of_optax_is_refused_where_training_is_differentiated():
    loss = lambda w, batch, stats: jnp.mean(batch.images @ w)
    with refused("needs an InnerOptimizer, such as inner_adam"):
        inspect.unwrap(training_step)(loss, optax.adam(1e-3))
