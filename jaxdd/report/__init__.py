"""Pictures of results: each function takes arrays and a path and writes one PNG.

`feature_distances` is a number instead: how far a set is from the data.

Figures are built with matplotlib's object-oriented API on the Agg canvas, so nothing
global is touched and threads do not disturb each other. A picture is written to a
temporary file beside its path and moved there, so a reader never sees half of one.

`bar` draws the progress of a run. matplotlib and rich are imported when a function that
draws with them is first used, since `import jaxdd` would take a third longer.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdd.report.distances import feature_distances
    from jaxdd.report.dots import percentiles, percentiles_png
    from jaxdd.report.images import extremes, extremes_png, grid_png, image_grid
    from jaxdd.report.plots import (
        Chart,
        charts,
        correlation_matrix,
        counts,
        curves,
        histogram,
        intervals,
        pruning,
    )
    from jaxdd.report.progress import bar

__all__ = [
    "Chart",
    "bar",
    "charts",
    "correlation_matrix",
    "counts",
    "curves",
    "extremes",
    "extremes_png",
    "feature_distances",
    "grid_png",
    "histogram",
    "image_grid",
    "intervals",
    "percentiles",
    "percentiles_png",
    "pruning",
]

_FILES = {
    "bar": "progress",
    "feature_distances": "distances",
    **dict.fromkeys(("percentiles", "percentiles_png"), "dots"),
    **dict.fromkeys(("extremes", "extremes_png", "grid_png", "image_grid"), "images"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    file = _FILES.get(name, "plots")
    return getattr(importlib.import_module(f"{__name__}.{file}"), name)


def __dir__() -> list[str]:
    return __all__
