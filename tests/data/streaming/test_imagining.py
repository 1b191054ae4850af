"""What a plan has in the place of a store that is not there, or not whole."""

import numpy as np
import pytest

import jaxdd
from jaxdd.data import load
from jaxdd.data.problem import DataFlags, Scaling, open_problem, prepare, restricted
from jaxdd.data.streaming import building, imagining
from jaxdd.data.streaming.imagining import Awaited, awaited, imagined
from jaxdd.data.streaming.moving import moved
from jaxdd.data.streaming.rows import Rows
from jaxdd.data.streaming.store import stored
from jaxdd.distillation import banks
from jaxdd.scoring.files import of_other_data
from jaxdd.storage.files import make_folder
from tests.data.conftest import png, samples, write_tfds
from tests.data.streaming.test_store import SHAPE, TEST, TRAIN, opened, part
from tests.experts.helpers import toy_manifest
from tests.helpers import Killed, tiny_network

TRAIN_SAMPLES, TEST_SAMPLES = samples(20), samples(8, seed=1)


def archive(folder) -> str:
    arrays = [np.stack([x for x, _ in y]) for y in (TRAIN_SAMPLES, TEST_SAMPLES)]
    labels = [np.array([y for _, y in x]) for x in (TRAIN_SAMPLES, TEST_SAMPLES)]
    np.savez(
        folder / "set.npz", images=arrays[0], labels=labels[0],
        test_images=arrays[1], test_labels=labels[1],
    )  # fmt: skip
    return f"npz:{folder / 'set.npz'}"


def photos(folder) -> str:
    for split, of_split in (("train", TRAIN_SAMPLES), ("test", TEST_SAMPLES)):
        for i, (image, label) in enumerate(of_split):
            place = make_folder(folder / "photos" / split / f"class{label}")
            (place / f"{i}.png").write_bytes(png(image))
    return f"folder:{folder / 'photos'}"


def prepared(folder) -> str:
    splits = {"train": [TRAIN_SAMPLES], "test": [TEST_SAMPLES]}
    write_tfds(folder / "toy" / "1.0.0", splits)
    return "toy"


@pytest.mark.parametrize("kind", [archive, photos, prepared])
def test_few_images_stand_for_a_dataset_and_nothing_is_written(
    kind, tmp_path, cache_dir
):
    name = kind(tmp_path)
    with imagined():
        there = load(name, tmp_path, stream="always")
        (store,) = awaited()
    assert not cache_dir.exists()
    here = load(name, tmp_path)
    assert there.images.shape == here.images.shape
    assert there.images.dtype == here.images.dtype
    assert there.class_names == here.class_names
    assert there.remarks == here.remarks
    if kind is not prepared:  # whose labels are in its records
        np.testing.assert_array_equal(there.labels, here.labels)
    assert np.bincount(there.labels, minlength=3).min() > 0
    known = {x.tobytes() for x in (*here.images, *here.test_images)}
    assert {x.tobytes() for x in there.images[:]} <= known
    assert (store.samples, store.left) == (28, 28)
    assert store.bytes_left == 28 * (8 * 8 * 3 + 4)
    assert store.seconds_left > 0
    # Outside of it the same call decodes.
    assert load(name, tmp_path, stream="always").fingerprint == here.fingerprint
    with imagined():
        assert load(name, tmp_path, stream="always").fingerprint == here.fingerprint
        assert awaited() == []


def test_what_is_decoded_already_is_not_counted_again(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "SAFE_SECONDS", 0.0)
    folder = tmp_path / "toys.rows"
    with pytest.raises(Killed):
        opened(folder, part("train", TRAIN), part("test", TEST, fails_at=2))
    before = {x.name: x.read_bytes() for x in folder.iterdir()}
    seen = []
    with imagined():
        there = opened(folder, part("train", TRAIN), part("test", TEST, seen))
        assert opened(folder)["test"] is there["test"]
        (store,) = awaited()
    assert {x.name: x.read_bytes() for x in folder.iterdir()} == before
    assert (store.samples, store.left, seen) == (26, 4, [2, 3, 4, 5])
    np.testing.assert_array_equal(there["train"].rows[[0, 1]], TEST[[2, 3]])
    (folder / "progress.json").write_text("{")
    with imagined():
        opened(folder)
        assert awaited()[0].left == 26
    assert (folder / "progress.json").read_text() == "{"


def test_a_damaged_store_is_left_as_it_is(tmp_path):
    folder = tmp_path / "toys.rows"
    opened(folder)
    (folder / "train.rows").write_bytes(b"x")
    with imagined():
        assert not opened(folder)["train"].rows.file.is_there
    assert (folder / "train.rows").read_bytes() == b"x"
    assert (folder / "manifest.json").exists()


def test_a_moment_of_decoding_is_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(imagining, "LOOK_SECONDS", 0.0)
    seen = []
    with imagined():
        there = stored(tmp_path / "a", "toys", [part("train", TRAIN, seen)], SHAPE)
    assert seen == [0, 1]
    np.testing.assert_array_equal(there["train"].rows[:3], TRAIN[[0, 1, 0]])
    store = Awaited(tmp_path, "toys", 100, 40, 10, 0.5)
    assert (store.bytes_left, store.seconds_left) == (400, 20.0)


def test_whitened_images_wait_too(cache_dir):
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1)).astype(np.uint8)
    data = jaxdd.from_arrays(images, np.arange(12) % 2, images, np.arange(12) % 2)
    with imagined():
        problem = prepare(moved(data), 0.25, 0, Scaling(zca=True))
        real = problem.on_device(problem.splits.train)
        assert [x.left for x in awaited()] == [24, 9]
        assert awaited()[1].sample_bytes == 4 * 16 + 4
    assert real.images.shape == (9, 4, 4, 1)
    assert not cache_dir.exists()


def test_files_are_not_compared_with_data_that_nobody_knows(tmp_path):
    name = archive(tmp_path)
    index = tmp_path / "index.json"
    few = {"net": "mlp", "width": 4, "networks": 1, "train_steps": 1}
    pruned = jaxdd.prune(name, "el2n", 0.5, balanced=True, **few)
    pruned.save(index)
    pruned.scored.save(tmp_path / "scores.npz")
    flags = DataFlags(dataset=name, stream="always", subset=str(index))
    with imagined():
        problem = open_problem(flags, 0.0, 0)
        data = problem.dataset
        assert len(data.labels) == len(pruned.ids)
        assert not data.is_decoded
        assert data.fingerprint == data.whole_fingerprint == ""
        assert of_other_data(tmp_path / "scores.npz", data) is None
    whole = load(name, stream="always")
    assert isinstance(whole.images, Rows)
    assert whole.is_decoded
    assert len(restricted(whole, str(index), name).labels) == len(pruned.ids)


def test_a_bank_is_compared_by_all_but_its_data():
    network = tiny_network("mlp")
    given = toy_manifest(network, preprocess={"kind": "affine", "digest": "b"})
    about = {**given.data, "fingerprint": "", "validation": 0.3}
    zca = {"kind": "zca", "digest": "a"}
    wanted = toy_manifest(network, data=about, preprocess=zca, seed=3)
    compared = banks.as_of(wanted, given)
    fingerprint = given.data["fingerprint"]
    assert compared == toy_manifest(
        network, seed=3, data={**about, "fingerprint": fingerprint},
        preprocess={"kind": "zca", "digest": "b"},
    )  # fmt: skip
