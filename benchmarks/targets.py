"""Every target of speed and memory, measured in one run.

    python -m benchmarks.targets --out=runs/targets

For two CPU cores that do nothing else. A row is a ratio of medians against the eager
PyTorch reference, in turn in this process, unless it says otherwise; the pieces are
those of `benchmarks.steps` and `benchmarks.primitives`. ConvNet-3 of width 128 on
32x32x3, 10 classes, 256 real images per class and step, DSA's augmentation on both
sides; `digits` is ConvNet-2 of width 32 on 8x8x1. DSA's whole step has the 50 epochs in
which the network is trained on the set before the next match; the match alone has a new
network for every match. Writes targets.json,
targets.md and targets.png.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import reference
from benchmarks.parts import output, timing
from benchmarks.parts.cases import SETTINGS, known, make_case
from benchmarks.reference import races
from experiments.console.flags import main, option
from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.storage.files import make_folder, to_json, write_atomically

STANDARD, SMALL = SETTINGS["standard"], SETTINGS["small"]
LENGTHS = (20, 80)  # student steps between which memory is compared


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.targets`."""

    out: str = option(..., "folder for the results", kind="path")
    rows: str = option("all", "rows by commas, or all")
    repeats: int = option(5, "timed runs of each side; their medians count")


class Found(NamedTuple):
    """What one measurement gives, for one or more rows."""

    values: dict[str, float]  # by row
    record: dict[str, Any]


class Run(NamedTuple):
    """What is the same for all measurements of a run."""

    repeats: int
    peak: float

    def measured(self, race: timing.Race) -> dict[str, Any]:
        return timing.measured(race, self.repeats, self.peak)


class Target(NamedTuple):
    """A row: what is asked and what finds it out."""

    text: str
    limit: float
    measure: Callable[[Run], Found]
    least: bool = False  # at least the limit, instead of at most


def training(run: Run) -> Found:
    record = run.measured(races.training(STANDARD, True))
    values = {"training": record["ratio"], "training_peak": record["peak_fraction"]}
    return Found(values, record)


def norms(run: Run) -> Found:
    record = run.measured(races.norms(STANDARD, True))
    return Found({"norms": record["ratio"], "norms_mb": record["temp_mb"]}, record)


def ratio(row: str, race: Callable[[], timing.Race]) -> Callable[[Run], Found]:
    """A measurement of one row, which is its ratio."""

    def measure(run: Run) -> Found:
        record = run.measured(race())
        return Found({row: record["ratio"]}, record)

    return measure


def step(row: str, method: str, *arguments) -> Callable[[Run], Found]:
    """The ratio of one outer step; arguments as of `make_case`."""

    def race() -> timing.Race:
        from benchmarks.reference import sides

        case = make_case(method, *arguments)
        return timing.step_race(case, sides.step(case))

    return ratio(row, race)


def memory(run: Run) -> Found:
    """XLA's temporaries beside N; nothing runs."""
    found = {}
    for length in LENGTHS:
        case = make_case("mtt", STANDARD, 1, length)
        found[length] = timing.stepper(case)[1].temp_mb
        size = sum(x.nbytes for x in jax.tree.leaves(case.params)) / timing.MEGA
    slope = float(np.diff(list(found.values()))[0] / np.diff(LENGTHS)[0])
    return Found({"memory": slope / size}, {"temp_mb": found, "parameters_mb": size})


def sdc(run: Run) -> Found:
    """Ours against ours, without training between matches, which would hide it."""
    changes = {"matches": 1}
    cases = [
        make_case(name, STANDARD, 10, changes=changes) for name in ("dsa+sdc", "dsa")
    ]
    record = run.measured(timing.step_race(cases[0], timing.stepper(cases[1])[0]))
    return Found({"sdc": record["ratio"]}, record)


ROWS: dict[str, Target] = {
    "training": Target("training step, 256 images: ratio", 0.6, training),
    "training_peak": Target(
        "training step, 256 images: share of the GEMM peak", 0.6, training, least=True
    ),
    "dsa": Target(
        "DSA, 10 per class, whole step: ratio", 0.6, step("dsa", "dsa", STANDARD, 10)
    ),
    "dsa_match": Target(
        "DSA, 10 per class, the match alone: ratio",
        0.6,
        step("dsa_match", "dsa", STANDARD, 10, 20, {"matches": 1}),
    ),
    "synthetic": Target(
        "DSA, 10 per class, synthetic part: ratio",
        0.5,
        ratio("synthetic", lambda: races.synthetic(STANDARD, True)),
    ),
    "mtt": Target(
        "MTT, N = 20, 1 per class: ratio", 0.75, step("mtt", "mtt", STANDARD, 1, 20)
    ),
    "mtt10": Target(
        "MTT, N = 20, 10 per class: ratio", 0.5, step("mtt10", "mtt", STANDARD, 10, 20)
    ),
    "mtt80": Target(
        "MTT, N = 80, 1 per class: ratio", 0.85, step("mtt80", "mtt", STANDARD, 1, 80)
    ),
    "memory": Target("memory per student step, parameter copies", 1.1, memory),
    "norms": Target("gradient norms of 256 images: ratio", 0.7, norms),
    "norms_mb": Target("gradient norms of 256 images: temporaries, MB", 50, norms),
    "experts": Target(
        "four experts: ratio",
        1.0,
        ratio("experts", lambda: races.experts(STANDARD, True)),
    ),
    "mtt_digits": Target(
        "MTT on digits, N = 20, 1 per class: ratio",
        0.2,
        step("mtt_digits", "mtt", SMALL, 1, 20),
    ),
    "dsa_digits": Target(
        "DSA on digits, 10 per class, whole step: ratio",
        0.25,
        step("dsa_digits", "dsa", SMALL, 10),
    ),
    "sdc": Target("SDC in a step of DSA, 10 per class: ratio to DSA", 1.1, sdc),
}


def run(config: Config) -> list[dict[str, Any]]:
    """Measure the rows; the content of `targets.json`.

    Raises:
        UserError: bad input, named, or no PyTorch.
    """
    if config.repeats < 1:
        raise UserError(f"--repeats must be at least 1, not {config.repeats}")
    every = tuple(ROWS)
    names = list(every) if config.rows == "all" else known(config.rows, every, "row")
    reference.wanted("torch")
    folder = make_folder(config.out)
    context = Run(config.repeats, timing.gemm_peak())
    done: dict[Callable, Found] = {}
    results = []
    for name in names:
        target = ROWS[name]
        if target.measure not in done:
            say(target.text)
            done[target.measure] = target.measure(context)
        results.append(result(name, target, done[target.measure]))
        write_atomically(folder / "targets.json", to_json(results))
    write_atomically(folder / "targets.md", markdown(results))
    bars = [r for r in results if "ratio" in r["target"]]
    if bars:
        names, values, limits = (
            [r[key] for r in bars] for key in ("row", "measured", "limit")
        )
        output.ratios(names, values, folder / "targets.png", limits)
    known_of = output.about(config, gemm_peak=context.peak)
    write_atomically(folder / "about.json", to_json(known_of))
    return results


def result(name: str, target: Target, found: Found) -> dict[str, Any]:
    value = found.values[name]
    reached = value >= target.limit if target.least else value <= target.limit
    return {
        "row": name,
        "target": target.text,
        "limit": target.limit,
        "least": target.least,
        "measured": value,
        "reached": bool(reached),
        "record": found.record,
    }


def markdown(results: list[dict[str, Any]]) -> str:
    lines = ["| target | asked | measured | reached |", "|---|---:|---:|---|"]
    for r in results:
        sign = "≥" if r["least"] else "≤"
        reached = "yes" if r["reached"] else "**no**"
        lines.append(
            f"| {r['target']} | {sign} {r['limit']:g} | {r['measured']:.3g} "
            f"| {reached} |"
        )
    return "\n".join([*lines, ""])


def show(results: list[dict[str, Any]]) -> None:
    print(markdown(results))


if __name__ == "__main__":
    timing.prepare()
    main(Config, run, show)
