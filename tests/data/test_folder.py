"""Folders of pictures: their layouts, what is left out, and what is refused."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxdd.data import from_folder, load
from jaxdd.errors import UserError
from tests.data.folders import classes, read, refusal, save
from tests.helpers import refused


def test_a_fifth_is_held_out(folder):
    dataset = read(folder)
    assert dataset.class_names == ("Ant", "bird")
    assert dataset.images.dtype == np.uint8
    assert dataset.image_shape == (4, 6, 3)
    assert np.bincount(dataset.labels).tolist() == [8, 4]
    assert np.bincount(dataset.test_labels).tolist() == [2, 1]
    levels = np.concatenate([dataset.images, dataset.test_images])[:, 0, 0, 0]
    assert sorted(levels) == [*range(5), *range(100, 110)]
    np.testing.assert_array_equal(dataset.labels, dataset.images[:, 0, 0, 0] < 100)
    assert dataset.fingerprint == read(folder).fingerprint
    assert dataset.name == "folder:zoo"
    assert "a stratified fifth of its 15 images" in told(folder)


def test_train_may_be_split_or_a_class(folder):
    whole = read(folder)
    (folder.parent / "outer").mkdir()
    folder.rename(folder.parent / "outer" / "train")
    dataset = read(folder.parent / "outer")
    assert dataset.fingerprint == whole.fingerprint
    for name in ("train", "tram"):
        for i in range(2):
            save(folder / name / f"{i}.png", (0, 0, 0))
    assert read(folder).class_names == ("train", "tram")


def move_classes_up(zoo):
    for name in ("Ant", "bird"):
        (zoo / name).rename(zoo.parent / name)


def add_test_class(zoo):
    zoo.rename(zoo.with_name("inner"))
    zoo.mkdir()
    zoo.with_name("inner").rename(zoo / "train")
    save(zoo / "test" / "cow" / "0.png", (0, 0, 0))


def cut_off(zoo):
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(noise).save(zoo / FILE)
    (zoo / FILE).write_bytes((zoo / FILE).read_bytes()[:-40])


FILE = "bird/3.png"
# (what is done to the folder, what the message has to contain)
BROKEN = {
    "absent": (lambda zoo: zoo.rename(zoo.with_name("other")), "zoo"),
    "flat": (move_classes_up, "zoo"),
    "empty class": (lambda zoo: (zoo / "cow").mkdir(), "zoo/cow"),
    "single": (lambda zoo: save(zoo / "cow" / "0.png", (0, 0, 0)), "class 2 has 1"),
    "strange test class": (add_test_class, "'cow'"),
    "garbage": (lambda zoo: (zoo / FILE).write_bytes(b"not an image"), FILE),
    "truncated": (cut_off, FILE),
    "size": (lambda zoo: save(zoo / FILE, (0, 0, 0), size=(6, 5)), FILE),
    "alpha": (lambda zoo: save(zoo / FILE, (0, 0, 0, 0), mode="RGBA"), FILE),
}


@pytest.mark.parametrize("case", BROKEN)
def test_errors_name_the_place(folder, case):
    damage, quoted = BROKEN[case]
    damage(folder)
    with refused(None, quoted):
        read(folder)


def test_empty_path():
    with pytest.raises(UserError, match="''"):
        load("folder:")


@pytest.mark.parametrize("train", ["train", "training", "Train"])
@pytest.mark.parametrize(
    "test", ["test", "testing", "val", "valid", "validation", "Test"]
)
def test_usual_layouts_are_read(tmp_path, train, test):
    classes(tmp_path / train)
    classes(tmp_path / test, 2, level=100)
    dataset = read(tmp_path)
    assert dataset.class_names == ("a", "b")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.test_labels.tolist() == [0, 0, 1, 1]
    assert dataset.test_images.min() >= 100
    assert dataset.remarks == ()


def test_classes_on_top_beside_their_test_split(tmp_path):
    classes(tmp_path)
    classes(tmp_path / "test", 1, ("b",), level=100)
    dataset = read(tmp_path)
    assert dataset.class_names == ("a", "b")
    assert dataset.test_labels.tolist() == [1]


def told(root) -> str:
    return "\n".join(read(root).remarks)


def test_a_validation_split_beside_a_test_split_is_told(tmp_path):
    for name in ("train", "val", "test", "extra"):
        classes(tmp_path / name, 2)
    (tmp_path / "train" / "lonely.png").write_bytes(b"")
    save(tmp_path / "stray.png", (1, 1, 1))
    remarks = told(tmp_path)
    stray = f"left out 1 image of {tmp_path} beside the folders of the classes"
    assert stray in remarks
    assert "the folder val of" in remarks
    assert "4 images, test is the test split" in remarks
    assert "4 images, it is beside train" in remarks
    assert "left out 1 image of" in remarks


def test_a_test_folder_without_classes_is_told(tmp_path):
    classes(tmp_path / "train", 5)
    for i in range(2):
        save(tmp_path / "test" / f"{i}.png", (0, 0, 0))
    dataset = read(tmp_path)
    assert len(dataset.test_labels) == 2
    assert "2 images, it has no folder for each class" in "\n".join(dataset.remarks)
    classes(tmp_path, 5)
    (tmp_path / "train").rename(tmp_path / "c")
    assert read(tmp_path).class_names == ("a", "b", "c", "test")
    assert "is read as a class" in told(tmp_path)


def test_images_of_every_offered_ending_and_deeper_ones_count(tmp_path):
    endings = ("png", "jpg", "JPEG", "bmp", "webp", "tif", "tiff", "gif", "ppm")
    for ending in endings:
        save(tmp_path / "a" / f"0.{ending}", (90, 90, 90))
    for i in range(3):
        save(tmp_path / "b" / "2021" / "may" / f"{i}.png", (0, 0, 0))
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "b" / "2021" / "list.csv").write_text("x")
    (tmp_path / "b" / "2021" / "names.csv").write_text("x")
    dataset = read(tmp_path)
    labels = np.concatenate([dataset.labels, dataset.test_labels])
    assert np.bincount(labels).tolist() == [len(endings), 3]
    assert np.abs(dataset.images[dataset.labels == 0].astype(int) - 90).max() <= 2
    remarks = "\n".join(dataset.remarks)
    assert "took 3 images of 12 from deeper" in remarks
    assert "3 files of" in remarks
    assert "2 .csv, 1 .txt" in remarks


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", "$RECYCLE.BIN", ".thumbs"])
def test_what_systems_leave_behind_is_no_class(tmp_path, name):
    classes(tmp_path)
    classes(tmp_path / name, names=("x",))
    classes(tmp_path / "a", names=(name,))
    dataset = read(tmp_path)
    assert dataset.class_names == ("a", "b")
    assert len(dataset.labels) + len(dataset.test_labels) == 6
    assert (name in "\n".join(dataset.remarks)) != name.startswith(".")


@pytest.mark.parametrize("name", [b"$$", b"[b]", b"x\ny", b"\xff\xfe", "é".encode()])
def test_classes_of_any_name_are_read(tmp_path, name):
    for folder in (name, b"z"):
        place = os.path.join(os.fsencode(tmp_path), folder)
        os.mkdir(place)
        for i in range(2):
            with open(os.path.join(place, b"%d.png" % i), "wb") as file:
                Image.new("L", (4, 4), i).save(file, "PNG")
    dataset = read(tmp_path)
    assert len(dataset.class_names) == 2
    assert all(n.isprintable() and n.encode() for n in dataset.class_names)


def test_one_class_and_splits_without_classes_are_refused(tmp_path):
    classes(tmp_path / "zoo", 3)
    assert f"folder:{tmp_path / 'zoo'}" in refusal(tmp_path)
    classes(tmp_path / "other", 3, ("a",))
    assert "one class only" in refusal(tmp_path / "other")
    classes(tmp_path / "splits", names=("train", "test"))
    assert "no folder for each class inside them" in refusal(tmp_path / "splits")


def test_broken_files_are_counted_and_loops_refused(folder):
    for i in range(3):
        (folder / "bird" / f"{i}.png").write_bytes(b"no image")
    assert "and 2 more cannot either" in refusal(folder)
    (folder / "bird" / "again").symlink_to(folder / "bird")
    assert "leads back" in refusal(folder)


@pytest.mark.parametrize("name", ["zoo", "bird"])
def test_a_folder_without_permission_is_named(folder, name, monkeypatch):
    """As root may read everything, the system's answer is put in."""
    scandir = os.scandir

    def refusing(place):
        if os.path.basename(place) == name:
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refusing)
    message = refusal(folder)
    assert name in message
    assert "(Permission denied)" in message


@pytest.mark.parametrize("size", [4, "4", (4, 4), [4, 4], "4x4", np.int64(4)])
def test_a_size_may_be_written_in_any_form(folder, size):
    assert from_folder(folder, image_size=size, channels=3).image_shape == (4, 4, 3)


@pytest.mark.parametrize(
    "size",
    [8.5, (8.5, 8), "8 x 8", (1, 2, 3), True, (8, True), np.array([8, 8])],
    ids=str,
)
def test_what_is_no_size_is_refused(folder, size):
    with refused(None, "--image_size must be a number of pixels"):
        from_folder(folder, image_size=size)


@pytest.mark.parametrize("size", ["0", 10**6])
def test_a_size_out_of_range_is_refused(folder, size):
    with refused(None, "images are resized to between 1 and"):
        from_folder(folder, image_size=size)


def test_channels_are_a_number(folder):
    with refused(None, "turned into 1 or 3 channels, not '3'"):
        from_folder(folder, channels="3")
