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
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
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
    _lines(axes, series, bands, list(series))
    _label(axes, xlabel, ylabel)
    _legend_beside(axes)
    return _save(figure, path)


def intervals(
    names: Sequence[str],
    values: ArrayLike,
    half: ArrayLike,
    path: PathLike,
    xlabel: str,
    linear: float | None = None,
) -> Path:
    """One value [S] per name with its interval value +- half [S], and a line at zero.

    With `linear` the axis is linear up to there and logarithmic beyond, on both sides,
    so that one large value does not hide the small ones.

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
    if linear is not None:
        axes.set_xscale("symlog", linthresh=linear)
        axes.xaxis.set_major_formatter("{x:g}")
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
    margin = max(0.8, 0.085 * max(map(len, names)))  # inches that a name takes
    figure, axes = _figure(1.12 * side + margin + 0.9, side + 0.75 * margin + 0.3)
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


def counts(
    values: ArrayLike,
    row_names: Sequence[str],
    column_names: Sequence[str],
    path: PathLike,
) -> Path:
    """Counts [r, c] as a table of coloured numbers; numbers only up to 25 columns.

    Raises UserError unless there is one name per row and column.
    """
    table = np.asarray(values, dtype=float)
    if table.size == 0 or table.shape != (len(row_names), len(column_names)):
        raise UserError(
            f"A table of counts with {len(row_names)} rows and {len(column_names)} "
            f"columns cannot show values of shape {table.shape}."
        )
    wide = float(np.clip(0.62 * table.shape[1], 2.4, 11.0))
    figure, axes = _figure(wide + 2.2, 0.4 * table.shape[0] + 1.4)
    axes.imshow(table, vmin=0, cmap="Blues", aspect="auto")
    few = table.shape[1] <= 25
    names = [_short(name) for name in column_names] if few else []
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", size=8)
    axes.set_yticks(range(len(row_names)), [_short(x) for x in row_names], size=9)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(table if few else table[:, :0]):
        color = "white" if value > 0.6 * table.max() else "#222222"
        text = f"{value:.0f}"
        axes.text(column, row, text, ha="center", va="center", color=color, size=8)
    return _save(figure, path)


def pruning(
    alphas: ArrayLike,
    errors: Mapping[str, ArrayLike],
    path: PathLike,
    theory: Mapping[str, Curve] | None = None,
) -> Path:
    """Generalisation errors after pruning over the amount of data, on log axes.

    `errors[name]` [A, E] at `alphas` [A] are points, means over the seeds with their
    standard error; `theory[name]` is a line in the colour of the name's points.

    Raises UserError when there are no errors or they are not [amounts, seeds].
    """
    amounts = np.asarray(alphas, dtype=float)
    found = {name: np.asarray(error, dtype=float) for name, error in errors.items()}
    expected = (2, amounts.shape)
    if not found or any((x.ndim, x.shape[:1]) != expected for x in found.values()):
        raise UserError(
            f"Cannot draw the pruning for {path}: {len(found)} series over "
            f"{amounts.shape} amounts, each must be [amounts, seeds]."
        )
    figure, axes = _figure(6.0, 3.8)
    for i, (name, values) in enumerate(found.items()):
        color, seeds = COLORS[i % len(COLORS)], values.shape[1]
        half = values.std(axis=1, ddof=min(1, seeds - 1)) / np.sqrt(seeds)
        axes.errorbar(
            amounts, values.mean(axis=1), half, fmt="o", color=color, ms=4, label=name
        )
        if theory and name in theory:
            axes.plot(*theory[name], color=color, linewidth=1.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        # Powers of ten alone would leave less than two decades without numbers.
        axis.set_major_locator(LogLocator(10, (1, 2, 5)))
        axis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    _label(axes, "samples per dimension before pruning", "generalisation error")
    _legend_beside(axes, "points: simulation\nlines: theory" if theory else None)
    return _save(figure, path)


class Chart(NamedTuple):
    """One field of `charts`: lines as in `curves`."""

    title: str
    ylabel: str
    series: Mapping[str, Curve]
    band: Mapping[str, ArrayLike]
    log: bool = False  # the y axis


def charts(
    rows: Sequence[Sequence[Chart]], path: PathLike, xlabel: str, legend: str = ""
) -> Path:
    """Fields of lines, side by side; those of a row share their y axis.

    A name has the same colour in every field, and one legend serves them all, with the
    title `legend`. Raises UserError when there is nothing to draw, and as `curves`.
    """
    every = [chart for row in rows for chart in row]
    names = list(dict.fromkeys(name for chart in every for name in chart.series))
    columns = max((len(row) for row in rows), default=0)
    if not names:
        raise UserError(f"Cannot draw the curves for {path}: no series.")
    size = (1.6 + 3.2 * columns, 0.6 + 2.3 * len(rows))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(len(rows), columns, sharex=True, sharey="row", squeeze=False)
    handles: dict[str, Line2D] = {}
    for i, row in enumerate(rows):
        for j, chart in enumerate(row):
            axes = grid[i, j]
            _bare(axes)
            found = _lines(axes, chart.series, dict(chart.band), names, 2.5)
            handles = {**found, **handles}
            if chart.log:
                _log_ticks(axes)
            last = i == len(rows) - 1
            _label(axes, xlabel if last else "", chart.ylabel if j == 0 else "")
            axes.set_title(chart.title, size=10)
    shown = [handles[name] for name in names]
    box = figure.legend(
        shown, names, loc="outside right upper", frameon=False, fontsize=9
    )
    box.set_title(legend)
    box.get_title().set_fontsize(9)
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
    _bare(axes)
    return figure, axes


def _lines(
    axes: Axes,
    series: Mapping[str, Curve],
    bands: Mapping[str, ArrayLike],
    names: Sequence[str],
    size: float = 4,
) -> dict[str, Line2D]:
    """Draw lines with their bands; a name's place in `names` decides its colour.

    The first name lies on top; `size` is that of the markers.
    """
    drawn = {}
    for name, (x, y) in series.items():
        i = names.index(name)
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
        (drawn[name],) = axes.plot(
            xs, ys, style, color=color, marker=marker, markersize=size, label=name,
            zorder=3 - i / len(names),
        )  # fmt: skip
        if name in bands:
            low, high = ys - half, ys + half
            axes.fill_between(xs, low, high, color=color, alpha=0.18, linewidth=0)
    return drawn


def _log_ticks(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers, several of them in a decade."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _label(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set_xlabel(xlabel, size=10)
    axes.set_ylabel(ylabel, size=10)
    axes.tick_params(labelsize=9)


def _legend_beside(axes: Axes, title: str | None = None) -> None:
    # Outside the axes it can never hide data.
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=9,
        title=title,
        title_fontsize=9,
    )


def _save(figure: Figure, path: PathLike) -> Path:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    with atomic_file(target, "wb") as file:
        figure.savefig(file, format="png", dpi=DPI, facecolor="white")
    return target
