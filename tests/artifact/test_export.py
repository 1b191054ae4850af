"""An export is the set as pictures, and says what pictures cannot hold."""

import dataclasses
import json
import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from PIL import Image

import jaxdd
from jaxdd.artifact import export
from jaxdd.artifact.export import export_pngs, folder_names
from jaxdd.data import Preprocess
from jaxdd.errors import UserError
from tests.artifact.sets import PIXELS, make
from tests.helpers import content, full_disk, refused


def one_each(**changes):
    """A set of one image per class."""
    whole = make()
    images, labels = whole.images[:, :1], whole.labels[:, :1]
    return dataclasses.replace(whole, images=images, labels=labels, **changes)


def described(folder):
    return json.loads((folder / "export.json").read_text())


def test_one_image_per_class_is_read_beside_real_test_images(tmp_path):
    """As the docstring and the notes say: alone there is none to hold out."""
    export_pngs(one_each(), tmp_path / "data" / "train")
    export_pngs(make(), tmp_path / "data" / "test")
    again = jaxdd.from_folder(tmp_path / "data")
    np.testing.assert_array_equal(again.images, PIXELS[:, 0])
    assert again.labels.tolist() == [0, 1, 2]
    assert len(again.test_images) == 12
    notes = " ".join(described(tmp_path / "data" / "train")["notes"])
    assert "one image per class" in notes
    assert "DATA/test" in notes
    with pytest.raises(UserError):
        jaxdd.from_folder(tmp_path / "data" / "train")


@pytest.mark.parametrize("zca", [False, True])
@pytest.mark.parametrize("space", ["input", "pixels"])
def test_the_images_that_train_are_exported(tmp_path, zca, space):
    """With a factor these are tiles, not the mosaics that are stored."""
    whole = make(zca, soft=True)
    if space == "pixels":
        images = (PIXELS / 255).astype(np.float32)
        whole = dataclasses.replace(whole, images=images, space=space)
    made = dataclasses.replace(whole, factor=2, step_size=0.03)
    paths = export_pngs(made, tmp_path / "out")
    trained = made.synthetic()
    assert len(paths) == 3 * 16 == trained.labels.shape[0] * trained.labels.shape[1]
    pixels = made.preprocess.invert(np.asarray(trained.images))
    expected = np.clip(pixels, 0, 1).reshape(-1, 8, 8)
    for path, image in zip(paths, expected, strict=True):
        with Image.open(path) as file:
            assert np.abs(np.asarray(file) / 255 - image).max() < 0.51 / 255
    # What no picture holds is beside them.
    told = described(tmp_path / "out")
    assert told["step_size"] == made.step_size
    assert told["labels"] == "soft"
    assert told["decoder"] == {
        "factor": 2,
        "formation": "single",
        "space": space,
        "stored_per_class": 4,
        "images_per_class": 16,
    }
    files = [p.relative_to(tmp_path / "out").as_posix() for p in paths]
    assert [x["file"] for x in told["images"]] == files
    with np.load(tmp_path / "out" / "arrays.npz") as arrays:
        rows = [x["row"] for x in told["images"]]
        labels = np.asarray(trained.labels).reshape(-1, 3)
        np.testing.assert_array_equal(arrays["labels"][rows], labels)
        prefix = "preprocess/"
        fields = {k[len(prefix) :]: arrays[k] for k in arrays if k.startswith(prefix)}
    again = Preprocess.from_arrays(fields)
    np.testing.assert_array_equal(again.apply(PIXELS), made.preprocess.apply(PIXELS))
    notes = " ".join(told["notes"])
    for words in ("soft", "4 stored images", "learning rate 0.03", "8 bits"):
        assert words in notes


def test_what_8_bits_lose_is_told_in_numbers(tmp_path):
    """By hand: of 768 values one lies 2 levels above the range of pixels."""
    pixels = (PIXELS / 255).astype(np.float32)
    pixels[0, 0, 0, 0, 0] = 257 / 255
    export_pngs(make(images=pixels, space="pixels"), tmp_path / "out")
    notes = " ".join(described(tmp_path / "out")["notes"])
    assert "0.13 % of the set's values lie outside" in notes
    assert "the largest difference is 2 of 255 levels" in notes


def test_an_earlier_export_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "out"
    export_pngs(make(), folder)
    (folder / ".DS_Store").touch()
    names = ("cat", "cow", "eel")
    export_pngs(one_each(class_names=names), folder)
    pictures = [f"{name}/0000.png" for name in names]
    assert sorted(content(folder)) == sorted(["arrays.npz", "export.json", *pictures])
    assert [p.name for p in tmp_path.iterdir()] == ["out"]  # nothing is left beside
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == sorted(names)


@pytest.mark.parametrize(
    "strange",
    ["notes.txt", "cat/mine.png", "cat/0004.png", "cat/deep/0000.png", "mine/0000.png"],
)
def test_files_of_others_are_left_alone(tmp_path, strange):
    """In a folder of theirs, and among the pictures of an earlier export."""
    for name in ("foreign", "earlier"):
        folder = tmp_path / name
        if name == "earlier":
            export_pngs(make(), folder)
        (folder / strange).parent.mkdir(parents=True, exist_ok=True)
        (folder / strange).write_text("mine")
        before = content(folder)
        with refused("which no export wrote"):
            export_pngs(make(), folder)
        assert content(folder) == before


def test_an_empty_folder_of_others_and_links_are_no_export(tmp_path):
    folder = tmp_path / "out"
    export_pngs(make(), folder)
    (folder / "mine").mkdir()
    with pytest.raises(UserError, match="mine, which no export wrote"):
        export_pngs(make(), folder)
    (folder / "mine").rmdir()
    (tmp_path / "elsewhere").mkdir()
    os.remove(folder / "cat" / "0000.png")
    (folder / "cat" / "0000.png").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="which no export wrote"):
        export_pngs(make(), folder)


@pytest.mark.parametrize(
    "mark",
    ["", "{", "[]", '{"kind": "other"}', '{"kind": "jaxdd export", "images": [3]}'],
)
def test_a_damaged_mark_is_no_licence_to_delete(tmp_path, mark):
    folder = tmp_path / "out"
    export_pngs(make(), folder)
    (folder / "export.json").write_text(mark)
    before = content(folder)
    with pytest.raises(UserError, match="choose another folder"):
        export_pngs(make(), folder)
    assert content(folder) == before


def test_a_mark_cannot_name_files_outside_or_of_other_kinds(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    files = [{"file": f} for f in ("../thesis.txt", "thesis.txt", "cat/0000.png")]
    mark = json.dumps({"kind": "jaxdd export", "images": files})
    (folder / "export.json").write_text(mark)
    with pytest.raises(UserError, match="holds thesis"):
        export_pngs(make(), folder)
    assert (folder / "thesis.txt").exists()


@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, existing):
    folder = tmp_path / "out"
    if existing:
        export_pngs(one_each(), folder)
    before = content(tmp_path)

    monkeypatch.setattr(export.np, "savez_compressed", full_disk)
    with pytest.raises(UserError, match="No space left on device; free the disk"):
        export_pngs(make(), folder)
    assert content(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == (["out"] if existing else [])


def test_folders_that_cannot_be_replaced_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    for place, words in (
        (tmp_path / "file", "which is not a folder"),
        (tmp_path / "file" / "deeper", "cannot write PNGs to"),
        (tmp_path / "loop", "cannot write PNGs to"),
        (".", "is the current folder"),
        ("/", "is the current folder or a mounted one"),
        ("gs://bucket/x", "is an address"),
        ("", "must name a path"),
    ):
        with refused(words):
            export_pngs(make(), place)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "loop"]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 12])
def test_every_number_of_channels_is_exported_or_refused(tmp_path, channels):
    shape = (3, 4, 8, 1, channels)
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    made = make(pixels=pixels)
    if channels > 4:
        with pytest.raises(UserError, match=f"images of {channels} channels"):
            export_pngs(made, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return
    with Image.open(export_pngs(made, tmp_path / "out")[0]) as image:
        found = np.asarray(image).reshape(pixels.shape[2:])
    np.testing.assert_array_equal(found, pixels[0, 0])


AWKWARD = [
    ("a/b", "..", ""),
    ("a/b", "a_b", "a:b"),
    ("Cat", "cat", "CAT"),
    ("CON", "nul.txt", "com1"),
    ("a.", "a", "a "),
    ("x" * 300, "x" * 301, "é" * 150),
    ("\udcff", "\udcfe", "\x00"),
    ("a\nb", "\u202ea", "\x1b[31m"),
    ("e\u0301", "\u00e9", "\ufb01"),
    (".hidden", "@eaDir", "__MACOSX"),
    ("train", "test", "valid"),
    ("2", "10", "1"),
    ("b", "a", "c"),
    ("C:\\x", '<>"|?*', "~"),
]


@pytest.mark.parametrize("names", AWKWARD, ids=range(len(AWKWARD)))
def test_whatever_classes_are_called_there_is_a_folder_for_each(tmp_path, names):
    """Distinct, sorted as the classes, below the export, and as they were stored."""
    made = make(class_names=names)
    paths = export_pngs(made, tmp_path / "out")
    assert all(p.resolve().is_relative_to(tmp_path / "out") for p in paths)
    assert [len(p.relative_to(tmp_path / "out").parts) for p in paths] == [2] * 12
    folders = folder_names(names)
    folded = {unicodedata.normalize("NFKC", name).casefold() for name in folders}
    assert len(folded) == 3
    assert folders == sorted(folders)
    for name in folders:
        assert name.isprintable()
        assert len(name.encode()) < 128
        assert not set(name) & set('/\\<>:"|?*')
        assert name[0] not in ".@ "
        assert name[-1] not in ". "
    told = described(tmp_path / "out")
    assert told["class_names"] == list(names)
    assert told["folders"] == folders
    # The reader gives every class its own number again.
    again = jaxdd.from_folder(tmp_path / "out")
    images = np.concatenate([again.images, again.test_images])
    labels = np.concatenate([again.labels, again.test_labels])
    for k in range(3):
        ours = sorted(image.tobytes() for image in PIXELS[k])
        assert sorted(image.tobytes() for image in images[labels == k]) == ours
    export_pngs(made, tmp_path / "out")  # and once more into the same folder


def test_many_classes_with_numbers_for_names_keep_their_order():
    names = folder_names(tuple(str(k) for k in range(200)))
    assert names == sorted(names)
    assert names[10] == "00010_10"
    assert folder_names(tuple("abc")) == ["a", "b", "c"]


KILLED = """
import os, sys
from pathlib import Path
from jaxdd.artifact import export
from jaxdd.artifact.artifact import _example
rename, count = Path.rename, 0
def killed(self, to):
    global count
    count += 1
    if count == step:
        os._exit(9)
    return rename(self, to)
for step in (1, 2):
    target = Path(sys.argv[1]) / str(step) / "out"
    export.export_pngs(_example(), target)
    if os.fork() == 0:
        Path.rename = killed
        export.export_pngs(_example(), target)
    os.wait()
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Below 1 and 2: what exports left that were killed at their so manyth renaming."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", KILLED, folder], check=True)
    return folder


@pytest.mark.parametrize("step", [1, 2])
def test_what_a_killed_export_left_is_put_back_or_removed(killed, monkeypatch, step):
    tmp_path, folder = killed / str(step), killed / str(step) / "out"
    assert len(list(tmp_path.iterdir())) == 2  # hidden ones too
    assert folder.exists() == (step == 1)

    with monkeypatch.context() as patch:
        patch.setattr(export.np, "savez_compressed", full_disk)
        with pytest.raises(UserError, match="No space left"):
            export_pngs(make(), folder)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert "cat/0000.png" in content(folder)
    export_pngs(one_each(), folder)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
