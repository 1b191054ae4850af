"""Datasets in one .npz archive, as MedMNIST and Keras distribute them."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxdd.data.checks import as_labels, check_rank
from jaxdd.data.dataset import Dataset, as_samples, from_arrays
from jaxdd.data.readers.pictures import Form, fit_arrays
from jaxdd.data.splits import held_out_remark, with_test_split
from jaxdd.data.streaming.rows import HostArray
from jaxdd.errors import UserError
from jaxdd.modality import IMAGES, check_pixels, modality_of
from jaxdd.storage.arrays import Member, Shapes, read_arrays, shapes_of
from jaxdd.storage.paths import shown

# Names of images and labels: of the training split; of the test split, the preferred
# names first.
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
_IMAGES = Member("uif", None, required=False)
_LABELS = Member("biuf", None, 2**30, required=False, repetitive=True)  # sorted
_NAMES = Member("U", 1, 2**24, required=False)
_REMEDY = (
    "give an archive with images and labels, test_images and test_labels (or "
    "train_images ..., as MedMNIST has them, or x_train, y_train, x_test, y_test)"
)


def from_npz(
    path: str | Path,
    channels: int | None = None,
    image_size: tuple[int, int] | None = None,
    modality: str | None = None,
) -> Dataset:
    """The dataset in an .npz archive; nothing in it is executed.

    Args:
        path: an archive with `train_images` and `train_labels` (MedMNIST), `images` and
            `labels`, or `x_train` and `y_train` (Keras). The test split is
            `test_images` and `test_labels` or `x_test` and `y_test`, else the same
            with `val`; without any, a fixed stratified fifth is held out. `class_names`
            is optional. Images are as for `from_arrays`; labels are [M] or [M, 1]
            integers.
        channels, image_size: form to which images are converted, as for `from_folder`.
        modality: what the samples are, as for `from_arrays`.

    Raises:
        UserError: the archive cannot be used, or `from_arrays` refuses its arrays.

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
    shapes = shapes_of(path, _members(_TRAIN + _TEST), _REMEDY, "the dataset")
    train = next((p for p in _TRAIN if {*p} <= shapes.keys()), None)
    if train is None:
        arrays_in_file = f"only {', '.join(shapes)}" if shapes else "no such arrays"
        raise UserError(
            f"the dataset {shown(path)} has {arrays_in_file}, but no images with "
            f"labels to train on: {_REMEDY}"
        )
    name = f"npz:{shown(re.sub(r'[.]npz$', '', Path(path).name))}"

    splits = [p for p in _TEST if {*p} <= shapes.keys()]
    pairs = (train, *splits[:1])

    def agree(shapes: Shapes) -> None:
        for pair in pairs:
            _check_shapes(pair, shapes, modality)

    arrays = read_arrays(path, _members(pairs), _REMEDY, "the dataset", agree)

    def read_pair(pair: tuple[str, str]) -> tuple[HostArray, np.ndarray]:
        images = as_samples(f"array {pair[0]!r}", arrays[pair[0]], modality)
        if form != Form():
            check_pixels("converting channels or sizes", images.shape[1:])
        if modality_of(images.shape[1:]).pixels:
            images = fit_arrays(f"array {pair[0]!r}", arrays[pair[0]], form)
        # MedMNIST's are [M, 1].
        labels = arrays[pair[1]].reshape(len(images))
        return images, as_labels(f"labels {pair[1]!r}", labels)

    images, labels = read_pair(train)
    names = arrays.get("class_names")
    class_names = None if names is None else [str(n) for n in names]
    remarks = [
        f"the split {pair[0]} of {name} ({_count(shapes[pair[0]])} images) was left "
        f"out: {splits[0][0]} is the test split"
        for pair in splits[1:]
    ]
    if splits:
        return from_arrays(
            images, labels, *read_pair(splits[0]), class_names, name, remarks, modality
        )
    remarks.append(held_out_remark(name, len(labels)))
    return with_test_split(name, images, labels, class_names, remarks, modality)


def _members(pairs: Sequence[tuple[str, str]]) -> dict[str, Member]:
    members: dict[str, Member] = {}
    for images, labels in pairs:
        members |= {images: _IMAGES, labels: _LABELS}
    return {**members, "class_names": _NAMES}


def _count(shape: tuple[int, ...]) -> int:
    return shape[0] if shape else 0


def _check_shapes(pair: tuple[str, str], shapes: Shapes, modality: str | None) -> None:
    """Check that every image has one class index, before the arrays take memory.

    Raises:
        UserError: the shapes do not fit.
    """
    images, labels = (shapes[name] for name in pair)
    grey = len(images) == 3 and modality in (None, IMAGES.name)
    check_rank(f"array {pair[0]!r}", (*images, 1) if grey else images)
    if len(labels) == 2 and labels[1] != 1:
        raise UserError(
            f"the labels {pair[1]!r} have shape {labels}, {labels[1]} values per "
            "image, as sets with several labels per image (such as ChestMNIST) or "
            "one-hot labels have: give one class index per image"
        )
    if labels not in ((images[0],), (images[0], 1)):
        raise UserError(
            f"the images {pair[0]!r} have shape {images} but the labels {pair[1]!r} "
            f"have shape {labels}; give one label per image"
        )
