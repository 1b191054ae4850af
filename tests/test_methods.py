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

from jaxdd.decoders import identity
from jaxdd.errors import UserError
from jaxdd.learners import REFRESH_IMAGES, fresh, pool
from jaxdd.losses import mean_loss
from jaxdd.methods import (
    METHODS,
    Settings,
    build,
    make_method,
    source_of,
    term_share,
    terms_of,
)
from jaxdd.train import Training
from jaxdd.types import Batch, Decoder, Inputs, Learner, LearnerSource, Method
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
CELLS = [(method, variant) for method in METHODS for variant in VARIANTS]
NETWORK = smooth_network()  # quick to compile; ConvNets come with batch norm below
INPUTS = toy_inputs()
SEEDS = 2
STEPS = 30
MATCHES = 3


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
    return dataclasses.replace(base, **{**options, **VARIANTS[variant], **changes})


class Cell(NamedTuple):
    method: Method
    start: Any  # states of SEEDS runs
    step: Callable  # jitted (keys, states, inputs) -> (states, infos)
    traces: list  # grows by one at every trace of the step


@functools.cache
def cell(name: str, variant: str) -> Cell:
    """One compiled program per cell serves all tests: a vmapped step."""
    method = build(NETWORK, toy_settings(name, variant))
    traces = []

    def traced_step(key, state, inputs):
        traces.append(name)
        return method.step(key, state, inputs)

    keys = jax.random.split(jax.random.key(0), SEEDS)
    start = jax.vmap(method.init, (0, None))(keys, toy_start(INPUTS))
    step = jax.jit(jax.vmap(traced_step, (0, 0, None)))
    return Cell(method, start, step, traces)


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
    state = method.init(jax.random.key(0), toy_start(INPUTS))
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
    """With the per-sample term, whose step contains that of the other variants."""
    run, (after, infos) = cell(name, "per_sample"), history(name, "per_sample")[0]
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
    expected = {"loss", "match", "image_gradient"}
    expected |= {"sdc"} if variant != "plain" else set()
    for _, info in history(name, variant):
        assert set(info) == expected
        assert all(np.all(np.isfinite(x)) for x in info.values())


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_the_result_has_new_images_and_the_labels_of_the_start(name, variant):
    run, (end, _) = cell(name, variant), history(name, variant)[-1]
    start = toy_start(INPUTS)
    result = run.method.result(of_seed(end, 0))
    assert np.array_equal(result.labels, start.labels)
    assert np.array_equal(result.step_size, start.step_size)
    assert result.images.shape == start.images.shape
    moved = np.abs(result.images - start.images).max(axis=(2, 3, 4))
    assert np.all(moved > 1e-3)  # every image of every class
    assert np.all(np.asarray(end.step) == STEPS)


@pytest.mark.parametrize(("name", "variant"), CELLS)
def test_the_images_move_by_sgd_with_the_momentum_of_the_settings(name, variant):
    """g1 = -d1 / lr and g2 = -d2 / lr - momentum * g1 have the reported norms."""
    settings = toy_settings(name, variant)
    states = [cell(name, variant).start, *(s for s, _ in history(name, variant)[:2])]
    before, first, second = (np.asarray(s.codes.images, float) for s in states)
    g1 = (before - first) / settings.image_lr
    g2 = (first - second) / settings.image_lr - settings.image_momentum * g1
    for gradient, (_, info) in zip((g1, g2), history(name, variant), strict=False):
        norms = np.sqrt(np.square(gradient).sum((1, 2, 3, 4, 5)))
        np.testing.assert_allclose(info["image_gradient"], norms, rtol=1e-3)


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
    method = cell(name, "per_sample").method
    state = of_seed(cell(name, "per_sample").start, 0)
    step = jax.jit(lambda *args: method.step(*args))
    uses = record_key_uses(monkeypatch)
    with jax.debug_key_reuse(True):  # sees loops, but not folds of a used key
        step.lower(jax.random.key(0), state, INPUTS)
    assert len(uses) > 5
    for _, names in uses.values():
        folds = [use for use in names if use == "fold_in" or use[0] == "fold_in"]
        assert len(names) == 1 or len(folds) == len(names), names
        assert len(set(names)) == len(names), names


# --- Modifiers change what they should, and nothing else ----------------------------


@pytest.mark.parametrize("variant", ["mean", "per_sample"])
@pytest.mark.parametrize("name", METHODS)
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


@pytest.mark.parametrize("name", METHODS)
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
        {"objective": "trajectory"},
        {"source": "bank"},
        {"distance": "l7"},
        {"augmentation": "color_blur"},
        {"sdc_norm": "max"},
        {"sdc_schedule": "cosine"},
        {"sdc_weight": float("nan")},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_setting_is_the_users_error(wrong):
    with pytest.raises(UserError):
        build(NETWORK, Settings(**wrong))


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
