"""DM on networks with batch norm, against a slow loop written from its definition."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.data.real import real_data, sample_class
from jaxdd.errors import UserError
from jaxdd.fields import override
from jaxdd.methods.build import build, objective_of
from jaxdd.methods.recipes import METHODS
from jaxdd.modifiers.masks import make_mask
from jaxdd.objectives import joint_feature_match
from jaxdd.synthetic.sets import fill
from jaxdd.types import Batch, Inputs
from tests import slow_networks as slow
from tests.helpers import (
    new_learner,
    smooth_network,
    tiny_network,
    to64,
    toy_inputs,
    toy_start,
)

KEY, STEP = jax.random.key(0), jnp.int32(0)
NETWORK = tiny_network("convnet_bn", depth=2)
PLAIN = augment.siamese(())


def samples(real, size):
    return lambda key, k: sample_class(key, real, k, size)


def class_means(params, images, counts):
    """Block by block, class by class, of one batch in training mode."""
    by_block = slow.convnet_bn(params, images)
    ends = np.cumsum(counts)
    return [
        [x[end - n : end].mean(0) for n, end in zip(counts, ends, strict=True)]
        for x in by_block
    ]


def slow_dm(params, real, made, blocks=(-1,)):
    """sum_c |mean phi(real_c) - mean phi(made_c)|^2 with a list of images per class."""
    ours, theirs = (
        class_means(params, np.concatenate(x), [len(c) for c in x])
        for x in (made, real)
    )
    total = 0.0
    for block in blocks:
        for a, b in zip(ours[block], theirs[block], strict=True):
            total += ((a - b) ** 2).sum()
    return total


def by_class(real):
    """The images of each class, [K][m, H, W, C] float64."""
    labels = np.asarray(real.labels)
    images = np.asarray(real.images, float)
    return [images[labels == k] for k in range(3)]


@pytest.mark.parametrize("features", ["last", "all"])
def test_dm_with_batch_norm_is_the_official_loss(x64, features):
    """`main_DM.py`: real images of all classes are one batch, synthetic ones another.

    All samples of a class are drawn, so that the draw does not matter. The gradient is
    compared with central differences of the loop.
    """
    inputs = to64(toy_inputs((5, 5, 5)))
    start, learner = to64(toy_start(inputs)), to64(new_learner(NETWORK))
    flags = {"batch_real": 5, "augmentation": "none", "features": features}
    objective = objective_of(NETWORK, override(METHODS["dm"], flags))

    @jax.jit
    @jax.value_and_grad
    def ours(images):
        synthetic = start._replace(images=images)
        return objective(KEY, synthetic, learner, inputs, STEP)[0]

    params = jax.tree.map(np.asarray, learner.params)
    blocks = (-1,) if features == "last" else (0, 1)
    loop = lambda images: slow_dm(params, by_class(inputs.real), list(images), blocks)
    images = np.asarray(start.images)
    value, gradient = ours(start.images)
    np.testing.assert_allclose(value, loop(images), rtol=1e-12)
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=images.shape)
        ahead, behind = (loop(images + e * direction) for e in (1e-6, -1e-6))
        along = np.vdot(gradient, direction)
        np.testing.assert_allclose((ahead - behind) / 2e-6, along, rtol=1e-6)


def test_both_sides_of_a_class_share_one_draw():
    """Real and synthetic images are the same, so that the distance is zero."""
    start = toy_start(toy_inputs(), ipc=2)
    images = np.asarray(start.images).reshape(6, 8, 8, 1)
    real = real_data(images, np.repeat(np.arange(3), 2), 3)
    seen = []

    def spy(key, *batches):
        jax.debug.callback(lambda k: seen.append(k.tolist()), jax.random.key_data(key))
        return augment.siamese(augment.dsa("crop_brightness"))(key, *batches)

    match = joint_feature_match(NETWORK, spy)
    one = jax.jit(lambda key: match(key, start, samples(real, 2), learner)[0])
    learner = new_learner(NETWORK)
    values = [float(one(key)) for key in jax.random.split(KEY, 4)]
    assert max(values) < 1e-8
    jax.effects_barrier()
    assert len({tuple(x) for x in seen}) == 4 * 3  # every class draws its own


def test_padding_is_no_part_of_the_statistics():
    """Whatever it looks like, copies of the images stand in its place."""
    inputs = toy_inputs((4, 4, 4))
    start, learner = toy_start(inputs, ipc=2), new_learner(NETWORK)
    match = jax.jit(
        lambda s: joint_feature_match(NETWORK, PLAIN)(
            KEY, s, samples(inputs.real, 4), learner
        )[0]
    )
    doubled = lambda x: jnp.concatenate([x, x], axis=1)
    padded = start._replace(
        images=jnp.concatenate([start.images, 99 + start.images], axis=1),
        labels=jnp.concatenate([start.labels, 0 * start.labels], axis=1),
    )
    whole = start._replace(images=doubled(start.images), labels=doubled(start.labels))
    np.testing.assert_allclose(match(padded), match(whole), rtol=1e-5)
    np.testing.assert_allclose(match(start), match(whole), rtol=1e-5)
    nothing = start._replace(labels=0 * start.labels)
    chex.assert_tree_all_finite(match(nothing))


def test_holes_of_a_batch_are_filled_in_turn():
    images = jnp.arange(7.0).reshape(7, 1, 1, 1)
    shown = np.array([0, 1, 0, 0, 1, 0, 0], bool)
    labels = jnp.asarray(shown[:, None], jnp.float32)
    assert fill(Batch(images, labels)).ravel().tolist() == [1, 1, 4, 1, 4, 4, 1]
    full = Batch(images, jnp.ones((7, 1)))
    assert np.array_equal(fill(full), images)


@pytest.mark.parametrize("kind", ["depth", "loss"])
def test_without_batch_norm_classes_may_be_matched_alone(x64, kind):
    """Where statistics do not matter, the numbers are the same, masks included."""
    network, inputs = smooth_network(), to64(toy_inputs((5, 5, 5)))
    start, learner = to64(toy_start(inputs)), to64(new_learner(network))
    mask = make_mask(kind, 0.4)
    flags = {"batch_real": 5, "augmentation": "none", "features": "all"}
    flags |= {"mask": kind, "mask_ratio": 0.4}
    objective = objective_of(network, override(METHODS["dm"], flags))
    value, _ = objective(KEY, start, learner, inputs, STEP)
    joint = joint_feature_match(network, PLAIN, "all", mask)
    found, _ = joint(KEY, start, samples(inputs.real, 5), learner)
    np.testing.assert_allclose(found, value, rtol=1e-9)


def test_what_cannot_be_matched_is_refused():
    with pytest.raises(UserError, match="'some': choose one of last, all"):
        joint_feature_match(NETWORK, PLAIN, "some")
    with pytest.raises(UserError, match="add --features=all"):
        joint_feature_match(NETWORK, PLAIN, "last", make_mask("depth", 0.5))


@pytest.mark.parametrize(
    "changes",
    [
        {"sdc_weight": 0.5, "sdc_norm": "per_sample"},
        {"segments": 2, "forgetting": "replay"},
    ],
)
def test_every_modifier_works_with_batch_norm(changes):
    flags = {"batch_real": 4, "augmentation": "crop", "image_lr": 0.1, **changes}
    inputs = toy_inputs()
    start = toy_start(inputs, ipc=2)
    start = start._replace(labels=start.labels.at[:, 1].set(0))  # an empty slot
    earlier = toy_start(inputs, ipc=2, seed=4) if "segments" in changes else None
    method = build(tiny_network("convnet_bn"), override(METHODS["dm"], flags))
    state = method.init(KEY, start)
    inputs = Inputs(inputs.real, inputs.full, earlier=earlier)
    new, info = jax.jit(method.step)(KEY, state, inputs)
    chex.assert_tree_all_finite(info)
    moved = np.abs(new.codes.images - state.codes.images).max((2, 3, 4))
    assert moved[:, 0].min() > 1e-6
    assert not moved[:, 1].any()
    chex.assert_trees_all_equal(method.result(new).labels, start.labels)
