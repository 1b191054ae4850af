"""Tables and plots of an SDC comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.comparing import claims, pairs
from jaxdd import report
from jaxdd.errors import UserError
from jaxdd.report.pictures import draw
from jaxdd.storage.paths import shown
from jaxdd.storage.records import integer, mapping, maybe, number, read_lines

FIELDS = (
    "method", "weight", "norm", "at", "schedule", "grad_norm", "grad_norm_change",
    "grad_norm_interval", "percentile_start", "percentile",
)  # fmt: skip
MEASURES = {
    "difficulty_grad_norm": "GraDN of the set",
    "difficulty_percentile": "percentile among real",
}
_LINE = mapping(step=integer(), optional=dict.fromkeys(MEASURES, maybe(number())))


def rows_of(
    method: str,
    runs: Mapping[str, list[dict[str, Any]]],
    cells: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """`pairs.compare`, with what was run and how difficult the sets became.

    The first of `runs` is without SDC; `grad_norm_change` is paired with it by seed.
    """
    rows = pairs.compare(runs)
    plain = _ends(runs[method], "grad_norm")
    for row, (name, summaries) in zip(rows, runs.items(), strict=True):
        flags, norms = cells[name], _ends(summaries, "grad_norm")
        starts = np.array(
            [s["difficulty"]["start"]["percentile"] for s in summaries], float
        )
        row.update(
            method=method,
            weight=flags.get("sdc_weight", 0.0),
            norm=flags.get("sdc_norm"),
            at=flags.get("sdc_at"),
            schedule=flags.get("sdc_schedule"),
            grad_norm=float(norms.mean()),
            grad_norm_change=float((norms - plain).mean()),
            grad_norm_interval=pairs.interval(norms - plain),
            percentile_start=float(np.mean(starts)),
            percentile=float(_ends(summaries, "percentile").mean()),
        )
    return rows


def _ends(summaries: Sequence[Mapping[str, Any]], what: str) -> np.ndarray:
    # null, of a number that is not finite, becomes NaN
    return np.array([s["difficulty"]["end"][what] for s in summaries], float)


def _change(row: pairs.Row) -> str:
    if row["base"]:
        return ""
    return pairs.mean_text(row["grad_norm_change"], row["grad_norm_interval"])


LAYOUT = pairs.Layout(
    "the plain run",
    {
        "GraDN": lambda row: f"{row['grad_norm']:.3g}",
        "GraDN, change": _change,
        "percentile, start → end": lambda row: (
            f"{row['percentile_start']:.0f} → {row['percentile']:.0f}"
        ),
    },
    FIELDS,
)


def text(table: Mapping[str, Any]) -> str:
    """The comparison as text: the rows, the claims, and what both mean."""
    return pairs.markdown(_title(table), table["rows"], _notes(table), LAYOUT)


def write(folder: Path, table: Mapping[str, Any]) -> None:
    """`table.md` and `table.csv`."""
    rows, notes = table["rows"], _notes(table)
    pairs.write_tables(folder, _title(table), rows, notes, LAYOUT)


def _title(table: Mapping[str, Any]) -> str:
    config = table["config"]
    return f"SDC on {shown(config['dataset'])}, {config['ipc']} per class"


def _notes(table: Mapping[str, Any]) -> list[str]:
    config, seeds = table["config"], len(table["rows"][0]["by_seed"])
    count = f"{seeds} seed{'s' if seeds > 1 else ''}"
    unit = "in units of the matching loss" if config["relative"] else "absolute"
    swept = {
        row["method"]: f"{row['method']}: {row['norm']} norm at the {row['at']}, "
        f"{row['schedule']} schedule"
        for row in table["rows"]
        if is_reference(row, config["weight"])
    }
    return [
        *claims.markdown(table["claims"]),
        "",
        f"Means over {count} of {config['num_eval']} networks each. Gains, changes and "
        "differences are paired by seed, with the 95 % interval over seeds (Student's "
        "t), each on its own: of twenty, one is expected to miss. \"Shown\" and "
        "\"contradicted\" are intervals on one side of 0. Test accuracy after the last "
        "epoch, in steps of one image: few seeds may agree by chance. Nothing was "
        "selected.",
        "",
        f"Weights are {unit}. The sweep is at ({'; '.join(swept.values())}); other "
        f"rows change one thing at weight {config['weight']:g}, the reference of (b) "
        "and (c). (d) is about the largest weight, which also lengthens the steps of "
        "the images, since their learning rate stays.",
        "",
        "GraDN: mean gradient norm of the set's samples under networks partly trained "
        "on real data; its percentile is among real samples. A set of a few real "
        "images lies above the 50th, since the norms are skewed.",
    ]  # fmt: skip


def is_reference(row: pairs.Row, weight: float) -> bool:
    """Whether a row is its method's run of the sweep with that weight."""
    return row["name"] == f"{row['method']}, weight {weight:g}"


# --- Plots --------------------------------------------------------------------------


def plot(folder: Path, table: Mapping[str, Any]) -> None:
    """`difficulty.png`, `gain.png` and `grad_norm.png`."""
    draw(_difficulty, folder, table, folder / "difficulty.png")
    rows = table["rows"]
    usual = np.mean([row["grad_norm"] for row in rows if row["base"]])
    corrected = [row for row in rows if not row["base"]]
    for name, value, half, linear, label in (
        ("gain", "gain", "interval", 1.0, "points over the run without SDC"),
        ("grad_norm", "grad_norm_change", "grad_norm_interval", usual / 10,
         "GraDN against the run without SDC"),
    ):  # fmt: skip
        draw(
            report.intervals,
            [row["name"] for row in corrected],
            [row[value] for row in corrected],
            [row[half] or 0.0 for row in corrected],
            folder / f"{name}.png",
            label,
            float(linear),
        )


def _difficulty(folder: Path, table: Mapping[str, Any], path: Path) -> Path:
    """How difficult the sets were along the runs, of the methods side by side."""
    rows = table["rows"]
    seeds = pairs.seeds_of(table["config"]["seeds"])
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = {method: _lines(folder, rows, method, seeds) for method in methods}
    by_norm, by_rank = MEASURES
    return report.charts(
        [
            [_chart(name, lines[name], by_norm) for name in methods],
            [_chart("", lines[name], by_rank) for name in methods],
        ],
        path,
        "step",
        f"mean ± std,\n{len(seeds)} seeds" if len(seeds) > 1 else "one seed",
    )


Lines = Mapping[str, list[list[dict[str, Any]]]]  # label -> per seed, measured lines


def _lines(
    folder: Path, rows: Sequence[pairs.Row], method: str, seeds: Sequence[int]
) -> Lines:
    """Of a method's sweep of weights, the lines of metrics.jsonl that have measures."""
    found = {}
    for row in rows:
        sweep = row["base"] or is_reference(row, row["weight"])
        if row["method"] != method or not sweep:
            continue
        label = "without SDC" if row["base"] else f"weight {row['weight']:g}"
        paths = [pairs.folder_of(folder, row["name"], seed) for seed in seeds]
        runs = [_measured(path / "metrics.jsonl") for path in paths]
        if any(
            [x["step"] for x in run] != [x["step"] for x in runs[0]] for run in runs
        ):
            raise UserError(
                f"the runs of {shown(row['name'])} in {shown(folder)} were not "
                "measured at the same steps: remove the folders of those runs to make "
                "them again"
            )
        found[label] = runs
    return found


def _measured(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl that have measures.

    Raises:
        UserError: a line is damaged, or none has them.
    """
    remedy = f"remove {shown(path.parent)} to make that run again"
    lines = read_lines(path, _LINE, remedy)
    measured = [x for x in lines if set(MEASURES) <= set(x)]
    if not measured:
        raise UserError(f"{shown(path)} has no measured difficulty: {remedy}")
    return measured


def _chart(title: str, lines: Lines, key: str) -> report.Chart:
    """Mean over seeds; the band is one standard deviation."""
    series, band = {}, {}
    for label, runs in lines.items():
        values = np.array([[x[key] for x in run] for run in runs], float)  # [seeds, S]
        series[label] = [x["step"] for x in runs[0]], values.mean(axis=0)
        band[label] = values.std(axis=0)
    # Norms differ by factors, and a weight that is too large would hide the others.
    return report.Chart(title, MEASURES[key], series, band, "norm" in key)
