"""`jaxdd.distill`: the same run as the command's, in memory or in a folder."""

import os
import signal
import tempfile

import numpy as np
import pytest

import jaxdd
from jaxdd.data import digits
from jaxdd.errors import UserError
from jaxdd.progress import Message, Progress
from tests.experiments.helpers import start

SHORT = {
    "net": "mlp", "width": 8, "steps": 4, "num_eval": 2, "num_random": 5,
    "eval_epochs": 2,
    "probes": 1, "probe_steps": 2, "log_every": 1, "measure_every": 2,
    "augmentation": "none", "eval_augmentation": "none",
}  # fmt: skip
EXPERTS = {"num_experts": 2, "bank_epochs": 4, "max_start": 2, "student_steps": 2}
DM = {**SHORT, "method": "dm", "ipc": 2, "sdc_weight": 0.5, "drop_hardest": 0.2,
      "features": "all", "seed": 3}  # fmt: skip
DATM = {**SHORT, "method": "datm", "ipc": 2, "segments": 2, "judge_epochs": 2,
        **EXPERTS}  # fmt: skip


def run_in_memory(folder, **flags):
    """A run of the function without a workdir, which leaves nothing behind."""
    scratch, here = folder / "scratch", folder / "here"
    scratch.mkdir()
    here.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setattr(tempfile, "tempdir", str(scratch))
        result = jaxdd.distill("digits", **flags)
    assert not list(here.iterdir()) + list(scratch.iterdir())
    return result


def run_of_the_command(folder, **flags):
    process = start("distill", workdir=folder, **flags)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return jaxdd.distill("digits", workdir=folder, **flags)  # which reads it


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory):
    return run_in_memory(tmp_path_factory.mktemp("memory"), **DM)


def assert_same(result, other):
    for name in ("images", "labels"):
        ours, theirs = (getattr(x.artifact, name) for x in (result, other))
        assert ours.tobytes() == theirs.tobytes()
    assert result.artifact.step_size == other.artifact.step_size
    assert (result.accuracy, result.random) == (other.accuracy, other.random)
    assert result.difficulty == other.difficulty
    timeless = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in x.metrics]
        for x in (result, other)
    ]
    assert timeless[0] == timeless[1]


def test_function_and_command_give_the_same_bits(in_memory, tmp_path):
    assert_same(in_memory, run_of_the_command(tmp_path / "run", **DM))


@pytest.mark.slow
def test_experts_of_a_run_in_memory_are_those_of_the_command(tmp_path):
    """Nothing is written but experts, which are removed."""
    read = run_of_the_command(tmp_path / "run", **DATM)
    assert_same(run_in_memory(tmp_path, **DATM), read)


def test_in_memory_signals_are_the_callers():
    """Nothing can be saved, so that Ctrl-C ends training, steps and evaluation."""
    before, during = signal.getsignal(signal.SIGINT), {}

    def watch(event):
        if isinstance(event, Progress):
            during[event.unit] = signal.getsignal(signal.SIGINT)

    flags = {**SHORT, **EXPERTS, "method": "mtt", "steps": 1, "measure_every": 1}
    jaxdd.distill("digits", progress=watch, **flags)
    assert during == dict.fromkeys(("epoch", "step", "network"), before)


def test_a_stopped_call_continues(in_memory, tmp_path):
    """An error in the callback ends the run, and the same call goes on; a dataset is
    the data of its name."""
    flags = {**DM, "save_every": 2, "workdir": tmp_path / "run"}

    def stop(event):
        if isinstance(event, Progress) and event.unit == "step" and event.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jaxdd.distill(digits(), progress=stop, **flags)
    assert not (tmp_path / "run" / "distilled.npz").exists()
    result = jaxdd.distill(digits(), **flags)
    assert result.summary["resumed_at"]
    assert_same(result, in_memory)


def test_a_callback_may_go_to_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    result = jaxdd.distill(
        "digits", workdir="run", progress=lambda _: os.chdir(other), **DM
    )
    assert (tmp_path / "run" / "summary.json").exists()
    # What is passed on names no folder of this machine.
    assert result.artifact.provenance["config"]["workdir"] == "run"
    assert result.summary["command"].endswith("--workdir=run")
    assert list(other.iterdir()) == []


def test_arrays_are_data_and_flags_may_be_numpys_or_none():
    """A fifth of the arrays is held out for the test."""
    images, labels = (x[:200] for x in (digits().images, digits().labels))
    flags = {**SHORT, "method": "dm", "batch_real": np.int64(8), "width": None}
    result = jaxdd.distill((images, labels), **flags)
    assert result.images.shape == (10, 1, 8, 8, 1)
    assert 30 <= sum(result.summary["classes"]["samples"]) <= 50


def test_a_recipe_of_your_own_and_progress():
    events = []
    mine = jaxdd.Recipe(jaxdd.FeatureMatching(batch_real=8), jaxdd.Fresh())
    flags = {k: v for k, v in SHORT.items() if k != "measure_every"}
    result = jaxdd.distill(
        "digits", mine, progress=events.append, image_lr=0.5, **flags
    )
    values = result.summary["config"]
    assert (values["method"], values["batch_real"]) == ("own", 8)
    assert values["image_lr"] == 0.5
    assert any(isinstance(event, Message) for event in events)
    done = [e.done for e in events if isinstance(e, Progress) and e.unit == "step"]
    assert done[-1] == SHORT["steps"]
    assert "accuracy" in repr(result)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"step": 3}, "there is no keyword 'step': steps is meant?"),
        ({"dataset": "digits"}, "the dataset is the first argument"),
        ({"method": "dd"}, "unknown method 'dd'"),
        ({"ipc": 0}, "^ipc must be positive, not 0"),
        ({"workdir": "s3://bucket/run"}, "workdir"),
    ],
)
def test_bad_input_is_one_sentence(changes, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence.replace("(", r"\(")):
        jaxdd.distill("digits", **{**SHORT, **changes})
    assert not os.listdir(tmp_path)
