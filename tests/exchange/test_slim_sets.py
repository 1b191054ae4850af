"""A whitened set is made slim, and whole again, and shown without its data."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import convert
from jaxdd.artifact import file as artifacts
from jaxdd.artifact.slim import filled
from tests.faults.artifact_subjects import artifact_of, digits
from tests.helpers import content, refused


@pytest.fixture(scope="module")
def slim_set():
    return artifact_of(zca=True, soft=False, without_matrices=True)


@pytest.fixture(scope="module")
def whole_set(slim_set):
    return filled(slim_set, slim_set.preprocess.fit(digits().splits.train.images))


@pytest.fixture
def paths(tmp_path, slim_set, whole_set):
    pair = {"slim": slim_set, "whole": whole_set}
    return {k: artifacts.save(x, tmp_path / f"{k}.npz") for k, x in pair.items()}


def converted(source, out, **flags):
    return convert.run(convert.Config(source=str(source), out=str(out), **flags))[0]


def test_slim_and_whole_again(paths, tmp_path, whole_set, slim_set):
    there = converted(paths["whole"], tmp_path / "a.npz", slim=True)
    assert there.digest == slim_set.digest
    assert content(tmp_path / "a.npz") == content(paths["slim"])
    checked = converted(paths["slim"], tmp_path / "b.npz", slim=True, dataset="digits")
    assert checked.digest == slim_set.digest
    back = converted(tmp_path / "a.npz", tmp_path / "c.npz", dataset="digits")
    assert back.digest == whole_set.digest
    assert content(tmp_path / "c.npz") == content(paths["whole"])


def test_pictures_need_no_data(paths, tmp_path):
    for name, path in paths.items():
        converted(path, tmp_path / name, to="png")
    pictures = [
        {x.relative_to(tmp_path / name): content(x) for x in folder.rglob("*.png")}
        for name in paths
        for folder in [tmp_path / name]
    ]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) == 20
    about = json.loads((tmp_path / "slim/export.json").read_text())["preprocessing"]
    assert "U diag(1 / sqrt(s + 0.1)) U'" in about["formula"]
    with np.load(tmp_path / "slim/arrays.npz") as held:
        assert "preprocess/matrix" not in held.files


@pytest.mark.parametrize("to", ["safetensors", "pt", "png", "npz"])
def test_what_cannot_be_written_slim_is_refused(paths, tmp_path, slim_set, to):
    source, flags, words = paths["slim"], {}, "this set is slim"
    if to == "png":  # of tiles, cut out of inputs
        tiles = dataclasses.replace(slim_set, factor=2)
        source = artifacts.save(tiles, tmp_path / "tiles.npz")
    if to == "npz":
        source, flags = artifacts.save(artifact_of(False, False), tmp_path / "x"), {}
        flags, words = {"slim": True}, "normalised, not whitened"
    with refused(words):
        converted(source, tmp_path / "out", to=to, **flags)
    assert not (tmp_path / "out").exists()


def test_a_set_that_its_data_would_not_give_again_is_not_made_slim(paths, tmp_path):
    other = artifacts.save(artifact_of(zca=True, soft=False), tmp_path / "other.npz")
    with refused("is another one than that of these training data"):
        converted(other, tmp_path / "out.npz", slim=True, dataset="digits")
    with refused("--slim is a form of jaxdd's own file"):
        converted(paths["whole"], tmp_path / "out", slim=True, to="png")
    assert not list(tmp_path.glob("out*"))


def test_the_only_whole_copy_is_not_replaced(paths):
    whole = paths["whole"] if isinstance(paths, dict) else paths[1]
    content = whole.read_bytes()
    with refused(None, "--slim into the file of --source"):
        converted(whole, whole, slim=True)
    assert whole.read_bytes() == content
