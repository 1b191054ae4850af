"""CIFAR-10 and CIFAR-100: an archive of binary files, or one of Python's pickles.

TFDS reads the binary archive. The pickles hold the same images in the same order; they
are read by the reader that admits arrays, lists, numbers and nothing else.
"""

import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdd.errors import UserError
from jaxdd.exchange.pickles import plain, read_pickle
from jaxdd.preparing.content import Content, Example, Part, png
from jaxdd.storage.paths import reason, shown

_SIDE, _CHANNELS = 32, 3
_PIXELS = _CHANNELS * _SIDE**2
_LARGEST = 2**29  # bytes of a file in the archive
_PICKLE_BYTES = 2**28


class _Form(NamedTuple):
    """Where an archive has what; labels come in the order of TFDS's features."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: dict[str, str]  # file, or key of the file `meta`, of each label's classes
    labels: dict[str, str]  # key of each label in a pickle; in a binary its order
    meta: str = ""  # the pickle with the names of classes


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_FORMS = (
    _Form(
        "cifar-10-batches-bin",
        tuple(f"{x}.bin" for x in _BATCHES),
        ("test_batch.bin",),
        {"label": "batches.meta.txt"},
        {"label": ""},
    ),
    _Form(
        "cifar-100-binary",
        ("train.bin",),
        ("test.bin",),
        {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"},
        {"coarse_label": "", "label": ""},
    ),
    _Form(
        "cifar-10-batches-py",
        _BATCHES,
        ("test_batch",),
        {"label": "label_names"},
        {"label": "labels"},
        "batches.meta",
    ),
    _Form(
        "cifar-100-python",
        ("train",),
        ("test",),
        {"coarse_label": "coarse_label_names", "label": "fine_label_names"},
        {"coarse_label": "coarse_labels", "label": "fine_labels"},
        "meta",
    ),
)


def read(paths: Sequence[Path]) -> Content:
    """The two splits of CIFAR-10 or CIFAR-100.

    Args:
        paths: the one archive.

    Raises:
        UserError: the archive is damaged, lacks a file, or holds what is no CIFAR.
    """
    (path,) = paths
    try:
        files = _members(path)
        form = next((x for x in _FORMS if f"{x.folder}/{x.train[0]}" in files), None)
        if form is None:
            raise ValueError("it has no folder of CIFAR")
        parts = {
            split: _part(split, names, files, form)
            for split, names in (("train", form.train), ("test", form.test))
        }
        return Content(parts, _names(files, form))
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise UserError(
            f"{shown(path)} cannot be read ({reason(error)}): fetch it again"
        ) from error


def _members(path: Path) -> dict[str, bytes]:
    """The files of an archive that a form names, read in one pass."""
    pattern = re.compile(rf"(?:{'|'.join(x.folder for x in _FORMS)})/[\w.]+")
    files = {}
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            if member.isfile() and pattern.fullmatch(member.name):
                if member.size > _LARGEST:
                    raise ValueError(f"{member.name} declares {member.size} bytes")
                content = archive.extractfile(member)
                assert content is not None
                files[member.name] = content.read()
    return files


def _file(files: dict[str, bytes], form: _Form, name: str) -> bytes:
    if f"{form.folder}/{name}" not in files:
        raise ValueError(f"{form.folder}/{name} is lacking")
    return files[f"{form.folder}/{name}"]


def _part(
    split: str, names: Sequence[str], files: dict[str, bytes], form: _Form
) -> Part:
    read_one = _pickled if form.meta else _binary
    read_all = [read_one(_file(files, form, name), form) for name in names]
    images = np.concatenate([x for x, _ in read_all])
    labels = np.concatenate([y for _, y in read_all])

    def examples() -> Iterator[Example]:
        for i, (image, row) in enumerate(zip(images, labels, strict=True)):
            by_feature = dict(zip(form.labels, map(int, row), strict=True))
            yield i, {"id": f"{split}_{i:05d}", "image": png(image), **by_feature}

    return Part(len(images), examples())


def _binary(content: bytes, form: _Form) -> tuple[np.ndarray, np.ndarray]:
    """Images [M, 32, 32, 3] uint8 and labels [M, L] of a binary file."""
    labels = len(form.labels)
    if not content or len(content) % (labels + _PIXELS):
        raise ValueError(f"{len(content)} bytes are no whole number of images")
    rows = np.frombuffer(content, np.uint8).reshape(-1, labels + _PIXELS)
    return _as_images(rows[:, labels:]), rows[:, :labels]


def _pickled(content: bytes, form: _Form) -> tuple[np.ndarray, np.ndarray]:
    """Images [M, 32, 32, 3] uint8 and labels [M, L] of a pickle."""
    batch = _dict(content)
    rows = batch.get("data")
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8:
        raise ValueError("a pickle has no images")
    if rows.ndim != 2 or rows.shape[1] != _PIXELS:
        raise ValueError(f"a pickle has images of shape {rows.shape}")
    labels = []
    for key in form.labels.values():
        column = batch.get(key)
        if not isinstance(column, list) or len(column) != len(rows):
            raise ValueError(f"a pickle has no {key!r} for each of its images")
        if not all(type(y) is int and 0 <= y < 256 for y in column):
            raise ValueError(f"{key!r} are no labels")
        labels.append(column)
    return _as_images(rows), np.array(labels, np.uint8).T


def _dict(content: bytes) -> dict[str, Any]:
    value = plain(read_pickle(content, most=_PICKLE_BYTES)[0], _no_tensors)
    if not isinstance(value, dict):
        raise ValueError("a pickle holds no dict")
    # Python 2 wrote the keys as bytes, newer copies write them so as well.
    return {_text(key): entry for key, entry in value.items()}


def _no_tensors(tensor: Any) -> np.ndarray:
    raise ValueError("a pickle holds a tensor")


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _as_images(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(-1, _CHANNELS, _SIDE, _SIDE).transpose(0, 2, 3, 1)


def _names(files: dict[str, bytes], form: _Form) -> dict[str, list[str]]:
    """The names of classes by label feature."""
    if form.meta:
        meta = _dict(_file(files, form, form.meta))
        lists = {label: meta.get(key) for label, key in form.names.items()}
        if not all(isinstance(x, list) for x in lists.values()):
            raise ValueError(f"{form.folder}/{form.meta} has no names of classes")
        return {
            label: [_text(name) for name in names or []]
            for label, names in lists.items()
        }
    return {
        label: [x for x in _text(_file(files, form, name)).split("\n") if x.strip()]
        for label, name in form.names.items()
    }
