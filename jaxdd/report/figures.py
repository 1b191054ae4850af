"""What all pictures share: figures, labels, files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from numpy.typing import ArrayLike

from jaxdd.errors import UserError
from jaxdd.workdir import atomic_file

PathLike: TypeAlias = str | os.PathLike[str]
Curve: TypeAlias = tuple[ArrayLike, ArrayLike]  # x [S], y [S]

DPI = 120
COLORS = ("#1f5fa8", "#d1602b", "#2f8f5b", "#8a4fa3", "#b8932f", "#4a4a4a")


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    bare(axes)
    return figure, axes


def draw_lines(
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


def log_ticks(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers, several of them in a decade."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def label(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set_xlabel(xlabel, size=10)
    axes.set_ylabel(ylabel, size=10)
    axes.tick_params(labelsize=9)


def legend_beside(axes: Axes, title: str | None = None) -> None:
    # Outside the axes it can never hide data.
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=9,
        title=title,
        title_fontsize=9,
    )


def save(figure: Figure, path: PathLike) -> Path:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    with atomic_file(target, "wb") as file:
        figure.savefig(file, format="png", dpi=DPI, facecolor="white")
    return target


def short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"
