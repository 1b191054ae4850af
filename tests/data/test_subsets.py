"""Datasets with some of their training samples, and the records of which."""

import base64
import json
import tracemalloc
import zlib

import numpy as np
import pytest

from jaxdd.data import digits, from_arrays, split
from jaxdd.data.problem import DataFlags, open_dataset
from jaxdd.data.subsets import Subset, subset_record
from jaxdd.progress import listening
from tests.helpers import refused


@pytest.fixture(scope="module")
def whole():
    images = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
    labels = np.arange(20) % 4
    return from_arrays(images, labels, images, labels, name="toy")


def test_a_subset_has_these_samples_in_their_order(whole):
    half = whole.subset([7, 0, 1, 2, 9, 10])
    ids = [0, 1, 2, 7, 9, 10]
    np.testing.assert_array_equal(half.images, whole.images[ids])
    np.testing.assert_array_equal(half.labels, whole.labels[ids])
    assert half.test_images is whole.test_images
    assert half.fingerprint != whole.fingerprint
    assert half.restricted.samples == 20
    assert half.restricted.fingerprint == whole.fingerprint
    # Of a subset, places in the whole are known.
    less = half.subset([0, 1, 2, 3])
    assert less.restricted.ids.tolist() == [0, 1, 2, 7]
    assert less.restricted.fingerprint == whole.fingerprint
    assert whole.restricted is None
    assert whole.described == {}
    assert Subset.from_record(less.described["subset"]).ids.tolist() == [0, 1, 2, 7]


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([0, 1, 2, 20], "the id 20 of the subset is no training sample"),
        ([-1, 1, 2, 3], "the id -1 "),
        ([0, 1, 2, 3, 1], "the id 1 occurs in the subset more than once"),
        ([0, 1, 2], "leaves class 3 ('3') of 'toy' without a training sample"),
        ([], "one integer or more"),
        ([0.5], "one integer or more"),
        ([[0, 1]], "one integer or more"),
        ([[0], [1, 2]], "one integer or more"),
    ],
)
def test_ids_that_make_no_dataset_are_refused(whole, ids, words):
    with refused(None, words):
        whole.subset(ids)


@pytest.mark.parametrize("samples", [1, 8, 9, 1000])
def test_records_are_short_and_come_back(samples):
    rng = np.random.default_rng(samples)
    ids = np.flatnonzero(rng.random(samples) < 0.3)
    subset = Subset(ids if len(ids) else np.array([0]), samples, "abc")
    record = json.loads(json.dumps(subset.record()))
    again = Subset.from_record(record)
    assert again.ids.tolist() == subset.ids.tolist()
    assert (again.samples, again.fingerprint) == (samples, "abc")
    assert len(record["mask"]) < 40 + samples / 4


def mask(content):
    return base64.b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mask": "no base 64!"}, "damaged"),
        ({"mask": base64.b64encode(b"no zlib").decode()}, "damaged"),
        ({"mask": mask(bytes(2))}, "does not fit"),  # no sample
        ({"mask": mask(b"\xff")}, "does not fit"),  # too short
        ({"mask": mask(b"\xff\xff")}, "does not fit"),  # beyond the tenth
        ({"mask": mask(bytes(10**7))}, "does not fit"),  # not unpacked as a whole
        ({"samples": 0}, "samples"),
        ({"samples": None}, "samples"),
        ({"mask": 3}, "mask"),
    ],
)
def test_hostile_records_are_refused(changes, words):
    record = {"samples": 10, "fingerprint": "x", "mask": mask(b"\xff\x80")}
    Subset.from_record(record)
    with pytest.raises(ValueError, match=words):
        Subset.from_record({**record, **changes})


def test_a_record_that_declares_gigabytes_takes_none():
    """How many samples there are is known once the data is read."""
    packing = zlib.compressobj()
    packed = packing.compress(bytes(2**26 - 1) + b"\x01") + packing.flush()
    record = {
        "samples": 2**29,
        "fingerprint": "x",
        "mask": base64.b64encode(packed).decode(),
    }
    tracemalloc.start()
    subset_record(record, "")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_sample_has_one_id_in_the_whole_and_in_a_subset(whole):
    part = whole.subset([0, 1, 2, 7, 8, 13, 14, 19])
    assert split(part, 0.0).train.ids.tolist() == [0, 1, 2, 7, 8, 13, 14, 19]
    train, held_out, test = split(part, 0.3)
    assert held_out is not None
    assert sorted([*train.ids, *held_out.ids]) == part.restricted.ids.tolist()
    np.testing.assert_array_equal(train.images, whole.images[train.ids])
    np.testing.assert_array_equal(held_out.images, whole.images[held_out.ids])
    np.testing.assert_array_equal(test.ids, np.arange(20))


# --- The file that --subset names ---------------------------------------------------


def index(**changes):
    data = digits()
    return {
        "kind": "subset",
        "format": 1,
        "dataset": {
            "name": "digits",
            "fingerprint": data.fingerprint,
            "samples": len(data.labels),
        },
        "ids": list(range(0, len(data.labels), 3)),
        **changes,
    }


def opened(path):
    return open_dataset(DataFlags(subset=str(path)))


def test_a_flag_restricts_the_training_split(tmp_path):
    path = tmp_path / "index.json"
    path.write_text(json.dumps(index()))
    said = []
    with listening(said.append):
        dataset = opened(path)
    np.testing.assert_array_equal(dataset.images, digits().images[::3])
    assert len(dataset.test_labels) == len(digits().test_labels)
    assert any("479 of 1437 training samples" in str(event) for event in said)


OTHER = {"name": "digits", "fingerprint": "0", "samples": 1437}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (index(dataset=OTHER), "is of 'digits' with 1437 training samples"),
        (index(ids=[*range(1436), 1437]), "the id 1437 of"),
        (index(ids=[0, 0]), "the id 0 occurs in"),
        (index(ids=[3]), "without a training sample"),
        (index(ids=[]), "'ids'"),
        (index(ids=["0"]), "ids[0]"),
        (index(ids=[-1]), "ids[0]"),
        (index(format=2), "'format'"),
        (index(kind="run"), "'kind'"),
        (index(keep=7), "'keep'"),
        ({"ids": [1]}, "lacks 'kind'"),
        ([1], "an object"),
        (json.dumps(index())[:-1] + ', "ids": [0]}', "'ids' more than once"),
        (None, "does not exist"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path, content, words):
    path = tmp_path / "index.json"
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text)
    with refused(None, words):
        opened(path)
