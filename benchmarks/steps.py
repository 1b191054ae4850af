"""Cost of one outer step of every method, beside the original kind of loop.

    python -m benchmarks.steps --methods=all --reference=torch --out=runs/steps

A step is `jax.jit(method.step)`, compiled ahead, state donated: real samples are drawn,
the images updated, and the network is trained that the next match needs (DC, DSA, DCC,
DSAC on the synthetic set, IDC on real data; the references train for as many
minibatches). Where a network is matched once (DM; DSA at one image per class) a new one
is drawn instead. Tensors are random: see `parts.cases`.

With `--reference=torch` dsa, dm, idc, mtt and tesla have an eager PyTorch loop beside
them (`benchmarks.reference`), compared with ours in float64 first and then timed in
turn with it. Writes steps.json, a list of records, about.json, steps.md, steps.png and
ratios.png. Time anything only on a machine that does nothing else.
"""

import json
from dataclasses import dataclass
from typing import Any

from benchmarks import reference
from benchmarks.parts import output, timing
from benchmarks.parts.cases import Setting, make_case, methods_named, settings_named
from benchmarks.reference import equality
from experiments.comparing.lists import numbers
from experiments.console.flags import main, option
from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.storage.files import make_folder

KEYS = ("method", "setting", "ipc")


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.steps`."""

    out: str = option(..., "folder for the results", kind="path")
    methods: str = option("all", "names by commas, such as dsa,mtt,dsa+sdc, or all")
    settings: str = option("standard,small", "standard, small")
    ipc: str = option("1", "synthetic images per class, by commas")
    reference: str = option("none", "torch or none")
    student_steps: int = option(20, "N, where trajectories are matched")
    width: int | None = option(None, "channels of the ConvNet, for a quick look")
    repeats: int = option(5, "timed steps; their median counts")
    memory: bool = option(True, "measure memory, in a fresh process per row")
    one: bool = option(False, "print the memory of one method as JSON")


@dataclass(frozen=True)
class Row:
    """One record to be."""

    method: str
    setting: Setting
    ipc: int


def rows_of(config: Config) -> list[Row]:
    """All rows, after everything was checked.

    Raises:
        UserError: bad flags.
    """
    if config.repeats < 1 or config.student_steps < 1:
        raise UserError("--repeats and --student_steps must be at least 1")
    sizes = numbers(config.ipc, "ipc", int)
    if min(sizes) < 1:
        raise UserError(f"--ipc must be at least 1, not {min(sizes)}")
    methods = methods_named(config.methods)
    settings = settings_named(config.settings, config.width)
    return [Row(m, s, n) for s in settings for n in sizes for m in methods]


def measure(config: Config, row: Row, peak: float, races: bool) -> dict[str, Any]:
    """The record of one method at one setting."""
    memory = fresh_memory(config, row) if config.memory else None
    case = make_case(row.method, row.setting, row.ipc, config.student_steps)
    theirs = None
    if races:
        from benchmarks.reference import sides

        theirs = sides.step(case)
    times = timing.measured(timing.step_race(case, theirs), config.repeats, peak)
    trajectory = case.recipe.needs_experts
    return {
        "method": row.method,
        "setting": row.setting.name,
        "ipc": row.ipc,
        "width": row.setting.width,
        "student_steps": config.student_steps if trajectory else None,
        "peak_mb": memory,
        **times,
    }


def fresh_memory(config: Config, row: Row) -> float:
    """MB that one step adds to a process that did nothing before."""
    flags = {
        "one": True,
        "out": config.out,
        "methods": row.method,
        "settings": row.setting.name,
        "ipc": row.ipc,
        "student_steps": config.student_steps,
        "width": row.setting.width,
    }
    return timing.in_fresh_process("benchmarks.steps", flags)["peak_mb"]


def memory_of(config: Config, row: Row) -> dict[str, Any]:
    """In this process."""
    case = make_case(row.method, row.setting, row.ipc, config.student_steps)

    def work() -> None:
        step, _ = timing.stepper(case)
        step()
        step()

    return {"peak_mb": timing.peak_mb(work)}


def run(config: Config) -> Any:
    """Measure everything; the records of `steps.json`.

    Raises:
        UserError: bad input, named.
    """
    rows = rows_of(config)
    if config.one:
        return memory_of(config, rows[0])
    races = reference.wanted(config.reference)
    folder = make_folder(config.out)
    differences = {}
    if races:
        methods = list(dict.fromkeys(row.method for row in rows))
        say("comparing ours and the reference in float64")
        differences = equality.check([m for m in methods if m in reference.METHODS])
    peak = timing.gemm_peak()
    records = []
    for i, row in enumerate(rows, 1):
        say(f"[{i}/{len(rows)}] {row.method}, {row.setting.name}, ipc {row.ipc}")
        records.append(measure(config, row, peak, races))
        output.write_records(folder, "steps", records)
    known = output.about(config, gemm_peak=peak, float64_differences=differences)
    output.write_results(folder, "steps", records, KEYS, known)
    output.seconds(records, KEYS, folder / "steps.png")
    output.draw_ratios(records, KEYS, folder / "ratios.png")
    return records


def show(times: Any) -> None:
    alone = isinstance(times, dict)  # a child: its parent reads JSON
    print(json.dumps(times) if alone else output.table(times, KEYS))


if __name__ == "__main__":
    timing.prepare()
    main(Config, run, show)
