"""MNIST and Fashion-MNIST: images and labels in gzipped IDX files."""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxdd.errors import UserError
from jaxdd.preparing.content import Content, Example, Part, png
from jaxdd.storage.paths import reason, shown

_LARGEST = 2**31  # bytes of an array
_BYTES = 8  # IDX's code of unsigned bytes


def read(paths: Sequence[Path]) -> Content:
    """The two splits.

    Args:
        paths: images and labels for training, then images and labels for testing.

    Raises:
        UserError: a file is damaged, or images and labels differ in number.
    """
    train_images, train_labels, test_images, test_labels = paths
    return Content(
        {
            "train": _part(train_images, train_labels),
            "test": _part(test_images, test_labels),
        },
        {},
    )


def _part(images_file: Path, labels_file: Path) -> Part:
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    if len(images) != len(labels):
        raise UserError(
            f"{shown(images_file)} has {len(images)} images, but {shown(labels_file)} "
            f"has {len(labels)} labels: give files that belong together"
        )

    def examples() -> Iterator[Example]:
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield i, {"image": png(image[..., None]), "label": int(label)}

    return Part(len(images), examples())


def read_idx(path: Path, rank: int) -> np.ndarray:
    """The array of unsigned bytes in a gzipped IDX file.

    Args:
        path: the file.
        rank: number of axes that it has to have.

    Raises:
        UserError: it is damaged, or holds something else.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     content = b"\\0\\0\\x08\\x01" + b"\\0\\0\\0\\x03" + bytes([7, 2, 1])
        ...     _ = file.write(gzip.compress(content))
        ...     file.flush()
        ...     print(read_idx(Path(file.name), 1))
        [7 2 1]
    """
    try:
        with gzip.open(path, "rb") as file:
            zero, code, axes = struct.unpack(">HBB", file.read(4))
            if (zero, code, axes) != (0, _BYTES, rank):
                raise ValueError(f"it is no IDX file of {rank} axes of bytes")
            shape = struct.unpack(f">{rank}I", file.read(4 * rank))
            size = math.prod(shape)
            if size > _LARGEST:
                raise ValueError(f"it declares the shape {shape}")
            content = file.read(size)
            if len(content) != size or file.read(1):
                raise ValueError(f"it does not have the declared shape {shape}")
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise UserError(
            f"{shown(path)} cannot be read ({reason(error)}): fetch it again"
        ) from error
    return np.frombuffer(content, np.uint8).reshape(shape)
