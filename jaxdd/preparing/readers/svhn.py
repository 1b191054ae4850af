"""SVHN, cropped: a file of MATLAB (version 5) per split."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from jaxdd.errors import UserError
from jaxdd.preparing.content import Content, Example, Part, png
from jaxdd.storage.paths import reason, shown


def read(paths: Sequence[Path]) -> Content:
    """The splits `train` and `test`.

    Args:
        paths: the file of each.

    Raises:
        UserError: a file is damaged, or does not have SVHN's arrays.
    """
    train, test = paths
    return Content({"train": _part("train", train), "test": _part("test", test)}, {})


def _part(split: str, path: Path) -> Part:
    try:
        arrays = loadmat(path, variable_names=["X", "y"])
        images, labels = arrays["X"], arrays["y"]
    except Exception as error:  # a damaged file can raise almost anything
        raise UserError(
            f"{shown(path)} cannot be read ({reason(error)}): fetch it again"
        ) from error
    if images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3) or images.ndim != 4:
        raise UserError(
            f"{shown(path)} has images of {images.dtype} and shape {images.shape}, not "
            "uint8 [32, 32, 3, M]: fetch it again"
        )
    if labels.size != images.shape[3] or not np.isin(labels, range(1, 11)).all():
        raise UserError(
            f"{shown(path)} does not have a label from 1 to 10 for each of its "
            f"{images.shape[3]} images: fetch it again"
        )

    def examples() -> Iterator[Example]:
        # The digit 0 is stored as 10.
        digits = (labels.reshape(-1).astype(int) % 10).tolist()
        for i, digit in enumerate(digits):
            image = np.ascontiguousarray(images[..., i])
            yield i, {"id": f"{split}_{i:06d}", "image": png(image), "label": digit}

    return Part(len(labels), examples())
