"""Class tables and class-wise sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.data.real import (
    batch_of_pass,
    class_table,
    real_data,
    sample_any,
    sample_class,
    sample_classes,
    take,
)
from jaxdd.errors import UserError
from jaxdd.modifiers.curriculum import Curriculum
from tests.helpers import refused, toy_arrays

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


def test_a_table_lists_every_class_by_score_or_in_order():
    labels = np.array([1, 0, 1, 1, 0])
    scores = np.array([0.3, 0.9, 0.1, 0.2, 0.4])
    table, counts = class_table(labels, 3, scores)
    assert counts.tolist() == [2, 3, 0]
    assert table.tolist() == [[4, 1, 0], [2, 3, 0], [0, 0, 0]]
    table, counts = class_table(np.array([1, 0, 1, 1, 0]), 2)
    assert table.tolist() == [[1, 4, 0], [0, 2, 3]]
    assert counts.tolist() == [2, 3]
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


def test_short_classes_are_cyclic_and_windows_are_kept():
    real, labels = numbered()
    for row in drawn(real, 1, 10, keys=20):  # 4 samples, 10 asked for
        assert np.all(labels[row] == 1)
        assert len(set(row[:4])) == 4
        assert np.array_equal(row, np.resize(row[:4], 10))
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


def passes(real, class_index, size, batches, seed=0):
    """Indices of samples, batch by batch, with whether they count."""
    order, index = jnp.uint32(seed), jnp.int32(class_index)
    one = lambda i: batch_of_pass(order, real, index, size, i)
    found = jax.jit(jax.vmap(one))(jnp.arange(batches))
    return (
        np.asarray(found.images)[..., 0, 0, 0].astype(int),
        np.asarray(found.labels).sum(-1) > 0,
    )


@pytest.mark.parametrize(
    ("count", "size"), [(12, 4), (14, 4), (7, 7), (9, 5), (640, 64), (3, 1)]
)
def test_passes_over_a_class_are_without_replacement(count, size):
    """A rest that fills no batch is left out, and every pass is another order."""
    real, labels = numbered((count, 5))
    per_pass = count // size
    samples, counted = passes(real, 0, size, 3 * per_pass)
    assert counted.all()
    assert np.all(labels[samples] == 0)
    whole = samples.reshape(3, -1)
    assert all(len(set(row)) == per_pass * size for row in whole.tolist())
    if count > 3:
        assert len({tuple(row) for row in whole.tolist()}) == 3
    again, _ = passes(real, 0, size, 3 * per_pass)
    assert np.array_equal(again, samples)


def test_passes_differ_by_run_and_by_class():
    real, _ = numbered((8, 8))
    table = np.asarray(real.table)
    orders = {
        tuple(np.searchsorted(table[k], passes(real, k, 4, 2, seed)[0].ravel()))
        for k in (0, 1)
        for seed in (0, 1)
    }
    assert len(orders) == 4


def test_a_class_smaller_than_a_batch_is_one_whole_batch():
    """All of it once: the loss is the mean over the samples that there are."""
    real, _ = numbered()
    window = real._replace(counts=jnp.array([3, 4, 0], jnp.int32))
    for class_index, count in ((0, 3), (1, 4), (2, 0)):
        samples, counted = passes(window, class_index, 6, 4)
        assert counted.sum(1).tolist() == [count] * 4
        members = set(np.asarray(real.table)[class_index, :count].tolist())
        for row, shown in zip(samples, counted, strict=True):
            assert set(row[shown].tolist()) == members


def test_classes_are_sampled_side_by_side_and_equally_often():
    real, labels = numbered()
    batch = sample_classes(jax.random.key(0), real, 2)
    assert batch.images.shape == (3, 2, 2, 2, 1)
    indices = np.asarray(batch.images)[..., 0, 0, 0].astype(int)
    assert labels[indices].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert np.argmax(batch.labels, -1).tolist() == [[0, 0], [1, 1], [2, 2]]
    real, _ = numbered()
    samples, _ = passes(real, 0, 4, 3000)  # one batch of four of six per pass
    _, frequency = np.unique(samples, return_counts=True)
    # 2000 times each, with a standard deviation of 26.
    assert len(frequency) == 6
    assert np.all(np.abs(frequency - 2000) < 5 * 26)


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


# --- Curricula ----------------------------------------------------------------------

PAD = Curriculum(0.75, 20, ((40, 0.1), (60, 0.2)))


@pytest.mark.parametrize(
    ("epoch", "first", "past"),
    [
        (0, 0, 3750),
        (1, 0, 3812),  # 0.7625 * 5000 = 3812.5
        (10, 0, 4375),
        (19, 0, 4937),  # 0.9875 * 5000 = 4937.5
        (20, 0, 5000),
        (21, 0, 5000),
        (40, 0, 5000),
        (41, 500, 5000),
        (60, 500, 5000),
        (61, 1000, 5000),
        (99, 1000, 5000),
    ],
)
def test_the_published_curriculum_of_cifar10(epoch, first, past):
    found = PAD.bounds(jnp.full(10, 5000), epoch)
    assert [x.tolist() for x in found] == [[first] * 10, [past] * 10]
    traced = jax.jit(PAD.bounds)(jnp.full(10, 5000), jnp.int32(epoch))
    assert [x.tolist() for x in traced] == [[first] * 10, [past] * 10]


@pytest.mark.parametrize("size", [1, 30, 100, 150, 500, 600, 1300, 5000, 6000])
def test_a_share_is_rounded_down_but_not_by_the_floating_point(size):
    """In float32, 0.53 * 100 is below 53."""
    for percent in range(100):
        dropped = Curriculum(drop_easiest=percent / 100).bounds(jnp.array([size]), 0)[0]
        assert dropped.tolist() == [percent * size // 100]


@pytest.mark.parametrize("size", [100, 500, 5000, 6000])
def test_a_growing_share_is_rounded_down_but_not_by_the_floating_point(size):
    """25 % and 75 % / 20 more per epoch, exactly."""
    curriculum = Curriculum(0.25, 20)
    for epoch in range(21):
        past = curriculum.bounds(jnp.array([size]), epoch)[1]
        assert past.tolist() == [(25 * 20 + 75 * epoch) * size // 2000]


def reference_window(curriculum, size, epoch):
    """The specification in plain Python, for shares in whole percent."""
    easy = round(100 * curriculum.drop_easiest)
    for after, share in curriculum.removals:
        if epoch > after:
            easy = max(easy, round(100 * share))
    grown = 100 * curriculum.init_ratio
    if epoch >= curriculum.add_end_epoch:
        grown = 100
    else:
        grown += (100 - grown) * epoch / curriculum.add_end_epoch
    past = min(
        int(grown * size / 100 + 1e-6),
        size - round(100 * curriculum.drop_hardest) * size // 100,
    )
    past = max(past, min(size, 1))
    return min(easy * size // 100, max(past - 1, 0)), past


CURRICULA = {
    "everything": Curriculum(),
    "pad": Curriculum(0.75, 4, ((5, 0.1), (7, 0.5))),
    "hardest left out": Curriculum(drop_hardest=0.25),
    "easiest left out": Curriculum(drop_easiest=0.3),
    "both ends": Curriculum(drop_easiest=0.25, drop_hardest=0.5),
    "all at once": Curriculum(0.2, 6, ((7, 0.4),), 0.1, 0.3),
    "window behind the growth": Curriculum(0.1, 9, ((0, 0.8),)),
}


@pytest.mark.parametrize("name", CURRICULA)
def test_window_and_members_show_the_same_part_of_the_sorted_table(name):
    """Classes of different sizes, one of them empty; scores that have to be sorted."""
    curriculum, counts = CURRICULA[name], (17, 9, 1, 0, 4)
    images, labels = toy_arrays(counts, (2, 2, 1))
    scores = np.random.default_rng(3).normal(size=len(labels))
    real = real_data(images, labels, len(counts), scores=scores)
    both = jax.jit(lambda r, e: (curriculum.window(r, e), curriculum.members(r, e)))
    for epoch in range(10):
        window, members = both(real, jnp.int32(epoch))
        expected = set()
        for k, size in enumerate(counts):
            own = np.flatnonzero(labels == k)
            easy_to_hard = own[np.argsort(scores[own])]
            first, past = reference_window(curriculum, size, epoch)
            shown = easy_to_hard[first:past]
            assert len(shown) >= min(size, 1)
            found = np.asarray(window.table)[k, : int(window.counts[k])]
            assert found.tolist() == shown.tolist(), (k, epoch)
            expected |= set(shown.tolist())
        assert set(np.flatnonzero(members).tolist()) == expected
        assert np.array_equal(window.labels, real.labels)
        assert np.array_equal(window.images, real.images)


def test_members_are_in_the_table_and_static_curricula_known():
    """Such as those that an earlier window has taken out of play."""
    real, labels = numbered()
    window = Curriculum(drop_hardest=0.5).window(real, 0)
    members = Curriculum().members(window, 0)
    kept = [i for k, n in enumerate((3, 2, 1)) for i in np.flatnonzero(labels == k)[:n]]
    assert np.flatnonzero(members).tolist() == sorted(kept)
    assert Curriculum().is_static
    assert CURRICULA["both ends"].is_static
    assert not PAD.is_static
    assert not Curriculum(removals=((3, 0.1),)).is_static


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"init_ratio": 0.0}, "init_ratio must lie"),
        ({"init_ratio": 1.5}, "init_ratio must lie"),
        ({"init_ratio": float("nan")}, "init_ratio must lie"),
        ({"init_ratio": 0.5}, "add_end_epoch"),
        ({"removals": ((5, 0.1), (5, 0.2))}, "must grow"),
        ({"removals": ((6, 0.1), (5, 0.2))}, "must grow"),
        ({"removals": ((-1, 0.1),)}, "must grow"),
        ({"removals": ((5, 1.0),)}, "share of removals must lie"),
        ({"drop_easiest": -0.1}, "drop_easiest must lie"),
        ({"drop_hardest": 1.0}, "drop_hardest must lie"),
        ({"drop_easiest": 0.5, "drop_hardest": 0.5}, "leaves nothing"),
        ({"removals": ((5, 0.6),), "drop_hardest": 0.4}, "leaves nothing"),
    ],
)
def test_a_curriculum_that_makes_no_sense_is_the_users_error(wrong, message):
    with pytest.raises(UserError, match=message):
        Curriculum(**wrong)


GOOD = {
    "images": np.zeros((6, 4, 4, 1), np.float32),
    "labels": np.arange(6) % 3,
    "num_classes": 3,
}


@pytest.mark.parametrize(
    ("changes", "quoted"),
    [
        ({"labels": np.arange(6) % 3 + 1}, "run from 1 to 3"),
        ({"labels": np.arange(6) % 3 * 2}, "label 4 of sample 2"),
        ({"labels": np.arange(6) % 3 * 2}, "number the classes from 0"),
        ({"labels": np.arange(6) % 3 - 1}, "-1"),
        ({"labels": np.arange(5) % 3}, "6 images"),
        ({"labels": np.eye(6, 3)}, "(6, 3)"),
        ({"labels": np.full(6, 0.5)}, "float64"),
        ({"num_classes": 2}, "label 2"),
        ({"labels": np.zeros(6, int), "num_classes": 1}, "1 class"),
        ({"images": np.full((6, 4, 4, 1), np.nan)}, "not finite"),
        ({"images": jnp.full((6, 4, 4, 1), jnp.inf)}, "not finite"),
        ({"images": np.zeros(6)}, "(6,)"),
        ({"images": np.zeros((0, 4, 4, 1)), "labels": np.zeros(0, int)}, "empty"),
        ({"scores": np.zeros(5)}, "(5,)"),
        ({"scores": np.full(6, np.nan)}, "scores"),
        ({"images": np.full((6, 4, 4, 1), "x")}, "the real data must be real"),
        ({"images": GOOD["images"] + 1j}, "complex"),
        ({"images": [[1], [1, 2]]}, "do not form one array"),
        ({"scores": list("abcdef")}, "scores must be real"),
        ({"scores": [[1], [1, 2], *[[3]] * 4]}, "scores do not form one array"),
        ({"labels": [[0], [1, 0]]}, "do not form one array"),
        ({"scale": [np.nan]}, "scale contain"),
        ({"scale": [1.0, 1.0]}, "scale has shape (2,)"),
        ({"scale": 1.0}, "scale has shape ()"),
        ({"shift": ["0"]}, "shift must be real"),
        ({"shift": np.zeros((1, 1))}, "shift has shape (1, 1)"),
    ],
)
def test_real_data_refuses_what_no_training_can_mean(changes, quoted):
    with refused(None, quoted):
        real_data(**{**GOOD, **changes})


def test_real_data_takes_arrays_of_the_device_and_preprocessed_ones():
    """Any range, an empty class, and images that are being traced."""
    images = 5 * jnp.arange(96, dtype=jnp.float32).reshape(6, 4, 4, 1) - 30
    real = real_data(images, jnp.asarray([0, 0, 2, 2, 0, 2]), 3)
    assert real.counts.tolist() == [3, 0, 3]
    labels = np.arange(6) % 3
    count = jax.eval_shape(lambda x: real_data(x, labels, 3).images.sum(), images)
    assert count.shape == ()


def test_samples_of_any_class_are_drawn_alike_and_once():
    real, _ = numbered()
    window = Curriculum(drop_hardest=0.5).window(real, 0)
    kept = {int(i) for row, n in zip(window.table, window.counts, strict=True)
            for i in row[: int(n)]}  # fmt: skip
    draw = jax.jit(jax.vmap(lambda k: sample_any(k, window, len(kept)).images))
    rows = np.asarray(draw(jax.random.split(jax.random.key(0), 20)))[..., 0, 0, 0]
    assert {frozenset(row.astype(int)) for row in rows} == {frozenset(kept)}
    assert len({tuple(row) for row in rows}) > 1


def test_too_few_samples_of_any_class_are_repeated_and_none_are_padding():
    real, labels = numbered()
    batch = sample_any(jax.random.key(0), real, 2 * len(labels))
    drawn_twice = np.bincount(np.asarray(batch.images)[:, 0, 0, 0].astype(int))
    assert drawn_twice.tolist() == [2] * len(labels)
    nothing = real._replace(counts=jnp.zeros_like(real.counts))
    assert float(sample_any(jax.random.key(0), nothing, 4).labels.sum()) == 0
