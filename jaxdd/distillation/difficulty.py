"""Score every training sample."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd import fields, report
from jaxdd.data.problem import DataFlags, Problem, open_problem
from jaxdd.data.real import class_table
from jaxdd.devices import needs
from jaxdd.distillation import sorting
from jaxdd.errors import UserError
from jaxdd.fields import option
from jaxdd.methods.network import NetworkSpec
from jaxdd.report.pictures import draw
from jaxdd.scores.ranks import rank_correlation
from jaxdd.scores.table import SCORES, Effort, score_named
from jaxdd.storage import provenance
from jaxdd.storage.files import atomic_file, make_folder, to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import local_path, shown
from jaxdd.types import Network

SHOWN = 10  # images per class in the picture


@dataclass(frozen=True)
class Config(DataFlags):
    """Flags of `experiments.difficulty`."""

    workdir: str = option(..., "folder for the results", kind="path")
    score: str = option(
        "grad_norm", f"all, or one or more, by commas: {', '.join(SCORES)}"
    )
    seed: int = option(0, "of the split and the networks", kind="seed")
    validation: float = option(0.0, "share of train that is left out")
    net: str = option("convnet", "network")
    width: int | None = option(None, "channels of the ConvNet")
    depth: int | None = option(None, "blocks of the ConvNet")
    networks: int = option(5, "networks to average over")
    train_steps: int = option(100, "SGD steps that each is trained before scoring")
    forgetting_epochs: int = option(10, "epochs over which forgetting is counted")
    damping: float = option(0.1, "of influence, as a share of the largest eigenvalue")
    rank: int = option(16, "eigenpairs that influence takes the curvature from")


def run(config: Config) -> dict[str, Any]:
    """Score a training set.

    Returns:
        {"scores": {name: {"mean", "std", "min", "max"}}, "rank_correlation": {a: {b}}};
        also written as `summary.json`.
    """
    fields.check(config)
    names = score_names(config.score)
    effort = effort_of(config)
    problem = open_problem(config, config.validation, config.seed)
    spec = NetworkSpec(config.net, config.width, config.depth).sized(problem.dataset)
    options, network = spec.options(), spec.make(problem.dataset)
    wanted = needs.networks(network, effort.networks, "networks")
    if "influence" in names:
        wanted += needs.networks(
            network, min(effort.rank, needs.parameters(network)), "rank"
        )
    needs.check(wanted)
    # Before the folder is locked, which leaves a file in it.
    refuse_run(local_path(config.workdir, "--workdir"))
    with owned(config.workdir) as folder:
        # Again: another program may have begun there meanwhile.
        refuse_run(folder)
        return _score(problem, network, options, names, effort, config.seed, folder)


def refuse_run(folder: Path) -> None:
    """Raise UserError where a folder belongs to another program."""
    if (folder / "run.json").exists():
        raise UserError(
            f"{shown(folder)} holds a run of another program: choose another --workdir"
        )


def _score(
    problem: Problem,
    network: Network,
    options: dict[str, Any],
    names: list[str],
    effort: Effort,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Scores and pictures in a folder that is ours; the content of `summary.json`."""
    scores = sorting.compute(
        network,
        problem.on_device(problem.splits.train),
        seed,
        names,
        effort,
    )
    for name in names:
        target = folder if len(names) == 1 else make_folder(folder / name)
        write_scores(target, name, scores[name], problem)
    summary: dict[str, Any] = {
        "scores": {
            k: {f: float(getattr(v, f)()) for f in ("mean", "std", "min", "max")}
            for k, v in scores.items()
        },
        "rank_correlation": {},
        "network": options,
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
    if len(names) > 1:
        matrix = np.asarray(rank_correlation(scores))
        # A constant score has no ranks to compare.
        cells = [[float(x) if np.isfinite(x) else None for x in row] for row in matrix]
        summary["rank_correlation"] = {
            a: dict(zip(names, row, strict=True))
            for a, row in zip(names, cells, strict=True)
        }
        path = folder / "rank_correlation.png"
        draw(report.correlation_matrix, names, matrix, path)
    write_atomically(folder / "summary.json", to_json(summary))
    return summary


def score_names(score: str) -> list[str]:
    """The names in `--score`, each once.

    Raises:
        UserError: an unknown one.
    """
    names: dict[str, None] = {}
    for name in score.split(","):
        if name != "all":
            score_named(name)
        names |= dict.fromkeys(SCORES if name == "all" else [name])
    return list(names)


def effort_of(config: Config) -> Effort:
    """The flags that say how the scores are measured.

    Raises:
        UserError: one that is not positive.
    """
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(Effort)}
    for name, value in fields.items():
        if not 0 < value < np.inf:
            raise UserError(f"--{name} must be positive, not {value}")
    return Effort(**fields)


def write_scores(folder: Path, name: str, scores: np.ndarray, problem: Problem) -> None:
    """`scores.npz`, `histogram.png` and `extremes.png` of one score."""
    train, classes = problem.splits.train, problem.dataset.num_classes
    with atomic_file(folder / "scores.npz", "wb") as file:
        np.savez(file, scores=scores, ids=train.ids)
    draw(report.histogram, scores, folder / "histogram.png", xlabel=name)
    table, counts = class_table(train.labels, classes, scores)
    shown = min(SHOWN, int(counts.min()))
    easiest = table[:, :shown]
    hardest = np.stack(
        [row[n - shown : n][::-1] for row, n in zip(table, counts, strict=True)]
    )
    unit = 255 if train.images.dtype == np.uint8 else 1
    pixels = train.images.astype(np.float32) / unit
    draw(
        report.extremes,
        pixels[easiest],
        pixels[hardest],
        problem.dataset.class_names,
        folder / "extremes.png",
    )
