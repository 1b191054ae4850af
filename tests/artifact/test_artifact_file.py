"""The file of a set: what is refused where it is read, and how."""

import json
import pickle
import zipfile

import numpy as np
import pytest

from jaxdd.artifact import file as artifacts
from jaxdd.artifact.schema import FIELDS, agree
from jaxdd.training.fit import Training
from tests.artifact.sets import failure, rewrite
from tests.faults.fuzz import resident_mb


@pytest.mark.parametrize("name", ["format", *FIELDS])
def test_a_missing_or_foreign_field_is_named(path, name):
    rewrite(path, {name: None})
    failure(path, name)
    rewrite(path, {name: [3]} if name != "class_names" else {name: "abc"})
    failure(path, name)


# A field of the header without one of its parts.
PARTS = [
    *(
        ("dataset", part)
        for part in ("name", "fingerprint", "validation", "split_seed")
    ),
    ("network", "name"),
    ("training", "epochs"),
    ("provenance", "seed"),
]


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_a_missing_part_of_a_field_is_named(path, name, part):
    with np.load(path) as file:
        inner = json.loads(str(file["header"]))[name]
    rewrite(path, {name: {k: v for k, v in inner.items() if k != part}})
    failure(path, name, part)


SHAPES = [
    *(("images", x) for x in ((3, 4, 8, 8), (2, 4, 8, 8, 1), (3, 2, 8, 8, 1))),
    ("images", (3, 4, 8, 8, 3)),
    *(("labels", x) for x in ((3, 4, 2), (12, 3))),
    ("step_size", (2,)),
    ("preprocess/mean", (2,)),
    ("preprocess/std", (8, 9)),
]
ARRAYS = ("images", "labels", "step_size", "header")
ODD_ARRAYS = {
    "a step size that is text": {"step_size": np.array("0.1")},
    "a step size of bytes": {"step_size": np.array(b"0.1")},
    "a step size that is a date": {"step_size": np.array("2024-01-31", "M8[D]")},
    "an infinite step size": {"step_size": np.float32(np.inf)},
    "negative labels": {"labels": np.full((3, 4, 3), -1, np.float32)},
    "labels that are no shares": {"labels": np.ones((3, 4, 3), np.float32)},
    "labels that are none": {"labels": np.full((3, 4, 3), np.nan, np.float32)},
    "a mean that is none": {"preprocess/mean": np.full(1, np.nan, np.float32)},
    "no spread": {"preprocess/std": np.zeros(1, np.float32)},
    "a negative spread": {"preprocess/std": -np.ones(1, np.float32)},
    "a denormal spread": {"preprocess/std": np.full(1, 1e-45, np.float32)},
    "another kind": {"preprocess/kind": np.array("none")},
    "no kind": {"preprocess/kind": np.float32(1)},
    "a whitening of nothing": {"preprocess/kind": np.array("zca")},
    "enormous pixels": {"images": np.full((3, 4, 8, 8, 1), 3e38, np.float32)},
    "no images": {
        "images": np.zeros((3, 0, 8, 8, 1), np.float32),
        "labels": np.zeros((3, 0, 3), np.float32),
    },
    "bytes in the other order": {"images": np.zeros((3, 4, 8, 8, 1), ">f4")},
}
# (arrays of the file that are replaced, None for missing ones; words of the refusal)
REFUSED = [
    *(({name: None}, [name]) for name in ARRAYS),
    *(({f"preprocess/{name}": None}, [name]) for name in ("kind", "mean", "std")),
    *(({name: np.zeros(shape, np.float32)}, ["shape"]) for name, shape in SHAPES),
    ({"images": np.full((3, 4, 8, 8, 1), np.nan, np.float32)}, ["finite float32"]),
    ({"images": np.zeros((3, 4, 8, 8, 1))}, ["images", "finite float32"]),
    *((arrays, ["copy it again"]) for arrays in ODD_ARRAYS.values()),
    *(
        ({"header": np.array(content)}, ["header"])
        for content in ("", "{", "3", "[]", "null", '{"format": [1]}')
    ),
]


@pytest.mark.parametrize(("arrays", "words"), REFUSED)
def test_an_array_that_cannot_be_used_is_named(path, arrays, words):
    rewrite(path, **arrays)
    failure(path, *words)


def test_a_newer_format_is_refused(path):
    rewrite(path, {"format": 5, "class_names": None})
    failure(path, "format 5", "upgrade")


@pytest.mark.parametrize("end", [0, 3, 100, 0.5, 0.99, -1])
def test_a_cut_file_is_named(path, end):
    content = path.read_bytes()
    path.write_bytes(content[: int(end * len(content)) if 0 < end < 1 else end])
    failure(path, "copy it again")


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_nothing_in_the_file_is_executed(path, tmp_path):
    images = np.empty((3, 4, 8, 8, 1), object)
    images[:] = Trap()
    rewrite(path, images=images)
    failure(path)
    for content in (pickle.dumps(Trap()), b"no archive", b""):
        path.write_bytes(content)
        message = failure(path)
        assert "unsafe" not in message
        assert "allow_pickle" not in message


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    failure(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", images=np.zeros(3))
    failure(tmp_path / "b.npz", "no array 'header'", "distilled.npz")
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as file:
        file.writestr("header.npy", "text")
    failure(tmp_path / "c.npz")
    failure(tmp_path / "absent.npz", "does not exist")
    failure(tmp_path, "not a regular file")


# --- Odd content --------------------------------------------------------------------


ODD_DECODERS = [
    *("tiles", 3, [1, 2], {"formation": None}, {"formation": "triple"}),
    *({"factor": x} for x in (0, "two", 2.0, True, 9, 30000)),
    *({"space": "fourier"}, {"factor": 2, "palette": 7}),
]
SCHEDULE = {"epochs": 4, "decay_epochs": [2]}
ODD_FIELDS = [
    {"class_names": [1, 2, 3]},
    {"class_names": ["x" * 10**4] * 3},
    {"labels": "firm"},
    {"augmentation": "spin"},
    {"augmentation": "flip_" * 1000},
    {"network": {"name": "net"}},
    {"network": {"name": "mlp", "width": 10**12}},
    {"network": {"name": "mlp", "depth": 2}},
    {"network": {"name": "convnet", "depth": 8}},
    {"network": {"name": "lenet"}},
    {"training": {"epochs": 0, "decay_epochs": []}},
    {"training": {"epochs": 4, "decay_epochs": 3}},
    {"training": {**SCHEDULE, "learning_rate": -1}},
    {"training": {**SCHEDULE, "reset_momentum": 1}},
    {"training": {**SCHEDULE, "speed": 1}},
    {"measured": {"random": {"mean": 1.0, "std": 1.0, "n": "5"}}},
    {"measured": {"distilled": 50}},
    {"provenance": {"seed": -1}},
    {"dataset": {"name": 3, "fingerprint": "", "validation": 0, "split_seed": 0}},
    {"dataset": {"name": "x", "fingerprint": "", "validation": 2, "split_seed": 0}},
    {"dataset": {"name": "x", "fingerprint": "", "validation": 0, "split_seed": None}},
    *({"decoder": decoder} for decoder in ODD_DECODERS),
]


@pytest.mark.parametrize("fields", ODD_FIELDS, ids=lambda x: str(x)[:60])
def test_odd_fields_of_the_header_are_refused_where_they_are_read(path, fields):
    rewrite(path, fields)
    assert len(failure(path, "copy it again", *(fields.keys() - {"network"}))) < 700


@pytest.mark.parametrize(
    "token", ["[" * 10**5 + "]" * 10**5, "1e400", "NaN", "-Infinity", "9" * 5000]
)
def test_odd_numbers_and_depths_of_the_header_are_refused(path, token):
    """Also where a later version may have put anything."""
    with np.load(path) as file:
        header = json.loads(str(file["header"]))
    header["provenance"]["config"] = "@"
    rewrite(path, header=np.array(json.dumps(header).replace('"@"', token)))
    assert len(failure(path, "header")) < 700


def test_what_is_left_unread_and_the_types_of_a_schedule(path):
    measured = {"distilled": {"mean": 1, "std": 0.0, "n": 2, "sem": 3}, "by_class": [1]}
    rewrite(path, {"measured": measured, "more": [1]}, more=np.zeros(3))
    assert artifacts.load(path).measured == measured
    rewrite(path, {"training": {"epochs": 4, "learning_rate": 1, "decay": 0}})
    found = artifacts.load(path).training
    assert found == Training(4, learning_rate=1.0, decay=0.0)
    assert type(found.learning_rate) is float


@pytest.mark.parametrize("name", ["more", "images"])
def test_a_small_file_takes_little_memory(tmp_path, path, name):
    """Zeros compress a thousand times."""
    rewrite(path, **{name: None})
    size = 300 * 2**20
    described = {"descr": "<f4", "fortran_order": False, "shape": (size // 4,)}
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open(f"{name}.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(member, described)
        for _ in range(size // 2**20):
            member.write(bytes(2**20))
    before = resident_mb(reset=True)
    if name == "more":
        artifacts.load(path)
    else:
        failure(path, name)
    assert resident_mb() - before < 50


def test_labels_larger_than_images_are_no_way_to_fill_the_memory():
    """One-hot labels may compress by any factor."""
    shapes = {"images": (9000, 1, 2, 2, 1), "labels": (9000, 1, 9000)}
    with pytest.raises(ValueError, match="larger than its images"):
        agree(shapes, 9000)
    agree({**shapes, "images": (9000, 1, 64, 64, 3)}, 9000)


def test_negative_weights_are_refused(path):
    rewrite(path, {"labels": "weights"}, labels=np.full((3, 4, 3), -1, np.float32))
    failure(path, "one is negative")
