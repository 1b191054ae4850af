"""Decoded datasets on disk. The cache only saves time: nothing in it is an error."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxdd.data.dataset import Dataset, validate

_VERSION = "1"  # raise it when decoding changes, so that old entries are not read


def cache_file(name: str, sources: Sequence[Path]) -> Path:
    """Where the dataset decoded from `sources` belongs.

    The place depends on the path, size and modification time of every source, and on
    JAXDD_CACHE (default ~/.cache/jaxdd).

    Raises OSError if a source does not exist.
    """
    digest = hashlib.sha256(_VERSION.encode())
    for source in sources:
        stat = source.stat()
        digest.update(
            f"{source.resolve()}|{stat.st_size}|{stat.st_mtime_ns}\n".encode()
        )
    root = os.environ.get("JAXDD_CACHE") or "~/.cache/jaxdd"
    plain = "".join(c if c.isalnum() else "_" for c in name)
    return Path(root).expanduser() / f"{plain}-{digest.hexdigest()[:24]}.npz"


def read_cache(path: Path, name: str) -> Dataset | None:
    """The cached dataset; None if there is none or it is broken."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            dataset = Dataset(
                name=name,
                images=arrays["images"],
                labels=arrays["labels"],
                test_images=arrays["test_images"],
                test_labels=arrays["test_labels"],
                class_names=tuple(str(n) for n in arrays["class_names"]),
            )
        return validate(dataset)
    except Exception:  # a damaged zip archive can raise almost anything
        return None


def write_cache(path: Path, dataset: Dataset) -> None:
    """Store `dataset` whole or not at all; without a word if it cannot be stored."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            np.savez(
                file,
                images=dataset.images,
                labels=dataset.labels,
                test_images=dataset.test_images,
                test_labels=dataset.test_labels,
                class_names=np.array(dataset.class_names, dtype=np.str_),
            )
        os.replace(temporary, path)
        temporary = None
    except OSError:
        pass
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
