"""`experiments.distill` with IDC and in segments: files, going on, what is refused.

Segments are DM's, which compiles quickly; that they work with IDC is at the end.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.data.problem import DataFlags, open_problem
from jaxdd.distillation import run as distill
from jaxdd.distillation import segmented as driver
from jaxdd.errors import UserError
from tests.experiments.helpers import assert_same_run, metrics, read_json
from tests.experiments.segments import (
    OF_DM,
    SEGMENTS,
    TRAJECTORIES,
    assert_evaluates_by_itself,
    config,
    kill_in_segment,
)
from tests.helpers import Killed, die, refused

pytestmark = pytest.mark.usefixtures("no_probes")


@pytest.fixture(scope="module")
def plain(tmp_path_factory, problem, no_probes) -> Path:
    """A finished run of IDC in one piece; tests must not change it."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    distill.run(config(folder), problem)
    return folder


@pytest.fixture(scope="module")
def segmented(tmp_path_factory, problem, no_probes) -> Path:
    """A run of DM in two segments; tests must not change it."""
    folder = tmp_path_factory.mktemp("segmented") / "run"
    distill.run(config(folder, OF_DM, **SEGMENTS), problem)
    return folder


# --- IDC in one piece ---------------------------------------------------------------


def test_idc_stores_pixels_that_become_tiles(plain, problem, tmp_path):
    made = jaxdd.load(plain / "distilled.npz")
    assert (made.factor, made.formation, made.space) == (2, "single", "pixels")
    assert made.images.shape == (10, 3, 8, 8, 1)
    assert made.synthetic().images.shape == (10, 12, 8, 8, 1)
    assert np.abs(made.images).max() < 2  # pixels are of this size
    values = read_json(plain / "summary.json")["config"]
    assert (values["segments"], values["eval_schedule"]) == (1, "idc")
    assert read_json(plain / "summary.json")["segments"] == []
    assert_evaluates_by_itself(plain, tmp_path)


# --- In segments --------------------------------------------------------------------


def test_the_files_of_a_run_in_segments(segmented, tmp_path):
    summary = read_json(segmented / "summary.json")
    total = len(open_problem(DataFlags(), 0.1, 0).splits.train.labels)
    first, second = summary["segments"]
    assert (first["size"], second["size"]) == (2, 1)
    assert sum(first["kept"]) == total
    assert 10 * SEGMENTS["min_keep"] <= sum(second["kept"]) < total
    assert all(count >= SEGMENTS["min_keep"] for count in second["kept"])
    for told in summary["segments"]:
        assert 0 < told["right"] < 1
        assert 0 <= told["forgotten"] < 1
    made = jaxdd.load(segmented / "distilled.npz").images
    assert made.shape == (10, 3, 8, 8, 1)
    parts = []
    for index in range(2):
        with np.load(segmented / "segments" / str(index) / "segment.npz") as file:
            parts.append(file["images"])
    assert np.array_equal(made, np.concatenate(parts, axis=1))
    assert np.all(np.isfinite(made))
    assert_evaluates_by_itself(segmented, tmp_path)


def test_steps_of_all_segments_are_counted_through(segmented):
    """Both end points of a segment are measured, so step 4 is there twice."""
    lines = metrics(segmented)
    found = [(line["segment"], line["step"]) for line in lines]
    assert found == [(0, t) for t in range(5)] + [(1, t) for t in range(4, 9)]
    for line in lines:
        began = line["step"] == 4 * line["segment"]
        assert ("match" in line) == ("forgetting" in line) == (not began)
        assert all(np.isfinite(x) for x in line.values())
    # There was nothing to forget at first.
    assert {x["forgetting"] for x in lines[1:5]} == {0}
    assert all(x["forgetting"] > 0 for x in lines[6:])


def test_killed_within_a_segment_and_continued(
    segmented, problem, tmp_path, monkeypatch
):
    folder = tmp_path / "killed"
    asked = config(folder, OF_DM, **SEGMENTS)
    with monkeypatch.context() as patch:
        kill_in_segment(1, patch)
        with pytest.raises(Killed):
            distill.run(asked, problem)
    finished = [(folder / "segments" / str(i) / "segment.npz").exists() for i in (0, 1)]
    assert finished == [True, False]
    assert distill.run(asked, problem)["resumed_at"] == [4 + 2]
    assert_same_run(folder, segmented)


@pytest.mark.slow
def test_killed_between_segments_and_at_the_end(
    segmented, problem, tmp_path, monkeypatch
):
    """While judges are trained, and while the whole is evaluated."""
    folder = tmp_path / "killed"
    asked = config(folder, OF_DM, **SEGMENTS)
    for owner, name in ((driver.judges, "make_predictions"), (distill, "_measure")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda *a, **k: die)
            if owner is distill:
                patch.setattr(owner, name, die)
            with pytest.raises(Killed):
                distill.run(asked, problem)
        assert not (folder / "summary.json").exists()
    # Only the first segment's steps were taken up again.
    assert distill.run(asked, problem)["resumed_at"] == [4]
    assert_same_run(folder, segmented)


@pytest.mark.parametrize("steps", [2, 6])
def test_another_number_of_steps_is_refused(segmented, problem, tmp_path, steps):
    """Later segments depend on earlier ones: they cannot go on alone."""
    before = (segmented / "distilled.npz").read_bytes()
    with refused("was distilled in 4 steps", "use --steps=4 or another --workdir"):
        distill.run(config(segmented, OF_DM, **{**SEGMENTS, "steps": steps}), problem)
    assert (segmented / "distilled.npz").read_bytes() == before
    record = segmented / "run.json"  # the same command as before still answers
    assert record.exists()
    again = distill.run(config(segmented, OF_DM, **SEGMENTS), problem)
    assert again == read_json(segmented / "summary.json")


@pytest.mark.parametrize(
    ("margin", "told"),
    [
        (0.5, "warning: the judges are right on none of them, so nothing is left out"),
        (-0.5, "warning: the judges are right on every sample; what is kept is the"),
    ],
)
def test_judges_that_keep_everything_or_nothing_are_told(
    problem, tmp_path, monkeypatch, capsys, margin, told
):
    def make_predictions(*args):
        """The own class has half of what the margin leaves, and one other the rest."""
        own = (1 - margin) / 2

        def predict(keys, data, real, rate):
            classes = jnp.arange(10)[None]
            other = (real.labels[:, None] + 1) % 10 == classes
            is_own = real.labels[:, None] == classes
            return jnp.where(is_own, own, jnp.where(other, 1 - own, 0.0))

        return predict

    monkeypatch.setattr(driver.judges, "make_predictions", make_predictions)
    asked = config(tmp_path / "run", OF_DM, **SEGMENTS, steps=1)
    summary = distill.run(asked, problem)
    error = capsys.readouterr().err
    assert told in error
    assert error.count("warning: the judges") == 1
    kept = summary["segments"][1]["kept"]
    assert kept == (summary["segments"][0]["kept"] if margin > 0 else [5] * 10)
    assert "segment 2/2: the judges are right on" in error


def test_segments_go_on_with_the_learnability_that_was_kept(
    segmented, problem, tmp_path, monkeypatch
):
    """As many samples as the judges get wrong, and others; none is measured twice."""
    folder, asked = tmp_path / "run", {**SEGMENTS, "segment_score": "learnability"}
    with monkeypatch.context() as patch:
        patch.setattr(distill, "_measure", die)
        with pytest.raises(Killed):
            distill.run(config(folder, OF_DM, **asked), problem)
    scores = np.load(folder / "segments/0/segment.npz")["learnability"]
    assert np.isfinite(scores).all()
    with monkeypatch.context() as patch:
        patch.setattr(driver, "make_references", die)
        summary = distill.run(config(folder, OF_DM, **asked), problem)
    plain = read_json(segmented / "summary.json")["segments"]
    assert [x["kept"] for x in summary["segments"]] == [x["kept"] for x in plain]
    ours, theirs = (jaxdd.load(x / "distilled.npz").images for x in (folder, segmented))
    assert np.array_equal(ours[:, :2], theirs[:, :2])
    assert not np.array_equal(ours[:, 2:], theirs[:, 2:])


@pytest.mark.slow
def test_under_pdd_all_samples_stay_and_networks_learn_first(
    segmented, problem, tmp_path, capsys
):
    asked = {name: x for name, x in SEGMENTS.items() if name != "min_keep"}
    asked |= {"segment_rule": "pdd", "lesson_epochs": 2}
    summary = distill.run(config(tmp_path / "run", OF_DM, **asked), problem)
    assert "by networks that have learned the earlier" in capsys.readouterr().err
    first, second = summary["segments"]
    assert first["kept"] == second["kept"]
    ours, theirs = (
        jaxdd.load(x / "distilled.npz").images for x in (tmp_path / "run", segmented)
    )
    assert not np.array_equal(ours[:, 2:], theirs[:, 2:])


# --- Refused before anything is written ---------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": "d4a", "ipc": 1}, "choose 1 to 1 segments for ipc 1"),
        ({"factor": 9}, "a factor of 9 cuts images of 8 x 8 pixels"),
        ({"eval_augmentation": "crop+cutmix=2"}, "probability of CutMix"),
        ({"pool_augmentation": "blur"}, "'blur'"),
        ({"tensors": "kernels"}, "match all tensors"),
        ({"segments": 2, "lesson_epochs": 2}, "--lesson_epochs .*segment_rule=pdd"),
        (
            {"segments": 2, "segment_rule": "pdd", "min_keep": 2},
            "--min_keep has no effect here: add --segment_rule=filter",
        ),
        ({"segments": 2, "reference_epochs": 2}, "add --segment_score=learnability"),
        ({"segments": 2, "boost_rate": 0.5}, "add --segment_rule=boost"),
        (
            {"segments": 2, "segment_rule": "boost", "forgetting": "replay"},
            "nothing to forget: use --forgetting=none",
        ),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(problem, tmp_path, changes, told):
    with refused(told):
        distill.run(config(tmp_path / "run", **changes), problem)
    assert not (tmp_path / "run").exists()


def test_a_short_run_must_hold_a_span(problem, tmp_path):
    changes = {"segments": 2, "expert_epochs": 2, "segment_epochs": 1}
    with pytest.raises(UserError, match="--segment_epochs=1 is too few: a span has 2"):
        distill.run(config(tmp_path / "run", TRAJECTORIES, **changes), problem)


# --- Everything at once -------------------------------------------------------------


@pytest.mark.slow
def test_idc_in_segments_begins_with_small_copies_of_real_images(
    plain, problem, tmp_path
):
    """Every cell of a stored image shows each second pixel of a training image."""
    folder = tmp_path / "run"
    distill.run(config(folder, **SEGMENTS), problem)
    made, other = (jaxdd.load(x / "distilled.npz").images for x in (folder, plain))
    assert np.abs(made - other).max() > 1e-4
    assert_evaluates_by_itself(folder, tmp_path)
    with np.load(folder / "segments" / "0" / "segment.npz") as file:
        begun = file["begun_images"]
    train = problem.splits.train
    for k in range(10):
        small = train.images[train.labels == k][:, ::2, ::2]
        for cell in (begun[k, 0, :4, :4], begun[k, 1, 4:, 4:]):
            assert np.abs(small - cell).max((1, 2, 3)).min() < 1e-3


@pytest.mark.slow
def test_all_modifiers_of_idc_at_once(plain, problem, tmp_path):
    """SDC, FIEX, FIEM and D4A on one method, told apart by nothing but flags."""
    asked = config(
        tmp_path / "run",
        **SEGMENTS,
        sdc_weight=0.5,
        score="loss",
        drop_hardest=0.2,
        mask="loss",
        mask_ratio=0.25,
    )
    summary = distill.run(asked, problem)
    made, other = (jaxdd.load(x / "distilled.npz") for x in (tmp_path / "run", plain))
    assert np.all(np.isfinite(made.images))
    assert made.images.shape == other.images.shape
    assert np.abs(made.images - other.images).max() > 1e-4
    window = sum(summary["segments"][0]["kept"])
    total = len(problem.splits.train.labels)
    assert 0.75 * total < window < 0.82 * total
    assert sum(summary["segments"][1]["kept"]) <= window
    for line in metrics(tmp_path / "run"):
        names = {"match", "sdc", "forgetting"} & set(line)
        assert len(names) in (0, 3)
    assert_evaluates_by_itself(tmp_path / "run", tmp_path)


@pytest.mark.slow
def test_all_modifiers_of_datm_at_once(problem, tmp_path):
    """Short experts are trained on the kept samples, from snapshots of the bank."""
    base, full = tmp_path / "base", tmp_path / "full"
    distill.run(config(base, TRAJECTORIES), problem)
    changes = {"sdc_weight": 0.5, "mask": "depth", "mask_ratio": 0.25}
    changes |= {"init_ratio": 0.5, "add_end_epoch": 2, "score": "loss"}
    changes |= {**SEGMENTS, "segment_experts": 3}
    summary = distill.run(config(full, TRAJECTORIES, **changes), problem)
    made, other = (jaxdd.load(x / "distilled.npz") for x in (full, base))
    assert np.all(np.isfinite(made.images))
    assert made.images.shape == other.images.shape == (10, 2, 8, 8, 1)
    assert np.abs(made.images - other.images).max() > 1e-4
    np.testing.assert_allclose(made.labels.sum(-1), 1, rtol=1e-5)
    assert [x["size"] for x in summary["segments"]] == [1, 1]
    short = read_json(full / "segments" / "1" / "experts" / "manifest.json")
    assert (short["experts"], short["first_epoch"], short["last_epoch"]) == (3, 0, 1)
    assert short["data"]["segment"] == 1
    assert not (full / "segments" / "0" / "experts").exists()
    lines = [x for x in metrics(full) if "match" in x]
    assert all({"sdc", "forgetting", "update"} <= set(x) for x in lines)
    assert all((x["forgetting"] > 0) == (x["segment"] == 1) for x in lines)
    assert all(x["update"] > 0 for x in lines)
    assert_evaluates_by_itself(full, tmp_path)
