"""Programs, killed at a random moment and started again, end with the same bits.

Forty kills, four of each of ten runs of eight programs; the demo has a test of its own,
which kills it before every record. Half by SIGKILL and half by SIGTERM. Times are drawn
by a seeded generator within the duration of an uninterrupted run, so that imports,
compilation, steps, savings and evaluations are all hit; which of them a kill hits
depends on the machine.
"""

import json
import shutil
import signal
import time

import numpy as np
import pytest

from jaxdd.storage.paths import shown
from tests.experiments.helpers import FOLLOWING, QUICK, SMALL, start

KILLS = 4  # of each run
TRIES = 4  # starts after which a program has to be finished

RUN = {**SMALL, **QUICK}
COMPARED = {
    "seeds": "0", "steps": 3, "width": 4, "eval_epochs": 3, "num_eval": 1,
}  # fmt: skip
# name -> (program, flags); FOLDER stands for a folder that `material` has filled.
PROGRAMS = {
    "distill": ("distill", SMALL),
    "distill, trajectories": ("distill", FOLLOWING),
    "distill, segments": (
        "distill",
        {**RUN, "ipc": 2, "segments": 2, "steps": 8, "judges": 1, "judge_epochs": 3},
    ),
    "experts": (
        "experts",
        {"num_experts": 3, "epochs": 4, "net": "mlp", "width": 8},
    ),
    "difficulty": ("difficulty", {"score": "el2n,forgetting", "net": "mlp",
                                  "width": 8, "networks": 2, "train_steps": 20}),
    "evaluate": ("evaluate", {"artifact": "FOLDER/distilled.npz", "num_eval": 2}),
    "sdc": (
        "sdc",
        {**COMPARED, "methods": "dm", "weights": "1", "norms": "mean"},
    ),
    "pad": ("pad", {**COMPARED, "method": "dm"} | {"width": None}),
    "d4a": (
        "d4a",
        {**COMPARED, "method": "dm", "ipc": 2, "segments": 2, "judge_epochs": 3,
         "judges": 1, "ensemble": 1, "ensemble_steps": 5},
    ),
    "matrix": (
        "matrix",
        {"methods": "dm", "modifiers": "plain,fiem", "steps": 4, "width": 4},
    ),
}  # fmt: skip

# What differs between two runs of the same bits.
PASSING = (
    "seconds", "time", "resumed_at", "workdir", "peak_mb", "experts", "command",
    "warnings", "config", "folder",
)  # fmt: skip


def flags_of(name, folder, material):
    program, flags = PROGRAMS[name]
    flags = {k: v for k, v in flags.items() if v is not None}
    flags = {
        k: v.replace("FOLDER", str(material)) if isinstance(v, str) else v
        for k, v in flags.items()
    }
    return program, {**flags, "workdir": str(folder)}


def finish(process):
    out, err = process.communicate(timeout=600)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def lasting(value):
    """A JSON value without what belongs to one start only."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not any(p in k for p in PASSING)}
        return {k: lasting(v) for k, v in kept.items()}
    return [lasting(v) for v in value] if isinstance(value, list) else value


def content(folder):
    """Everything that a program has found, by file."""
    results = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if "checkpoints" in place or path.name == "run.json" or not path.is_file():
            continue
        if path.suffix == ".npz":
            with np.load(path) as file:
                for member in file.files:
                    if member != "header" and not member.startswith("timings"):
                        results[f"{place}/{member}"] = file[member].tobytes()
        elif path.suffix == ".json" and path.name != "about.json":
            results[place] = lasting(json.loads(path.read_text()))
        elif path.suffix == ".jsonl":
            lines = path.read_text().splitlines()
            results[place] = [lasting(json.loads(x)) for x in lines]
        elif path.suffix == ".bin":
            results[place] = path.read_bytes()
    return results


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A finished run for programs that start from one."""
    folder = tmp_path_factory.mktemp("material") / "run"
    assert finish(start("distill", **RUN, workdir=str(folder)))[0] == 0
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, material):
    """Content and seconds of uninterrupted runs by name, made when asked for."""
    finished = {}

    def of(name):
        if name not in finished:
            folder = tmp_path_factory.mktemp("whole") / "run"
            began = 0.0
            for _ in range(2):  # the second one finds its programs compiled
                shutil.rmtree(folder, ignore_errors=True)
                began = time.monotonic()
                program, flags = flags_of(name, folder, material)
                code, _, err = finish(start(program, **flags))
                assert code == 0, err
            finished[name] = content(folder), time.monotonic() - began
        return finished[name]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(KILLS))
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_bits(tmp_path, whole, material, name, kill):
    expected, seconds = whole(name)
    assert expected, "the program has written nothing that can be compared"
    random = np.random.default_rng([kill, *name.encode()])
    program, flags = flags_of(name, tmp_path / "run", material)
    signum = (signal.SIGKILL, signal.SIGTERM)[kill % 2]
    moment = random.uniform(0, seconds)
    process = start(program, **flags)
    time.sleep(moment)
    process.send_signal(signum)
    code, _, err = finish(process)
    # It may have been finished, or so young that no handler was there yet.
    assert code in (0, -signum, 128 + signum), shown(err)
    for _ in range(TRIES):
        code, _, err = finish(start(program, **flags))
        if code == 0:
            break
    assert code == 0, f"after {signum.name} at {moment:.1f} s: {err}"
    assert content(tmp_path / "run") == expected
