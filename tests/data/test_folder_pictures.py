"""The pictures of a folder: turned, converted, cut, or refused."""

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
from tests.data.folders import classes, read, refusal, save


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
