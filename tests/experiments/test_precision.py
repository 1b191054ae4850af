"""--precision: in every file of a run, part of its identity, and refused where it is
not there."""

import json
import shutil

import numpy as np
import pytest

import jaxdd
from experiments.planning import plans as planning
from jaxdd.artifact import file as artifacts
from jaxdd.devices import policy, precision
from jaxdd.distillation import experts
from jaxdd.distillation import run as distill
from jaxdd.distillation.identity import identity
from jaxdd.errors import UserError
from jaxdd.evaluation import run as evaluate
from jaxdd.evaluation.history import identity as same_protocol
from jaxdd.experts import Bank
from jaxdd.scoring import api as scoring
from jaxdd.scoring import measuring
from jaxdd.storage.files import to_json
from tests.experiments.helpers import (
    QUICK,
    NoProbes,
    cheap,
    following,
    open_config,
    read_json,
    small,
)

CONVNET = {"net": "convnet", "width": 8, "depth": 2, "steps": 8, "num_random": 5}


@pytest.fixture(scope="module")
def rounded(tmp_path_factory, problem):
    """The workdir of a run in bfloat16; tests must not change it."""
    folder = tmp_path_factory.mktemp("rounded") / "run"
    distill.run(small(folder, precision="bfloat16", **CONVNET), problem)
    return folder


def without(record):
    """A record of a version that had no precision."""
    found = json.loads(json.dumps(record))
    for part in (found, *(found.get(x, {}) for x in ("config", "bank"))):
        part.pop("precision", None)
    return found


def made_before(finished, folder):
    """The workdir as that version would have left it."""
    shutil.copytree(finished, folder)
    for name in ("run.json", "summary.json"):
        before = without(read_json(folder / name))
        (folder / name).write_text(to_json(before))
    return folder


# --- A run in bfloat16 --------------------------------------------------------------


@pytest.mark.slow
def test_a_run_in_bfloat16_is_a_run(rounded, problem, tmp_path):
    summary, record = (
        read_json(rounded / "summary.json"),
        read_json(rounded / "run.json"),
    )
    artifact = jaxdd.load(rounded / "distilled.npz")
    for config in (summary["config"], record["config"], artifact.provenance["config"]):
        assert config["precision"] == "bfloat16"
    assert artifact.precision == "bfloat16"
    assert np.isfinite(artifact.images).all()
    assert artifact.images.dtype == np.float32
    assert summary["distilled"]["mean"] > 15  # ten classes, after eight steps
    exact = distill.run(small(tmp_path / "exact", **CONVNET), problem)
    images = artifacts.load(tmp_path / "exact" / "distilled.npz").images
    gap = np.linalg.norm(images - artifact.images) / np.linalg.norm(images)
    assert 0 < gap < 0.2
    assert abs(exact["distilled"]["mean"] - summary["distilled"]["mean"]) < 15


@pytest.mark.slow
def test_a_set_is_evaluated_in_its_own_precision(rounded):
    path = rounded / "distilled.npz"
    own = jaxdd.evaluate(path, num_eval=2)["convnet"]
    assert own.protocol["precision"] == "bfloat16"
    assert own.accuracy == own.stored
    other = jaxdd.evaluate(path, num_eval=2, precision="float32")["convnet"]
    assert other.protocol["precision"] == "float32"
    assert same_protocol(own.protocol) != same_protocol(other.protocol)


def test_a_set_in_a_precision_that_is_not_here_is_evaluated_in_float32(finished):
    artifact = jaxdd.load(finished / "distilled.npz")
    artifact.provenance["config"]["precision"] = "tf32"
    assert evaluate._precision(artifact, None) == "float32"
    with pytest.raises(UserError, match="--precision=tf32 is of NVIDIA GPUs"):
        evaluate._precision(artifact, "tf32")


def test_scores_and_experts_have_a_precision(problem, tmp_path):
    flags = {"net": "mlp", "width": 8, "precision": "bfloat16"}
    scored = jaxdd.difficulty("digits", networks=1, train_steps=1, **flags)
    assert scored.summary["precision"] == "bfloat16"
    assert np.isfinite(scored.scores).all()
    config = scoring.Config(workdir=str(tmp_path), precision="tf32")
    with pytest.raises(UserError, match="--precision=tf32"):
        measuring.open_run(config, config.score)
    bank = {**flags, "num_experts": 1, "epochs": 2, "augmentation": "none"}
    folder = tmp_path / "bank"
    summary = experts.run(experts.Config(workdir=str(folder), **bank), problem)
    assert summary["bank"]["precision"] == "bfloat16"
    assert Bank.open(folder).manifest.precision == "bfloat16"
    # Usable in another precision, with a warning.
    config = following(tmp_path / "run", experts=str(folder), expert_lr=0.01)
    differences = " ".join(open_config(config, problem).differences)
    assert "another precision than this method's ('bfloat16' there and" in differences


def test_a_plan_names_the_precision(monkeypatch, problem, tmp_path):
    for name in ("sorting", "experts", "measurements"):
        monkeypatch.setattr(planning.Distillation, name, lambda self: None)
    config = small(tmp_path / "run", **QUICK, precision="bfloat16")
    assert planning.distillation(config, problem).title.endswith("in bfloat16")


# --- What a run is told apart by ------------------------------------------------------


def test_a_run_does_not_go_on_in_another_precision(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(distill, "Probes", NoProbes)
    summary = distill.run(cheap(tmp_path, precision="bfloat16"), problem)
    assert jaxdd.load(tmp_path / "distilled.npz").precision == "bfloat16"
    for asked in ("float32", "auto"):
        with pytest.raises(UserError) as caught:
            distill.run(cheap(tmp_path, precision=asked), problem)
        words = "holds another run (precision is 'bfloat16' there and 'float32' now)"
        assert words in str(caught.value)
    again = distill.run(cheap(tmp_path, precision="bfloat16"), problem)
    assert again["distilled"] == summary["distilled"]


def test_workdirs_of_before_are_of_float32(finished, tmp_path):
    folder = made_before(finished, tmp_path / "before")
    summary = read_json(folder / "summary.json")
    assert "precision" not in summary["config"]
    assert distill.run(small(folder))["distilled"] == summary["distilled"]
    assert distill.run(small(folder, precision="float32"))["config"]["steps"] == 40
    with pytest.raises(UserError, match="precision is 'float32' there"):
        distill.run(small(folder, precision="bfloat16"))


def test_artifacts_of_before_are_of_float32(finished, tmp_path):
    artifact = jaxdd.load(finished / "distilled.npz")
    del artifact.provenance["config"]["precision"]
    old = artifacts.load(artifacts.save(artifact, tmp_path / "distilled.npz"))
    assert old.precision == "float32"
    found = jaxdd.evaluate(old, num_eval=2)["mlp"]
    assert found.accuracy == found.stored
    protocol = dict(found.protocol)
    del protocol["precision"]
    assert same_protocol(protocol) == same_protocol(found.protocol)
    artifact.provenance["config"]["precision"] = "half"
    with pytest.raises(UserError, match="cannot be saved"):
        artifacts.save(artifact, tmp_path / "distilled.npz")


def test_banks_of_before_go_on(problem, tmp_path):
    flags = {"net": "mlp", "width": 8, "num_experts": 1, "epochs": 2}
    config = experts.Config(workdir=str(tmp_path), augmentation="none", **flags)
    made = experts.run(config, problem)
    assert made["bank"]["precision"] == "float32"
    assert "precision" not in read_json(tmp_path / "manifest.json")
    for name in ("run.json", "summary.json"):
        (tmp_path / name).write_text(to_json(without(read_json(tmp_path / name))))
    assert experts.run(config, problem)["accuracy"] == made["accuracy"]


# --- What there is on a device --------------------------------------------------------


@pytest.mark.parametrize("name", ["half", "tf32", ""])
def test_a_precision_that_is_not_there_is_refused(name, problem, tmp_path):
    with pytest.raises(UserError, match="--precision"):
        open_config(small(tmp_path / "run", **QUICK, precision=name), problem)
    assert not (tmp_path / "run").exists()


def test_auto_is_what_was_shown_where_the_device_has_it(monkeypatch):
    assert policy.resolved("auto") == "float32"
    monkeypatch.setitem(
        policy.TABLE, "cpu", policy.Choices("today", precision="bfloat16")
    )
    monkeypatch.setattr(precision, "_processor_flags", lambda: {"amx_bf16"})
    assert policy.resolved("auto") == "bfloat16"
    monkeypatch.setattr(precision, "_processor_flags", lambda: {"avx512_bf16"})
    assert policy.resolved("auto") == "float32"


@pytest.mark.parametrize(
    ("capability", "there"), [("9.0", True), ("7.5", False), ("gfx942", False)]
)
def test_gpus_are_told_apart_by_their_capability(capability, there, monkeypatch):
    device = type("Device", (), {"compute_capability": capability, "device_kind": "x"})
    monkeypatch.setattr(precision.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(precision.jax, "devices", lambda: [device])
    assert precision.has("float32")
    assert precision.has("tf32") is precision.has("bfloat16") is there
    usual = "tf32" if there else "float32"
    assert policy.resolved("auto") == precision.unspecified() == usual
    asked = {name: precision.in_jax(name) for name in ("float32", "tf32")}
    assert asked == {"float32": "float32", "tf32": "tensorfloat32"}


def test_the_resolved_precision_is_what_counts(problem, tmp_path):
    config = small(tmp_path, **QUICK)
    assert config.precision == "auto"
    opened = open_config(config, problem)
    values = opened.resolved.values(None)
    assert values["precision"] == "float32"
    other = {**values, "precision": "bfloat16"}
    assert identity(values, problem) != identity(other, problem)
