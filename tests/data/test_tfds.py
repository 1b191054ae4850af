"""The TFDS reader on tiny datasets that the tests write themselves."""

import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxdd.data import from_tfds, load, normalisation
from tests.data.conftest import TRAIN_1, failure, samples, write_tfds

ROOT = Path(__file__).resolve().parents[2]


def edit_info(directory, **changes):
    path = directory / "dataset_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_reads_what_was_written(toy):
    dataset = load("toy", toy)
    train, test = samples(10), samples(5, seed=1)
    np.testing.assert_array_equal(dataset.images, [x for x, _ in train])
    np.testing.assert_array_equal(dataset.labels, [y for _, y in train])
    np.testing.assert_array_equal(dataset.test_images, [x for x, _ in test])
    np.testing.assert_array_equal(dataset.test_labels, [y for _, y in test])
    assert dataset.images.dtype == np.uint8
    assert dataset.class_names == ("cat", "dog", "eel")
    assert dataset.name == "toy"
    assert "tensorflow" not in sys.modules


def test_data_dir_and_version_of_a_dataset(toy, monkeypatch):
    reference = load("toy", toy).fingerprint
    assert load("toy", toy / "toy").fingerprint == reference
    assert load("toy", str(toy / "toy" / "1.0.0")).fingerprint == reference
    monkeypatch.setenv("TFDS_DATA_DIR", str(toy))
    assert load("toy").fingerprint == reference
    failure("toi", toy / "toy" / "1.0.0", "'toy'", "'toi'")
    for version, num in (("1.9.0", 3), ("1.10.0", 6)):
        splits = {"train": [samples(num)], "test": [samples(3)]}
        write_tfds(toy / "toy" / version, splits)
    (toy / "toy" / "2.0.0.incomplete").mkdir()
    (toy / "toy" / "2.0.0").mkdir()  # without metadata: not prepared
    assert len(load("toy", toy).images) == 6
    assert len(load("toy:1.9.0", toy).images) == 3
    failure("toy:2.0.0", toy, "2.0.0", "1.10.0")


def test_configs(tmp_path):
    for config in ("big", "small"):
        directory = write_tfds(
            tmp_path / "set" / config / "1.0.0",
            {"train": [samples(3)], "test": [samples(3)]},
        )
        edit_info(directory, name="set", configName=config)
        for file in directory.glob(f"{config}-*"):
            file.rename(directory / file.name.replace(config, "set", 1))
        if config == "big":  # the only one so far
            assert len(load("set", tmp_path).images) == 3
    assert len(load("set/small", tmp_path).images) == 3
    failure("set", tmp_path, "set/big, set/small")


def test_validation_split_other_keys_and_free_size(tmp_path):
    write_tfds(
        tmp_path / "odd" / "1.0.0",
        {"train": [samples(3)], "validation": [samples(4, 1)]},
        shape=(None, None, 3),
        keys=("picture", "kind"),
    )
    dataset = load("odd", tmp_path)
    assert dataset.image_shape == (8, 8, 3)
    assert len(dataset.test_images) == 4


def test_grey_and_colour_files_get_the_channels_of_the_feature(tmp_path):
    grey, colour = samples(3, shape=(8, 8, 1)), samples(3)
    splits = {"train": [grey + colour], "test": [grey]}
    write_tfds(tmp_path / "rgb" / "1.0.0", splits)
    images = load("rgb", tmp_path).images
    for k in range(3):
        np.testing.assert_array_equal(images[k], np.repeat(grey[k][0], 3, axis=-1))
    write_tfds(tmp_path / "grey" / "1.0.0", {**splits, "train": [grey]}, (8, 8, 1))
    dataset = load("grey", tmp_path)
    np.testing.assert_array_equal(dataset.images[0], grey[0][0])


def test_many_records(tmp_path):
    """More than one block, and a shard boundary within the second."""
    many = samples(1100, shape=(2, 2, 1))
    splits = {"train": [many[:1050], many[1050:]], "test": [many[:3]]}
    write_tfds(tmp_path / "many" / "1.0.0", splits, (2, 2, 1))
    dataset = load("many", tmp_path)
    np.testing.assert_array_equal(dataset.images, [x for x, _ in many])
    np.testing.assert_array_equal(dataset.labels, [y for _, y in many])


def test_unknown_name(toy):
    message = failure("nonexisting", toy)
    for part in ("'nonexisting'", str(toy), "toy", "'digits'", "folder:PATH"):
        assert part in message
    failure("../toy", toy, "'../toy'")
    failure("nonexisting", toy / "absent", "does not exist")


def test_known_but_not_prepared(toy):
    message = failure("cifar100", toy)
    assert "not prepared" in message
    command = f"python -m experiments.prepare --dataset=cifar100 --data_dir={toy}"
    assert command in message
    failure("tiny_imagenet", toy, "not prepared", "--dataset=tiny_imagenet")


def test_what_our_program_does_not_prepare_needs_tensorflow(toy):
    failure("mnist:1.0.0", toy, "needs TensorFlow", "download_and_prepare")
    message = failure("kmnist", toy)
    assert (
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('kmnist', data_dir='{toy}')"
        ".download_and_prepare(file_format='array_record')\""
    ) in message


def test_an_unfinished_dataset_counts_as_none(toy):
    (toy / "mnist" / "3.0.1.incompleteXYZ").mkdir(parents=True)
    failure("mnist", toy, "'mnist' is not prepared")


def test_tfrecord_only(tmp_path):
    directory = write_tfds(
        tmp_path / "old" / "1.0.0",
        {"train": [samples(3)], "test": [samples(3)]},
        file_format="tfrecord",
    )
    words = "stored as tfrecord", directory, "file_format='array_record'"
    failure("old", tmp_path, *words)


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


def test_images_are_converted(tmp_path, cache_dir):
    splits = {"train": [samples(3)], "test": [samples(3, 1)]}
    write_tfds(tmp_path / "set" / "1.0.0", splits)
    plain = load("set", tmp_path)
    for _ in range(2):  # the second is from the cache
        small = load("set", tmp_path, 1, (4, 6))
        assert small.image_shape == (4, 6, 1)
        assert small.test_images.shape == (3, 4, 6, 1)
    assert load("set", tmp_path).fingerprint == plain.fingerprint
    assert len(list(cache_dir.iterdir())) == 2


def test_what_is_in_a_feature_is_kept_or_refused(tmp_path):
    clear = samples(3, shape=(8, 8, 4))
    write_tfds(
        tmp_path / "rgba" / "1.0.0", {"train": [clear], "test": [clear]}, (8, 8, 4)
    )
    failure("rgba", tmp_path, "4 channels: give --channels=3")
    images = load("rgba", tmp_path, 3).images
    np.testing.assert_array_equal(images, [x[..., :3] for x, _ in clear])
    deep = [(np.full((8, 8, 1), 40_000 + i, np.uint16), i % 3) for i in range(6)]
    splits = {"train": [deep], "test": [deep]}
    write_tfds(tmp_path / "deep" / "1.0.0", splits, shape=(8, 8, 1))
    failure("deep", tmp_path, "it has the mode 'I;16'")


def test_the_machine_is_not_blamed_on_the_data(toy, monkeypatch):
    monkeypatch.setenv("JAXDD_CACHE", "~nobody-of-that-name/cache")
    assert len(load("toy", toy).images) == 10
    (toy / "toy" / "1.0.0" / "notes.txt").symlink_to(toy / "gone")
    assert load("toy", toy).name == "toy"
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    message = failure("toy", toy, "tensorflow_datasets cannot be imported")
    assert "prepare" not in message


def test_the_command_can_be_copied_whatever_the_folder_is_called(toy):
    root = toy / 'a "b" $(c)'
    root.mkdir()
    own = shlex.split(failure("mnist", root).rpartition(": ")[2])
    assert own[-1] == f"--data_dir={root}"
    program = shlex.split(failure("kmnist", root).rpartition(": ")[2])[-1]
    assert repr(str(root)) in program
    compile(program, "command", "exec")


SLOW = pytest.mark.slow
TFDS = ROOT / "../shared/data/tfds"


@pytest.mark.parametrize(
    ("name", "shape", "train", "test", "tolerance"),
    [
        # Minutes of decoding.
        pytest.param("mnist", (28, 28, 1), 60_000, 10_000, 1e-3, marks=SLOW),
        pytest.param("cifar10", (32, 32, 3), 50_000, 10_000, 5e-3, marks=SLOW),
        # Ten classes, normalised by the constants of all ImageNet.
        ("tiny_imagenet_subset", (64, 64, 3), 5_000, 500, 0.2),
    ],
)
def test_real_dataset(name, shape, train, test, tolerance, monkeypatch):
    if not (TFDS / name).is_dir():
        pytest.skip(f"../shared/data/tfds/{name} is absent")
    dataset = load(name, TFDS)
    assert dataset.image_shape == shape
    assert dataset.images.shape == (train, *shape)
    assert dataset.test_images.shape == (test, *shape)
    for labels in (dataset.labels, dataset.test_labels):
        counts = np.bincount(labels, minlength=10)
        assert len(counts) == dataset.num_classes == 10
        assert counts.min() > 0.8 * counts.mean()
    z = normalisation(name, dataset.images).apply(dataset.images)
    assert np.abs(z.reshape(-1, shape[-1]).mean(0, dtype=np.float64)).max() < tolerance
    # A second read decodes nothing: it comes from the cache.
    monkeypatch.setattr("jaxdd.data.readers.tfds._decode", None)
    assert load(name, TFDS).fingerprint == dataset.fingerprint
