"""The result of `jaxdd.distill`: the set, its accuracy, and the course of the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdd import report
from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.file import save
from jaxdd.report import notebook
from jaxdd.report.pictures import draw
from jaxdd.statistics import Statistics


class SetDifficulty(NamedTuple):
    """How hard a synthetic set is for networks that were trained on real data.

    Attributes:
        grad_norm: GraDN, the mean norm of the loss gradient of a sample; None where
            it was not finite.
        percentile: share in percent of the real samples whose GraDN is smaller.
    """

    grad_norm: float | None
    percentile: float | None


class DifficultyChange(NamedTuple):
    """Difficulty of the set at the start of a run and at its end."""

    start: SetDifficulty
    end: SetDifficulty


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """A finished distillation.

    Attributes:
        images: [K, n, H, W, C] float32, as networks are trained on them: decoded and
            preprocessed.
        labels: [K, n, K] float32: probabilities, or numbers of `artifact.label_space`.
        accuracy: of fresh networks that were trained on the set, on the test split.
        random: of the same networks on random real subsets of the same size.
        difficulty: of the set, at the start and at the end.
        metrics: one dict per logged step, as in `metrics.jsonl`.
        artifact: the set as it is saved.
        summary: all numbers of the run, as in `summary.json`.
    """

    images: np.ndarray
    labels: np.ndarray
    accuracy: Statistics
    random: Statistics
    difficulty: DifficultyChange
    metrics: Sequence[Mapping[str, Any]]
    artifact: Artifact
    summary: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        metrics: Sequence[Mapping[str, Any]],
        summary: Mapping[str, Any],
    ) -> "Result":
        """From the three things that a finished run leaves.

        Args:
            artifact: the set.
            metrics: lines of `metrics.jsonl`.
            summary: content of `summary.json`.
        """
        decoded = artifact.synthetic()
        start, end = (
            SetDifficulty(x["grad_norm"], x["percentile"])
            for x in (summary["difficulty"][when] for when in ("start", "end"))
        )
        return cls(
            images=np.asarray(decoded.images),
            labels=np.asarray(decoded.labels),
            accuracy=Statistics.of(summary["distilled"]),
            random=Statistics.of(summary["random"]),
            difficulty=DifficultyChange(start, end),
            metrics=metrics,
            artifact=artifact,
            summary=summary,
        )

    def displayable(self) -> np.ndarray:
        """The stored images as pixels in [0, 1], [K, ipc, H, W, C] float32."""
        return self.artifact.displayable()

    def save(self, path: str | Path) -> Path:
        """Write the set to a file that `jaxdd.load` and `jaxdd.evaluate` read.

        Raises:
            UserError: the disk refuses.
        """
        return save(self.artifact, path)

    def __repr__(self) -> str:
        classes, ipc, *shape = self.artifact.images.shape
        return (
            f"Result({classes} classes, {ipc} per class, {'x'.join(map(str, shape))}: "
            f"accuracy {self.accuracy} %, random {self.random} %)"
        )

    def _repr_html_(self) -> str:
        names = self.artifact.class_names
        grid = draw(report.grid_png, self.displayable(), names)
        start, end = (
            "not finite" if x.percentile is None else f"{x.percentile:.1f}"
            for x in self.difficulty
        )
        rows = [
            ["distilled", f"{self.accuracy} %", str(self.accuracy.n)],
            ["random", f"{self.random} %", str(self.random.n)],
        ]
        return (
            notebook.picture(grid, "the distilled images, one row per class")
            + notebook.table(["set", "test accuracy", "networks"], rows)
            + f"<p>Percentile of GraDN among the real images: {start} at the start, "
            f"{end} at the end</p>"
        )
