"""A finished run as plain values, and what its reports say of them in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from jaxdd.data.columns import Column
from jaxdd.report import drawings

Line = Mapping[str, Any]  # a line of `metrics.jsonl`

KINDS = {
    "random": "fresh networks",
    "real_early": "networks partly trained on real data",
    "real_late": "networks trained further on real data",
    "synthetic": "networks trained on the set",
}


class Chart(NamedTuple):
    """A chart of the course of a run: which numbers of a line, and their meaning."""

    keys: Mapping[str, str]  # beginning of a number's name -> its name in the legend
    ylabel: str
    caption: str
    log: bool = False


COURSE = (
    Chart(
        {"match": "matching loss", "sdc": "difficulty correction, weighted"},
        "loss", "The matching loss, and the weighted terms beside it.", True,
    ),
    Chart(
        {"difficulty_percentile": "percentile"},
        "percentile of GraDN",
        "Difficulty of the set: its place among real samples, 0 the easiest.",
    ),
    Chart(
        {"difficulty_grad_norm": "GraDN"},
        "GraDN", "Difficulty of the set: the mean norm of a sample's gradient.", True,
    ),
    Chart(
        {"step_size": "step size"}, "step size",
        "The learning rate of the student, which is learned with the images.",
    ),
    Chart(
        {"sdc_share": "share of SDC"}, "share of SDC",
        "Share of the difficulty correction in the gradient of the images.", True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class DifficultyPart:
    """GraDN of samples at the end of a run.

    Attributes:
        kinds: P kinds of networks.
        of_set, of_real: [P, N] of the set's images, [P, R] of random real samples.
        extremes: [S, h, w, 1 or 3] uint8, real images that are easiest and hardest; or
            [S, L, C] or [S, F] in the units of the data.
        classes: [S] of these.
        hard: [S] bool.
        deciles: mean accuracy in percent of networks on the set, in ten equal parts of
            the test samples from easy to hard; empty where it is not known.
    """

    kinds: Sequence[str]
    of_set: np.ndarray
    of_real: np.ndarray
    extremes: np.ndarray
    classes: np.ndarray
    hard: np.ndarray
    deciles: Sequence[float] = ()


@dataclass(frozen=True)
class Run:
    """A finished run as plain values.

    Attributes:
        title: such as "DSA on digits, 1 image per class".
        command: that made it, or None where it is not known.
        workdir: its folder, as text.
        images: [K, n, H, W, C] in [0, 1]; [K, n, L, C] or [K, n, F] in the units of the
            data.
        summary: content of `summary.json`.
        metrics: lines of `metrics.jsonl`.
        difficulty: None where the run kept none.
        remarks: sentences about what the report lacks.
        columns: of the table that vectors come from.
    """

    title: str
    command: str | None
    workdir: str
    images: np.ndarray
    summary: Mapping[str, Any]
    metrics: Sequence[Line]
    difficulty: DifficultyPart | None = None
    remarks: Sequence[str] = field(default=())
    columns: Sequence[Column] = field(default=())

    @property
    def class_names(self) -> list[str]:
        """K names; numbers where an earlier version kept none."""
        names = self.summary.get("classes", {}).get("names")
        return list(names or map(str, range(len(self.images))))


# --- Its numbers ----------------------------------------------------------------------


def first_kind(run: Run) -> str:
    """The kind of networks that is meant where none is named."""
    if run.difficulty is not None:
        return run.difficulty.kinds[0]
    return str(run.summary["config"].get("probe_kinds", "")).split(",")[0]


def name_at(run: Run, name: str, kind: str) -> str:
    """What a run calls a number that was measured at networks of a kind."""
    return name if kind == first_kind(run) else f"{name}_{kind}"


def numbers_of(metrics: Sequence[Line]) -> list[str]:
    """Names of the numbers in the lines, in their order."""
    return list(dict.fromkeys(name for line in metrics for name in line))


def curve(metrics: Sequence[Line], name: str) -> drawings.Curve:
    """Steps and values of the lines that have a number; null is not a number."""
    lines = [x for x in metrics if name in x]
    return [x["step"] for x in lines], percents([x[name] for x in lines])


def percents(values: Sequence[float | None]) -> list[float]:
    """Values with NaN for those that are not known."""
    return [math.nan if x is None else float(x) for x in values]


def accuracy_text(entry: Mapping[str, Any] | None) -> str:
    """Mean and standard deviation, such as "51.23 ± 0.50"."""
    if entry is None or entry["mean"] is None:
        return "–"
    return f"{entry['mean']:.2f} ± {entry['std']:.2f}"


def networks(count: int) -> str:
    """A number of networks."""
    return f"{count} network" + "s" * (count != 1)


def number(value: float | None, unit: str = "") -> str:
    """Four digits of a number."""
    return "–" if value is None else f"{value:.4g}{unit}"


def flattened(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Names and texts of values, those of inner mappings by "outer.inner".

    Example:
        >>> flattened({"ipc": 1, "network": {"name": "mlp"}})
        {'ipc': '1', 'network.name': 'mlp'}
    """
    texts: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            texts |= flattened(value, f"{before}{name}.")
        else:
            texts[f"{before}{name}"] = "none" if value is None else str(value)
    return texts
