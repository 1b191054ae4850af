"""The one in-memory form of a dataset, and the checks that every reader passes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from jaxdd.data.checks import (
    as_array,
    as_labels,
    channels_hint,
    check_finite,
    check_labels,
    check_modality,
    check_no_gap,
    check_rank,
    check_values,
    count_classes,
)
from jaxdd.data.columns import Column
from jaxdd.data.streaming.rows import HostArray, Rows, hash_rows, pick
from jaxdd.data.subsets import Subset, checked_ids
from jaxdd.errors import UserError, choose
from jaxdd.modality import IMAGES, MODALITIES, Modality, modality_of
from jaxdd.storage.paths import shown

CHANNELS = (1, 3)  # grey and RGB, the channels of all networks and pictures


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled training and test samples on the host.

    Attributes:
        name: name of the dataset in messages and files.
        images, test_images: the samples: images [M, H, W, C] uint8, or float32 in
            [0, 1], where C is 1 or 3; or sequences [M, L, C] or vectors [M, F] of any
            finite float32. They are in memory, or `Rows` of a file on disk.
        labels, test_labels: [M] int32, indices into `class_names`.
        class_names: K names; characters that no terminal prints are escaped.
        remarks: sentences about files that a reader left out and choices that it made;
            not part of the fingerprint.
        columns: of a table, whose rows are vectors; () elsewhere.
        restricted: which training samples of a larger dataset these are; None where
            they are all.
    """

    name: str
    images: HostArray
    labels: np.ndarray
    test_images: HostArray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    restricted: Subset | None = None

    def __repr__(self) -> str:
        """Its size: the arrays of a dataset are no text."""
        kind = "x".join(map(str, self.image_shape))
        return (
            f"Dataset({self.name}: {len(self.labels)} training and "
            f"{len(self.test_labels)} test samples of {self.num_classes} classes, "
            f"{kind} {self.images.dtype})"
        )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C) in pixels and channels; (L, C) of sequences, (F,) of vectors."""
        return self.images.shape[1:]

    @property
    def modality(self) -> Modality:
        """What the samples are."""
        return modality_of(self.image_shape)

    @property
    def described(self) -> dict[str, Any]:
        """What a set that is distilled from it keeps: its columns, to be readable, and
        which training samples it has, to be found again."""
        kept: dict[str, Any] = {}
        if self.columns:
            listed = [{"name": x.name, "levels": list(x.levels)} for x in self.columns]
            kept["columns"] = listed
        if self.restricted is not None:
            kept["subset"] = self.restricted.record()
        return kept

    @property
    def is_decoded(self) -> bool:
        """Whether the images are there; in a plan some may stand for those that are
        not, and what files say of the data cannot be compared with them."""
        on_disk = [x for x in (self.images, self.test_images) if isinstance(x, Rows)]
        return all(x.file.is_there for x in on_disk)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over shapes, dtypes and bytes of the four arrays.

        It is "" of images that are not decoded.
        """
        if not self.is_decoded:
            return ""
        digest = hashlib.sha256()
        for array in (self.images, self.labels, self.test_images, self.test_labels):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            hash_rows(array, digest.update)
        return digest.hexdigest()

    @property
    def whole_fingerprint(self) -> str:
        """The fingerprint of the dataset in which training samples have their ids."""
        return (
            self.fingerprint if self.restricted is None else self.restricted.fingerprint
        )

    @property
    def whole_count(self) -> int:
        """How many training samples that dataset has."""
        whole = self.restricted
        return len(self.labels) if whole is None else whole.samples

    def subset(self, ids: Any) -> "Dataset":
        """The dataset with some of its training samples, and all test samples.

        Args:
            ids: [m] integers in any order, places in the training array. The samples
                stay in their order.

        Raises:
            UserError: an id is out of range or occurs twice, or a class is left without
                a training sample.

        Example:
            >>> images, labels = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 2
            >>> whole = from_arrays(images, labels, images, labels)
            >>> half = whole.subset([4, 0, 1])
            >>> half.labels.tolist(), half.restricted.ids.tolist()
            ([0, 1, 0], [0, 1, 4])
        """
        ids = checked_ids(ids, len(self.labels))
        labels, above = self.labels[ids], self.restricted
        counts = np.bincount(labels, minlength=self.num_classes)
        if not counts.all():
            lacking = int(np.argmin(counts))
            raise UserError(
                f"the subset leaves class {lacking} ({self.class_names[lacking]!r}) of "
                f"{self.name!r} without a training sample: keep one of every class"
            )
        chosen = (
            Subset(ids, len(self.labels), self.fingerprint)
            if above is None
            else replace(above, ids=above.ids[ids])
        )
        images = pick(self.images, ids)
        return replace(self, images=images, labels=labels, restricted=chosen)


def from_arrays(
    images: Any,
    labels: Any,
    test_images: Any,
    test_labels: Any,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
    remarks: Sequence[str] = (),
    modality: str | None = None,
    columns: Sequence[Column] = (),
) -> Dataset:
    """A checked `Dataset` from array-likes.

    Args:
        images, test_images: images [M, H, W, C], or [M, H, W] for one channel; uint8,
            or any float type with values in [0, 1], stored as float32. Or vectors
            [M, F], or sequences [M, L, C], of any real numbers.
        labels, test_labels: [M] integers, stored as int32.
        class_names: K names; "0", "1", ... up to the largest training label by default.
        name: name of the dataset in messages and files.
        remarks: as in `Dataset`.
        modality: "images", "sequences" or "vectors"; by default what the number of axes
            says, where [M, H, W] are grey images: sequences have to be named.
        columns: of a table, as in `Dataset`.

    Raises:
        UserError: `validate` refuses the dataset, or the modality is unknown or has
            other axes.

    Example:
        >>> images, labels = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 3
        >>> from_arrays(images, labels, images, labels).image_shape
        (8, 8, 1)
        >>> waves = np.zeros((6, 16, 2))
        >>> sequences = from_arrays(waves, labels, waves, labels, modality="sequences")
        >>> sequences.image_shape, sequences.modality.name
        ((16, 2), 'sequences')
    """
    labels = as_labels(f"training labels of {name!r}", labels)
    test_labels = as_labels(f"test labels of {name!r}", test_labels)
    if class_names is None:
        count = count_classes(f"training labels of {name!r}", labels)
        class_names = [str(k) for k in range(count)]
    elif len(labels) and len(class_names) <= labels.max():
        raise UserError(
            f"class_names of {name!r} are {len(class_names)}, and its labels go up to "
            f"{labels.max()}: give a name for every class"
        )
    dataset = Dataset(
        name=name,
        images=as_samples(f"training images of {name!r}", images, modality),
        labels=labels,
        test_images=as_samples(f"test images of {name!r}", test_images, modality),
        test_labels=test_labels,
        class_names=tuple(shown(n) for n in class_names),
        remarks=tuple(remarks),
        columns=tuple(columns),
    )
    return validate(dataset)


def validate(dataset: Dataset) -> Dataset:
    """Return the dataset if it is as `Dataset` says.

    Raises:
        UserError: a rank, dtype or number of labels is wrong; images have neither 1 nor
            3 channels; a split is empty; training and test images differ in shape or
            dtype; floats are not finite or outside [0, 1]; there are fewer than two
            classes; a label is out of range; or a class has no training sample.
    """
    name = dataset.name
    train = (f"training split of {name!r}", dataset.images, dataset.labels)
    test = (f"test split of {name!r}", dataset.test_images, dataset.test_labels)
    for where, images, labels in (train, test):
        _check_images(where, images)
        _check_labels(where, labels, len(images), dataset.num_classes)
    for what, ours, theirs in (
        ("shape", dataset.images.shape[1:], dataset.test_images.shape[1:]),
        ("dtype", dataset.images.dtype, dataset.test_images.dtype),
    ):
        if ours != theirs:
            raise UserError(
                f"the images of {name!r} differ in {what} between the training split "
                f"({ours}) and the test split ({theirs}); make them equal"
            )
    check_no_gap(repr(name), dataset.labels, dataset.class_names)
    return dataset


def as_samples(where: str, samples: Any, modality: str | None = None) -> HostArray:
    """Samples as uint8 or float32 with all their axes; values are not checked yet.

    Args:
        where: name of the samples in messages.
        samples: [M, ...]; `Rows` of a file are as they have to be.
        modality: a name in `MODALITIES`, or None, see `from_arrays`.

    Raises:
        UserError: the modality is unknown, or the samples have other axes.
    """
    if isinstance(samples, Rows):
        return samples
    array = as_array(where, samples)
    kind = None if modality is None else choose("modality", modality, MODALITIES)
    if kind not in (None, IMAGES):
        check_modality(where, array.shape, kind)
    is_vector = array.ndim == 2 and kind != IMAGES
    if (kind not in (None, IMAGES) or is_vector) and array.dtype.kind in "biuf":
        check_finite(where, array)
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    if np.issubdtype(array.dtype, np.floating):
        with np.errstate(over="ignore"):  # an infinity, which is refused
            array = array.astype(np.float32, copy=False)
    return array[..., None] if array.ndim == 3 and kind in (None, IMAGES) else array


def _check_images(where: str, images: HostArray) -> None:
    check_rank(where, images.shape)
    if not modality_of(images.shape[1:]).pixels:
        if images.dtype != np.float32:
            raise UserError(
                f"the {modality_of(images.shape[1:]).name} of the {where} must be real "
                f"numbers, but are {images.dtype}"
            )
        check_values(where, images)
        return
    channels = images.shape[-1]
    if channels not in CHANNELS:
        raise UserError(
            f"the images of the {where} have {channels} channels, but only 1 (grey) "
            f"and 3 (RGB) can be used{channels_hint(images.shape)}"
        )
    if images.dtype not in (np.uint8, np.float32):
        raise UserError(
            f"the images of the {where} must be uint8 or float32, "
            f"but are {images.dtype}"
        )
    check_values(where, images)


def _check_labels(
    where: str, labels: np.ndarray, num_images: int, num_classes: int
) -> None:
    if labels.dtype != np.int32:
        raise UserError(
            f"the labels of the {where} must be int32, but are {labels.dtype}"
        )
    check_labels(where, labels, num_images, num_classes)
