"""D4A's pieces: sizes, padding, judges, what is kept, what was forgotten."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.modifiers.judges import make_judge
from jaxdd.modifiers.segments import (
    forgotten,
    join,
    keep_hardest,
    pad,
    sizes,
)
from jaxdd.running import resume as runs
from jaxdd.running.loop import Program
from jaxdd.running.schedule import Hooks, RunSchedule
from jaxdd.scores import learnability
from jaxdd.synthetic.sets import flatten
from jaxdd.training.fit import Training, make_fit
from jaxdd.types import Batch, Learner, Method, MethodState, Synthetic
from tests.helpers import refused, smooth_network, toy_inputs, toy_real, toy_start

NETWORK = smooth_network()
INPUTS = toy_inputs()
KEYS = jax.random.split(jax.random.key(0), 3)


def test_sizes_add_up_and_are_as_even_as_possible():
    for ipc in range(1, 30):
        for count in range(1, ipc + 1):
            found = sizes(ipc, count)
            assert (len(found), sum(found)) == (count, ipc)
            assert found == tuple(sorted(found, reverse=True))
            assert found[0] <= found[-1] + 1


@pytest.mark.parametrize(("ipc", "count"), [(3, 4), (1, 2), (5, 0), (5, -1)])
def test_more_segments_than_images_are_refused(ipc, count):
    with refused(f"choose 1 to {ipc} segments", str(count)):
        sizes(ipc, count)


@pytest.mark.parametrize("absent", [0.0, -1e30])
def test_padding_comes_behind_the_images(absent):
    start = toy_start(INPUTS, ipc=2)
    found = pad(start, 5, absent)
    chex.assert_shape(found.images, (3, 5, 8, 8, 1))
    assert np.array_equal(found.images[:, :2], start.images)
    assert np.array_equal(found.labels[:, :2], start.labels)
    assert np.all(np.asarray(found.labels[:, 2:]) == np.float32(absent))
    assert not np.any(found.images[:, 2:])
    assert found.step_size == start.step_size
    chex.assert_trees_all_equal(pad(start, 2), start)


def test_sets_are_joined_class_by_class():
    a, b = toy_start(INPUTS, ipc=2), toy_start(INPUTS, ipc=1, seed=7)
    b = b._replace(step_size=jnp.float32(0.3))
    found = join([a, b])
    chex.assert_shape(found.images, (3, 3, 8, 8, 1))
    for k in range(3):
        assert np.array_equal(found.images[k, :2], a.images[k])
        assert np.array_equal(found.images[k, 2], b.images[k, 0])
        assert np.array_equal(found.labels[k], np.eye(3)[[k] * 3])
    assert float(found.step_size) == np.float32(0.3)


TRAINING = Training(6, learning_rate=0.2, momentum=0.9)  # all images in one batch


def slow_margins(data: Batch, real, rate=None):
    """One network after the other, one sample after the other."""
    fit, total = jax.jit(make_fit(NETWORK, TRAINING)), 0.0
    for key in KEYS:
        key_init, key_fit = jax.random.split(key)
        learner, _ = fit(key_fit, Learner(*NETWORK.init(key_init)), data, rate)
        logits = NETWORK.apply(learner.params, learner.stats, real.images, False)[
            0
        ].logits
        e = np.exp(np.asarray(logits, float))
        total += e / e.sum(1, keepdims=True)
    margins = []
    for p, label in zip(total / len(KEYS), np.asarray(real.labels), strict=True):
        others = [x for k, x in enumerate(p) if k != label]
        margins.append(max(others) - p[label])
    return np.array(margins)


@pytest.fixture(scope="module")
def judge():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learnability, "CHUNK", 10)  # of 36 samples: the last is short
        found = make_judge(NETWORK, TRAINING)
        real, data = toy_real(), flatten(pad(toy_start(INPUTS, ipc=2), 3))
        found(KEYS, data, real)  # traced while the chunks are small
        yield found


def test_margins_are_of_mean_probabilities_at_the_given_rate(judge):
    """Rows of padding in the data, here one of three, do not matter."""
    real, start = toy_real(), toy_start(INPUTS, ipc=2)
    found = np.asarray(judge(KEYS, flatten(pad(start, 3)), real))
    np.testing.assert_allclose(found, slow_margins(flatten(start), real), atol=1e-4)
    assert found.min() < 0 < found.max()
    assert np.all(np.abs(found) <= 1)
    # A learned step size replaces the schedule's, without another program.
    real, start = toy_real(), toy_start(INPUTS, kind="real", ipc=2)
    given = judge(KEYS, flatten(pad(start, 3)), real, jnp.float32(0.02))
    expected = slow_margins(flatten(start), real, jnp.float32(0.02))
    np.testing.assert_allclose(given, expected, atol=1e-4)
    usual = judge(KEYS, flatten(pad(start, 3)), real)
    assert np.abs(given - usual).max() > 0.01


def test_what_padding_shows_does_not_matter(judge):
    start = pad(toy_start(INPUTS, kind="real", ipc=2), 3)
    noisy = start._replace(images=start.images.at[:, 2].set(50.0))
    a, b = (judge(KEYS, flatten(x), toy_real()) for x in (start, noisy))
    np.testing.assert_allclose(a, b, atol=1e-6)


def slow_kept(real, margins, min_keep):
    """Class by class: those in play that are wrong, or else the hardest."""
    kept = []
    for row, count in zip(np.asarray(real.table), np.asarray(real.counts), strict=True):
        in_play = row[:count].tolist()
        hardest = sorted(in_play, key=lambda i: -margins[i])  # stable
        wrong = [i for i in hardest if margins[i] >= 0]
        kept.append(wrong if len(wrong) >= min_keep else hardest[:min_keep])
    return kept


@pytest.mark.parametrize("min_keep", [1, 5, 10, 100])
@pytest.mark.parametrize("counts", [None, (7, 12, 3), (16, 0, 1)])
def test_the_wrong_ones_are_kept_and_never_too_few(min_keep, counts):
    """Also in a window, where what is out of play stays so; ties keep their order."""
    real = toy_real()
    if counts is not None:
        real = real._replace(counts=jnp.asarray(counts, jnp.int32))
    rng = np.random.default_rng(0)
    margins = np.round(rng.uniform(-1, 0.4, len(real.labels)), 1).astype(np.float32)
    found = jax.jit(keep_hardest, static_argnums=2)(
        real, jnp.asarray(margins), min_keep
    )
    expected = slow_kept(real, margins, min_keep)
    assert found.counts.tolist() == [len(x) for x in expected]
    for row, kept in zip(np.asarray(found.table), expected, strict=True):
        assert row[: len(kept)].tolist() == kept
    assert found.table.shape == real.table.shape
    assert (found.counts.dtype, found.table.dtype) == (jnp.int32, jnp.int32)
    assert np.array_equal(found.images, real.images)


def test_what_is_wrong_and_what_was_forgotten():
    """Two classes are equally probable: nobody would call that right."""
    real = toy_real((2, 2, 2))
    margins = jnp.where(jnp.arange(6) == real.table[1, 0], 0.0, -1.0)
    kept = keep_hardest(real, margins, 0)
    assert kept.counts.tolist() == [0, 1, 0]
    assert kept.table[1, 0] == real.table[1, 0]
    rng = np.random.default_rng(0)
    before, after = rng.uniform(-1, 1, (2, 200))
    was = [i for i in range(200) if before[i] < 0]
    lost = [i for i in was if after[i] >= 0]
    found = forgotten(jnp.asarray(before), jnp.asarray(after))
    np.testing.assert_allclose(found, len(lost) / len(was), rtol=1e-5)
    nothing_known = jnp.ones(5)
    assert float(forgotten(nothing_known, -nothing_known)) == 0


def walk(traces) -> Method:
    """Images go towards the earlier ones and the kept samples."""

    def init(key, start):
        return MethodState(jnp.int32(0), start, (), (), ())

    def step(key, state, inputs):
        traces.append(None)
        pull = jnp.mean(inputs.earlier.images) + jnp.sum(inputs.real.counts)
        images = state.codes.images + 1e-3 * pull
        codes = state.codes._replace(images=images)
        info = {"loss": jnp.sum(images)}
        return MethodState(state.step + 1, codes, (), (), ()), info

    codes = lambda state: state.codes
    return Method(init, step, codes, codes)


def test_segments_of_a_run_are_one_program(tmp_path):
    """Whatever was kept and made before."""
    traces: list = []
    method, schedule = walk(traces), RunSchedule(2, 1, 2, 2)
    program = Program(method)
    made, ends = [], []
    for index in range(3):
        folder = tmp_path / str(index)
        folder.mkdir()
        parts = [*made, *[empty()] * (2 - len(made))]
        margins = jax.random.normal(KEYS[0], INPUTS.full.labels.shape) - index
        inputs = INPUTS._replace(
            real=keep_hardest(INPUTS.full, margins, 2), earlier=join(parts[:2])
        )
        state = runs.run(
            folder,
            program,
            lambda: method.init(KEYS[0], toy_start(INPUTS)),
            inputs,
            index,
            schedule,
            Hooks(lambda state: {}),
        ).state
        made.append(state.method.codes)
        ends.append(float(state.method.codes.images.sum()))
    assert len(program.executables) == 1
    assert len(traces) == 2  # shapes of the infos, and the program
    assert len(set(ends)) == 3


def empty() -> Synthetic:
    return jax.tree.map(jnp.zeros_like, toy_start(INPUTS))


def test_scores_choose_which_samples_are_kept_and_margins_how_many():
    """Three are wrong of the first class: those that score highest are kept."""
    real = toy_real((4, 3, 2))
    margins = jnp.where(real.labels == 0, jnp.arange(9) % 2 - 0.5, -1.0)
    scores = jnp.arange(9.0)
    kept = keep_hardest(real, margins, 1, scores)
    plain = keep_hardest(real, margins, 1)
    assert kept.counts.tolist() == plain.counts.tolist()
    for k, count in enumerate(kept.counts.tolist()):
        members = sorted(real.table[k, : real.counts[k]].tolist(), reverse=True)
        assert kept.table[k, :count].tolist() == members[:count]
    assert not np.array_equal(kept.table, plain.table)
