"""Distances of distribution matching in their match: padding, masks, batch norm."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.data.real import sample_class
from jaxdd.errors import UserError
from jaxdd.fields import override
from jaxdd.methods.build import build
from jaxdd.methods.recipes import METHODS
from jaxdd.modifiers.masks import make_mask
from jaxdd.objectives import feature_match, joint_feature_match
from jaxdd.objectives.distribution import FeatureMatching
from jaxdd.objectives.feature_distances import (
    MMD,
    Attention,
    CharacteristicFunction,
    Means,
    Sample,
)
from jaxdd.primitives.keys import Draw
from jaxdd.primitives.samples import attention, characteristic_distance, unit_rows
from jaxdd.types import Batch
from tests.helpers import (
    new_learner,
    refused,
    smooth_network,
    tiny_network,
    to64,
    toy_batch,
    toy_inputs,
    toy_start,
)

KEY = jax.random.key(0)
OTHERS = ("mmd", "attention")
PLAIN = augment.siamese(())
CF = CharacteristicFunction(frequencies=16)
DISTANCES = {"means": Means(), "mmd": MMD(), "cf": CF, "attention": Attention(power=2)}


NETWORK = smooth_network()


def one_class(size, seed=0, padding=0):
    batch = toy_batch(size, seed=seed, padding=padding)
    labels = batch.labels.at[: size - padding].set(
        jax.nn.one_hot(0, 3, dtype=jnp.float32)
    )
    return Batch(batch.images, labels)


def value_of(distance, synthetic, real, features="last", mask=None):
    match = feature_match(NETWORK, PLAIN, features, mask, distance)
    return match(KEY, synthetic, real, to64(new_learner(NETWORK)))[0]


@pytest.mark.parametrize("name", DISTANCES)
def test_a_match_of_a_class(x64, name):
    """Zero for equal sides, the same without padding, and with two for one."""
    distance = DISTANCES[name]
    made, real = to64(one_class(3)), to64(one_class(5, seed=1))
    least = 300 * 1e-6 * (1 + 1e-6) if name == "cf" else 1e-12
    assert abs(value_of(distance, real, real)) <= least
    value = value_of(distance, made, real)
    assert value > 10 * least
    padded = to64(one_class(5, padding=2))
    padded = Batch(padded.images.at[:3].set(made.images), padded.labels)
    np.testing.assert_allclose(value_of(distance, padded, real), value, rtol=1e-9)
    heavy = made._replace(labels=made.labels * jnp.array([1.0, 2, 1])[:, None])
    rows = np.array([0, 1, 1, 2])
    twice = jax.tree.map(lambda x: x[rows], made)
    np.testing.assert_allclose(
        value_of(distance, heavy, real), value_of(distance, twice, real), rtol=1e-9
    )


def test_the_parts_of_attention_have_their_weights(x64):
    """100 (squares of mean maps + lambda squares of mean features)."""
    made, real = to64(one_class(3)), to64(one_class(5, seed=1))
    learner = to64(new_learner(NETWORK))
    outputs = [
        NETWORK.apply(learner.params, {}, x.images, False)[0] for x in (made, real)
    ]
    maps, features = (
        jnp.sum((a.mean(0) - b.mean(0)) ** 2)
        for a, b in (
            [attention(x.maps[0], 3) for x in outputs],
            [x.features[-1] for x in outputs],
        )
    )
    value = value_of(Attention(power=3, features=0.02), made, real)
    np.testing.assert_allclose(value, 100 * (maps + 0.02 * features), rtol=1e-9)


def test_frequencies_are_drawn_by_the_match_and_features_are_of_one_length(x64):
    made, real = to64(one_class(3)), to64(one_class(5, seed=1))
    learner = to64(new_learner(NETWORK))
    x, y = (
        unit_rows(NETWORK.apply(learner.params, {}, b.images, False)[0].features[-1])
        for b in (made, real)
    )
    key = jax.random.fold_in(Draw.FREQUENCIES.of(KEY), 0)
    drawn = jax.random.normal(key, (16, 8), jnp.float64)
    expected = characteristic_distance(drawn, x, y, jnp.ones(3), jnp.ones(5))
    value = value_of(CF, made, real)
    np.testing.assert_allclose(value, 300 * expected, rtol=1e-9)
    free = CharacteristicFunction(frequencies=16, normalize=False)
    assert abs(value_of(free, made, real) - value) > 1e-3


@pytest.mark.parametrize("name", DISTANCES)
def test_a_mask_leaves_features_out(x64, name):
    """By depth: the value does not depend on what is dropped, here the first block."""
    made, real = to64(one_class(3)), to64(one_class(5, seed=1))
    distance = DISTANCES[name]
    # The first block: 64 of 72 features, and 64 places of attention beside them.
    share = 128 / 136 if name == "attention" else 64 / 72
    dropped = make_mask("depth", share)
    masked = value_of(distance, made, real, "all", dropped)
    # What is left of attention are the features, with the weight 100 * 0.01.
    last = Means() if name == "attention" else distance
    alone = value_of(last, made, real, "last")
    if name == "cf":  # every block has frequencies of its own
        other = Batch(made.images + 1, made.labels)
        assert abs(value_of(distance, other, real, "all", dropped) - masked) > 1e-3
    else:
        np.testing.assert_allclose(masked, alone, rtol=1e-9)
    by_loss = value_of(distance, made, real, "all", make_mask("loss", 0.3))
    assert by_loss > 0
    assert by_loss != value_of(distance, made, real, "all")
    with refused("add --features=all"):
        value_of(distance, made, real, "last", dropped)


@pytest.mark.parametrize(
    "name", [pytest.param("cf", marks=pytest.mark.slow), "attention"]
)
def test_without_batch_norm_classes_may_be_matched_alone(x64, name):
    """The joint match adds up the classes; frequencies are drawn otherwise."""
    inputs = to64(toy_inputs((5, 5, 5)))
    start, learner = to64(toy_start(inputs)), to64(new_learner(NETWORK))
    fetch = lambda key, k: sample_class(key, inputs.real, k, 5)
    distance = DISTANCES[name]
    joint = joint_feature_match(NETWORK, PLAIN, "last", None, distance)
    value, _ = joint(KEY, start, fetch, learner)

    def sample(batch):
        outputs, _ = NETWORK.apply(learner.params, {}, batch.images, False)
        return Sample(distance.describe(outputs, "last"), jnp.sum(batch.labels, -1))

    summed = 0.0
    for k, key in enumerate(jax.random.split(Draw.FREQUENCIES.of(KEY), 3)):
        made = Batch(start.images[k], start.labels[k])
        sides = sample(made), sample(fetch(KEY, jnp.int32(k)))
        summed += distance.compare(key, *sides, None)
    np.testing.assert_allclose(value, summed, rtol=1e-9)


@pytest.mark.parametrize(
    "name", ["cf", *(pytest.param(x, marks=pytest.mark.slow) for x in OTHERS)]
)
def test_steps_with_batch_norm_are_finite_and_move_only_images(name):
    flags = {"feature_distance": name, "batch_real": 4, "augmentation": "none"}
    flags |= {"cf_frequencies": 8} if name == "cf" else {}
    recipe = override(METHODS["dm"], {**flags, "sdc_weight": 0.5, "image_lr": 1.0})
    inputs = toy_inputs()
    start = toy_start(inputs, ipc=2)
    start = start._replace(labels=start.labels.at[:, 1].set(0))  # an empty slot
    method = build(tiny_network("convnet_bn", depth=2), recipe)
    state = method.init(KEY, start)
    new, info = jax.jit(method.step)(KEY, state, inputs)
    chex.assert_tree_all_finite(info)
    moved = np.abs(new.codes.images - state.codes.images).max((2, 3, 4))
    assert moved[:, 0].min() > 1e-7
    assert not moved[:, 1].any()


def test_what_cannot_be_compared_is_refused():
    objective = FeatureMatching(distance=Attention())
    for network in (tiny_network(), tiny_network("mlp", width=4)):
        with refused("at least two blocks of maps"):
            objective.matched(network, (8, 8, 1))
    shapes = objective.matched(tiny_network(depth=2), (8, 8, 1))
    assert shapes["block0"]["attention"].shape == (64,)
    assert shapes["block1"]["features"].shape == (16,)
    with refused("leave nothing to be matched"):
        CharacteristicFunction(amplitude=0.0, phase=0.0)
    with pytest.raises(UserError, match="must be one of gaussian, linear, polynomial"):
        MMD(kernel="laplace")


@pytest.mark.parametrize(
    ("method", "flags", "sentence"),
    [
        ("dsa", {"kernel": "linear"}, "--kernel is about the kernel of a feature"),
        ("dm", {"kernel": "linear"}, "add --feature_distance=mmd, or leave it out"),
        ("dm", {"feature_distance": "mmd", "cf_scale": 1.0}, "--cf_scale is about"),
        ("mtt", {"feature_distance": "cf"}, "--feature_distance is about matching fea"),
        ("dm", {"feature_distance": "l1"}, "means, mmd, cf, attention"),
        ("dm", {"feature_distance": "cf", "cf_frequencies": 0}, "--cf_frequencies"),
    ],
)
def test_flags_of_another_distance_are_refused(method, flags, sentence):
    with refused(None, sentence):
        override(METHODS[method], flags)
