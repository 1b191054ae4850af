"""The values of an artifact's arrays: finite, and of a size that a run writes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxdd.data.preprocess import Preprocess
from jaxdd.data.unfitted import Unfitted
from jaxdd.training.fit import Training

PREFIX = "preprocess/"
_FINITE = 1e30  # sums of a few such numbers stay finite in float32
_SMALLEST, _LARGEST = 1e-12, 1e12  # bounds of the factors of a whitening
# Features of a table have any unit: times in nanoseconds, say. See `data.constants`.
_LEAST_STD = 1e-30


def checked(name: str, array: np.ndarray) -> np.ndarray:
    """The array, if it holds finite float32 numbers.

    Raises:
        ValueError: it does not.
    """
    if array.dtype != np.float32 or not (np.abs(array) <= _FINITE).all():
        raise ValueError(f"{name} are not finite float32 numbers")
    return array


def checked_labels(array: np.ndarray, space: str = "probabilities") -> np.ndarray:
    """The labels [K, n, K], if they are of their space.

    Raises:
        ValueError: they are not.
    """
    labels = checked("labels", array)
    if space == "targets":
        return labels
    if space == "weights":
        if labels.min() < 0:
            raise ValueError("labels are no weights: one is negative")
        return labels
    # Learned labels are a softmax in float32, whose sum may round above 1.
    if labels.min() < 0 or labels.sum(axis=-1).max() > 1.01:
        raise ValueError("labels are not probabilities")
    return labels


def checked_step_size(array: np.ndarray) -> float | None:
    """The step size, None if the file has NaN.

    Raises:
        ValueError: the number is no learning rate.
    """
    value = float(array)
    if np.isnan(value):
        return None
    if not abs(value) <= _LARGEST:
        raise ValueError(f"step_size is {value:g}, which is no learning rate")
    return value


def preprocess_of(arrays: dict[str, np.ndarray]) -> Preprocess | Unfitted:
    """The preprocessing in the arrays of a file; of a slim set without its matrices.

    Raises:
        ValueError: a number is none of a preprocessing; also as UserError.
    """
    fields = {k[len(PREFIX) :]: v for k, v in arrays.items() if k.startswith(PREFIX)}
    kind, eps = fields.pop("kind"), fields.pop("eps", None)
    for name, array in fields.items():
        extent = np.abs(checked(PREFIX + name, array))
        largest = _FINITE if str(kind) == "affine" else _LARGEST
        if extent.max() > largest or (name == "std" and array.min() < _LEAST_STD):
            raise ValueError(f"{PREFIX}{name} is no part of a preprocessing")
    if "products" not in fields:
        return Preprocess.from_arrays({"kind": kind, **fields})
    if str(kind) not in ("zca", "zca_blocks") or "matrix" in fields or eps is None:
        raise ValueError("its whitening is neither whole nor that of a slim set")
    if not _SMALLEST <= float(eps) <= _LARGEST:
        raise ValueError(f"{PREFIX}eps is {float(eps):g}, which no whitening has")
    return Unfitted(str(kind), fields["mean"], float(eps), fields["products"])


def training_of(fields: dict[str, Any]) -> Training:
    """A schedule with the types of its fields; a file may have 1 for 1.0."""
    typed: dict[Any, Callable[[Any], Any]] = {float: float, tuple[int, ...]: tuple}
    kinds = {field.name: field.type for field in dataclasses.fields(Training)}
    return Training(
        **{
            name: typed.get(kinds[name], lambda x: x)(value)
            for name, value in fields.items()
        }
    )
