"""A set with fewer images per class, by a score of its images."""

import dataclasses

import numpy as np
import pytest

import jaxdd
from experiments import convert
from jaxdd.exchange import shortening
from jaxdd.exchange.targets import write_as
from jaxdd.scores.table import Effort
from tests.artifact.sets import make
from tests.helpers import refused

QUICK = {"networks": 1, "train_steps": 2}
WHOLE = dataclasses.replace(
    make(soft=True), network={"name": "mlp", "width": 4}, step_size=0.5
)


@pytest.fixture
def by_brightness(monkeypatch):
    """The mean of an image in place of a score."""

    def compute(network, real, seed, names, effort):
        del network, seed, effort
        images = np.asarray(real.images)
        return {names[0]: images.reshape(len(images), -1).mean(1)}

    monkeypatch.setattr(shortening, "compute", compute)


def test_the_easiest_are_kept_in_their_order(by_brightness):
    inputs = np.asarray(WHOLE.images)
    bright = inputs.reshape(3, 4, -1).mean(-1)
    order = np.argsort(bright, axis=1)
    rows = np.arange(3)[:, None]
    easy = jaxdd.shorten(WHOLE, 3)
    np.testing.assert_array_equal(easy.images, inputs[rows, order[:, :3]])
    np.testing.assert_array_equal(easy.labels, WHOLE.labels[rows, order[:, :3]])
    hard = jaxdd.shorten(WHOLE, 2, end="hard")
    np.testing.assert_array_equal(hard.images, inputs[rows, order[:, :-3:-1]])
    median = jaxdd.shorten(WHOLE, 2, end="median")
    middle = np.sort(median.images.reshape(3, 2, -1).mean(-1), axis=1)
    np.testing.assert_array_equal(middle, np.sort(bright, axis=1)[:, 1:3])
    for end in ("easy", "median", "hard"):
        ordered = jaxdd.shorten(WHOLE, 4, end=end)
        for n in range(1, 5):
            shorter = jaxdd.shorten(WHOLE, n, end=end)
            assert ordered.first(n).digest == shorter.digest
    assert (easy.measured, easy.step_size, easy.ipc) == ({}, 0.5, 3)
    about = easy.provenance["shortened"]
    assert (about["of"], about["score"], about["end"]) == (4, "el2n", "easy")
    assert about["places"] == order[:, :3].tolist()


def test_tiles_count_for_the_image_that_they_are_cut_from(by_brightness):
    tiled = dataclasses.replace(WHOLE, factor=2)
    scores = shortening.image_scores(tiled, "loss", 0, Effort())
    tiles = np.asarray(tiled.synthetic().images)
    assert tiles.shape[1] == 16
    each = np.sort(tiles.reshape(3, 16, -1).mean(-1))
    np.testing.assert_allclose(scores.mean(1), each.mean(1), atol=1e-5)
    bright = WHOLE.images.reshape(3, 4, -1).mean(-1)
    np.testing.assert_allclose(scores, bright, atol=0.05)


def test_networks_learn_the_set_and_say_what_is_hard(tmp_path):
    """Images that contradict their class are the hardest of it."""
    images = np.repeat(WHOLE.images[:, :1], 4, axis=1)
    images[0, 2], images[1, 0] = images[1, 1], images[2, 1]
    wrong = dataclasses.replace(WHOLE, images=images, labels=_hard(4))
    few = {"networks": 1, "train_steps": 60, "seed": 3}
    easy = jaxdd.shorten(wrong, 3, "loss", **few)
    places = easy.provenance["shortened"]["places"]
    assert 2 not in places[0]
    assert 0 not in places[1]
    path = write_as(wrong, "npz", tmp_path / "set.npz")
    flags = {"source": str(path), "out": str(tmp_path / "easy.npz"), **few}
    artifact, _ = convert.run(convert.Config(**flags, shorten=3, score="loss"))
    assert artifact.digest == easy.digest
    assert jaxdd.load(tmp_path / "easy.npz").provenance == artifact.provenance


def _hard(ipc):
    return np.repeat(np.eye(3, dtype=np.float32)[:, None], ipc, axis=1)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"ipc": 5}, "ipc of 4 cannot be shortened to 5: choose 1 to 4"),
        ({"ipc": 0}, "ipc must be positive, not 0"),
        ({"networks": 0}, "networks must be positive"),
        ({"train_steps": 2**40}, "train_steps must lie between"),
        ({"score": "nice"}, "unknown score 'nice'"),
        ({"end": "best"}, "unknown end 'best'"),
        ({"seed": -1}, "seed must lie between"),
    ],
)
def test_what_cannot_be_shortened_is_refused(flags, words):
    with refused(None, words):
        jaxdd.shorten(WHOLE, **{"ipc": 2, **QUICK, **flags})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"score": "loss"}, "--score says how --shorten chooses images"),
        ({"networks": 2}, "--networks says how --shorten"),
        ({"shorten": 1, "first": 1}, "--first and --shorten both say"),
        ({"shorten": 1, "score": "nice"}, "--score must be one of"),
        ({"shorten": 0}, "--shorten must be positive"),
    ],
)
def test_flags_that_say_nothing_are_refused(tmp_path, flags, words):
    source = write_as(WHOLE, "npz", tmp_path / "whole.npz")
    config = convert.Config(source=str(source), out=str(tmp_path / "o.npz"), **flags)
    with refused(None, words):
        convert.run(config)
    assert not (tmp_path / "o.npz").exists()


@pytest.mark.parametrize("flag", ["first", "shorten"])
def test_the_only_whole_copy_is_not_replaced_by_a_part(tmp_path, flag):
    source = write_as(WHOLE, "npz", tmp_path / "whole.npz")
    before = source.read_bytes()
    again = str(tmp_path / "." / "whole.npz")
    config = convert.Config(source=str(source), out=again, **{flag: 1})
    with refused(None, f"--{flag} into the file of --source", "use another --out"):
        convert.run(config)
    assert source.read_bytes() == before


def test_a_table_of_places_has_a_row_for_every_class():
    for places in (np.zeros((2, 1), int), np.zeros(3, int), np.zeros((3, 0), int)):
        with refused("one row for each of the 3 classes"):
            WHOLE.keep(places)
    with refused("0 to 3, not 0 to 4"):
        WHOLE.keep(np.array([[0], [4], [0]]))
