"""Maps from pixels to network inputs and back: affine per channel, or ZCA."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np

from jaxdd.data.streaming.rows import HostArray, blocks
from jaxdd.data.whitening import from_rows, side_for, to_rows
from jaxdd.errors import UserError
from jaxdd.modality import modality_of
from jaxdd.types import Array, Space

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Mean and standard deviation per channel as in the official code of DC, DSA and DM. For
# CIFAR-100 other methods use those of CIFAR-10: see `presets.Preset.constants`.
_PUBLISHED = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2861,), (0.3530,)),
    "svhn_cropped": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
}
_STD_FLOOR = 1e-3  # a quarter of a grey level: below it a channel is constant
# Numbers of any unit are constant where float32 cannot tell them apart.
_RELATIVE_FLOOR, _LEAST = 1e-6, 1e-30
ROWS = 1000  # images per block, to bound the memory of float copies
_WHITENING = ("mean", "matrix", "inverse")
_FIELDS = {"affine": ("mean", "std"), "zca": _WHITENING, "zca_blocks": _WHITENING}


@dataclass(frozen=True, eq=False)
class Preprocess:
    """An invertible map between samples as they are read and network inputs.

    Pixels are uint8 in 0..255, or floats on the [0, 1] scale; sequences and vectors are
    floats in units of their own. The arrays of the other kind are empty. For vectors
    every feature is a channel.

    Attributes:
        kind: "affine" for (x - mean) / std, or "zca" for (x - mean) @ matrix on samples
            flattened to D = H * W * C; "zca_blocks" for the same matrix on every block
            of N x N pixels, flattened to d = N * N * C.
        mean: [C] float32, or [D] where samples are whitened.
        std: [C] float32, with "affine".
        matrix, inverse: [D, D] float32, with "zca"; [d, d] with "zca_blocks".
    """

    kind: str
    mean: np.ndarray
    std: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    matrix: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    inverse: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed images.

        Args:
            images: samples [..., H, W, C], [..., L, C] or [..., F], as they are read.

        Returns:
            The same shape, float32.

        Raises:
            UserError: the images do not have the shape of the fitted ones.
        """
        out = np.empty(images.shape, np.float32)
        if self.kind == "affine":
            scale, shift = self._affine(images)
            # Whole image rows at a time: NumPy is slow on an inner axis of 3.
            row, width = (*images.shape[:-2], -1), images.shape[-2]
            rows = out.reshape(row)
            np.multiply(images.reshape(row), np.tile(scale, width), out=rows)
            rows += np.tile(shift, width)
            return out
        shape = self._check_size(images)
        samples, target = images.reshape(shape), out.reshape(shape)
        side = self.block(shape)
        for i in range(0, len(samples), ROWS):
            chunk = samples[i : i + ROWS]
            centred = unit(chunk) - self.mean.reshape(shape[1:])
            rows = to_rows(centred, side) @ self.matrix
            target[i : i + ROWS] = from_rows(rows, chunk.shape, side)
        return out

    def invert(self, z: np.ndarray) -> np.ndarray:
        """Pixels of preprocessed images.

        Args:
            z: [..., H, W, C], [..., L, C] or [..., F] float.

        Returns:
            The same shape, float32: pixels on the [0, 1] scale, not clipped, or the
            units of the data.

        Raises:
            UserError: the images do not have the shape of the fitted ones.
        """
        z = np.asarray(z, np.float32)
        if self.kind == "affine":
            self._check_channels(z)
            return z * self.std + self.mean
        shape = self._check_size(z)
        side = self.block(shape)
        rows = to_rows(z.reshape(shape), side) @ self.inverse
        pixels = from_rows(rows, shape, side) + self.mean.reshape(shape[1:])
        return pixels.reshape(z.shape)

    def device_images(
        self, images: HostArray
    ) -> tuple[HostArray, np.ndarray, np.ndarray]:
        """(stored, scale, shift) with stored * scale + shift equal to apply(images).

        With an affine map images stay raw, so that uint8 takes a quarter of the memory;
        with ZCA they are whitened here, as float32.

        Args:
            images: [M, ..., C] uint8 or float32.

        Returns:
            [M, ..., C], [C] float32, [C] float32.

        Raises:
            UserError: the images do not have the shape of the fitted ones.
        """
        if self.kind == "affine":
            return images, *self._affine(images)
        return self.apply(np.asarray(images)), *self.unscaled(images.shape[-1])

    @staticmethod
    def unscaled(channels: int) -> tuple[np.ndarray, np.ndarray]:
        """The scale and shift of images that are preprocessed already."""
        return np.ones(channels, np.float32), np.zeros(channels, np.float32)

    def space(self) -> Space:
        """The map to pixels and back as pure functions on the device."""
        if self.kind == "affine":
            mean, std = jnp.asarray(self.mean), jnp.asarray(self.std)
            return Space(lambda z: z * std + mean, lambda x: (x - mean) / std, 0.5)
        mean, matrix = jnp.asarray(self.mean), jnp.asarray(self.matrix)
        inverse = jnp.asarray(self.inverse)

        def mapped(images: Array, by: Array) -> Array:
            shape = self._check_size(images)
            side = self.block(shape)
            rows = to_rows(images.reshape(shape), side) @ by
            return from_rows(rows, shape, side).reshape(images.shape)

        def of_sample(images: Array) -> Array:
            return mean.reshape(self._check_size(images)[1:])

        return Space(
            lambda z: mapped(z, inverse) + of_sample(z),
            lambda x: mapped(x - of_sample(x), matrix),
            0.5,
        )

    @property
    def digest(self) -> str:
        """A hash of the map, 16 characters: equal maps have equal ones."""
        digest = hashlib.sha256()
        for name, array in sorted(self.to_arrays().items()):
            digest.update(name.encode() + array.tobytes())
        return digest.hexdigest()[:16]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays that `from_arrays` needs, for an .npz file without pickles."""
        fields = {name: getattr(self, name) for name in _FIELDS[self.kind]}
        return {"kind": np.array(self.kind), **fields}

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray]) -> "Preprocess":
        """The inverse of `to_arrays`; other keys are ignored.

        Raises:
            UserError: the kind is unknown, or an array is missing.
        """
        kind = str(arrays["kind"]) if "kind" in arrays else "missing"
        if kind not in _FIELDS:
            raise UserError(
                f"the kind of preprocessing is {kind!r}; it must be one of "
                f"{', '.join(map(repr, _FIELDS))}"
            )
        lacking = [name for name in _FIELDS[kind] if name not in arrays]
        if lacking:
            raise UserError(
                f"saved preprocessing of kind {kind!r} lacks the array {lacking[0]!r}; "
                "save all of to_arrays()"
            )
        return Preprocess(
            kind, **{name: np.asarray(arrays[name]) for name in _FIELDS[kind]}
        )

    def _affine(self, images: HostArray) -> tuple[np.ndarray, np.ndarray]:
        """Scale and shift, [C] float32, for raw images of this dtype."""
        self._check_channels(images)
        std = self.std.astype(np.float64)
        top = 255.0 if images.dtype == np.uint8 else 1.0
        return (1 / (top * std)).astype(np.float32), (-self.mean / std).astype(
            np.float32
        )

    def _check_channels(self, images: HostArray) -> None:
        if images.shape[-1] != len(self.mean):
            raise UserError(
                f"images of shape {images.shape} do not fit a normalisation of "
                f"{len(self.mean)} channels; use that of their own dataset"
            )

    def _check_size(self, images: np.ndarray | Array) -> tuple[int, ...]:
        """The shape [M, ...] of the samples, without further axes before them."""
        axes = _axes(images.shape, len(self.mean))
        shape = images.shape[len(images.shape) - axes :]
        if not axes or not self._fits(shape):
            raise UserError(
                f"images of shape {images.shape} do not fit a whitening of "
                f"{len(self.mean)} values per image; use that of their own dataset"
            )
        return images.size // len(self.mean), *shape

    def _fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the matrices are for samples of this shape."""
        values = math.prod(shape)
        if self.kind == "zca_blocks":
            side = math.isqrt(len(self.matrix) // shape[-1])
            if len(shape) < 3 or not side or shape[0] % side or shape[1] % side:
                return False
            values = side * side * shape[-1]
        return self.matrix.shape == self.inverse.shape == (values, values)

    def block(self, shape: tuple[int, ...]) -> int | None:
        """Side of the blocks that are whitened, in pixels; None for whole samples.

        Args:
            shape: of samples that fit, [..., H, W, C].
        """
        if self.kind != "zca_blocks":
            return None
        return math.isqrt(len(self.matrix) // shape[-1])


def _axes(shape: tuple[int, ...], values: int) -> int:
    """How many of the last axes, three at most, hold so many values; 0 for none."""
    return next((k for k in (3, 2, 1) if math.prod(shape[-k:]) == values), 0)


def unit(images: np.ndarray) -> np.ndarray:
    """Raw images on the [0, 1] scale: any shape, uint8 or float -> float32."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return images.astype(np.float32, copy=False)


def _published(dataset_name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The published mean and standard deviation of a dataset, or None."""
    name = dataset_name.split(":")[0].split("/")[0]
    if name.startswith(("tiny_imagenet", "imagenet")):
        return _IMAGENET
    return _PUBLISHED.get(name)


def check_constants(dataset_name: str, channels: int) -> None:
    """Refuse a dataset without published constants for so many channels.

    Raises:
        UserError: the dataset has no constants, or they are for another number of
            channels.
    """
    constants = _published(dataset_name)
    if constants is None:
        raise UserError(
            f"there are no constants for {dataset_name!r}: name one of "
            f"{', '.join(_PUBLISHED)}, imagenet"
        )
    if len(constants[0]) != channels:
        raise UserError(
            f"the constants of {dataset_name!r} are for {len(constants[0])} channels "
            f"and the images have {channels}: name another dataset"
        )


def normalisation(dataset_name: str, images: HostArray) -> Preprocess:
    """The usual per-channel normalisation of a dataset.

    A constant channel of images gets a small standard deviation instead of zero; a
    constant channel of sequences or feature of vectors is standardised to zero.

    Args:
        dataset_name: the dataset whose published constants are used, for images.
        images: [M, ..., C] uint8 or float32, the training samples, from which the
            constants are computed if none are published.
    """
    if not modality_of(images.shape[1:]).pixels:
        mean, std = _measure(images)
        floor = np.maximum(_RELATIVE_FLOOR * np.abs(mean), _LEAST)
        std = np.where(std > floor, std, 1.0)
        return Preprocess("affine", mean.astype(np.float32), std.astype(np.float32))
    constants = _published(dataset_name)
    # Data of the user may have the name of a published dataset.
    if constants is None or len(constants[0]) != images.shape[-1]:
        mean, std = _measure(images)
    else:
        mean, std = np.array(constants[0]), np.array(constants[1])
    std = np.maximum(std, _STD_FLOOR)
    return Preprocess("affine", mean.astype(np.float32), std.astype(np.float32))


def fit_zca(
    images: HostArray, eps: float | int = 0.1, block: int | None = None
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


def _measure(images: HostArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel, [C] float64, on the [0, 1] scale."""
    channels = images.shape[-1]
    count = math.prod(images.shape[:-1])
    if images.dtype == np.uint8:  # exact and fast: only 256 values can occur
        values = np.arange(256) / 255
        hist = np.zeros((channels, 256), np.int64)
        for block in blocks(images):
            for c in range(channels):
                hist[c] += np.bincount(block[..., c].ravel(), minlength=256)
        total, square = hist @ values, hist @ values**2
    else:
        total, square = np.zeros(channels), np.zeros(channels)
        for block in blocks(images, ROWS):
            block = block.astype(np.float64)
            others = tuple(range(block.ndim - 1))
            total += block.sum(others)
            square += (block**2).sum(others)
    mean = total / count
    return mean, np.sqrt(np.maximum(square / count - mean**2, 0))
