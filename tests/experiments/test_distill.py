"""`experiments.distill`: its files, going on after any end, selection without leaks."""

import dataclasses
import random
import re
import signal
import time

import numpy as np
import pytest
from PIL import Image

import jaxdd
from experiments import distill as distill_program
from jaxdd.data import Splits, digits
from jaxdd.data.problem import Problem, prepare
from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError
from jaxdd.evaluation.protocol import Measured
from jaxdd.running import resume as runs
from tests.experiments.helpers import (
    QUICK,
    SMALL,
    NoProbes,
    assert_same_run,
    last_step,
    measuring,
    metrics,
    read_json,
    small,
    start,
)
from tests.helpers import content, die, refused


def test_the_files_of_a_finished_run(finished):
    summary = read_json(finished / "summary.json")
    assert {"distilled", "random", "difficulty", "resumed_at", "seconds"} <= set(
        summary
    )
    for name, n in (("distilled", 2), ("random", 10)):
        assert set(summary[name]) == {"mean", "std", "n"}
        assert summary[name]["n"] == n
        assert 0 <= summary[name]["mean"] <= 100
    for when in ("start", "end"):
        assert summary["difficulty"][when]["grad_norm"] > 0
        assert 0 <= summary["difficulty"][when]["percentile"] <= 100
    assert summary["resumed_at"] == []
    assert summary["selected_step"] == 40
    assert summary["seconds"] > summary["seconds_per_step"] > 0
    assert summary["seed"] == 0
    for name in ("steps", "sdc_weight", "seed", "ipc", "method", "batch_real"):
        assert summary["config"][name] == SMALL[name]
    assert {"python", "jax", "jaxlib", "optax", "orbax-checkpoint", "numpy"} <= set(
        summary["versions"]
    )
    assert "x1" in summary["device"]

    found = jaxdd.load(finished / "distilled.npz")
    assert found.images.shape == (10, 1, 8, 8, 1)
    assert found.measured == {k: summary[k] for k in ("distilled", "random")}
    assert found.provenance["config"] == summary["config"]
    with Image.open(finished / "images.png") as image:
        assert min(image.size) > 50


def test_distilled_images_beat_random_ones(tmp_path):
    """DM on digits, one image per class: 76 % against 55 %.

    Ten random subsets have a standard deviation of 6 points, so that the mean of ten
    has one of 2; a network on the distilled set differs by 4 points from the next.
    """
    flags = {
        **QUICK, "augmentation": "none", "steps": 60, "width": 32, "batch_real": 64,
        "eval_epochs": 30, "eval_lr": 0.1, "num_eval": 3, "num_random": 10,
        "measure_every": 60, "save_every": 60, "probes": 1, "probe_steps": 2,
    }  # fmt: skip
    summary = distill.run(small(tmp_path, **flags))
    distilled, random = summary["distilled"]["mean"], summary["random"]["mean"]
    assert distilled > random + 10
    assert random > 30  # of ten classes: the bar is no broken training


def test_one_line_of_metrics_per_logged_step(finished):
    lines = metrics(finished)
    expected = sorted({*range(3, 41, 3), *range(0, 41, 10)})
    assert [line["step"] for line in lines] == expected
    for line in lines:
        names = set() if line["step"] == 0 else {"loss", "match", "sdc"}
        if line["step"] % 10 == 0:
            names |= {"difficulty_grad_norm", "difficulty_percentile", "sdc_share"}
        assert names <= set(line)
        assert all(np.isfinite(x) for x in line.values())
    start, end = (
        {k: line[f"difficulty_{k}"] for k in ("grad_norm", "percentile")}
        for line in (lines[0], lines[-1])
    )
    summary = read_json(finished / "summary.json")
    assert summary["difficulty"] == {"start": start, "end": end}


def test_a_finished_run_is_shown_again_without_work(finished, monkeypatch, capsys):
    before = content(finished)
    monkeypatch.setattr(distill, "Probes", die)
    monkeypatch.setattr(runs, "run", die)
    summary = distill.run(small(finished))
    assert summary == read_json(finished / "summary.json")
    assert "finished: nothing to do" in capsys.readouterr().err
    distill_program.show(summary)
    assert f"{summary['distilled']['mean']:.2f}" in capsys.readouterr().out
    assert content(finished) == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sdc_weight": 2.0}, "sdc_weight is 1.0 there and 2.0 now"),
        ({"seed": 1, "ipc": 2}, "ipc is 1 there and 2 now; .*seed is 0 there and 1"),
        ({"width": 9}, "network is .*'width': 8.* there and .*'width': 9.* now"),
    ],
)
def test_another_configuration_is_refused(finished, changes, told):
    before = content(finished)
    with refused(told, str(finished)):
        distill.run(small(finished, **changes))
    assert content(finished) == before


def test_a_folder_of_another_experiment_is_refused(tmp_path):
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(UserError, match="another experiment"):
        distill.run(small(tmp_path))
    assert (tmp_path / "summary.json").read_text() == "{}"
    assert not (tmp_path / "run.json").exists()


def poisoned(problem: Problem) -> Problem:
    """The same training data, but the test split is noise with permuted labels."""
    rng = np.random.default_rng(1)
    dataset = problem.dataset
    noise = rng.random(dataset.test_images.shape, np.float32)
    labels = rng.permutation(dataset.test_labels)
    bad = dataclasses.replace(dataset, test_images=noise, test_labels=labels)
    return prepare(bad, 0.1, 0)


class Forbidden:
    """In the place of a split that may not be read."""

    def __getattr__(self, name):
        raise AssertionError("the selection reached for the test split")


def test_the_test_split_has_no_part_in_selection(tmp_path, monkeypatch):
    monkeypatch.setattr(distill, "Probes", NoProbes)
    problem = prepare(digits(), 0.1, 0)
    config = small(tmp_path / "a", **QUICK, select="validation", image_lr=10.0)
    summary = distill.run(config, problem)
    chosen = summary["selected_step"]
    assert chosen in (0, 10, 20, 30, 40)
    other = dataclasses.replace(config, workdir=str(tmp_path / "b"))
    found = distill.run(other, poisoned(problem))
    assert found["selected_step"] == chosen
    assert found["distilled"]["mean"] != summary["distilled"]["mean"]
    made = [jaxdd.load(tmp_path / x / "distilled.npz").images for x in "ab"]
    assert made[0].tobytes() == made[1].tobytes()
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")

    # And nothing but the final evaluation touches it at all.
    train, validation, _ = problem.splits
    blind = dataclasses.replace(problem, splits=Splits(train, validation, Forbidden()))
    right = np.zeros((2, 1), bool)
    accuracies = summary["distilled"], summary["random"]
    measured = Measured(*accuracies, right, np.arange(1), summary["classes"])
    monkeypatch.setattr(distill, "_measure", measuring(measured))
    other = dataclasses.replace(config, workdir=str(tmp_path / "c"))
    assert distill.run(other, blind)["selected_step"] == chosen
    assert_same_run(tmp_path / "a", tmp_path / "c")


def test_selection_keeps_the_best_set_on_validation(tmp_path, monkeypatch):
    """Of the measured steps, not the last one."""
    monkeypatch.setattr(distill, "Probes", NoProbes)
    scores = iter([10.0, 30.0, 50.0, 40.0, 20.0])
    monkeypatch.setattr(
        "jaxdd.evaluation.protocol.Judge.distilled",
        lambda judge, synthetic, rate=None: {"mean": next(scores, 0.0)},
    )
    config = small(tmp_path / "a", **QUICK, select="validation")
    assert distill.run(config)["selected_step"] == 20
    distill.run(small(tmp_path / "b", **QUICK, steps=20))
    best, at_20 = (jaxdd.load(tmp_path / x / "distilled.npz") for x in "ab")
    assert best.images.tobytes() == at_20.images.tobytes()
    assert best.provenance["steps"] == 20


def test_of_equally_good_sets_the_first_is_selected(tmp_path, monkeypatch):
    """Also where 32 bits round the accuracy down."""
    tie = 100 * 5 / 429
    assert float(np.float32(tie)) < tie
    monkeypatch.setattr(distill, "Probes", NoProbes)
    monkeypatch.setattr(
        "jaxdd.evaluation.protocol.Judge.distilled",
        lambda judge, synthetic, rate=None: {"mean": tie},
    )
    config = small(tmp_path / "a", **QUICK, select="validation")
    assert distill.run(config)["selected_step"] == 0


def test_a_folder_of_mixed_images_can_be_distilled(tmp_path, monkeypatch):
    monkeypatch.setattr(distill, "Probes", NoProbes)
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (8 + i, 9, 3)[: 2 + i % 2], np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.png")
    flags = {"dataset": f"folder:{tmp_path}/data", "steps": 2, "image_size": "8"}
    config = small(tmp_path / "run", **QUICK, **flags, channels=3)
    assert distill.run(config)["config"]["batch_real"] == 7
    found = jaxdd.load(tmp_path / "run" / "distilled.npz")
    assert found.class_names == ("cat", "dog")
    assert found.images.shape == (2, 1, 8, 8, 3)
    # So that the same data are found again.
    assert (found.dataset["channels"], found.dataset["image_size"]) == (3, "8")

    # The same data by any other name is the same run.
    (tmp_path / "data").rename(tmp_path / "moved")
    monkeypatch.setattr(distill, "distil", die)
    monkeypatch.chdir(tmp_path)
    for name in ("folder:moved", "folder:moved/", f"folder:{tmp_path}/moved"):
        distill.run(dataclasses.replace(config, dataset=name))


# What follows runs the program as the user does.
LONG = {**SMALL, **QUICK, "steps": 600, "measure_every": 300, "save_every": 25}


def wait_until(process, condition):
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"ended too early: {process.communicate()}")
        time.sleep(0.02)


def stop(process, folder, signum) -> str:
    """Send a signal at a random moment of the steps; what the program says to it."""
    goal = last_step(folder) + 30
    wait_until(process, lambda: last_step(folder) >= goal)
    delay = random.uniform(0, 0.2)
    print(f"{signal.Signals(signum).name} {delay:.3f} s after step {goal}")
    time.sleep(delay)
    process.send_signal(signum)
    sent = time.monotonic()
    _, error = process.communicate(timeout=30)
    assert time.monotonic() - sent < 10
    assert not (folder / "summary.json").exists(), "too late: it had finished"
    assert "Traceback" not in error
    return error


def test_killed_and_stopped_and_continued_by_the_same_command(tmp_path, capsys):
    folder = tmp_path / "killed"
    flags = {**LONG, "workdir": str(folder)}
    with start("distill", **flags) as process:
        wait_until(process, (folder / "run.json").exists)
        with refused("another live run owns", str(folder)):
            distill.run(options.Config(**flags))
        stop(process, folder, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    with start("distill", **flags) as process:
        error = stop(process, folder, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM, error
    sentence = r"^stopped by SIGTERM at step (\d+); the same command continues$"
    told = int(re.search(sentence, error, re.MULTILINE)[1])
    distill_program.show(distill.run(options.Config(**flags)))
    out, error = capsys.readouterr()
    summary = read_json(folder / "summary.json")
    first, second = summary["resumed_at"]
    assert first % 25 == 0
    assert 0 < first < second < 600
    assert second == told  # after a signal nothing is computed twice
    assert f"continuing at step {second}" in error
    assert f"{summary['distilled']['mean']:.2f} ± " in out
    assert str(folder) in out

    whole = tmp_path / "whole"
    distill.run(small(whole, **LONG))
    assert_same_run(folder, whole)
    pictures = [(f / "images.png").read_bytes() for f in (folder, whole)]
    assert pictures[0] == pictures[1]
