"""Datasets in one .npz archive, as MedMNIST and Keras distribute them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from jaxdd.data.checks import as_labels, check_rank
from jaxdd.data.dataset import Dataset, as_samples, from_arrays
from jaxdd.data.readers.cache import digest_of
from jaxdd.data.readers.npz_rows import Images, Source, are_streamed, stored_images
from jaxdd.data.readers.pictures import Form, Size, fit_arrays, form_of
from jaxdd.data.splits import held_out_remark, with_test_split
from jaxdd.data.streaming.rows import HostArray
from jaxdd.errors import UserError
from jaxdd.modality import IMAGES, check_pixels
from jaxdd.storage.arrays import Member, Shapes, declared, read_arrays
from jaxdd.storage.paths import existing_file, shown

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
_IMAGES_ON_DISK = replace(_IMAGES, largest=2**40)
_LABELS = Member("biuf", None, 2**30, required=False, repetitive=True)  # sorted
_NAMES = Member("U", 1, 2**24, required=False)
_WHAT = "the dataset"
_REMEDY = (
    "give an archive with images and labels, test_images and test_labels (or "
    "train_images ..., as MedMNIST has them, or x_train, y_train, x_test, y_test)"
)


def from_npz(
    path: str | Path,
    channels: int | None = None,
    image_size: Size = None,
    modality: str | None = None,
    stream: str = "never",
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
        stream: whether images stay on disk, one of `streaming.choice.STREAM`. They are
            read from the archive some at a time, if their rows follow one another in
            it, as NumPy writes them.

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
    place = existing_file(path, _WHAT, _REMEDY)
    archive = _Archive(place, form_of(channels, image_size), modality, stream)
    dataset = archive.streamed()
    return archive.in_memory() if dataset is None else dataset


class _Archive:
    """An archive whose headers are read.

    Attributes:
        stamp: identifies the file, before any of it was read.
        there: what it says of its arrays, by name.
        pairs: names of images and labels, of the training split and, where there is
            one, of the test split.
        remarks: of the dataset.
    """

    def __init__(self, place: Path, form: Form, modality: str | None, stream: str):
        self.place, self.form = place, form
        self.modality, self.stream = modality, stream
        # What stays on disk may be larger than what is read into memory.
        self.images = _IMAGES if stream == "never" else _IMAGES_ON_DISK
        members = _members(_TRAIN + _TEST, self.images)
        self.stamp = digest_of([place])
        self.there = declared(place, members, _REMEDY, _WHAT)
        train = next((p for p in _TRAIN if {*p} <= self.there.keys()), None)
        if train is None:
            arrays = f"only {', '.join(self.there)}" if self.there else "none of them"
            raise UserError(
                f"{_WHAT} {shown(place)} needs images with labels to train on, and has "
                f"{arrays}: {_REMEDY}"
            )
        self.name = f"npz:{shown(re.sub(r'[.]npz$', '', place.name))}"
        test = [p for p in _TEST if {*p} <= self.there.keys()]
        self.pairs = (train, *test[:1])
        self.remarks = [
            f"the split {pair[0]} of {self.name} ({self._count(pair[0])} images) was "
            f"left out: {test[0][0]} is the test split"
            for pair in test[1:]
        ]
        self.remarks += [
            f"{pair[0]} of {self.name} ({self._count(pair[0])} images) was left out: "
            f"{train[0]} is the training split"
            for pair in _TRAIN
            if pair != train and {*pair} <= self.there.keys()
        ]
        alone = [p for p in _TEST if len({*p} & self.there.keys()) == 1]
        if alone and not test:
            (name,) = {*alone[0]} & self.there.keys()
            (lacking,) = {*alone[0]} - {name}
            raise UserError(
                f"{_WHAT} {shown(place)} has {name} without {lacking}: add these, or "
                f"leave {name} out, and a fifth of {train[0]} is held out"
            )
        if not test:
            self.remarks.append(held_out_remark(self.name, self._count(train[0])))
        self._agree({name: x.shape for name, x in self.there.items()})

    def in_memory(self) -> Dataset:
        """The dataset with its images in memory."""
        members = _members(self.pairs, _IMAGES)
        arrays = read_arrays(self.place, members, _REMEDY, _WHAT, self._agree)
        images = [self._converted(x, arrays[x]) for x, _ in self.pairs]
        return self._dataset(images, self._labels(arrays), arrays.get("class_names"))

    def streamed(self) -> Dataset | None:
        """The dataset with its images in a store; None if they belong into memory."""
        splits = [
            Images(x, self.images, self.there[x], partial(self._converted, x))
            for x, _ in self.pairs
        ]
        if not are_streamed(self.stream, splits, _IMAGES.largest):
            return None
        members = _members(self.pairs, self.images)
        for split in splits:
            del members[split.array]
        arrays = read_arrays(self.place, members, _REMEDY, _WHAT)
        labels, names = self._labels(arrays), arrays.get("class_names")
        # What memory refuses is refused before anything is decoded.
        self._dataset([split.imagined() for split in splits], labels, names)
        content = {x: self.there[x].checksum for pair in self.pairs for x in pair}
        form = repr((tuple(self.form), self.modality, content))
        source = Source(self.place, self.stamp, self.name, form, _WHAT, _REMEDY)
        return self._dataset(stored_images(source, splits, labels), labels, names)

    def _count(self, name: str) -> int:
        shape = self.there[name].shape
        return shape[0] if shape else 0

    def _agree(self, shapes: Shapes) -> None:
        for pair in self.pairs:
            _check_shapes(pair, shapes, self.modality)

    def _converted(self, name: str, images: np.ndarray) -> HostArray:
        """Images of an array, or some of them, as the dataset has them."""
        where = f"array {name!r}"
        samples = as_samples(where, images, self.modality)
        if self.form == Form():
            return samples
        check_pixels("converting channels or sizes", samples.shape[1:])
        return as_samples(where, fit_arrays(where, images, self.form), self.modality)

    def _labels(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        # MedMNIST's are [M, 1].
        return [
            as_labels(f"labels {y!r}", arrays[y].reshape(self._count(x)))
            for x, y in self.pairs
        ]

    def _dataset(
        self,
        images: Sequence[HostArray],
        labels: Sequence[np.ndarray],
        names: np.ndarray | None,
    ) -> Dataset:
        class_names = None if names is None else [str(n) for n in names]
        about = self.remarks, self.modality
        train, *test = zip(images, labels, strict=True)
        if not test:
            return with_test_split(self.name, *train, class_names, *about)
        return from_arrays(*train, *test[0], class_names, self.name, *about)


def _members(pairs: Sequence[tuple[str, str]], kind: Member) -> dict[str, Member]:
    members: dict[str, Member] = {}
    for images, labels in pairs:
        members |= {images: kind, labels: _LABELS}
    return {**members, "class_names": _NAMES}


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
