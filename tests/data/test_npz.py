"""Datasets in .npz archives: MedMNIST's and Keras' names, and hostile ones."""

import numpy as np
import pytest

from jaxdd.data import load
from jaxdd.errors import UserError
from tests.helpers import refused

RNG = np.random.default_rng(0)
IMAGES, TEST_IMAGES = (RNG.integers(0, 256, (n, 6, 5, 3), np.uint8) for n in (12, 6))
LABELS, TEST_LABELS = (np.arange(n, dtype=np.uint8) % 3 for n in (12, 6))
NAMES = {
    "medmnist": ("train_images", "train_labels", "test_images", "test_labels"),
    "plain": ("images", "labels", "test_images", "test_labels"),
    "keras": ("x_train", "y_train", "x_test", "y_test"),
    "validation": ("train_images", "train_labels", "val_images", "val_labels"),
}


def archive(folder, **arrays):
    np.savez(folder / "set.npz", **arrays)
    return f"npz:{folder / 'set.npz'}"


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("kind", NAMES)
def test_usual_names_are_read(kind, column, tmp_path):
    labels = [x[:, None] if column else x for x in (LABELS, TEST_LABELS)]
    values = (IMAGES, labels[0], TEST_IMAGES, labels[1])
    dataset = load(archive(tmp_path, **dict(zip(NAMES[kind], values, strict=True))))
    np.testing.assert_array_equal(dataset.images, IMAGES)
    np.testing.assert_array_equal(dataset.labels, LABELS)
    np.testing.assert_array_equal(dataset.test_images, TEST_IMAGES)
    np.testing.assert_array_equal(dataset.test_labels, TEST_LABELS)
    assert dataset.name == "npz:set"
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.remarks == ()


def test_a_third_split_and_a_missing_one_are_told(tmp_path):
    given = {"train_images": IMAGES, "train_labels": LABELS}
    given |= {"val_images": TEST_IMAGES, "val_labels": TEST_LABELS}
    more = {"test_images": TEST_IMAGES[:3], "test_labels": TEST_LABELS[:3]}
    dataset = load(archive(tmp_path, **given, **more))
    assert len(dataset.test_labels) == 3
    assert "val_images of npz:set (6 images) was left out" in dataset.remarks[0]
    names = np.array(["cat", "dog", "eel"])
    dataset = load(
        archive(tmp_path, images=IMAGES[..., 0], labels=LABELS, class_names=names)
    )
    assert dataset.image_shape == (6, 5, 1)
    assert np.bincount(dataset.test_labels).tolist() == [1, 1, 1]
    assert dataset.class_names == ("cat", "dog", "eel")
    assert "a stratified fifth of its 12 images" in dataset.remarks[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("stored", [1, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_converted(tmp_path, dtype, stored, channels):
    level = 100 if dtype == np.uint8 else 0.25
    images = np.full((10, 6, 8, stored), level, dtype)
    images[:5] = 0
    place = archive(tmp_path, images=images, labels=np.arange(10) // 5)
    dataset = load(place, None, channels, (4, 4))
    assert dataset.image_shape == (4, 4, channels)
    assert dataset.images.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    np.testing.assert_allclose(dataset.images[dataset.labels == 1], level, rtol=1e-5)
    assert (dataset.images[dataset.labels == 0] == 0).all()


def test_grey_is_that_of_pillow_and_digits_are_converted(tmp_path):
    from PIL import Image

    place = archive(tmp_path, images=IMAGES, labels=LABELS)
    grey = load(place, channels=1)
    colour = load(place)
    for ours, image in zip(grey.images, colour.images, strict=True):
        theirs = np.asarray(Image.fromarray(image).convert("L")).astype(int)
        assert np.abs(ours[..., 0] - theirs).max() <= 1
    dataset = load("digits", None, 3, (16, 12))
    assert dataset.image_shape == (16, 12, 3)
    assert dataset.images.dtype == np.float32
    assert 0 <= dataset.images.min() < dataset.images.max() <= 1


@pytest.mark.parametrize(
    ("arrays", "quoted"),
    [
        ({}, "none of them"),
        ({"images": IMAGES}, "only images"),
        (
            {"images": IMAGES, "labels": LABELS, "test_images": IMAGES},
            "test_images without test_labels",
        ),
        ({"images": IMAGES, "labels": np.eye(12, 14)}, "(12, 14)"),
        ({"images": IMAGES, "labels": np.eye(12, 14)}, "ChestMNIST"),
        ({"images": IMAGES, "labels": LABELS[:5]}, "(5,)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "empty"),
        ({"images": np.uint8(3), "labels": np.uint8(3)}, "[M, H, W, C]"),
        ({"images": IMAGES / 255 + 0j, "labels": LABELS}, "complex128"),
        ({"images": IMAGES.astype(object), "labels": LABELS}, "images"),
        ({"images": np.moveaxis(IMAGES, -1, 1), "labels": LABELS}, "moveaxis"),
    ],
)
def test_archives_that_cannot_be_used_are_named(arrays, quoted, tmp_path):
    with refused(None, quoted):
        load(archive(tmp_path, **arrays))


def test_a_split_that_is_not_used_needs_no_labels(tmp_path):
    both = {"images": IMAGES, "labels": LABELS}
    test = {"test_images": IMAGES, "test_labels": LABELS, "val_images": IMAGES}
    assert len(load(archive(tmp_path, **both, **test)).test_labels) == len(LABELS)


def test_a_second_training_split_is_told(tmp_path):
    pairs = {"images": IMAGES, "labels": LABELS, "x_train": IMAGES, "y_train": LABELS}
    dataset = load(archive(tmp_path, **pairs))
    assert any("images of npz:" in x and "left out" in x for x in dataset.remarks)


@pytest.mark.parametrize("content", [None, b"", b"PK\3\4 no archive"])
def test_no_archive(content, tmp_path):
    place = tmp_path / "set.npz"
    if content is not None:
        place.write_bytes(content)
    with pytest.raises(UserError, match=str(place)):
        load(f"npz:{place}")


def test_images_of_nothing_but_zeros_are_left_packed(tmp_path):
    images = np.zeros((100, 1000, 1000), np.uint8)
    np.savez_compressed(tmp_path / "set.npz", images=images, labels=LABELS)
    assert (tmp_path / "set.npz").stat().st_size < 2**20
    with pytest.raises(UserError, match="as no data does"):
        load(f"npz:{tmp_path / 'set.npz'}")


def test_only_the_chosen_splits_are_unpacked(tmp_path):
    arrays = dict(zip(NAMES["medmnist"], (IMAGES, LABELS, TEST_IMAGES, TEST_LABELS),
                      strict=True))  # fmt: skip
    place = tmp_path / "set.npz"
    more = RNG.integers(0, 256, (2000, 6, 5, 3), np.uint8)
    np.savez(place, **arrays, val_images=more, val_labels=np.arange(2000) % 3)
    content, third = place.read_bytes(), more[-1].tobytes()
    assert content.count(third) == 1
    # Its checksum is wrong now, which only shows where all of it is read.
    place.write_bytes(content.replace(third, bytes(len(third))))
    dataset = load(f"npz:{place}")
    assert "(2000 images) was left out" in dataset.remarks[0]


@pytest.mark.parametrize("form", [(None, (4, 4)), (1, None), (3, (4, 4)), (None, None)])
@pytest.mark.parametrize("wrong", [255.0, -0.5, np.nan, 1e300])
def test_floats_outside_their_range_are_never_cut(form, wrong, tmp_path):
    images = IMAGES / 255
    images[3, 1, 1] = wrong
    with pytest.raises(UserError, match=r"in \[0, 1\]|not finite"):
        load(archive(tmp_path, images=images, labels=LABELS), None, *form)
