"""Small runs, and programs as the user starts them."""

import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from jaxdd.artifact import file as artifact
from jaxdd.data.problem import Problem
from jaxdd.devices.timing import Stopwatch
from jaxdd.distillation import opening, options
from jaxdd.evaluation.hits import Hits
from jaxdd.evaluation.protocol import Measured
from jaxdd.scores.probes import Probes
from tests.helpers import Killed

ROOT = Path(__file__).parents[2]
# A few seconds of the main command; the network and the augmentation compile quickly.
SMALL = {
    "dataset": "digits",
    "method": "dsa",
    "ipc": 1,
    "sdc_weight": 1.0,
    "seed": 0,
    "steps": 40,
    "net": "mlp",
    "width": 8,
    "augmentation": "flip_scale",
    "batch_real": 8,
    "num_eval": 2,
    "eval_epochs": 3,
    "eval_lr": 0.3,
    "eval_augmentation": "none",
    "probes": 2,
    "probe_steps": 5,
    "log_every": 3,
    "measure_every": 10,
    "save_every": 7,
}

# The same with the method that compiles fastest, where the method does not matter.
QUICK = {"method": "dm", "sdc_weight": 0.0}


# Trajectories of an MLP, matched.
FOLLOWING = {
    "dataset": "digits",
    "method": "mtt",
    "net": "mlp",
    "width": 8,
    "augmentation": "none",
    "student_steps": 2,
    "expert_epochs": 1,
    "max_start": 2,
    "expert_lr": 0.5,
    "step_size": 0.05,
    "steps": 6,
    "num_eval": 2,
    "num_random": 5,
    "eval_epochs": 3,
    "eval_augmentation": "none",
    "probes": 2,
    "probe_steps": 5,
    "log_every": 2,
    "measure_every": 3,
    "save_every": 2,
}


# Two experts of that network, which has so many parameters.
BANK = {
    "net": "mlp",
    "width": 8,
    "num_experts": 2,
    "epochs": 3,
    "augmentation": "none",
    "learning_rate": 0.5,
}
PARAMETERS = 64 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10


def small(workdir, **changes) -> options.Config:
    return options.Config(workdir=str(workdir), **{**SMALL, **changes})


def following(workdir, **changes) -> options.Config:
    return options.Config(workdir=str(workdir), **{**FOLLOWING, **changes})


def open_config(config: options.Flags, problem: Problem | None = None):
    """The opened run of a configuration; nothing is written."""
    return opening.open_run(config.method, options.given(config), problem)


def command(module: str, **flags) -> list[str]:
    given = [f"--{k}={v}" for k, v in flags.items()]
    return [sys.executable, "-m", f"experiments.{module}", *given]


def environment() -> dict[str, str]:
    """Programs share the compiled functions of the tests."""
    return {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
        "PYTHONPATH": str(ROOT),
    }


def start(module: str, devices: int | None = None, **flags) -> subprocess.Popen:
    """A program; `devices` is how many it sees, by default as many as the tests."""
    seen = {} if devices is None else {"JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.Popen(
        command(module, **flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), **seen},
    )


class NoProbes(Probes):
    """In the place of networks whose training takes longer than the runs here."""

    def __init__(self, *args):
        pass

    def look(self, synthetic):
        return {}

    def summary(self, seen):
        return {"grad_norm": 1.0, "percentile": 50.0}


def measuring(measured: Measured):
    """In the place of a run's evaluation, which takes longer than the runs here."""
    return lambda *_: (measured, Stopwatch(), Hits())


def read_json(path):
    return json.loads(Path(path).read_text())


def metrics(folder) -> list[dict]:
    """The lines of a run, times apart."""
    lines = [json.loads(x) for x in (Path(folder) / "metrics.jsonl").open()]
    assert all(line.pop("seconds") >= 0 for line in lines)
    return lines


def last_step(folder) -> int:
    """The last step that the metrics of a running program have come to."""
    path = folder / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return max([0, *map(int, re.findall(r'^{"step": (\d+),.*}$', text, re.MULTILINE))])


def scores_file(path, ids, scores) -> str:
    np.savez(path, scores=np.asarray(scores, np.float32), ids=ids)
    return str(path)


def without_records(finished, target) -> Path:
    """A copy of a comparison's folder with its runs, but with nothing of its own."""
    shutil.copytree(finished, target)
    for file in target.iterdir():
        if file.is_file():
            file.unlink()
    return target


def records(folder) -> dict[str, str]:
    """The files of a comparison itself, wherever it is; of pictures their names."""
    return {
        file.name: "" if file.suffix in (".png", ".npz", "") else
        re.sub("data:image/png[^\"]*", "PICTURE", file.read_text())
        .replace(str(folder), "WORKDIR")
        for file in Path(folder).iterdir()
        if file.is_file()
    }  # fmt: skip


def killed_before_every_record(monkeypatch, folder, run) -> int:
    """Start a comparison over and over, each time killed one of its files later.

    Returns:
        How often it was killed before it came to its end.
    """
    rename, remaining = os.replace, 0

    def replace(source, target):
        nonlocal remaining
        if Path(target).parent == Path(folder):
            if remaining == 0:
                raise Killed
            remaining -= 1
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        for kills in itertools.count():
            remaining = kills
            try:
                run()
            except Killed:
                continue
            return kills


@contextlib.contextmanager
def busy(folder):
    """Another program has the workdir."""
    with open(Path(folder) / ".lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def assert_same_run(folder, other) -> None:
    """Two finished runs came to the same bits."""
    ours, theirs = (artifact.load(Path(f) / "distilled.npz") for f in (folder, other))
    assert ours.images.tobytes() == theirs.images.tobytes()
    assert ours.labels.tobytes() == theirs.labels.tobytes()
    assert np.isfinite(ours.images).all()
    assert metrics(folder) == metrics(other)
    assert ours.measured == theirs.measured
    ours, theirs = (read_json(Path(f) / "summary.json") for f in (folder, other))
    for name in ("distilled", "random", "difficulty", "selected_step"):
        assert ours[name] == theirs[name]


CHEAP = {**QUICK, "steps": 8, "num_eval": 2, "num_random": 5, "measure_every": 4}


def cheap(folder, **changes) -> options.Config:
    return small(folder, **{**CHEAP, **changes})
