"""Where students start, every expert once per pass, passes over the real samples."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd.data.real import real_data
from jaxdd.errors import UserError
from jaxdd.learners.fresh import fresh
from jaxdd.learners.passes import in_passes
from jaxdd.learners.spans import StartEpochs, spans
from jaxdd.methods.assembly import make_method
from jaxdd.objectives import Sampling, per_class
from jaxdd.synthetic.decoder import make_decoder
from jaxdd.synthetic.initial import initial_set
from jaxdd.types import Evidence, Inputs, Span
from tests.helpers import (
    assert_close,
    linear_network,
    new_learner,
    tiny_network,
    toy_inputs,
    toy_real,
)

EXPERTS = 5
LAST_STEP = 2**31 - 1


# (lowest, highest, first, expansion): DATM's and PAD's, and two that do not divide.
GROWING = [
    (0, 20, 10, 1000),
    (0, 40, 20, 2000),
    (0, 50, 30, 2000),
    (40, 70, 60, 2000),
    (0, 50, 1, 700),
    (3, 100, 4, 999),
]


@pytest.mark.parametrize("numbers", GROWING)
def test_the_bound_grows_as_in_datm(numbers):
    """U = min(T+, T + floor((T+ - T) t / E_x)), exactly, at every step."""
    _, highest, first, expansion = numbers
    steps = np.arange(2 * expansion)
    expected = np.minimum(highest, first + (highest - first) * steps // expansion)
    assert np.array_equal(StartEpochs(*numbers).bound(jnp.asarray(steps)), expected)


@pytest.mark.parametrize("first", [None, 20])
def test_a_range_that_does_not_grow_is_constant(first):
    starts = StartEpochs(lowest=5, highest=20, first=first)
    assert [int(starts.bound(jnp.int32(t))) for t in (0, 1, LAST_STEP)] == [20] * 3


def test_the_bound_stays_at_the_highest_for_ever():
    starts = StartEpochs(lowest=0, highest=50, first=1, expansion=3)
    assert int(starts.bound(jnp.int32(LAST_STEP))) == 50


@pytest.mark.parametrize(
    "numbers",
    [(-1, 5), (5, 5), (6, 5), (0, 0), (2, 5, 2, 10), (2, 5, 1, 10), (0, 5, 6, 10)],
)
def test_an_empty_range_is_the_users_error(numbers):
    with pytest.raises(UserError, match="0 <= lowest < first <= highest"):
        StartEpochs(*numbers)


@pytest.mark.parametrize("expansion", [0, -3])
def test_a_growing_range_needs_a_time_to_grow(expansion):
    with pytest.raises(UserError, match="expansion"):
        StartEpochs(0, 5, 3, expansion)


def plans(starts, steps, seed=0):
    """[steps, 2]: expert and epoch."""
    index = spans(tiny_network(), EXPERTS, starts).span_index
    many = jax.jit(jax.vmap(index, in_axes=(None, 0)))
    return np.asarray(many(jax.random.key(seed), jnp.asarray(steps)))


def test_passes_and_growing_bounds():
    experts = plans(StartEpochs(0, 4), range(20 * EXPERTS))[:, 0]
    passes = experts.reshape(20, EXPERTS)
    assert all(sorted(order) == list(range(EXPERTS)) for order in passes.tolist())
    assert len({tuple(order) for order in passes.tolist()}) > 10
    starts, steps = StartEpochs(1, 30, 2, 500), np.arange(600)
    epochs = plans(starts, steps)[:, 1]
    bounds = np.asarray(starts.bound(jnp.asarray(steps)))
    assert np.all((epochs >= 1) & (epochs < bounds))
    assert np.all(epochs[: 500 // 28] == 1)
    assert epochs[-100:].max() > 25


def test_start_epochs_fill_their_range_for_every_expert():
    epochs = plans(StartEpochs(2, 6), range(2000))[:, 1]
    counts = np.bincount(epochs, minlength=6)
    assert not counts[:2].any()
    assert len(counts) == 6
    assert counts[2:].min() > 400
    # Else some spans would never be seen.
    found = plans(StartEpochs(0, 3), range(600))
    assert len({tuple(row) for row in found.tolist()}) == 3 * EXPERTS


def test_a_plan_depends_on_the_root_key_and_the_step_alone():
    starts = StartEpochs(0, 20)
    found = plans(starts, range(40))
    assert found.dtype == np.int32
    assert np.array_equal(plans(starts, range(39, -1, -1))[::-1], found)
    index = spans(tiny_network(), EXPERTS, starts).span_index
    assert np.array_equal(index(jax.random.key(0), jnp.int32(17)), found[17])
    assert not np.array_equal(plans(starts, range(40), seed=1), found)


def test_the_keys_of_a_plan_are_no_steps_keys(monkeypatch):
    """Step t of a run draws from fold_in(root, t)."""
    root, folded = jax.random.key(0), []
    original = jax.random.fold_in

    def fold_in(key, data):
        if np.array_equal(jax.random.key_data(key), jax.random.key_data(root)):
            folded.append(int(data))
        return original(key, data)

    monkeypatch.setattr(jax.random, "fold_in", fold_in)
    spans(tiny_network(), EXPERTS, StartEpochs(0, 3)).span_index(root, jnp.int32(7))
    assert folded
    assert all(data > LAST_STEP for data in folded)


def seen_in_steps(source, stops):
    """Real samples of each class, step by step, of a run that stops at some steps.

    Returns: {class: [numbers of a step's samples]}, and all states.
    """
    seen = []

    def match(key, synthetic, real, learner):
        show = lambda x, y: seen.append((int(np.argmax(y[0])), np.ravel(x)))
        jax.debug.callback(show, real.images, real.labels, ordered=True)
        return jnp.sum(synthetic.images), Evidence(synthetic, None)

    images = np.arange(24, dtype=np.float32)[:, None, None, None]
    real = real_data(images, np.arange(24) % 3, 3)
    objective = per_class(match, Sampling(2))
    root = jax.random.key(0)
    states = []
    for stop in stops:  # everything is built anew: only the state is carried over
        method = make_method(objective, source, make_decoder(), optax.sgd(1.0))
        step = jax.jit(method.step)
        states = states or [method.init(root, initial_set(root, "real", real, 1))]
        while len(states) <= stop:
            key = jax.random.fold_in(root, len(states) - 1)
            states.append(step(key, states[-1], Inputs(real, real))[0])
    jax.effects_barrier()
    return {k: [x for c, x in seen if c == k] for k in range(3)}, states


def test_a_run_takes_every_sample_once_in_a_pass():
    """Eight of a class, two per step, two passes; a stop within a pass changes nothing.

    Drawn anew in every step, some come twice before all are seen.
    """
    source = fresh(linear_network(1))
    found, states = seen_in_steps(in_passes(source), (3, 8))
    orders = set()
    for k, batches in found.items():
        for first in (0, 4):
            in_pass = np.concatenate(batches[first : first + 4]).astype(int)
            assert sorted(in_pass) == list(range(k, 24, 3))
            orders.add(tuple(in_pass // 3))
    assert len(orders) == 6  # of two passes of three classes
    assert len({int(state.source.order) for state in states}) == 1
    other = in_passes(source).init(jax.random.key(1))
    assert int(other.order) != int(states[0].source.order)
    independent, _ = seen_in_steps(source, (4,))
    assert any(len(set(np.ravel(x[:4]))) < 8 for x in independent.values())


def test_passes_leave_the_networks_as_they_are():
    network, inputs = tiny_network("convnet_bn"), toy_inputs()
    plain = fresh(network)
    ordered, key = in_passes(plain), jax.random.key(0)
    state = ordered.init(key)
    assert_close(
        ordered.draw(key, state, inputs), plain.draw(key, plain.init(key), inputs), 0, 0
    )
    assert ordered.advance(key, state, None, None, inputs) == state
    of_spans = spans(network, EXPERTS, StartEpochs(0, 3))
    assert in_passes(of_spans).span_index is of_spans.span_index


@pytest.mark.parametrize("name", ["convnet", "convnet_bn"])
def test_a_student_starts_where_the_expert_was(name):
    network, real = tiny_network(name), toy_real()
    start, target = (new_learner(network, seed) for seed in (1, 2))
    inputs = Inputs(real, real, Span(start.params, target.params))
    source = spans(network, EXPERTS, StartEpochs())
    key = jax.random.key(0)
    state = source.init(key)
    learner = source.draw(key, state, inputs)
    chex.assert_trees_all_equal(learner, start)  # statistics of a new network
    assert source.advance(key, state, learner, None, inputs) == state
