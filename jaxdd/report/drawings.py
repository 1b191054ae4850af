"""Charts as SVG inside a page: sharp at any size, in the colours of its scheme."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxdd.errors import UserError, quoted
from jaxdd.report.page import escaped, figure

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 60, 10, 12, 40  # margins
COLORS = 6  # classes s0 to s5 of the page's style
DASHES = ("", "7 3", "2 3")  # beyond six series
MANY = 600  # points of a line; further ones cannot be seen
# Beyond this ratio of the largest value to the least an axis is logarithmic.
LOGARITHMIC = 50.0

Curve = tuple[ArrayLike, ArrayLike]  # x [S], y [S]


class Axis(NamedTuple):
    """The range of an axis in values, and whether it is logarithmic."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def over(cls, values: NDArray[np.float64], log: bool = False) -> "Axis":
        """The axis on which values lie; infinite ones are left out."""
        finite = values[np.isfinite(values)]
        if not finite.size:
            return cls(0.0, 1.0)
        low, high = float(finite.min()), float(finite.max())
        if log and low > 0 and high / low > LOGARITHMIC:
            return cls(low / 1.1, high * 1.1, True)
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
        return cls(low - margin, high + margin)

    def at(self, values: ArrayLike) -> NDArray[np.float64]:
        """Places of values, 0 at the low end and 1 at the high one."""
        scale: Callable[[ArrayLike], NDArray[np.float64]] = (
            np.log10 if self.log else lambda x: np.asarray(x, dtype=float)
        )
        low, high = scale(self.low), scale(self.high)
        return (scale(values) - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values on the axis, about five."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), 40)
            every = [m * 10.0**p for p in powers for m in (1, 2, 5)]
            inside = [x for x in every if self.low <= x <= self.high]
            return inside[:: max(1, len(inside) // 5)]
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= 0.99 * rough)
        first = math.ceil(self.low / step)
        last = math.floor(self.high / step)
        return [k * step for k in range(first, last + 1)]


def lines(
    series: Mapping[str, Curve],
    xlabel: str,
    ylabel: str,
    caption: str,
    log: bool = False,
    names: Sequence[str] = (),
) -> str:
    """Lines y over x by name, with a legend where there are several names.

    Args:
        series: name -> (x [S], y [S]); a value that is not finite interrupts its line.
        xlabel, ylabel: names of the axes.
        caption: what the figure shows.
        log: whether y is logarithmic where its values are positive and far apart.
        names: of all lines of the page, whose places in it give their colours; by
            default those of `series`.

    Returns:
        HTML; empty where no value is finite.

    Raises:
        UserError: x and y of a line differ in length.

    Example:
        >>> drawing = lines({"dm": ([0, 1], [3.0, 2.0])}, "step", "loss", "The loss.")
        >>> drawing.count("<path class=\\"line"), "The loss." in drawing
        (1, True)
    """
    curves = {name: _checked(name, *curve) for name, curve in series.items()}
    finite = [y[np.isfinite(y)] for _, y in curves.values()]
    if not any(len(y) for y in finite):
        return ""
    across = Axis.over(np.concatenate([x for x, _ in curves.values()]))
    upward = Axis.over(np.concatenate(finite), log)
    styles = [list(names or curves).index(name) for name in curves]
    marks = [
        f'<path class="line s{i % COLORS}"{_dash(i)} '
        f'd="{_path(_x(across.at(x)), _y(upward.at(y)))}"/>'
        for i, (x, y) in zip(styles, curves.values(), strict=True)
    ]
    drawing = _chart("".join(marks), across, upward, xlabel, ylabel, caption)
    several = max(len(names), len(curves)) > 1
    legend = _legend(list(curves), styles) if several else ""
    return figure(drawing + legend, caption)


def histogram(
    values: ArrayLike, xlabel: str, marks: Mapping[str, float], caption: str
) -> str:
    """A histogram of values [M] with vertical lines.

    Args:
        values: [M]; those that are not finite are left out, the hardest percent shares
            the last bar.
        xlabel: their name.
        marks: name -> value of a line.
        caption: what the figure shows.

    Returns:
        HTML; empty where no value is finite.
    """
    array = np.asarray(values, dtype=float).ravel()
    array = array[np.isfinite(array)]
    shown = {name: float(x) for name, x in marks.items() if np.isfinite(x)}
    if not array.size:
        return ""
    last = float(max([np.quantile(array, 0.99), *shown.values()]))
    first = float(min([array.min(), *shown.values()]))
    if last - first <= 1e-6 * abs(last):  # floats are too coarse for several bars
        margin = 1e-3 * abs(last) or 0.5
        first, last = first - margin, last + margin
    bins = int(np.clip(2 * np.cbrt(array.size), 8, 40))  # Rice's rule
    counts, edges = np.histogram(np.minimum(array, last), bins, (first, last))
    across = Axis(float(edges[0]), float(edges[-1]))
    upward = Axis(0.0, 1.08 * float(counts.max()))
    left, width = _x(across.at(edges[:-1])), (WIDTH - LEFT - RIGHT) / bins
    tops = _y(upward.at(counts))
    bars = [
        f'<rect class="f0" fill-opacity="0.55" x="{x:.1f}" y="{y:.1f}" '
        f'width="{width - 0.6:.1f}" height="{HEIGHT - BOTTOM - y:.1f}"/>'
        for x, y in zip(left, tops, strict=True)
    ]
    # All lines but the last are dashed: they tell where the values came from.
    styles = [i + COLORS * (i < len(shown)) for i in range(1, len(shown) + 1)]
    for style, value in zip(styles, shown.values(), strict=True):
        x = float(_x(across.at([value]))[0])
        bars.append(
            f'<path class="line s{style % COLORS}"{_dash(style)} '
            f'd="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        )
    drawing = _chart("".join(bars), across, upward, xlabel, "samples", caption)
    texts = [f"{name}: {value:.3g}" for name, value in shown.items()]
    return figure(drawing + (_legend(texts, styles) if texts else ""), caption)


def bars(
    groups: Sequence[str], series: Mapping[str, ArrayLike], ylabel: str, caption: str
) -> str:
    """Bars from 0 to 100 side by side, of several series in every group.

    Args:
        groups: S names below the bars; every few are written where there are many.
        series: name -> [S] in percent; one that is not finite has no bar.
        ylabel: name of the axis.
        caption: what the figure shows.

    Returns:
        HTML; empty where there is no group.

    Raises:
        UserError: a series has not one value per group.
    """
    values = {name: np.asarray(x, dtype=float) for name, x in series.items()}
    for name, heights in values.items():
        if heights.shape != (len(groups),):
            raise UserError(
                f"the bars {quoted(name)} have the shape {heights.shape}, and there "
                f"are {len(groups)} groups"
            )
    if not groups or not values:
        return ""
    upward, pitch = Axis(0.0, 100.0), (WIDTH - LEFT - RIGHT) / len(groups)
    width = 0.8 * pitch / len(values)
    marks = []
    for i, heights in enumerate(values.values()):
        for k in np.flatnonzero(np.isfinite(heights)).tolist():
            x, y = LEFT + (k + 0.1) * pitch + i * width, _y(upward.at([heights[k]]))[0]
            marks.append(
                f'<rect class="f{i % COLORS}" x="{x:.1f}" y="{y:.1f}" '
                f'width="{0.92 * width:.1f}" height="{HEIGHT - BOTTOM - y:.1f}"/>'
            )
    letters = max(len(name) for name in groups[:200])
    every = max(1, math.ceil(min(letters, 9) * 7.5 / pitch))
    for k in range(0, len(groups), every):
        name = groups[k] if len(groups[k]) <= 9 else groups[k][:8] + "…"
        marks.append(
            f'<text x="{LEFT + (k + 0.5) * pitch:.1f}" y="{HEIGHT - BOTTOM + 17}" '
            f'text-anchor="middle">{escaped(name)}</text>'
        )
    drawing = _chart("".join(marks), None, upward, "", ylabel, caption)
    return figure(drawing + _legend(list(values)), caption)


# --- Parts ----------------------------------------------------------------------------


def _checked(name: str, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if xs.ndim != 1 or xs.shape != ys.shape:
        raise UserError(
            f"the curve {quoted(name)} has x {xs.shape} and y {ys.shape}: give lists "
            "of one length"
        )
    keep = np.isfinite(xs)
    xs, ys = xs[keep], ys[keep]
    every = -(-len(xs) // MANY) or 1
    # The last point stays, since it is what a run ends with.
    kept = sorted({*range(0, len(xs), every), len(xs) - 1} - {-1})
    return xs[kept], ys[kept]


def _x(places: ArrayLike) -> NDArray[np.float64]:
    return LEFT + (WIDTH - LEFT - RIGHT) * np.asarray(places)


def _y(places: ArrayLike) -> NDArray[np.float64]:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * np.asarray(places)


def _path(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> str:
    """A path through points; where y is not finite it is interrupted."""
    pieces: list[list[str]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if np.isfinite(y):
            pieces[-1].append(f"{x:.1f} {y:.1f}")
        elif pieces[-1]:
            pieces.append([])
    # A point alone is a short stroke, or it would not be seen.
    return "".join(
        f"M{'L'.join(points)}{'m-2 0h4' if len(points) == 1 else ''}"
        for points in pieces
        if points
    )


def _chart(
    marks: str, across: Axis | None, upward: Axis, xlabel: str, ylabel: str, text: str
) -> str:
    """A field with its axes, ticks and marks."""
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value in upward.ticks():
        y = float(_y(upward.at([value]))[0])
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>'
        )
    # Groups of bars have names instead.
    ticks = [] if across is None else [(v, across.at([v])) for v in across.ticks()]
    for value, place in ticks:
        x = float(_x(place)[0])
        parts.append(
            f'<text x="{x:.1f}" y="{floor + 17}" text-anchor="middle">'
            f"{value:.5g}</text>"
        )
    middle = (TOP + floor) / 2
    names = (
        f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escaped(xlabel)}</text>"
        f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escaped(ylabel)}</text>"
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escaped(text)}">'
        f'{"".join(parts)}{marks}<path class="axis" d="M{LEFT} {floor}H{right}"/>'
        f"{names}</svg>"
    )


def _dash(style: int) -> str:
    dash = DASHES[style // COLORS % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _legend(names: Sequence[str], styles: Sequence[int] | None = None) -> str:
    """The names with their colours and dashes; by default those of their places."""
    items = (
        '<li><svg viewBox="0 0 22 8" aria-hidden="true"><path '
        f'class="s{style % COLORS}" stroke-width="4"{_dash(style)} d="M0 4H22"/></svg>'
        f"{escaped(name)}</li>"
        for style, name in zip(styles or range(len(names)), names, strict=True)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'
