"""Datasets in one .npz archive, as MedMNIST and Keras distribute them."""

import re
from pathlib import Path

import numpy as np

from jaxdd.checks import as_labels
from jaxdd.data.dataset import Dataset, from_arrays
from jaxdd.data.pictures import Form, fit_arrays
from jaxdd.data.splits import held_out_remark, with_test_split
from jaxdd.errors import UserError
from jaxdd.storage.arrays import Member, read_arrays
from jaxdd.storage.paths import shown

# Names of images and labels: of training; for testing, in the order of preference.
_TRAIN = (
    ("train_images", "train_labels"),  # MedMNIST
    ("x_train", "y_train"),  # Keras
    ("images", "labels"),
)
_TEST = (
    ("test_images", "test_labels"),
    ("x_test", "y_test"),
    ("val_images", "val_labels"),
    ("x_val", "y_val"),
)
_IMAGES = Member("uif", None, required=False, repetitive=True)
_LABELS = Member("biuf", None, 2**30, required=False, repetitive=True)
_NAMES = Member("U", 1, 2**24, required=False)
_REMEDY = (
    "give an archive with images and labels, test_images and test_labels (or "
    "train_images ..., as MedMNIST has them, or x_train, y_train, x_test, y_test)"
)


def from_npz(
    path: str | Path,
    channels: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> Dataset:
    """Arrays of an .npz archive; nothing in it is executed.

    path: an archive with `train_images` and `train_labels` (MedMNIST), `images` and
        `labels`, or `x_train` and `y_train` (Keras). The test split is `test_images`
        and `test_labels` or `x_test` and `y_test`, else the same with `val`; without
        one a stratified fifth is held out, always the same. `class_names` is optional.
        Images are as for `from_arrays`; labels [M] or [M, 1] integers.
    channels, image_size: what images are converted to, as for `from_folder`

    Raises UserError if the archive cannot be used, or for whatever `from_arrays`
    rejects.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "toy.npz"
        ...     images, labels = np.zeros((10, 8, 8), np.uint8), np.arange(10) % 2
        ...     np.savez(path, images=images, labels=labels)
        ...     dataset = from_npz(path)
        >>> dataset.image_shape, dataset.num_classes, len(dataset.test_labels)
        ((8, 8, 1), 2, 2)
    """
    form = Form(channels, image_size).checked()
    members = dict.fromkeys((n for n, _ in (*_TRAIN, *_TEST)), _IMAGES)
    members |= dict.fromkeys((n for _, n in (*_TRAIN, *_TEST)), _LABELS)
    members["class_names"] = _NAMES
    arrays = read_arrays(path, members, _REMEDY, "the dataset")
    train = next((p for p in _TRAIN if {*p} <= arrays.keys()), None)
    if train is None:
        there = f"only {', '.join(arrays)}" if arrays else "no such arrays"
        raise UserError(
            f"the dataset {shown(path)} has {there}, but no images with labels to "
            f"train on: {_REMEDY}"
        )
    name = f"npz:{shown(re.sub(r'[.]npz$', '', Path(path).name))}"

    def taken(pair: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
        images = fit_arrays(f"array {pair[0]!r}", arrays[pair[0]], form)
        return images, _class_indices(pair[1], arrays[pair[1]])

    images, labels = taken(train)
    given = arrays.get("class_names")
    class_names = None if given is None else [str(n) for n in given]
    splits = [p for p in _TEST if {*p} <= arrays.keys()]
    remarks = [
        f"the split {pair[0]} of {name} ({len(arrays[pair[0]])} images) was left out: "
        f"{splits[0][0]} is the test split"
        for pair in splits[1:]
    ]
    if splits:
        return from_arrays(
            images, labels, *taken(splits[0]), class_names, name, remarks
        )
    total = len(labels)
    if images.shape[:1] != labels.shape:
        raise UserError(
            f"the dataset {shown(path)} has {train[0]} of shape {images.shape} but "
            f"{train[1]} of shape {labels.shape}; give one label per image"
        )
    images = images[..., None] if images.ndim == 3 else images
    remarks.append(held_out_remark(name, total))
    return with_test_split(name, images, labels, class_names, remarks)


def _class_indices(name: str, labels: np.ndarray) -> np.ndarray:
    """[M] int32 of labels [M] or, as in MedMNIST, [M, 1]."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        raise UserError(
            f"the labels {name!r} have shape {labels.shape}, {labels.shape[1]} values "
            "per image, as sets with several labels per image (such as ChestMNIST) or "
            "one-hot labels have: give one class index per image"
        )
    return as_labels(f"labels {name!r}", labels)
