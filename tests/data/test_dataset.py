import numpy as np
import pytest

from jaxdd.data import Dataset, check_ipc, digits, from_arrays, split, validate
from jaxdd.data.splits import hold_out
from jaxdd.errors import UserError
from tests.helpers import refused


def arrays(**changes):
    rng = np.random.default_rng(0)
    given = {
        "images": rng.integers(0, 256, (12, 4, 5, 3), np.uint8),
        "labels": np.arange(12) % 3,
        "test_images": rng.integers(0, 256, (6, 4, 5, 3), np.uint8),
        "test_labels": np.arange(6) % 3,
    }
    return {**given, **changes}


def test_from_arrays_keeps_adds_a_channel_and_narrows():
    given = arrays()
    dataset = from_arrays(**given, class_names=["a", "b", "c"], name="mine")
    assert (dataset.name, dataset.num_classes) == ("mine", 3)
    assert dataset.image_shape == (4, 5, 3)
    np.testing.assert_array_equal(dataset.images, given["images"])
    np.testing.assert_array_equal(dataset.labels, given["labels"])
    assert dataset.labels.dtype == dataset.test_labels.dtype == np.int32
    images = np.linspace(0, 1, 12 * 4 * 5).reshape(12, 4, 5)
    dataset = from_arrays(**arrays(images=images, test_images=images[:6].tolist()))
    assert dataset.images.shape == (12, 4, 5, 1)
    assert dataset.images.dtype == dataset.test_images.dtype == np.float32
    assert dataset.class_names == ("0", "1", "2")


def float_images(value):
    images = np.full((12, 4, 5, 3), 0.5, np.float32)
    images[3, 2, 1, 0] = value
    return images


@pytest.mark.parametrize(
    ("changes", "quoted"),
    [
        ({"images": np.zeros((12, 4, 5, 3, 1), np.uint8)}, "(12, 4, 5, 3, 1)"),
        ({"images": np.zeros((12, 4, 0, 3), np.uint8)}, "(12, 4, 0, 3)"),
        ({"images": np.zeros((12, 4, 5, 3), np.int64)}, "int64"),
        ({"images": [[1, 2], [3]]}, "training images"),
        ({"images": np.zeros((12, 9, 5, 3), np.uint8)}, "(9, 5, 3)"),
        ({"images": float_images(0.5)}, "float32"),
        ({"images": float_images(np.nan)}, "nan"),
        ({"images": float_images(-np.inf)}, "-inf"),
        ({"images": float_images(1.5)}, "1.5"),
        ({"images": float_images(-0.25)}, "-0.25"),
        ({"labels": np.arange(11) % 3}, "(11,)"),
        ({"labels": np.eye(12, 3)}, "(12, 3)"),
        ({"labels": np.full(12, 0.5)}, "float64"),
        ({"labels": np.arange(12) % 3 - 1}, "-1"),
        ({"labels": np.arange(12) % 3 + 2**32}, str(2**32 + 2)),
        ({"test_labels": np.array([0, 1, 2, 7, 0, 1])}, "label 7 of sample 3"),
        ({"labels": np.arange(12) % 2 * 2}, "is 1, and they go up to 2"),
        ({"labels": np.arange(12) % 3 + 1}, "subtract 1"),
        ({"class_names": ["a", "b", "c", "dodo"]}, "dodo"),
        (
            {"images": np.ma.masked_array(np.zeros((12, 4, 5, 3), np.uint8), True)},
            "masked array",
        ),
        ({"class_names": ["a", "b"]}, "labels go up to 2: give a name for every"),
        ({"labels": np.full(12, 2**31 - 1)}, "without gaps"),
        ({"labels": np.zeros(12, int), "test_labels": np.zeros(6, int)}, "1 class"),
        ({"images": np.zeros((12, 4, 5, 2), np.uint8)}, "2 channels"),
        ({"images": np.zeros((12, 4, 5, 4), np.uint8)}, "4 channels"),
        (
            {"images": np.zeros((12, 3, 4, 5), np.uint8)},
            "numpy.moveaxis(images, 1, -1)",
        ),
        (
            {"images": np.zeros((12, 1, 4, 5), np.uint8)},
            "numpy.moveaxis(images, 1, -1)",
        ),
        ({"test_images": np.zeros((0, 4, 5, 3), np.uint8)}, "test split"),
        ({"images": np.zeros((0, 4, 5, 3), np.uint8), "labels": []}, "training split"),
    ],
)
def test_from_arrays_names_what_is_wrong(changes, quoted):
    with refused(None, quoted):
        from_arrays(**arrays(**changes))


def test_validate_rejects_wide_labels():
    given = arrays()
    dataset = Dataset(name="x", class_names=("a", "b", "c"), **given)
    with pytest.raises(UserError, match="int64"):
        validate(dataset)


def test_fingerprint_sees_every_array():
    reference = from_arrays(**arrays()).fingerprint
    assert reference == from_arrays(**arrays()).fingerprint
    assert len(reference) == 64
    for key in arrays():
        changed = {k: v.copy() for k, v in arrays().items()}
        changed[key].flat[:2] = changed[key].flat[1::-1]
        assert from_arrays(**changed).fingerprint != reference, key
    wide = arrays()
    for key in ("images", "test_images"):  # same bytes, other shape
        wide[key] = wide[key].reshape(-1, 5, 4, 3)
    assert from_arrays(**wide).fingerprint != reference


def test_check_ipc():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    check_ipc(labels, 3, 2)
    with pytest.raises(UserError, match="class 1 has 2 training samples"):
        check_ipc(labels, 3, 3)
    with pytest.raises(UserError, match="class 3 has 0"):
        check_ipc(labels, 4, 1)
    with pytest.raises(UserError, match="ipc is 0"):
        check_ipc(labels, 3, 0)


def test_digits():
    dataset = digits()
    assert dataset.images.shape == (1437, 8, 8, 1)
    assert dataset.test_images.shape == (360, 8, 8, 1)
    assert dataset.images.dtype == np.float32
    assert dataset.images.max() == 1
    assert dataset.num_classes == 10
    counts = np.bincount(dataset.test_labels)
    assert counts.min() >= 34
    assert counts.max() <= 37
    rows = np.concatenate([dataset.images, dataset.test_images]).reshape(1797, -1)
    assert len(np.unique(rows, axis=0)) == 1797  # no test image is a training image
    assert dataset.fingerprint == digits().fingerprint


def test_split_is_stratified_disjoint_and_complete():
    dataset = digits()
    train, validation, test = split(dataset, validation=0.1, seed=3)
    assert validation is not None
    ids = np.concatenate([train.ids, validation.ids])
    np.testing.assert_array_equal(np.sort(ids), np.arange(1437))
    for part in (train, validation):
        assert (np.diff(part.ids) > 0).all()
        np.testing.assert_array_equal(part.images, dataset.images[part.ids])
        np.testing.assert_array_equal(part.labels, dataset.labels[part.ids])
    wanted = np.bincount(dataset.labels) * 0.1
    assert np.abs(np.bincount(validation.labels) - wanted).max() < 1
    assert len(validation.ids) == 144  # ceil(143.7)
    assert test.images is dataset.test_images


def test_split_depends_on_the_seed_alone_and_may_hold_out_nothing():
    dataset = digits()
    first, again = (split(dataset, 0.2, seed=5).train.ids for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, split(dataset, 0.2, seed=6).train.ids)
    dataset = digits()
    train, validation, _ = split(dataset, validation=0)
    assert validation is None
    np.testing.assert_array_equal(train.ids, np.arange(1437))
    assert train.images is dataset.images


def test_hold_out_leaves_both_sides_a_sample():
    labels = np.array([0] * 100 + [1] * 2 + [2] * 100)
    kept, held = hold_out(labels, 0.01, seed=0)
    assert np.bincount(labels[held]).tolist() == [1, 1, 1]
    assert np.bincount(labels[kept]).tolist() == [99, 1, 99]
    assert len(hold_out(np.zeros(100, int), 0.07, seed=0)[1]) == 7
    with pytest.raises(UserError, match="-1"):
        split(digits(), 0.1, seed=-1)
    lonely = from_arrays(**arrays(labels=np.array([0, 1] * 5 + [0, 2])))
    with pytest.raises(UserError, match="class 2 has 1 training sample"):
        split(lonely, 0.1)


@pytest.mark.parametrize("fraction", [-0.1, 0.51, float("nan")])
def test_split_rejects_fractions(fraction):
    with pytest.raises(UserError, match=str(fraction)):
        split(digits(), fraction)


def test_names_can_be_printed_and_remarks_do_not_count():
    names = ["$$", "b\udcff", "x\ny"]
    dataset = from_arrays(**arrays(), class_names=names)
    assert dataset.class_names == ("$$", "b\\udcff", "x\\ny")
    plain = from_arrays(**arrays())
    told = from_arrays(**arrays(), remarks=["something was left out"])
    assert (plain.remarks, told.remarks) == ((), ("something was left out",))
    assert plain.fingerprint == told.fingerprint


def test_a_dataset_says_what_it_is_in_a_line():
    images, labels = np.zeros((20, 4, 4, 1), np.float32), np.arange(20) % 2
    data = from_arrays(images, labels, images, labels)
    assert repr(data) == (
        "Dataset(arrays: 20 training and 20 test samples of 2 classes, 4x4x1 float32)"
    )
