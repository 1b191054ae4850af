"""Prepared TFDS datasets that are damaged, odd or hostile."""

import contextlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxdd.data import load
from jaxdd.errors import UserError
from tests.data.conftest import TRAIN_1, failure, samples, write_tfds


@pytest.mark.parametrize("size", [0, 100, 65536, 66000, 0.5, 0.99])
def test_truncated_shard(toy, size):
    shard = toy / TRAIN_1
    data = shard.read_bytes()
    end = int(size * len(data)) if isinstance(size, float) else size
    shard.write_bytes(data[:end])
    failure("toy", toy, str(shard))


def test_random_damage_never_passes_unseen(toy):
    """Whatever bytes are hit: the same arrays, or an error that names the shard."""
    reference = load("toy", toy).fingerprint
    shard = toy / TRAIN_1
    data = shard.read_bytes()
    rng = np.random.default_rng(0)
    used = max(len(data.rstrip(b"\0")), 1)
    for _ in range(60):
        damaged = bytearray(data)
        for place in rng.integers(0, used, 3):
            damaged[place] ^= int(rng.integers(1, 256))
        shard.write_bytes(damaged)
        try:
            outcome = load("toy", toy).fingerprint
        except UserError as error:
            outcome = str(error)
        assert outcome == reference or str(shard) in outcome


def test_missing_shards_and_those_of_another_length(toy):
    load("toy", toy)  # a cached copy must not hide it
    (toy / TRAIN_1).unlink()
    failure("toy", toy, str(toy / TRAIN_1), "missing")
    other = toy / "toy/1.0.0/toy-test.array_record-00000-of-00001"
    (toy / TRAIN_1).write_bytes(other.read_bytes())
    failure("toy", toy, str(toy / TRAIN_1), "5 records", "declare 4")


@pytest.mark.parametrize(
    ("sample", "quoted"),
    [
        ((b"no image at all", 0), "record 3"),
        ((b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", 0), "none of PNG"),
        ((np.zeros((8, 9, 3), np.uint8), 0), "(8, 9, 3)"),
        ((np.zeros((8, 8, 3), np.uint8), -1), "is -1"),
        ((np.zeros((8, 8, 3), np.uint8), 2), None),
    ],
)
def test_bad_records(tmp_path, sample, quoted):
    shards = [[*samples(3), sample]]
    write_tfds(tmp_path / "bad" / "1.0.0", {"train": shards, "test": shards})
    if quoted is None:
        assert load("bad", tmp_path).labels[3] == 2
    else:
        message = failure("bad", tmp_path)
        assert quoted in message
        assert "bad-train.array_record-00000-of-00001" in message


def test_metadata_that_lack_a_class_or_are_broken(toy):
    features = toy / "toy/1.0.0/features.json"
    text = features.read_text().replace('"numClasses": "3"', '"numClasses": "2"')
    features.write_text(text)
    (toy / "toy/1.0.0/label.labels.txt").unlink()
    failure("toy", toy, "outside [0, 2)")
    directory = toy / "toy/1.0.0"
    features = (directory / "features.json").read_text()
    (directory / "features.json").write_text(features[: len(features) // 2])
    failure("toy", toy, str(directory))
    (directory / "features.json").unlink()
    failure("toy", toy, str(directory))
    (directory / "dataset_info.json").write_text("{")
    failure("toy", toy, "dataset_info.json")


def test_missing_splits(tmp_path):
    write_tfds(tmp_path / "one" / "1.0.0", {"train": [samples(3)]})
    failure("one", tmp_path, "'validation' split")
    write_tfds(tmp_path / "two" / "1.0.0", {"test": [samples(3)]})
    failure("two", tmp_path, "no 'train' split")


def test_no_single_image(toy):
    path = toy / "toy/1.0.0/features.json"
    features = json.loads(path.read_text())
    inner = features["featuresDict"]["features"]
    inner["a"] = inner["b"] = inner.pop("image")
    path.write_text(json.dumps(features))
    failure("toy", toy, "2 features of type Image", "a, b, id, label")


# --- Hostile metadata -----------------------------------------------------------------

INFO, FEATURES = "dataset_info.json", "features.json"


def edit(toy, file, change):
    """Alter the metadata of a dataset in place."""
    path = toy / "toy/1.0.0" / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def place_of(content, where):
    features = content["featuresDict"]["features"]
    return content if where == "whole" else features[where]


@pytest.fixture
def evil(tmp_path):
    """A folder with a module that leaves a mark when it is imported."""
    folder = tmp_path / "evil"
    folder.mkdir()
    code = "import pathlib\n" + f"pathlib.Path({str(folder / 'mark')!r}).touch()\n"
    (folder / "payload.py").write_text(code)
    return folder


@pytest.mark.parametrize("where", ["whole", "image", "label", "id"])
def test_no_class_that_metadata_name_is_imported(toy, evil, where, monkeypatch):
    monkeypatch.syspath_prepend(str(evil))
    name = {"pythonClassName": "payload.Feature"}
    edit(toy, FEATURES, lambda c: place_of(c, where).update(name))
    if where == "id":  # is not used
        assert len(load("toy", toy).images) == 10
    else:
        failure("toy", toy, str(toy))
    assert not (evil / "mark").exists()
    # The same folder would run its code if TFDS read it.
    import tensorflow_datasets as tfds

    with contextlib.suppress(Exception):
        _ = tfds.builder_from_directory(str(toy / "toy/1.0.0")).info.features
    assert (evil / "mark").exists()
    sys.modules.pop("payload", None)


def split_of(content, **changes):
    content["splits"][0].update(changes)


def image_of(content, **changes):
    place_of(content, "image")["image"].update(changes)


def label_of(content, **changes):
    place_of(content, "label")["classLabel"].update(changes)


@pytest.mark.parametrize(
    ("file", "change", "quoted"),
    [
        (FEATURES, lambda c: label_of(c, numClasses="1000000000"), "1000000000"),
        (FEATURES, lambda c: label_of(c, numClasses=10**30), "numClasses"),
        (FEATURES, lambda c: label_of(c, numClasses="-3"), "numClasses"),
        (FEATURES, lambda c: label_of(c, numClasses=[3]), "numClasses"),
        (FEATURES, lambda c: label_of(c, numClasses="4"), "label.labels.txt"),
        (FEATURES, lambda c: image_of(c, dtype="float32"), "float32"),
        (FEATURES, lambda c: image_of(c, shape={"dimensions": ["8", "8"]}), "list"),
        (FEATURES, lambda c: image_of(c, shape={"dimensions": ["x"] * 3}), "'x'"),
        (FEATURES, lambda c: image_of(c, shape={"dimensions": [8, 8, 2]}), "(8, 8, 2)"),
        (
            FEATURES,
            lambda c: image_of(c, shape={"dimensions": [8, 8, 4]}),
            "--channels",
        ),
        (FEATURES, lambda c: c.update(featuresDict=[]), FEATURES),
        (FEATURES, lambda c: c.clear(), FEATURES),
        (INFO, lambda c: split_of(c, shardLengths=["1"] * 20_000), "10000 entries"),
        (INFO, lambda c: split_of(c, shardLengths=["1"] * 99), "99 shards, but"),
        (INFO, lambda c: split_of(c, shardLengths=["6", "999999999"]), "999999999"),
        (INFO, lambda c: split_of(c, shardLengths=["6", 10**40]), "shardLengths"),
        (INFO, lambda c: split_of(c, shardLengths=["6", "-1"]), "shardLengths"),
        (INFO, lambda c: split_of(c, shardLengths="66"), "shardLengths"),
        (INFO, lambda c: split_of(c, filepathTemplate="../{SPLIT}"), "../train"),
        (INFO, lambda c: split_of(c, filepathTemplate="{SPLIT.__class__}"), "missing"),
        (INFO, lambda c: split_of(c, filepathTemplate="x" * 255), "missing"),
        (INFO, lambda c: split_of(c, name="tr\0ain"), "no 'train' split"),
        (INFO, lambda c: c.update(splits=[[]]), "splits"),
        (INFO, lambda c: c.update(name=["toy"]), "name"),
        (INFO, lambda c: c.update(fileFormat="\n" * 99), INFO),
    ],
)
def test_odd_metadata_are_refused_at_once(toy, file, change, quoted):
    edit(toy, file, change)
    failure("toy", toy, quoted)


@pytest.mark.parametrize("file", [INFO, FEATURES])
def test_metadata_in_a_pipe_are_refused(toy, file):
    path = toy / "toy/1.0.0" / file
    path.unlink()
    os.mkfifo(path)
    failure("toy", toy, str(toy))


def test_names_of_label_files_stay_in_the_folder(toy):
    (toy / "secret.labels.txt").write_text("a\nb\nc\n")

    def rename(content):
        features = content["featuresDict"]["features"]
        features["../../secret"] = features.pop("label")

    edit(toy, FEATURES, rename)
    # The records have no such feature.
    failure("toy", toy, "cannot be decoded")


def test_a_directory_without_permission_is_named(toy, monkeypatch):
    def refusing(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refusing)
    failure("toy", toy, str(toy / "toy"), "(Permission denied)")
