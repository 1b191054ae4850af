"""A whole program: `experiments.distill` on MNIST, fifty steps, in a fresh process."""

import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.accelerated.budget import Records
from jaxdd.distillation.finished import SUMMARY
from jaxdd.storage.records import read_json

STEPS = 50
METHODS = ("dsa", "dm")


def distilled(
    method: str, data_dir: str, folder: Path, tiny: bool, limit: float
) -> dict[str, Any]:
    """What a run of the program says, and what it took.

    Raises:
        RuntimeError: the program failed.
    """
    steps = 2 if tiny else STEPS
    workdir = folder / f"mnist-{method}"
    if workdir.exists():  # of an earlier run: a finished one would not be measured
        shutil.rmtree(workdir)
    flags = {
        "dataset": "mnist",
        "data_dir": data_dir,
        "method": method,
        "ipc": 1,
        "steps": steps,
        "workdir": workdir,
        **(
            {"width": 4, "num_eval": 1, "num_random": 5, "eval_epochs": 1}
            if tiny
            else {}
        ),
    }
    command = [sys.executable, "-m", "experiments.distill"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    began = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=limit
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])}: {done.stderr[-200:]}")
    took = time.monotonic() - began
    summary = read_json(workdir / "summary.json", SUMMARY, "measure it again")
    return {"steps": steps, "wall_seconds": took, "summary": summary}


def run(records: Records, data_dir: str, folder: Path, tiny: bool) -> None:
    for method in METHODS:
        limit = max(1.0, records.budget.left())
        records.measure(
            {"method": method},
            "whole",
            partial(distilled, method, data_dir, folder, tiny, limit),
        )
