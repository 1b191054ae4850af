"""Results of an SDC comparison: further columns, notes and plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.comparing import claims, lists, pairs
from experiments.comparing.groups import Finished, Flags, Key
from experiments.comparing.sdc_rows import Row, sweeps_of
from jaxdd import report
from jaxdd.errors import UserError
from jaxdd.scores.probes import kinds_of
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


def details(finished: Finished[Any, Key]) -> dict[Key, dict[str, Any]]:
    """{row: its flags of SDC, and how difficult its sets became}.

    `grad_norm_change` is paired by seed with the first row of the method, which is
    without SDC.
    """
    entries: dict[Key, dict[str, Any]] = {}
    for group in finished.groups:
        plain = _difficulty(finished.runs[next(iter(group.rows))], "end", "grad_norm")
        for row, flags in group.rows.items():
            summaries = finished.runs[row]
            norms = _difficulty(summaries, "end", "grad_norm")
            starts = _difficulty(summaries, "start", "percentile")
            entries[row] = {
                "method": group.method,
                "weight": flags.get("sdc_weight", 0.0),
                "norm": flags.get("sdc_norm"),
                "at": flags.get("sdc_at"),
                "schedule": flags.get("sdc_schedule"),
                "grad_norm": float(norms.mean()),
                "grad_norm_change": float((norms - plain).mean()),
                "grad_norm_interval": pairs.interval(norms - plain),
                "percentile_start": float(starts.mean()),
                "percentile": float(_difficulty(summaries, "end", "percentile").mean()),
            }
    return entries


def _difficulty(
    summaries: Sequence[pairs.Summary], when: str, measure: str
) -> np.ndarray:
    # null, which stands for a number that is not finite, becomes NaN
    return np.array([s["difficulty"][when][measure] for s in summaries], float)


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


def notes(
    config: Any,
    sweeps: Mapping[str, Flags],
    judged: Sequence[Mapping[str, Any]],
    selection: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """The claims, and what the numbers mean.

    Args:
        config: flags of `experiments.sdc`.
        sweeps: {method: flags of its run at the reference weight}.
        judged: the claims.
        selection: {method: its weight, and the accuracies by which it was chosen}.
    """
    seeds = len(lists.seeds(config.seeds))
    count = f"{seeds} seed{'s' if seeds > 1 else ''}"
    unit = "in units of the matching loss" if config.relative else "absolute"
    weights = ", ".join(f"{k} {x['sdc_weight']:g}" for k, x in sweeps.items())
    sweep = "; ".join(
        f"{method}: {flags['sdc_norm']} norm at the {flags['sdc_at']}, "
        f"{flags['sdc_schedule']} schedule"
        for method, flags in sweeps.items()
    )
    return [
        *claims.markdown(judged),
        "",
        *_selection(selection, config.validation),
        f"Means over {count} of {config.num_eval} networks each. Gains, changes and "
        "differences are paired by seed, with the 95 % interval over seeds (Student's "
        "t), each on its own: of twenty, one is expected to miss. \"Shown\" and "
        "\"contradicted\" are intervals on one side of 0. Test accuracy after the last "
        "epoch, in steps of one image: few seeds may agree by chance."
        + ("" if selection else " Nothing was selected."),
        "",
        f"Weights are {unit}. The sweep is at ({sweep}); other rows change one thing "
        f"at the reference weight of (b), (c) and (e): {weights}. (d) is about the "
        "largest weight; (e), with --longer, is about runs without SDC at a larger "
        "learning rate of the images, the cheaper way to other sets.",
        "",
        "GraDN: mean gradient norm of the set's samples; its percentile is among real "
        f"samples. The table has it at {kinds_of(config.probe_kinds)[0]} networks, and "
        "networks of another kind may disagree: random ones are fresh, real_early ones "
        "took few steps on real data, real_late ones ten times as many, synthetic ones "
        "were trained on the set. A set of a few real images lies above the 50th "
        "percentile, since the norms are skewed.",
    ]  # fmt: skip


def _selection(
    selection: Mapping[str, Mapping[str, Any]], share: float | None
) -> list[str]:
    """How the reference weights were chosen, as lines of a table."""
    if not selection:
        return []
    weights = list(next(iter(selection.values()))["by_weight"])
    lines = [
        "## Weights chosen on validation data",
        "",
        f"Accuracy on {100 * (share or 0):g} % of the training data, which these runs "
        "held out, mean over the seeds. The weight with the best one is the reference; "
        "the runs above used all training data.",
        "",
        "| | without SDC | " + " | ".join(weights[1:]) + " | chosen |",
        "|---|" + "---:|" * (len(weights) + 1),
    ]
    for method, chosen in selection.items():
        means = [np.mean(chosen["by_weight"][weight]) for weight in weights]
        cells = [f"{mean:.2f}" for mean in means] + [f"{chosen['chosen']:g}"]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return [*lines, ""]


# --- Plots --------------------------------------------------------------------------


def plot_gain(finished: Finished, table: Mapping[str, Any], path: Path) -> Path:
    """The gain in accuracy of every row over the plain one."""
    label = "points over the plain run"
    return _intervals(table["rows"], "gain", "interval", path, label, 1.0)


def plot_grad_norm(finished: Finished, table: Mapping[str, Any], path: Path) -> Path:
    """The change of the set's gradient norm of every row against the plain one."""
    rows, label = table["rows"], "GraDN against the plain run"
    usual = np.mean([row["grad_norm"] for row in rows if row["base"]])
    change, half = "grad_norm_change", "grad_norm_interval"
    return _intervals(rows, change, half, path, label, float(usual / 10))


def _intervals(
    rows: Sequence[pairs.Row], value: str, half: str, path: Path, label: str,
    linear: float,
) -> Path:  # fmt: skip
    others = [row for row in rows if not row["base"]]
    return report.intervals(
        [row["name"] for row in others],
        [row[value] for row in others],
        [row[half] or 0.0 for row in others],
        path,
        label,
        linear,
    )


def plot_difficulty(finished: Finished, table: Mapping[str, Any], path: Path) -> Path:
    """How difficult the sets were along the runs, of the methods side by side."""
    seeds, sweeps = len(finished.seeds), sweeps_of(finished.groups)
    by_norm, by_rank = MEASURES
    return report.charts(
        [
            [chart(finished, name, sweeps[name], by_norm) for name in sweeps],
            [chart(finished, "", sweep, by_rank) for sweep in sweeps.values()],
        ],
        path,
        "step",
        f"mean ± std,\n{seeds} seeds" if seeds > 1 else "one seed",
    )


def chart(
    finished: Finished, title: str, sweep: Mapping[str, Row], measure: str
) -> report.Chart:
    """Mean over seeds of a measure along the runs; the band is one standard deviation.

    Raises:
        UserError: the runs of a row were not measured at the same steps.
    """
    series, band = {}, {}
    for label, row in sweep.items():
        lines = [read_measured(x / "metrics.jsonl") for x in finished.folders_of(row)]
        steps = [[line["step"] for line in run] for run in lines]
        if any(other != steps[0] for other in steps):
            raise UserError(
                f"the runs of {shown(str(row))} in {shown(finished.folder)} were not "
                "measured at the same steps: remove the folders of those runs to make "
                "them again"
            )
        values = np.array([[x[measure] for x in run] for run in lines], float)  # [S, T]
        series[label] = steps[0], values.mean(axis=0)
        band[label] = values.std(axis=0)
    # Norms differ by factors, and a weight that is too large would hide the others.
    return report.Chart(title, MEASURES[measure], series, band, "norm" in measure)


def read_measured(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl that have measures.

    Raises:
        UserError: a line is damaged, or none has them.
    """
    remedy = f"remove {shown(path.parent)} to make that run again"
    lines = read_lines(path, _LINE, remedy)
    measured = [line for line in lines if set(MEASURES) <= set(line)]
    if not measured:
        raise UserError(f"{shown(path)} has no measured difficulty: {remedy}")
    return measured
