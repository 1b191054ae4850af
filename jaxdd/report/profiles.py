"""Sequences and vectors as lines, class by class, as grids of images are drawn."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from jaxdd.errors import UserError
from jaxdd.report.figures import DPI, LONGEST_LINE, drawable, short, write

COLUMNS, ROWS = 8, 20  # most fields of a class, most classes
CHANNELS = 6  # most lines in a field
FIELD = 1.5, 0.9  # inches
MARGIN, BELOW = 1.4, 0.1  # inches, for the names of the classes, and at the foot


def grid(samples: ArrayLike, class_names: Sequence[str], title: str | None) -> Figure:
    """One row of fields per class, one line per channel in each.

    Args:
        samples: [K, n, L, C] sequences, or [K, n, F] vectors, whose features are scaled
            to their range in the picture.
        class_names: K names.
        title: above the picture; it also counts what is left out.

    Raises:
        UserError: the shape is another one, or there is not one name per class.
    """
    lines = _lines(samples, class_names)
    count = lines.shape[1]
    heads = [""] * min(count, COLUMNS)
    return _figure(lines[:, :COLUMNS], class_names, heads, title or "", count)


def extremes(
    easiest: ArrayLike, hardest: ArrayLike, class_names: Sequence[str]
) -> Figure:
    """The easiest samples of every class, and the hardest ones beside them.

    Args:
        easiest, hardest: [K, n, L, C] or [K, n, F], as in `grid`.
        class_names: K names.

    Raises:
        UserError: as in `grid`; or the two differ in shape.
    """
    left, right = np.asarray(easiest), np.asarray(hardest)
    if left.shape[2:] != right.shape[2:]:
        raise UserError(
            f"the easiest samples are {left.shape[2:]} and the hardest "
            f"{right.shape[2:]}: give samples of one shape"
        )
    each = COLUMNS // 2
    shown = left[:, :each], right[:, :each]
    lines = _lines(np.concatenate(shown, axis=1), class_names)
    heads = [
        name if i == 0 else ""
        for name, part in zip(("easiest", "hardest"), shown, strict=True)
        for i in range(part.shape[1])
    ]
    return _figure(lines, class_names, heads, "", lines.shape[1])


def _lines(samples: ArrayLike, class_names: Sequence[str]) -> NDArray[np.float64]:
    """[K, n, L, C] lines that can be drawn."""
    array = np.asarray(samples, float)
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise UserError(
            f"lines need samples [K, n, L, C] or [K, n, F], none of them 0, not "
            f"{array.shape}"
        )
    if len(class_names) != len(array):
        raise UserError(
            f"the samples have {len(array)} classes but {len(class_names)} names"
        )
    if array.ndim == 3:
        low = array.min(axis=(0, 1), keepdims=True)
        reach = array.max(axis=(0, 1), keepdims=True) - low
        array = ((array - low) / np.where(reach > 0, reach, 1))[..., None]
    return array[..., :CHANNELS]


def _figure(
    lines: NDArray[np.float64],
    class_names: Sequence[str],
    heads: Sequence[str],
    title: str,
    count: int,
) -> Figure:
    classes, columns = lines.shape[:2]
    rows = min(classes, ROWS)
    notes = [f"the first {rows} of {classes} classes"] if rows < classes else []
    if columns < count:
        notes.append(f"the first {columns} of {count} of a class")
    text = drawable(f"{title} {', '.join(notes)}".strip(), LONGEST_LINE)
    size = MARGIN + FIELD[0] * columns, BELOW + FIELD[1] * rows + 0.3
    figure = Figure(figsize=size, dpi=DPI)
    write(figure.text(0.01, 1 - 0.1 / size[1], "", size=9, va="top"), text)
    low, high = float(lines.min()), float(lines.max())
    air = 0.05 * (high - low) or 1.0
    for i in range(rows):
        for j in range(columns):
            left = MARGIN + FIELD[0] * j
            bottom = BELOW + FIELD[1] * (rows - 1 - i)
            box = left / size[0], bottom / size[1], 1.4 / size[0], 0.8 / size[1]
            axes = figure.add_axes(box, xticks=[], yticks=[])
            axes.set_ylim(low - air, high + air)
            for channel in lines[i, j].T:
                axes.plot(channel, linewidth=0.9)
            if i == 0 and heads[j]:
                write(axes.set_title("", size=8, loc="left", pad=2), heads[j])
        middle = (BELOW + FIELD[1] * (rows - 1 - i) + 0.4) / size[1]
        name = figure.text(0.08 / size[0], middle, "", size=8, va="center")
        write(name, short(class_names[i]))
    return figure
