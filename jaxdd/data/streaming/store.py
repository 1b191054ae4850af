"""Files of rows on disk: built once from decoded samples, checked, opened.

A store is a folder with NAME.rows and NAME.labels for every part of a dataset, and
`manifest.json`, which is written last: without it the store is incomplete, and its
building (`building`) goes on.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.data.streaming.building import (
    AGAIN,
    INT,
    MANIFEST,
    VERSION,
    Builder,
    Part,
    Stored,
    files_of,
    no_room,
    part_schema,
    remove,
)
from jaxdd.data.streaming.imagining import imagine, imagining
from jaxdd.data.streaming.rows import BLOCK, RowFile, Rows
from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.storage.paths import is_there, reason, shown
from jaxdd.storage.records import integer, list_of, mapping, read_json, text

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LOCK = ".lock"
_SCHEMA = mapping(
    version=integer(VERSION, VERSION),
    dtype=text(16),
    shape=list_of(integer(1), 1, 3),
    parts=mapping(others=part_schema(1)),
)


def stored(
    folder: Path,
    name: str,
    parts: Sequence[Part],
    shape: tuple[int, ...],
    dtype: Any = np.uint8,
) -> dict[str, Stored]:
    """The parts of a dataset in a folder, which is built if it is not there.

    Whoever else builds it is waited for. A store is trusted only if the hashes of all
    files are those of its manifest; otherwise it is built anew, and says so. Where
    stores are `imagining.imagined`, nothing is built or deleted.

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
    if imagining():
        whole = _open(folder, name, parts, shape, dtype)
        return whole or imagine(folder, name, parts, shape, dtype)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, name):
            there = _open(folder, name, parts, shape, dtype)
            if there is None:
                Builder(folder, parts, shape, dtype).build(name)
                there = _open(folder, name, parts, shape, dtype)
    except OSError as error:
        raise no_room(folder, reason(error)) from error
    if there is None:
        raise UserError(
            f"{shown(folder)} changes while it is read: leave it alone, or set "
            "JAXDD_CACHE to another folder"
        )
    return there


@contextlib.contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Wait until no other process builds the store."""
    if fcntl is None:
        yield
        return
    handle = _lock_handle(folder)
    if handle is None:
        yield
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"another program decodes {name}: waiting for it")
            # A file system without locks does not wait; its builders do not mix, since
            # a store is complete only when its hashes agree.
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _lock_handle(folder: Path) -> int | None:
    """The open lock; None of a folder that is only read, where nobody builds."""
    try:
        # Without waiting, should it be a pipe.
        return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return None
        raise


def _open(
    folder: Path,
    name: str,
    parts: Sequence[Part],
    shape: tuple[int, ...],
    dtype: np.dtype,
) -> dict[str, Stored] | None:
    """The parts of a complete store; None if it is not there, or not to be trusted."""
    if not is_there(folder / MANIFEST):
        return None
    try:
        manifest = read_json(folder / MANIFEST, _SCHEMA, AGAIN)
        return {
            part.name: _checked(folder, part, manifest, shape, dtype) for part in parts
        }
    except UserError as error:
        say(f"the decoded images of {name} cannot be used ({error}): {AGAIN}")
        for path in () if imagining() else files_of(folder, parts):
            remove(path)
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
    labels = RowFile(folder / f"{part.name}.labels", part.length, (), INT, "")
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
