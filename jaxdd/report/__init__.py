"""Pictures of results: each function takes arrays and a path and writes one PNG.

Figures are built with matplotlib's object-oriented API on the Agg canvas, so nothing
global is touched and threads do not disturb each other. A picture is written to a
temporary file beside its path and moved there, so a reader never sees half of one.
"""

from jaxdd.report.charts import (
    Chart,
    charts,
    correlation_matrix,
    counts,
    curves,
    histogram,
    intervals,
    pruning,
)
from jaxdd.report.images import extremes, image_grid

__all__ = [
    "Chart",
    "charts",
    "correlation_matrix",
    "counts",
    "curves",
    "extremes",
    "histogram",
    "image_grid",
    "intervals",
    "pruning",
]
