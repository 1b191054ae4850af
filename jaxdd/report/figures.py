"""Figures, text and files of all pictures.

Text may come from data, such as the names of classes, so matplotlib never interprets
it: `write`, `name_ticks` and `legend` draw it letter by letter.
"""

import functools
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import LogLocator
from numpy.typing import ArrayLike

from jaxdd.errors import NotWritten, UserError, quoted
from jaxdd.storage.files import atomic_file
from jaxdd.storage.paths import local_path, reason, shown

PathLike: TypeAlias = str | os.PathLike[str]
Curve: TypeAlias = tuple[ArrayLike, ArrayLike]  # x [S], y [S]

DPI = 120
COLORS = ("#1f5fa8", "#d1602b", "#2f8f5b", "#8a4fa3", "#b8932f", "#4a4a4a")
LARGEST_SIDE = 40.0  # inches that viewers can show; Agg refuses 65,536 pixels
LONGEST_NAME, LONGEST_LABEL, LONGEST_LINE = 24, 40, 100  # characters
LEGEND_ENTRIES = 16


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one field; width and height in inches, at most `LARGEST_SIDE`."""
    size = min(width, LARGEST_SIDE), min(height, LARGEST_SIDE)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
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
    """Draw lines with their bands.

    Args:
        axes: the field.
        series: name -> (x [S], y [S]).
        bands: name -> half width [S] of the band around a line.
        names: all names; the index of a name determines its colour, and the first name
            is drawn on top.
        size: size of the markers, in points.

    Returns:
        The lines by name.

    Raises:
        UserError: x, y and band of a line differ in length.
    """
    lines = {}
    for name, (x, y) in series.items():
        i = names.index(name)
        xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        half = np.asarray(bands.get(name, np.zeros_like(ys)), dtype=float)
        if xs.ndim != 1 or not xs.shape == ys.shape == half.shape:
            raise UserError(
                f"the curve {quoted(name)} has x {xs.shape}, y {ys.shape} and band "
                f"{half.shape}: give lists of one length"
            )
        # Beyond the number of colours, line styles distinguish the series.
        style = ("-", "--", ":", "-.")[i // len(COLORS) % 4]
        color = COLORS[i % len(COLORS)]
        marker = "o" if xs.size <= 25 else None  # only few points get markers
        (lines[name],) = axes.plot(
            xs, ys, style, color=color, marker=marker, markersize=size,
            zorder=3 - i / len(names),
        )  # fmt: skip
        if name in bands:
            low, high = ys - half, ys + half
            axes.fill_between(xs, low, high, color=color, alpha=0.18, linewidth=0)
    return lines


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


def write(text: Text, *lines: str, longest: int = LONGEST_LINE) -> Text:
    """Set the lines of a text in a figure, drawn literally: "$" is no formula."""
    content = "\n".join(drawable(line, longest) for line in lines)
    text.set(text=content, parse_math=False, usetex=False)
    return text


def name_ticks(axis: Axis, places: ArrayLike, names: Sequence[str], **style) -> None:
    """Ticks with shortened names; `style` are arguments of a matplotlib text."""
    as_is = {"parse_math": False, "usetex": False}
    axis.set_ticks(np.asarray(places), [short(name) for name in names], **as_is | style)


def short(name: str) -> str:
    """A name that can be drawn, of at most `LONGEST_NAME` characters."""
    return drawable(name, LONGEST_NAME)


def drawable(text: str, longest: int) -> str:
    """Text of at most `longest` characters; those that no font can draw are escaped."""
    characters = _characters()
    escaped = "".join(
        c if ord(c) in characters else c.encode("unicode_escape").decode()
        for c in shown(text)
    )
    return escaped if len(escaped) <= longest else escaped[: longest - 1] + "…"


@functools.cache
def _characters() -> frozenset[int]:
    """The characters of the fonts in use."""
    fonts = (
        get_font(findfont(FontProperties(family=[name])))
        for name in FontProperties().get_family()
    )
    return frozenset().union(*(font.get_charmap() for font in fonts))


def label(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Name the axes; names are shortened to fit a small field."""
    write(axes.set_xlabel("", size=10), xlabel, longest=LONGEST_LABEL)
    write(axes.set_ylabel("", size=10), ylabel, longest=LONGEST_LABEL)
    axes.tick_params(labelsize=9)


def legend(
    owner: Axes | Figure, entries: Mapping[str, Artist], title: str = "", **place
) -> None:
    """A legend of at most `LEGEND_ENTRIES` entries.

    Args:
        owner: the field or the figure.
        entries: name -> artist.
        title: lines of the title, separated by line breaks.
        place: arguments of matplotlib's legend.
    """
    names = list(entries)[:LEGEND_ENTRIES]
    # A name that began with "_" would be left out, so they are set afterwards.
    box = owner.legend(
        [entries[name] for name in names],
        ["-"] * len(names),
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        **place,
    )
    for text, name in zip(box.get_texts(), names, strict=True):
        write(text, short(name))
    lines = title.split("\n") if title else []
    if len(names) < len(entries):
        lines.append(f"first {len(names)} of {len(entries)}")
    if lines:
        box.set_title("-")  # shows the title's box
        write(box.get_title(), *lines)


def legend_beside(axes: Axes, entries: Mapping[str, Artist], title: str = "") -> None:
    # Outside the axes it can never hide data.
    legend(axes, entries, title, loc="upper left", bbox_to_anchor=(1.01, 1.0))


def png(figure: Figure) -> bytes:
    """Draw a figure as a PNG, in memory."""
    FigureCanvasAgg(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, facecolor="white")
    return picture.getvalue()


def save(figure: Figure, path: PathLike) -> Path:
    """Draw a figure and write it as a PNG, atomically.

    Raises:
        NotWritten: the disk refuses.
        UserError: the path is not one of this machine.
    """
    target = local_path(path, "the picture")
    # Drawn in memory first, to separate errors of drawing from those of the disk.
    picture = png(figure)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target, "wb") as file:
            file.write(picture)
    except OSError as error:
        raise NotWritten(
            f"cannot write {shown(target)} ({reason(error)}): choose another folder"
        ) from error
    except UserError as error:
        raise NotWritten(str(error)) from error
    return target
