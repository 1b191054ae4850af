"""Decoded datasets on disk. The cache only saves time, so its failures are ignored."""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxdd.data.dataset import Dataset, validate
from jaxdd.data.streaming.places import cache_folder
from jaxdd.errors import UserError
from jaxdd.storage.arrays import Member, read_arrays
from jaxdd.storage.files import remove_abandoned, whole_file

_VERSION = "2"  # raise it when decoding changes, so that old entries are not read
# The cache writes uncompressed arrays.
_IMAGES = Member("uf", 4, 2**40)
_LABELS = Member("i", 1, 2**32)
_MEMBERS = {
    "images": _IMAGES,
    "labels": _LABELS,
    "test_images": _IMAGES,
    "test_labels": _LABELS,
    "class_names": Member("U", 1, 2**32),
}


def digest_of(sources: Sequence[Path], form: str = "") -> str:
    """A hash of what a dataset is decoded from, hexadecimal.

    It depends on the form, and on the path, size and modification time of every source
    (of a source that cannot be examined, on the path alone).

    Args:
        sources: files that the dataset is decoded from.
        form: text that identifies the form to which images are converted.
    """
    digest = hashlib.sha256(f"{_VERSION}|{form}|".encode())
    for source in sources:
        digest.update(os.fsencode(os.path.realpath(source)))
        with contextlib.suppress(OSError):  # such as a link that leads nowhere
            stat = source.stat()
            digest.update(f"|{stat.st_size}|{stat.st_mtime_ns}".encode())
        digest.update(b"\n")
    return digest.hexdigest()


def cache_file(name: str, digest: str) -> Path | None:
    """The path of a decoded dataset in the cache; None if there is no cache folder.

    Args:
        name: name of the dataset.
        digest: of what it is decoded from.
    """
    plain = "".join(c if c.isalnum() else "_" for c in name)
    try:
        return cache_folder() / f"{plain}-{digest[:24]}.npz"
    except UserError:  # such as no home folder
        return None


def read_cache(path: Path | None, name: str) -> Dataset | None:
    """The cached dataset; None if it is missing or broken."""
    if path is None:
        return None
    try:
        arrays = read_arrays(path, _MEMBERS, "it is decoded again")
        dataset = Dataset(
            name=name,
            images=arrays["images"],
            labels=arrays["labels"],
            test_images=arrays["test_images"],
            test_labels=arrays["test_labels"],
            class_names=tuple(str(n) for n in arrays["class_names"]),
        )
        return validate(dataset)
    except UserError:
        return None


def write_cache(path: Path | None, dataset: Dataset) -> None:
    """Store the dataset atomically; failures are ignored, the cache is optional."""
    if path is None:
        return
    with contextlib.suppress(OSError, UserError):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent)
        with whole_file(path, "wb") as file:
            np.savez(
                file,
                images=dataset.images,
                labels=dataset.labels,
                test_images=dataset.test_images,
                test_labels=dataset.test_labels,
                class_names=np.array(dataset.class_names, dtype=np.str_),
            )
