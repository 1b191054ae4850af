"""From axes to a method: what a step does, what optimisers move, averages, labels."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd.learners.fresh import fresh
from jaxdd.methods.assembly import make_method
from jaxdd.synthetic.decoder import make_decoder
from jaxdd.synthetic.optimizer import SGD, make_optimizer
from jaxdd.types import Decoder, Learner, LearnerSource, Span
from tests.helpers import assert_close, toy_start
from tests.toy_methods import INPUTS, NETWORK, start_for, toy_method, toy_recipe


def doubling() -> Decoder:
    plain = make_decoder()
    decode = lambda codes: codes._replace(images=2 * codes.images)
    return Decoder(plain.init, decode, plain.stored)


def sum_objective(key, synthetic, learner, inputs, step):
    """Every pixel has the gradient 1, 2, 3, ... in turn."""
    return (1 + step) * jnp.sum(synthetic.images), {}


def test_slots_move_at_their_rates():
    """A slot at rate 0 stays; one at rate 1 moves to the very bits of a run without."""
    optimizer = make_optimizer(SGD().make(0.1), SGD().make(0.1))
    method = make_method(sum_objective, fresh(NETWORK), make_decoder(), optimizer)
    start = toy_start(INPUTS)
    key, begun = jax.random.key(0), method.init(jax.random.key(0), start)
    plain, half, mixed = (
        method.step(key, begun, INPUTS._replace(rates=rates))[0].codes.images
        for rates in (None, jnp.array([0.5, 0.5]), jnp.array([0.0, 1.0]))
    )
    assert np.array_equal(mixed[:, 0], start.images[:, 0])
    assert np.array_equal(mixed[:, 1], plain[:, 1])
    assert_close(half - start.images, 0.5 * (plain - start.images), rtol=1e-5)


def test_a_step_is_one_update_by_the_optimiser_through_the_decoder():
    optimizer = optax.sgd(0.1, momentum=0.5)
    method = make_method(sum_objective, fresh(NETWORK), doubling(), optimizer)
    start = toy_start(INPUTS)
    state, step = method.init(jax.random.key(0), start), jax.jit(method.step)
    norms = []
    for t in range(3):
        state, info = step(jax.random.key(t), state, INPUTS)
        norms.append(float(info["image_gradient"]))
    gradients = [2.0, 4.0, 6.0]  # the decoder doubles
    moves, buffer = [], 0.0
    for gradient in gradients:
        buffer = 0.5 * buffer + gradient
        moves.append(0.1 * buffer)
    expected = start.images - sum(moves)
    np.testing.assert_allclose(state.codes.images, expected, rtol=1e-4, atol=1e-4)
    size = np.sqrt(start.images.size)
    np.testing.assert_allclose(norms, [g * size for g in gradients], rtol=1e-5)
    result = method.result(state).images
    np.testing.assert_allclose(result, 2 * expected, rtol=1e-4, atol=1e-4)
    assert np.array_equal(method.stored(state).images, state.codes.images)


def test_the_optimiser_is_told_the_match_or_else_the_loss():
    told = []

    def update(updates, state, params=None, *, value, **extra):
        jax.debug.callback(lambda v: told.append(float(v)), value)
        return updates, state

    optimizer = optax.GradientTransformationExtraArgs(lambda params: (), update)
    for info in ({"match": jnp.float32(2)}, {}):
        objective = lambda *args, info=info: (jnp.sum(args[1].images) * 0 + 7, info)
        method = make_method(objective, fresh(NETWORK), make_decoder(), optimizer)
        state = method.init(jax.random.key(0), toy_start(INPUTS))
        jax.block_until_ready(method.step(jax.random.key(0), state, INPUTS))
        jax.effects_barrier()
    assert told == [2, 7]


def test_the_source_advances_with_the_updated_images():
    def advance(key, state, learner, synthetic, inputs):
        return jnp.sum(synthetic.images)

    source = LearnerSource(
        lambda key: jnp.float32(0), lambda key, state, inputs: Learner({}, {}), advance
    )
    method = make_method(sum_objective, source, make_decoder(), optax.sgd(1.0))
    state = method.init(jax.random.key(0), toy_start(INPUTS))
    state, _ = jax.jit(method.step)(jax.random.key(1), state, INPUTS)
    expected = np.sum(toy_start(INPUTS).images - 1)
    np.testing.assert_allclose(state.source, expected, rtol=1e-5)


def unlike(codes, seed=0):
    """Gradients of the shapes of some codes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), codes)


UPDATES = SGD(0.5).make(3.0), SGD(0.0).make(2.0), SGD(0.5).make(0.5)
CODES = start_for(toy_recipe("datm"))  # with labels to learn


def test_images_labels_and_step_size_have_optimisers_of_their_own():
    """v <- mu v + g and x <- x - lr v, each with rate and momentum of its own."""
    optimizer = make_optimizer(
        SGD(0.4).make(3.0), SGD(0.9).make(2.0), SGD(0.5).make(0.5)
    )
    codes = CODES
    state, velocity = optimizer.init(codes), jax.tree.map(jnp.zeros_like, codes)
    factors = {"images": (3.0, 0.4), "labels": (2.0, 0.9), "step_size": (0.5, 0.5)}
    for t in range(3):
        gradient = unlike(codes, t)
        updates, state = optimizer.update(gradient, state, codes, value=jnp.float32(0))
        for leaf, (rate, momentum) in factors.items():
            v = momentum * getattr(velocity, leaf) + getattr(gradient, leaf)
            velocity = velocity._replace(**{leaf: v})
            np.testing.assert_allclose(getattr(updates, leaf), -rate * v, rtol=1e-4)


@pytest.mark.parametrize("value", [1.5, 1.0001, float("inf"), float("nan")])
def test_a_loss_above_the_gate_changes_neither_codes_nor_momentum(value):
    """The next step below it is as if there had been none in between."""
    optimizer, codes = make_optimizer(*UPDATES, gate=1.0), CODES
    update = jax.jit(lambda g, s, v: optimizer.update(g, s, codes, value=v))
    _, begun = update(unlike(codes, 1), optimizer.init(codes), jnp.float32(0.5))
    updates, after = update(unlike(codes, 2), begun, jnp.float32(value))
    assert not any(np.any(x) for x in jax.tree.leaves(updates))
    assert_close(after.inner_state, begun.inner_state, rtol=0, atol=0)
    expected, _ = update(unlike(codes, 3), begun, jnp.float32(1.0))  # at the gate
    found, _ = update(unlike(codes, 3), after, jnp.float32(1.0))
    assert_close(found, expected, rtol=0, atol=0)
    assert all(np.any(x) for x in jax.tree.leaves(found))


def test_a_gated_step_counts_on_and_the_match_alone_decides():
    """Only in the second step the match lies above the gate; the loss always does."""

    def objective(key, synthetic, learner, inputs, step):
        match = jnp.where(step == 1, 1.5, 0.5)
        parts = [jnp.sum(x) for x in jax.tree.leaves(synthetic)]
        return match + 1e4 + (1 + step) * sum(parts), {"match": match}

    optimizer = make_optimizer(*UPDATES, gate=1.0)
    method = make_method(objective, fresh(NETWORK), make_decoder(), optimizer)
    states = [method.init(jax.random.key(0), CODES)]
    step = jax.jit(method.step)
    for t in range(3):
        state, info = step(jax.random.key(t), states[-1], INPUTS)
        assert info["loss"] > 1.0
        assert info["image_gradient"] > 0
        assert (info["update"] > 0) == (t != 1)
        states.append(state)
    assert [int(state.step) for state in states] == [0, 1, 2, 3]
    assert_close(states[2].codes, states[1].codes, rtol=0, atol=0)
    momenta = [state.optimizer.inner_state for state in states]
    assert_close(momenta[2], momenta[1], rtol=0, atol=0)
    moved = states[2].codes.images - states[3].codes.images
    np.testing.assert_allclose(moved, 3.0 * (3 + 0.5 * 1), rtol=1e-4)


def test_the_teacher_labels_the_images_before_every_step():
    """By the span's target, on the images as they are, without a gradient."""
    recipe = toy_recipe("tesla", labels="teacher")
    method = toy_method(recipe)
    start = start_for(recipe)
    state, step = method.init(jax.random.key(0), start), jax.jit(method.step)
    assert np.array_equal(state.codes.labels, start.labels)
    target = INPUTS.span.target
    other = INPUTS._replace(span=Span(INPUTS.span.start, jax.tree.map(jnp.sin, target)))
    for t, inputs in enumerate((INPUTS, other, INPUTS)):
        images = state.codes.images.reshape(6, 8, 8, 1)
        logits = NETWORK.apply(inputs.span.target, {}, images, False)[0].logits
        e = np.exp(np.asarray(logits, float))
        expected = (e / e.sum(-1, keepdims=True)).reshape(3, 2, 3)
        before = state.codes.images
        state, _ = step(jax.random.key(t), state, inputs)
        labels = method.result(state).labels
        np.testing.assert_allclose(labels, expected, rtol=1e-4, atol=1e-6)
        assert not np.allclose(state.codes.images, before, atol=1e-4)
    # The match sees the teacher's: those from before do not matter.
    others = start._replace(labels=jnp.full_like(start.labels, 1 / 3))
    a, b = (
        step(jax.random.key(0), method.init(jax.random.key(0), begun), INPUTS)[0]
        for begun in (start, others)
    )
    assert_close(a.codes, b.codes, rtol=0, atol=0)
