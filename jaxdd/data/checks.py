"""What images and labels have to be, whichever door they come in by. NumPy only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdd.errors import UserError


def as_array(where: str, values: Any) -> np.ndarray:
    """An array of array-likes.

    Args:
        where: what they are in a sentence, such as "training labels".

    Raises:
        UserError: ragged nested sequences.
    """
    try:
        return np.asarray(values)
    except ValueError:
        raise UserError(
            f"the {where} do not form one array; make all rows equally long"
        ) from None


def as_labels(where: str, labels: Any) -> np.ndarray:
    """[M] int32; what does not fit is rejected here, since a cast would hide it.

    Raises:
        UserError: another rank, no integers, or integers below 0 or beyond int32.
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
        UserError: there are more classes than labels, so that one has no sample.
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
    """Refuse labels [M] int32 that do not fit `num_images` images of some classes.

    Args:
        where: what they belong to in a sentence, such as "training split".

    Raises:
        UserError: no sample, another number of labels than of images, fewer than two
            classes, or a label outside [0, num_classes).
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
    outside = (labels < 0) | (labels >= num_classes)
    if outside.any():
        first = int(np.argmax(outside))
        raise UserError(
            f"label {labels[first]} of sample {first} in the {where} is outside "
            f"[0, {num_classes}), the range of its {num_classes} classes; number the "
            "classes from 0 upwards"
        )


def check_rank(where: str, shape: tuple[int, ...]) -> None:
    """Refuse images that are not [M, H, W, C].

    Raises:
        UserError: another number of axes, or an axis of an image without entries.
    """
    if len(shape) != 4 or 0 in shape[1:]:
        raise UserError(
            f"the images of the {where} must have shape [M, H, W, C], but have {shape}"
            f"{channels_hint(shape)}"
        )


def check_range(where: str, images: np.ndarray) -> None:
    """Refuse images of floats that are not finite or lie outside [0, 1].

    Raises:
        UserError: there is such a value.
    """
    if images.dtype.kind != "f":
        return
    check_finite(f"images of the {where}", images)
    low, high = images.min(initial=0), images.max(initial=0)
    if low < 0 or high > 1:
        raise UserError(
            f"float images must lie in [0, 1], but those of the {where} range from "
            f"{low:g} to {high:g}; rescale them or give uint8"
        )


def check_no_gap(where: str, labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Refuse a class without samples.

    Args:
        where: what the labels belong to in a sentence.
        labels: [M] int32, below the number of classes.
        class_names: of all classes.

    Raises:
        UserError: there is such a class.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    if (counts == 0).any():
        missing = int(np.argmin(counts))
        raise UserError(
            f"class {missing} ({class_names[missing]!r}) of {where} has no training "
            "sample; add some or remove the class"
        )


def channels_hint(shape: tuple[int, ...]) -> str:
    """What to do where axis 1 of images looks like their channels, else nothing."""
    if len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3):
        return (
            f"; axis 1 looks like {shape[1]} channels: give "
            "numpy.moveaxis(images, 1, -1)"
        )
    return ""


def check_finite(where: str, values: Any) -> None:
    """Refuse NaN and infinity.

    Args:
        where: what the values are in a sentence, such as "scores".
        values: an array, of NumPy or on a device.

    Raises:
        UserError: a value is not finite, or no real number.
    """
    if values.dtype.kind in "biu":
        return
    # The short floats of JAX are of NumPy's kind V, as are records.
    if values.dtype.kind not in "fV" or values.dtype.names is not None:
        raise UserError(
            f"the {where} must be real numbers, but are {values.dtype}; convert them"
        )
    # NaN passes through both; the array of flags is only made for the sentence.
    low, high = values.min(initial=0), values.max(initial=0)
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = values[~np.isfinite(values)]
        raise UserError(
            f"the {where} contain {len(bad)} values that are not finite, the first "
            f"being {bad[0]}; remove them"
        )
