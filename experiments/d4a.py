"""Where distilling in segments helps: a base against D4A, in paired seeds.

    python -m experiments.d4a --dataset=digits --ipc=5 --segments=5 --seeds=0,1,2 \\
        --workdir=runs/d4a

Three rows with the same images per class: the base in one piece, D4A without and with
its term against forgetting. Beside their accuracy: the accuracy on every tenth of the
test split, from easy to hard by the loss of a fixed ensemble trained on real data; the
samples that every segment keeps per class; and how much each segment forgets. Every
segment takes --steps updates, so D4A takes as many times more than the base. Writes
table.md, table.csv, table.json and plots; a stopped comparison goes on where it was.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.comparing import pairs, shared_banks
from experiments.console.flags import main, option
from jaxdd import fields, report
from jaxdd.data.problem import DataFlags, Problem
from jaxdd.data.real import take
from jaxdd.devices import needs
from jaxdd.distillation import options, resolution
from jaxdd.errors import UserError, quoted
from jaxdd.evaluation.protocol import MIN_RANDOM
from jaxdd.methods import presets
from jaxdd.methods.network import network_for
from jaxdd.objectives import REMEMBERED
from jaxdd.progress import say
from jaxdd.report.pictures import draw
from jaxdd.scores.ensemble import ensemble_scores
from jaxdd.scores.probes import make_probes
from jaxdd.storage.arrays import Member, Shapes, read_arrays
from jaxdd.storage.files import atomic_file, to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import shown
from jaxdd.storage.workdir import Record

TENTHS = 10
_LOSSES = {"losses": Member("f", 1)}
# True everywhere or nowhere compresses by any factor.
_HITS = {"right": Member("b", 2, repetitive=True)}
BASE, WITHOUT, WITH = "base", "D4A without the term", "D4A"


@dataclass(frozen=True)
class Config(DataFlags):
    """Flags of `experiments.d4a`."""

    workdir: str = option(..., "folder for all runs, tables and plots", kind="path")
    method: str = option("idc", "the base: any method without segments")
    ipc: int = option(5, "synthetic images per class")
    segments: int = option(5, "of D4A")
    forgetting: str = option("replay", "its term: proxy or replay")
    forgetting_weight: float = option(1.0, "the term's weight")
    seeds: str = option("0,1,2", "seeds of the comparison, by commas")
    steps: int | None = option(None, "updates of the images, of every segment")
    factor: int | None = option(None, "tiles along each side of a stored image")
    matches: int | None = option(None, "steps per network")
    width: int | None = option(None, "channels of the ConvNet")
    min_keep: int | None = option(None, "samples of a class that are kept at least")
    judges: int | None = option(None, "networks that decide what is kept")
    judge_epochs: int | None = option(None, "of their training")
    num_experts: int | None = option(None, "experts of the bank, for trajectories")
    bank_epochs: int | None = option(None, "epochs of the bank")
    max_start: int | None = option(None, "bound of the start epochs, exclusive")
    student_steps: int | None = option(None, "N, steps of a student")
    eval_epochs: int | None = option(None, "epochs of the evaluation")
    num_eval: int = option(5, "fresh networks per run")
    ensemble: int = option(5, "networks that sort the test split by their loss")
    ensemble_steps: int = option(500, "SGD steps of each on real data")


def run(config: Config, problem: Problem | None = None) -> dict[str, Any]:
    """Compare; the content of `table.json`.

    Raises:
        UserError: bad input, named.
        signals.Interrupted: a signal stopped it; what is done is kept.
    """
    fields.check(config)
    seeds = pairs.seeds_of(config.seeds)
    cells = _cells(config)
    base = pairs.base_of(config, num_random=MIN_RANDOM)
    pairs.check_cells(cells, seeds, base)
    if options.preset_of(base).experts is not None:
        shared_banks.check(base, config.num_experts, config.bank_epochs)
    if problem is None:
        problem = resolution.open_data(base)
    network = network_for(problem.dataset, resolution.resolve(base, problem)["network"])
    needs.check(needs.networks(network, config.ensemble, "ensemble"))
    with owned(config.workdir) as folder:
        fingerprint = problem.dataset.fingerprint
        values = {**dataclasses.asdict(config), "fingerprint": fingerprint}
        Record(folder, values, "d4a")
        name = config.method
        banks = shared_banks.serve(
            {name: base},
            folder,
            {name: problem},
            config.num_experts,
            config.bank_epochs,
        )
        base = dataclasses.replace(base, experts=banks.get(name))
        found = pairs.run_cells(cells, seeds, base, folder, problem)
        rows = pairs.compare(found)
        losses = _losses(config, base, problem, folder)
        tenths = {
            name: np.stack(
                [_by_tenth(pairs.folder_of(folder, name, x), losses) for x in seeds]
            )
            for name in found
        }
        for row in rows:
            row["by_tenth"] = tenths[row["name"]].mean(axis=0).tolist()
            row["segments"] = _segments(found[row["name"]])
        notes = _notes(config, rows, tenths)
        pairs.write_tables(folder, pairs.title_of(config), rows, notes)
        table = pairs.table_of(config, rows)
        write_atomically(folder / "table.json", to_json(table))
        _plot(rows, tenths, problem, folder)
        say(f"{shown(folder)}/table.md, table.csv, tenths.png, kept.png, forgotten.png")
        return table


def _cells(config: Config) -> dict[str, dict[str, Any]]:
    """{row: flags}.

    Raises:
        UserError: a base in segments, or no term to compare.
    """
    if presets.preset(config.method, config.dataset, config.ipc).settings.segments > 1:
        raise UserError(
            f"--method={config.method} has segments of its own: choose a base without, "
            "such as idc"
        )
    if config.segments < 2:
        raise UserError(f"--segments must be at least 2, not {config.segments}")
    if config.forgetting not in REMEMBERED[1:] or config.forgetting_weight == 0:
        raise UserError(
            f"--forgetting must be {' or '.join(REMEMBERED[1:])} with a weight other "
            f"than 0, not {quoted(config.forgetting)} with {config.forgetting_weight:g}"
        )
    for name in ("ensemble", "ensemble_steps"):
        if getattr(config, name) < 1:
            raise UserError(f"--{name} must be positive, not {getattr(config, name)}")
    names = ("min_keep", "judges", "judge_epochs")
    given = {n: getattr(config, n) for n in names if getattr(config, n) is not None}
    segmented = {"segments": config.segments, **given}
    term = {
        "forgetting": config.forgetting,
        "forgetting_weight": config.forgetting_weight,
    }
    return {BASE: {}, WITHOUT: segmented, WITH: {**segmented, **term}}


def _losses(
    config: Config, base: options.Config, problem: Problem, folder: Path
) -> np.ndarray:
    """[M] mean loss of every test sample under networks trained on real data."""
    kept = folder / "test_losses.npz"
    if kept.exists():
        return read_losses(kept, len(problem.splits.test.labels))
    say(f"sorting the test split by the loss of {config.ensemble} networks")
    network = network_for(problem.dataset, resolution.resolve(base, problem)["network"])
    train = problem.on_device(problem.splits.train)
    learners = make_probes(network, train, 0, config.ensemble, config.ensemble_steps)
    score = jax.jit(ensemble_scores(network, "loss", take))
    losses = np.asarray(score(learners, problem.on_device(problem.splits.test)))
    with atomic_file(kept, "wb") as file:
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
        networks, found = shapes["right"]
        if networks == 0 or found != samples:
            raise ValueError(f"it does not hold the answers to {samples} samples")

    remedy = f"remove {shown(path.parent)} to make that run again"
    return read_arrays(path, _HITS, remedy, "the evaluation", agree)["right"]


def _by_tenth(folder: Path, losses: np.ndarray) -> np.ndarray:
    """[10] accuracies in percent of a run on equal parts of the test split.

    Args:
        folder: of the run.
        losses: [M], of the test samples; the parts go from easy to hard by them.
    """
    right = read_hits(folder / "evaluation.npz", len(losses)).mean(axis=0)
    order = np.argsort(losses, kind="stable")
    return np.array([100 * x.mean() for x in np.array_split(right[order], TENTHS)])


def _segments(summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds of what each segment kept, knew and forgot."""
    per_seed = [summary["segments"] for summary in summaries]
    return [
        {
            "kept": np.mean([x["kept"] for x in same], axis=0).tolist(),
            "right": float(np.mean([x["right"] for x in same])),
            "forgotten": float(np.mean([x["forgotten"] for x in same])),
        }
        for same in zip(*per_seed, strict=True)
    ]


def _plot(
    rows: list[dict[str, Any]],
    tenths: dict[str, np.ndarray],
    problem: Problem,
    folder: Path,
) -> None:
    """`tenths.png`, `forgotten.png` and `kept.png`."""
    axis = np.arange(1, TENTHS + 1)
    draw(
        report.curves,
        {name: (axis, x.mean(axis=0)) for name, x in tenths.items()},
        folder / "tenths.png",
        "tenth of the test samples, easy to hard",
        "accuracy, %",
        {name: x.std(axis=0) for name, x in tenths.items()},
    )
    segmented = {row["name"]: row["segments"] for row in rows if row["segments"]}
    draw(
        report.curves,
        {
            name: (range(1, len(x) + 1), [100 * s["forgotten"] for s in x])
            for name, x in segmented.items()
        },
        folder / "forgotten.png",
        "segment",
        "formerly right, now wrong, %",
    )
    counts = np.array([s["kept"] for s in segmented[WITH]])
    draw(
        report.counts,
        counts,
        [f"segment {k + 1}" for k in range(len(counts))],
        problem.dataset.class_names,
        folder / "kept.png",
    )


def _notes(
    config: Config, rows: list[dict[str, Any]], tenths: dict[str, np.ndarray]
) -> list[str]:
    lines = [
        "| accuracy on tenths of the test samples, easy to hard | "
        + " | ".join(str(i + 1) for i in range(TENTHS))
        + " |",
        "|---|" + "---:|" * TENTHS,
    ]
    for name, found in tenths.items():
        means = " | ".join(f"{x:.1f}" for x in found.mean(axis=0))
        lines.append(f"| {name} | {means} |")
    lines += [
        "",
        "| segment | kept samples | right after it, % | forgotten, % |",
        "|---|---:|---:|---:|",
    ]
    for row in rows:
        for k, x in enumerate(row["segments"], 1):
            lines.append(
                f"| {row['name']}, {k} | {sum(x['kept']):.0f} | "
                f"{100 * x['right']:.1f} | {100 * x['forgotten']:.1f} |"
            )
    return [
        *lines,
        "",
        f"Gains are paired by seed, with the 95 % interval over seeds; "
        f"{config.num_eval} networks per run. Test accuracy after the last epoch, no "
        "selection; random: real subsets of the same size, same protocol. D4A's term: "
        f"{config.forgetting}, weight {config.forgetting_weight:g}; every segment "
        "takes as many steps as the base.",
    ]


def show(table: dict[str, Any]) -> None:
    title = pairs.title_of(Config(**table["config"]))
    print(pairs.markdown(title, table["rows"], []))


if __name__ == "__main__":
    main(Config, run, show)
