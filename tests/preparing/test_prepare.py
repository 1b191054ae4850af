"""Datasets written from small archives in every original format, and read again."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import prepare as program
from jaxdd.data import load
from jaxdd.data.originals import ORIGINALS
from jaxdd.data.readers.tfds_info import read_info
from jaxdd.preparing.whole import READERS, prepare
from jaxdd.progress import Progress, listening
from tests.helpers import refused
from tests.preparing import archives

SHARED = Path(__file__).resolve().parents[3] / "shared/data/tfds"
# The first labels of MNIST's files, as every description of the data set has them.
FIRST_TRAIN = [5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5, 3, 6, 1, 7, 2, 8, 6, 9]
FIRST_TEST = [7, 2, 1, 0, 4, 1, 4, 9, 5, 9, 0, 6, 9, 0, 1, 5, 9, 7, 3, 4]


def official_order(split, count):
    """The indices in the order of TFDS: by the hash of the split's name and the index.

    Source: `Hasher` in tensorflow_datasets/core/hashing.py.
    """
    digests = [hashlib.md5(f"{split}{i}".encode()).hexdigest() for i in range(count)]
    return np.argsort(digests)


def test_mnist_has_the_order_and_the_metadata_of_the_official_builder(source, made):
    train, test = archives.digits(40, 0), archives.digits(12, 1)
    original = archives.mnist(source, train, test)
    events = []
    with listening(events.append):
        prepared = prepare("mnist", source, made, original)
    assert prepared == (made / "mnist/3.0.1", {"train": 40, "test": 12}, True)
    assert {str(x) for x in prepared.folder.iterdir()} == {
        f"{prepared.folder}/{name}"
        for name in (
            "dataset_info.json", "features.json",
            "mnist-train.array_record-00000-of-00001",
            "mnist-test.array_record-00000-of-00001",
        )
    }  # fmt: skip
    dataset = load("mnist", made)
    order = official_order("train", 40)
    np.testing.assert_array_equal(dataset.images[..., 0], train[0][order])
    np.testing.assert_array_equal(dataset.labels, np.array(train[1])[order])
    order = official_order("test", 12)
    np.testing.assert_array_equal(dataset.test_images[..., 0], test[0][order])
    assert [x.done for x in events if isinstance(x, Progress)] == [40, 12]
    assert "tensorflow" not in sys.modules


def test_tfds_itself_reads_what_was_written(source, made):
    import tensorflow_datasets as tfds

    train, test = archives.digits(20, 0), archives.digits(12, 1)
    prepare("mnist", source, made, archives.mnist(source, train, test))
    assert tfds.builder("mnist", data_dir=made).is_prepared()
    builder = tfds.builder_from_directory(str(made / "mnist/3.0.1"))
    assert builder.info.splits["train"].num_examples == 20
    records = builder.as_data_source("train")
    order = official_order("train", 20)
    for record, i in zip(records, order, strict=True):
        assert record["label"] == train[1][i]
        np.testing.assert_array_equal(record["image"][..., 0], train[0][i])


def test_fashion_mnist_has_names(source, made):
    original = archives.mnist(source, archives.digits(20, 0), archives.digits(12, 1))
    prepare("fashion_mnist", source, made, original)
    assert load("fashion_mnist", made).class_names[9] == "Ankle boot"


CIFAR = {
    "cifar10-binary": ("cifar10", archives.cifar10_binary, [10, 3, 3, 3, 3, 5], 10),
    "cifar10-python": ("cifar10", archives.cifar10_python, [10, 3, 3, 3, 3, 5], 10),
    "cifar100-binary": ("cifar100", archives.cifar100_binary, [120, 5], 100),
    "cifar100-python": ("cifar100", archives.cifar100_python, [120, 5], 100),
}


@pytest.mark.parametrize("case", CIFAR)
def test_both_archives_of_cifar_give_the_same(case, source, made):
    name, write, sizes, classes = CIFAR[case]
    parts = archives.batches(sizes, classes)
    kind = case.rpartition("-")[2]
    number = name.removeprefix("cifar")
    path = write(source / f"cifar-{number}-{kind}.tar.gz", parts)
    prepare(name, path, made, archives.original(name, source))
    dataset = load(name, made)
    images = np.concatenate([x for x, _ in parts[:-1]])
    labels = np.concatenate([y for _, y in parts[:-1]])
    order = official_order("train", len(images))
    np.testing.assert_array_equal(dataset.images, images[order])
    np.testing.assert_array_equal(dataset.labels, labels[order])
    order = official_order("test", 5)
    np.testing.assert_array_equal(dataset.test_images, parts[-1][0][order])
    names = archives.CIFAR10_NAMES if classes == 10 else archives.FINE_NAMES
    assert dataset.class_names == tuple(names)


def test_cifar_keeps_the_features_of_the_builder(source, made):
    import tensorflow_datasets as tfds

    path = source / "cifar-100-python.tar.gz"
    archives.cifar100_python(path, archives.batches([120, 5], 100))
    prepare("cifar100", source, made, archives.original("cifar100", source))
    folder = str(made / "cifar100/3.0.2")
    record = tfds.builder_from_directory(folder).as_data_source("test")[0]
    assert record["id"] == b"test_%05d" % official_order("test", 5)[0]
    assert record["coarse_label"] == record["label"] // 5


def test_svhn_has_zero_for_ten(source, made):
    train, test = archives.batches([20, 5], 10)
    prepare("svhn_cropped", source, made, archives.svhn(source, train, test))
    dataset = load("svhn_cropped", made)
    order = official_order("train", 20)
    np.testing.assert_array_equal(dataset.images, train[0][order])
    np.testing.assert_array_equal(dataset.labels, np.array(train[1])[order])
    assert 0 in dataset.labels


def test_tiny_imagenet_keeps_its_pictures(source, made):
    import tensorflow_datasets as tfds

    path = archives.tiny_imagenet(source / "tiny-imagenet-200.zip")
    original = archives.original("tiny_imagenet", source)
    prepared = prepare("tiny_imagenet", path, made, original)
    assert prepared.counts == {"train": 4, "validation": 2}
    dataset = load("tiny_imagenet", made)
    assert dataset.class_names == ("dog", "cat")  # n01, n02
    assert sorted(dataset.labels) == [0, 0, 1, 1]
    raw = {"image": tfds.decode.SkipDecoding()}
    builder = tfds.builder_from_directory(str(prepared.folder))
    encoded = [x["image"] for x in builder.as_data_source("train", decoders=raw)]
    ours = archives.images(3, (64, 64, 3), seed=1)[0]
    assert archives.jpeg(ours) in encoded


def test_classes_with_one_word_are_told_apart(source, made):
    words = (("n01", "crane"), ("n02", "crane, lifter"))
    path = archives.tiny_imagenet(source / "tiny-imagenet-200.zip", words)
    original = archives.original("tiny_imagenet", source)
    prepare("tiny_imagenet", path, made, original)
    names = load("tiny_imagenet", made).class_names
    assert names == ("crane (n01)", "crane (n02)")


def test_the_table_has_what_tfds_has():
    import tensorflow_datasets as tfds

    assert set(READERS) == set(ORIGINALS)
    root = Path(tfds.__file__).parent
    for name, original in ORIGINALS.items():
        if name == "tiny_imagenet":
            continue
        assert str(tfds.builder_cls(name).VERSION) == original.version
        places = (f"url_checksums/{name}.txt", f"datasets/{name}/checksums.tsv")
        (file,) = [root / x for x in places if (root / x).exists()]
        rows = [x.split("\t") for x in file.read_text().splitlines()]
        recorded = {row[0]: (int(row[1]), f"sha256:{row[2]}") for row in rows}
        for archive in original.archives:
            assert recorded[archive.address] == (archive.size, archive.checksum)


def test_the_program_says_where_the_dataset_is(source, made, monkeypatch, capsys):
    original = archives.mnist(source, archives.digits(20, 0), archives.digits(12, 1))
    monkeypatch.setitem(ORIGINALS, "mnist", original)
    config = program.Config(dataset="mnist", archive=str(source), data_dir=str(made))
    for words in ("is written to", "left as it is"):
        program.show(program.run(config))
        output = capsys.readouterr().out
        assert words in output
        assert f"--dataset=mnist --data_dir={made}" in output
    with refused(None, "--dataset", "'kmnist'"):
        program.run(program.Config(dataset="kmnist"))


# --- The data sets themselves ---------------------------------------------------------


def original_of(dataset_images, dataset_labels, split):
    """The arrays in the order of the original file, before TFDS sorted them."""
    order = official_order(split, len(dataset_labels))
    images, labels = np.empty_like(dataset_images), np.empty_like(dataset_labels)
    images[order], labels[order] = dataset_images, dataset_labels
    return images[..., 0], labels


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "mnist").exists(), reason="../shared is absent")
def test_mnist_itself_equals_the_official_form_record_for_record(source, made):
    official = load("mnist", SHARED)
    train = original_of(official.images, official.labels, "train")
    test = original_of(official.test_images, official.test_labels, "test")
    assert train[1][:20].tolist() == FIRST_TRAIN
    assert test[1][:20].tolist() == FIRST_TEST
    prepare("mnist", source, made, archives.mnist(source, train, test))
    ours = load("mnist", made)
    assert ours.fingerprint == official.fingerprint
    np.testing.assert_array_equal(ours.images, official.images)
    np.testing.assert_array_equal(ours.labels, official.labels)
    theirs, own = (read_info(x / "mnist/3.0.1") for x in (SHARED, made))
    assert own == theirs
