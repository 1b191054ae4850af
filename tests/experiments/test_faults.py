"""Bad input: one clear sentence, a code that is not zero, nothing left behind."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jaxdd.nets import NETS
from jaxdd.scores.table import SCORES
from tests.data.conftest import samples, write_tfds
from tests.experiments.helpers import ROOT, SMALL, environment

QUICK = {**SMALL, "steps": 2}

# name: (module, flags, what the sentence has to contain). {here} is a folder with:
# `file`, a regular file; `data`, with a whole and a cut TFDS dataset; `out`, absent.
CASES = {
    "dataset": ("distill", {"dataset": "nope"}, ["'nope'", "'digits'"]),
    "not prepared": (
        "distill",
        {"dataset": "mnist", "data_dir": "{here}/data"},
        ["'mnist'", "not prepared", "{here}/data", "experiments.prepare"],
    ),
    "truncated shard": (
        "distill",
        {"dataset": "cut", "data_dir": "{here}/data"},
        ["{here}/data/cut/1.0.0/cut-train.array_record-00000-of-00001"],
    ),
    "folder": ("distill", {"dataset": "folder:{here}/no"}, ["{here}/no"]),
    "no archive": ("difficulty", {"dataset": "npz:{here}/file"}, ["{here}/file"]),
    "image size": ("distill", {"image_size": "8x"}, ["--image_size", "'8x'"]),
    "ipc 0": ("distill", {"ipc": 0}, ["--ipc", "0"]),
    "method": ("distill", {"method": "dd"}, ["'dd'", "dsa"]),
    "weight nan": ("distill", {"sdc_weight": "nan"}, ["--sdc_weight", "nan"]),
    "workdir below a file": (
        "distill",
        {"workdir": "{here}/file/run"},
        ["{here}/file/run", "Not a directory"],
    ),
    "no workdir": ("distill", {"workdir": None}, ["--workdir has to be given"]),
    "empty workdir": ("distill", {"workdir": ""}, ["--workdir", "''"]),
    "no validation": (
        "distill",
        {"select": "validation", "validation": 0},
        ["--select=validation", "--validation=0"],
    ),
    "net": ("distill", {"net": "nat"}, ["'nat'", *NETS]),
    "precision": (
        "distill",
        {"precision": "tf32"},
        ["--precision=tf32 is of NVIDIA GPUs"],
    ),
    "plan": ("distill", {"plan": "true", "steps": -1}, ["--steps must be at least 0"]),
    "augmentation": ("distill", {"augmentation": "flip_spin"}, ["'spin'", "rotate"]),
    "flag": ("distill", {"stepz": 3}, ["--stepz", "--steps is meant"]),
    "not a number": ("distill", {"ipc": "ten"}, ["--ipc", "an integer", "'ten'"]),
    "not a bool": ("distill", {"zca": "maybe"}, ["--zca", "true or false", "'maybe'"]),
    "no artifact": ("evaluate", {"artifact": "{here}/no.npz"}, ["{here}/no.npz"]),
    "not an artifact": (
        "evaluate",
        {"artifact": "{here}/file"},
        ["{here}/file", "no .npz archive"],
    ),
    "nets": ("evaluate", {"artifact": "{artifact}", "nets": "mlp,nat"}, ["'nat'"]),
    "another dataset": (
        "evaluate",
        {"artifact": "{artifact}", "dataset": "whole", "data_dir": "{here}/data"},
        ["'whole'", "fingerprint"],
    ),
    "score": ("difficulty", {"score": "el2n,hard"}, ["'hard'", *SCORES]),
    "weights": ("demo", {"weights": "1,x"}, ["'1,x'"]),
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
    usual = {**(QUICK if module == "distill" else {}), "workdir": here / "out"}
    flags = {**usual, **flags}
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


def test_data_that_is_whole_is_no_fault(here):
    """The cases above fail for the reason given, not because of the test's data."""
    from jaxdd.data import load

    dataset = load("whole", here / "data")
    np.testing.assert_array_equal(dataset.images, [x for x, _ in samples(12)])
