"""What a reader of a foreign format returns: arrays as they lie, and what is known."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxdd.errors import UserError, quoted

_LARGEST = 1e6  # no normalised pixel or logit comes near


@dataclass(frozen=True, eq=False)
class Foreign:
    """A set as its file has it.

    Attributes:
        images: [N, C, H, W], or [N, H, W, C] where `channels_last`, of any number type.
        labels: [N] integers, [N, K] numbers, or None where the file has none.
        channels_last: the order of the axes.
        method: the method that the file is of, where its name or form says so.
        pixels: True for numbers on the [0, 1] scale, False for network inputs, None
            where the format does not say.
        factor: the decoder's, where the format's publication has one.
        step_size: a learned rate that comes with the file.
        class_names: of the labels 0 ... K - 1, where the file has them.
        said: sentences about what the reader chose.
    """

    images: np.ndarray
    labels: np.ndarray | None
    channels_last: bool = False
    method: str | None = None
    pixels: bool | None = None
    factor: int | None = None
    step_size: float | None = None
    class_names: tuple[str, ...] | None = None
    said: list[str] = field(default_factory=list)


def images_of(value: Any, where: str) -> np.ndarray:
    """Images with four axes, as numbers.

    Raises:
        UserError: the value is no array of four axes, is empty, or holds a number that
            is not finite.

    Example:
        >>> images_of(np.zeros((2, 1, 4, 4)), "the file").shape
        (2, 1, 4, 4)
    """
    array = numbers(value, f"the images of {where}")
    if array.ndim != 4 or 0 in array.shape:
        raise UserError(
            f"the images of {where} have the shape {array.shape}; a set has images of "
            "four axes, such as (N, C, H, W)"
        )
    return array


def labels_of(value: Any, where: str) -> np.ndarray:
    """Labels [N] or [N, K], as numbers.

    Raises:
        UserError: they have other axes or a number that is not finite.
    """
    array = numbers(value, f"the labels of {where}")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or array.shape[0] == 0:
        raise UserError(
            f"the labels of {where} have the shape {array.shape}; expected (N,) or "
            "(N, K)"
        )
    return array


def numbers(value: Any, what: str) -> np.ndarray:
    """An array of finite numbers.

    Raises:
        UserError: the value is something else.
    """
    if not isinstance(value, np.ndarray | list | int | float):
        raise UserError(f"{what} are no array of numbers but {quoted(type(value))}")
    try:
        array = np.asarray(value)
    except ValueError:
        raise UserError(f"{what} are no array: their rows differ in length") from None
    if array.dtype.kind not in "biuf":
        raise UserError(f"{what} are no numbers but {quoted(str(array.dtype))}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{what} hold NaN or infinity: the run that made them diverged")
    if array.dtype.kind == "f" and array.size:
        largest = float(np.abs(array).max())  # the bound is none in half precision
        if largest > _LARGEST:
            raise UserError(f"{what} hold values up to {largest:.3g}")
    return array
