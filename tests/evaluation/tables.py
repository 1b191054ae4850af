"""A small dataset, and sets that might have been distilled from it."""

import numpy as np

import jaxdd
from jaxdd.artifact.artifact import Artifact
from jaxdd.data import from_arrays
from jaxdd.data.preprocess import Preprocess
from jaxdd.data.problem import prepare
from jaxdd.evaluation.opening import open_referee
from jaxdd.evaluation.options import Config
from tests.helpers import toy_arrays

NAMES = ("cat", "dog", "eel")


def _pixels(seed):
    images, labels = toy_arrays(counts=(24, 20, 16), seed=seed)
    return np.clip((images + 3) / 8, 0, 1).astype(np.float32), labels


DATA = from_arrays(*_pixels(0), *_pixels(1), NAMES, name="toy")
PROBLEM = prepare(DATA, 0.25, 0)


def artifact(ipc=1, preprocess=None, soft=False, **changes) -> Artifact:
    """Real images with noise, and hard labels or softened ones."""
    rng, preprocess = np.random.default_rng(ipc), preprocess or PROBLEM.preprocess
    train = PROBLEM.splits.train
    pixels = np.stack([train.images[train.labels == k][:ipc] for k in range(3)])
    images = preprocess.apply(pixels) + 0.1 * rng.normal(size=pixels.shape)
    hard = np.tile(np.eye(3)[:, None], (1, ipc, 1))
    fields = {
        "images": images.astype(np.float32),
        "labels": (0.6 * hard + 0.4 / 3 if soft else hard).astype(np.float32),
        "step_size": None,
        "preprocess": preprocess,
        "class_names": NAMES,
        "dataset": {
            "name": "toy",
            "fingerprint": DATA.fingerprint,
            "validation": 0.25,
            "split_seed": 0,
        },
        "network": {"name": "mlp", "width": 4},
        "augmentation": "none",
        "training": jaxdd.Training(4, 0.2, momentum=0.9, decay_epochs=(3,)),
        "measured": {"random": {"mean": 40.0, "std": 1.0, "n": 5}},
        "provenance": {"seed": 0},
    }
    return Artifact(**{**fields, **changes})


# The same images for other networks' inputs.
OTHER_INPUTS = Preprocess("affine", np.full(1, 0.3, np.float32), np.ones(1, np.float32))
HARD, SOFT = artifact(), artifact(soft=True)


def judged(sets, **flags):
    """The table of sets in memory."""
    return jaxdd.referee(sets, dataset=DATA, **flags)


def opened_of(sets, **flags):
    """The table of sets in memory before anything is computed."""
    return open_referee(Config(artifact="in memory", **flags), sets, DATA)


def config(paths, tmp_path, **flags):
    return Config(artifact=paths, workdir=str(tmp_path / "out"), **flags)


def all_right(judge, group, first, hits, *rest):
    """In the place of a measurement, which compiles."""
    places = np.arange(first, first + len(group[0]))
    hits.add(places, np.ones((len(places), hits.right.shape[1]), bool))
