"""Pictures of results: each function takes arrays and a path and writes one PNG.

Figures are built with matplotlib's object-oriented API on the Agg canvas, so nothing
global is touched and threads do not disturb each other. A picture is written to a
temporary file beside its path and moved there, so a reader never sees half of one.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from jaxdd.errors import UserError
from jaxdd.workdir import atomic_file

PathLike: TypeAlias = str | os.PathLike[str]
Curve: TypeAlias = tuple[ArrayLike, ArrayLike]  # x [S], y [S]

MAX_COLUMNS = 20  # images shown per class
DPI = 120
GAP = 2  # pixels of background between two images
CELL = 48  # pixels: small images are enlarged to about this, by a whole factor
EDGE = 10  # pixels of margin
LARGE = 96  # pixels: larger images are averaged down by a whole factor
LINE = 16  # pixels: the least height of a row that carries a class name
COLORS = ("#1f5fa8", "#d1602b", "#2f8f5b", "#8a4fa3", "#b8932f", "#4a4a4a")


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


def histogram(
    scores: ArrayLike,
    path: PathLike,
    xlabel: str,
    marks: Mapping[str, float] | None = None,
) -> Path:
    """How scores [M] are distributed, with named vertical lines at `marks`.

    Raises UserError when no score is finite.
    """
    values = np.asarray(scores, dtype=float).ravel()
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise UserError(f"None of the {values.size} scores for {path} is finite.")
    figure, axes = _figure(6.0, 3.6)
    bins = int(np.clip(2 * np.cbrt(finite.size), 10, 80))  # Rice's rule
    axes.hist(finite, bins=bins, color=COLORS[0], alpha=0.85, linewidth=0)
    for i, (name, value) in enumerate((marks or {}).items()):
        color = COLORS[(i + 1) % len(COLORS)]
        axes.axvline(value, color=color, linewidth=1.8, label=f"{name}: {value:.4g}")
    _label(axes, xlabel, "samples")
    axes.grid(axis="x", visible=False)
    if marks:
        _legend_beside(axes)
    if finite.size < values.size:
        left_out = values.size - finite.size
        axes.set_title(f"{left_out} of {values.size} scores are not finite", size=9)
    return _save(figure, path)


def curves(
    series: Mapping[str, Curve],
    path: PathLike,
    xlabel: str,
    ylabel: str,
    band: Mapping[str, ArrayLike] | None = None,
) -> Path:
    """Lines y [S] over x [S] by name; `band[name]` [S] shades y - band to y + band.

    Raises UserError when there is no series, when x, y and the band of one differ in
    length, or when a band names no series.
    """
    bands = dict(band or {})
    unknown = sorted(set(bands) - set(series))
    if not series or unknown:
        reason = f"the band of {unknown[0]!r} has no series" if unknown else "no series"
        raise UserError(f"Cannot draw the curves for {path}: {reason}.")
    figure, axes = _figure(6.0, 3.8)
    for i, (name, (x, y)) in enumerate(series.items()):
        xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        half = np.asarray(bands.get(name, np.zeros_like(ys)), dtype=float)
        if xs.ndim != 1 or not xs.shape == ys.shape == half.shape:
            raise UserError(
                f"The curve {name!r} has x {xs.shape}, y {ys.shape} and band "
                f"{half.shape}; all must be lists of one length."
            )
        # After the colours run out the line style tells the series apart.
        style = ("-", "--", ":", "-.")[i // len(COLORS) % 4]
        color = COLORS[i % len(COLORS)]
        marker = "o" if xs.size <= 25 else None  # few points: show where they are
        axes.plot(xs, ys, style, color=color, marker=marker, markersize=4, label=name)
        if name in bands:
            low, high = ys - half, ys + half
            axes.fill_between(xs, low, high, color=color, alpha=0.18, linewidth=0)
    _label(axes, xlabel, ylabel)
    _legend_beside(axes)
    return _save(figure, path)


def intervals(
    names: Sequence[str],
    values: ArrayLike,
    half: ArrayLike,
    path: PathLike,
    xlabel: str,
) -> Path:
    """One value [S] per name with its interval value +- half [S], and a line at zero.

    Raises UserError when there is nothing to draw or the lengths differ.
    """
    centre, width = np.asarray(values, dtype=float), np.asarray(half, dtype=float)
    if not names or not centre.shape == width.shape == (len(names),):
        raise UserError(
            f"Cannot draw intervals for {path}: {len(names)} names, values "
            f"{centre.shape} and half widths {width.shape} must be of one length."
        )
    figure, axes = _figure(6.0, 1.2 + 0.35 * len(names))
    rows = np.arange(len(names))[::-1]  # the first name on top
    axes.axvline(0.0, color="0.7", linewidth=1)
    axes.errorbar(centre, rows, xerr=width, fmt="o", color=COLORS[0], capsize=3)
    axes.set_yticks(rows, [_short(name) for name in names])
    axes.set_ylim(-0.7, len(names) - 0.3)
    _label(axes, xlabel, "")
    return _save(figure, path)


def correlation_matrix(names: Sequence[str], matrix: ArrayLike, path: PathLike) -> Path:
    """A symmetric matrix [s, s] of correlations in [-1, 1], as coloured numbers.

    Raises UserError unless the matrix is [s, s] for the s names.
    """
    values = np.asarray(matrix, dtype=float)
    size = len(names)
    if size == 0 or values.shape != (size, size):
        raise UserError(
            f"A correlation matrix of {size} names must have shape "
            f"{(size, size)}, got {values.shape}."
        )
    side = float(np.clip(0.62 * size, 2.4, 11.0))
    figure, axes = _figure(side + 1.9, side + 0.9)
    shown = axes.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r")
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    font = float(np.clip(side / size * 15, 5, 9))
    axes.set_xticks(range(size), names, rotation=40, ha="right", size=font + 0.5)
    axes.set_yticks(range(size), names, size=font + 0.5)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if size <= 25:  # beyond, the numbers would not fit their cells
        for (row, column), value in np.ndenumerate(values):
            color = "white" if abs(value) > 0.6 else "#222222"
            text = f"{value:.2f}" if np.isfinite(value) else "–"
            axes.text(
                column, row, text, ha="center", va="center", color=color, size=font
            )
    return _save(figure, path)


# --- Grids of images ----------------------------------------------------------------


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
            centres + height * zoom / 2, [_short(name) for name in panel.names], size=8
        )
        axes.tick_params(length=0)
        axes.set_title(panel.title, size=9, loc="left", pad=4)
        start += across
    return _save(figure, path)


def _title(text: str, count: int, limit: int) -> str:
    cut = f"first {limit} of {count} per class" if count > limit else ""
    return f"{text} ({cut})" if text and cut else text or cut


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"


def _name_width(names: Sequence[str]) -> int:
    """Pixels that the longest name takes at font size 8, with some air."""
    longest = max((len(_short(name)) for name in names), default=0)
    return 18 + 8 * longest


# --- Figures and files --------------------------------------------------------------


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _label(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set_xlabel(xlabel, size=10)
    axes.set_ylabel(ylabel, size=10)
    axes.tick_params(labelsize=9)


def _legend_beside(axes: Axes) -> None:
    # Outside the axes it can never hide data.
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9)


def _save(figure: Figure, path: PathLike) -> Path:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    with atomic_file(target, "wb") as file:
        figure.savefig(file, format="png", dpi=DPI, facecolor="white")
    return target
