"""Windows of a student's training: where they lie, and what a probe makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.fields import override
from jaxdd.learners.context import Context
from jaxdd.learners.windows import Windows, first_preference, prefer
from jaxdd.methods.build import build
from jaxdd.methods.recipes import METHODS
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.unrolled import UnrolledLoss
from jaxdd.primitives.truncation import train_window
from jaxdd.running.schedule import RunSchedule
from jaxdd.types import Batch, StepWindow
from tests.helpers import (
    Killed,
    assert_close,
    refused,
    smooth_network,
    toy_inputs,
    toy_start,
)
from tests.toy_runs import go, kill_at, outcome, uninterrupted

NETWORK, INPUTS = smooth_network(), toy_inputs()
STEPS, HORIZON = 2, 6
OBJECTIVE = UnrolledLoss(student_steps=STEPS, student_lr=0.05, inner_images=1)
STUDENT = OBJECTIVE.student(NETWORK, Parts())
CONTEXT = Context(student=STUDENT)


def source(policy, **choices):
    choice = Windows(policy, HORIZON, **choices)
    return choice.make(NETWORK, CONTEXT, "none")


def starts(policy, draws=60, **choices):
    made = source(policy, **choices)
    draw = jax.jit(jax.vmap(lambda key: made.draw(key, (), INPUTS).window))
    window = draw(jax.random.split(jax.random.key(0), draws))
    assert window.length is None
    return window.start.tolist()


def test_a_fixed_window_ends_with_the_training():
    assert set(starts("fixed")) == {HORIZON - STEPS}


@pytest.mark.parametrize("lowest", [0, 3])
def test_a_random_window_begins_anywhere_that_leaves_room(lowest):
    assert set(starts("random", min_warmup=lowest)) == {*range(lowest, 5)}


def test_every_draw_is_a_new_network():
    draw = jax.jit(source("random").draw)
    kernels = [
        draw(jax.random.key(seed), (), INPUTS).params["body"]["kernel"]
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


# --- Adaptive -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def choose():
    """Many windows from one probe, compiled once."""
    draws = jax.random.split(jax.random.key(0), 200)
    return jax.jit(
        jax.vmap(lambda key, norms, before: prefer(key, norms, before, 4, 3),
                 (0, None, None))
    ), draws  # fmt: skip


def test_windows_fit_and_probabilities_sum_to_one(choose):
    many, keys = choose
    norms = jnp.asarray(np.random.default_rng(0).uniform(0, 5, 12), jnp.float32)
    window, after = many(keys, norms, first_preference(12))
    end = np.asarray(window.start + window.length)
    assert np.all(np.asarray(window.start) >= 0)
    assert np.all((end >= 1) & (end <= 12))
    lengths = np.asarray(window.length)
    assert set(lengths.tolist()) <= {*range(1, 8)}
    assert len(set(lengths.tolist())) > 2
    np.testing.assert_allclose(after.reference.sum(axis=1), 1, rtol=1e-5)
    assert_close(after.lowest, np.full(200, norms.mean()), 1e-6)


@pytest.mark.parametrize(("lowest", "highest", "sign"), [(0, 1, 1), (4, 9, -1)])
def test_large_gradients_are_preferred_early_and_small_ones_late(
    choose, lowest, highest, sign
):
    """The mean norm of the probe is 2: the largest of the run, or the smallest."""
    many, keys = choose
    norms = jnp.linspace(4.0, 0.0, 12)
    extremes = {"lowest": jnp.float32(lowest), "highest": jnp.float32(highest)}
    before = first_preference(12)._replace(**extremes)
    _, after = many(keys, norms, before)
    reference = after.reference[0]
    assert np.all(sign * np.diff(reference) < 0)
    # The formula by hand, at beta = 1 or -1.
    z = (np.asarray(norms) - 2) / np.std(norms)
    weights = np.exp(sign * z)
    expected = 0.95 / 12 + 0.05 * weights / weights.sum()
    np.testing.assert_allclose(reference, expected, rtol=1e-5)


def test_the_first_probe_counts_as_early_and_equal_norms_change_nothing(choose):
    many, keys = choose
    first = many(keys, jnp.linspace(4.0, 0.0, 12), first_preference(12))[1]
    assert np.all(np.diff(first.reference[0]) < 0)
    flat = many(keys, jnp.ones(12), first_preference(12))[1]
    np.testing.assert_allclose(flat.reference, 1 / 12, rtol=1e-6)


def test_windows_are_long_where_gradients_change(choose):
    many, keys = choose
    norms = jnp.where(jnp.arange(12) < 8, 1.0, 3.0) + jnp.arange(12) * 1e-3
    window, _ = many(keys, norms, first_preference(12))
    last = np.asarray(window.start + window.length) - 1
    lengths = np.asarray(window.length)
    assert set(lengths[last == 8]) == {7}  # W + r at the jump
    assert set(lengths[last == 10]) == {4}  # 4 - 3 + 6 sigmoid(-0.3), rounded


def test_the_probe_is_a_training_of_the_next_network_on_the_set():
    """The step starts where the probe did; the window is what its norms ask for."""
    made, start = source("adaptive", radius=1), toy_start(INPUTS)
    state = made.init(jax.random.key(0))
    assert int(state.learner.window.length) == STEPS
    assert 0 <= int(state.learner.window.start) <= HORIZON - STEPS
    advance = jax.jit(made.advance)
    key = jax.random.key(1)
    after = advance(key, state, state.learner, start, INPUTS)
    again = advance(key, state, state.learner, start, INPUTS)
    assert_close(after, again, 0, 0)
    _, key_probe, key_window = jax.random.split(key, 3)
    drawn = made.draw(key, after, INPUTS)
    assert not np.array_equal(
        drawn.params["body"]["kernel"], state.learner.params["body"]["kernel"]
    )
    begun = STUDENT.optimizer.begin(drawn.params)
    data = Batch(start.images, start.labels)

    @jax.jit
    def expected(begun):
        _, norms = train_window(
            STUDENT.step, begun, data, {}, key_probe, jnp.int32(0), HORIZON
        )
        return prefer(key_window, norms, state.preference, STEPS, 1)

    window, preference = expected(begun)
    assert_close(drawn.window, window, 0, 0)
    assert_close(after.preference, preference)
    other = start._replace(images=3 * start.images)
    moved = advance(key, state, state.learner, other, INPUTS)
    assert not np.allclose(moved.preference.lowest, preference.lowest)


def test_what_does_not_fit_is_refused():
    make = lambda choice: choice.make(NETWORK, CONTEXT, "none")
    with refused(None, "2 student steps", "horizon=1"):
        make(Windows(horizon=1))
    with refused(None, "min_warmup=5", "at most 4"):
        make(Windows(horizon=HORIZON, min_warmup=5))
    with refused("UnrolledLoss"):
        Windows().make(NETWORK, Context(), "none")
    assert Windows("adaptive", 6, radius=9).longest(4) == 6
    assert Windows("random", 6, radius=9).longest(4) == 4
    assert StepWindow(jnp.int32(0)).length is None


def test_an_adaptive_run_is_continued_to_the_same_bits(tmp_path):
    """The next network, its window and the preference are all carried over."""
    changes = {
        "policy": "adaptive", "radius": 1, "horizon": 4, "student_steps": 2,
        "batch_mixed": 4, "augmentation": "none",
    }  # fmt: skip
    method = build(NETWORK, override(METHODS["rat_bptt"], changes))
    schedule = RunSchedule(steps=5, log_every=1, measure_every=5, save_every=2)
    arguments = {"method": method, "schedule": schedule}
    whole = uninterrupted(tmp_path / "whole", **arguments)
    stopped = tmp_path / "stopped"
    with pytest.raises(Killed):
        go(stopped, progress=kill_at(3), **arguments)
    assert outcome(stopped, go(stopped, **arguments).state) == whole
