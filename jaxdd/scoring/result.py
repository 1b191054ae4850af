"""The result of `jaxdd.difficulty`: scores of the training samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdd import report
from jaxdd.data import Split
from jaxdd.data.real import class_table
from jaxdd.errors import UserError, quoted
from jaxdd.report import notebook
from jaxdd.report.pictures import draw
from jaxdd.scoring.files import SCORED
from jaxdd.storage.files import atomic_file, output_file

SHOWN = 10  # images per class in a notebook


class Samples(NamedTuple):
    """Some training samples of every class.

    Attributes:
        images: [K, n, H, W, C] float32, pixels in [0, 1]; [K, n, L, C] or [K, n, F] as
            they were read.
        ids: [K, n], as in `Difficulty`.
        scores: [K, n].
    """

    images: np.ndarray
    ids: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Difficulty:
    """Difficulty scores of the M training samples; larger is harder.

    Attributes:
        by_name: {name of the score: [M]}.
        train: the samples.
        class_names: K names.
        summary: {"scores": {name: {"mean", "std", "min", "max"}}, "rank_correlation",
            "versions", "device", and what scores depend on}, as in `summary.json`.
        fingerprint: of the dataset in which the samples have their ids.
    """

    by_name: Mapping[str, np.ndarray]
    train: Split
    class_names: Sequence[str]
    summary: Mapping[str, Any]
    fingerprint: str = ""

    @property
    def scores(self) -> Any:
        """[M] of the score, or {name: [M]} where there are several."""
        if len(self.by_name) == 1:
            return next(iter(self.by_name.values()))
        return dict(self.by_name)

    @property
    def ids(self) -> np.ndarray:
        """[M] int64, the samples' places in the dataset's training array.

        Of a dataset that was pruned, they are places in the whole one's, as in the
        index: scores of all samples sort some of them, too.
        """
        return self.train.ids

    @property
    def rank_correlation(self) -> Mapping[str, Mapping[str, float | None]]:
        """Spearman's correlation {a: {b: in [-1, 1]}} of several scores.

        It is None where a score is constant, and empty for a single score.
        """
        return self.summary["rank_correlation"]

    def easiest(self, n: int = SHOWN, score: str | None = None) -> Samples:
        """The n easiest samples of every class, the easiest first.

        Args:
            n: at most this many; fewer where the smallest class has fewer.
            score: name of the score; None where there is only one.

        Raises:
            UserError: n is not positive; no such score, or no name among several.
        """
        return self._of_classes(n, score, hardest=False)

    def hardest(self, n: int = SHOWN, score: str | None = None) -> Samples:
        """The n hardest samples of every class, the hardest first; see `easiest`."""
        return self._of_classes(n, score, hardest=True)

    def save(self, path: str | Path, score: str | None = None) -> Path:
        """Write a `scores.npz`, by which `--scores` of other programs sorts samples.

        Args:
            path: the file, with arrays "scores" [M], "ids" [M] and "fingerprint" [].
            score: name of the score; None where there is only one.

        Raises:
            UserError: no such score, no name among several, the disk refuses, or the
                file ends otherwise, or is there already and has no scores.
        """
        scores = self._one(score)
        target = output_file(path, "the scores", ".npz", kind=SCORED)
        with atomic_file(target, "wb") as file:
            fingerprint = np.array(self.fingerprint)
            np.savez(file, scores=scores, ids=self.ids, fingerprint=fingerprint)
        return target

    def _one(self, score: str | None) -> np.ndarray:
        names = ", ".join(self.by_name)
        if score is None:
            if len(self.by_name) > 1:
                raise UserError(f"there are several scores: name one of {names}")
            score = next(iter(self.by_name))
        if score not in self.by_name:
            raise UserError(f"the score {quoted(score)} is not among {names}")
        return self.by_name[score]

    def _of_classes(self, n: int, score: str | None, hardest: bool) -> Samples:
        if n < 1:
            raise UserError(f"n must be at least 1, not {n}")
        scores, train = self._one(score), self.train
        table, counts = class_table(train.labels, len(self.class_names), scores)
        n = min(n, int(counts.min()))
        index = table[:, :n]
        if hardest:
            index = np.stack(
                [row[c - n : c][::-1] for row, c in zip(table, counts, strict=True)]
            )
        unit = 255 if train.images.dtype == np.uint8 else 1
        images = train.images[index].astype(np.float32) / unit
        return Samples(images, train.ids[index], scores[index])

    def __str__(self) -> str:
        """A line per score, and a table of their rank correlations."""
        width = max(map(len, self.by_name))
        lines = [
            f"{name:>{width}}: {x['mean']:.4g} ± {x['std']:.4g} "
            f"({x['min']:.4g} to {x['max']:.4g})"
            for name, x in self.summary["scores"].items()
        ]
        if not self.rank_correlation:
            return "\n".join(lines)
        # Columns go by number: a dozen names would not fit a line.
        numbers = range(1, len(self.by_name) + 1)
        lines.append("rank correlation:")
        lines.append(" ".join([" " * (width + 3), *(f"{n:4}" for n in numbers)]))
        for n, (name, row) in zip(numbers, self.rank_correlation.items(), strict=True):
            cells = " ".join(f"{_short(x):>4}" for x in row.values())
            lines.append(f"{name:>{width}} {n:2} {cells}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Difficulty({', '.join(self.by_name)}: {len(self.ids)} samples)"

    def _repr_html_(self) -> str:
        first = next(iter(self.by_name))
        easiest, hardest = self.easiest(score=first), self.hardest(score=first)
        png = draw(
            report.extremes_png, easiest.images, hardest.images, self.class_names
        )
        columns = ("mean", "std", "min", "max")
        rows = [
            [name, *(f"{x[column]:.4g}" for column in columns)]
            for name, x in self.summary["scores"].items()
        ]
        page = notebook.picture(png, f"easiest and hardest images by {first}")
        page += notebook.table(["score", *columns], rows)
        if self.rank_correlation:
            cells = [
                [name, *map(_number, row.values())]
                for name, row in self.rank_correlation.items()
            ]
            page += notebook.table(["rank correlation", *self.by_name], cells)
        return page


def _number(correlation: float | None) -> str:
    return "-" if correlation is None else f"{correlation:.2f}"


def _short(correlation: float | None) -> str:
    """The same without the zero before the point: .25, -.25 and 1.00."""
    return _number(correlation).replace("0.", ".", 1)
