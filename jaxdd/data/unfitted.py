"""A whitening without its matrices, which are fitted again to the training data."""

import math
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from jaxdd.data.preprocess import Preprocess, digest_of
from jaxdd.data.streaming.rows import HostArray
from jaxdd.data.whitening import cost
from jaxdd.data.zca import EPS, fit_zca
from jaxdd.errors import UserError, quoted
from jaxdd.progress import say

# Share of the products' norm. On CIFAR-10 sums in another order move them by 2e-7 of
# it, another tenth held out by 2e-3, an eps of 0.101 by 5e-3.
_CLOSE = 1e-4
_MEAN = 1e-5  # of pixels in [0, 1]; another tenth held out moves it by 2e-3
_ROUNDS = 30  # of the power method
_LONG = 1000  # values of a row, from which on a fit takes longer than moments


@dataclass(frozen=True, eq=False)
class Unfitted:
    """A whitening of images that is known, and not fitted: it maps nothing yet.

    The two matrices of a whitening of D values take 8 D^2 bytes, 75 MB for images of
    CIFAR-10, and follow from the training images and `eps`. Products of each with a
    fixed vector tell whether matrices that are fitted again are the same.

    Attributes:
        kind: "zca" or "zca_blocks", as of `Preprocess`.
        mean: [D] float32, of the training images, on the [0, 1] scale.
        eps: added to the eigenvalues.
        products: [2, d] float32: of the matrix and of its inverse, both [d, d], with
            `probe(d)`.
    """

    kind: str
    mean: np.ndarray
    eps: float
    products: np.ndarray

    def fit(self, images: HostArray) -> Preprocess:
        """The whitening, fitted again.

        On one machine, by as many threads, the same images give the same bits. How
        long it takes is said where that is more than moments.

        Args:
            images: [M, H, W, C] uint8 or float32, the training images.

        Raises:
            UserError: the images have another shape, or give another whitening.

        Example:
            >>> images = np.random.default_rng(0).random((50, 8, 8, 1), np.float32)
            >>> fitted = fit_zca(images)
            >>> again = unfitted(fitted).fit(images)
            >>> bool((again.matrix == fitted.matrix).all())
            True
        """
        values, shape = self.products.shape[1], images.shape[1:]
        if math.prod(shape) != len(self.mean):
            raise UserError(
                f"images of shape {shape} do not fit a whitening of {len(self.mean)} "
                "values per image: use that of their own dataset"
            )
        side = self.block(shape)
        if values >= _LONG:
            rows = len(images) * len(self.mean) // values
            say(f"fitting the whitening again: about {cost(values, rows)}")
        fitted = fit_zca(images, self.eps, side)
        self.check(fitted)
        return fitted

    def check(self, whitening: Preprocess) -> None:
        """Refuse another whitening than this one.

        Raises:
            UserError: it is another one by more than rounding.
        """
        if not self.agrees(whitening):
            raise UserError(
                "the whitening of this slim set is another one than that of these "
                "training data: give the data, all of them, that it was whitened by"
            )

    def agrees(self, whitening: Preprocess) -> bool:
        """Whether a whitening is this one, up to the rounding of machines."""
        if whitening.kind != self.kind or whitening.mean.shape != self.mean.shape:
            return False
        if len(whitening.matrix) != self.products.shape[1]:
            return False
        theirs = _products(whitening)
        distance = np.linalg.norm(theirs - self.products, axis=1)
        extent = np.linalg.norm(self.products, axis=1)
        near = np.abs(whitening.mean - self.mean).max() <= _MEAN
        return bool(near and (distance <= _CLOSE * extent).all())

    def block(self, shape: tuple[int, ...]) -> int | None:
        """As `Preprocess.block`."""
        if self.kind != "zca_blocks":
            return None
        return math.isqrt(self.products.shape[1] // shape[-1])

    def refuse(self) -> NoReturn:
        """Say what has to be done before anything can be mapped.

        Raises:
            UserError: always.
        """
        raise UserError(
            "this set is slim: its whitening has to be fitted again to its training "
            "data before this can be done; python -m experiments.convert "
            "--source=SET --dataset=NAME (and --data_dir) --out=FILE makes it whole"
        )

    def apply(self, images: np.ndarray) -> NoReturn:
        """No image can be whitened: see `refuse`."""
        self.refuse()

    def invert(self, z: np.ndarray) -> NoReturn:
        """No pixels can be computed: see `refuse`."""
        self.refuse()

    def space(self) -> NoReturn:
        """There is no map: see `refuse`."""
        self.refuse()

    @property
    def digest(self) -> str:
        """A hash of what is known, 16 characters; that of the fitted map is another."""
        return digest_of(self.to_arrays())

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Its fields, for an .npz file without pickles."""
        return {
            "kind": np.array(self.kind),
            "mean": self.mean,
            "eps": np.array(self.eps, np.float64),
            "products": self.products,
        }


def unfitted(whitening: Preprocess, eps: float = EPS) -> Unfitted:
    """A whitening without its matrices.

    Args:
        whitening: of images.
        eps: by which it was fitted; a preprocessing does not say. A larger one shows
            only when the matrices are fitted again.

    Raises:
        UserError: it is no whitening, or was fitted by a smaller eps.

    Example:
        >>> images = np.random.default_rng(0).random((50, 8, 8, 1), np.float32)
        >>> unfitted(fit_zca(images, block=4)).products.shape
        (2, 16)
    """
    if whitening.kind == "affine":
        raise UserError(
            "this set is normalised, not whitened: it holds no matrices that could be "
            "left out"
        )
    if not (isinstance(eps, int | float) and math.isfinite(eps) and eps > 0):
        raise UserError(f"eps must be a positive number, not {quoted(eps)}")
    # No eigenvalue of the matrix is above 1 / sqrt(eps), whatever the data were.
    if _largest(whitening.matrix) > 1.001 / math.sqrt(eps):
        raise UserError(
            f"this set was whitened by an eps below {eps:g}, so that its matrices "
            "would not be found again: keep it whole, or give the eps in Python by "
            "jaxdd.slim(artifact, eps=...)"
        )
    return Unfitted(whitening.kind, whitening.mean, float(eps), _products(whitening))


def probe(values: int) -> np.ndarray:
    """The fixed vector, [values] float64: a constant, where images vary most, and more.

    Example:
        >>> probe(2).round(3).tolist()
        [2.0, 1.54]
    """
    return 1 + np.cos(np.arange(values, dtype=np.float64))


def _products(whitening: Preprocess) -> np.ndarray:
    by = probe(len(whitening.matrix))
    products = [matrix @ by for matrix in (whitening.matrix, whitening.inverse)]
    return np.stack(products).astype(np.float32)


def _largest(matrix: np.ndarray) -> float:
    """The largest eigenvalue of a symmetric matrix, from below: the power method."""
    vector = np.cos(np.arange(len(matrix), dtype=np.float64))
    for _ in range(_ROUNDS):
        vector = matrix @ (vector / np.linalg.norm(vector))
    return float(np.linalg.norm(vector))
