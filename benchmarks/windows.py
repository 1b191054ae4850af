"""Time and memory of one outer step of RaT-BPTT against window and horizon.

    python -m benchmarks.windows --out=runs/windows

The field's ConvNet (width 128, 3 blocks) on random 32x32x3 tensors, 10 classes. The
window of W steps lies at the end of a training of T steps, so that every step costs the
most; each pair runs in a fresh process. Memory is what XLA needs beside arguments and
results, and the process's resident set above what it had before compiling. Writes
windows.json and windows.md. Time anything only on a machine that does nothing else.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks.parts import output, timing
from benchmarks.parts.cases import SETTINGS, known, make_case
from experiments.comparing.lists import numbers
from experiments.console.flags import main, option
from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.storage.files import make_folder, to_json, write_atomically


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.windows`."""

    out: str = option(..., "folder for the results", kind="path")
    student_steps: str = option("15,30,60", "lengths W of the window, by commas")
    horizon: str = option("100,200", "lengths T of the training, by commas")
    ipc: int = option(10, "synthetic images per class")
    setting: str = option("standard", "what is distilled, standard or small")
    optimizer: str = option("adam", "optimiser of the student, adam or sgd")
    batch_mixed: int = option(1000, "real samples of a step")
    width: int = option(128, "channels of the ConvNet")
    repeats: int = option(3, "timed steps; their median counts")
    one: str | None = option(None, "measure one pair W:T and print it as JSON")


def measure(config: Config, pair: str) -> dict[str, Any]:
    """One pair of window and horizon, in this process."""
    steps, horizon = (int(x) for x in pair.split(":"))
    setting = dataclasses.replace(SETTINGS[config.setting], width=config.width)
    changes = {
        "student_steps": steps, "horizon": horizon, "policy": "fixed",
        "student_optimizer": config.optimizer, "batch_mixed": config.batch_mixed,
    }  # fmt: skip
    case = make_case("rat_bptt", setting, config.ipc, changes=changes)
    size = sum(x.nbytes for x in jax.tree.leaves(case.params)) / timing.MEGA
    record: dict[str, Any] = {"student_steps": steps, "horizon": horizon}

    def work() -> None:
        record.update(timing.of_step(case, config.repeats))

    record["peak_mb"] = timing.peak_mb(work)
    record["parameters_mb"] = size
    return record


def run(config: Config) -> dict[str, Any]:
    """All pairs, each in a fresh process; the content of `windows.json`.

    Raises:
        UserError: bad input, named.
    """
    known(config.setting, tuple(SETTINGS), "setting")
    if config.one is not None:
        return {"records": [measure(config, config.one)]}
    windows = numbers(config.student_steps, "student_steps", int)
    horizons = numbers(config.horizon, "horizon", int)
    if min(windows) < 1 or max(windows) > min(horizons):
        raise UserError(
            "--student_steps must be positive, and none above the smallest --horizon"
        )
    folder = make_folder(config.out)
    records = []
    for horizon in horizons:
        for steps in windows:
            say(f"a window of {steps} in {horizon} steps")
            flags = {**vars(config), "one": f"{steps}:{horizon}"}
            records += timing.in_fresh_process("benchmarks.windows", flags)["records"]
    result = {
        "records": records,
        "copies_per_step": copies_per_step(records),
        **output.about(config),
    }
    write_atomically(folder / "windows.json", to_json(result))
    write_atomically(folder / "windows.md", markdown(result))
    return result


def copies_per_step(records: list[dict[str, Any]]) -> float | None:
    """Parameter copies by which memory grows per step of the window, if it can."""
    windows = [r["student_steps"] for r in records]
    if len(set(windows)) < 2:
        return None
    copies = [r["temp_mb"] / r["parameters_mb"] for r in records]
    return float(np.polyfit(windows, copies, 1)[0])


def markdown(result: dict[str, Any]) -> str:
    """The table of the records."""
    text = output.table(result["records"], ("student_steps", "horizon"))
    copies = result.get("copies_per_step")
    if copies is None:
        return text
    return f"{text}\n{copies:.2f} parameter copies per step of the window\n"


def show(result: dict[str, Any]) -> None:
    print(output.printed(result, markdown))


if __name__ == "__main__":
    timing.prepare()
    main(Config, run, show)
