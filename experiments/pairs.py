"""Comparisons in paired seeds: runs side by side, differences, tables."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from experiments import distill, options
from experiments.problem import Problem
from experiments.progress import say
from jaxdd.errors import UserError
from jaxdd.workdir import atomic_file, write_atomically

Cells = Mapping[str, Mapping[str, Any]]  # row name -> flags that make the difference


def numbers(text: str, name: str, kind: type) -> list:
    """ "0,1,2" to [0, 1, 2].

    Raises:
        UserError: something else.
    """
    try:
        return [kind(x) for x in text.split(",")]
    except ValueError as error:
        raise UserError(
            f"--{name} must be numbers joined by commas, not {text!r}"
        ) from error


def seeds_of(text: str) -> list[int]:
    """Distinct seeds, joined by commas."""
    seeds = numbers(text, "seeds", int)
    if len(set(seeds)) != len(seeds):
        raise UserError(f"--seeds names a seed twice: {text!r}")
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
        (name, seed): _config(base, changes, folder / f"{_slug(name)}-{seed}", seed)
        for seed in seeds
        for name, changes in cells.items()
    }
    check_cells(cells, seeds, base)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in cells}
    for i, ((name, seed), config) in enumerate(configs.items(), 1):
        say(f"[{i}/{len(configs)}] {name}, seed {seed}")
        found[name].append(distill.run(config, problem))
    return found


def _slug(name: str) -> str:
    """A row's name as part of a path: "FIEX + FIEM" to "fiex-fiem"."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


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
                "seconds_per_step": float(
                    np.median([s["seconds_per_step"] for s in summaries])
                ),
                "base": not rows,
                "gain": float(gain.mean()),
                "interval": _interval(gain),
            }
        )
    return rows


def _interval(gain: np.ndarray) -> float | None:
    """Half of the 95 % interval of a mean."""
    if len(gain) < 2:
        return None
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return float(stats.t.ppf(0.975, len(gain) - 1) * error)


def gain_text(row: Mapping[str, Any]) -> str:
    """ "+0.31 ± 0.80", without an interval for one seed; the base has none."""
    if row["base"]:
        return ""
    text = f"{row['gain']:+.2f}"
    return text if row["interval"] is None else f"{text} ± {row['interval']:.2f}"


def markdown(title: str, rows: list[dict[str, Any]], notes: Sequence[str]) -> str:
    lines = [
        f"# {title}",
        "",
        "| set | accuracy % | networks | random % | gain over the first row |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['name']} | {row['mean']:.2f} ± {row['std']:.2f} | {row['n']} | "
            f"{row['random']:.2f} | {gain_text(row)} |"
        )
    return "\n".join([*lines, "", *notes, ""])


def write_tables(
    folder: Path, title: str, rows: list[dict[str, Any]], notes: Sequence[str]
) -> None:
    """`table.md` and `table.csv`."""
    write_atomically(folder / "table.md", markdown(title, rows, notes))
    names = ("name", "mean", "std", "n", "random", "gain", "interval")
    with atomic_file(folder / "table.csv") as file:
        file.write(",".join(names) + "\n")
        for row in rows:
            cells = ("" if row[n] is None else str(row[n]) for n in names)
            file.write(",".join(f'"{c}"' if "," in c else c for c in cells) + "\n")
