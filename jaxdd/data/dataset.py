"""The one in-memory form of a dataset, and the checks that every reader passes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxdd.data.checks import (
    as_array,
    as_labels,
    channels_hint,
    check_labels,
    check_no_gap,
    check_range,
    check_rank,
    count_classes,
)
from jaxdd.errors import UserError
from jaxdd.storage.paths import shown

CHANNELS = (1, 3)  # grey and RGB, the channels of all networks and pictures


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled training and test images in host memory.

    Attributes:
        name: name of the dataset in messages and files.
        images, test_images: [M, H, W, C] uint8, or float32 in [0, 1]; C is 1 or 3.
        labels, test_labels: [M] int32, indices into `class_names`.
        class_names: K names; characters that no terminal prints are escaped.
        remarks: sentences about files that a reader left out and choices that it made;
            not part of the fingerprint.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) in pixels and channels."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over shapes, dtypes and bytes of the four arrays."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels, self.test_images, self.test_labels):
            array = np.ascontiguousarray(array)
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


def from_arrays(
    images: Any,
    labels: Any,
    test_images: Any,
    test_labels: Any,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
    remarks: Sequence[str] = (),
) -> Dataset:
    """A checked `Dataset` from array-likes.

    Args:
        images, test_images: [M, H, W, C], or [M, H, W] for one channel; uint8, or any
            float type with values in [0, 1], stored as float32.
        labels, test_labels: [M] integers, stored as int32.
        class_names: K names; "0", "1", ... up to the largest training label by default.
        name: name of the dataset in messages and files.
        remarks: as in `Dataset`.

    Raises:
        UserError: `validate` refuses the dataset.

    Example:
        >>> images, labels = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 3
        >>> from_arrays(images, labels, images, labels).image_shape
        (8, 8, 1)
    """
    labels = as_labels(f"training labels of {name!r}", labels)
    test_labels = as_labels(f"test labels of {name!r}", test_labels)
    if class_names is None:
        count = count_classes(f"training labels of {name!r}", labels)
        class_names = [str(k) for k in range(count)]
    dataset = Dataset(
        name=name,
        images=_images(f"training images of {name!r}", images),
        labels=labels,
        test_images=_images(f"test images of {name!r}", test_images),
        test_labels=test_labels,
        class_names=tuple(shown(n) for n in class_names),
        remarks=tuple(remarks),
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


def check_ipc(labels: np.ndarray, num_classes: int, ipc: int) -> None:
    """Check that `ipc` images can be drawn from every class.

    Args:
        labels: [M] int.
        num_classes: K.
        ipc: images per class.

    Raises:
        UserError: ipc is below 1, or a class has fewer than `ipc` samples.
    """
    if ipc < 1:
        raise UserError(f"images per class must be at least 1, but ipc is {ipc}")
    counts = np.bincount(labels, minlength=num_classes)
    if counts.min() < ipc:
        smallest = int(np.argmin(counts))
        raise UserError(
            f"class {smallest} has {counts[smallest]} training samples, fewer than the "
            f"ipc of {ipc} asked for; choose ipc <= {counts[smallest]}"
        )


def _images(where: str, images: Any) -> np.ndarray:
    """Images as [M, H, W, C] uint8 or float32; their values are not checked yet."""
    array = as_array(where, images)
    if np.issubdtype(array.dtype, np.floating):
        with np.errstate(over="ignore"):  # an infinity, which is refused
            array = array.astype(np.float32, copy=False)
    return array[..., None] if array.ndim == 3 else array


def _check_images(where: str, images: np.ndarray) -> None:
    check_rank(where, images.shape)
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
    check_range(where, images)


def _check_labels(
    where: str, labels: np.ndarray, num_images: int, num_classes: int
) -> None:
    if labels.dtype != np.int32:
        raise UserError(
            f"the labels of the {where} must be int32, but are {labels.dtype}"
        )
    check_labels(where, labels, num_images, num_classes)
