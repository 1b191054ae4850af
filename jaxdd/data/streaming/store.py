"""Files of rows on disk: built once from decoded samples, resumed, checked, opened.

A store is a folder with NAME.rows and NAME.labels for every part of a dataset, and
`manifest.json`, which is written last: without it the store is incomplete. While it is
built, `progress.json` says how many samples of every part are on the disk for sure; a
build that was stopped goes on from there.
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from jaxdd.data.streaming.rows import BLOCK, RowFile, Rows
from jaxdd.devices.memory import size_text
from jaxdd.errors import UserError
from jaxdd.progress import Stage, say
from jaxdd.storage.files import to_json, whole_file
from jaxdd.storage.paths import is_there, reason, shown
from jaxdd.storage.records import integer, list_of, mapping, read_json, text

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

VERSION = 1
SAFE_SECONDS = 10.0  # the most decoding that a kill costs
REPORT_SECONDS = 0.5
SPARE = 64 * 2**20  # bytes of the disk that stay free
_MANIFEST, _PROGRESS, _LOCK = "manifest.json", "progress.json", ".lock"
_AGAIN = "it is built again"
_HASH = text(64)
_SCHEMA = mapping(
    version=integer(VERSION, VERSION),
    dtype=text(16),
    shape=list_of(integer(1), 1, 3),
    parts=mapping(others=mapping(count=integer(1), rows=_HASH, labels=_HASH)),
)
_DONE = mapping(others=integer(0))
_INT = np.dtype(np.int32)


class Part(NamedTuple):
    """Samples of a dataset that are stored together, such as its training split.

    Attributes:
        name: of its files.
        length: number of samples.
        samples: (first) -> samples and labels from that one on, in their order.
    """

    name: str
    length: int
    samples: Callable[[int], Iterator[tuple[np.ndarray, int]]]


class Stored(NamedTuple):
    """A part that is on the disk."""

    rows: Rows
    labels: np.ndarray  # [M] int32


def stored(
    folder: Path,
    name: str,
    parts: Sequence[Part],
    shape: tuple[int, ...],
    dtype: Any = np.uint8,
) -> dict[str, Stored]:
    """The parts of a dataset in a folder, which is built if it is not there.

    Whoever else builds it is waited for. A store is trusted only if the hashes of all
    files are those of its manifest; otherwise it is built anew, and says so.

    Args:
        folder: of the store; its name identifies what the samples are decoded from.
        name: of the dataset in messages; escape it before.
        parts: what it has.
        shape, dtype: of a sample.

    Raises:
        UserError: a sample cannot be decoded, or the disk refuses or has no room. What
            is decoded so far is kept, and the next start goes on from there.
    """
    dtype = np.dtype(dtype)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, name):
            there = _open(folder, name, parts, shape, dtype)
            if there is None:
                _Builder(folder, parts, shape, dtype).build(name)
                there = _open(folder, name, parts, shape, dtype)
    except OSError as error:
        raise _no_room(folder, reason(error)) from error
    if there is None:
        raise UserError(
            f"{shown(folder)} changes while it is read: leave it alone, or set "
            "JAXDD_CACHE to another folder"
        )
    return there


def _no_room(folder: Path, why: str) -> UserError:
    return UserError(
        f"decoded images cannot be written to {shown(folder)} ({why}): free the disk, "
        "set JAXDD_CACHE to a folder on another one, or give --stream=never if memory "
        "holds them"
    )


@contextlib.contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Wait until no other process builds the store."""
    if fcntl is None:
        yield
        return
    with open(folder / _LOCK, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"another program decodes {name}: waiting for it")
            # A file system without locks does not wait; its builders do not mix, since
            # a store is complete only when its hashes agree.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(
    folder: Path,
    name: str,
    parts: Sequence[Part],
    shape: tuple[int, ...],
    dtype: np.dtype,
) -> dict[str, Stored] | None:
    """The parts of a complete store; None if it is not there, or not to be trusted."""
    if not is_there(folder / _MANIFEST):
        return None
    try:
        manifest = read_json(folder / _MANIFEST, _SCHEMA, _AGAIN)
        return {
            part.name: _checked(folder, part, manifest, shape, dtype) for part in parts
        }
    except UserError as error:
        say(f"the decoded images of {name} cannot be used ({error}): {_AGAIN}")
        for path in folder.iterdir():
            if path.name != _LOCK:
                path.unlink()
        return None


def _checked(
    folder: Path,
    part: Part,
    manifest: Mapping[str, Any],
    shape: tuple[int, ...],
    dtype: np.dtype,
) -> Stored:
    """A part whose files have the hashes of the manifest.

    Raises:
        UserError: they do not.
    """
    entry = manifest["parts"].get(part.name)
    expected = (str(dtype), list(shape), part.length)
    if entry is None or expected != (
        manifest["dtype"], manifest["shape"], entry["count"],
    ):  # fmt: skip
        raise UserError("its manifest is of other samples")
    path = folder / f"{part.name}.rows"
    file = RowFile(path, part.length, shape, dtype, f"{folder.name}/{entry['rows']}")
    labels = RowFile(folder / f"{part.name}.labels", part.length, (), _INT, "")
    for opened, wanted in ((file, entry["rows"]), (labels, entry["labels"])):
        if _hash(opened) != wanted:
            raise UserError(f"{shown(opened.path)} has other content than it was given")
    return Stored(Rows(file), Rows(labels)[:])


def _hash(file: RowFile) -> str:
    """SHA-256 (hex) of a file that is already open."""
    digest = hashlib.sha256()
    each = max(1, BLOCK // file.row_bytes)
    buffer = memoryview(bytearray(each * file.row_bytes))
    for first in range(0, file.count, each):
        part = buffer[: min(each, file.count - first) * file.row_bytes]
        file.read(first, part)
        digest.update(part)
    return digest.hexdigest()


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


class _Builder:
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
        self.done = dict.fromkeys((x.name for x in parts), 0)

    def build(self, name: str) -> None:
        self._go_on()
        total, begun = sum(x.length for x in self.parts), sum(self.done.values())
        missing = (total - begun) * (self.row_bytes + _INT.itemsize)
        free = shutil.disk_usage(self.folder).free - SPARE
        if missing > free:
            there = size_text(max(free, 0))
            why = f"they take {size_text(missing)} and {there} are free"
            raise _no_room(self.folder, why)
        place = f"{shown(self.folder)}, {size_text(total * self.row_bytes)}"
        with Stage(f"decoding {name}", total, place, "image") as stage:
            count = _Count(stage, begun, total)
            for part in self.parts:
                self._write(part, count)
        entries = {part.name: self._entry(part) for part in self.parts}
        with whole_file(self.folder / _MANIFEST) as file:
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
        (self.folder / _PROGRESS).unlink(missing_ok=True)

    def _go_on(self) -> None:
        """Take over what an earlier start has surely written."""
        if not is_there(self.folder / _PROGRESS):
            return
        with contextlib.suppress(UserError):
            before = read_json(self.folder / _PROGRESS, _DONE, _AGAIN)
            for part in self.parts:
                rows, labels = self._paths(part)
                with contextlib.suppress(OSError):
                    there = min(
                        before.get(part.name, 0),
                        rows.stat().st_size // self.row_bytes,
                        labels.stat().st_size // _INT.itemsize,
                        part.length,
                    )
                    self.done[part.name] = there

    def _paths(self, part: Part) -> tuple[Path, Path]:
        return self.folder / f"{part.name}.rows", self.folder / f"{part.name}.labels"

    def _write(self, part: Part, count: "_Count") -> None:
        done = self.done[part.name]
        paths = self._paths(part)
        for path, size in zip(paths, (self.row_bytes, _INT.itemsize), strict=True):
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
                with contextlib.suppress(OSError):
                    self._save(part, written, rows, labels)

    def _save(self, part: Part, written: int, *files: IO) -> None:
        for file in files:
            file.flush()
            os.fsync(file.fileno())
        self.done[part.name] = written
        with whole_file(self.folder / _PROGRESS) as record:
            record.write(to_json(self.done))

    def _entry(self, part: Part) -> dict[str, Any]:
        rows, labels = self._paths(part)
        return {
            "count": part.length,
            "rows": _hash(RowFile(rows, part.length, self.shape, self.dtype, "")),
            "labels": _hash(RowFile(labels, part.length, (), _INT, "")),
        }
