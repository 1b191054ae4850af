import os
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from jaxdd.data import load
from jaxdd.data.readers.pictures import LARGEST_IMAGE
from jaxdd.errors import UserError
from tests.helpers import refused


def save(path, value, size=(6, 4), mode="RGB"):
    """A constant image of `size` (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def folder(tmp_path):
    """bird: 5 images of grey level 0..4; Ant: 10 of 100..109 (capitals sort first)."""
    root = tmp_path / "zoo"
    for i in range(5):
        save(root / "bird" / f"{i}.png", (i, i, i))
    for i in range(10):
        save(root / "Ant" / f"{i}.PNG", (100 + i,) * 3)
    return root


def read(root):
    return load(f"folder:{root}")


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


# --- Layouts and what is left out -----------------------------------------------------


def classes(root, count=3, names=("a", "b"), level=0):
    for k, name in enumerate(names):
        for i in range(count):
            save(root / name / f"{i}.png", (level + 10 * k + i,) * 3)


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_read_as_a_viewer_shows_them(tmp_path, orientation):
    """A white pixel in the top left corner of what is stored, by its EXIF turn."""
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:4, :4] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            file = tmp_path / name / f"{i}.png"
            Image.fromarray(pixels).save(file, exif=exif)
    image = read(tmp_path).images[0, ..., 0]
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.T,
        6: pixels.T[:, ::-1],
        7: pixels.T[::-1, ::-1],
        8: pixels.T[::-1],
    }
    np.testing.assert_array_equal(image, turned[orientation])


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


# --- Refusals -------------------------------------------------------------------------


def refusal(root, **form) -> str:
    with pytest.raises(UserError) as error:
        load(f"folder:{root}", **form)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 1500
    return message


def test_mixed_sizes_and_modes_are_told_at_once_and_converted(tmp_path):
    classes(tmp_path, 8)
    save(tmp_path / "a" / "odd.png", 7, size=(12, 8), mode="L")
    save(tmp_path / "b" / "clear.png", (1, 2, 3, 4), mode="RGBA")
    save(tmp_path / "b" / "print.jpg", (0, 0, 0, 0), mode="CMYK")
    message = refusal(tmp_path)
    for part in (
        "the 19 images",
        "18 4x6, 1 8x12 such as",
        "16 RGB, 1 grey such as",
        "1 RGBA such as",
        "1 CMYK such as",
        "--image_size=4x6 and --channels=3",
    ):
        assert part in message
    assert "--image_size" in refusal(tmp_path, channels=3)
    assert "--channels" in refusal(tmp_path, image_size=(4, 6))
    for channels in (1, 3):
        dataset = load(f"folder:{tmp_path}", None, channels, (3, 5))
        assert dataset.image_shape == (3, 5, channels)
        levels = dataset.images[dataset.labels == 0, 0, 0, 0]
        assert set(levels) <= {*range(8)}


def test_images_are_cut_about_the_centre(tmp_path):
    """A wide image of three squares: the middle one is kept, and made smaller."""
    pixels = np.zeros((8, 24), np.uint8)
    pixels[:, 8:16] = 200
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    images = load(f"folder:{tmp_path}", image_size=(4, 4)).images
    assert images.shape == (2, 4, 4, 1)
    assert images.min() > 100  # bicubic weights reach over the edge of the cut
    assert np.abs(images[:, :, 1:3].astype(int) - 200).max() < 5


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("P", 3)])
def test_modes_without_loss_need_no_flag(tmp_path, mode, channels):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            image = Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode)
            image.save(tmp_path / name / f"{i}.png")
    dataset = read(tmp_path)
    assert dataset.image_shape == (4, 4, channels)
    assert (dataset.images == 255).all()


def test_one_class_and_splits_without_classes_are_refused(tmp_path):
    classes(tmp_path / "zoo", 3)
    assert f"folder:{tmp_path / 'zoo'}" in refusal(tmp_path)
    classes(tmp_path / "other", 3, ("a",))
    assert "one class only" in refusal(tmp_path / "other")
    classes(tmp_path / "splits", names=("train", "test"))
    assert "no folder for each class inside them" in refusal(tmp_path / "splits")


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 6 4
%%EndComments
(x) (w) file
showpage
"""


def bomb() -> bytes:
    """A small PNG that says it has more pixels than any photo."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    side = int(LARGEST_IMAGE**0.5) + 1
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize(
    ("content", "quoted"),
    [
        (EPS, "it is none of PNG, JPEG"),
        (b"8BPS\0\1" + bytes(60), "it is none of"),
        (b"SIMPLE  =                    T" + bytes(60), "it is none of"),
        (bomb(), "pixels, more than"),
        (None, "it is no regular file"),
    ],
)
def test_other_formats_bombs_and_pipes_are_refused_by_name(
    folder, content, quoted, monkeypatch
):
    """No other decoder is even asked: an EPS would start Ghostscript."""

    def never(*_, **__):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", never)
    place = folder / "bird" / "z.png"
    if content is None:
        os.mkfifo(place)
    else:
        place.write_bytes(content)
    found = []
    reader = threading.Thread(target=lambda: found.append(refusal(folder)), daemon=True)
    reader.start()
    reader.join(30)
    assert found, "reading did not end"
    assert str(place) in found[0]
    assert quoted in found[0]


def test_deep_images_are_refused_rather_than_clipped(folder):
    pixels = np.full((4, 6), 40_000, np.uint16)
    Image.fromarray(pixels).save(folder / "bird" / "deep.png")
    for form in ({}, {"channels": 1}):
        message = refusal(folder, **form)
        assert "1 of 16 images" in message
        assert "deep.png" in message


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


@pytest.mark.parametrize(
    "form",
    [
        {"channels": 2},
        {"channels": 4},
        {"image_size": (0, 4)},
        {"image_size": (4, 10**6)},
    ],
)
@pytest.mark.parametrize("name", ["digits", "folder:x", "npz:x", "mnist"])
def test_forms_that_no_image_has_are_refused(name, form, tmp_path):
    with pytest.raises(UserError, match=r"are turned into|are resized"):
        load(name, tmp_path, **form)
