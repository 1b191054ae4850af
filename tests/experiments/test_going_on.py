"""Runs that are taken up again: evaluations, changed flags, moved and damaged folders.

All below a folder whose name is a pattern, and more.
"""

import dataclasses
import json
import os
import re
import shutil
import signal

import numpy as np
import pytest

import jaxdd
from experiments import distill as distill_program
from jaxdd.artifact import file as artifacts
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError
from jaxdd.evaluation import hits
from jaxdd.evaluation import run as evaluate
from jaxdd.evaluation.protocol import Judge
from jaxdd.running import resume as runs
from jaxdd.scoring import api as scoring
from jaxdd.scoring import measuring
from jaxdd.storage.lock import owned
from jaxdd.storage.signals import Interrupted
from tests.experiments.helpers import (
    CHEAP,
    ROOT,
    assert_same_run,
    cheap,
    read_json,
)
from tests.experiments.test_identity import without_new
from tests.helpers import Killed, content, die, refused

ODD = "lr=0.1,[1,2] é\n%"
NETWORKS = CHEAP["num_eval"] + CHEAP["num_random"]


pytestmark = pytest.mark.usefixtures("no_probes")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, problem, no_probes):
    """A finished run; tests must not change it."""
    folder = tmp_path_factory.mktemp("whole") / ODD / "run"
    distill.run(cheap(folder), problem)
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    """The same run, moved elsewhere, for a test to change."""
    return shutil.copytree(whole, tmp_path / ODD / "moved")


@pytest.fixture
def no_steps(monkeypatch):
    """What follows may take no step."""
    monkeypatch.setattr(runs._Loop, "_compile", die)


def hits_of(folder):
    with np.load(folder / "evaluation.npz") as file:
        return {name: file[name].tobytes() for name in file.files}


def change(path, **fields):
    path.write_text(json.dumps({**read_json(path), **fields}))


# --- The evaluation -----------------------------------------------------------------


def test_the_set_can_be_had_before_its_accuracy(copy, whole, problem, monkeypatch):
    for name in ("summary.json", "distilled.npz", "images.png"):
        (copy / name).unlink()
    monkeypatch.setattr(distill, "_measure", die)
    with pytest.raises(Killed):
        distill.run(cheap(copy), problem)
    made, expected = (jaxdd.load(x / "distilled.npz") for x in (copy, whole))
    assert made.images.tobytes() == expected.images.tobytes()
    assert made.measured == {}
    assert (copy / "images.png").read_bytes() == (whole / "images.png").read_bytes()
    assert not (copy / "summary.json").exists()


def watched(monkeypatch, at, act):
    """Counts the networks that are trained, and acts after the `at`-th."""
    trained, usual = [], Judge.measure

    def measure(judge, group, first, kept, signals, watch, *rate):
        def counted(done, total, seconds):
            trained.append(done)
            if len(trained) == at:
                act()
            watch(done, total, seconds)

        usual(judge, group, first, kept, signals, counted, *rate)

    monkeypatch.setattr(Judge, "measure", measure)
    return trained


@pytest.mark.parametrize(
    ("how", "at"), [("signal", 1), ("kill", 3), ("signal", NETWORKS)]
)
def test_a_stopped_evaluation_goes_on(
    copy, whole, problem, monkeypatch, no_steps, how, at
):
    (copy / "summary.json").unlink()
    monkeypatch.setattr(hits, "SAVE_SECONDS", -1.0 if how == "kill" else 1e9)
    with monkeypatch.context() as patch:
        if how == "kill":
            watched(patch, at, die)
            with pytest.raises(Killed):
                distill.run(cheap(copy), problem)
        else:
            watched(patch, at, lambda: os.kill(os.getpid(), signal.SIGTERM))
            with pytest.raises(Interrupted) as stopped:
                distill.run(cheap(copy), problem)
            assert str(stopped.value) == f"stopped by SIGTERM at network {at}"
    trained = watched(monkeypatch, 0, None)
    distill.run(cheap(copy), problem)
    assert trained == list(range(at + 1, NETWORKS + 1))
    assert_same_run(copy, whole)
    assert hits_of(copy) == hits_of(whole)
    assert not (copy / "evaluation.part.npz").exists()


def test_what_was_measured_last_is_kept_when_what_follows_is_killed(
    copy, whole, problem, monkeypatch, no_steps
):
    (copy / "summary.json").unlink()
    monkeypatch.setattr(hits, "SAVE_SECONDS", 1e9)
    with monkeypatch.context() as patch:
        patch.setattr(Judge, "by_class", die)
        with pytest.raises(Killed):
            distill.run(cheap(copy), problem)
    trained = watched(monkeypatch, 0, None)
    distill.run(cheap(copy), problem)
    assert trained == []
    assert_same_run(copy, whole)


@pytest.mark.parametrize("what", ["same", "other", "networks", "samples", "damaged"])
def test_a_file_of_networks_is_taken_for_the_same_evaluation_only(
    tmp_path, what, capsys
):
    path = tmp_path / "part.npz"
    kept = hits.Hits(path, "a")
    kept.open(3, 4)
    row = np.array([[True, False, True, False]])
    kept.add(np.array([1]), row)
    kept.save()
    if what == "damaged":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    again = hits.Hits(path, "b" if what == "other" else "a")
    again.open(3 + (what == "networks"), 4 + (what == "samples"))
    assert again.done.tolist() == ([False, True, False] if what == "same" else
                                   [False] * (3 + (what == "networks")))  # fmt: skip
    assert (again.seconds > 0) is (what == "same")
    told = capsys.readouterr().err
    # One of another size is larger than what this evaluation could have written.
    assert told == "" or told.startswith("warning: ")
    assert (what == "damaged") <= ("part.npz" in told)
    if what == "same":
        np.testing.assert_array_equal(again.right[[1]], row)
    again.remove()
    assert not path.exists()


def test_other_flags_of_the_evaluation_evaluate_again(
    copy, whole, problem, monkeypatch, capsys, tmp_path
):
    changes = {"num_eval": 1, "num_random": 6, "eval_epochs": 2, "log_every": 5}
    with monkeypatch.context() as patch:
        patch.setattr(runs._Loop, "_compile", die)
        summary = distill.run(cheap(copy, **changes), problem)
    told = capsys.readouterr().err
    assert "num_eval was 2 and is 1" in told
    assert "num_random was 5 and is 6" in told
    assert "log_every" not in told
    assert (summary["distilled"]["n"], summary["random"]["n"]) == (1, 6)
    made, before = (jaxdd.load(x / "distilled.npz") for x in (copy, whole))
    assert made.images.tobytes() == before.images.tobytes()
    assert made.measured["distilled"] == summary["distilled"]
    known = read_json(whole / "summary.json")
    assert read_json(copy / "summary.before.json") == known
    assert summary["seconds_per_step"] == known["seconds_per_step"] > 0
    # The same as if it had been asked for at once.
    again = distill.run(cheap(tmp_path / "other", **changes), problem)
    for name in ("distilled", "random"):
        assert again[name] == summary[name]


def test_flags_that_only_watch_change_nothing(copy, problem, monkeypatch):
    before = content(copy)
    monkeypatch.setattr(distill, "distil", die)
    changes = {"log_every": 1, "measure_every": 2, "save_every": 1, "sdc_share": False}
    distill.run(cheap(copy, **changes), problem)
    assert content(copy) == before


# Values that a version before recipes wrote in `run.json`: every setting, also those of
# choices that a method lacks.
BEFORE = read_json(ROOT / "tests" / "distillation" / "values_before.json")["usual"]


def as_written_before(folder):
    """The files as versions before had them: fewer values, and those of all choices."""
    record = read_json(folder / "run.json")
    del record["timings"]
    record["config"] = without_new({**BEFORE, **record["config"]})
    assert "label_lr" in record["config"]
    assert set(record) == {"kind", "config", "resumed_at"}
    (folder / "run.json").write_text(json.dumps(record))
    if (folder / "summary.json").exists():
        summary = read_json(folder / "summary.json")
        summary["config"] = record["config"]
        (folder / "summary.json").write_text(json.dumps(summary))


def test_a_folder_of_the_version_before_goes_on(tmp_path, whole, problem):
    distill.run(cheap(tmp_path, steps=4), problem)
    as_written_before(tmp_path)
    assert distill.run(cheap(tmp_path), problem)["resumed_at"] == [4]
    assert_same_run(tmp_path, whole)
    assert "normalisation" in read_json(tmp_path / "run.json")["config"]


def test_a_folder_of_another_normalisation_is_refused(copy, problem):
    """Images of the same bytes under a name that has constants of its own."""
    as_written_before(copy)
    config = {**read_json(copy / "run.json")["config"], "dataset": "mnist"}
    change(copy / "run.json", config=config)
    before = content(copy)
    with pytest.raises(UserError, match=r"normalisation is \{'mean': \[0\.1307\]"):
        distill.run(cheap(copy), problem)
    assert content(copy) == before


# --- The folder is believed ---------------------------------------------------------


def test_a_moved_run_is_shown_and_a_lost_set_made_again(
    copy, whole, problem, capsys, no_steps
):
    summary = distill.run(cheap(copy), problem)
    assert summary["config"]["workdir"] == str(copy)
    distill_program.show(summary)
    out = capsys.readouterr().out
    assert r"moved/distilled.npz" in out
    assert out.count("\n") == 6  # the name's own line end is escaped
    assert read_json(copy / "summary.json")["config"]["workdir"] == str(whole)
    (copy / "distilled.npz").unlink()
    distill.run(cheap(copy), problem)
    assert "distilled.npz is not there: making it again" in capsys.readouterr().err
    assert_same_run(copy, whole)
    assert hits_of(copy) == hits_of(whole)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("cut", "cannot be used|not a readable artifact"),
        ("other", "distilled.npz is not what the summary tells of"),
        ("hits", "evaluation.npz is not there"),
    ],
)
def test_the_folder_is_believed_before_the_summary(
    copy, problem, monkeypatch, capsys, what, told
):
    path = copy / "distilled.npz"
    if what == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif what == "hits":
        (copy / "evaluation.npz").unlink()
    else:
        made = jaxdd.load(path)
        odd = {"mean": 1.0, "std": 0.0, "n": 2}
        measured = {**made.measured, "distilled": odd}
        artifacts.save(dataclasses.replace(made, measured=measured), path)
    monkeypatch.setattr(distill, "distil", die)
    with pytest.raises(Killed):
        distill.run(cheap(copy), problem)
    error = capsys.readouterr().err
    assert re.search(told, error)
    assert "making it again" in error
    assert not (copy / "summary.json").exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 10_000, b'{"config": {}}', b"\xff", b"null"]
)
def test_a_damaged_summary_is_named(copy, problem, content):
    (copy / "summary.json").write_bytes(content)
    with refused("remove it and start", "summary.json"):
        distill.run(cheap(copy), problem)


# --- Refusals and changes -----------------------------------------------------------


@pytest.mark.parametrize("without", [None, "summary.json", "checkpoints"])
def test_fewer_steps_are_refused_and_nothing_is_written(copy, problem, without):
    if without == "checkpoints":
        shutil.rmtree(copy / without)
    elif without is not None:
        (copy / without).unlink()
    before = content(copy)
    with pytest.raises(UserError, match="already at step 8, beyond --steps=3"):
        distill.run(cheap(copy, steps=3), problem)
    assert content(copy) == before


def test_what_is_being_extended_is_not_called_finished(
    tmp_path, whole, problem, monkeypatch
):
    folder = tmp_path / ODD
    distill.run(cheap(folder, steps=4), problem)
    with monkeypatch.context() as patch:
        patch.setattr(distill, "to_json", die)  # after the artifact
        with pytest.raises(Killed):
            distill.run(cheap(folder), problem)
    assert not (folder / "summary.json").exists()
    assert read_json(folder / "summary.before.json")["config"]["steps"] == 4
    assert distill.run(cheap(folder), problem)["resumed_at"] == [4, 8]
    assert_same_run(folder, whole)


# --- Two writers --------------------------------------------------------------------


def test_two_evaluations_of_one_folder_are_refused(copy):
    config = evaluate.Config(str(copy / "distilled.npz"), num_eval=1, num_random=5)
    with owned(copy):  # a distillation there writes other files
        evaluate.run(config)
    before = content(copy)
    with (
        owned(copy, ".evaluation.lock"),
        pytest.raises(UserError, match="another live run owns"),
    ):
        evaluate.run(config)
    assert content(copy) == before


def test_two_scorings_in_one_folder_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "scores_of", die)
    config = scoring.Config(workdir=str(tmp_path), net="mlp")
    with owned(tmp_path), pytest.raises(UserError, match="another live run owns"):
        scoring.run(config)
