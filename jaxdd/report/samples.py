"""Samples of a page that are no images: rows of a table, and lines over time."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxdd.data.columns import Column, readable
from jaxdd.report import drawings, page

SAMPLES = 12  # most samples side by side in a table
FEATURES = 200  # most rows of such a table
CHARTS = 20  # most charts of sequences
LINES = 8  # most lines of a chart


def vectors(named: Mapping[str, np.ndarray], columns: Sequence[Column]) -> str:
    """Vectors as the columns of a table, in the units of their data.

    Args:
        named: heading -> [F].
        columns: of the table that they come from; () for numbers without names.

    Returns:
        HTML, with a sentence about what is left out.
    """
    shown = dict(list(named.items())[:SAMPLES])
    if not shown:
        return ""
    names, cells = readable(columns, np.stack(list(shown.values())))
    rows = [[name, *values] for name, *values in zip(names, *cells, strict=True)]
    notes = []
    if len(shown) < len(named):
        notes.append(f"the first {len(shown)} of {len(named)} samples")
    if len(rows) > FEATURES:
        notes.append(f"the first {FEATURES} of {len(rows)} columns")
    left_out = f"The page shows {' and '.join(notes)}." if notes else ""
    table = page.table(["column", *shown], rows[:FEATURES])
    return table + (page.paragraph(left_out, "note") if left_out else "")


def sequences(groups: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Sequences as charts of lines over time, one chart per group.

    Args:
        groups: caption -> name of a sequence -> [L, C]; every channel is a line.

    Returns:
        HTML, with a sentence about what is left out.
    """
    charts = []
    for caption, named in list(groups.items())[:CHARTS]:
        series: dict[str, drawings.Curve] = {}
        for name, sequence in named.items():
            for channel, values in enumerate(sequence.T):
                label = name if len(sequence.T) == 1 else f"{name}, channel {channel}"
                series[label.strip(", ")] = list(range(len(values))), values
        first = dict(list(series.items())[:LINES])
        charts.append(drawings.lines(first, "step", "value", caption))
    left_out = ""
    if len(groups) > CHARTS:
        left_out = f"The page shows the first {CHARTS} of {len(groups)} charts."
    body = page.charts([chart for chart in charts if chart])
    return body + (page.paragraph(left_out, "note") if left_out else "")


def numbered(name: str, samples: np.ndarray) -> dict[str, np.ndarray]:
    """Samples [n, ...] by their names: that of a class, with numbers where several."""
    if len(samples) == 1:
        return {name: samples[0]}
    return {f"{name} {i}": sample for i, sample in enumerate(samples, 1)}
