"""The picture of distilled sets below real images."""

import dataclasses

import matplotlib.image
import numpy as np
import pytest

import jaxdd
from experiments.pictures import Config, random_images, run
from jaxdd.data import load, normalisation
from jaxdd.errors import UserError
from tests.artifact.sets import make

NAMES = ("0", "1", "2")


@pytest.fixture
def dataset(tmp_path):
    """An archive of three classes, and its name for --dataset."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 8, 8), dtype=np.uint8)
    labels = np.arange(30) % 3
    np.savez(
        tmp_path / "toy.npz",
        x_train=images,
        y_train=labels,
        x_test=images[::-1],
        y_test=labels[::-1],
    )
    return f"npz:{tmp_path}/toy.npz"


@pytest.fixture
def save(tmp_path, dataset):
    """(name, fingerprint, provenance) -> path of a set with two images per class."""

    def save(name, fingerprint=None, provenance=None, measured=None):
        data = load(dataset)
        pixels = data.images[:6].reshape(2, 3, 8, 8, 1).swapaxes(0, 1)
        preprocess = normalisation("toy", data.images)
        artifact = make(
            images=preprocess.apply(pixels),
            labels=np.eye(3, dtype=np.float32)[:, None].repeat(2, axis=1),
            preprocess=preprocess,
            class_names=NAMES,
            measured=measured or {},
            provenance={"seed": 0, **(provenance or {})},
        )
        known = {**artifact.dataset, "fingerprint": fingerprint or data.fingerprint}
        artifact = dataclasses.replace(artifact, dataset=known)
        return str(jaxdd.save(artifact, tmp_path / f"{name}.npz"))

    return save


def test_one_row_per_set_below_the_real_images(tmp_path, save, dataset):
    one = save(
        "one",
        provenance={"config": {"method": "dsa"}},
        measured={"distilled": {"mean": 50.0, "std": 1.0, "n": 5}},
    )
    other = save("other", provenance={"config": ["of other code"]})
    heights = []
    for artifacts in (one, f"{one},{other}"):
        out = tmp_path / "new" / "sets.png"
        assert run(Config(artifacts=artifacts, out=str(out), dataset=dataset)) == out
        heights.append(matplotlib.image.imread(out).shape[0])
    assert heights[1] - heights[0] == 50  # 8 pixels, six times as large, and a gap


def test_real_images_are_one_of_each_class(dataset):
    data = load(dataset)
    chosen = random_images(data, seed=0)
    assert chosen.shape == (3, 8, 8, 1)
    assert chosen.max() <= 1
    for k, image in enumerate(chosen):
        of_class = data.images[data.labels == k] / 255
        assert (of_class == image).all(axis=(1, 2, 3)).any()
    assert (random_images(data, seed=1) != chosen).any()


@pytest.mark.parametrize(
    ("paths", "part"),
    [
        (["absent.npz"], "absent.npz"),
        ([], "names no file"),
        (["foreign"], "was not distilled from"),
    ],
)
def test_sets_that_cannot_be_drawn_are_refused(tmp_path, save, dataset, paths, part):
    if paths == ["foreign"]:
        paths = [save("foreign", fingerprint="of other data")]
    out = tmp_path / "sets.png"
    with pytest.raises(UserError, match=part):
        run(Config(artifacts=",".join(paths), out=str(out), dataset=dataset))
    assert not out.exists()
