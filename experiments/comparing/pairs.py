"""Statistics of rows in paired seeds, and their tables."""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from jaxdd.storage import provenance
from jaxdd.storage.files import atomic_file, write_atomically

Summary = Mapping[str, Any]  # the content of a run's `summary.json`
Row = Mapping[str, Any]  # a row of a table, as in `table.json`


class Layout(NamedTuple):
    """What a table shows beside the accuracy.

    Attributes:
        base: names the row from which gains are measured.
        columns: heading -> (row) -> the text of its cell.
        fields: names of a row's entries that the CSV file holds as well.
    """

    base: str = "the first row"
    columns: Mapping[str, Callable[[Row], str]] = {}
    fields: Sequence[str] = ()


PLAIN = Layout()


# --- Statistics ---------------------------------------------------------------------


def pooled(summaries: Sequence[Summary], result: str) -> dict[str, Any]:
    """Mean over runs of the means over networks; std within and between runs.

    Args:
        summaries: one per seed.
        result: "distilled" or "random".
    """
    means = np.array([s[result]["mean"] for s in summaries])
    variances = np.array([s[result]["std"] ** 2 for s in summaries])
    return {
        "mean": float(means.mean()),
        "std": float(np.sqrt(variances.mean() + means.var())),
        "n": sum(s[result]["n"] for s in summaries),
    }


def compare(runs: Mapping[Any, Sequence[Summary]]) -> list[dict[str, Any]]:
    """One record per row: accuracy over seeds, and the paired gain over the first row.

    Args:
        runs: {row: summary per seed}; `str(row)` is the row's name.

    Returns:
        [{"name", "mean", "std", "n", "by_seed", "random", "seconds_per_step", "base",
        "gain", "interval"}]: accuracies in percent, means over seeds of the means over
        networks; the gain in points with its 95 % interval (Student's t over seeds;
        None for one seed).
    """
    rows: list[dict[str, Any]] = []
    first = None
    for key, summaries in runs.items():
        means = np.array([s["distilled"]["mean"] for s in summaries])
        first = means if first is None else first
        gain = means - first
        seconds = [s["seconds_per_step"] for s in summaries]
        rows.append(
            {
                "name": str(key),
                **pooled(summaries, "distilled"),
                "by_seed": means.tolist(),
                "random": float(np.mean([s["random"]["mean"] for s in summaries])),
                "seconds_per_step": _median(seconds),
                "base": not rows,
                "gain": float(gain.mean()),
                "interval": interval(gain),
            }
        )
    return rows


def _median(seconds: Sequence[float]) -> float | None:
    """The median, without runs that were resumed after their last step."""
    timed = [value for value in seconds if value]
    return float(np.median(timed)) if timed else None


def interval(differences: np.ndarray) -> float | None:
    """Half of the 95 % interval of a mean over seeds (Student's t); None for one."""
    if len(differences) < 2:
        return None
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return float(stats.t.ppf(0.975, len(differences) - 1) * error)


# --- Names and texts ----------------------------------------------------------------


def folder_of(folder: Path, row: Hashable, seed: int) -> Path:
    """The folder of one run of a comparison, such as `fiex-fiem-0`."""
    return folder / f"{_slug(str(row))}-{seed}"


def _slug(name: str) -> str:
    """A row's name as part of a path: "FIEX + FIEM" to "fiex-fiem".

    Minus signs are spelt out, or the weights 1 and -1 would share a folder.
    """
    signed = re.sub(r"-(?=[\d.])", "minus", name.lower())
    return re.sub(r"[^a-z0-9.]+", "-", signed).strip("-")


def mean_text(mean: float, half: float | None) -> str:
    """ "+0.31 ± 0.80"; without the interval for one seed."""
    text = f"{mean:+.2f}"
    return text if half is None else f"{text} ± {half:.2f}"


def gain_text(row: Row) -> str:
    """The gain with its interval; empty for the row that gains are measured from."""
    return "" if row["base"] else mean_text(row["gain"], row["interval"])


# --- Tables -------------------------------------------------------------------------


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
    """Write `table.md` and `table.csv`."""
    write_atomically(folder / "table.md", markdown(title, rows, notes, layout))
    names = ("name", "mean", "std", "n", "random", "gain", "interval", *layout.fields)
    with atomic_file(folder / "table.csv") as file:
        file.write(",".join(names) + "\n")
        for row in rows:
            cells = ("" if row[n] is None else str(row[n]) for n in names)
            file.write(",".join(f'"{c}"' if "," in c else c for c in cells) + "\n")


def provenance_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What every record of results ends with: flags, versions and device."""
    return {
        "config": dict(config),
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
