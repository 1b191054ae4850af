"""Matching a teacher's statistics: by formulas, slot by slot, and what it leads to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.augment.views import Views
from jaxdd.data.real import take
from jaxdd.fields import override
from jaxdd.methods.build import build, objective_of
from jaxdd.methods.recipes import METHODS
from jaxdd.modifiers.masks import make_mask
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.statistics import (
    StatisticsMatching,
    in_batches,
    statistics_distance,
    statistics_match,
)
from jaxdd.primitives.losses import cross_entropy
from jaxdd.synthetic.decoder import INPUT
from jaxdd.types import Batch, Learner, Space
from tests.helpers import (
    assert_close,
    new_learner,
    refused,
    tiny_network,
    to64,
    toy_batch,
    toy_real,
    toy_start,
)
from tests.toy_methods import CONTEXT, INPUTS, NETWORK, NORMED, toy_recipe, toy_teacher

WHOLE = Views(area=1.0, flip=False, roll=0)
KEY = jax.random.key(0)


def settled(network, learner: Learner, images) -> Learner:
    """Running statistics that are those of the images, layer after layer."""
    stats = learner.stats
    for _ in range(2):  # the second layer sees what the first one makes of its own
        outputs, _ = network.apply(learner.params, stats, images, False)
        stats = outputs.moments
    return learner._replace(stats=stats)


def test_statistics_of_the_data_are_no_distance_away(x64):
    """And the gradient there is 0 rather than not a number."""
    network = tiny_network("convnet_bn", depth=2)
    batch = to64(toy_batch(12))
    learner = settled(network, to64(new_learner(network)), batch.images)

    @jax.jit
    @jax.value_and_grad
    def distance(images):
        outputs, _ = network.apply(learner.params, learner.stats, images, False)
        return statistics_distance(outputs.moments, learner.stats, 10.0)

    value, gradient = distance(batch.images)
    assert value < 1e-12
    assert np.isfinite(gradient).all()
    other, gradient = distance(batch.images[:6])
    assert other > 0.01
    assert np.abs(gradient).max() > 1e-4


def test_moments_are_those_of_the_inputs_of_a_norm_and_cost_nothing_unused():
    network = tiny_network("convnet_bn")
    learner, images = new_learner(network), toy_batch(5).images
    outputs, _ = network.apply(learner.params, learner.stats, images, False)
    # In training a norm moves its running statistics towards the same numbers.
    trained, stats = network.apply(learner.params, learner.stats, images, True)
    assert trained.moments == ()
    count = 5 * 8 * 8
    moved = jax.tree.map(lambda a, b: (b - 0.9 * a) / 0.1, learner.stats, stats)
    ours = outputs.moments["block0"]["norm"]["statistics"]
    theirs = moved["block0"]["norm"]["statistics"]
    np.testing.assert_allclose(ours["mean"], theirs["mean"], atol=1e-5)
    unbiased = ours["variance"] * count / (count - 1)
    np.testing.assert_allclose(unbiased, theirs["variance"], rtol=1e-4)

    def operations(read):
        run = lambda x: read(network.apply(*learner[:2], x, False)[0])
        return jax.jit(run).lower(images).compile().cost_analysis()["flops"]

    both = operations(lambda out: (out.logits, out.moments))
    assert operations(lambda out: out.logits) < both


def test_the_match_is_the_entropy_and_the_weighted_norms_over_channels():
    learner, batch = toy_teacher(), toy_batch(3)._replace(labels=jnp.eye(3))
    match = jax.jit(statistics_match(NORMED, WHOLE, weight=0.5, first=10.0))
    value, evidence = match(KEY, batch, jnp.int32(0), learner)
    outputs, _ = NORMED.apply(*learner[:2], batch.images, False)
    seen, known = (x["body"]["norm"] for x in (outputs.moments, learner.stats))
    norms = [np.linalg.norm(seen[x] - known[x]) for x in ("mean", "variance")]
    entropy = cross_entropy(outputs.logits, batch.labels)
    np.testing.assert_allclose(value, entropy + 0.5 * 10 * sum(norms), rtol=1e-5)
    assert_close(evidence.batch, batch, atol=1e-5)
    # Without the variance, whose error is the larger one here.
    mask = make_mask("depth", 0.5, "scalar")
    part = statistics_distance(outputs.moments, learner.stats, 10.0, mask)
    np.testing.assert_allclose(part, 10 * norms[1], rtol=1e-5)


def test_a_batch_has_one_image_of_each_class_and_copies_for_padding(monkeypatch):
    """A padded batch is that of its images alone; an empty one is nothing at all."""
    batch, learner = toy_batch(3)._replace(labels=jnp.eye(3)), toy_teacher()
    match = jax.jit(statistics_match(NORMED, WHOLE, weight=1.0))
    whole = jax.tree.map(lambda x: jnp.concatenate([x, x]), batch)
    padded = whole._replace(labels=whole.labels.at[3:].set(0))
    values = [match(KEY, x, jnp.int32(0), learner)[0] for x in (batch, padded)]
    np.testing.assert_allclose(values[1], values[0], rtol=1e-5)
    empty = batch._replace(labels=0 * batch.labels)
    assert match(KEY, empty, jnp.int32(0), learner)[0] == 0


def test_slots_are_matched_each_by_itself_whatever_their_labels(x64):
    """By a Python loop and plain autodiff, in batches of at most two classes."""
    recipe = toy_recipe("sre2l", view_area=1.0, view_roll=0, view_flip=False)
    start, learner = to64(toy_start(INPUTS)), to64(toy_teacher())
    soft = start._replace(labels=0.5 * start.labels + 0.5 / 3)
    objective = objective_of(NORMED, recipe)
    match = statistics_match(NORMED, WHOLE, 0.01)

    def by_loop(images):
        slots = [Batch(images[:, i], jnp.eye(3)) for i in range(2)]
        return sum(match(KEY, x, jnp.int32(0), learner)[0] for x in slots)

    def ours(images):
        made = soft._replace(images=images)
        return objective(KEY, made, learner, INPUTS, jnp.int32(0))[0]

    found, expected = (
        jax.jit(jax.value_and_grad(f))(start.images) for f in (ours, by_loop)
    )
    assert_close(found, expected, rtol=1e-9, atol=1e-12)
    batches = in_batches(soft, 2)
    assert batches.labels.shape == (4, 2, 3)
    assert batches.labels.sum(axis=(1, 2)).tolist() == [2, 1, 2, 1]


def test_by_entropy_alone_a_teacher_recognises_all_images():
    recipe = toy_recipe("sre2l", statistics_weight=0.0, image_lr=0.1)
    method, learner = build(NORMED, recipe, CONTEXT), toy_teacher()
    inputs = INPUTS._replace(teacher=learner)
    begun = method.init(KEY, toy_start(INPUTS, ipc=4))

    @jax.jit
    def steps(state):
        def one(t, state):
            return method.step(jax.random.fold_in(KEY, t), state, inputs)[0]

        return jax.lax.fori_loop(0, 60, one, state)

    def right(state):
        images = method.result(state).images.reshape(12, 8, 8, 1)
        logits = NORMED.apply(*learner[:2], images, False)[0].logits
        return float(jnp.mean(jnp.argmax(logits, -1) == jnp.repeat(jnp.arange(3), 4)))

    assert right(begun) < 0.7
    assert right(steps(begun)) == 1


def test_images_stay_in_the_range_of_pixels():
    """After every update, also where they are stored as inputs of the network."""
    narrow = Space(lambda x: 0.5 + 0.5 * x, lambda z: 2 * z - 1, 0.5)
    recipe = toy_recipe("sre2l", image_lr=0.5)
    method = build(NORMED, recipe, CONTEXT._replace(pixels=narrow))
    state = method.init(KEY, toy_start(INPUTS))
    assert np.abs(state.codes.images).max() > 1.5
    inputs = INPUTS._replace(teacher=toy_teacher())
    state, _ = jax.jit(method.step)(KEY, state, inputs)
    assert np.abs(state.codes.images).max() <= 1 + 1e-6
    assert np.abs(state.codes.images).min() < 0.9


@pytest.mark.parametrize(
    ("network", "flags", "sentence"),
    [
        (NETWORK, {}, "those of its batch norm, which this network has not: use --net"),
        (NORMED, {"segments": 2, "forgetting": "proxy"}, "--forgetting compares a set"),
        (NORMED, {"segments": 2, "segment_rule": "pdd"}, "which this method has not"),
        (NORMED, {"sdc_weight": 1.0, "sdc_at": "path"}, "--sdc_at=path needs a method"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(network, flags, sentence):
    with refused(sentence):
        build(network, override(METHODS["sre2l"], flags), CONTEXT)


def test_a_teacher_has_to_be_given():
    recipe = toy_recipe("sre2l")
    with refused("needs a bank of experts"):
        build(NORMED, recipe, CONTEXT._replace(experts=None))
    with refused("clipping pixels needs the space"):
        build(NORMED, recipe, CONTEXT._replace(pixels=None))
    method = build(NORMED, recipe, CONTEXT._replace(pixels=INPUT))
    state = method.init(KEY, toy_start(INPUTS))
    with refused("set inputs.teacher"):
        method.step(KEY, state, INPUTS)


def test_the_objective_is_usable_without_a_recipe():
    """At any learner with batch norm, such as a random one."""
    network = tiny_network("convnet_bn")
    objective = StatisticsMatching(views=WHOLE).make(network, Parts())
    real = toy_real()
    images = take(real, jnp.arange(3)).images
    learner = settled(network, new_learner(network), images)
    start = toy_start(INPUTS)
    _, info = jax.jit(objective)(KEY, start, learner, INPUTS, jnp.int32(0))
    assert sorted(info) == ["entropy", "match", "statistics"]
