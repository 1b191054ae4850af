"""The one-file result: what is in it, what is refused, and its PNGs."""

import dataclasses
import json
import pickle
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.artifact import file as artifacts
from jaxdd.artifact.artifact import Artifact, _example
from jaxdd.artifact.schema import FIELDS, agree
from jaxdd.data import fit_zca, normalisation
from jaxdd.errors import UserError
from jaxdd.synthetic.decoder import INPUT, make_decoder
from jaxdd.synthetic.formation import Formation
from jaxdd.training.fit import Training
from jaxdd.types import Synthetic
from tests.faults.fuzz import resident_mb
from tests.helpers import refused

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


@pytest.fixture
def path(tmp_path):
    return artifacts.save(make(), tmp_path / "distilled.npz")


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


@pytest.mark.parametrize("step_size", [None, 0.25])
@pytest.mark.parametrize("zca", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_everything_comes_back(tmp_path, zca, soft, step_size):
    made = make(zca, soft, step_size=step_size)
    found = jaxdd.load(artifacts.save(made, tmp_path / "a.npz"))
    for field in dataclasses.fields(Artifact):
        ours, theirs = getattr(made, field.name), getattr(found, field.name)
        if isinstance(ours, np.ndarray):
            np.testing.assert_array_equal(theirs, ours)
            assert theirs.dtype == np.float32
        elif field.name != "preprocess":
            assert theirs == ours
    assert found.label_kind == ("soft" if soft else "hard")
    assert found.ipc == 4
    assert found.synthetic().images.shape == (3, 4, 8, 8, 1)
    assert float(found.synthetic().step_size) == (step_size or 0)
    shown = found.displayable()
    assert shown.dtype == np.float32
    assert (shown.min(), shown.max()) >= (0, 0)
    assert shown.max() <= 1
    # Also the whitening is undone: the pixels that went in come out.
    np.testing.assert_array_equal(np.round(shown * 255).astype(np.uint8), PIXELS)


def test_what_leaves_the_range_is_clipped():
    shown = make(images=np.full((3, 4, 8, 8, 1), 1e3, np.float32)).displayable()
    assert (shown == 1).all()


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
# (arrays of the file that are replaced, None for missing ones; words of the refusal)
REFUSED = [
    *(({name: None}, [name]) for name in ARRAYS),
    *(({f"preprocess/{name}": None}, [name]) for name in ("kind", "mean", "std")),
    *(({name: np.zeros(shape, np.float32)}, ["shape"]) for name, shape in SHAPES),
    ({"images": np.full((3, 4, 8, 8, 1), np.nan, np.float32)}, ["finite float32"]),
    ({"images": np.zeros((3, 4, 8, 8, 1))}, ["images", "finite float32"]),
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
    rewrite(path, {"format": 4, "class_names": None})
    failure(path, "format 4", "upgrade")


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


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with refused("cannot write", str(tmp_path / "file")):
        artifacts.save(make(), tmp_path / "file" / "a.npz")


def test_the_digest_is_that_of_the_set(path, tmp_path):
    """Not of the file, nor of what was measured; of everything that alters training."""
    whole = make()
    assert artifacts.load(path).digest == whole.digest
    same = make(measured={}, provenance={"seed": 1}, network={"name": "mlp"})
    assert same.digest == whole.digest
    other = np.array(whole.images)
    other[0, 0, 0, 0, 0] += 1
    changes = (
        {"images": other},
        {"labels": whole.labels[:, ::-1] * 0.5},
        {"step_size": 0.25},
        {"class_names": ("dog", "cat", "eel")},
        {"factor": 2},
        {"space": "pixels"},
        {"preprocess": fit_zca(PIXELS.reshape(-1, 8, 8, 1))},
    )
    digests = {make(**x).digest for x in changes}
    assert len(digests | {whole.digest}) == len(changes) + 1


# --- The decoder --------------------------------------------------------------------


@pytest.mark.parametrize("space", ["input", "pixels"])
@pytest.mark.parametrize(
    ("factor", "formation"), [(1, "single"), (2, "single"), (3, "multi")]
)
@pytest.mark.parametrize("zca", [False, True])
def test_a_decoded_set_comes_back(tmp_path, zca, factor, formation, space):
    """What the decoder of a method makes of it is what the file gives."""
    whole = make(zca, soft=True)
    pixels = (PIXELS / 255).astype(np.float32)
    images = whole.images if space == "input" else pixels
    changes = {"factor": factor, "formation": formation, "space": space}
    made = dataclasses.replace(whole, images=images, **changes)
    found = jaxdd.load(artifacts.save(made, tmp_path / "a.npz"))
    assert (found.factor, found.formation, found.space) == (factor, formation, space)
    assert found.ipc == 4
    chosen = whole.preprocess.space() if space == "pixels" else INPUT
    decoder = make_decoder("hard", Formation(factor, formation), chosen)
    codes = Synthetic(jnp.asarray(images), jnp.asarray(whole.labels), jnp.float32(0))
    expected, ours = decoder.decode(codes), found.synthetic()
    count = Formation(factor, formation).count(4)
    assert ours.images.shape == (3, count, 8, 8, 1)
    assert ours.labels.shape == (3, count, 3)
    np.testing.assert_array_equal(ours.images, expected.images)
    np.testing.assert_array_equal(ours.labels, expected.labels)
    # Pictures are of what is stored.
    shown = np.round(found.displayable() * 255).astype(np.uint8)
    np.testing.assert_array_equal(shown, PIXELS)


def test_a_file_of_format_1_has_no_decoder(path):
    rewrite(path, {"format": 1, "decoder": None})
    found, whole = artifacts.load(path), make()
    assert (found.factor, found.formation, found.space) == (1, "single", "input")
    np.testing.assert_array_equal(found.synthetic().images, whole.images)


# --- Odd content --------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ODD_ARRAYS)
def test_odd_arrays_are_refused_where_they_are_read(path, name):
    rewrite(path, **ODD_ARRAYS[name])
    failure(path, "copy it again")


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


SHARED = Path(__file__).parents[2] / "shared" / "cases" / "artifacts"


@pytest.mark.parametrize("name", ["dsa-sdc", "idc", "d4a", "pad"])
def test_artifacts_of_an_earlier_revision_are_read(tmp_path, name):
    file = SHARED / f"{name}.npz"
    if not file.exists():
        pytest.skip(f"no {file}")
    found = artifacts.load(file)
    assert found.images.shape[2:] == (8, 8, 1)
    assert set(found.measured) == {"distilled", "random"}
    again = artifacts.load(artifacts.save(found, tmp_path / "again.npz"))
    np.testing.assert_array_equal(found.synthetic().images, again.synthetic().images)
    assert again.provenance == found.provenance


# What is checked is the same as in reading.
UNSAVEABLE = {
    "NaN in an image": {"images": np.full((2, 1, 4, 4, 1), np.nan, np.float32)},
    "a name of a book's length": {"class_names": ("cat", "d" * 5000)},
    "a NaN in a field": {"measured": {"distilled": {"mean": np.nan}}},
    "a field of no JSON": {"network": {"name": "mlp", "width": np.int64(3)}},
}


@pytest.mark.parametrize("name", UNSAVEABLE)
def test_nothing_is_saved_that_could_not_be_loaded(tmp_path, name):
    artifact = dataclasses.replace(_example(), **UNSAVEABLE[name])
    with pytest.raises(UserError, match="this set cannot be saved") as error:
        jaxdd.save(artifact, tmp_path / "distilled.npz")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert not list(tmp_path.iterdir())


def test_an_artifact_cannot_be_saved_to_an_address():
    with pytest.raises(UserError, match=r"the artifact gs:.* is an address"):
        jaxdd.save(_example(), "gs://bucket/distilled.npz")


@pytest.mark.parametrize("space", ["targets", "weights"])
def test_labels_of_other_spaces_come_back(tmp_path, space):
    """With the protocol that is made for them, and as probabilities."""
    labels = np.broadcast_to(np.eye(3, dtype=np.float32)[:, None], (3, 4, 3)) * 1.5
    labels = (labels - (0.5 if space == "targets" else 0)).astype(np.float32)
    training = Training(
        4, optimizer="adam", loss="mse", warmup_steps=2, final_share=0.1
    )
    made = make(labels=labels, label_space=space, training=training)
    path = artifacts.save(made, tmp_path / "distilled.npz")
    loaded = artifacts.load(path)
    assert (loaded.label_kind, loaded.training) == (space, training)
    np.testing.assert_array_equal(loaded.labels, labels)
    hard = np.broadcast_to(np.eye(3)[:, None], (3, 4, 3))
    np.testing.assert_allclose(loaded.probabilities(), hard, atol=1e-6)
    assert loaded.digest != dataclasses.replace(loaded, label_space="x").digest
    for fields, word in (
        ({"labels": "hard"}, "probabilities"),
        ({"labels": "guesses"}, "labels"),
        ({"training": {"epochs": 1, "loss": "none"}}, "loss"),
    ):
        rewrite(path, fields)
        failure(path, word)
        artifacts.save(made, path)


def test_negative_weights_are_refused(path):
    rewrite(path, {"labels": "weights"}, labels=np.full((3, 4, 3), -1, np.float32))
    failure(path, "one is negative")
