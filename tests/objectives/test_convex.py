"""Implicit gradients through a convex inner problem (RCIG), against dense algebra."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxdd import augment
from jaxdd.fields import override
from jaxdd.nets import make_network
from jaxdd.objectives import convex_match
from jaxdd.objectives.convex import ConvexRegression, clipped_implicit
from jaxdd.objectives.linearised import (
    body_of,
    inner_loss,
    inner_problem,
    linearise,
    solved_head,
)
from jaxdd.objectives.prototypes import margin_loss, prototypes
from jaxdd.primitives.quadratic import by_adam, by_conjugate_gradients
from jaxdd.synthetic.labels import centred
from jaxdd.synthetic.sets import flatten
from jaxdd.types import Batch, Learner, Synthetic
from tests.helpers import (
    CLASSES,
    SHAPE,
    linear_network,
    refused,
    smooth_network,
    to64,
    toy_batch,
)

PLAIN = augment.siamese(())
NETWORK = smooth_network(hidden=3)
KEY, RIDGE = jax.random.key(9), 0.05
EXACT = by_conjugate_gradients(40)


def learner_at(network=NETWORK) -> Learner:
    return to64(Learner(*network.init(jax.random.key(0))))


def real_batch(size=7) -> Batch:
    batch = to64(toy_batch(size))
    return batch._replace(
        labels=jnp.eye(CLASSES, dtype=jnp.float64)[np.arange(size) % 3]
    )


def start(ipc=1) -> Synthetic:
    images = to64(toy_batch(CLASSES * ipc, seed=3)).images
    noise = jax.random.normal(jax.random.key(3), (CLASSES, ipc, CLASSES))
    labels = centred(jnp.eye(CLASSES))[:, None] + 0.1 * noise
    shape = CLASSES, ipc, *SHAPE
    labels = labels.astype(jnp.float64)
    return Synthetic(images.reshape(shape), labels, jnp.float64(1.3))


def value_of(learner, real, solver=EXACT, **options):
    options = {"ridge": RIDGE, "flip": True, "clip": False, **options}
    match = convex_match(NETWORK, solver, solver, PLAIN, **options)
    return jax.jit(lambda synthetic: match(KEY, synthetic, real, learner)[0])


@functools.cache
def reference():
    """(set, real, learner, exact loss with its gradient, dense parts).

    The tangent is a vector of the body's parameters; its optimum is the regression of
    the targets on the Jacobian of the logits, and JAX derives through all of it. That
    the inner loss has this optimum is checked against its own Hessian.
    """
    learner, real, synthetic = learner_at(), real_batch(), start()
    zeros, unravel = ravel_pytree(jax.tree.map(jnp.zeros_like, learner.params))
    ones = jax.tree.map(jnp.ones_like, learner.params)
    body = ravel_pytree(jax.tree.map(jnp.multiply, body_of(learner.params), ones))[0]
    chosen = np.flatnonzero(body)
    embed = lambda vector: unravel(zeros.at[chosen].set(vector))
    at = linearise(NETWORK, learner, lambda blocks: blocks[-1])
    ridge = jnp.float64(RIDGE * CLASSES)

    def optimum(rows):
        logits = lambda x, images: NETWORK.apply(x, {}, images, False)[0].logits
        of_vector = lambda vector: logits(
            jax.tree.map(jnp.add, learner.params, embed(vector)), rows.images
        )
        jacobian = jax.jacrev(of_vector)(jnp.zeros(len(chosen)))
        features = at(unravel(zeros), rows.images).features
        system = features @ features.T + ridge * jnp.eye(len(features))
        solved = jnp.linalg.solve(system, jacobian.reshape(len(features), -1))
        solved = solved.reshape(jacobian.shape)
        hessian = jnp.eye(len(chosen)) + jnp.einsum("nkp,nkq->pq", jacobian, solved)
        right = jnp.einsum("nkp,nk->p", solved, rows.targets)
        return jnp.linalg.solve(hessian, right)

    def loss(synthetic):
        rows = prototypes(flatten(synthetic), True, True)
        tangent = embed(optimum(rows))
        own, other = at(tangent, rows.images), at(tangent, real.images)
        head = own.features.T @ solved_head(own, ridge, rows.targets).solution
        logits = (other.shift + other.features @ head) * synthetic.step_size
        chance = jnp.sum(real.labels * jax.nn.log_softmax(logits), axis=-1)
        margin = margin_loss(flatten(synthetic).labels, 1 / (2 * CLASSES))
        return -jnp.mean(chance) + margin

    @jax.jit
    def dense(synthetic):
        rows = prototypes(flatten(synthetic), True, True)
        inner = lambda vector: inner_loss(at, embed(vector), rows, ridge)
        origin = jnp.zeros(len(chosen))
        parts = jax.hessian(inner)(origin), -jax.grad(inner)(origin)
        return jax.value_and_grad(loss)(synthetic), parts, optimum(rows)

    exact, (hessian, right), solved = dense(synthetic)
    rows = prototypes(flatten(synthetic), True, True)
    np.testing.assert_allclose(jnp.linalg.solve(hessian, right), solved)
    return synthetic, real, learner, exact, (hessian, right, rows, at, embed, chosen)


def test_the_inner_loss_is_that_of_the_paper(x64):
    """With the head written out: its residual, its norm and that of the tangent."""
    rows, at, embed, chosen = reference()[-1][2:]
    tangent = embed(jax.random.normal(KEY, (len(chosen),), jnp.float64))
    ridge = jnp.float64(RIDGE * CLASSES)
    linear = at(tangent, rows.images)
    head = linear.features.T @ solved_head(linear, ridge, rows.targets).solution
    missed = rows.targets - linear.shift - linear.features @ head
    norms = jnp.sum(head**2) + jnp.sum(ravel_pytree(tangent)[0] ** 2)
    expected = (jnp.sum(missed**2) + ridge * norms) / 2 / rows.targets.size
    value = inner_loss(at, tangent, rows, ridge)
    assert float(value) == pytest.approx(float(expected), rel=1e-12)


def test_hessian_products_and_optimum_are_those_of_dense_algebra(x64):
    _, _, learner, _, (hessian, right, rows, at, embed, chosen) = reference()
    inner = inner_problem(at, learner.params, rows, jnp.float64(RIDGE * CLASSES))
    vector = jax.random.normal(KEY, (len(chosen),), jnp.float64)
    products = inner.multiply(embed(vector)), inner.right
    for ours, dense in zip(products, (hessian @ vector, right), strict=True):
        assert not ours["head"]["kernel"].any()
        np.testing.assert_allclose(
            ravel_pytree(ours)[0], ravel_pytree(embed(dense))[0], atol=1e-13
        )
    found = ravel_pytree(EXACT(inner.multiply, embed(vector)))[0]
    solved = ravel_pytree(embed(jnp.linalg.solve(hessian, vector)))[0]
    np.testing.assert_allclose(found, solved, rtol=1e-9, atol=1e-9)


def test_the_gradient_is_that_through_the_optimum(x64):
    """Direct and implicit part together, of images, labels and the scale."""
    synthetic, real, learner, (value, expected), _ = reference()
    ours, gradient = jax.value_and_grad(value_of(learner, real))(synthetic)
    assert float(ours) == pytest.approx(float(value), rel=1e-12)
    for a, b in zip(gradient, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_few_steps_of_a_solver_are_no_optimum(x64):
    synthetic, real, learner, (_, expected), _ = reference()
    gradient = jax.grad(value_of(learner, real, by_conjugate_gradients(1)))(synthetic)
    assert np.abs(gradient.images - expected.images).max() > 1e-6


def test_more_steps_than_a_solve_needs_lose_nothing():
    """Two classes leave few directions, which float32 has solved after some steps."""
    few = make_network("mlp", SHAPE, 2, width=8)
    learner = Learner(*few.init(jax.random.key(0)))
    images = toy_batch(2, seed=3).images.astype(jnp.float32)
    labels = centred(jnp.eye(2))[:, None]
    synthetic = Synthetic(images[:, None], labels, jnp.float32(1))
    real = Batch(toy_batch(8).images.astype(jnp.float32), jnp.eye(2)[np.arange(8) % 2])

    @functools.partial(jax.jit, static_argnums=1)
    def gradient(synthetic, steps):
        solver = by_conjugate_gradients(steps)
        match = convex_match(few, solver, solver, PLAIN, ridge=5e-4)
        value = lambda x: match(KEY, x, real, learner)
        return jax.grad(value, has_aux=True)(synthetic)

    expected = gradient(synthetic, 10)[0].images
    derived, evidence = gradient(synthetic, 200)
    assert np.isfinite(evidence.info["residual"])
    np.testing.assert_allclose(derived.images, expected, rtol=0.05, atol=1e-4)


def test_a_lost_implicit_part_is_said(x64):
    """`clipped_implicit` takes it as 0, and the run would go on without it."""
    lost = lambda multiply, b: jax.tree.map(lambda x: x * jnp.nan, b)
    match = convex_match(NETWORK, EXACT, lost, PLAIN, ridge=RIDGE)
    residual = jax.jit(lambda *x: match(KEY, *x)[1].info["residual"])
    assert residual(start(), real_batch(), learner_at()) == np.inf


def test_padding_changes_nothing(x64):
    synthetic, real, learner, *_ = reference()
    padded = synthetic._replace(
        images=jnp.concatenate([5 + synthetic.images, synthetic.images], axis=1),
        labels=jnp.pad(synthetic.labels, ((0, 0), (1, 0), (0, 0))),
    )
    value = value_of(learner, real)
    plain, longer = (jax.value_and_grad(value)(x) for x in (synthetic, padded))
    assert float(longer[0]) == pytest.approx(float(plain[0]), rel=1e-9)
    np.testing.assert_allclose(longer[1].images[:, 1:], plain[1].images, atol=1e-9)
    assert not longer[1].images[:, 0].any()


def test_the_implicit_part_is_no_longer_than_the_direct_one():
    direct, implicit = jnp.array([3.0, 4.0]), jnp.array([0.0, 10.0])
    np.testing.assert_allclose(clipped_implicit(direct, implicit), [0, 5])
    np.testing.assert_allclose(clipped_implicit(implicit, direct), direct)
    lost = clipped_implicit(direct, jnp.array([jnp.nan, 1.0]))
    assert np.isfinite(lost).all()


def test_solvers_by_name():
    multiply = lambda x: jnp.array([1.0, 4.0]) * x
    right = jnp.array([1.0, 2.0])
    for solver, rate in (("cg", 0.0), ("adam", 0.05)):
        choice = ConvexRegression(solver=solver, solver_steps=200)
        if rate:
            choice = override(choice, {"inner_lr": rate, "hessian_lr": rate})
        for minimize in choice.minimizers():
            np.testing.assert_allclose(minimize(multiply, right), [1, 0.5], atol=1e-2)
    once = by_adam(1, 0.1)(multiply, right)
    np.testing.assert_allclose(once, [0.1, 0.1], atol=1e-6)


def test_a_network_without_a_named_head_is_refused():
    learner = Learner(*linear_network(64).init(KEY))
    with refused("head/kernel"):
        body_of(learner.params)
