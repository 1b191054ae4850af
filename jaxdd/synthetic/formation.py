"""Several training images in one stored image (IDC)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError, quoted
from jaxdd.modality import check_pixels
from jaxdd.types import Array

KINDS = ("single", "multi", "bound")


@dataclass(frozen=True)
class Formation:
    """The training images in a stored image (IDC's multi-formation).

    Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization",
    ICML 2022, section 4; the kinds are those of its official code.

    Attributes:
        factor: f. A stored image is cut into f x f tiles, each scaled up to full size.
        kind: "single" for these f^2 images; "multi" for those of all factors 1 ... f;
            "bound" for the largest factors that keep a class within `limit` images.
        limit: largest number of training images per class with "bound".

    Raises:
        UserError: the kind is unknown, or the factor is below 1.

    Example:
        >>> Formation(2).grid(stored=10), Formation(3, "bound").grid(stored=20)
        (((10, 2),), ((12, 3), (3, 2), (5, 1)))
    """

    factor: int = 1
    kind: str = "single"
    limit: int = 128

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UserError(
                f"unknown formation {quoted(self.kind)}: choose one of "
                f"{', '.join(KINDS)}"
            )
        if self.factor < 1:
            raise UserError(f"the factor must be at least 1, not {self.factor}")

    def grid(self, stored: int) -> tuple[tuple[int, int], ...]:
        """Consecutive runs of a class's stored images, each as (images, factor).

        With "multi" every run has all stored images.
        """
        if self.kind == "single":
            return ((stored, self.factor),)
        if self.kind == "multi":
            return tuple((stored, k) for k in range(1, self.factor + 1))
        runs, formed, left = [], 0, stored
        for k in range(self.factor, 1, -1):
            count = min(max(0, self.limit - formed - left) // k**2, left)
            runs.append((count, k))
            formed, left = formed + count * k**2, left - count
        return tuple((n, k) for n, k in [*runs, (left, 1)] if n)

    def count(self, stored: int) -> int:
        """The number of training images of a class with `stored` stored images."""
        return sum(n * k**2 for n, k in self.grid(stored))

    def evaluated(self) -> "Formation":
        """The formation of the evaluation: "bound" is only used for matching."""
        return Formation(self.factor, "single") if self.kind == "bound" else self

    def check(self, height: int, width: int) -> None:
        """Refuse a factor that gives tiles without any pixel of a stored image.

        A factor above the image's size gives such tiles, and so do some below it: five
        tiles along 8 pixels have 2, 2, 2, 2 and no pixels. A network would be trained
        on plain grey.

        Args:
            height, width: size of a stored image, in pixels.

        Raises:
            UserError: a factor does not fit; the message names one that does.

        Example:
            >>> Formation(4).check(8, 8)
        """
        smaller = min(self.factor, height, width)  # none above the shorter side fits
        fits = [_fits(k, height, width) for k in range(1, smaller + 1)]
        enough = fits[-1] if self.kind == "single" else all(fits)
        if self.factor == smaller and enough:
            return
        if False in fits and self.kind != "single":  # cut by all factors up to theirs
            fits = fits[: fits.index(False)]
        largest = max(k for k, fit in enumerate(fits, 1) if fit)
        raise UserError(
            f"a factor of {self.factor} cuts images of {height} x {width} pixels into "
            f"tiles of which some hold no pixel: choose a factor that fits, such as "
            f"{largest}"
        )

    def check_samples(self, shape: tuple[int, ...]) -> None:
        """`check` for samples of any shape; only images can be cut.

        Raises:
            UserError: a factor does not fit, or the samples are no images.
        """
        if self.factor > 1:
            check_pixels(f"a factor of {self.factor}", shape)
            self.check(*shape[:2])

    def runs(self, stored: Array):
        """(slice of [K, n, ...], factor) for every run."""
        first = 0
        for count, factor in self.grid(stored.shape[1]):
            first = 0 if self.kind == "multi" else first
            yield stored[:, first : first + count], factor
            first += count


def _fits(factor: int, height: int, width: int) -> bool:
    """Whether the last tile along each side begins inside the image."""
    return all((factor - 1) * -(-size // factor) < size for size in (height, width))


def form(images: Array, formation: Formation, grey: float = 0.0) -> Array:
    """The training images in stored images.

    Args:
        images: [K, n, H, W, C].
        formation: how stored images are cut.
        grey: value that fills the right and the bottom if the factor does not divide
            the size.

    Returns:
        [K, n', H, W, C]; tile (0, 0) of all images, then (0, 1), ..., row by row.

    Raises:
        UserError: some tiles would have no pixel, see `Formation.check`.

    Example:
        >>> form(jnp.ones((3, 2, 8, 8, 1)), Formation(2)).shape
        (3, 8, 8, 8, 1)
    """
    formation.check_samples(images.shape[2:])
    parts = [tiles(x, factor, grey) for x, factor in formation.runs(images)]
    return jnp.concatenate(parts, axis=1)


def tiles(images: Array, factor: int, grey: float) -> Array:
    """The f x f tiles of every image, scaled up bilinearly, [K, f * f * n, H, W, C]."""
    if factor == 1:
        return images
    classes, n, height, width, channels = images.shape
    below, right = -height % factor, -width % factor
    padding = ((0, 0), (0, 0), (0, below), (0, right), (0, 0))
    padded = jnp.pad(images, padding, constant_values=grey)
    rows, columns = (height + below) // factor, (width + right) // factor
    cut = padded.reshape(classes, n, factor, rows, factor, columns, channels)
    cut = cut.transpose(0, 2, 4, 1, 3, 5, 6)
    shape = (*cut.shape[:4], height, width, channels)
    return jax.image.resize(cut, shape, "linear").reshape(
        classes, factor * factor * n, height, width, channels
    )


def form_labels(labels: Array, formation: Formation) -> Array:
    """The labels [K, n', K] of `form`'s images, from the stored labels [K, n, K]."""
    parts = [jnp.tile(x, (1, k * k, 1)) for x, k in formation.runs(labels)]
    return jnp.concatenate(parts, axis=1)


def mosaic(images: Array, factor: int) -> Array:
    """Stored images from reduced images: IDC's initialisation "mix".

    Cell i (row by row) of stored image j holds image i * n + j of the class, reduced to
    its nearest pixels; if the factor does not divide the size, the first cells are a
    pixel larger (IDC's official code).

    Args:
        images: [K, f * f * n, H, W, C].
        factor: f.

    Returns:
        [K, n, H, W, C].
    """
    height, width = images.shape[2:4]
    n = images.shape[1] // factor**2

    def pixels(size: int) -> list[Array]:
        """Indices of the pixels in each cell along an axis."""
        lengths = [size // factor + (i < size % factor) for i in range(factor)]
        return [jnp.arange(m) * size // m for m in lengths]

    rows = [
        jnp.concatenate(
            [
                images[:, n * (factor * i + j) :][:, :n][:, :, r][:, :, :, c]
                for j, c in enumerate(pixels(width))
            ],
            axis=3,
        )
        for i, r in enumerate(pixels(height))
    ]
    return jnp.concatenate(rows, axis=2)
