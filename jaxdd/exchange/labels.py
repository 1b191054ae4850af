"""Labels of a foreign set: their kind, and the class of every image."""

from typing import NamedTuple

import numpy as np

from jaxdd.errors import UserError
from jaxdd.exchange.options import AUTO

# What a method's learned labels are in its files.
_STORED_AS = {"soft": "logits", "targets": "targets", "weights": "weights"}
_SUM = 1e-3  # by which the sum of probabilities may differ from 1


class Understood(NamedTuple):
    """Labels of a known kind.

    Attributes:
        labels: [N, K] float32, of `space`.
        space: a name in `synthetic.labels.LABEL_SPACES`.
        order: [N] indices of the images, class by class.
        said: what was assumed.
    """

    labels: np.ndarray
    space: str
    order: np.ndarray
    said: list[str]


def understood(
    labels: np.ndarray, classes: int, kind: str, learned: str, where: str
) -> Understood:
    """Labels of a set in their kind, and the images in the order of the classes.

    Args:
        labels: [N] or [N, K'].
        classes: K of the dataset.
        kind: a name in `options.LABELS`.
        learned: the labels of the method's recipe, such as "hard" or "soft".
        where: the file in messages.

    Raises:
        UserError: there are other classes than those of the dataset, classes have
            different numbers of images, or the kind is open.

    Example:
        >>> understood(np.array([1, 0]), 2, "auto", "hard", "x").order.tolist()
        [1, 0]
    """
    if len(labels) % classes:
        raise UserError(
            f"{where} has {len(labels)} images, which {classes} classes cannot share "
            "equally: give the dataset that the set was distilled from"
        )
    if labels.ndim == 1:
        if kind not in (AUTO, "hard"):
            raise UserError(
                f"the labels of {where} are one number each, which are hard labels, "
                f"not --labels={kind}"
            )
        return _hard(labels, classes, where)
    if labels.shape[1] != classes:
        raise UserError(
            f"the labels of {where} are for {labels.shape[1]} classes and the dataset "
            f"has {classes}: give the dataset that the set was distilled from"
        )
    kind, said = (kind, []) if kind != AUTO else _kind(labels, learned, where)
    if kind == "hard":
        return _hard(labels.argmax(axis=1), classes, where)
    order, ordered = _order(labels, classes, where)
    said.append(ordered)
    values = labels.astype(np.float64)
    if kind == "logits":
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    elif kind == "probabilities" and not _is_distribution(labels):
        raise UserError(
            f"the labels of {where} are no probabilities: give --labels=logits if a "
            "softmax is missing"
        )
    elif kind == "weights" and values.min() < 0:
        raise UserError(f"the labels of {where} are no weights: one is negative")
    space = kind if kind in ("targets", "weights") else "probabilities"
    return Understood(values.astype(np.float32), space, order, said)


def _hard(labels: np.ndarray, classes: int, where: str) -> Understood:
    """Hard labels, every class with as many images.

    Raises:
        UserError: they are no classes of the dataset, or not equally many.
    """
    integers = labels.astype(np.int64)
    if (integers != labels).any() or integers.min() < 0 or integers.max() >= classes:
        raise UserError(
            f"the labels of {where} go from {labels.min():g} to {labels.max():g} and "
            f"the dataset has the classes 0 to {classes - 1}: give the dataset that "
            "the set was distilled from"
        )
    counts = np.bincount(integers, minlength=classes)
    if counts.min() != counts.max():
        fewest, most = int(counts.argmin()), int(counts.argmax())
        raise UserError(
            f"{where} has {counts[fewest]} images of class {fewest} and "
            f"{counts[most]} of class {most}; a set has as many of every class"
        )
    one_hot = np.eye(classes, dtype=np.float32)[integers]
    order = np.argsort(integers, kind="stable")
    said = ["the labels are hard"]
    return Understood(one_hot, "probabilities", order, said)


def _is_distribution(labels: np.ndarray) -> bool:
    sums = labels.sum(axis=1, dtype=np.float64)
    return bool(labels.min() >= 0 and (np.abs(sums - 1) < _SUM).all())


def _kind(labels: np.ndarray, learned: str, where: str) -> tuple[str, list[str]]:
    """The kind that labels [N, K] have, and a sentence about it.

    Raises:
        UserError: neither the numbers nor the method say.
    """
    if np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all():
        return "hard", []
    if _is_distribution(labels):
        return "probabilities", ["the labels are probabilities, since they sum to 1"]
    if learned in _STORED_AS:
        kind = _STORED_AS[learned]
        return kind, [f"the labels are {kind}, as the method stores them"]
    raise UserError(
        f"the labels of {where} are neither hard nor probabilities: say what they are "
        "by --labels or by --method"
    )


def _order(labels: np.ndarray, classes: int, where: str) -> tuple[np.ndarray, str]:
    """The images class by class, where labels are soft.

    Learned labels may leave the class that an image was made for, so that the blocks of
    the file count, unless most labels deny them.
    """
    blocks = np.arange(len(labels)) // (len(labels) // classes)
    own = labels.argmax(axis=1)
    if 2 * (own == blocks).sum() >= len(labels):
        return np.arange(len(labels)), "the images lie class by class"
    if (np.bincount(own, minlength=classes) == len(labels) // classes).all():
        return (
            np.argsort(own, kind="stable"),
            "the images are ordered by the largest label of each",
        )
    return (
        np.arange(len(labels)),
        f"most soft labels of {where} name other classes than the blocks of the file; "
        "the blocks only name the images, which are trained with their labels",
    )
