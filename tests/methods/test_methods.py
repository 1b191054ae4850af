"""The contract that every method keeps, with and without modifiers."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.errors import UserError
from jaxdd.fields import flat
from jaxdd.learners.context import Context
from jaxdd.learners.pools import Pool, TrainedBetween
from jaxdd.learners.spans import Spans
from jaxdd.learners.windows import Windows
from jaxdd.methods.build import build, term_share
from jaxdd.methods.recipe import Recipe
from jaxdd.modifiers.sdc import SDC
from jaxdd.objectives.regression import OnFeatures
from jaxdd.objectives.unrolled import UnrolledLoss
from jaxdd.synthetic.optimizer import SGD
from jaxdd.types import Inputs, Method
from tests.helpers import assert_close, toy_start
from tests.toy_methods import (
    INPUTS,
    NETWORK,
    STEPPING,
    VARIANTS,
    inputs_of,
    is_new,
    start_for,
    toy_method,
    toy_recipe,
)

# Terms meet the objective: all variants for its first method, the others plain. That
# the correction has an effect on every method is in `test_cells`.
FIRST = {STEPPING[m].objective.name: m for m in reversed(STEPPING)}
# Whose terms meet the same evidence as those of another objective.
ALIKE = ("convex", "statistics")
VARIED = [m for name, m in FIRST.items() if name not in ALIKE][::-1]
PAIRS = [(m, v) for m in STEPPING for v in VARIANTS if v == "plain" or m in VARIED]
# The mean gradient's norm is a part of what the per-sample one needs, and a method
# whose objective is the first of none is made of axes that the others have.
CELLS = [
    pytest.param(
        m, v, marks=() if m in VARIED and v == "per_sample" else pytest.mark.slow
    )
    for m, v in PAIRS
]
SEEDS = 2
STEPS = 30


class Cell(NamedTuple):
    recipe: Recipe
    method: Method
    inputs: Inputs
    start: Any  # states of SEEDS runs
    step: Callable  # jitted (keys, states, inputs) -> (states, infos)
    traces: list  # grows by one at every trace of the step


@functools.cache
def cell(name: str, variant: str) -> Cell:
    """One compiled program per cell serves all tests: a vmapped step."""
    recipe = toy_recipe(name, variant)
    method = toy_method(recipe)
    traces = []

    def traced_step(key, state, inputs):
        traces.append(name)
        return method.step(key, state, inputs)

    keys = jax.random.split(jax.random.key(0), SEEDS)
    start = jax.vmap(method.init, (0, None))(keys, start_for(recipe))
    step = jax.jit(jax.vmap(traced_step, (0, 0, None)))
    return Cell(recipe, method, inputs_of(recipe), start, step, traces)


def keys_at(step):
    return jax.random.split(jax.random.fold_in(jax.random.key(1), step), SEEDS)


@functools.cache
def history(name: str, variant: str) -> list:
    """[(states, infos)] after each of STEPS steps."""
    run, states, result = cell(name, variant), cell(name, variant).start, []
    for t in range(STEPS):
        states, infos = run.step(keys_at(t), states, run.inputs)
        result.append((states, infos))
    return result


def of_seed(tree, seed):
    return jax.tree.map(lambda x: x[seed], tree)


# --- The contract -------------------------------------------------------------------


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_many_steps_are_one_compilation(name, variant):
    history(name, variant)
    assert len(cell(name, variant).traces) == 1


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_the_key_decides_the_result(name, variant):
    run, (once, _) = cell(name, variant), history(name, variant)[0]
    again, _ = run.step(keys_at(0), run.start, run.inputs)
    other, _ = run.step(keys_at(1), run.start, run.inputs)
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(again), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(once.codes.images, other.codes.images)
    assert not np.array_equal(once.codes.images[0], once.codes.images[1])


# Each operation by itself takes long to compile: one method, and the others are left
# to `make test-slow`.
BY_ITSELF = [
    pytest.param(name, marks=() if name == "dm" else pytest.mark.slow)
    for name in STEPPING
]


@pytest.mark.parametrize("name", BY_ITSELF)
def test_a_step_is_the_same_without_jit_and_without_vmap(name):
    """Where there is one with the per-sample term, which contains the other steps."""
    variant = "per_sample" if name in VARIED else "plain"
    run, (after, infos) = cell(name, variant), history(name, variant)[0]
    single, info = run.method.step(keys_at(0)[1], of_seed(run.start, 1), run.inputs)
    assert_close(single, of_seed(after, 1), rtol=1e-4, atol=1e-5)
    assert_close(info, of_seed(infos, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_the_loss_falls_on_fixed_draws(name, variant):
    """Same networks, samples and augmentations before and after 30 steps."""
    run, (end, _) = cell(name, variant), history(name, variant)[-1]
    moved = run.start._replace(codes=end.codes)

    def loss(states):
        values = [
            run.step(keys_at(1000 + t), states, run.inputs)[1]["loss"] for t in range(4)
        ]
        return np.mean(values, axis=0)

    assert np.all(loss(moved) < 0.95 * loss(run.start))


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_info_has_constant_keys_and_finite_values(name, variant):
    expected = {"loss", "match", "image_gradient", "update"}
    if flat(cell(name, variant).recipe).get("calibration"):
        expected |= {"calibration"}
    if cell(name, variant).recipe.taught:
        expected |= {"entropy", "statistics"}
    expected |= {"sdc"} if variant != "plain" else set()
    regression = isinstance(cell(name, variant).recipe.objective, OnFeatures)
    expected |= {"residual"} if regression else set()
    expected |= {"forgetting"} if cell(name, variant).recipe.count > 1 else set()
    for _, info in history(name, variant):
        assert set(info) == expected
        assert all(np.all(np.isfinite(x)) for x in info.values())


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_the_result_has_new_images_and_what_else_is_learned(name, variant):
    run, (end, _) = cell(name, variant), history(name, variant)[-1]
    start, recipe = start_for(run.recipe), run.recipe
    result = run.method.result(of_seed(end, 0))
    stored = run.method.stored(of_seed(end, 0))
    if not recipe.as_targets:
        np.testing.assert_allclose(result.labels.sum(-1), 1, rtol=1e-5)
    if not (recipe.learned_labels or recipe.as_targets):
        assert np.array_equal(stored.labels, start.labels)
    else:
        before = run.method.result(of_seed(run.start, 0)).labels
        assert np.all(np.abs(result.labels - before).max(-1) > 1e-3)
    scalar = ("step_size_lr", "temperature_lr")
    learned = any(flat(recipe).get(name, 0) > 0 for name in scalar)
    assert (result.step_size != start.step_size) == learned
    count = recipe.formation.count(start.images.shape[1])
    assert result.images.shape == (3, count, *start.images.shape[2:])
    assert stored.images.shape == start.images.shape
    begun = run.method.stored(of_seed(run.start, 0)).images
    moved = np.abs(stored.images - begun).max(axis=(2, 3, 4))
    assert np.all(moved > 1e-3)  # every image of every class
    assert np.all(np.asarray(end.step) == STEPS)


def norms_of(trees):
    """[SEEDS]: the norm over all leaves."""
    squares = [np.square(x).reshape(SEEDS, -1).sum(1) for x in jax.tree.leaves(trees)]
    return np.sqrt(sum(squares))


BY_SGD = [
    c for c in CELLS if isinstance(STEPPING[str(c.values[0])].images.optimizer, SGD)
]


@pytest.mark.parametrize(("name", "variant"), BY_SGD)
def test_the_codes_move_by_sgd_with_the_momentum_of_the_recipe(name, variant):
    """g1 = -d1 / lr and g2 = -d2 / lr - momentum * g1 have the reported norms.

    Between two turns of a class, momentum of "sequential" steps has acted three times.
    """
    run = cell(name, variant)
    flags = flat(run.recipe)
    rate, m = flags["image_lr"], flags["image_momentum"]
    if flags["image_steps"] == "sequential":
        rate, m = rate * (1 + m + m**2), m**3
    rates = {
        "images": (rate, m),
        "labels": (flags.get("label_lr", 0), flags.get("label_momentum")),
        "step_size": (flags.get("step_size_lr", 0), 0.5),
    }
    states = [run.start, *(state for state, _ in history(name, variant)[:2])]
    first, second, moves = {}, {}, ({}, {})
    for leaf, (rate, momentum) in rates.items():
        x = [np.asarray(getattr(state.codes, leaf), float) for state in states]
        moves[0][leaf], moves[1][leaf] = x[1] - x[0], x[2] - x[1]
        if rate:
            first[leaf] = -moves[0][leaf] / rate
            second[leaf] = -moves[1][leaf] / rate - momentum * first[leaf]
        else:
            assert np.array_equal(x[0], x[2])
    entries = zip((first, second), moves, history(name, variant), strict=False)
    for gradient, move, (_, info) in entries:
        np.testing.assert_allclose(info["image_gradient"], norms_of(gradient), 1e-3)
        np.testing.assert_allclose(info["update"], norms_of(move), 1e-3)


DRAWS = ("split", "fold_in", "uniform", "normal", "randint", "bernoulli", "permutation")


def record_key_uses(monkeypatch):
    """All uses of keys from now on: {id: (key, [name or (name, number folded in)])}."""
    uses = {}

    def recorded(name, function):
        @functools.wraps(function)
        def call(key, *args, **options):
            folded = name == "fold_in" and isinstance(args[0], int)
            use = (name, args[0]) if folded else name
            uses.setdefault(id(key), (key, []))[1].append(use)
            return function(key, *args, **options)

        return call

    for name in DRAWS:
        monkeypatch.setattr(jax.random, name, recorded(name, getattr(jax.random, name)))
    return uses


# Other values of MTT's, DATM's and IDC's axes, from the same draws.
SAME_DRAWS = ("ftd", "tesla", "pad", "d4a")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(x, marks=pytest.mark.slow if x in SAME_DRAWS else ())
        for x in STEPPING
    ],
)
def test_keys_are_never_used_twice(name, monkeypatch):
    """A key is drawn from or split once, or numbers are folded into it."""
    variant = "per_sample" if name in VARIED else "plain"
    method, inputs = cell(name, variant).method, cell(name, variant).inputs
    state = of_seed(cell(name, variant).start, 0)
    step = jax.jit(lambda *args: method.step(*args))
    uses = record_key_uses(monkeypatch)
    # It sees loops, but not folds of a used key. A student draws its minibatches once
    # more in the backward pass, from the same keys, on purpose.
    recipe = STEPPING[name]
    student = recipe.needs_experts or isinstance(recipe.objective, UnrolledLoss)
    with jax.debug_key_reuse(not student):
        step.lower(jax.random.key(0), state, inputs)
    assert len(uses) > 5
    for _, names in uses.values():
        folds = [use for use in names if use == "fold_in" or use[0] == "fold_in"]
        assert len(names) == 1 or len(folds) == len(names), names
        assert len(set(names)) == len(names), names


# --- Modifiers change what they should, and nothing else ----------------------------


@pytest.mark.parametrize(
    "variant", [pytest.param("mean", marks=pytest.mark.slow), "per_sample"]
)
@pytest.mark.parametrize("name", VARIED)
def test_the_correction_changes_the_images_but_not_what_is_matched(name, variant):
    plain, info = history(name, "plain")[0]
    corrected, corrected_info = history(name, variant)[0]
    # Same network, samples and augmentation: the match has the same value.
    np.testing.assert_allclose(corrected_info["match"], info["match"], rtol=1e-5)
    expected = info["match"] + 0.5 * corrected_info["sdc"]
    np.testing.assert_allclose(corrected_info["loss"], expected, rtol=1e-5)
    difference = np.abs(corrected.codes.images - plain.codes.images)
    step = np.abs(plain.codes.images - cell(name, "plain").start.codes.images)
    assert difference.max() > 1e-3 * step.max()


def test_the_term_follows_its_choice():
    rising = SDC(weight=-2.0, schedule="linear", horizon=10)
    entry = rising.make(NETWORK)["sdc"]
    assert [float(entry.schedule(jnp.int32(t))) for t in (0, 5, 10)] == [0, -1, -2]
    assert not entry.relative
    assert dataclasses.replace(rising, relative=True).make(NETWORK)["sdc"].relative
    assert SDC(weight=0.0).make(NETWORK) == {}


def replaced(method, **choices):
    return dataclasses.replace(toy_recipe(method), **choices)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: replaced("mtt", learner=Pool()), "the learner source Spans"),
        (lambda: replaced("mtt", learner=Spans(max_start=None)), "max_start"),
        (lambda: toy_recipe("mtt", min_start=5), "0 <= lowest < first <= highest"),
        (lambda: toy_recipe("mtt"), "a bank of experts"),
        (lambda: replaced("dsa", learner=Spans()), "has none that follow"),
        (lambda: replaced("dsa", learner=Windows()), "UnrolledLoss"),
        (lambda: toy_recipe("rat_bptt", student_steps=9), "does not fit"),
        (lambda: toy_recipe("rat_bptt", min_warmup=3), "at most 2"),
        (lambda: toy_recipe("rat_bptt", labels="targets"), "such numbers"),
        (lambda: toy_recipe("dsa", labels="teacher"), "matches trajectories"),
        (lambda: toy_recipe("mtt", labels="teacher", factor=2), "whole images"),
        (lambda: toy_recipe("dsa", sdc_weight=1.0, sdc_at="path"), "use start"),
        (lambda: SDC(at="path", norm="per_sample"), "along the path"),
        (lambda: toy_recipe("dsa", space="pixels"), "space of the data"),
        (lambda: toy_recipe("dsa", augmentation="color_blur"), "blur"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_choices_that_do_not_fit_are_the_users_error(wrong, message):
    """Some are refused as they are put together, the others without their context."""
    with pytest.raises(UserError, match=message):
        build(NETWORK, wrong(), Context(experts=None if "bank" in message else 4))


def test_the_share_of_the_terms_grows_with_their_weight():
    """A linear schedule up to step 100 gives three weights in one program."""
    changes = {"sdc_weight": 50.0, "sdc_schedule": "linear", "sdc_horizon": 100}
    recipe = toy_recipe("dm", augmentation="none", **changes)
    share = jax.jit(term_share(NETWORK, recipe))
    state = build(NETWORK, recipe).init(jax.random.key(0), toy_start(INPUTS))
    none, little, much = (
        float(share(jax.random.key(1), state._replace(step=jnp.int32(t)), INPUTS))
        for t in (0, 1, 100)
    )
    assert none == 0
    assert 0 < little < much < 1
    odds = [share / (1 - share) for share in (little, much)]
    assert odds[1] == pytest.approx(100 * odds[0], rel=1e-2)


# --- What a method makes of its state -----------------------------------------------


def test_the_result_of_ftd_is_the_moving_average_of_the_images():
    """E <- d E + (1 - d) X after every step, from the start on; nothing else."""
    run, start = cell("ftd", "plain"), cell("ftd", "plain").start
    average = np.asarray(start.codes.images, float)
    for state, _ in history("ftd", "plain"):
        average = 0.9 * average + 0.1 * np.asarray(state.codes.images, float)
        found = jax.vmap(run.method.result)(state)
        np.testing.assert_allclose(found.images, average, rtol=1e-4, atol=1e-4)
        assert np.array_equal(found.labels, state.codes.labels)
        assert np.array_equal(found.step_size, state.codes.step_size)
    assert np.abs(average - state.codes.images).max() > 1e-2


@pytest.mark.parametrize("name", STEPPING)
def test_the_buffers_of_a_state_can_be_given_away(name):
    """No two leaves are one buffer, nor one of the start's."""
    method, start = cell(name, "plain").method, start_for(cell(name, "plain").recipe)
    give = jax.jit(lambda state: jax.tree.map(lambda x: x + 0, state), donate_argnums=0)
    give(method.init(jax.random.key(0), start))
    assert np.isfinite(start.images).all()  # raises for one that is given away


# --- Networks in training -----------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(m, marks=() if m in ("dc", "idc") else pytest.mark.slow)
        for m in STEPPING
        if isinstance(STEPPING[m].learner, TrainedBetween)
    ],
)
def test_a_network_is_trained_between_matches_and_replaced_after_the_last(name):
    run = cell(name, "plain")
    sources = [of_seed(run.start.source, 0)]
    sources += [of_seed(states.source, 0) for states, _ in history(name, "plain")[:7]]
    if flat(STEPPING[name])["sampling"] == "passes":
        assert len({int(s.order) for s in sources}) == 1  # one for the whole run
        sources = [s.source for s in sources]
    of_pool = isinstance(STEPPING[name].learner, Pool)
    learners = [s.learner if of_pool else s.training.learner for s in sources]
    assert [int(s.age) for s in sources] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [is_new(x) for x in learners] == [s.age == 0 for s in sources]
    kernels = [x.params["body"]["kernel"] for x in learners]
    jumps = [np.abs(b - a).max() for a, b in itertools.pairwise(kernels)]
    # Training moves a little, replacing a lot: also the last match leaves no update.
    assert np.all(np.array(jumps)[[2, 5]] > 3 * np.max(np.array(jumps)[[0, 1, 3, 4]]))
