"""Pictures: valid files of sensible size that show the pixels they were given."""

import itertools
import os

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from jaxdd import report
from jaxdd.errors import NotWritten, UserError
from jaxdd.report import images as grids
from jaxdd.report import plots
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


@pytest.mark.parametrize("values", [[0.2], [0.2, -15.0], [1.3, -0.2]])
def test_numbers_of_the_axis_of_intervals_do_not_overlap(tmp_path, monkeypatch, values):
    """On a scale that is linear up to a bound and logarithmic beyond, or not."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    half = [0.1] * len(values)
    report.intervals(names(len(values)), values, half, tmp_path / "i.png", "x", 1)
    (axes,) = figures[0].axes
    figures[0].draw_without_rendering()
    low, high = axes.get_xlim()
    ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    boxes = [x.get_window_extent() for place, x in ticks if low <= place <= high]
    assert len(boxes) >= 2
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
    # An axis whose numbers are as far apart as on a linear one is linear.
    assert (axes.get_xscale() == "linear") == (max(map(abs, values)) < 10)


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


def test_images_that_cannot_be_shown(tmp_path):
    path = tmp_path / "none.png"
    good = random_images(2, 3, 4, 4, 3)
    for bad in (good[0, 0, 0], good[..., :0], good[:, :0]):
        with pytest.raises(UserError, match=r"\[K, n, H, W, C\]"):
            report.image_grid(bad, names(2), path)
    with pytest.raises(UserError, match="2 classes but 3 names"):
        report.image_grid(good, names(3), path)
    with pytest.raises(UserError, match="one size"):
        report.extremes(good, good[:, :, :3], names(2), path)
    assert not list(tmp_path.iterdir())


def test_a_histogram_and_a_correlation_matrix(tmp_path):
    scores = np.random.default_rng(0).normal(size=500)
    path = tmp_path / "folder" / "scores.png"
    assert report.histogram(scores, path, "score", {"median": 0.0}) == path
    opened(path)
    with pytest.raises(UserError, match="finite"):
        report.histogram(np.full(3, np.nan), path, "score")
    with pytest.raises(UserError, match="shape"):
        report.correlation_matrix(names(2), np.eye(3), path)


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


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    report.histogram(np.arange(9), path, "score")
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(NotWritten, match="disk full"):
        report.histogram(np.arange(5), path, "score")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(NotWritten, match="Not a directory"):
        report.histogram(np.arange(5), path / "below" / "a.png", "score")


# What a name may be -> what is drawn, where that is not the name.
ODD_NAMES = {
    "Ba$$in": None,
    "$x^$": None,
    "price_$5_$10": None,
    "\\frac{": None,
    "_hidden": None,
    "[/b]": None,
    "Ünïcödé Ω ф": None,
    b"caf\xe9".decode("utf-8", "surrogateescape"): "caf\\udce9",
    "two\nlines": "two\\nlines",
    "bell\x07, red\x1b[31m": "bell\\x07, red\\x1b[31m",
    "猫 🚀": "\\u732b \\U0001f680",  # no glyphs for these
    "\u202eright": "\\u202eright",
    "a very long name " * 60: "a very long name a very…",
    "": None,
}


def drawings(names, path):
    """Every function, with names that come from data wherever a name is taken."""
    count = len(names)
    images, ones = random_images(count, 3, 6, 6, 3), np.ones(count)
    lines = {name: ([1, 2, 3], [3.0, 1.0, 2.0 + i]) for i, name in enumerate(names)}
    rows = [
        [report.Chart(name, name, lines, {name: [0.1, 0.1, 0.1]}, log=True)]
        for name in names[:2]
    ]
    marks, odd, table = dict(zip(names, ones, strict=True)), names[0], np.eye(count)
    points = {name: np.ones((2, 3)) for name in names}
    bands = {name: [1, 1, 1] for name in names}
    kinds = dict.fromkeys(names, 50 * ones)
    return {
        "image_grid": lambda: report.image_grid(images, names, path, odd),
        "extremes": lambda: report.extremes(images, images, names, path),
        "grid_png": lambda: path.write_bytes(report.grid_png(images, names, odd)),
        "extremes_png": lambda: path.write_bytes(
            report.extremes_png(images, images, names)
        ),
        "histogram": lambda: report.histogram([1.0, 2.0], path, odd, marks),
        "curves": lambda: report.curves(lines, path, odd, odd, bands),
        "intervals": lambda: report.intervals(names, ones, ones, path, odd, 1.0),
        "correlation_matrix": lambda: report.correlation_matrix(names, table, path),
        "counts": lambda: report.counts(table, names, names, path),
        "percentiles": lambda: report.percentiles(kinds, names, path),
        "percentiles_png": lambda: path.write_bytes(
            report.percentiles_png(kinds, names)
        ),
        "pruning": lambda: report.pruning([1, 2], points, path, lines),
        "charts": lambda: report.charts(rows, path, odd, odd),
    }


NO_PICTURES = ("bar", "feature_distances")
FUNCTIONS = [x for x in report.__all__ if x[0].islower() and x not in NO_PICTURES]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.filterwarnings("error")
def test_text_that_is_data_is_drawn_as_it_is(tmp_path, monkeypatch, function):
    texts = set()
    usual = Text.draw

    def draw(self, renderer):
        if self.get_visible() and self.get_text():
            texts.add(self.get_text())
            assert not (self.get_parse_math() and "$" in self.get_text())
        usual(self, renderer)

    monkeypatch.setattr(Text, "draw", draw)
    drawings(list(ODD_NAMES), tmp_path / "picture.png")[function]()
    opened(tmp_path / "picture.png", smallest=60, largest=9000)
    drawn = "|".join(texts)
    for name, expected in ODD_NAMES.items():
        assert (expected or name) in drawn
    for text in texts:
        assert text.replace("\n", "").isprintable()
        assert len(text) <= 101


@pytest.mark.parametrize(
    "shape",
    [
        *[(2, 3, 6, 5, channels) for channels in (1, 2, 3, 4, 12)],
        (2, 20, 1, 512, 1),
        (2, 20, 512, 1, 3),
        (30, 20, 1, 2000, 3),
        (30, 2, 2000, 2, 4),
        (1, 1, 1, 1, 1),
        (3, 2, 1, 1, 4),
        (300, 20, 24, 24, 3),
        (2, 2, 300, 7, 3),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_images_of_any_shape(tmp_path, monkeypatch, shape):
    for name, pixels in (("PAGE_PIXELS", 2_000_000), ("LONGEST_PAGE", 1000)):
        monkeypatch.setattr(grids, name, pixels)
    images = random_images(*shape).astype(np.float32)
    images[0, 0, 0, 0] = np.nan
    images[-1, -1, 0, 0] = np.inf
    path = tmp_path / "picture.png"
    report.image_grid(images, names(shape[0]), path)
    assert np.prod(opened(path, 30, 3000).shape[:2]) <= 2.5e6
    report.extremes(images, images, names(shape[0]), path)
    assert opened(path, 30, 3000).shape[0] <= 1100


def test_what_is_left_out_is_said(tmp_path):
    assert _title("T", 3, 3, 9, 9, 4) == "T (channels 1-3 of 4)"
    assert _title("", 3, 3, 9, 9, 2) == "mean of 2 channels"
    assert _title("", 9, 3, 9, 5) == "first 5 of 9 classes, first 3 of 9 per class"
    images = random_images(200, 1, 4, 4, 1)
    path = report.image_grid(images, names(200), tmp_path / "picture.png")
    assert np.ptp(opened(path).astype(int), axis=2).max() == 0  # grey stays grey


def test_more_channels_are_shown_by_the_first_three(tmp_path):
    images = random_images(2, 2, 8, 8, 12)
    pages = [tmp_path / "twelve.png", tmp_path / "three.png"]
    for path, count in zip(pages, (12, 3), strict=True):
        report.image_grid(images[..., :count], names(2), path, "title")
    twelve, three = (np.asarray(Image.open(path).convert("RGB")) for path in pages)
    shown = slice(28, None), slice(74, 74 + 2 * 50)  # below the title, beside the names
    np.testing.assert_array_equal(twelve[shown], three[shown])
    assert np.ptp(twelve[shown].astype(int), axis=2).max() > 0  # colours


HUGE = [0.0, 1e300, -1e300, np.nan, np.inf, -np.inf]


@pytest.mark.parametrize(
    "draw",
    [
        lambda p: report.curves({"a": (range(6), HUGE)}, p, "x", "y"),
        lambda p: report.curves({"a": ([0, 1], [np.nan] * 2)}, p, "x", "y"),
        lambda p: report.intervals(["a"] * 2, [np.nan, 1], [np.inf, 1], p, "x"),
        lambda p: report.counts(np.full((2, 2), np.nan), "ab", "ab", p),
        lambda p: report.counts(np.zeros((2, 2)), "ab", "ab", p),
        lambda p: report.correlation_matrix("ab", [[np.inf, 1], [np.nan, 0]], p),
        lambda p: report.histogram(np.full(9, 1e20), p, "x"),
        lambda p: report.histogram([1e300, -1e300, np.nan], p, "x"),
        lambda p: report.curves(
            {f"s{i}": ([1, 2], [i, i]) for i in range(1000)}, p, "x", "y"
        ),
        lambda p: report.intervals(names(300), [1] * 300, [1] * 300, p, "x"),
        lambda p: report.correlation_matrix(names(300), np.eye(300), p),
        lambda p: report.counts(np.ones((200, 300)), names(200), names(300), p),
    ],
)
@pytest.mark.filterwarnings("error")
def test_numbers_of_any_kind_and_many_names(tmp_path, draw):
    opened(draw(tmp_path / "picture.png"), largest=5000)
