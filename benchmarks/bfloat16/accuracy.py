"""The same runs in both precisions, seed by seed, and the evaluation by itself.

A run is `experiments.distill` in a folder of its own, so that a stopped one goes on and
a finished one is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bfloat16.records import BOTH, Line, Records
from experiments.comparing.methods import has_experts
from experiments.comparing.pairs import interval, mean_text
from jaxdd.distillation import options
from jaxdd.distillation.run import run as distil
from jaxdd.evaluation import run as evaluation


@dataclass(frozen=True)
class Runs:
    """Which runs are compared.

    Attributes:
        datasets, methods, seeds: every one with every other.
        data_dir: of TFDS datasets.
        shared: flags of all runs.
        experts: flags of those with experts.
    """

    datasets: Sequence[str]
    methods: Sequence[str]
    seeds: Sequence[int]
    data_dir: str | None
    shared: dict[str, Any]
    experts: dict[str, Any]

    def config(
        self, folder: Path, dataset: str, method: str, seed: int, precision: str
    ) -> options.Config:
        """The flags of one run, all of train used: nothing is selected."""
        flags = {**self.shared, **(self.experts if has_experts(method) else {})}
        return options.Config(
            workdir=str(folder / f"{dataset}-{method}-{precision}-{seed}"),
            dataset=dataset,
            data_dir=self.data_dir,
            method=method,
            seed=seed,
            validation=0.0,
            split_seed=0,
            sdc_share=False,
            precision=precision,
            **flags,
        )


def paired(what: str, found: dict[str, list[float]]) -> dict[str, Any]:
    """The record of accuracies in percent by precision and seed."""
    gains = np.subtract(found["bfloat16"], found["float32"])
    half, mean = interval(gains), float(gains.mean())
    line = Line(
        what,
        **{name: f"{np.median(found[name]):.2f} %" for name in BOTH},
        compared=f"{mean_text(mean, half)} points, seeds: {len(gains)}",
    )
    return {"by_seed": found, "difference": mean, "interval": half, "line": line}


def distilled(runs: Runs, folder: Path, dataset: str, method: str) -> dict[str, Any]:
    """Sets that are distilled and measured in one precision."""
    found = {
        name: [
            distil(runs.config(folder, dataset, method, seed, name))["distilled"][
                "mean"
            ]
            for seed in runs.seeds
        ]
        for name in BOTH
    }
    return paired(f"accuracy: {method} on {dataset}", found)


def evaluated(runs: Runs, folder: Path, dataset: str, method: str) -> dict[str, Any]:
    """Sets that are distilled and measured in float32, measured in bfloat16 too."""
    found: dict[str, list[float]] = {name: [] for name in BOTH}
    for seed in runs.seeds:
        place = Path(runs.config(folder, dataset, method, seed, "float32").workdir)
        config = evaluation.Config(
            artifact=str(place / "distilled.npz"),
            data_dir=runs.data_dir,
            num_eval=runs.shared["num_eval"],
            workdir=str(place / "bfloat16"),
            precision="bfloat16",
        )
        (measured,) = evaluation.run(config).values()
        assert measured.stored is not None, "it is the set's own network"
        found["float32"].append(measured.stored.mean)
        found["bfloat16"].append(measured.accuracy.mean)
    return paired(f"evaluation alone: {method} on {dataset}, float32 sets", found)


def run(records: Records, runs: Runs) -> None:
    folder = records.folder / "runs"
    for dataset in runs.datasets:
        shared = {"dataset": dataset, "seeds": list(runs.seeds), **runs.shared}
        for method in runs.methods:
            experts = runs.experts if has_experts(method) else {}
            records.measure(
                {"row": "distilled", "method": method, **shared, **experts},
                f"{method} on {dataset}",
                partial(distilled, runs, folder, dataset, method),
            )
        first = runs.methods[0]
        records.measure(
            {"row": "evaluated", "method": first, **shared},
            f"the evaluation by itself on {dataset}",
            partial(evaluated, runs, folder, dataset, first),
        )
