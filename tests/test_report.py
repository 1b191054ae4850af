"""Pictures: valid files of sensible size that show the pixels they were given."""

import numpy as np
import pytest
from PIL import Image

from jaxdd import report
from jaxdd.errors import UserError
from jaxdd.report import figures
from jaxdd.report.images import GAP, _title


def random_images(*shape):
    return np.random.default_rng(0).uniform(size=shape)


def opened(path, smallest=100, largest=4000):
    """The picture as [rows, columns, 3], after checking it and its folder."""
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # no leftovers
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert all(smallest <= side <= largest for side in pixels.shape[:2])
    assert (pixels != pixels[0, 0]).any()  # more than one colour
    return pixels


def names(count):
    return [f"class {k}" for k in range(count)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("classes", "count", "size"), [(10, 1, 8), (10, 50, 28), (3, 2, 224), (100, 10, 32)]
)
def test_image_grid_is_readable_and_bounded(tmp_path, classes, count, size, channels):
    images = random_images(classes, count, size, size, channels)
    path = tmp_path / "grid.png"
    assert report.image_grid(images, names(classes), path, "A title") == path
    pixels = opened(path, largest=2000)
    if channels == 1:
        assert np.ptp(pixels.astype(int), axis=2).max() == 0


@pytest.mark.parametrize(("classes", "size"), [(4, 8), (4, 28), (30, 5)])
def test_image_grid_shows_exactly_the_pixels(tmp_path, classes, size):
    # Every pixel of the mosaic must be found, enlarged by a whole factor, unblurred.
    images = np.round(random_images(classes, 3, size, size, 3) * 250) / 255
    pixels = opened(report.image_grid(images, names(classes), tmp_path / "g.png"))
    first = np.round(images[0, 0] * 255).astype(np.uint8)
    starts = np.argwhere((pixels == first[0, 0]).all(axis=-1))
    zoom = max(z for z in range(1, 12) if _found(pixels, first, starts[0], z))
    assert zoom * size >= 16
    below = starts[0] + [zoom * size + GAP, 0]
    if classes <= 20:
        second = np.round(images[1, 0] * 255).astype(np.uint8)
        assert _found(pixels, second, below, zoom)


def _found(pixels, image, start, zoom):
    big = image.repeat(zoom, axis=0).repeat(zoom, axis=1)
    stop = start + big.shape[:2]
    return np.array_equal(pixels[start[0] : stop[0], start[1] : stop[1]], big)


def test_image_grid_clips_and_cuts(tmp_path):
    images = random_images(5, 50, 8, 8, 3)
    cut = opened(report.image_grid(images, names(5), tmp_path / "a.png"))
    (tmp_path / "a.png").unlink()
    assert _title("T", 50, 20) == "T (first 20 of 50 per class)"
    assert _title("", 50, 20) == "first 20 of 50 per class"
    assert _title("T", 20, 20) == "T"
    whole = opened(report.image_grid(images[:, :20], names(5), tmp_path / "a.png"))
    assert cut.shape[1] == whole.shape[1]
    assert cut.shape[0] > whole.shape[0]  # the line that says so
    (tmp_path / "a.png").unlink()
    wild = np.where(images > 0.5, 7.0, -3.0)
    wild[0, 0, 0, 0, 0] = np.nan
    opened(report.image_grid(wild, names(5), tmp_path / "a.png"))


@pytest.mark.parametrize(("classes", "count"), [(10, 12), (100, 5)])
def test_extremes(tmp_path, classes, count):
    images = random_images(classes, count, 8, 8, 1)
    hardest = images[:, :3]
    path = tmp_path / "extremes.png"
    assert report.extremes(images, hardest, names(classes), path) == path
    opened(path)


def test_images_that_cannot_be_shown(tmp_path):
    path = tmp_path / "none.png"
    good = random_images(2, 3, 4, 4, 3)
    for bad in (good[0], good[..., :2], good[:, :0]):
        with pytest.raises(UserError, match=r"\[K, n, H, W, C\]"):
            report.image_grid(bad, names(2), path)
    with pytest.raises(UserError, match="2 classes but 3 names"):
        report.image_grid(good, names(3), path)
    with pytest.raises(UserError, match="one size"):
        report.extremes(good, good[:, :, :3], names(2), path)
    assert not list(tmp_path.iterdir())


def test_histogram(tmp_path):
    scores = np.random.default_rng(0).normal(size=500)
    path = tmp_path / "folder" / "scores.png"
    assert report.histogram(scores, path, "score", {"median": 0.0}) == path
    opened(path)
    scores[:3] = np.nan
    opened(report.histogram(scores, path, "score"))  # replaces the first
    opened(report.histogram(np.zeros(4), path, "score"))
    with pytest.raises(UserError, match="finite"):
        report.histogram(np.full(3, np.nan), path, "score")


def test_curves(tmp_path):
    x = np.arange(100)
    path = tmp_path / "curves.png"
    plain = opened(report.curves({"a": (x, x**0.5)}, path, "step", "loss"))
    band = {"a": np.ones(100)}
    banded = opened(report.curves({"a": (x, x**0.5)}, path, "step", "loss", band))
    assert not np.array_equal(plain, banded)
    opened(report.curves({f"s{i}": ([1, 2], [i, i]) for i in range(9)}, path, "x", "y"))
    for series, wrong in (
        ({}, {}),
        ({"a": (x, x)}, {"b": x}),
        ({"a": (x, x[1:])}, {}),
        ({"a": (x, x)}, {"a": x[1:]}),
    ):
        with pytest.raises(UserError):
            report.curves(series, path, "x", "y", wrong)


@pytest.mark.parametrize("count", [1, 6, 30])
def test_correlation_matrix(tmp_path, count):
    matrix = np.corrcoef(random_images(count, 9)).reshape(count, count)
    path = tmp_path / "correlation.png"
    assert report.correlation_matrix(names(count), matrix, path) == path
    opened(path)
    with pytest.raises(UserError, match="shape"):
        report.correlation_matrix(names(count + 1), matrix, path)


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    report.histogram(np.arange(9), path, "score")
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(figures.Figure, "savefig", fail)
    with pytest.raises(UserError, match="disk full"):
        report.histogram(np.arange(5), path, "score")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
