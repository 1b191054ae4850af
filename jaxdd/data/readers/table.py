"""Tables as datasets: one row is a vector, one column the class."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxdd.data.columns import Column
from jaxdd.data.dataset import Dataset
from jaxdd.data.readers.table_files import columns_of
from jaxdd.data.splits import (
    TEST_FRACTION,
    TEST_SEED,
    held_out_remark,
    hold_out,
    with_test_split,
)
from jaxdd.errors import UserError, quoted
from jaxdd.storage.paths import shown

MISSING = ("refuse", "mean")
MOST_LEVELS = 100  # categories of a column, and classes
NAMED = 5  # columns of texts in a remark, the others are counted
MOST_VALUES = 2**30  # of all vectors together
_COMMAS = re.compile(r"[-+]?\d+(,\d+)?")
# Of any case; docs/beyond_images.md names them.
_NO_VALUE = ("", "na", "n/a", "nan", "null", "none", "?")


def from_table(
    path: str | Path,
    label: str | None = None,
    id_column: str | None = None,
    missing: str | None = None,
) -> Dataset:
    """The dataset in a table; a fifth of its rows, stratified, is the test split.

    Columns of numbers are features as they are (preprocessing standardises them); of a
    column of texts every category becomes a feature of 0 or 1.

    Args:
        path: a CSV, Parquet or NPZ file, see `table_files.columns_of`.
        label: name of the column of classes.
        id_column: name of a column that names the rows and is no feature.
        missing: what becomes of a cell without a value: the table is refused
            ("refuse", the default), or it is the mean of its column over the training
            rows ("mean").

    Returns:
        Vectors [M, F] float32 with `columns`, by which rows are readable again.

    Raises:
        UserError: the file cannot be used; there is no such column; a column mixes
            texts and numbers, or has a different text in nearly every row; a value is
            missing or infinite; a row's name occurs twice; or there is one class.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "pets.csv"
        ...     rows = [f"{i},{'ab'[i % 2]},{i % 2}" for i in range(10)]
        ...     _ = path.write_text("\\n".join(["age,kind,pet", *rows]))
        ...     data = from_table(path, label="pet")
        >>> data.image_shape, data.columns[1].levels
        ((3,), ('a', 'b'))
    """
    if missing not in (None, *MISSING):
        raise UserError(f"--missing must be one of {', '.join(MISSING)}")
    columns = dict(columns_of(path))
    name = f"table:{shown(Path(path).stem)}"
    labels, class_names = _classes(columns, name, label)
    _check_ids(columns, name, id_column)
    counts = np.bincount(labels)
    if len(counts) > 1 and counts.min() > 1:  # else the split itself is refused
        train, _ = hold_out(labels, TEST_FRACTION, TEST_SEED)
    else:
        train = np.arange(len(labels))
    parts, kinds = [], []
    width = 0
    for heading, cells in columns.items():
        column, features = _features(heading, cells, name)
        width += features.shape[1]
        if width * len(labels) > MOST_VALUES:
            raise UserError(
                f"the vectors of {name} would hold more than {MOST_VALUES} numbers: "
                "leave out rows or columns"
            )
        _fill(features, train, heading, name, missing or "refuse")
        parts.append(features.astype(np.float32))
        kinds.append(column)
    if not parts:
        raise UserError(f"{name} has no column beside its classes: add features")
    remarks = [held_out_remark(name, len(labels), "rows"), *_texts_remark(kinds)]
    return with_test_split(
        name, np.concatenate(parts, axis=1), labels, class_names,
        remarks, "vectors", kinds,
    )  # fmt: skip


def _texts_remark(columns: Sequence[Column]) -> list[str]:
    """Which columns are texts, in a sentence; none where all are numbers."""
    texts = [f"{x.name} ({len(x.levels)})" for x in columns if x.levels]
    if not texts:
        return []
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return [
        "columns of texts, each with so many categories: "
        f"{', '.join(texts[:NAMED])}{more}"
    ]


def _classes(
    columns: dict[str, np.ndarray], name: str, label: str | None
) -> tuple[np.ndarray, list[str]]:
    """Classes [M] and their names; their column is taken out."""
    listed = quoted(", ".join(columns))
    if label is None:
        raise UserError(
            f"{name} needs the name of the column that holds its classes: give "
            f"--label=COLUMN, one of {listed}"
        )
    if label not in columns:
        raise UserError(
            f"--label={shown(label)} is no column of {name}: give one of {listed}"
        )
    cells = columns.pop(label)
    absent = _missing(cells)
    if absent.any():
        row, cell = _first(absent), str(cells[absent][0])
        if cell.strip() in ("", "nan"):
            raise UserError(
                f"row {row} of {name} has no class in the column {quoted(label)}: "
                "leave such rows out"
            )
        raise UserError(
            f"row {row} of {name} has {quoted(cell)} in the column {quoted(label)}, "
            "which stands for no value: rename it where it is a class, and leave such "
            "rows out where it is none"
        )
    numbers = _numbers(cells, label, name)
    if numbers is not None and np.isfinite(numbers).all():
        values, labels = np.unique(numbers, return_inverse=True)
        names = [f"{value:g}" for value in values]
    else:
        texts, labels = np.unique(cells.astype(np.str_), return_inverse=True)
        names = [str(text) for text in texts]
    if len(names) > MOST_LEVELS or len(set(names)) < len(names):
        raise UserError(
            f"the column {quoted(label)} of {name} holds {len(names)} different "
            "values, as measurements do: give a column of classes"
        )
    if len(names) < 2:
        raise UserError(
            f"the column {quoted(label)} of {name} holds one class, "
            f"{quoted(names[0])}, which any network gets right: at least 2 are needed"
        )
    return labels.astype(np.int32), names


def _check_ids(columns: dict[str, np.ndarray], name: str, heading: str | None) -> None:
    """Take out the column that names the rows."""
    if heading is None:
        return
    if heading not in columns:
        raise UserError(
            f"--id_column={shown(heading)} is no column of {name} beside its classes: "
            f"give one of {quoted(', '.join(columns))}"
        )
    values, counts = np.unique(columns.pop(heading), return_counts=True)
    if counts.max() > 1:
        twice = str(values[int(np.argmax(counts))])
        raise UserError(
            f"the id {quoted(twice)} names {counts.max()} rows of {name}: a row that "
            "is there twice could be trained and tested on; keep one of them"
        )


def _features(heading: str, cells: np.ndarray, name: str) -> tuple[Column, np.ndarray]:
    """A column and its features [M, f] float64, NaN where a value is missing."""
    numbers, absent = _numbers(cells, heading, name), _missing(cells)
    if absent.all():
        raise UserError(
            f"the column {quoted(heading)} of {name} has no value: leave it out"
        )
    if numbers is not None:
        largest = np.nanmax(np.abs(numbers))
        if largest > np.finfo(np.float32).max:
            row = _first(np.abs(numbers) == largest)
            raise UserError(
                f"the column {quoted(heading)} of {name} holds {numbers[row - 2]:g} in "
                f"row {row}, which is too large for a number here: correct it"
            )
        return Column(heading), numbers[:, None]
    levels = np.unique(cells[~absent])
    _refuse_commas(heading, levels, name)
    if len(levels) > MOST_LEVELS:
        raise UserError(
            f"the column {quoted(heading)} of {name} has {len(levels)} different texts "
            f"in {len(cells)} rows, as names have: leave it out, or name it by "
            "--id_column"
        )
    features = (cells[:, None] == levels[None]).astype(float)
    features[absent] = np.nan
    return Column(heading, tuple(shown(str(x)) for x in levels)), features


def _refuse_commas(heading: str, levels: np.ndarray, name: str) -> None:
    """Raise UserError where the texts of a column are numbers with decimal commas."""
    matches = [_COMMAS.fullmatch(str(text)) for text in levels]
    if all(matches) and any(match and match[1] for match in matches):
        text = next(str(x) for x, y in zip(levels, matches, strict=True) if y and y[1])
        raise UserError(
            f"the column {quoted(heading)} of {name} holds numbers with decimal "
            f"commas, such as {quoted(text)}: write them with points"
        )


def _numbers(cells: np.ndarray, heading: str, name: str) -> np.ndarray | None:
    """The numbers of a column, NaN where there is none; None for texts.

    Raises:
        UserError: most cells are numbers and some are texts.
    """
    if cells.dtype.kind == "f":
        return cells
    absent = _missing(cells)
    numbers = np.full(len(cells), np.nan)
    texts: list[int] = []
    for i in np.flatnonzero(~absent):
        try:
            numbers[i] = float(cells[i])
        except ValueError:
            texts.append(int(i))
    if not texts:
        return numbers
    if 2 * len(texts) < np.count_nonzero(~absent):
        raise UserError(
            f"the column {quoted(heading)} of {name} holds numbers, and in row "
            f"{texts[0] + 2} the text {quoted(str(cells[texts[0]]))}: correct it, or "
            "leave the cell empty and give --missing=mean"
        )
    return None


def _missing(cells: np.ndarray) -> np.ndarray:
    """[M] bool: cells without a value."""
    if cells.dtype.kind == "f":
        return np.isnan(cells)
    return np.isin(np.char.lower(cells), _NO_VALUE)


def _first(there: np.ndarray) -> int:
    """The first row with a property, as a spreadsheet counts: the heading is row 1."""
    return int(np.argmax(there)) + 2


def _fill(
    features: np.ndarray, train: np.ndarray, heading: str, name: str, missing: str
) -> None:
    """Put means over the training rows into missing cells, in place.

    The mean of a category's features is the share of every category.

    Raises:
        UserError: cells are missing and --missing=refuse.
    """
    absent = np.isnan(features).any(axis=1)
    if not absent.any():
        return
    if missing == "refuse":
        raise UserError(
            f"{np.count_nonzero(absent)} cells of the column {quoted(heading)} of "
            f"{name} have no value, the first in row {_first(absent)}: fill them in, "
            "or give --missing=mean"
        )
    known = features[train][~absent[train]]
    if not len(known):  # all of them are test rows
        known = features[~absent]
    features[absent] = known.mean(axis=0)
