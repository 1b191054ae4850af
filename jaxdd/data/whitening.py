"""Images as rows that are whitened: whole ones, or blocks of them; and what it takes.

Whitening needs the eigenvectors of a covariance of all values of a row with each other.
That is feasible for images of 32x32 pixels; larger ones are whitened in square blocks.
"""

import math
from typing import TypeVar

import jax
import numpy as np

from jaxdd.errors import UserError
from jaxdd.modality import check_pixels, modality_of

LARGEST_WHOLE = 4096  # values of a sample that is whitened whole without being asked to
_ARRAYS = 5  # D x D float64 that are there at once, the eigensolver's own included
_EIGENVECTORS = 13  # x D^3 operations: the solver, and the products by the vectors
_SPEED = 3.3e10  # operations per second: CIFAR-10 took 37 s on two CPU cores

A = TypeVar("A", np.ndarray, jax.Array)


def to_rows(samples: A, side: int | None) -> A:
    """The rows that are whitened.

    Args:
        samples: [M, H, W, C], or of any shape [M, ...] where they are whole.
        side: of the blocks, in pixels, a divisor of H and W; None for whole samples.

    Returns:
        [M * P, side * side * C], the P blocks of a sample row by row of its pixels; or
        [M, D].

    Example:
        >>> to_rows(np.arange(16).reshape(1, 4, 4, 1), 2)[1].tolist()
        [2, 3, 6, 7]
    """
    if side is None:
        return samples.reshape(len(samples), -1)
    count, height, width, channels = samples.shape
    tiles = samples.reshape(
        count, height // side, side, width // side, side, channels
    ).swapaxes(2, 3)
    return tiles.reshape(-1, side * side * channels)


def from_rows(rows: A, shape: tuple[int, ...], side: int | None) -> A:
    """The inverse of `to_rows`.

    Args:
        rows: as `to_rows` returns them.
        shape: of the samples, [M, ...].
        side: as in `to_rows`.

    Example:
        >>> images = np.arange(16).reshape(1, 4, 4, 1)
        >>> bool((from_rows(to_rows(images, 2), images.shape, 2) == images).all())
        True
    """
    if side is None:
        return rows.reshape(shape)
    count, height, width, channels = shape
    tiles = rows.reshape(count, height // side, width // side, side, side, channels)
    return tiles.swapaxes(2, 3).reshape(shape)


def side_for(shape: tuple[int, ...], asked: int | None) -> int | None:
    """The blocks in which samples are whitened; None for whole ones.

    Args:
        shape: of a sample.
        asked: the side of blocks in pixels, as `--zca_blocks` says. A block as large as
            the image is the whole image.

    Raises:
        UserError: blocks do not fill the image, or none are asked for and the sample
            has more values than `LARGEST_WHOLE`.

    Example:
        >>> side_for((64, 64, 3), 32), side_for((32, 32, 3), None)
        (32, None)
    """
    if asked is None:
        _check_whole(shape)
        return None
    check_pixels(f"--zca_blocks={asked}", shape)
    height, width = shape[:2]
    if height % asked or width % asked:
        raise UserError(
            f"--zca_blocks={asked} does not divide images of {height}x{width} pixels: "
            f"give a divisor of {math.gcd(height, width)}"
        )
    return None if (height, width) == (asked, asked) else asked


def cost(values: int, rows: int) -> str:
    """Memory and time of whitening, in words.

    Args:
        values: D, of a row.
        rows: how many the covariance is fitted to.

    Example:
        >>> cost(3072, 50_000)
        '0.4 GB (5 arrays of 3072 x 3072 float64) and 1 minute'
    """
    size = _ARRAYS * 8 * values**2 / 1e9
    work = 2 * rows * values**2 + _EIGENVECTORS * values**3
    minutes = max(1, round(work / _SPEED / 60))
    return (
        f"{size:.1f} GB ({_ARRAYS} arrays of {values} x {values} float64) and "
        f"{minutes} minute{'' if minutes == 1 else 's'}"
    )


def _check_whole(shape: tuple[int, ...]) -> None:
    """Refuse to whiten large samples whole, unless a block of their size is asked for.

    Raises:
        UserError: the sample is large.
    """
    values = math.prod(shape)
    if values <= LARGEST_WHOLE:
        return
    taken = f"--zca of samples of {values} values takes about {cost(values, 10**5)} for"
    if not modality_of(shape).pixels:
        raise UserError(f"{taken} 100000 samples: leave it out")
    height, width, channels = shape
    common = math.gcd(height, width)
    fitting = [
        n
        for n in range(1, common + 1)
        if common % n == 0 and n * n * channels <= LARGEST_WHOLE
    ]
    whole = f", {common} to whiten them whole all the same" if height == width else ""
    raise UserError(
        f"{taken} 100000 images of {height}x{width}: give --zca_blocks={fitting[-1]} "
        f"to whiten them in blocks of so many pixels a side{whole}, or --nozca"
    )
