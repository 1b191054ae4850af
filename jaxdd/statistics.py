"""Accuracies of several networks in a few numbers."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Statistics(NamedTuple):
    """Accuracies of several networks in percent.

    Attributes:
        mean: over the networks.
        std: population standard deviation, as papers of the field give it.
        n: number of networks.

    Example:
        >>> print(Statistics(51.234, 0.5, 5))
        51.23 ± 0.50
    """

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Statistics":
        """From {"mean", "std", "n"}, the form that it has in files."""
        return cls(float(entry["mean"]), float(entry["std"]), int(entry["n"]))

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.std:.2f}"


class Gain(NamedTuple):
    """How much better networks on a set are than others, in points.

    Attributes:
        points: the difference of the means.
        error: its standard error over networks; None where one side has one network.
    """

    points: float
    error: float | None

    @classmethod
    def of(cls, ours: Statistics, theirs: Statistics) -> "Gain":
        """The difference of two independent means.

        Example:
            >>> str(Gain.of(Statistics(80.0, 1.0, 5), Statistics(70.0, 2.0, 17)))
            '+10.00 ± 0.71'
        """
        difference = ours.mean - theirs.mean
        if min(ours.n, theirs.n) < 2:
            return cls(difference, None)
        # The deviations are those of populations, as the field gives them.
        parts = (x.std**2 / (x.n - 1) for x in (ours, theirs))
        return cls(difference, math.sqrt(sum(parts)))

    def __str__(self) -> str:
        error = "" if self.error is None else f" ± {self.error:.2f}"
        return f"{self.points:+.2f}{error}"


def statistics(accuracies) -> dict:
    """{"mean", "std", "n"} of accuracies in percent; population std as in the field."""
    x = np.asarray(accuracies, np.float64)
    return {"mean": float(x.mean()), "std": float(x.std()), "n": len(x)}


def class_statistics(hits: np.ndarray, labels: np.ndarray, num_classes: int) -> dict:
    """Accuracy class by class, and balanced: the mean over classes of their recall.

    Where all classes have equally many samples, balanced accuracy is accuracy; on
    imbalanced data it is what a network that knows only the frequent ones cannot have.

    Args:
        hits: [E, M], 1 where network e is right about sample m, else 0.
        labels: [M] int.
        num_classes: K.

    Returns:
        {"balanced": statistics over networks, "mean": [K], "std": [K]}, in percent; a
        class without samples has None for both and does not count in the balanced one.
    """
    counts = np.bincount(labels, minlength=num_classes)
    right = [np.bincount(labels, weights=h, minlength=num_classes) for h in hits]
    present = counts > 0
    recalls = 100.0 * np.stack(right)[:, present] / counts[present]  # [E, K present]
    mean: list[float | None] = [None] * num_classes
    std = list(mean)
    for k, recall in zip(np.flatnonzero(present), recalls.T, strict=True):
        mean[k], std[k] = float(recall.mean()), float(recall.std())
    return {"balanced": statistics(recalls.mean(axis=1)), "mean": mean, "std": std}
