"""`jaxdd.distill`: the same run as the command's, in memory or in a folder."""

import os
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
WITH_SDC = {"method": "dm", "ipc": 2, "sdc_weight": 0.5}
CASES = {
    "datm": {"ipc": 2, "segments": 2, "judge_epochs": 2, **EXPERTS},
    "dm": {**WITH_SDC, "drop_hardest": 0.2, "features": "all", "seed": 3},
}


@pytest.fixture(scope="module")
def in_memory():
    """A run of the function without a folder."""
    return jaxdd.distill("digits", **SHORT, **WITH_SDC)


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


@pytest.mark.parametrize("method", [pytest.param("datm", marks=pytest.mark.slow), "dm"])
def test_function_and_command_give_the_same_bits(method, tmp_path, monkeypatch):
    """Also in memory, where nothing is written but experts, which are removed."""
    flags = {**SHORT, **CASES[method], "method": method}
    process = start("distill", workdir=tmp_path / "run", **flags)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    read = jaxdd.distill("digits", workdir=tmp_path / "run", **flags)
    scratch, here = tmp_path / "scratch", tmp_path / "here"
    scratch.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    assert_same(jaxdd.distill("digits", **flags), read)
    assert not list(here.iterdir()) + list(scratch.iterdir())


def test_a_stopped_call_continues(in_memory, tmp_path):
    """An error in the callback ends the run, and the same call goes on."""
    flags = {**SHORT, **WITH_SDC, "save_every": 2}

    def stop(event):
        if isinstance(event, Progress) and event.unit == "step" and event.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jaxdd.distill("digits", workdir=tmp_path / "run", progress=stop, **flags)
    assert not (tmp_path / "run" / "distilled.npz").exists()
    result = jaxdd.distill("digits", workdir=tmp_path / "run", **flags)
    assert result.summary["resumed_at"]
    assert_same(result, in_memory)


def test_arrays_datasets_and_names_are_data(in_memory):
    data = digits()
    assert_same(jaxdd.distill(data, **SHORT, **WITH_SDC), in_memory)
    flags = {**SHORT, "method": "dm"}
    train = data.images, data.labels, data.test_images, data.test_labels
    given = {**flags, "batch_real": np.int64(8), "width": None}
    assert jaxdd.distill(train, **given).images.shape == (10, 1, 8, 8, 1)
    # A fifth of them is held out for the test.
    held_out = jaxdd.distill((data.images[:200], data.labels[:200]), **flags)
    assert 30 <= sum(held_out.summary["classes"]["samples"]) <= 50


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
        ({"step": 3}, "there is no flag step: perhaps steps is meant"),
        ({"dataset": "digits"}, "the dataset is the first argument"),
        ({"method": "dd"}, "unknown method 'dd'"),
        ({"ipc": 0}, "--ipc must be positive, not 0"),
        ({"workdir": "s3://bucket/run"}, "workdir"),
    ],
)
def test_bad_input_is_one_sentence(changes, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence.replace("(", r"\(")):
        jaxdd.distill("digits", **{**SHORT, **changes})
    assert not os.listdir(tmp_path)
