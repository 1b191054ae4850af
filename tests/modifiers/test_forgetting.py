"""What a match is shown, and D4A's term on every lift: against matches by hand."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.data.real import take
from jaxdd.errors import UserError
from jaxdd.modifiers.forgetting import forgetting
from jaxdd.modifiers.segments import Segments
from jaxdd.objectives import (
    Forgetting,
    Sampling,
    contrastive_match,
    feature_match,
    gradient_match,
    per_class,
    per_set,
    per_span,
    trajectory_match,
)
from jaxdd.primitives import DISTANCES
from jaxdd.primitives.losses import mean_loss
from jaxdd.synthetic.sets import choose_rows, flatten, union
from jaxdd.types import Batch, Inputs, Span, Synthetic
from tests.helpers import (
    assert_close,
    new_learner,
    smooth_network,
    to64,
    toy_batch,
    toy_real,
    toy_start,
)
from tests.toy_methods import INPUTS, start_for, toy_method, toy_recipe

KEY, STEP = jax.random.key(0), jnp.int32(0)
NETWORK = smooth_network()
NO_AUGMENTATION = augment.siamese(())
WEIGHT = 0.7
MATCHES = {
    "gradient": gradient_match(NETWORK, DISTANCES["ours"], NO_AUGMENTATION),
    "features": feature_match(NETWORK, NO_AUGMENTATION),
}
CONTRASTIVE = contrastive_match(NETWORK, DISTANCES["mse"], NO_AUGMENTATION)


def problem():
    """Inputs whose classes have four samples, two of them kept; one slot is empty."""
    full = toy_real((4, 4, 4))
    kept = full._replace(counts=jnp.full(3, 2, jnp.int32))
    earlier = toy_start(Inputs(full, full), ipc=3, seed=8)
    earlier = earlier._replace(labels=earlier.labels.at[:, 2].set(0))
    return Inputs(kept, full, earlier=earlier)


def without_padding(earlier: Synthetic) -> Synthetic:
    return earlier._replace(images=earlier.images[:, :2], labels=earlier.labels[:, :2])


# --- Rows that are shown ------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 5, 9])
def test_all_rows_are_shown_where_there_are_few(size):
    batch = toy_batch(5, padding=2)
    chex.assert_trees_all_equal(choose_rows(KEY, batch, size), batch)


def test_a_random_choice_of_images_comes_before_padding():
    """Each with its label; every image has its turn."""
    batch = toy_batch(8)
    absent = jnp.array([1, 4, 5])
    batch = batch._replace(labels=batch.labels.at[absent].set(0))
    choose = jax.jit(lambda key: choose_rows(key, batch, 3))
    seen = np.zeros(8, int)
    for seed in range(40):
        shown = choose(jax.random.key(seed))
        chex.assert_shape(shown.images, (3, 8, 8, 1))
        same = (shown.images[:, None] == batch.images[None]).all((2, 3, 4))
        index = np.argmax(same, axis=1)
        assert len(set(index.tolist())) == 3
        assert np.array_equal(shown.labels, batch.labels[index])
        seen[index] += 1
    assert not np.any(seen[absent])
    assert seen[[0, 2, 3, 6, 7]].min() > 10


def test_padding_fills_up_where_images_are_too_few():
    batch = toy_batch(8, padding=6)
    shown = choose_rows(KEY, batch, 5)
    assert int(jnp.sum(jnp.any(shown.labels > 0, axis=-1))) == 2


# --- The term by name ---------------------------------------------------------------


def test_the_term_by_name():
    assert forgetting("proxy", 2.0) == Forgetting("proxy", 2.0)
    assert forgetting("none", 2.0) is forgetting("replay", 0.0) is None
    for build in (
        lambda: forgetting("memory", 1.0),
        lambda: Forgetting("memory", 1.0).choose(1, 2),
    ):
        with pytest.raises(UserError, match="'memory': choose one of none, proxy, re"):
            build()


@pytest.mark.parametrize("kind", ["proxy", "replay"])
def test_the_term_needs_the_earlier_images(kind):
    lifted = per_class(MATCHES["features"], Sampling(2), None, Forgetting(kind, 1.0))
    inputs = problem()._replace(earlier=None)
    with pytest.raises(UserError, match=r"inputs\.earlier"):
        lifted(KEY, toy_start(inputs), new_learner(NETWORK), inputs, STEP)


# --- Class by class -----------------------------------------------------------------


def by_hand(match, kind, start, learner, inputs):
    """The match and the term, class by class; all samples of a class are drawn."""
    matched = remembered = 0.0
    earlier = without_padding(inputs.earlier)
    for k in range(3):
        new = Batch(start.images[k], start.labels[k])
        before = Batch(earlier.images[k], earlier.labels[k])
        kept = take(inputs.full, inputs.full.table[k, :2])
        matched += match(KEY, new, kept, learner)[0]
        if kind == "proxy":
            remembered += match(KEY, new, before, learner)[0]
        else:
            both = jax.tree.map(lambda *x: jnp.concatenate(x), before, new)
            everything = take(inputs.full, inputs.full.table[k])
            remembered += match(KEY, both, everything, learner)[0]
    return matched + WEIGHT * remembered, {"match": matched, "forgetting": remembered}


@pytest.mark.parametrize(
    ("kind", "name"), [("replay", "gradient"), ("proxy", "features")]
)
def test_per_class_the_term_is_the_match_on_other_sets(x64, name, kind):
    """Four of two kept samples are each of them twice; the gradient as well."""
    inputs = to64(problem())
    start, learner = to64(toy_start(inputs, ipc=2)), to64(new_learner(NETWORK))
    match = MATCHES[name]
    lifted = per_class(match, Sampling(4), None, Forgetting(kind, WEIGHT))

    @jax.jit
    def ours(synthetic):
        value = lambda s: lifted(KEY, s, learner, inputs, STEP)
        return jax.value_and_grad(value, has_aux=True)(synthetic)

    @jax.jit
    def naive(synthetic):
        value = lambda s: by_hand(match, kind, s, learner, inputs)
        return jax.value_and_grad(value, has_aux=True)(synthetic)

    (value, info), gradient = ours(start)
    (expected, parts), by_loop = naive(start)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    assert_close(dict(info), parts, rtol=1e-9)
    assert_close(gradient, by_loop, rtol=1e-7, atol=1e-10)
    assert float(info["forgetting"]) > 1e-3


def test_per_class_nothing_is_forgotten_where_nothing_was_made():
    """The first segment: zero, with the gradient of the match alone."""
    inputs = problem()
    empty = jax.tree.map(jnp.zeros_like, inputs.earlier)
    inputs = inputs._replace(earlier=empty)
    start, learner = toy_start(inputs, ipc=2), new_learner(NETWORK)

    def gradient(remember):
        lifted = per_class(MATCHES["gradient"], Sampling(4), None, remember)
        value = lambda s: lifted(KEY, s, learner, inputs, STEP)
        return jax.jit(jax.value_and_grad(value, has_aux=True))(start)

    (value, info), with_term = gradient(Forgetting("replay", WEIGHT))
    (plain, _), without = gradient(None)
    assert float(info["forgetting"]) == 0
    np.testing.assert_allclose(value, plain, rtol=1e-6)
    chex.assert_tree_all_finite(with_term)
    assert_close(with_term, without, rtol=1e-5, atol=1e-7)


def test_only_as_many_synthetic_images_as_asked_for_are_shown():
    """Of four images of a class two get a gradient, other ones at another key."""
    inputs = problem()
    start, learner = toy_start(inputs, ipc=4), new_learner(NETWORK)
    lifted = per_class(MATCHES["features"], Sampling(4, synthetic=2))

    @jax.jit
    @jax.grad
    def gradient(images, key):
        synthetic = start._replace(images=images)
        return lifted(key, synthetic, learner, inputs, STEP)[0]

    shown = []
    for seed in range(4):
        moved = np.any(gradient(start.images, jax.random.key(seed)), axis=(2, 3, 4))
        assert moved.sum(axis=1).tolist() == [2, 2, 2]
        shown.append(tuple(moved.ravel().tolist()))
    assert len(set(shown)) > 1


# --- All classes at once ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["proxy", "replay"])
def test_per_set_the_term_is_the_match_on_other_sets(x64, kind):
    inputs = to64(problem())
    start, learner = to64(toy_start(inputs, ipc=2)), to64(new_learner(NETWORK))
    remember = Forgetting(kind, WEIGHT)
    lifted = jax.jit(per_set(CONTRASTIVE, Sampling(4), None, remember))
    value, info = lifted(KEY, start, learner, inputs, STEP)
    earlier = without_padding(inputs.earlier)

    @jax.jit
    def distance(made: Synthetic, samples):
        """Gradients of all samples at once: classes have equally many."""
        gradient = jax.grad(mean_loss(NETWORK))
        target = jax.tree.map(lambda *x: jnp.concatenate(x), *samples)
        pair = (gradient(learner.params, x, {}) for x in (target, flatten(made)))
        return DISTANCES["mse"](*pair)

    rows = inputs.full.table
    kept = [take(inputs.full, rows[k, :2]) for k in range(3)]
    matched = distance(start, kept)
    if kind == "proxy":
        before = [Batch(earlier.images[k], earlier.labels[k]) for k in range(3)]
        remembered = distance(start, before)
    else:
        everything = [take(inputs.full, rows[k]) for k in range(3)]
        remembered = distance(union(earlier, start), everything)
    np.testing.assert_allclose(info["match"], matched, rtol=1e-9)
    np.testing.assert_allclose(info["forgetting"], remembered, rtol=1e-9)
    np.testing.assert_allclose(value, matched + WEIGHT * remembered, rtol=1e-9)


# --- Trajectories -------------------------------------------------------------------

STUDENT_STEPS = 3
TRAJECTORY = trajectory_match(NETWORK, lambda key, images: images, STUDENT_STEPS)


def span_problem():
    """Start, target from kept samples, and what an expert reached that saw all."""
    inputs, learner = problem(), new_learner(NETWORK)
    towards = lambda seed, t: jax.tree.map(
        lambda a, b: a + t * (b - a), learner.params, new_learner(NETWORK, seed).params
    )
    span = Span(learner.params, towards(1, 0.3), towards(2, 0.4))
    start = toy_start(inputs, ipc=2)._replace(step_size=jnp.float32(0.4))
    return inputs._replace(span=span), start, learner


def student(params, data: Batch, step_size):
    """Plain gradient descent on a whole set."""
    for _ in range(STUDENT_STEPS):
        gradient = jax.grad(mean_loss(NETWORK, True))(params, data, {})
        params = jax.tree.map(lambda p, g: p - step_size * g, params, gradient)
    return params


def missed(end, target, begun):
    squares = lambda a, b: sum(
        jnp.sum((x - y) ** 2)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )
    return squares(end, target) / squares(begun, target)


@pytest.mark.parametrize("kind", ["proxy", "replay"])
def test_per_span_the_term_is_the_distance_of_students(x64, kind):
    """Students train on all images; only new ones and the step size get a gradient."""
    inputs, start, learner = to64(span_problem())
    remember = Forgetting(kind, WEIGHT)
    lifted = per_span(TRAJECTORY, None, remember)
    span, earlier = inputs.span, without_padding(inputs.earlier)

    def naive(synthetic):
        eta = synthetic.step_size
        reach = lambda data: student(learner.params, data, eta)
        together = reach(flatten(union(earlier, synthetic)))
        matched = missed(together, span.target, learner.params)
        if kind == "replay":
            remembered = missed(together, span.whole, learner.params)
        else:
            goal = jax.lax.stop_gradient(reach(flatten(earlier)))
            remembered = missed(reach(flatten(synthetic)), goal, learner.params)
        info = {"match": matched, "forgetting": remembered}
        return matched + WEIGHT * remembered, info

    ours = lambda synthetic: lifted(KEY, synthetic, learner, inputs, STEP)
    (value, info), gradient = jax.jit(jax.value_and_grad(ours, has_aux=True))(start)
    (expected, parts), by_loop = jax.jit(jax.value_and_grad(naive, has_aux=True))(start)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    assert_close(dict(info), parts, rtol=1e-9)
    assert_close(gradient, by_loop, rtol=1e-7, atol=1e-10)
    assert np.any(gradient.images)
    assert float(gradient.step_size) != 0


@pytest.mark.parametrize("kind", ["proxy", "replay"])
def test_per_span_nothing_is_forgotten_where_nothing_was_made(kind):
    """Padding leaves the student as it is without earlier images."""
    inputs, start, learner = span_problem()
    empty = jax.tree.map(jnp.zeros_like, inputs.earlier)

    def gradient(remember, earlier):
        lifted = per_span(TRAJECTORY, None, remember)
        given = inputs._replace(earlier=earlier)
        value = lambda s: lifted(KEY, s, learner, given, STEP)
        return jax.jit(jax.value_and_grad(value, has_aux=True))(start)

    (value, info), with_term = gradient(Forgetting(kind, WEIGHT), empty)
    (plain, _), without = gradient(None, None)
    assert float(info["forgetting"]) == 0
    np.testing.assert_allclose(value, plain, rtol=1e-5)
    chex.assert_tree_all_finite(with_term)
    assert_close(with_term, without, rtol=1e-4, atol=1e-6)


# --- Methods ------------------------------------------------------------------------

# The first method of every lift that is quick to compile.
NAMES = ["dm", "dcc", "mtt"]


def images_after(method, recipe, inputs, steps=3):
    state, step = method.init(KEY, start_for(recipe)), jax.jit(method.step)
    for t in range(steps):
        state, _ = step(jax.random.fold_in(KEY, t), state, inputs)
    return np.asarray(state.codes.images)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_in_one_piece_has_no_term(name):
    """With one segment of any fields: the same program, the same bits."""
    plain = toy_recipe(name, augmentation="none")
    one = Segments(count=1, forgetting="replay", forgetting_weight=5.0, min_keep=3)
    images = [
        images_after(toy_method(recipe), recipe, INPUTS, steps=1)
        for recipe in (plain, dataclasses.replace(plain, segments=one))
    ]
    assert np.array_equal(*images)
