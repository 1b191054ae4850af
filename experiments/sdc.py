"""What SDC brings: every method with and without it, in paired seeds.

    python -m experiments.sdc --dataset=digits --methods=dsa,mtt --seeds=0,1,2 \\
        --workdir=runs/sdc

Sweeps the weight (without SDC and a negative one included) with one norm and schedule,
then the other norms and schedules at the reference weight; trajectory methods share one
bank of experts. Judges the claims (a) to (d) of `experiments/claims.py`. Writes
table.md, table.csv, table.json, difficulty.png (the set's gradient norm along the
distillation), gain.png and grad_norm.png (both against the run without SDC); a stopped
comparison goes on where it was.

A weight means something only beside the scale of the matching loss, and that differs
by orders of magnitude: on digits about 120 for DSA, which sums distances over classes
and layers, and 0.2 for MTT. So weights are by default relative: 1 lets the term weigh
as much as the match. --norelative takes them as they are.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from experiments.comparing import claims, pairs, sdc_results, shared_banks
from experiments.console.flags import main, option
from jaxdd import fields
from jaxdd.data import check_ipc
from jaxdd.data.problem import DataFlags
from jaxdd.distillation import options, resolution
from jaxdd.errors import UserError, quoted
from jaxdd.evaluation.protocol import MIN_RANDOM
from jaxdd.methods import presets
from jaxdd.modifiers import sdc as terms
from jaxdd.modifiers.terms import SCHEDULES
from jaxdd.progress import say
from jaxdd.storage.files import to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import shown
from jaxdd.storage.workdir import Record

# What --norms lists: the norm, and along the path of a student where there is one.
NORMS = {
    **{norm: {"sdc_norm": norm, "sdc_at": "start"} for norm in terms.NORMS},
    "path": {"sdc_norm": "mean", "sdc_at": "path"},
}
FAMILIES = {
    "gradient": "gradient",
    "contrastive": "gradient",
    "distribution": "distribution",
    "trajectory": "trajectory",
}
OF_EXPERTS = ("num_experts", "bank_epochs", "max_start", "student_steps")
CURVE_POINTS = 20  # measurements of difficulty along a run


@dataclass(frozen=True)
class Config(DataFlags):
    """Flags of `experiments.sdc`."""

    workdir: str = option(..., "folder for all runs, tables and plots", kind="path")
    methods: str = option("dsa,mtt", "methods without SDC of their own, by commas")
    ipc: int = option(1, "synthetic images per class")
    seeds: str = option("0,1,2", "seeds of the comparison, by commas")
    weights: str = option("-1,1,10", "weights beside 0, by commas")
    weight: float = option(1.0, "the reference: of other norms, schedules, claims b, c")
    relative: bool = option(True, "weights in units of the matching loss")
    norms: str = option(
        "mean,per_sample,path", "by commas, the sweep's first; path: a student's mean"
    )
    schedules: str | None = option(
        None, "by commas, the sweep's first; default: all, linear first for "
        "trajectories and constant first elsewhere",
    )  # fmt: skip
    width: int | None = option(None, "channels of the ConvNet")
    steps: int | None = option(None, "updates of the images")
    num_experts: int | None = option(None, "experts of each bank")
    bank_epochs: int | None = option(None, "epochs of each bank")
    max_start: int | None = option(None, "bound of the start epochs, exclusive")
    student_steps: int | None = option(None, "N, steps of a student")
    eval_epochs: int | None = option(None, "epochs of the evaluation")
    num_eval: int = option(5, "fresh networks per run")


def run(config: Config) -> dict[str, Any]:
    """Compare; the content of `table.json`.

    Raises:
        UserError: bad input, named.
        signals.Interrupted: a signal stopped it; what is done is kept.
    """
    fields.check(config)
    seeds = pairs.seeds_of(config.seeds)
    found = _presets(config)
    bases = {method: _base(config, method, found[method]) for method in found}
    cells = {method: _cells(config, method, found[method]) for method in found}
    # All of it now: what comes first may take hours.
    for method, base in bases.items():
        pairs.check_cells(cells[method], seeds, base)
        if found[method].experts is not None:
            shared_banks.check(base, config.num_experts, config.bank_epochs)
    problems = resolution.open_each(bases)
    for problem in problems.values():
        labels, classes = problem.splits.train.labels, problem.dataset.num_classes
        check_ipc(labels, classes, config.ipc)
    with owned(config.workdir) as folder:
        # A rising weight depends on the steps: more of them are another comparison.
        fingerprint = next(iter(problems.values())).dataset.fingerprint
        record = {**dataclasses.asdict(config), "horizon": config.steps}
        record["fingerprint"] = fingerprint
        Record(folder, record, "sdc")
        count, epochs = config.num_experts, config.bank_epochs
        banks = shared_banks.serve(bases, folder, problems, count, epochs)
        rows, judged = [], []
        for method, base in bases.items():
            say(f"{method}: {len(cells[method])} rows, {len(seeds)} seeds")
            served = dataclasses.replace(base, experts=banks.get(method))
            runs = pairs.run_cells(
                cells[method], seeds, served, folder, problems[method]
            )
            rows += sdc_results.rows_of(method, runs, cells[method])
            judged += _claims(config, method, found[method], runs)
        table = pairs.table_of(config, rows, claims=judged)
        sdc_results.write(folder, table)
        write_atomically(folder / "table.json", to_json(table))
        sdc_results.plot(folder, table)
        place = shown(folder)
        say(f"{place}/table.md, table.csv, table.json, difficulty.png, and more")
        return table


# --- What is compared ---------------------------------------------------------------


def _presets(config: Config) -> dict[str, presets.Preset]:
    """{method: preset}; refuses methods that cannot be compared, and idle flags."""
    found = {}
    for method in _listed(config.methods, "methods"):
        preset = presets.preset(method, config.dataset, config.ipc)
        if preset.settings.objective not in FAMILIES:
            raise UserError(f"the method {quoted(method)} has no SDC: leave it out")
        if preset.settings.sdc_weight:
            raise UserError(
                f"the method {quoted(method)} has SDC of its own: choose one without"
            )
        if preset.settings.segments > 1:
            raise UserError(
                f"the method {quoted(method)} distils in segments, each with a start "
                "of its own: choose a method in one piece"
            )
        found[method] = preset
    if all(preset.experts is None for preset in found.values()):
        for name in OF_EXPERTS:
            if getattr(config, name) is not None:
                raise UserError(
                    f"--{name} is about experts, which none of --methods="
                    f"{config.methods} has: leave it out"
                )
    return found


def _listed(text: str, flag: str, known: tuple[str, ...] = ()) -> list[str]:
    """Distinct names, joined by commas."""
    names = text.split(",")
    for name in names:
        if known and name not in known:
            raise UserError(
                f"unknown {quoted(name)} in --{flag}: choose from {', '.join(known)}"
            )
        if names.count(name) > 1:
            raise UserError(f"--{flag} names {quoted(name)} twice")
    return names


def _weights(config: Config) -> list[float]:
    """The weights of the sweep, the reference among them; 0 is the plain run."""
    weights = pairs.numbers(config.weights, "weights", float)
    for weight in (*weights, config.weight):
        if not math.isfinite(weight):
            raise UserError(f"the weights must be finite numbers, not {weight}")
    if len({f"{weight:g}" for weight in weights}) < len(weights):
        raise UserError(f"--weights names a weight twice: {quoted(config.weights)}")
    if config.weight <= 0:
        raise UserError(f"--weight must be positive, not {config.weight:g}")
    return sorted({*weights, config.weight} - {0.0})


def _base(config: Config, method: str, preset: presets.Preset) -> options.Config:
    """What all rows of a method share."""
    steps = config.steps or preset.steps
    trajectories = preset.settings.objective == "trajectory"
    of_students = {} if trajectories else {"max_start": None, "student_steps": None}
    return pairs.base_of(
        config,
        method=method,
        num_random=MIN_RANDOM,
        measure_every=max(1, steps // CURVE_POINTS),
        **of_students,
    )


def _cells(
    config: Config, method: str, preset: presets.Preset
) -> dict[str, dict[str, Any]]:
    """{row: flags}: without SDC, the weights, then other norms and schedules."""
    trajectories = preset.settings.objective == "trajectory"
    norms = _listed(config.norms, "norms", tuple(NORMS))
    if not trajectories:
        norms = [norm for norm in norms if norm != "path"]
    if not norms:
        raise UserError(
            f"--norms=path needs trajectories, which --methods={method} has not: add "
            "mean"
        )
    usual = ("linear", "constant", "log") if trajectories else SCHEDULES
    asked = ",".join(usual) if config.schedules is None else config.schedules
    schedules = _listed(asked, "schedules", SCHEDULES)
    main = {
        "sdc_weight": config.weight,
        **NORMS[norms[0]],
        "sdc_schedule": schedules[0],
        "sdc_relative": config.relative,
    }
    if config.steps is not None:
        main["sdc_horizon"] = config.steps
    cells: dict[str, dict[str, Any]] = {method: {}}
    for weight in _weights(config):
        cells[f"{method}, weight {weight:g}"] = {**main, "sdc_weight": weight}
    for norm in norms[1:]:
        cells[f"{method}, norm {norm}"] = {**main, **NORMS[norm]}
    for schedule in schedules[1:]:
        cells[f"{method}, {schedule}"] = {**main, "sdc_schedule": schedule}
    return cells


def _claims(
    config: Config,
    method: str,
    preset: presets.Preset,
    runs: dict[str, list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """The claims about one method, judged by its finished runs."""
    largest = max(_weights(config))
    return claims.of_method(
        method,
        FAMILIES[preset.settings.objective],
        runs[method],
        runs[f"{method}, weight {config.weight:g}"],
        runs[f"{method}, weight {largest:g}"] if largest > config.weight else None,
    )


def show(table: dict[str, Any]) -> None:
    print(sdc_results.text(table))


if __name__ == "__main__":
    main(Config, run, show)
