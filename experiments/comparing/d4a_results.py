"""Results of a D4A comparison: accuracy by difficulty, and what each segment did."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.comparing import methods, pairs
from experiments.comparing.groups import Finished, Key
from jaxdd import report
from jaxdd.data.problem import Problem
from jaxdd.data.real import take
from jaxdd.distillation import options
from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.scores.ensemble import ensemble_scores
from jaxdd.scores.probes import make_probes
from jaxdd.storage.arrays import Member, Shapes, read_arrays
from jaxdd.storage.files import atomic_file
from jaxdd.storage.paths import shown

TENTHS = 10
_LOSSES = {"losses": Member("f", 1)}
# True everywhere or nowhere compresses by any factor.
_HITS = {"right": Member("b", 2, repetitive=True)}


def details(finished: Finished[Any, Key]) -> dict[Key, dict[str, Any]]:
    """{row: its accuracy on every tenth of the test split, and its segments}."""
    return {
        row: {
            "by_tenth": tenths.mean(axis=0).tolist(),
            "segments": mean_segments(finished.runs[row]),
        }
        for row, tenths in accuracies(finished).items()
    }


# --- Accuracy by difficulty ---------------------------------------------------------


def accuracies(finished: Finished[Any, Key]) -> dict[Key, np.ndarray]:
    """{row: [S, 10] accuracies in percent, per seed, on tenths of the test split}.

    The tenths go from easy to hard, by the loss of networks trained on real data.
    """
    (group,) = finished.groups
    problem = finished.problems[group.method]
    losses = _test_losses(finished.config, group.base, problem, finished.folder)
    return {
        row: np.stack([by_tenth(x, losses) for x in finished.folders_of(row)])
        for row in finished.runs
    }


def _test_losses(
    config: Any, base: options.Config, problem: Problem, folder: Path
) -> np.ndarray:
    """[M] mean loss of every test sample under networks trained on real data."""
    path = folder / "test_losses.npz"
    if path.exists():
        return read_losses(path, len(problem.splits.test.labels))
    say(f"sorting the test split by the loss of {config.ensemble} networks")
    network = methods.network_of(base, problem)
    train = problem.on_device(problem.splits.train)
    learners = make_probes(network, train, 0, config.ensemble, config.ensemble_steps)
    score = jax.jit(ensemble_scores(network, "loss", take))
    losses = np.asarray(score(learners, problem.on_device(problem.splits.test)))
    with atomic_file(path, "wb") as file:
        np.savez(file, losses=losses)
    return losses


def read_losses(path: Path, samples: int) -> np.ndarray:
    """[M] losses of the test samples from `test_losses.npz`.

    Raises:
        UserError: it is damaged, or of another split.
    """
    remedy = "remove it, and the networks that sort the test split are trained again"

    def agree(shapes: Shapes) -> None:
        if shapes["losses"] != (samples,):
            raise ValueError(f"it does not hold the losses of {samples} samples")

    losses = read_arrays(path, _LOSSES, remedy, "the losses", agree)["losses"]
    if not np.isfinite(losses).all():
        raise UserError(f"the losses {shown(path)} are not finite: {remedy}")
    return losses


def read_hits(path: Path, samples: int) -> np.ndarray:
    """[E, M] bool, where each network was right, from a run's `evaluation.npz`.

    Raises:
        UserError: it is damaged, or of another split.
    """

    def agree(shapes: Shapes) -> None:
        networks, answers = shapes["right"]
        if networks == 0 or answers != samples:
            raise ValueError(f"it does not hold the answers to {samples} samples")

    remedy = f"remove {shown(path.parent)} to make that run again"
    return read_arrays(path, _HITS, remedy, "the evaluation", agree)["right"]


def by_tenth(folder: Path, losses: np.ndarray) -> np.ndarray:
    """[10] accuracies in percent of a run on equal parts of the test split.

    Args:
        folder: of the run.
        losses: [M], of the test samples; the parts go from the lowest to the highest.
    """
    right = read_hits(folder / "evaluation.npz", len(losses)).mean(axis=0)
    order = np.argsort(losses, kind="stable")
    return np.array([100 * x.mean() for x in np.array_split(right[order], TENTHS)])


# --- Segments -----------------------------------------------------------------------


def mean_segments(summaries: Sequence[pairs.Summary]) -> list[dict[str, Any]]:
    """Means over seeds of what each segment kept, knew and forgot.

    Returns:
        [{"kept": samples per class, "right", "forgotten": shares of the training
        split}], one per segment; none for a run in one piece.
    """
    per_seed = [summary["segments"] for summary in summaries]
    return [
        {
            "kept": np.mean([x["kept"] for x in same], axis=0).tolist(),
            "right": float(np.mean([x["right"] for x in same])),
            "forgotten": float(np.mean([x["forgotten"] for x in same])),
        }
        for same in zip(*per_seed, strict=True)
    ]


# --- Tables and plots ---------------------------------------------------------------


def tables(rows: Sequence[pairs.Row]) -> list[str]:
    """The lines of two further tables: accuracy by difficulty, and segments."""
    numbers = " | ".join(str(i + 1) for i in range(TENTHS))
    lines = [
        f"| accuracy on tenths of the test samples, easy to hard | {numbers} |",
        "|---|" + "---:|" * TENTHS,
    ]
    for row in rows:
        means = " | ".join(f"{accuracy:.1f}" for accuracy in row["by_tenth"])
        lines.append(f"| {row['name']} | {means} |")
    lines += [
        "",
        "| segment | kept samples | right after it, % | forgotten, % |",
        "|---|---:|---:|---:|",
    ]
    for row in rows:
        for k, segment in enumerate(row["segments"], 1):
            lines.append(
                f"| {row['name']}, {k} | {sum(segment['kept']):.0f} | "
                f"{100 * segment['right']:.1f} | {100 * segment['forgotten']:.1f} |"
            )
    return lines


def plot_tenths(finished: Finished, table: Mapping[str, Any], path: Path) -> Path:
    """Accuracy on every tenth of the test split; the band is over seeds."""
    axis = np.arange(1, TENTHS + 1)
    tenths = {str(row): x for row, x in accuracies(finished).items()}
    return report.curves(
        {name: (axis, x.mean(axis=0)) for name, x in tenths.items()},
        path,
        "tenth of the test samples, easy to hard",
        "accuracy, %",
        {name: x.std(axis=0) for name, x in tenths.items()},
    )


def plot_forgotten(finished: Finished, table: Mapping[str, Any], path: Path) -> Path:
    """The share of training samples that each segment forgets."""
    segmented = {
        row["name"]: [100 * segment["forgotten"] for segment in row["segments"]]
        for row in table["rows"]
        if row["segments"]
    }
    return report.curves(
        {name: (range(1, len(x) + 1), x) for name, x in segmented.items()},
        path,
        "segment",
        "formerly right, now wrong, %",
    )


def plot_kept(finished: Finished, table: Mapping[str, Any], path: Path) -> Path:
    """The samples per class that each segment of the last row keeps."""
    (problem,) = finished.problems.values()
    counts = np.array([segment["kept"] for segment in table["rows"][-1]["segments"]])
    names = [f"segment {k + 1}" for k in range(len(counts))]
    return report.counts(counts, names, problem.dataset.class_names, path)
