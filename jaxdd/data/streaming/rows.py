"""Rows of a file on disk in the place of an array of images in memory."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdd.errors import UserError
from jaxdd.storage.paths import reason, shown

BLOCK = 16 * 2**20  # bytes that are read at once where all rows are gone over


class RowFile:
    """An open file of equally long rows, without a header.

    Positioned reads are used instead of a memory map: pages of a map count as memory of
    this process, and it would seem to grow to the size of the file. What stands in the
    place of a file (`sources`) opens and reads otherwise.

    Attributes:
        bytes_read: what was read so far.
        is_there: whether these are the rows, and not others that stand for them.

    Args:
        path: the file.
        count: rows in it.
        shape: of a row.
        dtype: of its values.
        source: what the rows are made from, so that equal files of two starts are known
            as equal.

    Raises:
        UserError: the file cannot be opened, or has another size.
    """

    is_there = True

    def __init__(
        self,
        path: Path,
        count: int,
        shape: tuple[int, ...],
        dtype: np.dtype,
        source: str,
    ):
        self.path, self.count, self.shape = path, count, tuple(shape)
        self.dtype, self.source = np.dtype(dtype), source
        self.bytes_read = 0
        self.row_bytes = math.prod(shape) * self.dtype.itemsize
        self._open()

    def _open(self) -> None:
        """Open the file.

        Raises:
            UserError: it cannot be opened, or has another size.
        """
        path, expected = self.path, self.count * self.row_bytes
        try:
            self._file = open(path, "rb", 0, opener=_without_waiting)  # noqa: SIM115
            size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise UserError(
                f"cannot open {shown(path)} ({reason(error)}): {REMEDY}"
            ) from error
        if size != expected:
            self._file.close()
            raise UserError(
                f"{shown(path)} has {size} bytes instead of {expected}: {REMEDY}"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self.count * self.row_bytes

    def read(self, first: int, target: memoryview) -> None:
        """Fill a buffer with whole rows from `first` on.

        Raises:
            UserError: the file has become shorter, or the disk refuses.
        """
        offset = first * self.row_bytes
        try:
            while len(target):
                size = os.preadv(self._file.fileno(), [target], offset)
                if size == 0:
                    raise UserError(
                        f"{shown(self.path)} was cut short while it was read: {REMEDY}"
                    )
                target, offset = target[size:], offset + size
                self.bytes_read += size
        except OSError as error:
            raise UserError(
                f"cannot read {shown(self.path)} ({reason(error)}): {REMEDY}"
            ) from error

    def expect(self, rows: np.ndarray) -> None:
        """Ask the system to have rows in its cache, while this program goes on.

        Nothing depends on it: where the system has no such call, or refuses, the rows
        are read when they are needed.

        Args:
            rows: [M] int, in any order.
        """
        if not hasattr(os, "posix_fadvise"):  # macOS, Windows
            return
        with contextlib.suppress(OSError):
            for part in _runs(np.unique(rows)):
                os.posix_fadvise(
                    self._file.fileno(),
                    part.first * self.row_bytes,
                    part.length * self.row_bytes,
                    os.POSIX_FADV_WILLNEED,
                )


def _without_waiting(path: str, flags: int) -> int:
    """Open a file, or a pipe in its place, for whose writer nobody shall wait."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


REMEDY = "start the program again, and what is missing is decoded again"


class Slice(NamedTuple):
    """A run of consecutive rows of a file and where they go."""

    first: int
    place: int
    length: int


class Rows:
    """Images [M, ...] in a file, as an array that is read where it is indexed.

    Args:
        file: the open file, or what stands in its place.
        ids: [M] int64 rows of the file; None for all of them in their order.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "rows")
        ...     _ = path.write_bytes(bytes(range(8)))
        ...     rows = Rows(RowFile(path, 4, (2,), np.dtype(np.uint8), "example"))
        ...     rows[[3, 0]].tolist(), rows.select(np.array([1, 2]))[:1].tolist()
        ([[6, 7], [0, 1]], [[2, 3]])
    """

    def __init__(self, file: RowFile, ids: np.ndarray | None = None):
        self.file, self.ids = file, ids

    @property
    def dtype(self) -> np.dtype:
        return self.file.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.file.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, which are on disk."""
        return len(self) * self.file.row_bytes

    def __len__(self) -> int:
        return self.file.count if self.ids is None else len(self.ids)

    def __getitem__(self, index: Any) -> np.ndarray:
        """The rows at an integer, a slice, or an array of integers of any shape.

        Raises:
            IndexError: there is no such row.
            UserError: the file cannot be read any more.
        """
        if isinstance(index, slice):
            return self._read(np.arange(len(self))[index])
        chosen = np.asarray(index)
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        if chosen.size and not -len(self) <= chosen.min() <= chosen.max() < len(self):
            raise IndexError(f"there are {len(self)} rows")
        return self._read(np.where(chosen < 0, chosen + len(self), chosen))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)

    def select(self, ids: np.ndarray | slice) -> "Rows":
        """Some of the rows, which are not read yet."""
        if isinstance(ids, slice):
            ids = np.arange(len(self))[ids]
        ids = np.asarray(ids)
        if ids.dtype == bool:
            ids = np.flatnonzero(ids)
        return Rows(self.file, ids if self.ids is None else self.ids[ids])

    def of_file(self, chosen: np.ndarray) -> np.ndarray:
        """The rows of the file [M] at indices of any shape."""
        chosen = chosen.ravel()
        return chosen if self.ids is None else self.ids[chosen]

    def _read(self, chosen: np.ndarray) -> np.ndarray:
        out = np.empty((*chosen.shape, *self.file.shape), self.dtype)
        rows = self.of_file(chosen)
        buffer, size = out.reshape(-1).view(np.uint8).data, self.file.row_bytes
        for part in _runs(rows):
            begin = part.place * size
            self.file.read(part.first, buffer[begin : begin + part.length * size])
        return out

    @cached_property
    def identity(self) -> tuple[str, int]:
        """What tells these rows from others: their file's source, and a hash of ids."""
        ids = b"" if self.ids is None else np.ascontiguousarray(self.ids).tobytes()
        return self.file.source, hash(ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)


# Images of a split on the host.
HostArray = np.ndarray | Rows


def pick(images: HostArray, ids: np.ndarray | slice) -> HostArray:
    """The images at `ids` [M] or of a slice, of a file without reading them.

    Example:
        >>> pick(np.arange(4), np.array([1, 3])).tolist()
        [1, 3]
    """
    return images.select(ids) if isinstance(images, Rows) else images[ids]


def blocks(images: HostArray, rows: int | None = None) -> Iterator[np.ndarray]:
    """All images, some at a time, in order.

    Args:
        images: [M, ...].
        rows: images in a block; None for about 16 MB of them.

    Example:
        >>> [len(x) for x in blocks(np.zeros((5, 2)), 2)]
        [2, 2, 1]
    """
    if rows is None:
        each = math.prod(images.shape[1:]) * images.dtype.itemsize
        rows = max(1, BLOCK // max(each, 1))
    for i in range(0, len(images), rows):
        yield images[i : i + rows]


def hash_rows(images: HostArray, update: Callable[[memoryview], object]) -> None:
    """Feed the bytes of all images to a hash, in order."""
    for block in blocks(images):
        block = np.ascontiguousarray(block)
        update(block.reshape(-1).view(np.uint8).data)


def _runs(rows: np.ndarray) -> Iterator[Slice]:
    """Runs of consecutive rows."""
    if not len(rows):
        return
    ends = np.flatnonzero(np.diff(rows) != 1) + 1
    starts = [0, *ends.tolist()]
    for begin, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield Slice(int(rows[begin]), begin, end - begin)
