"""Class tables and class-wise sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.losses import mean_loss
from jaxdd.windows import class_table, real_data, sample_class, sample_classes, take
from tests.helpers import new_learner, tiny_network, toy_arrays

pytestmark = pytest.mark.usefixtures("quick_compile")
COUNTS = (6, 4, 2)


def numbered(counts=COUNTS):
    """Real data in which the first pixel of an image is its index."""
    _, labels = toy_arrays(counts)
    images = np.zeros((len(labels), 2, 2, 1), np.float32)
    images[:, 0, 0, 0] = np.arange(len(labels))
    return real_data(images, labels, len(counts)), labels


def drawn(real, class_index, size, keys=1):
    """Indices of samples, [keys, size]."""
    index = jnp.int32(class_index)
    draw = jax.vmap(lambda k: sample_class(k, real, index, size).images)
    images = jax.jit(draw)(jax.random.split(jax.random.key(0), keys))
    return np.asarray(images)[..., 0, 0, 0].astype(int)


def test_table_lists_every_class_in_the_order_of_the_scores():
    labels = np.array([1, 0, 1, 1, 0])
    scores = np.array([0.3, 0.9, 0.1, 0.2, 0.4])
    table, counts = class_table(labels, 3, scores)
    assert counts.tolist() == [2, 3, 0]
    assert table.tolist() == [[4, 1, 0], [2, 3, 0], [0, 0, 0]]


def test_without_scores_the_table_keeps_the_order_of_the_data():
    table, counts = class_table(np.array([1, 0, 1, 1, 0]), 2)
    assert table.tolist() == [[1, 4, 0], [0, 2, 3]]
    assert counts.tolist() == [2, 3]


def test_equal_scores_keep_the_order_of_the_data():
    table, _ = class_table(np.zeros(4, int), 1, np.array([1.0, 0, 1, 0]))
    assert table.tolist() == [[1, 3, 0, 2]]


def test_take_preprocesses_raw_images_and_makes_labels_one_hot():
    raw = np.arange(12, dtype=np.uint8).reshape(3, 2, 1, 2)
    labels = np.array([2, 0, 1])
    real = real_data(raw, labels, 3, np.array([0.5, 2.0]), np.array([-1.0, 1.0]))
    assert real.images.dtype == jnp.uint8
    batch = take(real, jnp.array([2, 0]))
    expected = raw[[2, 0]] * np.array([0.5, 2.0]) + np.array([-1.0, 1.0])
    np.testing.assert_allclose(batch.images, expected)
    assert batch.labels.tolist() == [[0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("class_index", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 2])
def test_samples_are_distinct_while_there_are_enough(class_index, size):
    real, labels = numbered()
    samples = drawn(real, class_index, size, keys=20)
    assert np.all(labels[samples] == class_index)
    assert all(len(set(row)) == size for row in samples)


def test_a_short_class_is_taken_cyclically():
    real, labels = numbered()
    for row in drawn(real, 1, 10, keys=20):  # 4 samples, 10 asked for
        assert np.all(labels[row] == 1)
        assert len(set(row[:4])) == 4
        assert np.array_equal(row, np.resize(row[:4], 10))


def test_only_samples_in_play_are_drawn():
    real, _ = numbered()
    window = real._replace(counts=jnp.array([3, 4, 2], jnp.int32))
    allowed = set(np.asarray(real.table[0, :3]).tolist())
    samples = drawn(window, 0, 3, keys=20)
    assert all(set(row) == allowed for row in samples.tolist())


def test_every_sample_is_drawn_equally_often():
    real, _ = numbered()
    samples = drawn(real, 0, 2, keys=3000)
    _, frequency = np.unique(samples, return_counts=True)
    assert len(frequency) == 6
    # Each is in 1 of 3 draws: 1000 times with a standard deviation of 26.
    assert np.all(np.abs(frequency - 1000) < 5 * 26)
    _, first = np.unique(samples[:, 0], return_counts=True)
    assert np.all(np.abs(first - 500) < 5 * 21)


def test_an_empty_class_gives_padding_with_a_finite_loss():
    images, labels = toy_arrays((5, 4, 0))
    real = real_data(images, labels, 3)
    batch = sample_class(jax.random.key(0), real, jnp.int32(2), 4)
    assert batch.images.shape == (4, 8, 8, 1)
    assert not np.any(batch.labels)
    network = tiny_network()
    params, stats = new_learner(network)
    both = jax.jit(jax.value_and_grad(mean_loss(network)))
    value, gradient = both(params, batch, stats)
    assert value == 0
    assert all(np.all(g == 0) for g in jax.tree.leaves(gradient))


def test_classes_are_sampled_side_by_side():
    real, labels = numbered()
    batch = sample_classes(jax.random.key(0), real, 2)
    assert batch.images.shape == (3, 2, 2, 2, 1)
    indices = np.asarray(batch.images)[..., 0, 0, 0].astype(int)
    assert labels[indices].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert np.argmax(batch.labels, -1).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_every_class_has_an_order_of_its_own():
    real, _ = numbered((6, 6, 6))
    members = np.asarray(real.table)
    orders = set()
    for seed in range(3):
        batch = sample_classes(jax.random.key(seed), real, 6)
        indices = np.asarray(batch.images)[..., 0, 0, 0].astype(int)
        for row, drawn_indices in zip(members, indices, strict=True):
            orders.add(tuple(np.searchsorted(row, drawn_indices)))
    assert len(orders) == 9
