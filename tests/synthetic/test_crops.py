"""Crops of real images: where they lie, and which of them are kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.data.real import real_data
from jaxdd.primitives.ends import ENDS
from jaxdd.synthetic.crops import (
    Crops,
    crop_classes,
    cut,
    kept,
    random_boxes,
)
from tests.helpers import toy_real


def brightness(batch):
    return jnp.mean(batch.images, axis=(1, 2, 3))


@functools.cache
def cropped(realism="easy", seed=0, counts=(16, 12, 8), count=2):
    crops = Crops(realism, images=6, per_image=3, area=0.1)
    take = jax.jit(lambda key, real: crop_classes(key, real, count, crops, brightness))
    return take(jax.random.key(seed), toy_real(counts))


def test_boxes_are_inside_the_image_and_as_large_as_asked():
    boxes = np.asarray(random_boxes(jax.random.key(0), 2000, 0.25))
    place, side = boxes[:, :2], boxes[:, 2]
    assert place.min() >= 0
    assert np.all(place + side[:, None] <= 1 + 1e-6)
    assert 0.5 <= side.min() < 0.51
    assert 0.99 < side.max() <= 1
    # The area is uniform, as the side is not.
    assert np.mean(side**2) == pytest.approx(0.625, abs=0.02)


def test_a_crop_shows_its_box_alone():
    rows, columns = jnp.meshgrid(jnp.arange(8.0), jnp.arange(6.0), indexing="ij")
    image = jnp.stack([rows, columns], axis=-1)
    boxes = random_boxes(jax.random.key(1), 20, 0.1)
    parts = np.asarray(jax.jit(jax.vmap(cut, (None, 0)))(image, boxes))
    for box, part in zip(np.asarray(boxes), parts, strict=True):
        for axis, length in enumerate((8, 6)):
            first, last = box[axis] * length, (box[axis] + box[2]) * length
            # A pixel i covers [i, i + 1] and has the value i.
            values = part[..., axis] + 0.5
            inside = (values > first) & (values < last)
            ends = (values < 1) | (values > length - 1)  # half a pixel at the border
            assert np.all(inside | ends), (box, axis)


def test_a_box_as_large_as_the_image_leaves_it_as_it_is():
    image = jax.random.normal(jax.random.key(0), (8, 6, 3))
    whole = cut(image, jnp.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(whole, image, atol=1e-6)


def test_an_end_or_the_middle_is_kept_of_what_is_present():
    scores = jnp.array([5.0, 1.0, 4.0, 2.0, 3.0, 0.0])
    present = jnp.arange(6) < 5
    chosen = {x: kept(scores, present, 3, x).tolist() for x in ENDS}
    assert chosen == {"easy": [1, 3, 4], "median": [3, 4, 2], "hard": [0, 2, 4]}


def test_easy_crops_have_lower_scores_than_median_ones_and_these_than_hard_ones():
    easy, median, hard = (np.asarray(cropped(x)[1]) for x in ENDS)
    assert np.all(easy.max(axis=1) < median.min(axis=1))
    assert np.all(median.max(axis=1) < hard.min(axis=1))
    assert np.all(np.diff(easy) >= 0)
    assert np.all(np.diff(hard) <= 0)


def test_scores_are_those_of_the_images():
    images, scores = cropped("hard")
    np.testing.assert_allclose(jnp.mean(images, axis=(2, 3, 4)), scores, rtol=1e-5)


def test_a_key_decides_about_all_crops():
    again, _ = cropped.__wrapped__("easy")
    other, _ = cropped("easy", seed=1)
    np.testing.assert_array_equal(cropped("easy")[0], again)
    assert not np.array_equal(again, other)


def test_whole_samples_may_have_any_shape():
    """And each is kept once, in the order of the scores."""
    rng = np.random.default_rng(0)
    samples, labels = rng.normal(size=(9, 4)).astype(np.float32), np.arange(9) % 3
    real = real_data(samples, labels, 3)
    crops = Crops(area=1.0, per_image=5)
    score = lambda batch: batch.images[:, 0]
    chosen, scores = crop_classes(jax.random.key(0), real, 2, crops, score)
    for of_class, images in enumerate(np.asarray(chosen)):
        own = samples[labels == of_class]
        np.testing.assert_array_equal(images, own[np.argsort(own[:, 0])[:2]])
    np.testing.assert_array_equal(chosen[..., 0], scores)


def test_a_small_class_is_cut_several_times():
    images, _ = cropped("hard", counts=(16, 12, 1), count=3)
    assert images.shape == (3, 3, 8, 8, 1)
    assert len({image.tobytes() for image in np.asarray(images[2])}) == 3
