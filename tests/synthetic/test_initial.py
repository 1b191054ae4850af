"""The images that distillation starts from."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.errors import UserError
from jaxdd.synthetic.decoder import INPUT
from jaxdd.synthetic.initial import (
    DRAWN,
    correct_set,
    initial_set,
    label_logits,
    mosaics,
)
from jaxdd.types import Space, Synthetic
from tests.helpers import COUNTS, toy_real


def indices_of(start, real):
    """[K, n]: which real image each of a set is."""
    images, all_images = np.asarray(start.images), np.asarray(real.images)
    matches = (images[:, :, None] == all_images).all((3, 4, 5))
    assert np.all(matches.sum(2) == 1)
    return matches.argmax(2)


@pytest.mark.parametrize("kind", DRAWN)
def test_shapes_labels_and_step_size(kind):
    start = initial_set(jax.random.key(0), kind, toy_real(), 4)
    chex.assert_shape(start.images, (3, 4, 8, 8, 1))
    assert start.images.dtype == np.float32
    chex.assert_shape(start.step_size, ())
    expected = np.broadcast_to(np.eye(3)[:, None], (3, 4, 3))
    assert np.array_equal(start.labels, expected)


def test_noise_is_normal_and_real_images_distinct():
    images = initial_set(jax.random.key(0), "noise", toy_real(), 40).images
    assert abs(images.mean()) < 0.05
    assert abs(images.std() - 1) < 0.05
    unit = initial_set(jax.random.key(0), "unit_noise", toy_real(), 40).images
    norms = np.linalg.norm(images.reshape(3, 40, -1), axis=2)
    assert np.allclose(unit, images / norms[..., None, None, None], rtol=1e-5)
    real = toy_real()
    start = initial_set(jax.random.key(0), "real", real, 8)
    for k, found in enumerate(indices_of(start, real)):
        assert len(set(found)) == 8
        assert np.all(np.asarray(real.labels)[found] == k)


@pytest.mark.parametrize("kind", DRAWN)
def test_the_key_decides(kind):
    real = toy_real()
    a, b, c = (
        initial_set(jax.random.key(seed), kind, real, 2).images for seed in (0, 0, 1)
    )
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_an_unknown_kind_is_the_users_error():
    with pytest.raises(UserError, match="choose one of noise"):
        initial_set(jax.random.key(0), "mean", toy_real(), 2)


def right_ones(real, per_class, skip=0):
    """[M] bool: of class k `per_class[k]` samples, after the first `skip`."""
    right = np.zeros(real.labels.shape[0], bool)
    for row, n in zip(np.asarray(real.table), per_class, strict=True):
        right[row[skip : skip + n]] = True
    return right


def experts(*rights):
    """The experts' answers, and which of them were asked for."""
    asked = []

    def answers():
        for i, right in enumerate(rights):
            asked.append(i)
            yield jnp.asarray(right)

    return answers(), asked


def chosen_by(rights, ipc, seed=0, real=None):
    real = toy_real() if real is None else real
    answers, asked = experts(*rights)
    start, wrong = correct_set(jax.random.key(seed), real, answers, ipc)
    return indices_of(start, real), wrong, asked, start


def test_the_first_expert_is_enough_where_it_gets_enough_right():
    real = toy_real()
    first, second = right_ones(real, (5, 6, 4)), right_ones(real, (8, 8, 8))
    found, wrong, asked, start = chosen_by([first, second], 4)
    assert asked == [0]
    assert wrong == 0
    assert all(first[row].all() and len(set(row)) == 4 for row in found)
    assert np.all(np.asarray(real.labels)[found] == np.arange(3)[:, None])
    assert np.array_equal(start.labels, np.broadcast_to(np.eye(3)[:, None], (3, 4, 3)))
    assert start.images.dtype == np.float32


def test_the_choice_among_the_right_ones_is_random():
    rights = [right_ones(toy_real(), (12, 8, 8))]
    a, b, c = (chosen_by(rights, 4, seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    seen = {i for seed in range(20) for i in chosen_by(rights, 4, seed)[0][0].tolist()}
    assert seen == set(np.flatnonzero(rights[0] & (toy_real().labels == 0)).tolist())


def test_the_next_expert_fills_up_what_the_first_lacks():
    """It gets other images right; what the first found is kept."""
    real = toy_real()
    first = right_ones(real, (6, 1, 0))
    second = right_ones(real, (8, 2, 2), skip=6)
    third = right_ones(real, (16, 12, 8))
    found, wrong, asked, _ = chosen_by([first, second, third], 3)
    assert asked == [0, 1, 2]
    assert wrong == 0
    assert first[found[0]].all()  # enough of its own, whatever the others know
    assert first[found[1]].sum() == 1
    assert (first | second)[found[1]].all()
    assert second[found[2]].sum() == 2
    assert all(len(set(row)) == 3 for row in found)


def test_where_all_experts_fail_random_images_fill_up():
    real = toy_real()
    rights = [right_ones(real, (4, 1, 0)), right_ones(real, (4, 2, 0))]
    found, wrong, asked, _ = chosen_by(rights, 4)
    assert asked == [0, 1]
    assert wrong == 2 + 4
    assert [int(rights[1][row].sum()) for row in found] == [4, 2, 0]
    assert all(len(set(row)) == 4 for row in found)
    assert np.all(np.asarray(real.labels)[found] == np.arange(3)[:, None])


def test_a_class_with_fewer_images_than_asked_for_repeats_them():
    """10 of 16, 12 and 8 images; the padding of the table counts for nothing."""
    real = toy_real()
    right = right_ones(real, COUNTS)
    right[0] = False  # the table is padded with index 0
    found, wrong, asked, _ = chosen_by([right], 10)
    assert asked == [0]
    own = int(real.labels[0])
    assert wrong == int(0 in found[own].tolist())
    assert len(set(found[2])) == 8
    assert np.all(np.asarray(real.labels)[found] == np.arange(3)[:, None])
    nobody = np.zeros(len(right), bool)
    assert chosen_by([nobody], 10)[1] == 10 + 10 + 8


def test_only_images_in_play_are_chosen_and_counted():
    """The first expert knows many images, but too few of those in play."""
    real = toy_real()
    window = real._replace(counts=jnp.array([4, 4, 4], jnp.int32))
    first = right_ones(real, (12, 8, 4), skip=4)
    found, wrong, asked, _ = chosen_by(
        [first, right_ones(real, (4, 4, 4))], 3, 0, window
    )
    assert asked == [0, 1]
    assert wrong == 0
    for row, allowed in zip(found, np.asarray(real.table)[:, :4], strict=True):
        assert set(row) <= set(allowed)


def synthetic_of(classes, n):
    labels = jnp.broadcast_to(jnp.eye(classes)[:, None], (classes, n, classes))
    return Synthetic(jnp.zeros((classes, n, 2, 2, 1)), labels, jnp.float32(0))


def test_label_logits_are_the_mean_over_the_experts_that_are_right():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 6, 3)).astype(np.float32)
    logits[:, 0, 0] += 9  # all are right about the first image
    logits[:, 5, 0] += 9  # and none about the last, which is of class 2
    own = np.repeat(np.arange(3), 2)
    expected = np.zeros((6, 3))
    numbers = []
    for j in range(6):
        right = [z[j] for z in logits if np.argmax(z[j]) == own[j]]
        numbers.append(len(right))
        expected[j] = np.mean(right or logits[:, j], axis=0)
    assert numbers[0] == 5
    assert numbers[5] == 0
    assert any(0 < n < 5 for n in numbers)
    found = label_logits(synthetic_of(3, 2), (jnp.asarray(z) for z in logits))
    chex.assert_shape(found, (3, 2, 3))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found.reshape(6, 3), expected, rtol=1e-5, atol=1e-6)


PIXELS = Space(lambda z: 0.5 + 0.25 * z, lambda x: (x - 0.5) / 0.25, 0.5)


@pytest.mark.parametrize("space", [INPUT, PIXELS])
def test_a_mosaic_shows_the_images_that_share_its_labels(space):
    """Cell i of stored image j is image 2 i + j; labels are their mean."""
    rng = np.random.default_rng(0)
    colours = rng.normal(size=(3, 8)).astype(np.float32)
    images = np.broadcast_to(colours[..., None, None, None], (3, 8, 4, 4, 1))
    labels = rng.normal(size=(3, 8, 3)).astype(np.float32)
    found = mosaics(
        Synthetic(jnp.asarray(images), jnp.asarray(labels), jnp.float32(0.5)), 2, space
    )
    chex.assert_shape(found.images, (3, 2, 4, 4, 1))
    assert float(found.step_size) == 0.5
    for k in range(3):
        for j in range(2):
            shown = [2 * i + j for i in range(4)]
            corners = np.asarray(found.images[k, j, ::3, ::3, 0]).ravel()
            np.testing.assert_allclose(corners, colours[k, shown], atol=1e-5)
            expected = labels[k, shown].mean(0)
            np.testing.assert_allclose(found.labels[k, j], expected, rtol=1e-5)


def test_one_image_is_no_mosaic():
    start = synthetic_of(3, 2)
    assert mosaics(start, 1) is start
