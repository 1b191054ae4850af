"""`experiments.experts`: a bank's files, going on after any end, bad input."""

import contextlib
import dataclasses
import io
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import experts as experts_program
from jaxdd import report
from jaxdd.distillation import banks, experts
from jaxdd.errors import UserError
from jaxdd.experts import Bank
from jaxdd.methods.network import network_for
from jaxdd.progress import listening
from tests.experiments.helpers import BANK, PARAMETERS, read_json, scores_file
from tests.helpers import Killed, content, die, refused


def config(workdir, **changes) -> experts.Config:
    return experts.Config(workdir=str(workdir), **{**BANK, **changes})


def rows_of(folder, epochs, dtype=np.float32) -> np.ndarray:
    """The file itself, without the library."""
    found = np.fromfile(Path(folder) / "snapshots.bin", dtype)
    return found.reshape(-1, epochs, PARAMETERS)


@pytest.fixture(scope="module")
def made(tmp_path_factory, problem):
    """(folder, summary, standard error) of a bank; tests must not change it."""
    folder = tmp_path_factory.mktemp("made") / "bank"
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream) as error, listening(report.bar):
        summary = experts.run(config(folder), problem)
    return folder, summary, error.getvalue()


def test_what_a_bank_weighs_is_told_before_it_is_made(made):
    folder, summary, error = made
    size = 2 * 4 * PARAMETERS * 4
    told = (
        f"experts: 2 experts x 4 snapshots x {PARAMETERS} parameters in float32: "
        f"{size / 1000:.3g} kB in {folder}\n"
    )
    assert told in error
    assert error.index(told) < error.index(f"writing {folder}/snapshots.bin")
    assert summary["bytes"] == (folder / "snapshots.bin").stat().st_size == size


def test_the_files_of_a_bank(made, problem):
    folder, summary, _ = made
    assert summary == read_json(folder / "summary.json")
    assert summary["resumed_at"] == []
    assert not (folder / "checkpoints").exists()
    assert summary["bank"]["training"] == {
        "learning_rate": 0.5,
        "batch_size": 64,
        "gsam_rho": 0.0,
        "gsam_alpha": 0.0,
    }
    assert {"python", "jax", "numpy"} <= set(summary["versions"])
    rows = rows_of(folder, 4)
    assert len(np.unique(rows[:, 0], axis=0)) == 2  # another start for each expert
    moved = np.linalg.norm(rows - rows[:, :1], axis=-1)
    assert np.all(np.diff(moved) > 0)

    # Its accuracy, from the parameters of the last epoch.
    network = network_for(problem.dataset, {"name": "mlp", "width": 8}, "float32")
    like, stats = network.init(jax.random.key(0))
    held_out = problem.splits.validation
    images = jnp.asarray(problem.preprocess.apply(held_out.images))
    found = []
    for e in range(2):
        params = Bank.open(folder).snapshot(e, 3, like)
        logits = network.apply(params, stats, images, False)[0].logits
        found.append(100 * np.mean(np.argmax(logits, -1) == held_out.labels))
    reached = summary["accuracy"]
    assert (reached["split"], reached["n"]) == ("validation", 2)
    assert reached["mean"] == pytest.approx(np.mean(found), abs=1e-4)
    assert reached["std"] == pytest.approx(np.std(found), abs=1e-4)
    assert reached["mean"] > 30  # chance is 10


def test_without_validation_data_train_is_what_is_measured(tmp_path):
    summary = experts.run(config(tmp_path, validation=0.0, num_experts=1, epochs=1))
    assert summary["accuracy"]["split"] == "train"
    assert summary["bank"]["data"]["split_seed"] is None


def test_the_same_command_again_does_nothing(made, problem, monkeypatch, capsys):
    folder, summary, _ = made
    before = content(folder)
    monkeypatch.setattr(banks, "make", die)
    monkeypatch.setattr(banks, "reach", die)
    assert experts.run(config(folder), problem) == summary
    assert "finished: nothing to do" in capsys.readouterr().err
    assert content(folder) == before
    experts_program.show(summary)
    told = f"2 experts reach {summary['accuracy']['mean']:.2f} ±"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_experts": 3}, "experts is 2 there and 3 now"),
        ({"learning_rate": 0.2}, "'learning_rate': 0.5.* there and .*0.2.* now"),
        ({"method": "ftd"}, "'gsam_rho': 0.0.* there and .*'gsam_rho': 0.01.* now"),
        ({"dtype": "bfloat16"}, "dtype is 'float32' there and 'bfloat16' now"),
    ],
)
def test_another_configuration_is_refused(made, changes, told):
    folder = made[0]
    before = content(folder)
    with refused(told, str(folder)):
        experts.run(config(folder, **changes))
    assert content(folder) == before


def test_other_experiments_keep_their_folder(finished, tmp_path):
    before = content(finished)
    with pytest.raises(UserError, match=r"another experiment \(distillation\)"):
        experts.run(config(finished))
    assert content(finished) == before
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(UserError, match="results of another experiment"):
        experts.run(config(tmp_path))
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize("lost", ["manifest.json", "snapshots.bin", "checksums.bin"])
def test_a_lost_bank_is_trained_again(made, problem, tmp_path, lost, capsys):
    folder = shutil.copytree(made[0], tmp_path / "moved")
    (folder / lost).unlink()
    summary = experts.run(config(folder), problem)
    assert f"{lost} is not there: training again" in capsys.readouterr().err
    assert summary["accuracy"] == made[1]["accuracy"]
    expected = (made[0] / "snapshots.bin").read_bytes()
    assert (folder / "snapshots.bin").read_bytes() == expected


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_bank_that_is_killed_as_it_is_set_aside_is_trained_again(
    made, problem, tmp_path, monkeypatch, at
):
    folder = shutil.copytree(made[0], tmp_path / "moved")
    (folder / "snapshots.bin").unlink()
    usual, aside = experts.set_aside, []

    def killed(path):
        aside.append(path)
        if len(aside) == at:
            die()
        return usual(path)

    with monkeypatch.context() as patch:
        patch.setattr(experts, "set_aside", killed)
        patch.setattr(experts, "_train", die)
        with pytest.raises(Killed):
            experts.run(config(folder), problem)
    assert experts.run(config(folder), problem)["accuracy"] == made[1]["accuracy"]
    expected = (made[0] / "snapshots.bin").read_bytes()
    assert (folder / "snapshots.bin").read_bytes() == expected


def test_only_the_epochs_that_are_kept_are_stored(made, problem, tmp_path):
    changes = {"epochs": None, "keep_first": 1, "keep_last": 2}
    summary = experts.run(config(tmp_path, **changes), problem)
    assert summary["bytes"] == 2 * 2 * PARAMETERS * 4
    kept = rows_of(tmp_path, 2)
    np.testing.assert_array_equal(kept, rows_of(made[0], 4)[:, 1:3])
    bank = Bank.open(tmp_path)
    assert (bank.manifest.first_epoch, bank.manifest.last_epoch) == (1, 2)


def test_killed_while_it_is_measured(made, problem, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(banks, "reach", die)
        with pytest.raises(Killed):
            experts.run(config(tmp_path), problem)
    assert not (tmp_path / "summary.json").exists()
    assert experts.run(config(tmp_path), problem) == made[1]
    np.testing.assert_array_equal(rows_of(tmp_path, 4), rows_of(made[0], 4))


def test_pads_curriculum_says_what_it_leaves_out(problem, tmp_path, capsys):
    changes = {"method": "pad", "num_experts": 1, "epochs": 7}
    summary = experts.run(config(tmp_path, **changes), problem)
    assert summary["bank"]["curriculum"] == {
        "init_ratio": 0.75,
        "add_end_epoch": 3,
        "removals": [[5, 0.1]],
        "drop_easiest": 0.0,
        "drop_hardest": 0.0,
        "score": "el2n",
    }
    counts = [int(n) for n in np.bincount(problem.splits.train.labels)]
    grown = [sum(n - (n * k) // 12 for n in counts) for k in (9, 10, 11)]
    removed = sum(n // 10 for n in counts)
    parts = [f"{n} in epoch {i}" for i, n in enumerate(grown)]
    told = (
        f"curriculum: of {sum(counts)} training samples are left out "
        f"{', '.join(parts)}, 0 in epoch 3, {removed} in epoch 6\n"
    )
    error = capsys.readouterr().err
    assert told in error
    assert error.index(told) < error.index("parameters in float32")
    with np.load(tmp_path / "scores.npz") as kept:
        np.testing.assert_array_equal(kept["ids"], problem.splits.train.ids)


def hardest(problem, share) -> np.ndarray:
    """Which training samples a window without the hardest leaves out, by their ids."""
    train, gone = problem.splits.train, []
    for k in range(problem.dataset.num_classes):
        (members,) = np.nonzero(train.labels == k)
        order = members[np.argsort(train.ids[members])]
        gone += order[len(order) - int(share * len(order)) :].tolist()
    return np.array(gone)


def test_experts_never_see_what_is_left_out(problem, tmp_path):
    """Noise in the place of those samples changes no bit of the bank."""
    ids = np.arange(len(problem.dataset.labels))
    given = {"scores": scores_file(tmp_path / "s.npz", ids, ids), "drop_hardest": 0.2}
    experts.run(config(tmp_path / "a", **given), problem)

    train = problem.splits.train
    images, gone = train.images.copy(), hardest(problem, 0.2)
    images[gone] = np.flip(images[gone], axis=(1, 2))
    other = dataclasses.replace(
        problem, splits=problem.splits._replace(train=train._replace(images=images))
    )
    experts.run(config(tmp_path / "b", **given), other)
    a, b = (rows_of(tmp_path / x, 4) for x in "ab")
    np.testing.assert_array_equal(a, b)
    experts.run(config(tmp_path / "c"), other)  # without the window they matter
    assert not np.array_equal(rows_of(tmp_path / "c", 4), b)


def test_a_training_goes_on_with_its_own_scores(problem, tmp_path, monkeypatch):
    ids = problem.splits.train.ids
    path = scores_file(tmp_path / "s.npz", ids, np.arange(len(ids)))
    asked = config(tmp_path / "run", scores=path, drop_easiest=0.3)
    with monkeypatch.context() as patch:
        patch.setattr(banks, "make", die)
        with pytest.raises(Killed):
            experts.run(asked, problem)
    scores_file(path, ids, -np.arange(len(ids)))
    with pytest.raises(UserError, match=r"holds another run \(curriculum .*'file "):
        experts.run(asked, problem)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dtype": "float16"}, "--dtype must be float32 or bfloat16, not 'float16'"),
        ({"method": "dsa"}, "--method=dsa has no experts: choose one of ncfm, mtt"),
        ({"method": "mmt"}, "'mmt'.*mtt"),
        ({"keep_last": 4}, "--keep_last=4 is beyond --epochs=3"),
        ({"keep_first": 3}, "--keep_first=3 must lie below the last stored epoch, 3"),
        ({"keep_first": -1}, "--keep_first=-1"),
        ({"augmentation": "spin"}, "'spin'"),
        ({"drop_easiest": 0.0001}, "leaves out none of them"),
        ({"drop_easiest": 0.6, "drop_hardest": 0.5}, "leaves nothing"),
        ({"init_ratio": 0.5}, "positive add_end_epoch"),
        ({"removals": "1:0.1,x"}, "--removals must be EPOCH:SHARE"),
        ({"score": "el2n"}, "--score sorts the samples, but nothing is left out"),
        ({"score": "hard", "drop_hardest": 0.2}, "'hard': choose from .*el2n"),
        (
            {"scores": "/no.npz", "drop_hardest": 0.2},
            "the scores /no.npz does not exist",
        ),
    ],
    ids=str,
)
def test_bad_input_is_answered_with_one_sentence(problem, tmp_path, changes, told):
    folder = tmp_path / "bank"
    with pytest.raises(UserError) as error:
        experts.run(config(folder, **changes), problem)
    assert re.search(told, str(error.value))
    assert "\n" not in str(error.value)
    assert not folder.exists()
