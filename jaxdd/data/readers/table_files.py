"""Columns by name from CSV, Parquet and NPZ files; what they mean comes later.

A column is an array [M]: float64, where NaN is missing, or texts, where "" is missing.
"""

import csv
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from jaxdd.errors import UserError, quoted
from jaxdd.storage.arrays import Member, read_arrays
from jaxdd.storage.arrow import pyarrow
from jaxdd.storage.paths import existing_file, reason, shown

Columns: TypeAlias = Mapping[str, np.ndarray]

LARGEST = 2 * 2**30  # bytes of a file, and of all its columns in memory
_DELIMITERS = ",;\t|"
REMEDY = (
    "give a table:FILE that ends in .csv, .parquet or .npz, with one row per sample "
    "and one column per value"
)


def columns_of(path: str | Path) -> Columns:
    """The columns of a table by their names, in the order of the file.

    Args:
        path: a .csv (.tsv, .txt) file with a heading, a .parquet file, or an .npz
            archive of arrays [M], one per column.

    Raises:
        UserError: the file is missing, empty, damaged, too large or of another kind, a
            row has other cells than the heading, or two columns have one name.
    """
    place = existing_file(path, "the table", REMEDY)
    if place.stat().st_size > LARGEST:
        raise _refusal(place, f"it has more than {LARGEST} bytes")
    reader = _READERS.get(place.suffix.lower())
    if reader is None:
        raise _refusal(place, f"its name ends in {quoted(place.suffix)}")
    columns = reader(place)
    rows = {len(column) for column in columns.values()}
    if not columns or rows == {0}:
        raise _refusal(place, "it has no rows")
    if len(rows) > 1:
        raise _refusal(place, "its columns differ in length")
    return columns


def _refusal(place: Path, cause: str) -> UserError:
    return UserError(f"the table {shown(place)} cannot be used ({cause}): {REMEDY}")


def _csv(place: Path) -> Columns:
    """A file of texts; the heading says by what cells are separated."""
    try:
        # Spreadsheets write a byte-order mark, and some of them UTF-16.
        wide = place.read_bytes()[:2] in (b"\xff\xfe", b"\xfe\xff")
        encoding = "utf-16" if wide else "utf-8-sig"
        with place.open(newline="", encoding=encoding) as file:
            heading = file.readline()
            delimiter = max(_DELIMITERS, key=heading.count)
            file.seek(0)
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    except UnicodeError:
        raise _refusal(place, "it is not in UTF-8: save it as CSV in UTF-8") from None
    except (csv.Error, OSError) as error:
        raise _refusal(place, reason(error)) from error
    if not rows:
        raise _refusal(place, "it is empty")
    names = [name.strip() for name in rows[0]]
    _check_names(place, names)
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise _refusal(
                place,
                f"row {number} has {len(row)} cells and the heading {len(names)}",
            )
    cells = zip(*rows[1:], strict=True)
    return {
        name: np.array([cell.strip() for cell in column], dtype=np.str_)
        for name, column in zip(names, cells, strict=False)
    }


def _check_names(place: Path, names: list[str]) -> None:
    unnamed = [i for i, name in enumerate(names, 1) if not name]
    if unnamed:
        raise _refusal(place, f"column {unnamed[0]} has no name")
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise _refusal(place, f"two columns are called {quoted(twice[0])}")


def _parquet(place: Path) -> Columns:
    arrow, parquet = pyarrow()
    try:
        file = parquet.ParquetFile(place)
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        cells = file.metadata.num_rows * file.metadata.num_columns
        if size > LARGEST or 8 * cells > LARGEST:
            raise ValueError(f"it declares more than {LARGEST} bytes")
        names = list(file.schema_arrow.names)
    except Exception as error:  # a damaged file can raise almost anything
        raise _refusal(place, reason(error)) from error
    _check_names(place, names)
    columns = {}
    for name in names:
        try:
            column = file.read(columns=[name])[name]
            kind = column.type
            if arrow.types.is_dictionary(kind):
                column = column.cast(kind.value_type)
            numeric = arrow.types.is_floating(kind) or arrow.types.is_integer(kind)
            if numeric or arrow.types.is_decimal(kind):
                columns[name] = np.asarray(column.cast("float64").to_numpy(), float)
            else:  # texts, and what can be written as one: truth values, dates
                texts = column.cast("string").to_pylist()
                columns[name] = np.array([x or "" for x in texts], dtype=np.str_)
        except Exception as error:
            raise _refusal(
                place, f"column {quoted(name)} holds no numbers or texts"
            ) from error
    return columns


def _npz(place: Path) -> Columns:
    try:
        with zipfile.ZipFile(place) as archive:
            files = [name for name in archive.namelist() if name.endswith(".npy")]
    except (zipfile.BadZipFile, OSError) as error:
        raise _refusal(place, "it is no .npz archive") from error
    names = [name.removesuffix(".npy") for name in files]
    _check_names(place, names)
    member = Member("biufU", 1, LARGEST)
    arrays = read_arrays(place, dict.fromkeys(names, member), REMEDY, "the table")
    if sum(array.nbytes for array in arrays.values()) > LARGEST:
        raise _refusal(place, f"it takes more than {LARGEST} bytes")
    return {
        name: np.char.strip(array) if array.dtype.kind == "U" else array.astype(float)
        for name, array in arrays.items()
    }


_READERS = {
    ".csv": _csv,
    ".tsv": _csv,
    ".txt": _csv,
    ".parquet": _parquet,
    ".npz": _npz,
}
