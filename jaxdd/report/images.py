"""Grids of images, class by class."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from jaxdd.errors import UserError
from jaxdd.report import profiles
from jaxdd.report.figures import (
    DPI,
    LONGEST_LINE,
    PathLike,
    drawable,
    name_ticks,
    png,
    save,
    short,
    write,
)

MAX_COLUMNS = 20  # images shown per class
GAP = 2  # pixels of background between two images
CELL = 48  # pixels: small images are enlarged to about this, by a whole factor
EDGE = 10  # pixels of margin
LARGE = 96  # pixels: larger images are averaged down by a whole factor
LINE = 16  # pixels: the least height of a row that carries a class name
THIN = 8  # pixels: a side of an image that is shorter is stretched
LONGEST_PAGE = 8_000  # pixels of a side
PAGE_PIXELS = 16_000_000  # of a picture that viewers can open

Pixels = NDArray[np.uint8]


def image_grid(
    images: ArrayLike,
    class_names: Sequence[str],
    path: PathLike,
    title: str | None = None,
) -> Path:
    """Images [K, n, H, W, C] in [0, 1] (clipped): one row per class.

    The first three of three or more channels are drawn as red, green and blue; one or
    two channels are drawn by their mean, as grey. Images above 96 pixels are averaged
    down, and a side of a few pixels beside a long one is stretched. At most 20 images
    of a class are drawn, and as many classes as fit a page. The title counts the images
    and classes that are left out. Sequences [K, n, L, C] and vectors [K, n, F] are
    drawn as lines, see `profiles.grid`.

    Raises:
        UserError: the shape is another one, or there is not one name per class.
    """
    return save(_grid(images, class_names, title), path)


def grid_png(
    images: ArrayLike, class_names: Sequence[str], title: str | None = None
) -> bytes:
    """The picture of `image_grid` in memory, for a notebook."""
    return png(_grid(images, class_names, title))


def _grid(images: ArrayLike, class_names: Sequence[str], title: str | None) -> Figure:
    if np.ndim(images) in (3, 4):
        return profiles.grid(images, class_names, title)
    array = _checked(images, class_names, "images")
    classes, count, *size, _ = array.shape
    scale = _scale(size, classes)
    margin, (down, across) = _name_width(class_names), scale.pitch
    fields = PAGE_PIXELS // (down * across)
    columns = min(count, MAX_COLUMNS, max(1, fields // classes))
    rows = min(classes, PAGE_PIXELS // (down * (columns * across + margin)))
    # Many classes of few images go side by side, or the page would be a thin strip.
    blocks = 1
    if rows > 20:
        blocks = max(1, round(np.sqrt(rows * down / (columns * across + margin))))
    per_block = -(-rows // blocks)
    visible = _scaled(array[:rows, :columns], scale)
    panels = [
        _Panel("", visible[i:stop], class_names[i:stop])
        for i in range(0, rows, per_block)
        for stop in [min(rows, i + per_block)]
    ]
    heading = _title(title or "", count, columns, classes, rows, array.shape[-1])
    return _page(panels, scale, heading)


def extremes(
    easiest: ArrayLike,
    hardest: ArrayLike,
    class_names: Sequence[str],
    path: PathLike,
) -> Path:
    """Two grids side by side: easiest and hardest images [K, n, H, W, C] per class.

    At most 20 images of a class are drawn, ten on each side; channels, sizes and many
    classes are treated as in `image_grid`.

    Raises:
        UserError: as in `image_grid`; or the two differ in image size.
    """
    return save(_extremes(easiest, hardest, class_names), path)


def extremes_png(
    easiest: ArrayLike, hardest: ArrayLike, class_names: Sequence[str]
) -> bytes:
    """The picture of `extremes` in memory, for a notebook."""
    return png(_extremes(easiest, hardest, class_names))


def _extremes(
    easiest: ArrayLike, hardest: ArrayLike, class_names: Sequence[str]
) -> Figure:
    if np.ndim(easiest) in (3, 4):
        return profiles.extremes(easiest, hardest, class_names)
    left = _checked(easiest, class_names, "easiest")
    right = _checked(hardest, class_names, "hardest")
    if left.shape[2:] != right.shape[2:]:
        raise UserError(
            f"the easiest images are {left.shape[2:]} and the hardest "
            f"{right.shape[2:]}: give images of one size"
        )
    classes, _, *size, channels = left.shape
    scale, limit = _scale(size, classes), MAX_COLUMNS // 2
    rows = min(classes, LONGEST_PAGE // scale.pitch[0])
    panels = [
        _Panel(
            _title(name, array.shape[1], min(limit, array.shape[1])),
            _scaled(array[:rows, :limit], scale),
            names,
        )
        for name, array, names in (
            ("Easiest", left, class_names[:rows]),
            ("Hardest", right, []),
        )
    ]
    heading = _title("", 0, 0, classes, rows, channels)
    return _page(panels, scale, heading)


class _Scale(NamedTuple):
    """The scaling of images to fields of the page; each value is (down, across)."""

    shrink: tuple[int, int]  # pixels that are averaged into one
    enlarge: tuple[int, int]  # times that a pixel is repeated
    size: tuple[int, int]  # pixels of a field

    @property
    def pitch(self) -> tuple[int, int]:
        """Pixels from one field to the next."""
        return max(self.size[0], LINE) + GAP, self.size[1] + GAP


class _Panel(NamedTuple):
    title: str
    fields: Pixels  # [K, n, H, W, 3], scaled
    names: Sequence[str]  # K names, or none to leave them out


def _scale(size: Sequence[int], classes: int) -> _Scale:
    """The scaling of images of [H, W] pixels."""
    factor = -(-max(size) // LARGE)
    shrink = min(factor, size[0]), min(factor, size[1])
    height, width = size[0] // shrink[0], size[1] // shrink[1]
    cell = CELL if classes <= 20 else CELL // 2  # many classes: keep the page small
    # A row is high enough for its name, unless that would make it very wide.
    readable = min(-(-LINE // height), LARGE // width)
    zoom = max(1, round(cell / max(height, width)), readable)
    enlarge = max(zoom, -(-THIN // height)), max(zoom, -(-THIN // width))
    return _Scale(shrink, enlarge, (height * enlarge[0], width * enlarge[1]))


def _checked(
    images: ArrayLike, class_names: Sequence[str], what: str
) -> NDArray[np.generic]:
    array = np.asarray(images)
    if array.ndim != 5 or 0 in array.shape:
        raise UserError(
            f"a picture needs {what} [K, n, H, W, C], none of them 0, not {array.shape}"
        )
    if len(class_names) != array.shape[0]:
        raise UserError(
            f"the {what} have {array.shape[0]} classes but {len(class_names)} names"
        )
    return array


def _scaled(images: NDArray[np.generic], scale: _Scale) -> Pixels:
    """[K, n, H, W, C] to the fields of a page, [K, n, h, w, 3].

    One class at a time: large images of many classes do not fit memory as floats.
    """
    fields = np.empty((*images.shape[:2], *scale.size, 3), np.uint8)
    (k, m), (down, across) = scale.shrink, scale.enlarge
    height, width = scale.size[0] // down, scale.size[1] // across
    for field, group in zip(fields, images, strict=True):
        values = np.clip(np.nan_to_num(np.asarray(group, dtype=float)), 0, 1)
        values = values[:, : height * k, : width * m]
        if values.shape[-1] < 3:
            values = values.mean(axis=-1, keepdims=True)
        values = values[..., :3]
        blocks = values.reshape(len(values), height, k, width, m, -1)
        small = np.round(255 * blocks.mean(axis=(2, 4))).astype(np.uint8)
        field[...] = small.repeat(down, axis=1).repeat(across, axis=2)
    return fields


def _mosaic(fields: Pixels, scale: _Scale) -> Pixels:
    """[K, n, h, w, 3] -> one picture with white gaps."""
    classes, columns = fields.shape[:2]
    height, width = scale.pitch
    below, beside = height - scale.size[0], width - scale.size[1]
    gaps = ((0, 0), (0, 0), (0, below), (0, beside), (0, 0))
    padded = np.pad(fields, gaps, constant_values=255).transpose(0, 2, 1, 3, 4)
    joined = padded.reshape(classes * height, columns * width, 3)
    return joined[:-GAP, :-GAP]


def _page(panels: Sequence[_Panel], scale: _Scale, title: str) -> Figure:
    """Lay panels out side by side, sized so that no picture is resampled."""
    title = drawable(title, LONGEST_LINE)
    mosaics = [_mosaic(panel.fields, scale) for panel in panels]
    margins = [_name_width(panel.names) for panel in panels]
    top = EDGE + 18 * bool(title) + 18 * any(panel.title for panel in panels)
    rows = mosaics[0].shape[0] + top + EDGE
    columns = sum(m.shape[1] for m in mosaics) + sum(margins) + EDGE
    columns = max(columns, 2 * EDGE + 8 * len(title))
    # Half a pixel more, or a rounded product would be one short.
    figure = Figure(figsize=((columns + 0.5) / DPI, (rows + 0.5) / DPI), dpi=DPI)
    write(figure.text(EDGE / columns, 1 - EDGE / rows, "", size=9.5, va="top"), title)
    start = 0
    for panel, mosaic, margin in zip(panels, mosaics, margins, strict=True):
        start += margin
        down, across = mosaic.shape[:2]
        bottom = rows - top - down  # blocks may differ in height: align their tops
        # No image of the axes, which may be resampled by a pixel.
        figure.figimage(mosaic, start, bottom, origin="upper")
        box = (start / columns, bottom / rows, across / columns, down / rows)
        axes = figure.add_axes(box, frameon=False, ylim=(down, 0), xticks=[])
        centres = np.arange(len(panel.names)) * scale.pitch[0] + scale.size[0] / 2
        name_ticks(axes.yaxis, centres, panel.names, size=8)
        axes.tick_params(length=0)
        write(axes.set_title("", size=9, loc="left", pad=4), panel.title)
        start += across
    return figure


def _title(
    text: str, count: int, columns: int, classes: int = 0, rows: int = 0, channels=1
) -> str:
    """A title that counts the classes, images and channels that are left out."""
    notes = []
    if rows < classes:
        notes.append(f"first {rows} of {classes} classes")
    if columns < count:
        notes.append(f"first {columns} of {count} per class")
    if channels > 3:
        notes.append(f"channels 1-3 of {channels}")
    elif channels == 2:
        notes.append("mean of 2 channels")
    joined = ", ".join(notes)
    return f"{text} ({joined})" if text and joined else text or joined


def _name_width(names: Sequence[str]) -> int:
    """Pixels that the longest name takes at font size 8, with some air."""
    longest = max((len(short(name)) for name in names), default=0)
    return 18 + 8 * longest
