"""The contract that every method keeps, with and without modifiers; and the pool."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd.assembly import make_method
from jaxdd.decoders import identity
from jaxdd.errors import UserError
from jaxdd.learners import REFRESH_IMAGES, fresh, pool
from jaxdd.losses import mean_loss
from jaxdd.methods import build, optimizer_of, source_of, term_share, terms_of
from jaxdd.settings import METHODS, Settings
from jaxdd.train import Training, make_fit
from jaxdd.types import (
    Batch,
    Decoder,
    Inputs,
    Learner,
    LearnerSource,
    Method,
    Span,
    Synthetic,
)
from jaxdd.windows import take
from tests.helpers import (
    assert_close,
    linear_network,
    new_learner,
    smooth_network,
    tiny_network,
    toy_inputs,
    toy_start,
)

pytestmark = pytest.mark.usefixtures("quick_compile")

VARIANTS = {
    "plain": {},
    "mean": {"sdc_weight": 0.5},
    "per_sample": {"sdc_weight": 0.5, "sdc_norm": "per_sample"},
}


def kind(method: str) -> tuple:
    """Terms meet the objective, the source of networks and the augmentation."""
    settings = METHODS[method]
    return settings.objective, settings.source, settings.augmentation != "none"


# All variants for the first method of every kind, the others plain.
VARIED = list({kind(m): m for m in reversed(METHODS)}.values())[::-1]
CELLS = [(m, v) for m in METHODS for v in VARIANTS if v == "plain" or m in VARIED]
NETWORK = smooth_network()  # quick to compile; ConvNets come with batch norm below
EXPERTS = 4  # all of them like the one below
SEEDS = 2
STEPS = 30
MATCHES = 3


def inputs_with_span() -> Inputs:
    """The toy data, and an expert that was trained on it; few methods look at it."""
    inputs, start = toy_inputs(), new_learner(NETWORK)
    fit = jax.jit(make_fit(NETWORK, Training(6, 0.05, batch_size=12), fetch=take))
    end, _ = fit(jax.random.key(3), start, inputs.full)
    return inputs._replace(span=Span(start.params, end.params))


INPUTS = inputs_with_span()


def toy_settings(method: str, variant="plain", **changes) -> Settings:
    """A published method with its loops cut short; `test_augment` has all the ops."""
    base = METHODS[method]
    options = {
        "batch_real": 8,
        "matches": MATCHES if base.source == "pool" else 1,
        "inner_epochs": 2,
        "network_lr": 0.05,
        "augmentation": "none" if base.augmentation == "none" else "crop_flip",
    }
    if base.source == "spans":
        options |= {
            "student_steps": 3,
            "batch_syn": 4,
            "max_start": 5,
            "image_lr": 3.0,
            "step_size": 0.1,
            "step_size_lr": 1e-4,
            "label_lr": 0.3,
            # The loss starts above 1; the gate has tests of its own.
            "gate": 10 * base.gate,
            "ema_decay": 0.9 if base.ema_decay else 0.0,
            "mask_ratio": 0.25 if base.mask != "none" else 0.0,
        }
    return dataclasses.replace(base, **{**options, **VARIANTS[variant], **changes})


def start_for(settings: Settings) -> Synthetic:
    start = toy_start(INPUTS)
    return start._replace(step_size=jnp.float32(settings.step_size))


class Cell(NamedTuple):
    settings: Settings
    method: Method
    start: Any  # states of SEEDS runs
    step: Callable  # jitted (keys, states, inputs) -> (states, infos)
    traces: list  # grows by one at every trace of the step


@functools.cache
def cell(name: str, variant: str) -> Cell:
    """One compiled program per cell serves all tests: a vmapped step."""
    settings = toy_settings(name, variant)
    method = build(NETWORK, settings, experts=EXPERTS)
    traces = []

    def traced_step(key, state, inputs):
        traces.append(name)
        return method.step(key, state, inputs)

    keys = jax.random.split(jax.random.key(0), SEEDS)
    start = jax.vmap(method.init, (0, None))(keys, start_for(settings))
    step = jax.jit(jax.vmap(traced_step, (0, 0, None)))
    return Cell(settings, method, start, step, traces)


def keys_at(step):
    return jax.random.split(jax.random.fold_in(jax.random.key(1), step), SEEDS)


@functools.cache
def history(name: str, variant: str) -> list:
    """[(states, infos)] after each of STEPS steps."""
    run, states, result = cell(name, variant), cell(name, variant).start, []
    for t in range(STEPS):
        states, infos = run.step(keys_at(t), states, INPUTS)
        result.append((states, infos))
    return result


def of_seed(tree, seed):
    return jax.tree.map(lambda x: x[seed], tree)


# --- The contract -------------------------------------------------------------------


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_a_step_keeps_tree_shapes_and_dtypes_and_has_no_weak_types(name, variant):
    method = cell(name, variant).method
    state = method.init(jax.random.key(0), start_for(cell(name, variant).settings))
    after, info = jax.eval_shape(method.step, jax.random.key(1), state, INPUTS)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert not a.weak_type
        assert not b.weak_type
    for value in info.values():
        assert value.shape == ()
        assert value.dtype == jnp.float32


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_many_steps_are_one_compilation(name, variant):
    history(name, variant)
    assert len(cell(name, variant).traces) == 1


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_the_key_decides_the_result(name, variant):
    run, (once, _) = cell(name, variant), history(name, variant)[0]
    again, _ = run.step(keys_at(0), run.start, INPUTS)
    other, _ = run.step(keys_at(1), run.start, INPUTS)
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(again), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(once.codes.images, other.codes.images)
    assert not np.array_equal(once.codes.images[0], once.codes.images[1])


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_the_same_without_jit_and_without_vmap(name):
    """Where there is one with the per-sample term, which contains the other steps."""
    variant = "per_sample" if name in VARIED else "plain"
    run, (after, infos) = cell(name, variant), history(name, variant)[0]
    single, info = run.method.step(keys_at(0)[1], of_seed(run.start, 1), INPUTS)
    assert_close(single, of_seed(after, 1), rtol=1e-4, atol=1e-5)
    assert_close(info, of_seed(infos, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_the_loss_falls_on_fixed_draws(name, variant):
    """Same networks, samples and augmentations before and after 30 steps."""
    run, (end, _) = cell(name, variant), history(name, variant)[-1]
    moved = run.start._replace(codes=end.codes)

    def loss(states):
        values = [
            run.step(keys_at(1000 + t), states, INPUTS)[1]["loss"] for t in range(4)
        ]
        return np.mean(values, axis=0)

    assert np.all(loss(moved) < 0.95 * loss(run.start))


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_info_has_constant_keys_and_finite_values(name, variant):
    expected = {"loss", "match", "image_gradient", "update"}
    expected |= {"sdc"} if variant != "plain" else set()
    for _, info in history(name, variant):
        assert set(info) == expected
        assert all(np.all(np.isfinite(x)) for x in info.values())


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_the_result_has_new_images_and_what_else_is_learned(name, variant):
    run, (end, _) = cell(name, variant), history(name, variant)[-1]
    start, settings = start_for(run.settings), run.settings
    result = run.method.result(of_seed(end, 0))
    np.testing.assert_allclose(result.labels.sum(-1), 1, rtol=1e-5)
    if settings.labels == "hard":
        assert np.array_equal(result.labels, start.labels)
    else:
        before = run.method.result(of_seed(run.start, 0)).labels
        assert np.all(np.abs(result.labels - before).max(-1) > 1e-3)
    learned = settings.step_size_lr > 0
    assert (result.step_size != start.step_size) == learned
    assert result.images.shape == start.images.shape
    moved = np.abs(result.images - start.images).max(axis=(2, 3, 4))
    assert np.all(moved > 1e-3)  # every image of every class
    assert np.all(np.asarray(end.step) == STEPS)


def norms_of(trees):
    """[SEEDS]: the norm over all leaves."""
    squares = [np.square(x).reshape(SEEDS, -1).sum(1) for x in jax.tree.leaves(trees)]
    return np.sqrt(sum(squares))


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_the_codes_move_by_sgd_with_the_momentum_of_the_settings(name, variant):
    """g1 = -d1 / lr and g2 = -d2 / lr - momentum * g1 have the reported norms."""
    run = cell(name, variant)
    s = run.settings
    rates = {
        "images": (s.image_lr, s.image_momentum),
        "labels": (s.label_lr if s.labels == "soft" else 0, s.label_momentum),
        "step_size": (s.step_size_lr, 0.5),
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


DRAWS = (
    "split",
    "fold_in",
    "uniform",
    "normal",
    "randint",
    "bernoulli",
    "permutation",
)


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


@pytest.mark.parametrize("name", METHODS)
def test_keys_are_never_used_twice(name, monkeypatch):
    """A key is drawn from or split once, or numbers are folded into it."""
    variant = "per_sample" if name in VARIED else "plain"
    method = cell(name, variant).method
    state = of_seed(cell(name, variant).start, 0)
    step = jax.jit(lambda *args: method.step(*args))
    uses = record_key_uses(monkeypatch)
    # It sees loops, but not folds of a used key. A student draws its minibatches once
    # more in the backward pass, from the same keys, on purpose.
    with jax.debug_key_reuse(METHODS[name].source != "spans"):
        step.lower(jax.random.key(0), state, INPUTS)
    assert len(uses) > 5
    for _, names in uses.values():
        folds = [use for use in names if use == "fold_in" or use[0] == "fold_in"]
        assert len(names) == 1 or len(folds) == len(names), names
        assert len(set(names)) == len(names), names


# --- Modifiers change what they should, and nothing else ----------------------------


@pytest.mark.parametrize("variant", ["mean", "per_sample"])
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


@pytest.mark.parametrize("name", VARIED)
def test_the_two_norms_are_two_methods(name):
    mean, each = (history(name, v)[0][0].codes.images for v in ("mean", "per_sample"))
    assert not np.allclose(mean, each, atol=1e-6)


def test_the_terms_follow_the_settings():
    settings = Settings(sdc_weight=-2.0, sdc_schedule="linear", sdc_horizon=10)
    entry = terms_of(NETWORK, settings)["sdc"]
    assert [float(entry.schedule(jnp.int32(t))) for t in (0, 5, 10)] == [0, -1, -2]
    assert not entry.relative
    relative = dataclasses.replace(settings, sdc_relative=True)
    assert terms_of(NETWORK, relative)["sdc"].relative
    assert terms_of(NETWORK, Settings()) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"objective": "trajectory"},  # without experts
        {"source": "spans"},
        {"source": "bank"},
        {"labels": "noisy"},
        {"labels": "teacher"},
        {"mask": "width"},
        {"gradient": "half"},
        {"distance": "l7"},
        {"augmentation": "color_blur"},
        {"sdc_norm": "max"},
        {"sdc_schedule": "cosine"},
        {"sdc_weight": float("nan")},
    ],
    ids=lambda wrong: "-".join(map(str, *wrong.items())),
)
def test_a_wrong_setting_is_the_users_error(wrong):
    with pytest.raises(UserError):
        build(NETWORK, Settings(**wrong))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_start": None}, "max_start"),
        ({"min_start": 5}, "0 <= lowest < first <= highest"),
        ({"source": "pool"}, "source spans"),
    ],
)
def test_trajectories_without_what_they_need_are_the_users_error(wrong, message):
    with pytest.raises(UserError, match=message):
        build(NETWORK, toy_settings("mtt", **wrong), experts=EXPERTS)


def test_the_share_of_the_terms_grows_with_their_weight():
    """A linear schedule up to step 100 gives three weights in one program."""
    changes = {"sdc_weight": 50.0, "sdc_schedule": "linear", "sdc_horizon": 100}
    settings = toy_settings("dm", augmentation="none", **changes)
    share = jax.jit(term_share(NETWORK, settings))
    state = build(NETWORK, settings).init(jax.random.key(0), toy_start(INPUTS))
    none, little, much = (
        float(share(jax.random.key(1), state._replace(step=jnp.int32(t)), INPUTS))
        for t in (0, 1, 100)
    )
    assert none == 0
    assert 0 < little < much < 1
    odds = [share / (1 - share) for share in (little, much)]
    assert odds[1] == pytest.approx(100 * odds[0], rel=1e-2)


# --- Composition --------------------------------------------------------------------


def doubling() -> Decoder:
    plain = identity()
    decode = lambda codes: codes._replace(images=2 * codes.images)
    return Decoder(plain.init, decode)


def sum_objective(key, synthetic, learner, inputs, step):
    """Every pixel has the gradient 1, 2, 3, ... in turn."""
    return (1 + step) * jnp.sum(synthetic.images), {}


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


def test_the_optimiser_is_told_the_match_or_else_the_loss():
    told = []

    def update(updates, state, params=None, *, value, **extra):
        jax.debug.callback(lambda v: told.append(float(v)), value)
        return updates, state

    optimizer = optax.GradientTransformationExtraArgs(lambda params: (), update)
    for info in ({"match": jnp.float32(2)}, {}):
        objective = lambda *args, info=info: (jnp.sum(args[1].images) * 0 + 7, info)
        method = make_method(objective, fresh(NETWORK), identity(), optimizer)
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
    method = make_method(sum_objective, source, identity(), optax.sgd(1.0))
    state = method.init(jax.random.key(0), toy_start(INPUTS))
    state, _ = jax.jit(method.step)(jax.random.key(1), state, INPUTS)
    expected = np.sum(toy_start(INPUTS).images - 1)
    np.testing.assert_allclose(state.source, expected, rtol=1e-5)


# --- What the optimiser may move ----------------------------------------------------


def unlike(codes, seed=0):
    """Gradients of the shapes of some codes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), codes)


RATES = {"image_lr": 3.0, "label_lr": 2.0, "step_size_lr": 0.5}


def test_images_labels_and_step_size_have_optimisers_of_their_own():
    """v <- mu v + g and x <- x - lr v, with the rates and momenta of the settings."""
    settings = Settings(labels="soft", image_momentum=0.4, label_momentum=0.9, **RATES)
    optimizer, codes = optimizer_of(settings), start_for(settings)
    state, velocity = optimizer.init(codes), jax.tree.map(jnp.zeros_like, codes)
    factors = {"images": (3.0, 0.4), "labels": (2.0, 0.9), "step_size": (0.5, 0.5)}
    for t in range(3):
        gradient = unlike(codes, t)
        updates, state = optimizer.update(gradient, state, codes, value=jnp.float32(0))
        for leaf, (rate, momentum) in factors.items():
            v = momentum * getattr(velocity, leaf) + getattr(gradient, leaf)
            velocity = velocity._replace(**{leaf: v})
            np.testing.assert_allclose(getattr(updates, leaf), -rate * v, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({"label_lr": 0.0}, {"labels"}),
        ({"step_size_lr": 0.0}, {"step_size"}),
        ({"label_lr": 0.0, "step_size_lr": 0.0}, {"labels", "step_size"}),
        ({"labels": "hard"}, {"labels"}),
        ({"labels": "teacher"}, {"labels"}),
        ({"image_lr": 0.0}, {"images"}),
    ],
)
def test_what_has_no_rate_stays(changes, frozen):
    settings = Settings(**{"labels": "soft", **RATES, **changes})
    optimizer, codes = optimizer_of(settings), start_for(settings)
    state = optimizer.init(codes)
    for _ in range(2):
        updates, state = optimizer.update(unlike(codes), state, codes)
        for leaf in Synthetic._fields:
            assert np.any(getattr(updates, leaf)) == (leaf not in frozen)


@pytest.mark.parametrize("value", [1.5, 1.0001, float("inf"), float("nan")])
def test_a_loss_above_the_gate_changes_neither_codes_nor_momentum(value):
    """The next step below it is as if there had been none in between."""
    settings = Settings(labels="soft", gate=1.0, **RATES)
    optimizer, codes = optimizer_of(settings), start_for(settings)
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

    settings = Settings(gate=1.0, **RATES)
    optimizer = optimizer_of(settings)
    method = make_method(objective, fresh(NETWORK), identity(), optimizer)
    states = [method.init(jax.random.key(0), start_for(settings))]
    step = jax.jit(method.step)
    for t in range(3):
        state, info = step(jax.random.key(t), states[-1], INPUTS)
        assert info["loss"] > settings.gate
        assert info["image_gradient"] > 0
        assert (info["update"] > 0) == (t != 1)
        states.append(state)
    assert [int(state.step) for state in states] == [0, 1, 2, 3]
    assert_close(states[2].codes, states[1].codes, rtol=0, atol=0)
    momenta = [state.optimizer.inner_state for state in states]
    assert_close(momenta[2], momenta[1], rtol=0, atol=0)
    moved = states[2].codes.images - states[3].codes.images
    np.testing.assert_allclose(moved, 3.0 * (3 + 0.5 * 1), rtol=1e-4)


# --- Averages, learned labels, labels of a teacher ----------------------------------


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


@pytest.mark.parametrize("name", METHODS)
def test_the_buffers_of_a_state_can_be_given_away(name):
    """No two leaves are one buffer, nor one of the start's."""
    method, start = cell(name, "plain").method, start_for(cell(name, "plain").settings)
    give = jax.jit(lambda state: jax.tree.map(lambda x: x + 0, state), donate_argnums=0)
    give(method.init(jax.random.key(0), jax.tree.map(jnp.copy, start)))


def test_learned_labels_are_probabilities_of_logits():
    method = cell("datm", "plain").method
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 3)), jnp.float32)
    start = start_for(cell("datm", "plain").settings)._replace(labels=logits)
    state = method.init(jax.random.key(0), start)
    assert np.array_equal(state.codes.labels, logits)
    e = np.exp(np.asarray(logits, float))
    expected = e / e.sum(-1, keepdims=True)
    np.testing.assert_allclose(method.result(state).labels, expected, rtol=1e-5)


def test_the_teacher_labels_the_images_before_every_step():
    """By the span's target, on the images as they are, without a gradient."""
    settings = toy_settings("tesla", labels="teacher")
    method = build(NETWORK, settings, experts=EXPERTS)
    start = start_for(settings)
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


# --- The pool -----------------------------------------------------------------------


def is_new(learner):
    """Biases are zero in a new network and move in training."""
    return not np.any(learner.params["body"]["bias"])


@pytest.mark.parametrize("name", [m for m in METHODS if METHODS[m].source == "pool"])
def test_a_network_is_trained_between_matches_and_replaced_after_the_last(name):
    run = cell(name, "plain")
    sources = [of_seed(run.start.source, 0)]
    sources += [of_seed(states.source, 0) for states, _ in history(name, "plain")[:7]]
    assert [int(s.age) for s in sources] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [is_new(s.learner) for s in sources] == [s.age == 0 for s in sources]
    kernels = [s.learner.params["body"]["kernel"] for s in sources]
    jumps = [np.abs(b - a).max() for a, b in itertools.pairwise(kernels)]
    # Training moves a little, replacing a lot: also the last match leaves no update.
    assert np.all(np.array(jumps)[[2, 5]] > 3 * np.max(np.array(jumps)[[0, 1, 3, 4]]))


def test_training_lowers_the_loss_on_the_current_images():
    network, start = NETWORK, toy_start(INPUTS)
    source = pool(network, MATCHES, Training(5, learning_rate=0.1))
    state = source.init(jax.random.key(0))
    advanced = jax.jit(source.advance)(
        jax.random.key(1), state, state.learner, start, INPUTS
    )
    data = Batch(start.images.reshape(6, 8, 8, 1), start.labels.reshape(6, 3))
    before, after = (
        mean_loss(network)(s.learner.params, data, {}) for s in (state, advanced)
    )
    assert after < 0.9 * before


def test_the_last_match_is_followed_by_no_training():
    """The next network is as drawn from its key, whatever the images."""
    source = pool(NETWORK, 2, Training(1))
    state = source.init(jax.random.key(0))._replace(age=jnp.int32(1))
    advance = jax.jit(source.advance)
    arguments = jax.random.key(1), state, state.learner
    a = advance(*arguments, toy_start(INPUTS), INPUTS)
    b = advance(*arguments, toy_start(INPUTS, seed=5), INPUTS)
    assert a.age == 0
    assert is_new(a.learner)
    assert_close(a.learner.params, b.learner.params, rtol=0, atol=0)
    assert not np.array_equal(
        a.learner.params["head"]["kernel"], state.learner.params["head"]["kernel"]
    )


def test_the_augmentation_of_the_pool_is_that_of_its_training():
    """From black images only biases learn."""
    network = linear_network(64)
    source = pool(network, 2, Training(1), lambda key, images: 0 * images)
    state = source.init(jax.random.key(0))
    advance = jax.jit(source.advance)
    start = toy_start(INPUTS)
    after = advance(jax.random.key(1), state, state.learner, start, INPUTS)
    before = state.learner.params
    assert np.array_equal(after.learner.params["kernel"], before["kernel"])
    unequal = start._replace(labels=start.labels.at[:, :, 0].set(0))
    moved = advance(jax.random.key(1), state, state.learner, unequal, INPUTS)
    assert np.any(moved.learner.params["bias"] != before["bias"])


def test_one_match_per_network_needs_no_pool():
    source = pool(NETWORK, 1, Training(1))
    assert source.init(jax.random.key(0)) == ()
    draw = jax.jit(source.draw)
    a, b, c = (draw(jax.random.key(s), (), INPUTS) for s in (0, 0, 1))
    kernel = lambda learner: np.asarray(learner.params["head"]["kernel"])
    assert np.array_equal(kernel(a), kernel(b))
    assert not np.array_equal(kernel(a), kernel(c))
    assert source.advance(jax.random.key(0), (), a, toy_start(INPUTS), INPUTS) == ()


def test_the_source_of_a_method_follows_its_settings():
    """The same training as a pool that is built by hand."""
    assert source_of(NETWORK, toy_settings("dm")).init(jax.random.key(0)) == ()
    settings = toy_settings("dc", matches=2, inner_epochs=3, network_lr=0.2)
    by_hand = pool(NETWORK, 2, Training(3, 0.2))
    state = by_hand.init(jax.random.key(0))
    arguments = jax.random.key(1), state, state.learner, toy_start(INPUTS), INPUTS
    expected = jax.jit(by_hand.advance)(*arguments)
    assert expected.age == 1
    assert not is_new(expected.learner)
    advanced = jax.jit(source_of(NETWORK, settings).advance)(*arguments)
    assert_close(advanced.learner.params, expected.learner.params)
    assert advanced.age == 1


# --- Batch norm ---------------------------------------------------------------------


def test_statistics_come_from_one_pass_over_real_images_of_all_classes():
    """16 per class are drawn, and there are 16: their order does not matter."""
    network = tiny_network("convnet_bn")
    inputs = toy_inputs((REFRESH_IMAGES,) * 3)
    unseen = Inputs(inputs.real, toy_inputs(seed=7).real)
    for source in (fresh(network), pool(network, 2, Training(1))):
        state = source.init(jax.random.key(0))
        learner = jax.jit(source.draw)(jax.random.key(1), state, unseen)
        _, initial = network.init(jax.random.key(0))
        _, expected = network.apply(learner.params, initial, inputs.real.images, True)
        assert_close(learner.stats, expected, rtol=1e-4, atol=1e-5)
        assert not np.allclose(
            *(jax.tree.leaves(x)[0] for x in (initial, learner.stats)), atol=1e-2
        )


def test_a_network_without_statistics_is_drawn_as_it_is():
    source = pool(NETWORK, 2, Training(1))
    state = source.init(jax.random.key(0))
    assert source.draw(jax.random.key(1), state, INPUTS) is state.learner


def test_a_step_works_with_batch_norm():
    network = tiny_network("convnet_bn")
    method = build(network, toy_settings("dsa", augmentation="crop"))
    state, step = (
        method.init(jax.random.key(0), toy_start(INPUTS)),
        jax.jit(method.step),
    )
    images = [state.codes.images]
    for t in range(2):
        state, info = step(jax.random.key(t), state, INPUTS)
        images.append(state.codes.images)
        assert np.isfinite(info["loss"])
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.codes))
    assert not np.allclose(images[0], images[1], atol=1e-6)
    # The learner that was trained keeps the statistics of refresh and training.
    initial = new_learner(network).stats
    assert not np.allclose(
        *(jax.tree.leaves(x)[0] for x in (initial, state.source.learner.stats)),
        atol=1e-3,
    )
