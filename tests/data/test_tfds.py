"""The TFDS reader on tiny datasets that the tests write themselves."""

import contextlib
import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxdd.data import from_tfds, load
from jaxdd.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
TRAIN_1 = "toy/1.0.0/toy-train.array_record-00001-of-00002"


def failure(*args) -> str:
    with pytest.raises(UserError) as error:
        load(*args)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 700
    return message


def edit_info(directory, **changes):
    path = directory / "dataset_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_reads_what_was_written(toy, sample_maker):
    dataset = load("toy", toy)
    train, test = sample_maker(10), sample_maker(5, seed=1)
    np.testing.assert_array_equal(dataset.images, [x for x, _ in train])
    np.testing.assert_array_equal(dataset.labels, [y for _, y in train])
    np.testing.assert_array_equal(dataset.test_images, [x for x, _ in test])
    np.testing.assert_array_equal(dataset.test_labels, [y for _, y in test])
    assert dataset.images.dtype == np.uint8
    assert dataset.class_names == ("cat", "dog", "eel")
    assert dataset.name == "toy"
    assert "tensorflow" not in sys.modules


def test_data_dir_may_be_the_dataset_or_the_environment(toy, monkeypatch):
    reference = load("toy", toy).fingerprint
    assert load("toy", toy / "toy").fingerprint == reference
    assert load("toy", str(toy / "toy" / "1.0.0")).fingerprint == reference
    monkeypatch.setenv("TFDS_DATA_DIR", str(toy))
    assert load("toy").fingerprint == reference
    message = failure("toi", toy / "toy" / "1.0.0")
    assert "'toy'" in message
    assert "'toi'" in message


def test_newest_version_unless_asked(toy, tfds_writer, sample_maker):
    for version, num in (("1.9.0", 3), ("1.10.0", 6)):
        splits = {"train": [sample_maker(num)], "test": [sample_maker(3)]}
        tfds_writer(toy / "toy" / version, splits)
    (toy / "toy" / "2.0.0.incomplete").mkdir()
    (toy / "toy" / "2.0.0").mkdir()  # without metadata: not prepared
    assert len(load("toy", toy).images) == 6
    assert len(load("toy:1.9.0", toy).images) == 3
    message = failure("toy:2.0.0", toy)
    assert "2.0.0" in message
    assert "1.10.0" in message


def test_configs(tmp_path, tfds_writer, sample_maker):
    for config in ("big", "small"):
        directory = tfds_writer(
            tmp_path / "set" / config / "1.0.0",
            {"train": [sample_maker(3)], "test": [sample_maker(3)]},
        )
        edit_info(directory, name="set", configName=config)
        for file in directory.glob(f"{config}-*"):
            file.rename(directory / file.name.replace(config, "set", 1))
        if config == "big":  # the only one so far
            assert len(load("set", tmp_path).images) == 3
    assert len(load("set/small", tmp_path).images) == 3
    assert "set/big, set/small" in failure("set", tmp_path)


def test_validation_split_other_keys_and_free_size(tmp_path, tfds_writer, sample_maker):
    tfds_writer(
        tmp_path / "odd" / "1.0.0",
        {"train": [sample_maker(3)], "validation": [sample_maker(4, 1)]},
        shape=(None, None, 3),
        keys=("picture", "kind"),
    )
    dataset = load("odd", tmp_path)
    assert dataset.image_shape == (8, 8, 3)
    assert len(dataset.test_images) == 4


def test_grey_and_colour_files_get_the_channels_of_the_feature(
    tmp_path, tfds_writer, sample_maker
):
    grey, colour = sample_maker(3, shape=(8, 8, 1)), sample_maker(3)
    splits = {"train": [grey + colour], "test": [grey]}
    tfds_writer(tmp_path / "rgb" / "1.0.0", splits)
    images = load("rgb", tmp_path).images
    for k in range(3):
        np.testing.assert_array_equal(images[k], np.repeat(grey[k][0], 3, axis=-1))
    tfds_writer(tmp_path / "grey" / "1.0.0", {**splits, "train": [grey]}, (8, 8, 1))
    dataset = load("grey", tmp_path)
    np.testing.assert_array_equal(dataset.images[0], grey[0][0])


def test_many_records(tmp_path, tfds_writer, sample_maker):
    """More than one block, and a shard boundary within the second."""
    many = sample_maker(1100, shape=(2, 2, 1))
    splits = {"train": [many[:1050], many[1050:]], "test": [many[:3]]}
    tfds_writer(tmp_path / "many" / "1.0.0", splits, (2, 2, 1))
    dataset = load("many", tmp_path)
    np.testing.assert_array_equal(dataset.images, [x for x, _ in many])
    np.testing.assert_array_equal(dataset.labels, [y for _, y in many])


def test_unknown_name(toy):
    message = failure("nonexisting", toy)
    for part in ("'nonexisting'", str(toy), "toy", "'digits'", "folder:PATH"):
        assert part in message
    assert "'../toy'" in failure("../toy", toy)
    assert "does not exist" in failure("nonexisting", toy / "absent")


def test_known_but_not_prepared(toy):
    message = failure("cifar100", toy)
    assert "not prepared" in message
    assert (
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('cifar100', data_dir='{toy}')"
        ".download_and_prepare(file_format='array_record')\""
    ) in message
    (toy / "mnist" / "3.0.1.incompleteXYZ").mkdir(parents=True)
    assert "'mnist' is not prepared" in failure("mnist", toy)


def test_tfrecord_only(tmp_path, tfds_writer, sample_maker):
    directory = tfds_writer(
        tmp_path / "old" / "1.0.0",
        {"train": [sample_maker(3)], "test": [sample_maker(3)]},
        file_format="tfrecord",
    )
    message = failure("old", tmp_path)
    assert "stored as tfrecord" in message
    assert str(directory) in message
    assert "file_format='array_record'" in message


@pytest.mark.parametrize("size", [0, 100, 65536, 66000, 0.5, 0.99])
def test_truncated_shard(toy, size):
    shard = toy / TRAIN_1
    data = shard.read_bytes()
    end = int(size * len(data)) if isinstance(size, float) else size
    shard.write_bytes(data[:end])
    message = failure("toy", toy)
    assert str(shard) in message


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


def test_missing_shard(toy):
    load("toy", toy)  # a cached copy must not hide it
    (toy / TRAIN_1).unlink()
    message = failure("toy", toy)
    assert str(toy / TRAIN_1) in message
    assert "missing" in message


def test_shard_of_another_length(toy):
    other = toy / "toy/1.0.0/toy-test.array_record-00000-of-00001"
    (toy / TRAIN_1).write_bytes(other.read_bytes())
    message = failure("toy", toy)
    assert str(toy / TRAIN_1) in message
    assert "5 records" in message
    assert "declare 4" in message


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
def test_bad_records(tmp_path, tfds_writer, sample_maker, sample, quoted):
    shards = [[*sample_maker(3), sample]]
    tfds_writer(tmp_path / "bad" / "1.0.0", {"train": shards, "test": shards})
    if quoted is None:
        assert load("bad", tmp_path).labels[3] == 2
    else:
        message = failure("bad", tmp_path)
        assert quoted in message
        assert "bad-train.array_record-00000-of-00001" in message


def test_labels_beyond_the_classes(toy):
    features = toy / "toy/1.0.0/features.json"
    text = features.read_text().replace('"numClasses": "3"', '"numClasses": "2"')
    features.write_text(text)
    (toy / "toy/1.0.0/label.labels.txt").unlink()
    assert "outside [0, 2)" in failure("toy", toy)


def test_missing_splits(tmp_path, tfds_writer, sample_maker):
    tfds_writer(tmp_path / "one" / "1.0.0", {"train": [sample_maker(3)]})
    assert "'validation' split" in failure("one", tmp_path)
    tfds_writer(tmp_path / "two" / "1.0.0", {"test": [sample_maker(3)]})
    assert "no 'train' split" in failure("two", tmp_path)


def test_broken_metadata(toy):
    directory = toy / "toy/1.0.0"
    features = (directory / "features.json").read_text()
    (directory / "features.json").write_text(features[: len(features) // 2])
    assert str(directory) in failure("toy", toy)
    (directory / "features.json").unlink()
    assert str(directory) in failure("toy", toy)
    (directory / "dataset_info.json").write_text("{")
    assert "dataset_info.json" in failure("toy", toy)


def test_no_single_image(toy):
    path = toy / "toy/1.0.0/features.json"
    features = json.loads(path.read_text())
    inner = features["featuresDict"]["features"]
    inner["a"] = inner["b"] = inner.pop("image")
    path.write_text(json.dumps(features))
    message = failure("toy", toy)
    assert "2 features of type Image" in message
    assert "a, b, id, label" in message


def test_cache_is_used_and_noticed_to_be_stale(toy, cache_dir, monkeypatch):
    reference = load("toy", toy)
    (entry,) = cache_dir.iterdir()
    assert entry.suffix == ".npz"

    def no_decoding(*_):
        raise AssertionError("the cache was not used")

    with monkeypatch.context() as patch:
        patch.setattr("jaxdd.data.readers.tfds._decode", no_decoding)
        again = load("toy", toy)
        assert again.fingerprint == reference.fingerprint
        assert again.class_names == reference.class_names
        assert again.name == reference.name
    shard = toy / TRAIN_1
    os.utime(shard, (1, 1))
    assert load("toy", toy).fingerprint == reference.fingerprint
    assert len(list(cache_dir.iterdir())) == 2


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "flip", "other"])
def test_broken_cache_is_rebuilt(toy, cache_dir, damage):
    reference = load("toy", toy).fingerprint
    (entry,) = cache_dir.iterdir()
    data = bytearray(entry.read_bytes())
    if damage == "other":
        np.savez(entry, images=np.zeros(3))
    else:
        data[300] ^= 1  # within the pixels: caught by the archive's checksum
        cut = data[: len(data) // 2]
        new = {"empty": b"", "garbage": b"x" * 999, "cut": cut, "flip": data}
        entry.write_bytes(new[damage])
    assert load("toy", toy).fingerprint == reference
    with np.load(entry) as arrays:  # whole again
        assert len(arrays["images"]) == 10
    assert list(cache_dir.iterdir()) == [entry]


def test_unwritable_cache_is_ignored(toy, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("JAXDD_CACHE", str(tmp_path / "file" / "cache"))
    assert len(from_tfds("toy", toy).images) == 10


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
        assert str(toy) in failure("toy", toy)
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
    assert quoted in failure("toy", toy)


@pytest.mark.parametrize("file", [INFO, FEATURES])
def test_metadata_in_a_pipe_are_refused(toy, file):
    path = toy / "toy/1.0.0" / file
    path.unlink()
    os.mkfifo(path)
    assert str(toy) in failure("toy", toy)


def test_names_of_label_files_stay_in_the_folder(toy):
    (toy / "secret.labels.txt").write_text("a\nb\nc\n")

    def rename(content):
        features = content["featuresDict"]["features"]
        features["../../secret"] = features.pop("label")

    edit(toy, FEATURES, rename)
    # The records have no such feature.
    assert "cannot be decoded" in failure("toy", toy)


def test_images_are_converted(tmp_path, tfds_writer, sample_maker, cache_dir):
    splits = {"train": [sample_maker(3)], "test": [sample_maker(3, 1)]}
    tfds_writer(tmp_path / "set" / "1.0.0", splits)
    plain = load("set", tmp_path)
    for _ in range(2):  # the second is from the cache
        small = load("set", tmp_path, 1, (4, 6))
        assert small.image_shape == (4, 6, 1)
        assert small.test_images.shape == (3, 4, 6, 1)
    assert load("set", tmp_path).fingerprint == plain.fingerprint
    assert len(list(cache_dir.iterdir())) == 2


def test_transparency_is_dropped_on_request(tmp_path, tfds_writer, sample_maker):
    clear = sample_maker(3, shape=(8, 8, 4))
    tfds_writer(
        tmp_path / "rgba" / "1.0.0", {"train": [clear], "test": [clear]}, (8, 8, 4)
    )
    assert "4 channels: give --channels=3" in failure("rgba", tmp_path)
    images = load("rgba", tmp_path, 3).images
    np.testing.assert_array_equal(images, [x[..., :3] for x, _ in clear])


def test_a_package_that_is_missing_is_not_blamed_on_the_data(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    message = failure("toy", toy)
    assert "tensorflow_datasets cannot be imported" in message
    assert "prepare" not in message


def test_a_directory_without_permission_is_named(toy, monkeypatch):
    def refusing(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refusing)
    message = failure("toy", toy)
    assert str(toy / "toy") in message
    assert "(Permission denied)" in message


def test_without_a_home_folder_there_is_no_cache(toy, monkeypatch):
    monkeypatch.setenv("JAXDD_CACHE", "~nobody-of-that-name/cache")
    assert len(load("toy", toy).images) == 10


def test_images_of_16_bits_are_refused_rather_than_cut(tfds_writer, tmp_path):
    deep = [(np.full((8, 8, 1), 40_000 + i, np.uint16), i % 3) for i in range(6)]
    splits = {"train": [deep], "test": [deep]}
    tfds_writer(tmp_path / "deep" / "1.0.0", splits, shape=(8, 8, 1))
    assert "it has the mode 'I;16'" in failure("deep", tmp_path)


def test_a_link_that_leads_nowhere_is_no_traceback(toy):
    (toy / "toy" / "1.0.0" / "notes.txt").symlink_to(toy / "gone")
    assert load("toy", toy).name == "toy"


def test_the_command_can_be_copied_whatever_the_folder_is_called(toy):
    root = toy / 'a "b" $(c)'
    root.mkdir()
    program = shlex.split(failure("mnist", root).rpartition(": ")[2])[-1]
    assert repr(str(root)) in program
    compile(program, "command", "exec")
