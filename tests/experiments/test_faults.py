"""Bad input: one clear sentence, a code that is not zero, nothing left behind."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jaxdd.nets import NETS
from jaxdd.scores.table import SCORES
from tests.data.conftest import samples, write_tfds
from tests.experiments.helpers import ROOT, SMALL, environment, start

QUICK = {**SMALL, "steps": 2}

# name: (module, flags, what the sentence has to contain). {here} is a folder with:
# `file`, a regular file; `data`, with a whole and a cut TFDS dataset; `out`, absent.
CASES = {
    "dataset": ("distill", {"dataset": "nope"}, ["'nope'", "'digits'"]),
    "not prepared": (
        "distill",
        {"dataset": "mnist", "data_dir": "{here}/data"},
        ["'mnist'", "not prepared", "{here}/data", "download_and_prepare"],
    ),
    "truncated shard": (
        "distill",
        {"dataset": "cut", "data_dir": "{here}/data"},
        ["{here}/data/cut/1.0.0/cut-train.array_record-00000-of-00001"],
    ),
    "folder": ("distill", {"dataset": "folder:{here}/no"}, ["{here}/no"]),
    "archive": ("distill", {"dataset": "npz:{here}/no.npz"}, ["{here}/no.npz"]),
    "no archive": (
        "difficulty",
        {"dataset": "npz:{here}/file", "workdir": "{here}/out"},
        ["{here}/file"],
    ),
    "image size": ("distill", {"image_size": "8x"}, ["--image_size", "'8x'"]),
    "image size 0": ("distill", {"image_size": "0"}, ["0"]),
    "channels": ("distill", {"channels": 2}, ["1 or 3 channels", "2"]),
    "ipc 0": ("distill", {"ipc": 0}, ["--ipc", "0"]),
    "ipc too large": ("distill", {"ipc": 1000}, ["1000", "125", "class 8"]),
    "method": ("distill", {"method": "dd"}, ["'dd'", "dsa"]),
    "weight nan": ("distill", {"sdc_weight": "nan"}, ["--sdc_weight", "nan"]),
    "rate inf": ("distill", {"image_lr": "inf"}, ["--image_lr", "inf"]),
    "workdir below a file": (
        "distill",
        {"workdir": "{here}/file/run"},
        ["{here}/file/run", "Not a directory"],
    ),
    "workdir is a file": ("distill", {"workdir": "{here}/file"}, ["{here}/file"]),
    "no workdir": ("distill", {"workdir": None}, ["--workdir has to be given"]),
    "empty workdir": ("distill", {"workdir": ""}, ["--workdir", "''"]),
    "select": ("distill", {"select": "test"}, ["'test'", "validation"]),
    "no validation": (
        "distill",
        {"select": "validation", "validation": 0},
        ["--select=validation", "--validation=0"],
    ),
    "validation": ("distill", {"validation": 0.9}, ["0.9"]),
    "seed": ("distill", {"seed": -1}, ["--seed", "-1"]),
    "huge seed": ("distill", {"seed": 10**23}, ["--seed", str(10**23)]),
    "net": ("distill", {"net": "nat"}, ["'nat'", *NETS]),
    "norm": ("distill", {"net": "convnet", "norm": "nrm"}, ["'nrm'", "instance"]),
    "depth": ("distill", {"net": "convnet", "depth": 9}, ["depth=9"]),
    "distance": ("distill", {"distance": "l3"}, ["'l3'", "mse"]),
    "schedule": ("distill", {"sdc_schedule": "cubic"}, ["'cubic'", "linear"]),
    "sdc norm": ("distill", {"sdc_norm": "max"}, ["'max'", "per_sample"]),
    "augmentation": ("distill", {"augmentation": "flip_spin"}, ["'spin'", "rotate"]),
    "its evaluation": ("distill", {"eval_augmentation": "spin"}, ["'spin'"]),
    "init": ("distill", {"init": "zero"}, ["zero", "noise"]),
    "steps": ("distill", {"steps": 0}, ["--steps", "0"]),
    "flag": ("distill", {"stepz": 3}, ["--stepz", "or --steps"]),
    "not a number": ("distill", {"ipc": "ten"}, ["--ipc", "an integer", "'ten'"]),
    "not whole": ("distill", {"ipc": 1.5}, ["--ipc", "an integer", "'1.5'"]),
    "not a float": ("distill", {"sdc_weight": "x"}, ["--sdc_weight", "number", "'x'"]),
    "not a bool": ("distill", {"zca": "maybe"}, ["--zca", "true or false", "'maybe'"]),
    "no artifact": (
        "evaluate",
        {"artifact": "{here}/no.npz", "workdir": "{here}/out"},
        ["{here}/no.npz"],
    ),
    "not an artifact": (
        "evaluate",
        {"artifact": "{here}/file", "workdir": "{here}/out"},
        ["{here}/file", "no .npz archive"],
    ),
    "nets": (
        "evaluate",
        {"artifact": "{artifact}", "nets": "mlp,nat", "workdir": "{here}/out"},
        ["'nat'"],
    ),
    "num_eval": (
        "evaluate",
        {"artifact": "{artifact}", "num_eval": 0, "workdir": "{here}/out"},
        ["--num_eval", "0"],
    ),
    "evaluation seed": (
        "evaluate",
        {"artifact": "{artifact}", "seed": -2, "workdir": "{here}/out"},
        ["--seed", "-2"],
    ),
    "another dataset": (
        "evaluate",
        {
            "artifact": "{artifact}",
            "dataset": "whole",
            "data_dir": "{here}/data",
            "workdir": "{here}/out",
        },
        ["'whole'", "fingerprint"],
    ),
    "score": (
        "difficulty",
        {"score": "el2n,hard", "workdir": "{here}/out"},
        ["'hard'", *SCORES],
    ),
    "networks": (
        "difficulty",
        {"networks": 0, "workdir": "{here}/out"},
        ["--networks", "0"],
    ),
    "score's seed": ("difficulty", {"seed": -1, "workdir": "{here}/out"}, ["-1"]),
    "score's workdir": ("difficulty", {"workdir": "{here}/file"}, ["{here}/file"]),
    "weights": ("demo", {"weights": "1,x", "workdir": "{here}/out"}, ["'1,x'"]),
    "weight": ("demo", {"weights": "1,nan", "workdir": "{here}/out"}, ["nan"]),
    "seeds": ("demo", {"seeds": "0,-1", "workdir": "{here}/out"}, ["-1"]),
    "demo's workdir": ("demo", {"workdir": "{here}/file"}, ["{here}/file"]),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    (folder / "file").write_text("in the way")
    for name in ("whole", "cut"):
        splits = {"train": [samples(12)], "test": [samples(6, seed=1)]}
        write_tfds(folder / "data" / name / "1.0.0", splits)
    shard = folder / "data/cut/1.0.0/cut-train.array_record-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:-40_000])
    return folder


def arguments(case, here, finished):
    module, flags, quoted = CASES[case]
    fill = lambda x: str(x).format(here=here, artifact=finished / "distilled.npz")
    if module == "distill":
        flags = {**QUICK, "workdir": here / "out", **flags}
    given = [f"--{k}={fill(v)}" for k, v in flags.items() if v is not None]
    return [f"experiments.{module}", *given], [fill(x) for x in quoted]


@pytest.fixture(scope="module")
def answers(here, finished):
    """What every program said, all of them started from one process."""
    lists = [arguments(case, here, finished)[0] for case in CASES]
    files = tree(here)
    found = subprocess.run(
        [sys.executable, "-m", "tests.experiments.forker"],
        input=json.dumps(lists),
        capture_output=True,
        text=True,
        env={**environment(), "JAXDD_CACHE": str(here / "cache")},
        cwd=ROOT,
    )
    assert found.returncode == 0, found.stderr
    assert tree(here) == files, "a program left something behind"
    return dict(zip(CASES, json.loads(found.stdout), strict=True))


def tree(folder):
    names = {str(f.relative_to(folder)) for f in folder.rglob("*")}
    return {n for n in names if not n.startswith("cache")}


def assert_one_sentence(code, out, error, quoted):
    assert code == 2
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert error.endswith("\n")
    assert "Traceback" not in error
    for part in quoted:
        assert part in error


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_answered_with_one_sentence(case, answers, here, finished):
    answer = answers[case]
    quoted = arguments(case, here, finished)[1]
    assert_one_sentence(answer["code"], answer["out"], answer["err"], quoted)
    assert not (here / "out").exists()


@pytest.mark.parametrize("case", ["dataset", "workdir below a file", "flag"])
def test_the_same_from_the_command_line(case, answers, here, finished):
    """The forks above stand for real programs."""
    flags = dict(x[2:].split("=", 1) for x in arguments(case, here, finished)[0][1:])
    with start(CASES[case][0], **flags) as process:
        out, error = process.communicate()
    answer = answers[case]
    assert (process.returncode, out) == (answer["code"], answer["out"])
    assert error == answer["err"]


def test_data_that_is_whole_is_no_fault(here):
    """The cases above fail for the reason given, not because of the test's data."""
    from jaxdd.data import load

    dataset = load("whole", here / "data")
    np.testing.assert_array_equal(dataset.images, [x for x, _ in samples(12)])
