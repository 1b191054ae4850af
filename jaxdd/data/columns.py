"""Columns of a table: from cells to the features of vectors, and back to cells."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxdd.errors import UserError


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: its heading.
        levels: the categories of a column of texts, each of which is one feature that
            is 1 or 0; () for a column of numbers, which is one feature.
    """

    name: str
    levels: tuple[str, ...] = ()

    @property
    def features(self) -> int:
        """How many features of a vector it takes."""
        return len(self.levels) or 1


def readable(
    columns: Sequence[Column], rows: np.ndarray
) -> tuple[list[str], list[list[str]]]:
    """Vectors in the units of their table, as headings and cells.

    A category becomes the level of its largest feature: a distilled row is a point
    between the levels, of which this is the nearest.

    Args:
        columns: of the table; () for vectors without one, whose features have numbers.
        rows: [N, F] in the table's own units.

    Returns:
        Names of the columns, and N lists of as many texts; numbers have five digits.

    Raises:
        UserError: the columns have another number of features.

    Example:
        >>> columns = (Column("age"), Column("colour", ("blue", "red")))
        >>> readable(columns, np.array([[31.5, 0.2, 0.9]]))
        (['age', 'colour'], [['31.5', 'red']])
    """
    features = rows.shape[1]
    columns = tuple(columns) or tuple(Column(f"x{i}") for i in range(features))
    if sum(column.features for column in columns) != features:
        raise UserError(
            f"the table's columns have {sum(column.features for column in columns)} "
            f"features, and the rows have {features}"
        )
    cells: list[list[str]] = [[] for _ in rows]
    start = 0
    for column in columns:
        part = rows[:, start : start + column.features]
        start += column.features
        for row, values in zip(cells, part, strict=True):
            is_number = not column.levels
            level = "" if is_number else column.levels[int(np.argmax(values))]
            row.append(f"{values[0]:.5g}" if is_number else level)
    return [column.name for column in columns], cells
