"""Grids of images, class by class."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from jaxdd.errors import UserError
from jaxdd.report.figures import DPI, PathLike, save, short

MAX_COLUMNS = 20  # images shown per class
GAP = 2  # pixels of background between two images
CELL = 48  # pixels: small images are enlarged to about this, by a whole factor
EDGE = 10  # pixels of margin
LARGE = 96  # pixels: larger images are averaged down by a whole factor
LINE = 16  # pixels: the least height of a row that carries a class name


def image_grid(
    images: ArrayLike,
    class_names: Sequence[str],
    path: PathLike,
    title: str | None = None,
) -> Path:
    """Images [K, n, H, W, C] in [0, 1] (clipped): one row per class, C of 1 or 3.

    At most 20 images of a class are shown; the title says so when some are left out.
    Images above 96 pixels are averaged down.
    Raises UserError for other shapes, or when there is not one name per class.
    """
    grid = _checked_images(images, class_names, "images")
    names, shown = list(class_names), grid[:, :MAX_COLUMNS]
    # Many classes of few images go side by side, or the page would be a thin strip.
    per_block = len(grid) if len(grid) <= 20 else _rows_per_block(shown.shape)
    panels = [
        _Panel("", shown[i : i + per_block], names[i : i + per_block])
        for i in range(0, len(grid), per_block)
    ]
    return _save_panels(panels, _title(title or "", grid.shape[1], MAX_COLUMNS), path)


def extremes(
    easiest: ArrayLike,
    hardest: ArrayLike,
    class_names: Sequence[str],
    path: PathLike,
) -> Path:
    """Two grids side by side: easiest and hardest images [K, n, H, W, C] per class.

    At most 20 images of a class are shown, ten on each side. Raises UserError as
    `image_grid`, and when the two differ in image size.
    """
    left = _checked_images(easiest, class_names, "easiest")
    right = _checked_images(hardest, class_names, "hardest")
    if left.shape[2:] != right.shape[2:]:
        raise UserError(
            f"The easiest images are {left.shape[2:]} and the hardest "
            f"{right.shape[2:]}; they must have one size."
        )
    limit = MAX_COLUMNS // 2
    panels = [
        _Panel(_title("Easiest", left.shape[1], limit), left[:, :limit], class_names),
        _Panel(_title("Hardest", right.shape[1], limit), right[:, :limit], []),
    ]
    return _save_panels(panels, "", path)


class _Panel(NamedTuple):
    title: str
    images: NDArray[np.float64]  # [K, n, H, W, C] in [0, 1]
    names: Sequence[str]  # K names, or none to leave them out


def _checked_images(
    images: ArrayLike, class_names: Sequence[str], what: str
) -> NDArray[np.float64]:
    """[K, n, H, W, C] in [0, 1], no larger than LARGE pixels."""
    array = np.asarray(images, dtype=float)
    if array.ndim != 5 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise UserError(
            f"A picture needs {what} [K, n, H, W, C] with 1 or 3 channels, got "
            f"{array.shape}."
        )
    if len(class_names) != array.shape[0]:
        raise UserError(
            f"The {what} have {array.shape[0]} classes but {len(class_names)} names."
        )
    array = np.clip(np.nan_to_num(array), 0, 1)
    k = -(-max(array.shape[2:4]) // LARGE)
    if k == 1 or min(array.shape[2:4]) < k:
        return array
    height, width = (side // k * k for side in array.shape[2:4])
    blocks = array[:, :, :height, :width].reshape(
        *array.shape[:2], height // k, k, width // k, k, array.shape[-1]
    )
    return blocks.mean(axis=(3, 5))


def _mosaic(images: NDArray[np.float64], zoom: int) -> NDArray[np.float64]:
    """[K, n, H, W, C] -> one RGB picture with white gaps, enlarged by repetition."""
    classes, columns, _, _, channels = images.shape
    big = images.repeat(zoom, axis=2).repeat(zoom, axis=3)
    if channels == 1:
        big = big.repeat(3, axis=-1)
    gaps = ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0))
    big = np.pad(big, gaps, constant_values=1.0)
    height, width = big.shape[2:4]
    joined = big.transpose(0, 2, 1, 3, 4).reshape(classes * height, columns * width, 3)
    return joined[:-GAP, :-GAP]


def _rows_per_block(shape: tuple[int, ...]) -> int:
    """Classes per block, for a page of blocks that is about square."""
    classes, columns = shape[:2]
    block = columns + 4.0  # a block's width in cells; the names take about four
    blocks = max(1, round(np.sqrt(classes / block)))
    return -(-classes // blocks)


def _save_panels(panels: Sequence[_Panel], title: str, path: PathLike) -> Path:
    """Lay panels out side by side, sized so that no picture is resampled."""
    classes, _, height, width, _ = panels[0].images.shape
    cell = CELL if classes <= 20 else CELL // 2  # many classes: keep the page small
    zoom = max(1, round(cell / max(height, width)), -(-LINE // height))
    mosaics = [_mosaic(panel.images, zoom) for panel in panels]
    margins = [_name_width(panel.names) for panel in panels]
    top = EDGE + 18 * bool(title) + 18 * any(panel.title for panel in panels)
    rows = mosaics[0].shape[0] + top + EDGE
    columns = sum(m.shape[1] for m in mosaics) + sum(margins) + EDGE
    columns = max(columns, 2 * EDGE + 8 * len(title))
    figure = Figure(figsize=(columns / DPI, rows / DPI), dpi=DPI)
    figure.text(EDGE / columns, 1 - EDGE / rows, title, size=9.5, va="top")
    start = 0
    for panel, mosaic, margin in zip(panels, mosaics, margins, strict=True):
        start += margin
        down, across = mosaic.shape[:2]
        bottom = rows - top - down  # blocks may differ in height: align their tops
        box = (start / columns, bottom / rows, across / columns, down / rows)
        axes = figure.add_axes(box)
        axes.imshow(mosaic, interpolation="nearest", aspect="auto")
        axes.spines[:].set_visible(False)
        centres = np.arange(len(panel.names)) * (height * zoom + GAP)
        axes.set_xticks([])
        axes.set_yticks(
            centres + height * zoom / 2, [short(name) for name in panel.names], size=8
        )
        axes.tick_params(length=0)
        axes.set_title(panel.title, size=9, loc="left", pad=4)
        start += across
    return save(figure, path)


def _title(text: str, count: int, limit: int) -> str:
    cut = f"first {limit} of {count} per class" if count > limit else ""
    return f"{text} ({cut})" if text and cut else text or cut


def _name_width(names: Sequence[str]) -> int:
    """Pixels that the longest name takes at font size 8, with some air."""
    longest = max((len(short(name)) for name in names), default=0)
    return 18 + 8 * longest
