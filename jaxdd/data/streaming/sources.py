"""In the place of a file of rows: several of them, or a few rows that stand for it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxdd.data.streaming.rows import HostArray, RowFile, Rows, hash_rows


class Joined(RowFile):
    """The rows of several splits, one after another.

    Args:
        parts: the splits, whose rows have one shape and dtype.

    Example:
        >>> both = Rows(Joined([np.array([[1], [2]]), np.array([[3]])]))
        >>> both[[2, 0]].tolist()
        [[3], [1]]
    """

    def __init__(self, parts: Sequence[HostArray]):
        digest = hashlib.sha256()
        for part in parts:
            if isinstance(part, Rows):
                digest.update(f"{part.file.source}|{len(part)}|".encode())
                hash_rows(np.zeros(0) if part.ids is None else part.ids, digest.update)
            else:
                hash_rows(part, digest.update)
        on_disk = (part.file.path for part in parts if isinstance(part, Rows))
        count, source = sum(map(len, parts)), f"joined/{digest.hexdigest()}"
        path = next(on_disk, Path())
        self._parts = parts
        super().__init__(path, count, parts[0].shape[1:], parts[0].dtype, source)

    def _open(self) -> None:
        """The parts are open."""

    def read(self, first: int, target: memoryview) -> None:
        """As of a file."""
        rows = np.frombuffer(target, self.dtype).reshape(-1, *self.shape)
        start = 0
        for part in self._parts:
            begin, end = first - start, first - start + len(rows)
            inside = slice(max(begin, 0), max(min(end, len(part)), 0))
            if inside.start < inside.stop:
                rows[inside.start - begin : inside.stop - begin] = part[inside]
            start += len(part)
        self.bytes_read += len(target)

    def expect(self, rows: np.ndarray) -> None:
        """As of a file."""
        start = 0
        for part in self._parts:
            inside = rows[(rows >= start) & (rows < start + len(part))] - start
            if isinstance(part, Rows):
                part.file.expect(part.of_file(inside))
            start += len(part)


def joined(images: HostArray, more: HostArray) -> HostArray:
    """Images of two splits, one after another; those on disk are not read.

    Args:
        images, more: [M, ...] and [N, ...], equal in shape and dtype of a sample.

    Example:
        >>> joined(np.array([1, 2]), np.array([3])).tolist()
        [1, 2, 3]
    """
    if isinstance(images, Rows) or isinstance(more, Rows):
        return Rows(Joined([images, more]))
    return np.concatenate([images, more])


class StandIn(RowFile):
    """Rows of a file that is not there: a few rows, over and over.

    Args:
        path: where the file would be.
        count: rows that it would have.
        rows: [n, ...], some of them or like them.

    Example:
        >>> Rows(StandIn(Path("none"), 5, np.array([[1], [2]])))[:].ravel().tolist()
        [1, 2, 1, 2, 1]
    """

    is_there = False

    def __init__(self, path: Path, count: int, rows: np.ndarray):
        super().__init__(path, count, rows.shape[1:], rows.dtype, f"none/{path}")
        self._rows = rows

    def _open(self) -> None:
        """There is no file."""

    def read(self, first: int, target: memoryview) -> None:
        """As of a file."""
        rows = np.frombuffer(target, self.dtype).reshape(-1, *self.shape)
        rows[:] = self._rows[(first + np.arange(len(rows))) % len(self._rows)]
        self.bytes_read += len(target)

    def expect(self, rows: np.ndarray) -> None:
        """Nothing is read."""
