"""Matches against formulas, the lift over classes against a Python loop."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.data.real import real_data
from jaxdd.devices import policy
from jaxdd.fields import flat, override
from jaxdd.learners.context import Context
from jaxdd.methods.build import objective_of
from jaxdd.methods.recipes import METHODS
from jaxdd.modifiers.sdc import sdc
from jaxdd.modifiers.terms import WeightedTerm, weight_schedule
from jaxdd.objectives import Sampling, feature_match, gradient_match, per_class
from jaxdd.objectives.bases import SampleMatching
from jaxdd.objectives.lifts import class_gradients
from jaxdd.primitives import DISTANCES
from jaxdd.primitives.losses import mean_loss
from jaxdd.types import Batch, Inputs, Learner, Network, Span, Synthetic
from tests.helpers import (
    SHAPE,
    assert_close,
    new_learner,
    smooth_network,
    to64,
    toy_batch,
    toy_inputs,
    toy_start,
    with_convolution,
)

NETWORK = smooth_network()
NO_AUGMENTATION = augment.siamese(())


def match_of(kind, augmentation=NO_AUGMENTATION, network=NETWORK):
    if kind == "distribution":
        return feature_match(network, augmentation)
    return gradient_match(network, DISTANCES[kind], augmentation)


def test_feature_match_is_the_squared_distance_of_the_mean_features():
    learner = new_learner(NETWORK)
    synthetic, real = toy_batch(3, seed=0, padding=1), toy_batch(7, seed=1, padding=2)
    match = jax.jit(match_of("distribution"))
    value, evidence = match(jax.random.key(0), synthetic, real, learner)

    def mean(images):
        outputs, _ = NETWORK.apply(learner.params, learner.stats, images, False)
        return np.asarray(outputs.features[-1], float).mean(0)

    expected = ((mean(synthetic.images[:2]) - mean(real.images[:5])) ** 2).sum()
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert np.array_equal(evidence.batch.images, synthetic.images)


@pytest.mark.parametrize("distance", ["ours", "mse"])
def test_gradient_match_is_the_distance_of_the_two_gradients(distance):
    learner = new_learner(NETWORK)
    synthetic, real = toy_batch(3, seed=0), toy_batch(7, seed=1, padding=2)
    match = jax.jit(match_of(distance))
    value, evidence = match(jax.random.key(0), synthetic, real, learner)
    gradient = jax.jit(jax.grad(mean_loss(NETWORK)))
    by_real = gradient(learner.params, Batch(real.images[:5], real.labels[:5]), {})
    by_synthetic = gradient(learner.params, synthetic, {})
    expected = jax.jit(DISTANCES[distance])(by_real, by_synthetic)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert_close(evidence.mean_gradient(), by_synthetic, rtol=1e-4)


@pytest.mark.parametrize("kind", ["distribution", "ours"])
def test_terms_see_the_augmented_batch_and_its_gradient(kind):
    shifted = lambda key, *batches: tuple(batch + 1 for batch in batches)
    learner, synthetic = new_learner(NETWORK), toy_batch(3)
    match = jax.jit(match_of(kind, shifted))
    _, evidence = match(jax.random.key(0), synthetic, toy_batch(4, seed=1), learner)
    seen = Batch(synthetic.images + 1, synthetic.labels)
    assert_close(evidence.batch, seen)
    expected = jax.jit(jax.grad(mean_loss(NETWORK)))(learner.params, seen, {})
    assert_close(evidence.mean_gradient(), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["distribution", "ours"])
def test_nothing_flows_back_to_the_real_side(kind):
    match, learner = match_of(kind), new_learner(NETWORK)

    def value(images):
        real = toy_batch(4, seed=1)._replace(images=images)
        return match(jax.random.key(0), toy_batch(3), real, learner)[0]

    assert not np.any(jax.jit(jax.grad(value))(toy_batch(4, seed=1).images))


def two_draws(pipeline):
    """Not Siamese: every batch has a draw of its own."""
    shared = augment.siamese(pipeline)

    def independent(key, *batches):
        keys = jax.random.split(key, len(batches))
        return tuple(
            shared(key, batch)[0] for key, batch in zip(keys, batches, strict=True)
        )

    return independent


def test_equal_batches_match_perfectly_under_every_siamese_draw():
    """The real images are a permutation of the synthetic ones, twice as many."""
    synthetic, learner = toy_batch(3), new_learner(NETWORK)
    order = jnp.array([2, 0, 1, 1, 2, 0])
    real = jax.tree.map(lambda x: x[order], synthetic)

    def values(augmentation):
        match = match_of("mse", augmentation)
        one = lambda key: match(key, synthetic, real, learner)[0]
        return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 40))

    other = toy_batch(3, seed=1)
    scale, _ = match_of("mse")(jax.random.key(0), synthetic, other, learner)
    shared = values(augment.siamese(augment.dsa(METHODS["dsa"].objective.augmentation)))
    assert np.max(shared) < 1e-6 * scale
    independent = values(two_draws(augment.dsa("crop_brightness")))
    assert np.mean(independent > 1e-3 * scale) > 0.8


# Students have no real side: what experts saw is in their parameters, and a student's
# own loss is not zero at equal images.
TWO_SIDED = [
    name
    for name, recipe in METHODS.items()
    if isinstance(recipe.objective, SampleMatching) and name != "rded"  # as DM
]


@pytest.mark.parametrize("method", TWO_SIDED)
def test_every_method_augments_both_sides_alike(method):
    """The real data are the synthetic images, so that every distance is zero."""
    start = toy_start(toy_inputs(), ipc=2)
    images = np.asarray(start.images).reshape(6, *SHAPE)
    real = real_data(images, np.repeat(np.arange(3), 2), 3)
    flags = {"batch_real": 2, "augmentation": "crop_brightness"}
    if "distance" in flat(METHODS[method]):
        flags["distance"] = "mse"
    if "warmup_networks" in flat(METHODS[method]):  # which match class by class
        flags["warmup_networks"] = 0
    if "calibration" in flat(METHODS[method]):  # that is no distance
        flags["calibration"] = 0.0
    if METHODS[method].needs_experts:
        flags["cf_scale"] = 1.0  # of the constant under its roots
    recipe = override(METHODS[method], flags)
    network = with_convolution(NETWORK)
    objective, learner = objective_of(network, recipe), new_learner(network)
    # D4A's term compares the union with all real samples: here each of them twice.
    span = Span(learner.params, learner.params)
    inputs = Inputs(real, real, span, earlier=start if recipe.count > 1 else None)

    @jax.jit
    @jax.vmap
    def values(key):
        return objective(key, start, learner, inputs, jnp.int32(0))[0]

    losses = values(jax.random.split(jax.random.key(0), 10))
    assert np.all(np.abs(losses) < 4e-6)


STEP = 5


def terms_of_all_kinds():
    rising = weight_schedule("linear", -3.0, 10)  # -1.5 at STEP
    constant = weight_schedule("constant", 6.0, 1)
    relative = weight_schedule("constant", 0.5, 1)
    return {
        "mean": WeightedTerm(constant, sdc(NETWORK)),
        "per_sample": WeightedTerm(rising, sdc(NETWORK, "per_sample")),
        "relative": WeightedTerm(relative, sdc(NETWORK), True),
    }


def naive_objective(kind, synthetic, learner, inputs):
    """A Python loop over classes, with plain `jax.grad` and no rule of ours."""
    loss = mean_loss(NETWORK)

    def norm(tree):
        return jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree)))

    def features(batch):
        outputs, _ = NETWORK.apply(learner.params, learner.stats, batch.images, False)
        weights = batch.labels.sum(1)  # all one, yet differentiated
        return weights @ outputs.features[-1] / weights.sum()

    total = 0.0
    for k in range(3):
        members = np.flatnonzero(np.asarray(inputs.real.labels) == k)
        labels = jnp.eye(3)[inputs.real.labels[members]]
        real = Batch(inputs.real.images[members], labels)
        made = Batch(synthetic.images[k], synthetic.labels[k])
        gradient = jax.grad(loss)(learner.params, made, {})
        if kind == "distribution":
            match = jnp.sum((features(made) - features(real)) ** 2)
        else:
            by_real = jax.grad(loss)(learner.params, real, {})
            match = DISTANCES[kind](by_real, gradient)
        unit = jax.lax.stop_gradient(match / norm(gradient))
        total += match + (6.0 / 3 + 0.5 * unit) * norm(gradient)
        for image, label in zip(*made, strict=True):
            single = Batch(image[None], label[None])
            each = norm(jax.grad(loss)(learner.params, single, {}))
            total += -1.5 / 3 * each / made.labels.shape[0]
    return total


@pytest.mark.parametrize("kind", ["ours", "distribution"])
def test_value_and_gradient_equal_a_naive_loop_over_classes(x64, kind):
    """All real samples are drawn, so that their order is all that keys decide."""
    inputs = to64(toy_inputs((5, 5, 5)))
    start, learner = to64(toy_start(inputs, ipc=2)), to64(new_learner(NETWORK))
    lifted = per_class(match_of(kind), Sampling(5), terms_of_all_kinds())

    @jax.jit
    @jax.value_and_grad
    def ours(synthetic):
        step = jnp.int32(STEP)
        value, _ = lifted(jax.random.key(0), synthetic, learner, inputs, step)
        return 2 * value  # a cotangent other than one

    @jax.jit
    @jax.value_and_grad
    def naive(synthetic):
        return 2 * naive_objective(kind, synthetic, learner, inputs)

    (value, gradient), (expected, by_loop) = ours(start), naive(start)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    assert np.any(by_loop.images)
    assert_close(gradient, by_loop, rtol=1e-8, atol=1e-10)


def test_a_class_without_samples_has_a_finite_loss():
    inputs = toy_inputs((5, 4, 0))
    start = toy_start(inputs)
    recipe = override(METHODS["dc"], {"batch_real": 4})
    objective = objective_of(NETWORK, recipe)

    def value(synthetic: Synthetic):
        learner = new_learner(NETWORK)
        return objective(jax.random.key(0), synthetic, learner, inputs, jnp.int32(0))[0]

    loss, gradient = jax.jit(jax.value_and_grad(value))(start)
    chex.assert_tree_all_finite((loss, gradient.images))
    assert not np.any(gradient.images[2])
    assert np.any(gradient.images[:2])


def test_the_network_may_be_any_pair_of_functions():
    """A match asks nothing of a network but `apply`."""
    calls = []

    def apply(params, stats, images, train):
        calls.append(train)
        return NETWORK.apply(params, stats, images, train)

    match = match_of("ours", network=Network(NETWORK.init, apply))
    match(jax.random.key(0), toy_batch(2), toy_batch(2), new_learner(NETWORK))
    assert calls
    assert not any(calls)  # matched in evaluation mode


KEY = jax.random.key(0)
LEARNER = Learner({"w": jnp.float32(0.7)}, {})


def of_class(new: Batch, key, index, learner, inputs: Inputs, step):
    """Any function of all its arguments, which differs from class to class."""
    noise = jax.random.uniform(key)
    mean = jnp.mean(inputs.real.images)
    values = jnp.sin(learner.params["w"] * new.images + noise) * (index + 1)
    weights = new.labels[:, 0] ** 2 + jax.nn.one_hot(index, new.labels.shape[0])
    value = jnp.sum(jnp.sum(values**2, axis=(1, 2, 3)) * weights) + mean * step
    return value, {"value": value, "noise": noise}


def by_loop(key, synthetic, learner, inputs, step):
    total, infos = 0.0, []
    for k in range(synthetic.images.shape[0]):
        batch = Batch(synthetic.images[k], synthetic.labels[k])
        arguments = jax.random.fold_in(key, k), k, learner, inputs, step
        value, info = of_class(batch, *arguments)
        total, infos = total + value, [*infos, info]
    return total, jax.tree.map(lambda *x: sum(x), *infos)


def test_the_value_and_the_gradient_are_those_of_plain_autodiff(x64):
    """Also where the objective is only a part of what is differentiated."""
    inputs = toy_inputs()
    start = to64(toy_start(inputs)._replace(step_size=jnp.float32(0.5)))

    def value_and_gradient(objective):
        def loss(synthetic):
            value, info = objective(KEY, synthetic, LEARNER, inputs, jnp.int32(3))
            return -0.3 * value + jnp.sum(synthetic.images) * synthetic.step_size, info

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(start)

    chex.assert_trees_all_close(
        value_and_gradient(class_gradients(of_class)),
        value_and_gradient(by_loop),
        rtol=1e-10,
    )


def test_a_class_is_traced_once_and_has_its_value_without_a_gradient():
    inputs, start = toy_inputs(), toy_start(toy_inputs())
    arguments = KEY, start, LEARNER, inputs, jnp.int32(0)
    objective = class_gradients(of_class)
    values = (jax.jit(function)(*arguments) for function in (objective, by_loop))
    chex.assert_trees_all_close(*values, rtol=1e-5)
    inputs, start = toy_inputs(), toy_start(toy_inputs())
    chex.clear_trace_counter()
    objective = class_gradients(chex.assert_max_traces(of_class, n=1))
    loss = lambda synthetic: objective(KEY, synthetic, LEARNER, inputs, jnp.int32(0))
    jax.jit(jax.grad(loss, has_aux=True))(start)


@pytest.mark.parametrize(
    ("method", "changes", "field"),
    [
        ("dsa", {}, "classes"),
        ("dm", {}, "feature_classes"),
        # The term has gradients of the parameters.
        ("dm", {"sdc_weight": 0.1}, "classes"),
    ],
)
def test_features_have_a_choice_of_their_own_how_classes_are_mapped(
    method, changes, field
):
    """Shared weights make one larger batch, gradients of them grouped products."""
    changes = {"augmentation": "none", "batch_real": 2, **changes}
    recipe = override(METHODS[method], changes)
    inputs, start = toy_inputs(), toy_start(toy_inputs())
    learner = new_learner(NETWORK)

    def loops(at_once: str) -> bool:
        """Whether classes are in a loop although one choice takes all at once."""
        one_by_one = dict.fromkeys(("classes", "feature_classes"), 1)
        chosen = replace(policy.choices(), **{**one_by_one, at_once: 3})
        objective = objective_of(NETWORK, recipe, Context(None))
        step = lambda images: objective(KEY, images, learner, inputs, jnp.int32(0))
        with policy.using(chosen):
            return "length=3" in str(jax.make_jaxpr(step)(start))

    fields = ("classes", "feature_classes")
    assert [name for name in fields if not loops(name)] == [field]
