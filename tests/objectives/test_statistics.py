"""Matching a teacher's statistics: by formulas, slot by slot, and what it leads to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.augment.views import Views
from jaxdd.fields import override
from jaxdd.methods.build import build, objective_of
from jaxdd.methods.recipes import METHODS
from jaxdd.modifiers.masks import make_mask
from jaxdd.objectives.statistics import (
    in_batches,
    statistics_distance,
    statistics_match,
)
from jaxdd.primitives.losses import cross_entropy
from jaxdd.synthetic.decoder import INPUT
from jaxdd.types import Batch, Known, Space
from tests.helpers import (
    assert_close,
    new_learner,
    refused,
    tiny_network,
    to64,
    toy_batch,
    toy_start,
)
from tests.toy_methods import CONTEXT, INPUTS, NETWORK, NORMED, toy_recipe, toy_teacher

WHOLE = Views(area=1.0, flip=False, roll=0)
KEY = jax.random.key(0)


def test_statistics_of_the_data_are_no_distance_away(x64):
    """And the gradient there is 0 rather than not a number."""
    network = tiny_network("convnet_bn", depth=2)
    learner, images = to64(new_learner(network)), to64(toy_batch(12)).images

    def moments(stats, images):
        return network.apply(learner.params, stats, images, False)[0].moments

    @jax.jit
    def everything(images, others):
        # The second layer sees what the first one makes with the statistics of its own.
        stats = moments(moments(learner.stats, images), images)
        distance = lambda x: statistics_distance(moments(stats, x), stats, 10.0)
        trained = network.apply(learner.params, learner.stats, images, True)[1]
        at = [jax.value_and_grad(distance)(x) for x in (images, others)]
        return at, moments(learner.stats, images), trained

    at, seen, trained = everything(images, images[::-1] ** 3)
    (value, gradient), (other, slope) = at
    assert value < 1e-12
    assert np.isfinite(gradient).all()
    assert other > 0.01
    assert np.abs(slope).max() > 1e-4
    # In training a norm moves its running statistics by a tenth to the same numbers.
    ours, theirs = (x["block0"]["norm"]["statistics"] for x in (seen, trained))
    np.testing.assert_allclose(0.1 * ours["mean"], theirs["mean"], rtol=1e-9)
    count = images.size // images.shape[-1]
    unbiased = 0.9 + 0.1 * ours["variance"] * count / (count - 1)
    np.testing.assert_allclose(unbiased, theirs["variance"], rtol=1e-9)


def test_the_match_is_the_entropy_and_the_weighted_norms_over_channels():
    """Of a padded batch too, which is that of its images alone."""
    learner, batch = toy_teacher(), toy_batch(3)._replace(labels=jnp.eye(3))
    whole = jax.tree.map(lambda x: jnp.concatenate([x, x]), batch)
    padded = whole._replace(labels=whole.labels.at[3:].set(0))
    match = jax.jit(statistics_match(NORMED, WHOLE, weight=0.5, first=10.0))
    known = Known(jnp.int32(0), learner.stats)
    value, evidence = match(KEY, padded, known, learner)
    apply = jax.jit(lambda learner, x: NORMED.apply(*learner[:2], x, False)[0])
    outputs = apply(learner, batch.images)
    seen, ours = (x["body"]["norm"] for x in (outputs.moments, learner.stats))
    norms = [np.linalg.norm(seen[x] - ours[x]) for x in ("mean", "variance")]
    entropy = cross_entropy(outputs.logits, batch.labels)
    np.testing.assert_allclose(value, entropy + 0.5 * 10 * sum(norms), rtol=1e-5)
    assert_close(evidence.batch.images, whole.images, atol=1e-5)
    empty = padded._replace(labels=0 * padded.labels)
    assert match(KEY, empty, known, learner)[0] == 0
    # Half of the statistics is the mean, which comes first.
    mask = make_mask("depth", 0.5, "scalar")
    part = statistics_distance(outputs.moments, learner.stats, 10.0, mask)
    np.testing.assert_allclose(part, 10 * norms[1], rtol=1e-5)


def test_slots_are_matched_each_by_itself_whatever_their_labels(x64):
    """By a Python loop and plain autodiff; and in batches of at most two classes."""
    recipe = toy_recipe("sre2l", view_area=1.0, view_roll=0, view_flip=False)
    start, learner = to64(toy_start(INPUTS)), to64(toy_teacher())
    soft = start._replace(labels=0.5 * start.labels + 0.5 / 3)
    objective = objective_of(NORMED, recipe)
    match = statistics_match(NORMED, WHOLE, 0.01)
    known = Known(jnp.int32(0), learner.stats)

    def by_loop(images):
        slots = [Batch(images[:, i], jnp.eye(3)) for i in range(2)]
        return sum(match(KEY, x, known, learner)[0] for x in slots)

    def ours(images):
        made = soft._replace(images=images)
        return objective(KEY, made, learner, INPUTS, jnp.int32(0))[0]

    both = lambda images: [jax.value_and_grad(f)(images) for f in (ours, by_loop)]
    assert_close(*jax.jit(both)(start.images), rtol=1e-9, atol=1e-12)
    batches = jax.jit(lambda synthetic: in_batches(synthetic, 2))(soft)
    assert batches.labels.shape == (4, 2, 3)
    assert np.sum(batches.labels, axis=(1, 2)).tolist() == [2, 1, 2, 1]


def test_classes_are_matched_each_with_the_moments_of_its_samples(x64):
    """All images of a class together; by a loop and plain autodiff."""
    recipe = toy_recipe(
        "sre2l", view_area=1.0, view_roll=0, view_flip=False, statistics_of="class"
    )
    start, learner = to64(toy_start(INPUTS)), to64(toy_teacher())
    moments = jax.tree.map(lambda x: jnp.stack([x, 2 * x, 3 * x]), learner.stats)
    objective = objective_of(NORMED, recipe)
    match = statistics_match(NORMED, WHOLE, 0.01)

    def by_loop(images):
        total = 0.0
        for k in range(3):
            known = Known(jnp.int32(0), jax.tree.map(lambda x, k=k: x[k], moments))
            batch = Batch(images[k], jnp.eye(3)[jnp.array([k, k])])
            total += match(KEY, batch, known, learner)[0]
        return total

    def ours(images):
        made = start._replace(images=images, labels=start.labels * 0.5 + 0.5 / 3)
        inputs = INPUTS._replace(class_moments=moments)
        return objective(KEY, made, learner, inputs, jnp.int32(0))[0]

    both = lambda images: [jax.value_and_grad(f)(images) for f in (ours, by_loop)]
    assert_close(*jax.jit(both)(start.images), rtol=1e-9, atol=1e-12)
    with refused("needs the moments of classes"):
        objective(KEY, start, learner, INPUTS, jnp.int32(0))


def test_by_entropy_alone_a_teacher_recognises_all_images():
    """Which stay in the range of pixels, though they are stored as inputs."""
    narrow = Space(lambda x: 0.5 + 0.25 * x, lambda z: 4 * z - 2, 0.5)
    recipe = toy_recipe("sre2l", statistics_weight=0.0, image_lr=0.1, view_area=1.0)
    method = build(NORMED, recipe, CONTEXT._replace(pixels=narrow))
    learner = toy_teacher()
    inputs = INPUTS._replace(teacher=learner)
    begun = method.init(KEY, toy_start(INPUTS, ipc=4))

    @jax.jit
    def after(state, steps):
        def one(t, state):
            return method.step(jax.random.fold_in(KEY, t), state, inputs)[0]

        images = jax.lax.fori_loop(0, steps, one, state).codes.images
        rows = images.reshape(12, 8, 8, 1)
        logits = NORMED.apply(*learner[:2], rows, False)[0].logits
        right = jnp.argmax(logits, -1) == jnp.repeat(jnp.arange(3), 4)
        return jnp.mean(right), jnp.max(jnp.abs(images))

    accuracy, largest = after(begun, 0)
    assert accuracy < 0.7
    assert largest > 2.5
    accuracy, largest = after(begun, 60)
    assert accuracy == 1
    assert largest <= 2 + 1e-6


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
