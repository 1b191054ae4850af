"""Time and memory of one outer step of trajectory matching against student steps.

    python -m benchmarks.unroll --out=runs/unroll

The field's ConvNet (width 128, 3 blocks) on random 32x32x3 tensors, 10 classes; every
length runs in a fresh process. Memory is what XLA needs beside arguments and results,
and the process's resident set above what it had before compiling. Writes unroll.json,
unroll.md and unroll.png. Time anything only on a machine that does nothing else.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks.parts import output, timing
from benchmarks.parts.cases import SETTINGS, make_case
from experiments.comparing.lists import numbers
from experiments.console.flags import main, option
from jaxdd import report
from jaxdd.errors import UserError, quoted
from jaxdd.progress import say
from jaxdd.storage.files import make_folder, to_json, write_atomically

METHODS = ("mtt", "ftd", "tesla", "datm", "pad")


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.unroll`."""

    out: str = option(..., "folder for the results", kind="path")
    student_steps: str = option("10,20,40,80,160", "lengths N, by commas")
    ipc: int = option(1, "synthetic images per class")
    method: str = option("mtt", "mtt, ftd, tesla, datm or pad")
    sdc_weight: float = option(0.0, "weight of SDC along the path")
    width: int = option(128, "channels of the ConvNet")
    repeats: int = option(5, "timed steps; their median counts")
    one: int | None = option(None, "measure one length and print it as JSON")


def measure(config: Config, student_steps: int) -> dict[str, Any]:
    """One length, in this process."""
    setting = dataclasses.replace(SETTINGS["standard"], width=config.width)
    case = make_case(
        config.method,
        setting,
        config.ipc,
        student_steps,
        {"batch_syn": None, "sdc_weight": config.sdc_weight, "sdc_at": "path"},
    )
    size = sum(x.nbytes for x in jax.tree.leaves(case.params)) / timing.MEGA
    record: dict[str, Any] = {"student_steps": student_steps}

    def work() -> None:
        record.update(timing.of_step(case, config.repeats))

    record["resident_mb"] = timing.peak_mb(work)
    record["parameters_mb"] = size
    return record


def run(config: Config) -> dict[str, Any]:
    """All lengths, each in a fresh process; the content of `unroll.json`.

    Raises:
        UserError: bad input, named.
    """
    if config.one is not None:
        return {"records": [measure(config, config.one)]}
    if config.method not in METHODS:
        raise UserError(
            f"unknown method {quoted(config.method)}: choose from {', '.join(METHODS)}"
        )
    lengths = numbers(config.student_steps, "student_steps", int)
    if len(lengths) < 2 or min(lengths) < 1:
        raise UserError("--student_steps must name at least two positive lengths")
    folder = make_folder(config.out)
    records = []
    for length in lengths:
        say(f"{length} student steps")
        flags = {**vars(config), "one": length}
        records += timing.in_fresh_process("benchmarks.unroll", flags)["records"]
    copies = [r["temp_mb"] / r["parameters_mb"] for r in records]
    result = {
        "records": records,
        "copies_per_step": float(np.polyfit(lengths, copies, 1)[0]),
        **output.about(config),
    }
    write_atomically(folder / "unroll.json", to_json(result))
    write_atomically(folder / "unroll.md", markdown(result))
    series = {
        "XLA temporaries": (lengths, [r["temp_mb"] for r in records]),
        "resident set": (lengths, [r["resident_mb"] for r in records]),
    }
    report.curves(series, folder / "unroll.png", "student steps N", "MB")
    return result


def markdown(result: dict[str, Any]) -> str:
    lines = [
        "| student steps | s per outer step | XLA temporaries MB | resident MB "
        "| compile s |",
        "|---:|---:|---:|---:|---:|",
    ]
    for r in result["records"]:
        lines.append(
            f"| {r['student_steps']} | {r['seconds']:.3g} | {r['temp_mb']:.0f} | "
            f"{r['resident_mb']:.0f} | {r['compile_seconds']:.1f} |"
        )
    if "copies_per_step" in result:
        lines += ["", f"{result['copies_per_step']:.2f} parameter copies per step"]
    return "\n".join([*lines, ""])


def show(result: dict[str, Any]) -> None:
    alone = "copies_per_step" not in result  # a child: its parent reads JSON
    print(json.dumps(result) if alone else markdown(result))


if __name__ == "__main__":
    timing.prepare()
    main(Config, run, show)
