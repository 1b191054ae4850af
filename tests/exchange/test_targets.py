"""A set is written in each format, and read back as the same set."""

import dataclasses
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

import jaxdd
from experiments import convert
from jaxdd.artifact import file as artifacts
from jaxdd.exchange import parquet
from jaxdd.exchange.containers import open_container
from jaxdd.exchange.targets import TARGETS, write_as
from jaxdd.exchange.torch_writer import write_torch
from tests.artifact.sets import NAMES, PIXELS, make
from tests.exchange.containers import saved
from tests.exchange.sets import HARD, png_folders
from tests.exchange.sets import PIXELS as FOREIGN
from tests.helpers import content, full_disk, refused


def variants():
    whole = make(soft=True)
    pixels = (PIXELS / 255).astype(np.float32)
    tiles = dataclasses.replace(make(), images=pixels, space="pixels", factor=2)
    return {
        "hard": make(),
        "soft with a rate": dataclasses.replace(whole, step_size=0.03),
        "whitened": make(zca=True),
        "in tiles": tiles,
        "targets": make(label_space="targets", training=jaxdd.Training(1, loss="mse")),
    }  # fmt: skip


SETS = variants()


@pytest.mark.parametrize("to", ["safetensors", "pt", "npz"])
@pytest.mark.parametrize("name", SETS)
def test_arrays_come_back_as_the_same_set(tmp_path, to, name):
    artifact = SETS[name]
    path = write_as(artifact, to, tmp_path / f"a new folder/set.{to}")
    again = jaxdd.load_foreign(path)
    assert again.digest == artifact.digest
    assert again.training == artifact.training
    assert again.measured == artifact.measured
    assert again.dataset == artifact.dataset


def test_the_first_images_of_every_class_alone(tmp_path, capsys):
    whole = make()
    source = write_as(whole, "npz", tmp_path / "whole.npz")
    flags = {"source": str(source), "out": str(tmp_path / "first.npz")}
    artifact, path = convert.run(convert.Config(**flags, first=1))
    again = jaxdd.load(path)
    assert again.digest == artifact.digest
    assert again.ipc == 1 < whole.ipc
    assert np.array_equal(again.images, whole.images[:, :1])
    assert not again.measured  # what was measured is the whole
    with refused("the first 9 .* choose 1 to"):
        convert.run(convert.Config(**flags, first=9))


@pytest.mark.parametrize("to", ["safetensors", "pt"])
@pytest.mark.parametrize("name", SETS)
def test_arrays_for_others(tmp_path, to, name):
    """Inputs are what a network is trained on, pixels the same before that."""
    artifact = SETS[name]
    held = open_container(write_as(artifact, to, tmp_path / f"set.{to}"))
    trained = artifact.synthetic()
    shape = np.asarray(trained.images).shape
    inputs = np.moveaxis(held["inputs"], 1, -1)
    np.testing.assert_array_equal(inputs.reshape(shape), trained.images)
    assert held["pixels"].min() >= 0
    assert held["pixels"].max() <= 1
    pixels = artifact.preprocess.invert(inputs)
    np.testing.assert_allclose(
        np.moveaxis(held["pixels"], 1, -1), np.clip(pixels, 0, 1), atol=2e-5
    )
    assert held["targets"].tolist() == np.repeat(np.arange(3), shape[1]).tolist()
    np.testing.assert_array_equal(
        held["labels"].reshape(trained.labels.shape), trained.labels
    )
    texts = held.get("__metadata__", held)
    about = json.loads(texts["jaxdd_about"])
    assert about["class_names"] == list(NAMES)
    assert about["step_size"] == artifact.step_size
    assert about["preprocessing"]["kind"] == artifact.preprocess.kind
    if artifact.preprocess.kind == "affine":
        np.testing.assert_allclose(
            about["preprocessing"]["std"], artifact.preprocess.std
        )


def test_parquet_has_pictures_and_exact_inputs(tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow: the extra hub")
    artifact = SETS["soft with a rate"]
    path = write_as(artifact, "parquet", tmp_path / "set.parquet")
    assert jaxdd.load_foreign(path).digest == artifact.digest
    tiles = write_as(SETS["in tiles"], "parquet", tmp_path / "tiles.parquet")
    again = jaxdd.load_foreign(tiles)
    assert again.factor == 1
    np.testing.assert_array_equal(again.images, SETS["in tiles"].synthetic().images)
    _, module = parquet.pyarrow()
    table = module.read_table(path)
    assert table.column_names == ["image", "label", "soft_label", "input"]
    row = table.slice(5, 1).to_pylist()[0]
    picture = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
    np.testing.assert_array_equal(picture, PIXELS[1, 1, ..., 0])
    assert row["label"] == 1
    hub = json.loads(table.schema.metadata[b"huggingface"])
    assert hub["info"]["features"]["label"]["names"] == list(NAMES)
    with refused(None, "to='hub'"):
        write_as(SETS["whitened"], "parquet", tmp_path / "zca.parquet")
    assert not (tmp_path / "zca.parquet").exists()


def test_parquet_of_others_is_refused(tmp_path):
    arrow, module = pytest.importorskip("pyarrow"), parquet.pyarrow()[1]
    module.write_table(arrow.table({"a": [1, 2]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    for name in ("a.parquet", "b.parquet"):
        with refused(None, name):
            jaxdd.load_foreign(tmp_path / name)


@pytest.mark.parametrize("to", ["npz", "safetensors", "pt", "csv", "parquet"])
def test_files_of_another_kind_are_not_replaced(tmp_path, to):
    mine = tmp_path / "mine.txt"
    mine.write_text("my data")
    with refused(None, "must be a file that ends in .", "txt"):
        write_as(SETS["hard"], to, mine)
    with refused(None, "must be a file that ends in .npz"):
        jaxdd.save(SETS["hard"], mine)
    assert mine.read_text() == "my data"


def test_an_archive_that_is_no_set_is_not_replaced(tmp_path):
    np.savez(tmp_path / "data.npz", images=np.zeros(3))
    with refused(None, "data.npz is there already and is not a distilled set"):
        write_as(SETS["hard"], "npz", tmp_path / "data.npz")
    path = write_as(SETS["hard"], "npz", tmp_path / "set.npz")
    assert write_as(path, "npz", path) == path  # a path will do as well


def test_without_pyarrow_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for to in ("parquet", "hub"):
        with refused(None, "pyarrow", "jaxdd[hub]"):
            write_as(SETS["hard"], to, tmp_path / to)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["soft with a rate", "whitened"])
def test_a_folder_for_the_hub(tmp_path, name):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow: the extra hub")
    artifact = SETS[name]
    folder = write_as(artifact, "hub", tmp_path / "hub")
    assert sorted(content(folder)) == [
        "README.md",
        "data/train-00000-of-00001.parquet",
        "set.safetensors",
    ]
    assert jaxdd.load_foreign(folder / "set.safetensors").digest == artifact.digest
    card = (folder / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in header.strip().splitlines())
    split = json.loads(fields["configs"])[0]["data_files"][0]
    assert (folder / split["path"]).exists()
    assert "50.00 ± 1.00 %" in body
    assert "(pixels / 255 - mean)" in body
    with refused(None, "not an empty folder"):
        write_as(artifact, "hub", folder)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow: the extra hub")
    monkeypatch.setattr("jaxdd.storage.files.os.replace", full_disk)
    for to in ("safetensors", "pt", "parquet", "hub"):
        with refused(None, "No space left"):
            write_as(SETS["hard"], to, tmp_path / f"set.{to}")
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_refused(tmp_path):
    with refused(None, "unknown to", "safetensors"):
        write_as(SETS["hard"], "zip", tmp_path / "x")
    assert set(TARGETS) >= {"npz", "safetensors", "pt", "png", "parquet", "hub"}


def test_flags_about_a_set_of_ours_are_refused(tmp_path):
    path = artifacts.save(SETS["hard"], tmp_path / "set.npz")
    with refused(None, "leave normalisation out"):
        jaxdd.load_foreign(path, normalisation="pixels")
    turned = dataclasses.replace(SETS["hard"], class_names=("dog", "cat", "eel"))
    other = write_as(turned, "pt", tmp_path / "set.pt")
    data = jaxdd.from_arrays(
        PIXELS[:, 0], np.arange(3), PIXELS[:, 1], np.arange(3), NAMES
    )
    with refused(None, "another order"):
        jaxdd.load_foreign(other, data)
    held = open_container(other)
    held["stored/images"] = held["stored/images"][:2]
    write_torch(held, tmp_path / "cut.pt")
    with refused(None, "cannot be used"):
        jaxdd.load_foreign(tmp_path / "cut.pt")


def test_the_program_reads_and_writes(tmp_path):
    source = saved([FOREIGN, HARD], tmp_path / "data.pt")
    real = np.random.default_rng(1).integers(0, 256, (3, 4, 6, 6, 3), np.uint8)
    data = png_folders(tmp_path / "real", NAMES, real)
    config = convert.Config(
        source=str(source), out=str(tmp_path / "set.npz"), dataset=f"folder:{data}",
        net="mlp", width=4, factor=1,
    )  # fmt: skip
    artifact, path = convert.run(config)
    assert artifacts.load(path).digest == artifact.digest
    assert artifact.class_names == NAMES
    bad = dataclasses.replace(config, ipc=3, out=str(tmp_path / "bad.npz"))
    with refused(None, "--ipc=3"):
        convert.run(bad)
    assert not (tmp_path / "bad.npz").exists()
    convert.run(convert.Config(source=path, to="png", out=str(tmp_path / "pngs")))
    assert len(list((tmp_path / "pngs").glob("*/*.png"))) == 6


@pytest.mark.parametrize(
    ("to", "out", "says"),
    [
        ("npz", ".", "is a folder"),
        ("npz", "set.pt", "must be a file that ends in .npz"),
        ("png", "file/x", "is no folder"),
        ("npz", "file/x.npz", "is no folder"),
    ],
)
def test_a_target_is_refused_before_the_set_is_read(
    tmp_path, monkeypatch, to, out, says
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(convert, "open_foreign", None)
    flags = {"source": str(tmp_path / "a.npz"), "to": to, "out": str(tmp_path / out)}
    with refused(says):
        convert.run(convert.Config(**flags, shorten=1))
