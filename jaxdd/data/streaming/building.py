"""The decoding of samples into the files of a store, which goes on where it stopped.

While a store is built, `progress.json` says how many samples of every part are on the
disk for sure, and the SHA-256 of their files so far: what changed meanwhile is decoded
again, and never becomes part of a store.
"""

import contextlib
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from jaxdd.data.streaming.rows import BLOCK, Rows
from jaxdd.devices.memory import size_text
from jaxdd.errors import UserError
from jaxdd.progress import Stage, say
from jaxdd.storage.array_blocks import Damaged
from jaxdd.storage.files import remove_abandoned, to_json, whole_file
from jaxdd.storage.paths import is_there, shown
from jaxdd.storage.records import Schema, integer, mapping, read_json, text

VERSION = 1
MANIFEST, PROGRESS = "manifest.json", "progress.json"
AGAIN = "it is built again"
INT = np.dtype(np.int32)  # of labels
SAFE_SECONDS = 10.0  # the most decoding that a kill costs
REPORT_SECONDS = 0.5
SPARE = 64 * 2**20  # bytes of the disk that stay free


def part_schema(fewest: int) -> Schema:
    """The record of a part: its samples, and the hashes of its files."""
    return mapping(count=integer(fewest), rows=text(64), labels=text(64))


_DONE = mapping(others=part_schema(0))


class Part(NamedTuple):
    """Samples of a dataset that are stored together, such as its training split.

    Attributes:
        name: of its files.
        length: number of samples.
        samples: (first) -> samples and labels from that one on, in their order.
        classes: how many there are, where only the samples have the labels.
    """

    name: str
    length: int
    samples: Callable[[int], Iterator[tuple[np.ndarray, int]]]
    classes: int = 1


class Stored(NamedTuple):
    """A part that is on the disk."""

    rows: Rows
    labels: np.ndarray  # [M] int32


def decoded_before(folder: Path, parts: Sequence[Part]) -> dict[str, int]:
    """{part: samples of it that an unfinished store says to have}; nothing is changed.

    Args:
        folder: of the store, which need not exist.
        parts: what the store will have.
    """
    before: dict[str, Any] = {}
    with contextlib.suppress(OSError, UserError):
        if is_there(folder / PROGRESS):
            before = read_json(folder / PROGRESS, _DONE, AGAIN)
    return {
        x.name: min(before.get(x.name, {}).get("count", 0), x.length) for x in parts
    }


def no_room(folder: Path, why: str) -> UserError:
    """The sentence for a disk that refuses."""
    return UserError(
        f"decoded images cannot be written to {shown(folder)} ({why}): free the disk, "
        "set JAXDD_CACHE to a folder on another one, or give --stream=never if memory "
        "holds them"
    )


def files_of(folder: Path, parts: Sequence[Part]) -> list[Path]:
    """Every file that a store has, or had while it was built."""
    names = [f"{x.name}.{kind}" for x in parts for kind in ("rows", "labels")]
    return [folder / name for name in (MANIFEST, PROGRESS, *names)]


def remove(path: Path) -> None:
    """Delete a file of a store, whatever stands in its place.

    Raises:
        UserError: it is a folder, which may hold what is not ours.
    """
    if path.is_dir() and not path.is_symlink():
        raise UserError(
            f"{shown(path)} is a folder where decoded images belong: remove it"
        )
    path.unlink(missing_ok=True)


class _Beginning:
    """SHA-256 of a file's first bytes, taken further as the file grows."""

    def __init__(self, path: Path):
        self.path, self.size, self.digest = path, 0, hashlib.sha256()

    def up_to(self, size: int) -> str:
        """The hash (hex) of the first `size` bytes, no fewer than before.

        Raises:
            OSError: the file is shorter, or cannot be read.
        """
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.size)
            while self.size < size:
                block = file.read(min(BLOCK, size - self.size))
                if not block:
                    raise OSError("a file was cut short meanwhile")
                self.digest.update(block)
                self.size += len(block)
        return self.digest.hexdigest()


class _Count:
    """Samples that are written, reported now and then."""

    def __init__(self, stage: Stage, begun: int, total: int):
        self.stage, self.begun, self.total = stage, begun, total
        self.done = begun
        self.started = self.reported = time.monotonic()

    def one(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.reported > REPORT_SECONDS or self.done == self.total:
            each = (now - self.started) / (self.done - self.begun)
            self.stage.count(self.done, self.total, each)
            self.reported = now


class Builder:
    """The decoding of all parts into a folder that the caller owns."""

    def __init__(
        self,
        folder: Path,
        parts: Sequence[Part],
        shape: tuple[int, ...],
        dtype: np.dtype,
    ):
        self.folder, self.parts, self.shape, self.dtype = folder, parts, shape, dtype
        self.row_bytes = int(np.prod(shape)) * dtype.itemsize
        self.done: dict[str, int]
        self.records: dict[str, dict[str, Any]]
        self.beginnings: dict[str, tuple[_Beginning, ...]]
        self._begin()

    def build(self, name: str) -> None:
        self._go_on()
        total, begun = sum(x.length for x in self.parts), sum(self.done.values())
        missing = (total - begun) * (self.row_bytes + INT.itemsize)
        free = shutil.disk_usage(self.folder).free - SPARE
        if missing > free:
            there = size_text(max(free, 0))
            why = f"they take {size_text(missing)} and {there} are free"
            raise no_room(self.folder, why)
        place = f"{shown(self.folder)}, {size_text(total * self.row_bytes)}"
        with Stage(f"decoding {name}", total, place, "image") as stage:
            count = _Count(stage, begun, total)
            try:
                for part in self.parts:
                    self._write(part, count)
            except Damaged:
                for path in files_of(self.folder, self.parts):
                    remove(path)
                raise
        entries = {part.name: self._record(part, part.length) for part in self.parts}
        with whole_file(self.folder / MANIFEST) as file:
            file.write(
                to_json(
                    {
                        "version": VERSION,
                        "dtype": str(self.dtype),
                        "shape": list(self.shape),
                        "parts": entries,
                    }
                )
            )
        (self.folder / PROGRESS).unlink(missing_ok=True)

    def _go_on(self) -> None:
        """Take over what an earlier start has surely written and nobody changed."""
        remove_abandoned(self.folder)
        for path in files_of(self.folder, self.parts):
            # Nothing is written through a link, to a file that is not the store's.
            with contextlib.suppress(FileNotFoundError):
                there = path.lstat()
                if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1:
                    remove(path)
        if not is_there(self.folder / PROGRESS):
            return
        try:
            before = read_json(self.folder / PROGRESS, _DONE, AGAIN)
            for part in self.parts:
                if part.name in before:
                    self._take_over(part, before[part.name])
        except (OSError, UserError):
            say(f"what is in {shown(self.folder)} has changed: {AGAIN}")
            self._begin()

    def _begin(self) -> None:
        self.records, self.done = {}, {x.name: 0 for x in self.parts}
        self.beginnings = {
            x.name: tuple(map(_Beginning, self._paths(x))) for x in self.parts
        }

    def _take_over(self, part: Part, before: dict[str, Any]) -> None:
        """Check the samples of a part that were written before.

        Raises:
            OSError, UserError: they are not there any more.
        """
        if (
            before["count"] > part.length
            or self._record(part, before["count"]) != before
        ):
            raise UserError(AGAIN)
        self.done[part.name], self.records[part.name] = before["count"], before

    def _record(self, part: Part, count: int) -> dict[str, Any]:
        """The samples that are on the disk, and the hashes of their files."""
        rows, labels = self.beginnings[part.name]
        return {
            "count": count,
            "rows": rows.up_to(count * self.row_bytes),
            "labels": labels.up_to(count * INT.itemsize),
        }

    def _paths(self, part: Part) -> tuple[Path, Path]:
        return self.folder / f"{part.name}.rows", self.folder / f"{part.name}.labels"

    def _write(self, part: Part, count: "_Count") -> None:
        done = self.done[part.name]
        paths = self._paths(part)
        for path, size in zip(paths, (self.row_bytes, INT.itemsize), strict=True):
            if done == 0:
                path.unlink(missing_ok=True)  # whoever reads the old one keeps it
            path.touch()
            os.truncate(path, done * size)  # the rest may be half a sample
        with open(paths[0], "ab") as rows, open(paths[1], "ab") as labels:
            written, saved = done, time.monotonic()
            try:
                if done < part.length:
                    for image, label in part.samples(done):
                        rows.write(np.ascontiguousarray(image, self.dtype).data)
                        labels.write(np.int32(label).tobytes())
                        written += 1
                        count.one()
                        if time.monotonic() - saved > SAFE_SECONDS:
                            self._save(part, written, rows, labels)
                            saved = time.monotonic()
            finally:
                # After Ctrl-C or a full disk, too; what is half there is cut off later.
                with contextlib.suppress(OSError, UserError):
                    self._save(part, written, rows, labels)

    def _save(self, part: Part, written: int, *files: IO) -> None:
        for file in files:
            file.flush()
            os.fsync(file.fileno())
        self.records[part.name] = self._record(part, written)
        with whole_file(self.folder / PROGRESS) as record:
            record.write(to_json(self.records))
