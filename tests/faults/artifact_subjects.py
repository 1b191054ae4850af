"""What is damaged of artifacts: sets of every kind, and what is done with them."""

import dataclasses
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from jaxdd.artifact import file as artifacts
from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.slim import filled, slim
from jaxdd.data import fit_zca, normalisation
from jaxdd.data.problem import DataFlags, Problem, open_problem
from jaxdd.data.unfitted import Unfitted
from jaxdd.evaluation import run as evaluate
from jaxdd.evaluation.protocol import Judge, Protocol
from jaxdd.training.fit import Training
from tests.faults.damage import damage_archive, damage_header, of_file
from tests.faults.fuzz import Subject


@cache
def digits() -> Problem:
    return open_problem(DataFlags(), 0.1, 0)


def artifact_of(
    zca: bool,
    soft: bool,
    pruned: bool = False,
    without_matrices: bool = False,
    **changes,
) -> Artifact:
    """A set of digits, two images of each class, as some method could have made it."""
    dataset = digits().dataset
    if pruned:
        dataset = dataset.subset(np.arange(0, len(dataset.labels), 3))
    pixels = dataset.images[:20].reshape(10, 2, *dataset.image_shape)
    fitted_to = digits().splits.train.images if without_matrices else dataset.images
    preprocess = fit_zca(fitted_to) if zca else normalisation("digits", fitted_to)
    labels = np.repeat(np.eye(10, dtype=np.float32)[:, None], 2, axis=1)
    if soft:
        labels = 0.9 * labels + np.float32(0.01)
    made = Artifact(
        images=preprocess.apply(pixels),
        labels=labels,
        step_size=None,
        preprocess=preprocess,
        class_names=dataset.class_names,
        dataset={
            "name": "digits",
            "fingerprint": dataset.fingerprint,
            "validation": 0.1,
            "split_seed": 0,
            **dataset.described,
        },
        network={"name": "convnet", "width": 8, "depth": 2},
        augmentation="flip_scale",
        training=Training(4, momentum=0.9, decay_epochs=(2, 3), reset_momentum=True),
        measured={
            name: {"mean": 50.0, "std": 1.5, "n": 5} for name in ("distilled", "random")
        },
        provenance={"config": {"ipc": 2}, "seed": 3, "steps": 7, "device": "cpu x1"},
    )
    if changes.get("space") == "pixels":
        changes["images"] = pixels
    made = dataclasses.replace(made, **changes)
    return slim(made) if without_matrices else made


ARTIFACTS: dict[str, dict] = {
    "hard": {"zca": False, "soft": False},
    "soft": {"zca": False, "soft": True, "step_size": 0.02},
    "pruned": {"zca": False, "soft": False, "pruned": True},
    "whitened": {"zca": True, "soft": True, "network": {"name": "mlp", "width": 16}},
    "slim": {"zca": True, "soft": False, "without_matrices": True},
    "tiles": {
        "zca": False,
        "soft": False,
        "factor": 2,
        "formation": "multi",
        "space": "pixels",
        "augmentation": "idc:color_crop+cutmix=0.5",
    },
}


def _use_artifact(folder: Path) -> None:
    artifact = artifacts.load(folder / "distilled.npz")
    shown = artifact.displayable()
    assert shown.dtype == np.float32
    assert shown.min() >= 0 and shown.max() <= 1  # noqa: PT018
    decoded = artifact.synthetic()
    assert np.isfinite(np.asarray(decoded.images)).all()
    assert np.isfinite(np.asarray(decoded.labels)).all()
    assert decoded.images.shape[2:] == artifact.images.shape[2:]
    again = artifacts.load(artifacts.save(artifact, folder / "again.npz"))
    for field in dataclasses.fields(Artifact):
        _assert_same(getattr(artifact, field.name), getattr(again, field.name))
    # As `evaluate` goes on from there, with data that fits.
    problem = digits()
    protocol = Protocol(
        artifact.network,
        artifact.training,
        artifact.augmentation,
        num_eval=5,
        num_random=artifact.measured.get("random", {}).get("n", 5),
        seed=artifact.provenance["seed"],
        precision="float32",
    )
    if artifact.images.shape[2:] == problem.dataset.image_shape:
        whole = artifact
        if isinstance(artifact.preprocess, Unfitted):
            train = problem.splits.train.images
            whole = filled(artifact, artifact.preprocess.fit(train))
            assert np.isfinite(np.asarray(whole.synthetic().images)).all()
        there = dataclasses.replace(problem, preprocess=whole.fitted)
        Judge(there, protocol, there.splits.test)
    path = folder / "distilled.npz"
    if zlib.crc32(path.read_bytes()) % 10 == 0:  # not always: it reads the data
        evaluate.open_run(evaluate.Config(artifact=str(path)))


def _assert_same(ours, theirs) -> None:
    if dataclasses.is_dataclass(ours) and not isinstance(ours, Training):
        for field in dataclasses.fields(ours):
            _assert_same(getattr(ours, field.name), getattr(theirs, field.name))
    elif isinstance(ours, np.ndarray):
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert ours == theirs


def _artifact_subject(name: str) -> Subject:
    def build(folder: Path) -> None:
        artifacts.save(artifact_of(**ARTIFACTS[name]), folder / "distilled.npz")

    damage = lambda rng, content: damage_archive(rng, content, damage_header)
    return Subject(build, of_file("distilled.npz", damage), _use_artifact)


SUBJECTS = {name: _artifact_subject(name) for name in ARTIFACTS}
