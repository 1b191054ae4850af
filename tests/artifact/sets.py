"""A small set, and what is done to its file."""

import dataclasses
import json

import numpy as np
import pytest

from jaxdd.artifact import file as artifacts
from jaxdd.artifact.artifact import Artifact
from jaxdd.data import fit_zca, normalisation
from jaxdd.errors import UserError
from jaxdd.training.fit import Training

NAMES = ("cat", "dog", "eel")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 8, 1), dtype=np.uint8)


def make(zca=False, soft=False, pixels=PIXELS, **changes):
    flat = pixels.reshape(-1, *pixels.shape[2:])
    preprocess = fit_zca(flat) if zca else normalisation("toy", flat)
    labels = np.broadcast_to(np.eye(3, dtype=np.float32)[:, None], (3, 4, 3)).copy()
    if soft:
        labels[0, 1] = (0.7, 0.2, 0.1)
    made = Artifact(
        images=preprocess.apply(pixels),
        labels=labels,
        step_size=None,
        preprocess=preprocess,
        class_names=NAMES,
        dataset={"name": "toy", "fingerprint": "f", "validation": 0.1, "split_seed": 0},
        network={"name": "convnet", "width": 8},
        augmentation="flip_scale",
        training=Training(4, momentum=0.9, decay_epochs=(2, 3), reset_momentum=True),
        measured={"distilled": {"mean": 50.0, "std": 1.0, "n": 5}},
        provenance={"config": {"ipc": 4}, "seed": 3, "steps": 7},
    )
    return dataclasses.replace(made, **changes)


def failure(path, *quoted):
    with pytest.raises(UserError) as error:
        artifacts.load(path)
    message = str(error.value)
    for part in (str(path), *quoted):
        assert part in message
    assert "\n" not in message
    return message


def rewrite(path, fields=None, **arrays):
    """Change arrays of a file, or fields of its header; None drops one."""
    with np.load(path) as file:
        content = {**file}
    if fields is not None:
        old = json.loads(str(content["header"]))
        new = {k: v for k, v in {**old, **fields}.items() if v is not None}
        content["header"] = np.array(json.dumps(new))
    content.update(arrays)
    np.savez(path, **{k: v for k, v in content.items() if v is not None})
