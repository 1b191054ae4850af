"""Maps from pixels to network inputs and back: affine per channel, or ZCA."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np

from jaxdd.data.streaming.rows import HostArray
from jaxdd.data.whitening import from_rows, to_rows
from jaxdd.errors import UserError
from jaxdd.types import Array, Space

GREY = 0.5  # the middle of pixels
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
            return Space(lambda z: z * std + mean, lambda x: (x - mean) / std, GREY)
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
            GREY,
        )

    @property
    def digest(self) -> str:
        """A hash of the map, 16 characters: equal maps have equal ones."""
        return digest_of(self.to_arrays())

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


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """A hash of named arrays, 16 characters.

    Example:
        >>> digest_of({"mean": np.zeros(2)}) == digest_of({"mean": np.ones(2)})
        False
    """
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()[:16]


def unit(images: np.ndarray) -> np.ndarray:
    """Raw images on the [0, 1] scale: any shape, uint8 or float -> float32."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return images.astype(np.float32, copy=False)
