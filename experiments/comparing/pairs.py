"""Comparisons in paired seeds: runs side by side, differences, tables."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from jaxdd.data.problem import DataFlags, Problem
from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError, check_integer, quoted
from jaxdd.fields import check_seed
from jaxdd.progress import say
from jaxdd.storage import provenance
from jaxdd.storage.files import atomic_file, write_atomically
from jaxdd.storage.paths import shown

Cells = Mapping[str, Mapping[str, Any]]  # row name -> flags that make the difference
Row = Mapping[str, Any]


class Layout(NamedTuple):
    """What a table shows beside the accuracy.

    Attributes:
        base: what a gain is measured from.
        columns: heading -> the text of a row there.
        fields: of a row, that the CSV file has as well.
    """

    base: str = "the first row"
    columns: Mapping[str, Callable[[Row], str]] = {}
    fields: Sequence[str] = ()


PLAIN = Layout()
# Flags that mean in a comparison what they mean in each of its runs.
SHARED = (
    *(flag.name for flag in dataclasses.fields(DataFlags)), "workdir", "method", "ipc",
    "steps", "width", "factor", "matches", "max_start", "student_steps", "eval_epochs",
    "num_eval",
)  # fmt: skip


def base_of(config: Any, **changes: Any) -> options.Config:
    """What all runs of a comparison share: its flags that a distillation has too.

    All of train is used, since nothing is selected.
    """
    given = {name: getattr(config, name) for name in SHARED if hasattr(config, name)}
    fixed = {"validation": 0.0, "split_seed": 0, "sdc_share": False}
    return options.Config(**{**given, **fixed, **changes})


def title_of(config: Any) -> str:
    """What is compared, for the heading of its tables."""
    what = shown(f"{config.method} on {config.dataset}")
    return f"{what}, {config.ipc} per class"


def table_of(config: Any, rows: Sequence[Row], **more: Any) -> dict[str, Any]:
    """The content of a comparison's `table.json`."""
    return {
        "rows": list(rows),
        **more,
        "config": dataclasses.asdict(config),
        "versions": provenance.versions(),
        "device": provenance.device(),
    }


def numbers(text: str, name: str, kind: type) -> list:
    """ "0,1,2" to [0, 1, 2].

    Raises:
        UserError: something else, or an integer that no array can hold.
    """
    found = _numbers(text, name, kind)
    if kind is int:
        for value in found:
            check_integer(f"--{name}", value)
    return found


def _numbers(text: str, name: str, kind: type) -> list:
    """The same, of any size."""
    try:
        return [kind(x) for x in text.split(",")]
    except ValueError as error:
        raise UserError(
            f"--{name} must be numbers joined by commas, not {quoted(text)}"
        ) from error


def seeds_of(text: str) -> list[int]:
    """Distinct seeds, joined by commas."""
    seeds = _numbers(text, "seeds", int)
    for seed in seeds:
        check_seed(seed, "--seeds")
    if len(set(seeds)) != len(seeds):
        raise UserError(f"--seeds names a seed twice: {quoted(text)}")
    return seeds


def check_cells(cells: Cells, seeds: Sequence[int], base: options.Config) -> None:
    """Refuse bad flags of any run before the first one starts."""
    for seed in seeds:
        for changes in cells.values():
            options.check(_config(base, changes, Path(base.workdir), seed))


def run_cells(
    cells: Cells,
    seeds: Sequence[int],
    base: options.Config,
    folder: Path,
    problem: Problem,
) -> dict[str, list[dict[str, Any]]]:
    """Every row with every seed, each in its folder; finished ones are taken over.

    All flags of all cells are checked before the first run starts.

    Returns:
        {row: [summary per seed]}.
    """
    configs = {
        (name, seed): _config(base, changes, folder_of(folder, name, seed), seed)
        for seed in seeds
        for name, changes in cells.items()
    }
    check_cells(cells, seeds, base)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in cells}
    for i, ((name, seed), config) in enumerate(configs.items(), 1):
        say(f"[{i}/{len(configs)}] {name}, seed {seed}")
        found[name].append(distill.run(config, problem))
    return found


def folder_of(folder: Path, name: str, seed: int) -> Path:
    """Where a comparison has one of its runs."""
    return folder / f"{_slug(name)}-{seed}"


def _slug(name: str) -> str:
    """A row's name as part of a path: "FIEX + FIEM" to "fiex-fiem".

    Signs are kept, or the weights 1 and -1 would share a folder.
    """
    signed = re.sub(r"-(?=[\d.])", "minus", name.lower())
    return re.sub(r"[^a-z0-9.]+", "-", signed).strip("-")


def _config(
    base: options.Config, changes: Mapping[str, Any], folder: Path, seed: int
) -> options.Config:
    fields = {**vars(base), **changes, "workdir": str(folder), "seed": seed}
    return options.Config(**fields)


def pooled(summaries: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """Mean over runs of the means over networks; std within and between runs.

    `what` is "distilled" or "random".
    """
    means = np.array([s[what]["mean"] for s in summaries])
    variances = np.array([s[what]["std"] ** 2 for s in summaries])
    return {
        "mean": float(means.mean()),
        "std": float(np.sqrt(variances.mean() + means.var())),
        "n": sum(s[what]["n"] for s in summaries),
    }


def compare(found: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One record per row: accuracy over seeds, and the paired gain over the first row.

    Returns:
        [{"name", "mean", "std", "n", "by_seed", "random", "gain", "interval"}]:
        accuracies in percent, means over seeds of the means over networks; the gain in
        points with its 95 % interval (Student's t over seeds; None for one seed).
    """
    rows: list[dict[str, Any]] = []
    first = None
    for name, summaries in found.items():
        means = np.array([s["distilled"]["mean"] for s in summaries])
        first = means if first is None else first
        gain = means - first
        rows.append(
            {
                "name": name,
                **pooled(summaries, "distilled"),
                "by_seed": means.tolist(),
                "random": float(np.mean([s["random"]["mean"] for s in summaries])),
                "seconds_per_step": _typical(
                    [s["seconds_per_step"] for s in summaries]
                ),
                "base": not rows,
                "gain": float(gain.mean()),
                "interval": interval(gain),
            }
        )
    return rows


def _typical(seconds: Sequence[float]) -> float | None:
    """The median, without runs that were continued when no step was left to time."""
    timed = [value for value in seconds if value]
    return float(np.median(timed)) if timed else None


def interval(differences: np.ndarray) -> float | None:
    """Half of the 95 % interval of a mean over seeds (Student's t); None for one."""
    if len(differences) < 2:
        return None
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return float(stats.t.ppf(0.975, len(differences) - 1) * error)


def mean_text(mean: float, half: float | None) -> str:
    """ "+0.31 ± 0.80", without an interval for one seed."""
    text = f"{mean:+.2f}"
    return text if half is None else f"{text} ± {half:.2f}"


def gain_text(row: Row) -> str:
    """The gain with its interval; the base has none."""
    return "" if row["base"] else mean_text(row["gain"], row["interval"])


def markdown(
    title: str, rows: Sequence[Row], notes: Sequence[str], layout: Layout = PLAIN
) -> str:
    """The table, with notes below it."""
    columns: dict[str, Callable[[Row], str]] = {
        "accuracy %": lambda row: f"{row['mean']:.2f} ± {row['std']:.2f}",
        "networks": lambda row: f"{row['n']}",
        "random %": lambda row: f"{row['random']:.2f}",
        f"gain over {layout.base}": gain_text,
        **layout.columns,
    }
    lines = [
        f"# {title}",
        "",
        f"| set | {' | '.join(columns)} |",
        f"|---|{'---:|' * len(columns)}",
    ]
    for row in rows:
        texts = (text(row) for text in columns.values())
        lines.append(f"| {row['name']} | {' | '.join(texts)} |")
    return "\n".join([*lines, "", *notes, ""])


def write_tables(
    folder: Path,
    title: str,
    rows: Sequence[Row],
    notes: Sequence[str],
    layout: Layout = PLAIN,
) -> None:
    """`table.md` and `table.csv`."""
    write_atomically(folder / "table.md", markdown(title, rows, notes, layout))
    names = ("name", "mean", "std", "n", "random", "gain", "interval", *layout.fields)
    with atomic_file(folder / "table.csv") as file:
        file.write(",".join(names) + "\n")
        for row in rows:
            cells = ("" if row[n] is None else str(row[n]) for n in names)
            file.write(",".join(f'"{c}"' if "," in c else c for c in cells) + "\n")
