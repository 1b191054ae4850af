"""`--init=SET.npz`: a run that begins at a set made before."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import jaxdd
from experiments.planning.steps import Imagined
from jaxdd.artifact import file as artifacts
from jaxdd.distillation import banks
from jaxdd.distillation import run as distill
from jaxdd.distillation.first_images import expert_logits, first_images
from jaxdd.distillation.job import Job
from jaxdd.errors import UserError
from tests.experiments.helpers import (
    QUICK,
    NoProbes,
    following,
    open_config,
    read_json,
    small,
)
from tests.helpers import refused


def saved(folder, path, name="set.npz", **changes):
    """A copy of an artifact with changes."""
    return artifacts.save(
        dataclasses.replace(jaxdd.load(path), **changes), folder / name
    )


def first_of(opened):
    """What a run begins at, without its experts' training."""
    problem, resolved, network = opened.problem, opened.resolved, opened.network
    bank = None
    if resolved.bank is not None:
        bank = Imagined(banks.manifest_of(problem, network, resolved), network)
    real = problem.on_device(problem.splits.train)
    job = Job(problem, resolved, network, real, bank, opened.start)
    return job, first_images(job, jax.random.key(0), job.inputs.full, resolved.task.ipc)


def test_a_run_begins_at_the_set_wherever_it_lies(
    path, tmp_path, problem, monkeypatch, capsys
):
    monkeypatch.setattr(distill, "Probes", NoProbes)
    # Steps so small that the set is what it was.
    flags = {**QUICK, "steps": 2, "image_lr": 1e-12}
    config = small(tmp_path / "run", init=str(path), **flags)
    summary = distill.run(config, problem)
    ours, theirs = jaxdd.load(tmp_path / "run" / "distilled.npz"), jaxdd.load(path)
    np.testing.assert_allclose(ours.images, theirs.images, atol=1e-6)
    assert summary["distilled"] == theirs.measured["distilled"]
    assert f"beginning at the images of {path}" in capsys.readouterr().err
    # A copy is the same start, other images are another run.
    copy = tmp_path / "copy.npz"
    shutil.copy(path, copy)
    again = dataclasses.replace(config, init=str(copy))
    assert distill.run(again, problem) == summary
    assert read_json(tmp_path / "run" / "run.json")["config"]["init"] == (
        f"set {theirs.digest}"
    )
    other = saved(tmp_path, path, images=theirs.images[:, :, ::-1])
    with pytest.raises(UserError, match="holds another run"):
        distill.run(dataclasses.replace(config, init=str(other)), problem)


def test_labels_and_step_size_are_taken_where_they_are_learned(path, tmp_path, problem):
    made = jaxdd.load(path)
    soft = np.asarray(jax.nn.softmax(4 * made.labels))
    learned = saved(tmp_path, path, "soft.npz", labels=soft, step_size=0.125)
    config = following(tmp_path / "run", init=str(learned), labels="soft",
                       label_lr=1.0, step_size=None)  # fmt: skip
    opened = open_config(config, problem)
    assert opened.resolved.recipe.step_size == 0.125
    job, first = first_of(opened)
    np.testing.assert_array_equal(first.images, made.images)
    np.testing.assert_allclose(jax.nn.softmax(first.labels), soft, atol=1e-6)
    assert float(first.step_size) == 0.125
    stored = job.method.stored(job.method.init(jax.random.key(0), first))
    np.testing.assert_allclose(stored.labels, soft, atol=1e-6)
    # A flag has the last word; hard labels of the method stay hard, and say so.
    config = following(tmp_path / "run", init=str(learned), step_size=0.5)
    opened = open_config(config, problem)
    assert opened.resolved.recipe.step_size == 0.5
    _, first = first_of(opened)
    np.testing.assert_array_equal(first.labels, made.labels)
    assert any("soft labels are left out" in sentence for sentence in opened.remarks)


def test_learned_labels_of_a_hard_set_begin_with_an_expert(path, tmp_path, problem):
    config = following(tmp_path / "run", init=str(path), labels="soft", label_lr=1.0)
    opened = open_config(config, problem)
    job, first = first_of(opened)
    images = first.images.reshape(-1, *first.images.shape[2:])
    logits = next(expert_logits(job, images)).reshape(10, 1, 10)
    np.testing.assert_allclose(first.labels, logits, atol=1e-5)
    assert any("an expert's" in sentence for sentence in opened.remarks)


def test_labels_of_a_mosaic_are_the_mean_over_its_tiles(path, tmp_path, problem):
    """Image by image; decoded together, the tiles of a class are interleaved."""
    made = jaxdd.load(path)
    two = {
        "images": np.concatenate([made.images, made.images[:, :, ::-1]], axis=1),
        "labels": np.repeat(made.labels, 2, axis=1),
    }
    mosaic = saved(tmp_path, path, factor=2, **two)
    config = following(tmp_path / "run", init=str(mosaic), labels="soft", label_lr=1.0,
                       factor=2, ipc=2)  # fmt: skip
    job, first = first_of(open_config(config, problem))
    for j in (0, 1):
        one = {name: array[:, j : j + 1] for name, array in two.items()}
        tiles = dataclasses.replace(made, factor=2, **one).synthetic().images
        logits = next(expert_logits(job, tiles.reshape(40, *tiles.shape[2:])))
        expected = logits.reshape(10, 4, 10).mean(1)
        np.testing.assert_allclose(first.labels[:, j], expected, atol=1e-5)


def test_other_constants_are_converted_and_told(path, tmp_path, problem):
    """As they are when the split that they were measured on is another one."""
    made = jaxdd.load(path)
    moved = dataclasses.replace(made.preprocess, mean=made.preprocess.mean + 0.1)
    other = saved(tmp_path, path, preprocess=moved)
    opened = open_config(small(tmp_path, init=str(other), **QUICK), problem)
    _, first = first_of(opened)
    shown = problem.preprocess.invert(np.asarray(first.images))
    np.testing.assert_allclose(shown, moved.invert(made.images), atol=1e-5)
    assert any("they are converted" in sentence for sentence in opened.remarks)


@pytest.mark.parametrize(
    ("flags", "changes", "words"),
    [
        ({"ipc": 2}, {}, "has images per class 1 and the run 2: give --ipc=1"),
        ({"factor": 2}, {}, "has factor 1 and the run 2: give --factor=1"),
        ({}, {"factor": 2}, "has factor 2 and the run 1: give --factor=2"),
        ({"factor": 2}, {"factor": 2, "formation": "multi"}, "give --formation=multi"),
        ({}, {"space": "pixels"}, "has space pixels and the run input"),
        ({"zca": True}, {}, "has the preprocessing affine and the run zca"),
        ({}, {"class_names": tuple("1023456789")}, "the classes in another order"),
        ({"ipc": 2, "segments": 2}, {}, "each of the 2 segments begins with images"),
    ],
)
def test_a_set_that_does_not_fit_is_refused(path, tmp_path, flags, changes, words):
    other = saved(tmp_path, path, **changes)
    config = small(tmp_path / "run", **{**QUICK, "init": str(other), **flags})
    with refused(words):
        distill.run(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("init", "words"),
    [
        ("nosie", "--init nosie does not exist: choose one of noise, unit_noise"),
        ("", "must name a path"),
        ("gs://bucket/set.npz", "is an address"),
        (".", "is not a regular file"),
        ("cut.npz", "copy it again|cannot be used"),
    ],
)
def test_what_is_no_set_is_refused(path, tmp_path, monkeypatch, init, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=words):
        distill.run(small(tmp_path / "run", **{**QUICK, "init": init}))
    assert not (tmp_path / "run").exists()


def test_a_slim_set_is_a_start_where_the_run_is_whitened_by_the_same(
    path, tmp_path, problem
):
    fitted = jaxdd.data.fit_zca(problem.splits.train.images)
    images = fitted.apply(jaxdd.load(path).displayable())
    whole = dataclasses.replace(
        jaxdd.load(path), images=images, preprocess=fitted, measured={}
    )
    light = artifacts.save(jaxdd.slim(whole), tmp_path / "slim.npz")
    config = small(tmp_path / "run", init=str(light), zca=True, **QUICK)
    opened = open_config(config, problem)
    _, first = first_of(opened)
    np.testing.assert_array_equal(first.images, images)
    assert opened.start.digest == whole.digest
    # What the run is does not depend on how a machine rounds the whitening.
    init = opened.resolved.recipe.images.init
    assert init == f"set {jaxdd.load(light).digest}"
    with refused("was whitened by other training data than the run's"):
        open_config(dataclasses.replace(config, validation=0.2), None)
