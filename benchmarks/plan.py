"""What `--plan` says beside what runs then need.

    python -m benchmarks.plan --out=runs/plan

Small runs on the bundled digits: DSA, MTT with experts of its own, a bank of experts
and an evaluation. The plan and the run of each are in fresh processes, each with an
empty cache of compiled programs. Writes plan.json and plan.md. Time anything only on a
machine that does nothing else.
"""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.parts import output, timing
from experiments.comparing.lists import numbers
from experiments.console.flags import main, option
from experiments.planning import plans as planning
from experiments.planning.estimate import Plan, total
from experiments.planning.files import bytes_below
from experiments.planning.room import peak_resident
from jaxdd.devices.timing import Stopwatch
from jaxdd.distillation import experts, options
from jaxdd.distillation.opening import open_run
from jaxdd.distillation.run import run_in
from jaxdd.errors import UserError, quoted
from jaxdd.evaluation import run as evaluate
from jaxdd.progress import say
from jaxdd.running.loop import Program
from jaxdd.storage.files import make_folder, to_json, write_atomically


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.plan`."""

    out: str = option(..., "folder for the results", kind="path")
    cases: str = option("dsa,mtt,experts,evaluate", "which, by commas")
    seeds: str = option("0", "every case with each of these, by commas")
    one: str | None = option(None, "CASE:SEED:plan or :run, printed as JSON")


class Case(NamedTuple):
    """A run with its plan.

    Attributes:
        run: (flags) -> the compiled loop of the run, where it keeps one.
        config: (folder of all results, seed) -> flags.
        plan: (flags) -> the plan.
    """

    run: Callable[[Any], Program | None]
    config: Callable[[Path, int], Any]
    plan: Callable[[Any], Plan]


def _distil(config: options.Flags) -> Program | None:
    opened = open_run(config.method, options.given(config))
    return run_in(config.workdir, opened).program


def _train_experts(config: experts.Config) -> None:
    experts.run(config)


def _evaluate(config: evaluate.Config) -> None:
    evaluate.run(config)


def _distilled(method: str) -> Callable[[Path, int], Any]:
    return lambda out, seed: options.Config(
        workdir=str(out / f"{method}-{seed}"), method=method, seed=seed
    )


CASES: dict[str, Case] = {
    "dsa": Case(_distil, _distilled("dsa"), planning.distillation),
    "mtt": Case(_distil, _distilled("mtt"), planning.distillation),
    "experts": Case(
        _train_experts,
        lambda out, seed: experts.Config(
            workdir=str(out / f"experts-{seed}"), num_experts=4, seed=seed
        ),
        planning.experts,
    ),
    # Of what the first case leaves.
    "evaluate": Case(
        _evaluate,
        lambda out, seed: evaluate.Config(
            artifact=str(out / f"dsa-{seed}" / "distilled.npz"),
            nets="convnet,mlp",
            workdir=str(out / f"evaluate-{seed}"),
        ),
        planning.evaluation,
    ),
}


def planned(case: Case, config: Any) -> dict[str, float]:
    """What the plan says, in this process."""
    plan = case.plan(config)
    return {
        "seconds": plan.total_seconds,
        "compile_seconds": plan.seconds["compilation"],
        "host_bytes": total(plan.host),
        "device_bytes": total(plan.device),
        "disk_bytes": total(plan.disk),
    }


def measured(case: Case, config: Any) -> dict[str, float]:
    """What the run needs, in this process."""
    with Stopwatch() as watch:
        program = case.run(config)
    return {
        "seconds": watch.total_seconds,
        "compile_seconds": watch.compile_seconds,
        "host_bytes": peak_resident(),
        **({} if program is None else {"device_bytes": program.bytes() or 0}),
        "disk_bytes": bytes_below(Path(config.workdir)),
    }


def run(config: Config) -> dict[str, Any]:
    """All cases, plan and run in fresh processes; the content of `plan.json`."""
    folder = Path(config.out)
    if config.one is not None:
        name, seed, what = config.one.split(":")
        case = CASES[name]
        asked = case.config(folder, int(seed))
        return (planned if what == "plan" else measured)(case, asked)
    names = config.cases.split(",")
    for name in names:
        if name not in CASES:
            raise UserError(
                f"unknown case {quoted(name)}: choose from {', '.join(CASES)}"
            )
    folder = make_folder(config.out)
    records = []
    for seed in numbers(config.seeds, "seeds", int):
        for name in names:
            record = {"case": name, "seed": seed}
            for what in ("plan", "run"):
                say(f"{name}, seed {seed}: {what}")
                record[what] = _fresh(config, f"{name}:{seed}:{what}")
            records.append(record)
    result = output.about(config, records=records)
    write_atomically(folder / "plan.json", to_json(result))
    write_atomically(folder / "plan.md", markdown(result))
    return result


def _fresh(config: Config, one: str) -> dict[str, float]:
    """A plan or a run in a process with an empty cache of its own."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "JAXDD_CACHE": cache}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        flags = {"out": config.out, "one": one}
        return timing.in_fresh_process("benchmarks.plan", flags, environment)


QUANTITIES = {  # heading -> (key, unit)
    "s": ("seconds", 1.0),
    "compiling s": ("compile_seconds", 1.0),
    "resident MB": ("host_bytes", 1e6),
    "loop's XLA memory MB": ("device_bytes", 1e6),
    "disk MB": ("disk_bytes", 1e6),
}


def markdown(result: dict[str, Any]) -> str:
    """Planned, measured and their ratio, quantity by quantity."""
    lines = [
        "| case | seed | quantity | planned | measured | planned / measured |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for record in result["records"]:
        plan, truth = record["plan"], record["run"]
        for heading, (key, unit) in QUANTITIES.items():
            if key not in truth:
                continue
            lines.append(
                f"| {record['case']} | {record['seed']} | {heading} | "
                f"{plan[key] / unit:.3g} | {truth[key] / unit:.3g} | "
                f"{plan[key] / truth[key]:.2f} |"
            )
    return "\n".join([*lines, "", f"On {result['device']}.", ""])


def show(result: dict[str, Any]) -> None:
    alone = "records" not in result  # a child: its parent reads JSON
    print(json.dumps(result) if alone else markdown(result))


if __name__ == "__main__":
    main(Config, run, show)
