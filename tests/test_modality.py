"""What fits samples of which shape: one table, and the sentences that refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.augment import pipeline, siamese, training
from jaxdd.augment.sequences import OPS, SHIFT
from jaxdd.modality import (
    MODALITIES,
    check_augmentation,
    check_pixels,
    modality_of,
)
from jaxdd.nets import NETS, make_network
from jaxdd.nets.registry import check_network, networks_for
from jaxdd.types import Batch
from tests.helpers import refused

SHAPES = {"vectors": (6,), "sequences": (16, 2), "images": (32, 32, 1)}


def test_every_network_takes_what_it_says():
    assert {name for x in MODALITIES for name in networks_for(x)} == set(NETS)
    for modality, shape in SHAPES.items():
        assert modality_of(shape).name == modality
        assert MODALITIES[modality].network == networks_for(modality)[0]
        if modality == "images":  # `tests/nets` has all of them
            continue
        for name in networks_for(modality):
            network = make_network(name, shape, 3)
            params, stats = jax.eval_shape(network.init, jax.random.key(0))
            images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
            run = lambda p, s, x, apply=network.apply: apply(p, s, x, False)[0]
            assert jax.eval_shape(run, params, stats, images).logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: check_network("convnet", (30,)), "vectors [F]: use mlp"),
        (lambda: check_network("resnet18", (9, 2)), "use convnet1d, mlp"),
        (lambda: check_augmentation("color", (30,)), "vectors [F]: use none"),
        (lambda: check_augmentation("color", (9, 2)), "sequence:jitter"),
        (lambda: check_augmentation("sequence:jitter", (8, 8, 1)), "not for images"),
        (lambda: check_augmentation("idc:crop+cutmix=0.5", (9, 2)), "cutmix"),
        (lambda: check_pixels("--factor=2", (9, 2)), "--factor=2 is about images"),
        (lambda: modality_of((2, 2, 2, 2)), "(2, 2, 2, 2)"),
        (lambda: pipeline("sequence:flip"), "jitter, scale, shift, crop"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(check, words):
    with refused(None, words):
        check()


def test_what_fits_is_not_refused():
    for modality, shape in SHAPES.items():
        check_augmentation("none", shape)
        check_augmentation(MODALITIES[modality].usual or "color_crop", shape)


@pytest.mark.parametrize("name", OPS)
def test_operations_on_sequences_are_siamese_and_differentiable(name):
    time = np.linspace(0, 1, 16, dtype=np.float32)
    rising = jnp.asarray(np.stack([time, 1 - time], axis=1))
    augment = siamese(pipeline(f"sequence:{name}"))

    def out(batch, key):
        return augment(key, batch, batch[:1])

    several = jnp.stack([rising, rising, 2 * rising])
    for seed in range(1 + (name == "shift")):  # a shift may be one of none
        key = jax.random.key(seed)
        first, second = out(several, key)
        np.testing.assert_array_equal(first[0], first[1])
        np.testing.assert_array_equal(first[0], second[0])
        assert first.shape == several.shape
        assert not np.array_equal(first[0], rising)
        slope = jax.grad(lambda x, key=key: jnp.sum(out(x, key)[0] ** 2))(several)
        assert np.isfinite(slope).all()
        assert np.any(slope != 0)


def test_a_shift_moves_in_time_and_a_crop_keeps_its_window():
    ones = jnp.ones((16, 1))
    reach = int(SHIFT * 16 + 0.5)
    for offset in range(-reach, reach + 1):
        shifted = OPS["shift"].apply(jnp.int32(offset), ones)[:, 0]
        assert int((shifted == 0).sum()) == abs(offset)
    time = jnp.arange(16.0)[:, None]
    whole = OPS["crop"].apply(jnp.array([1.0, 0.3]), time)
    np.testing.assert_allclose(whole, time, atol=1e-5)
    part = OPS["crop"].apply(jnp.array([0.8, 1.0]), time)[:, 0]
    np.testing.assert_allclose([part[0], part[-1]], [3.0, 15.0], atol=1e-5)


def test_the_names_of_training_take_sequences_and_refuse_images():
    augment = training("sequence:jitter")
    batch = Batch(jnp.zeros((2, 16, 2)), jnp.eye(2))
    images = augment(jax.random.key(0), batch).images
    assert not np.array_equal(images[0], images[1])  # drawn for every sample
    with refused(None, "[B, L, C]"):
        augment(jax.random.key(0), Batch(jnp.zeros((2, 8, 8, 1)), jnp.eye(2)))
