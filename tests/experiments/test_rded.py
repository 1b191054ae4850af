"""RDED: images cut from real ones and chosen by a teacher, without a step."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxdd
from jaxdd.distillation import run as distill
from jaxdd.distillation.pieces import Piece
from jaxdd.distillation.place import Place
from jaxdd.evaluation import run as evaluation
from jaxdd.experts.bank import Bank
from tests.experiments.helpers import NoProbes, open_config, small
from tests.helpers import refused

RDED = {
    "method": "rded",
    "sdc_weight": None,
    "steps": None,
    "augmentation": "none",
    "bank_epochs": 2,
    "expert_lr": 0.3,
    "crop_images": 8,
    "num_eval": 1,
    "num_random": 5,
}


def rded(workdir, **changes):
    return small(workdir, **{**RDED, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory, problem, no_probes):
    folder = tmp_path_factory.mktemp("rded") / "run"
    return folder, distill.run(rded(folder), problem)


def test_a_run_has_no_step_and_is_evaluated_to_its_number(run, problem):
    folder, summary = run
    made = jaxdd.load(folder / "distilled.npz")
    assert made.images.shape == (10, 1, 8, 8, 1)
    assert made.label_kind == "soft"
    np.testing.assert_allclose(made.labels.sum(-1), 1, rtol=1e-5)
    assert (summary["config"]["steps"], summary["selected_step"]) == (0, 0)
    assert Bank.open(folder / "experts").manifest.experts == 1
    assert distill.run(rded(folder), problem) == summary
    again = evaluation.run(
        evaluation.Config(
            artifact=str(folder / "distilled.npz"), num_eval=1, num_random=5
        ),
        dataset=problem.dataset,
    )
    assert again["mlp"].accuracy._asdict() == summary["distilled"]


def first(config, problem, folder, index=0):
    opened = open_config(config, problem)
    job = opened.job(Place(folder))
    inputs = job.inputs
    if job.recipe.count > 1:
        inputs = inputs._replace(earlier=job.earlier([]))
    return job, Piece(job, None, index, inputs).first


def test_tiles_have_the_labels_of_their_crops_on_average(run, tmp_path, problem):
    """Of stored images of four crops; the labels' teacher is the one that chose."""
    bank = {"experts": str(run[0] / "experts"), "bank_epochs": None}
    config = rded(tmp_path / "x", ipc=2, factor=2, **bank)
    job, tiled = first(config, problem, None)
    one, crops = first(rded(tmp_path / "y", ipc=8, **bank), problem, None)
    assert tiled.images.shape == (10, 2, 8, 8, 1)
    # Of easy and harder ones alike.
    labels = np.asarray(crops.labels).reshape(10, 4, 2, 10).mean(axis=1)
    np.testing.assert_allclose(tiled.labels, labels, atol=1e-6)
    expected = one.teacher.probabilities(crops.images)
    np.testing.assert_allclose(crops.labels, expected, atol=1e-6)
    stored = job.method.stored(job.method.init(jax.random.key(0), tiled))
    assert job.decode(stored).images.shape == (10, 8, 8, 8, 1)


def test_only_samples_in_a_window_are_cut(run, tmp_path, problem):
    """Whole images of the window, which are the images themselves."""
    bank = {"experts": str(run[0] / "experts"), "bank_epochs": None}
    scores = np.arange(len(problem.splits.train.labels), dtype=np.float32)
    path = tmp_path / "scores.npz"
    np.savez(path, scores=scores, ids=problem.splits.train.ids)
    config = rded(tmp_path / "x", ipc=2, crop_area=1.0, drop_hardest=0.9,
                  scores=str(path), **bank)  # fmt: skip
    job, begun = first(config, problem, None)
    flat = np.asarray(begun.images).reshape(20, -1)
    train = np.asarray(job.inputs.full.images).reshape(len(scores), -1)
    scale, shift = job.inputs.full.scale, job.inputs.full.shift
    distances = np.abs(flat[:, None] - (train * scale + shift)[None]).max(-1)
    table, counts = (
        np.asarray(x) for x in (job.inputs.real.table, job.inputs.real.counts)
    )
    inside = table[np.arange(table.shape[1]) < counts[:, None]]
    assert len(inside) < 0.2 * len(scores)
    assert np.isin(distances.argmin(axis=1), inside).all()
    np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-5)


def test_other_methods_begin_at_the_same_crops(run, tmp_path, problem):
    """By the same teacher, with labels of their own."""
    bank = {"experts": str(run[0] / "experts")}
    config = small(tmp_path / "dsa", init="crops", crop_images=8, **bank)
    _, begun = first(config, problem, None)
    start = jaxdd.load(run[0] / "distilled.npz")
    np.testing.assert_allclose(begun.images, start.images, atol=1e-5)
    np.testing.assert_array_equal(begun.labels[:, 0], np.eye(10))


@pytest.mark.slow
def test_segments_cut_what_earlier_ones_miss(run, tmp_path, problem, monkeypatch):
    monkeypatch.setattr(distill, "Probes", NoProbes)
    config = rded(tmp_path / "run", ipc=2, segments=2, judges=1, judge_epochs=2,
                  experts=str(run[0] / "experts"), bank_epochs=None)  # fmt: skip
    summary = distill.run(config, problem)
    assert jaxdd.load(tmp_path / "run" / "distilled.npz").images.shape[1] == 2
    kept = [sum(x["kept"]) for x in summary["segments"]]
    assert kept[1] < kept[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sdc_weight": 1.0}, "--sdc_weight=1 acts on updates of the images"),
        ({"mask": "depth", "mask_ratio": 0.2}, "--mask_ratio=0.2 acts on updates"),
        ({"ipc": 2, "segments": 2, "forgetting": "replay"}, "--forgetting=replay acts"),
        ({"ipc": 2, "segments": 2, "segment_rule": "boost"}, "--segment_rule=boost"),
        ({"init": "real"}, "--labels=teacher needs .*, or --init=crops: use hard"),
        ({"init": "real", "labels": "hard"}, "--bank_epochs is about experts"),
        ({"realism": "soft"}, "--realism must be one of easy, median, hard"),
        ({"realism_score": "forgetting"}, "a score of whole datasets"),
        ({"realism_score": "ease"}, "unknown 'ease' in --realism_score"),
        ({"labels": "soft"}, "--labels=soft needs a method that matches experts"),
        ({"eval_loss": "mse"}, "--temperature=20 softens probabilities"),
        ({"method": "dm", "sdc_weight": 0.0, "init": "real", "crop_images": None,
          "bank_epochs": None, "expert_lr": None, "steps": 0}, "give at least 1"),
    ],
    ids=lambda x: "" if isinstance(x, dict) else x[:20],
)  # fmt: skip
def test_what_a_run_without_a_step_refuses(tmp_path, problem, changes, told):
    with refused(told):
        distill.run(rded(tmp_path / "run", **changes), problem)
    assert not (tmp_path / "run").exists()


def test_crops_are_another_run_by_their_realism(run, problem):
    folder, _ = run
    with refused("holds another run", "realism"):
        distill.run(dataclasses.replace(rded(folder), realism="hard"), problem)
