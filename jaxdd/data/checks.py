"""Checks of images and labels that every reader shares. NumPy only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdd.data.streaming.rows import HostArray, Rows
from jaxdd.errors import UserError
from jaxdd.modality import MODALITIES, Modality, modality_of


def as_array(where: str, values: Any) -> np.ndarray:
    """An array from an array-like.

    Args:
        where: name of the values in messages, such as "training labels".

    Raises:
        UserError: the values are ragged nested sequences, or some are masked.
    """
    if np.ma.is_masked(values):
        raise UserError(
            f"the {where} are a masked array, whose mask would be lost: leave masked "
            "samples out, or fill them"
        )
    try:
        return np.asarray(values)
    except ValueError:
        raise UserError(
            f"the {where} do not form one array; make all rows equally long"
        ) from None


def as_labels(where: str, labels: Any) -> np.ndarray:
    """Labels as [M] int32, refused if a cast would change them.

    Raises:
        UserError: the labels have another rank, are no integers, or lie below 0 or
            beyond int32.
    """
    array = as_array(where, labels)
    if array.ndim != 1:
        raise UserError(
            f"the {where} must have shape [M], but have {array.shape}; "
            "give one class index per image"
        )
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise UserError(
            f"the {where} must be integers, but are {array.dtype}; give class indices"
        )
    if array.size and not (array.min() >= 0 and array.max() < 2**31):
        extreme = array.min() if array.min() < 0 else array.max()
        raise UserError(
            f"the {where} contain {extreme}; number the classes from 0 upwards"
        )
    return array.astype(np.int32, copy=False)


def count_classes(where: str, labels: np.ndarray) -> int:
    """K, one more than the largest of the labels [M] int32 >= 0.

    Raises:
        UserError: the labels imply more classes than samples.
    """
    classes = int(labels.max(initial=-1)) + 1
    if classes > len(labels):
        raise UserError(
            f"the {where} go up to {classes - 1}, but there are {len(labels)} of them; "
            "number the classes from 0 upwards without gaps"
        )
    return classes


def check_labels(
    where: str, labels: np.ndarray, num_images: int, num_classes: int
) -> None:
    """Refuse labels [M] int32 that do not fit the images or the number of classes.

    Args:
        where: name of the split in messages, such as "training split".
        labels: [M] int32.
        num_images: number of images that the labels belong to.
        num_classes: K.

    Raises:
        UserError: the split is empty, the numbers of labels and images differ, there
            are fewer than two classes, or a label is outside [0, num_classes).
    """
    if num_images == 0:
        raise UserError(f"the {where} is empty; give at least one image")
    if num_classes < 2:
        raise UserError(
            f"the {where} has {num_classes} class, which any network gets right: "
            "at least 2 are needed"
        )
    if labels.shape != (num_images,):
        raise UserError(
            f"the {where} has {num_images} images but labels of shape {labels.shape}; "
            "give one label per image"
        )
    if labels.min() == 1 and labels.max() == num_classes:
        raise UserError(
            f"the labels of the {where} run from 1 to {num_classes}, and classes are "
            "numbered from 0: subtract 1"
        )
    outside = (labels < 0) | (labels >= num_classes)
    if outside.any():
        first = int(np.argmax(outside))
        raise UserError(
            f"label {labels[first]} of sample {first} in the {where} is outside "
            f"[0, {num_classes}), the range of its {num_classes} classes; number the "
            "classes from 0 upwards"
        )


def check_rank(where: str, shape: tuple[int, ...]) -> None:
    """Refuse a shape that is none of images, sequences or vectors.

    Raises:
        UserError: the number of axes is not two to four, or one of them is zero.
    """
    if not 2 <= len(shape) <= 4 or 0 in shape[1:]:
        others = ", ".join(f"[M, {', '.join(x.axes)}] ({x.name})" for x in _OTHERS)
        raise UserError(
            f"the images of the {where} must have shape [M, H, W, C], or be {others}, "
            f"but have {shape}{channels_hint(shape)}"
        )


_OTHERS = [modality for modality in MODALITIES.values() if not modality.pixels]


def check_modality(where: str, shape: tuple[int, ...], modality: Modality) -> None:
    """Refuse an array [M, ...] whose samples are no images, sequences or vectors.

    Args:
        where: name of the samples in messages.
        shape: of the array.
        modality: what its samples have to be.

    Raises:
        UserError: it has other axes, or an empty one.
    """
    if len(shape) != 1 + len(modality.axes) or 0 in shape[1:]:
        raise UserError(
            f"{modality.name} have shape [M, {', '.join(modality.axes)}], but the "
            f"{where} have {shape}"
        )


def check_range(where: str, images: np.ndarray) -> None:
    """Refuse float images with values that are not finite or outside [0, 1].

    Raises:
        UserError: an image has such a value.
    """
    if images.dtype.kind != "f":
        return
    check_finite(f"images of the {where}", images)
    low, high = images.min(initial=0), images.max(initial=0)
    if low < 0 or high > 1:
        raise UserError(
            f"float images must lie in [0, 1], but those of the {where} range from "
            f"{low:g} to {high:g}; rescale them or give uint8, or name sequences "
            "[M, L, C] by modality=sequences"
        )


def check_values(where: str, images: HostArray) -> None:
    """Refuse values that samples cannot have.

    `Rows` pass: their values are checked when they are stored.

    Args:
        where: name of the samples in messages.
        images: [M, ...] uint8 or float32.

    Raises:
        UserError: a value is not finite, or a value of images is outside [0, 1].
    """
    if images.dtype == np.uint8 or isinstance(images, Rows):
        return
    if modality_of(images.shape[1:]).pixels:
        check_range(where, images)
    else:
        check_finite(f"values of the {where}", images)


def check_no_gap(where: str, labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Refuse a class without samples.

    Args:
        where: name of the dataset in messages.
        labels: [M] int32, below the number of classes.
        class_names: names of all K classes.

    Raises:
        UserError: a class has no sample.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    if (counts == 0).any():
        missing = int(np.argmin(counts))
        unnamed = all(name == str(k) for k, name in enumerate(class_names))
        if unnamed and missing == 0 and (counts[1:] > 0).all():
            raise UserError(
                f"the labels of {where} run from 1 to {len(counts) - 1}, and classes "
                "are numbered from 0: subtract 1"
            )
        if unnamed:
            raise UserError(
                f"no label of the training split of {where} is {missing}, and they go "
                f"up to {len(counts) - 1}: number the classes from 0 upwards without "
                "gaps"
            )
        raise UserError(
            f"class {missing} ({class_names[missing]!r}) of {where} has no training "
            "sample; add some or remove the class"
        )


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


def channels_hint(shape: tuple[int, ...]) -> str:
    """Advice for a message if axis 1 of images looks like their channels, else ""."""
    if len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3):
        return (
            f"; axis 1 looks like {shape[1]} channels: give "
            "numpy.moveaxis(images, 1, -1)"
        )
    return ""


def check_finite(where: str, values: Any) -> None:
    """Refuse NaN and infinity.

    Args:
        where: name of the values in messages, such as "scores".
        values: an array, of NumPy or on a device.

    Raises:
        UserError: a value is not finite, or the values are no real numbers.
    """
    if values.dtype.kind in "biu":
        return
    # The short floats of JAX are of NumPy's kind V, as are records.
    if values.dtype.kind not in "fV" or values.dtype.names is not None:
        raise UserError(
            f"the {where} must be real numbers, but are {values.dtype}; convert them"
        )
    # min and max pass NaN on; the array of flags is only computed for the message.
    low, high = values.min(initial=0), values.max(initial=0)
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = values[~np.isfinite(values)]
        raise UserError(
            f"the {where} contain {len(bad)} values that are not finite, the first "
            f"being {bad[0]}; remove them"
        )
