"""Where sets stand among real samples: a row for each, a mark for every kind."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from jaxdd.report.figures import (
    COLORS,
    PathLike,
    label,
    legend_beside,
    name_ticks,
    new_figure,
    png,
    save,
    short,
)

MARKERS = "os^Dv"


def percentiles(
    by_kind: Mapping[str, Sequence[float]], names: Sequence[str], path: PathLike
) -> Path:
    """Percentiles of some sets, by kind of network.

    Args:
        by_kind: kind -> [R], percentiles from 0 to 100.
        names: of the R rows, from top to bottom.
        path: the picture.
    """
    return save(_percentiles(by_kind, names), path)


def percentiles_png(
    by_kind: Mapping[str, Sequence[float]], names: Sequence[str]
) -> bytes:
    """`percentiles` in memory."""
    return png(_percentiles(by_kind, names))


def _percentiles(
    by_kind: Mapping[str, Sequence[float]], names: Sequence[str]
) -> Figure:
    figure, axes = new_figure(7.5, 1.2 + 0.36 * len(names))
    places = list(range(len(names)))[::-1]  # the first name on top
    axes.axvline(50.0, color="#222222", linewidth=1.0)
    marks = {}
    for i, (kind, values) in enumerate(by_kind.items()):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        # Apart from each other, where several kinds agree.
        shift = 0.3 * ((i + 0.5) / len(by_kind) - 0.5)
        heights = [place - shift for place in places]
        (marks[kind],) = axes.plot(
            list(values), heights, marker, color=color, markersize=6, clip_on=False
        )
    name_ticks(axes.yaxis, places, [short(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(0, 100)
    label(axes, "percentile of GraDN among real samples", "")
    legend_beside(axes, marks, "networks")
    return figure
