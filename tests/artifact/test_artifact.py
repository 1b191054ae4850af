"""A distilled set: it is saved and comes back, decoded, shown and told apart."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.artifact import file as artifacts
from jaxdd.artifact.artifact import Artifact, _example
from jaxdd.data import fit_zca
from jaxdd.errors import UserError
from jaxdd.synthetic.decoder import INPUT, make_decoder
from jaxdd.synthetic.formation import Formation
from jaxdd.training.fit import Training
from jaxdd.types import Synthetic
from tests.artifact.sets import PIXELS, failure, make, rewrite
from tests.helpers import refused


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
