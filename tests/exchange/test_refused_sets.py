"""Sets that cannot be used are refused in one sentence."""

import json

import numpy as np
import pytest

import jaxdd
from tests.exchange.containers import saved
from tests.exchange.sets import DATA, HARD, INPUTS, LOGITS, PIXELS, read, written
from tests.helpers import refused


def nan(array):
    array = array.copy()
    array.flat[3] = np.nan
    return array


BAD = {
    "NaN in images": (nan(INPUTS), HARD, {}, "NaN"),
    "NaN in labels": (INPUTS, nan(LOGITS), {}, "NaN"),
    "other counts": (INPUTS[:5], HARD, {}, "5 images and 6 labels"),
    "a class too few": (INPUTS[:5], HARD[:5], {}, "share equally"),
    "classes unequal": (INPUTS, np.array([0, 0, 0, 1, 2, 2]), {}, "3 of class 0"),
    "other classes": (INPUTS, HARD + 1, {}, "1 to 3"),
    "halves": (INPUTS, HARD + 0.5, {}, "0.5"),
    "more classes": (INPUTS, np.ones((6, 5), "f4"), {}, "5 classes"),
    "another size": (INPUTS[..., 1:], HARD, {}, "give image_size"),
    "a vector": (INPUTS[:, 0, 0], HARD, {}, "four axes"),
    "texts": ("cat", HARD, {}, "no array"),
    "no images": (INPUTS[:0], HARD[:0], {}, "four axes"),
    "too large": (INPUTS * 1e7, HARD, {}, "values up to"),
    "bytes as floats": (
        255 * PIXELS.astype("f4"),
        HARD,
        {"normalisation": "pixels"},
        "divide them by",
    ),
    "bytes as integers": (
        (255 * PIXELS).astype("i8"),
        HARD,
        {"normalisation": "pixels"},
        "as uint8",
    ),
    "no pixels": (INPUTS, HARD, {"normalisation": "pixels"}, "from 0 to 1"),
    "an unknown scale": (INPUTS, HARD, {"normalisation": "moon"}, "moon"),
    "another ipc": (INPUTS, HARD, {"ipc": 5}, "not ipc=5"),
    "another format": (INPUTS, HARD, {"format": "idc"}, "another format"),
    "no format": (INPUTS, HARD, {"format": "zip"}, "unknown format"),
    "a factor too large": (INPUTS, HARD, {"factor": 7}, "factor"),
    "one number as logits": (INPUTS, HARD, {"labels": "logits"}, "hard labels"),
    "open labels": (INPUTS, LOGITS, {}, "by labels or by method"),
}


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as RaT-BPTT writes"),
        (b"\x82\xa6params", "a msgpack file, as Flax writes checkpoints"),
        (b"\xde\x00\x20", "a msgpack file"),
    ],
)
def test_formats_that_nothing_reads_are_named(tmp_path, start, words):
    path = tmp_path / "checkpoint_100"
    path.write_bytes(start + bytes(1000))
    with refused(None, words):
        read(path)


@pytest.mark.parametrize("length", [0x188, 0x18F, 0x1DE])
def test_a_header_of_any_length_is_no_other_format(tmp_path, length):
    """A file of safetensors begins with the length of its header, lowest byte first."""
    described, data = {}, b""
    for name, array in (("images", PIXELS.astype("f4")), ("labels", HARD.astype("i4"))):
        kind = {"f": "F32", "i": "I32"}[array.dtype.kind]
        place = [len(data), len(data) + array.nbytes]
        shape = list(array.shape)
        described[name] = {"dtype": kind, "shape": shape, "data_offsets": place}
        data += array.tobytes()
    header = json.dumps(described).encode().ljust(length)
    path = tmp_path / "set.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header + data)
    artifact, _ = read(path, normalisation="pixels")
    assert artifact.images.shape[0] * artifact.images.shape[1] == len(PIXELS)


@pytest.mark.parametrize("name", BAD)
def test_bad_sets_are_refused_in_one_sentence(tmp_path, name):
    images, labels, flags, word = BAD[name]
    path = saved({"data": [[images, labels]]}, tmp_path / "res_DM_toy_ConvNet_2ipc.pt")
    with refused(None, word):
        read(path, **flags)


@pytest.mark.parametrize("metadata", [None, {"class_names": 3}, ["a"]])
def test_metadata_of_any_form_are_passed_over(tmp_path, metadata):
    content = {"images": PIXELS, "labels": HARD, "__metadata__": metadata}
    artifact, _ = read(saved(content, tmp_path / "set.pt"), normalisation="pixels")
    assert artifact.class_names == DATA.class_names


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda names: names[:-1], "3 classes, and the set names 2"),
        (lambda names: (*names, names[0]), "names 4, some of them twice"),
        (lambda names: ("wolf", *names[1:]), "none called 'wolf'"),
    ],
)
def test_other_class_names_are_told_as_they_are(tmp_path, change, words):
    names = np.array(change(DATA.class_names))
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=HARD, class_names=names)
    with refused(None, words):
        read(tmp_path / "a.npz", normalisation="pixels")


def test_half_precision_is_read_without_a_warning(tmp_path, recwarn):
    content = {"images": PIXELS.astype("f2"), "labels": HARD}
    read(saved(content, tmp_path / "set.pt"), normalisation="pixels")
    assert not [x for x in recwarn if issubclass(x.category, RuntimeWarning)]


def test_a_rate_beyond_every_float_is_refused(tmp_path):
    content = {"images": PIXELS, "labels": HARD, "lr": 10**400}
    with refused(None, "must be one number"):
        read(saved(content, tmp_path / "set.pt"))


@pytest.mark.parametrize("ending", ["npy", "npz", "pt", "safetensors"])
def test_damaged_files_of_arrays_are_refused(tmp_path, ending):
    """Some of the bytes make zipfile and NumPy raise what they do not document."""
    path = tmp_path / f"set.{ending}"
    if ending == "npy":
        np.save(path, PIXELS)
    else:
        written(tmp_path, ending, images=PIXELS, labels=HARD)
    whole = path.read_bytes()
    central = whole.rfind(b"PK\x01\x02")
    version = whole[: central + 6] + b"\xff" + whole[central + 7 :]
    for damaged in (version, whole[:90] + b"\x03" + whole[91:], whole[:50], b""):
        path.write_bytes(damaged)
        with refused(None, f"set.{ending}"):
            read(path, normalisation="pixels")


def test_a_dataset_has_to_be_named(tmp_path):
    path = saved([PIXELS, HARD], tmp_path / "data.pt")
    with refused(None, "by dataset"):
        jaxdd.load_foreign(path)
    with refused(None, "does not exist"):
        jaxdd.load_foreign(tmp_path / "nothing.pt", DATA)
    with refused(None, "no keyword"):
        jaxdd.load_foreign(path, DATA, normalization="pixels")
    with refused(None, "form of no known set"):
        read(saved({"weight": INPUTS}, tmp_path / "net.pt"))
