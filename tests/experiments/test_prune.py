"""`experiments.prune`: a share of the samples by score, and runs on that share."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import jaxdd
from experiments import prune as program
from jaxdd.artifact import file as artifacts
from jaxdd.artifact.artifact import _example
from jaxdd.data import digits
from jaxdd.data.problem import DataFlags, open_problem
from jaxdd.distillation.identity import identity
from jaxdd.distillation.opening import open_run
from jaxdd.errors import NotWritten
from jaxdd.evaluation import reopening
from jaxdd.progress import listening
from jaxdd.scores.selection import share_by_score
from jaxdd.scoring import pruning
from jaxdd.scoring.pruned import Pruned
from tests.helpers import refused


@pytest.fixture(scope="module")
def scores():
    return np.random.default_rng(0).normal(size=len(digits().labels))


@pytest.fixture
def scores_file(tmp_path, scores):
    path = tmp_path / "scores.npz"
    order = np.random.default_rng(1).permutation(len(scores))
    np.savez(path, scores=scores[order], ids=order)
    return str(path)


@pytest.mark.parametrize("end", ["easy", "median", "hard"])
@pytest.mark.parametrize("balanced", [False, True])
def test_a_share_is_kept(end, balanced):
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=50), np.repeat([0, 1], [40, 10])
    kept = share_by_score(scores, labels, 0.3, end, balanced)
    assert (np.diff(kept) > 0).all()
    groups = [np.arange(40), np.arange(40, 50)] if balanced else [np.arange(50)]
    for members in groups:
        count = round(0.3 * len(members))
        ours = np.sort(scores[np.intersect1d(kept, members)])
        ranked = np.sort(scores[members])
        spare = len(members) - count
        first = {"easy": 0, "median": spare // 2, "hard": spare}[end]
        np.testing.assert_array_equal(ours, ranked[first : first + count])
    one = share_by_score(scores, labels, 1e-6, end, balanced)
    assert len(one) == len(groups)
    np.testing.assert_array_equal(
        share_by_score(scores, labels, 1.0, end, balanced), np.arange(50)
    )


def test_the_index_says_what_was_kept_and_is_read_by_every_flag(
    tmp_path, scores, scores_file, capsys
):
    path = tmp_path / "deep" / "hard.json"
    config = pruning.Config(
        out=str(path), keep=0.2, scores=scores_file, end="hard", balanced=True
    )
    outcome = pruning.run(config)
    program.show(outcome)
    pruned = outcome.pruned
    told = capsys.readouterr().out
    assert f"--dataset=digits --subset={path}" in told
    assert "of 1437 training samples" in told
    labels = digits().labels
    expected = share_by_score(scores, labels, 0.2, "hard", True)
    content = json.loads(path.read_text())
    assert content["ids"] == expected.tolist() == pruned.ids.tolist()
    assert content["dataset"]["fingerprint"] == digits().fingerprint
    assert (content["score"], content["keep"], content["end"]) == (None, 0.2, "hard")
    assert len(content["scores"]) == 64
    counts = np.bincount(labels[expected]).tolist()
    assert [x["kept"] for x in content["kept"]] == counts
    with Image.open(path.with_suffix(".png")) as image:
        assert min(image.size) > 100
    # The same by the function, and once more of what is kept.
    same = jaxdd.prune(
        "digits", keep=0.2, scores=scores_file, end="hard", balanced=True
    )
    np.testing.assert_array_equal(same.ids, pruned.ids)
    problem = open_problem(DataFlags(subset=str(path)), 0.0, 0)
    assert problem.dataset.fingerprint == pruned.dataset.fingerprint
    np.save(tmp_path / "x.npy", scores)
    again = tmp_path / "fewer.npz"
    np.savez(again, scores=scores[expected], ids=expected)
    flags = {"keep": 0.5, "balanced": True, "subset": str(path)}
    fewer = jaxdd.prune("digits", scores=str(again), **flags)
    assert set(fewer.ids) < set(expected)
    # A sample has the same score whether or not others were scored beside it.
    whole = jaxdd.prune("digits", scores=scores_file, **flags)
    np.testing.assert_array_equal(whole.ids, fewer.ids)
    index = fewer.save(tmp_path / "fewer.json")
    problem = open_problem(DataFlags(subset=str(index)), 0.0, 0)
    np.testing.assert_array_equal(problem.dataset.images, digits().images[fewer.ids])


def test_scores_are_measured_as_difficulty_measures_them():
    few = {"net": "mlp", "width": 4, "networks": 1, "train_steps": 2, "seed": 3}
    pruned = jaxdd.prune("digits", "el2n", keep=0.4, balanced=True, **few)
    scored = jaxdd.difficulty("digits", "el2n", **few)
    np.testing.assert_array_equal(pruned.scored.scores, scored.scores)
    expected = share_by_score(scored.scores, digits().labels, 0.4, "easy", True)
    np.testing.assert_array_equal(pruned.ids, expected)
    assert (pruned.about["score"], pruned.about["seed"]) == ("el2n", 3)
    assert pruned.about["effort"]["train_steps"] == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"keep": 0.0}, "keep must be positive"),
        ({"keep": 1.5}, "keep must be at most 1"),
        ({"end": "best"}, "end must be one of easy, median, hard"),
        ({"score": "el2n"}, "score is about measuring a score"),
        ({"score": "el2n,loss", "scores": None}, "by one score, not by 2"),
        ({"score": "nice", "scores": None}, "unknown score 'nice'"),
        ({"scores": "no/such.npz"}, "no/such.npz does not exist"),
        ({"keep": 0.001}, "keep=0.001 is too little"),
        ({"score": "loss"}, "score is about measuring a score"),
        ({"networks": 2}, "networks is about measuring a score"),
        ({"precision": "float32"}, "precision is about measuring a score"),
        ({"out": "index.json"}, "'out' is no keyword here"),
        ({"dataset": "wine"}, "'dataset' is no keyword here"),
    ],
)
def test_what_keeps_nothing_is_refused(scores_file, flags, words):
    with refused(None, words):
        jaxdd.prune("digits", **{"keep": 0.3, "scores": scores_file, **flags})


def test_a_picture_does_not_decide_about_an_index(
    tmp_path, scores_file, monkeypatch, capsys
):
    def full(self, path):
        raise NotWritten(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(Pruned, "picture", full)
    place = tmp_path / "kept.json"
    flags = {"out": str(place), "keep": 0.5, "scores": scores_file}
    messages = []
    with listening(messages.append):
        program.show(pruning.run(pruning.Config(channels=1, **flags)))
    assert place.exists()
    assert any("No space left" in str(x) for x in messages)
    hint = capsys.readouterr().out.splitlines()[-1]
    assert hint == f"use it by --dataset=digits --channels=1 --subset={place}"


def test_scores_of_more_samples_are_those_of_other_data(tmp_path):
    ids = np.arange(400)
    np.savez(tmp_path / "s.npz", scores=ids / 400, ids=ids, fingerprint="of others")
    flags = {"keep": 0.5, "scores": str(tmp_path / "s.npz")}
    with refused(None, "scores of other data: of 400 samples or more, and this has"):
        jaxdd.prune("wine", **flags)


def test_the_index_replaces_no_other_file(tmp_path, scores_file):
    for name, words in (
        ("data.csv", "ends in .json"),
        ("kept.json", "kept.png is the"),
    ):
        (tmp_path / "data.csv").write_text("my data")
        (tmp_path / "kept.png").write_bytes(b"my picture")
        flags = {"out": str(tmp_path / name), "keep": 0.5, "scores": scores_file}
        with refused(None, words):
            pruning.run(pruning.Config(**flags))
    assert (tmp_path / "data.csv").read_text() == "my data"
    assert (tmp_path / "kept.png").read_bytes() == b"my picture"


def test_scores_of_a_part_are_refused(tmp_path, scores):
    path = tmp_path / "part.npz"
    np.savez(path, scores=scores[1:], ids=np.arange(1, len(scores)))
    with refused(None, "no score for 1 training samples"):
        jaxdd.prune("digits", keep=0.3, scores=str(path))


def test_a_run_is_known_by_its_samples_and_its_set_finds_them(tmp_path, scores_file):
    flags = {"ipc": 1, "steps": 1, "net": "mlp", "width": 4}
    pruned = jaxdd.prune("digits", keep=0.3, scores=scores_file)
    path = str(pruned.save(tmp_path / "index.json"))
    runs = [open_run("dm", {**flags, **x}) for x in ({}, {"subset": path})]
    values = [run.resolved.values(None) for run in runs]
    first, second = (
        identity(x, run.problem) for x, run in zip(values, runs, strict=True)
    )
    assert first["fingerprint"] != second["fingerprint"]
    assert "subset" not in second  # known by what is in it, not by its path
    dataset = runs[1].problem.dataset
    artifact = dataclasses.replace(
        _example(),
        images=np.zeros((10, 1, 8, 8, 1), np.float32),
        labels=np.eye(10, dtype=np.float32)[:, None],
        class_names=dataset.class_names,
        preprocess=runs[1].problem.preprocess,
        dataset={
            "name": "digits",
            "fingerprint": dataset.fingerprint,
            "validation": 0.1,
            "split_seed": 0,
            **dataset.described,
        },
    )
    artifact = artifacts.load(artifacts.save(artifact, tmp_path / "set.npz"))
    (tmp_path / "index.json").unlink()
    for in_memory in (None, digits(), dataset):
        problem = reopening.reopen(artifact, None, None, in_memory)
        assert problem.dataset.fingerprint == dataset.fingerprint
        train = problem.splits.train
        np.testing.assert_array_equal(train.ids, runs[1].problem.splits.train.ids)
        tested = reopening.tested_on(artifact, problem, "digits", "test", None, "never")
        assert tested.own
    with refused("its fingerprint differs"):
        reopening.reopen(artifact, None, None, digits().subset(np.arange(1000)))
    record = {**artifact.dataset["subset"], "mask": "x"}
    origin = {**artifact.dataset, "subset": record}
    with refused("subset is damaged"):
        artifacts.save(dataclasses.replace(artifact, dataset=origin), tmp_path / "b")


def test_a_share_of_fewer_samples_than_classes_is_refused_at_once():
    labels = np.arange(60) % 3
    pair = np.zeros((60, 8, 8, 1), np.float32), labels
    with refused("keep=0.02 is too little: it keeps 1 of 48 samples, fewer than the 3"):
        jaxdd.prune(pair, "el2n", keep=0.02, progress=no_networks)


def no_networks(event):
    assert "networks" not in str(event)
