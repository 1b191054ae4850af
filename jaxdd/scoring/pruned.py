"""The result of `jaxdd.prune`: a share of the training samples, and its index."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd import report
from jaxdd.data import Dataset, Split
from jaxdd.data.subsets import FORMAT, KIND, Subset
from jaxdd.report.pictures import draw
from jaxdd.scoring.result import Difficulty
from jaxdd.storage.files import make_folder, output_file, to_json, write_atomically
from jaxdd.storage.recognising import Kind, marked

SHOWN = 10  # images per class in the picture
# Its first line.
INDEX = Kind("an index of samples", marked(f'"kind": "{KIND}"'.encode(), 100))


@dataclass(frozen=True, eq=False, repr=False)
class Pruned:
    """A share of a dataset's training samples.

    Attributes:
        dataset: the data with these samples, and all of its test samples.
        places: [m] of these samples among those that were scored, increasing.
        scored: the score of every training sample that there was.
        about: how they were chosen, as the index has it.
        name: what the data is called.
    """

    dataset: Dataset
    places: np.ndarray
    scored: Difficulty
    about: Mapping[str, Any]
    name: str

    @property
    def subset(self) -> Subset:
        """Which samples, and of what."""
        assert self.dataset.restricted is not None, "some samples were chosen"
        return self.dataset.restricted

    @property
    def ids(self) -> np.ndarray:
        """[m] int64, increasing, places in the training array of the whole dataset."""
        return self.subset.ids

    @property
    def kept(self) -> list[dict[str, Any]]:
        """Of every class: {"class", "samples", "kept"}, its name and two counts."""
        names = self.dataset.class_names
        before, after = (
            np.bincount(labels, minlength=len(names)).tolist()
            for labels in (self.scored.train.labels, self.dataset.labels)
        )
        return [
            {"class": name, "samples": m, "kept": n}
            for name, m, n in zip(names, before, after, strict=True)
        ]

    def save(self, path: str | Path) -> Path:
        """Write the index that `--subset` takes.

        Args:
            path: the JSON file; folders above it are made.

        Raises:
            UserError: the disk refuses, or the file ends otherwise, or is there
                already and no index.
        """
        target = output_file(path, "the index", ".json", kind=INDEX)
        subset = self.subset
        make_folder(target.parent, "path for the index")
        content = {
            "kind": KIND,
            "format": FORMAT,
            "dataset": {
                "name": self.name,
                "fingerprint": subset.fingerprint,
                "samples": subset.samples,
            },
            **self.about,
            "kept": self.kept,
            "ids": subset.ids.tolist(),
        }
        write_atomically(target, to_json(content))
        return target

    def picture(self, path: Path) -> None:
        """Draw the easiest and the hardest samples of every class that are kept."""
        by_name = {k: x[self.places] for k, x in self.scored.by_name.items()}
        dataset, ids = self.dataset, self.scored.ids[self.places]
        kept = Split(dataset.images, dataset.labels, ids)
        few = dataclasses.replace(self.scored, by_name=by_name, train=kept)
        easiest, hardest = few.easiest(SHOWN).images, few.hardest(SHOWN).images
        draw(report.extremes, easiest, hardest, dataset.class_names, path)

    def __repr__(self) -> str:
        return (
            f"Pruned({len(self.dataset.labels)} of {len(self.scored.ids)} training "
            f"samples of {self.name})"
        )
