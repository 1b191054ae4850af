"""`experiments.distill` on trajectories: banks, resuming, what is refused and told."""

import itertools
import re
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxdd
from jaxdd.distillation import banks, experts, opening
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError
from jaxdd.scores.probes import Probes
from jaxdd.storage.checkpoints import Checkpoints
from tests.experiments.helpers import (
    BANK,
    FOLLOWING,
    PARAMETERS,
    assert_same_run,
    following,
    last_step,
    metrics,
    open_config,
    read_json,
    start,
)
from tests.helpers import Killed, die, refused

METHODS = ("mtt", "ftd", "datm", "pad")
pytestmark = pytest.mark.usefixtures("no_probes")


@pytest.fixture(scope="module")
def bank(tmp_path_factory, problem) -> str:
    """A bank of MTT's experts; tests must not change it."""
    folder = tmp_path_factory.mktemp("bank") / "experts"
    experts.run(experts.Config(workdir=str(folder), **BANK), problem)
    return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory, problem, no_probes, bank):
    """(method) -> a finished run from that bank; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs")

    def finished(method) -> Path:
        if not (folder / method).exists():
            asked = following(folder / method, method=method, experts=bank)
            distill.run(asked, problem)
        return folder / method

    return finished


def images(folder) -> np.ndarray:
    return jaxdd.load(Path(folder) / "distilled.npz").images


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(x, marks=() if x in ("mtt", "datm") else pytest.mark.slow)
        for x in METHODS
    ],
)
def test_every_method_runs_from_the_same_bank(run, method, problem):
    folder = run(method)
    found = jaxdd.load(folder / "distilled.npz")
    summary = read_json(folder / "summary.json")
    lines = metrics(folder)
    assert [line["step"] for line in lines] == [0, 2, 3, 4, 6]
    assert all(0 < line["match"] < 10 for line in lines[1:])
    assert found.images.shape == (10, 1, 8, 8, 1)
    assert not (folder / "experts").exists()

    # The labels: learned ones have moved off the experts' first guess.
    np.testing.assert_allclose(found.labels.sum(-1), 1, rtol=1e-5)
    soft = method in ("datm", "pad")
    assert found.label_kind == ("soft" if soft else "hard")

    # The step size is learned, and what the set is judged with.
    assert found.step_size == summary["step_size"] != pytest.approx(0.05, rel=1e-7)
    assert found.training.learning_rate == found.step_size
    assert lines[0]["step_size"] == pytest.approx(0.05)
    assert lines[-1]["step_size"] == pytest.approx(found.step_size)


@pytest.mark.parametrize(
    "methods", [("mtt", "datm"), pytest.param(METHODS, marks=pytest.mark.slow)], ids=len
)
def test_the_images_depend_on_the_method(run, methods):
    for one, other in itertools.combinations(methods, 2):
        distance = np.abs(images(run(one)) - images(run(other))).max()
        assert distance > 1e-6, (one, other)


DIFFERENT = {
    "mtt": [],
    "ftd": ["gsam_rho is 0.0 there and 0.01 here"],
    "datm": ["gsam_alpha is 0.0 there and 0.3 here"],
    "pad": ["gsam_rho is 0.0 there", "init_ratio is 1.0 there and 0.75 here"],
}


@pytest.mark.parametrize("method", METHODS)
def test_other_experts_than_the_methods_own_are_told(
    run, bank, problem, tmp_path, method
):
    asked = following(tmp_path, method=method, experts=bank)
    told = open_config(asked, problem).differences
    if method in ("mtt", "datm"):
        assert read_json(run(method) / "summary.json")["warnings"] == list(told)
    assert len(told) == len(DIFFERENT[method])
    for sentence, part in zip(told, DIFFERENT[method], strict=True):
        assert part in sentence
        assert "\n" not in sentence


def test_they_are_told_on_standard_error_too(bank, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(opening, "Job", die)
    with pytest.raises(Killed):
        distill.run(following(tmp_path, experts=bank, expert_lr=0.1, method="pad"))
    error = capsys.readouterr().err
    assert re.search(r"\nwarning: .* another optimiser .*0.5 there.*0.1 here", error)
    assert re.search(r"\nwarning: .* another curriculum ", error)
    # What the bank's experts saw is no window of this run, but the mask is its own.
    assert "training samples are left out" not in error
    assert f"mask: 170 of {PARAMETERS} entries are left out (block0/" in error


def test_the_set_of_the_best_validation_accuracy_can_be_kept(bank, tmp_path):
    summary = distill.run(following(tmp_path, experts=bank, select="validation"))
    assert summary["selected_step"] in (0, 3, 6)
    line = next(x for x in metrics(tmp_path) if x["step"] == summary["selected_step"])
    assert summary["step_size"] == pytest.approx(line["step_size"])


def test_without_experts_the_run_makes_its_own(run, bank, tmp_path, capsys, problem):
    asked = following(tmp_path, num_experts=2, bank_epochs=3)
    summary = distill.run(asked, problem)
    error = capsys.readouterr().err
    weight = f"experts: 2 experts x 4 snapshots x {PARAMETERS} parameters in float32"
    assert weight in error
    assert error.index(weight) < error.index("training images of 10 classes")
    assert summary["warnings"] == []
    made = [Path(f) / "snapshots.bin" for f in (tmp_path / "experts", bank)]
    assert made[0].read_bytes() == made[1].read_bytes()
    assert_same_run(tmp_path, run("mtt"))

    # More steps go on with that bank, also where it is named.
    before = made[0].stat().st_mtime_ns
    named = following(tmp_path, experts=str(tmp_path / "experts"), steps=8)
    assert distill.run(named, problem)["resumed_at"] == [6]
    assert made[0].stat().st_mtime_ns == before


def test_its_length_is_what_will_be_matched(bank, tmp_path, monkeypatch):
    monkeypatch.setattr(banks, "make", die)
    with pytest.raises(UserError, match=r"--bank_epochs=2 is too few: .* need 4"):
        distill.run(following(tmp_path / "a", bank_epochs=2, max_start=4))
    with pytest.raises(UserError, match=r"exclude|one of them"):
        distill.run(following(tmp_path / "b", bank_epochs=2, experts=bank))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_killed_and_continued_by_the_same_command(
    bank, tmp_path, problem, capsys, monkeypatch
):
    monkeypatch.setattr(distill, "Probes", Probes)  # as in the program
    folder = tmp_path / "killed"
    changes = {"method": "datm", "experts": bank, "steps": 300, "save_every": 25}
    changes |= {"measure_every": 150, "log_every": 10}
    flags = {**FOLLOWING, **changes, "workdir": str(folder)}
    with start("distill", **flags) as process:
        while last_step(folder) < 30:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "summary.json").exists(), "too late: it had finished"
    summary = distill.run(following(folder, **changes), problem)
    (resumed,) = summary["resumed_at"]
    assert 25 <= resumed < 300
    assert f"continuing at step {resumed}\n" in capsys.readouterr().err
    distill.run(following(tmp_path / "whole", **changes), problem)
    assert_same_run(folder, tmp_path / "whole")


def test_the_bank_may_move_but_not_become_another(
    bank, run, tmp_path, problem, monkeypatch
):
    """Not even one of the same size and from the same seed."""
    folder, other, moved = (tmp_path / name for name in ("run", "other", "moved"))
    with monkeypatch.context() as patch:
        patch.setattr(distill, "_measure", die)
        with pytest.raises(Killed):
            distill.run(following(folder, experts=bank), problem)
    changed = {**BANK, "learning_rate": 0.4}
    experts.run(experts.Config(workdir=str(other), **changed), problem)
    with pytest.raises(UserError, match=r"bank is .*'manifest': .* there and "):
        distill.run(following(folder, experts=str(other)), problem)
    shutil.copytree(bank, moved)
    asked = following(folder, experts=str(moved))
    assert distill.run(asked, problem)["resumed_at"] == [6]
    assert_same_run(folder, run("mtt"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"width": 9}, "another network .*width is 8 there and 9 here"),
        ({"net": "convnet", "depth": 1}, "another network .*name is 'mlp' there"),
        ({"zca": True}, "another preprocessing .*kind is '.*' there and 'zca' here"),
        ({"split_seed": 3}, "other data .*split_seed is 0 there and 3 here"),
        ({"seed": 3}, "other data .*split_seed is 0 there and 3 here"),
        ({"max_start": 4}, "the epochs 0 to 3, but 0 to 4 are needed"),
        ({"expert_epochs": 3}, "0 to 3, but 0 to 4 are needed: .*--expert_epochs"),
    ],
    ids=str,
)
def test_a_bank_that_does_not_fit_is_refused(bank, tmp_path, changes, told):
    folder = tmp_path / "run"
    with refused(told, bank):
        distill.run(following(folder, experts=bank, **changes))
    assert not folder.exists()


def test_another_seed_with_the_banks_split_is_fine(bank, tmp_path, monkeypatch):
    monkeypatch.setattr(distill, "distil", die)
    with pytest.raises(Killed):
        distill.run(following(tmp_path, experts=bank, seed=3, split_seed=0))


def states_of(folder) -> dict[int, dict]:
    """What is kept of a run: {step: {name: array}}."""
    manager = Checkpoints(folder).manager
    found = {s: manager.restore(s)["state"] for s in sorted(manager.all_steps())}
    manager.close()
    return jax.tree.map(np.asarray, found)


def test_a_loss_that_is_not_finite_ends_the_run(bank, tmp_path, problem):
    """DATM's gate lets through what is not a number, or it would never end."""
    changes = {"method": "datm", "image_lr": 1e30, "gate": 1e30}
    with pytest.raises(UserError, match=r"the loss of step \d+ is not finite"):
        distill.run(following(tmp_path, experts=bank, **changes), problem)
    assert not (tmp_path / "distilled.npz").exists()
    assert (tmp_path / "checkpoints").exists()


def test_a_closed_gate_changes_nothing_at_all(bank, tmp_path, problem, run):
    changes = {"method": "datm", "experts": bank, "gate": 1e-6}
    distill.run(following(tmp_path, **changes), problem)
    lines = metrics(tmp_path)
    assert lines[-1]["step"] == 6
    assert all(line["match"] > 1e-6 for line in lines[1:])
    assert all(line["image_gradient"] > 0 for line in lines[1:])
    a, b = states_of(tmp_path).values()
    same = {k: np.array_equal(a[k], b[k]) for k in a}
    # The second name counts the steps of the gated optimiser.
    moved = {k for k in same if not same[k]}
    assert all(k.endswith("step") for k in moved), moved
    found = jaxdd.load(tmp_path / "distilled.npz")
    assert found.step_size == np.float32(0.05)
    real = problem.preprocess.apply(problem.splits.train.images)
    for k in range(10):  # it is still the real images of the start
        distances = np.abs(real - found.images[k, 0]).reshape(len(real), -1).max(1)
        assert distances.min() < 1e-5
    assert np.abs(found.images - images(run("datm"))).max() > 1e-6
