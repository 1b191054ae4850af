"""SRe2L and CDA as runs, and the teachers that they take."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from experiments import teacher as program
from jaxdd.distillation import banks, teachers
from jaxdd.distillation import run as distill
from jaxdd.distillation.pieces import Piece
from jaxdd.distillation.place import Place
from jaxdd.evaluation.teacher import open_bank, teacher_from
from jaxdd.experts import Bank
from jaxdd.experts.statistics import CLASS_FILE, FILE
from jaxdd.experts.teaching import first_teacher
from jaxdd.types import Learner
from tests.experiments.helpers import NoProbes, assert_same_run, open_config, small
from tests.helpers import refused

TEACHER = {"net": "convnet_bn", "width": 4, "depth": 1}
SRE2L = {
    **TEACHER,
    "method": "sre2l",
    "sdc_weight": None,
    "steps": 6,
    "augmentation": "none",
    "batch_real": None,
    "num_eval": 1,
    "num_random": 5,
}


def random_teacher(path, network):
    """In the place of a file that PyTorch wrote."""
    params, stats = network.init(jax.random.key(5))
    stats = jax.tree.map(lambda x: x + 0.25, stats)
    return Learner(params, stats), "0123456789abcdef"


@pytest.fixture(scope="module")
def bank(tmp_path_factory, problem):
    """The folder of an imported teacher; tests must not change it."""
    folder = tmp_path_factory.mktemp("teacher") / "bank"
    config = teachers.Config(workdir=str(folder), weights="some.pt", **TEACHER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teachers, "read_weights", random_teacher)
        patch.setattr(banks, "reach", lambda *_: [12.5])
        summary = teachers.run(config, problem)
        assert teachers.run(config, problem) == summary
    return folder


@pytest.mark.parametrize(
    "flags", [{"epochs": 3}, {"score": "el2n"}, {"drop_hardest": 0.5}], ids=str
)
def test_flags_of_a_training_are_refused_beside_weights(tmp_path, problem, flags):
    config = teachers.Config(
        workdir=str(tmp_path / "bank"), weights="some.pt", **TEACHER, **flags
    )
    with refused(f"--{next(iter(flags))} is about a training"):
        teachers.run(config, problem)
    assert not (tmp_path / "bank").exists()


def recovering(workdir, bank, **changes):
    return small(workdir, **{**SRE2L, "experts": str(bank), **changes})


def test_an_imported_teacher_is_a_bank_of_one_with_its_statistics(bank, problem):
    opened = Bank.open(bank)
    manifest = opened.manifest
    assert (manifest.experts, manifest.epochs) == (1, 1)
    assert manifest.training == {"weights": "0123456789abcdef"}
    network = jaxdd.make_network("convnet_bn", (8, 8, 1), 10, width=4, depth=1)
    expected, _ = random_teacher(None, network)
    real = problem.on_device(problem.splits.train)
    learner = first_teacher(opened, network, real)
    for ours, theirs in zip(*map(jax.tree.leaves, (learner, expected)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    summary = json.loads((bank / "summary.json").read_text())
    assert summary["accuracy"]["split"] == "validation"
    assert summary["accuracy"]["mean"] == 12.5


@pytest.fixture(scope="module")
def job(bank, problem):
    config = recovering("unused", bank, ipc=4, segments=2)
    return open_config(config, problem).job(Place(None))


def test_a_run_ends_with_the_teachers_labels_of_its_last_images(job):
    piece = Piece(job, None, 0, job.inputs)
    begun = piece.begun()
    expected = job.teacher.probabilities(begun.images)
    np.testing.assert_allclose(begun.labels, expected, atol=1e-6)
    # The steps see those of the classes.
    np.testing.assert_array_equal(piece.first.labels[:, 0], np.eye(10))
    padded = begun._replace(labels=begun.labels.at[0, 1].set(0))
    assert not np.any(job.labelled(padded).labels[0, 1])


def test_a_segment_has_the_statistics_of_the_samples_that_it_may_match(job):
    whole = job.shown(job.inputs.real, None)
    assert whole.teacher is job.inputs.teacher
    few = job.inputs.real._replace(counts=jnp.full(10, 5))
    shown = job.shown(few, None)
    assert shown.real is few
    mean = [jax.tree.leaves(x.teacher.stats)[0] for x in (whole, shown)]
    assert not np.allclose(*mean)


def test_classes_are_known_by_the_samples_that_may_be_matched(bank, problem):
    config = recovering("unused", bank, ipc=4, segments=2, statistics_of="class")
    job = open_config(config, problem).job(Place(None))
    whole = job.inputs.class_moments
    assert {len(x) for x in jax.tree.leaves(whole)} == {10}
    few = job.inputs.real._replace(counts=jnp.full(10, 5))
    known = job.shown(few, None).class_moments
    assert not np.allclose(*(jax.tree.leaves(x)[0] for x in (whole, known)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"net": "convnet"}, "another network .*|those of its batch norm"),
        ({"net": "mlp", "depth": None, "experts": None}, "use --net=convnet_bn"),
        ({"ipc": 2, "segments": 2, "forgetting": "replay"}, "--forgetting compares"),
        ({"ipc": 2, "segments": 2, "segment_rule": "pdd"}, "begin at random"),
        ({"factor": 2}, "--labels=teacher needs whole images"),
        ({"view_area": 0.0}, "--view_area must be positive"),
        ({"view_horizon": 3}, "--view_horizon=3 is where a cosine ends"),
        ({"batch_real": 8}, "--batch_real is about matching real samples"),
        ({"dataset": "wine", "net": None, "width": None, "depth": None,
          "experts": None}, "views"),
    ],
    ids=lambda x: "" if isinstance(x, dict) else x[:20],
)  # fmt: skip
def test_what_a_run_refuses(bank, tmp_path, problem, changes, told):
    given = None if "dataset" in changes else problem
    with refused(told):
        open_config(recovering(tmp_path / "run", bank, **changes), given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weights": "x.pt", "epochs": 3}, "--epochs is about a training"),
        ({"weights": "x.pt"}, "the file of weights x.pt does not exist"),
        ({"net": "convnet_ab"}, "--net must be one of"),
        ({"net": "convnet", "class_statistics": True}, "--class_statistics are those"),
    ],
)
def test_what_a_teacher_refuses(tmp_path, problem, changes, told):
    config = {"workdir": str(tmp_path / "teacher"), **TEACHER, **changes}
    with refused(told):
        teachers.run(teachers.Config(**config), problem)
    assert not (tmp_path / "teacher").exists()
    if "weights" in changes:
        with refused("--plan is about a training"):
            program.plan(teachers.Config(**config))


@pytest.mark.slow
def test_an_imported_teacher_labels_in_an_evaluation(bank, problem):
    about = teacher_from(open_bank(str(bank), problem), problem, problem.splits.test)
    assert about.about["training"] == {"weights": "0123456789abcdef"}
    assert 0 <= about.about["accuracy"] < 50


@pytest.mark.slow
def test_a_trained_teacher_stores_what_its_data_say(tmp_path, problem, capsys):
    config = teachers.Config(
        workdir=str(tmp_path), epochs=3, learning_rate=0.3, class_statistics=True,
        **TEACHER,
    )  # fmt: skip
    summary = teachers.run(config, problem)
    program.show(summary)
    assert "the teacher reaches" in capsys.readouterr().out
    opened, network = Bank.open(tmp_path), jaxdd.make_network(
        "convnet_bn", (8, 8, 1), 10, width=4, depth=1
    )  # fmt: skip
    assert (opened.manifest.first_epoch, opened.manifest.last_epoch) == (2, 3)
    real = problem.on_device(problem.splits.train)
    stored = first_teacher(opened, network, real).stats
    (tmp_path / FILE).unlink()
    measured = first_teacher(opened, network, real).stats
    for ours, theirs in zip(*map(jax.tree.leaves, (stored, measured)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (tmp_path / CLASS_FILE).exists()
    assert teachers.run(config, problem) == summary
    assert (tmp_path / FILE).exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sre2l", "cda"])
def test_a_stopped_run_comes_to_the_same_bits(
    bank, tmp_path, problem, monkeypatch, method
):
    monkeypatch.setattr(distill, "Probes", NoProbes)
    at_once = distill.run(recovering(tmp_path / "a", bank, method=method), problem)
    distill.run(recovering(tmp_path / "b", bank, method=method, steps=3), problem)
    distill.run(recovering(tmp_path / "b", bank, method=method), problem)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    made = jaxdd.load(tmp_path / "a" / "distilled.npz")
    assert made.label_kind == "soft"
    assert at_once["config"]["steps"] == 6
