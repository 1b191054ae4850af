"""What a reader of archives gives: examples by split, and the names of classes."""

import io
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

# The key by which TFDS orders a record, and the record's features.
Example = tuple[int | str, dict[str, Any]]


class Part(NamedTuple):
    """One split: how many records it has, and each with its key, in any order."""

    records: int
    examples: Iterable[Example]


class Content(NamedTuple):
    """A dataset as its archives have it.

    Attributes:
        parts: the splits by the names that TFDS gives them.
        names: names of classes by label feature, where the archives have them.
    """

    parts: Mapping[str, Part]
    names: Mapping[str, list[str]]


def png(image: np.ndarray) -> bytes:
    """An image, [H, W, C] uint8 with C = 1 or 3, as a PNG file, which loses nothing.

    Example:
        >>> png(np.zeros((2, 2, 1), np.uint8))[1:4]
        b'PNG'
    """
    file = io.BytesIO()
    grey = image.shape[-1] == 1
    Image.fromarray(image[..., 0] if grey else image).save(file, "PNG")
    return file.getvalue()
