"""Images of a set in a page, each a PNG of its own, so that a row wraps on a phone."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from jaxdd.errors import UserError
from jaxdd.report.page import data_uri, escaped

LARGE = 96  # pixels: larger images are averaged down by a whole factor
CELL = 48  # pixels: smaller ones are enlarged to about this, by a whole factor
PIXELS = 2_000_000  # of all images of a grid: about 8 MB of a page
PER_CLASS, CLASSES = 20, 200  # most images of a row, most rows


def shrunk(images: ArrayLike) -> NDArray[np.uint8]:
    """Images [n, H, W, C] in [0, 1] (clipped) as bytes, none above 96 pixels.

    Larger ones are averaged down by a whole factor. One or two channels become grey,
    of more than three the first three are kept.

    Returns:
        [n, h, w, 1 or 3] uint8.

    Raises:
        UserError: the shape is another one.

    Example:
        >>> shrunk(np.ones((2, 200, 100, 1))).shape
        (2, 66, 33, 1)
    """
    array = np.asarray(images)
    if array.ndim != 4 or 0 in array.shape[1:]:
        raise UserError(
            f"images of a page are [n, H, W, C], none of the last three 0, not "
            f"{array.shape}"
        )
    count, height, width, _ = array.shape
    factor = -(-max(height, width) // LARGE)
    down, across = min(factor, height), min(factor, width)
    h, w = height // down, width // across
    small = np.empty((count, h, w, 1 if array.shape[-1] < 3 else 3), np.uint8)
    for target, image in zip(small, array, strict=True):  # all at once may be large
        values = np.clip(np.nan_to_num(np.asarray(image, dtype=float)), 0, 1)
        channels = values[..., :3]
        if values.shape[-1] < 3:
            channels = values.mean(axis=-1, keepdims=True)
        blocks = channels[: h * down, : w * across].reshape(h, down, w, across, -1)
        target[...] = np.round(255 * blocks.mean(axis=(1, 3))).astype(np.uint8)
    return small


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG of one image [h, w, 1 or 3].

    Example:
        >>> png(np.zeros((2, 2, 1), np.uint8))[:4]
        b'\\x89PNG'
    """
    file = io.BytesIO()
    grey = image.shape[-1] == 1
    Image.fromarray(image[..., 0] if grey else image).save(file, "PNG", optimize=True)
    return file.getvalue()


def tiles(images: NDArray[np.uint8], text: str) -> str:
    """Images [n, h, w, 1 or 3] in a row that wraps, with one text for all of them."""
    if not len(images):
        return '<div class="tiles"></div>'
    height, width = images.shape[1:3]
    zoom = max(1, round(CELL / max(height, width)))
    size = f'width="{width * zoom}" height="{height * zoom}"'
    row = "".join(f'<img src="{data_uri(png(x))}" {size} alt="">' for x in images)
    return f'<div class="tiles" role="img" aria-label="{escaped(text)}">{row}</div>'


def grid(images: ArrayLike, class_names: Sequence[str]) -> tuple[str, str]:
    """The images of a set, one row per class; single ones lie side by side.

    Args:
        images: [K, n, H, W, C] in [0, 1].
        class_names: K names.

    Returns:
        (HTML, a sentence about what is left out or nothing).

    Raises:
        UserError: the shape is another one, or there is not one name per class.
    """
    array = np.asarray(images)
    if array.ndim != 5 or 0 in array.shape or len(class_names) != array.shape[0]:
        raise UserError(
            f"a grid of {len(class_names)} classes needs images [K, n, H, W, C], none "
            f"of them 0, not {array.shape}"
        )
    classes, count = array.shape[:2]
    pixels = int(np.prod(shrunk(array[0, :1]).shape))
    rows = min(classes, CLASSES, max(1, PIXELS // pixels))
    columns = min(count, PER_CLASS, max(1, PIXELS // (rows * pixels)))
    cells = []
    for name, group in zip(class_names[:rows], array, strict=False):
        row = tiles(shrunk(group[:columns]), f"images of the class {name}")
        named = f'<div class="name">{escaped(name)}</div>'
        cells.append(f"<div>{row}{named}</div>" if columns == 1 else named + row)
    notes = []
    if rows < classes:
        notes.append(f"the first {rows} of {classes} classes")
    if columns < count:
        notes.append(f"the first {columns} of {count} images of a class")
    left_out = f"The page shows {' and '.join(notes)}." if notes else ""
    layout = "singles" if columns == 1 else "rows"
    return f'<div class="{layout}">{"".join(cells)}</div>', left_out
