"""The ZCA whitening of a dataset: its matrix, fitted to whole images or to blocks."""

import numpy as np

from jaxdd.data.preprocess import ROWS, Preprocess, unit
from jaxdd.data.streaming.rows import HostArray, blocks
from jaxdd.data.whitening import side_for, to_rows
from jaxdd.errors import UserError

EPS = 0.1  # of MTT and its successors


def fit_zca(
    images: HostArray, eps: float | int = EPS, block: int | None = None
) -> Preprocess:
    """ZCA whitening as used by MTT and its successors (kornia's ZCAWhitening).

    With the unbiased covariance U diag(s) U' of the flattened images, the matrix is
    U diag(1 / sqrt(s + eps)) U' and its inverse U diag(sqrt(s + eps)) U'.

    Needs D x D float64 arrays with D = H * W * C, and the eigendecomposition of one.
    With `block` D is block * block * C: images are cut into squares, and one covariance
    is fitted to those of all places, each less the mean of its place, as in FRePo (its
    official code, at 128 pixels). One matrix is small enough to be stored, sees more
    samples than one for each place, and treats all places alike.

    Args:
        images: [M, H, W, C] uint8 or float32, the training images.
        eps: added to the eigenvalues.
        block: side of the blocks in pixels, a divisor of H and W; None for whole images
            of whatever size.

    Raises:
        UserError: eps is not positive, there are fewer than two images, or blocks do
            not fill them.

    Example:
        >>> images = np.random.default_rng(0).random((50, 8, 8, 1), np.float32)
        >>> fit_zca(images).matrix.shape, fit_zca(images, block=4).matrix.shape
        ((64, 64), (16, 16))
    """
    if eps <= 0:
        raise UserError(f"eps of the ZCA whitening must be positive, but is {eps}")
    if len(images) < 2:
        raise UserError(
            f"ZCA whitening needs at least 2 training images, but got {len(images)}"
        )
    side = None if block is None else side_for(images.shape[1:], block)
    total = np.zeros(images.shape[1:])
    for chunk in blocks(images, ROWS):
        total += unit(chunk).sum(0, dtype=np.float64)
    mean = (total / len(images)).astype(np.float32)
    values = mean.size if side is None else side * side * images.shape[-1]
    covariance, count = np.zeros((values, values)), 0
    for chunk in blocks(images, ROWS):
        centred = to_rows(unit(chunk) - mean, side)
        covariance += centred.T @ centred  # float32 products, float64 sum
        count += len(centred)
    places = count // len(images)
    s, u = np.linalg.eigh(covariance / (count - places))
    # Rounding may leave tiny negative eigenvalues.
    root = np.sqrt(np.maximum(s, 0) + eps)
    matrix, inverse = (u / root) @ u.T, (u * root) @ u.T
    return Preprocess(
        "zca" if side is None else "zca_blocks",
        mean.reshape(-1),
        matrix=matrix.astype(np.float32),
        inverse=inverse.astype(np.float32),
    )
