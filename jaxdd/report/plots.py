"""Curves, histograms, intervals and tables of numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from jaxdd.errors import UserError, quoted
from jaxdd.report.figures import (
    COLORS,
    DPI,
    LARGEST_SIDE,
    Curve,
    PathLike,
    bare,
    draw_lines,
    label,
    legend_beside,
    log_ticks,
    name_ticks,
    new_figure,
    save,
    short,
    write,
)
from jaxdd.report.figures import legend as draw_legend
from jaxdd.storage.paths import shown


def histogram(
    scores: ArrayLike,
    path: PathLike,
    xlabel: str,
    marks: Mapping[str, float] | None = None,
) -> Path:
    """A histogram of scores [M].

    Args:
        scores: [M].
        path: the picture.
        xlabel: name of the score.
        marks: name -> value of vertical lines.

    Raises:
        UserError: no score is finite.
    """
    values = np.asarray(scores, dtype=float).ravel()
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise UserError(
            f"cannot draw {shown(path)}: none of the {values.size} scores is finite"
        )
    figure, axes = new_figure(6.0, 3.6)
    bins = int(np.clip(2 * np.cbrt(finite.size), 10, 80))  # Rice's rule
    axes.hist(
        finite,
        bins=_edges(finite, bins).tolist(),
        color=COLORS[0],
        alpha=0.85,
        linewidth=0,
    )
    lines: dict[str, Artist] = {}
    for i, (name, value) in enumerate((marks or {}).items()):
        color = COLORS[(i + 1) % len(COLORS)]
        line = axes.axvline(value, color=color, linewidth=1.8)
        lines[f"{short(name)}: {value:.4g}"] = line
    label(axes, xlabel, "samples")
    axes.grid(axis="x", visible=False)
    if lines:
        legend_beside(axes, lines)
    if finite.size < values.size:
        left_out = values.size - finite.size
        sentence = f"{left_out} of {values.size} scores are not finite"
        write(axes.set_title("", size=9), sentence)
    return save(figure, path)


def _edges(values: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Edges of the bins, or of one bin if floats are too coarse for several."""
    try:
        return np.histogram_bin_edges(values, bins)
    except ValueError:
        margin = 1e-3 * np.abs(values).max()
        return np.array([values.min() - margin, values.max() + margin])


def curves(
    series: Mapping[str, Curve],
    path: PathLike,
    xlabel: str,
    ylabel: str,
    band: Mapping[str, ArrayLike] | None = None,
) -> Path:
    """Lines y [S] over x [S] by name; `band[name]` [S] shades y - band to y + band.

    Raises:
        UserError: there is no series; x, y and the band of one differ in length; or a
            band has no series.
    """
    bands = dict(band or {})
    unknown = sorted(set(bands) - set(series))
    if not series or unknown:
        name = quoted(unknown[0]) if unknown else ""
        reason = f"the band of {name} has no series" if unknown else "no series"
        raise UserError(f"cannot draw the curves for {shown(path)}: {reason}")
    figure, axes = new_figure(6.0, 3.8)
    lines = draw_lines(axes, series, bands, list(series))
    # So few that numbers of six digits do not touch.
    axes.xaxis.set_major_locator(MaxNLocator(6))
    label(axes, xlabel, ylabel)
    legend_beside(axes, lines)
    return save(figure, path)


def intervals(
    names: Sequence[str],
    values: ArrayLike,
    half: ArrayLike,
    path: PathLike,
    xlabel: str,
    linear: float | None = None,
) -> Path:
    """One value [S] per name with its interval value +- half [S], and a line at zero.

    Names are only drawn if there are at most 60.

    Args:
        names: S names.
        values, half: [S] in the unit of the axis.
        path: the picture.
        xlabel: name of the axis.
        linear: bound up to which the axis is linear, and logarithmic beyond, on both
            sides, so that one large value does not hide the small ones; None for a
            linear axis, as it also is if nothing reaches ten times as far.

    Raises:
        UserError: there is no name, or the lengths differ.
    """
    centre, width = np.asarray(values, dtype=float), np.asarray(half, dtype=float)
    if not names or not centre.shape == width.shape == (len(names),):
        raise UserError(
            f"cannot draw intervals for {shown(path)}: {len(names)} names, values "
            f"{centre.shape} and half widths {width.shape} must have one length"
        )
    figure, axes = new_figure(6.0, 1.2 + 0.35 * len(names))
    rows = np.arange(len(names))[::-1]  # the first name on top
    axes.axvline(0.0, color="0.7", linewidth=1)
    axes.errorbar(centre, rows, xerr=width, fmt="o", color=COLORS[0], capsize=3)
    reach = np.abs(centre) + np.abs(width)
    furthest = np.max(reach, where=np.isfinite(reach), initial=0)
    # Such a scale has ticks at powers of ten: up to the first one beyond the bound
    # nobody would see that it is not linear.
    if linear is not None and furthest > 10 * linear:
        axes.set_xscale("symlog", linthresh=linear)
        axes.xaxis.set_major_formatter("{x:g}")
    readable = _readable(names)
    name_ticks(axes.yaxis, rows[: len(readable)], readable)
    axes.set_ylim(-0.7, len(names) - 0.3)
    label(axes, xlabel, "")
    return save(figure, path)


def correlation_matrix(names: Sequence[str], matrix: ArrayLike, path: PathLike) -> Path:
    """A symmetric matrix [s, s] of correlations in [-1, 1], as coloured numbers.

    Numbers are drawn for up to 25 names, names for up to 60.

    Raises:
        UserError: the matrix is not [s, s] for s names.
    """
    values = np.asarray(matrix, dtype=float)
    size = len(names)
    if size == 0 or values.shape != (size, size):
        raise UserError(
            f"a correlation matrix of {size} names must have shape "
            f"{(size, size)}, not {values.shape}"
        )
    side = float(np.clip(0.62 * size, 2.4, 11.0))
    longest = max(len(short(name)) for name in names)
    margin = max(0.8, 0.085 * longest)  # inches that a name takes
    figure, axes = new_figure(1.12 * side + margin + 0.9, side + 0.75 * margin + 0.3)
    cells = axes.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r")
    bar = figure.colorbar(cells, ax=axes, fraction=0.046, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    font = float(np.clip(side / size * 15, 5, 9))
    readable = _readable(names)
    places = np.arange(len(readable))
    name_ticks(axes.xaxis, places, readable, rotation=40, ha="right", size=font + 0.5)
    name_ticks(axes.yaxis, places, readable, size=font + 0.5)
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
    return save(figure, path)


def counts(
    values: ArrayLike,
    row_names: Sequence[str],
    column_names: Sequence[str],
    path: PathLike,
) -> Path:
    """Counts [r, c] as a table of coloured numbers.

    Numbers and names of columns are drawn for up to 25 columns, names of rows for up to
    60.

    Raises:
        UserError: there is not one name per row and column.
    """
    table = np.asarray(values, dtype=float)
    if table.size == 0 or table.shape != (len(row_names), len(column_names)):
        raise UserError(
            f"a table of counts with {len(row_names)} rows and {len(column_names)} "
            f"columns cannot show values of shape {table.shape}"
        )
    wide = float(np.clip(0.62 * table.shape[1], 2.4, 11.0))
    figure, axes = new_figure(wide + 2.2, 0.4 * table.shape[0] + 1.4)
    axes.imshow(table, vmin=0, cmap="Blues", aspect="auto")
    few = table.shape[1] <= 25
    names = list(column_names) if few else []
    places = np.arange(len(names))
    name_ticks(axes.xaxis, places, names, rotation=40, ha="right", size=8)
    readable = _readable(row_names)
    name_ticks(axes.yaxis, np.arange(len(readable)), readable, size=9)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(table if few else table[:, :0]):
        color = "white" if value > 0.6 * table.max() else "#222222"
        text = f"{value:.0f}"
        axes.text(column, row, text, ha="center", va="center", color=color, size=8)
    return save(figure, path)


def pruning(
    alphas: ArrayLike,
    errors: Mapping[str, ArrayLike],
    path: PathLike,
    theory: Mapping[str, Curve] | None = None,
) -> Path:
    """Generalisation errors after pruning over the amount of data, on log axes.

    Points are means over the seeds with their standard error.

    Args:
        alphas: [A] samples per dimension before pruning.
        errors: name -> [A, E], by seed.
        path: the picture.
        theory: name -> (x [S], y [S]), a line in the colour of the points.

    Raises:
        UserError: there are no errors, or they are not [A, E].
    """
    amounts = np.asarray(alphas, dtype=float)
    by_name = {name: np.asarray(error, dtype=float) for name, error in errors.items()}
    expected = (2, amounts.shape)
    if not by_name or any((x.ndim, x.shape[:1]) != expected for x in by_name.values()):
        raise UserError(
            f"cannot draw the pruning for {shown(path)}: {len(by_name)} series over "
            f"{amounts.shape} amounts must each be [amounts, seeds]"
        )
    figure, axes = new_figure(6.0, 3.8)
    points: dict[str, Artist] = {}
    for i, (name, values) in enumerate(by_name.items()):
        color, seeds = COLORS[i % len(COLORS)], values.shape[1]
        half = values.std(axis=1, ddof=min(1, seeds - 1)) / np.sqrt(seeds)
        bars = axes.errorbar(
            amounts, values.mean(axis=1), half, fmt="o", color=color, ms=4
        )
        points[name] = bars.lines[0]
        if theory and name in theory:
            axes.plot(*theory[name], color=color, linewidth=1.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        # Powers of ten alone would leave an axis below two decades without numbers.
        axis.set_major_locator(LogLocator(10, (1, 2, 5)))
        axis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    label(axes, "samples per dimension before pruning", "generalisation error")
    legend_beside(axes, points, "points: simulation\nlines: theory" if theory else "")
    return save(figure, path)


def _readable(names: Sequence[str]) -> list[str]:
    """The names of rows, or no names if they would cover each other."""
    return list(names) if len(names) <= 60 else []


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

    A name has the same colour in every field, and one legend serves them all.

    Args:
        rows: the charts of each row.
        path: the picture.
        xlabel: name of the x axis.
        legend: title of the legend.

    Raises:
        UserError: there is no series; or as in `curves`.
    """
    every = [chart for row in rows for chart in row]
    names = list(dict.fromkeys(name for chart in every for name in chart.series))
    columns = max((len(row) for row in rows), default=0)
    if not names:
        raise UserError(f"cannot draw the curves for {shown(path)}: no series")
    width, height = 1.6 + 3.2 * columns, 0.6 + 2.3 * len(rows)
    size = min(width, LARGEST_SIDE), min(height, LARGEST_SIDE)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(len(rows), columns, sharex=True, sharey="row", squeeze=False)
    handles: dict[str, Artist] = {}
    for i, row in enumerate(rows):
        for j, chart in enumerate(row):
            axes = grid[i, j]
            bare(axes)
            lines = draw_lines(axes, chart.series, dict(chart.band), names, 2.5)
            handles = {**lines, **handles}
            if chart.log:
                log_ticks(axes)
            last = i == len(rows) - 1
            label(axes, xlabel if last else "", chart.ylabel if j == 0 else "")
            write(axes.set_title("", size=10), short(chart.title))
    entries = {name: handles[name] for name in names}
    draw_legend(figure, entries, legend, loc="outside right upper")
    return save(figure, path)
